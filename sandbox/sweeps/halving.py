"""Halving: many points take a few steps, the best third of them go on three times as far, and so on to the end.

The points of a rung are lanes of one compiled program whose number of steps is an argument, so every rung of every
bracket runs the same program. Those that go on are gathered on the device and continue from where they stopped.
"""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sandbox.data.batches import Batches
from sandbox.engine.guard import DIVERGED, NOT_COMPUTED
from sandbox.engine.lanes import Executable, Plan, lower, together
from sandbox.engine.loop import Course, course_of
from sandbox.engine.program import Traced
from sandbox.optimizers import gradient_descent
from sandbox.problems.problem import Problem
from sandbox.sweeps.progress import bar
from sandbox.sweeps.space import Axis, Points, sobol

FURTHEST = 81  # times the first rung's steps that a run goes, where nothing is said: four halvings by a third
NUMBER = " number"  # of steps: no axis can be called this

Values = dict[str, np.ndarray]  # axis → its value at each point
Lanes = list[jax.Array]  # the leaves of the points' places, each with a leading axis of points


class Budget(NamedTuple):
    """What a search may take, all points together; the first limit that is reached ends it."""

    steps: float = math.inf
    gradients: float = math.inf  # a step that asks for more than one gradient counts as so many
    seconds: float = math.inf  # compilation included; a rung that has begun is finished


class Reached(NamedTuple):
    """How far each point came."""

    value: np.ndarray  # the objective on all data where it stopped; NaN where it diverged
    steps: np.ndarray
    status: np.ndarray


class Field(NamedTuple):
    """The points' runs: how they start, and how they go on for so many steps."""

    start: Callable[[Values], Lanes]
    go: Callable[[Values, Lanes, int], tuple[Lanes, np.ndarray, np.ndarray]]  # also their values and statuses


def halving(
    problem: Problem,
    optimizer: Callable[..., Any],
    points: Points,
    *,
    steps: int,
    first: int | None = None,
    eta: int = 3,
    seed: int = 0,
    batch_size: int | None = None,
    batches: Batches | None = None,
    progress: bool = True,
) -> Any:
    """Successive halving (Jamieson & Talwalkar 2016) of some points, as an xarray.Dataset over `point`.

        ds = halving(problem, optimizers.adam, sobol(81, learning_rate=log(1e-4, 1.0)), steps=810)

    All n points take r steps; the n/η of the lowest objective go on to ηr, then n/η² to η²r, … and the last to `steps`.
    r is `first`, about, or what the number of points asks for. `optimizer` is called with one point. The dataset has
    `value`, the objective on all data where a point stopped, `steps`, how far it came, and `status`.
    """
    rungs = _rungs(steps, eta, _halvings(steps, eta, 1 if first is None else first), _length(points.values))
    field = _field(problem, optimizer, points.values, steps, seed, batch_size, batches)
    with bar(len(rungs), progress, "rungs") as advance:
        reached = _descend(field, points.values, rungs, eta, advance=advance)
    return _dataset(points.values, reached)


