"""A survey: the ground around a point or the end of a run, ready to be drawn, and the run's path over it."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sandbox import tree
from sandbox.engine import Info, Run, run
from sandbox.landscape.directions import directions, flat
from sandbox.landscape.paths import Projection, Window, project, window
from sandbox.landscape.surface import plane
from sandbox.optimizers.averaging import eval_params
from sandbox.problems.problem import Problem
from sandbox.types import Key, Metrics, Params

ROWS = 200  # of a path through many variables, all of which are kept at once; of two variables every step is


class Survey(NamedTuple):
    """A plane of values and what lies on it; `a` and `b` are the two variables themselves where there are two."""

    a: Float[np.ndarray, " a"]
    b: Float[np.ndarray, " b"]
    values: Float[np.ndarray, "a b"]
    centre: Params  # where a = b = 0
    directions: tuple[Params, Params]
    normalization: str  # of the directions: "axes" of two variables, "filter", or "none"
    minimizers: Float[np.ndarray, "minima 2"]  # of two variables, those that are known
    path: Projection | None
    run: Run | None


def survey(
    problem: Problem,
    *,
    key: Key,
    optimizer: Any = None,
    steps: int = 1000,
    batch_size: int | None = None,
    span: float | None = None,
    points: int | None = None,
    normalization: str | None = None,
    params: Params | None = None,
    path: Params | None = None,
) -> Survey:
    """The plane around the end of a run or, without an optimizer, around a known minimiser or the start.

    Of two variables the axes are the variables, and the window holds start, path and minimisers, or the whole domain;
    with `span` it reaches that far from the centre to every side. Of more variables the directions are random,
    filter-normalised (plain where all parameters are zero), and `span` counts in their lengths; by default it is 1, or
    as far as the path goes. `points` to each side of the grid are 201 of two variables, else 51. `params`, and `path`
    with a leading axis of steps, are of a run that was made before, to look at instead of a new one.
    Raises ValueError for a span that is not positive, for fewer than three points, and for a single variable.
    """
    if span is not None and not 0 < span < math.inf:
        raise ValueError(f"span={span}: expected a positive number")
    if points is not None and points < 3:
        raise ValueError(f"points={points}: expected three points or more to each side")
    start = problem.init(jax.random.split(key, 3)[0])  # where `run` starts
    result, path = (None, path) if optimizer is None else _run(problem, optimizer, steps, batch_size, key)
    known = problem.facts.minimizers or ()
    middle = result.params if result else params if params is not None else known[0] if known else start
    middle = jax.tree.map(jnp.asarray, middle)
    wanted = normalization or ("filter" if tree.norm(middle) > 0 else "none")
    along = directions(middle, jax.random.fold_in(key, 3), normalization=wanted)
    normalization = "axes" if flat(middle).size == 2 else wanted
    minimizers = np.empty((0, 2))
    if normalization == "axes":
        minimizers = np.stack([flat(x) for x in known]) if known else minimizers
        centre = tree.zeros_like(middle)
        projected = None if path is None else project(path, centre, *along)
        (a0, a1), (b0, b1) = _window(problem, flat(middle), flat(start), minimizers, projected, span)
    else:
        centre = middle
        projected = None if path is None else project(path, centre, *along)
        reach = 1.0 if projected is None else max(1.0, 1.1 * np.abs(projected[:2]).max())
        a1 = b1 = span or reach
        a0 = b0 = -a1
    points = points or (201 if normalization == "axes" else 51)
    a, b = np.linspace(a0, a1, points), np.linspace(b0, b1, points)
    values = plane(problem, centre, *along, a, b, key=key)
    return Survey(a, b, np.asarray(values), centre, along, normalization, minimizers, projected, result)


def _run(problem: Problem, optimizer: Any, steps: int, batch_size: int | None, key: Key) -> tuple[Run, Params]:
    """A run, and its path: where it would be evaluated before every recorded step while it lasts, and at its end."""
    few = sum(x.size for x in jax.tree.leaves(jax.eval_shape(problem.init, key))) <= 2

    def place(info: Info) -> Metrics:
        return {"params": eval_params(info.state, info.params)}

    every = 1 if few else max(1, math.ceil(steps / ROWS))
    whole = lambda key: run(
        problem, optimizer, steps=steps, batch_size=batch_size, key=key, record=place, every=every
    )  # fmt: skip
    result = jax.jit(whole)(key)
    lasted = int(result.diverged_at) if int(result.status) else steps
    kept = int(np.sum(np.asarray(result.steps) < lasted))
    until = lambda rows, end: np.concatenate([np.asarray(rows)[:kept], np.asarray(end)[None]])
    path = jax.tree.map(until, result.trace["params"], result.params)
    return result, path


def _window(
    problem: Problem,
    centre: np.ndarray,
    start: np.ndarray,
    minimizers: np.ndarray,
    path: Projection | None,
    span: float | None,
) -> Window:
    """What to look at of two variables."""
    if span is not None:
        (x, y) = centre
        return (x - span, x + span), (y - span, y + span)
    domain = problem.facts.domain and (flat(problem.facts.domain[0]), flat(problem.facts.domain[1]))
    if domain and not np.isfinite(domain).all():
        domain = None
    if domain and path is None:
        return window([], domain)
    steps = np.empty((0, 2)) if path is None else np.stack([path.a, path.b], axis=1)
    return window([start, minimizers, steps], domain)
