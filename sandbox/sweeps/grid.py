"""sweep: one function at every point of a space, as one compiled program, into one labelled dataset."""

import math
import os
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np

from sandbox import store as stores
from sandbox.engine.lanes import Executable, Plan, arrange, choose, mention_idle_cores
from sandbox.engine.memory import fit, readable, room
from sandbox.engine.rehearsal import settle
from sandbox.sweeps import cluster, team
from sandbox.sweeps import recipe as recipes
from sandbox.sweeps.lane import Computed, Program, Work, program
from sandbox.sweeps.progress import bar
from sandbox.sweeps.space import Points, Space, space


def sweep(
    fn: Callable[..., Any],
    /,
    *,
    store: str | os.PathLike | None = None,
    points: Points | None = None,
    plan: Plan | None = None,
    memory: int | str | None = None,
    keep: str | None = None,
    executor: str | None = None,
    progress: bool = True,
    **axes: Any,
) -> Any:
    """fn(**point) at every point of the product of the axes, as an xarray.Dataset.

        def train(learning_rate, seed):
            return run(problem, optimizers.adam(learning_rate), steps=500, key=jax.random.key(seed))

        ds = sweep(train, learning_rate=log(1e-4, 1.0, 64), seed=range(8), store="results/adam")

    fn returns a Run, a dict of arrays or one array. Numbers are traced, so that all their combinations are lanes of one
    program; text, functions and static(…) loop over programs. Each axis is a dimension, then `step`; every recorded
    array is a variable, plus `status`, `diverged_at` and `value`, the final objective; `keep="params"` adds the final
    parameters as `params/<path>`. `points=sobol(256, …)` replaces the product of some axes by one dimension `point`.

    With a store, finished lanes are kept on disk: the same call after an interruption computes only what is missing,
    and so does one with more seeds or rates; a store made by another program is refused. `memory` ("2GB") is what this
    process may hold, results included; without it, 60 % of what the machine has to spare. `plan` overrides how lanes
    meet the hardware, `progress` shows a bar on a terminal while it lasts. `executor="ray"` computes each program, that
    is each combination of text, functions and static(…), in a task of its own, "ray://HEAD:PORT" on a cluster.
    """
    if not axes and points is None:
        raise ValueError("sweep needs an axis, like learning_rate=log(1e-4, 1.0, 64)")
    _check(store, plan, keep, executor)
    mention_idle_cores()
    if executor is not None:
        cluster.join(executor)
    where = space(axes, points)
    programs = {
        labels: program(fn, {n: where.static[n][v] for n, v in labels}, where, keep) for labels in _static(where)
    }
    variables = _variables(programs)
    lanes = where.lanes()
    for name in variables.keys() & lanes.keys():
        raise ValueError(f"'{name}' is both an axis and a result of the function; rename one of them")
    left = room(memory)
    left -= _results(len(next(iter(lanes.values()))), variables, memory, left)
    began = time.perf_counter()
    plan = plan or _plan(where, lanes, programs, left, store)
    way = _computed if executor is None else partial(cluster.compute, (fn, where, keep))
    planning = time.perf_counter() - began
    compute = lambda plan, table, todo: way(Work(programs, plan, table, todo), progress, planning)
    if store is None:
        arrays, rows, attributes = _in_memory(lanes, programs, variables, plan, compute)
    else:
        arrays, rows, attributes = _on_disk(Path(store), where, lanes, programs, variables, plan, compute)
    coords = _coordinates(where, programs, variables)
    return stores.lay({n: (variables[n].dims, arrays[n]) for n in variables}, rows, where.dims, coords, attributes)


def _check(store: str | os.PathLike | None, plan: Plan | None, keep: str | None, executor: str | None) -> None:
    """ValueError for options that make no sense, alone or together."""
    if keep not in (None, "params"):
        raise ValueError(f"keep={keep!r}: expected None or 'params'")
    if plan is not None and not isinstance(plan, Plan):
        raise ValueError(f"plan={plan!r}: expected a sandbox.engine.lanes.Plan, or None to have one chosen")
    if team.size() > 1 and store is None:
        raise ValueError(f"a sweep of {team.size()} processes needs store=..., a folder that all of them see")
    if team.size() > 1 and executor is not None:
        raise ValueError(f"executor={executor!r} in {team.size()} processes: one alone sends the tasks")


def _coordinates(where: Space, programs: dict[tuple, Program], variables: dict[str, stores.Variable]) -> dict[str, Any]:
    """The axes that lie along another dimension, and the steps where all traces agree on them."""
    coords = {name: (dim, values) for name, (dim, values) in where.axes.items() if dim != name}
    every = {p.traced.out.every for p in programs.values()} - {None}
    lengths = {v.shape[0] for v in variables.values() if v.dims[:1] == ("step",)}
    if len(every) == len(lengths) == 1:
        coords["step"] = ("step", np.arange(*lengths) * every.pop())
    return coords


