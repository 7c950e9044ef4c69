"""The verdict on each optimizer: what `sandbox validate` prints."""

import contextlib
import inspect
import io
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import sandbox
from sandbox import tree
from sandbox.optimizers import catalogue
from sandbox.optimizers.base import Optimizer
from sandbox.parity.cases import settings
from sandbox.parity.trajectories import CURVES, SHAPES, advance, deviation, far
from sandbox.parity.twins import twin
from sandbox.types import Array, Params

TOLERANCE = 1e-9  # relative, in float64: room for another order of rounding, none for another formula
DTYPES = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128")


class Row(NamedTuple):
    """The verdict on one optimizer."""

    name: str
    paper: str
    twin: str
    cases: int
    worst: float  # the largest relative deviation of an update or a parameter, over all cases and steps
    dtypes: bool  # updates keep the gradient's dtype, the state its own, and zero gradients are harmless
    traced: bool  # every float hyper-parameter may be a tracer, and the trajectory stays the same
    deviations: str
    passed: bool


def validate(names: Iterable[str] | None = None) -> list[Row]:
    """A row for each of the named optimizers, or for all. Raises ValueError for an unknown name."""
    return list(rows(names))


def rows(names: Iterable[str] | None = None, processes: int = 1) -> Iterator[Row]:
    """The rows of `validate`, one after the other as they are ready; with more processes, some at a time."""
    chosen = catalogue.names() if names is None else list(names)
    for name in chosen:
        catalogue.find(name)
    return map(_row, chosen) if min(processes, len(chosen)) < 2 else _in_processes(chosen, processes)


def _in_processes(names: list[str], processes: int) -> Iterator[Row]:
    """Those that are compiled begin, since they take longest."""
    share = (jax.config.values["jax_compilation_cache_dir"],)
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _compile_fast, share) as pool:
        long_first = sorted(names, key=lambda name: not catalogue.find(name).compiled)
        later = {name: pool.submit(_row, name) for name in long_first}
        yield from (later[name].result() for name in names)


def _compile_fast(cache: str | None) -> None:
    """Nearly all the time is compilation and dispatch of small programs: without optimization, in the thread that asks,
    and what one process has compiled is there for the other."""
    sandbox.compile_fast()
    jax.config.update("jax_disable_most_optimizations", True)
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _row(name: str) -> Row:
    entry = catalogue.find(name)
    silent = contextlib.redirect_stdout(io.StringIO())  # Sophia tells its win rate
    with jax.enable_x64(True), silent:
        other, twin_name = twin(name)
        cases = settings(name)
        curves = [tuple(CURVES)] * 3 + [("waves",)] * (len(cases) - 3)  # one for each of the entry's variants
        apart = lambda kw, seed, curves: deviation(
            entry.factory(**kw), other(**kw), entry.needs, seed, curves=curves, compiled=entry.compiled
        )
        distances = list(map(apart, cases, range(len(cases)), curves))
        kinds = [dtype for dtype in DTYPES if entry.complex or "complex" not in dtype]
        dtypes = all(
            keeps_dtypes(entry.factory(**entry.example), dtype, entry.needs, entry.compiled) for dtype in kinds
        )
        switches = any(isinstance(value, bool) for value in cases[1].values())  # which cases[2] flips
        traced = all(traces(entry.factory, kw, entry.needs, entry.compiled) for kw in cases[1 : 3 if switches else 2])
    worst = max(distances)
    passed = worst <= TOLERANCE and dtypes and traced
    count = sum(map(len, curves))
    return Row(name, entry.paper, twin_name, count, worst, dtypes, traced, entry.deviations, passed)


def keeps_dtypes(optimizer: Optimizer, dtype: str, needs: tuple = (), compiled: bool = False) -> bool:
    """Updates have the gradient's dtype, the state never changes its type, and a zero gradient gives finite updates."""
    params = {"bias": jnp.ones(SHAPES["bias"], dtype)}
    flat = jax.tree_util.Partial(lambda p: 0 * jnp.sum(jnp.real(p["bias"])).astype(jnp.float32))
    step = _faster(lambda state: advance(optimizer, flat, state, params, needs), compiled)
    state = optimizer.init(params)
    wide = dtype in ("float64", "complex128")  # finite where single precision is
    updates, after = jax.eval_shape(step, state) if wide else step(state)
    kept = _types(updates) == _types(params) and _types(after) == _types(state)
    return kept and (wide or bool(tree.all_finite(updates)))


def traces(
    factory: Callable[..., Optimizer], settings: dict[str, Any], needs: tuple = (), compiled: bool = False
) -> bool:
    """Whether the trajectory is the same when every float hyper-parameter, given or default, is a tracer."""
    defaults = {n: p.default for n, p in inspect.signature(factory).parameters.items() if p.default is not p.empty}
    arguments = {**defaults, **settings}
    floats = {n: value for n, value in arguments.items() if isinstance(value, float)}
    static = {n: value for n, value in arguments.items() if n not in floats}
    losses = [jax.tree_util.Partial(loss) for loss in (_bowl, _valley)]

    def last(floats: dict[str, Any]) -> Params:
        optimizer = factory(**static, **floats)
        x = {"x": jnp.array([0.5, -2.0])}
        state = optimizer.init(x)
        for loss in losses:
            updates, state = advance(optimizer, loss, state, x, needs)
            x = tree.add(x, updates)
        return x

    try:
        lanes = jax.tree.map(lambda value: jnp.asarray(value)[None], floats)
        traced = _faster(jax.vmap(last, axis_size=1), compiled)(lanes)
    except jax.errors.ConcretizationTypeError:
        return False
    plain = _faster(lambda: last(floats), compiled)()
    return far(traced["x"][0], plain["x"]) <= TOLERANCE


def _faster(function: Callable, compiled: bool) -> Callable:
    """As `trajectory` does: whole, where it holds loops or branches, else one operation after the other."""
    return jax.jit(function) if compiled else function


def _bowl(p: Params) -> Array:
    return jnp.sum(p["x"] ** 2)


def _valley(p: Params) -> Array:
    return (p["x"][1] - 0.1) ** 2


def _types(values: Any) -> list[tuple]:
    return [(x.shape, x.dtype, getattr(x, "weak_type", False)) for x in jax.tree.leaves(values)]
