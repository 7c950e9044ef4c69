"""Basins: ends beside a NumPy loop, stationary points beside algebra, and the experiment, whole and broken."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.claims import fails, sound
from oracles.errors import refused
from scipy.integrate import solve_ivp

from experiments import basins
from sandbox import landscape, optimizers, problems
from sandbox.problems import Problem

EULER, RISE, MIRROR = "minima − saddles + maxima", "most that an end", "starts unlike"
LOST, UNSTABLE, OWN = "ends that are no", "ends in a saddle", "minima within"
CAMEL, HIMMELBLAU = "six-hump camel", "Himmelblau"
HEAVY, NEAREST, GRID, STATIONARY = optimizers.heavy_ball, landscape.nearest, basins.grid, basins.stationary


def both(*parts):
    return {f"{method}: {part}" for part in parts for method in ("gradient descent", "β = 0.9")}


BROKEN = {  # the ground, what is broken in it, by what, and parts of the names of the claims that fail
    "too few steps": (CAMEL, "experiments.basins.STEPS", 20, both(LOST, OWN)),
    "a rate beyond 2/L": (
        HIMMELBLAU, "sandbox.optimizers.heavy_ball", lambda rate, beta: HEAVY(6 * rate, beta),
        {RISE, f"gradient descent: {OWN}", *both(LOST)},
    ),
    "uphill": (
        HIMMELBLAU, "sandbox.optimizers.heavy_ball", lambda rate, beta: HEAVY(-rate, 0.0),
        {RISE, *both(LOST, UNSTABLE, OWN)},
    ),
    "a grid beside the middle": (
        CAMEL, "experiments.basins.grid", lambda side, reach: GRID(side, reach) + 0.01 * reach, both(MIRROR),
    ),
}  # fmt: skip


def loop(gradient, start, rate, momentum, steps, tolerance):
    """Heavy ball in NumPy: the end, and the step after the last long gradient."""
    x, m, last = np.array(start), np.zeros(2), 0
    for k in range(steps):
        g = gradient(x)
        last = k + 1 if np.linalg.norm(g) > tolerance else last
        m = momentum * m + g
        x = x - rate * m
    return x, last


def himmelblau(x):
    a, b = x[0] ** 2 + x[1] - 11, x[0] + x[1] ** 2 - 7
    return np.array([4 * x[0] * a + 2 * b, 2 * a + 4 * x[1] * b])


def camel(p):
    x, y = p
    return np.array([8 * x - 8.4 * x**3 + 2 * x**5 + y, x - 8 * y + 16 * y**3])


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_arrivals_are_those_of_a_numpy_loop(x64, momentum):
    starts = np.random.default_rng(0).uniform(-5, 5, (12, 2))
    arrive = lambda start: landscape.arrive(
        problems.himmelblau(), optimizers.heavy_ball(0.003, momentum), start, steps=300, key=jax.random.key(0)
    )
    ends, steps = jax.jit(jax.vmap(arrive))(jnp.asarray(starts))
    known = [loop(himmelblau, start, 0.003, momentum, 300, 1e-6) for start in starts]
    np.testing.assert_allclose(ends, [end for end, _ in known], rtol=1e-8)
    np.testing.assert_allclose(steps, [last for _, last in known], atol=1)
    assert 0 < int(steps.min()) <= int(steps.max()) <= 300


def test_a_run_that_diverges_never_arrives():
    problem = Problem("steep", lambda key: jnp.ones(2), lambda x: jnp.sum(x**4))
    method = optimizers.gradient_descent(1.0)
    end, steps = landscape.arrive(problem, method, jnp.full(2, 9.0), steps=50, key=jax.random.key(0))
    assert int(steps) == 50
    assert np.isfinite(end).all()


def test_the_nearest_point_within_the_tolerance():
    points = [[0.0, 0.0], [1.0, 0.0]]
    ends = np.array([[[0.1, 0.0], [0.95, 0.0]], [[0.5, 0.0], [np.nan, 0.0]]])
    np.testing.assert_array_equal(landscape.nearest(ends, points, 0.2), [[0, 1], [-1, -1]])
    refused(lambda: landscape.nearest(ends, points, 0.5), "twice the tolerance")


@pytest.mark.slow
def test_the_camel_has_the_fifteen_stationary_points_of_algebra(x64):
    """y from the first equation in the second leaves one polynomial of degree 15 in x."""
    y = np.polynomial.Polynomial([0, -8, 0, 8.4, 0, -2])
    x = (np.polynomial.Polynomial([0, 1]) - 8 * y + 16 * y**3).roots()
    x = np.sort(x[np.abs(x.imag) < 1e-9].real)
    found = basins.stationary(basins.grounds()[CAMEL])
    assert found[1:] == (6, 7, 2)
    np.testing.assert_allclose(np.sort(found.points[:, 0]), x, atol=1e-9)
    np.testing.assert_allclose(found.points[np.argsort(found.points[:, 0]), 1], y(x), atol=1e-7)
    f = basins.camel().objective
    np.testing.assert_allclose(jax.vmap(f)(jnp.asarray(found.points[:2])), -1.0316284535, atol=1e-9)


@pytest.mark.slow
def test_himmelblau_has_nine(x64):
    found = basins.stationary(basins.grounds()[HIMMELBLAU])
    assert found[1:] == (4, 4, 1)
    np.testing.assert_allclose([himmelblau(x) for x in found.points], 0, atol=1e-9)
    known = problems.himmelblau().facts.minimizers
    assert all(np.abs(found.points[:4] - x).max(axis=1).min() < 1e-8 for x in known)


def test_gradient_descent_ends_where_the_gradient_flow_does(x64):
    """At small steps, from all but a few starts near a ridge; by SciPy."""
    starts = basins.grid(6, 5.0)
    places = np.stack(np.meshgrid(starts, starts, indexing="ij"), axis=-1).reshape(-1, 2)
    arrive = lambda start: landscape.arrive(
        problems.himmelblau(), optimizers.gradient_descent(0.003), start, steps=500, key=jax.random.key(0)
    )
    ends = jax.jit(jax.vmap(arrive))(jnp.asarray(places)).end
    points = np.stack(problems.himmelblau().facts.minimizers)
    flows = [solve_ivp(lambda t, x: -himmelblau(x), (0, 5), p, rtol=1e-8, method="LSODA").y[:, -1] for p in places]
    ours, theirs = (landscape.nearest(np.array(end), points, 1e-3) for end in (ends, flows))
    assert (theirs >= 0).all()
    assert (ours != theirs).mean() <= 0.06


def test_the_grid_is_its_own_mirror_image():
    for side in (5, 48, 128):
        values = basins.grid(side, 2.0)
        assert (values == -values[::-1]).all()
        assert values[-1] == pytest.approx(2.0)


@pytest.mark.slow
def test_basins(away):
    broken = {**BROKEN, "Morse": ("", "", None, {EULER})}  # below: a saddle left out
    sound(basins.main(fast=True), 18, 4, broken)


@pytest.mark.slow
@pytest.mark.parametrize(("ground", "name", "broken", "expected"), BROKEN.values(), ids=BROKEN)
def test_broken_basins(monkeypatch, x64, away, ground, name, broken, expected):
    monkeypatch.setattr(name, broken)
    fails([claim for part in basins.basins(ground, True) for claim in part.claims], expected)


@pytest.mark.slow
def test_a_stationary_point_that_is_overlooked(monkeypatch, x64, away):
    def most(ground):
        points, minima, saddles, maxima = STATIONARY(ground)
        return basins.Stationary(points[:-1], minima, saddles, maxima - 1)

    monkeypatch.setattr("experiments.basins.stationary", most)
    fails([claim for part in basins.basins(HIMMELBLAU, True) for claim in part.claims], {EULER})
