"""Training: its claims hold, and each fails where a batch, a step, a noise or a force is another; oracles of laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.claims import fails, sound
from scipy.integrate import solve_ivp

from experiments import training
from sandbox import optimizers, problems, theory
from sandbox.data import batches
from sandbox.engine import run
from sandbox.problems import Problem

FAST = {"floors", "bump"}
AGAIN, FEWEST = "batches of 8 of 100", "fewest different examples"
FLOOR, DOUBLED, NONE, INJECTED = "SGD: floor", "label noise doubled", "no label noise", "noise in the gradient"
QUADRATIC, ORDER = "Newton on a quadratic", "Newton on logistic"
OPERATIONS, TIME, MEMORY = "of the operations", "of the CPU time", "of the memory"
CONJUGATE, DIP, LEAST = "L-BFGS", "bump: plain", "bump: 1 −"
HERE, OPT = "experiments.training.", "sandbox.optimizers."
EPOCHS, DESCENT, NOISY, BALL = batches.epochs, optimizers.gradient_descent, optimizers.noisy_sgd, optimizers.heavy_ball
SOLVE, STEP, NORMAL, LAW = jnp.linalg.solve, training.newton_step, training.normal, training.stationary


def stuck(size):
    """Every batch of the first epoch, then the first for ever."""
    rows = lambda key, n, steps: jnp.where(
        jnp.arange(steps)[:, None] < n // size, EPOCHS(size).indices(key, n, steps), 0
    )
    return batches.Batches(size, rows)


BROKEN = {  # the part, what is broken in it, by what, and parts of the names of the claims that fail
    "with replacement": ("visits", HERE + "epochs", batches.with_replacement, {AGAIN, FEWEST}),
    "one example after the first epoch": ("visits", HERE + "epochs", stuck, {FEWEST}),
    "a rate 5 % too large": ("floors", OPT + "gradient_descent", lambda r: DESCENT(1.05 * r), {FLOOR}),
    "a law of the first order": (
        "floors",
        HERE + "stationary",
        lambda X, r, rate, B: rate / 4 * np.mean(r**2 * (X**2).sum(1)) / B,
        {FLOOR},
    ),
    "descent too slow": ("floors", OPT + "gradient_descent", lambda r: DESCENT(r / 20), {FLOOR, DOUBLED, NONE}),
    "momentum": ("floors", OPT + "gradient_descent", lambda r: BALL(r, 0.3), {FLOOR}),
    "noise that fades": ("injected", OPT + "noisy_sgd", lambda r, v, g: NOISY(r, v, 0.1), {INJECTED}),
    "twice the noise": ("injected", OPT + "noisy_sgd", lambda r, v, g: NOISY(r, 2 * v, g), {INJECTED}),
    "Newton at 0.999": (
        "newton", HERE + "newton_step", lambda f: lambda x: x + 0.999 * (STEP(f)(x) - x), {QUADRATIC, ORDER},
    ),
    "only the diagonal": ("newton", "jax.numpy.linalg.solve", lambda H, g: g / jnp.diag(H), {QUADRATIC, ORDER}),
    "the diagonal counted": ("cost", HERE + "determinant", lambda H: jnp.prod(jnp.diag(H)), {OPERATIONS}),
    "the diagonal timed": ("cost", HERE + "elapsed", lambda H, g: 1e-9 * len(H), {TIME}),
    "no Hessian": (
        "cost", HERE + "newton_step", lambda f: jax.jit(lambda x: x - jax.grad(f)(x)), {MEMORY},
    ),
    "no search": ("limited_memory", HERE + "exact_search", lambda: None, {CONJUGATE}),
    "momentum where none ought to be": (
        "bump", OPT + "heavy_ball", lambda r, m: BALL(r, jnp.where(m == 0, 0.995, m)), {DIP},
    ),
    "the rate a tenth too large": (
        "bump", OPT + "heavy_ball", lambda r, m: BALL(1.1 * r, m), {DIP, LEAST},
    ),
    "another momentum": ("bump", HERE + "crossing", lambda: 0.985, {LEAST}),
}  # fmt: skip


def test_training():
    sound(training.main(fast=True), 14, 3, BROKEN)


@pytest.mark.slow
@pytest.mark.parametrize(("part", "name", "broken", "expected"), BROKEN.values(), ids=BROKEN)
def test_broken_training(monkeypatch, x64, part, name, broken, expected):
    monkeypatch.setattr(name, broken)
    fails(getattr(training, part)(*([True] if part in FAST else [])).claims, expected)


def test_the_floor_is_that_of_a_long_recursion():
    """The covariance iterated batch by batch over all pairs of rows, B = 2, beside the fixed point."""
    X, r, rate = NORMAL(6, 2, seed=0), NORMAL(6, seed=1), 0.2
    r = r - X @ np.linalg.lstsq(X, r)[0]
    pairs = [(i, j) for i in range(6) for j in range(6)]
    A = np.array([np.eye(2) - rate * (np.outer(X[i], X[i]) + np.outer(X[j], X[j])) / 2 for i, j in pairs])
    g = np.array([rate * (X[i] * r[i] + X[j] * r[j]) / 2 for i, j in pairs])
    S = np.zeros((2, 2))
    for _ in range(500):
        S = np.mean(A @ S @ A.mT, 0) + g.T @ g / len(g)
    assert training.stationary(X, r, rate, 2) == pytest.approx(np.sum(X.T @ X / 6 * S) / 2, rel=1e-10)


def test_the_floor_at_small_rates_is_that_of_theory():
    X, r = NORMAL(50, 3, seed=2), NORMAL(50, seed=3)
    r = r - X @ np.linalg.lstsq(X, r)[0]
    h, axes = np.linalg.eigh(X.T @ X / 50)
    variance = np.mean((X @ axes * r[:, None]) ** 2, 0) / 8
    assert training.stationary(X, r, 1e-4, 8) == pytest.approx(theory.sgd_floor(h, 1e-4, variance), rel=1e-3)


def test_elimination_gives_the_determinant():
    H = NORMAL(7, 7, seed=4)
    assert training.determinant(H) == pytest.approx(np.linalg.det(H))


@pytest.mark.slow
def test_lbfgs_with_exact_search_takes_the_steps_of_conjugate_gradients(x64):
    """With any number of pairs (Nazareth 1979; Shanno 1978)."""
    root, d = NORMAL(6, 6, seed=5), 6
    H, x = root @ root.T + np.eye(6), np.ones(6)
    hill = Problem("hill", lambda key: jnp.ones(d), lambda x: x @ H @ x / 2)
    r, path = -H @ x, []
    p = r
    for _ in range(4):
        path.append(x)
        alpha = r @ r / (p @ H @ p)
        x, new = x + alpha * p, r - alpha * H @ p
        p, r = new + new @ new / (r @ r) * p, new
    for pairs in (1, 6):
        method = optimizers.lbfgs(memory_size=pairs, linesearch=training.exact_search())
        record = lambda info: {"x": info.params}
        ours = run(hill, method, steps=4, key=jax.random.key(0), record=record).trace["x"]
        np.testing.assert_allclose(ours, path, rtol=1e-8)


def test_the_momentum_that_crosses_is_that_of_the_ball_s_path():
    """Newton's law by SciPy, a little above and a little below."""
    s, up, eta = training.START, training.UP, training.STEP

    def highest(momentum):
        force = lambda x: 1.0 if x < 0 else -up
        law = lambda t, z: [z[1], -(1 - momentum) * z[1] + eta * force(z[0])]
        dip = lambda t, z: z[0]
        top = lambda t, z: z[1]
        dip.terminal = top.terminal = True
        down = solve_ivp(law, (0, 1e5), [s, 0.0], events=dip, rtol=1e-10, atol=1e-13)
        rise = solve_ivp(
            lambda t, z: [z[1], -(1 - momentum) * z[1] - eta * up],
            (0, 1e5), down.y[:, -1], events=top, rtol=1e-10, atol=1e-13,
        )  # fmt: skip
        return rise.y[0, -1]

    momentum = training.crossing()
    assert highest(momentum) == pytest.approx(training.WIDTH, rel=1e-5)
    assert highest(momentum - 1e-4) < training.WIDTH < highest(momentum + 1e-4)


@pytest.mark.slow
def test_a_newton_step_is_that_of_numpy(x64):
    f = problems.rosenbrock(3).objective
    x = np.array([0.3, -0.2, 0.9])
    expected = x - np.linalg.solve(jax.hessian(f)(x), jax.grad(f)(x))
    np.testing.assert_allclose(training.newton_step(f)(x), expected, rtol=1e-12)
