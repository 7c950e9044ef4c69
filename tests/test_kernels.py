"""Kernels and the dual of the support vector machine: other solvers' optima, conditions of optimality, projections."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.metrics import pairwise
from sklearn.svm import SVC

from sandbox import data, optimizers, problems, regularizers
from sandbox.engine import full_loss, run, smo, solve
from sandbox.models import kernels
from sandbox.problems import dual

CANCER = data.load_breast_cancer()
X, Y = CANCER.X[:150], CANCER.y[:150]
MACHINES = {  # kernel and C: smooth, rough, of finite features, and so narrow that every example is a support vector
    "rbf": ("rbf", 1.0),
    "rbf, hard": ("rbf", 1e4),
    "linear": ("linear", 0.1),
    "poly": ("poly", 10.0),
    "narrow": (kernels.rbf(5.0), 3.0),
}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (kernels.linear, pairwise.linear_kernel),
        (kernels.rbf(0.3), lambda A, B: pairwise.rbf_kernel(A, B, gamma=0.3)),
        (kernels.polynomial(3, 0.5, 2.0), lambda A, B: pairwise.polynomial_kernel(A, B, 3, 0.5, 2.0)),
    ],
)
def test_kernels_are_scikit_learns(ours, theirs, x64):
    np.testing.assert_allclose(kernels.gram(ours, X, X[:7]), theirs(X, X[:7]), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("degree", [1, 2, 4])
@pytest.mark.parametrize("constant", [0.0, 1.5])
def test_the_features_of_a_polynomial_kernel(degree, constant, x64):
    """φ(x)·φ(z) = (γ x·z + c)ᵈ."""
    A = np.random.default_rng(0).normal(size=(6, 3))
    features = kernels.polynomial_features(A, degree, 0.7, constant)
    expected = kernels.gram(kernels.polynomial(degree, 0.7, constant), A, A)
    np.testing.assert_allclose(features @ features.T, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("method", ["smo", "interior", None])
def test_the_optimum_is_certified_and_is_libsvms(name, method, x64):
    kernel, C = MACHINES[name]
    problem = problems.kernel_svm(X, Y, C, kernel)
    model = problem.structure
    solution = solve(problem, method=method)
    alpha = solution.params["alpha"]
    assert solution.status == "converged"
    assert solution.certificate <= 1e-10
    assert solution.value == pytest.approx(float(problem.objective({"alpha": jnp.asarray(alpha)})), rel=1e-12)
    theirs = SVC(C=C, kernel="precomputed", tol=1e-10).fit(model.Q * np.outer(model.y, model.y), Y)
    other = np.zeros(len(Y))
    other[theirs.support_] = np.abs(theirs.dual_coef_[0])
    value = other @ model.Q @ other / 2 - other.sum()
    assert solution.value <= value + 1e-9 * abs(value)
    assert solution.value == pytest.approx(value, rel=1e-7)  # LIBSVM keeps its kernels in single precision
    assert float(dual.vouch(model, alpha).kkt) <= 1e-8


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
def test_without_an_intercept(kernel, x64):
    problem = problems.kernel_svm(X, Y, 2.0, kernel, fit_intercept=False)
    Q = problem.structure.Q
    slope = lambda a: (a @ Q @ a / 2 - a.sum(), Q @ a - 1)
    bounds, options = [(0, 2.0)] * len(Y), {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 100_000, "maxfun": 1_000_000}
    theirs = minimize(slope, np.zeros(len(Y)), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    for method in ("smo", "interior"):
        solution = solve(problem, method=method)
        assert solution.status == "converged"
        assert solution.value == pytest.approx(theirs.fun, rel=1e-7)
        assert solution.value <= theirs.fun + 1e-9 * abs(theirs.fun)


def test_the_linear_machine_is_the_same_in_primal_and_dual(x64):
    """w = Σ αᵢ yᵢ xᵢ, and the optimal values add up to nothing: strong duality."""
    C = 0.5
    weights, plane = solve(problems.kernel_svm(X, Y, C, "linear")), solve(problems.svm(X, Y, 1 / (len(Y) * C)))
    signs = 2.0 * Y - 1
    np.testing.assert_allclose(X.T @ (weights.params["alpha"] * signs), plane.params["w"], atol=1e-5)
    assert -weights.value == pytest.approx(plane.value * len(Y) * C, rel=1e-9)


def test_a_kernel_and_its_features_make_one_machine(x64):
    features = kernels.polynomial_features(X[:, :4], 2)
    by_kernel = solve(problems.kernel_svm(X[:, :4], Y, 1.0, kernels.polynomial(2)))
    by_features = solve(problems.svm(features, Y, 1 / len(Y)))
    assert -by_kernel.value == pytest.approx(by_features.value * len(Y), rel=1e-9)


@pytest.mark.slow
def test_projected_gradient_nears_the_same_weights(x64):
    """FISTA's bound: f − f* ≤ 2 L ‖x₀ − x*‖² / (k + 1)²."""
    problem = problems.kernel_svm(X, Y, 1.0)
    best, rate = solve(problem), 1 / problem.facts.smoothness
    plain = optimizers.proximal(optimizers.gradient_descent(rate), problem.penalty.prox)
    steps = 2000
    walk = run(problem, plain, steps=steps, key=jax.random.key(0), record=full_loss, every=100)
    distance = np.sum(best.params["alpha"] ** 2)
    bound = distance / rate / 2 / np.arange(100, steps, 100)
    assert (np.asarray(walk.trace["loss"])[1:] - best.value <= bound).all()
    assert float(walk.value) == pytest.approx(best.value, rel=1e-3)
    polished = solve(problem, method="proximal")
    assert polished.value == pytest.approx(best.value, rel=1e-9)


