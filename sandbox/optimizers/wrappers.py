"""What goes around other optimizers, or before and after them in a chain."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sandbox import tree
from sandbox.optimizers.base import (
    Optimizer,
    advance,
    factory,
    made,
    needed,
    next_count,
    required,
    transformation,
    treewise,
)
from sandbox.optimizers.gradient import Nothing
from sandbox.tree import widen
from sandbox.types import Array, Params, Scalar


class Pair(NamedTuple):
    """A complex array as two real ones."""

    real: Array
    imaginary: Array


class Split(NamedTuple):
    """The state of the optimizer of the pairs."""

    inner_state: Any


class Plateau(NamedTuple):
    """The scale, the best mean of values and for how long there was none better, and the mean that is being taken."""

    scale: Array
    best_value: Array
    plateau_count: Array
    cooldown_count: Array
    count: Array  # type: ignore[assignment]  # of values in the mean: tuple.count is not missed
    avg_value: Array


class Sharpness(NamedTuple):
    """How many steps uphill were made since the last one down; both states; where the climb began."""

    steps_since_sync: Array
    opt_state: Any
    adv_state: Any
    cache: Params | None


@factory
def normalize() -> Optimizer:
    """The direction of the gradient: g / ‖g‖ over all leaves, and 0 where there is no slope.

    For a `chain`: chain(normalize(), sgd(0.1)) makes steps of length 0.1.
    """

    def init(params):
        return Nothing()

    def update(t, g, memory, x):
        norm = tree.norm(g)
        return tree.scale(1 / jnp.where(norm > 0, norm, 1), g), memory

    return treewise(init, update)


@factory
def split_real_and_imaginary(inner: Any) -> Optimizer:
    """An optimizer that sees a complex array x + iy as the two real ones x and y, and moves each on its own.

    A method that scales coordinates, such as Adam, otherwise scales both parts by the modulus.
    """
    base = made(inner)

    def init(params):
        return Split(base.init(_pairs(params)))

    def update(grads, state, params=None, **extra):
        told = {name: TRANSLATIONS.get(name, lambda same: same)(given) for name, given in extra.items()}
        u, inner_state = advance(base, _pairs(grads), state.inner_state, _pairs(params), told)
        return _complex(u), Split(inner_state)

    return transformation(init, update)


@factory
def reduce_on_plateau(
    factor: Scalar = 0.1,
    patience: int = 10,
    rtol: Scalar = 1e-4,
    atol: Scalar = 0.0,
    cooldown: int = 0,
    accumulation_size: int = 1,
    min_scale: Scalar = 0.0,
) -> Optimizer:
    """A smaller rate where the value f no longer falls.

    f̄ < (1 − rtol) f_best − atol                 is an improvement: f_best ← f̄
    s ← max(factor · s, min_scale)               after `patience` f̄ in a row that are none
    u = s g

    f̄ is the mean of `accumulation_size` values; after a reduction, `cooldown` of them do not count against patience.
    Last in a `chain`: chain(adam(0.01), reduce_on_plateau()); `update` needs the extra argument value. Raises
    ValueError for a factor outside of (0, 1), an rtol outside of [0, 1], an atol below 0, and where both are 0.
    """
    # 1. f and s are kept in at least float32: half precision cannot tell an improvement by 1e-4.
    # 2. Without any patience, s falls where f̄ does not improve, as with a patience of 1; in Optax, where it does.
    _expect("factor", factor, lambda x: 0 < x < 1, "a number between 0 and 1")
    _expect("rtol", rtol, lambda x: 0 <= x <= 1, "a number from 0 to 1")
    _expect("atol", atol, lambda x: x >= 0, "a number from 0 up")
    _expect("rtol + atol", rtol + atol, lambda x: x > 0, "a number above 0")

    def init(params):
        with jax.numpy_dtype_promotion("standard"):
            dtype = jnp.result_type(jnp.float32, *[jnp.real(x).dtype for x in jax.tree.leaves(params)])
        one, zero, none = jnp.ones((), dtype), jnp.zeros((), dtype), jnp.zeros((), jnp.int32)
        return Plateau(one, one * jnp.inf, none, none, none, zero)

    def update(grads, state, params=None, **extra):
        value = jnp.asarray(needed(extra, "value"), state.avg_value.dtype)
        with jax.numpy_dtype_promotion("standard"):
            count = state.count + 1
            mean = (state.count * state.avg_value + value) / count
            improved = mean < (1 - rtol) * state.best_value - atol
            waited = jnp.where(improved, 0, next_count(state.plateau_count))
            cooling = state.cooldown_count > 0
            reduced = (waited >= patience) & ~improved & ~cooling
            judged = Plateau(
                scale=jnp.where(reduced, jnp.maximum(factor * state.scale, min_scale), state.scale),
                best_value=jnp.where(improved, mean, state.best_value),
                plateau_count=jnp.where(reduced | cooling, 0, waited),
                cooldown_count=jnp.where(reduced, cooldown, jnp.maximum(state.cooldown_count - 1, 0)),
                count=jnp.zeros((), jnp.int32),
                avg_value=jnp.zeros(()),
            )
            waiting = Plateau(*state)._replace(count=count, avg_value=mean)
            new = tree.where(count == accumulation_size, judged, waiting)
            new = type(state)(*[x.astype(old.dtype) for x, old in zip(new, state, strict=True)])
            return jax.tree.map(lambda g: (new.scale * widen(g)).astype(g.dtype), grads), new

    return transformation(init, update)


@factory
def sam(
    optimizer: Any,
    adv_optimizer: Any,
    sync_period: int = 2,
    reset_state: bool = True,
    opaque_mode: bool = False,
    batch_axis_name: str | None = None,
) -> Optimizer:
    """Sharpness-aware minimization (Foret et al. 2021, Algorithm 1).

    y ← y − v                                    v from `adv_optimizer`, at the gradient in y; from y = x, k − 1 times
    x ← x + u                                    u from `optimizer`, at the gradient in y

    k is `sync_period`; the paper's climb is chain(normalize(), sgd(ρ)), and with `reset_state` each starts anew. The
    params are y, and every k-th update leads to the new x; in `opaque_mode` they are x, and every update climbs by
    itself: it needs the extra argument grad_fn(y, i), the gradient in the i-th point of the climb, whose mean is taken
    over `batch_axis_name`. `eval_params` gives x. Raises ValueError for a sync_period below 1.
    """
    # 1. At a sync_period of 1 it is the optimizer itself; Optax then starts from the x of the step before.
    if sync_period < 1:
        raise ValueError(f"sam: sync_period is {sync_period}; expected a number of steps of 1 or more")
    descent, ascent = made(optimizer), made(adv_optimizer)

    def init(params):
        cache = None if opaque_mode else jax.tree.map(lambda x: jnp.array(x, jnp.result_type(x)), params)
        return Sharpness(jnp.zeros((), jnp.int32), descent.init(params), ascent.init(params), cache)

    def step_by_step(grads, state, y, **extra):
        k = state.steps_since_sync
        last = k == sync_period - 1
        x = tree.where(k == 0, y, state.cache)
        v, adv_state = advance(ascent, grads, state.adv_state, y, extra)
        u, opt_state = advance(descent, grads, state.opt_state, x, extra)
        move = lambda x, y, u, v: jnp.where(last, widen(x) - widen(y) + widen(u), -widen(v)).astype(u.dtype)
        updates = jax.tree.map(move, x, y, u, v)
        adv_state = tree.where(last, ascent.init(y) if reset_state else state.adv_state, adv_state)
        opt_state = tree.where(last, opt_state, state.opt_state)
        return updates, Sharpness((k + 1) % sync_period, opt_state, adv_state, x)

    def at_once(grads, state, x, **extra):
        gradient, y, adv_state = needed(extra, "grad_fn"), x, state.adv_state
        for i in range(sync_period - 1):
            v, adv_state = advance(ascent, grads, adv_state, y, extra)
            y = tree.add(y, tree.scale(-1, v))
            grads = gradient(y, i)
            if batch_axis_name is not None:
                grads = jax.lax.pmean(grads, batch_axis_name)
        u, opt_state = advance(descent, grads, state.opt_state, x, extra)
        return u, Sharpness(state.steps_since_sync, opt_state, ascent.init(x) if reset_state else adv_state, None)

    def update(grads, state, params=None, **extra):
        with jax.numpy_dtype_promotion("standard"):
            return (at_once if opaque_mode else step_by_step)(grads, state, required(params), **extra)

    return transformation(init, update)


def _pairs(values: Params) -> Params:
    """Every complex array as a pair of real ones."""
    return jax.tree.map(lambda z: Pair(jnp.real(z), jnp.imag(z)) if jnp.iscomplexobj(z) else z, values)


def _complex(values: Params) -> Params:
    """Every pair of real arrays as a complex one."""
    is_pair = lambda x: isinstance(x, Pair)
    return jax.tree.map(lambda x: jax.lax.complex(*x) if is_pair(x) else x, values, is_leaf=is_pair)


def _of_pairs(f: Callable, result: Callable = lambda same: same) -> Callable:
    """A function of complex params as one of the pairs."""
    return functools.wraps(f)(lambda params, *args, **kwargs: result(f(_complex(params), *args, **kwargs)))


TRANSLATIONS: dict[str, Callable] = {  # of the extra arguments that hold params
    "grad": _pairs,
    "smooth_grad": _pairs,
    "value_fn": _of_pairs,
    "obj_fn": _of_pairs,
    "grad_fn": lambda f: _of_pairs(f, _pairs),
    "example_grads": lambda f: lambda: _pairs(f()),
}


def _expect(name: str, number: Any, holds: Callable, wanted: str) -> None:
    """A ValueError for a number that is out of its range; one that is traced cannot be looked at."""
    if not isinstance(number, jax.core.Tracer) and not holds(number):
        raise ValueError(f"reduce_on_plateau: {name} is {number}; expected {wanted}")
