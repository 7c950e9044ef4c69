"""Line searches: how far to go along a direction u. φ(η) = f(x + η u), and φ′(η) is its slope."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sandbox import tree
from sandbox.optimizers.base import Optimizer, factory, needed, real_dtype, required, transformation
from sandbox.types import Array, Params, Scalar


class Info(NamedTuple):
    """How a search went: how many steps it tried, and by how much the last one missed each condition; 0 is met."""

    num_linesearch_steps: Scalar
    decrease_error: Scalar
    curvature_error: Scalar | None = None


class Searched(NamedTuple):
    """Where the last search ended: the step η, and what jax.value_and_grad gives there."""

    learning_rate: Array
    value: Array
    grad: Params
    info: Info


class Point(NamedTuple):
    """A point of the line: η, φ(η), φ′(η)."""

    step: Array
    value: Array
    slope: Array


class Line(NamedTuple):
    """The objective along a line."""

    origin: Point
    grad: Params  # of the objective at the origin
    value: Callable[[Array], Array]  # η ↦ φ(η)
    point: Callable[[Array], tuple[Point, Params]]  # η ↦ (η, φ(η), φ′(η)), and the gradient there


class Search(NamedTuple):
    """A search on its way: an interval from low, its better end, to high, which may be the smaller step of the two."""

    tries: Array
    point: Point  # the last one tried
    grad: Params
    error: tuple[Array, Array]  # of that point: decrease, curvature
    low: Point
    high: Point
    third: Point  # what the cubic goes through beside the ends
    safe: Point  # the best point with enough decrease, at first η = 0
    safe_grad: Params
    bracketed: Array  # whether the interval holds a step that meets both conditions
    done: Array
    failed: Array


@factory
def backtracking(
    max_backtracking_steps: int,
    slope_rtol: Scalar = 1e-4,
    decrease_factor: Scalar = 0.8,
    increase_factor: Scalar = 1.5,
    max_learning_rate: Scalar = 1.0,
    atol: Scalar = 0.0,
    rtol: Scalar = 0.0,
    store_grad: bool = False,
    verbose: bool = False,
) -> Optimizer:
    """Backtracking (Armijo 1966; Nocedal & Wright 2006, Algorithm 3.1).

    η ← min(growth η, η_max)
    η ← shrink η                                 until φ(η) ≤ (1 + rtol) φ(0) + c₁ η φ′(0) + atol
    x ← x + η u

    The update is given u instead of a gradient, and the extra arguments value, grad and value_fn at x; whatever
    else value_fn names is handed on to it. Where no φ(η) is finite, η is 0. `verbose` tells of searches that fail.
    """

    def init(params):
        return _unsearched(params, store_grad, Info(0, jnp.inf))

    def search(line, last):
        origin = line.origin
        eta = jnp.fmin(increase_factor * last, max_learning_rate).astype(last.dtype)  # η_max also where it is ∞ · 0

        def rejected(carry):
            tries, _, _, error = carry
            return ~(error <= atol) & (tries <= max_backtracking_steps)

        def shrunk(carry):
            tries, eta, _, _ = carry
            eta = jnp.where(tries > 0, decrease_factor * eta, eta)
            value = line.value(eta)
            error = _excess(value - (1 + rtol) * origin.value - slope_rtol * eta * origin.slope)
            return _typed((tries + 1, eta, value, error), carry)

        first = (jnp.int32(0), eta, origin.value, jnp.full_like(eta, jnp.inf))
        tries, eta, value, error = jax.lax.while_loop(rejected, shrunk, first)
        if verbose:
            _tell("backtracking", error > atol, eta, (error, 0.0), origin)
        eta, value = tree.where(jnp.isinf(error), (jnp.zeros_like(eta), origin.value), (eta, value))
        return Searched(eta, value, line.point(eta)[1] if store_grad else None, Info(tries, error))

    return _scaled(init, search)


@factory
def zoom(
    max_linesearch_steps: int,
    max_learning_rate: Scalar | None = None,
    tol: Scalar = 0.0,
    increase_factor: Scalar = 2.0,
    slope_rtol: Scalar = 1e-4,
    curv_rtol: Scalar = 0.9,
    approx_dec_rtol: Scalar | None = 1e-6,
    stepsize_precision: Scalar = 1e-5,
    initial_guess_strategy: str = "keep",
    verbose: bool = False,
) -> Optimizer:
    """Zoom (Nocedal & Wright 2006, Algorithms 3.5 and 3.6): a step that meets the strong Wolfe conditions.

    φ(η) ≤ φ(0) + c₁ η φ′(0)                     enough decrease
    |φ′(η)| ≤ c₂ |φ′(0)|                         little slope left
    x ← x + η u

    η grows until an interval must hold such a step; then the interval is narrowed. Near a minimum, where rounding
    hides the decrease, φ′(η) ≤ (2 c₁ − 1) φ′(0) with φ(η) ≤ φ(0) + c₃ |φ(0)| is decrease enough (Hager & Zhang
    2006, eqs. 23 and 27), unless c₃ = `approx_dec_rtol` is None. A search that fails takes the best step with enough
    decrease. It starts at η = 1, or with "keep" at the last η. Arguments of the update as in `backtracking`.
    """
    if initial_guess_strategy not in ("one", "keep"):
        raise ValueError(f"zoom: initial_guess_strategy is {initial_guess_strategy!r}; expected 'one' or 'keep'")

    def init(params):
        return _unsearched(params, True, Info(0, jnp.inf, jnp.inf))

    def tried(line, first, s):
        grown = jnp.where(s.tries == 0, first, increase_factor * s.low.step)
        longest = jnp.inf if max_learning_rate is None else max_learning_rate
        eta = jnp.where(s.bracketed, _interpolated(s.low, s.high, s.third), jnp.minimum(grown, longest))
        point, grad = line.point(eta.astype(first.dtype))
        decrease, curvature = _missed(point, line.origin, slope_rtol, curv_rtol, approx_dec_rtol)
        low, high, third, bracketed = _narrowed(s, point, decrease)
        better = (decrease <= tol) & (~s.bracketed | (point.value < s.safe.value))
        safe, safe_grad = tree.where(better, (point, grad), (s.safe, s.safe_grad))
        done = (jnp.maximum(decrease, curvature) <= tol) | (~bracketed & (grown >= longest))
        tiny = s.bracketed & (jnp.abs(s.high.step - s.low.step) <= stepsize_precision) & (safe.step > 0)
        failed = ~done & (tiny | (s.tries + 1 >= max_linesearch_steps))
        error = (decrease, curvature)
        return Search(s.tries + 1, point, grad, error, low, high, third, safe, safe_grad, bracketed, done, failed)

    def search(line, last):
        first = last if initial_guess_strategy == "keep" else jnp.ones_like(last)
        never, miss, here = jnp.asarray(False), jnp.full_like(last, jnp.inf), (line.origin, line.grad)
        ends = (line.origin, line.origin, line.origin)
        s = Search(jnp.int32(0), *here, (miss, miss), *ends, *here, never, never, never)
        s = jax.lax.while_loop(lambda s: ~(s.done | s.failed), lambda s: _typed(tried(line, first, s), s), s)
        if verbose:
            _tell("zoom", jnp.maximum(*s.error) > tol, s.point.step, s.error, line.origin)
        fallback = s.failed & ((s.safe.step > 0) | jnp.isinf(s.error[0]))
        point, grad = tree.where(fallback, (s.safe, s.safe_grad), (s.point, s.grad))
        return Searched(point.step, point.value, grad, Info(s.tries, *s.error))

    return _scaled(init, search)


def _narrowed(s: Search, point: Point, decrease: Array) -> tuple[Point, Point, Point, Array]:
    """The interval once the point is known: low, high, the third point, and whether it holds a step that is wanted.

    A point that is not better than low becomes the other end; a better one becomes low, and where the slope there
    points back to the old low, that is the other end. Before an interval is found, high lies at infinity.
    """
    worse = (decrease > 0) | ((point.value >= s.low.value) & (s.tries > 0))
    ahead = jnp.where(s.bracketed, s.high.step - s.low.step, 1)
    passed = ~worse & (point.slope * ahead >= 0)
    low = tree.where(worse, s.low, point)
    high = tree.where(worse, point, tree.where(passed, s.low, s.high))
    third = tree.where(s.bracketed, tree.where(worse | passed, s.high, s.low), low)
    return low, high, third, s.bracketed | worse | passed


def _interpolated(low: Point, high: Point, third: Point) -> Array:
    """Where to look inside of the interval: at the minimum of the cubic through the three points, if it is well inside;
    else at that of the parabola through its ends; else in the middle."""
    width = jnp.abs(high.step - low.step)
    left, right = jnp.minimum(low.step, high.step), jnp.maximum(low.step, high.step)
    inside = lambda eta, margin: (eta > left + margin * width) & (eta < right - margin * width)
    cubic, parabola = _cubic_minimum(low, high, third), _parabola_minimum(low, high)
    eta = jnp.where(inside(parabola, 0.1), parabola, (low.step + high.step) / 2)
    return jnp.where(inside(cubic, 0.2), cubic, eta)


def _cubic_minimum(a: Point, b: Point, c: Point) -> Array:
    """The minimum of A t³ + B t² + φ′(a) t + φ(a), t = η − a, through a, b and c; NaN where there is none."""
    db, dc = b.step - a.step, c.step - a.step
    rise_b, rise_c = b.value - a.value - a.slope * db, c.value - a.value - a.slope * dc
    scale = (db * dc) ** 2 * (db - dc)
    A = (dc**2 * rise_b - db**2 * rise_c) / scale
    B = (db**3 * rise_c - dc**3 * rise_b) / scale
    return a.step + (-B + jnp.sqrt(B * B - 3 * A * a.slope)) / (3 * A)


def _parabola_minimum(a: Point, b: Point) -> Array:
    """The minimum of B t² + φ′(a) t + φ(a), t = η − a, through a and b."""
    db = b.step - a.step
    B = (b.value - a.value - a.slope * db) / db**2
    return a.step - a.slope / (2 * B)


def _line(u: Params, x: Params, number: Any, extra: dict[str, Any]) -> Line:
    """The objective along u from x. Of complex parameters, `grad` is the conjugate of what jax.grad gives, as the
    gradients that an optimizer takes; the state keeps what jax.grad gives."""
    value, grad, value_fn = (needed(extra, name) for name in ("value", "grad", "value_fn"))
    names = inspect.signature(value_fn).parameters
    rest = {k: v for k, v in extra.items() if k in names and k not in ("value", "grad", "value_fn")}
    objective = functools.partial(value_fn, **rest)
    at = lambda eta: tree.add(x, tree.scale(eta, u))
    slope = lambda grad: jnp.real(tree.dot(grad, u)).astype(number)
    conjugate = lambda grad: jax.tree.map(jnp.conj, grad)

    def point(eta):
        value, grad = jax.value_and_grad(objective)(at(eta))
        return Point(eta, jnp.asarray(value, number), slope(conjugate(grad))), grad

    origin = Point(jnp.zeros((), number), jnp.asarray(value, number), slope(grad))
    return Line(origin, _typed(conjugate(grad), x), lambda eta: jnp.asarray(objective(at(eta)), number), point)


def _scaled(init: Callable, search: Callable) -> Optimizer:
    """x ← x + η u, where search(line, last η) tells η, with all that it found."""

    def init_state(params: Params) -> Searched:
        with jax.numpy_dtype_promotion("standard"):
            return init(params)

    def update(updates: Params, state: Searched, params: Params = None, **extra: Any) -> tuple[Params, Searched]:
        with jax.numpy_dtype_promotion("standard"):
            state = jax.tree.map(jnp.asarray, state)  # a first guess may have been written into it
            line = _line(updates, required(params), state.learning_rate.dtype, extra)
            found = search(line, state.learning_rate)
            return _typed(tree.scale(found.learning_rate, updates), updates), _typed(found, state)

    return transformation(init_state, update)


def _unsearched(params: Params, store_grad: bool, info: Info) -> Searched:
    """The state before the first search: an infinite value says that nothing is known."""
    number = jnp.result_type(jnp.float32, *[real_dtype(x) for x in jax.tree.leaves(params)])
    tries, *errors = (None if n is None else jnp.asarray(n, number) for n in info)
    info = Info(jnp.asarray(tries, jnp.int32), *errors)  # type: ignore[arg-type]
    grad = tree.zeros_like(params) if store_grad else None
    return Searched(jnp.ones((), number), jnp.full((), jnp.inf, number), grad, info)


def _missed(
    point: Point, origin: Point, slope_rtol: Scalar, curv_rtol: Scalar, approx_dec_rtol: Scalar | None
) -> tuple[Array, Array]:
    """By how much the point misses the decrease, be it the approximate one, and the little slope."""
    decrease = point.value - origin.value - slope_rtol * point.step * origin.slope
    if approx_dec_rtol is not None:
        rise = point.value - origin.value - approx_dec_rtol * jnp.abs(origin.value)
        decrease = jnp.minimum(decrease, jnp.maximum(point.slope - (2 * slope_rtol - 1) * origin.slope, rise))
    return _excess(decrease), _excess(jnp.abs(point.slope) - curv_rtol * jnp.abs(origin.slope))


def _excess(gap: Array) -> Array:
    """By how much a condition gap ≤ 0 is missed; what is not a number misses it infinitely."""
    return jnp.where(jnp.isnan(gap), jnp.inf, jnp.maximum(gap, 0))


def _typed(values: Any, like: Any) -> Any:
    return jax.tree.map(lambda x, y: jnp.asarray(x, jnp.asarray(y).dtype), values, like)


def _tell(name: str, failed: Array, eta: Array, error: tuple, origin: Point) -> None:
    """Prints one line on a search that failed."""
    line = (
        name + " found no step that meets its conditions: took {eta}, where decrease is missed by {decrease} and "
        "curvature by {curvature}; the value was {value}, and the slope, which must be negative, {slope}"
    )
    said = dict(eta=eta, decrease=error[0], curvature=error[1], value=origin.value, slope=origin.slope)
    jax.lax.cond(failed, lambda: jax.debug.print(line, **said), lambda: None)
