"""Stability: maps of the settings at which a method converges, and of how fast.

Question: Where in the plane of two hyper-parameters does an optimizer work, and does theory draw the border?

Prediction: (1) Heavy ball on a quadratic of largest curvature L converges where ηL < 2(1 + β), β < 1, by the largest
root of z² − (1 + β − ηλ) z + β per step, and fastest at Polyak's setting (Polyak 1964). (2) AdamW's steps are at most
about η long, its decay pulls back by ηλ|x|: x goes to the least value within |x| ≤ 1/λ (Xie & Li 2024), and the decay
itself is unstable beyond ηλ = 2. (3) Adam on ten functions in turn, whose mean is least at −2, goes up from 1 where β₂
is small and down where it is large; at β₁ = 0 it ends, after 10⁵ steps at rates 0.1/√t, at 26.273, 8.008, 3.352, 1.195,
−0.498 and −0.871 for β₂ = 0.5, 0.8, 0.9, 0.95, 0.99, 0.999 (functions of Zhang et al. 2022, recomputed).

Found: All of it. Every cell's contraction is within 0.02 of the largest root. Heavy ball's best cell lies within a cell
of Polyak's setting. AdamW with λ > 2 ends at 1/λ to 2e-5. On the ten functions a large β₁ helps where β₂ does not
suffice: at β₁ = 0.95 even β₂ = 0.3 goes down.
"""

import jax
import jax.numpy as jnp
import numpy as np

from sandbox import optimizers, problems, theory
from sandbox.data.batches import cyclic
from sandbox.engine import run
from sandbox.problems import Problem
from sandbox.report import Claim
from sandbox.report.maps import cells
from sandbox.reproduction import Findings, Part, findings, kept
from sandbox.sweeps import linear, log

KAPPA, STEPS = 10.0, 240
PATIENCE = 20_000  # of AdamW
FUNCTIONS, TURNS = 10, 100_000
KNOWN = {0.5: 26.273, 0.8: 8.008, 0.9: 3.352, 0.95: 1.195, 0.99: -0.498, 0.999: -0.871}  # β₂: the end at β₁ = 0
LINE = {"color": "black", "lw": 1.4}


def main(fast: bool) -> Findings:
    """Three maps, each one sweep."""
    with jax.enable_x64(True):
        parts = [heavy_ball(fast), adamw(fast), betas(fast)]
        return findings(parts, caption(), panel=(5.6, 4.6))


