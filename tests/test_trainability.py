"""Trainability: sets of known dimension, verdicts beside NumPy, and the experiment's claims, whole and broken."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.claims import fails, sound
from oracles.errors import refused

from experiments import fractal, trainability
from sandbox import landscape
from sandbox.engine import run
from sandbox.problems import Problem

WRONG, SQUARE = "quadratic: pairs", "quadratic: dimension"
BELOW, ABOVE = "from below", "from above"
RATES, Trained = landscape.rates, landscape.Trained
BROKEN = {  # the part, what is broken in it, by what, and parts of the names of the claims that fail
    "a verdict that asks for finite losses alone": (
        "control", "sandbox.landscape.trained", lambda loss: Trained(jnp.isfinite(loss[-1]), loss[0]), {WRONG},
    ),
    "rates exchanged": (
        "control", "sandbox.landscape.rates", lambda each: RATES({"x": each["y"], "y": each["x"]}), {WRONG},
    ),
    "a tenth of the second rate": (
        "control", "sandbox.landscape.rates", lambda each: RATES({**each, "y": each["y"] / 10}), {WRONG},
    ),
    "an area": ("control", "sandbox.landscape.boundary", lambda inside: inside, {SQUARE}),
    "a network without a second layer's rate": (
        "network", "sandbox.landscape.rates", lambda each: RATES({**each, "v": 1e-3}), {BELOW},
    ),
    "all of the map": ("network", "sandbox.landscape.boundary", lambda inside: np.ones_like(inside), {ABOVE}),
}  # fmt: skip


def repeated(pattern, times):
    """A pattern in which each cell is again the pattern or empty."""
    found = np.ones((1, 1), bool)
    for _ in range(times):
        found = np.kron(found, pattern).astype(bool)
    return found


def koch(depth):
    """Points of the curve of von Koch, a third of a cell of 3⁻ᵈ apart, from its four maps."""
    points = np.array([0.0 + 0j, 1 / 3, 2 / 3])
    turn = np.exp(1j * np.pi / 3)
    for _ in range(depth):
        part = points / 3
        points = np.concatenate([part, 1 / 3 + turn * part, 1 / 3 + turn / 3 + part / turn, 2 / 3 + part])
    cells = np.zeros((3**depth, 3**depth), bool)
    place = (np.stack([points.real, points.imag]) * 3**depth).astype(int)
    cells[tuple(place)] = True
    return cells


@pytest.mark.parametrize(
    ("cells", "sizes", "known", "slack"),
    [
        (np.eye(64, dtype=bool), None, 1, 1e-12),
        (np.arange(64)[:, None] == np.full(64, 17), None, 1, 1e-12),
        (np.ones((64, 64), bool), None, 2, 1e-12),
        (np.eye(64, dtype=bool) & (np.arange(64) == 5), None, 0, 1e-12),
        (repeated([[1, 1, 1], [1, 0, 1], [1, 1, 1]], 4), (1, 3, 9), np.log(8) / np.log(3), 1e-12),
        (repeated([[1, 0], [1, 1]], 7), None, np.log(3) / np.log(2), 1e-12),
        (repeated([[0, 1, 0], [1, 1, 1], [0, 1, 0]], 4), (1, 3, 9), np.log(5) / np.log(3), 1e-12),
        (koch(7), (1, 3, 9, 27, 81), np.log(4) / np.log(3), 0.02),
    ],
    ids=["diagonal", "line", "square", "point", "carpet", "triangle", "Vicsek", "Koch"],
)
def test_known_dimensions(cells, sizes, known, slack):
    assert landscape.dimension(cells, sizes) == pytest.approx(known, abs=slack)


def test_counts_and_slopes_by_hand():
    cells = np.zeros((8, 8), bool)
    cells[0, 0] = cells[1, 1] = cells[7, 0] = True
    np.testing.assert_array_equal(landscape.box_counts(cells, (1, 2, 4, 8)), [3, 2, 2, 1])
    np.testing.assert_allclose(landscape.exponents(np.array([3, 2, 2, 1]), (1, 2, 4, 8)), [np.log2(1.5), 0, 1])
    assert landscape.powers(9) == (1, 2, 4, 8)
    assert landscape.powers(0) == ()


def test_the_border_is_where_the_verdict_changes():
    inside = np.zeros((4, 4), bool)
    inside[1:3, 1:] = True
    known = [[int(any(inside[i, j] != inside[p] for p in ((i + 1, j), (i, j + 1)) if max(p) < 4)) for j in range(4)]
             for i in range(4)]  # fmt: skip
    np.testing.assert_array_equal(landscape.boundary(inside), known)
    assert landscape.boundary(~inside).tolist() == landscape.boundary(inside).tolist()
    assert not landscape.boundary(np.ones((3, 5), bool)).any()


def test_verdicts():
    falling, rising = 0.9 ** np.arange(50.0), 1.1 ** np.arange(50.0)
    lost = np.where(np.arange(50) < 30, falling, np.nan)
    cases = ((falling, True), (rising, False), (lost, False), (np.where(np.isnan(lost), np.inf, lost), False))
    for loss, verdict in cases:
        converged, shade = landscape.trained(jnp.asarray(loss * 7))
        assert bool(converged) is verdict
        with np.errstate(invalid="ignore"):
            known = loss.sum() if verdict else np.nansum(np.where(np.isfinite(loss), 1 / loss, 0))
        assert float(shade) == pytest.approx(known, rel=1e-5)


def test_every_leaf_has_its_rate(x64):
    f = lambda p: p["a"] ** 2 + 3 * p["b"] @ p["b"]
    problem = Problem("two", lambda key: {"a": jnp.ones(()), "b": jnp.ones(2)}, f)
    found = run(problem, landscape.rates({"a": 0.1, "b": 0.05}), steps=3, key=jax.random.key(0)).params
    np.testing.assert_allclose(found["a"], 0.8**3, rtol=1e-14)
    np.testing.assert_allclose(found["b"], np.full(2, 0.7**3), rtol=1e-14)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: landscape.dimension(np.zeros((16, 16), bool)), "empty"),
        (lambda: landscape.dimension(np.ones((8, 8), bool)), "two or more"),
        (lambda: landscape.box_counts(np.ones((8, 8), bool), (0, 1)), "boxes of one cell"),
    ],
)
def test_bad_input_is_one_line(call, words):
    refused(call, words)


@pytest.mark.slow
def test_trainability(away):
    sound(trainability.main(fast=True), 4, 3, BROKEN)


@pytest.mark.slow
def test_the_fractal_on_a_small_map(away):
    found = fractal.main(fast=True)
    assert [claim.name for claim in found.claims if not claim.holds] == []
    assert [row["box"] for row in found.summary] == [1, 2, 4]
    first, second, _ = (row["boxes met"] for row in found.summary)
    assert found.summary[0]["slope to the next"] == pytest.approx(np.log2(first / second), rel=1e-12)
    assert fractal.on_request


@pytest.mark.slow
@pytest.mark.parametrize(("part", "name", "broken", "expected"), BROKEN.values(), ids=BROKEN)
def test_broken_trainability(monkeypatch, away, part, name, broken, expected):
    monkeypatch.setattr(name, broken)
    if part == "control":
        found, _ = trainability.rectangle(True)
    else:
        found, _ = trainability.networks(trainability.__file__, True, 32, 32)
    fails(found.claims, expected)


@pytest.mark.slow
def test_one_network_of_the_map_is_a_loop_in_numpy(away):
    """The gradient by hand, step by step, where both rates are small enough for rounding not to grow."""
    part, _ = trainability.networks(trainability.__file__, True, 32, 32)
    (ds,) = part.sweeps
    problem = trainability.network()
    params = jax.tree.map(np.asarray, problem.init(None))
    inner, outer, shade = (float(x) for x in (ds.inner[0], ds.outer[0], ds.shade[0, 0]))
    inputs, targets, _ = jax.random.split(jax.random.key(0), 3)
    X = np.asarray(jax.random.normal(inputs, (trainability.WIDTH, trainability.EXAMPLES)), float)
    y = np.asarray(jax.random.normal(targets, (trainability.EXAMPLES,)), float)
    w, v, losses = params["w"].astype(float), params["v"].astype(float), []
    for _ in range(32):
        h = np.tanh(w @ X)
        r = v @ h - y
        losses.append(np.mean(r**2))
        gv, gw = 2 * h @ r / len(y), 2 * ((1 - h**2) * np.outer(v, r)) @ X.T / len(y)
        w, v = w - inner * gw, v - outer * gv
    assert bool(ds.converged[0, 0]) == (np.mean(losses[-20:]) < losses[0])
    assert shade == pytest.approx(np.sum(losses) / losses[0], rel=1e-3)
