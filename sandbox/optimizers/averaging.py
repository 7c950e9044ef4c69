"""Methods with two sequences of iterates: one moves fast, the other averages it, and is where to evaluate."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sandbox import tree
from sandbox.optimizers.base import (
    Optimizer,
    advance,
    at,
    decay_rate,
    factory,
    leafwise,
    made,
    next_count,
    real_dtype,
    required,
    stabiliser,
    transformation,
)
from sandbox.optimizers.gradient import Nothing
from sandbox.optimizers.moments import average, corrected
from sandbox.optimizers.schedules import warmup_constant
from sandbox.tree import abs2, widen
from sandbox.types import Array, Params, Scalar, Schedule


class LookaheadParams(NamedTuple):
    """The weights whose gradient is taken, fast, and those to evaluate, slow."""

    fast: Params
    slow: Params

    @classmethod
    def init_synced(cls, params: Params) -> "LookaheadParams":
        """Both at the same place, in buffers of their own."""
        return cls(fast=params, slow=_copy(params))


class Lookahead(NamedTuple):
    """How far it is since fast and slow met; the slow weights, None where the params carry them."""

    fast_state: Any
    steps_since_sync: Array
    slow: Params


class ScheduleFree(NamedTuple):
    """The sequence z that the base optimizer moves, and what weighs it in the average."""

    b1: Array
    weight_sum: Array
    step_count: Array
    max_lr: Array
    base_optimizer_state: Any
    z: Params


class Squares(NamedTuple):
    """The moving average of the squared gradient."""

    nu: Array


@factory
def lookahead(fast_optimizer: Any, sync_period: int, slow_step_size: Scalar, reset_state: bool = False) -> Optimizer:
    """Lookahead: k steps forward, one step back (Zhang et al. 2019, Algorithm 1).

    θ ← θ + u                                    u from the fast optimizer, at the gradient in θ
    φ ← φ + α (θ − φ), θ ← φ                     then, in every k-th update

    k is `sync_period`, α `slow_step_size`. The params are θ, and φ is kept in the state; or the params, and then the
    updates, are a record of both, fast=θ and slow=φ, such as `LookaheadParams`. With `reset_state` the fast optimizer
    starts anew wherever they meet. Raises ValueError for a sync_period below 1.
    """
    # 1. Optax resets to the state of the point before the step: another one where a state remembers its params.
    if sync_period < 1:
        raise ValueError(f"lookahead: sync_period is {sync_period}; expected a number of steps of 1 or more")
    inner = made(fast_optimizer)

    def init(params):
        fast, slow = (params.fast, None) if _is_pair(params) else (params, _copy(params))
        return Lookahead(inner.init(fast), jnp.zeros((), jnp.int32), slow)

    def update(grads, state, params=None, **extra):
        fast, slow = (params.fast, params.slow) if _is_pair(required(params)) else (params, state.slow)
        u, fast_state = advance(inner, grads, state.fast_state, fast, extra)
        t = state.steps_since_sync + 1
        meet = t == sync_period
        with jax.numpy_dtype_promotion("standard"):
            gap = jax.tree.map(lambda x, u, s: widen(x) + u - s, fast, u, slow)
            gap = jax.tree.map(lambda d: jax.lax.select(meet, d, jnp.zeros_like(d)), gap)
            fast_u = jax.tree.map(lambda u, d: (u - (1 - slow_step_size) * d).astype(u.dtype), u, gap)
            slow_u = jax.tree.map(lambda s, d: (slow_step_size * d).astype(s.dtype), slow, gap)
            if reset_state:
                fast_state = tree.where(meet, inner.init(tree.add(fast, fast_u)), fast_state)
        if _is_pair(params):
            return type(params)(fast=fast_u, slow=slow_u), Lookahead(fast_state, t % sync_period, state.slow)
        return fast_u, Lookahead(fast_state, t % sync_period, tree.add(slow, slow_u))

    return transformation(init, update)


@factory
def schedule_free(
    base_optimizer: Any,
    learning_rate: Scalar | Schedule,
    b1: Scalar = 0.9,
    weight_lr_power: Scalar = 2.0,
    state_dtype: Any | None = None,
) -> Optimizer:
    """Schedule-Free learning (Defazio et al. 2024, Algorithm 1, around any optimizer).

    z ← z + u                                    u from the base optimizer, at the gradient in y
    x ← (1 − c) x + c z                          c = γʳ / (sum of γʳ so far), γ the largest η so far
    y ← (1 − β₁) z + β₁ x

    y are the params, z is kept, and `eval_params` gives x, the average, where to evaluate. r is `weight_lr_power`; η
    must be the base optimizer's own learning rate, whose momentum β₁ replaces. `state_dtype` is that of z.
    """
    # 1. c is 0 as long as η is, at the start of a warm-up.
    # 2. y moves by (1 − β₁) Δz + c β₁ (z − x), and β₁ x = y − (1 − β₁) z: no need to divide by β₁, which may be 0.
    base, b1 = made(base_optimizer), decay_rate(b1)

    def init(params):
        zero, z = functools.partial(jnp.zeros, ()), _copy(params, state_dtype)
        return ScheduleFree(jnp.array(b1, float), zero(float), zero(jnp.int32), zero(float), base.init(params), z)

    def update(grads, state, params=None, **extra):
        u, base_state = advance(base, grads, state.base_optimizer_state, required(params), extra)
        t = next_count(state.step_count)
        with jax.numpy_dtype_promotion("standard"):
            z = tree.add(state.z, u)
            b = jnp.array(b1, float)
            max_lr = jnp.maximum(state.max_lr, at(learning_rate, t)).astype(state.max_lr.dtype)
            weight = max_lr**weight_lr_power
            weight_sum = state.weight_sum + weight
            c = weight / jnp.where(weight_sum == 0, 1, weight_sum)

            def step(y, old_z, z, g):
                y, old_z, z = (a.astype(jnp.result_type(b, y, z)) for a in (y, old_z, z))
                b_x = y - (1 - b) * old_z
                return ((1 - b) * (z - old_z) + c * (b * z - b_x)).astype(g.dtype)

            updates = jax.tree.map(step, params, state.z, z, grads)
        return updates, ScheduleFree(b, weight_sum, t, max_lr, base_state, z)

    return transformation(init, update)


@factory
def schedule_free_sgd(
    learning_rate: Scalar = 1.0,
    warmup_steps: int | None = None,
    b1: Scalar = 0.9,
    weight_decay: Scalar | None = None,
    weight_lr_power: Scalar = 2.0,
    state_dtype: Any | None = None,
) -> Optimizer:
    """Schedule-Free SGD (Defazio et al. 2024): `schedule_free` around u = −η (g + λ y).

    η grows from 0 on a line in `warmup_steps`, and stays.
    """
    rate = warmup_constant(0.0, learning_rate, warmup_steps or 0)
    shrinkage = 0.0 if weight_decay is None else weight_decay

    def init(x):
        return Nothing()

    def update(t, g, memory, y):
        return -at(rate, t) * (g + shrinkage * y), memory

    return schedule_free(leafwise(init, update), rate, b1, weight_lr_power, state_dtype)


@factory
def schedule_free_adamw(
    learning_rate: Scalar = 0.0025,
    warmup_steps: int | None = None,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    weight_decay: Scalar = 0.0,
    weight_lr_power: Scalar = 2.0,
    state_dtype: Any | None = None,
) -> Optimizer:
    """Schedule-Free AdamW (Defazio et al. 2024, Algorithm 1): `schedule_free` around AdamW without its momentum.

    ν ← β₂ ν + (1 − β₂) g²                       ν̂ = ν / (1 − β₂ᵗ)
    u = −η (g / (√ν̂ + ε) + λ y)

    η as in `schedule_free_sgd`.
    """
    # 1. The paper's η, and with it the weights of the average, has the factor √(1 − β₂ᵗ) instead of ν̂ in the root.
    rate, b2, eps = warmup_constant(0.0, learning_rate, warmup_steps or 0), decay_rate(b2), stabiliser(eps)

    def init(x):
        return Squares(jnp.zeros_like(x, dtype=real_dtype(x)))

    def update(t, g, memory, y):
        nu = average(memory.nu, abs2(g), b2)
        d = g / (jnp.sqrt(corrected(nu, b2, t)) + eps)
        return -at(rate, t) * (d + weight_decay * y), Squares(nu)

    return schedule_free(leafwise(init, update), rate, b1, weight_lr_power, state_dtype)


def eval_params(state: Any, params: Params) -> Params:
    """Where to evaluate: the params themselves, but the average of a method that averages.

    Schedule-free methods step at y = (1 − β₁) z + β₁ x and keep z, so x = (y − (1 − β₁) z) / β₁; at β₁ = 0, y is z
    and knows nothing of x: y is returned. Of lookahead it is the slow weights, of sharpness-aware minimization where
    the climb began. Such a state, ours or Optax's, is found anywhere inside `state`, also where it holds a part of the
    params only.
    """
    known = lambda node: _averages(node) or _looks_ahead(node) or _climbs(node)
    for node in jax.tree.leaves(state, is_leaf=known):
        if _averages(node):
            params = _own(functools.partial(_average, widen(jnp.asarray(node.b1))), node.z, params)
        elif _looks_ahead(node):
            params = _slow(node, params)
        elif _climbs(node) and node.cache is not None:
            params = _own(functools.partial(jnp.where, node.steps_since_sync > 0), node.cache, params)
    return params


def _averages(node: Any) -> bool:
    """Whether this is the state of a schedule-free method: it is known by its fields."""
    return {"b1", "z", "weight_sum"} <= set(getattr(node, "_fields", ()))


def _looks_ahead(node: Any) -> bool:
    """Whether this is the state of lookahead."""
    return {"fast_state", "steps_since_sync"} <= set(getattr(node, "_fields", ()))


def _climbs(node: Any) -> bool:
    """Whether this is the state of sharpness-aware minimization."""
    return {"adv_state", "cache"} <= set(getattr(node, "_fields", ()))


def _is_pair(params: Any) -> bool:
    """Whether these are fast and slow weights in one record."""
    return hasattr(params, "fast") and hasattr(params, "slow")


def _own(value: Callable, kept: Params, params: Params) -> Params:
    """value(kept, params) on the leaves that a state keeps; an empty tuple there stands for what is not its own."""
    absent = lambda node: isinstance(node, tuple) and not node
    with jax.numpy_dtype_promotion("standard"):
        return jax.tree.map(lambda k, x: x if absent(k) else value(k, x), kept, params, is_leaf=absent)


def _average(b1: Array, z: Array, y: Array) -> Array:
    """x = (y − (1 − β₁) z) / β₁, or y."""
    x = (widen(y) - (1 - b1) * widen(z)) / jnp.where(b1 == 0, 1, b1)
    return jnp.where(b1 == 0, widen(y), x).astype(y.dtype)


def _slow(state: Any, params: Params) -> Params:
    """The slow weights, of the params or else of the state; where neither has them, the params."""
    if _is_pair(params):
        return params.slow
    kept = getattr(state, "slow", None)
    return params if kept is None else _own(lambda slow, x: slow, kept, params)


def _copy(params: Params, dtype: Any = None) -> Params:
    """Buffers of their own, so that both may be donated."""
    return jax.tree.map(lambda x: jnp.array(x, dtype=dtype or jnp.result_type(x)), params)