def hyperband(
    problem: Problem,
    optimizer: Callable[..., Any],
    *,
    steps: int,
    budget: Budget | None = None,
    first: int | None = None,
    eta: int = 3,
    seed: int = 0,
    batch_size: int | None = None,
    batches: Batches | None = None,
    sample: Callable[..., Points] = sobol,
    progress: bool = True,
    **space: Axis,
) -> Any:
    """Hyperband (Li et al. 2018): brackets of halvings, from many short runs to a few whole ones.

        ds = hyperband(problem, optimizers.adam, learning_rate=log(1e-4, 1.0), b1=linear(0, 0.99), steps=810)

    Bracket s begins with about (B/R) ηˢ/(s + 1) points that take R η⁻ˢ steps; R is `steps`, and B an equal share of the
    `budget` for each bracket, or (s_max + 1) R where there is none. Points are drawn from the ranges by `sample`.
    The dataset is that of `halving`, with the bracket of each point. Raises ValueError for a budget below one run.
    """
    brackets = _halvings(steps, eta, max(1, steps // FURTHEST) if first is None else first)
    budget = budget or Budget()
    began = time.perf_counter()
    one = sample(1, seed, **space).values
    field = _field(problem, optimizer, one, steps, seed, batch_size, batches)
    each = _gradients(problem, optimizer, one, seed) if budget.gradients < math.inf else 1.0
    left, rate = min(budget.steps, budget.gradients / each), 0.0
    found: list[tuple[Values, Reached]] = []
    with bar(brackets + 1, progress, "brackets") as advance:
        for s in range(brackets, -1, -1):
            start = time.perf_counter()
            by_clock = (began + budget.seconds - start) * rate if found else math.inf
            share = min(left, by_clock) / (s + 1)
            count = int(min(_most(budget, brackets, s, eta, bool(found)), _affordable(share, steps, eta, s)))
            if count > 0:
                points = sample(count, seed + s, **space).values
                reached = _descend(field, points, _rungs(steps, eta, s, count), eta, began + budget.seconds)
                found.append((points | {"bracket": np.full(count, s)}, reached))
                left -= reached.steps.sum()
                rate = reached.steps.sum() / (time.perf_counter() - start)
            advance(1)
    if not found:
        raise ValueError(f"{budget} does not allow for one run of {steps} steps; allow more, or run fewer steps")
    join = lambda *parts: np.concatenate(parts)
    return _dataset(jax.tree.map(join, *(p for p, _ in found)), jax.tree.map(join, *(r for _, r in found)))


def _most(budget: Budget, brackets: int, s: int, eta: int, timed: bool) -> float:
    """The most points that bracket s may begin with: those of the paper where there is no budget; where time is short
    and it is not known what a step takes, as few as can be halved s times."""
    if budget == Budget():
        return math.ceil((brackets + 1) / (s + 1) * eta**s)
    return eta**s if budget.seconds < math.inf and not timed else math.inf


def _affordable(share: float, steps: int, eta: int, s: int) -> float:
    """How many points can begin bracket s and go on until at most so many steps were taken, all together."""
    if share == math.inf:
        return math.inf

    def taken(count: int) -> int:
        total, at = 0, 0
        for rung in _rungs(steps, eta, s, count):
            total, at, count = total + count * (rung - at), rung, max(1, count // eta)
        return total

    count = int(share // _rungs(steps, eta, s, eta**s)[0])
    while count > 0 and taken(count) > share:
        count -= max(1, count // 100)
    return max(count, 0)


def _descend(
    field: Field,
    points: Values,
    rungs: list[int],
    eta: int,
    deadline: float = math.inf,
    advance: Callable[[int], None] = lambda number: None,
) -> Reached:
    """All points to the first rung, the best 1/η of them from rung to rung; none is begun after the deadline."""
    count = _length(points)
    reached = Reached(np.full(count, np.nan), np.zeros(count, int), np.full(count, NOT_COMPUTED))
    on, at, places = np.arange(count), 0, field.start(points)
    for rung in rungs:
        places, value, status = field.go({name: values[on] for name, values in points.items()}, places, rung - at)
        for whole, part in zip(reached, (value, rung, status), strict=True):
            whole[on] = part
        advance(1)
        order = np.argsort(np.where(status == DIVERGED, np.inf, value), kind="stable")
        best = order[: max(1, len(on) // eta)]
        best = best[status[best] != DIVERGED]
        if not len(best) or time.perf_counter() > deadline:
            break
        on, at, places = on[best], rung, [leaf[best] for leaf in places]
    return reached


def _field(
    problem: Problem,
    optimizer: Callable[..., Any],
    points: Values,
    steps: int,
    seed: int,
    batch_size: int | None,
    batches: Batches | None,
) -> Field:
    """The runs as lanes: one program for any number of steps, compiled once for each width that is needed."""

    def course(point: dict[str, Any]) -> Course:
        method, key = optimizer(**point), jax.random.key(seed)
        return course_of(problem, method, steps=steps, key=key, batch_size=batch_size, batches=batches, record=None)

    scalars = {name: jax.ShapeDtypeStruct((), float, weak_type=True) for name in points}
    leaves, structure = jax.tree.flatten(jax.eval_shape(lambda point: course(point).start(), scalars))
    numbered = {f" {i}": jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for i, leaf in enumerate(leaves)}

    def lane(**inputs: Any) -> Any:
        its = course({name: inputs[name] for name in points})
        place = its.walk(jax.tree.unflatten(structure, [inputs[name] for name in numbered]), inputs[NUMBER])
        run = its.finish(place, {})
        return jax.tree.leaves(place), run.value, run.status

    traced = Traced(lane, {**scalars, **numbered, NUMBER: jax.ShapeDtypeStruct((), np.int32)})
    executables: dict[Plan, Executable] = {}

    def go(points: Values, places: Lanes, number: int) -> tuple[Lanes, np.ndarray, np.ndarray]:
        count = len(places[0])
        plan = _plan(traced, count)
        if plan not in executables:
            executables[plan] = lower(traced, plan)()
        rows = np.minimum(np.arange(-count // plan.chunk * -plan.chunk), count - 1)  # the last is repeated
        parts = []
        for chunk in rows.reshape(-1, plan.chunk):
            lanes = {name: values[chunk] for name, values in points.items() if name in scalars}
            lanes |= {name: leaf[chunk] for name, leaf in zip(numbered, places, strict=True)}
            parts.append(executables[plan](lanes | {NUMBER: np.full(plan.chunk, number)}))
        *after, value, status = (jnp.concatenate(part)[:count] for part in zip(*parts, strict=True))
        return after, np.asarray(value), np.asarray(status)

    begin = jax.jit(jax.vmap(lambda point: course(point).start()))
    return Field(lambda points: jax.tree.leaves(begin({name: points[name] for name in scalars})), go)


def _plan(traced: Traced, count: int) -> Plan:
    """One group on each device, of a power of four of lanes, so that few widths are compiled."""
    devices = min(len(jax.local_devices()), count)
    width = min(together(traced.cost.working_set), 4 ** math.ceil(math.log(count / devices, 4)))
    return Plan(width, devices, devices, (NUMBER,))


def _gradients(problem: Problem, optimizer: Callable[..., Any], point: Values, seed: int) -> float:
    """Gradients that a step asks for, as it is traced: those inside a loop of its own count once."""
    calls = 0

    def counted(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        return problem.loss(*arguments)

    def in_a_step(method: Any) -> int:
        nonlocal calls
        course = course_of(replace(problem, loss=counted), method, steps=1, key=jax.random.key(seed), record=None)
        place = jax.eval_shape(lambda: course.walk(course.start(), 1))
        calls = 0
        jax.eval_shape(course.walk, place, 1)
        return calls

    method = optimizer(**{name: values[0] for name, values in point.items()})
    return in_a_step(method) / in_a_step(gradient_descent(0.1))


def _rungs(steps: int, eta: int, halvings: int, count: int) -> list[int]:
    """How far each rung goes, the last one all the way: as many halvings as asked for, or as the points allow."""
    return [round(steps / eta**i) for i in range(min(halvings, _power(eta, count)), -1, -1)]


def _halvings(steps: int, eta: int, first: int) -> int:
    """How often `steps` can be divided by η and be no less than `first`; ValueError where that makes no sense."""
    if not (isinstance(eta, int) and eta >= 2 and 1 <= first <= steps):
        raise ValueError(f"steps={steps}, first={first}, eta={eta}: expected 1 ≤ first ≤ steps, and eta from 2 up")
    return _power(eta, steps / first)


def _power(eta: int, number: float) -> int:
    """The largest k with ηᵏ ≤ number."""
    k = 0
    while eta ** (k + 1) <= number * (1 + 1e-12):
        k += 1
    return k


def _length(points: Values) -> int:
    return len(next(iter(points.values())))


def _dataset(points: Values, reached: Reached) -> Any:
    import xarray

    coords = {name: ("point", values) for name, values in points.items()}
    return xarray.Dataset({name: ("point", values) for name, values in reached._asdict().items()}, coords)
