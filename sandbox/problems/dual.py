"""The support vector machine's dual: a weight for every example, and a kernel in place of features."""

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from sandbox import losses, regularizers
from sandbox.data.bundled import load_breast_cancer
from sandbox.models import kernels
from sandbox.problems.examples import FEATURES, Examples, Matrix, Vector, array, frozen, held_out, inputs, signs
from sandbox.problems.problem import Facts, Problem, nothing
from sandbox.types import Metrics, Params, Scalar

MOST = 20_000  # examples: the matrix of their kernels takes 8 n² bytes


class KernelMachine(NamedTuple):
    """What a solver may exploit: min ½ αᵀQα − Σα over 0 ≤ α ≤ C, with yᵀα = 0 where there is an intercept."""

    X: Matrix
    y: Vector  # −1 and +1
    C: Scalar
    kernel: kernels.Kernel
    fit_intercept: bool
    Q: Float[np.ndarray, "examples examples"]  # yᵢ yⱼ k(xᵢ, xⱼ)


class Rows(NamedTuple):
    """The rows of Q that are in a batch, and their numbers."""

    Q: Any
    number: Any


def kernel_svm(
    X: Any,
    y: ArrayLike,
    C: Scalar,
    kernel: str | kernels.Kernel = "rbf",
    *,
    fit_intercept: bool = True,
    X_test: Any = None,
    y_test: ArrayLike | None = None,
) -> Problem:
    """min ½ αᵀQα − Σα, Qᵢⱼ = yᵢ yⱼ k(xᵢ, xⱼ), over 0 ≤ α ≤ C and yᵀα = 0 (Boser, Guyon & Vapnik 1992).

    It is the dual of ½ ‖w‖² + C Σ max(0, 1 − yᵢ (w·φ(xᵢ) + b)), as LIBSVM and scikit-learn's SVC have it; the linear
    one is n C times `svm` at l2 = 1/(n C). Without an intercept, yᵀα is free. Two labels of any kind, the larger is
    positive. The kernel is a function of two examples, positive semidefinite, as in `models.kernels`; or "linear",
    "polynomial" (or "poly": degree 3, without constant) or "rbf", with γ = 1 / (features · variance of X), as SVC has
    them by default. Parameters are {"alpha": …}; the feasible set is the penalty, whose prox projects. On a batch the
    loss is that of its rows of Q, times n over their number, so that gradients of random batches are unbiased.
    """
    X, y = inputs(X, y)
    if len(X) > MOST:
        raise ValueError(f"kernel_svm: {len(X):,} examples; expected up to {MOST:,}, as Q has a row for each")
    if not isinstance(C, jax.core.Tracer) and not 0 < float(C) < np.inf:
        raise ValueError(f"C={C}: expected a finite number above 0; a large one gives the hard margin")
    code = signs("kernel_svm", y)
    known = isinstance(kernel, str)
    k = _named(kernel, X) if isinstance(kernel, str) else kernel
    targets = frozen(code("y", y))
    model = KernelMachine(X, targets, C, k, fit_intercept, frozen(_signed(k, X, targets)))
    test = held_out(X, X_test, y_test, code)
    n = len(X)

    def loss(params: Params, batch: Rows) -> Array:
        alpha = jnp.asarray(params["alpha"])
        own = alpha[batch.number]
        return n / len(own) * (own @ (jnp.asarray(batch.Q, alpha.dtype) @ alpha / 2 - 1))

    def evaluate(held_out: Examples, params: Params) -> Metrics:
        scores = decision(model, params, held_out.X)
        y = jnp.asarray(held_out.y, scores.dtype)
        right = jnp.mean((scores > 0) == (y > 0), dtype=scores.dtype)
        return {"loss": jnp.mean(jax.vmap(losses.hinge)(scores, y)), "accuracy": right}

    feasible = regularizers.balanced_box(targets, C) if fit_intercept else regularizers.box(0.0, C)
    return Problem(
        name="kernel_svm",
        init=lambda key: {"alpha": jnp.zeros(n)},
        loss=loss,
        data=Rows(model.Q, np.arange(n)),
        penalty=regularizers.on("alpha", feasible),
        structure=model,
        evaluate=nothing if test is None else partial(evaluate, test),
        # A kernel of the user's may be none: then Q has negative curvatures.
        facts=Facts(
            smoothness=_largest(model.Q),
            strong_convexity=0.0 if known else None,
            convex=known or None,
            reference="Boser, Guyon & Vapnik 1992",
        ),
    )


def breast_cancer_kernel_svm(C: Scalar = 1.0) -> Problem:
    """A support vector machine with radial basis functions on the breast-cancer data, by its dual."""
    split = load_breast_cancer()
    problem = kernel_svm(split.X, split.y, C, X_test=split.X_test, y_test=split.y_test)
    return replace(problem, name="breast_cancer_kernel_svm")


