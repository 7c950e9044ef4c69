"""Is an objective convex? Random chords and curvatures look for a counter-example.

No chord of a convex function lies below it (Jensen 1906), and where it is twice differentiable it curves upwards:

    f(tx + (1−t)y) ≤ t f(x) + (1−t) f(y)          vᵀ∇²f(x) v ≥ 0

Both hold in finitely many places of many functions that are not convex: a sample can refute convexity, never prove it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from sandbox import tree
from sandbox.problems.problem import Problem
from sandbox.types import Array, Key, Params

DENSE = 300  # parameters up to which a Hessian is formed; beyond it, Krylov spaces of KRYLOV dimensions
KRYLOV = 24
SCALES = (-2.0, 2.0)  # how far from the start to look, in powers of ten
SHORTEST = 1e-3  # a chord, as a share of the way between two points
LENGTHS = 10.0 ** -np.arange(6)[:, None, None]  # of chords along a direction of least curvature
TOGETHER = 2**21  # numbers of parameters and data that are worked on side by side
EPS, TINY = float(np.finfo(np.float64).eps), float(np.finfo(np.float64).tiny)

Points = Float[np.ndarray, "n d"]


class Chord(NamedTuple):
    """A chord below its function: f(tx + (1−t)y) = value > bound = t f(x) + (1−t) f(y)."""

    x: Params
    y: Params
    t: float
    value: float  # NaN or infinite where the function is not defined between two points at which it is
    bound: float


class Bend(NamedTuple):
    """The curvature vᵀ∇²f v of the loss at a point along a unit direction v."""

    point: Params
    direction: Params
    curvature: float


class Convexity(NamedTuple):
    """What was seen: convex is False beside a counter-example, True where there was none, None where nothing could be.

    least is the least curvature of the loss, None where none was finite. `chords` had finite values at both ends and
    were tested, others are `outside`; at `points` the loss and its Hessian were finite.
    """

    convex: bool | None
    counterexample: Chord | None
    least: Bend | None
    chords: int
    outside: int
    points: int
    reason: str


class _Compiled(NamedTuple):
    """A problem in flat vectors, many at a time."""

    values: Callable[[Points], list[np.ndarray]]  # of loss + penalty, and their gradients
    spaces: Callable[
        [Points, Any], list[np.ndarray]
    ]  # at each point a basis of directions, and its images under ∇²loss
    prox: Callable[[Points], Array]
    unravel: Callable[[np.ndarray], Params]


def check_convexity(
    problem: Problem, *, key: Key, chords: int = 512, points: int = 32, tolerance: float = 64.0
) -> Convexity:
    """Look for a counter-example to the convexity of loss + penalty on all data, in double precision.

    That none was found is no proof: a dent that is small beside the region searched is easily missed. That region is
    `facts.domain`; without bounds it is the start and its surroundings at all scales from 0.01 to 100. With a penalty,
    half of the points are taken through its prox, into its domain and onto its kinks. Chords are random, long and short
    and along one coordinate; others follow the least curvature of the loss at `points` places: the smallest eigenvalue
    of the Hessian for up to 300 parameters, beyond it the smallest on a random Krylov space (Lanczos 1950).
    `points=0` leaves these out, for a loss without second derivatives.

    A counter-example is always a chord: f above it by more than tolerance · eps · Σ (|f| + Σᵢ |xᵢ ∂f/∂xᵢ|), summed over
    its three points, which is what rounding explains in a stable formula; or f not finite between two points where it
    is, for the domain of a convex function has no holes. Chords with an end where f is not finite say nothing.
    A loss with noise is that of one key. Raises ValueError for counts below 1 (points below 0), a tolerance that is not
    positive, and complex parameters.
    """
    if chords < 1 or points < 0 or not tolerance > 0:
        raise ValueError(
            f"chords={chords}, points={points}, tolerance={tolerance}: expected at least one chord, "
            "no fewer than zero points, and a positive tolerance"
        )
    with jax.enable_x64(True), np.errstate(all="ignore"):  # where f is not finite, neither is what follows from it
        start, noise, rest = jax.random.split(key, 3)
        centre, unravel = ravel_pytree(_double(problem.init(start)))
        f, box = _compile(problem, centre.size, unravel, noise), _box(problem, centre)
        rng = np.random.default_rng(np.asarray(jax.random.key_data(rest)).ravel())
        sample = lambda n: _sample(rng, n, np.asarray(centre), *box, f.prox)
        places, curvatures, along = _least_curvatures(f, sample(points), rng)
        x, y = _random_chords(rng, sample(chords), sample(chords))
        a, b = _along(places, along, *box)
        t = np.append(rng.uniform(1 / 16, 15 / 16, chords), np.full(len(a), 0.5))
        chord, tested = _worst_chord(f, np.concatenate([x, a]), np.concatenate([y, b]), t, tolerance)
        least = None
        if len(places):
            i = np.argmin(curvatures)
            least = Bend(f.unravel(places[i]), f.unravel(along[i]), float(curvatures[i]))
    counts = tested, len(t) - tested, len(places)
    if not tested:
        return Convexity(None, None, least, *counts, "the objective is not finite at both ends of any chord")
    if chord is None:
        reason = f"no counter-example on {tested:,} chords and at {len(places):,} points, which is no proof"
        return Convexity(True, None, least, *counts, reason)
    if np.isfinite(chord.value):
        reason = f"between two points the objective is {chord.value:.6g}, above their chord, {chord.bound:.6g}"
    else:
        reason = f"the objective is {chord.value} between two points where it is finite"
    return Convexity(False, chord, least, *counts, reason)


def _worst_chord(f: _Compiled, x: Points, y: Points, t: np.ndarray, tolerance: float) -> tuple[Chord | None, int]:
    """The chord that lies furthest below f, measured by what rounding explains, and how many could be tested."""
    s = t[:, None]
    ends = np.concatenate([x, s * x + (1 - s) * y, y])
    values, slopes = f.values(ends)
    # A stable formula gives the value at a neighbour, an eps away in every coordinate.
    moved = np.sum(np.abs(np.where(np.isfinite(slopes), slopes * ends, 0)), axis=1)
    rounding = tolerance * EPS * (np.abs(values) + moved).reshape(3, -1).sum(0)
    left, value, right = values.reshape(3, -1)
    bound = t * left + (1 - t) * right
    excess = (value - bound) / np.maximum(rounding, TINY)
    excess = np.where(np.isfinite(value), excess, 2.0)  # a hole refutes, but less plainly than a value
    testable = np.isfinite(left) & np.isfinite(right)
    i = int(np.argmax(np.where(testable, excess, -np.inf)))
    if not (testable[i] and excess[i] > 1):
        return None, int(testable.sum())
    return Chord(f.unravel(x[i]), f.unravel(y[i]), float(t[i]), float(value[i]), float(bound[i])), int(testable.sum())


def _sample(
    rng: np.random.Generator,
    n: int,
    centre: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    prox: Callable[[Points], Array],
) -> Points:
    """Uniform between two bounds; elsewhere about the centre, at many scales, reflected at a single bound."""
    x = centre + 10 ** rng.uniform(*SCALES, (n, 1)) * rng.normal(size=(n, len(centre)))
    above, below = np.isfinite(lower), np.isfinite(upper)
    x = np.where(above, lower + np.abs(x - lower), x)
    x = np.where(below, upper - np.abs(upper - x), x)
    x = np.where(above & below, lower + (upper - lower) * rng.uniform(size=x.shape), x)
    x[: n // 2] = prox(x[: n // 2])
    return rng.permutation(x)


def _random_chords(rng: np.random.Generator, x: Points, y: Points) -> tuple[Points, Points]:
    """From x towards y: all the way or a part of it, and every fourth along a single coordinate."""
    n, d = x.shape
    coordinate = rng.integers(d, size=(n, 1)) == np.arange(d)
    way = np.where((rng.uniform(size=(n, 1)) < 0.25) & ~coordinate, 0, y - x)
    return x, x + SHORTEST ** np.maximum(0, rng.uniform(-1, 1, (n, 1))) * way


def _along(x: Points, v: Points, lower: np.ndarray, upper: np.ndarray) -> tuple[Points, Points]:
    """Chords with x in their middle along v, long ones and short ones, as far as the bounds allow."""
    room = np.where(v == 0, np.inf, np.minimum(x - lower, upper - x) / np.abs(v))
    reach = np.minimum(np.min(room, axis=1), 1 + np.linalg.norm(x, axis=1))
    steps = LENGTHS * reach[:, None] * v
    return (x - steps).reshape(-1, x.shape[1]), (x + steps).reshape(-1, x.shape[1])


def _least_curvatures(f: _Compiled, x: Points, rng: np.random.Generator) -> tuple[Points, np.ndarray, Points]:
    """Where the loss and its Hessian are finite: the least curvature that is found, and its unit direction."""
    if not len(x):
        return x, np.zeros(0), x
    basis, images = f.spaces(x, rng.normal(size=(len(x), KRYLOV, x.shape[1])))
    finite = np.isfinite(images).all((1, 2))
    basis, images = basis[finite], images[finite]
    curvatures, coordinates = np.linalg.eigh(np.einsum("nid,njd->nij", basis, images))
    return x[finite], curvatures[:, 0], np.einsum("ni,nid->nd", coordinates[:, :, 0], basis)


def _compile(problem: Problem, size: int, unravel: Callable[[Any], Params], noise: Key) -> _Compiled:
    """Each part is compiled once, for blocks of equal size."""
    data = _double(problem.data)
    numbers = size + sum(leaf.size for leaf in jax.tree.leaves(data))
    loss = lambda x, data: problem.loss(unravel(x), data, noise)
    objective = lambda x, data: problem.objective(unravel(x), data, noise)

    def blocks(f: Callable[..., Any], tangents: int = 1) -> Callable[..., list[np.ndarray]]:
        block = max(1, TOGETHER // (numbers * tangents))
        program = jax.jit(lambda args, data: jax.vmap(lambda *x: f(*x, data))(*args))

        def every(*args: np.ndarray) -> list[np.ndarray]:
            n = len(args[0])
            many = -(-n // block)
            equal = [np.resize(a, (many * min(n, block), *a.shape[1:])) for a in args]
            found = [program(part, data) for part in zip(*(np.split(a, many) for a in equal), strict=True)]
            return [np.concatenate(parts)[:n] for parts in zip(*found, strict=True)]

        return every

    def spaces(x: Array, draws: Array, data: Any) -> tuple[Array, Array]:
        if size <= DENSE:
            basis, images = jnp.eye(size), jax.hessian(loss)(x, data)
        else:
            slope = lambda x: jax.grad(loss)(x, data)
            basis, images = _krylov(lambda v: jax.jvp(slope, (x,), (v,))[1], draws)
        return basis, jnp.where(jnp.isfinite(loss(x, data)), images, jnp.nan)  # some formulas bend where they are NaN

    def prox(x: Array) -> Array:
        return x if problem.penalty is None else ravel_pytree(problem.penalty.prox(unravel(x), 1.0))[0]

    return _Compiled(
        values=blocks(jax.value_and_grad(objective)),
        spaces=blocks(spaces, min(size, DENSE)),
        prox=jax.jit(jax.vmap(prox)),
        unravel=lambda x: jax.tree.map(np.asarray, unravel(jnp.asarray(x))),
    )


def _krylov(product: Callable[[Array], Array], draws: Float[Array, "k d"]) -> tuple[Array, Array]:
    """An orthonormal basis of the Krylov space of the first draw, and its images (Lanczos 1950).

    It is orthogonalised in full; where the space is exhausted it goes on from the next draw.
    """

    def rest(w: Array, basis: Array) -> Array:
        w = w - basis.T @ (basis @ w)
        return w - basis.T @ (basis @ w)

    def grow(k: Array, spaces: tuple[Array, Array]) -> tuple[Array, Array]:
        basis, images = spaces
        image = product(basis[k])
        new = rest(image, basis)
        exhausted = jnp.linalg.norm(new) <= 1e-10 * jnp.linalg.norm(image)
        new = jnp.where(exhausted, rest(draws[(k + 1) % len(draws)], basis), new)
        return basis.at[k + 1].set(new / jnp.linalg.norm(new), mode="drop"), images.at[k].set(image)

    empty = jnp.zeros_like(draws)
    return jax.lax.fori_loop(0, len(draws), grow, (empty.at[0].set(draws[0] / jnp.linalg.norm(draws[0])), empty))


def _box(problem: Problem, centre: Array) -> tuple[np.ndarray, np.ndarray]:
    """The bounds of every parameter, infinite where there are none."""
    bounds = problem.facts.domain or (-np.inf, np.inf)
    flat = [np.asarray(ravel_pytree(_double(bound))[0]) for bound in bounds]
    return np.broadcast_to(flat[0], centre.shape), np.broadcast_to(flat[1], centre.shape)


def _double(a: Any) -> Any:
    """Real numbers in double precision; a ValueError for complex ones."""
    if any(jnp.iscomplexobj(leaf) for leaf in jax.tree.leaves(a)):
        raise ValueError("check_convexity: expected real parameters and data, these are complex")
    return tree.double(a)
