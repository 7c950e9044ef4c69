"""Divergence: a lane ends at its first non-finite step, and no other lane notices."""

import jax
import jax.numpy as jnp

from sandbox import tree
from sandbox.types import Array, Metrics, Params

OK, DIVERGED, NOT_COMPUTED = 0, 1, -1  # Run.status
NEVER = -1  # Run.diverged_at of a lane that is ok


def take(
    params: Params, arrived: Params, diverged_at: Array, step: Array, value: Array, grads: Params
) -> tuple[Params, Array]:
    """Where the step leads, and diverged_at after it: a lane that has diverged stays at its last finite params.

    The diverged step is the first whose objective or squared gradient norm is not finite, or the one after an update
    that leaves the finite numbers. The optimizer's state goes on: to freeze that too costs more than the run.
    """
    # One sum that the trace needs anyway, instead of a reduction of isfinite over every leaf: 1.07x, not 1.25x.
    sound = jnp.isfinite(value) & jnp.isfinite(tree.squared_norm(grads))
    # NaN and infinity pass through a plain sum too, at 2 to 3 % of a network's step less than through 0 · x. It may
    # overflow by itself, but only with entries of the largest number over their count: 3e32 for a million in float32.
    first = jnp.where(sound, jnp.where(jnp.isfinite(tree.total(arrived)), NEVER, step + 1), step)
    diverged_at = jnp.where(diverged_at == NEVER, first, diverged_at)
    return tree.where(diverged_at == NEVER, arrived, params), diverged_at


def blank(trace: Metrics, steps: Array, diverged_at: Array) -> Metrics:
    """The trace with NaN from the diverged step on. Integers have no NaN and stay."""
    gone = (diverged_at != NEVER) & (steps >= diverged_at)

    def leaf(x: Array) -> Array:
        if not jnp.issubdtype(x.dtype, jnp.inexact):
            return x
        return jnp.where(gone.reshape(gone.shape + (1,) * (x.ndim - 1)), jnp.nan, x)

    return jax.tree.map(leaf, trace)
