"""Directions through the space of parameters: random ones, those to other points, those along which a path varies most.

In a network with rectifiers a layer scaled by c and the next one by 1/c compute the same, so a plain Gaussian direction
says more of the scale of the weights than of the ground. Filter normalisation (Li et al. 2018, section 4) takes that
scale out: every filter of the direction, the weights that make one output, gets the length of the same filter of the
parameters. Which axis counts the outputs is read off a leaf's name:

    kernel                     (…, in, out): the last axis, as flax has it
    w, embedding, other names  (out, …): the first axis, as in `sandbox.models`
    b, bias, scale, any vector or number: one filter as a whole

Coarser ones give each leaf ("layer") or all of them together ("model") the length that the parameters have there.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sandbox import tree
from sandbox.types import Key, Params, Scalar

WHOLE = ("b", "bias", "scale")


class Principal(NamedTuple):
    """The principal components of a path, the strongest first."""

    centre: Params  # the mean of its steps
    directions: tuple[Params, ...]  # of length 1, at right angles, each towards the end of the path
    shares: Float[np.ndarray, " k"]  # of the variance


class Triangle(NamedTuple):
    """The plane through three points."""

    centre: Params  # the first of them
    u: Params  # of length 1, towards the second
    v: Params  # of length 1 at right angles to u, on the side of the third
    places: Float[np.ndarray, "3 2"]  # where the points lie in it


def directions(params: Params, key: Key, *, normalization: str = "filter") -> tuple[Params, Params]:
    """Two directions like params: the coordinate axes of two variables, else two independent Gaussian ones.

    For `normalization` and the errors see `direction`. A single parameter has one direction only: ValueError.
    """
    _known(normalization)
    params = floats(params)
    size = sum(x.size for x in jax.tree.leaves(params))
    if size < 2:
        raise ValueError(f"a plane needs two parameters or more and there are {size}: draw a line")
    if size == 2:
        return _axis(params, 0), _axis(params, 1)
    first, second = jax.random.split(key)
    return direction(params, first, normalization=normalization), direction(params, second, normalization=normalization)


def direction(params: Params, key: Key, *, normalization: str = "filter") -> Params:
    """A Gaussian direction like params.

    normalization="filter" scales each filter to the length of that filter of params, so that one of zeros stays zero;
    "layer" does so with each leaf, "model" with all of them as one vector; "none" leaves the draws as they are, of mean
    0 and variance 1. Raises ValueError for another name, and for parameters that are all zero and give no length.
    """
    _known(normalization)
    params = floats(params)
    drawn, length = _drawn(params, key, normalization)
    if normalization != "none" and not traced(length) and length == 0:
        raise ValueError("all parameters are zero and give a direction no length; take normalization='none'")
    return drawn


@partial(jax.jit, static_argnames="normalization")
def _drawn(params: Params, key: Key, normalization: str) -> tuple[Params, Scalar]:
    """The direction, and the length of the parameters; as one program, for one by one every draw is compiled alone."""
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    drawn = [jax.random.normal(k, x.shape, x.dtype) for k, x in zip(keys, leaves, strict=True)]
    return normalized(jax.tree.unflatten(structure, drawn), params, normalization), tree.norm(params)


def normalized(direction: Params, params: Params, normalization: str = "filter") -> Params:
    """A direction in lengths of the parameters; for `normalization` see `direction`."""
    _known(normalization)
    return NORMALIZATIONS[normalization](direction, params)


def filter_normalized(direction: Params, params: Params) -> Params:
    """d_f ← d_f ‖w_f‖ / ‖d_f‖ for each filter f."""
    lengths = lambda path, x: jnp.sqrt(jnp.sum(_squares(x), axis=_inputs(path, x), keepdims=True))
    leaf = lambda path, d, w: _scaled(d, lengths(path, d), lengths(path, w))
    return jax.tree_util.tree_map_with_path(leaf, direction, params)


def layer_normalized(direction: Params, params: Params) -> Params:
    """d_l ← d_l ‖w_l‖ / ‖d_l‖ for each leaf l."""
    length = lambda x: jnp.sqrt(jnp.sum(_squares(x)))
    return jax.tree.map(lambda d, w: _scaled(d, length(d), length(w)), direction, params)


def model_normalized(direction: Params, params: Params) -> Params:
    """d ← d ‖w‖ / ‖d‖."""
    own, wanted = tree.norm(direction), tree.norm(params)
    return jax.tree.map(lambda d: _scaled(d, own, wanted), direction)


NORMALIZATIONS: dict[str, Callable[[Params, Params], Params]] = {
    "filter": filter_normalized,
    "layer": layer_normalized,
    "model": model_normalized,
    "none": lambda direction, params: direction,
}


def towards(start: Params, end: Params) -> Params:
    """end − start: the line from start along it, with coordinates from 0 to 1, interpolates between the two.

    Raises ValueError for points that are not shaped alike, or the same.
    """
    start, end = ends(start, end)
    difference = tree.sub(end, start)
    if not traced(difference) and not any(np.any(np.asarray(x)) for x in jax.tree.leaves(difference)):
        raise ValueError("the end is the start: there is no direction from one to the other")
    return difference


def through(first: Params, second: Params, third: Params) -> Triangle:
    """The plane through three points, in coordinates that are distances in the space of the parameters.

    Computed in double precision (after Garipov et al. 2018). Raises ValueError for points on one line.
    """
    p, q, r = map(flat, (first, towards(first, second), towards(first, third)))
    base = np.linalg.norm(q)
    u = q / base
    along = r @ u
    across = r - along * u
    across -= (across @ u) * u  # what rounding left of u in a flat triangle
    height, eps = np.linalg.norm(across), max(float(jnp.finfo(x.dtype).eps) for x in jax.tree.leaves(floats(first)))
    if not height > 16 * eps * max(float(np.linalg.norm(x)) for x in (p, q, r)):
        raise ValueError("the three points lie on one line and span no plane; draw the line from one to another")
    places = np.array([[0, 0], [base, 0], [along, height]])
    return Triangle(floats(first), unflat(u, first), unflat(across / height, first), places)


def principal(path: Params, k: int = 2) -> Principal:
    """The k directions along which a path varies most; the leading axis of every leaf is that of its steps.

    From the eigenvectors of the Gram matrix of the centred steps where there are more parameters than steps, so that no
    matrix of the parameters is formed, else from their singular vectors; in double precision. Raises ValueError for an
    empty path, for steps that are not finite, and for a path that varies along fewer than k directions.
    """
    rows = flat(path, (steps(path),))
    if not np.isfinite(rows).all():
        raise ValueError(
            f"step {int(np.argmin(np.isfinite(rows).all(axis=1)))} of the path is not finite; end it before"
        )
    centre = rows.mean(axis=0)
    rows = rows - centre
    if rows.shape[1] > rows.shape[0]:
        squares, left = np.linalg.eigh(rows @ rows.T)
        order = np.argsort(squares)[::-1]
        strength, right = np.sqrt(np.maximum(squares[order], 0)), left[:, order].T @ rows
        noise = np.sqrt(len(rows) * np.finfo(float).eps)  # eigenvalues are squares, and so is their rounding
    else:
        _, strength, right = np.linalg.svd(rows, full_matrices=False)
        noise = max(rows.shape) * np.finfo(float).eps
    rank = int(np.sum(strength > noise * strength[0]))
    if not 1 <= k <= rank:
        raise ValueError(f"k={k}: the path varies along {rank} directions; ask for 1 to as many")
    axes = right[:k] / np.linalg.norm(right[:k], axis=1, keepdims=True)
    axes *= np.where(axes @ rows[-1] < 0, -1, 1)[:, None]
    one = jax.tree.map(lambda x: x[0], path)
    shares = strength[:k] ** 2 / np.sum(strength**2)
    return Principal(unflat(centre, one), tuple(unflat(axis, one) for axis in axes), shares)


def steps(path: Params) -> int:
    """How many steps a path has; ValueError where that is none, or not the same on all leaves."""
    counts = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(path)}
    if len(counts) != 1 or not next(iter(counts)) or next(iter(counts))[0] == 0:
        raise ValueError("the path holds no steps; expected parameters with a leading axis of steps on every leaf")
    return int(counts.pop()[0])


def floats(params: Params) -> Params:
    """The same numbers as arrays that can be moved: whole ones become floats."""
    array = lambda x: x if isinstance(x, jax.Array) else jnp.asarray(x)  # which takes 30 µs also where it does nothing
    leaf = lambda x: x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(jnp.result_type(float))
    return jax.tree.map(lambda x: leaf(array(x)), params)


def traced(params: Params) -> bool:
    """Whether an array of them stands for others, in a function that is being traced."""
    return any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(params))


def ends(start: Params, end: Params) -> tuple[Params, Params]:
    """Both as arrays that can be moved. Raises ValueError for an end unlike the start."""
    start, end = floats(start), floats(end)
    if jax.tree.map(np.shape, start) != jax.tree.map(np.shape, end):
        raise ValueError("the end is not shaped like the start: a path joins parameters of one network")
    return start, end


def flat(x: Params, lead: tuple[int, ...] = ()) -> Float[np.ndarray, "*lead n"]:
    """All leaves as one vector of real numbers in double precision, behind the leading axes that they share."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(x)]
    wide = [leaf.astype(np.complex128 if np.iscomplexobj(leaf) else np.float64) for leaf in leaves]
    return np.concatenate([leaf.reshape(*lead, -1).view(np.float64) for leaf in wide], axis=-1)


