"""The race: its claims hold, and each fails where a method or a page is another; gradients beside autodiff."""

import jax
import numpy as np
import pytest
from oracles.claims import fails

from experiments import races
from sandbox import optimizers
from sandbox.report.replay import replay
from sandbox.sweeps import log, sweep

FEW = ("gradient descent", "heavy ball", "sign descent")
CELLS, FIRST, CLOSED = "cells of the grid", "does not descend", "closed form"
SIGNS, FAR = "½ (μ + L) η²", "farthest end"
DESCENT = {f"{ground}: gradient descent" for ground in races.GROUNDS}
HEAVY = {f"{ground}: heavy ball" for ground in races.GROUNDS}
PAGE, RACE, FILM = "explorer", "race", "film"
gd, ball, sign = optimizers.gradient_descent, optimizers.heavy_ball, optimizers.sign_sgd
BROKEN = {  # the method, what it is instead, and parts of the names of the claims that fail
    "a third of the rate": ("gradient descent", lambda r: gd(r / 3), {CELLS, FIRST, CLOSED, *DESCENT}),
    "less momentum": ("heavy ball", lambda r: ball(r, 0.89), HEAVY),
    "hardly a step": ("heavy ball", lambda r: ball(r * 1e-6), {FAR, *HEAVY}),
    "signs at ten times the rate": ("sign descent", lambda r: sign(10 * r), {SIGNS}),
}


def swept():
    with jax.enable_x64(True):
        axis = log(1e-4, 10.0, 21)
        ds = sweep(races.race, optimizer=list(races.METHODS), ground=range(4), learning_rate=axis, progress=False)
    ds = ds.transpose("optimizer", "ground", "learning_rate", ...)
    return ds, races.tuned(ds)


@pytest.fixture
def few(monkeypatch):
    """A race of three."""
    monkeypatch.setattr(races, "POINTS", 41)
    monkeypatch.setattr(races, "METHODS", {name: races.METHODS[name] for name in FEW})


@pytest.mark.usefixtures("away", "few")
@pytest.mark.slow
def test_races(tmp_path):
    found = races.main(fast=True)
    assert [claim.name for claim in found.claims if not claim.holds] == []
    assert len(found.claims) == 16
    names = {PAGE, RACE, FILM}.union(*(parts for *_, parts in BROKEN.values()))
    assert all(any(part in claim.name for part in names) for claim in found.claims)
    assert set(found.figures) == {"figure", "race.gif", "explorer.html", "race.html"}
    figure, caption = found.figures["figure"]
    assert len(figure.axes) == 12  # two rows of four, and four bars of colour
    assert all(word in caption for word in ("float64", "no seed", "log-spaced"))
    assert len(found.figures["race.gif"][0]) < 1.5e6
    assert len(found.summary) == 12


@pytest.mark.slow
@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(("name", "instead", "expected"), BROKEN.values(), ids=BROKEN)
def test_a_broken_race(monkeypatch, name, instead, expected):
    monkeypatch.setitem(races.METHODS, name, instead)
    ds, best = swept()
    fails([*races.laws(ds, best), *races.same_steps(ds, best)], expected)


@pytest.mark.usefixtures("few")
@pytest.mark.slow
def test_a_page_of_other_numbers():
    ds, best = swept()
    with jax.enable_x64(True):
        ground = races.ground_of("Rosenbrock")
    scene = races.scene_on(ds, best, "Rosenbrock", ground)
    winners = races.winners(scene)
    page = lambda scene: replay(scene, "t", "c")
    shown = np.stack([path[0, :: races.EVERY] for path in winners.paths.values()], axis=1)
    rounded = lambda scene: scene._replace(paths={n: np.nextafter(x, 0) for n, x in scene.paths.items()})
    pages = {"explorer.html": page(scene), "race.html": page(winners)}
    fails(races.same_numbers(ds, best, pages, shown), set())
    fails(races.same_numbers(ds, best, pages | {"explorer.html": page(rounded(scene))}, shown), {PAGE})
    fails(races.same_numbers(ds, best, pages | {"race.html": page(rounded(winners))}, shown), {RACE})
    fails(races.same_numbers(ds, best, pages, shown[::-1]), {FILM})
    assert races.differing([np.zeros(3)], [np.zeros(4)]) == 4


@pytest.mark.parametrize("name", races.GROUNDS)
def test_the_gradients_by_hand_are_those_of_the_problems(x64, name):
    problem, start, _, gradient = races.GROUNDS[name]
    for point in (start, (0.7, -1.3), (-2.0, 0.4)):
        np.testing.assert_allclose(gradient(*point), jax.grad(problem.objective)(np.array(point)), rtol=1e-12)


def test_the_tuned_rate_is_the_lowest_of_the_last_quarter_at_its_highest():
    """A rate that happens to be low at the last step is not taken, nor one that is lost; of equals, the least."""
    f = np.ones((1, 1, 4, races.STEPS + 1))
    f[0, 0, 0, -1] = 0.0
    f[0, 0, 1, -races.STEPS // 4 :] = 0.5
    f[0, 0, 2, -races.STEPS // 4 :] = 0.5
    f[0, 0, 3, -races.STEPS // 4 :] = np.nan
    fake = type("Dataset", (), {"f": type("Array", (), {"values": f})})
    assert races.tuned(fake).tolist() == [[1]]
