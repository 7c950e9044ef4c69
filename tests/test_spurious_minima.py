"""Spurious minima: the closed form beside samples, quadrature and a gradient by hand; claims, sound and broken."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.claims import fails, sound
from scipy.integrate import quad

from experiments import spurious_minima
from sandbox import optimizers

pytestmark = pytest.mark.usefixtures("away")
KERNEL, DESCENT = spurious_minima.kernel, optimizers.gradient_descent
SHARE, HEIGHT, SLOPE, LEAST = "share of starts", "median height", "gradient / least", "least curvature"
HERE = "experiments.spurious_minima."
BROKEN = {  # what is broken, by what, and parts of the names of the claims that fail
    "an ascent": ("sandbox.optimizers.gradient_descent", lambda r: DESCENT(-1e-4 * r), {SHARE, HEIGHT, SLOPE, LEAST}),
    "a short walk": (HERE + "STEPS", 200, {SHARE, HEIGHT, SLOPE, LEAST}),
    "stuck is what is not perfect": (HERE + "STUCK", -1.0, {SHARE, HEIGHT}),
}


@pytest.mark.slow
def test_spurious_minima():
    sound(spurious_minima.main(fast=True), 4, 3, BROKEN)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "broken", "expected"), BROKEN.values(), ids=BROKEN)
def test_broken_spurious_minima(monkeypatch, name, broken, expected):
    monkeypatch.setattr(name, broken)
    fails(spurious_minima.main(fast=True).claims, expected)


def test_the_kernel_by_quadrature(x64):
    """E relu(w·x) relu(v·x) in the plane of w and v: r² r e^{−r²/2} over the radius gives 2, the rest is an angle."""
    for angle in (0.0, 0.3, 2.0, np.pi):
        w, v = np.array([[1.5, 0.0]]), 0.7 * np.array([[np.cos(angle), np.sin(angle)]])
        both = lambda t, angle=angle: max(1.5 * np.cos(t), 0) * max(0.7 * np.cos(t - angle), 0) / np.pi
        kinks = sorted({-np.pi / 2, np.pi / 2, angle - np.pi / 2, angle + np.pi / 2} - {-np.pi, np.pi})
        whole, _ = quad(both, -np.pi, np.pi, points=[t for t in kinks if abs(t) < np.pi], epsabs=1e-13)
        assert float(KERNEL(jnp.array(w), jnp.array(v))[0, 0]) == pytest.approx(whole, abs=1e-11)


def test_the_loss_by_samples(x64):
    """Half a million inputs, to five standard errors."""
    W = np.random.default_rng(0).normal(size=(4, 4)) / 2
    x = np.random.default_rng(1).normal(size=(500_000, 4))
    values = (np.maximum(x @ W.T, 0).sum(1) - np.maximum(x, 0).sum(1)) ** 2 / 2
    loss = float(spurious_minima.student(4).objective(jnp.array(W)))
    assert abs(loss - values.mean()) < 5 * values.std() / np.sqrt(len(values))


def test_the_gradient_by_hand(x64):
    """Σⱼ (‖wⱼ‖ sin θ wᵢ/‖wᵢ‖ + (π − θ) wⱼ) / 2π, less that over teachers (Brutzkus & Globerson 2017)."""
    W = np.random.default_rng(2).normal(size=(5, 5))
    hand = np.zeros_like(W)
    for i, w in enumerate(W):
        for sign, others in ((1, W), (-1, np.eye(5))):
            for v in others:
                cosine = np.clip(w @ v / np.linalg.norm(w) / np.linalg.norm(v), -1, 1)
                angle = 0.0 if v is others[i] and sign > 0 else np.arccos(cosine)
                along = np.linalg.norm(v) * np.sin(angle) * w / np.linalg.norm(w)
                hand[i] += sign * (along + (np.pi - angle) * v) / (2 * np.pi)
    np.testing.assert_allclose(jax.jit(jax.grad(spurious_minima.student(5).objective))(jnp.array(W)), hand, atol=1e-12)


def test_the_teacher_is_a_minimum_and_its_derivatives_are_numbers(x64):
    f = spurious_minima.student(3).objective
    assert float(f(jnp.eye(3))) == pytest.approx(0, abs=1e-14)
    np.testing.assert_allclose(jax.jit(jax.grad(f))(jnp.eye(3)), 0, atol=1e-14)
