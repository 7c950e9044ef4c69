"""Each experiment's claims hold, and each of them fails where the method, the batches or the problem is broken.

The broken versions are mistakes that one makes: a rate doubled inside, a momentum dropped, the same row drawn for ever.
What theory expects is never touched.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray

from experiments import convex_vs_nonconvex, jollof, learning_rate_cliff, regression, three_forms
from sandbox import optimizers, problems, reproduction, theory
from sandbox.data.batches import Batches
from sandbox.engine import solve
from sandbox.problems import Facts, Problem, certify

pytestmark = pytest.mark.usefixtures("away")
descent = optimizers.gradient_descent


def failing(experiment):
    """The names of the claims that fail."""
    return {claim.name for claim in experiment.main(fast=True).claims if not claim.holds}


def bowl(salt=1.0, pepper=1.0, lift=0.0):
    """A bowl that is steeper along one spice, or lies higher, than the story's."""
    height = lambda x: salt * (x[0] - 3) ** 2 + pepper * (x[1] - 4) ** 2 + lift
    facts = Facts(minimizers=(np.array([3.0, 4.0]),))
    return Problem("bowl", lambda key: jnp.array([1.0, 1.0]), height, facts=facts)


LOSSES = {"loss at (1, 1)", "loss after one step", "loss after two steps"}
ALONG_X = {"slope along x", "x after one step", "x after two steps", "slope seen from (1.001, 1)"}
ALONG_Y = {"slope along y", "y after one step", "y after two steps", "slope seen from (1, 1.001)"}
FACTOR = {"distance: largest deviation from a factor 0.8 a step"}
ONCE = {"x after one step", "y after one step", "loss after one step"}
TWICE = {"x after two steps", "y after two steps", "loss after two steps"}
JOLLOF = {
    "nothing": (None, None, set()),
    "the rate doubled inside": ("gradient_descent", lambda rate: descent(2 * rate), ONCE | TWICE | FACTOR),
    "uphill": ("gradient_descent", lambda rate: descent(-rate), ONCE | TWICE | FACTOR),
    "momentum": ("gradient_descent", optimizers.heavy_ball, TWICE | FACTOR),
    "a bowl steeper along x": ("bowl", lambda: bowl(salt=2), LOSSES | ALONG_X | FACTOR),
    "a bowl steeper along y": ("bowl", lambda: bowl(pepper=2), LOSSES | ALONG_Y | FACTOR),
    "a bowl that lies higher": ("bowl", lambda: bowl(lift=1e-9), LOSSES),
}


@pytest.mark.parametrize(("name", "broken", "expected"), JOLLOF.values(), ids=JOLLOF)
def test_jollof(monkeypatch, name, broken, expected):
    if name:
        monkeypatch.setattr(problems if name == "bowl" else optimizers, name, broken)
        monkeypatch.setattr(jollof, "figures", lambda *_: {})
    found = jollof.main(fast=True)
    assert {claim.name for claim in found.claims} == LOSSES | ALONG_X | ALONG_Y | FACTOR
    assert {claim.name for claim in found.claims if not claim.holds} == expected


def test_jollof_draws_its_figure():
    figure, caption = jollof.main(fast=True).figures["figure"]
    assert len(figure.axes) >= 2
    assert "rate 0.1" in caption


BETA = learning_rate_cliff.BETA
WHERE, EDGES = "smallest diverging rate", "edges between stable and diverging"
CLIFFS = {
    "the rate doubled inside": ("gradient descent", lambda rate: descent(2 * rate), {WHERE, EDGES}),
    "a rate that is capped": ("gradient descent", lambda rate: descent(jnp.where(rate > 2.1, 1.0, rate)), {EDGES}),
    "the rate 1 % too large": ("gradient descent", lambda rate: descent(1.01 * rate), {WHERE}),
    "momentum dropped": ("heavy ball", descent, {WHERE, EDGES}),
    "another momentum": ("heavy ball", lambda rate: optimizers.heavy_ball(rate, 0.88), {WHERE}),
    "no lookahead": ("Nesterov", lambda rate: optimizers.heavy_ball(rate, BETA), {WHERE, EDGES}),
    "a lookahead too short": ("Nesterov", lambda rate: optimizers.nesterov(rate, 0.85), {WHERE}),
    "an average without 1 − β": ("EMA momentum", lambda rate: optimizers.heavy_ball(rate, BETA), {WHERE, EDGES}),
    "another decay": ("EMA momentum", lambda rate: optimizers.ema_momentum(rate, 0.895), {WHERE}),
}


