"""One contract for every problem, the definitions of the constructors, and what they refuse."""

import inspect
from functools import cache
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import sklearn.linear_model
from jax.flatten_util import ravel_pytree
from scipy.optimize import minimize

from sandbox import data, losses, problems
from sandbox.engine import solve
from sandbox.problems import analytic, dual, modules, networks, supervised
from sandbox.problems.problem import Facts, Problem, certify

NAMES = problems.names()
NETWORKS_SLOW = [pytest.param(n, marks=[pytest.mark.slow] * n.endswith(("mlp", "cnn"))) for n in NAMES]


@cache
def bare(name):
    return getattr(problems, name)()


def flat_loss(problem, key):
    """f, without what is infinite outside a feasible set, and a start, as functions of one float64 vector."""
    start, unravel = ravel_pytree(problem.init(key))
    return lambda x: problem.loss(unravel(x), problem.data, None), start


@cache
def oracle(name):
    """f and ∇f in one compiled function, and a start: one compilation serves the whole contract."""
    with jax.enable_x64(True):
        f, start = flat_loss(bare(name), jax.random.key(0))
        return jax.jit(jax.value_and_grad(f)), start


def sample(problem, start, count, seed=0):
    """Points of the domain, or around the start where there is none."""
    rng = np.random.default_rng(seed)
    if problem.facts.domain is None:
        return np.asarray(start) + rng.standard_normal((count, start.size))
    lower, upper = problem.facts.domain
    return rng.uniform(lower, upper, (count, start.size))


def test_the_names_are_all_the_factories_that_need_no_argument():
    bare_ones = {
        name
        for module in (analytic, supervised, dual, networks, modules)
        for name, f in vars(module).items()
        if inspect.isfunction(f) and f.__module__ == module.__name__ and not name.startswith("_")
        and inspect.signature(f).return_annotation is Problem
        and all(p.default is not p.empty for p in inspect.signature(f).parameters.values())
    }  # fmt: skip
    assert set(NAMES) == bare_ones
    assert all(hasattr(problems, name) for name in problems.__all__)


@pytest.mark.parametrize("name", NAMES)
def test_a_factory_says_what_it_is_in_one_line_and_takes_its_name(name):
    first, *_ = getattr(problems, name).__doc__.splitlines()
    assert first.endswith((".", ":")), first
    assert 20 < len(first) <= 115
    assert bare(name).name == name


@pytest.mark.parametrize("name", NETWORKS_SLOW)
def test_init_is_pure_the_loss_a_finite_scalar_and_lanes_are_the_problem_alone(name):
    problem = bare(name)
    start = lambda key: (problem.init(key), problem.objective(problem.init(key)))
    keys = jax.random.split(jax.random.key(3), 3)
    lanes, values = jax.jit(jax.vmap(start))(keys)
    assert values.dtype == jnp.float32
    assert np.isfinite(values).all()
    one = jax.jit(start)
    for k, key in enumerate(keys):
        params, value = one(key)
        assert value.shape == ()
        np.testing.assert_allclose(values[k], value, rtol=1e-5)
        # Bits belong to a width: a compiler takes the rest of an array by other instructions than its vectors.
        jax.tree.map(lambda lane, a, k=k: np.testing.assert_array_max_ulp(lane[k], a, 2), lanes, params)


@pytest.mark.parametrize("name", NETWORKS_SLOW)
def test_the_gradient_is_the_slope(name, x64):
    f, start = oracle(name)
    rng = np.random.default_rng(1)
    x, direction = start + 0.1 * rng.standard_normal(start.size), rng.standard_normal(start.size)
    direction /= np.linalg.norm(direction)
    h = 1e-5
    slope = (f(x + h * direction)[0] - f(x - h * direction)[0]) / (2 * h)
    gradient = f(x)[1]
    np.testing.assert_allclose(gradient @ direction, slope, rtol=1e-6, atol=1e-6 * np.linalg.norm(gradient))


@pytest.mark.parametrize("name", [n for n in NAMES if bare(n).facts.smoothness is not None])
def test_smoothness_and_strong_convexity_hold_between_points(name, x64):
    problem = bare(name)
    f, start = oracle(name)
    L, mu = problem.facts.smoothness, problem.facts.strong_convexity
    points = sample(problem, start, 20)
    gradients = [np.asarray(f(x)[1]) for x in points]
    for a, ga in zip(points, gradients, strict=True):
        for b, gb in zip(points, gradients, strict=True):
            assert np.linalg.norm(ga - gb) <= L * np.linalg.norm(a - b) * (1 + 1e-12)
            if problem.facts.convex:
                assert (ga - gb) @ (a - b) >= mu * np.sum((a - b) ** 2) * (1 - 1e-12) - 1e-12


