"""Regularizers r(params), each with its prox: argmin_z r(z) + ‖z − x‖² / (2 step)."""

import functools
import operator
from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from sandbox import tree
from sandbox.types import Params, Scalar


class Regularizer(NamedTuple):
    """A function of the parameters, together with its proximal operator."""

    value: Callable[[Params], Scalar]
    prox: Callable[[Params, Scalar], Params]

    def __call__(self, params: Params) -> Scalar:
        return self.value(params)


def l2(strength: Scalar) -> Regularizer:
    """r(x) = (s/2) ‖x‖²; its prox shrinks: x / (1 + step · s)."""
    value = lambda params: strength / 2 * _square_sum(params)
    return _leafwise(value, lambda x, step: x / (1 + step * strength))


def l1(strength: Scalar) -> Regularizer:
    """r(x) = s ‖x‖₁, with subgradient 0 at 0; its prox is the soft threshold sign(x) max(|x| − step · s, 0)."""
    value = lambda params: strength * _absolute_sum(params)
    return _leafwise(value, lambda x, step: soft_threshold(x, step * strength))


def elastic_net(l1: Scalar, l2: Scalar) -> Regularizer:
    """r(x) = l1 ‖x‖₁ + (l2/2) ‖x‖² (Zou & Hastie 2005); its prox first thresholds, then shrinks."""
    value = lambda params: l1 * _absolute_sum(params) + l2 / 2 * _square_sum(params)
    return _leafwise(value, lambda x, step: soft_threshold(x, step * l1) / (1 + step * l2))


def box(lower: Float[ArrayLike, "..."], upper: Float[ArrayLike, "..."]) -> Regularizer:
    """The indicator of lower ≤ x ≤ upper: 0 inside, ∞ outside; its prox clips, whatever the step.

    The bounds are numbers, or arrays that broadcast to every leaf.
    """
    inside = lambda x: jnp.all((x >= _like(lower, x)) & (x <= _like(upper, x)))
    return _leafwise(_indicator(inside), lambda x, step: jnp.clip(x, _like(lower, x), _like(upper, x)))


def simplex() -> Regularizer:
    """The indicator of {x ≥ 0, Σ xᵢ = 1}, for each leaf by itself; its prox is the Euclidean projection.

    Sums are compared with 1 up to their rounding, 4 n eps.
    """

    def inside(x: Array) -> Array:
        rounding = 4 * x.size * jnp.finfo(x.dtype).eps
        return jnp.all(x >= 0) & (jnp.abs(jnp.sum(x) - 1) <= rounding)

    return _leafwise(_indicator(inside), lambda x, step: project_simplex(x))


def balanced_box(y: Float[ArrayLike, " entries"], upper: Scalar) -> Regularizer:
    """The indicator of {0 ≤ x ≤ upper, yᵀx = 0} for signs y: the weights of a support vector machine's examples.

    Its prox is the Euclidean projection. yᵀx is compared with 0 up to its rounding, 4 n eps · upper.
    """

    def inside(x: Array) -> Array:
        rounding = 4 * x.size * jnp.finfo(x.dtype).eps * upper
        return jnp.all((x >= 0) & (x <= upper)) & (jnp.abs(jnp.dot(_like(y, x), x)) <= rounding)

    return _leafwise(_indicator(inside), lambda x, step: project_balanced_box(x, _like(y, x), _like(upper, x)))


def on(entry: str, regularizer: Regularizer) -> Regularizer:
    """The regularizer on one entry of a dict of parameters; the others, an intercept say, go free."""

    def prox(params: Params, step: Scalar) -> Params:
        return {**params, entry: regularizer.prox(params[entry], step)}

    return Regularizer(lambda params: regularizer.value(params[entry]), prox)


