"""The lift from one array to a tree; chain, and what may follow a step."""

import functools
from collections import Counter, namedtuple
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from sandbox.types import Array, Params, Scalar, Schedule

HALF = (jnp.dtype("float16"), jnp.dtype("bfloat16"))


class Optimizer(Protocol):
    """Two pure functions; every factory returns them as an `optax.GradientTransformationExtraArgs`.

    init(params) → state
    update(grads, state, params=None, **extra) → (updates, state); the step is x ← x + updates
    """

    init: Callable[..., Any]
    update: Callable[..., tuple[Params, Any]]


class Following(NamedTuple):
    """The state of an optimizer whose steps are followed by a map of the parameters."""

    count: Array  # type: ignore[assignment]  # of updates: tuple.count is not missed
    inner: Any


def leafwise(
    init: Callable,
    update: Callable,
    step_size: Scalar | Schedule | None = None,
    *,
    mask: Any = None,
) -> Optimizer:
    """The optimizer whose recursion for one array is (init, update).

    init(x) → memory                               a NamedTuple of arrays; of x only shape and dtype are sure
    update(t, g, memory, x) → (update, memory)     t = 1, 2, …; x is None where the caller gives no params

    The state is one NamedTuple: `count`, then the fields of the memory, each a tree like the parameters.
    The recursion computes in at least float32, under standard promotion; the update leaves in the dtype of the
    gradient, the memory in the dtype that init chose. A None among the gradients stays None and its memory waits.
    `step_size`, by which a lasting gradient is multiplied in the end, is noted for `proximal`. Leaves where `mask` (a
    prefix tree of booleans, or a function from params to one) is False see x = 0.
    """
    one = functools.partial(_one, update)
    one_traced = jax.jit(one)

    def init_tree(params: Params) -> Any:
        xs, structure = _flatten(params)
        with jax.numpy_dtype_promotion("standard"):
            memories = [None if x is None else jax.tree.map(_strong, init(_array(x))) for x in xs]
            example = next((m for m in memories if m is not None), None)
            kind: Any = type(init(jnp.zeros(())) if example is None else example)
        rows = [kind(*[None] * len(kind._fields)) if m is None else m for m in memories]
        fields = [structure.unflatten([row[k] for row in rows]) for k in range(len(kind._fields))]
        return _state_type(kind)(jnp.zeros((), jnp.int32), *fields)

    def update_tree(grads: Params, state: Any, params: Params = None, **extra: Any) -> tuple[Params, Any]:
        gs, structure = _flatten(grads)
        xs = _visible(params, structure, mask)
        columns = [structure.flatten_up_to(field) for field in state[1:]]
        memories = [state.memory(*[column[i] for column in columns]) for i in range(len(gs))]
        shared = _shared(gs, state.count)
        t = _next(state.count)
        with jax.numpy_dtype_promotion("standard"):
            steps = [one_traced if shared(g) else one for g in gs]
            pairs = [step(t, *row) for step, *row in zip(steps, gs, memories, xs, strict=True)]
        fields = [structure.unflatten([memory[k] for _, memory in pairs]) for k in range(len(columns))]
        return structure.unflatten([u for u, _ in pairs]), type(state)(t, *fields)

    return transformation(init_tree, update_tree, step_size)


def at(value: Scalar | Schedule, t: Array) -> Scalar:
    """The value in update number t = 1, 2, …; a schedule counts from 0."""
    return value(t - 1) if callable(value) else value


def chain(*optimizers: Optimizer) -> Optimizer:
    """Each one's updates are the next one's gradients; the state is the tuple of their states.

    The step size, for `proximal`, is that of the last one: those before it, like clipping, only prepare the gradient.
    """
    parts = [_checked(optimizer) for optimizer in optimizers]

    def init(params: Params) -> tuple:
        return tuple(part.init(params) for part in parts)

    def update(grads: Params, state: tuple, params: Params = None, **extra: Any) -> tuple[Params, tuple]:
        states = []
        for part, old in zip(parts, state, strict=True):
            grads, new = _update(part, grads, old, params, extra)
            states.append(new)
        return grads, tuple(states)

    return transformation(init, update, _step_size(parts[-1]) if parts else None)