@pytest.mark.parametrize("name", [n for n in NAMES if bare(n).facts.minimizers])
def test_each_minimizer_is_one(name, x64):
    problem = bare(name)
    f, start = oracle(name)
    for x in problem.facts.minimizers:
        value, gradient = f(x)
        steps = 1e-6 * np.eye(start.size)
        curvature = np.linalg.norm([(f(x + h)[1] - f(x - h)[1]) / 2e-6 for h in steps], 2)
        np.testing.assert_allclose(value, problem.facts.minimum, atol=1e-12)
        assert np.linalg.norm(gradient) <= 1e-8 * curvature


@pytest.mark.parametrize("name", [n for n in NAMES if bare(n).facts.minimum is not None])
def test_no_search_finds_anything_lower_or_another_minimizer(name, x64):
    problem = bare(name)
    f, start = oracle(name)
    known = problem.facts.minimizers
    for x in sample(problem, start, 40):
        end = minimize(f, x, jac=True, method="L-BFGS-B", options={"ftol": 0, "gtol": 1e-10})
        assert end.fun >= problem.facts.minimum - 1e-12
        if end.fun < problem.facts.minimum + 1e-14:
            assert min(np.linalg.norm(end.x - m) for m in known) < 1e-4


@pytest.mark.parametrize("name", [n for n in NAMES if not n.startswith(("digits", "diabetes", "breast"))])
def test_a_problem_without_a_minimum_is_unbounded(name, x64):
    problem = bare(name)
    if problem.facts.minimum is None:
        f, start = oracle(name)
        rays = np.random.default_rng(0).standard_normal((50, start.size))
        assert min(f(1e4 * ray)[0] for ray in rays) < -1e6


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in NAMES if bare(n).data is not None])
def test_gradients_of_batches_are_unbiased_and_follow_the_parameters_dtype(name, key):
    """The mean over a partition in equal batches is the whole, although every batch carries the penalty."""
    problem = bare(name)
    count = jax.tree.leaves(problem.data)[0].shape[0] // 4 * 4
    subset = jax.tree.map(lambda a: a[:count], problem.data)
    with jax.enable_x64(True):
        params = jax.tree.map(lambda a: a + 0.1, problem.init(key))
        grad = jax.jit(lambda batch: jax.grad(problem.objective)(params, batch))
        parts = [grad(jax.tree.map(lambda a, i=i: a[i::4], subset)) for i in range(4)]
        mean = jax.tree.map(lambda *g: sum(g) / 4, *parts)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), mean, grad(subset))
        single = jax.tree.map(lambda a: a.astype(jnp.float32), params)
        assert problem.objective(single).dtype == jnp.float32


@pytest.mark.parametrize("name", [n for n in NAMES if bare(n).data is not None])
def test_held_out_metrics(name, key):
    problem = bare(name)
    metrics = jax.jit(problem.evaluate)(problem.init(key))
    assert "loss" in metrics
    assert ("accuracy" in metrics) != ("r2" in metrics)
    assert all(np.isfinite(v) and np.shape(v) == () for v in metrics.values())


# Analytic functions


def test_the_bowl_of_the_story(key):
    problem = problems.bowl()
    np.testing.assert_array_equal(problem.init(key), [1, 1])
    value, gradient = jax.value_and_grad(problem.objective)(problem.init(key))
    assert value == 13
    np.testing.assert_array_equal(gradient, [-4, -6])


@pytest.mark.parametrize(("kappa", "dim"), [(1.0, 1), (1.0, 3), (10.0, 2), (1e6, 7)])
def test_a_quadratic_has_the_spectrum_that_was_asked_for(kappa, dim, x64):
    problem = problems.quadratic(kappa, dim)
    H = jax.jit(jax.hessian(problem.objective))(np.zeros(dim))
    np.testing.assert_allclose(H, np.diag(np.geomspace(1 / kappa, 1, dim)), rtol=1e-13)
    np.testing.assert_allclose(problem.facts.smoothness / problem.facts.strong_convexity, kappa, rtol=1e-15)


