"""Basins of attraction: which stationary point a start is drawn to, and in how many steps."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from sandbox import tree
from sandbox.engine import Info, run
from sandbox.problems.problem import Problem
from sandbox.types import Key, Metrics, Params


class Arrival(NamedTuple):
    """Where a run ends, and when it was there."""

    end: Params
    steps: Int[Array, ""]  # to the last gradient longer than the tolerance; all steps where it never was shorter


def arrive(
    problem: Problem, optimizer: Any, start: Params, *, steps: int, key: Key, tolerance: float = 1e-6
) -> Arrival:
    """Run from the start, and count the steps until ‖∇f‖ stays within the tolerance. For one start: lift with vmap.

    A run that diverges ends at its last finite place, and never arrives.
    """

    def record(info: Info) -> Metrics:
        return {"far": ~(tree.norm(info.grads) <= tolerance)}

    result = run(problem, optimizer, steps=steps, key=key, params=start, record=record)
    # A lane that has diverged stays, and its gradient there is not small.
    last = jnp.max(jnp.where(result.trace["far"], jnp.arange(1, steps + 1), 0))
    return Arrival(result.params, last)


def nearest(
    ends: Float[np.ndarray, "*lanes n"], points: Float[np.ndarray, "points n"], tolerance: float
) -> Int[np.ndarray, "*lanes"]:
    """The number of the point that each end is at, −1 where none is within the tolerance.

    Raises ValueError for points so near to each other that an end may be at two.
    """
    ends, points = np.asarray(ends, float), np.asarray(points, float)
    apart = np.linalg.norm(points[:, None] - points, axis=-1)[~np.eye(len(points), dtype=bool)]
    if apart.size and apart.min() <= 2 * tolerance:
        raise ValueError(f"two points are {apart.min():.3g} apart, within twice the tolerance {tolerance:g}: lower it")
    found, least = np.full(ends.shape[:-1], -1), np.full(ends.shape[:-1], np.inf)
    for number, point in enumerate(points):
        far = np.linalg.norm(ends - point, axis=-1)
        closer = (far <= tolerance) & (far < least)  # False for NaN
        found[closer], least[closer] = number, far[closer]
    return found
