"""Spectra: quadrature has the moments it must have, probes the mean and the variance that theory gives them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from sandbox import landscape

RNG = np.random.default_rng
KEY = jax.random.key(0)


def symmetric(n, seed=0):
    root = RNG(seed).normal(size=(n, n))
    return (root + root.T) / 2


def with_matrix(fn, H, **options):
    """fn(product, like, key, …), compiled with the matrix as an argument."""
    like = jnp.zeros(len(H), H.dtype)
    return jax.jit(lambda H, key: fn(lambda v: H @ v, like, key=key, **options))(H, KEY)


def test_moments_of_the_density_are_those_of_its_probes(x64):
    """Σw = 1, Σwθ = vᵀHv, Σwθ² = ‖Hv‖² for the unit vector v that each probe is."""
    H, n = symmetric(12), 12
    found = with_matrix(landscape.density, H, probes=3, steps=6)
    for key, theta, w in zip(jax.random.split(KEY, 3), *map(np.asarray, found), strict=True):
        v = np.asarray(jax.random.normal(key, (n,)))
        v = v / np.linalg.norm(v)
        assert w.sum() == pytest.approx(1, rel=1e-12)
        assert w @ theta == pytest.approx(v @ H @ v, rel=1e-10)
        assert w @ theta**2 == pytest.approx(np.sum((H @ v) ** 2), rel=1e-10)
        assert w @ theta**11 == pytest.approx(v @ np.linalg.matrix_power(H, 11) @ v, rel=1e-8)


def test_a_density_after_a_breakdown(x64):
    """Of rank one every probe has two nodes; of cI one; what is dead weighs nothing."""
    u = np.ones(8) / 8**0.5
    found = with_matrix(landscape.density, 3 * np.outer(u, u), probes=2, steps=8)
    assert (np.sum(np.asarray(found.weights) > 0, axis=1) == 2).all()
    np.testing.assert_allclose(found.weights.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(np.sort(found.nodes, axis=1)[:, [0, -1]], [[0, 3]] * 2, atol=1e-12)
    np.testing.assert_allclose(np.asarray(found.nodes)[np.asarray(found.weights) == 0], 0)


def test_a_smooth_density_has_mass_one_and_the_mean_of_its_nodes(x64):
    spectrum = landscape.Density(jnp.array([[0.0, 1.0], [2.0, 0.0]]), jnp.array([[0.25, 0.75], [1.0, 0.0]]))
    at = np.linspace(-3, 5, 801)
    values = landscape.smooth(spectrum, at, 0.3)
    assert np.trapezoid(values, at) == pytest.approx(1, rel=1e-9)
    assert np.trapezoid(values * at, at) == pytest.approx(1.375, rel=1e-9)


@pytest.mark.slow
def test_marchenko_pastur_by_80_steps_and_8_probes():
    """W₁ to the exact eigenvalues at most .02 for γ = ½, in single precision."""
    X = RNG(0).normal(size=(2000, 1000)).astype(np.float32)
    H = X.T @ X / 2000
    found = with_matrix(landscape.density, H)
    nodes, weights = (np.asarray(a, float).ravel() for a in found)
    exact = np.linalg.eigvalsh(H.astype(float))
    assert wasserstein_distance(nodes, exact, weights) <= 0.02
    assert exact[0] == pytest.approx((1 - 0.5**0.5) ** 2, abs=0.03)


@pytest.mark.parametrize("gaussian", [False, True])
def test_the_variance_of_a_trace(gaussian, x64):
    """2 Σ_{i≠j} H²ᵢⱼ with signs and 2 ‖H‖²_F with Gaussians, by 20,000 probes: within 6 % (5 standard errors)."""
    H, probes = symmetric(6), 20_000
    found = with_matrix(landscape.hutchinson_trace, H, probes=probes, gaussian=gaussian)
    known = 2 * np.sum(H**2) - (0 if gaussian else 2 * np.sum(np.diag(H) ** 2))
    assert probes * float(found.error) ** 2 == pytest.approx(known, rel=0.06)
    assert abs(float(found.value) - np.trace(H)) < 4 * float(found.error)


def test_a_diagonal_by_probes(x64):
    """Its mean, and its variance Σ_{j≠i} H²ᵢⱼ; of a diagonal matrix both are exact."""
    H, probes = symmetric(6), 20_000
    found = with_matrix(landscape.hutchinson_diagonal, H, probes=probes)
    assert (np.abs(found.value - np.diag(H)) < 4.5 * np.asarray(found.error)).all()
    known = np.sum(H**2, axis=1) - np.diag(H) ** 2
    np.testing.assert_allclose(probes * np.asarray(found.error) ** 2, known, rtol=0.06)


def leave_one_out(H, omega, i):
    """Trace and diagonal from all probes but one, and that one: the definition, with projectors as matrices."""
    n, k = omega.shape
    q = np.linalg.qr(H @ np.delete(omega, i, axis=1))[0]
    rest, w = np.eye(n) - q @ q.T, omega[:, i]
    left = rest @ w
    trace = np.trace(q.T @ H @ q) + (n - k + 1) / (left @ left) * left @ H @ left
    return trace, np.diag(q @ q.T @ H) + w * (rest @ H @ w) / w**2


@pytest.mark.slow
def test_exchangeable_probes_are_those_of_the_definition(x64):
    n, k = 9, 4
    H = symmetric(n)
    normal, signs = (
        np.asarray(draw(jax.random.split(KEY)[0], (n, k), float)) for draw in (jax.random.normal, jax.random.rademacher)
    )
    traces = [leave_one_out(H, normal, i)[0] for i in range(k)]
    diagonals = [leave_one_out(H, signs, i)[1] for i in range(k)]
    trace = with_matrix(landscape.xtrace, H, products=2 * k)
    diagonal = with_matrix(landscape.xdiagonal, H, products=2 * k)
    assert trace.value == pytest.approx(np.mean(traces), rel=1e-9)
    assert trace.error == pytest.approx(np.std(traces, ddof=1) / 2, rel=1e-9)
    np.testing.assert_allclose(diagonal.value, np.mean(diagonals, axis=0), rtol=1e-9)
    np.testing.assert_allclose(diagonal.error, np.std(diagonals, axis=0, ddof=1) / 2, rtol=1e-8)


def test_exchangeable_probes_are_exact_where_the_rank_is_below_theirs(x64):
    """Rank 3 by 6 probes and by rank 0, where R has no inverse."""
    U = RNG(0).normal(size=(30, 3))
    for H in (U @ U.T, np.zeros((30, 30))):
        trace, diagonal = (with_matrix(f, H, products=12) for f in (landscape.xtrace, landscape.xdiagonal))
        assert trace.value == pytest.approx(np.trace(H), rel=1e-9, abs=1e-12)
        np.testing.assert_allclose(diagonal.value, np.diag(H), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("scale", [1e-30, 1e25])
@pytest.mark.parametrize(
    "fn", [landscape.hutchinson_trace, landscape.hutchinson_diagonal, landscape.xtrace, landscape.xdiagonal]
)
def test_probes_scale_with_the_matrix(fn, scale):
    """Values and errors, also where squares are 0 or infinite in single precision."""
    H = symmetric(12).astype(np.float32)
    options = {"products": 8} if fn in (landscape.xtrace, landscape.xdiagonal) else {}
    plain, scaled = (with_matrix(fn, np.float32(c) * H, **options) for c in (1, scale))
    for one, other in zip(plain, scaled, strict=True):
        np.testing.assert_allclose(other / scale, one, rtol=2e-4, atol=1e-5)


def test_probes_of_a_tree():
    """Values of a diagonal come back where the parameters are."""
    like = {"a": jnp.zeros((2, 2)), "b": jnp.zeros(3)}
    product = lambda v: {"a": 2 * v["a"], "b": 5 * v["b"]}
    found = landscape.hutchinson_diagonal(product, like, key=KEY, probes=2)
    np.testing.assert_allclose(found.value["a"], 2 * np.ones((2, 2)))
    np.testing.assert_allclose(found.value["b"], 5 * np.ones(3))
    assert landscape.hutchinson_trace(product, like, key=KEY, probes=2).value == 23


def test_bad_input_is_said():
    for fn, options, message in (
        (landscape.density, {"probes": 0}, "probes=0: expected a whole number from 1 up"),
        (landscape.hutchinson_trace, {"probes": 1}, "probes=1: expected a whole number from 2 up"),
        (landscape.hutchinson_diagonal, {"probes": 1}, "probes=1: expected a whole number from 2 up"),
        (landscape.xtrace, {"products": 3}, "products=3: expected 4 to 5"),
        (landscape.xdiagonal, {"products": 6}, "products=6: expected 4 to 5"),
    ):
        with pytest.raises(ValueError, match=message):
            fn(lambda v: v, jnp.zeros(5), key=KEY, **options)


@pytest.mark.parametrize(("n", "products"), [(4, 4), (10, 6)])
def test_the_exchangeable_trace_has_no_bias(n, products):
    """Also of few probes, whose spaces leave much to the rest: the mean over 500 keys, to five standard errors."""
    d = jnp.arange(float(n))
    trace = jax.jit(jax.vmap(lambda key: landscape.xtrace(lambda v: d * v, d, key=key, products=products).value))
    values = np.asarray(trace(jax.random.split(jax.random.key(0), 500)))
    assert abs(values.mean() - d.sum()) <= 5 * values.std() / 500**0.5


def test_the_error_of_a_diagonal_is_not_lost_in_its_size():
    """1000 on the diagonal, 0.01 beside it: a probe has the variance 49 · 10⁻⁴."""
    A = 1000 * jnp.eye(50) + 0.01 * (1 - jnp.eye(50))
    found = landscape.hutchinson_diagonal(lambda v: A @ v, jnp.ones(50), key=jax.random.key(0), probes=100)
    np.testing.assert_allclose(np.median(found.error), 0.07 / 10, rtol=0.1)
