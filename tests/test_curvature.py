"""Curvature: products are those of the dense matrix, Lanczos sees what is there and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.sparse import diags
from scipy.sparse.linalg import eigsh

from sandbox import landscape, losses, optimizers, problems
from sandbox.engine import run
from sandbox.problems import Problem

EPS = float(np.finfo(np.float32).eps)
RNG = np.random.default_rng
KEY = jax.random.key(0)


def matrix(product, like):
    """All columns of what a product multiplies by."""
    vector, unravel = ravel_pytree(like)
    columns = jax.jit(jax.vmap(lambda e: ravel_pytree(product(unravel(e)))[0]))(jnp.eye(vector.size))
    return np.asarray(columns).T


def symmetric(n, seed=0, dtype=float):
    root = RNG(seed).normal(size=(n, n))
    return ((root + root.T) / 2).astype(dtype)


def pairs(H, *args, **options):
    """Eigenpairs of a matrix, compiled with it as an argument."""
    like = jnp.zeros(len(H), H.dtype)
    return jax.jit(lambda H: landscape.eigenpairs(lambda v: H @ v, like, *args, key=KEY, **options))(H)


def test_hessian_of_a_linear_regression(x64):
    """XᵀX/n + l2 I, also in batches that do not divide the examples."""
    X, y = RNG(0).normal(size=(11, 4)), RNG(1).normal(size=11)
    problem = problems.ridge(X, y, 0.3, fit_intercept=False)
    params = {"w": jnp.asarray(RNG(2).normal(size=4))}
    known = X.T @ X / 11 + 0.3 * np.eye(4)
    np.testing.assert_allclose(matrix(landscape.hessian(problem, params), params), known, atol=1e-13)
    for size in (3, 11):
        found = matrix(landscape.hessian(problem, params, batch_size=size), params)
        np.testing.assert_allclose(found, known, atol=1e-13)


def test_hessian_of_logistic_regression(x64):
    """Xᵀ diag(p(1 − p)) X / n."""
    X, y = RNG(3).normal(size=(9, 3)), np.arange(9) % 2
    params = {"w": jnp.asarray(RNG(4).normal(size=3))}
    p = 1 / (1 + np.exp(-X @ params["w"]))
    found = matrix(landscape.hessian(problems.logistic(X, y, 0.0, fit_intercept=False), params), params)
    np.testing.assert_allclose(found, X.T @ np.diag(p * (1 - p)) @ X / 9, atol=1e-13)


@pytest.mark.slow
def test_hessian_of_softmax_regression(x64):
    """mean (diag p − ppᵀ) ⊗ xxᵀ, of rank (C − 1) d; and Gauss-Newton is the Hessian, the scores being linear."""
    X, classes, d = RNG(5).normal(size=(20, 3)), 4, 3
    y = np.arange(20) % classes
    weights = jnp.asarray(RNG(6).normal(size=(classes, d)))
    scores = lambda W: jnp.asarray(X) @ W.T
    loss = lambda z: jnp.mean(jax.vmap(losses.softmax_cross_entropy)(z, jax.nn.one_hot(y, classes, dtype=z.dtype)))
    p = np.asarray(jax.nn.softmax(scores(weights)))
    known = np.mean([np.kron(np.diag(q) - np.outer(q, q), np.outer(x, x)) for q, x in zip(p, X, strict=True)], axis=0)
    full = matrix(landscape.hessian(lambda W: loss(scores(W)), weights), weights)
    np.testing.assert_allclose(full, known, atol=1e-13)
    np.testing.assert_allclose(matrix(landscape.gauss_newton(scores, loss, weights), weights), known, atol=1e-13)
    values = np.linalg.eigvalsh(full)
    assert np.sum(values > 1e-10 * values[-1]) == (classes - 1) * d


@pytest.mark.slow
def test_gauss_newton_of_a_network_is_positive_and_the_hessian_is_not(x64):
    X, y = RNG(7).normal(size=(8, 2)), jnp.asarray(RNG(8).normal(size=8))
    problem = problems.mlp_regression(X, y, (4,), "tanh")
    params = problem.init(KEY)
    model = lambda p: jnp.tanh(X @ p[0]["w"].T + p[0]["b"]) @ p[1]["w"][0] + p[1]["b"]
    loss = lambda z: jnp.mean((z - y) ** 2) / 2
    vector, unravel = ravel_pytree(params)
    jacobian = jax.jacobian(lambda v: model(unravel(v)))(vector)
    found = matrix(landscape.gauss_newton(model, loss, params), params)
    np.testing.assert_allclose(found, jacobian.T @ jacobian / 8, atol=1e-13)
    assert np.linalg.eigvalsh(found)[0] > -1e-14
    full = matrix(landscape.hessian(problem, params), params)
    np.testing.assert_allclose(full, jax.hessian(lambda v: problem.objective(unravel(v)))(vector), atol=1e-13)
    assert np.linalg.eigvalsh(full)[0] < -1e-3


@pytest.mark.slow
def test_batches_of_a_network_give_the_product_with_all_data():
    problem = problems.digits_mlp(hidden=(4,))
    params, v = problem.init(KEY), problem.init(jax.random.key(1))
    whole, parts = (ravel_pytree(landscape.hessian(problem, params, batch_size=b)(v))[0] for b in (None, 100))
    np.testing.assert_allclose(parts, whole, atol=1e-6 * float(jnp.linalg.norm(whole)))


def test_a_preconditioned_product(x64):
    H, P = symmetric(5), jnp.asarray(RNG(1).uniform(0.5, 2, 5))
    found = matrix(landscape.preconditioned(lambda v: H @ v, P), P)
    np.testing.assert_allclose(found, H / np.sqrt(np.outer(P, P)), atol=1e-13)


def test_lanczos_breaks_down_and_stops():
    """Of cI it sees c alone, of rank r at most r + 1 values, of two distinct ones two."""
    draw = jnp.asarray(RNG(0).normal(size=50), jnp.float32)
    U = np.linalg.qr(RNG(1).normal(size=(50, 3)))[0].astype(np.float32)
    known = np.array([-2.0, 1.0, 5.0], np.float32)

    @jax.jit
    def found(draw, c, U):
        some = landscape.lanczos(lambda v: U @ (known * (U.T @ v)), draw, steps=12)
        return landscape.lanczos(lambda v: c * v, draw, steps=12), some

    same, some = found(draw, 3.5, U)
    assert int(same.live) == 1
    np.testing.assert_allclose(same.values[0], 3.5, rtol=4 * EPS)
    assert np.isnan(same.values[1:]).all()
    assert not same.weights[1:].any()
    assert int(some.live) == 4
    np.testing.assert_allclose(some.values[:4], [-2, 0, 1, 5], atol=20 * EPS)
    np.testing.assert_allclose(some.weights[jnp.array([0, 2, 3])], (U.T @ draw) ** 2 / (draw @ draw), rtol=1e-3)
    np.testing.assert_allclose(some.basis[:4] @ some.basis[:4].T, np.eye(4), atol=10 * EPS)


@pytest.mark.slow
def test_lanczos_of_two_hundred_thousand_in_single_precision():
    """Three values far from the rest of a diagonal matrix, and no ghosts: each is found once."""
    n = 200_000
    diagonal = np.concatenate([[9.0, 7.0, -6.0], RNG(0).uniform(-1, 1, n - 3)]).astype(np.float32)
    draw = jnp.asarray(RNG(1).normal(size=n), jnp.float32)
    found = jax.jit(lambda d, draw: landscape.lanczos(lambda v: d * v, draw, steps=60))(diagonal, draw)
    assert int(found.live) == 60
    values = np.asarray(found.values)
    np.testing.assert_allclose(values[[-1, -2, 0]], [9, 7, -6], atol=1e-6 * 9)
    assert (np.abs(values[1:-2]) < 1 + 1e-5).all()
    ends = jax.jit(lambda d: landscape.eigenpairs(lambda v: d * v, draw, 2, 1, key=KEY))(diagonal)
    np.testing.assert_allclose(ends.values, [9, 7, -6], atol=1e-6 * 9)


@pytest.mark.parametrize("n", [1, 2, 25, pytest.param(300, marks=pytest.mark.slow)])
def test_the_ends_are_those_of_eigh(n):
    """To 1e-6 of ‖A‖ in single precision; the pairs satisfy A v = λ v."""
    H = symmetric(n, dtype=np.float32)
    largest, smallest = min(3, n - n // 2), min(2, n // 2)
    found = pairs(H, largest, smallest)
    values = np.linalg.eigvalsh(H.astype(float))
    known = np.concatenate([values[::-1][:largest], values[:smallest][::-1]])
    norm = np.abs(values).max()
    np.testing.assert_allclose(found.values, known, atol=1e-6 * norm)
    np.testing.assert_allclose(found.vectors @ found.vectors.T, np.eye(len(known)), atol=1e-5)
    gone = found.vectors @ H - found.values[:, None] * found.vectors
    np.testing.assert_allclose(np.linalg.norm(gone, axis=1), found.residuals, atol=1e-6 * norm)
    lengths = np.linalg.norm(np.asarray(found.vectors, float), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-6)
    assert (found.residuals <= 5e-6 * norm).all()


@pytest.mark.slow
def test_the_ends_of_two_thousand_are_those_of_eigh_in_single_precision():
    X = RNG(0).normal(size=(4000, 2000)).astype(np.float32)
    H = X.T @ X / 4000
    found, values = pairs(H, 10, 1), np.linalg.eigvalsh(H.astype(float))
    np.testing.assert_allclose(found.values, np.append(values[::-1][:10], values[0]), atol=1e-6 * values[-1])


@pytest.mark.slow
def test_the_ends_of_twenty_thousand_are_those_of_arpack():
    """The second difference with a random potential."""
    n = 20_000
    potential = RNG(0).uniform(0, 4, n).astype(np.float32)

    def product(v):
        return potential * v + 2 * v - jnp.pad(v[1:], (0, 1)) - jnp.pad(v[:-1], (1, 0))

    found = jax.jit(lambda: landscape.eigenpairs(product, jnp.zeros(n), 3, key=KEY))()
    A = diags([-np.ones(n - 1), 2 + potential.astype(float), -np.ones(n - 1)], [-1, 0, 1])
    known = np.sort(eigsh(A, 3, which="LA", return_eigenvectors=False))[::-1]
    np.testing.assert_allclose(found.values, known, atol=1e-6 * known[0])


@pytest.mark.parametrize("scale", [1e-30, 1e25])
def test_the_scale_of_a_matrix_is_that_of_its_spectrum(scale):
    """Also where the squares of its entries are 0 or infinite in single precision; so it is with the start."""
    H = symmetric(25, dtype=np.float32)
    known = np.linalg.eigvalsh(H.astype(float))
    norm = np.abs(known).max()
    found = pairs(np.float32(scale) * H, 3, 2, start=np.full(25, scale, np.float32))
    np.testing.assert_allclose(found.values / scale, np.r_[known[:-4:-1], known[1::-1]], atol=1e-6 * norm)
    assert (found.residuals > 0).all()
    assert (found.residuals / scale <= 5e-6 * norm).all()
    np.testing.assert_allclose(found.vectors @ found.vectors.T, np.eye(5), atol=1e-5)
    spread = lambda H, draw: landscape.lanczos(lambda v: H @ v, draw, steps=25)
    draw = jnp.asarray(RNG(1).normal(size=25), jnp.float32)
    some = jax.jit(spread)(np.float32(scale) * H, np.float32(scale) * draw)
    np.testing.assert_allclose(some.values / scale, known, atol=2e-6 * norm)
    np.testing.assert_allclose(some.weights, jax.jit(spread)(H, draw).weights, atol=1e-3)
    few = jax.jit(lambda c: landscape.lanczos(lambda v: c * v, draw, steps=3))(np.float32(scale))
    assert int(few.live) == 1
    np.testing.assert_allclose(few.values[0] / scale, 1, rtol=4 * EPS)


def test_repeated_eigenvalues_and_none_are_found():
    """Of cI all are c, of rank one all but one are 0, of 0 all are 0; NaN stays NaN."""
    found = jax.jit(lambda H: landscape.eigenpairs(lambda v: H @ v, jnp.zeros(6), 3, 1, key=KEY))
    np.testing.assert_allclose(found(2.5 * np.eye(6, dtype=np.float32)).values, [2.5] * 4, rtol=8 * EPS)
    np.testing.assert_allclose(found(np.ones((6, 6), np.float32)).values, [6, 0, 0, 0], atol=40 * EPS)
    assert not found(np.zeros((6, 6), np.float32)).values.any()
    assert np.isnan(found(np.full((6, 6), np.nan, np.float32)).values).all()


def test_lanes_are_each_their_own():
    """Under vmap, where some have converged and others have not."""
    H = np.stack([symmetric(40, seed, np.float32) for seed in (0, 1)] + [np.eye(40, dtype=np.float32)])
    found = jax.jit(jax.vmap(lambda H: landscape.eigenpairs(lambda v: H @ v, jnp.zeros(40), 2, key=KEY).values))(H)
    known = np.linalg.eigvalsh(H.astype(float))[:, :-3:-1]
    np.testing.assert_allclose(found, known, atol=1e-5)


@pytest.mark.slow
def test_a_known_direction_saves_products(x64):
    H = symmetric(60)
    vector = np.linalg.eigh(H)[1][:, -1]
    cold, warm = (pairs(H, basis=8, start=start) for start in (None, vector + 1e-6))
    np.testing.assert_allclose(cold.values, warm.values, rtol=1e-9)
    assert int(warm.products) < int(cold.products)


def test_along_a_path_of_a_quadratic_that_grows(x64):
    """At x the Hessian of Σ hᵢ xᵢ⁴/12 is diag(h x²)."""
    h, path = np.arange(1.0, 9), np.outer([0.5, 1.0, 3.0], np.ones(8))
    f = lambda x: jnp.sum(h * x["x"] ** 4) / 12
    along = lambda path: landscape.eigenpairs_along(f, {"x": path}, 2, 1, key=KEY)
    found = jax.jit(along)(path)
    np.testing.assert_allclose(found.values, np.outer([0.25, 1, 9], [8, 7, 1]), rtol=1e-10)
    np.testing.assert_allclose(np.abs(found.vectors["x"][:, 0, 7]), 1, rtol=1e-9)


@pytest.mark.slow
def test_half_precision_is_computed_in_single():
    like = {"a": jnp.zeros(3, jnp.bfloat16), "b": jnp.zeros(2)}
    product = lambda v: {"a": 2 * v["a"], "b": 3 * v["b"]}
    found = landscape.eigenpairs(product, like, key=KEY)
    assert found.vectors["a"].dtype == jnp.bfloat16
    np.testing.assert_allclose(found.values, [3], rtol=8 * EPS)


def test_bad_input_is_said():
    with pytest.raises(ValueError, match=r"largest=4, smallest=0: expected 1 to 3 pairs"):
        landscape.eigenpairs(lambda v: v, jnp.zeros(3), 4, key=KEY)
    with pytest.raises(ValueError, match=r"steps=0: expected a whole number from 1 up"):
        landscape.lanczos(lambda v: v, jnp.ones(3), steps=0)
    with pytest.raises(ValueError, match=r"the parameters are complex; expected real ones"):
        landscape.hessian(lambda x: jnp.sum(jnp.abs(x)), jnp.zeros(3, complex))
    with pytest.raises(ValueError, match=r"batch_size=12: expected 1 to 11 examples"):
        landscape.hessian(problems.ridge(np.ones((11, 2)), np.ones(11), 0.1), {"w": jnp.zeros(2)}, batch_size=12)


def test_thresholds_are_where_methods_diverge(x64):
    """From the largest root of the iteration's matrix on a quadratic, a little below and above the threshold."""
    eta, beta = 0.3, 0.8
    thresholds = {
        landscape.gradient_descent_threshold(eta): lambda h: [[1 - eta * h]],
        landscape.heavy_ball_threshold(eta, beta): lambda h: [[1 + beta - eta * h, -beta], [1, 0]],
        landscape.nesterov_threshold(eta, beta): lambda h: (1 - eta * h) * np.array([[1 + beta, -beta], [0, 0]])
        + [[0, 0], [1, 0]],
        landscape.adam_threshold(eta, beta): lambda h: [[1 + beta - (1 - beta) * eta * h, -beta], [1, 0]],
    }  # fmt: skip
    for threshold, iteration in thresholds.items():
        below, above = (np.abs(np.linalg.eigvals(iteration(c * float(threshold)))).max() for c in (0.999, 1.001))
        assert below < 1 < above


