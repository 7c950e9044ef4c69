"""Data + model + loss + regularizer: the linear models, as problems.

Every constructor takes X dense or SciPy sparse (made dense here) and, as keywords, `fit_intercept=True` (the intercept
is never penalised) and held-out `X_test, y_test` for `evaluate`. Parameters are {"w": …, "b": …}, without "b" where no
intercept is fitted, and start at zero, whatever the key. The data is kept in read-only NumPy float64 and takes the
dtype of the parameters when a loss is traced. Penalties may be tracers. On a batch the loss is the batch's mean plus
the l2 term, so that gradients of random batches are unbiased.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from sandbox import losses, regularizers
from sandbox.data.bundled import Split, load_breast_cancer, load_diabetes, load_digits
from sandbox.models import linear
from sandbox.problems.examples import (
    Examples,
    Matrix,
    Vector,
    coded,
    distinct,
    frozen,
    held_out,
    inputs,
    real,
    signs,
    two,
)
from sandbox.problems.problem import Facts, Problem, nothing
from sandbox.types import Metrics, Params, Scalar


class LinearModel(NamedTuple):
    """What a solver may exploit: mean loss(w·x + b, y) + (l2/2)‖w‖² + l1‖w‖₁."""

    X: Matrix
    y: Vector
    loss: Callable[[Array, Array], Array]
    l2: Scalar
    l1: Scalar
    fit_intercept: bool


def least_squares(X: Any, y: ArrayLike, **options: Any) -> Problem:
    """(1/2n) ‖y − Xw − b‖² (Legendre 1805); options: fit_intercept, X_test, y_test."""
    return _regression("least_squares", X, y, 0.0, 0.0, **options)


def ridge(X: Any, y: ArrayLike, l2: Scalar, **options: Any) -> Problem:
    """(1/2n) ‖y − Xw − b‖² + (l2/2) ‖w‖² (Hoerl & Kennard 1970); options: fit_intercept, X_test, y_test."""
    return _regression("ridge", X, y, 0.0, l2, **options)


def lasso(X: Any, y: ArrayLike, l1: Scalar, **options: Any) -> Problem:
    """(1/2n) ‖y − Xw − b‖² + l1 ‖w‖₁ (Tibshirani 1996), the last as penalty; options: fit_intercept, X_test, y_test."""
    return _regression("lasso", X, y, l1, 0.0, **options)


def elastic_net(X: Any, y: ArrayLike, l1: Scalar, l2: Scalar, **options: Any) -> Problem:
    """(1/2n) ‖y − Xw − b‖² + (l2/2) ‖w‖² + l1 ‖w‖₁ (Zou & Hastie 2005), the last as penalty; options as in lasso."""
    return _regression("elastic_net", X, y, l1, l2, **options)


def logistic(
    X: Any,
    y: ArrayLike,
    l2: Scalar,
    l1: Scalar = 0.0,
    *,
    fit_intercept: bool = True,
    X_test: Any = None,
    y_test: ArrayLike | None = None,
) -> Problem:
    """Mean log-loss + (l2/2) ‖w‖² + l1 ‖w‖₁ (Cox 1958); two labels of any kind, the larger is positive."""
    X, y = inputs(X, y)
    l1, l2 = _penalty("l1", l1), _penalty("l2", l2)
    labels = two("logistic", y)
    code = lambda name, y: coded(name, y, labels).astype(np.float64)
    train = Examples(X, frozen(code("y", y)))
    test = held_out(X, X_test, y_test, code)

    curvature = _curvature(X, fit_intercept, 0.25, l2)
    facts = _facts(curvature[1], 0.0 if fit_intercept else l2, "Cox 1958")
    return _linear("logistic", train, test, losses.binary_cross_entropy, l1, l2, fit_intercept, _correct_signs, facts)


def platt(scores: ArrayLike, y: ArrayLike) -> Problem:
    """Mean log-loss of σ(w s + b): the probability that a machine's score s stands for (Platt 1999).

    Two labels of any kind, the larger is positive. The targets are (n₊ + 1)/(n₊ + 2) and 1/(n₋ + 2) in place of 1 and
    0, so that the minimum is attained where scores separate the labels, too. w and b are Platt's −A and −B. The scores
    should be of examples that the machine was not trained on.
    """
    column, y = inputs(np.reshape(scores, (-1, 1)), y)
    positive = coded("y", y, two("platt", y))
    ones = positive.sum()
    targets = np.where(positive, (ones + 1) / (ones + 2), 1 / (len(y) - ones + 2))
    facts = _facts(_curvature(column, True, 0.25, 0.0)[1], 0.0, "Platt 1999")
    train, loss = Examples(column, frozen(targets)), losses.binary_cross_entropy
    return _linear("platt", train, None, loss, 0.0, 0.0, True, _correct_signs, facts)


def svm(
    X: Any,
    y: ArrayLike,
    l2: Scalar,
    loss: str = "hinge",
    *,
    fit_intercept: bool = True,
    X_test: Any = None,
    y_test: ArrayLike | None = None,
) -> Problem:
    """Mean hinge, or its square, + (l2/2) ‖w‖² (Cortes & Vapnik 1995); two labels of any kind, the larger is positive.

    scikit-learn's SVC(kernel="linear") is this with C = 1/(n l2), l2 times its objective; its LinearSVC penalises
    the intercept too. The hinge has a kink and no smoothness; of the squared hinge the curvature is at most 2.
    """
    X, y = inputs(X, y)
    l2 = _penalty("l2", l2)
    kinds = {"hinge": losses.hinge, "squared_hinge": losses.squared_hinge}
    if loss not in kinds:
        raise ValueError(f"svm: loss={loss!r}; expected {' or '.join(map(repr, kinds))}")
    code = signs("svm", y)
    train = Examples(X, frozen(code("y", y)))
    test = held_out(X, X_test, y_test, code)
    smoothness = _curvature(X, fit_intercept, 2.0, l2)[1] if loss == "squared_hinge" else None
    facts = _facts(smoothness, 0.0 if fit_intercept else l2, "Cortes & Vapnik 1995")
    return _linear("svm", train, test, kinds[loss], 0.0, l2, fit_intercept, _correct_signs, facts)


def softmax(
    X: Any,
    y: ArrayLike,
    l2: Scalar,
    *,
    fit_intercept: bool = True,
    X_test: Any = None,
    y_test: ArrayLike | None = None,
) -> Problem:
    """Mean cross-entropy + (l2/2) ‖W‖², W of shape (classes, features); any labels, in sorted order.

    The Hessian is at most ½ XᵀX/n in every class (Böhning 1992).
    """
    X, y = inputs(X, y)
    l2 = _penalty("l2", l2)
    labels = distinct(y)
    code = lambda name, y: coded(name, y, labels).astype(np.int32)
    train = Examples(X, frozen(code("y", y)))
    test = held_out(X, X_test, y_test, code)

    def metrics(scores: Array, y: Array) -> Metrics:
        return {"accuracy": jnp.mean(jnp.argmax(scores, 0) == y, dtype=scores.dtype)}

    curvature = _curvature(X, fit_intercept, 0.5, l2)
    facts = _facts(curvature[1], 0.0 if fit_intercept else l2, "Böhning 1992")
    loss, classes = losses.softmax_cross_entropy, len(labels)
    return _linear("softmax", train, test, loss, 0.0, l2, fit_intercept, metrics, facts, classes)


def _regression(
    name: str,
    X: Any,
    y: ArrayLike,
    l1: Scalar,
    l2: Scalar,
    *,
    fit_intercept: bool = True,
    X_test: Any = None,
    y_test: ArrayLike | None = None,
) -> Problem:
    X, y = inputs(X, y)
    l1, l2 = _penalty("l1", l1), _penalty("l2", l2)
    code = real
    train = Examples(X, frozen(code("y", y)))
    test = held_out(X, X_test, y_test, code)
    mu, L = _curvature(X, fit_intercept, 1.0, l2)
    return _linear(name, train, test, half_squared_error, l1, l2, fit_intercept, explained, _facts(L, mu, None))


def diabetes_linear() -> Problem:
    """Least squares on the diabetes data: 10 measurements, disease progression."""
    return _on(load_diabetes(), least_squares, "diabetes_linear")


def diabetes_ridge(l2: Scalar = 0.1) -> Problem:
    """Ridge regression on the diabetes data."""
    return _on(load_diabetes(), ridge, "diabetes_ridge", l2=l2)


def breast_cancer_logistic(l2: Scalar = 0.01) -> Problem:
    """Logistic regression on the breast-cancer data: 30 measurements, benign or malignant."""
    return _on(load_breast_cancer(), logistic, "breast_cancer_logistic", l2=l2)


def breast_cancer_svm(l2: Scalar = 0.01) -> Problem:
    """A linear support vector machine on the breast-cancer data: the widest margin between benign and malignant."""
    return _on(load_breast_cancer(), svm, "breast_cancer_svm", l2=l2)


def digits_softmax(l2: Scalar = 0.001) -> Problem:
    """Softmax regression on the digits: 64 pixels, ten classes."""
    return _on(load_digits(), softmax, "digits_softmax", l2=l2)


def _on(split: Split, constructor: Callable[..., Problem], name: str, **penalties: Scalar) -> Problem:
    """A constructor on a bundled set, its test examples included, under the set's name."""
    problem = constructor(split.X, split.y, X_test=split.X_test, y_test=split.y_test, **penalties)
    return replace(problem, name=name)


