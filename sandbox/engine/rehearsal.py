"""Rehearsal: a sweep that is long enough to pay for it tries a few widths before it settles on one.

A swept function is opaque, so its steps cannot be cut short from outside. But its trace is known: in a rehearsal each
outermost loop runs a part of its length, and the part is an argument of the compiled program. Time is a straight line
in it, the line through two parts gives what a lane costs in full, and a candidate takes seconds where its sweep takes
minutes. Where repeats differ too much to be believed, the first guess stands.
"""

import functools
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from sandbox.engine.lanes import Executable, Plan, arrange, lower
from sandbox.engine.program import Traced, play

WORTHWHILE = 100.0  # seconds a sweep should take, by the guess, to pay for one: compiling takes some
SHARE = 0.1  # of the sweep's time, as it is measured then, that all rehearsals may take
LONG_LOOP = 16  # steps from which a loop is cut short; of shorter ones, those inside
MEASURABLE = 0.03  # seconds that the loops of a rehearsal should take, to be told from the noise
TURNS = 5, 15  # timings of each candidate: at least, and at most
FASTEST, SPREAD = 3, 0.2  # of them that count, and by how much these may differ, to be believed
BETTER = 0.92  # of the time of the best so far, for another to be preferred to it
STEP = 4  # factor between the widths that are tried first; then its root

Layout = Callable[[int, int], Plan]  # (lanes side by side, devices) → the plan


class Trial(NamedTuple):
    """What a rehearsal of one plan measured."""

    plan: Plan
    seconds: float  # a lane, on all devices together
    reliable: bool


def settle(program: Traced, lanes: dict[str, np.ndarray], first: Plan, layout: Layout, guess: float) -> Plan:
    """The best plan that could be found in a small share of the time that the sweep takes: `first`, where it is short.

    `lanes` are the program's own, `guess` is how long they take, in seconds. What was found is kept on disk, for the
    same program on the same devices.
    """
    if guess < WORTHWHILE:
        return first
    kept = _kept(program, lanes, first)
    with suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(kept.read_text())
        plan = layout(int(known["width"]), int(known["devices"]))
        return plan._replace(reason=str(known["reason"]))
    best, trials = _climb(program, lanes, first, layout)
    if len(trials) < 2 or not (best.reliable and trials[0].reliable):
        return first
    others = ", ".join(f"{t.plan.width} on {t.plan.devices}: {t.seconds / best.seconds:.2f}" for t in trials)
    reason = f"rehearsed, {best.seconds:.1e} s a lane; times relative to it by width and devices: {others}"
    with suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps({"width": best.plan.width, "devices": best.plan.devices, "reason": reason}))
        partial.replace(kept)
    return best.plan._replace(reason=reason)