def test_a_condition_number_may_be_swept(x64):
    x = jnp.array([3.0, -1.0, 2.0])

    def at(kappa):
        problem = problems.quadratic(kappa, 3)
        return problem.objective(x), problem.facts.strong_convexity

    values, mus = jax.vmap(at)(jnp.array([4.0, 100.0]))
    np.testing.assert_allclose(values, [(9 / 4 + 1 / 2 + 4) / 2, (9 / 100 + 1 / 10 + 4) / 2], rtol=1e-14)
    np.testing.assert_allclose(mus, [1 / 4, 1 / 100], rtol=1e-15)


@pytest.mark.parametrize(("make", "start"), [(problems.rosenbrock, (-1.2, 1)), (problems.beale, (1, 1))])
def test_published_starts(make, start, key):
    np.testing.assert_array_equal(make().init(key), np.float32(start))


def test_rosenbrock_is_scipys(x64):
    from scipy.optimize import rosen

    x = np.random.default_rng(0).standard_normal(6)
    np.testing.assert_allclose(problems.rosenbrock(6).objective(jnp.asarray(x)), rosen(x), rtol=1e-13)


def test_himmelblau_has_four_minimizers_and_they_are_zeros():
    minimizers = np.array(problems.himmelblau().facts.minimizers)
    x, y = minimizers.T
    np.testing.assert_allclose((x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2, 0, atol=1e-27)
    assert min(np.linalg.norm(a - b) for i, a in enumerate(minimizers) for b in minimizers[:i]) > 1


def test_starts_in_the_domain_depend_on_the_key():
    lower, upper = problems.rastrigin(3).facts.domain
    starts = jax.vmap(problems.rastrigin(3).init)(jax.random.split(jax.random.key(0), 500))
    assert ((starts >= lower) & (starts <= upper)).all()
    np.testing.assert_allclose(starts.mean(0), 0, atol=5 * 10.24 / np.sqrt(12 * 500))
    np.testing.assert_allclose(starts.std(0), 10.24 / np.sqrt(12), rtol=0.1)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda: problems.quadratic(0.5), "condition_number=0.5: expected a finite number from 1 up"),
        (lambda: problems.quadratic(10.0, 1), "give dim ≥ 2"),
        (lambda: problems.rosenbrock(1), "dim=1: expected a whole number from 2 up"),
        (lambda: problems.rastrigin(2.5), "dim=2.5: expected"),
    ],
)
def test_impossible_functions_are_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        bad()


# Constructors from arrays


def regression_data(seed, n, d):
    rng = np.random.default_rng(seed)
    return 3 * rng.standard_normal((n, d)) + 1, 5 * rng.standard_normal(n) + 2, rng


OBJECTIVES = {  # as DESIGN writes them, in NumPy
    "least_squares": (lambda X, y: problems.least_squares(X, y), 0.0, 0.0),
    "ridge": (lambda X, y: problems.ridge(X, y, 0.3), 0.0, 0.3),
    "lasso": (lambda X, y: problems.lasso(X, y, 0.7), 0.7, 0.0),
    "elastic_net": (lambda X, y: problems.elastic_net(X, y, 0.7, 0.3), 0.7, 0.3),
}


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize(("n", "d"), [(1, 1), (9, 4), (3, 5)])
def test_regression_objectives(name, n, d, x64):
    make, l1, l2 = OBJECTIVES[name]
    X, y, rng = regression_data(n, n, d)
    w, b = rng.standard_normal(d), rng.standard_normal()
    expected = np.sum((y - X @ w - b) ** 2) / (2 * n) + l1 * np.abs(w).sum() + l2 / 2 * (w @ w)
    problem = make(X, y)
    np.testing.assert_allclose(jax.jit(problem.objective)({"w": w, "b": b}), expected, rtol=1e-13)
    assert (problem.penalty is None) == (l1 == 0)


