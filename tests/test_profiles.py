"""Profiles: their claims hold; the profile and the modes beside loops; what a permutation of problems changes."""

import numpy as np
import pytest

from experiments import profiles

pytestmark = pytest.mark.usefixtures("away")


@pytest.mark.slow
def test_profiles():
    found = profiles.main(fast=True)
    assert len(found.claims) == 6
    assert [claim.name for claim in found.claims if not claim.holds] == []


def test_a_profile_by_hand():
    """Three runs: the first method wins one, is twice as slow on another, and never solves the third."""
    cost = np.array([[10.0, 40.0, np.inf], [30.0, 20.0, 5.0]])
    found = profiles.profile(cost, np.array([1.0, 2.0, 3.0, 1e9]))
    np.testing.assert_allclose(found, [[1 / 3, 2 / 3, 2 / 3, 2 / 3], [2 / 3, 2 / 3, 1, 1]])


def test_a_permutation_of_problems_changes_nothing_and_an_unsolved_problem_counts_for_none():
    rng, factors = np.random.default_rng(0), np.geomspace(1, 100, 30)
    cost = rng.integers(1, 100, (4, 20)).astype(float)
    cost[rng.random(cost.shape) < 0.2] = np.inf
    whole = profiles.profile(cost, factors)
    np.testing.assert_array_equal(profiles.profile(cost[:, rng.permutation(20)], factors), whole)
    more = np.hstack([cost, np.full((4, 20), np.inf)])
    np.testing.assert_allclose(profiles.profile(more, factors), whole / 2)


def test_the_modes_are_those_of_a_loop():
    h, rate, x = np.array([0.1, 1.0]), 1.5, np.array([2.0, -1.0])
    place, first, count = x.copy(), (h * x**2).sum(), 1
    while (h * place**2).sum() > profiles.TAU * first:
        place, count = place - rate * h * place, count + 1
    assert profiles.modes(h, rate, x) == count
    assert profiles.modes(h, 2.5, x) == np.inf


def test_the_band_holds_the_profile():
    rng, factors = np.random.default_rng(1), np.geomspace(1, 50, 20)
    cost = rng.integers(1, 100, (3, 12, 4)).astype(float)
    low, high = profiles.band(cost, factors)
    middle = profiles.profile(cost.reshape(3, -1), factors)
    assert ((low <= middle) & (middle <= high)).all()