def _static(where: Space) -> Iterator[tuple]:
    """The combinations of static labels, each one program."""
    return product(*([(name, label) for label in labels] for name, labels in where.static.items()))


def _rows(lanes: dict[str, np.ndarray], labels: tuple) -> np.ndarray:
    """The lanes of one program."""
    mask = np.ones(len(next(iter(lanes.values()))) if lanes else 1, bool)
    for name, label in labels:
        mask &= lanes[name] == label
    return np.flatnonzero(mask)


def _plan(
    where: Space,
    wanted: dict[str, np.ndarray],
    programs: dict[tuple, Program],
    left: int,
    store: str | os.PathLike | None,
) -> Plan:
    """A plan whose largest program, compiled, fits the memory that is left. A store that exists has its own."""
    first = _rows(wanted, next(iter(programs)))
    sample = {name: wanted[name][first] for name in where.axes}
    layout = partial(choose, [p.traced for p in programs.values()], sample, stored=store is not None, room=left)
    plan = layout()
    if store is not None and stores.recipe(store) is not None:
        return plan
    slowest = max((p.traced for p in programs.values()), key=lambda traced: traced.cost.seconds)
    guess = slowest.cost.seconds * len(next(iter(wanted.values()))) / plan.devices
    plan = settle(slowest, sample, plan, lambda width, devices: layout(width=width, devices=devices), guess)
    largest = max(programs.values(), key=lambda p: p.traced.cost.working_set + p.traced.cost.output)
    return fit(plan, left, lambda plan: largest.executable(plan).bytes)


def _order(lanes: dict[str, np.ndarray], programs: dict[tuple, Program], plan: Plan) -> np.ndarray:
    """The numbers of the lanes in execution order: program after program, each in whole chunks."""
    order = []
    for labels, p in programs.items():
        own = _rows(lanes, labels)
        if len(own):
            order.append(own[arrange({name: lanes[name][own] for name in p.traced.names}, plan).ravel()])
    return np.concatenate(order)


def _take(lanes: dict[str, np.ndarray], order: np.ndarray) -> dict[str, np.ndarray]:
    return {name: values[order] for name, values in lanes.items()}


def _computed(work: Work, progress: bool, planning: float) -> Computed:
    """Each chunk that is to do, in their order.

    The next chunk is started before this one is handed over, so that writing hides behind computing; and the next
    program is compiled while this one runs. Planning took some seconds too, most of them to compile the first program.
    """
    seconds = {"compile_seconds": planning, "run_seconds": 0.0}
    waiting: tuple[int, Program, Any] | None = None
    plan, chunks = work.plan, [(start, work.programs[labels], lanes) for start, labels, lanes in work.chunks()]
    following: dict[Program, Program] = dict(pairwise(dict.fromkeys(p for _, p, _ in chunks)))
    ready: dict[Program, Callable[[], Executable]] = {}
    with bar(len(chunks) * plan.chunk, progress and team.leads()) as advance:
        for chunk in [*chunks, None]:
            started = None
            if chunk is not None:
                start, p, lanes = chunk
                began = time.perf_counter()
                for each in (p, following.get(p, p)):
                    if each not in ready:
                        ready[each] = each.lower(plan)
                executable = ready[p]()
                seconds["compile_seconds"] += time.perf_counter() - began
                started = start, p, executable(lanes)
            if waiting is not None:
                began = time.perf_counter()
                block = waiting[1].block(waiting[2])
                seconds["run_seconds"] += time.perf_counter() - began
                yield waiting[0], block, seconds
                advance(plan.chunk)
            waiting = started


def _results(lanes: int, variables: dict[str, stores.Variable], memory: int | str | None, left: int) -> int:
    """Bytes of all results, as they come in and laid out; ValueError where so much is not left."""
    size = 2 * lanes * sum(math.prod(v.shape) * np.dtype(v.dtype).itemsize for v in variables.values())
    if size > left:
        limit = "" if memory is None else f" of memory={memory!r}"
        raise ValueError(
            f"the results of {lanes:,} lanes take {readable(size)} while put together, {readable(left)}{limit} "
            "are left: record less (record=None, every=100), or sweep fewer points at a time, which a store collects"
        )
    return size