@pytest.mark.parametrize("labels", [(0, 1), (-1, 1), (7, 3), ("malignant", "benign"), (False, True), (1.5, -2.0)])
def test_logistic_objective_for_any_two_labels(labels, x64):
    X, _, rng = regression_data(0, 8, 3)
    y = np.array(labels)[np.arange(8) % 2]
    t = np.where(y == max(labels), 1, -1)
    w, b = rng.standard_normal(3), rng.standard_normal()
    expected = np.logaddexp(0, -t * (X @ w + b)).mean() + 0.3 / 2 * w @ w
    problem = problems.logistic(X, y, 0.3)
    params = {"w": jnp.asarray(w), "b": jnp.asarray(b)}
    np.testing.assert_allclose(problem.objective(params), expected, rtol=1e-13)
    sparse = problems.logistic(X, y, 0.3, 0.2)
    np.testing.assert_allclose(sparse.objective(params), expected + 0.2 * np.abs(w).sum(), rtol=1e-13)
    np.testing.assert_allclose(sparse.loss(params, sparse.data, None), expected, rtol=1e-13)


@pytest.mark.parametrize("labels", [(0, 1, 2), ("a", "c", "b"), (-1.0, 0.5, 9.0)])
def test_softmax_objective_for_any_labels(labels, x64):
    X, _, rng = regression_data(0, 9, 4)
    y = np.array(labels)[np.arange(9) % 3]
    k = np.searchsorted(sorted(labels), y)
    W, b = rng.standard_normal((3, 4)), rng.standard_normal(3)
    Z = X @ W.T + b
    expected = np.mean(np.log(np.exp(Z).sum(1)) - Z[np.arange(9), k]) + 0.3 / 2 * np.sum(W**2)
    problem = problems.softmax(X, y, 0.3)
    np.testing.assert_allclose(problem.objective({"w": jnp.asarray(W), "b": jnp.asarray(b)}), expected, rtol=1e-13)
    assert jax.tree.map(jnp.shape, problem.init(None)) == {"w": (3, 4), "b": (3,)}


CURVED = {
    "ridge": (lambda X, y, **o: problems.ridge(X, y, 0.3, **o), True),
    "least_squares": (lambda X, y, **o: problems.least_squares(X, y, **o), True),
    "logistic": (lambda X, y, **o: problems.logistic(X, y > 2, 0.3, **o), False),
    "softmax": (lambda X, y, **o: problems.softmax(X, np.digitize(y, [0, 4]), 0.3, **o), False),
}


@pytest.mark.parametrize("name", CURVED)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(("n", "d"), [(40, 3), (6, 9)])
def test_constants_are_the_extreme_curvatures(name, fit_intercept, n, d, x64):
    """Exact for squares; for the others bounds on every Hessian, and attained by the logistic one at 0."""
    make, exact = CURVED[name]
    X, y, rng = regression_data(1, n, d)
    problem = make(X, y, fit_intercept=fit_intercept)
    f, start = flat_loss(problem, None)
    L, mu = problem.facts.smoothness, problem.facts.strong_convexity
    points = np.outer([0, 0.1, 1, 10, 1e3], rng.standard_normal(start.size))
    spectra = np.linalg.eigvalsh(jax.jit(jax.vmap(jax.hessian(f)))(points))
    assert max(s[-1] for s in spectra) <= L * (1 + 1e-12)
    assert min(s[0] for s in spectra) >= mu - 1e-12 * L
    if exact:
        np.testing.assert_allclose([mu, L], spectra[0][[0, -1]], rtol=1e-9, atol=1e-13 * L)
    if name == "logistic":
        np.testing.assert_allclose(L, spectra[0][-1], rtol=1e-12)
    if not exact:
        assert mu == (0 if fit_intercept else 0.3)
    if name == "least_squares" and n < d:
        assert mu == 0


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_penalties_may_be_swept_with_their_constants(fit_intercept, x64):
    X, y, rng = regression_data(3, 20, 3)
    strengths = jnp.array([0.0, 0.1, 2.0])
    w = rng.standard_normal(3)
    params = {"w": w, "b": 0.5} if fit_intercept else {"w": w}

    def at(make, strength):
        problem = make(strength)
        return problem.objective(params), problem.facts.smoothness, problem.facts.strong_convexity

    makers = [
        lambda s: problems.ridge(X, y, s, fit_intercept=fit_intercept),
        lambda s: problems.elastic_net(X, y, s, s, fit_intercept=fit_intercept),
        lambda s: problems.logistic(X, y > 2, s, s, fit_intercept=fit_intercept),
        lambda s: problems.softmax(X, y > 2, s, fit_intercept=fit_intercept),
    ]
    for make in makers[:3]:
        swept = jax.vmap(lambda s, make=make: at(make, s))(strengths)
        alone = np.array([at(make, float(s)) for s in strengths])
        np.testing.assert_allclose(np.stack(swept, 1), alone, rtol=1e-10, atol=1e-12)
    L = jax.vmap(lambda s: makers[3](s).facts.smoothness)(strengths)
    np.testing.assert_allclose(L, [makers[3](float(s)).facts.smoothness for s in strengths], rtol=1e-12)


