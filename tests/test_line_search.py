"""Line searches: Optax's decisions step by step, the inequalities that they promise, and how they fail."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_mutants import mutant

from sandbox import optimizers
from sandbox.optimizers.line_search import backtracking, zoom

DIRECTIONS = {"steepest": -1.0, "tiny": -1e-3, "huge": -1e3, "uphill": 0.1}
ZOOMS = [
    {"max_linesearch_steps": 20},
    {"max_linesearch_steps": 20, "initial_guess_strategy": "one", "approx_dec_rtol": None},
    {"max_linesearch_steps": 6, "curv_rtol": 0.1, "increase_factor": 3.0},
    {"max_linesearch_steps": 15, "max_learning_rate": 2.0, "slope_rtol": 0.2, "curv_rtol": 0.5},
    {"max_linesearch_steps": 30, "tol": 1e-3, "stepsize_precision": 1e-2, "approx_dec_rtol": 0.1},
]
BACKTRACKINGS = [
    {"max_backtracking_steps": 20},
    {"max_backtracking_steps": 5, "store_grad": True, "decrease_factor": 0.5},
    {"max_backtracking_steps": 30, "slope_rtol": 0.3, "increase_factor": np.inf, "max_learning_rate": 3.0},
    {"max_backtracking_steps": 10, "atol": 1e-3, "rtol": 1e-2},
]


def rosenbrock(x):
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def zakharov(x):
    s = jnp.sum(0.5 * jnp.arange(1, 5) * x)
    return jnp.sum(x**2) + s**2 + s**4


def waves(x):
    return jnp.sum(x**2 / 20 - jnp.cos(3 * x))


def barrier(x):
    """Not a number where a coordinate is negative."""
    return jnp.sum(x - jnp.log(x))


FUNCTIONS = [rosenbrock, zakharov, waves, barrier]


def among(x, which):
    """All of them as one, so that one program searches along any."""
    return jax.lax.switch(which, FUNCTIONS, x)


def decisions(search, steps=4):
    """What the search does along a multiple of the gradient, on every function and in every direction."""

    @jax.jit
    def step(x, state, which, length):
        value, grad = jax.value_and_grad(among)(x, which)
        extra = dict(value=value, grad=grad, value_fn=among, which=which)
        u, state = search.update(length * grad, state, x, **extra)
        return x + u, u, state

    path = []
    for which in range(len(FUNCTIONS)):
        for length in DIRECTIONS.values():
            x = jnp.array([0.3, 0.9, 1.4, 0.6])
            state = search.init(x)
            for _ in range(steps):
                x, u, state = step(x, state, jnp.int32(which), length)
                path.append((u, state.learning_rate, *state.info))
    return path


def far(ours, theirs):
    """The largest relative difference of what they decided; NaN and infinity are equal to themselves."""
    worst = 0.0
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        a, b = np.asarray(a, float), np.asarray(b, float)
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        with np.errstate(invalid="ignore"):
            gap = np.where(same, 0.0, np.abs(a - b) / np.maximum(np.abs(b), 1e-12))
        worst = max(worst, float(np.max(np.where(np.isnan(gap), np.inf, gap))))
    return worst


@pytest.mark.parametrize("arguments", [ZOOMS[0], *(pytest.param(a, marks=pytest.mark.slow) for a in ZOOMS[1:])])
def test_zoom_decides_as_optax_s_does(arguments, x64):
    assert far(decisions(zoom(**arguments)), decisions(optax.scale_by_zoom_linesearch(**arguments))) <= 1e-9


SOME = [*BACKTRACKINGS[:1], *(pytest.param(a, marks=pytest.mark.slow) for a in BACKTRACKINGS[1:])]


@pytest.mark.parametrize("arguments", SOME)
def test_backtracking_decides_as_optax_s_does(arguments, x64):
    theirs = optax.scale_by_backtracking_linesearch(**arguments)
    assert far(decisions(backtracking(**arguments)), decisions(theirs)) <= 1e-9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("factory", "arguments", "right", "wrong"),
    [
        (zoom, ZOOMS[2], "slope_rtol * point.step * origin.slope", "slope_rtol * origin.slope"),
        (zoom, ZOOMS[2], "(point.value < s.safe.value)", "(point.value > s.safe.value)"),
        (zoom, ZOOMS[2], "point.slope * ahead >= 0", "point.slope * ahead <= 0"),
        (zoom, ZOOMS[2], "(s.tries > 0)", "(s.tries > 1)"),
        (zoom, ZOOMS[2], "increase_factor * s.low.step", "increase_factor * s.high.step"),
        (zoom, ZOOMS[2], "tree.where(worse | passed, s.high, s.low)", "tree.where(worse, s.high, s.low)"),
        (zoom, ZOOMS[3], "inside(cubic, 0.2)", "inside(cubic, 0.1)"),
        (zoom, ZOOMS[3], "3 * A * a.slope", "2 * A * a.slope"),
        (zoom, ZOOMS[3], "a.slope / (2 * B)", "a.slope / B"),
        (zoom, ZOOMS[4], "s.bracketed & (jnp.abs(s.high.step", "(jnp.abs(s.high.step"),
        (backtracking, BACKTRACKINGS[0], "jnp.where(tries > 0, decrease_factor * eta, eta)", "decrease_factor * eta"),
        (backtracking, BACKTRACKINGS[0], "tries <= max_backtracking_steps", "tries < max_backtracking_steps"),
        (backtracking, BACKTRACKINGS[2], "slope_rtol * eta * origin.slope", "eta * origin.slope"),
        (backtracking, BACKTRACKINGS[3], "(1 + rtol) * origin.value", "origin.value"),
    ],
)
def test_a_mistake_is_found(factory, arguments, right, wrong, x64):
    theirs = {"zoom": optax.scale_by_zoom_linesearch, "backtracking": optax.scale_by_backtracking_linesearch}
    twisted = mutant(factory, right, wrong)(**arguments)
    assert far(decisions(twisted), decisions(theirs[factory.__name__](**arguments))) > 1e-6


@settings(max_examples=25, deadline=None)
@given(
    which=st.integers(0, 2),
    start=st.lists(st.floats(-3, 3), min_size=4, max_size=4),
    length=st.floats(-4, 2).map(lambda e: 10**e),
    curv_rtol=st.floats(0.05, 0.95),
)
def test_zoom_meets_the_strong_wolfe_conditions(which, start, length, curv_rtol):
    """φ(η) ≤ φ(0) + c₁ η φ′(0) and |φ′(η)| ≤ c₂ |φ′(0)|, downhill on any function that is bounded below."""
    with jax.enable_x64(True):
        x, c1 = jnp.asarray(start), 1e-3
        before, after, u, step, state = searched(c1, curv_rtol, x, length, jnp.int32(which))
        if np.linalg.norm(before[1]) < 1e-3:
            return
        eta, slope = state.learning_rate, jnp.vdot(before[1], u)
        assert state.info.decrease_error == state.info.curvature_error == 0
        assert after[0] <= before[0] + c1 * eta * slope + 1e-12 * abs(before[0])
        assert abs(jnp.vdot(after[1], u)) <= curv_rtol * abs(slope) * (1 + 1e-9)
        np.testing.assert_allclose(step, eta * u, rtol=1e-15)
        np.testing.assert_allclose(state.value, after[0], rtol=1e-9)
        np.testing.assert_allclose(state.grad, after[1], rtol=1e-9, atol=1e-9)


@jax.jit
def searched(c1, c2, x, length, which):
    """Value and gradient before and after, the direction, the step, and the state."""
    search = zoom(60, slope_rtol=c1, curv_rtol=c2, approx_dec_rtol=None, stepsize_precision=0.0)
    value, grad = jax.value_and_grad(among)(x, which)
    u = -length * grad
    step, state = search.update(u, search.init(x), x, value=value, grad=grad, value_fn=among, which=which)
    return (value, grad), jax.value_and_grad(among)(x + step, which), u, step, state


def test_backtracking_takes_the_first_power_that_meets_armijo_s_condition(x64):
    """On φ(η) = (1 − 10 η)² / 2 from η = 1: 0.5ᵏ ≤ 2 (1 − c₁) / 10 first holds at k = 3 for c₁ = 0.3."""
    f = lambda x: 5 * jnp.sum(x**2)
    search = backtracking(20, slope_rtol=0.3, decrease_factor=0.5, increase_factor=1.0)
    x = jnp.array([1.0])
    u, state = search.update(-jax.grad(f)(x), search.init(x), x, value=f(x), grad=jax.grad(f)(x), value_fn=f)
    assert state.learning_rate == 0.125
    assert state.info.num_linesearch_steps == 4
    assert u == -0.125 * 10
    assert state.value == f(x + u)


def test_zoom_finds_the_minimum_of_a_parabola_at_its_second_try(x64):
    f = lambda x: jnp.sum(x**2)
    x = jnp.array([3.0, -4.0])
    search = zoom(20, curv_rtol=1e-12)
    u, state = search.update(-8 * x, search.init(x), x, value=f(x), grad=2 * x, value_fn=f)
    np.testing.assert_allclose(x + u, 0, atol=1e-15)
    np.testing.assert_allclose(state.learning_rate, 1 / 8, rtol=1e-15)
    assert state.info.num_linesearch_steps == 2


@pytest.mark.parametrize(("eta", "accepted"), [(1.5, True), (1.7, False)])
def test_where_rounding_hides_the_decrease_the_slope_decides(eta, accepted, x64):
    """φ(η) = 1 + 1e-20 (1 − η)² / 2 is 1 in double precision. Hager & Zhang accept up to η = 2 − 2 c₁ = 1.6."""
    f = lambda x: 1 + 1e-20 * jnp.sum(x**2) / 2
    x = jnp.array([1.0])
    tries = {}
    for approx_dec_rtol in (1e-6, None):
        search = zoom(5, slope_rtol=0.2, approx_dec_rtol=approx_dec_rtol)
        state = search.init(x)._replace(learning_rate=jnp.asarray(eta))
        _, state = search.update(-x, state, x, value=f(x), grad=jax.grad(f)(x), value_fn=f)
        tries[approx_dec_rtol] = int(state.info.num_linesearch_steps)
    assert (tries[1e-6] == 1) == accepted
    assert tries[None] == 5


def test_a_search_that_may_start_over_does_so_after_a_failure(x64):
    """With an infinite growth every search begins at η_max, also after one that ended at 0."""
    f = lambda x: jnp.where(x[0] > 0, x[0] ** 2, jnp.nan)
    search, x = backtracking(3, increase_factor=np.inf, max_learning_rate=0.5), jnp.array([1.0])
    step = lambda u, state: search.update(u, state, x, value=f(x), grad=2 * x, value_fn=f)
    u, state = step(-100 * x, search.init(x))
    assert u == 0
    u, _ = step(-x, state)
    assert u == -0.5


# failures


@pytest.mark.parametrize("search", [backtracking(8, store_grad=True), zoom(8)], ids=["backtracking", "zoom"])
def test_where_nothing_is_finite_nothing_moves_and_the_state_tells_of_the_point(search):
    f = lambda x: jnp.where(x[0] == 1.0, x[0], jnp.nan)
    x = jnp.array([1.0])
    u, state = search.update(-x, search.init(x), x, value=f(x), grad=jnp.ones(1), value_fn=f)
    assert u == 0
    assert state.learning_rate == 0
    assert state.value == 1
    assert jnp.isinf(state.info.decrease_error)


@pytest.mark.parametrize("search", [backtracking(8, verbose=True), zoom(8, verbose=True)], ids=["backtracking", "zoom"])
def test_a_failure_is_told_in_one_line(search, capsys):
    f = lambda x: jnp.sum(x**2)
    x = jnp.array([2.0])
    search.update(-x, search.init(x), x, value=f(x), grad=2 * x, value_fn=f)
    jax.effects_barrier()
    assert capsys.readouterr().out == ""
    search.update(x, search.init(x), x, value=f(x), grad=2 * x, value_fn=f)
    jax.effects_barrier()
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "found no step" in said


def test_an_unknown_strategy_is_refused():
    with pytest.raises(ValueError, match="initial_guess_strategy is 'last'; expected 'one' or 'keep'"):
        zoom(10, initial_guess_strategy="last")


@pytest.mark.parametrize("missing", ["value", "grad", "value_fn", "params"])
def test_what_is_missing_is_asked_for(missing):
    f, x = (lambda x: jnp.sum(x**2)), jnp.ones(2)
    extra = {"value": 2.0, "grad": 2 * x, "value_fn": f, "params": x}
    del extra[missing]
    for search in (zoom(5), backtracking(5)):
        with pytest.raises(ValueError, match=f"update was called without {missing}"):
            search.update(-x, search.init(x), **extra)


# in the company of others


def test_optax_takes_value_and_gradient_from_the_state():
    """The function is not called again: one that lies is never noticed after the first step."""
    f, lie = (lambda x: jnp.sum((x - 1) ** 2)), (lambda x: jnp.sum(0 * x) + 7)
    for search in (zoom(20), backtracking(20, store_grad=True)):
        optimizer = optax.chain(optax.sgd(0.3), search)
        x = jnp.array([3.0, -2.0])
        state = optimizer.init(x)
        for told in (f, lie, lie):
            value, grad = optax.value_and_grad_from_state(told)(x, state=state)
            np.testing.assert_allclose((value, *grad), (f(x), *jax.grad(f)(x)), rtol=1e-5, atol=1e-6)
            u, state = optimizer.update(grad, state, x, value=value, grad=grad, value_fn=f)
            x = optax.apply_updates(x, u)


def eight_steps(optimizer, x):
    @jax.jit
    def step(x, state):
        value, grad = jax.value_and_grad(rosenbrock)(x)
        u, state = optimizer.update(grad, state, x, value=value, grad=grad, value_fn=rosenbrock)
        return x + u, state

    state = optimizer.init(x)
    for _ in range(8):
        x, state = step(x, state)
    return x


@pytest.mark.slow
def test_searches_and_lbfgs_may_each_be_optax_s(x64):
    """Ours inside of Optax's L-BFGS, Optax's inside of ours: one path."""
    make = dict(max_linesearch_steps=20, initial_guess_strategy="one")
    ours, theirs = zoom(**make), optax.scale_by_zoom_linesearch(**make)
    ends = []
    x = jnp.array([-1.2, 1.0, 0.5])
    for outer in (optimizers.lbfgs, optax.lbfgs):
        ends += [eight_steps(outer(linesearch=inner), x) for inner in (ours, theirs)]
    for end in ends[1:]:
        np.testing.assert_allclose(end, ends[0], rtol=1e-9)


def test_lanes_are_searches_alone(x64):
    rates = jnp.array([1e-3, 1.0, 50.0])

    def stepped(rate):
        search, x = zoom(20, increase_factor=1.5 + rate / 100), jnp.array([0.3, 0.9, 1.4, 0.6])
        value, grad = jax.value_and_grad(rosenbrock)(x)
        return search.update(-rate * grad, search.init(x), x, value=value, grad=grad, value_fn=rosenbrock)

    lanes = jax.jit(jax.vmap(stepped))(rates)
    alone = [jax.jit(stepped)(rate) for rate in rates]
    chex.assert_trees_all_close(lanes, jax.tree.map(lambda *a: jnp.stack(a), *alone), rtol=1e-9)


@pytest.mark.parametrize("search", [backtracking(10, store_grad=True), zoom(10)], ids=["backtracking", "zoom"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_types_stay(search, dtype):
    f = lambda p: jnp.sum(p["w"].astype(jnp.float32) ** 2)
    x = {"w": jnp.ones(3, dtype), "n": {}}
    types = lambda values: [(a.shape, a.dtype, a.weak_type) for a in jax.tree.leaves(values)]
    step = lambda s: search.update(jax.tree.map(jnp.negative, x), s, x, value=f(x), grad=jax.grad(f)(x), value_fn=f)
    with jax.numpy_dtype_promotion("strict"):
        state = search.init(x)
        u, after = step(state)
    assert types(u) == types(x)
    assert types(after) == types(state)
    assert f(jax.tree.map(jnp.add, x, u)) < 3


@pytest.mark.slow
@pytest.mark.parametrize("search", [backtracking(10, store_grad=True), zoom(10)], ids=["backtracking", "zoom"])
def test_complex_parameters_are_searched_as_their_two_parts(search, x64):
    """The gradient that an optimizer takes is the conjugate of what jax.grad gives, and the state keeps the latter."""
    a = jnp.array([1 - 2j, 3 + 0.5j])
    f = lambda z: jnp.sum(jnp.abs(z * a - 1) ** 2) + jnp.sum(jnp.real(z) ** 4)
    parts = lambda z: jnp.stack([z.real, z.imag])
    g = lambda x: f(x[0] + 1j * x[1])
    z = jnp.array([1 + 1j, -2 + 0.5j])
    grad = jnp.conj(jax.grad(f)(z))
    u, state = search.update(-grad, search.init(z), z, value=f(z), grad=grad, value_fn=f)
    x = parts(z)
    v, real = search.update(-jax.grad(g)(x), search.init(x), x, value=g(x), grad=jax.grad(g)(x), value_fn=g)
    np.testing.assert_allclose(parts(u), v, rtol=1e-12)
    assert state.info.num_linesearch_steps == real.info.num_linesearch_steps
    np.testing.assert_allclose(state.grad, jax.grad(f)(z + u), rtol=1e-12)
