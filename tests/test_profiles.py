"""Profiles: their claims, whole and broken; the profile and the modes beside loops; permuted problems."""

import numpy as np
import pytest
from oracles.claims import fails, sound

from experiments import profiles

RISE, RIGHT, LEFT = "least rise", "right end", "left ends"
STEPS, RATIO, FEW = "other steps than its modes", "descent / of heavy ball", "gradients of L-BFGS"
PROFILE, MODES, DESCENT = profiles.profile, profiles.modes, profiles.theory.gradient_descent_rate
BROKEN = {  # the part, what is broken in it, by what, and parts of the names of the claims that fail
    "factors in the other order": (
        "profiles", "experiments.profiles.profile", lambda cost, factors: PROFILE(cost, factors)[:, ::-1], {RISE},
    ),
    "runs that never end count as solved late": (
        "profiles", "experiments.profiles.profile",
        lambda cost, factors: np.where(factors > 1e9, 1.0, PROFILE(cost, factors)), {RIGHT},
    ),
    "faster than the best": (
        "profiles", "experiments.profiles.profile", lambda cost, factors: PROFILE(cost, factors * (1 - 1e-9)), {LEFT},
    ),
    "a step more": ("gradients", "experiments.profiles.modes", lambda h, rate, x: MODES(h, rate, x) + 1, {STEPS}),
    "heavy ball without its momentum": (
        "gradients", "sandbox.theory.heavy_ball_rate", lambda h, rate, beta: DESCENT(h, rate), {RATIO},
    ),
    "a valley that is not convex": ("gradients", "experiments.profiles.CONVEX", ["rosenbrock"], {FEW}),
}  # fmt: skip


@pytest.fixture(scope="module")
def raced(tmp_path_factory):
    """All that is found, and what each part is given."""
    given = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sandbox.reproduction.results", lambda *_: tmp_path_factory.mktemp("results"))
        for name in ("profiles", "gradients"):
            part = getattr(profiles, name)
            patch.setattr(profiles, name, lambda *a, name=name, part=part: part(*given.setdefault(name, a)))
        return profiles.main(fast=True), given


@pytest.mark.slow
def test_profiles(raced):
    sound(raced[0], 6, 2, BROKEN)


@pytest.mark.slow
@pytest.mark.parametrize(("part", "name", "broken", "expected"), BROKEN.values(), ids=BROKEN)
def test_broken_profiles(monkeypatch, raced, part, name, broken, expected):
    monkeypatch.setattr(name, broken)
    fails(getattr(profiles, part)(*raced[1][part]).claims, expected)


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
