"""Paths: the law of random walks beside its own matrix, and the experiment, whole and broken."""

import numpy as np
import pytest
from oracles.claims import fails, sound
from oracles.errors import refused

from experiments import walks
from sandbox import landscape

SHARES, ARCS, LONG = "shares of variance", "its arc", ("share 1", "share 2", "share 3")
TRAINED, OUTSIDE, PYTHAGORAS = "least share of its plane", "most that is outside", "(part outside)²"
LAW, PRINCIPAL, CUMSUM, PROJECT = landscape.random_walk, landscape.principal, np.cumsum, landscape.project
ARCS_OF = walks.arcs
BROKEN = {  # the part, what is broken in it, by what, and parts of the names of the claims that fail
    "steps that are not summed": ("random_walks", "numpy.cumsum", lambda steps, axis: steps, {SHARES, ARCS}),
    "shares a tenth too large": (
        "random_walks", "sandbox.landscape.random_walk", lambda n, k: 1.1 * LAW(n, k), {SHARES, *LONG},
    ),
    "arcs of a half-turn more": (
        "random_walks", "experiments.walks.arcs", lambda n, k: np.roll(ARCS_OF(n, k), 1, axis=1), {ARCS},
    ),
    "the plane of two other components": (
        "trained", "sandbox.landscape.principal", lambda path, k: others(path, k), {TRAINED, OUTSIDE},
    ),
    "a plane through the origin": (
        "trained", "sandbox.landscape.project", lambda path, centre, u, v: PROJECT(path, 0 * centre, u, v),
        {OUTSIDE, PYTHAGORAS},
    ),
}  # fmt: skip


def others(path, k):
    found = PRINCIPAL(path, k + 2)
    return found._replace(directions=found.directions[2:], shares=found.shares[2:])


@pytest.mark.parametrize("points", [2, 5, 100])
def test_the_law_is_the_spectrum_of_a_walk(points):
    """In ever more dimensions the inner products of a walk's points become min(i, j), less their means."""
    i = np.arange(points)
    centre = np.eye(points) - 1 / points
    values, vectors = np.linalg.eigh(centre @ np.minimum.outer(i, i) @ centre)
    shares = values[::-1] / values.sum()
    np.testing.assert_allclose(landscape.random_walk(points, points - 1), shares[:-1], rtol=1e-9)
    k = min(4, points - 1)
    cosines = (walks.arcs(points, k) * vectors[:, ::-1][:, :k]).sum(0)
    np.testing.assert_allclose(np.abs(cosines), 1, atol=1e-9)


def test_the_law_of_a_long_walk():
    np.testing.assert_allclose(landscape.random_walk(10**6, 3), 6 / np.pi**2 / np.array([1, 4, 9]), rtol=1e-9)
    assert landscape.random_walk(50, 49).sum() == pytest.approx(1, abs=1e-12)


def test_components_are_those_of_the_singular_values(x64):
    path = CUMSUM(np.random.default_rng(0).normal(size=(20, 7)), axis=0)
    shares, axes, coordinates = walks.components(path)
    u, s, vt = np.linalg.svd(path - path.mean(0), full_matrices=False)
    np.testing.assert_allclose(shares, s[:6] ** 2 / (s**2).sum(), rtol=1e-10)
    np.testing.assert_allclose(np.abs((axes * vt[:6]).sum(1)), 1, atol=1e-10)
    np.testing.assert_allclose(np.abs(coordinates), np.abs(u[:, :6] * s[:6]), atol=1e-9)


def test_what_a_plane_leaves_of_a_walk_is_what_the_shares_leave(x64):
    path = CUMSUM(np.random.default_rng(1).normal(size=(30, 50)), axis=0)
    shares, axes, coordinates = walks.components(path)
    found = landscape.project(path, path.mean(0), *axes[:2])
    np.testing.assert_allclose(np.stack([found.a, found.b], axis=1), coordinates[:, :2], atol=1e-9)
    assert found.fraction**2 == pytest.approx(1 - shares[:2].sum(), abs=1e-12)


@pytest.mark.parametrize("components", [0, 5])
def test_too_many_components_are_one_line(components):
    refused(lambda: landscape.random_walk(5, components), "expected from 1 to 4")


@pytest.mark.slow
def test_walks(away):
    sound(walks.main(fast=True), 8, 3, BROKEN)


@pytest.mark.slow
@pytest.mark.parametrize(("part", "name", "broken", "expected"), BROKEN.values(), ids=BROKEN)
def test_broken_walks(monkeypatch, x64, away, part, name, broken, expected):
    monkeypatch.setattr(name, broken)
    found = walks.random_walks(4) if part == "random_walks" else walks.trained(True)[0]
    fails(found.claims, expected)


def test_a_path_unlike_its_centre_is_refused():
    u, v = np.eye(2)
    refused(lambda: landscape.project(np.ones((5, 1)), np.zeros(2), u, v), "shaped")