def _climb(program: Traced, lanes: dict[str, np.ndarray], first: Plan, layout: Layout) -> tuple[Trial, list[Trial]]:
    """Up the hill from the first guess, in steps of STEP and then of its root, while there is time for it: the best
    plan, and all that were tried, the guess first."""
    began = time.perf_counter()
    count = len(next(iter(lanes.values())))
    best, timers = Trial(first, math.nan, False), _timers(program, lanes, [first])
    tried: dict[tuple[int, int], Trial] = {}
    for factor in (STEP, STEP, math.isqrt(STEP)):
        plans = [layout(width, first.devices) for width in (best.plan.width // factor or 1, best.plan.width * factor)]
        fresh = {_shape(plan): plan for plan in plans if _shape(plan) not in {_shape(first), *tried}}
        timers += _timers(program, lanes, list(fresh.values()))
        found = _compare(timers)
        tried |= {_shape(trial.plan): trial for trial in found}
        quickest = min(range(len(found)), key=lambda i: found[i].seconds)
        chosen = quickest if found[quickest].seconds < BETTER * found[0].seconds else 0
        best, timers = found[chosen], [timers[chosen]]
        spent = time.perf_counter() - began
        if 2 * spent > SHARE * best.seconds * count:
            break
    return best, list(tried.values())


def _shape(plan: Plan) -> tuple[int, int]:
    return plan.width, plan.devices


class Timer(NamedTuple):
    """A plan, and the seconds that one group on each device takes when its loops run a part of their length."""

    plan: Plan
    seconds: Callable[[float], float]


def _timers(program: Traced, lanes: dict[str, np.ndarray], plans: list[Plan]) -> list[Timer]:
    """The rehearsals of these plans, compiled side by side."""
    partly = Partly(program)
    shows = [plan._replace(groups=plan.devices, outer=(*plan.outer, PART)) for plan in plans]
    executables = [ready() for ready in [lower(partly, show) for show in shows]]

    def timer(plan: Plan, executable: Executable) -> Timer:
        rows = arrange(lanes, plan._replace(groups=plan.devices))[: plan.devices].ravel()
        chunk = {name: lanes[name][rows] for name in program.names}

        def seconds(part: float) -> float:
            began = time.perf_counter()
            jax.block_until_ready(executable({**chunk, PART: np.full(len(rows), part)}))
            return time.perf_counter() - began

        return Timer(plan, seconds)

    return [timer(*pair) for pair in zip(plans, executables, strict=True)]


def _compare(timers: list[Timer]) -> list[Trial]:
    """What a lane costs under each plan: timed in turns, until the fastest timings agree or there are enough."""
    parts = [_part(timer) for timer in timers]
    turns: list[list[tuple[float, float]]] = []
    while True:
        turns.append([(t.seconds(0.0), t.seconds(part)) for t, part in zip(timers, parts, strict=True)])
        fastest = np.sort(np.array(turns), axis=0)[:FASTEST]  # (timings, plans, none or a part of the loops)
        agree = fastest[-1, :, 1] <= (1 + SPREAD) * fastest[0, :, 1]
        if len(turns) == TURNS[1] or (len(turns) >= TURNS[0] and agree.all()):
            break
    empty, some = fastest.mean(axis=0).T
    whole = empty + np.maximum(some - empty, 0) / parts
    return [
        Trial(plan, seconds / (plan.width * plan.devices), bool(sure))
        for (plan, _), seconds, sure in zip(timers, whole, agree, strict=True)
    ]


def _part(timer: Timer) -> float:
    """The smallest part of the loops that takes long enough to be measured."""
    for part in (1 / 64, 1 / 16, 1 / 4):
        empty = timer.seconds(0.0)
        if timer.seconds(part) - empty > MEASURABLE:
            return part
    return 1.0


PART = " part"  # no axis can be called this


class Partly(Traced):
    """A traced program with one more input: the part of their length that its outermost long loops run, 0 to 1."""

    def __init__(self, whole: Traced) -> None:
        self.jaxpr, self.consts, self.out = whole.jaxpr, whole.consts, whole.out
        self.names, self.rows = (*whole.names, PART), whole.rows
        self.avals = (*whole.avals, jax.ShapeDtypeStruct((), np.float32))

    def evaluate(self, jaxpr: core.Jaxpr, consts: tuple, *point: Any) -> list[jax.Array]:
        *values, part = point
        return play(jaxpr, consts, values, lambda params, ins: _cut(params, ins, part))


def _cut(params: Any, ins: list[Any], part: jax.Array) -> list[Any]:
    """A scan over the first `part` of its length; what the rest would have put out is left empty."""
    length, fixed, carried = params["length"], params["num_consts"], params["num_carry"]
    consts, carry, xs = ins[:fixed], ins[fixed : fixed + carried], ins[fixed + carried :]
    inner = params["jaxpr"]
    cut = length >= LONG_LOOP
    again = lambda params, ins: _cut(params, ins, part)
    count = jnp.ceil(part * length).astype(np.int32) if cut else length
    body = core.jaxpr_as_fun(inner) if cut else lambda *v: play(inner.jaxpr, inner.consts, v, again)

    def turn(i: Any, state: tuple) -> tuple:
        carry, ys = state
        at = length - 1 - i if params["reverse"] else i
        out = body(*consts, *carry, *(jax.lax.dynamic_index_in_dim(x, at, keepdims=False) for x in xs))
        put = functools.partial(jax.lax.dynamic_update_index_in_dim, index=at, axis=0)
        return out[:carried], [put(y, new) for y, new in zip(ys, out[carried:], strict=True)]

    empty = [jax.lax.empty((length, *aval.shape), aval.dtype) for aval in inner.out_avals[carried:]]
    carry, ys = jax.lax.fori_loop(0, count, turn, (carry, empty))
    return [*carry, *ys]


def _kept(program: Traced, lanes: dict[str, np.ndarray], first: Plan) -> Path:
    """Where the plan for this program is kept: another machine, another JAX or other lanes have another place."""
    device = jax.local_devices()[0]
    told = [program.fingerprint, jax.__version__, os.environ.get("XLA_FLAGS", ""), device.device_kind]
    shape = [len(jax.local_devices()), len(os.sched_getaffinity(0)), len(next(iter(lanes.values()))), first]
    mark = hashlib.sha256(repr([*told, *_processor(), *shape]).encode()).hexdigest()
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "sandbox" / "plans" / f"{mark[:32]}.json"


def _processor() -> Iterator[str]:
    """What the processor calls itself, where the system tells it."""
    with suppress(OSError):
        yield from sorted({s for s in Path("/proc/cpuinfo").read_text().splitlines() if s.startswith("model name")})