def test_sparse_is_dense_and_what_is_kept_is_a_read_only_copy():
    X, y, _ = regression_data(0, 6, 3)
    X[X < 0] = 0
    for container in (scipy.sparse.csr_matrix, scipy.sparse.coo_array, list, jnp.asarray, np.float32):
        kept = problems.ridge(container(X), list(y), 0.1).data
        np.testing.assert_allclose(kept.X, X, rtol=1e-6)
        assert kept.X.dtype == kept.y.dtype == np.float64
        with pytest.raises(ValueError, match="read-only"):
            kept.X[0] = 0
    problem = problems.ridge(X, y, 0.1)
    X[0, 0] = 99
    assert problem.data.X[0, 0] != 99


def test_the_same_problem_is_exact_in_double_precision_and_works_in_single():
    X, y, _ = regression_data(0, 30, 4)
    problem = problems.ridge(X, y, 0.1)
    single = problem.objective(problem.init(None))
    assert single.dtype == jnp.float32
    with jax.enable_x64(True):
        double = problem.objective(problem.init(None))
    np.testing.assert_allclose(double, np.mean(y**2) / 2, rtol=1e-15)
    np.testing.assert_allclose(single, double, rtol=1e-6)


def test_evaluate_is_scikit_learns_score(x64):
    d = data.load_diabetes()
    fitted = sklearn.linear_model.Ridge(1.0).fit(d.X, d.y)
    params = {"w": fitted.coef_, "b": fitted.intercept_}
    metrics = problems.ridge(d.X, d.y, 0.1, X_test=d.X_test, y_test=d.y_test).evaluate(params)
    np.testing.assert_allclose(metrics["r2"], fitted.score(d.X_test, d.y_test), rtol=1e-12)
    np.testing.assert_allclose(metrics["loss"], np.mean((fitted.predict(d.X_test) - d.y_test) ** 2) / 2, rtol=1e-12)
    w = data.load_wine()
    fitted = sklearn.linear_model.LogisticRegression(C=1e-3).fit(w.X, w.y)
    params = {"w": fitted.coef_, "b": fitted.intercept_}
    metrics = problems.softmax(w.X, w.y, 0.1, X_test=w.X_test, y_test=w.y_test).evaluate(params)
    np.testing.assert_allclose(metrics["accuracy"], fitted.score(w.X_test, w.y_test), rtol=1e-12)
    np.testing.assert_allclose(metrics["loss"], -np.log(fitted.predict_proba(w.X_test)[range(36), w.y_test]).mean())


def test_without_an_intercept_there_is_none():
    X, y, _ = regression_data(0, 6, 3)
    for problem in (problems.ridge(X, y, 1.0, fit_intercept=False), problems.lasso(X, y, 1.0, fit_intercept=False)):
        assert set(problem.init(None)) == {"w"}
        assert problem.structure.fit_intercept is False


