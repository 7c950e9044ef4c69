"""Each optimizer beside its Optax twin, step by step in double precision: what `sandbox validate` prints."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sandbox import tree
from sandbox.optimizers import catalogue
from sandbox.optimizers.base import Optimizer
from sandbox.types import Params

STEPS = 13
TOLERANCE = 1e-9  # relative, in float64: room for another order of rounding, none for another formula
SHAPES = {"block": (128, 130), "bias": (5,)}
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
    """One row for each of the named optimizers, or for all. Raises ValueError for an unknown name."""
    chosen = catalogue.names() if names is None else list(names)
    entries = [catalogue.find(name) for name in chosen]
    with jax.enable_x64(True):
        return [_row(name, entry) for name, entry in zip(chosen, entries, strict=True)]


def deviation(optimizer: Optimizer, twin: Optimizer, seed: int = 0, steps: int = STEPS) -> float:
    """The largest |a − b| / max |b| over the leaves of the updates and the params, over all steps of both trajectories.

    NaN against a number is infinitely far; so are two trajectories of different shapes. Call it in double precision.
    """
    ours, theirs = trajectory(optimizer, seed, steps), trajectory(twin, seed, steps)
    return max(_distance(a, b) for pair in zip(ours, theirs, strict=True) for a, b in _leaves(*pair))


def trajectory(optimizer: Optimizer, seed: int = 0, steps: int = STEPS) -> list[tuple[Params, Params]]:
    """(updates, params) after each step, on a fixed stream of gradients.

    A block of 128×130 and a vector; each step's gradients are scaled by 10^U(−3, 1), and one
    coordinate of every array is exactly zero in every third step, where division and sign are easily wrong.
    """
    params, stream = _gradients(seed, steps)
    state = optimizer.init(params)
    path = []
    for grads in stream:
        updates, state = optimizer.update(grads, state, params)
        params = tree.add(params, updates)
        path.append((updates, params))
    return path


def _gradients(seed: int, steps: int) -> tuple[Params, list[Params]]:
    """Parameters and a gradient for each step."""
    rng = np.random.default_rng(seed)
    draw = lambda scale: {k: scale * rng.normal(size=shape) for k, shape in SHAPES.items()}
    params, stream = draw(1.0), [draw(10 ** rng.uniform(-3, 1)) for _ in range(steps)]
    for grads in stream[2::3]:
        for g in grads.values():
            g[(0,) * g.ndim] = 0.0
    return jax.tree.map(jnp.asarray, (params, stream))


def _row(name: str, entry: catalogue.Entry) -> Row:
    cases = [deviation(entry.factory(**kw), entry.twin(**kw), seed) for seed, kw in enumerate(entry.settings)]
    worst = max(cases)
    dtypes = all(keeps_dtypes(entry.factory(**entry.example), dtype) for dtype in DTYPES)
    traced = all(traces(entry.factory, kw) for kw in entry.settings)
    passed = worst <= TOLERANCE and dtypes and traced
    return Row(name, entry.paper, entry.twin_name, len(cases), worst, dtypes, traced, entry.deviations, passed)


def keeps_dtypes(optimizer: Optimizer, dtype: str) -> bool:
    """Updates have the gradient's dtype, the state never changes its type, and a zero gradient gives finite updates."""
    params = {"bias": jnp.ones(SHAPES["bias"], dtype)}
    grads = tree.zeros_like(params)
    state = optimizer.init(params)
    updates, after = jax.eval_shape(optimizer.update, grads, state, params)
    kept = _types(updates) == _types(params) and _types(after) == _types(state)
    return kept and bool(tree.all_finite(optimizer.update(grads, state, params)[0]))


def traces(factory: Callable[..., Optimizer], settings: dict[str, Any]) -> bool:
    """Whether the trajectory is the same when every float hyper-parameter, given or default, is a tracer."""
    defaults = {n: p.default for n, p in inspect.signature(factory).parameters.items() if p.default is not p.empty}
    arguments = {**defaults, **settings}
    floats = {n: value for n, value in arguments.items() if isinstance(value, float)}
    static = {n: value for n, value in arguments.items() if n not in floats}
    params, stream = {"x": jnp.array([0.5, -2.0])}, jnp.array([[1.0, -3.0], [0.0, 0.2]])

    def last(floats: dict[str, Any]) -> Params:
        optimizer = factory(**static, **floats)
        x, state = params, optimizer.init(params)
        for g in stream:
            updates, state = optimizer.update({"x": g}, state, x)
            x = tree.add(x, updates)
        return x

    try:
        traced = jax.vmap(last, axis_size=1)(jax.tree.map(lambda value: jnp.asarray(value)[None], floats))
    except jax.errors.ConcretizationTypeError:
        return False
    return _distance(traced["x"][0], last(floats)["x"]) <= TOLERANCE


def _types(values: Any) -> list[tuple]:
    return [(x.shape, x.dtype, getattr(x, "weak_type", False)) for x in jax.tree.leaves(values)]


def _leaves(a: Any, b: Any) -> list[tuple[Any, Any]]:
    return list(zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def _distance(a: Any, b: Any) -> float:
    """max |a − b| / max |b|, 0 where both are 0, and infinity where it is not a number."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        return np.inf
    far, size = np.max(np.abs(a - b)), np.max(np.abs(b))
    if far == 0:
        return 0.0
    return float(far / size) if far < np.inf and size > 0 else np.inf