@pytest.mark.slow
def test_only_support_vectors_matter(x64):
    whole = problems.kernel_svm(X, Y, 1.0)
    solution = solve(whole, method="smo")
    kept = solution.params["alpha"] > 0
    assert 0 < kept.sum() < len(Y) / 2
    part = problems.kernel_svm(X[kept], Y[kept], 1.0, whole.structure.kernel)
    again = solve(part, method="smo")
    assert again.value == pytest.approx(solution.value, rel=1e-9)
    ours = dual.decision(whole.structure, solution.params, CANCER.X_test)
    np.testing.assert_allclose(dual.decision(part.structure, again.params, CANCER.X_test), ours, atol=1e-4)


def test_decisions_are_scikit_learns(x64):
    problem = problems.kernel_svm(CANCER.X, CANCER.y, 1.0, X_test=CANCER.X_test, y_test=CANCER.y_test)
    solution = solve(problem)
    theirs = SVC(tol=1e-8).fit(CANCER.X, CANCER.y)
    ours = dual.decision(problem.structure, solution.params, CANCER.X_test)
    np.testing.assert_allclose(ours, theirs.decision_function(CANCER.X_test), atol=1e-5)
    accuracy = float(problem.evaluate(solution.params)["accuracy"])
    assert accuracy == pytest.approx(theirs.score(CANCER.X_test, CANCER.y_test))


@pytest.mark.slow
def test_rows_of_the_matrix_are_unbiased(x64):
    """The mean over all batches of one row is the loss itself, and so are the gradients."""
    problem = problems.kernel_svm(X[:20], Y[:20], 1.0)
    alpha = {"alpha": jnp.linspace(0, 1, 20)}
    each = jax.vmap(
        lambda i: jax.grad(problem.loss)(alpha, jax.tree.map(lambda a: jnp.asarray(a)[i][None], problem.data), None)
    )
    mean = each(np.arange(20))["alpha"].mean(0)
    expected = problem.structure.Q @ alpha["alpha"] - 1
    np.testing.assert_allclose(mean, expected, rtol=1e-10)


@pytest.mark.slow
@settings(deadline=None, max_examples=25)
@given(st.sampled_from([2, 3, 40]), st.floats(0.1, 100), st.integers(0, 10_000))
def test_the_projection_is_the_nearest_feasible_point(n, upper, seed):
    """x − p is normal to the set at p: ⟨x − p, z − p⟩ ≤ 0 for every feasible z (Hiriart-Urruty & Lemaréchal 1993)."""
    rng = np.random.default_rng(seed)
    y = np.where(rng.random(n) < rng.random(), 1.0, -1.0)
    x = rng.normal(size=n) * upper * 10 ** rng.uniform(-2, 2)
    with jax.enable_x64(True):
        p, outside, others = projected(y, upper, x, rng.normal(size=(20, n)) * upper)
        assert float(outside) == 0
        assert float(jnp.max((others - p) @ (x - p))) <= 1e-9 * (1 + np.abs(x).max()) * upper * n


@jax.jit
def projected(y, upper, x, others):
    """The point p nearest to x, whether it is outside of the set, and other points of the set."""
    feasible = regularizers.balanced_box(y, upper)
    p = feasible.prox(x, 1.0)
    return p, feasible(p), jax.vmap(lambda z: feasible.prox(z, 1.0))(others)


def test_what_is_no_machine_is_refused():
    with pytest.raises(ValueError, match=r"C=0: expected a finite number above 0"):
        problems.kernel_svm(X, Y, 0)
    with pytest.raises(ValueError, match=r"kernel='rfb': expected 'linear', 'polynomial', 'poly', 'rbf'"):
        problems.kernel_svm(X, Y, 1.0, "rfb")
    with pytest.raises(ValueError, match=r"kernel gives shape \(30,\) for two examples"):
        problems.kernel_svm(X, Y, 1.0, lambda x, z: x * z)
    with pytest.raises(ValueError, match="not symmetric"):
        problems.kernel_svm(X, Y, 1.0, lambda x, z: x[0] - z[1])
    with pytest.raises(ValueError, match="is not finite"):
        problems.kernel_svm(X, Y, 1.0, lambda x, z: 1 / jnp.sum((x - z) ** 2))
    with pytest.raises(ValueError, match="takes 'smo' or 'interior' or 'proximal'"):
        solve(problems.kernel_svm(X, Y, 1.0), method="newton")


def test_an_indefinite_kernel_is_not_vouched_for():
    """−x·z is symmetric, but the inner product of no features: its dual has no floor but the box."""
    problem = problems.kernel_svm(X, Y, 1.0, lambda x, z: -jnp.dot(x, z))
    assert problem.facts.convex is None
    assert solve(problem).status == "failed"


@pytest.mark.slow
def test_the_second_descent_compiles_nothing():
    """Descents to one digit after the other are one program, for every number of examples."""
    before = smo._descend._cache_size()
    solve(problems.kernel_svm(X[:37], Y[:37], 1.0), method="smo")
    assert smo._descend._cache_size() == before + 1