def _correct_signs(scores: Array, y: Array) -> Metrics:
    return {"accuracy": jnp.mean((scores > 0) == (y > 0), dtype=scores.dtype)}


def half_squared_error(prediction: Float[Array, ""], target: Float[Array, ""]) -> Float[Array, ""]:
    """½ (p − t)², whose curvature is 1."""
    return losses.squared_error(prediction, target) / 2


def explained(prediction: Array, y: Array) -> Metrics:
    """R²: the share of the variance of y that a prediction explains, 1 at best and below 0 for worse than the mean."""
    return {"r2": 1 - jnp.sum((y - prediction) ** 2) / jnp.sum((y - jnp.mean(y)) ** 2)}


def _linear(
    name: str,
    train: Examples,
    test: Examples | None,
    loss: Callable[[Array, Array], Array],
    l1: Scalar,
    l2: Scalar,
    fit_intercept: bool,
    metrics: Callable[[Array, Array], Metrics],
    facts: Facts,
    classes: int | None = None,
) -> Problem:
    """mean loss(w·x + b, y) + (l2/2) ‖w‖², with l1 ‖w‖₁ as penalty."""
    squared = regularizers.l2(l2)

    def scores_and_targets(params: Params, batch: Examples) -> tuple[Array, Array]:
        X, y = jnp.asarray(batch.X, jnp.asarray(params["w"]).dtype), jnp.asarray(batch.y)
        y = y if jnp.issubdtype(y.dtype, jnp.integer) else y.astype(X.dtype)
        return linear.apply(params, X.T), y

    def mean_loss(scores: Array, y: Array) -> Array:
        return jnp.mean(jax.vmap(loss, in_axes=(-1, 0))(scores, y))

    def objective(params: Params, batch: Examples) -> Array:
        value = mean_loss(*scores_and_targets(params, batch))
        return value if _is_zero(l2) else value + squared(params["w"])

    def evaluate(held_out: Examples, params: Params) -> Metrics:
        scores, y = scores_and_targets(params, held_out)
        return {"loss": mean_loss(scores, y), **metrics(scores, y)}

    features = train.X.shape[1]
    return Problem(
        name=name,
        init=lambda key: linear.init(features, classes, fit_intercept=fit_intercept),
        loss=objective,
        data=train,
        penalty=None if _is_zero(l1) else regularizers.on("w", regularizers.l1(l1)),
        structure=LinearModel(*train, loss, l2, l1, fit_intercept),
        evaluate=nothing if test is None else partial(evaluate, test),
        facts=facts,
    )