HOLE = np.array([[1.0, 2.0], [3.0, np.nan], [5.0, 6.0]])
FULL = np.arange(6.0).reshape(3, 2)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda: problems.ridge(HOLE, [1, 2, 3], 0.1), "X holds nan in row 1; expected finite numbers"),
        (lambda: problems.ridge(FULL, [1, 2, np.inf], 0.1), "y holds inf in row 2"),
        (lambda: problems.ridge(FULL, [1, 2], 0.1), r"y has shape \(2,\); expected \(3,\)"),
        (lambda: problems.ridge(FULL, np.ones((3, 1)), 0.1), r"y has shape \(3, 1\); expected \(3,\)"),
        (lambda: problems.ridge(FULL[0], [1, 2], 0.1), r"X has shape \(2,\); expected \(examples, features\)"),
        (lambda: problems.ridge(FULL[:0], [], 0.1), r"X has shape \(0, 2\)"),
        (lambda: problems.ridge([["a", "b"]], [1], 0.1), "X is not an array of real numbers"),
        (lambda: problems.ridge(FULL, ["a", "b", "c"], 0.1), "y is not an array of real numbers"),
        (lambda: problems.ridge(FULL, [1, 2, 3], -0.1), "l2=-0.1: expected a finite number from 0 up"),
        (lambda: problems.lasso(FULL, [1, 2, 3], np.nan), "l1=nan: expected"),
        (lambda: problems.logistic(FULL, [1, 1, 1], 0.1), "only the label 1; expected at least 2"),
        (lambda: problems.logistic(FULL, [1, 2, 3], 0.1), "3 distinct labels; expected 2, softmax takes more"),
        (lambda: problems.logistic(FULL, [1.0, np.nan, 0.0], 0.1), "y holds nan in row 1"),
        (lambda: problems.softmax(FULL, ["a", "a", "a"], 0.1), "only the label a"),
        (lambda: problems.ridge(FULL, [1, 2, 3], 0.1, X_test=FULL), "come together"),
        (lambda: problems.ridge(FULL, [1, 2, 3], 0.1, X_test=FULL[:, :1], y_test=[1, 2, 3]), r"expected \(m, 2\)"),
        (lambda: problems.softmax(FULL, [1, 2, 3], 0.1, X_test=FULL, y_test=[1, 2, 4]), "the label 4 in row 2"),
    ],
)
def test_bad_data_is_refused_with_one_line(bad, message):
    with pytest.raises(ValueError, match=message) as caught:
        bad()
    assert "\n" not in str(caught.value)


# The record


def test_a_loss_may_leave_out_what_it_does_not_need(key):
    one = Problem("a", init=lambda key: jnp.ones(2), loss=lambda p: jnp.sum(p))
    two = Problem("b", init=one.init, loss=lambda p, batch: jnp.sum(p) * batch, data=3.0)
    three = Problem("c", init=one.init, loss=lambda p, batch, key: jax.random.normal(key))
    assert (one.objective(jnp.ones(2)), two.objective(jnp.ones(2)), two.objective(jnp.ones(2), 5.0)) == (2, 6, 10)
    assert three.objective(jnp.ones(2), None, key) == jax.random.normal(key)


def test_only_a_converged_solution_of_what_may_be_convex_is_a_certificate():
    good = SimpleNamespace(status="converged", value=1.5, params={"w": 2.0})
    facts = certify(problems.diabetes_ridge(), good).facts
    assert facts.minimum == 1.5
    assert facts.minimizers == ({"w": 2.0},)
    assert facts.smoothness == problems.diabetes_ridge().facts.smoothness
    with pytest.raises(ValueError, match="only a converged solution is a certificate, this one is 'failed'"):
        certify(problems.diabetes_ridge(), SimpleNamespace(status="failed"))
    with pytest.raises(ValueError, match="digits_mlp is not convex"):
        certify(problems.digits_mlp(), good)
    assert Facts().minimum is None


# Networks


def test_the_digits_network_is_its_layers(key, x64):
    problem = problems.digits_mlp(hidden=(7, 5), activation="tanh")
    params = jax.tree.map(np.asarray, problem.init(key))
    digits = data.load_digits()
    h = digits.X
    for layer in params[:-1]:
        h = np.tanh(h @ layer["w"].T + layer["b"])
    Z = h @ params[-1]["w"].T + params[-1]["b"]
    expected = np.mean(np.log(np.exp(Z).sum(1)) - Z[np.arange(len(Z)), digits.y])
    np.testing.assert_allclose(problem.objective(params), expected, rtol=1e-12)


def iris():
    d = data.load_iris()
    return {"X": d.X, "y": d.y, "loss": losses.softmax_cross_entropy, "X_test": d.X_test, "y_test": d.y_test}


def linen_mlp():
    import flax.linen as nn

    return nn.Sequential([nn.Dense(5), nn.tanh, nn.Dense(3)])


