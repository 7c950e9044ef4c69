"""Connectivity: curves and barriers by hand, matching beside all permutations, and the experiment, whole and broken."""

from itertools import pairwise, permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.claims import fails, sound
from oracles.errors import refused

from experiments import connectivity
from sandbox import landscape, models, optimizers
from sandbox.engine import run
from sandbox.problems import Problem

SAME, ORDER, COPY = "its loss less", "units matched", "after matching / before"
NEARER, LOWER, BENT = "distance, most", "matched / unmatched barrier", "bent / straight"
MATCH, PERMUTE, THROUGH = landscape.match, landscape.permute, landscape.through
BROKEN = {  # what is broken, by what, and parts of the names of the claims that fail
    "no matching": (
        "sandbox.landscape.match", lambda a, b: [np.arange(len(b[0]["w"]))[::-1]], {ORDER, COPY, NEARER, LOWER},
    ),
    "a copy a little larger": (
        "sandbox.landscape.permute", lambda params, orders: larger(PERMUTE(params, orders)),
        {SAME},
    ),
    "bends that are not trained": ("experiments.connectivity.BENDING", 1, {BENT}),
}  # fmt: skip


def larger(params):
    """The last layer's weights a thousandth larger."""
    return [*params[:-1], {**params[-1], "w": 1.001 * params[-1]["w"]}]


def networks(sizes, count=2, seed=0):
    """Layers of normal weights and biases."""
    rng = np.random.default_rng(seed)
    layer = lambda fan_in, fan_out: {"w": rng.normal(size=(fan_out, fan_in)), "b": rng.normal(size=fan_out)}
    return [[layer(*sides) for sides in pairwise(sizes)] for _ in range(count)]


apply = jax.jit(models.mlp.apply)


def test_a_straight_control_polygon_is_the_straight_line(x64):
    """The curve beside the line, as parameters and as values of `line`."""
    a, b = networks((3, 4, 2))
    t = np.linspace(0, 1, 7)
    f = lambda p: jnp.sum(jnp.sin(models.mlp.apply(p, jnp.arange(3.0), "tanh")))
    bend = landscape.middle(a, b)
    for s in t:
        on = landscape.bezier(a, bend, b, s)
        line = jax.tree.map(lambda x, y, s=s: (1 - s) * x + s * y, a, b)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-14), on, line)
    values = landscape.along(f, lambda s: landscape.bezier(a, bend, b, s), t)
    straight = landscape.line(f, a, jax.tree.map(np.subtract, b, a), t)
    np.testing.assert_allclose(values, straight, atol=1e-12)


def test_a_curve_by_hand():
    np.testing.assert_allclose(landscape.bezier(1.0, 5.0, 3.0, 0.25), 0.5625 * 1 + 0.375 * 5 + 0.0625 * 3)
    assert (landscape.bezier(1.0, 5.0, 3.0, 0.0), landscape.bezier(1.0, 5.0, 3.0, 1.0)) == (1, 3)


def test_barriers():
    t = np.linspace(0, 1, 5)
    assert landscape.barrier(t, [0, 1, 2, 3, 4]) == 0
    assert landscape.barrier(t, [2, 1, 0, 1, 2]) == 0
    assert landscape.barrier(t, [0, 1, 5, 3, 4]) == 3
    np.testing.assert_array_equal(landscape.barrier(t, [[0, 0, 1, 0, 0], [0, 0, np.nan, 0, 0]]), [1, np.nan])


def test_the_mean_over_a_curve_is_its_integral(x64):
    """Of a quartic in t Gauss's rule is exact; draws of t have it for their mean."""
    f = Problem("square", lambda key: jnp.zeros(2), lambda x: jnp.sum(x**2))
    a, b, bend = jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0]), jnp.array([0.3, -2.0])
    whole = landscape.curve(f, a, b)
    t = np.linspace(0, 1, 20_001)[:, None]
    known = np.trapezoid((((1 - t) ** 2 * a + 2 * t * (1 - t) * bend + t**2 * b) ** 2).sum(1), t[:, 0])
    np.testing.assert_allclose(whole.objective(bend), known, rtol=1e-7)
    draws = jax.jit(jax.vmap(lambda key: whole.objective(bend, key=key)))(jax.random.split(jax.random.key(0), 20_000))
    assert abs(draws.mean() - known) < 4 * draws.std() / np.sqrt(len(draws))
    np.testing.assert_allclose(whole.init(None), [0.5, 0.5])