def test_learning_rate_cliff():
    found = learning_rate_cliff.main(fast=True)
    assert len(found.claims) == 2 * len(learning_rate_cliff.METHODS)
    assert all(claim.holds for claim in found.claims)
    assert all(method in {name for name, _, _ in CLIFFS.values()} for method in learning_rate_cliff.METHODS)
    assert found.figures["figure"][0].axes


@pytest.mark.parametrize(("method", "broken", "expected"), CLIFFS.values(), ids=CLIFFS)
def test_a_broken_method_falls_elsewhere(monkeypatch, method, broken, expected):
    predicted = learning_rate_cliff.METHODS[method][1]
    monkeypatch.setattr(learning_rate_cliff, "METHODS", {method: (broken, predicted)})
    monkeypatch.setattr(learning_rate_cliff, "figures", lambda _: {})
    assert failing(learning_rate_cliff) == {f"{method}: {claim}" for claim in expected}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The three parts of `three_forms` as they should be, computed once."""
    with pytest.MonkeyPatch.context() as patch, jax.enable_x64(True):
        patch.setattr(reproduction, "results", lambda *_: tmp_path_factory.mktemp("sound"))
        problem = problems.diabetes_ridge(l2=three_forms.L2)
        problem = certify(problem, solve(problem))
        return {
            "forms": three_forms.forms(problem, fast=True),
            "floors": three_forms.floors(problem, fast=True),
            "stationary": three_forms.stationary(fast=True),
        }


def same_rows(size):
    """The first rows of the data in every step."""
    return Batches(size, lambda key, examples, steps: jnp.tile(jnp.arange(size), (steps, 1)))


def one_row(size):
    """One random row in every step, whatever the batch size."""
    return Batches(1, lambda key, examples, steps: jax.random.randint(key, (steps, 1), 0, examples))


VARIANCE = "stationary variance / (ησ²/(h(2−ηh))), worst rate"
SLOPE = "slope of log floor against log η/B"
RATE, BATCH = "floor at rate η / floor at η/2, mean", "floor at batch B / floor at 2B, mean"
LEVEL = "floor / (η/4B · trace of the covariance), mean"
BEYOND = "at the end: batch f − f* / the lowest floor of the others"
FIRST = "after one epoch: stochastic f − f* / batch f − f*"
GRADIENT, EPOCHS, DRAWN = (
    "sandbox.optimizers.gradient_descent",
    "sandbox.engine.loop.epochs",
    "experiments.three_forms.with_replacement",
)
FORMS = {  # the part that is computed anew, what is broken in it, how, and what fails
    "the rate doubled inside, one curvature": ("stationary", GRADIENT, lambda rate: descent(2 * rate), {VARIANCE}),
    "momentum on one curvature": ("stationary", GRADIENT, lambda rate: optimizers.sgd(rate, 0.5), {VARIANCE}),
    "the rate doubled inside": ("floors", GRADIENT, lambda rate: descent(2 * rate), {LEVEL}),
    "the root of the rate": ("floors", GRADIENT, lambda rate: descent(0.1 * rate**0.5), {SLOPE, RATE}),
    "always one row": ("floors", DRAWN, one_row, {SLOPE, BATCH, LEVEL}),
    "full steps too small": ("forms", GRADIENT, lambda rate: descent(jnp.minimum(rate, 0.02)), {BEYOND}),
    "always the same rows": ("forms", EPOCHS, same_rows, {FIRST}),
}


@pytest.mark.slow
def test_three_forms(monkeypatch, sound):
    for part, result in sound.items():
        monkeypatch.setattr(three_forms, part, lambda *_, result=result: result)
    found = three_forms.main(fast=True)
    assert all(claim.holds for claim in found.claims)
    assert {claim.name for claim in found.claims} == set.union(*(expected for *_, expected in FORMS.values()))
    assert len(found.figures["figure"][0].axes) == 3


CASES = [pytest.param(*case, id=name) for name, case in FORMS.items()]


@pytest.mark.slow
@pytest.mark.parametrize(("part", "name", "broken", "expected"), CASES)
def test_a_broken_form_stops_elsewhere(monkeypatch, sound, part, name, broken, expected):
    for other in sound.keys() - {part}:
        monkeypatch.setattr(three_forms, other, lambda *_, result=sound[other]: result)
    monkeypatch.setattr(name, broken)
    monkeypatch.setattr(three_forms, "figures", lambda *_: {})
    assert failing(three_forms) == expected


@pytest.fixture
def panels(monkeypatch):
    """panels(settings) makes these the only problems of `convex_vs_nonconvex`, with no figure; all are convex."""

    def choose(settings, methods=("gradient descent", "heavy ball", "Nesterov")):
        known = {name: convex_vs_nonconvex.METHODS[name] for name in methods}
        monkeypatch.setattr(convex_vs_nonconvex, "METHODS", known)
        monkeypatch.setattr(convex_vs_nonconvex, "convex", lambda: settings)
        monkeypatch.setattr(convex_vs_nonconvex, "nonconvex", dict)
        monkeypatch.setattr(convex_vs_nonconvex, "figures", lambda *_: {})

    return choose


def gentle():
    """A quadratic of condition number 10, with the momentum that is best for it."""
    problem = problems.quadratic(10.0, dim=4)
    mu, L = problem.facts.strong_convexity, problem.facts.smoothness
    best = theory.heavy_ball_optimum(mu, L).momentum, theory.nesterov_optimum(mu, L).momentum
    return {"quadratic, κ = 10": convex_vs_nonconvex.Setting(problem, 400, tuple(map(float, best)))}


def test_quadratics_contract_as_predicted(panels):
    with jax.enable_x64(True):
        panels(gentle())
    found = convex_vs_nonconvex.main(fast=True)
    assert len(found.claims) == 4
    assert all(claim.holds for claim in found.claims)
    assert [row["type"] for row in found.summary] == ["linear"] * 3


BROKEN = {
    "the rate doubled inside": ("gradient descent", lambda rate, beta: descent(2 * rate)),
    "momentum dropped": ("heavy ball", lambda rate, beta: descent(rate)),
    "no lookahead": ("Nesterov", lambda rate, beta: optimizers.heavy_ball(rate, beta[1])),
}


@pytest.mark.parametrize(("method", "broken"), BROKEN.values(), ids=BROKEN)
def test_a_broken_method_contracts_otherwise(monkeypatch, panels, method, broken):
    with jax.enable_x64(True):
        panels(gentle(), methods=(method,))
    monkeypatch.setitem(convex_vs_nonconvex.METHODS, method, broken)
    assert failing(convex_vs_nonconvex) == {f"quadratic, κ = 10: −log contraction of {method}"}


@pytest.mark.slow
def test_a_minimum_that_is_none_is_found_out(panels):
    """Ridge certified by the solution of another penalty: descent ends below it."""
    with jax.enable_x64(True):
        problem, other = problems.diabetes_ridge(l2=0.5), solve(problems.diabetes_ridge(l2=0.6))
        wrong = other._replace(value=problem.objective(other.params))
        panels({"ridge": convex_vs_nonconvex.Setting(certify(problem, wrong), 300)}, methods=("gradient descent",))
        assert failing(convex_vs_nonconvex) == {"ridge: least f − f* of all runs"}
        panels({"ridge": convex_vs_nonconvex.Setting(certify(problem, solve(problem)), 300)}, ("gradient descent",))
        assert failing(convex_vs_nonconvex) == set()


def test_the_chosen_rate_is_the_best_at_which_no_seed_diverged():
    ds = xarray.Dataset(
        {
            "value": (("learning_rate", "seed"), [[3.0, 3.0, 9.0], [2.0, 2.0, 9.0], [1.0, 1.0, np.nan]]),
            "status": (("learning_rate", "seed"), [[0, 0, 0], [0, 0, 0], [0, 0, 1]]),
        },
        {"learning_rate": [0.1, 0.2, 0.4]},
    )
    assert convex_vs_nonconvex.chosen(ds) == 0.2


def test_the_verdict_tells_an_exponential_from_a_power():
    steps = np.arange(400.0)
    curve = lambda values: xarray.DataArray(values[None], {"step": steps}, ("seed", "step"))
    geometric = convex_vs_nonconvex.verdict(curve(0.9**steps), 0.0)
    power = convex_vs_nonconvex.verdict(curve((1 + steps) ** -2), 0.0)
    assert (geometric["type"], power["type"]) == ("linear", "sublinear")
    assert geometric["number"] == pytest.approx(0.9, rel=1e-3)
    assert power["number"] == pytest.approx(2, rel=0.05)
    assert convex_vs_nonconvex.verdict(curve(0.9**steps), None)["type"] == "f* unknown"


def test_curvatures_are_those_of_the_hessian_without_flat_directions():
    A = np.array([[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 0.0]])  # 1, 3 and a flat direction
    facts = Facts(minimum=0.0, minimizers=(np.zeros(3),))
    problem = Problem("trough", lambda key: jnp.ones(3), lambda x: x @ A @ x / 2, facts=facts)
    np.testing.assert_allclose(convex_vs_nonconvex.curvatures(problem), [1.0, 3.0], rtol=1e-14)


PARTS = ("routes", "cross_validation", "penalised", "wave")
DISTANCE = "normal equation, pseudo-inverse, Newton, descent: distance"
SHORTEST = "more features than examples: descent from the pseudo-inverse"
RISE, DEGREE = "largest rise of the training error with the degree", "median degree that cross-validation takes"
LESS, CUBIC = "samples in which it takes less", "held-out error of the cubic / σ²(1 + p/n)"
TENTH = "held-out error: tenth degree / third"
RIDGE = "ridge: f* beside scikit-learn's"
LINE, NETWORK = "a wave: error of the best line", "a wave: error of a network / σ²"


@pytest.fixture(scope="module")
def regressions(tmp_path_factory):
    """The parts of `regression` as they should be, computed once."""
    with pytest.MonkeyPatch.context() as patch, jax.enable_x64(True):
        patch.setattr(reproduction, "results", lambda *_: tmp_path_factory.mktemp("sound"))
        needs_fast = ("cross_validation", "wave")
        return {part: getattr(regression, part)(*([True] * (part in needs_fast))) for part in PARTS}


def found_with(monkeypatch, parts):
    """The claims of `regression` where these parts are not computed but given."""
    for part, found in parts.items():
        monkeypatch.setattr(regression, part, lambda *_, found=found: found)
    return regression.main(fast=True)


def test_regression(monkeypatch, regressions):
    found = found_with(monkeypatch, regressions)
    assert len(found.claims) == 12
    assert all(claim.holds for claim in found.claims)
    assert len(found.figures["figure"][0].axes) == 3


LEAST, RIDGED, NETWORKED = problems.least_squares, problems.ridge, problems.mlp_regression
REGRESSIONS = {  # the part that is computed anew, what is broken in it, how, and what fails
    "uphill": ("routes", "optimizers.gradient_descent", lambda rate: descent(-rate), {DISTANCE, SHORTEST}),
    "a start that is not zero": (
        "routes",
        "problems.least_squares",
        lambda *given, **options: replace(LEAST(*given, **options), init=lambda key: {"w": jnp.ones(50)}),
        {SHORTEST},
    ),
    "nothing held out of the fit": (
        "cross_validation",
        "k_fold",
        lambda examples, folds: np.full((folds, examples), 1e-9),
        {DEGREE, CUBIC, TENTH},
    ),
    "a curve of degree five": ("cross_validation", "CUBIC", (0.5, -1.0, -2.0, 3.0, 0.0, 9.0), {DEGREE, CUBIC, TENTH}),
    "twice the penalty": ("penalised", "problems.ridge", lambda X, y, l2: RIDGED(X, y, 2 * l2), {RIDGE}),
    "a network without hidden layers": (
        "wave",
        "problems.mlp_regression",
        lambda X, y, hidden, activation: NETWORKED(X, y, (), activation),
        {NETWORK},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("part", "broken", "by", "expected"), REGRESSIONS.values(), ids=REGRESSIONS)
def test_a_broken_regression(monkeypatch, regressions, part, broken, by, expected):
    with monkeypatch.context() as patch:
        patch.setattr(f"experiments.regression.{broken}", by)
        parts = {name: found for name, found in regressions.items() if name != part}
        found = found_with(patch, parts | {"figures": {}})
    assert {claim.name for claim in found.claims if not claim.holds} == expected