def _in_memory(
    wanted: dict[str, np.ndarray],
    programs: dict[tuple, Program],
    variables: dict,
    plan: Plan,
    compute: Callable[[Plan, dict[str, np.ndarray], np.ndarray], Computed],
) -> tuple[dict[str, np.ndarray], np.ndarray, dict[str, Any]]:
    """Arrays along lanes, the row of each wanted lane, and what is worth knowing of the execution."""
    order = _order(wanted, programs, plan)
    arrays = {name: np.empty((len(order), *v.shape), v.dtype) for name, v in variables.items()}
    seconds: dict[str, float] = {}
    todo = np.arange(len(order) // plan.chunk)
    for start, block, seconds in compute(plan, _take(wanted, order), todo):
        if len(todo) == 1:
            arrays = block
            continue
        for name, values in block.items():
            arrays[name][start : start + plan.chunk] = values
    rows = np.empty(len(next(iter(wanted.values()))), int)
    rows[order] = np.arange(len(order))
    return arrays, rows, {"plan": str(plan), **seconds}


def _on_disk(
    path: Path,
    where: Space,
    wanted: dict[str, np.ndarray],
    programs: dict[tuple, Program],
    variables: dict,
    plan: Plan,
    compute: Callable[[Plan, dict[str, np.ndarray], np.ndarray], Computed],
) -> tuple[dict[str, np.ndarray], np.ndarray, dict[str, Any]]:
    """The same from a store, once every wanted lane is in it; with its recipe."""
    marks = {" ".join(f"{n}={v}" for n, v in labels) or "program": p.fingerprint for labels, p in programs.items()}
    new = recipes.describe(where, plan, marks)
    if team.leads() and stores.recipe(path) is None:
        stores.create(path, new, variables, _take(wanted, _order(wanted, programs, plan)), plan.chunk)
    team.meet("made")
    with team.writing(path):
        recipe = stores.recipe(path) or new
        if reason := recipes.conflict(recipe, new):
            raise stores.OtherProgram(f"{path} {reason}; give this sweep another store")
        plan = recipes.plan_of(recipe)
        if team.leads() and (lost := stores.mend(path)):
            warnings.warn(f"{path}: {lost} of its chunks are damaged; their lanes are computed anew", stacklevel=3)
        team.meet("mended")
        table, absent = stores.lanes(path), _absent(path, wanted, where)
        team.meet("looked at")
        if absent is not None:
            recipe = recipes.merge(recipe, new)
            if team.leads():
                stores.extend(path, recipe, _take(absent, _order(absent, programs, plan)))
            team.meet("extended")
            table = stores.lanes(path)
        asked = stores.match(table, wanted).reshape(-1, plan.chunk)
        todo = np.flatnonzero((asked >= 0).any(axis=1) & ~stores.finished(path))
        team.meet("counted")
        seconds: dict[str, float] = {}
        try:
            for start, block, seconds in compute(plan, table, team.share(todo)):
                stores.write(path, start, block)
        finally:
            if seconds and team.leads():
                recipe = {**recipe, **{name: recipe[name] + spent for name, spent in seconds.items()}}
                stores.annotate(path, recipe)
        team.meet("done")
        ds = stores.read(path)
        arrays = {name: ds[name].values for name in variables}
        return arrays, stores.match(wanted, table), recipe | {"lanes_computed": _distinct(asked[todo])}


def _absent(path: Path, wanted: dict[str, np.ndarray], where: Space) -> dict[str, np.ndarray] | None:
    """The wanted lanes that a store does not know of; OtherProgram where it cannot take them."""
    table = stores.lanes(path)
    missing = stores.match(wanted, table) < 0
    if not missing.any():
        return None
    absent = _take(wanted, np.flatnonzero(missing))
    if (stores.match({n: absent[n] for n in where.dims}, {n: table[n] for n in where.dims}) >= 0).any():
        raise stores.OtherProgram(f"{path} holds other points under the same numbers; give this sweep another store")
    if any(absent[name].dtype.kind != table[name].dtype.kind for name in absent):
        raise stores.OtherProgram(
            f"{path} has axes of another type (whole numbers, others or text); give new ones another store"
        )
    return absent


def _distinct(numbers: np.ndarray) -> int:
    """How many lanes there are among the rows of some chunks, which may repeat one or hold others than were asked."""
    return len(np.unique(numbers[numbers >= 0]))


def _variables(programs: dict[tuple, Program]) -> dict[str, stores.Variable]:
    """What all programs return; ValueError where two disagree about the shape of a result."""
    found: dict[str, stores.Variable] = {}
    for labels, p in programs.items():
        for name, variable in p.variables.items():
            if found.setdefault(name, variable) != variable:
                point = ", ".join(f"{n}={v}" for n, v in labels)
                raise ValueError(
                    f"'{name}' has shape {variable.shape} ({variable.dtype}) at {point} and {found[name].shape} "
                    f"({found[name].dtype}) elsewhere; the programs of one sweep must return the same shapes"
                )
    return found
