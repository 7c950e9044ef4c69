"""Certified optima agree with NumPy, SciPy and scikit-learn, and what has no optimum is not given one."""

import warnings
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn import linear_model

from sandbox import data, problems, regularizers
from sandbox.engine.solve import solve
from sandbox.problems.problem import Facts, Problem, certify


def random_regression(n, d, seed=0, collinear=False):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) * rng.uniform(0.2, 3, d) + rng.standard_normal(d)
    if collinear:
        X[:, -1] = X[:, 0] - 2 * X[:, 1]
    return X, X @ rng.standard_normal(d) + rng.standard_normal(n) + 3


def classes(n, d, k, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    return X, np.argmax(X @ rng.standard_normal((d, k)) + 2 * rng.gumbel(size=(n, k)), 1)


def value_and_residual(problem, params):
    """The objective, and ‖∇f‖ or ‖x − prox(x − ∇loss)‖, straight from their definitions."""
    move = jax.grad(problem.loss)(params, problem.data, None)
    if problem.penalty is not None:
        nearest = problem.penalty.prox(jax.tree.map(jnp.subtract, params, move), 1.0)
        move = jax.tree.map(jnp.subtract, params, nearest)
    return problem.objective(params), jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(move)))


def certified(problem, **options):
    """The solution, after its value and its certificate have been found again from the problem alone."""
    solution = solve(problem, **options)
    assert solution.status == "converged"
    assert solution.certificate <= 1e-10
    assert not jax.config.jax_enable_x64
    assert {leaf.dtype for leaf in jax.tree.leaves(solution.params)} == {np.dtype(np.float64)}
    with jax.enable_x64(True):
        value, length = jax.jit(lambda params: value_and_residual(problem, params))(solution.params)
    np.testing.assert_allclose(value, solution.value, rtol=1e-14)
    np.testing.assert_allclose(length, solution.certificate, atol=1e-11)
    return solution


def same_optimum(problem, solution, w, b=None):
    """A rival's parameters are no better by more than 1e-10, and no worse than their own accuracy."""
    params = {"w": np.asarray(w)} | ({} if b is None else {"b": np.asarray(b)})
    with jax.enable_x64(True):
        rival = float(jax.jit(problem.objective)(params))
    np.testing.assert_allclose(solution.value, rival, rtol=1e-10, atol=1e-10)


# Tall, wide, with dependent columns.
SHAPES = [(40, 5, False, True), (8, 12, False, False), (8, 12, False, True), (30, 6, True, True)]


@pytest.mark.parametrize(("n", "d", "collinear", "fit_intercept"), SHAPES)
def test_least_squares_is_the_shortest_solution_of_the_normal_equations(n, d, collinear, fit_intercept):
    X, y = random_regression(n, d, collinear=collinear)
    problem = problems.least_squares(X, y, fit_intercept=fit_intercept)
    solution = certified(problem)
    A = np.hstack([X, np.ones((n, 1))]) if fit_intercept else X
    z = np.linalg.lstsq(A, y)[0]
    ours = np.append(solution.params["w"], solution.params["b"]) if fit_intercept else solution.params["w"]
    np.testing.assert_allclose(ours, z, atol=1e-9)
    np.testing.assert_allclose(solution.value, np.sum((A @ z - y) ** 2) / (2 * n), atol=1e-10)
    assert solution.iterations <= 2


@pytest.mark.parametrize(("n", "d", "collinear", "fit_intercept"), SHAPES)
def test_ridge(n, d, collinear, fit_intercept):
    X, y = random_regression(n, d, seed=1, collinear=collinear)
    problem = problems.ridge(X, y, 0.07, fit_intercept=fit_intercept)
    rival = linear_model.Ridge(0.07 * n, fit_intercept=fit_intercept).fit(X, y)
    solution = certified(problem)
    np.testing.assert_allclose(solution.params["w"], rival.coef_, atol=1e-9)
    same_optimum(problem, solution, rival.coef_, rival.intercept_ if fit_intercept else None)