def absolute(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """|x| as x · sign(x), whose derivative at 0 is 0, where that of jnp.abs is 1."""
    return x * jnp.sign(x)


def soft_threshold(x: Float[Array, "..."], threshold: Scalar) -> Float[Array, "..."]:
    """sign(x) max(|x| − threshold, 0)."""
    return jnp.sign(x) * jax.nn.relu(jnp.abs(x) - threshold)


def project_simplex(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """max(x − τ, 0), with τ such that the entries sum to 1 (Held, Wolfe & Crowder 1974).

    With x sorted downwards, τ = (x₁ + … + xₖ − 1)/k for the largest k that leaves xₖ above τ.
    """
    centred = x - jnp.max(x)  # the projection ignores a common shift, rounding does not
    falling = -jnp.sort(-centred.ravel())
    counts = jnp.arange(1, x.size + 1, dtype=x.dtype)
    thresholds = (jnp.cumsum(falling) - 1) / counts
    support = jnp.sum(falling > thresholds)
    projected = jax.nn.relu(centred - thresholds[support - 1])
    return projected / jnp.sum(projected)


def project_balanced_box(
    x: Float[Array, " entries"], y: Float[Array, " entries"], upper: Float[Array, ""]
) -> Float[Array, " entries"]:
    """clip(x − ν y, 0, upper), with ν such that yᵀ of it is 0 (Pardalos & Kovoor 1990).

    With lower ends aᵢ = xᵢ − upper where yᵢ = 1 and −xᵢ where yᵢ = −1, yᵀ of it is n₊ upper − Σ clip(ν − aᵢ, 0, upper):
    a sum of ramps, whose slope grows by 1 at each aᵢ and falls by 1 at each aᵢ + upper.
    """
    lower = jnp.where(y > 0, x - upper, -x)
    ends = jnp.concatenate([lower, lower + upper])
    order = jnp.argsort(ends)
    ends, turns = ends[order], jnp.where(order < x.size, 1, -1)
    heights = jnp.concatenate([jnp.zeros(1, x.dtype), jnp.cumsum(jnp.diff(ends) * jnp.cumsum(turns)[:-1])])
    projected = jnp.clip(x - jnp.interp(upper * jnp.sum(y > 0), heights, ends) * y, 0, upper)
    free = (projected > 0) & (projected < upper)  # they take what rounding has left of yᵀx, where x is large
    left = jnp.dot(y, projected) / jnp.maximum(1, jnp.sum(free))
    return jnp.clip(projected - jnp.where(free, left * y, 0), 0, upper)


def _leafwise(value: Callable[[Params], Scalar], prox: Callable[[Array, Scalar], Array]) -> Regularizer:
    """A prox of one array, lifted to trees; dtypes stay as they came."""
    lifted = lambda params, step: jax.tree.map(
        lambda x: prox(jnp.asarray(x), step).astype(jnp.asarray(x).dtype), params
    )
    return Regularizer(value, lifted)


def _indicator(inside: Callable[[Array], Array]) -> Callable[[Params], Scalar]:
    """0 where every leaf is inside, else ∞."""
    return lambda params: jnp.where(
        jnp.all(jnp.stack([inside(jnp.asarray(x)) for x in jax.tree.leaves(params)])), 0.0, jnp.inf
    )


def _square_sum(params: Params) -> Array:
    """‖x‖² over all leaves, summed in at least float32, and in no more than the leaves have."""
    return _total(jnp.sum(tree.abs2(x)) for x in map(_wide, jax.tree.leaves(params)))


def _absolute_sum(params: Params) -> Array:
    """‖x‖₁ over all leaves, summed likewise."""
    return _total(jnp.sum(absolute(x)) for x in map(_wide, jax.tree.leaves(params)))


def _wide(x: ArrayLike) -> Array:
    return tree.widen(jnp.asarray(x))


def _total(terms: Iterable[Array]) -> Array:
    """Their sum, in their own dtype: it does not start from an array of zeros."""
    return functools.reduce(operator.add, terms)


def _like(bound: ArrayLike, x: Array) -> Array:
    return jnp.asarray(bound, x.dtype)
