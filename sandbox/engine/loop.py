"""run: one problem under one optimizer, as a pure scan."""

import inspect
import operator
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sandbox import tree
from sandbox.data.batches import Batches, epochs
from sandbox.engine import guard
from sandbox.engine.layout import innermost
from sandbox.optimizers.averaging import eval_params
from sandbox.problems.problem import LEAST, Problem, averages, streamed
from sandbox.types import Array, Batch, Key, Metrics, Params, Scalar


class Info(NamedTuple):
    """What a recorder may look at, before update number `step` is applied."""

    step: Array
    params: Params
    state: Any
    value: Array
    grads: Params
    updates: Params
    batch: Batch
    problem: Problem
    key: Key


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Run:
    """What a run returns; under vmap, every array has a leading axis of lanes."""

    params: Params  # the last finite ones, where the method says to evaluate
    state: Any  # of the optimizer; unspecified for a diverged lane
    trace: Metrics  # row k describes the iterate before update k·every
    status: Array  # 0 ok, 1 diverged
    diverged_at: Array  # the first step whose objective, gradient or iterate is not finite, −1 when ok
    value: Array  # the objective of params on all data; NaN for a diverged lane
    every: int = field(default=1, metadata={"static": True})

    @property
    def steps(self) -> Array:
        """The step that each row of the trace describes."""
        rows = {leaf.shape[self.status.ndim] for leaf in jax.tree.leaves(self.trace)}
        return jnp.arange(max(rows, default=0)) * self.every


def loss_and_gradient_norm(info: Info) -> Metrics:
    """The default record: the objective on this step's batch and the length of its gradient."""
    return {"loss": info.value, "grad_norm": tree.norm(info.grads)}


def full_loss(info: Info) -> Metrics:
    """The objective on all data, at one more evaluation a row where the batch is but a part of them."""
    whole = info.batch is info.problem.data
    return {"loss": info.value if whole else _on_all(info.problem, info.params, info.key, _examples(info.batch))}


def run(
    problem: Problem,
    optimizer: Any,
    *,
    steps: int,
    key: Key,
    batch_size: int | None = None,
    batches: Batches | None = None,
    params: Params | None = None,
    record: Callable[[Info], Metrics] | None = loss_and_gradient_norm,
    every: int = 1,
) -> Run:
    """x ← x + update(∇f(x)), `steps` times: pure, so that jit, vmap and grad apply.

    The optimizer is one of ours or any Optax transformation. Without batches every step sees all data; `batch_size=n`
    means `epochs(n)`. Every `every`-th step, `record(info)` gives one row of the trace; None keeps nothing.
    The key is split once, for init, batches and noise, so lanes that differ in hyper-parameters see the same data.
    Raises ValueError for steps or every below one, and for a batch that the data cannot fill.
    """
    course = course_of(
        problem,
        optimizer,
        steps=steps,
        key=key,
        batch_size=batch_size,
        batches=batches,
        params=params,
        record=record,
        every=every,
    )
    return course.finish(*course.advance(course.start(), steps))


class Place(NamedTuple):
    """Where a run is: all that it takes to go on."""

    step: Array  # how many steps were taken
    params: Params  # as the optimizer moves them
    state: Any
    diverged_at: Array


class Course(NamedTuple):
    """A run in pieces: a place to start from, the way from any place on, and the Run that it ends as."""

    start: Callable[[], Place]
    advance: Callable[[Place, int], tuple[Place, Metrics]]  # so many steps, and their rows of the trace
    walk: Callable[[Place, Any], Place]  # as many as a traced number says, without a trace
    finish: Callable[[Place, Metrics], Run]