@pytest.mark.parametrize(
    ("n", "d", "collinear", "fit_intercept"),
    [*SHAPES[1:3], *(pytest.param(*s, marks=pytest.mark.slow) for s in (SHAPES[0], SHAPES[3]))],
)
@pytest.mark.parametrize("l2", [0.0, pytest.param(0.1, marks=pytest.mark.slow)])
def test_lasso_and_elastic_net(n, d, collinear, l2, fit_intercept):
    X, y = random_regression(n, d, seed=2, collinear=collinear)
    l1 = 0.2
    problem = problems.elastic_net(X, y, l1, l2, fit_intercept=fit_intercept) if l2 else problems.lasso(
        X, y, l1, fit_intercept=fit_intercept
    )  # fmt: skip
    options = {"fit_intercept": fit_intercept, "tol": 1e-14, "max_iter": 1_000_000}
    rival = linear_model.ElasticNet(l1 + l2, l1_ratio=l1 / (l1 + l2), **options).fit(X, y)
    solution = certified(problem)
    same_optimum(problem, solution, rival.coef_, rival.intercept_ if fit_intercept else None)


@pytest.mark.parametrize(
    ("n", "d", "fit_intercept"), [(50, 4, True), pytest.param(12, 20, False, marks=pytest.mark.slow)]
)
def test_logistic(n, d, fit_intercept):
    X, y = classes(n, d, 2)
    problem = problems.logistic(X, y, 0.05, fit_intercept=fit_intercept)
    options = {"C": 1 / (0.05 * n), "fit_intercept": fit_intercept, "tol": 1e-12}
    rival = linear_model.LogisticRegression(solver="newton-cholesky", **options).fit(X, y)
    solution = certified(problem)
    same_optimum(problem, solution, rival.coef_[0], rival.intercept_[0] if fit_intercept else None)


@pytest.mark.parametrize(
    ("n", "d", "k", "fit_intercept"), [pytest.param(60, 4, 3, False, marks=pytest.mark.slow), (15, 20, 4, True)]
)
def test_softmax(n, d, k, fit_intercept):
    X, y = classes(n, d, k, seed=3)
    problem = problems.softmax(X, y, 0.05, fit_intercept=fit_intercept)
    options = {"C": 1 / (0.05 * n), "fit_intercept": fit_intercept, "tol": 1e-12, "max_iter": 10_000}
    rival = linear_model.LogisticRegression(**options).fit(X, y)
    solution = certified(problem)
    same_optimum(problem, solution, rival.coef_, rival.intercept_ if fit_intercept else None)


def test_logistic_without_l2_where_the_classes_overlap():
    X, y = classes(200, 3, 2, seed=5)
    solution = certified(problems.logistic(X, y, 0.0))
    rival = minimize(lambda p: np.logaddexp(0, -(2 * y - 1) * (X @ p[:3] + p[3])).mean(), np.zeros(4), tol=1e-10)
    np.testing.assert_allclose(solution.value, rival.fun, atol=1e-10)


def test_sparse_logistic_meets_its_optimality_conditions():
    """∂/∂wᵢ of the loss is −l1 sign(wᵢ) where wᵢ ≠ 0 and at most l1 elsewhere; exactly 0 for the intercept."""
    d = data.load_breast_cancer()
    solution = certified(problems.logistic(d.X, d.y, 0.01, 0.03))
    w, b = solution.params["w"], solution.params["b"]
    residual = 1 / (1 + np.exp(-d.X @ w - b)) - d.y
    slope = d.X.T @ residual / len(d.y) + 0.01 * w
    assert 0 < np.sum(w != 0) < 30
    np.testing.assert_allclose(slope[w != 0], -0.03 * np.sign(w[w != 0]), atol=1e-10)
    assert np.abs(slope[w == 0]).max() <= 0.03
    assert abs(residual.mean()) <= 1e-10


@pytest.mark.slow
def test_real_data_agrees_with_scikit_learn():
    d, b, g = data.load_diabetes(), data.load_breast_cancer(), data.load_digits()
    fit = linear_model.Ridge(0.1 * len(d.y)).fit(d.X, d.y)
    same_optimum(problems.diabetes_ridge(), certified(problems.diabetes_ridge()), fit.coef_, fit.intercept_)
    fit = linear_model.LinearRegression().fit(d.X, d.y)
    same_optimum(problems.diabetes_linear(), certified(problems.diabetes_linear()), fit.coef_, fit.intercept_)
    fit = linear_model.Lasso(2.0, tol=1e-14).fit(d.X, d.y)
    same_optimum(problems.lasso(d.X, d.y, 2.0), certified(problems.lasso(d.X, d.y, 2.0)), fit.coef_, fit.intercept_)
    logistic = lambda n, l2: linear_model.LogisticRegression(C=1 / (l2 * n), tol=1e-8, max_iter=5000)
    fit = logistic(len(b.y), 0.01).fit(b.X, b.y)
    solution = certified(problems.breast_cancer_logistic())
    same_optimum(problems.breast_cancer_logistic(), solution, fit.coef_[0], fit.intercept_[0])
    fit = logistic(len(g.y), 0.001).fit(g.X, g.y)
    same_optimum(problems.digits_softmax(), certified(problems.digits_softmax()), fit.coef_, fit.intercept_)


