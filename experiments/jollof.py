"""The Jollof story: a cook who cannot see the hill walks down it.

Question: A dish is judged by (x − 3)² + (y − 4)², salt and pepper away from perfect. Starting at (1, 1), what does
a nudge of each spice tell, what does the gradient tell, and what do the first steps at rate 0.1 look like?

Prediction: The loss is 13 and the gradient (−4, −6); steps lead to (1.4, 1.6) with loss 8.32 and (1.72, 2.08) with
loss 5.3248, and every step multiplies the distance by 1 − 2·0.1 = 0.8. A nudge of h sees the slope wrong by h, half
the curvature times h: −3.999 and −5.999 for h = 0.001. By hand, from the definitions.

Found: All of it to 1e-12 in double precision. The nudges give the gradient up to their own size, at one evaluation
for each spice; the gradient costs about one evaluation for any number of spices.
"""

import jax
import jax.numpy as jnp
import numpy as np

from sandbox import optimizers, problems
from sandbox.engine import run
from sandbox.report import Claim
from sandbox.report.plots import convergence, geometric, style, trajectories
from sandbox.reproduction import Findings

NUDGE = 0.001
SOURCE = "by hand: ∇f = 2 (x − 3, y − 4)"


def main(fast: bool) -> Findings:
    """Walk the bowl, compare nudges with the gradient."""
    problem = problems.bowl()
    record = lambda info: {"loss": info.value, "x": info.params, "gradient": info.grads}
    with jax.enable_x64(True):
        walk = run(problem, optimizers.gradient_descent(0.1), steps=60, key=jax.random.key(0), record=record)
        loss, x, gradient = (np.asarray(walk.trace[name]) for name in ("loss", "x", "gradient"))
        start = jnp.array([1.0, 1.0])
        nudges = [float((problem.objective(start.at[i].add(NUDGE)) - loss[0]) / NUDGE) for i in (0, 1)]
    distance = np.linalg.norm(x - problem.facts.minimizers[0], axis=1)
    worst = np.abs(distance[1:] - 0.8 * distance[:-1]).max()
    expected = [
        ("loss at (1, 1)", loss[0], 13.0),
        ("slope along x", gradient[0, 0], -4.0),
        ("slope along y", gradient[0, 1], -6.0),
        ("x after one step", x[1, 0], 1.4),
        ("y after one step", x[1, 1], 1.6),
        ("loss after one step", loss[1], 8.32),
        ("x after two steps", x[2, 0], 1.72),
        ("y after two steps", x[2, 1], 2.08),
        ("loss after two steps", loss[2], 5.3248),
    ]
    claims = [Claim(name, float(value), wanted, "≈", 1e-12, SOURCE) for name, value, wanted in expected]
    # A difference quotient loses the digits that both losses share: 13 eps / h.
    lost = 4 * 13 * np.finfo(float).eps / NUDGE
    claims += [
        Claim("slope seen from (1.001, 1)", nudges[0], -4 + NUDGE, "≈", lost, "f′ + h f″/2"),
        Claim("slope seen from (1, 1.001)", nudges[1], -6 + NUDGE, "≈", lost, "f′ + h f″/2"),
        Claim(
            "distance: largest deviation from a factor 0.8 a step",
            worst,
            0.0,
            "≈",
            1e-12,
            "1 − ηλ with λ = 2",
        ),
    ]
    return Findings(figures(problem, x, distance), claims)


def figures(problem: problems.Problem, x: np.ndarray, distance: np.ndarray) -> dict:
    """The walk on its hill, and the distance that is left."""
    import matplotlib.pyplot as plt

    with style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 4.2))
        trajectories(left, problem.objective, {"gradient descent, rate 0.1": x}, ((0, 6), (0, 6)), minimizers=[[3, 4]])
        left.set(title="Down the bowl", xlabel="salt $x$", ylabel="pepper $y$", aspect="equal")
        convergence(
            right,
            {"measured": distance},
            theory={"measured": geometric(0.8, (0, distance[0]))},
            ylabel="distance to (3, 4)",
        )
        right.set_title("A factor 0.8 a step")
    caption = "From (1, 1) at rate 0.1, float64, full gradient, no seed. Dashed: 0.8ᵏ times the first distance."
    return {"figure": (figure, caption)}
