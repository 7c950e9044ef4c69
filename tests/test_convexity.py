"""Convexity: every verdict is right where the truth is known, every counter-example is one, and limits are told."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sandbox import problems, regularizers, theory
from sandbox.problems import Facts, Problem
from sandbox.problems.dual import KernelMachine
from sandbox.theory import convexity

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(7, 3)), RNG.normal(size=7)


def at(start, loss, penalty=None, domain=None):
    """A user's problem."""
    init = lambda key: jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(float)), start)
    return Problem("user's", init, loss, penalty=penalty, facts=Facts(domain=domain))


def small(name):
    """A bare problem, with few examples where there are any and few units where it is a network."""
    sizes = {"diabetes_mlp": ((4,),), "digits_mlp": ((4,),), "digits_cnn": ((2,),)}
    problem = getattr(problems, name)(*sizes.get(name, ()))
    if isinstance(problem.structure, KernelMachine):  # whose rows together are convex, not some of them
        return problems.kernel_svm(problem.structure.X[:40], problem.structure.y[:40], 1.0)
    return replace(problem, data=jax.tree.map(lambda leaf: leaf[:40], problem.data))


NETWORKS = ("diabetes_mlp", "digits_mlp", "digits_cnn")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in NETWORKS)) for n in problems.names()]
)
def test_every_bare_problem_is_what_its_facts_say(name):
    problem = small(name)
    found = theory.check_convexity(problem, key=KEY, chords=200, points=8)
    assert found.chords > (100 if problem.penalty is None else 30)  # a penalty may leave a thin set to look at
    assert found.points == 8
    assert problem.facts.convex in (None, found.convex), found.reason
    assert (found.counterexample is None) == found.convex


CONVEX = {
    "a fourth power": at(0.0, lambda x: x**4),
    "log-sum-exp": at(np.zeros(3), lambda x: jax.nn.logsumexp(A @ x + B)),
    "−log on its domain": at(1.0, lambda x: -jnp.log(x), domain=(0.0, np.inf)),
    "x²/y on its domain": at(np.ones(2), lambda x: x[0] ** 2 / x[1], domain=(np.array([-np.inf, 0]), np.inf)),
    "a kink": at(0.0, jnp.abs),
    "planes": at(np.zeros(3), lambda x: jnp.max(A @ x + B)),
    "a constant": at(np.ones(2), lambda x: 0 * jnp.sum(x)),
    "a curvature that is all rounding": at(1.0, lambda x: jnp.log(jnp.exp(x))),
    "a kink far from zero": at(1e4, lambda x: 1e8 * jnp.abs(x - 1e4) + 1e8),
    "a difference of large numbers": at(np.ones(3), lambda x: 1e10 * (x[0] - x[1]) + x[2]),
    "a function that overflows": at(0.0, lambda x: jnp.exp(jnp.exp(x))),
    "a simplex": at(np.zeros(3), lambda x: jnp.sum((x - 1) ** 2), regularizers.simplex()),
    "a tree": at({"a": np.ones((2, 2)), "b": [1.0]}, lambda p: jnp.sum((p["a"] - 1) ** 2) + p["b"][0] ** 4),
    "saved by its penalty": at(np.ones(2), lambda x: -jnp.sum(x**2), regularizers.l2(2.0)),
}
ONE = np.ones(2)
CONCAVE = regularizers.Regularizer(lambda x: -jnp.abs(x), lambda x, step: x + step * jnp.sign(x))
NOT = {
    "a saddle whose negative curvature is tiny": at(np.zeros(2), lambda x: x[0] ** 2 - 1e-6 * x[1] ** 2),
    "a saddle askew, with an offset": at(np.zeros(2), lambda x: x[0] ** 2 - 1e-9 * (x[0] + x[1]) ** 2 + 100),
    "a saddle in a box": at(np.zeros(2), lambda x: x[0] ** 2 - 1e-9 * x[1] ** 2 + 1, domain=(-ONE, ONE)),
    "a logarithm": at(1.0, jnp.log, domain=(0.0, np.inf)),
    "a kink that points up": at(0.0, lambda x: x - 1e-3 * jnp.abs(x)),
    "a penalty that is concave": at(0.0, lambda x: 0.0 * x, CONCAVE),
    "a hole in the domain": at(3.0, lambda x: jnp.where(jnp.abs(x) < 1, jnp.inf, x**2)),
    "a hole of NaN": at(3.0, lambda x: jnp.where(jnp.abs(x) < 1, jnp.nan, x**2)),
    "a hole and curvature": at(3.0, lambda x: jnp.sum(jnp.log(x**2 - 1))),
    "noise, the same everywhere": Problem(
        "noisy", lambda key: jnp.zeros(1), lambda x, _, key: jnp.sum(jax.random.normal(key) * x**3)
    ),
}


@pytest.mark.parametrize("problem", CONVEX.values(), ids=CONVEX)
def test_a_convex_function_has_no_counter_example(problem):
    found = theory.check_convexity(problem, key=KEY)
    assert found.convex, found.reason
    assert found.chords >= 50
    assert "no proof" in found.reason


