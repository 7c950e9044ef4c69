"""Escapes: its claims hold, and each fails where a step, the ground or a start is another; the flow beside SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.claims import fails, sound
from scipy.integrate import solve_ivp

from experiments import escapes
from sandbox import optimizers

pytestmark = pytest.mark.usefixtures("away")
DESCENT, BALL = optimizers.gradient_descent, optimizers.heavy_ball
LOSS, GROUND, MIXED = escapes.linear_loss, escapes.strict_saddle, escapes.product
OPT, HERE = "sandbox.optimizers.gradient_descent", "experiments.escapes."
AT_0, AT_1, FAR, DEEP = "curvature at the origin", "curvature at (0, 1)", "largest distance", "largest height"
COIN, REST, HEIGHT = "share that ends at (0, 1)", "largest |y|", "height at last"
GROWTH, LOG, NOISY, NOISE = "growth of y", "per ln(1/y₀)", "share that leaves", "per ln(1/σ)"
LEARNED, ORDER, HALF = "learned at t = {}, η", "order of the error", "strength {}: half learned"
STRENGTH, LEVEL, LAST = "order of strength", "plateau /", "largest loss at last"
CHANGE, DRIFT = "a step's change of C", "drift of C"
SLOPES = {LEARNED.format(t) for t in (1, 2, 3)} | {HALF.format(s) for s in (3, 1.2, 0.4)}
BROKEN = {  # the part, what is broken in it, by what, and parts of the names of the claims that fail
    "a bowl": ("saddle", HERE + "strict_saddle", lambda z: z[0] ** 2 / 2 + z[1] ** 2 / 2,
               {"saddle: least " + AT_0, FAR, DEEP, GROWTH, LOG}),
    "a flatter valley": ("saddle", HERE + "strict_saddle", lambda z: GROUND(z) - 0.4 * z[0] ** 2,
                       {AT_1, FAR, DEEP, HEIGHT}),
    "a tilt": ("saddle", HERE + "strict_saddle", lambda z: GROUND(z) + 0.5 * z[1], {FAR, DEEP, COIN, REST, HEIGHT,
               GROWTH, LOG}),
    "a smaller rate": ("saddle", OPT, lambda r: DESCENT(0.9 * r), {GROWTH, LOG}),
    "noise that is too weak to leave": ("shaken", HERE + "SIGMAS", tuple(0.1 ** np.arange(20, 30, 2)), {NOISY, NOISE}),
    "noise and a smaller rate": ("shaken", OPT, lambda r: DESCENT(0.9 * r), {NOISE}),
    "descent at half the rate": ("modes", OPT, lambda r: DESCENT(r / 2), SLOPES | {ORDER}),
    "momentum": ("modes", OPT, lambda r: BALL(r, 0.1), SLOPES | {ORDER}),
    "a weaker target": ("modes", HERE + "linear_loss", lambda W1, W2: LOSS(W1, W2) + jnp.sum(W1 * W2.T) / 2,
                        SLOPES | {ORDER, AT_0}),
    "a tenth of the rate": ("meeting", OPT, lambda r: DESCENT(r / 10), {STRENGTH, LEVEL, LAST, CHANGE}),
    "momentum, and C": ("meeting", OPT, lambda r: BALL(r, 0.5), {CHANGE}),
    "decay": ("meeting", HERE + "linear_loss", lambda W1, W2: LOSS(W1, W2) + 0.05 * jnp.sum(W1**2),
              {LEVEL, LAST, CHANGE, DRIFT}),
}  # fmt: skip


def test_escapes():
    sound(escapes.main(fast=True), 24, 7, BROKEN)


@pytest.mark.slow
@pytest.mark.parametrize(("part", "name", "broken", "expected"), BROKEN.values(), ids=BROKEN)
def test_broken_escapes(monkeypatch, x64, part, name, broken, expected):
    monkeypatch.setattr(name, broken)
    parts = getattr(escapes, part)(True)
    fails([claim for one in (parts if isinstance(parts, list) else [parts]) for claim in one.claims], expected)


def test_the_modes_are_those_of_the_flow():
    """Saxe's formula beside the differential equation by SciPy, and beside the numbers that it is known to give."""
    flow = solve_ivp(lambda t, u: 2 * u * (3 - u), (0, 3), [1e-3], t_eval=[1, 2, 3], rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(escapes.sigmoid([1, 2, 3], 3.0), flow.y[0], rtol=1e-8)
    np.testing.assert_allclose(escapes.sigmoid([1, 2, 3], 3.0), [0.355712, 2.945721, 2.999863], atol=5e-7)


def test_a_mode_is_half_learned_between_two_rows():
    assert escapes.half_time(np.arange(4.0), np.array([0.0, 0.4, 0.8, 1.0]), 1.0) == pytest.approx(1.25)
    assert np.isnan(escapes.half_time(np.arange(4.0), np.zeros(4), 1.0))


def test_a_product_is_that_of_numpy(x64):
    A, B = np.random.default_rng(0).normal(size=(2, 3, 3))
    np.testing.assert_allclose(escapes.product(jnp.array(A), jnp.array(B)), A @ B, rtol=1e-13)


def test_the_path_off_the_saddle_is_that_of_a_loop(x64):
    z = np.array([1.0, 1e-4])
    path = jax.jit(lambda start: escapes.down(start, 60, lambda info: {"z": info.params}).trace["z"])(jnp.array(z))
    for place in np.asarray(path):
        np.testing.assert_allclose(place, z, rtol=1e-12)
        z = z - 0.1 * np.array([z[0], z[1] ** 3 - z[1]])
