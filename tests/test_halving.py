"""Halving and Hyperband: who goes on is known in closed form, and going on is going on."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sandbox import optimizers, problems
from sandbox.engine import run
from sandbox.problems import Problem
from sandbox.sweeps import Budget, halton, halving, hyperband, linear, log, random, sobol, tune

CURVATURES, START = np.array([0.3, 1.0]), np.array([1.0, 2.0])


def quadratic():
    return Problem("quadratic", lambda key: jnp.asarray(START), lambda x: jnp.sum(jnp.asarray(CURVATURES) * x**2) / 2)


def after(rates, steps):
    """½ Σ λᵢ (1 − ηλᵢ)²ᵏ xᵢ²."""
    return (CURVATURES * START**2 * (1 - np.multiply.outer(rates, CURVATURES)) ** (2 * steps)).sum(axis=-1) / 2


def by_hand(values, rungs, eta):
    """How far each point comes, and its objective there: the slow way."""
    on, reached = list(range(len(values(1)))), np.zeros(len(values(1)), int)
    for rung in rungs:
        reached[on] = rung
        on = sorted(on, key=lambda i: values(rung)[i])[: max(1, len(on) // eta)]
    return reached, np.array([values(k)[i] for i, k in enumerate(reached)])


@pytest.mark.parametrize(
    ("count", "steps", "eta", "first", "rungs"),
    [
        pytest.param(27, 27, 3, None, [1, 3, 9, 27], marks=pytest.mark.slow),
        (20, 60, 3, 10, [20, 60]),
        pytest.param(9, 100, 2, None, [12, 25, 50, 100], marks=pytest.mark.slow),
        (1, 7, 3, None, [7]),
    ],
)
def test_who_goes_on(count, steps, eta, first, rungs, x64):
    points = halton(count, learning_rate=log(0.01, 1.9))
    rates = points.values["learning_rate"]
    ds = halving(quadratic(), optimizers.gradient_descent, points, steps=steps, eta=eta, first=first)
    reached, value = by_hand(lambda k: after(rates, k), rungs, eta)
    np.testing.assert_array_equal(ds.steps, reached)
    np.testing.assert_allclose(ds.value, value, rtol=1e-9)
    np.testing.assert_array_equal(ds.learning_rate, rates)


@pytest.mark.slow
@pytest.mark.parametrize("method", [optimizers.adam, optimizers.noisy_sgd, optax.adamw])
def test_who_went_on_is_where_it_would_be_alone(method, x64):
    """The same batches, the same state, the same noise as a run in one piece."""
    network = problems.digits_mlp(hidden=(3,))
    points = random(6, learning_rate=log(1e-3, 1e-1))
    ds = halving(network, method, points, steps=18, seed=4, batch_size=200)
    finished = ds.isel(point=ds.steps.values == 18)
    assert finished.point.size == 2
    for rate, value in zip(finished.learning_rate.values, finished.value.values, strict=True):
        alone = run(network, method(rate), steps=18, batch_size=200, key=jax.random.key(4))
        np.testing.assert_allclose(value, alone.value, rtol=1e-10)


def test_a_diverged_point_does_not_go_on():
    points = sobol(8, learning_rate=linear(2.1, 400.0))
    ds = halving(quadratic(), optimizers.gradient_descent, points, steps=4096, first=64, eta=2)
    lost = ds.status.values == 1
    assert lost.any()
    assert np.isnan(ds.value.values[lost]).all()
    assert ds.steps.values[lost].max() < 4096


@pytest.mark.slow
def test_hyperband_as_in_its_table(x64):
    """R = 81, η = 3 (Li et al. 2018, table 1): 81, 34, 15, 8 and 5 points begin with 1, 3, 9, 27 and 81 steps."""
    ds = hyperband(quadratic(), optimizers.gradient_descent, steps=81, learning_rate=log(0.01, 1.9))
    begun = {s: int((ds.bracket == s).sum()) for s in range(5)}
    assert begun == {4: 81, 3: 34, 2: 15, 1: 8, 0: 5}
    # The first rung of each bracket is what its worst points reach.
    assert [int(ds.steps[ds.bracket == s].min()) for s in range(5)] == [81, 27, 9, 3, 1]
    best = ds.isel(point=np.argmin(ds.value.values))
    assert best.steps == 81
    known = [after(r, k) for r, k in zip(ds.learning_rate.values, ds.steps.values, strict=True)]
    np.testing.assert_allclose(ds.value, known, rtol=1e-9)


@pytest.mark.parametrize("steps", [500, pytest.param(5_000, marks=pytest.mark.slow)])
def test_a_budget_of_steps(steps):
    ds = hyperband(
        quadratic(), optimizers.gradient_descent, steps=81, budget=Budget(steps=steps), learning_rate=log(0.01, 1.9)
    )
    assert steps / 2 < ds.steps.sum() <= steps


@pytest.mark.slow
def test_a_step_of_sam_takes_two_gradients():
    """One where it is, one uphill (Foret et al. 2021): half as many steps for the same number of gradients."""

    def sam(learning_rate):
        return optimizers.sam(optimizers.sgd(learning_rate), optimizers.sgd(0.01), opaque_mode=True)

    space, budget = log(0.01, 1.9), Budget(gradients=4_000)
    plain, twice = (
        hyperband(quadratic(), method, steps=81, budget=budget, learning_rate=space).steps.sum()
        for method in (optimizers.gradient_descent, sam)
    )
    assert 1.6 < plain / twice < 2.4


@pytest.mark.slow
def test_a_budget_of_seconds():
    ds = hyperband(
        quadratic(), optimizers.gradient_descent, steps=81, budget=Budget(seconds=1e-3), learning_rate=log(0.01, 1.9)
    )
    # The time is over after the first rung, which is finished all the same.
    assert set(ds.steps.values) == {1}


def test_a_budget_below_one_run():
    with pytest.raises(ValueError, match="does not allow for one run of 81 steps"):
        hyperband(
            quadratic(), optimizers.gradient_descent, steps=81, budget=Budget(steps=10), learning_rate=log(0.01, 1.9)
        )


@pytest.mark.parametrize("bad", [dict(eta=1), dict(first=0), dict(first=99), dict(steps=0)])
def test_senseless_rungs(bad):
    with pytest.raises(ValueError, match="expected 1 ≤ first ≤ steps"):
        halving(quadratic(), optimizers.sgd, sobol(4, learning_rate=log(0.1, 1.0)), **{"steps": 9, **bad})


@pytest.mark.slow
def test_tune_finds_the_best_rate_and_momentum(x64):
    """Heavy ball on a quadratic: η = 4/(√L + √μ)², β = ((√L − √μ)/(√L + √μ))² in the long run (Polyak 1964)."""
    mu, big = CURVATURES.min(), CURVATURES.max()
    space = {"learning_rate": log(0.1, 4.0), "momentum": linear(0.0, 0.9)}
    tuned = tune(quadratic(), optimizers.heavy_ball, space, Budget(steps=60_000), seeds=[0], steps=81)
    beta = ((np.sqrt(big) - np.sqrt(mu)) / (np.sqrt(big) + np.sqrt(mu))) ** 2
    assert abs(tuned.point["momentum"] - beta) < 0.15
    assert set(tuned.point) == {"learning_rate", "momentum"}
    assert tuned.value < 1e-3 * after(np.array([4 / (np.sqrt(big) + np.sqrt(mu)) ** 2]), 20)[0]
    cliff = 2 * (1 + tuned.point["momentum"]) / big
    assert tuned.safe_high < cliff < tuned.safe_high * 1.3
    assert tuned.search.steps.sum() <= 66_000
