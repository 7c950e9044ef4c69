"""Sections: any number of directions, models and data sets; in batches, in streams, on all devices, in a sweep."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.errors import refused

from sandbox import landscape, problems, tree
from sandbox.landscape import surface
from sandbox.problems.examples import Examples
from sandbox.sweeps import sweep

EPS = np.finfo(float).eps
RNG = np.random.default_rng(7)
X, Y, X2, Y2 = RNG.normal(size=(10, 3)), RNG.normal(size=10), RNG.normal(size=(4, 3)), RNG.normal(size=4)
RIDGE = problems.ridge(X, Y, 0.1, fit_intercept=False)
W, U, V = ({"w": RNG.normal(size=3)} for _ in range(3))
A, B = np.linspace(-1, 1, 5), np.linspace(-2, 1, 3)


def ridge(w, X=X, y=Y):
    return ((y - X @ w) ** 2).mean() / 2 + 0.05 * (w**2).sum()


def test_a_section_along_three_directions_is_the_function_at_every_point(x64):
    e = np.eye(3)
    axes = ([0.0, 1.0], [-1.0, 0.0, 2.0], [5.0, 6.0, 7.0, 8.0])
    found = landscape.section(lambda x: 100 * x[0] + 10 * x[1] + x[2], jnp.zeros(3), tuple(e), axes)
    s, t, r = (np.array(axis) for axis in axes)
    np.testing.assert_array_equal(found, 100 * s[:, None, None] + 10 * t[:, None] + r)


def test_sets_and_metrics_are_named(x64):
    data = {"train": RIDGE.data, "test": Examples(X2, Y2)}
    metrics = {"loss": RIDGE.objective, "bias": lambda p, d: jnp.mean(jnp.asarray(d.y) - jnp.asarray(d.X) @ p["w"])}
    found = landscape.plane(RIDGE, W, U, V, A, B, data=data, metrics=metrics)
    for name, (x, y) in (("train", (X, Y)), ("test", (X2, Y2))):
        for i, a in enumerate(A):
            for j, b in enumerate(B):
                w = W["w"] + a * U["w"] + b * V["w"]
                np.testing.assert_allclose(found[name]["loss"][i, j], ridge(w, x, y), rtol=1e-12)
                np.testing.assert_allclose(found[name]["bias"][i, j], (y - x @ w).mean(), rtol=1e-9)
    alone = landscape.line(RIDGE, W, U, A, data=data)
    np.testing.assert_allclose(alone["test"], [ridge(W["w"] + a * U["w"], X2, Y2) for a in A], rtol=1e-12)
    own = landscape.line(RIDGE, W, U, A, metrics={"loss": RIDGE.objective})["loss"]
    np.testing.assert_allclose(own, landscape.line(RIDGE, W, U, A), rtol=1e-12)


@pytest.mark.parametrize("examples", [1, 3, 5, 10, 99])
def test_streamed_examples_give_the_mean_of_all(examples, x64):
    """Also where the last piece is short, and with a penalty, which no example changes."""
    found = landscape.line(RIDGE, W, U, A, examples=examples)
    np.testing.assert_allclose(found, [ridge(W["w"] + a * U["w"]) for a in A], rtol=1e-12)


def test_an_average_is_taken_in_pieces_unasked_and_no_other_loss_is(x64):
    """Of what each example gives alone the mean is the same from any pieces; of a largest value it would not be."""
    mlp = problems.digits_mlp(hidden=(64,))
    centre, u, n = mlp.init(jax.random.key(0)), mlp.init(jax.random.key(1)), len(mlp.data.y)
    seen = []

    def each(params, batch):
        seen.append(len(batch.y))
        return jax.vmap(lambda x, y: mlp.loss(params, type(batch)(x[None], y[None]), None))(*batch)

    average = replace(mlp, loss=partial(problems.average, each))
    largest = replace(mlp, loss=lambda params, batch, key: jnp.max(each(params, batch)))
    for problem, whole in ((average, False), (largest, True)):
        wanted = [problem.objective(tree.add(centre, tree.scale(a, u))) for a in A]
        seen.clear()
        np.testing.assert_allclose(landscape.line(problem, centre, u, A), wanted, rtol=1e-12)
        assert (set(seen) == {n}) == whole
        seen.clear()
        landscape.line(problem, centre, u, A, key=jax.random.key(0))  # a draw for all examples is not one for each
        assert set(seen) == {n}


def test_many_models_each_around_its_own_centre(x64):
    centres, own = {"w": RNG.normal(size=(4, 3))}, {"w": RNG.normal(size=(4, 3))}
    found = landscape.plane(RIDGE, centres, own, V, A, B, models=True)
    assert found.shape == (4, 5, 3)
    for m in range(4):
        one = landscape.plane(RIDGE, {"w": centres["w"][m]}, {"w": own["w"][m]}, V, A, B)
        np.testing.assert_allclose(found[m], one, rtol=1e-12)
    np.testing.assert_allclose(found[2, 1, 0], ridge(centres["w"][2] + A[1] * own["w"][2] + B[0] * V["w"]), rtol=1e-12)


def test_a_plane_is_a_lane_of_a_sweep(x64):
    look = lambda scale: landscape.plane(RIDGE, {"w": scale * W["w"]}, U, V, A, B)
    found = sweep(look, scale=[0.5, 1.0, 2.0]).value.values
    for row, scale in zip(found, (0.5, 1.0, 2.0), strict=True):
        np.testing.assert_allclose(row, landscape.plane(RIDGE, {"w": scale * W["w"]}, U, V, A, B), rtol=1e-12)


@pytest.mark.parametrize("lift", [lambda f: f, jax.jit], ids=["alone", "jitted inside"])
@pytest.mark.parametrize("kept", [None, set()], ids=["told apart", "changeable"])
def test_a_function_may_refer_to_what_is_traced(lift, kept, x64):
    """A tracer may be in its closure, in a partial or in a metric, and not among what is given."""
    centre, u, rates = jnp.ones(2), jnp.array([1.0, 0.0]), jnp.arange(3.0)

    def scaled(rate):
        return landscape.line(lift(lambda x: (rate * jnp.sum(x**2), kept)[0]), centre, u, A)

    values = np.array([(1 + a) ** 2 + 1 for a in A])
    np.testing.assert_allclose(jax.vmap(scaled)(rates), np.outer(rates, values), rtol=1e-12)
    np.testing.assert_allclose(jax.jacobian(scaled)(2.0), values, rtol=1e-12)
    power = lambda rate, x: rate * jnp.sum(x**2)
    held = jax.vmap(lambda rate: landscape.line(partial(power, rate), centre, u, A))(rates)
    np.testing.assert_allclose(held, np.outer(rates, values), rtol=1e-12)
    metric = lambda rate: landscape.line(RIDGE, W, U, A, metrics={"m": lambda p, data: rate * jnp.sum(p["w"])})["m"]
    own = [np.sum(W["w"] + a * U["w"]) for a in A]
    np.testing.assert_allclose(jax.vmap(metric)(rates), np.outer(rates, own), rtol=1e-12)
    shares = jax.vmap(lambda rate: landscape.blame(lambda x: rate * jnp.sum(x**2), 0 * centre, centre))(rates)
    np.testing.assert_allclose(shares, np.outer(rates, [1, 1]), rtol=1e-12)


def test_points_are_spread_over_all_devices():
    """A plane that costs something runs on both, one that costs less than a dispatch on one."""
    wide = lambda x: jnp.sum(jnp.sin(jnp.arange(1e5) * x[0] + x[1]))
    plans, placed = [], surface._placed

    def spied(*given):
        plans.append(placed(*given)[0])
        return placed(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(surface, "_placed", spied)
        for fn in (wide, lambda x: x[0] * x[1]):
            landscape.plane(fn, jnp.zeros(2), *jnp.eye(2), np.linspace(0, 1, 9), np.linspace(0, 1, 9))
    assert [plan.devices for plan in plans] == [2, 1]


def test_what_means_the_same_is_compiled_once_and_what_does_not_is_not():
    def plane_of(rate):
        return landscape.line(lambda x: rate * x[0], jnp.zeros(1), jnp.ones(1), [0.0, 1.0]).tolist()

    assert plane_of(2.0) == [0, 2]
    before = surface._placed.cache_info().misses
    assert plane_of(2.0) == [0, 2]
    assert surface._placed.cache_info().misses == before
    assert plane_of(3.0) == [0, 3]
    assert surface._placed.cache_info().misses == before + 1


def test_the_parameters_stay_as_they_are():
    centre, u = np.array([1.0, 2.0], np.float32), np.array([1.0, 0.0], np.float32)
    before = centre.tobytes(), u.tobytes()
    landscape.line(lambda x: jnp.sum(x**2), centre, u, A)
    assert (centre.tobytes(), u.tobytes()) == before


def test_a_loss_that_is_nan_everywhere_is_nan_everywhere():
    found = landscape.plane(lambda x: jnp.sum(x) * jnp.nan, jnp.zeros(2), *jnp.eye(2), A, B)
    assert np.isnan(found).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: landscape.section(RIDGE, W, (U, V), (A,)), "2 directions and 1 axes"),
        (lambda: landscape.section(RIDGE, W, (), ()), "0 directions"),
        (lambda: landscape.section(RIDGE, W, (U, V, {"w": U["w"] - V["w"]}), (A, A, A)), "u, v, w are not independent"),
        (lambda: landscape.line(RIDGE, W, U, A, examples=0), "examples=0"),
        (lambda: landscape.line(problems.bowl(), jnp.ones(2), jnp.ones(2), A, examples=3), "examples=3: expected data"),
        (lambda: landscape.line(RIDGE, {"w": np.array(1.0)}, U, A, models=True), "leading axis of models"),
        (lambda: landscape.line(RIDGE, {"w": np.ones((2, 3))}, {"w": np.zeros((2, 3))}, A, models=True), "u is zero"),
    ],
)
def test_bad_input_is_one_line(call, words):
    refused(call, words)


@pytest.mark.parametrize("name", problems.names())
def test_a_section_of_every_problem_finds_its_program_again(name):
    """What a problem refers to can be told from what another one does, network or not."""
    problem = getattr(problems, name)()
    first, again = (surface._asked(problem, None, False, None, (), (3,)) for _ in range(2))
    assert first == again


SCALE = 1.0


def test_a_global_of_the_users_loss_may_change(monkeypatch):
    """Programs are remembered; a problem wraps the loss that it is given, and what that refers to counts too."""
    bowl = problems.Problem("bowl", init=lambda key: jnp.zeros(2), loss=lambda x, batch: SCALE * (x @ x))
    look = lambda: landscape.line(bowl, jnp.zeros(2), jnp.array([1.0, 0]), [1.0, 2.0])
    np.testing.assert_allclose(look(), [1, 4])
    monkeypatch.setitem(globals(), "SCALE", 10.0)
    np.testing.assert_allclose(look(), [10, 40])
