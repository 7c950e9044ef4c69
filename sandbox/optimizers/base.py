"""The lift from one array to a tree; chain; and what an optimizer remembers of its arguments."""

import functools
import inspect
from collections import Counter, namedtuple
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, Protocol, get_args

import jax
import jax.numpy as jnp

from sandbox.types import Array, Params, Scalar, Schedule

HALF = (jnp.dtype("float16"), jnp.dtype("bfloat16"))
Arguments = ParamSpec("Arguments")


class Optimizer(Protocol):
    """Two pure functions; every factory returns them as an `optax.GradientTransformationExtraArgs`.

    init(params) → state
    update(grads, state, params=None, **extra) → (updates, state); the step is x ← x + updates
    """

    init: Callable[..., Any]
    update: Callable[..., tuple[Params, Any]]


def leafwise(
    init: Callable,
    update: Callable,
    step_size: Scalar | Schedule | None = None,
    *,
    masks: tuple = (),
    roles: Callable[[Params], Params] | None = None,
) -> Optimizer:
    """The optimizer whose recursion for one array is (init, update).

    init(x) → memory                                       a NamedTuple of arrays; of x only shape and dtype are sure
    update(t, g, memory, x, *marks) → (update, memory)     t = 1, 2, …; x is None where the caller gives no params

    The state is one NamedTuple: `count`, then the fields of the memory, each a tree like the parameters.
    The recursion computes in at least float32, under standard promotion; the update leaves in the dtype of the
    gradient, the memory in the dtype that init chose. A None among the gradients stays None and its memory waits.
    `step_size`, by which a lasting gradient is multiplied in the end, is noted for `proximal`. Each of `masks` (a
    prefix tree of booleans, or a function from params to one; None is True everywhere) gives a leaf its mark.
    Where leaves play different roles, `roles`, a function from params to a tree of hashable words, tells them, and
    init and update take them before the marks: init(x, role), update(t, g, memory, x, role, *marks).
    """
    one = functools.partial(_one, update)
    one_traced = jax.jit(one, static_argnums=4)

    def init_tree(params: Params) -> Any:
        xs, structure = _flatten(params)
        parts = _parts(roles, params, structure)
        with jax.numpy_dtype_promotion("standard"):
            pairs = zip(xs, parts, strict=True)
            memories = [None if x is None else jax.tree.map(_strong, init(_array(x), *part)) for x, part in pairs]
            example = next((m for m in memories if m is not None), None)
            kind: Any = type(init(jnp.zeros(()), *([] if roles is None else [None])) if example is None else example)
        rows = [kind(*[None] * len(kind._fields)) if m is None else m for m in memories]
        fields = [structure.unflatten([row[k] for row in rows]) for k in range(len(kind._fields))]
        return _state_type(kind)(jnp.zeros((), jnp.int32), *fields)

    def update_tree(grads: Params, state: Any, params: Params = None, **extra: Any) -> tuple[Params, Any]:
        gs, structure = _flatten(grads)
        xs = [None] * len(gs) if params is None else structure.flatten_up_to(params)
        like = grads if params is None else params
        marks = list(zip(*[_marks(mask, like, structure) for mask in masks], strict=True)) or [()] * len(gs)
        marks = [part + mark for part, mark in zip(_parts(roles, like, structure), marks, strict=True)]
        columns = [structure.flatten_up_to(field) for field in state[1:]]
        memories = [state.memory(*[column[i] for column in columns]) for i in range(len(gs))]
        shared = _shared(gs, state.count)
        t = next_count(state.count)
        with jax.numpy_dtype_promotion("standard"):
            steps = [one_traced if shared(g) else one for g in gs]
            pairs = [step(t, *row) for step, *row in zip(steps, gs, memories, xs, marks, strict=True)]
        fields = [structure.unflatten([memory[k] for _, memory in pairs]) for k in range(len(columns))]
        return structure.unflatten([u for u, _ in pairs]), type(state)(t, *fields)

    return transformation(init_tree, update_tree, step_size)


