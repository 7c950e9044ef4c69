"""Are certified optima the lowest? Seven kinds beside independent solvers, on bundled data, at four penalties.

`solve`'s value is set beside the problem's own objective at the parameters that NumPy's least squares, scikit-learn's
coordinate descent, its Newton method or LIBSVM find. A certificate is ‖∇f‖, the length of a proximal step, or a
relative duality gap.

    python experiments/optima.py
"""

import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from sandbox import data, problems
from sandbox.engine import solve
from sandbox.models import kernels

benchmark = True

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
SETS = {"diabetes": data.load_diabetes, "breast cancer": data.load_breast_cancer, "digits": data.load_digits,
        "iris": data.load_iris, "wine": data.load_wine}  # fmt: skip
SMALL = 400  # examples of a kernel machine


class Row(NamedTuple):
    """One kind of problem over all its data and penalties."""

    kind: str
    cases: int
    apart: float  # the largest |ours − theirs| / |theirs|
    certificate: float  # the largest


def shortest(X: np.ndarray, y: np.ndarray, l2: float) -> dict[str, Any]:
    """argmin (1/2n) ‖y − Xw − b‖² + (l2/2) ‖w‖², by least squares on more rows."""
    n, d = X.shape
    rows = np.vstack([X - X.mean(0), np.sqrt(n * l2) * np.eye(d)])
    w = np.linalg.lstsq(rows, np.append(y - y.mean(), np.zeros(d)))[0]
    return {"b": y.mean() - X.mean(0) @ w, "w": w}


def coordinates(X: np.ndarray, y: np.ndarray, l1: float, l2: float) -> dict[str, Any]:
    from sklearn.linear_model import ElasticNet

    fit = ElasticNet(l1 + l2, l1_ratio=l1 / (l1 + l2), tol=1e-15, max_iter=10**6).fit(X, y)
    return {"b": fit.intercept_, "w": fit.coef_}


def newton(X: np.ndarray, y: np.ndarray, l2: float) -> dict[str, Any]:
    from sklearn.linear_model import LogisticRegression

    fit = LogisticRegression(C=1 / (len(y) * l2), solver="newton-cholesky", tol=1e-13, max_iter=10**4).fit(X, y)
    two = len(fit.coef_) == 1
    return {"b": fit.intercept_[0] if two else fit.intercept_, "w": fit.coef_[0] if two else fit.coef_}


def weights(X: np.ndarray, y: np.ndarray, C: float, kernel: Any) -> dict[str, Any]:
    """LIBSVM's, of every example."""
    from sklearn.svm import SVC

    fit = SVC(C=C, kernel=lambda A, B: np.asarray(kernels.gram(kernel, A, B)), tol=1e-12).fit(X, y)
    alpha = np.zeros(len(y))
    alpha[fit.support_] = np.abs(fit.dual_coef_[0])
    return {"alpha": alpha}


def dual(X: np.ndarray, y: np.ndarray, l2: float) -> Any:
    """−l2 times what LIBSVM minimises, which by strong duality is the least value of the primal."""
    C = 1 / (len(y) * l2)
    return -l2 * problems.kernel_svm(X, y, C, kernels.linear).objective(weights(X, y, C, kernels.linear))


class Kind(NamedTuple):
    """Which data; our problem of X, y and a penalty; its least value by another solver."""

    sets: tuple[str, ...]
    ours: Callable[..., Any]
    theirs: Callable[..., Any]
    examples: int | None = None


def kind(sets: tuple[str, ...], ours: Callable[..., Any], theirs: Callable[..., Any], examples: Any = None) -> Kind:
    """The value of our problem at the parameters that the other solver finds."""
    return Kind(sets, ours, lambda X, y, s: ours(X, y, s).objective(theirs(X, y, s)), examples)


NUMBERS, TWO, MANY = ("diabetes", "breast cancer"), ("breast cancer",), ("iris", "wine", "digits")
RBF = kernels.rbf(0.05)
KINDS = {
    "ridge": kind(NUMBERS, problems.ridge, shortest),
    "lasso": kind(NUMBERS, problems.lasso, lambda X, y, l1: coordinates(X, y, l1, 0.0)),
    "elastic net": kind(
        NUMBERS, lambda X, y, s: problems.elastic_net(X, y, s, s / 2), lambda X, y, s: coordinates(X, y, s, s / 2)
    ),
    "logistic": kind(TWO, problems.logistic, newton),
    "softmax": kind(MANY, problems.softmax, newton),
    "svm": Kind(TWO, problems.svm, dual),
    "kernel_svm": kind(
        TWO, lambda X, y, C: problems.kernel_svm(X, y, C, RBF), lambda X, y, C: weights(X, y, C, RBF), SMALL
    ),
}


def rows() -> Iterator[Row]:
    """Every kind on all its data at all penalties."""
    for name, kind in KINDS.items():
        apart, certificates = [], []
        for chosen in kind.sets:
            X, y = SETS[chosen]()[:2]
            X, y = X[: kind.examples], y[: kind.examples]
            for penalty in PENALTIES:
                solution = solve(kind.ours(X, y, penalty))
                theirs = float(kind.theirs(X, y, penalty))
                apart.append(abs(float(solution.value) - theirs) / abs(theirs))
                certificates.append(solution.certificate if solution.status == "converged" else np.inf)
        yield Row(name, len(apart), float(np.max(apart)), float(np.max(certificates)))


def main() -> int:
    """Print the table; 1 where a difference is above 1e-9 or a certificate above 1e-8."""
    from rich.console import Console

    from sandbox import report

    warnings.simplefilter("ignore")  # scikit-learn's, that it cannot go on to such a tolerance
    with jax.enable_x64(True):
        found = list(rows())
    Console(width=100).print(report.table([row._asdict() for row in found], "certified optima beside other solvers"))
    for row in found:
        print(f"{row.kind}: {row.cases} cases, apart {row.apart:.1e}, certificate {row.certificate:.1e}")
    return int(not all(row.apart <= 1e-9 and row.certificate <= 1e-8 for row in found))


if __name__ == "__main__":
    sys.exit(main())