def _facts(L: Scalar | None, mu: Scalar, reference: str | None) -> Facts:
    return Facts(smoothness=L, strong_convexity=mu, convex=True, reference=reference)


def _curvature(X: Matrix, fit_intercept: bool, c: float, l2: Scalar) -> tuple[Scalar, Scalar]:
    """The extreme eigenvalues of c AᵀA/n + l2 D: A = [X 1] and D = diag(1, …, 1, 0) with an intercept, else X and I."""
    A = np.hstack([X, np.ones((len(X), 1))]) if fit_intercept else X
    gram = c * (A.T @ A) / len(A)
    if isinstance(l2, jax.core.Tracer):
        dtype = jnp.result_type(float)
        penalised = jnp.diag(jnp.asarray(np.arange(len(gram)) < X.shape[1], dtype))
        traced = jnp.linalg.eigvalsh(jnp.asarray(gram, dtype) + l2.astype(dtype) * penalised)
        return jax.nn.relu(traced[0]), traced[-1]
    weights = np.arange(X.shape[1])
    gram[weights, weights] += l2
    spectrum = np.linalg.eigvalsh(gram)
    floor = len(gram) * np.finfo(np.float64).eps * spectrum[-1]  # below it an eigenvalue is a rounded zero
    lowest = spectrum[0] if spectrum[0] > floor else 0.0
    if not fit_intercept:
        lowest = max(lowest, l2)  # exactly, where X has dependent columns
    return float(lowest), float(spectrum[-1])


def _penalty(name: str, strength: Scalar) -> Scalar:
    """The strength as a number, unless it is traced; a ValueError where it is negative or not finite."""
    if isinstance(strength, jax.core.Tracer):
        return strength
    number = float(strength)
    if not 0 <= number < np.inf:
        raise ValueError(f"{name}={number}: expected a finite number from 0 up")
    return number


def _is_zero(strength: Scalar) -> bool:
    """Whether the term is known to be absent; a traced penalty may be anything."""
    return isinstance(strength, float) and strength == 0
