"""Sequential minimal optimization: the weights of two examples at a time, all others held (Platt 1998)."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sandbox.problems import dual
from sandbox.problems.dual import KernelMachine

DIGITS = 9  # behind the point that no slope along which one may go shows

Choice = Callable[..., tuple[Array, Array, Array]]  # places, their new weights, and the largest slope


class Search(NamedTuple):
    """Weights, the slope of the dual at them, the moves so far, and the largest slope along which one may still go."""

    alpha: Float[Array, " examples"]
    slope: Float[Array, " examples"]  # Qα − 1
    moves: Array
    violation: Array


class Weights(NamedTuple):
    """Where the search ended."""

    alpha: Float[np.ndarray, " examples"]
    moves: int


def smo(model: KernelMachine, tol: float, most: int, start: Any = None) -> Weights:
    """min ½ αᵀQα − Σα over 0 ≤ α ≤ C, yᵀα = 0, to a relative duality gap of tol and slopes of 1e-9, or `most` moves.

    Of the pairs (i, j) along which yᵀα stays, i has the largest −y ∇, and with it j falls most, by (∇ᵢ − ∇ⱼ)² / 2
    over the curvature: Fan, Chen & Lin (2005), as in LIBSVM. A move costs two rows of Q. Without an intercept one
    weight moves at a time.
    """
    Q, y, C = jnp.asarray(model.Q), jnp.asarray(model.y), jnp.asarray(float(model.C))
    n = len(model.y)
    alpha = jnp.zeros(n) if start is None else jnp.asarray(start)
    # Typed as it comes back, so that the second descent needs no compiling.
    at = Search(alpha, Q @ alpha - 1, jnp.zeros((), int), jnp.asarray(jnp.inf, Q.dtype))
    choose = _pair if model.fit_intercept else _single
    for digits in range(2, 16):
        at = _descend(choose, Q, jnp.diagonal(Q), y, C, at, most, 10.0**-digits)
        # What rounding left in the slopes after many moves is taken out before they are trusted.
        at = at._replace(slope=Q @ at.alpha - 1)
        if (dual.vouch(model, at.alpha, at.slope + 1).gap <= tol and digits >= DIGITS) or at.moves >= most:
            break
    return Weights(np.asarray(at.alpha), int(at.moves))


@partial(jax.jit, static_argnums=0)
def _descend(
    choose: Choice, Q: Array, diagonal: Array, y: Array, C: Array, at: Search, most: int, enough: float
) -> Search:
    """Move after move, until no slope is above `enough`."""

    def move(at: Search) -> Search:
        places, values, violation = choose(Q, diagonal, y, C, at.alpha, at.slope)
        change = values - at.alpha[places]
        slope = at.slope + sum(d * Q[i] for d, i in zip(change, places, strict=True))
        return Search(at.alpha.at[places].set(values), slope, at.moves + 1, violation)

    fresh = at._replace(violation=jnp.full_like(at.violation, jnp.inf))
    return jax.lax.while_loop(lambda at: (at.violation > enough) & (at.moves < most), move, fresh)


def _pair(Q: Array, diagonal: Array, y: Array, C: Array, alpha: Array, slope: Array) -> tuple[Array, Array, Array]:
    """Two places and their new weights: yᵢαᵢ grows by t and yⱼαⱼ falls by it."""
    uphill = -y * slope
    may_grow, may_fall = jnp.where(y > 0, alpha < C, alpha > 0), jnp.where(y > 0, alpha > 0, alpha < C)
    i = jnp.argmax(jnp.where(may_grow, uphill, -jnp.inf))
    gain = uphill[i] - uphill
    curvature = jnp.maximum(diagonal[i] + diagonal - 2 * y[i] * y * Q[i], 1e-12)
    j = jnp.argmax(jnp.where(may_fall & (gain > 0), gain**2 / curvature, -jnp.inf))
    places = jnp.stack([i, j])
    signs, weights = y[places] * jnp.array([1.0, -1.0]), alpha[places]
    ends = jnp.where(signs > 0, C, 0.0)
    room = jnp.abs(ends - weights)
    t = jnp.minimum(gain[j] / curvature[j], jnp.min(room))
    # A weight that comes to its end is set there: its sum with the step would miss it by rounding.
    return places, jnp.where(room == t, ends, weights + signs * t), jnp.max(jnp.where(may_fall, gain, -jnp.inf))


def _single(Q: Array, diagonal: Array, y: Array, C: Array, alpha: Array, slope: Array) -> tuple[Array, Array, Array]:
    """One place and its new weight, at its minimum or where the box ends."""
    downhill = jnp.where(slope < 0, alpha < C, alpha > 0) * jnp.abs(slope)
    curvature = jnp.maximum(diagonal, 1e-12)
    i = jnp.argmax(downhill**2 / curvature)
    value = jnp.clip(alpha[i] - slope[i] / curvature[i], 0, C)
    return i[None], value[None], jnp.max(downhill)