def treewise(init: Callable, update: Callable, step_size: Scalar | Schedule | None = None) -> Optimizer:
    """The optimizer whose recursion looks across leaves.

    init(params) → memory                                a NamedTuple of trees and numbers
    update(t, g, memory, x, *, …) → (update, memory)     t = 1, 2, …; the names after * are extra arguments it must get;
                                                         after **, it gets all there are

    As with `leafwise`, the state is `count`, then the fields of the memory; the recursion computes in at least
    float32, the update leaves in the dtypes of the gradient, the memory in those that init chose. Raises ValueError
    for an extra argument that the caller of update left out.
    """
    parameters = inspect.signature(update).parameters.values()
    named = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)

    def init_tree(params: Params) -> Any:
        with jax.numpy_dtype_promotion("standard"):
            memory = jax.tree.map(_strong, init(jax.tree.map(_array, params)))
        kind: Any = type(memory)
        return _state_type(kind)(jnp.zeros((), jnp.int32), *memory)

    def update_tree(grads: Params, state: Any, params: Params = None, **extra: Any) -> tuple[Params, Any]:
        given = {p.name: needed(extra, p.name) for p in named if p.name in extra or p.default is p.empty}
        wanted = extra if takes_all else given
        t, memory = next_count(state.count), state.memory(*state[1:])
        grads = jax.tree.map(_array, grads)
        wide = lambda tree: jax.tree.map(lambda x: _wide(_array(x)), tree)
        with jax.numpy_dtype_promotion("standard"):
            u, new = update(t, wide(grads), wide(memory), wide(params), **wanted)
            u, new = jax.tree.map(_narrow, u, grads), jax.tree.map(_narrow, new, memory)
        return u, type(state)(t, *new)

    return transformation(init_tree, update_tree, step_size)


def at(value: Scalar | Schedule, t: Array) -> Scalar:
    """The value in update number t = 1, 2, …; a schedule counts from 0."""
    return value(t - 1) if callable(value) else value


def decay(weight_decay: Scalar | Schedule, t: Array, x: Array, decays: bool) -> Scalar:
    """λ x of update number t, 0 on a leaf that does not decay."""
    x = required(x) if decays else x
    nowhere = not decays or (isinstance(weight_decay, int | float) and weight_decay == 0)
    return 0.0 if nowhere else at(weight_decay, t) * x


def chain(*optimizers: Optimizer) -> Optimizer:
    """Each one's updates are the next one's gradients; the state is the tuple of their states.

    The step size, for `proximal`, is that of the last one: those before it, like clipping, only prepare the gradient.
    """
    parts = [checked(optimizer) for optimizer in optimizers]

    def init(params: Params) -> tuple:
        return tuple(part.init(params) for part in parts)

    def update(grads: Params, state: tuple, params: Params = None, **extra: Any) -> tuple[Params, tuple]:
        states = []
        for part, old in zip(parts, state, strict=True):
            grads, new = advance(part, grads, old, params, extra)
            states.append(new)
        return grads, tuple(states)

    return transformation(init, update, step_size_of(parts[-1]) if parts else None)


def transformation(init: Callable, update: Callable, step_size: Scalar | Schedule | None = None) -> Optimizer:
    """(init, update) as the record that Optax and its wrappers take, with a note of the step size.

    What comes in are the gradients, or what an optimizer before this one in a chain has made of them: `updates`. No
    two arrays of the first state are the same, nor one of the params, so that both can be donated to a step.
    """
    from optax import GradientTransformationExtraArgs

    def started(params: Params) -> Any:
        leaves, structure = jax.tree.flatten((params, init(params)))
        first: dict[int, int] = {}
        again = [first.setdefault(id(x), k) != k for k, x in enumerate(leaves)]
        own = lambda x, taken: jnp.copy(x) if taken and isinstance(x, jax.Array) else x
        return jax.tree.unflatten(structure, map(own, leaves, again))[1]

    def updated(updates: Params, state: Any, params: Params = None, **extra: Any) -> tuple[Params, Any]:
        return update(updates, state, params, **extra)

    updated.step_size = step_size  # type: ignore[attr-defined]
    return GradientTransformationExtraArgs(started, updated)


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


