"""Rates against eigenvalues, bounds against the functions that attain them, estimates against known sequences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sandbox import theory

EPS = np.finfo(float).eps


# Each method as its textbook step on ½λx², for a state (x, memory); theory knows nothing of these.
def heavy_ball_step(x, before, lam, eta, beta):
    return x - eta * lam * x + beta * (x - before), x


def ema_step(x, m, lam, eta, beta):
    m = beta * m + (1 - beta) * lam * x
    return x - eta * m, m


def nesterov_step(x, before, lam, eta, beta):
    y = x + beta * (x - before)
    return y - eta * lam * y, x


def plain_rate(eigenvalues, eta, beta):
    return theory.gradient_descent_rate(eigenvalues, eta)


METHODS = {
    "heavy_ball": (heavy_ball_step, theory.heavy_ball_rate, theory.heavy_ball_cliff),
    "ema": (ema_step, theory.ema_momentum_rate, theory.ema_momentum_cliff),
    "nesterov": (nesterov_step, theory.nesterov_rate, theory.nesterov_cliff),
}


def spectral_radius(step, lam, eta, beta):
    """The largest |eigenvalue| of the linear map (x, memory) ↦ step, from its action on the two unit states."""
    matrix = np.array([step(1.0, 0.0, lam, eta, beta), step(0.0, 1.0, lam, eta, beta)]).T
    return np.abs(np.linalg.eigvals(matrix)).max()


@pytest.mark.parametrize("method", METHODS)
def test_the_rate_is_the_spectral_radius_of_one_step(method):
    step, rate, cliff = METHODS[method]
    rng = np.random.default_rng(3)
    for lam, share, beta in zip(
        rng.uniform(0.1, 9, 300), rng.uniform(0, 1.5, 300), rng.uniform(0, 0.99, 300), strict=True
    ):
        eta = share * cliff(lam, beta)
        # eigvals loses half the digits where the two roots meet
        np.testing.assert_allclose(rate(lam, eta, beta), spectral_radius(step, lam, eta, beta), rtol=1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_the_ends_of_the_spectrum_decide(method):
    _, rate, cliff = METHODS[method]
    modes = np.geomspace(0.3, 7.0, 400)
    for beta in (0.0, 0.3, 0.9, 0.99):
        etas = np.linspace(0.01, 1.2, 50) * cliff(7.0, beta)
        np.testing.assert_array_max_ulp(rate((0.3, 7.0), etas, beta), rate(modes, etas, beta), maxulp=8)


def test_without_momentum_all_methods_are_gradient_descent():
    etas, modes = np.linspace(0.01, 3, 40), [0.2, 0.7, 1.0]
    plain = theory.gradient_descent_rate(modes, etas)
    np.testing.assert_allclose(plain, [max(abs(1 - eta * lam) for lam in modes) for eta in etas], rtol=4 * EPS)
    for _, rate, _ in METHODS.values():
        np.testing.assert_allclose(rate(modes, etas, 0.0), plain, rtol=8 * EPS)


def test_cliffs_of_cohen():
    cliffs = [theory.gradient_descent_cliff(1.0), *(cliff(1.0, 0.9) for _, _, cliff in METHODS.values())]
    np.testing.assert_allclose(cliffs, [2, 3.8, 38, 3.8 / 2.8], rtol=4 * EPS)


@pytest.mark.parametrize("method", METHODS)
def test_a_run_contracts_below_its_cliff_and_not_above(method):
    _, rate, cliff = METHODS[method]
    lam, beta = np.meshgrid([0.01, 1.0, 40.0], [0.0, 0.5, 0.9, 0.99])
    edge = cliff(lam, beta)
    np.testing.assert_allclose(rate(lam[..., None], edge, beta), 1, rtol=1e-12)
    assert np.all(rate(lam[..., None], edge * (1 - 1e-6), beta) < 1)
    assert np.all(rate(lam[..., None], edge * (1 + 1e-6), beta) > 1)


@pytest.mark.parametrize(
    ("optimum", "rate", "expected"),
    [
        (theory.gradient_descent_optimum, plain_rate, (0.818182, 0.980198, 0.998002)),
        (theory.heavy_ball_optimum, theory.heavy_ball_rate, (0.519494, 0.818182, 0.938693)),
        (theory.ema_momentum_optimum, theory.ema_momentum_rate, (0.519494, 0.818182, 0.938693)),
        (theory.nesterov_standard, theory.nesterov_rate, (0.683772, 0.9, 0.968377)),
        (theory.nesterov_optimum, theory.nesterov_rate, (0.640789, 0.884722, 0.963491)),
    ],
)  # fmt: skip
def test_optimal_rates_of_lessard_recht_packard(optimum, rate, expected):
    for kappa, value in zip((10, 100, 1000), expected, strict=True):
        for mu in (1.0, 0.02):
            best = optimum(mu, kappa * mu)
            assert best.rate == pytest.approx(value, abs=6e-7)
            # the modes are defective: a rounding of the setting moves the radius by its root
            assert rate((mu, kappa * mu), best.learning_rate, best.momentum) == pytest.approx(best.rate, abs=1e-7)


@pytest.mark.parametrize(
    ("optimum", "rate"),
    [(theory.heavy_ball_optimum, theory.heavy_ball_rate), (theory.nesterov_optimum, theory.nesterov_rate)],
)
def test_no_setting_is_better_than_the_optimum(optimum, rate):
    best = optimum(1.0, 30.0)
    etas, betas = np.meshgrid(np.linspace(1e-3, 0.14, 600), np.linspace(0, 0.99, 400))
    found = rate((1.0, 30.0), etas, betas).min()
    assert best.rate <= found < best.rate + 0.01


def test_jax_and_numpy_agree_and_derivatives_are_finite(x64):
    modes, etas = [0.2, 1.0], np.linspace(0.01, 4, 30)
    for _, rate, _ in METHODS.values():
        value = jax.vmap(jax.value_and_grad(lambda eta, rate=rate: rate(jnp.array(modes), eta, 0.9)))
        values, slopes = jax.jit(value)(jnp.array(etas))
        np.testing.assert_allclose(values, rate(modes, etas, 0.9), rtol=1e-14)
        assert np.all(np.isfinite(slopes))


def huber(x, width):
    """L = 1: quadratic within the width, linear outside."""
    return x**2 / 2 if abs(x) < width else width * abs(x) - width**2 / 2


def test_drori_teboulle_is_attained_by_a_huber_function():
    for n, L, R in ((4, 3.0, 1.0), (7, 0.5, 2.0)):
        width = R / (2 * n + 1)
        x = R
        for _ in range(n):
            x -= np.clip(x, -width, width)
        assert L * huber(x, width) == pytest.approx(theory.gradient_descent_bound(L, R, n), rel=1e-12)
    assert theory.gradient_descent_bound(3.0, 1.0, 4) == pytest.approx(1 / 6)


def test_nesterov_bound_is_attained_on_the_worst_huber_function():
    for n, expected in ((1, 0.1666667), (5, 0.0357143), (10, 0.0128205)):
        worst = 0.0
        for width in np.linspace(1e-3, 0.6, 6000):
            x = y = 1.0
            for t in range(1, n + 1):
                x, before = y - np.clip(y, -width, width), x
                y = x + (t - 1) / (t + 2) * (x - before)
            worst = max(worst, huber(x, width))
        bound = theory.nesterov_bound(1.0, 1.0, n)
        assert bound == pytest.approx(expected, abs=5e-8)
        assert bound * (1 - 1e-3) < worst <= bound * (1 + 1e-12)


def test_sgd_variance_is_the_fixed_point_of_its_recursion():
    for h, eta, noise in ((1.0, 0.1, 2.0), (3.0, 0.6, 0.5)):
        v = theory.sgd_variance(h, eta, noise)
        assert (1 - eta * h) ** 2 * v + eta**2 * noise == pytest.approx(v, rel=1e-14)
    assert theory.sgd_variance(2.0, 1.0, 1.0) == np.inf
    h = np.array([1.0, 3.0])
    assert theory.sgd_floor(h, 0.1, 1.0) == pytest.approx(sum(a / 2 * theory.sgd_variance(a, 0.1, 1.0) for a in h))


@pytest.mark.parametrize(("rho", "n"), [(0.2, 16), (0.2, 300), (0.7, 60), (0.97, 500), (0.9999, 3000)])
def test_a_geometric_sequence_is_linear(rho, n):
    found = theory.estimate(3.0 * rho ** np.arange(n))
    assert found.kind == "linear"
    assert found.rate == pytest.approx(rho, rel=1e-10)
    assert found.low <= rho <= found.high


@pytest.mark.parametrize("p", [0.5, 1.0, 1.7, 3.0])
@pytest.mark.parametrize("offset", [1.0, 30.0])
def test_a_power_is_sublinear(p, offset):
    found = theory.estimate(7.0 * (np.arange(800) + offset) ** -p)
    assert found.kind == "sublinear"
    assert found.order == pytest.approx(p, rel=1e-6)
    assert found.low <= p <= found.high


@pytest.mark.parametrize("omega", [0.3, 1.0, 2.2])
def test_the_zeros_of_an_oscillation_do_not_hide_its_rate(omega):
    k = np.arange(600)
    found = theory.estimate(np.cos(omega * k + 0.4) ** 2 * 0.96**k)
    assert found.kind == "linear"
    assert np.log(found.rate) == pytest.approx(np.log(0.96), rel=0.01)


@pytest.mark.parametrize("kappa", [10, 100, 1000])
@pytest.mark.parametrize("method", ["gradient_descent", "heavy_ball", "nesterov"])
def test_the_measured_contraction_of_a_quadratic_is_the_predicted_one(kappa, method):
    """Within 2 % of −log ρ, also at the best setting, where the mode is defective and the error is k ρᵏ."""
    lam = np.geomspace(1.0, kappa, 10)
    best = getattr(theory, f"{method}_optimum")(1.0, kappa)
    step = nesterov_step if method == "nesterov" else heavy_ball_step
    x, before, errors = np.ones(10), np.ones(10), []
    for _ in range(int(80 / -np.log(best.rate))):
        errors.append(np.sqrt(np.sum(lam * x**2) / 2))
        x, before = step(x, before, lam, best.learning_rate, best.momentum)
    found = theory.estimate(errors)
    assert found.kind == "linear"
    assert np.log(found.rate) == pytest.approx(np.log(best.rate), rel=0.02)


def test_a_fast_start_does_not_hide_the_slow_mode():
    k = np.arange(3000)
    found = theory.estimate(50 * 0.9**k + 1e-5 * 0.999**k)
    assert found.kind == "linear"
    assert found.rate == pytest.approx(0.999, rel=1e-6)
    assert found.floor is None


def test_gradient_descent_on_separable_logistic_regression_is_of_order_one():
    errors, w = [], 0.0
    for _ in range(20000):
        errors.append(np.log1p(np.exp(-w)))
        w += 1 / (1 + np.exp(w))
    found = theory.estimate(errors)
    assert found.kind == "sublinear"
    assert found.order == pytest.approx(1, abs=0.01)


def test_newton_is_superlinear_of_order_two():
    x, errors = 3.0, []
    for _ in range(9):
        errors.append(abs(x - np.sqrt(2)))
        x = (x + 2 / x) / 2
    found = theory.estimate(errors)
    assert found.kind == "superlinear"
    assert found.low <= 2 <= found.high
    assert found.order == pytest.approx(2, abs=0.1)


def test_a_floor_is_cut_off_and_reported():
    rng = np.random.default_rng(5)
    k = np.arange(1500)
    found = theory.estimate(0.95**k + 1e-13 * np.abs(rng.normal(size=1500)))
    assert found.kind == "linear"
    assert np.log(found.rate) == pytest.approx(np.log(0.95), rel=0.01)
    assert 2e-14 < found.floor < 3e-13
    assert found.window[1] < np.log(1e-13) / np.log(0.95)


def test_steps_need_not_be_one_apart():
    k = np.cumsum(np.random.default_rng(0).integers(1, 20, 200))
    assert theory.estimate(0.99**k, k).rate == pytest.approx(0.99, rel=1e-9)
    assert theory.estimate((k + 2.0) ** -1.5, k).order == pytest.approx(1.5, rel=1e-6)


@pytest.mark.parametrize(
    "errors",
    [
        [1.0, 0.5, 0.25],
        [],
        np.ones(200),
        1.02 ** np.arange(200),
        [*(0.9 ** np.arange(50)), np.nan, np.nan],
        1e-16 * np.random.default_rng(1).integers(0, 4, 100),
        np.random.default_rng(2).chisquare(3, 2000),
        np.exp(-np.sqrt(np.arange(4000.0))),
        np.zeros(50),
    ],
    ids=["short", "empty", "constant", "rising", "nan", "rounding", "noise", "exp(-sqrt k)", "zeros"],
)
def test_what_cannot_be_told_is_unknown_with_a_reason(errors):
    found = theory.estimate(errors)
    assert found.kind == "unknown"
    assert found.reason
    assert np.isnan([found.rate, found.order, found.low, found.high]).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "truth", "curve"),
    [
        ("linear", 0.95, lambda k: 0.95**k),
        ("sublinear", 1.0, lambda k: (k + 3) ** -1.0),
        ("sublinear", 2.0, lambda k: (k + 10) ** -2.0),
        ("sublinear", 0.5, lambda k: (k + 1) ** -0.5),
    ],
)
def test_nine_intervals_of_ten_cover_the_truth_under_noise(kind, truth, curve):
    rng, k = np.random.default_rng(11), np.arange(400.0)
    found = [theory.estimate(curve(k) * np.exp(0.2 * rng.normal(size=400))) for _ in range(30)]
    told = [one for one in found if one.kind != "unknown"]
    assert len(told) >= 26
    assert all(one.kind == kind for one in told)
    assert sum(one.low <= truth <= one.high for one in told) >= 0.9 * len(told)
    assert np.median([(one.high - one.low) / (1 - truth if kind == "linear" else truth) for one in told]) < 0.5


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (([[1.0, 2.0]],), "shape"),
        (([1.0, 0.5], [0]), "1 steps for 2 errors"),
        (([1.0, 0.5], [1, 1]), "do not increase"),
    ],
)
def test_bad_input_is_one_readable_line(arguments, says):
    with pytest.raises(ValueError, match=says):
        theory.estimate(*arguments)
