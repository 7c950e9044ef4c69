"""How lanes meet the hardware: which share their data, how many step together, on which devices, how many at a time.

A sweep's lanes are laid out as groups × width. The lanes of a group step together under vmap and share the inputs that
feed random keys, so that they see the same minibatch and their products merge into one wide matmul. Groups follow one
another on a device (lax.map) and are spread over all devices (shard_map); a chunk of them is one call of the compiled
program, and the unit that is written, resumed and counted by the progress bar.
"""

import functools
import math
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Int

from sandbox.engine import shared
from sandbox.engine.program import Cost, Traced

NEAR, FAR = 384 << 10, 4 << 20  # bytes that a step may touch on one core, so that its near caches cope; and its far one
SECONDS = 2.0  # that a chunk should take: long against the 10 ms that writing it costs, short to lose
STORED_CHUNKS = 8  # at least, where results are stored, so that a kill loses an eighth
TOGETHER = 24  # lanes from which products grow no faster by being wider, where all share a minibatch or have none
FEW = 64  # of so many lanes one may be repeated to fill a group
# Of all 512 bits where a processor has them, of which LLVM takes half unless told: measured, steps of Rosenbrock's
# function take 1.1 to 1.3 times less, those of networks and of logistic regression 1 to 1.07 times.
VECTORS: dict[str, str | bool] = {"xla_cpu_prefer_vector_width": "512"}
VECTOR = 16  # numbers: a row of them that begins elsewhere costs a quarter more
SHARED = 4  # lanes of one minibatch from which that is worth a group of its own


class Plan(NamedTuple):
    """How a sweep is cut up. Results repeat bit for bit under one plan; across plans they agree to rounding."""

    width: int  # lanes that step together
    groups: int  # of that many lanes, in one call of the program, over all devices
    devices: int
    outer: tuple[str, ...] = ()  # axes constant within a group
    reason: str = "given"

    @property
    def chunk(self) -> int:
        """Lanes in one call."""
        return self.width * self.groups