def test_data_in_large_units_is_solved_to_its_own_precision():
    X, y = random_regression(50, 4, seed=7)
    solution = solve(problems.least_squares(1e3 * X, 1e6 * y))
    w = np.linalg.lstsq(np.hstack([1e3 * X, np.ones((50, 1))]), 1e6 * y)[0]
    assert solution.status == "converged"
    np.testing.assert_allclose(solution.params["w"], w[:-1], rtol=1e-9)


def separable(kind):
    X, y, _ = data.separable_classes(40, 3, margin=0.2)
    if kind == "all":
        return problems.logistic(X, y, 0.0)
    if kind == "units":
        return problems.logistic(1e3 * X, y, 0.0, fit_intercept=False)
    overlap, labels = classes(60, 3, 2, seed=1)
    X = np.vstack([np.hstack([overlap, np.zeros((60, 1))]), [[0, 0, 0, 1.0]]])
    if kind == "one direction":
        return problems.logistic(X, np.append(labels, 1), 0.0)
    iris = data.load_iris()
    return problems.softmax(iris.X, iris.y, 0.0)


@pytest.mark.parametrize(
    "kind", ["units", *(pytest.param(k, marks=pytest.mark.slow) for k in ("all", "one direction", "one class"))]
)
def test_an_infimum_that_is_not_attained_is_not_converged_to(kind):
    solution = solve(separable(kind))
    assert solution.status == "failed"
    with pytest.raises(ValueError, match="only a converged solution"):
        certify(separable(kind), solution)


@pytest.mark.parametrize("name", ["saddle", "monkey_saddle"])
def test_what_is_unbounded_below_fails_without_a_warning(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert solve(getattr(problems, name)()).status == "failed"


@pytest.mark.parametrize("name", [n for n in problems.names() if getattr(problems, n)().facts.minimum is not None])
def test_known_minima_are_found_or_called_local(name):
    problem = getattr(problems, name)()
    solution = solve(problem)
    assert solution.status == "converged"
    if name != "rastrigin":
        np.testing.assert_allclose(solution.value, problem.facts.minimum, atol=1e-12)
        assert min(np.linalg.norm(solution.params - x) for x in problem.facts.minimizers) < 1e-8


def user_problem(f, dim=2, start=1.0, **facts):
    return Problem("mine", lambda key: jnp.full(dim, start), f, facts=Facts(**facts))


def test_a_degenerate_minimum_is_converged_to():
    solution = solve(user_problem(lambda x: jnp.sum(x**4), convex=True))
    assert solution.status == "converged"
    np.testing.assert_allclose(solution.params, 0, atol=1e-3)


def test_a_convex_infimum_at_infinity_fails():
    assert solve(user_problem(lambda x: jnp.sum(jnp.exp(-x)), convex=True)).status == "failed"
    assert solve(user_problem(lambda x: jnp.sum(x), convex=True)).status == "failed"
    assert solve(user_problem(lambda x: jnp.sum(jnp.log(x)) * jnp.nan, convex=True)).status == "failed"


def test_a_stationary_point_that_is_a_saddle_fails():
    """The start is the saddle of x² − y² itself, where the gradient is 0."""
    assert solve(user_problem(lambda x: x[0] ** 2 - x[1] ** 2, start=0.0)).status == "failed"


def test_convexity_unknown_is_solved_too():
    rng = np.random.default_rng(0)
    A, c = rng.standard_normal((20, 3)), rng.standard_normal(20)
    problem = Problem("mine", lambda key: {"a": jnp.zeros(3)}, lambda p: jnp.sum((A @ p["a"] - c) ** 2))
    solution = solve(problem)
    assert solution.status == "converged"
    np.testing.assert_allclose(solution.params["a"], np.linalg.lstsq(A, c)[0], rtol=1e-10)
    assert certify(problem, solution).facts.minimum == solution.value


@pytest.mark.parametrize(
    "penalty",
    [regularizers.box(-0.5, 1.0), pytest.param(regularizers.simplex(), marks=pytest.mark.slow)],
    ids=["box", "simplex"],
)
def test_constraints(penalty):
    """½‖x − c‖²_Q over a set, against SciPy's SLSQP."""
    rng = np.random.default_rng(4)
    A, c = rng.standard_normal((6, 6)), 3 * rng.standard_normal(6)
    f = lambda x: jnp.sum((A @ (x - c)) ** 2) / 2
    problem = Problem("mine", lambda key: jnp.full(6, 1 / 6), f, penalty=penalty, facts=Facts(convex=True))
    solution = certified(problem)
    simplex = np.isclose(penalty.prox(jnp.full(6, 9.0), 1.0).sum(), 1)
    options = {"bounds": [(0, 1) if simplex else (-0.5, 1)] * 6, "tol": 1e-14, "method": "SLSQP"}
    if simplex:
        options["constraints"] = {"type": "eq", "fun": lambda x: x.sum() - 1}
    numpy_f = lambda x: np.sum((A @ (x - c)) ** 2) / 2
    rival = minimize(numpy_f, np.full(6, 1 / 6), jac=lambda x: A.T @ A @ (x - c), **options)
    np.testing.assert_allclose(solution.value, rival.fun, rtol=1e-10)


def test_a_certified_copy_carries_the_optimum():
    problem = problems.diabetes_ridge(0.3)
    solution = solve(problem)
    known = certify(problem, solution)
    assert (known.facts.minimum, problem.facts.minimum) == (solution.value, None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "magic"}, "method='magic': bowl, without a penalty, takes 'bfgs' or 'newton'"),
        ({"method": "proximal"}, "takes 'bfgs' or 'newton'"),
        ({"tol": 0.0}, "tol=0.0: expected a positive number"),
    ],
)
def test_impossible_requests_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        solve(problems.bowl(), **options)