def factory(make: Callable[Arguments, Optimizer]) -> Callable[Arguments, Optimizer]:
    """The factory, whose optimizers remember the arguments they were made with, for `hyperparameters`."""

    @functools.wraps(make)
    def remembered(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Optimizer:
        optimizer, signature = make(*args, **kwargs), inspect.signature(make)
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        scheduled = {name for name, p in signature.parameters.items() if Schedule in get_args(p.annotation)}
        optimizer.update.hyperparameters = (dict(given.arguments), scheduled)  # type: ignore[attr-defined]
        return optimizer

    return remembered


def hyperparameters(optimizer: Optimizer, step: Any = 0) -> dict[str, Any]:
    """The arguments that this optimizer was made with, schedules read at a step = 0, 1, …: the rate at step 412 is
    hyperparameters(optimizer, 412)["learning_rate"].

    Raises ValueError for an optimizer that remembers none: a chain, or one that is not from this package.
    """
    if not hasattr(checked(optimizer).update, "hyperparameters"):
        raise ValueError("this optimizer remembers no arguments; expected one made by a factory of sandbox.optimizers")
    arguments, scheduled = optimizer.update.hyperparameters  # type: ignore[attr-defined]
    read = lambda name, value: value(step) if name in scheduled and callable(value) else value
    return {name: read(name, value) for name, value in arguments.items()}


def real_dtype(x: Array) -> Any:
    """The dtype of |x|²."""
    return jnp.finfo(x.dtype).dtype if jnp.issubdtype(x.dtype, jnp.complexfloating) else x.dtype


def required(x: Any) -> Any:
    """x, or a ValueError where the caller of update left the params out."""
    if x is None:
        raise ValueError("update was called without params, which this optimizer needs: update(grads, state, params)")
    return x


def needed(extra: dict[str, Any], name: str) -> Any:
    """The extra argument of this name, or a ValueError where the caller of update left it out."""
    if name not in extra:
        raise ValueError(f"update was called without {name}, which this optimizer needs: {name}=…")
    return extra[name]


def marked(mask: Any, params: Params) -> Params:
    """What the mask, a prefix tree or a function from params to one, says of each leaf; None is True everywhere."""
    return jax.tree.broadcast(True if mask is None else mask(params) if callable(mask) else mask, params)


def _parts(roles: Callable[[Params], Params] | None, params: Params, structure: Any) -> list[tuple]:
    """The role of each leaf, as what its recursion is given: nothing, where leaves have no roles."""
    return [()] * structure.num_leaves if roles is None else [(r,) for r in structure.flatten_up_to(roles(params))]


def _one(update: Callable, t: Array, g: Any, memory: Any, x: Any, marks: tuple) -> tuple[Any, Any]:
    """One leaf through its recursion: up to at least float32 before, back to its own dtypes after."""
    if g is None:
        return None, memory
    g = _array(g)
    u, new = update(t, _wide(g), jax.tree.map(_wide, memory), _wide(x), *marks)
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


def _marks(mask: Any, params: Params, structure: Any) -> list[bool]:
    """What the mask says of each leaf."""
    if mask is None:
        return [True] * structure.num_leaves
    return [bool(mark) for mark in structure.flatten_up_to(marked(mask, params))]


def advance(optimizer: Any, grads: Params, state: Any, params: Params, extra: dict) -> tuple[Params, Any]:
    """One update; extra arguments go to those transformations that take them."""
    from optax import GradientTransformationExtraArgs

    takes = isinstance(optimizer, GradientTransformationExtraArgs)
    return optimizer.update(grads, state, params, **extra) if takes else optimizer.update(grads, state, params)


def checked(optimizer: Any) -> Any:
    """The optimizer; a ValueError for what is none."""
    if hasattr(optimizer, "init") and hasattr(optimizer, "update"):
        return optimizer
    given = getattr(optimizer, "__name__", repr(optimizer))
    raise ValueError(f"{given} is not an optimizer; expected one with init and update, such as optimizers.adam(1e-3)")


class Later(NamedTuple):
    """An optimizer to be made where it is needed, as a default is: importing makes nothing, and no wrapper takes it for
    a schedule, as optax.inject_hyperparams takes every function."""

    make: Callable[[], Optimizer]


def made(maker: Any) -> Any:
    """The optimizer that a function without arguments makes; an optimizer is itself."""
    if isinstance(maker, Later):
        return maker.make()
    return maker() if callable(maker) else checked(maker)


def step_size_of(optimizer: Any) -> Scalar | Schedule | None:
    return getattr(optimizer.update, "step_size", None)


def next_count(count: Any) -> Array:
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
    same = x.dtype == like.dtype and not getattr(x, "weak_type", False)  # a random key has no such thing
    return x if same else jax.lax.convert_element_type(x, like.dtype)


def _strong(x: Any) -> Array:
    return jax.lax.convert_element_type(x, x.dtype) if getattr(x, "weak_type", False) else jnp.asarray(x)


@functools.cache
def _state_type(memory: Any) -> Any:
    """The record (count, fields of the memory …): one class for all optimizers with this memory."""
    name, fields = f"{memory.__name__}State", ("count", *memory._fields)
    reduce = lambda self: (_restore, (memory, *self))  # a class made here has no name that pickle could find
    return type(name, (namedtuple(name, fields),), {"__slots__": (), "memory": memory, "__reduce__": reduce})


def _restore(memory: type, *fields: Any) -> Any:
    return _state_type(memory)(*fields)