def heavy_ball(fast: bool) -> Part:
    """Rate × momentum on a quadratic: how fast the distance shrinks, or grows."""
    hill, n = problems.quadratic(KAPPA), 16 if fast else 60

    def contract(rate, momentum):
        method, start = optimizers.sgd(rate, momentum=momentum), jnp.ones(2)
        record = lambda info: {"square": jnp.sum(info.params**2)}
        walk = run(hill, method, steps=STEPS, key=jax.random.key(0), params=start, record=record)
        pairs = walk.trace["square"][1:] + walk.trace["square"][:-1]  # of two steps: an oscillation has zeros
        return {"factor": (pairs[-1] / pairs[STEPS // 2]) ** (0.5 / (STEPS - 2 - STEPS // 2))}

    axes = {"rate": linear(0.05, 4.0, n), "momentum": linear(0.0, 0.98, n)}
    ds = kept(__file__, "heavy-ball", fast, contract, **axes).transpose("rate", "momentum")
    rate, beta, factor = ds.rate.values, ds.momentum.values, ds.factor.values
    eta, b = np.meshgrid(rate, beta, indexing="ij")
    predicted = theory.heavy_ball_rate(np.array([1 / KAPPA, 1.0]), eta, b)
    border = theory.heavy_ball_cliff(1.0, b)
    clear = np.abs(eta - border) > (rate[1] - rate[0]) + 2 * (beta[1] - beta[0])
    wrong = ((factor > 1) != (eta > border))[clear].sum()
    best = theory.heavy_ball_optimum(1 / KAPPA, 1.0)
    i, j = np.unravel_index(np.nanargmin(factor), factor.shape)
    off = max(
        abs(rate[i] - best.learning_rate) / (rate[1] - rate[0]), abs(beta[j] - best.momentum) / (beta[1] - beta[0])
    )
    agree = (np.abs(factor - predicted) <= 0.02).mean()
    claims = [
        Claim(
            "heavy ball: share of cells whose factor is within 0.02 of the largest root",
            agree,
            0.99,
            "≥",
            0,
            "Polyak 1964",
        ),
        Claim(
            "heavy ball: cells with another verdict than ηL < 2(1 + β), off the line", wrong, 0, "≈", 0, "Polyak 1964"
        ),
        Claim(
            "heavy ball: best cell, cells from Polyak's setting", off, 2, "≤", 0, "4/(√L + √μ)², ((√κ − 1)/(√κ + 1))²"
        ),
    ]

    def draw(ax):
        cells(ax, rate, beta, np.where(factor > 1, np.nan, factor), label="contraction per step")
        ax.plot(theory.heavy_ball_cliff(1.0, beta), beta, **LINE, label=r"$\eta L = 2(1 + \beta)$")
        ax.plot(best.learning_rate, best.momentum, "*", ms=14, mfc="#F0E442", mec="black", ls="none", label="Polyak's")
        ax.set(xlabel=r"learning rate $\eta L$", ylabel=r"momentum $\beta$", title="Heavy ball on a quadratic")
        ax.legend(loc="lower right", frameon=True, framealpha=0.9)

    return Part(claims, draw, (ds,))


def adamw(fast: bool) -> Part:
    """Rate × weight decay on ½(x − 1)²."""
    n = 16 if fast else 48
    hill = Problem("distance from 1", lambda key: jnp.array(0.0), lambda x: (x - 1) ** 2 / 2)

    def train(rate, decay):
        method = optimizers.adamw(rate, weight_decay=decay)
        return {"x": run(hill, method, steps=PATIENCE, key=jax.random.key(0), record=None).params}

    ds = kept(__file__, "adamw", fast, train, rate=log(1e-4, 1.0, n), decay=log(1e-2, 1e3, n)).transpose(
        "rate", "decay"
    )
    rate, decay, x = ds.rate.values, ds.decay.values, ds.x.values
    eta, pull = np.meshgrid(rate, decay, indexing="ij")
    lost = ~(np.abs(x) < 1e3)
    cell = (rate[1] / rate[0]) * (decay[1] / decay[0])
    clear = np.abs(np.log(eta * pull / 2)) > np.log(cell)
    wrong = (lost != (eta * pull > 2))[clear].sum()
    settled = (eta * PATIENCE > 20) & (eta * pull < 0.1)
    bound = np.abs(x * pull - 1)[settled & (pull > 2)].max()
    inside = (np.abs(x - 1) / eta)[settled & (pull < 0.5) & (eta <= 0.01)].max()
    claims = [
        Claim("AdamW: cells with another verdict than ηλ < 2, off the line", wrong, 0, "≈", 0, "|1 − ηλ| < 1"),
        Claim("AdamW, λ > 2: largest deviation of λx from 1", bound, 0, "≈", 0.01, "Xie & Li 2024"),
        Claim("AdamW, λ < ½: largest |x − 1| / η", inside, 2, "≤", 0, "steps of about η"),
    ]

    def draw(ax):
        ax.set(xscale="log", yscale="log")
        cells(ax, rate, decay, (np.where(lost, np.nan, x) - 1) ** 2 / 2, label="$f$ at last", log=True)
        ax.plot(rate, 2 / rate, **LINE, label=r"$\eta\lambda = 2$")
        ax.axhline(1, **LINE, ls="--", label=r"$1/\lambda = x^*$")
        ax.axvline(1 / PATIENCE * 2, **LINE, ls=":", label=r"$\eta k = 2$")
        ax.set(xlabel=r"learning rate $\eta$", ylabel=r"weight decay $\lambda$", title="AdamW on ½(x − 1)²")
        ax.legend(loc="lower left", frameon=True, framealpha=0.9)

    return Part(claims, draw, (ds,))


def in_turn(x, batch):
    """The first of n functions is n times as steep as the others, and the other way up."""
    n = FUNCTIONS
    odd = jnp.where(x >= -1, n * x, n / 2 * (x + 2) ** 2 - 1.5 * n)
    return jnp.where(batch[0] == 0, odd, jnp.where(x >= -1, -x, 1.5 - (x + 2) ** 2 / 2))


def betas(fast: bool) -> Part:
    """β₁ × β₂ of Adam on ten functions in turn."""
    turns = Problem("ten in turn", lambda key: jnp.array(1.0), in_turn, data=np.arange(FUNCTIONS))

    def train(b1, b2):
        method = optimizers.adam(lambda t: 0.1 / jnp.sqrt(t + 1.0), b1, b2)
        walk = run(turns, method, steps=TURNS, key=jax.random.key(0), batches=cyclic(1), record=None)
        return {"x": walk.params}

    more = [] if fast else [0.3, 0.65, 0.85, 0.925, 0.97, 0.98, 0.995]
    first = [0.0, 0.9] if fast else [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95]
    ds = kept(__file__, "betas", fast, train, b1=first, b2=sorted([*KNOWN, *more])).transpose("b1", "b2")
    claims = [
        Claim(f"Adam on ten in turn: x at last, β₁ = 0, β₂ = {b2}", ds.x.sel(b1=0.0, b2=b2), x, "≈", 6e-4,
              "Zhang et al. 2022, recomputed")
        for b2, x in KNOWN.items()
    ]  # fmt: skip

    def draw(ax):
        b1, b2 = np.arange(ds.b1.size), np.arange(ds.b2.size)
        away = ds.x.values > 1
        cells(ax, b1, b2, np.where(away, np.nan, ds.x.values), label="$x$ at last; the best is −2")
        for i, j in np.argwhere(away):
            ax.text(i, j, f"{ds.x.values[i, j]:.0f}", ha="center", va="center", fontsize=7, backgroundcolor="white")
        ax.set_xticks(b1, [f"{b:g}" for b in ds.b1.values])
        ax.set_yticks(b2, [f"{b:g}" for b in ds.b2.values])
        ax.set(xlabel=r"$\beta_1$", ylabel=r"$\beta_2$", title="Adam on ten functions in turn")

    return Part(claims, draw, (ds,))


def caption() -> str:
    """What the panels show."""
    return (
        f"Left: heavy ball on a quadratic with curvatures {1 / KAPPA:g} and 1 from (1, 1): the contraction of the "
        f"distance per step over steps {STEPS // 2} to {STEPS}; hatched where it grows. Middle: f = ½(x − 1)² after "
        f"{PATIENCE:,} steps of AdamW from 0; hatched where |x| is above 1,000 or not finite. Right: where Adam ends "
        f"after {TURNS:,} steps at rates 0.1/√t from 1; hatched, with x, where that lies above the start. All lines "
        "are predictions. In float64; nothing is random: no seeds, no split, nothing normalised."
    )
