"""tune: best rate, safe range and cliff, where all three are known in closed form."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray

from sandbox import optimizers, problems, theory
from sandbox.problems import Problem
from sandbox.sweeps import judge, log, tune

CURVATURES = np.array([0.05, 0.4, 1.3])
START = np.array([2.0, -1.0, 3.0])


def quadratic(curvatures=CURVATURES, start=START):
    """½ Σ λᵢ xᵢ²."""
    return Problem("quadratic", lambda key: jnp.asarray(start), lambda x: jnp.sum(jnp.asarray(curvatures) * x**2) / 2)


def quartic():
    """x⁴ from x₀ ~ N(0, 1): under gradient descent x ← x (1 − 4ηx²), which grows without bound where ηx₀² > ½ and
    shrinks where ηx₀² < ½."""
    return Problem("quartic", lambda key: jax.random.normal(key, (1,)), lambda x: jnp.sum(x**4))


def after(rates, steps):
    """½ Σ λᵢ (1 − ηλᵢ)²ᵏ xᵢ²: gradient descent after k steps at each rate η."""
    return (CURVATURES * START**2 * (1 - np.multiply.outer(rates, CURVATURES)) ** (2 * steps)).sum(axis=-1) / 2


def cell(tuned):
    """The last safe rate and the first that is not: the cliff lies between them."""
    rates = np.sort(tuned.dataset.learning_rate.values)
    return tuned.safe_high, rates[rates > tuned.safe_high][0]


def test_on_a_quadratic_every_number_is_known(x64):
    rates, steps = np.geomspace(0.03, 10, 60), 7
    tuned = tune(quadratic(), optimizers.gradient_descent, learning_rate=rates, seeds=range(3), steps=steps)
    known, start = after(rates, steps), after(rates, 0)
    np.testing.assert_allclose(tuned.dataset.value, np.stack([known] * 3, axis=1), rtol=1e-12)
    np.testing.assert_allclose(tuned.dataset.start, np.stack([start] * 3, axis=1), rtol=1e-15)
    best = np.argmin(known)
    safe = rates[known < start]  # 0 < η < cliff: one unbroken run, for the objective is convex in η
    assert tuned.learning_rate == rates[best]
    np.testing.assert_allclose([tuned.value, tuned.low, tuned.high], known[best], rtol=1e-12)
    assert (tuned.safe_low, tuned.safe_high, tuned.margin) == (safe[0], safe[-1], safe[-1] / rates[best])
    assert tuned.notes == ()
    assert not tuned.at_edge


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9])
def test_the_cliff_is_that_of_theory(beta, x64):
    """2/L for gradient descent, 2(1 + β)/L for heavy ball: it lies in the grid cell above the last safe rate."""
    method = partial(optimizers.heavy_ball, momentum=beta)
    tuned = tune(quadratic(), method, learning_rate=log(0.02, 20.0, 80), seeds=[0], steps=1500)
    low, high = cell(tuned)
    assert low < theory.heavy_ball_cliff(CURVATURES.max(), beta) < high
    if beta == 0:
        rates = tuned.dataset.learning_rate.values
        optimum = theory.gradient_descent_optimum(CURVATURES.min(), CURVATURES.max()).learning_rate
        assert abs(np.log(tuned.learning_rate / optimum)) <= np.log(rates[1] / rates[0])


def test_the_best_rate_is_two_over_L_plus_mu(x64):
    """Up to the grid, once so many steps were done that the slowest mode decides."""
    rates = np.linspace(1.2, 1.6, 81)
    tuned = tune(quadratic(), optimizers.gradient_descent, learning_rate=rates, seeds=[0], steps=2000)
    assert abs(tuned.learning_rate - 2 / (CURVATURES.min() + CURVATURES.max())) <= rates[1] - rates[0]


def test_a_rate_at_which_one_seed_diverges_is_no_candidate(x64):
    """Higher rates are better for those who survive them; the luckiest start must not decide."""
    seeds, rates = range(5), np.geomspace(1e-2, 10, 60)
    starts = np.array([float(quartic().init(jax.random.split(jax.random.key(s), 3)[0])[0]) for s in seeds])
    tuned = tune(quartic(), optimizers.gradient_descent, learning_rate=rates, seeds=seeds, steps=400)
    diverges = np.multiply.outer(rates, starts**2) > 0.5
    assert diverges.any(axis=1).sum() > diverges.all(axis=1).sum() + 1, "there are rates at which only some diverge"
    np.testing.assert_array_equal(tuned.dataset.status == 1, diverges)
    everyone = ~diverges.any(axis=1)
    assert tuned.safe_high == rates[everyone].max()
    assert tuned.learning_rate <= tuned.safe_high
    at = tuned.dataset.value.sel(learning_rate=tuned.learning_rate)
    assert (tuned.value, tuned.low, tuned.high) == (np.median(at), at.min(), at.max())
    assert tuned.value == np.median(tuned.dataset.value.values[everyone], axis=1).min()


def test_where_no_rate_suits_every_seed_the_fewest_lost_seeds_win(x64):
    """Seed 3 starts so far out that it diverges at each of these rates."""
    starts = jnp.array([0.5, 0.6, 0.7, 9.0])
    problem = Problem("far", lambda key: starts[None, jax.random.key_data(key)[1] % 4], lambda x: jnp.sum(x**4))
    drawn = lambda s: int(jax.random.key_data(jax.random.split(jax.random.key(s), 3)[0])[1] % 4)
    first = [drawn(s) for s in range(40)]
    chosen = [first.index(k) for k in range(4)]
    tuned = tune(problem, optimizers.gradient_descent, learning_rate=[0.1, 0.5, 1.2], seeds=chosen, steps=200)
    assert (tuned.dataset.status == 1).sum("seed").values.tolist() == [1, 1, 2]  # ½ < η·0.49 at 1.2 only
    lives = tuned.dataset.value.sel(learning_rate=0.5).values[:3]
    assert (tuned.learning_rate, tuned.value) == (0.5, np.median(lives))
    assert np.isnan([tuned.safe_low, tuned.safe_high, tuned.margin]).all()
    assert tuned.notes == ("no rate keeps every seed finite: at the best one 1 of 4 diverged",)


def test_when_everything_diverges_there_is_no_answer():
    tuned = tune(quadratic(), optimizers.gradient_descent, learning_rate=log(50.0, 5e3, 4), seeds=range(2), steps=100)
    assert np.isnan(tuned[:7]).all()
    assert tuned.notes == ("every run diverged; try rates below 50",)
    assert (tuned.dataset.status == 1).all()


@pytest.mark.parametrize(
    ("rates", "edge", "note"),
    [
        ((1.5, 1.4, 1.53), True, "the best rate is the lowest that was tried; widen the grid below 1.4"),
        ((0.1, 0.9, 0.3), True, "the best rate is the highest that was tried; widen the grid above 0.9"),
        ((0.1, 1.4, 1.5), False, "the cliff lies beyond the grid, above 1.5: the margin is at least this"),
        ((0.1, 1.4, 1.5, 2.0), False, None),
    ],
)
def test_the_edge_of_the_grid_is_said(rates, edge, note, x64):
    """The best is near 1.41 with many steps, the cliff at 1.54; the rates need not come in order."""
    tuned = tune(quadratic(), optimizers.gradient_descent, learning_rate=rates, seeds=[0], steps=300)
    assert tuned.at_edge is edge
    assert (note in tuned.notes) if note else not tuned.notes
    assert tuned.dataset.learning_rate.values.tolist() == list(rates)


def test_rates_that_only_climb_are_not_safe(x64):
    """Gradient ascent on x² climbs at every rate: the best is the slowest climb, nothing is safe, and that is said."""
    hill = Problem("hill", lambda key: jnp.array([1.0]), lambda x: jnp.sum(x**2))
    ascent = lambda rate: optimizers.gradient_descent(-rate)
    tuned = tune(hill, ascent, learning_rate=[0.1, 0.2, 0.3], seeds=[0], steps=3)
    assert np.isnan([tuned.safe_low, tuned.safe_high, tuned.margin]).all()
    assert "no rate is safe: even at the best one a seed ends no lower than it started" in tuned.notes


def test_a_safe_run_is_unbroken():
    """Rates that are good again beyond a bad one do not count: from 5, only 3, 4 and 5 end lower in one stretch."""
    ds = xarray.Dataset(
        {
            "value": (("learning_rate", "seed"), [[3.0], [9.0], [2.0], [1.0], [4.0], [9.0], [3.0]]),
            "start": (("learning_rate", "seed"), np.full((7, 1), 5.0)),
            "status": (("learning_rate", "seed"), np.zeros((7, 1), int)),
        },
        {"learning_rate": np.arange(1.0, 8.0), "seed": [0]},
    )
    tuned = judge(ds)
    assert (tuned.learning_rate, tuned.safe_low, tuned.safe_high, tuned.margin) == (4.0, 3.0, 5.0, 1.25)


def test_start_and_end_are_of_all_data(x64):
    """However small the batch: mean squares of y = (1, 2, 3, 6) around the intercept, 12.5/2 at the start."""
    problem = problems.least_squares(np.zeros((4, 1)), np.array([1.0, 2.0, 3.0, 6.0]))
    tuned = tune(problem, optimizers.sgd, learning_rate=[0.1, 0.2], seeds=range(2), steps=3, batch_size=1)
    np.testing.assert_allclose(tuned.dataset.start, 12.5 / 2)
    assert len(np.unique(tuned.dataset.value)) == 4


def test_a_store_is_resumed(tmp_path):
    call = partial(tune, quadratic(), optimizers.gradient_descent, learning_rate=log(0.1, 2.0, 9), steps=20)
    plain = call(seeds=range(2))
    first, again = call(seeds=range(2), store=tmp_path / "s"), call(seeds=range(2), store=tmp_path / "s")
    assert [t.dataset.attrs["lanes_computed"] for t in (first, again)] == [18, 0]
    assert plain[:8] == first[:8] == again[:8]
    assert call(seeds=range(3), store=tmp_path / "s").dataset.attrs["lanes_computed"] == 9


WIDTH = 1.0


def test_a_changed_global_of_the_users_is_noticed(monkeypatch, x64):
    """The program is remembered between calls, and must not be once what the user's own functions refer to changed."""
    problem = Problem("steep", lambda key: jnp.ones(1), lambda x: WIDTH * jnp.sum(x**2) / 2)
    method = lambda rate: optimizers.gradient_descent(rate * WIDTH)
    value = lambda: tune(problem, method, learning_rate=[0.1, 0.2], seeds=[0], steps=1).dataset.value.values[:, 0]
    np.testing.assert_allclose(value(), [0.9**2 / 2, 0.8**2 / 2])
    monkeypatch.setitem(globals(), "WIDTH", 2.0)
    np.testing.assert_allclose(value(), [0.6**2, 0.2**2])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"optimizer": optimizers.adam(1e-3)}, "function of the rate"),
        ({"optimizer": 3}, "got int"),
        ({"seeds": 4}, r"seeds=4: .* range\(4\)"),
        ({"learning_rate": [0.0, 0.1]}, r"learning_rate=0\.0: .*positive"),
        ({"learning_rate": [-1.0]}, "positive"),
        ({"learning_rate": [float("nan"), 0.1]}, "positive"),
        ({"learning_rate": ["fast"]}, "'fast'"),
        ({"learning_rate": []}, "empty"),
        ({"learning_rate": log(0.1, 1.0)}, "count"),
        ({"steps": 0}, "steps=0"),
    ],
)
def test_bad_input_is_one_line(change, words):
    call = {"problem": quadratic(), "optimizer": optimizers.adam, "learning_rate": [0.1], "steps": 3, **change}
    with pytest.raises(ValueError, match=words) as caught:
        tune(**call)
    assert "\n" not in str(caught.value)
