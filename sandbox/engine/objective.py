"""An objective as a solver sees it: value, slope, curvature and prox of one flat vector, in compiled functions."""

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from sandbox import regularizers, tree
from sandbox.engine.shared import beside
from sandbox.problems.problem import Problem
from sandbox.problems.supervised import LinearModel
from sandbox.types import Array, Key, Params


class Objective(NamedTuple):
    """A loss f and its penalty, in functions of one vector."""

    length: int  # evaluations of the slope in a descent
    at: Callable[..., tuple[Array, Array]]  # x → loss + penalty, ∇f
    hessian: Callable[..., Array]  # x → ∇²f
    prox: Callable[..., Array] | None = None  # x, step → prox of the penalty, where there is one
    descent: Callable[..., Any] | None = None  # x, L → a point below x
    fixed_point: Callable[..., np.ndarray] | None = None  # x, L → x − prox(x − ∇f/L, 1/L)
    jacobian: Callable[..., Array] | None = None  # of the fixed point
    coarse: Callable[..., Array] | None = None  # ∇²f in single precision, of so many examples that it pays
    sample: "Objective | None" = None  # the same of one example in EVERY, then


def objective(problem: Problem, unravel: Callable[[Any], Params], key: Key) -> Objective:
    """Linear models of one kind share their functions: another penalty, or a second solution, compiles nothing."""
    model = problem.structure
    if isinstance(model, LinearModel):
        classes = (
            jax.eval_shape(problem.init, key)["w"].shape[0] if jnp.issubdtype(model.y.dtype, jnp.integer) else None
        )
        functions = _linear(model.loss, model.fit_intercept, classes, problem.penalty is not None)
        X = np.asarray(model.X, float)
        A = np.hstack([np.ones((len(X), 1)), X]) if model.fit_intercept else X
        rest = (model.l2, model.l1)
        data, products = (A, model.y, *rest), A.size * A.shape[1]
        if products < LARGE:
            return _on(data, functions)
        few = _twice((A[::EVERY], model.y[::EVERY], *rest), functions) if products > 4 * LARGE else None
        return _twice(data, functions)._replace(sample=few)
    penalty = problem.penalty
    prox = None if penalty is None else lambda x, step, data: ravel_pytree(penalty.prox(unravel(x), step))[0]
    functions = _functions(
        lambda x, data: problem.loss(unravel(x), data, key),
        lambda x, data: penalty(unravel(x)),
        None,
        prox,
    )
    return _on(problem.data, functions)


def _on(data: Any, functions: Objective) -> Objective:
    """Functions that take data last, with theirs: as constants of a program they would be folded, which takes long."""
    data = tree.double(data)
    given = lambda f: lambda *arguments: f(*arguments, data)
    bound: dict[str, Any] = {name: given(f) for name, f in functions._asdict().items() if callable(f)}
    return functions._replace(**bound)


def _twice(data: Any, functions: Objective) -> Objective:
    """The same with a Hessian in single precision beside that in double."""
    single = tree.real(data, np.float32)
    return _on(data, functions)._replace(coarse=lambda x: functions.hessian(jnp.asarray(x, np.float32), single))


def voucher(problem: Problem, start: Params, key: Key) -> Callable[[Params], tuple[float, float]]:
    """params → the value, and ‖∇f‖ or how far one proximal step of length 1 moves: from the problem, not from a solver,
    beside which it is compiled, by a first call."""
    judge, data = _judge(problem), tree.double(problem.data)

    def called(params: Params) -> tuple[float, float]:
        with jax.enable_x64(True):  # which is a thread's own
            value, length = judge(params, data, key)
        return float(value), float(length)

    first = beside.submit(called, start)

    def vouched(params: Params) -> tuple[float, float]:
        first.exception()  # waits; whatever went wrong there goes wrong here again, and is told
        return called(params)

    return vouched


@lru_cache(maxsize=8)
def _judge(problem: Problem) -> Callable[..., tuple[Array, Array]]:
    """Kept, so that a problem that is solved again needs no compiling."""

    @jax.jit
    def judge(params: Params, data: Any, key: Key) -> tuple[Array, Array]:
        value, gradient = problem.objective(params, data, key), jax.grad(problem.loss)(params, data, key)
        if problem.penalty is not None:
            stepped = problem.penalty.prox(jax.tree.map(lambda x, g: x - g, params, gradient), 1.0)
            gradient = jax.tree.map(lambda x, z: x - z, params, stepped)
        return jnp.asarray(value), jnp.linalg.norm(ravel_pytree(gradient)[0])

    return judge


LARGE = 5e7  # products in a Hessian, from which on it is formed in single precision first
EVERY = 8  # a model four times as large starts from the optimum of one example in so many
LENGTH = 200  # steps of FISTA at a time
INNER = 2000  # of them, at most, on a model of a few variables