def noisy_module(momentum=0.9, rate=0.4):
    import flax.linen as nn

    class Noisy(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            x = nn.BatchNorm(use_running_average=not train, momentum=momentum)(nn.Dense(6)(x))
            x = nn.BatchNorm(use_running_average=not train, momentum=momentum)(nn.Dense(5)(nn.tanh(x)))
            return nn.Dense(3)(nn.Dropout(rate, deterministic=not train)(x))

    return Noisy()


def nnx_mlp(rngs):
    from flax import nnx

    return nnx.Sequential(nnx.Linear(4, 5, rngs=rngs), nnx.tanh, nnx.Linear(5, 3, rngs=rngs))


@pytest.mark.parametrize("kind", ["nnx", pytest.param("linen", marks=pytest.mark.slow)])
def test_a_flax_network_is_its_layers(kind, key):
    problem = problems.from_flax(linen_mlp() if kind == "linen" else nnx_mlp, **iris())
    params = problem.init(key)
    layers = list(params.values()) if kind == "linen" else list(params["layers"].values())
    assert [layer["kernel"].shape for layer in layers] == [(4, 5), (5, 3)]

    def by_hand(X, y):
        Z = np.tanh(X @ layers[0]["kernel"] + layers[0]["bias"]) @ layers[1]["kernel"] + layers[1]["bias"]
        return np.mean(np.log(np.exp(Z).sum(1)) - Z[np.arange(len(Z)), y]), np.mean(Z.argmax(1) == y)

    d = iris()
    np.testing.assert_allclose(jax.jit(problem.objective)(params), by_hand(d["X"], d["y"])[0], rtol=1e-5)
    metrics = jax.jit(problem.evaluate)(params)
    np.testing.assert_allclose([metrics["loss"], metrics["accuracy"]], by_hand(d["X_test"], d["y_test"]), rtol=1e-5)
    other = problem.init(jax.random.key(9))
    assert not np.array_equal(ravel_pytree(params)[0], ravel_pytree(other)[0])
    assert jax.tree.structure(jax.grad(problem.objective)(params)) == jax.tree.structure(params)


def test_an_nnx_module_that_is_given_built_is_where_runs_start(key):
    from flax import nnx

    module = nnx_mlp(nnx.Rngs(3))
    problem = problems.from_flax(module, **iris())
    np.testing.assert_array_equal(problem.init(key)["layers"][0]["kernel"], module.layers[0].kernel[...])


def test_dropout_draws_from_the_key_of_the_loss(key):
    problem = problems.from_flax(noisy_module(), **iris())
    params = problem.init(key)
    value = jax.jit(lambda k: problem.objective(params, None, jax.random.key(k)))
    assert value(1) == value(1) != value(2)
    assert set(params) == {"Dense_0", "Dense_1", "Dense_2", "BatchNorm_0", "BatchNorm_1"}


@pytest.mark.slow
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.99])
def test_batch_statistics_are_those_of_the_batch_in_the_loss_and_of_all_training_data_in_evaluate(momentum, key):
    d = iris()
    problem = problems.from_flax(noisy_module(momentum, rate=0.0), **d)
    params = jax.tree.map(lambda a: a + 0.1, problem.init(key))
    layer = lambda h, name: h @ params[name]["kernel"] + params[name]["bias"]

    def by_hand(X, reference):
        """The scores of X, normalised by the moments that `reference` has at each layer."""
        for k, (dense, norm) in enumerate((("Dense_0", "BatchNorm_0"), ("Dense_1", "BatchNorm_1"))):
            X, reference = (layer(np.tanh(h) if k else h, dense) for h in (X, reference))
            mean, scale = reference.mean(0), params[norm]["scale"] / np.sqrt(reference.var(0) + 1e-5)
            X, reference = ((h - mean) * scale + params[norm]["bias"] for h in (X, reference))
        return layer(X, "Dense_2")

    cost = lambda Z, y: np.mean(np.log(np.exp(Z).sum(1)) - Z[np.arange(len(Z)), y])
    batch = jax.tree.map(lambda a: a[:20], problem.data)
    np.testing.assert_allclose(
        jax.jit(problem.objective)(params, batch), cost(by_hand(batch.X, batch.X), batch.y), rtol=1e-4
    )
    held_out = cost(by_hand(d["X_test"], d["X"]), d["y_test"])
    np.testing.assert_allclose(jax.jit(problem.evaluate)(params)["loss"], held_out, rtol=1e-4)


def test_modules_that_cannot_be_run_purely_are_refused():
    from flax import nnx

    dropping = lambda rngs: nnx.Sequential(nnx.Linear(4, 3, rngs=rngs), nnx.Dropout(0.1, rngs=rngs))
    with pytest.raises(ValueError, match=r"keeps state in .*expected nnx.Param only, or a linen module"):
        problems.from_flax(dropping, **iris())
    with pytest.raises(ValueError, match="int is not a flax module"):
        problems.from_flax(3, **iris())
    with pytest.raises(ValueError, match="X has 120 rows and y 5; expected as many"):
        problems.from_flax(linen_mlp(), **(iris() | {"y": np.zeros(5)}))
    with pytest.raises(ValueError, match="X holds nan in row 0"):
        problems.from_flax(linen_mlp(), **(iris() | {"X": np.full((120, 4), np.nan)}))


