"""Adaptive methods where parity with Optax says nothing: half precision, complex numbers, arrays of any rank."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sandbox import optimizers


def update(optimizer, gradients, x):
    """The updates of all steps, x staying where it is."""
    state, found = optimizer.init(x), []
    for g in gradients:
        u, state = optimizer.update(g, state, x)
        found.append(u)
    return np.array(found)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e4])
def test_adafactor_in_half_precision_knows_no_scale(size):
    """Of a constant gradient V is g², so u = sign(g) at any scale; in float16 1e4 squared is no number."""
    x = jnp.ones((128, 129), jnp.float16)
    u = update(optimizers.adafactor(0.25), [size * x] * 3, x)
    np.testing.assert_allclose(u.astype("f4"), -0.25, rtol=np.finfo("f2").eps)


@pytest.mark.parametrize("factored", [True, False])
def test_adafactor_injected_in_half_precision_does_nothing_without_a_gradient(factored):
    """Its eps, 1e-30, is 0 in float16, and g / √V would be 0 / 0."""
    x = jnp.ones((2, 3), jnp.float16)
    static = ("min_dim_size_to_factor", "decay_offset", "multiply_by_parameter_scale", "dtype_momentum", "factored")
    make = optax.inject_hyperparams(optimizers.adafactor, static_args=static)
    u = update(make(0.25, min_dim_size_to_factor=2, factored=factored), [0 * x, x], x)
    np.testing.assert_array_equal(u[0], 0.0)
    np.testing.assert_allclose(u[1].astype("f4"), -0.25, rtol=2 * np.finfo("f2").eps)


@pytest.mark.parametrize(
    "optimizer", [optimizers.adadelta(0.3, 0.8), optimizers.madgrad(0.1), optimizers.adafactor(0.1, decay_rate=0.7)]
)
def test_a_turn_of_the_complex_plane_turns_the_step(optimizer, x64):
    """Scales are moduli: they are real, and do not see the turn."""
    turn, parts = jnp.exp(0.7j), jax.random.normal(jax.random.key(0), (2, 4, 3))
    stream, x = list(parts[0] + 1j * parts[1]), jnp.zeros(3, complex)
    turned = update(optimizer, [turn * g for g in stream], x)
    np.testing.assert_allclose(turned, turn * update(optimizer, stream, x), rtol=1e-12)


def test_sm3_of_numbers_and_vectors_is_adagrad(x64):
    """Where an array has one axis or none, every entry has a cover of its own."""
    rng = np.random.default_rng(0)
    for shape in ((), (4,)):
        stream, x = list(jnp.asarray(rng.normal(size=(5, *shape)))), jnp.zeros(shape)
        adagrad = update(optimizers.adagrad(0.1, 0.0, 1e-8), stream, x)
        np.testing.assert_allclose(update(optimizers.sm3(0.1, 0.0), stream, x), adagrad, rtol=1e-13)


def test_sm3_covers_a_tensor_from_above(x64):
    """ν ≥ Σ g² everywhere (Anil et al. 2019, Claim 2), so a step is never longer than AdaGrad's, on any rank."""
    rng = np.random.default_rng(1)
    stream, x = list(jnp.asarray(rng.normal(size=(6, 2, 3, 4)))), jnp.zeros((2, 3, 4))
    steps = np.abs(update(optimizers.sm3(0.1, 0.0), stream, x))
    limits = np.abs(update(optimizers.adagrad(0.1, 0.0, 1e-8), stream, x))
    assert np.all(steps <= limits * (1 + 1e-12))
    assert np.any(steps < 0.9 * limits)