def proximal(
    optimizer: Optimizer,
    prox: Callable[[Params, Scalar], Params],
    step_size: Scalar | Schedule | None = None,
) -> Optimizer:
    """x ← prox(x + u, η): the optimizer's step u on the smooth part, then the prox of the rest (Lions & Mercier 1979).

    prox(params, step) = argmin_z r(z) + ‖z − params‖² / (2 step). The gradients must be those of the smooth part alone.
    The step is what multiplies a lasting gradient, so that the fixed points are the minimisers: the learning rate
    of this update for gradient descent and an average of gradients, η / (1 − μ) for heavy ball and Nesterov. A
    method that rescales coordinates (AdaGrad, Adam, …) would need the prox in its own metric: with η, where it
    comes to rest is not the minimiser. `step_size` gives the step of an optimizer that is not from this package, or
    another one. Raises ValueError where neither tells it.
    """
    step = _step_size(_checked(optimizer)) if step_size is None else step_size
    if step is None:
        raise ValueError(
            "proximal: this optimizer does not tell its step size, which the prox needs; "
            "expected one from sandbox.optimizers, or the number itself: proximal(optimizer, prox, step_size)"
        )
    return _followed(optimizer, lambda x, t: prox(x, at(step, t)), step)


def projected(optimizer: Optimizer, project: Callable[[Params], Params]) -> Optimizer:
    """x ← project(x + u): after every step, the nearest feasible point (Goldstein 1964; Levitin & Polyak 1966)."""
    return _followed(optimizer, lambda x, t: project(x), _step_size(_checked(optimizer)))


def eval_params(state: Any, params: Params) -> Params:
    """Where to evaluate: the params themselves, but the average x of a method that averages.

    Schedule-free methods (Defazio et al. 2024) step at y = (1 − b₁) z + b₁ x and keep z, so x = (y − (1 − b₁) z) / b₁.
    Such a state is found anywhere inside `state`, also where it holds a part of the params only. At b₁ = 0, y is z
    and knows nothing of x: y is returned.
    """
    for node in jax.tree.leaves(state, is_leaf=_averages):
        if _averages(node):
            params = _average(node.b1, node.z, params)
    return params


def transformation(init: Callable, update: Callable, step_size: Scalar | Schedule | None = None) -> Optimizer:
    """(init, update) as the record that Optax and its wrappers take, with a note of the step size."""
    from optax import GradientTransformationExtraArgs

    update.step_size = step_size  # type: ignore[attr-defined]
    return GradientTransformationExtraArgs(init, update)


def decay_rate(b: Any) -> Scalar:
    """b, which half precision may have rounded to 1, where nothing is ever learnt: then the number just below 1.

    Wrappers that keep hyper-parameters in the dtype of the params (optax.inject_hyperparams) pass such numbers.
    """
    if getattr(b, "dtype", None) not in HALF:
        return b
    return jnp.minimum(_wide(b), 1 - float(jnp.finfo(b.dtype).epsneg))


def stabiliser(eps: Any) -> Scalar:
    """eps, which half precision may have rounded to 0: then its smallest number."""
    if getattr(eps, "dtype", None) not in HALF:
        return eps
    return jnp.maximum(_wide(eps), float(jnp.finfo(eps.dtype).smallest_subnormal))


def _followed(optimizer: Optimizer, after: Callable[[Params, Array], Params], step_size: Any) -> Optimizer:
    """x ← after(x + u, t), as an update: after(x + u, t) − x, in the dtype of x, so that exact zeros stay exact."""

    def init(params: Params) -> Following:
        return Following(jnp.zeros((), jnp.int32), optimizer.init(params))

    def update(
        grads: Params, state: Following, params: Params = None, *, smooth_grad: Params = None, **extra: Any
    ) -> tuple[Params, Following]:
        # What follows accounts for the penalty, so the step must not: the engine tells the gradient of the loss alone.
        g = grads if smooth_grad is None else smooth_grad
        u, inner = _update(optimizer, g, state.inner, required(params), extra)
        t = _next(state.count)
        moved = jax.tree.map(lambda u, x: x + u.astype(x.dtype), u, params)
        u = jax.tree.map(lambda z, x: (z - x).astype(x.dtype), after(moved, t), params)
        return u, Following(t, inner)

    return transformation(init, update, step_size)


def required(x: Any) -> Any:
    """x, or a ValueError where the caller of update left the params out."""
    if x is None:
        raise ValueError("update was called without params, which this optimizer needs: update(grads, state, params)")
    return x


