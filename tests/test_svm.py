"""The linear support vector machine: a duality gap vouches for every optimum, and the conditions of optimality hold."""

import numpy as np
import pytest
from sklearn.svm import SVC, LinearSVC

from sandbox import data, problems
from sandbox.engine import interior, solve

CANCER = data.load_breast_cancer()
SIGNS = 2.0 * CANCER.y - 1
PENALTIES = (1e-5, 1e-3, 0.1, 10.0)


def clouds(seed, apart=1.0, examples=80):
    """Two clouds of points in three dimensions, one of them small."""
    rng = np.random.default_rng(seed)
    y = np.where(np.arange(examples) < examples // 5, 1.0, -1.0)
    return rng.normal(size=(examples, 3)) + apart * y[:, None], y


def separated(X, y, l2):
    """w, b and the multipliers, 0 … 1/n, by the interior-point method alone."""
    found = interior.separate(interior.linear(X, y, l2, fit_intercept=True), len(y), tol=1e-12)
    return found.z[:-1], found.z[-1], found.alpha / len(y)


@pytest.mark.parametrize("l2", PENALTIES)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_optimum_is_certified_and_no_plane_of_scikit_learn_is_lower(l2, fit_intercept, x64):
    problem = problems.svm(CANCER.X, CANCER.y, l2, fit_intercept=fit_intercept)
    solution = solve(problem)
    assert solution.status == "converged"
    assert 0 <= solution.certificate <= 1e-10 or abs(solution.certificate) < 1e-14
    if fit_intercept:
        theirs = SVC(kernel="linear", C=1 / (len(SIGNS) * l2), tol=1e-8).fit(CANCER.X, CANCER.y)
        value = float(problem.objective({"w": theirs.coef_[0], "b": theirs.intercept_[0]}))
        assert -1e-10 <= (value - solution.value) / solution.value <= 1e-3  # LIBSVM stops early


@pytest.mark.parametrize("l2", PENALTIES)
@pytest.mark.parametrize("seed", range(3))
def test_the_conditions_of_optimality(l2, seed):
    """y f < 1 ⇒ α = 1/n, y f > 1 ⇒ α = 0, between ⇒ y f = 1; w and b follow from α (Karush, Kuhn & Tucker)."""
    X, y = clouds(seed)
    w, b, alpha = separated(X, y, l2)
    margins, n = y * (X @ w + b), len(y)
    scale = 1 + np.abs(X @ w).max()
    np.testing.assert_allclose(X.T @ (alpha * y) / l2, w, atol=1e-4 * scale)
    assert abs(alpha @ y) < 1e-12
    assert (alpha[margins < 1 - 1e-3] * n > 1 - 1e-3).all()
    assert (alpha[margins > 1 + 1e-3] * n < 1e-3).all()
    free = (alpha * n > 1e-2) & (alpha * n < 1 - 1e-2)
    np.testing.assert_allclose(margins[free], 1, atol=1e-3)


def test_only_support_vectors_matter():
    X, y = clouds(0, apart=1.5)
    w, b, alpha = separated(X, y, 0.01)
    kept = alpha * len(y) > 1e-6
    assert kept.sum() < len(y) / 2
    # The penalty is of the mean: with fewer examples, the same sum needs a larger share.
    w_part, b_part, _ = separated(X[kept], y[kept], 0.01 * len(y) / kept.sum())
    np.testing.assert_allclose(w_part, w, rtol=1e-5)
    np.testing.assert_allclose(b_part, b, rtol=1e-5, atol=1e-5)


def test_the_widest_margin():
    """Between (1, 0) and (−1, 0), with other points further away, the plane is x = 0 and w = (1, 0)."""
    X = np.array([[1.0, 0], [-1, 0], [3, 5], [-3, -4], [2, -9], [-6, 1]])
    solution = solve(problems.svm(X, np.sign(X[:, 0]), 1e-4))
    np.testing.assert_allclose(solution.params["w"], [1, 0], atol=1e-6)
    np.testing.assert_allclose(solution.params["b"], 0, atol=1e-6)
    assert solution.value == pytest.approx(1e-4 / 2, rel=1e-8)


@pytest.mark.parametrize("l2", PENALTIES)
def test_the_squared_hinge_is_scikit_learns(l2, x64):
    problem = problems.svm(CANCER.X, CANCER.y, l2, "squared_hinge", fit_intercept=False)
    options = {"fit_intercept": False, "dual": False, "tol": 1e-14, "max_iter": 100_000}
    theirs = LinearSVC(C=1 / (len(SIGNS) * l2), **options).fit(CANCER.X, CANCER.y)
    solution = solve(problem)
    assert solution.status == "converged"
    assert solution.value == pytest.approx(float(problem.objective({"w": theirs.coef_[0]})), rel=1e-9)


def test_a_scaled_copy_of_the_data_and_other_labels_give_the_same_plane():
    X, y = clouds(4)
    one, other = (
        solve(problems.svm(X, y, 0.1)),
        solve(problems.svm(100 * X, np.where(y > 0, "yes", "no"), 0.1 * 100**2)),
    )
    np.testing.assert_allclose(100 * other.params["w"], one.params["w"], rtol=1e-5)
    assert other.value == pytest.approx(one.value, rel=1e-9)


def test_what_cannot_be_solved_is_said():
    X, y = clouds(0)
    with pytest.raises(ValueError, match=r"l2=0\.0; the dual, which vouches for the optimum, needs it above 0"):
        solve(problems.svm(X, y, 0.0))
    with pytest.raises(ValueError, match="takes 'interior'"):
        solve(problems.svm(X, y, 0.1), method="newton")
    with pytest.raises(ValueError, match="loss='huber'; expected 'hinge' or 'squared_hinge'"):
        problems.svm(X, y, 0.1, "huber")
    with pytest.raises(ValueError, match="svm: y has 3 distinct labels"):
        problems.svm(X, np.arange(len(y)) % 3, 0.1)


def test_accuracy_on_held_out_examples(x64):
    problem = problems.breast_cancer_svm()

    metrics = problem.evaluate(solve(problem).params)
    assert metrics["accuracy"] > 0.95
    assert metrics["loss"] < 0.2
