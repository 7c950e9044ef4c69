"""Mode connectivity: curves from one minimum to another, bent until they stay low, and the barrier that is left."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from sandbox.landscape.directions import ends
from sandbox.problems.problem import Problem
from sandbox.types import Batch, Key, Params, Scalar


def bezier(start: Params, bend: Params, end: Params, t: Scalar) -> Params:
    """γ(t) = (1 − t)² start + 2t(1 − t) bend + t² end; with the bend half-way, the straight line."""
    return jax.tree.map(lambda a, b, c: (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c, start, bend, end)


def middle(start: Params, end: Params) -> Params:
    """(start + end)/2."""
    return jax.tree.map(lambda a, b: (a + b) / 2, start, end)


def curve(problem: Problem, start: Params, end: Params, nodes: int = 16) -> Problem:
    """∫₀¹ f(γ(t)) dt along the Bézier curve from start to end, as a problem in its bend (Garipov et al. 2018).

    With a key the loss is f at one t drawn from U[0, 1], without one the whole integral, by Gauss's rule of so many
    nodes; `run` gives one in every step. It begins half-way, where the curve is straight.
    Raises ValueError for an end unlike the start.
    """
    start, end = ends(start, end)
    place, share = np.polynomial.legendre.leggauss(nodes)

    def loss(bend: Params, batch: Batch, key: Key | None) -> Scalar:
        at = lambda t, key: problem.objective(bezier(start, bend, end, t), batch, key)
        if key is not None:
            draw, noise = jax.random.split(key)
            return at(jax.random.uniform(draw), noise)
        values = jax.lax.map(lambda t: at(t, None), jnp.asarray((1 + place) / 2))
        return jnp.asarray(share / 2, values.dtype) @ values

    return Problem(f"curve in {problem.name}", lambda key: middle(start, end), loss, data=problem.data)


def along(
    function: Callable[[Params], Any], path: Callable[[Array], Params], t: Float[ArrayLike, " t"]
) -> Float[Array, " t"]:
    """function(path(t)) at every t, one after another."""
    return jax.jit(lambda t: jax.lax.map(lambda t: jnp.asarray(function(path(t))), t))(jnp.asarray(t, float))


def barrier(t: Float[ArrayLike, " t"], values: Float[ArrayLike, "*lanes t"]) -> Float[np.ndarray, "*lanes"]:
    """max over t of f(γ(t)) − (1 − t) f(γ(0)) − t f(γ(1)) (Entezari et al. 2022): 0 where none lies above.

    NaN where a value is NaN. Raises ValueError for places that do not go from 0 to 1.
    """
    t, values = np.asarray(t, float), np.asarray(values, float)
    if t.ndim != 1 or t.size < 2 or (t[0], t[-1]) != (0, 1) or values.shape[-1:] != t.shape:
        raise ValueError(f"t has shape {t.shape}, values {values.shape}: expected values (…, t) at places from 0 to 1")
    first, last = values[..., :1], values[..., -1:]
    return (values - (1 - t) * first - t * last).max(axis=-1)