def course_of(
    problem: Problem,
    optimizer: Any,
    *,
    steps: int,
    key: Key,
    batch_size: int | None = None,
    batches: Batches | None = None,
    params: Params | None = None,
    record: Callable[[Info], Metrics] | None = loss_and_gradient_norm,
    every: int = 1,
) -> Course:
    """The same run, taken in pieces of whole rows of the trace; `steps` is how many there can be in all."""
    steps, every = _whole("steps", steps), _whole("every", every)
    chosen = _check(problem, batch_size, batches)
    init_key, batch_key, noise_key = jax.random.split(key, 3)
    data = jax.tree.map(jnp.asarray, problem.data)
    problem = replace(problem, data=data)
    method = _method(optimizer)

    def start() -> Place:
        first = jax.tree.map(_inexact, problem.init(init_key) if params is None else params)
        return Place(jnp.array(0), first, method.init(first), jnp.array(guard.NEVER))

    def step(place: Place, rows: Array | None) -> tuple[Place, Info]:
        k, params, state, diverged_at = place
        batch = data if rows is None else jax.tree.map(lambda a: a[rows], data)
        noise = jax.random.fold_in(noise_key, k)
        value, grads, extra = _oracle(problem, params, batch, noise)
        updates, new_state = method.update(grads, state, params, **extra)
        info = Info(k, params, state, value, grads, updates, batch, problem, noise)
        params, diverged_at = guard.take(params, tree.add(params, updates), diverged_at, k, value, grads)
        return innermost(Place(k + 1, params, new_state, diverged_at)), info

    def table() -> Array | None:
        return None if chosen is None else chosen.indices(batch_key, _examples(data), steps)

    def advance(place: Place, number: int) -> tuple[Place, Metrics]:
        rows = table()
        if rows is not None and number < steps:
            rows = jax.lax.dynamic_slice_in_dim(rows, place.step, number)
        return _scan(step, place, rows, number, record, every)

    def walk(place: Place, number: Any) -> Place:
        rows = table()
        turn = lambda _, place: step(place, None if rows is None else rows[place.step])[0]
        return jax.lax.fori_loop(0, number, turn, place)

    def finish(place: Place, trace: Metrics) -> Run:
        diverged = place.diverged_at != guard.NEVER
        last = tree.where(diverged, place.params, eval_params(place.state, place.params))
        value = _on_all(problem, last, jax.random.fold_in(noise_key, place.step), chosen and chosen.size)
        rows = jnp.arange(max((len(leaf) for leaf in jax.tree.leaves(trace)), default=0))
        trace = guard.blank(trace, rows * every, place.diverged_at)
        status = jnp.where(diverged, guard.DIVERGED, guard.OK)
        return Run(last, place.state, trace, status, place.diverged_at, jnp.where(diverged, jnp.nan, value), every)

    return Course(start, advance, walk, finish)


def _oracle(problem: Problem, params: Params, batch: Batch, noise: Key) -> tuple[Array, Params, dict[str, Any]]:
    """The objective, its (sub)gradient, and all that an optimizer may ask for by name."""

    # Optax's line searches refuse an extra argument that value_fn does not name; its SAM gives a second one.
    def objective(
        params: Params,
        *_: Any,
        obj_fn: Any = None,
        grad_fn: Any = None,
        smooth_grad: Any = None,
        example_grads: Any = None,
    ) -> Any:
        return problem.objective(params, batch, noise)

    def gradient(params: Params, *_: Any) -> Params:
        return jax.tree.map(jnp.conj, jax.grad(objective)(params))

    def examples() -> Params:
        if batch is None:
            raise ValueError(f"{problem.name} has no data, and this optimizer needs the gradients of single examples")
        one = lambda example: gradient_on(jax.tree.map(lambda a: a[None], example))
        return jax.vmap(one)(batch)

    def gradient_on(batch: Batch) -> Params:
        return jax.tree.map(jnp.conj, jax.grad(problem.objective)(params, batch, noise))

    def loss(params: Params) -> Any:
        value = problem.loss(params, batch, noise)
        if (shape := jax.tree.map(jnp.shape, value)) != ():
            raise ValueError(f"{problem.name}: the loss has the shape {shape}; expected one number, the mean")
        return value

    # The conjugate: of complex parameters, the direction of steepest ascent.
    value, smooth = jax.value_and_grad(loss)(params)
    smooth = grads = jax.tree.map(jnp.conj, smooth)
    if problem.penalty is not None:
        penalty, more = jax.value_and_grad(problem.penalty.value)(params)
        value, grads = value + penalty, jax.tree.map(lambda g, h: g + jnp.conj(h), smooth, more)
    functions = {"value_fn": objective, "obj_fn": objective, "grad_fn": gradient, "example_grads": examples}
    return value, grads, {"value": value, "grad": grads, "smooth_grad": smooth, **functions}


