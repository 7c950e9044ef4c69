"""Performance profiles: which optimizer is within which factor of the best, on how many problems?

Question: Eight optimizers, each at its best rate on every problem: how often is one the fastest, how often within a
factor of the fastest, and how often does it get there at all?

Prediction: On quadratics gradient descent needs as many gradients as its two modes say, (1 − ηλ)ᵏ each, and at large
condition numbers more than heavy ball by the ratio of the logarithms of their contractions (Polyak 1964). L-BFGS, which
learns the curvature of two dimensions in a few pairs, solves a convex quadratic within 20 gradients (Nocedal & Wright
2006). Where there are many minima no method that goes downhill gets far (Dolan & Moré 2002 on profiles).

Found: Descent takes exactly the steps of its modes on every start. At κ = 1000 it needs 11.6 times the gradients of
heavy ball, where the contractions say 12.5. L-BFGS needs at most 13 gradients on a convex quadratic.
"""

import jax
import jax.numpy as jnp
import numpy as np

from sandbox import optimizers, problems, theory
from sandbox.engine import run
from sandbox.problems import Problem
from sandbox.report import Claim, relative
from sandbox.report.plots import COLOURS, GREY, MARKERS
from sandbox.reproduction import Findings, Part, findings, kept
from sandbox.sweeps import log

on_request = True
BETA, TAU, STEPS, FEW = 0.9, 1e-6, 3_000, 100  # few of L-BFGS, whose searches take most of the time
PROBLEMS = {
    "bowl": problems.bowl,
    **{f"quadratic, κ = {k:g}": lambda k=k: problems.quadratic(k) for k in (10.0, 100.0, 1000.0)},
    **{name: getattr(problems, name) for name in ("double_well", "rosenbrock", "beale", "himmelblau", "rastrigin")},
}
CONVEX = [name for name in PROBLEMS if name.startswith(("bowl", "quadratic"))]
METHODS = {
    "gradient descent": lambda rate: optimizers.gradient_descent(rate),
    "heavy ball": lambda rate: optimizers.heavy_ball(rate, BETA),
    "Nesterov": lambda rate: optimizers.nesterov(rate, BETA),
    "AdaGrad": lambda rate: optimizers.adagrad(rate),
    "RMSProp": lambda rate: optimizers.rmsprop(rate),
    "Adam": lambda rate: optimizers.adam(rate),
    "Lion": lambda rate: optimizers.lion(rate),
    "L-BFGS": lambda rate: optimizers.lbfgs(),  # its line search finds the rate
}


def main(fast: bool) -> Findings:
    """Gradients that each optimizer takes on each problem from each start; profiles of them."""
    with jax.enable_x64(True):
        known = {name: make() for name, make in PROBLEMS.items()}
        starts = places(known, 3 if fast else 5)
        swept = kept_costs(known, starts, fast)
    best, chosen = at_the_best_rate(swept)
    parts = [profiles(best, swept), gradients(best, chosen, known, starts)]
    return findings(parts, caption(starts.shape[1]), panel=(7.2, 4.8))


def places(known: dict[str, Problem], seeds: int) -> np.ndarray:
    """Starts drawn uniformly from each domain, (problems, seeds, 2)."""
    unit = np.random.default_rng(0).random((len(known), seeds, 2))
    low, high = (np.array([p.facts.domain[end] for p in known.values()])[:, None] for end in (0, 1))
    return low + (high - low) * unit


def kept_costs(known: dict[str, Problem], starts: np.ndarray, fast: bool):
    """Gradients until f − f* ≤ τ (f(x₀) − f*), infinite where that never comes."""
    above = [lambda x, p=p: p.objective(x) - p.facts.minimum for p in known.values()]

    def cost(optimizer, problem, rate, seed):
        place = lambda key: jnp.array(starts)[problem, seed]
        hill = Problem("one of all", place, lambda x: jax.lax.switch(problem, above, x))
        tried = lambda state: state.linesearch.info.num_linesearch_steps if optimizer == "L-BFGS" else 1
        record = lambda info: {"f": info.value, "tried": jnp.where(info.step == 0, 1, tried(info.state))}
        walk = run(
            hill,
            METHODS[optimizer](rate),
            steps=FEW if optimizer == "L-BFGS" else STEPS,
            key=jax.random.key(0),
            record=record,
        )
        there = walk.trace["f"] <= TAU * walk.trace["f"][0]
        return {"cost": jnp.where(there.any(), jnp.cumsum(walk.trace["tried"])[there.argmax()], jnp.inf)}

    axes = {"optimizer": list(METHODS), "problem": range(len(known)), "rate": log(1e-5, 4.0, 12 if fast else 16)}
    ds = kept(__file__, "costs", fast, cost, **axes, seed=range(starts.shape[1]))
    return ds.transpose("optimizer", "problem", "rate", "seed")


def at_the_best_rate(swept) -> tuple[np.ndarray, np.ndarray]:
    """Costs (optimizers, problems, seeds) at the rate that solves from most starts, and soonest; and the rate."""
    cost = swept.cost.values
    solved, total = np.isfinite(cost).sum(-1), np.where(np.isfinite(cost), cost, 0.0).sum(-1)
    first = np.argmin(np.where(solved == solved.max(-1, keepdims=True), total, np.inf), -1)
    return np.take_along_axis(cost, first[..., None, None], 2)[:, :, 0], swept.rate.values[first]


