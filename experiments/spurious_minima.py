"""Spurious minima: students that never learn what a teacher of their own size knows.

Question: A teacher is the sum of k ReLU units with orthonormal weights, its students are k such units, which could copy
it. How often does gradient descent get stuck, and is it in a minimum?

Prediction: On the loss over all Gaussian inputs, from weights of variance 1/k, more often with every k: from 0.3 % of
the starts for k = 6, 12.6 % for 8, 34.6 % for 10 and 80.3 % for 15, in minima with positive curvature; the commonest
has the height 0.0215 for k = 8 and 0.0187 for 10 (Safran & Shamir 2018, heights recomputed). Stuck is a loss above
0.005 after 20,000 steps at rate 0.1.

Found: 0.2 %, 14.2 % and 32.5 % of 1,000 starts for k = 6, 8 and 10, 80.4 % of 700 for 15. Of each k the first 75 that
got stuck, where there are as many, were looked at: all stand where the Hessian is positive, with a least eigenvalue of
0.0020 or more. The more students, the more heights: 0.0141 is the commonest for 15, followed by about twice and three
times as much. The two starts of k = 6 that got stuck stand at 0.0251.
"""

import jax
import jax.numpy as jnp
import numpy as np

from sandbox import optimizers
from sandbox.engine import run
from sandbox.problems import Facts, Problem
from sandbox.report import Claim
from sandbox.report.plots import COLOURS, GREY, MARKERS
from sandbox.reproduction import Findings, Part, findings, kept

on_request = True
RATE, STUCK, STEPS, EVERY = 0.1, 0.005, 20_000, 200
SHARES = {6: 0.003, 8: 0.126, 10: 0.346, 15: 0.803}  # k: the share of starts that get stuck
HEIGHTS = {8: 0.0215, 10: 0.0187}  # k: the commonest height
STARTS = {15: 700}  # of others 1,000
SHOWN, LOOKED = 8, 75  # the k of the walks that are shown, and of how many stuck ones the Hessian is made


def main(fast: bool) -> Findings:
    """Walk from many starts for every k; look at the ground where the stuck ones stand."""
    sizes = [SHOWN] if fast else list(SHARES)
    with jax.enable_x64(True):
        walked = {k: walks(k, fast) for k in sizes}
        stood = {k: ground(k, ds, fast) for k, ds in walked.items()}
        parts = [ways(walked[SHOWN]), shares(walked), minima(walked, stood)]
        return findings(parts, caption(walked[SHOWN].seed.size), panel=(5.4, 4.4))


def kernel(W, V):
    """E relu(w·x) relu(v·x) for all pairs of rows, x ~ N(0, I): the arc-cosine kernel of order 1 (Cho & Saul 2009).

    ‖w‖‖v‖ (sin θ + (π − θ) cos θ) / 2π, where θ is the angle between w and v.
    """
    dot = W @ V.T
    square = jnp.sum(W**2, 1)[:, None] * jnp.sum(V**2, 1) - dot**2
    apart = square > 0
    # Of parallel vectors the root has no derivative, but what it is multiplied by is 0 there.
    cross = jnp.where(apart, jnp.sqrt(jnp.where(apart, square, 1.0)), 0.0)
    return (cross + (jnp.pi - jnp.arctan2(cross, dot)) * dot) / (2 * jnp.pi)


def student(k: int) -> Problem:
    """½ E (Σᵢ relu(wᵢ·x) − Σᵢ relu(xᵢ))² of k students and k orthonormal teachers, x ~ N(0, I) in k dimensions."""
    teacher = np.eye(k)

    def loss(W):
        among = jnp.sum(kernel(W, W) * (1 - jnp.eye(k))) / 2 + jnp.sum(W**2) / 4
        return among - jnp.sum(kernel(W, jnp.asarray(teacher, W.dtype))) + (k / 2 + k * (k - 1) / (2 * np.pi)) / 2

    facts = Facts(0.0, (teacher,), convex=False, reference="Safran & Shamir 2018")
    init = lambda key: jax.random.normal(key, (k, k)) / np.sqrt(k)
    return Problem(f"{k} students", init, loss, facts=facts)


def walks(k: int, fast: bool):
    """Gradient descent from many starts, each a lane: the loss along the way, and the last students."""
    problem = student(k)

    def walk(seed):
        record = lambda info: {"loss": info.value}
        method = optimizers.gradient_descent(RATE)
        return run(problem, method, steps=STEPS, key=jax.random.key(seed), record=record, every=EVERY)

    with jax.enable_x64(True):
        return kept(
            __file__, f"{k}-students", fast, walk, seed=range(64 if fast else STARTS.get(k, 1000)), keep="params"
        )