def _on_all(problem: Problem, params: Params, key: Key, size: int | None) -> Scalar:
    """The objective on all data; an average over as many examples at a time as a step has, with whom caches cope."""
    if size is None or not averages(problem.loss):
        return problem.objective(params, key=key)
    return streamed(lambda batch: problem.objective(params, batch, key), max(size, LEAST), problem.data)


def _scan(
    step: Callable, place: Place, rows: Array | None, number: int, record: Callable | None, every: int
) -> tuple[Place, Metrics]:
    """So many steps; the first of every `every` is recorded, a remainder is run and not recorded."""

    def silent(place: Place, x: Array | None) -> tuple[Place, None]:
        return step(place, x)[0], None

    def row(place: Place, x: Array | None) -> tuple[Place, Metrics]:
        place, info = step(place, None if x is None else x[0])
        if every > 1:
            place, _ = jax.lax.scan(silent, place, None if x is None else x[1:], every - 1)
        return place, record(info)

    if record is None:
        return jax.lax.scan(silent, place, rows, number)[0], {}
    whole = number // every
    first = None if rows is None else rows[: whole * every].reshape(whole, every, *rows.shape[1:])
    place, trace = jax.lax.scan(row, place, first, whole)
    if whole * every < number:
        rest = None if rows is None else rows[whole * every :]
        place, _ = jax.lax.scan(silent, place, rest, number - whole * every)
    return place, trace


def _whole(name: str, number: Any) -> int:
    """A count, of any type that stands for a whole number, as Python's; True and False stand for none."""
    try:
        count = operator.index(number)
    except TypeError:
        count = 0
    if count < 1 or isinstance(number, bool):
        raise ValueError(f"{name}={number!r}: expected a whole number from 1 up")
    return count


def _check(problem: Problem, batch_size: int | None, batches: Batches | None) -> Batches | None:
    """The batches that were asked for; a ValueError where the request makes no sense."""
    if batch_size is not None and batches is not None:
        raise ValueError("batch_size and batches were both given; batch_size=n means batches=epochs(n)")
    chosen = epochs(batch_size) if batch_size is not None else batches
    if chosen is not None and problem.data is None:
        raise ValueError(f"{problem.name} has no data to take batches of; leave batch_size and batches out")
    return chosen


def _examples(data: Batch) -> int:
    """How many examples the leading axes agree on."""
    counts = {leaf.shape[0] for leaf in jax.tree.leaves(data)}
    if len(counts) != 1:
        raise ValueError(f"the data's leading axes have {sorted(counts)} examples; expected one number")
    return counts.pop()


def _inexact(x: Any) -> Array:
    """A strongly typed array of floats: 3 and weakly typed values would change type in the first update."""
    x = jnp.asarray(x)
    return x.astype(x.dtype if jnp.issubdtype(x.dtype, jnp.inexact) else jnp.result_type(float))


def _method(optimizer: Any) -> Any:
    """Any (init, update) pair as one that takes what it names of the engine's extra arguments, and nothing else."""
    import optax

    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        given = getattr(optimizer, "__name__", type(optimizer).__name__)
        raise ValueError(f"{given} is not an optimizer; expected one with init and update, like optimizers.adam(1e-3)")
    method = optax.with_extra_args_support(optimizer)
    parameters = inspect.signature(method.update).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return method
    known = lambda extra: {name: value for name, value in extra.items() if name in parameters}
    return method._replace(update=lambda g, state, params, **extra: method.update(g, state, params, **known(extra)))