def profile(cost: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """The share of runs, the last axis, on which each optimizer is within a factor of the best (Dolan & Moré 2002)."""
    best = cost.min(axis=0)
    ratio = np.where(np.isfinite(cost), cost / np.where(np.isfinite(best), best, 1.0), np.inf)
    return np.mean(ratio[:, :, None] <= factors, axis=1)


def band(cost: np.ndarray, factors: np.ndarray, times: int = 400) -> np.ndarray:
    """The 5 % and 95 % quantiles of the profile over bootstrapped sets of problems, their starts together."""
    count = cost.shape[1]
    drawn = np.random.default_rng(0).integers(count, size=(times, count))
    many = [profile(cost[:, rows].reshape(len(cost), -1), factors) for rows in drawn]
    return np.quantile(many, [0.05, 0.95], axis=0)


def profiles(best: np.ndarray, swept) -> Part:
    """Profiles over all problems and starts."""
    factors, flat = np.geomspace(1, 1e3, 121), best.reshape(len(best), -1)
    shares, (low, high) = profile(flat, factors), band(best, factors)
    end = np.abs(profile(flat, np.array([1e300]))[:, 0] - np.isfinite(flat).mean(1)).max()
    claims = [
        Claim("profiles: least rise from a factor to the next", np.diff(shares).min(), 0, "≥", 0, "a distribution"),
        Claim("profiles: right end less the share solved, most", end, 0, "≈", 0, "Dolan & Moré 2002"),
        Claim(
            "profiles: sum of the left ends",
            shares[:, 0].sum(),
            np.isfinite(flat).any(0).mean(),
            "≥",
            1e-12,
            "one is first",
        ),
    ]

    def draw(ax):
        for row, name in enumerate(METHODS):
            ax.fill_between(factors, low[row], high[row], step="post", color=COLOURS[row], alpha=0.07, lw=0)
            ax.step(
                factors, shares[row], where="post", color=COLOURS[row], marker=MARKERS[row], markevery=20, label=name
            )
        ax.set(xscale="log", xlim=(1, 1e3), ylim=(0, 1), xlabel="factor of the fewest gradients of any optimizer")
        ax.set(ylabel="share of problems and starts", title="Within which factor of the best, how often")
        ax.legend(loc="lower right", ncols=2, frameon=True)

    return Part(claims, draw, (swept,))


def gradients(best: np.ndarray, chosen: np.ndarray, known: dict[str, Problem], starts: np.ndarray) -> Part:
    """The costs themselves, beside what theory says of the quadratics."""
    names, methods = list(known), list(METHODS)
    row = lambda name: methods.index(name)
    apart, hard = [], names.index("quadratic, κ = 1000")
    for i, name in enumerate(names):
        if name.startswith("quadratic"):
            h = np.array([1 / float(name.split()[-1]), 1.0])
            expected = [modes(h, chosen[row("gradient descent"), i], x) for x in starts[i]]
            apart.append(best[row("gradient descent"), i] != expected)
    h = np.array([1e-3, 1.0])
    slow = np.log(theory.gradient_descent_rate(h, chosen[row("gradient descent"), hard]))
    fast = np.log(theory.heavy_ball_rate(h, chosen[row("heavy ball"), hard], BETA))
    ratio = np.median(best[row("gradient descent"), hard] / best[row("heavy ball"), hard])
    most = best[row("L-BFGS")][[names.index(name) for name in CONVEX]].max()
    claims = [
        Claim(
            "quadratics: starts on which descent takes other steps than its modes",
            np.sum(apart),
            0,
            "≈",
            0,
            "(1 − ηλ)ᵏ",
        ),
        Claim("κ = 1000: gradients of descent / of heavy ball", ratio, fast / slow, "≈", relative(0.15), "ln ρ / ln ρ"),
        Claim("convex quadratics: most gradients of L-BFGS", most, 20, "≤", 0, "n + few steps"),
    ]

    def draw(ax):
        table = np.median(best, axis=-1)
        for i, name in enumerate(METHODS):
            there = np.where(np.isfinite(table[i]), table[i], 2.2 * STEPS)
            place = np.arange(len(names)) + (i - 3.5) * 0.09
            ax.plot(place, there, MARKERS[i], ms=6, color=COLOURS[i], ls="none")
        ax.axhline(2.2 * STEPS, color=GREY, lw=1, ls=":")
        ax.set_xticks(range(len(names)), [name.replace("_", " ") for name in names], rotation=30, ha="right")
        ax.set(yscale="log", ylabel="median gradients over starts (top: not solved)", title="On each problem")

    return Part(claims, draw)


def modes(h: np.ndarray, rate: float, x: np.ndarray) -> float:
    """Gradients until ½ Σ λ (1 − ηλ)²ᵏ x² is τ times its first value, the last of them included."""
    k = np.arange(STEPS)[:, None]
    with np.errstate(over="ignore"):  # a rate beyond the cliff
        f = (h * ((1 - rate * h) ** k * x) ** 2).sum(1)
    return float(np.argmax(f <= TAU * f[0]) + 1) if (f <= TAU * f[0]).any() else np.inf


def caption(seeds: int) -> str:
    """What the panels show."""
    return (
        f"Gradients until f − f* is {TAU:g} of its first value, from {seeds} starts drawn uniformly from the domain of "
        f"each of {len(PROBLEMS)} problems in two dimensions (NumPy's seed 0; no split, nothing normalised), each "
        "optimizer at its best rate on each problem, of 16 from 1e-5 to 4; momentum 0.9, L-BFGS with its line search, "
        f"whose gradients count. Not solved is what takes more than {STEPS:,} steps, {FEW} of L-BFGS. Left: profiles, "
        "bands from 5 % to 95 % over 400 bootstrapped sets of problems. In float64."
    )
