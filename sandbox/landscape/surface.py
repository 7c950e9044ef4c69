"""The objective on lines and planes through the space of parameters, in bounded batches, as it is.

    line   L_i  = f(x + aᵢ u)
    plane  L_ij = f(x + aᵢ u + bⱼ v)
    blame  B    = (y − x) ⊙ ∫₀¹ ∇f(x + t (y − x)) dt, what each parameter adds to f(y) − f(x)

f is the objective on all data. No value is altered: NaN and infinity stay where they are.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from sandbox import tree
from sandbox.engine.lanes import together
from sandbox.engine.program import Traced
from sandbox.landscape.directions import floats
from sandbox.problems.problem import Problem
from sandbox.types import Batch, Key, Params


def line(
    problem: Problem | Callable[[Params], Any],
    centre: Params,
    u: Params,
    a: Float[ArrayLike, " a"],
    *,
    key: Key | None = None,
    batch_size: int | None = None,
) -> Float[Array, " a"]:
    """f(centre + a u); for the options and the errors see `plane`."""
    return _slice(problem, centre, (u,), (a,), key, batch_size)


def plane(
    problem: Problem | Callable[[Params], Any],
    centre: Params,
    u: Params,
    v: Params,
    a: Float[ArrayLike, " a"],
    b: Float[ArrayLike, " b"],
    *,
    key: Key | None = None,
    batch_size: int | None = None,
) -> Float[Array, "a b"]:
    """f(centre + a u + b v), row i for aᵢ and column j for bⱼ.

    `problem` may also be any function of the parameters. `batch_size` points are computed side by side, by default as
    many as a core's caches hold; `key`, for losses with noise, is the same at every point.
    Raises ValueError for directions unlike the centre, zero, not finite, or parallel, which span no plane.
    """
    return _slice(problem, centre, (u, v), (a, b), key, batch_size)


def blame(
    problem: Problem | Callable[[Params], Any], start: Params, end: Params, *, key: Key | None = None, nodes: int = 64
) -> Params:
    """What each parameter contributes to f(end) − f(start): integrated gradients (Sundararajan, Taly & Yan 2017).

    All entries add up to the change. The integral is Gauss's rule of that many nodes: to rounding where f is smooth,
    roughly where it has kinks, as with rectifiers. Raises ValueError for an end unlike the start.
    """
    start, end = floats(start), floats(end)
    if jax.tree.map(np.shape, start) != jax.tree.map(np.shape, end):
        raise ValueError("the end is not shaped like the start: a straight path joins parameters of one network")
    t, share = np.polynomial.legendre.leggauss(nodes)
    value = (lambda x: problem.objective(x, key=key)) if isinstance(problem, Problem) else problem
    gradient = jax.grad(lambda x: _scalar(value(x)))

    @jax.jit
    def shares(start: Params, end: Params) -> Params:
        change = tree.sub(end, start)

        def add(total: Params, node: tuple[Array, Array]) -> tuple[Params, None]:
            there = tree.add(start, tree.scale(node[0], change))
            return tree.add(total, tree.scale(node[1], gradient(there))), None

        rule = jnp.asarray((1 + t) / 2), jnp.asarray(share / 2)
        return jax.tree.map(jnp.multiply, change, jax.lax.scan(add, tree.zeros_like(start), rule)[0])

    return shares(start, end)


def _slice(
    problem: Any, centre: Params, along: tuple[Params, ...], grids: tuple[Any, ...], key: Any, batch_size: int | None
) -> Array:
    """f(centre + Σ cₙ dₙ) at every point c of the product of the grids."""
    centre, along = floats(centre), tuple(map(floats, along))
    check(centre, *along)
    axes = [jnp.asarray(grid, float) for grid in grids]
    for name, axis in zip("ab", axes, strict=False):
        if axis.ndim != 1 or axis.size == 0:
            raise ValueError(f"{name} has shape {axis.shape}; expected coordinates along one direction, (points,)")
    points = jnp.stack([c.ravel() for c in jnp.meshgrid(*axes, indexing="ij")], axis=1)
    data = jax.tree.map(jnp.asarray, problem.data) if isinstance(problem, Problem) else None

    def value(data: Batch, centre: Params, along: tuple[Params, ...], c: Array) -> Array:
        params = centre
        for n, d in enumerate(along):
            params = tree.add(params, tree.scale(c[n], d))
        found = problem.objective(params, data, key) if isinstance(problem, Problem) else problem(params)
        return _scalar(found)

    if batch_size is None:
        place = jax.ShapeDtypeStruct(points.shape[1:], points.dtype)
        batch_size = together(Traced(lambda c: value(data, centre, along, c), {"c": place}).cost.working_set)
    elif batch_size < 1:
        raise ValueError(f"batch_size={batch_size}: expected a whole number of points from 1 up")

    @jax.jit  # with the data as an argument: a constant of its size would be folded through the program
    def every(data: Batch, centre: Params, along: tuple[Params, ...]) -> Array:
        return jax.lax.map(lambda c: value(data, centre, along, c), points, batch_size=batch_size)

    return every(data, centre, along).reshape([axis.size for axis in axes])


def check(centre: Params, *along: Params) -> None:
    """ValueError for directions that are unlike the centre, or that do not span as many dimensions as there are."""
    shape = lambda x: jax.tree.map(np.shape, x)
    like = lambda d: str(jax.tree.structure(d)) == str(jax.tree.structure(centre)) and shape(d) == shape(centre)
    for name, d in zip("uv", along, strict=False):
        if not like(d):
            raise ValueError(f"direction {name} is not shaped like the centre: {shape(d)}, expected {shape(centre)}")
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(along)):
        return
    first, *others = (flat(d) for d in along)
    for name, d in zip("uv", (first, *others), strict=False):
        if not np.isfinite(d).all() or not d.any():
            raise ValueError(f"direction {name} is {'zero' if np.isfinite(d).all() else 'not finite'}; take another")
    eps = max(float(jnp.finfo(x.dtype).eps) for x in jax.tree.leaves(along))
    unit = first / np.linalg.norm(first)
    for d in others:
        if np.linalg.norm(d - np.vdot(unit, d) * unit) <= 16 * eps * np.linalg.norm(d):
            raise ValueError("the directions u and v are parallel and span no plane; take another, or draw a line")


def flat(x: Params, lead: tuple[int, ...] = ()) -> Float[np.ndarray, "*lead n"]:
    """All leaves as one vector of real numbers in double precision, behind the leading axes that they share."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(x)]
    wide = [leaf.astype(np.complex128 if np.iscomplexobj(leaf) else np.float64) for leaf in leaves]
    return np.concatenate([leaf.reshape(*lead, -1).view(np.float64) for leaf in wide], axis=-1)


def _scalar(value: Any) -> Array:
    value = jnp.asarray(value)
    if value.shape != ():
        raise ValueError(f"the function returns an array of shape {value.shape}; expected one number for one point")
    return value