def choose(
    programs: list[Traced],
    lanes: dict[str, np.ndarray],
    *,
    stored: bool = False,
    room: int = 1 << 40,
    width: int | None = None,
    devices: int | None = None,
) -> Plan:
    """A plan from the price of one lane: as many lanes step together as fit a core's near caches with all that they
    touch in a step, or up to TOGETHER where those fit the far one. (Measured: 1,024 for a function of two variables,
    8 to 64 for networks of 16 units, 2 to 16 alike for 64 units, 1 for a convolutional one.)

    `lanes` holds the axis values of the lanes of one program; where there are several they share one plan. `room` is in
    bytes, and the price a guess: `memory.fit` asks the compiled program, `rehearsal.settle` the clock. They say by
    `width` about how many lanes step together, and on how many `devices`.
    """
    cost = Cost(*(max(field) for field in zip(*(p.cost for p in programs), strict=True)))
    total, alone = _length(lanes), any(p.matrices for p in programs) and jax.default_backend() == "cpu"
    fits = 1 if alone else width or together(cost.working_set)
    most = min(_devices(p, fits) for p in programs)
    devices = min(devices or len(jax.local_devices()), most)
    outer = tuple(name for name in lanes if any(name in p.keyed for p in programs))
    sharing = total // len(_distinct(lanes, outer))
    if sharing < min(fits, SHARED) or len(outer) == len(lanes):
        outer, sharing = (), total
    sets = math.ceil(total / sharing)
    # As few as fit, or up to twice as many, to occupy all devices, to repeat fewer lanes in the last one, of which a
    # few do no harm, and to be of whole vectors where they are wide.
    fewest = math.ceil(sharing / fits)

    def waste(n: int) -> tuple[bool, int, bool, int]:
        wide = math.ceil(sharing / n)
        return sets * n % devices > 0, max(wide * n - sharing, sharing // FEW), wide > FEW and wide % VECTOR > 0, n

    groups = min(range(fewest, min(max(2 * fewest, devices), sharing) + 1), key=waste)
    width = math.ceil(sharing / groups)
    rounds = math.ceil(sets * groups / devices)
    fit = room // (devices * width * (cost.output + cost.working_set) + 1)
    longest = max(1, min(rounds, fit, int(SECONDS / max(cost.seconds * width, 1e-9))))
    if stored:
        longest = min(longest, math.ceil(rounds / STORED_CHUNKS))
    # As many calls as need be, or up to twice as many where fewer lanes are then repeated to fill the last one.
    per_call = min(range(math.ceil(longest / 2), longest + 1), key=lambda n: (-rounds % n, -n))
    single = ", one at a time for LAPACK" if alone else ""
    reason = (
        f"a lane touches {cost.working_set:,} bytes a step, so up to {fits:,} step together{single}; "
        f"about {cost.seconds:.1e} s a lane"
    )
    return Plan(width, per_call * devices, devices, outer, reason)


def _devices(program: Traced, width: int) -> int:
    """On how many devices a program can run. On CPU they share one pool of threads, as many as there are cores, and a
    call of LAPACK for several matrices occupies one of these while it waits for others: on all devices at once they
    would wait for ever. (jaxlib 0.10; one matrix at a time, as where every lane goes alone, waits for none.)"""
    waits = jax.default_backend() == "cpu" and program.matrices * width > 1
    return 1 if waits else len(jax.local_devices())


def together(working_set: int) -> int:
    """How many points that touch so many bytes each are best computed side by side on one core."""
    touched = max(working_set, 1)
    return max(1, NEAR // touched, min(TOGETHER, FAR // touched))


@functools.cache
def mention_idle_cores() -> None:
    """Say, once in a process, how to get the cores that JAX was started without."""
    cores = len(os.sched_getaffinity(0))
    if jax.default_backend() == "cpu" and len(jax.local_devices()) < cores:
        used = f"{len(jax.local_devices())} of {cores} cores"
        warnings.warn(f"on {used}: call sandbox.use_all_cores() before the first JAX operation for all", stacklevel=3)


def arrange(lanes: dict[str, np.ndarray], plan: Plan) -> Int[np.ndarray, "groups width"]:
    """The lane numbers of every group, in whole chunks: the last lane of a set is repeated to fill its last group."""
    which = _distinct(lanes, plan.outer, inverse=True)
    groups = []
    for number in which[np.sort(np.unique(which, return_index=True)[1])]:  # in the order in which they come
        members = np.flatnonzero(which == number)
        short = -len(members) % plan.width
        groups.append(np.append(members, np.repeat(members[-1:], short)).reshape(-1, plan.width))
    table = np.concatenate(groups)
    return np.concatenate([table, np.repeat(table[-1:], -len(table) % plan.groups, axis=0)])


@dataclass(frozen=True)
class Executable:
    """A compiled program over one chunk: axis values, each (chunk,) → the flat outputs, each (chunk, …)."""

    program: Traced
    plan: Plan
    devices: int
    consts: tuple
    xla: Any

    def __call__(self, lanes: dict[str, np.ndarray]) -> list[jax.Array]:
        numbers, values = _inputs(self.program, lanes, self.plan)
        # What an earlier call put out lies where that call needed it.
        _, _, homes = self.xla.input_shardings[0]
        at_home = [v if isinstance(v, np.ndarray) else jax.device_put(v, h) for v, h in zip(values, homes, strict=True)]
        return self.xla(self.consts, numbers, tuple(at_home))

    @functools.cached_property
    def bytes(self) -> int:
        """What two calls need on all devices: one is started, and has all its memory, while the other still runs."""
        needs = self.xla.memory_analysis()
        if needs is None:
            return 0
        each = needs.temp_size_in_bytes + needs.output_size_in_bytes + needs.argument_size_in_bytes
        return 2 * self.devices * each


def lower(program: Traced, plan: Plan) -> Callable[[], Executable]:
    """The program as one call for a chunk: lowered in this thread, whose settings it follows, and from then on compiled
    beside it; what is returned waits for that. No device waits for another: there is no collective in it. A plan from a
    larger machine runs on as many devices as there are.

    An output of one row a step is left as the steps wrote it, (groups, steps, width, …), for `gathered`: XLA's own
    transpose takes three times as long as all the steps of a small problem. The others are (chunk, …).
    """
    available = min(plan.devices, len(jax.local_devices()), _devices(program, plan.width))
    devices = max(n for n in range(1, available + 1) if plan.groups % n == 0)
    mesh = jax.make_mesh((devices,), ("lanes",), axis_types=(AxisType.Auto,), devices=jax.local_devices()[:devices])
    consts, draws, seeds, rest = shared.split(program.jaxpr, program.consts)
    along = tuple(None if name in plan.outer else 0 for name in program.names)
    within = [int(row) for row in program.rows]  # a group's axis of lanes

    def group(consts: tuple, number: jax.Array, values: tuple) -> list[jax.Array]:
        # The lane number keeps a group's axis where no swept value varies within it.
        lane = lambda number, *point: program.evaluate(rest, consts, *point)
        return jax.vmap(lane, in_axes=(0, *along), out_axes=within)(number, *values)

    def device(consts: tuple, numbers: jax.Array, values: tuple) -> list[jax.Array]:
        outputs = jax.lax.map(lambda v: group(consts, *v), (numbers, values))
        return [x if lanes else x.reshape(-1, *x.shape[2:]) for x, lanes in zip(outputs, within, strict=True)]

    over = PartitionSpec("lanes")
    whole = jax.shard_map(device, mesh=mesh, in_specs=(PartitionSpec(), over, over), out_specs=over, check_vma=False)
    lead = lambda axis: (plan.groups,) if axis is None else (plan.groups, plan.width)
    numbers = jax.ShapeDtypeStruct(lead(0), np.int32)
    values = tuple(
        jax.ShapeDtypeStruct((*lead(axis), *aval.shape), aval.dtype)
        for axis, aval in zip(along, program.avals, strict=True)
    )
    everywhere, apart = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, over)
    known = jax.device_put(consts, everywhere)
    given = (*known, *(shared.blank(v.aval) for v in draws.outvars))
    lowered = jax.jit(whole, in_shardings=(everywhere, apart, apart)).lower(given, numbers, values)
    options = VECTORS if jax.default_backend() == "cpu" else None
    compiled = shared.beside.submit(lowered.compile, compiler_options=options)
    drawn = shared.draw(draws, seeds)  # lowered while that is compiled

    def executable() -> Executable:
        consts = (*known, *jax.device_put(drawn(), everywhere))
        return Executable(program, plan, devices, consts, compiled.result())

    return executable


def gathered(output: jax.Array, row: bool) -> np.ndarray:
    """What a call put out, once it is there, as (chunk, …): one copy, from all devices."""
    parts = sorted(output.addressable_shards, key=lambda part: part.index[0].start or 0)
    if not row:
        return np.concatenate([np.asarray(part.data) for part in parts])
    groups, steps, width, *rest = output.shape
    found = np.empty((groups, width, steps, *rest), output.dtype)
    row_of_all = max(1, width * math.prod(rest) * output.dtype.itemsize)
    some = max(1, NEAR // row_of_all)  # steps that caches hold while they turn
    for part in parts:
        values, into = np.asarray(part.data), found[part.index[0]]
        for first in range(0, steps, some):
            into[:, :, first : first + some] = values[:, first : first + some].swapaxes(1, 2)
    return found.reshape(groups * width, steps, *rest)


def _inputs(program: Traced, lanes: dict[str, np.ndarray], plan: Plan) -> tuple:
    """Lane numbers (groups, width), and inputs: (groups, …) for outer axes, (groups, width, …) for the others."""

    def shaped(name: str, aval: Any) -> Any:
        values = lanes[name].reshape(plan.groups, plan.width, *aval.shape)
        values = values[:, 0] if name in plan.outer else values
        return exactly(name, values, aval.dtype) if isinstance(values, np.ndarray) else values

    values = tuple(map(shaped, program.names, program.avals))
    return np.arange(plan.chunk, dtype=np.int32).reshape(plan.groups, plan.width), values


def exactly(name: str, values: np.ndarray, dtype: Any) -> np.ndarray:
    """An axis in the dtype that a program takes; ValueError for a whole number that does not fit, which would wrap."""
    if np.issubdtype(dtype, np.integer):
        bounds = np.iinfo(dtype)
        for value in (values.min(), values.max()):
            if not bounds.min <= int(value) <= bounds.max:
                raise ValueError(
                    f"axis {name}: {value} does not fit {bounds.dtype}, which goes from {bounds.min} to {bounds.max}; "
                    "give smaller numbers, or floats"
                )
    return values.astype(dtype)


def _length(lanes: dict[str, np.ndarray]) -> int:
    return len(next(iter(lanes.values()))) if lanes else 1


def _distinct(lanes: dict[str, np.ndarray], names: tuple[str, ...], inverse: bool = False) -> np.ndarray:
    """The distinct combinations of some axes' values; with `inverse`, the number of each lane's combination."""
    if not names:
        return np.zeros(_length(lanes) if inverse else 1, int)
    codes = np.stack([np.unique(lanes[name], return_inverse=True)[1] for name in names], axis=1)
    rows, which = np.unique(codes, axis=0, return_inverse=True)
    return which.ravel() if inverse else rows