@pytest.mark.parametrize("method", ["newton", "bfgs"])
def test_both_smooth_methods_agree(method):
    X, y = random_regression(30, 4, seed=9)
    problem = problems.ridge(X, y, 0.1)
    np.testing.assert_allclose(certified(problem, method=method).value, solve(problem).value, rtol=1e-13)


@pytest.mark.parametrize("spread", [0, 3, 6])
def test_a_hessian_in_single_precision_leads_to_the_same_minimum(monkeypatch, spread):
    """Features of sizes up to 10^±spread/2: the curvatures spread over twice as many powers of ten."""
    rng = np.random.default_rng(spread)
    X = rng.normal(size=(500, 8)) * np.logspace(-spread / 2, spread / 2, 8)
    problem = problems.logistic(X, rng.random(500) < 0.4, 1e-6)
    exact = solve(problem)
    monkeypatch.setattr("sandbox.engine.objective.LARGE", 0)
    coarse = solve(problem)
    assert coarse.status == exact.status == "converged"
    assert coarse.certificate <= 1e-12
    np.testing.assert_allclose(coarse.value, exact.value, rtol=1e-14)
    assert coarse.iterations <= exact.iterations + 8


@pytest.mark.slow
def test_a_start_from_a_sample_of_one_class_does_no_harm(monkeypatch):
    """Every eighth example is positive, so that the sample has no optimum; the start it gives must not be followed."""
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(400, 3)), np.arange(400) % 8 == 0
    problem = problems.logistic(X, y, 0.0)
    exact = solve(problem)
    monkeypatch.setattr("sandbox.engine.objective.LARGE", 0)
    started = solve(problem)
    assert started.status == exact.status == "converged"
    np.testing.assert_allclose(started.value, exact.value, rtol=1e-14)


def test_the_verdict_takes_a_problem_as_it_is():
    """Data on another device, a start that cannot be traced, functions that are not compiled."""
    rng = np.random.default_rng(0)
    problem = problems.ridge(rng.normal(size=(12, 3)), rng.normal(size=12), 0.1)
    known = solve(problem).value
    drawn = lambda key: {
        "b": np.float64(0),
        "w": np.random.default_rng(int(jax.random.randint(key, (), 0, 9))).normal(size=3),
    }
    with jax.enable_x64(True):
        elsewhere = replace(problem, data=jax.device_put(problem.data, jax.devices()[1]))
    for other in (elsewhere, replace(problem, init=drawn)):
        assert solve(other).value == pytest.approx(known, rel=1e-14)
    with jax.disable_jit():
        assert solve(problem).value == pytest.approx(known, rel=1e-14)
