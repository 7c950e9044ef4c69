"""Stability: its claims hold, and each fails where a method is another; the functions beside a loop of NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest
from oracles.claims import fails, sound

from experiments import stability
from sandbox import optimizers

pytestmark = pytest.mark.usefixtures("away")
SGD, ADAMW, ADAM = optimizers.sgd, optimizers.adamw, optimizers.adam
OPT = "sandbox.optimizers."
SHARE, BORDER, POLYAK = "share of cells", "2(1 + β), off", "best cell"
DECAY, BOUND, INSIDE = "ηλ < 2", "λx from 1", "|x − 1| / η"
ENDS = {f"β₂ = {b}" for b in stability.KNOWN}
BROKEN = {  # the part, what is broken in it, by what, and parts of the names of the claims that fail
    "Nesterov": ("heavy_ball", OPT + "sgd", lambda r, momentum: SGD(r, momentum, True), {SHARE, BORDER, POLYAK}),
    "half the rate": ("heavy_ball", OPT + "sgd", lambda r, momentum: SGD(r / 2, momentum), {SHARE, BORDER, POLYAK}),
    "a little less momentum": ("heavy_ball", OPT + "sgd", lambda r, momentum: SGD(r, 0.9 * momentum), {SHARE}),
    "decay at half its strength": (
        "adamw", OPT + "adamw", lambda r, weight_decay: ADAMW(r, weight_decay=weight_decay / 2), {BOUND},
    ),
    "decay in the gradient": (
        "adamw", OPT + "adamw", lambda r, weight_decay: ADAMW(r, weight_decay=0.0), {DECAY, BOUND},
    ),
    "steps ten times too long": (
        "adamw", OPT + "adamw", lambda r, weight_decay: ADAMW(10 * r, b1=0.0, weight_decay=weight_decay / 10, b2=0.0),
        {BOUND, INSIDE},
    ),
    "no correction of the bias": ("betas", OPT + "adam", lambda r, b1, b2: ADAM(r, b1, 0.99 * b2), ENDS),
}  # fmt: skip


@pytest.mark.slow
def test_stability():
    sound(stability.main(fast=True), 12, 6, BROKEN)


@pytest.mark.slow
@pytest.mark.parametrize(("part", "name", "broken", "expected"), BROKEN.values(), ids=BROKEN)
def test_broken_stability(monkeypatch, x64, part, name, broken, expected):
    monkeypatch.setattr(name, broken)
    fails(getattr(stability, part)(True).claims, expected)


def test_heavy_ball_part(x64):
    part = stability.heavy_ball(True)
    assert [claim.name for claim in part.claims if not claim.holds] == []


def test_the_law_of_the_map_is_that_of_the_matrix_of_a_step(x64):
    """The largest eigenvalue of (x, x₋) → (x⁺, x), over both curvatures, by NumPy."""
    for rate, beta in ((0.3, 0.2), (2.0, 0.5), (3.0, 0.1)):
        steps = [np.array([[1 + beta - rate * h, -beta], [1, 0]]) for h in (0.1, 1.0)]
        radius = max(np.abs(np.linalg.eigvals(step)).max() for step in steps)
        found = stability.theory.heavy_ball_rate(np.array([0.1, 1.0]), rate, beta)
        assert found == pytest.approx(radius, rel=1e-9)


def test_a_turn_of_the_ten_functions_is_least_at_minus_2(x64):
    loss = stability.in_turn
    mean = lambda x: np.mean([float(loss(jnp.array(x), np.array([i]))) for i in range(10)])
    grid = np.linspace(-6, 4, 201)
    assert grid[np.argmin([mean(x) for x in grid])] == pytest.approx(-2)