def decision(model: KernelMachine, params: Params, X: Any) -> Float[Array, " examples"]:
    """Σ αᵢ yᵢ k(xᵢ, x) + b of every row x of X: positive for the larger label."""
    alpha = jnp.asarray(params["alpha"])
    rows = jnp.asarray(array("X", X, FEATURES), alpha.dtype)
    K = kernels.gram(model.kernel, rows, jnp.asarray(model.X, alpha.dtype))
    return K @ (alpha * model.y) + intercept(model, image(model, alpha))


def image(model: KernelMachine, alpha: Float[ArrayLike, " examples"]) -> Float[Array, " examples"]:
    """Qα: the margins yᵢ w·φ(xᵢ) of the examples, without the intercept."""
    alpha = jnp.asarray(alpha)
    return jnp.asarray(model.Q, alpha.dtype) @ alpha


def intercept(model: KernelMachine, Qa: Float[Array, " examples"]) -> Float[Array, ""]:
    """The b at which Σ max(0, 1 − (Qα)ᵢ − yᵢ b) is least; 0 where none is fitted.

    As b grows past yᵢ (1 − (Qα)ᵢ), the slope of this sum rises by 1, from −n₊: it is least between the n₊-th of these
    numbers and the next.
    """
    if not model.fit_intercept:
        return jnp.zeros((), Qa.dtype)
    turns = jnp.sort(jnp.asarray(model.y, Qa.dtype) * (1 - Qa))
    positive = int((model.y > 0).sum())
    return (turns[positive - 1] + turns[positive]) / 2


class Vouched(NamedTuple):
    """What vouches for weights α: the dual lies below every plane's objective, and the primal is one of these."""

    dual: Float[Array, ""]  # Σα − ½ αᵀQα
    primal: Float[Array, ""]  # ½ ‖w‖² + C Σ max(0, 1 − yᵢ f(xᵢ)) at w = Σ αᵢ yᵢ φ(xᵢ) and the best b
    kkt: Float[Array, ""]  # max |α − clip(α + 1 − y f, 0, C)|

    @property
    def gap(self) -> Float[Array, ""]:
        """How far the primal lies above the dual, in parts of itself."""
        return jnp.abs(1 - self.dual / self.primal)


def vouch(
    model: KernelMachine, alpha: Float[ArrayLike, " examples"], Qa: Float[Array, " examples"] | None = None
) -> Vouched:
    """The gap and the conditions of Karush, Kuhn & Tucker of feasible weights; Qα is computed where it is not given.

    The conditions, y f ≥ 1 where α = 0, y f ≤ 1 where α = C, y f = 1 between, hold if and only if kkt is 0.
    """
    alpha = jnp.asarray(alpha)
    Qa = image(model, alpha) if Qa is None else Qa
    short = 1 - Qa - jnp.asarray(model.y, alpha.dtype) * intercept(model, Qa)
    square = alpha @ Qa / 2
    return Vouched(
        dual=jnp.sum(alpha) - square,
        primal=square + model.C * jnp.sum(jax.nn.relu(short)),
        kkt=jnp.max(jnp.abs(alpha - jnp.clip(alpha + short, 0, model.C))),
    )


def _named(name: str, X: np.ndarray) -> kernels.Kernel:
    gamma = 1 / (X.shape[1] * (float(X.var()) or 1.0))
    cubic = lambda: kernels.polynomial(3, gamma, 0.0)
    known = {"linear": lambda: kernels.linear, "polynomial": cubic, "poly": cubic, "rbf": lambda: kernels.rbf(gamma)}
    if name not in known:
        raise ValueError(f"kernel={name!r}: expected {', '.join(map(repr, known))}, or a function k(x, z)")
    return known[name]()


def _signed(kernel: kernels.Kernel, X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """yᵢ yⱼ k(xᵢ, xⱼ) in double precision; a ValueError for what is no kernel."""
    with jax.enable_x64(True), jax.ensure_compile_time_eval():
        example = jax.ShapeDtypeStruct(X.shape[1:], np.float64)
        shape = jax.eval_shape(kernel, example, example).shape
        if shape != ():
            raise ValueError(f"kernel gives shape {shape} for two examples; expected a number k(x, z)")
        K = np.array(jax.jit(partial(kernels.gram, kernel))(X, X))
    if not np.isfinite(K).all():
        raise ValueError("the kernel of some pair of examples is not finite; scale the features down")
    if np.abs(K - K.T).max() > 1e-9 * np.abs(K).max():
        raise ValueError("the kernel is not symmetric: k(x, z) differs from k(z, x)")
    return (K + K.T) / 2 * y * y[:, None]


def _largest(Q: np.ndarray) -> float:
    """The largest eigenvalue, without its sign: what is no kernel has negative ones."""
    if len(Q) <= 500:
        return float(np.abs(np.linalg.eigvalsh(Q)).max())
    from scipy.sparse.linalg import eigsh

    return abs(float(eigsh(Q, k=1, v0=np.ones(len(Q)), return_eigenvectors=False)[0]))
