"""How fast is the ground surveyed? Planes of a network and of two variables, beside the loop that tools run, and sgemm.

The rival is a Python loop over the grid that calls a jitted loss with two coordinates and reads one float for each
point, the data and the parameters on the device. Rounds are interleaved and a ratio is the median over the rounds, with
its range; "sgemm" is NumPy's product of two 2048 × 2048 matrices in float32 on all cores, in the same rounds. What is
timed is a call that finds its program compiled.

    python experiments/speed.py landscape
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from speed import interleaved, keep
from speed_engine import of_sgemm, row, sgemm

import sandbox
from sandbox import landscape, problems, tree

benchmark = True
ROUNDS, POINTS, HIDDEN = 5, 51, 64
TOGETHER = (None, 1, 2, 4, 8, 16)  # points side by side, of which the best is chosen
EXAMPLES = (None, 128, 256)  # that go through the network at a time


def place(problem: problems.Problem) -> tuple[Any, ...]:
    """Centre, directions and coordinates of a plane."""
    centre = problem.init(jax.random.key(0))
    axis = np.linspace(-1, 1, POINTS)
    return centre, *landscape.directions(centre, jax.random.key(1)), axis, axis


def ours(problem: problems.Problem, where: tuple[Any, ...], **options: Any) -> Callable[[], np.ndarray]:
    return lambda: np.asarray(landscape.plane(problem, *where, **options))


def loop(problem: problems.Problem, where: tuple[Any, ...]) -> Callable[[], np.ndarray]:
    """A jitted loss of two coordinates, point after point."""
    centre, u, v, a, b = where
    data = jax.tree.map(jnp.asarray, problem.data)

    @jax.jit
    def loss(data: Any, centre: Any, u: Any, v: Any, s: Any, t: Any) -> jax.Array:
        there = tree.add(tree.add(centre, tree.scale(s, u)), tree.scale(t, v))
        return problem.objective(there, data)

    return lambda: np.array([[float(loss(data, centre, u, v, s, t)) for t in b] for s in a])


def network() -> list[dict[str, Any]]:
    """51 × 51 points of the digits MLP on all training data; the widths are chosen first, in rounds of their own."""
    problem = problems.digits_mlp(hidden=(HIDDEN,))
    where = place(problem)
    every = {
        f"{width or 'as many as chosen'} points, {size or 'all'} examples": dict(batch_size=width, examples=size)
        for width in TOGETHER
        for size in EXAMPLES
    }
    trial = interleaved(3, **{name: ours(problem, where, **options) for name, options in every.items()})
    best = min(every, key=lambda name: np.median(trial[name]))
    found = {"default": ours(problem, where), "best": ours(problem, where, **every[best])}
    times = interleaved(ROUNDS, **found, loop=loop(problem, where), product=sgemm())
    known = loop(problem, where)()
    for each in found.values():
        np.testing.assert_allclose(each(), known, rtol=1e-4)
    features, classes = problem.data.X.shape[1], 10
    flop = POINTS**2 * len(problem.data.y) * 2 * HIDDEN * (features + classes)
    what = f"digits MLP {features}-{HIDDEN}-{classes}, {POINTS}² points × {len(problem.data.y):,} examples"
    return [
        each
        for name, label in (("default", what), ("best", f"{what}, {best}"))
        for each in (
            row(label, "Python loop over a jitted loss", times["loop"] / times[name], 2.5, times[name]),
            row(label, "sgemm", of_sgemm(flop, times[name], times["product"]), 0.3, times[name]),
        )
    ]


def valley() -> list[dict[str, Any]]:
    """51 × 51 points of Rosenbrock's function."""
    problem = problems.rosenbrock()
    where = place(problem)
    times = interleaved(ROUNDS, ours=ours(problem, where), loop=loop(problem, where))
    what, rival = f"Rosenbrock, {POINTS}² points", "Python loop over a jitted loss"
    return [row(what, rival, times["loop"] / times["ours"], 50, times["ours"])]


def main() -> list[dict[str, Any]]:
    """Measure everything, write results/speed/landscape.csv."""
    sandbox.use_all_cores()
    return keep("landscape", (each for part in (valley, network) for each in part()))


if __name__ == "__main__":
    main()