@pytest.mark.parametrize("name", NOT)
def test_a_counter_example_is_one(name, x64):
    """Recomputed from its ends alone."""
    problem = NOT[name]
    found = theory.check_convexity(problem, key=KEY)
    assert found.convex is False
    x, y, t, value, bound = found.counterexample
    f = lambda x: float(problem.objective(jnp.asarray(x), key=jax.random.split(KEY, 3)[1]))
    assert f(t * x + (1 - t) * y) == pytest.approx(value, rel=1e-15, nan_ok=True)
    assert t * f(x) + (1 - t) * f(y) == pytest.approx(bound, rel=1e-15)
    assert value > bound or not np.isfinite(value)


def test_nothing_is_said_of_a_function_that_is_nowhere_finite():
    found = theory.check_convexity(at(0.0, lambda x: x * jnp.nan), key=KEY)
    assert (found.convex, found.counterexample, found.least) == (None, None, None)
    assert (found.chords, found.points) == (0, 0)
    assert "not finite" in found.reason


def test_chords_outside_the_domain_are_counted_apart():
    """−log without a domain: about half of all points have no value, and none of them is a counter-example."""
    found = theory.check_convexity(at(1e-9, lambda x: -jnp.log(x)), key=KEY, chords=400, points=0)
    assert found.convex
    assert found.chords + found.outside == 400
    assert 200 < found.outside < 350


def test_a_small_dent_is_missed_from_afar_and_seen_from_near():
    """Convex but for a hundred-thousandth of the domain: what the docstring warns of."""
    dent = lambda x: x**2 - 1e-3 * jnp.exp(-(((x - 0.3) / 1e-5) ** 2))
    missed = theory.check_convexity(at(0.0, dent, domain=(-10.0, 10.0)), key=KEY)
    seen = theory.check_convexity(at(0.3, dent, domain=(0.3 - 1e-4, 0.3 + 1e-4)), key=KEY)
    assert (missed.convex, seen.convex) == (True, False)


def test_the_least_curvature_of_a_quadratic_is_its_strong_convexity():
    for problem in (problems.quadratic(100.0, 5), problems.diabetes_ridge(0.1)):
        found = theory.check_convexity(problem, key=KEY, chords=8, points=4)
        assert found.least.curvature == pytest.approx(problem.facts.strong_convexity, rel=1e-11)


@pytest.mark.parametrize("spectrum", ["spread", "two values"])
def test_a_krylov_space_holds_the_least_curvature(spectrum, monkeypatch):
    """Beyond DENSE parameters: an eigenvalue that stands apart, and one of a space that is exhausted at once."""
    d = 60
    monkeypatch.setattr(convexity, "DENSE", d - 1)
    Q = np.linalg.qr(RNG.normal(size=(d, d)))[0]
    eigenvalues = np.append(-1.0, np.linspace(1, 2, d - 1) if spectrum == "spread" else np.ones(d - 1))
    H = Q * eigenvalues @ Q.T
    found = theory.check_convexity(at(np.zeros(d), lambda x: x @ H @ x / 2), key=KEY, chords=8, points=3)
    direction = found.least.direction
    assert found.convex is False
    assert found.least.curvature == pytest.approx(-1, rel=1e-9)
    assert direction @ H @ direction == pytest.approx(found.least.curvature, rel=1e-12)
    assert abs(direction @ Q[:, 0]) == pytest.approx(1, rel=1e-6)


def test_the_verdict_is_on_the_sum_and_the_curvature_on_the_loss():
    found = theory.check_convexity(CONVEX["saved by its penalty"], key=KEY)
    assert found.convex
    assert found.least.curvature == pytest.approx(-2, rel=1e-14)


def test_parameters_come_back_as_they_are():
    found = theory.check_convexity(at({"a": np.ones((2, 2)), "b": 1.0}, lambda p: -jnp.sum(p["a"] ** 2)), key=KEY)
    for params in (found.counterexample.x, found.least.point, found.least.direction):
        assert (params["a"].shape, params["b"].shape) == ((2, 2), ())
        assert params["a"].dtype == np.float64
    assert not jax.config.jax_enable_x64


def test_a_program_is_traced_once_however_much_it_is_asked(monkeypatch):
    """And the size of its blocks changes nothing."""
    traced = []

    def loss(x):
        traced.append(x)
        return jnp.sum(x**4 - x**2)

    problem = at(np.zeros(2), loss)
    few = theory.check_convexity(problem, key=KEY, chords=40, points=5)
    once = len(traced)
    monkeypatch.setattr(convexity, "TOGETHER", 14)
    blocks = theory.check_convexity(problem, key=KEY, chords=40, points=5)
    assert len(traced) == 2 * once <= 8
    assert blocks[3:] == few[3:]
    assert blocks.counterexample.value == pytest.approx(few.counterexample.value, rel=1e-14)
    assert blocks.least.curvature == pytest.approx(few.least.curvature, rel=1e-14)
    theory.check_convexity(problem, key=KEY, chords=400, points=20)
    assert len(traced) == 3 * once


@pytest.mark.parametrize("option", [{"chords": 0}, {"points": -1}, {"tolerance": 0.0}, {"tolerance": np.nan}])
def test_senseless_counts_are_refused(option):
    with pytest.raises(ValueError, match="at least one chord"):
        theory.check_convexity(problems.bowl(), key=KEY, **option)


def test_complex_parameters_are_refused():
    problem = Problem("complex", lambda key: jnp.zeros(2, complex), lambda x: jnp.sum(jnp.abs(x)))
    with pytest.raises(ValueError, match="real parameters"):
        theory.check_convexity(problem, key=KEY)
