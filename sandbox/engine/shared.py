"""What all points of a program share: random starts and tables of minibatches, drawn once and not in every lane.

XLA takes as long to compile a few draws as to compile the training that they serve. Drawn apart, they are compiled
beside it, without the effort that pays only in loops, and remembered for the next program that asks for the same.
"""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
from jax.extend import core
from jax.interpreters import partial_eval

from sandbox.engine.program import FOURIER, JITTED, KEYED, LAPACK, fingerprint, inside, play, size

LOOPS = {"scan", "while", "dot_general", "conv_general_dilated"}  # what is worth the compiler's full effort
# What stays where it is: a callback's function has no fingerprint, and of what waits for other threads one is enough.
UNSHARED = LAPACK | FOURIER | {"pure_callback", "io_callback", "debug_callback"}
# Compiled at once and for one run: cut up for several threads, so little takes a third longer.
HURRIED: dict[str, str | bool] = {
    "xla_backend_optimization_level": "0",
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": "1",
}
SMALL = 4 << 20  # bytes of an array, up to which its draw is quick; and of all draws, up to which they are kept
REMEMBERED = 16  # draws
_memory: dict[str, Future[list[jax.Array]]] = {}
beside = ThreadPoolExecutor(len(os.sched_getaffinity(0)))  # where programs are compiled while this thread goes on


class Parts(NamedTuple):
    """A program in two: seeds → draws, and (consts and draws), point → outputs."""

    consts: tuple
    draws: core.Jaxpr
    seeds: tuple  # those of the constants that the draws need
    rest: core.Jaxpr


def split(jaxpr: core.Jaxpr, consts: tuple) -> Parts:
    """Apart: every equation that follows from a random one, and from no input."""
    jaxpr, consts = _entered(jaxpr, consts)
    jaxpr, _ = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars), instantiate=True)  # keys that nobody uses
    own, drawn = set(jaxpr.invars), set[core.Var]()
    for eqn in jaxpr.eqns:
        reads = _variables(eqn.invars)
        if reads & own or eqn.effects or _has(eqn, UNSHARED):
            own |= set(eqn.outvars)
        elif reads & drawn or _has(eqn, KEYED):
            drawn |= set(eqn.outvars)
    rest = [eqn for eqn in jaxpr.eqns if not drawn & set(eqn.outvars)]
    asked = _variables(jaxpr.outvars).union(*(_variables(eqn.invars) for eqn in rest))
    wanted = [v for eqn in jaxpr.eqns for v in eqn.outvars if v in asked & drawn]
    needed, draws = set(wanted), []
    for eqn in reversed(jaxpr.eqns):
        if needed & set(eqn.outvars):
            needed |= _variables(eqn.invars)
            draws.append(eqn)
    known = [(v, const) for v, const in zip(jaxpr.constvars, consts, strict=True) if v in needed]
    return Parts(
        consts,
        jaxpr.replace(constvars=[v for v, _ in known], invars=[], outvars=wanted, eqns=draws[::-1]),
        tuple(const for _, const in known),
        jaxpr.replace(constvars=[*jaxpr.constvars, *wanted], eqns=rest),
    )


def draw(draws: core.Jaxpr, seeds: tuple) -> Callable[[], list[jax.Array]]:
    """What waits for the draws. They are lowered in this thread, whose settings they follow; the rest is begun beside
    it at once, so that compiling them takes no time of its own."""
    if not draws.outvars:
        return list
    mark = fingerprint(draws, seeds) + str({eqn.ctx.threefry_partitionable for eqn in draws.eqns})
    if (known := _memory.get(mark)) is not None:
        return known.result
    quick = all(size(v.aval) <= SMALL for eqn in draws.eqns for v in eqn.outvars)
    hurried = quick and not any(_has(eqn, LOOPS) for eqn in draws.eqns)
    options = HURRIED if hurried else {}
    seeds = jax.device_put(seeds)  # here: another thread may not know of double precision
    lowered = jax.jit(lambda *seeds: jax.core.eval_jaxpr(draws, seeds)).lower(*seeds)
    drawn = beside.submit(lambda: lowered.compile(compiler_options=options)(*seeds))
    if sum(size(v.aval) for v in draws.outvars) <= SMALL:
        _memory[mark] = drawn
        drawn.add_done_callback(lambda done: _memory.pop(mark, None) if done.exception() else None)
        for oldest in list(_memory)[:-REMEMBERED]:
            _memory.pop(oldest, None)
    return drawn.result


def _entered(jaxpr: core.Jaxpr, consts: tuple) -> tuple[core.Jaxpr, tuple]:
    """The same program; where a jitted function both draws and reads an input, its equations instead of its call."""
    own, mixed = set(jaxpr.invars), False
    for eqn in jaxpr.eqns:
        if _variables(eqn.invars) & own:
            own |= set(eqn.outvars)
            mixed |= eqn.primitive.name in JITTED and _has(eqn, KEYED)
    if not mixed:
        return jaxpr, consts
    count = len(consts)
    inputs = [blank(v.aval) for v in jaxpr.invars]
    flat = jax.make_jaxpr(lambda *xs: play(jaxpr, xs[:count], xs[count:]))(*consts, *inputs)
    first, point = flat.jaxpr.invars[:count], flat.jaxpr.invars[count:]
    return flat.jaxpr.replace(constvars=[*first, *flat.jaxpr.constvars], invars=point), (*consts, *flat.consts)


def blank(aval: Any) -> jax.ShapeDtypeStruct:
    """What stands for a value of which only shape and dtype are known."""
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype)


def _variables(atoms: Any) -> set[core.Var]:
    return {v for v in atoms if not isinstance(v, core.Literal)}


def _has(eqn: Any, names: set[str]) -> bool:
    """Whether a primitive of one of these names is in an equation, at any depth."""
    return eqn.primitive.name in names or any(_has(e, names) for j, _ in inside(eqn.params) for e in j.eqns)