def ground(k: int, walked, fast: bool):
    """Where the stuck ones stand: the length of the gradient, and the least eigenvalue of the Hessian."""
    problem, stuck = student(k), walked.seed.values[walked.value.values > STUCK][:LOOKED]
    ends = walked.params.values.reshape(-1, k * k)

    def look(seed):
        f = lambda w: problem.objective(w.reshape(k, k))
        place = jnp.array(ends)[seed]
        return {"slope": jnp.linalg.norm(jax.grad(f)(place)), "least": jnp.linalg.eigvalsh(jax.hessian(f)(place))[0]}

    return kept(__file__, f"{k}-minima", fast, look, seed=stuck)


def ways(ds) -> Part:
    """The loss along every walk."""

    def draw(ax):
        k, stuck = ds.step.values, ds.value.values > STUCK
        loss = np.where(ds.loss.values > 0, ds.loss.values, np.nan)  # rounding may leave less than 0
        for rows, colour, label in ((~stuck, GREY, "learn"), (stuck, COLOURS[1], "stuck")):
            ax.plot(k, loss[rows][:150].T, color=colour, lw=0.5, alpha=0.5)
            ax.plot([], [], color=colour, label=label)
        ax.axhline(STUCK, color="k", ls="--", lw=1, label=f"stuck is above {STUCK}")
        ax.set(yscale="log", ylim=(1e-8, 10), xlim=(0, 10_000), xlabel="step", ylabel="$f - f^*$")
        ax.set_title(f"{SHOWN} students: some never learn")
        ax.legend(loc="upper right")

    return Part([], draw)


def shares(walked: dict) -> Part:
    """How many of the starts get stuck."""
    seeds = {k: ds.seed.size for k, ds in walked.items()}
    found = {k: float((ds.value > STUCK).mean()) for k, ds in walked.items()}
    error = lambda k: np.sqrt(SHARES[k] * (1 - SHARES[k]) / seeds[k])
    allowed = lambda k: min(0.05, 4 * error(k)) if seeds[k] >= 500 else 4 * error(k)
    claims = [
        Claim(f"{k} students: share of starts that get stuck", share, SHARES[k], "≈", allowed(k),
              "Safran & Shamir 2018")
        for k, share in found.items()
    ]  # fmt: skip

    def draw(ax):
        width = [2 * np.sqrt(share * (1 - share) / seeds[k]) for k, share in found.items()]
        ax.errorbar(list(found), list(found.values()), width, fmt="o", ms=7, capsize=4, label="measured, ± 2 errors")
        ax.plot(list(SHARES), list(SHARES.values()), "x--", color="k", lw=1, ms=8, label="Safran & Shamir 2018")
        ax.set(xlabel="students $k$", ylabel="share of starts that get stuck", ylim=(0, 1), xticks=list(SHARES))
        ax.set_title("The more students, the more often")
        ax.legend()

    return Part(claims, draw, tuple(walked.values()))


def minima(walked: dict, stood: dict) -> Part:
    """Every stuck place: its height, its slope, its least curvature."""
    height = {k: walked[k].value.sel(seed=ds.seed).values for k, ds in stood.items()}
    claims = []
    for k, ds in stood.items():
        claims += [
            Claim(
                f"{k} students, stuck: gradient / least curvature, most",
                (ds.slope / ds.least).max(),
                0,
                "≈",
                0.05,
                "the minimum is as near",
            ),
            Claim(f"{k} students, stuck: least curvature of all", ds.least.min(), 0, "≥", 0, "minima, not saddles"),
        ]
        if k in HEIGHTS:
            median = np.median(height[k])
            claims.append(Claim(f"{k} students, stuck: median height", median, HEIGHTS[k], "≈", 5e-5, "recomputed"))

    def draw(ax):
        for row, (k, ds) in enumerate(stood.items()):
            label = f"$k = {k}$"
            ax.plot(height[k], ds.least, MARKERS[row], ms=7, alpha=0.6, color=COLOURS[row], label=label)
        ax.axhline(0, color="k", ls="--", lw=1)
        ax.set(xlabel="$f - f^*$ where it is stuck", ylabel="least eigenvalue of the Hessian")
        ax.set_title("All stuck places curve upwards")
        ax.legend()

    return Part(claims, draw, tuple(stood.values()))


def caption(starts: int) -> str:
    """What the panels show."""
    return (
        f"Gradient descent at rate {RATE} on the loss of k ReLU students of k orthonormal teachers over all Gaussian "
        f"inputs, in closed form, so that there is no split and no batch; {STEPS:,} steps from weights N(0, 1/k), not "
        f"normalised, seeds from 0: {starts:,} starts, of k = 15 at most {STARTS[15]}. Left: the first 150 of each "
        f"kind, every {EVERY} steps. Right: dense Hessians of the first {LOOKED} stuck. In float64."
    )