def _one(update: Callable, t: Array, g: Any, memory: Any, x: Any) -> tuple[Any, Any]:
    """One leaf through its recursion: up to at least float32 before, back to its own dtypes after."""
    if g is None:
        return None, memory
    g = _array(g)
    u, new = update(t, _wide(g), jax.tree.map(_wide, memory), _wide(x))
    return _narrow(u, g), jax.tree.map(_narrow, new, memory)


def _shared(gs: list, count: Any) -> Callable[[Any], bool]:
    """Which leaves share one trace of the recursion with others of their shape: 200 leaves have few shapes.

    None does outside of a trace: an optimizer made anew for every eager step, as optax.inject_hyperparams makes it,
    would compile in every step.
    """
    if not isinstance(count, jax.core.Tracer):
        return lambda g: False
    occurrences = Counter(jax.typeof(g) for g in gs if g is not None)
    return lambda g: g is not None and occurrences[jax.typeof(g)] > 1


def _visible(params: Params, structure: Any, mask: Any) -> list:
    """The parameters, leaf by leaf, as the recursion sees them."""
    if params is None:
        return [None] * structure.num_leaves
    xs = structure.flatten_up_to(params)
    if mask is None:
        return xs
    keep = jax.tree.broadcast(mask(params) if callable(mask) else mask, params)
    return [x if k else 0.0 for x, k in zip(xs, structure.flatten_up_to(keep), strict=True)]


def _averages(node: Any) -> bool:
    """Whether this is the state of a schedule-free method, ours or Optax's: it is known by its fields."""
    return {"b1", "z", "weight_sum"} <= set(getattr(node, "_fields", ()))


def _average(b1: Any, z: Params, y: Params) -> Params:
    """x = (y − (1 − b₁) z) / b₁ on the leaves that z has; an empty tuple in z stands for a part that is not its own."""
    b = _wide(jnp.asarray(b1))

    def one(z: Any, y: Any) -> Any:
        if isinstance(z, tuple):
            return y
        x = (_wide(y) - (1 - b) * _wide(z)) / jnp.where(b == 0, 1, b)
        return jnp.where(b == 0, _wide(y), x).astype(y.dtype)

    with jax.numpy_dtype_promotion("standard"):
        return jax.tree.map(one, z, y, is_leaf=lambda node: isinstance(node, tuple) and not node)


def _update(optimizer: Any, grads: Params, state: Any, params: Params, extra: dict) -> tuple[Params, Any]:
    """One update; extra arguments go to those transformations that take them."""
    from optax import GradientTransformationExtraArgs

    takes = isinstance(optimizer, GradientTransformationExtraArgs)
    return optimizer.update(grads, state, params, **extra) if takes else optimizer.update(grads, state, params)


def _checked(optimizer: Any) -> Any:
    """The optimizer; a ValueError for what is none."""
    if hasattr(optimizer, "init") and hasattr(optimizer, "update"):
        return optimizer
    given = getattr(optimizer, "__name__", repr(optimizer))
    raise ValueError(f"{given} is not an optimizer; expected one with init and update, such as optimizers.adam(1e-3)")


def _step_size(optimizer: Any) -> Scalar | Schedule | None:
    return getattr(optimizer.update, "step_size", None)


def _next(count: Any) -> Array:
    """count + 1, which stays at the largest int32."""
    return jnp.minimum(count, jnp.iinfo(jnp.int32).max - 1) + 1


def _flatten(values: Params) -> tuple[list, Any]:
    """The leaves, None among them, and the structure."""
    return jax.tree.flatten(values, is_leaf=lambda x: x is None)


def _array(x: Any) -> Any:
    return x if hasattr(x, "dtype") else jnp.asarray(x)


def _wide(x: Any) -> Any:
    return x.astype(jnp.float32) if getattr(x, "dtype", None) in HALF else x


def _narrow(x: Any, like: Any) -> Array:
    x = jnp.asarray(x)
    return x if x.dtype == like.dtype and not x.weak_type else jax.lax.convert_element_type(x, like.dtype)


def _strong(x: Any) -> Array:
    return jax.lax.convert_element_type(x, x.dtype)


@functools.cache
def _state_type(memory: Any) -> Any:
    """The record (count, fields of the memory …): one class for all optimizers with this memory."""
    name, fields = f"{memory.__name__}State", ("count", *memory._fields)
    reduce = lambda self: (_restore, (memory, *self))  # a class made here has no name that pickle could find
    return type(name, (namedtuple(name, fields),), {"__slots__": (), "memory": memory, "__reduce__": reduce})


def _restore(memory: type, *fields: Any) -> Any:
    return _state_type(memory)(*fields)
