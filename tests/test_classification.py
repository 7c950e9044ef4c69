"""Many classes, calibration, and the experiment on classification, whose claims fail where something is broken."""

from dataclasses import replace
from itertools import combinations

import jax
import numpy as np
import pytest
from oracles.claims import sound
from sklearn import calibration
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import brier_score_loss
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.svm import SVC

from experiments import classification
from sandbox import data, losses, problems, theory
from sandbox.engine import interior, solve
from sandbox.models import linear, multiclass, polynomial
from sandbox.problems import Facts

SETS = {"iris": data.load_iris, "wine": data.load_wine, "digits": data.load_digits}
TOGETHER = {"rest": (multiclass.one_vs_rest, OneVsRestClassifier), "one": (multiclass.one_vs_one, OneVsOneClassifier)}


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize(("ours", "theirs"), TOGETHER.values(), ids=TOGETHER)
@pytest.mark.parametrize("model", [RidgeClassifier(), SVC()], ids=["ridge", "svc"])
def test_classifiers_of_many_classes_are_scikit_learns(name, ours, theirs, model):
    """The same machines for two classes, put together here and there."""
    X, y, X_test, _ = SETS[name]()
    fit = lambda X, y: type(model)(**model.get_params()).fit(X, y).decision_function
    made, other = ours(fit, X, y), theirs(model).fit(X, y)
    k = len(made.labels)
    assert len(made.machines) == (k if ours is multiclass.one_vs_rest else k * (k - 1) / 2)
    np.testing.assert_allclose(made.scores(X_test), other.decision_function(X_test), rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(multiclass.predict(made, X_test), other.predict(X_test))


def solved(constructor):
    """A fit by one of our problems, at l2 = 0.1."""

    def fit(X, y):
        params = solve(constructor(X, y, 0.1)).params
        return lambda X: linear.apply(params, np.transpose(X))

    return fit


def test_with_a_problem_of_ours(x64):
    X, y, X_test, _ = data.load_iris()
    ours = multiclass.one_vs_rest(solved(problems.logistic), X, y)
    theirs = OneVsRestClassifier(LogisticRegression(C=1 / (0.1 * len(X)), tol=1e-10)).fit(X, y)
    np.testing.assert_allclose(ours.scores(X_test), theirs.decision_function(X_test), rtol=1e-5, atol=1e-6)


def test_votes_by_a_loop():
    """Names as labels; machines that answer at random; equal votes are decided by the sums."""
    rng = np.random.default_rng(0)
    names = np.array(["ant", "bee", "cat", "dog"])
    X, y = rng.normal(size=(40, 2)), np.tile(names, 10)
    answers = {}

    def fit(rows, signs):
        answer = np.round(rng.normal(size=7), 1)
        answers[len(answers)] = (rows, signs, answer)
        return lambda X: answer

    made = multiclass.one_vs_one(fit, X, y)
    expected = []
    for i in range(7):
        votes, sums = dict.fromkeys(names, 0), dict.fromkeys(names, 0.0)
        for (first, second), (rows, signs, answer) in zip(combinations(names, 2), answers.values(), strict=True):
            assert {tuple(row) for row in rows[signs > 0]} == {tuple(row) for row in X[y == second]}
            assert len(rows) == 20
            votes[second if answer[i] > 0 else first] += 1
            sums[second] += answer[i]
            sums[first] -= answer[i]
        most = [name for name in names if votes[name] == max(votes.values())]
        expected.append(max(most, key=lambda name: sums[name]))
    np.testing.assert_array_equal(multiclass.predict(made, X), expected)


@pytest.mark.parametrize("together", [multiclass.one_vs_rest, multiclass.one_vs_one])
def test_two_classes_are_the_machine_itself_and_one_is_refused(together):
    X, y = np.linspace(-1, 1, 10)[:, None], np.repeat([3, 5], 5)
    made = together(classification.least_squares, X, y)
    np.testing.assert_array_equal(multiclass.predict(made, X), y)
    for y in ([0.0, np.nan, 1.0], np.eye(3), [0, 1]):
        with pytest.raises(ValueError, match=r"y holds NaN|one label for each row"):
            multiclass.one_vs_rest(None, np.zeros((3, 2)), y)
    with pytest.raises(ValueError, match="y holds 1 distinct labels"):
        together(classification.least_squares, X, np.ones(10))


@pytest.mark.parametrize("seed", range(4))
def test_platts_sigmoid_is_scikit_learns(seed, x64):
    rng = np.random.default_rng(seed)
    scores = 3 * rng.normal(size=200) + 1
    y = rng.random(200) < 1 / (1 + np.exp(1 - scores / 2))
    problem = problems.platt(scores, y)
    fit = solve(problem)
    A, B = calibration._sigmoid_calibration(scores, y)
    assert fit.status == "converged"
    np.testing.assert_allclose([-fit.params["w"][0], -fit.params["b"]], [A, B], atol=1e-5)
    told = 1 / (1 + np.exp(-scores * fit.params["w"] - fit.params["b"]))
    targets = np.where(y, (y.sum() + 1) / (y.sum() + 2), 1 / ((~y).sum() + 2))
    assert abs(np.mean(told - targets)) < 1e-10
    assert abs(np.mean(scores * (told - targets))) < 1e-10
    assert float(problem.objective({"w": np.array([-A]), "b": -B})) >= fit.value - 1e-14


def test_scores_that_separate_have_a_sigmoid_and_logistic_regression_has_none(x64):
    scores, y = np.linspace(-1, 1, 40), np.repeat(["no", "yes"], 20)
    fit = solve(problems.platt(scores, y))
    assert fit.status == "converged"
    np.testing.assert_allclose(fit.params["b"], 0, atol=1e-9)
    assert solve(problems.logistic(scores[:, None], y, 0.0)).status == "failed"


@pytest.mark.parametrize("bins", [1, 5, 10, 13])
def test_reliability_is_scikit_learns(bins):
    rng = np.random.default_rng(bins)
    forecasts = np.concatenate([[0.0, 1.0, 0.2, 0.4], rng.beta(0.5, 2, 300)])
    outcomes = rng.random(304) < forecasts**2
    share, forecast = calibration.calibration_curve(outcomes, forecasts, n_bins=bins)
    ours = theory.reliability(forecasts, outcomes, bins)
    np.testing.assert_allclose(ours.share, share, rtol=1e-12)
    np.testing.assert_allclose(ours.forecast, forecast, rtol=1e-12)
    assert ours.examples.sum() == 304
    assert (ours.examples > 0).all()
    assert theory.brier_score(forecasts, outcomes) == pytest.approx(brier_score_loss(outcomes, forecasts), rel=1e-12)
    expected = 0.0
    for k in range(bins):
        inside = (forecasts > k / bins) & (forecasts <= (k + 1) / bins) | (k == 0) & (forecasts == 0)
        expected += abs(np.sum(outcomes[inside]) - np.sum(forecasts[inside])) / 304
    assert theory.calibration_error(forecasts, outcomes, bins) == pytest.approx(expected, rel=1e-9)


def test_the_brier_score_is_uncertainty_less_resolution_plus_reliability():
    """Murphy (1973), exact where forecasts have the values of the bins."""
    rng = np.random.default_rng(0)
    forecasts = rng.choice([0.05, 0.35, 0.65, 0.95], 500)
    outcomes = rng.random(500) < 0.5
    forecast, share, examples = theory.reliability(forecasts, outcomes)
    mean, weight = outcomes.mean(), examples / 500
    parts = mean * (1 - mean) - weight @ (share - mean) ** 2 + weight @ (share - forecast) ** 2
    assert theory.brier_score(forecasts, outcomes) == pytest.approx(parts, rel=1e-12)


def test_what_is_no_forecast_is_refused():
    for forecasts, outcomes, message in (
        ([0.1, 0.2], [1], "one of each for every example"),
        ([1.5], [1], "no probability"),
        ([np.nan], [1], "no probability"),
        ([0.5], [2], "neither 0 nor 1"),
    ):
        with pytest.raises(ValueError, match=message):
            theory.brier_score(forecasts, outcomes)
    with pytest.raises(ValueError, match="bins=0"):
        theory.reliability([0.5], [1], 0)


def test_the_shortest_way_between_hulls():
    """From (2, 0) to the middle of an edge between (0, −1) and (0, 1), and from (0, 8) onto the other's edge."""
    triangle, far = np.array([[0.0, -1], [0, 1], [-3, 0]]), np.array([[2.0, 0], [4, 1]])
    np.testing.assert_allclose(classification.shortest(far, triangle), [[2, 0], [0, 0]], atol=1e-15)
    np.testing.assert_allclose(classification.shortest(triangle + np.array([0, 9]), far), [[0, 8], [3.6, 0.8]])


def test_the_experiment():
    sound(classification.main(fast=True), 36, 6, BROKEN)


def changed(solution, **entries):
    """With other parameters, where there are such."""
    params = solution.params
    return solution._replace(params=params | {name: f(params) for name, f in entries.items() if name in params})


def nearest(points, others):
    """The nearest of the points alone."""
    distance = np.linalg.norm(points[:, None] - others, axis=-1)
    i, j = np.unravel_index(distance.argmin(), distance.shape)
    return points[i], others[j]


def flipped():
    """Every fifth of the fresh labels is wrong."""
    mail = MAILBOX()
    wrong = np.arange(len(mail.y_fresh)) % 5 == 0
    return mail._replace(y_fresh=mail.y_fresh ^ wrong)


PAIRS, PROJECTED, MAILBOX = classification.pairs, classification.projected_gradient, classification.mailbox
KERNELLED, LOGISTIC, PLATT, CROSS = problems.kernel_svm, problems.logistic, problems.platt, losses.softmax_cross_entropy
KERNEL = interior.kernelled
SOFT, HARD = "soft margin: ", "hard margin: "
KKT, GAP, AT_C = (SOFT + name for name in ("KKT", "relative", "C − α"))
PART, PROJECTION = (SOFT + name for name in ("change of f", "α by pairs"))
PHI = "polynomial kernel"
ODDS, BAYES, KNOWN, FITTED, MEAN = (
    f"mail: {name}"
    for name in ("logistic", "naive", "accuracy of the known", "accuracy of logistic", "mean forecast")
)  # fmt: skip
SIGMOID, LEAST, SAVED = "Platt: ", "after Platt: Brier score from", "after Platt: Brier score saved"
ERROR, TOLD = "calibration error", "after Platt, told"
TWICE, TWICE_TOLD = "each word twice: Brier", "each word twice, told"
REST, EACH = "rest, least squares: accuracy", "one against one, least squares: accuracy"
HINGE, MIDDLE = "one against one, hinge: accuracy", "middle class"
WORD, VARIANCE, IRLS, DESCENT = (f"one word: {name}" for name in ("e^w", "variance", "Newton − rew", "Newton − grad"))
TWO, SLOPE = "softmax of two classes", "∂loss/∂logits"
BROKEN = {  # the part, what is broken in it, how, and what fails
    "twice the C": (
        "soft_margin",
        "problems.kernel_svm",
        lambda X, y, C, k: KERNELLED(X, y, 2 * C, k),
        {KKT, GAP, AT_C, PART, PHI},
    ),
    "weights of three digits": ("soft_margin", "pairs", lambda problem: np.round(PAIRS(problem), 3), {SOFT, PHI}),
    "a descent too short": ("soft_margin", "projected_gradient", lambda p: PROJECTED(p, 50), {PROJECTION}),
    "another C for the support vectors alone": (
        "soft_margin",
        "interior.kernelled",
        lambda Q, y, C, fit_intercept: KERNEL(Q, y, 1.1 * C, fit_intercept),
        {PART},
    ),
    "features without their factors": (
        "soft_margin",
        "kernels.polynomial_features",
        lambda X, degree: polynomial.expand(X, degree, constant=True),
        {PHI},
    ),
    "a C that weights reach": ("hard_margin", "HARD", 0.1, {HARD}),
    "between points, not hulls": ("hard_margin", "shortest", nearest, {HARD + "width", HARD + "(w, b)"}),
    "a plane that is moved": (
        "hard_margin",
        "solve",
        lambda *given, **options: changed(solve(*given, **options), b=lambda p: p["b"] + 1e-6),
        {HARD + "least", HARD + "(w, b)"},
    ),
    "a dual without labels": (
        "hard_margin",
        "pairs",
        lambda problem: PAIRS(problem) * problem.structure.y,
        {HARD + "w − Σ"},
    ),
    "a penalty": ("words", "problems.logistic", lambda X, y, l2: LOGISTIC(X, y, 0.03), {ODDS}),
    "an intercept that is moved": (
        "words",
        "solve",
        lambda problem: changed(solve(problem), b=lambda p: p["b"] + 0.01),
        {MEAN},
    ),
    "weights that are lost": (
        "words",
        "solve",
        lambda problem: changed(solve(problem), w=lambda p: 0 * p["w"]),
        {ODDS, FITTED, MEAN},
    ),
    "other log-odds": (
        "words",
        "mailbox",
        lambda: MAILBOX()._replace(truth=1.3 * MAILBOX().truth),
        {ODDS, BAYES},
    ),
    "some labels wrong": ("words", "mailbox", flipped, {KNOWN, FITTED}),
    "a sigmoid that sharpens": (
        "forecasts",
        "solve",
        lambda problem: changed(solve(problem), w=lambda p: 4 * p["w"]),
        {SIGMOID, LEAST, SAVED, ERROR, TOLD},
    ),
    "a sigmoid of the other class": (
        "forecasts",
        "problems.platt",
        lambda scores, y: PLATT(scores, ~y),
        {SIGMOID, LEAST, SAVED, ERROR, TOLD},
    ),
    "labels that no forecast foresaw": ("forecasts", "mailbox", flipped, {TWICE, TWICE_TOLD, LEAST, ERROR, TOLD}),
    "pairs in place of the rest": (
        "line",
        "multiclass.one_vs_rest",
        multiclass.one_vs_one,
        {"rest: machines", REST, MIDDLE},
    ),
    "the rest in place of pairs": (
        "line",
        "multiclass.one_vs_one",
        multiclass.one_vs_rest,
        {"one: machines", EACH, HINGE},
    ),
    "one word, a penalty": (
        "odds",
        "problems.logistic",
        lambda X, y, l2: LOGISTIC(X, y, l2 + 1e-4),
        {WORD, IRLS, DESCENT, TWO},
    ),
    "another sigmoid": ("odds", "sigmoid", lambda z: 0.35 + 0.3 / (1 + np.exp(-z)), {VARIANCE, IRLS, DESCENT}),
    "steps too short": (
        "odds",
        "problems.logistic",
        lambda *given: replace(LOGISTIC(*given), facts=Facts(smoothness=10.0)),
        {DESCENT},
    ),
    "smoothed labels": (
        "logits",
        "losses.softmax_cross_entropy",
        lambda z, label: CROSS(z, 0.99 * jax.nn.one_hot(label, 10) + 0.001),
        {SLOPE},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("part", "broken", "by", "expected"), BROKEN.values(), ids=BROKEN)
def test_a_broken_classification(monkeypatch, x64, part, broken, by, expected):
    monkeypatch.setattr(f"experiments.classification.{broken}", by)
    mail = [classification.mailbox()] if part in ("words", "forecasts", "odds") else []
    found = getattr(classification, part)(*mail)
    claims = found[0].claims if part == "line" else found.claims
    failing = [claim.name for claim in claims if not claim.holds]
    missed = [name for name in failing if not any(fragment in name for fragment in expected)]
    held = [fragment for fragment in expected if not any(fragment in name for name in failing)]
    assert (missed, held) == ([], [])
