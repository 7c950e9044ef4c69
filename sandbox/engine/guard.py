"""Divergence: one lane stops at its first non-finite step, and no other lane notices."""

import jax
import jax.numpy as jnp

from sandbox import tree
from sandbox.types import Array, Metrics, Params

OK, DIVERGED, NOT_COMPUTED = 0, 1, -1  # Run.status
NEVER = -1  # Run.diverged_at of a lane that is ok


def check(diverged_at: Array, step: Array, value: Array, grads: Params) -> Array:
    """diverged_at after this step: the first step whose objective or squared gradient norm is not finite."""
    # One sum that the trace needs anyway, instead of a reduction of isfinite over every leaf: 1.07x, not 1.25x.
    finite = jnp.isfinite(value) & jnp.isfinite(tree.squared_norm(grads))
    return jnp.where((diverged_at == NEVER) & ~finite, step, diverged_at)


def settle(params: Params, previous: Params, diverged_at: Array, steps: int) -> tuple[Params, Array]:
    """The last finite params. An update that overflowed in the very last step makes that iterate, number `steps`,
    the diverged one."""
    finite = tree.all_finite(params)
    return tree.where(finite, params, previous), jnp.where(
        (diverged_at == NEVER) & ~finite, steps, diverged_at
    )


def blank(trace: Metrics, steps: Array, diverged_at: Array) -> Metrics:
    """The trace with NaN from the diverged step on. Integers have no NaN and stay."""
    gone = (diverged_at != NEVER) & (steps >= diverged_at)

    def leaf(x: Array) -> Array:
        if not jnp.issubdtype(x.dtype, jnp.inexact):
            return x
        return jnp.where(gone.reshape(gone.shape + (1,) * (x.ndim - 1)), jnp.nan, x)

    return jax.tree.map(leaf, trace)