@pytest.mark.slow
def test_training_bends_the_curve_around_a_hill(x64):
    """Between (−1, 0) and (1, 0) on ‖x‖ = 1 of (‖x‖² − 1)²: the best bend, by a search over all of them."""
    ring = Problem("ring", lambda key: jnp.zeros(2), lambda x: (jnp.sum(x**2) - 1) ** 2)
    a, b = jnp.array([-1.0, 0.0]), jnp.array([1.0, 0.0])
    way = landscape.curve(ring, a, b)
    integral = jax.jit(jax.vmap(lambda h: way.objective(jnp.array([0.0, h]))))
    heights = np.linspace(0, 3, 3001)
    best = heights[np.argmin(integral(jnp.asarray(heights)))]
    method = optimizers.gradient_descent(lambda k: 0.5 / (1 + k / 100))
    start = jnp.array([0.1, 0.2])
    found = jax.jit(lambda key: run(way, method, steps=5000, key=key, params=start, record=None))(jax.random.key(0))
    np.testing.assert_allclose(found.params, [0, best], atol=0.05)


def test_a_permuted_network_is_the_same_function(x64):
    params = networks((3, 5, 4, 2), 1)[0]
    rng = np.random.default_rng(1)
    orders = [rng.permutation(5), rng.permutation(4)]
    x = jnp.asarray(rng.normal(size=(3, 6)))
    moved = landscape.permute(params, orders)
    np.testing.assert_allclose(apply(moved, x), apply(params, x), atol=1e-13)
    np.testing.assert_array_equal(moved[0]["w"], params[0]["w"][orders[0]])


def test_matching_undoes_a_permutation(x64):
    params = networks((6, 9, 8, 3), 1)[0]
    rng = np.random.default_rng(1)
    orders = [rng.permutation(9), rng.permutation(8)]
    copy = landscape.permute(params, orders)
    back = landscape.permute(copy, landscape.match(params, copy))
    jax.tree.map(np.testing.assert_array_equal, back, params)
    t = np.linspace(0, 1, 5)
    f = lambda p: jnp.sum(models.mlp.apply(p, jnp.arange(6.0)) ** 2)
    values = landscape.along(f, lambda s: landscape.bezier(params, landscape.middle(params, back), back, s), t)
    assert landscape.barrier(t, values) <= 1e-13 * float(f(params))


def test_of_one_layer_the_matching_is_the_best_of_all():
    for seed in range(4):
        a, b = networks((3, 5, 2), seed=seed)
        far = lambda order: sum(  # the squared distance
            np.sum((np.asarray(x) - np.asarray(y)) ** 2)
            for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(landscape.permute(b, [order])), strict=True)  # noqa: B023
        )
        best = min(permutations(range(5)), key=lambda order: far(np.array(order)))
        np.testing.assert_array_equal(landscape.match(a, b)[0], best)


def test_of_two_layers_no_single_one_can_do_better():
    a, b = networks((3, 4, 4, 2), seed=3)
    orders = landscape.match(a, b)
    inner = lambda orders: sum(
        np.vdot(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(landscape.permute(b, orders)), strict=True)
    )
    for layer in (0, 1):
        for order in permutations(range(4)):
            assert inner([np.array(order) if n == layer else o for n, o in enumerate(orders)]) <= inner(orders) + 1e-9


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: landscape.match(*networks((2, 3, 1), 1), networks((2, 4, 1), 1)[0]), "different sizes"),
        (lambda: landscape.match({"w": 1}, {"w": 1}), "layers of a perceptron"),
        (lambda: landscape.barrier([0.0, 0.5], [1.0, 2.0]), "from 0 to 1"),
        (lambda: landscape.barrier([0.0, 1.0], [1.0, 2.0, 3.0]), "from 0 to 1"),
    ],
)
def test_bad_input_is_one_line(call, words):
    refused(call, words)


def test_the_plane_is_that_through_both_networks_and_their_bend(monkeypatch, x64):
    """At the places that `through` gives the three, the map has their values."""
    points, looks = networks((3, 4, 2), 3), []
    f = Problem("sines", None, lambda p: jnp.sum(jnp.sin(models.mlp.apply(p, jnp.arange(3.0), "tanh"))))
    monkeypatch.setattr(connectivity, "kept", lambda file, name, fast, look, **axes: looks.append((look, axes)))
    monkeypatch.setattr(landscape, "through", lambda *given: looks.append(THROUGH(*given)) or looks[-1])
    start, bend, end = points
    connectivity.plane(f, start, bend, end, True)
    triangle, (look, axes) = looks
    for point, place in zip((start, end, bend), triangle.places, strict=True):
        np.testing.assert_allclose(look(*place), f.objective(point), rtol=1e-12)
        assert all(min(axis) < at < max(axis) for axis, at in zip(axes.values(), place, strict=True))


@pytest.mark.slow
def test_connectivity(away):
    sound(connectivity.main(fast=True), 6, 4, BROKEN)  # the colour bar has axes of its own


@pytest.mark.slow
@pytest.mark.parametrize(("name", "broken", "expected"), BROKEN.values(), ids=BROKEN)
def test_broken_connectivity(monkeypatch, away, name, broken, expected):
    monkeypatch.setattr(name, broken)
    fails(connectivity.main(fast=True).claims, expected)
