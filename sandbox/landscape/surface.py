"""The objective, and whatever else, on lines, planes and other sections through the space of parameters, as it is.

    line     L_i  = f(x + aᵢ u)
    plane    L_ij = f(x + aᵢ u + bⱼ v)
    section  the same along any number of directions, around one x or many
    blame    B    = (y − x) ⊙ ∫₀¹ ∇f(x + t (y − x)) dt, what each parameter adds to f(y) − f(x)

f is the objective on all data. No value is altered: NaN and infinity stay where they are. The points are lanes: the
engine says how many are computed side by side, and on which devices.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, PartitionSpec
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree

from sandbox import tree
from sandbox.engine.lanes import NEAR, Plan, choose, together
from sandbox.engine.program import Traced
from sandbox.landscape.directions import ends, flat, floats, traced
from sandbox.problems.problem import LEAST, Problem, averages, streamed
from sandbox.sweeps.remember import Changeable, meaning
from sandbox.types import Batch, Key, Params, Scalar

Metric = Callable[[Params, Batch], Scalar]


def line(
    problem: Problem | Callable[..., Any], centre: Params, u: Params, a: Float[ArrayLike, " a"], **options: Any
) -> PyTree[Float[Array, "*models a"]]:
    """f(centre + a u); for the options and the errors see `section`."""
    return section(problem, centre, (u,), (a,), **options)


def plane(
    problem: Problem | Callable[..., Any],
    centre: Params,
    u: Params,
    v: Params,
    a: Float[ArrayLike, " a"],
    b: Float[ArrayLike, " b"],
    **options: Any,
) -> PyTree[Float[Array, "*models a b"]]:
    """f(centre + a u + b v), row i for aᵢ and column j for bⱼ; for the options and the errors see `section`."""
    return section(problem, centre, (u, v), (a, b), **options)


def section(
    problem: Problem | Callable[..., Any],
    centre: Params,
    along: Sequence[Params],
    axes: Sequence[Float[ArrayLike, " points"]],
    *,
    metrics: Mapping[str, Metric] | None = None,
    data: Mapping[str, Batch] | None = None,
    models: bool = False,
    examples: int | None = None,
    key: Key | None = None,
    batch_size: int | None = None,
) -> PyTree[Float[Array, "*models_and_points"]]:
    """f(centre + Σ cₙ dₙ) at every point c of the product of the axes, one axis for each direction dₙ.

        section(problem, x, (u, v), (a, b), data={"train": train, "test": test})["test"]     # shape (a, b)

    `problem` may also be any function of the parameters, or of parameters and data where data are given; it may return
    a tree of numbers. `metrics`, functions of parameters and data, take its place, and `data`, sets by name, that of
    the problem's own: the result is then a dict by set, by metric, or of dicts by both. With `models` the centre has a
    leading axis of models on every leaf, and so has the result; a direction has it too, or is the same for all.

    `examples` is how many go through the model at a time, for data that with all their activations fit no cache or no
    memory: the function must be a mean over examples, plus terms on which examples have no say, such as penalties. By
    default it is all of them, or, of a loss that is a `problems.average`, as many as a core's caches hold.
    `batch_size` is about how many points are computed side by side, by default what a core's caches hold, on all
    devices; in a function that is being traced, a sweep's say, on the one that it runs on. `key`, for losses with
    noise, is the same at every point.

    Raises ValueError for directions unlike the centre, zero, not finite, or not independent.
    """
    centre, along = floats(centre), tuple(map(floats, along))
    grids = tuple(_coordinates(name, axis) for name, axis in zip(_names("abc", len(axes)), axes, strict=True))
    if len(grids) != len(along) or not grids:
        raise ValueError(f"{len(along)} directions and {len(grids)} axes: expected one axis for each direction")
    count, own = _models(centre, along) if models else _one(centre, along)
    _sensible(batch_size, examples)
    own_data = problem.data if isinstance(problem, Problem) else None
    sets: Any = own_data if data is None else {name: own_data if x is None else x for name, x in data.items()}
    sets, key, grids = jax.tree.map(jnp.asarray, (sets, key, grids))
    given = sets, key, centre, along, grids
    shape = (*count, *(grid.size for grid in grids))
    asked = _asked(problem, metrics, data is not None, examples, own, shape)

    try:
        found = _alone(asked, given, batch_size)
    except Larger:
        at = partial(asked.at, given)
        most = batch_size or together(Traced(at, {"number": NUMBER}).cost.working_set)
        groups = -(-prod(shape) // most)
        found = _mapped(at, _numbers(prod(shape), groups, -(-prod(shape) // groups)))
    return jax.tree.map(lambda x: jnp.asarray(x[: prod(shape)].reshape(shape)), found)


def blame(
    problem: Problem | Callable[[Params], Any], start: Params, end: Params, *, key: Key | None = None, nodes: int = 64
) -> Params:
    """What each parameter contributes to f(end) − f(start): integrated gradients (Sundararajan, Taly & Yan 2017).

    All entries add up to the change. The integral is Gauss's rule of that many nodes: to rounding where f is smooth,
    roughly where it has kinks, as with rectifiers. Raises ValueError for an end unlike the start.
    """
    start, end = ends(start, end)
    t, share = np.polynomial.legendre.leggauss(nodes)
    value = (lambda x: problem.objective(x, key=key)) if isinstance(problem, Problem) else problem
    gradient = jax.grad(lambda x: _scalar(value(x)))

    @jax.jit
    def shares(start: Params, end: Params) -> Params:
        change = tree.sub(end, start)

        def add(total: Params, node: tuple[Array, Array]) -> tuple[Params, None]:
            there = tree.add(start, tree.scale(node[0], change))
            return tree.add(total, tree.scale(node[1], gradient(there))), None

        rule = jnp.asarray((1 + t) / 2), jnp.asarray(share / 2)
        return jax.tree.map(jnp.multiply, change, jax.lax.scan(add, tree.zeros_like(start), rule)[0])

    return shares(start, end)


@dataclass(frozen=True)
class Asked:
    """What is computed at a point; one that means the same as another is equal to it, and finds what that compiled."""

    mark: Any
    shape: tuple[int, ...]
    at: Callable[..., Any] = field(compare=False)  # (sets, key, centre, along, axes), the point's number → numbers
    named: bool = field(compare=False)  # whether there are several sets of data, by name
    pieces: bool = field(compare=False)  # whether their examples may be taken in pieces, unasked
    alive: list[Any] = field(compare=False)  # what the mark names by identity


def _asked(
    problem: Any,
    metrics: Mapping[str, Metric] | None,
    named: bool,
    examples: int | None,
    own: tuple[bool, ...],
    shape: tuple[int, ...],
) -> Asked:
    """The numbers at a point, counted along the axes, the last one fastest."""

    def objective(params: Params, batch: Batch, key: Key | None) -> Any:
        if isinstance(problem, Problem):
            return problem.objective(params, batch, key)
        return problem(params, batch) if named else problem(params)

    def measure(params: Params, key: Key | None, batch: Batch) -> Any:
        if metrics is None:
            return jax.tree.map(_scalar, objective(params, batch, key))
        return {name: _scalar(metric(params, batch)) for name, metric in metrics.items()}

    def at(given: tuple, number: Array, examples: int | None = examples) -> Any:
        sets, key, centre, along, axes = given
        places = jnp.unravel_index(number, shape)
        params = jax.tree.map(lambda x: x[places[0]], centre) if own else centre
        for n, d in enumerate(along):
            d = jax.tree.map(lambda x: x[places[0]], d) if own and own[n] else d
            params = tree.add(params, tree.scale(axes[n][places[n - len(axes)]], d))
        whole = partial(measure, params, key)
        over = whole if examples is None else partial(streamed, whole, examples)
        return {name: over(batch) for name, batch in sets.items()} if named else over(sets)

    pieces = examples is None and metrics is None and isinstance(problem, Problem) and averages(problem.loss)
    alive: list[Any] = []
    mark: Any
    try:
        what: tuple[Any, ...] = (problem,)
        if isinstance(problem, Problem):  # wraps the loss that it is given, whose globals, the user's, may change
            held = getattr(problem.loss, "__closure__", None) or ()
            what = (problem.loss, problem.penalty, *(cell.cell_contents for cell in held))
        mark = meaning((*what, metrics and dict(metrics), named, examples, own), alive)
    except Changeable:
        mark = object()
    return Asked(mark, shape, at, named, pieces, alive)


NUMBER = jax.ShapeDtypeStruct((), np.int32)
BESIDE = 4  # points whose examples come in pieces
BRIEF = 1e-3  # seconds: about what it takes to send the parameters to a second device


class Larger(Exception):
    """What is asked is part of a larger program, in which an array stands for others."""


def _alone(asked: Asked, given: tuple, batch_size: int | None) -> Any:
    """The numbers at all points, in chunks of a program of their own; raises Larger where they are part of another."""
    leaves, structure = jax.tree.flatten(given)
    if traced((jnp.zeros(()), leaves)):  # an array made here is traced under jit
        raise Larger
    avals = tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in leaves)
    plan, every = _placed(asked, structure, avals, batch_size)
    chunks = _numbers(prod(asked.shape), -(-prod(asked.shape) // plan.chunk), plan.chunk)
    parts = [every(given, chunk.reshape(plan.groups, plan.width)) for chunk in chunks]
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)


@lru_cache(maxsize=64)
def _placed(asked: Asked, structure: Any, avals: tuple, batch_size: int | None) -> tuple[Plan, Callable[..., Any]]:
    """A plan for the points, and the program for a chunk of them: (groups, width) numbers → what is there.

    Raises Larger where the function refers to something traced, which is then a constant beside those given.
    """
    found: list[tuple[Plan, Callable[..., Any]]] = []

    def look(given: tuple) -> None:
        lanes = {"number": np.arange(prod(asked.shape))}
        at = asked.at
        program = Traced(partial(at, given), {"number": NUMBER})
        if few := _few(asked, given, program.cost.working_set):
            at = partial(at, examples=few)
            program = Traced(partial(at, given), {"number": NUMBER})
        own = {id(x) for x in jax.tree.leaves(given)}
        if traced([x for x in program.consts if id(x) not in own]):
            raise Larger
        alone = 1 if program.cost.seconds * prod(asked.shape) < BRIEF else None
        found.append((choose([program], lanes, width=batch_size or (few and BESIDE), devices=alone), at))

    jax.eval_shape(look, jax.tree.unflatten(structure, avals))  # of the data the shapes are enough
    ((plan, at),) = found
    mesh = jax.make_mesh(
        (plan.devices,), ("points",), axis_types=(AxisType.Auto,), devices=jax.local_devices()[: plan.devices]
    )
    over = PartitionSpec("points")

    def device(given: tuple, numbers: Array) -> Any:
        return _mapped(partial(at, given), numbers)

    spread = jax.shard_map(device, mesh=mesh, in_specs=(PartitionSpec(), over), out_specs=over, check_vma=False)
    return plan, jax.jit(spread)


def _few(asked: Asked, given: tuple, touched: int) -> int | None:
    """As many examples as fit a core's near caches with what BESIDE points make of them; None where more points than
    that fit the far one with all examples.

    Of the bytes that a point touches about half stay in registers, and so two caches are filled; below LEAST examples
    it costs more to read the parameters anew for every piece.
    """
    sets, key, *_ = given
    counts = [{x.shape[:1] for x in jax.tree.leaves(batch)} for batch in (sets.values() if asked.named else (sets,))]
    countable = all(len(count) == 1 and () not in count for count in counts)
    if not asked.pieces or not countable or key is not None or together(touched) > BESIDE:
        return None
    n = max(n for ((n,),) in counts)
    fit = max(LEAST, 2 * NEAR * n // (BESIDE * touched))
    return 1 << fit.bit_length() - 1 if fit < n else None


def _numbers(points: int, rows: int, width: int) -> np.ndarray:
    """The numbers of all points in rows; the last one is repeated, so that no row needs a program of its own."""
    return np.minimum(np.arange(rows * width, dtype=np.int32), points - 1).reshape(rows, width)


def _mapped(at: Callable[[Array], Any], numbers: Any) -> Any:
    """A row of points side by side, one row after another."""
    return jax.tree.map(jnp.ravel, jax.lax.map(jax.vmap(at), numbers))


def check(centre: Params, *along: Params) -> None:
    """ValueError for directions that are unlike the centre, or that do not span as many dimensions as there are."""
    shape = lambda x: jax.tree.map(np.shape, x)
    like = lambda d: str(jax.tree.structure(d)) == str(jax.tree.structure(centre)) and shape(d) == shape(centre)
    names = _names("uvw", len(along))
    for name, d in zip(names, along, strict=True):
        if not like(d):
            raise ValueError(f"direction {name} is not shaped like the centre: {shape(d)}, expected {shape(centre)}")
    if traced(along):
        return
    eps = max(float(jnp.finfo(np.asarray(x).dtype).eps) for x in jax.tree.leaves(along))
    spanned: list[np.ndarray] = []
    for name, d in zip(names, map(flat, along), strict=True):
        if not np.isfinite(d).all() or not d.any():
            raise ValueError(f"direction {name} is {'zero' if np.isfinite(d).all() else 'not finite'}; take another")
        rest = unit = d / np.linalg.norm(d)
        for e in spanned:
            rest = rest - np.vdot(e, rest) * e
        if np.linalg.norm(rest) <= 16 * eps:
            pair = (
                "u and v are parallel and span no plane" if name == "v" else f"{', '.join(names)} are not independent"
            )
            raise ValueError(f"the directions {pair}; take another, or draw a line")
        spanned.append(rest / np.linalg.norm(rest) if spanned else unit)


def _models(centre: Params, along: tuple[Params, ...]) -> tuple[tuple[int], tuple[bool, ...]]:
    """How many models a centre holds, and which directions are each model's own."""
    counts = {np.shape(x)[:1] for x in jax.tree.leaves(centre)}
    if len(counts) != 1 or counts & {(), (0,)}:
        raise ValueError("models=True: expected a centre with a leading axis of models on every leaf")
    ((count,),) = counts
    shapes = lambda x: [np.shape(leaf) for leaf in jax.tree.leaves(x)]
    own = tuple(shapes(d) == shapes(centre) for d in along)
    for m in range(count):
        of = lambda x, mine: jax.tree.map(lambda leaf: leaf[m], x) if mine else x  # noqa: B023
        check(of(centre, True), *(of(d, mine) for d, mine in zip(along, own, strict=True)))
        if not any(own):
            break
    return (count,), own


def _one(centre: Params, along: tuple[Params, ...]) -> tuple[tuple[()], tuple[()]]:
    check(centre, *along)
    return (), ()


def _coordinates(name: str, axis: Any) -> Array | np.ndarray:
    axis = jnp.asarray(axis, float) if isinstance(axis, jax.Array) else np.asarray(axis, float)
    if axis.ndim != 1 or axis.size == 0:
        raise ValueError(f"{name} has shape {axis.shape}; expected coordinates along one direction, (points,)")
    return axis


def _sensible(batch_size: int | None, examples: int | None) -> None:
    for name, size, what in (("batch_size", batch_size, "points"), ("examples", examples, "examples")):
        if size is not None and size < 1:
            raise ValueError(f"{name}={size}: expected a whole number of {what} from 1 up")


def _names(letters: str, count: int) -> list[str]:
    return [*letters, *(f"number {n}" for n in range(len(letters) + 1, count + 1))][:count]


def _scalar(value: Any) -> Array:
    value = jnp.asarray(value)
    if value.shape != ():
        raise ValueError(f"the function returns an array of shape {value.shape}; expected one number for one point")
    return value
