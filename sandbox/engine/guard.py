"""Divergence: a lane ends at its first non-finite step, and no other lane notices."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sandbox import tree
from sandbox.types import Array, Metrics, Params

OK, DIVERGED, NOT_COMPUTED = 0, 1, -1  # Run.status
NEVER = -1  # Run.diverged_at of a lane that is ok


class Watch(NamedTuple):
    """On the way only the step is noted. The iterate there is gone back for, once and where it is needed: carrying it
    along copies all parameters in every step, and freezing a run puts a reduction over the gradient in the way of every
    update; each costs a third of the speed or more on problems of a few variables."""

    diverged_at: Array
    last: Params  # of a lane that diverged, the last finite iterate, once somebody went back for it


def start(params: Params) -> Watch:
    """Nothing has happened yet."""
    return Watch(jnp.array(NEVER), params)


def watch(seen: Watch, step: Array, value: Array, grads: Params) -> Watch:
    """What is known after this step: the first whose objective or squared gradient norm is not finite is the one."""
    # One sum that the trace needs anyway, instead of a reduction of isfinite over every leaf: 1.07x, not 1.25x.
    finite = jnp.isfinite(value) & jnp.isfinite(tree.squared_norm(grads))
    return seen._replace(diverged_at=jnp.where((seen.diverged_at == NEVER) & ~finite, step, seen.diverged_at))


def back(before: Watch, after: Watch, params: Params, step: Array) -> Array:
    """Up to which step to go back for the last finite iterate; NEVER where there is no need to. It is either that of
    the diverged step, or, where that has overflowed, the one before. `params` are those that `step` would begin at."""
    here = jnp.where(tree.all_finite(params), NEVER, step)
    return jnp.where(before.diverged_at == NEVER, jnp.where(after.diverged_at == NEVER, here, after.diverged_at), NEVER)


def settle(params: Params, seen: Watch, steps: Array) -> tuple[Params, Array]:
    """The last finite params, and diverged_at. An update that overflowed in the very last step makes its iterate,
    number `steps`, the diverged one."""
    finite = tree.all_finite(params)
    diverged_at = jnp.where((seen.diverged_at == NEVER) & ~finite, steps, seen.diverged_at)
    return tree.where(diverged_at == NEVER, params, seen.last), diverged_at


def blank(trace: Metrics, every: int, diverged_at: Array) -> Metrics:
    """The trace, whose row k is of step k·every, with NaN from the diverged step on. Integers have no NaN and stay."""

    def leaf(x: Array) -> Array:
        if not jnp.issubdtype(x.dtype, jnp.inexact):
            return x
        gone = (diverged_at != NEVER) & (jnp.arange(len(x)) * every >= diverged_at)
        return jnp.where(gone.reshape(gone.shape + (1,) * (x.ndim - 1)), jnp.nan, x)

    return jax.tree.map(leaf, trace)