def _functions(loss: Any, penalty: Any, hessian: Any, prox: Any) -> Objective:
    """The pieces are compiled one by one, and each once: what is made of several joins them outside."""
    gradient = jax.grad(loss)
    curvature = jax.jit(jax.hessian(loss) if hessian is None else hessian)
    if prox is None:
        return Objective(LENGTH, jax.jit(jax.value_and_grad(loss)), curvature)
    prox = jax.jit(prox)

    @jax.jit
    def at(x: Array, data: Any) -> tuple[Array, Array]:
        value, g = jax.value_and_grad(loss)(x, data)
        return value + penalty(x, data), g

    def forward(x: np.ndarray, L: float, data: Any) -> np.ndarray:
        return x - np.asarray(at(x, data)[1]) / L

    def fixed_point(x: np.ndarray, L: float, data: Any) -> np.ndarray:
        return x - np.asarray(prox(forward(x, L, data), 1 / L, data))

    @jax.jit
    def chained(z: Array, H: Array, L: Array, data: Any) -> Array:
        D, identity = jax.jacfwd(lambda z: prox(z, 1 / L, data))(z), jnp.eye(z.size, dtype=z.dtype)
        return identity - D @ (identity - H / L)

    def jacobian(x: np.ndarray, L: float, data: Any) -> Array:
        """I − D (I − ∇²f/L), D the derivative of the prox, at x − ∇f/L."""
        return chained(forward(x, L, data), curvature(x, data), L, data)

    @jax.jit
    def first_order(x: Array, L: Array, data: Any) -> Array:
        return fista(lambda z: prox(z - gradient(z, data) / L, 1 / L, data), x, LENGTH)

    @jax.jit
    def of_model(x: Array, g: Array, H: Array, L: Array, data: Any) -> Array:
        """argmin of f's second-order model + penalty."""
        l = jnp.minimum(L, jnp.max(jnp.sum(jnp.abs(H), 1)))  # no curvature of the model is above either
        return fista(lambda z: prox(z - (g + H @ (z - x)) / l, 1 / l, data), x, INNER)

    def second_order(x: np.ndarray, L: float, data: Any) -> np.ndarray:
        """The minimiser of the model, then back until the sum falls (Lee, Sun & Saunders 2014)."""
        before, g = at(x, data)
        direction, t = np.asarray(of_model(x, g, curvature(x, data), L, data)) - x, 1.0
        while t > 1e-10 and float(at(x + t * direction, data)[0]) > float(before):
            t /= 2
        return x + t * direction if t > 1e-10 else x

    length, descent = (LENGTH, first_order) if hessian is None else (1, second_order)
    return Objective(length, at, curvature, prox, descent, fixed_point, jacobian)


def fista(step: Callable[[Array], Array], x: Array, most: int) -> Array:
    """y ← step(z), z ← y + momentum, until y stands still; restarted where that turns uphill.

    Beck & Teboulle (2009), with the restarts of O'Donoghue & Candès (2015); `step` is a proximal gradient step.
    """

    def body(carry: tuple) -> tuple:
        k, y, z, t, _ = carry
        y_new = step(z)
        uphill = jnp.vdot(z - y_new, y_new - y) > 0
        t = jnp.where(uphill, 1.0, t)
        t_new = (1 + jnp.sqrt(1 + 4 * t**2)) / 2
        z_new = y_new + jnp.where(uphill, 0.0, (t - 1) / t_new) * (y_new - y)
        return k + 1, y_new, z_new, t_new, jnp.max(jnp.abs(y_new - z))

    moves = lambda carry: (carry[0] < most) & (carry[-1] > 1e-14 * (1 + jnp.max(jnp.abs(carry[1]))))
    return jax.lax.while_loop(moves, body, (0, x, x, jnp.ones(()), jnp.asarray(jnp.inf)))[1]


@cache
def _linear(loss: Callable[..., Array], fit_intercept: bool, classes: int | None, penalised: bool) -> Objective:
    """mean loss(w·x + b, y) + (l2/2) ‖w‖² + l1 ‖w‖₁ of x = (b, w), with the data (A, y, l2, l1), A = (1, X)."""
    outputs = classes or 1
    biases = outputs if fit_intercept else 0

    def scores(x: Array, A: Array) -> Array:
        """A Wᵀ, a row for each example; A has a first column of ones where there is an intercept."""
        W = x[biases:].reshape(outputs, -1)
        return A @ (jnp.hstack([x[:biases, None], W]) if fit_intercept else W).T

    def one(z: Array, y: Array) -> Array:
        return loss(z if classes else z[0], y)

    def smooth(x: Array, data: Any) -> Array:
        A, y, l2, _ = data
        return jnp.mean(jax.vmap(one)(scores(x, A), y)) + l2 / 2 * jnp.sum(x[biases:] ** 2)

    def penalty(x: Array, data: Any) -> Array:
        return data[3] * jnp.sum(jnp.abs(x[biases:]))

    def hessian(x: Array, data: Any) -> Array:
        """Σ Sᵢ ⊗ aᵢaᵢᵀ / n + l2 D, with Sᵢ the loss's Hessian in the scores of example i, aᵢ.

        A few matrix products, where differentiating would take one pass for each parameter.
        """
        A, y, l2, _ = data
        S = jax.vmap(jax.hessian(one))(scores(x, A), y).reshape(len(A), -1).T
        outer = jax.lax.map(lambda s: (A.T * s) @ A / len(A), S)
        width = A.shape[1]
        H = outer.reshape(outputs, outputs, width, width).transpose(0, 2, 1, 3).reshape(outputs * width, -1)
        order = np.arange(outputs * width).reshape(outputs, width)
        first = int(fit_intercept)
        order = np.concatenate([order[:, :first].ravel(), order[:, first:].ravel()])  # all biases before the weights
        return H[np.ix_(order, order)] + l2 * jnp.diag(jnp.asarray(np.arange(len(order)) >= biases, x.dtype))

    def prox(x: Array, step: Array, data: Any) -> Array:
        return jnp.concatenate([x[:biases], regularizers.soft_threshold(x[biases:], step * data[3])])

    return _functions(smooth, penalty, hessian, prox if penalised else None)
