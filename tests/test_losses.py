"""Losses against SciPy in double precision, and at the edge of single precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from sandbox import losses

EPS = np.finfo(np.float64).eps
FLUSHED = 3 * np.finfo(np.float64).tiny  # of three components that XLA takes for 0, below the smallest normal number
reals = st.floats(-50, 50)
vectors = st.lists(reals, min_size=3, max_size=3).map(np.array)
distributions = st.lists(st.floats(0, 1), min_size=3, max_size=3).filter(lambda p: sum(p) > 0.1)
double = settings(deadline=None, max_examples=40)


def in_double(loss, *arguments):
    with jax.enable_x64(True):
        return float(loss(*(jnp.asarray(a) for a in arguments)))


def test_the_numbers_of_the_story():
    assert losses.squared_error(20.0, 25.0) == 25
    assert losses.absolute_error(20.0, 25.0) == 5
    np.testing.assert_allclose(
        in_double(losses.binary_cross_entropy, special.logit(0.99), 0), -np.log(0.01), rtol=1e-14
    )


@double
@given(vectors, vectors)
def test_squares_and_absolutes_add_up_over_components(p, t):
    squares, absolutes = (in_double(loss, p, t) for loss in (losses.squared_error, losses.absolute_error))
    np.testing.assert_allclose(squares, np.linalg.norm(p - t) ** 2, rtol=8 * EPS, atol=FLUSHED)
    np.testing.assert_allclose(absolutes, np.linalg.norm(p - t, 1), rtol=8 * EPS, atol=FLUSHED)


@double
@given(reals, reals, st.floats(0.01, 10))
def test_huber_is_scipys(p, t, delta):
    np.testing.assert_allclose(
        in_double(losses.huber, p, t, delta), special.huber(delta, p - t), rtol=1e-13, atol=1e-300
    )


def test_the_absolute_error_has_subgradient_zero_at_zero():
    assert [jax.grad(losses.absolute_error)(p, 2.0) for p in (1.0, 2.0, 3.0)] == [-1, 0, 1]


def test_huber_has_the_clipped_residual_as_gradient_and_no_overflow(x64):
    r = jnp.array([-3e200, -2.0, -0.5, 0.0, 0.5, 2.0, 3e200])
    slope = jax.vmap(jax.grad(lambda r: losses.huber(r, 0.0, 1.0)))
    np.testing.assert_array_equal(slope(r), np.clip(r, -1, 1))
    np.testing.assert_array_equal(
        jax.vmap(jax.grad(jax.grad(lambda r: losses.huber(r, 0.0))))(r[1:-1]), [0, 1, 1, 1, 0]
    )


@double
@given(reals, st.floats(0, 1))
def test_binary_cross_entropy_is_the_log_likelihood(z, t):
    expected = -t * special.log_expit(z) - (1 - t) * special.log_expit(-z)
    np.testing.assert_allclose(in_double(losses.binary_cross_entropy, z, t), expected, rtol=1e-13)


@double
@given(vectors, st.integers(0, 2), distributions)
def test_softmax_cross_entropy_is_the_log_likelihood(z, k, weights):
    q = np.array(weights) / sum(weights)
    log_p = special.log_softmax(z)
    np.testing.assert_allclose(in_double(losses.softmax_cross_entropy, z, k), -log_p[k], rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(in_double(losses.softmax_cross_entropy, z, q), -q @ log_p, rtol=1e-12, atol=1e-15)


def test_cross_entropy_has_the_residual_as_gradient(x64):
    z = jnp.array([0.3, -1.2, 2.0])
    of_logits = jax.grad(losses.softmax_cross_entropy)(z, 1)
    np.testing.assert_allclose(of_logits, special.softmax(z) - np.eye(3)[1], rtol=1e-14)
    np.testing.assert_allclose(jax.grad(losses.binary_cross_entropy)(0.7, 1.0), special.expit(0.7) - 1, rtol=1e-14)


@pytest.mark.parametrize("target", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("z", [-1e4, -100.0, 0.0, 100.0, 1e4])
def test_binary_cross_entropy_survives_extreme_logits_in_single_precision(z, target):
    value, slope = jax.value_and_grad(losses.binary_cross_entropy)(jnp.float32(z), target)
    expected = -target * special.log_expit(z) - (1 - target) * special.log_expit(-z)
    np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-37)
    np.testing.assert_allclose(slope, special.expit(z) - target, rtol=1e-6, atol=1e-37)


@pytest.mark.parametrize("label", [0, 1, 2, [0.2, 0.0, 0.8]])
@pytest.mark.parametrize("z", [[1e4, -1e4, 0.0], [-1e4, -1e4, 1e4], [1e4, 1e4, 1e4]])
def test_softmax_cross_entropy_survives_extreme_logits_in_single_precision(z, label):
    q = np.eye(3)[label] if isinstance(label, int) else np.array(label)
    value, slope = jax.value_and_grad(losses.softmax_cross_entropy)(jnp.array(z, jnp.float32), jnp.array(label))
    np.testing.assert_allclose(value, -q @ special.log_softmax(z), rtol=1e-6)
    np.testing.assert_allclose(slope, special.softmax(z) - q, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("shape", [(5,), (5, 2), (0,)], ids=["batch", "batches", "none"])
def test_softmax_cross_entropy_takes_a_batch_with_one_example_per_column(shape):
    rng = np.random.default_rng(0)
    z, k = rng.normal(size=(3, *shape)), rng.integers(-1, 4, shape)  # some labels are no class
    q = rng.dirichlet(np.ones(3), shape)
    of_labels = losses.softmax_cross_entropy(z, k)
    of_probabilities = losses.softmax_cross_entropy(z, np.moveaxis(q, -1, 0))
    assert of_labels.shape == of_probabilities.shape == shape
    for at in np.ndindex(shape):
        column = z[(slice(None), *at)]
        np.testing.assert_allclose(of_labels[at], losses.softmax_cross_entropy(column, k[at]), rtol=1e-6)
        np.testing.assert_allclose(of_probabilities[at], losses.softmax_cross_entropy(column, q[at]), rtol=1e-6)


def test_a_small_loss_keeps_its_digits_at_a_large_offset():
    """log Σ eᶻ − zₖ in single precision would give 0 here."""
    z = jnp.array([1e4, 1e4 - 5], jnp.float32)
    np.testing.assert_allclose(losses.softmax_cross_entropy(z, 0), np.log1p(np.exp(-5.0)), rtol=1e-5)


def test_a_class_of_probability_zero_adds_nothing():
    """0 · log p = 0, where p = 0 as well: a class that is masked by −∞ is as if it were not there."""
    z, q = jnp.array([1.0, 2.0, -jnp.inf]), jnp.array([0.25, 0.75, 0.0])
    value, slope = jax.value_and_grad(losses.softmax_cross_entropy)(z, q)
    without, known = jax.value_and_grad(losses.softmax_cross_entropy)(z[:2], q[:2])
    np.testing.assert_allclose(value, without, rtol=1e-6)
    np.testing.assert_allclose(slope, [*known, 0], rtol=1e-6, atol=1e-7)


def test_a_label_without_a_class_is_not_silently_another_class():
    assert np.isnan(losses.softmax_cross_entropy(jnp.zeros(3), 3))
    assert np.isnan(losses.softmax_cross_entropy(jnp.zeros(3), -1))


@double
@given(reals, st.sampled_from([-1, 1]))
def test_hinges(s, t):
    np.testing.assert_allclose(in_double(losses.hinge, s, t), max(0, 1 - t * s), rtol=4 * EPS)
    np.testing.assert_allclose(in_double(losses.squared_hinge, s, t), max(0, 1 - t * s) ** 2, rtol=8 * EPS)


def test_hinge_has_subgradient_zero_at_its_kink_and_is_finite_far_out():
    assert [jax.grad(losses.hinge)(s, 1) for s in (0.5, 1.0, 1.5)] == [-1, 0, 0]
    assert jax.value_and_grad(losses.squared_hinge)(jnp.float32(-1e4), 1) == (np.float32(10001) ** 2, -20002)


@double
@given(distributions, distributions)
def test_kl_divergence_is_scipys_and_the_excess_of_cross_entropy(a, b):
    p, q = np.array(a) / sum(a), (np.array(b) + 0.1) / (sum(b) + 0.3)
    ours = in_double(losses.kl_divergence, p, q)
    np.testing.assert_allclose(ours, special.rel_entr(p, q).sum(), rtol=1e-12, atol=1e-15)
    entropy = special.entr(p).sum()
    np.testing.assert_allclose(ours, in_double(losses.softmax_cross_entropy, np.log(q), p) - entropy, atol=1e-13)


def test_kl_divergence_at_the_border():
    p, q = jnp.array([0.0, 1.0]), jnp.array([0.5, 0.5])
    np.testing.assert_allclose(losses.kl_divergence(p, q), np.log(2), rtol=1e-6)
    np.testing.assert_allclose(jax.grad(losses.kl_divergence, argnums=1)(p, q), [0, -2], rtol=1e-6)
    np.testing.assert_allclose(jax.grad(losses.kl_divergence)(p, q), [0, 1 + np.log(2)], rtol=1e-6)
    assert losses.kl_divergence(p, p) == 0
    assert losses.kl_divergence(q, p) == np.inf