def test_the_threshold_of_sharpness_aware_minimization(x64):
    """Where x ← x − ηh(x + ρ x/|x|) on ½hx² goes to and fro by its own size: ηh(1 + ρh/‖g‖) = 2."""
    eta, rho, norm = 0.2, 0.05, 0.7
    h = float(landscape.sam_threshold(eta, rho, norm))
    assert eta * h * (1 + rho * h / norm) == pytest.approx(2, rel=1e-12)
    assert h == pytest.approx(norm / (2 * rho) * (np.sqrt(1 + 8 * rho / (eta * norm)) - 1), rel=1e-12)
    assert float(landscape.sam_threshold(eta, 0.0, norm)) == pytest.approx(2 / eta, rel=1e-12)


@pytest.mark.slow
def test_the_record_is_that_of_a_dense_hessian(x64):
    """Sharpness, its preconditioned kin and the alignment, every third step, on batches too, under vmap."""
    X, y = RNG(0).normal(size=(12, 2)), RNG(1).normal(size=12)
    problem = problems.mlp_regression(X, y, (3,), "tanh")
    eps, b2 = 1e-3, 0.9
    edge = landscape.edge_of_stability(landscape.adam_preconditioner(0.8, b2, eps), largest=2, tol=1e-9)
    record = lambda info: edge(info) | {"params": info.params, "nu": info.state.nu, "grads": info.grads}
    train = lambda rate: run(
        problem, optimizers.adam(rate, 0.8, b2, eps=eps), steps=7, batch_size=4, key=KEY, record=record, every=3
    ).trace  # fmt: skip
    trace = jax.jit(jax.vmap(train))(jnp.array([0.01, 0.1]))
    unravel = ravel_pytree(problem.init(KEY))[1]
    f = lambda v: problem.objective(unravel(v))
    H_of, g_of = jax.jit(jax.hessian(f)), jax.jit(jax.grad(f))
    for lane, row in np.ndindex(2, 2):
        here = jax.tree.map(lambda a: a[lane, row], trace)  # noqa: B023
        at = {name: np.asarray(ravel_pytree(part)[0]) for name, part in here.items()}
        H, g, t = np.asarray(H_of(at["params"])), np.asarray(g_of(at["params"])), 3 * row + 1
        values, vectors = np.linalg.eigh(H)
        nu = b2 * at["nu"] + (1 - b2) * at["grads"] ** 2
        P = (1 - 0.8**t) * (np.sqrt(nu / (1 - b2**t)) + eps)
        seen = np.linalg.eigvalsh(H / np.sqrt(np.outer(P, P)))
        np.testing.assert_allclose(at["sharpness"], values[-1], rtol=1e-8)
        np.testing.assert_allclose(at["eigenvalues"], values[:-3:-1], rtol=1e-8)
        np.testing.assert_allclose(at["alignment"], abs(g @ vectors[:, -1]) / np.linalg.norm(g), rtol=1e-5)
        np.testing.assert_allclose(at["preconditioned_sharpness"], seen[-1], rtol=1e-8)


