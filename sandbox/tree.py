"""Arithmetic on trees of arrays: parameters as vectors of a Euclidean space."""

from typing import Any

import jax
import jax.numpy as jnp

from sandbox.types import Array, Params, Scalar


def add(a: Params, b: Params) -> Params:
    """a + b in the dtypes of a, so that an update never changes the type of what it updates."""
    return jax.tree.map(lambda x, y: (x + y).astype(x.dtype), a, b)


def sub(a: Params, b: Params) -> Params:
    """a − b."""
    return jax.tree.map(jnp.subtract, a, b)


def scale(c: Scalar, a: Params) -> Params:
    """c · a."""
    return jax.tree.map(lambda x: c * x, a)


def zeros_like(a: Params) -> Params:
    """0, in the space of a."""
    return jax.tree.map(jnp.zeros_like, a)


def real(a: Params, dtype: Any) -> Params:
    """Real leaves in this type; integers, labels say, as they are."""
    wide = lambda x: jnp.asarray(x, dtype) if jnp.issubdtype(jnp.result_type(x), jnp.floating) else jnp.asarray(x)
    return jax.tree.map(wide, a)


def double(a: Params) -> Params:
    """Real leaves in float64."""
    return real(a, jnp.float64)


def dot(a: Params, b: Params) -> Array:
    """⟨a, b⟩ = Σ conj(aᵢ) bᵢ, summed in at least float32."""
    return _total(jax.tree.leaves(jax.tree.map(lambda x, y: jnp.vdot(widen(x), widen(y)), a, b)))


def squared_norm(a: Params) -> Array:
    """‖a‖² = Σ |aᵢ|², summed in at least float32."""
    return _total([jnp.sum(abs2(widen(x))) for x in jax.tree.leaves(a)])


def norm(a: Params) -> Array:
    """‖a‖, the Euclidean length of all leaves together."""
    return jnp.sqrt(squared_norm(a))


def total(a: Params) -> Array:
    """Σ aᵢ over all entries of all leaves, summed in at least float32."""
    return _total([jnp.sum(widen(x)) for x in jax.tree.leaves(a)])


def where(condition: Array, a: Params, b: Params) -> Params:
    """a where the scalar condition holds, else b."""
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)


def all_finite(a: Params) -> Array:
    """Whether no entry of any leaf is NaN or infinite."""
    # 0 · x is 0 for every finite x and NaN for all others; a sum is faster than a conjunction.
    return jnp.isfinite(_total([jnp.sum(0 * x) for x in jax.tree.leaves(a)]))


def widen(x: Array) -> Array:
    """x in at least float32: half precision has neither the range nor the digits for sums of squares."""
    return x.astype(jnp.float32) if x.dtype in (jnp.float16, jnp.bfloat16) else x


def abs2(x: Array) -> Array:
    """|x|², also of complex numbers."""
    return jnp.real(x * jnp.conj(x)) if jnp.iscomplexobj(x) else x * x


def _total(terms: list[Array]) -> Array:
    """The sum in the dtype of its terms; 0 of none."""
    return sum(terms[1:], terms[0]) if terms else jnp.zeros(())
