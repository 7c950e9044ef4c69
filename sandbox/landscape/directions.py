"""Directions through the space of parameters: the coordinate axes of two variables, Gaussian ones of many.

In a network with rectifiers a layer scaled by c and the next one by 1/c compute the same, so a plain Gaussian direction
says more of the scale of the weights than of the ground. Filter normalisation (Li et al. 2018, section 4) takes that
scale out: every filter of the direction, the weights that make one output, gets the length of the same filter of the
parameters. Which axis counts the outputs is read off a leaf's name:

    kernel                     (…, in, out): the last axis, as flax has it
    w, embedding, other names  (out, …): the first axis, as in `sandbox.models`
    b, bias, scale, any vector or number: one filter as a whole
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from sandbox import tree
from sandbox.types import Key, Params

WHOLE = ("b", "bias", "scale")


def directions(params: Params, key: Key, *, normalization: str = "filter") -> tuple[Params, Params]:
    """Two directions like params: the coordinate axes of two variables, else two independent Gaussian ones.

    normalization="filter" scales each filter to the length of that filter of params, so that one of zeros stays zero;
    "none" leaves the draws as they are, of mean 0 and variance 1. Raises ValueError for a single parameter, which has
    one direction only, and for filters that are all zero.
    """
    if normalization not in ("filter", "none"):
        raise ValueError(f"normalization={normalization!r}: expected 'filter' or 'none'")
    params = floats(params)
    size = sum(x.size for x in jax.tree.leaves(params))
    if size < 2:
        raise ValueError(f"a plane needs two parameters or more and there are {size}: draw a line")
    if size == 2:
        return _axis(params, 0), _axis(params, 1)
    u, v = (_gaussian(params, k) for k in jax.random.split(key))
    if normalization == "none":
        return u, v
    norms = tree.norm(params)
    if not isinstance(norms, jax.core.Tracer) and norms == 0:
        raise ValueError("all parameters are zero and give a direction no length; take normalization='none'")
    return filter_normalized(u, params), filter_normalized(v, params)


def floats(params: Params) -> Params:
    """The same numbers as arrays that can be moved: whole ones become floats."""
    leaf = lambda x: x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(jnp.result_type(float))
    return jax.tree.map(lambda x: leaf(jnp.asarray(x)), params)


def filter_normalized(direction: Params, params: Params) -> Params:
    """d_f ← d_f ‖w_f‖ / ‖d_f‖ for each filter f."""

    def leaf(path: tuple, d: Array, w: Array) -> Array:
        own, wanted = (_lengths(path, x) for x in (d, w))
        return (d * jnp.where(own > 0, wanted / jnp.where(own > 0, own, 1), 0)).astype(d.dtype)

    return jax.tree_util.tree_map_with_path(leaf, direction, params)


def _lengths(path: tuple, x: Array) -> Array:
    """The length of every filter of a leaf, in a shape that multiplies the leaf."""
    name = jax.tree_util.keystr(path[-1:], simple=True)
    if x.ndim < 2 or name in WHOLE:
        others = tuple(range(x.ndim))
    else:
        others = tuple(range(x.ndim - 1)) if name == "kernel" else tuple(range(1, x.ndim))
    return jnp.sqrt(jnp.sum(tree.abs2(tree.widen(x)), axis=others, keepdims=True))


def _gaussian(params: Params, key: Key) -> Params:
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    return jax.tree.unflatten(
        structure, [jax.random.normal(k, x.shape, x.dtype) for k, x in zip(keys, leaves, strict=True)]
    )


def _axis(params: Params, number: int) -> Params:
    """The unit vector of one variable, counted over all leaves."""
    leaves, structure = jax.tree.flatten(params)
    units, first = [], 0
    for x in leaves:
        units.append((jnp.arange(x.size) == number - first).astype(x.dtype).reshape(x.shape))
        first += x.size
    return jax.tree.unflatten(structure, units)