def test_sharpness_of_any_problem(x64):
    """At the minimum of the two-variable Rosenbrock function the Hessian is [[802, −400], [−400, 200]]."""
    found = jax.jit(lambda x: landscape.sharpness(problems.rosenbrock(), x, key=KEY))(jnp.ones(2))
    assert found == pytest.approx(np.linalg.eigvalsh([[802, -400], [-400, 200]])[1], rel=1e-12)
    seen = jax.jit(lambda x: landscape.sharpness(lambda x: jnp.sum(x**2), x, key=KEY, preconditioner=4 + 0 * x))
    assert seen(jnp.ones(3)) == pytest.approx(0.5, rel=1e-12)


def test_a_converged_run_has_a_record():
    """Where the gradient is 0 there is no alignment, and the sharpness is what it is."""
    problem = Problem("bowl", lambda key: jnp.zeros(3), lambda x: jnp.sum(x**2))
    train = lambda: run(
        problem, optimizers.gradient_descent(0.1), steps=1, key=KEY, record=landscape.edge_of_stability()
    )
    trace = jax.jit(train)().trace
    np.testing.assert_allclose(trace["sharpness"], [2.0], rtol=8 * EPS)
    assert trace["alignment"].tolist() == [0.0]


@pytest.mark.parametrize("c", [-1.0, 0.0, 1.0])
def test_a_multiple_of_the_identity_of_few_variables_from_any_key(c):
    """It breaks down at once, in every step: each time there must be another direction to go on with."""
    first = lambda key: landscape.eigenpairs(lambda v: c * v, jnp.ones(3), 2, key=key).values
    found = jax.jit(jax.vmap(first))(jax.random.split(jax.random.key(1), 100))
    np.testing.assert_allclose(found, c, atol=1e-6)


def test_a_step_that_is_not_finite_leaves_the_next_as_it_is():
    path = jnp.array([[1.0, 2, 3], [np.nan, 1, 1], [1, 2, 3]])
    found = landscape.eigenpairs_along(lambda x: jnp.sum(x**3), path, key=jax.random.key(0)).values[:, 0]
    np.testing.assert_allclose(found, [18, np.nan, 18], rtol=1e-6)
