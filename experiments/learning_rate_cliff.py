"""The learning-rate cliff: where gradient methods fall off.

Question: How large may a learning rate be, and how sharp is the edge?

Prediction: On a quadratic whose largest curvature is λ, an iteration is linear and diverges exactly when a root of
its characteristic polynomial leaves the unit disk: above 2/λ for gradient descent, 2(1+β)/λ for heavy ball,
(2+2β)/((1+2β)λ) for Nesterov, (2+2β)/((1−β)λ) for EMA momentum, and so for Adam once its second moment rests (Cohen
et al. 2021, 2022). With β = 0.9 and λ = 1: 2, 3.8, 1.357, 38.

Found: Each method falls once, at the first of 2,000 rates above its own predicted cliff: it is an edge and not a
slope.
"""

import jax
import jax.numpy as jnp
import numpy as np

from sandbox import optimizers, problems, theory
from sandbox.engine import run
from sandbox.report import Claim
from sandbox.report.plots import cliff, style, trajectories
from sandbox.reproduction import Findings, kept
from sandbox.sweeps import linear

BETA, CURVATURE, STEPS, WIDTH = 0.9, 1.0, 2000, 0.13
METHODS = {
    "gradient descent": (optimizers.gradient_descent, theory.gradient_descent_cliff(CURVATURE)),
    "heavy ball": (
        lambda rate: optimizers.sgd(rate, momentum=BETA),
        theory.heavy_ball_cliff(CURVATURE, BETA),
    ),
    "Nesterov": (
        lambda rate: optimizers.sgd(rate, BETA, nesterov=True),
        theory.nesterov_cliff(CURVATURE, BETA),
    ),
    "EMA momentum": (
        lambda rate: optimizers.ema_momentum(rate, BETA),
        theory.ema_momentum_cliff(CURVATURE, BETA),
    ),
}


def main(fast: bool) -> Findings:
    """Sweep each method around its own cliff, and find where its verdict changes."""
    count = 200 if fast else 2000
    claims, curves, sweeps, summary = [], {}, [], []
    for name, (method, predicted) in METHODS.items():
        with jax.enable_x64(True):
            axis = linear((1 - WIDTH) * float(predicted), (1 + WIDTH) * float(predicted), count)
            ds = kept(__file__, name.replace(" ", "-"), fast, around(method), learning_rate=axis)
        diverged = verdicts(ds)
        edges = np.flatnonzero(np.diff(diverged.astype(int)))
        rates = ds.learning_rate.values
        first = rates[np.argmax(diverged)] if diverged.any() else np.nan
        spacing = rates[1] - rates[0]
        claims += [
            Claim(
                f"{name}: smallest diverging rate",
                first,
                float(predicted),
                "≈",
                spacing,
                "Cohen et al. 2021, 2022",
            ),
            Claim(
                f"{name}: edges between stable and diverging",
                len(edges),
                1,
                source="a root leaves the disk once",
            ),
        ]
        curves[name] = (rates / float(predicted), diverged)
        summary.append({"method": name, "predicted": float(predicted), "measured": first, "spacing": spacing})
        sweeps.append(ds)
    return Findings(figures(curves), claims, sweeps, summary)


def around(method):
    """One rate of a method on the quadratic with curvatures 0.1 and 1."""
    problem = problems.quadratic(10.0)

    def train(learning_rate):
        ends = lambda info: {"loss": info.value}
        start = jnp.ones(2)
        return run(
            problem,
            method(learning_rate),
            steps=STEPS,
            key=jax.random.key(0),
            params=start,
            record=ends,
            every=STEPS,
        )

    return train


def verdicts(ds) -> np.ndarray:
    """Diverging is a loss at the end above the loss at the start; a run that overflowed has no loss at the end."""
    return ~(ds.value.values <= ds.loss.isel(step=0).values)


def figures(curves: dict) -> dict:
    """All cliffs on one axis; and one quadratic under a rate that is too small, good, and too large."""
    import matplotlib.pyplot as plt

    problem = problems.quadratic(10.0)
    best = theory.gradient_descent_optimum(0.1, 1.0).learning_rate
    record = lambda info: {"x": info.params}
    with jax.enable_x64(True):
        paths = {
            f"{word}, {rate:.3g}": run(
                problem, optimizers.gradient_descent(rate), steps=steps, key=jax.random.key(0), record=record,
                params=jnp.array([4.0, 1.5]),
            ).trace["x"]
            for word, rate, steps in (("too small", 0.08, 25), ("good", float(best), 25), ("too large", 2.06, 18))
        }  # fmt: skip
    with style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(10.4, 4.2))
        cliff(left, curves)
        left.set_title("Stable below, diverging above")
        trajectories(right, problem.objective, paths, ((-5, 5), (-5, 5)), minimizers=[[0, 0]])
        right.set_title("Too small, good, too large")
    caption = (
        f"Left: share of runs whose loss after {STEPS} steps exceeds the loss at the start, on a quadratic with "
        f"curvatures 0.1 and 1, momentum {BETA}, float64, from (1, 1); each method over ±13 % of its own predicted "
        "cliff. Right: gradient descent on the same quadratic from (4, 1.5); the cliff is at rate 2."
    )
    return {"figure": (figure, caption)}