def test_data_with_a_nan_is_refused_by_name_and_row():
    X = np.ones((4, 2))
    X[2, 1] = np.nan
    with pytest.raises(ValueError, match="mine: data X has a NaN or an infinity in row 2"):
        problems.Problem("mine", lambda key: jnp.zeros(2), lambda p, batch: jnp.sum(batch["X"] @ p), data={"X": X})


def test_a_network_with_a_linear_output_is_least_squares_of_its_layers(key, x64):
    X, y = np.random.default_rng(0).normal(size=(12, 3)), np.arange(12.0)
    problem = problems.mlp_regression(X, y, (5,), "tanh", X_test=X[:4], y_test=y[:4])
    params = jax.tree.map(lambda a: a + 0.1, problem.init(key))
    first, last = (jax.tree.map(np.asarray, layer) for layer in params)
    output = last["w"] @ np.tanh(first["w"] @ X.T + first["b"][:, None]) + last["b"][:, None]
    value, held_out = jax.jit(lambda x: (problem.objective(x), problem.evaluate(x)))(params)
    np.testing.assert_allclose(value, np.mean((output - y) ** 2) / 2, rtol=1e-12)
    r2 = 1 - np.sum((output[0, :4] - y[:4]) ** 2) / np.sum((y[:4] - y[:4].mean()) ** 2)
    np.testing.assert_allclose(held_out["r2"], r2, rtol=1e-12)


@pytest.mark.slow
def test_a_network_without_hidden_layers_is_linear_regression():
    problem = problems.mlp_regression(*data.load_diabetes()[:2], hidden=())
    assert solve(problem).value == pytest.approx(solve(problems.diabetes_linear()).value, rel=1e-9)


@pytest.mark.slow
def test_shifted_pictures_are_the_mean_over_all_places_and_themselves_without_a_key():
    rng = np.random.default_rng(0)
    X, y = rng.random((3, 4, 5)), np.array([0, 1, 1])
    problem = problems.cnn(X, y, (2,))
    moved, params = problems.shifted(problem), problem.init(jax.random.key(1))
    look, without_key = (
        jax.jit(lambda pictures, p=p: p.loss(params, p.data._replace(X=pictures), None)) for p in (problem, moved)
    )
    assert float(without_key(X)) == float(look(X))
    big = np.pad(X, ((0, 0), (1, 1), (1, 1)))
    places = [big[:, i : i + 4, j : j + 5] for i in range(3) for j in range(3)]
    each = [float(look(place)) for place in places]
    draw = jax.jit(jax.vmap(lambda key: moved.loss(params, moved.data, key)))
    drawn = np.asarray(draw(jax.random.split(jax.random.key(0), 4000)))
    assert len(np.unique(drawn)) > 100  # every picture has a place of its own
    assert abs(drawn.mean() - np.mean(each)) < 4 * drawn.std() / np.sqrt(len(drawn))
    still = problems.shifted(problem, 0)
    assert float(jax.jit(still.loss)(params, still.data, jax.random.key(0))) == each[4]


def test_what_cannot_be_shifted_is_said():
    with pytest.raises(ValueError, match="no pictures"):
        problems.shifted(problems.digits_mlp())
    with pytest.raises(ValueError, match="reach=-1"):
        problems.shifted(problems.digits_cnn(), -1)


@pytest.mark.parametrize("more", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (0, 5))])
def test_a_large_batch_in_pieces_has_the_value_and_slope_of_all_at_once(monkeypatch, x64, more):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12 + more, 4, 4)), rng.integers(3, size=12 + more)
    problem = problems.cnn(X, y, (2,), X_test=X, y_test=y)
    params = problem.init(jax.random.key(0))
    look = lambda: jax.jit(lambda x: (jax.value_and_grad(problem.objective)(x), problem.evaluate(x)))(params)
    whole = look()
    monkeypatch.setattr("sandbox.problems.networks.PIECE", 6)
    pieces = look()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14), pieces, whole)
