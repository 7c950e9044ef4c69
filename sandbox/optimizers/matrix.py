"""Methods that see a matrix as a matrix: they act on its singular values, not on its entries."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp

from sandbox import tree
from sandbox.optimizers.base import (
    Optimizer,
    advance,
    at,
    chain,
    decay,
    decay_rate,
    factory,
    leafwise,
    made,
    stabiliser,
    treewise,
)
from sandbox.optimizers.gradient import Nothing
from sandbox.optimizers.moments import Moments, adam, adam_direction, first, from_zero
from sandbox.tree import abs2
from sandbox.types import Array, Params, Scalar, Schedule

COEFFICIENTS: dict[str, Any] = {  # of Newton–Schulz iterations: Jordan et al. 2024; Ahn et al. 2025
    "muon": (3.4445, -4.7750, 2.0315),
    "dion": (
        (4.0848, -6.8946, 2.9270),
        (3.9505, -6.3029, 2.6377),
        (3.7418, -5.5913, 2.3037),
        (2.8769, -3.1427, 1.2046),
        (2.8366, -3.0525, 1.2012),
    ),
}
COEFFICIENTS["standard"] = COEFFICIENTS["muon"]


class MatrixAxes(NamedTuple):
    """Which axes of an array run over the rows of a matrix, and which over its columns; all others count matrices."""

    reduction_axis: int | tuple[int, ...] = 0
    output_axis: int | tuple[int, ...] = 1


class LowRank(NamedTuple):
    """Of every matrix the basis of a subspace, and what the inner optimizer remembers there."""

    projector: Params
    base_optimizer_state: Any


@factory
def muon(
    learning_rate: Scalar | Schedule,
    ns_coeffs: Any = COEFFICIENTS["muon"],
    ns_steps: int = 5,
    beta: Scalar = 0.95,
    eps: Scalar = 1e-8,
    weight_decay: Scalar | Schedule = 0.0,
    weight_decay_mask: Any = None,
    mu_dtype: Any | None = None,
    *,
    nesterov: bool = True,
    adaptive: bool = False,
    preconditioning: str = "frobenius",
    adam_b1: Scalar = 0.9,
    adam_b2: Scalar = 0.999,
    adam_eps_root: Scalar = 0.0,
    adam_weight_decay: Scalar | Schedule = 0.0,
    adam_learning_rate: Scalar | Schedule | None = None,
    muon_weight_dimension_numbers: Any = None,
    consistent_rms: Scalar | None = None,
) -> Optimizer:
    """Muon (Jordan et al. 2024): steps whose singular values are all about 1. Leaves that are no matrices: AdamW.

    M ← β M + (1 − β) G                          M̂ = M / (1 − βᵗ), or with nesterov
                                                 M̂ = β M / (1 − βᵗ⁺¹) + (1 − β) G / (1 − βᵗ)
    O = U Vᵀ, roughly, of M̂ = U Σ Vᵀ             by Newton–Schulz iterations
    X ← X − η (√max(1, columns / rows) O + λ X)

    adaptive:        ⟨M̂, O⟩ O for O, the steepest descent of Bernstein & Newhouse 2024
    consistent_rms:  c √max(rows, columns) for the factor, so that entries are of size c (Liu et al. 2025)
    ns_coeffs:       (a, b, c), done `ns_steps` times; or as many triples as iterations; or "muon" or "dion"
    preconditioning: what M̂ is divided by first: "frobenius" or "spectral" norm, "aol" or "schatten"

    `muon_weight_dimension_numbers`, MatrixAxes or a prefix tree of such and None, or a function from params to one,
    says which leaves are matrices; without it all those with two axes.
    """
    coefficients, scaled = _coefficients(ns_coeffs, ns_steps), _preconditioning(preconditioning)
    beta, eps = decay_rate(beta), stabiliser(eps)
    direction = adam_direction(adam_b1, adam_b2, eps, adam_eps_root, nesterov)
    adam_rate = learning_rate if adam_learning_rate is None else adam_learning_rate

    def init(x, axes):
        return from_zero(mu_dtype)(x) if axes is None else Moments(mu=jnp.zeros_like(x, dtype=mu_dtype), nu=None)

    def update(t, g, memory, x, axes, decays):
        if axes is None:
            d, memory = direction(t, g, memory)
            return -at(adam_rate, t) * (d + decay(adam_weight_decay, t, x, True)), memory
        mu = beta * memory.mu + (1 - beta) * g
        m_hat = first(mu, g, beta, t, nesterov)
        o = _unfolded(_orthogonal(_folded(m_hat, axes), coefficients, scaled, eps), axes, g.shape)
        if adaptive:
            o = jnp.vdot(m_hat, o) * o
        rows, columns = (math.prod(g.shape[k] for k in ks) for ks in axes)
        width = math.sqrt(max(1, columns / max(1, rows)))
        size = width if consistent_rms is None else consistent_rms * math.sqrt(max(rows, columns))
        return -at(learning_rate, t) * (size * o + decay(weight_decay, t, x, decays)), Moments(mu, None)

    roles = lambda params: _axes(muon_weight_dimension_numbers, params)
    return leafwise(init, update, learning_rate, masks=(weight_decay_mask,), roles=roles)


@factory
def galore(
    learning_rate: Scalar | Schedule,
    rank: int = 128,
    update_proj_gap: int = 200,
    scale: Scalar = 1.0,
    base_optimizer: Any = None,
    weight_decay: Scalar | Schedule = 0.0,
    mask: Any = None,
    weight_dimension_numbers: Any = None,
) -> Optimizer:
    """GaLore (Zhao et al. 2024, Algorithm 2): an optimizer that sees the leading singular vectors of matrices only.

    P = the first r columns of U, G = U Σ Vᵀ     anew in every T-th update
    R = Pᵀ G                                     what the inner optimizer takes for the gradient
    X ← X − η (α P D + λ X)                      D is the direction that it gives; by default Adam's

    With more columns than rows, P is of V, R = G P, and D Pᵀ stands for P D. Leaves that are no matrices are their
    own R. `base_optimizer`, a transformation or a function without arguments that makes one, points uphill, as
    gradients do, and does without params. λ and `mask` as in AdamW;
    `weight_dimension_numbers` as in `muon`, where MatrixAxes alone mean all leaves with at least two axes.
    """
    # 1. The vectors are found in single precision, as in Optax: a subspace is not asked for more digits.
    if not isinstance(rank, int) or rank < 1:
        raise ValueError(f"galore: rank is {rank!r}; expected an integer of at least 1")
    inner = adam(-1.0) if base_optimizer is None else made(base_optimizer)

    def matrices(values):
        xs, structure = jax.tree.leaves(values), cast(Any, jax.tree.structure(values))
        axes = structure.flatten_up_to(_axes(weight_dimension_numbers, values, all_matrices=False))
        return [_folded(x, a) for x, a in zip(xs, axes, strict=True)], axes, structure

    def init(x):
        xs, axes, structure = matrices(x)
        ps = [None if a is None else _no_basis(x, rank) for x, a in zip(xs, axes, strict=True)]
        rs = [_projected(x, p) for x, p in zip(xs, ps, strict=True)]
        return LowRank(structure.unflatten(ps), inner.init(tree.zeros_like(structure.unflatten(rs))))

    def update(t, g, memory, x):
        gs, axes, structure = matrices(g)
        due = (t - 1) % update_proj_gap == 0
        ps = [_renewed(due, g, p) for g, p in zip(gs, structure.flatten_up_to(memory.projector), strict=True)]
        rs = [_projected(g, p) for g, p in zip(gs, ps, strict=True)]
        d, state = advance(inner, structure.unflatten(rs), memory.base_optimizer_state, None, {})
        rows = zip(structure.flatten_up_to(d), ps, gs, axes, jax.tree.leaves(g), strict=True)
        us = [_unfolded(_lifted(d, p, g, scale), a, whole.shape) for d, p, g, a, whole in rows]
        return structure.unflatten(us), LowRank(structure.unflatten(ps), state)

    return chain(treewise(init, update), _applied(learning_rate, weight_decay, mask))


def _applied(learning_rate: Scalar | Schedule, weight_decay: Scalar | Schedule, mask: Any) -> Optimizer:
    """x ← x − η (d + λ x), where d comes for the gradient."""

    def update(t, d, memory, x, decays):
        return -at(learning_rate, t) * (d + decay(weight_decay, t, x, decays)), memory

    return leafwise(lambda x: Nothing(), update, learning_rate, masks=(mask,))


def _orthogonal(x: Array, coefficients: Sequence, scaled: Callable, eps: Scalar) -> Array:
    """U Vᵀ of every X = U Σ Vᵀ, roughly: X ← a X + (b A + c A²) X, A = X Xᵀ, drives all singular values towards 1."""
    tall = x.shape[-2] > x.shape[-1]
    x = scaled(x.mT if tall else x, eps)
    for a, b, c in coefficients:
        gram = x @ x.mT.conj()
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


def _frobenius(x: Array, eps: Scalar) -> Array:
    """X / ‖X‖."""
    return x / (_length(x) + eps)


def _spectral(x: Array, eps: Scalar) -> Array:
    """X / σ₁."""
    largest = jnp.max(jnp.linalg.svd(x, compute_uv=False), axis=-1, initial=0.0)
    return x / (largest[..., None, None] + eps)


def _aol(x: Array, eps: Scalar) -> Array:
    """Row i of X, divided by √Σⱼ |X Xᵀ|ᵢⱼ (Boissin et al. 2025). As in Optax, ε has no part in it."""
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(jnp.abs(x @ x.mT.conj()), axis=-1, keepdims=True), 1e-8))


def _schatten(x: Array, eps: Scalar) -> Array:
    """X / √‖X Xᵀ‖: its Schatten-4 norm (Grishina et al. 2025). As in Optax, ε has no part in it."""
    return x * jax.lax.rsqrt(jnp.maximum(_length(x @ x.mT.conj()), 1e-8))


def _length(x: Array) -> Array:
    """The Frobenius norm of every matrix."""
    return jnp.sqrt(jnp.sum(abs2(x), axis=(-2, -1), keepdims=True))


def _preconditioning(name: str) -> Callable:
    """What a matrix is scaled by before its iterations."""
    known = {"frobenius": _frobenius, "spectral": _spectral, "aol": _aol, "schatten": _schatten}
    if name not in known:
        raise ValueError(f"muon: preconditioning is {name!r}; expected one of {', '.join(known)}")
    return known[name]


def _coefficients(given: Any, steps: int) -> list:
    """One (a, b, c) for each iteration."""
    if isinstance(given, str):
        if given not in COEFFICIENTS:
            raise ValueError(f"muon: ns_coeffs is {given!r}; expected one of {', '.join(COEFFICIENTS)}, or numbers")
        given = COEFFICIENTS[given]
    several = isinstance(given[0], Sequence) or getattr(given[0], "ndim", 0) == 1
    triples = list(given) if several else [given] * steps
    if any(len(triple) != 3 for triple in triples):
        raise ValueError(f"muon: ns_coeffs is {given}; expected (a, b, c), or such a triple for each iteration")
    return triples


def _axes(numbers: Any, params: Params, all_matrices: bool = True) -> Params:
    """(axes of the rows, axes of the columns) for every leaf that is a matrix, None for the others."""
    numbers = numbers(params) if callable(numbers) else numbers
    named = lambda n: n is None or hasattr(n, "reduction_axis")
    if numbers is None:
        return jax.tree.map(lambda x: _checked_axes(MatrixAxes(), x) if len(x.shape) == 2 else None, params)
    if named(numbers) and not all_matrices:
        return jax.tree.map(lambda x: _checked_axes(numbers, x) if len(x.shape) > 1 else None, params)
    one = lambda n: lambda x: None if n is None else _checked_axes(n, x)
    return jax.tree.map(lambda n, part: jax.tree.map(one(n), part), numbers, params, is_leaf=named)


def _checked_axes(numbers: Any, x: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    rank = len(x.shape)
    several = lambda axis: (axis,) if isinstance(axis, int) else tuple(axis)
    rows, columns = (tuple(k % max(rank, 1) for k in several(axis)) for axis in numbers)
    if rank < 2 or set(rows) & set(columns):
        raise ValueError(
            f"{tuple(numbers)} are no axes of the rows and the columns of an array of shape {tuple(x.shape)}; "
            "expected different axes of an array that has at least two, and None for what is no matrix"
        )
    return rows, columns


def _folded(x: Array, axes: tuple | None) -> Array:
    """The matrices of an array, of shape (…, rows, columns)."""
    if axes is None:
        return x
    order, (rows, columns) = _order(x.shape, axes), axes
    sizes = lambda ks: [x.shape[k] for k in ks]
    rest = order[: len(order) - len(rows + columns)]
    return x.transpose(order).reshape(*sizes(rest), math.prod(sizes(rows)), math.prod(sizes(columns)))


def _unfolded(x: Array, axes: tuple | None, shape: tuple) -> Array:
    """The array of this shape that has these matrices."""
    if axes is None:
        return x
    order = _order(shape, axes)
    return x.reshape([shape[k] for k in order]).transpose([order.index(k) for k in range(len(shape))])


def _order(shape: tuple, axes: tuple) -> tuple[int, ...]:
    """The axes that count matrices, then those of the rows, then those of the columns."""
    rows, columns = axes
    return (*[k for k in range(len(shape)) if k not in rows + columns], *rows, *columns)


def _no_basis(g: Array, rank: int) -> Array:
    """Zeros in place of the basis of a subspace that is still to be found."""
    *rest, rows, columns = g.shape
    return jnp.zeros((*rest, max(rows, columns), min(rank, rows, columns)), g.dtype)


def _renewed(due: Array, g: Array, p: Array | None) -> Array | None:
    """The leading singular vectors of G on its longer side, when they are due."""
    if p is None:
        return None

    def leading():
        u, _, vh = jnp.linalg.svd(g.astype(jnp.complex64 if jnp.iscomplexobj(g) else jnp.float32), full_matrices=False)
        vectors = vh.mT.conj() if _wide(g) else u
        return vectors[..., : p.shape[-1]].astype(p.dtype)

    return jax.lax.cond(due, leading, lambda: p)


def _projected(g: Array, p: Array | None) -> Array:
    """Pᵀ G, or G P."""
    if p is None:
        return g
    return g @ p if _wide(g) else p.mT.conj() @ g


def _lifted(d: Array, p: Array | None, g: Array, scale: Scalar) -> Array:
    """α P D, or α D Pᵀ: from the subspace back to where G is."""
    if p is None:
        return d
    return scale * (d @ p.mT.conj() if _wide(g) else p @ d)


def _wide(g: Array) -> bool:
    return g.shape[-2] < g.shape[-1]