def unflat(vector: Float[np.ndarray, " n"], like: Params) -> Params:
    """The tree whose `flat` the vector is, in the shapes and dtypes of another."""
    leaves, structure = jax.tree.flatten(floats(like))
    made, first = [], 0
    for leaf in leaves:
        width = leaf.size * (2 if jnp.iscomplexobj(leaf) else 1)
        part = vector[first : first + width]
        made.append(jnp.asarray(part.view(np.complex128) if jnp.iscomplexobj(leaf) else part, leaf.dtype))
        first += width
    return jax.tree.unflatten(structure, [x.reshape(leaf.shape) for x, leaf in zip(made, leaves, strict=True)])


def _known(normalization: str) -> None:
    if normalization not in NORMALIZATIONS:
        *most, last = map(repr, NORMALIZATIONS)
        raise ValueError(f"normalization={normalization!r}: expected {', '.join(most)} or {last}")


def _inputs(path: tuple, x: Array) -> tuple[int, ...]:
    """The axes along which a filter of a leaf extends."""
    box = jax.tree_util.GetAttrKey("value")  # flax keeps arrays in boxes that call them so
    name = jax.tree_util.keystr(tuple(key for key in path if key != box)[-1:], simple=True)
    if x.ndim < 2 or name in WHOLE:
        return tuple(range(x.ndim))
    return tuple(range(x.ndim - 1)) if name == "kernel" else tuple(range(1, x.ndim))


def _squares(x: Array) -> Array:
    return tree.abs2(tree.widen(x))


def _scaled(d: Array, own: Array, wanted: Array) -> Array:
    """From one length to another; what has no length stays."""
    return (d * jnp.where(own > 0, wanted / jnp.where(own > 0, own, 1), 0)).astype(d.dtype)


def _axis(params: Params, number: int) -> Params:
    """The unit vector of one variable, counted over all leaves."""
    leaves, structure = jax.tree.flatten(params)
    units: list[Any] = []
    first = 0
    for x in leaves:
        units.append((jnp.arange(x.size) == number - first).astype(x.dtype).reshape(x.shape))
        first += x.size
    return jax.tree.unflatten(structure, units)
