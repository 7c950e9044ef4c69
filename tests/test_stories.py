"""The four stories hold, and each claim fails where the method, the examples or the feedback is broken."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize
from sklearn.linear_model import Perceptron

from experiments import stories
from sandbox import optimizers
from sandbox.data.batches import Batches
from sandbox.problems.examples import Examples

pytestmark = pytest.mark.usefixtures("away")
PARTS = {"guessing": (True,), "black_box": (), "shooting": (True,), "learning_cat": (True,)}
sign, descent, grad, animals = optimizers.sign_sgd, optimizers.gradient_descent, jax.grad, stories.animals

FOUND, BITS = "1,024 numbers: found after 10 answers", "1,024 numbers: fewest answers that tell all apart"
HALVED, SLOW = "steps halved: largest distance from bisection", "steps shrinking by 0.8: worst error / d 0.8ᵏ"
SHORT = "steps shrinking by 0.4: worst error that is left"
INPUT, FACTOR = "input whose output is 4", "descent at rate 1/68: error / the last"
NEWTON = "Newton: error / square of the last"
FIRST, SECOND = "w x + x²: error at x = 1 with w = 1", "w x + x²: error at x = 1.1 with w = 1.5"
FLOOR, A, B = "w x + x²: MSE at last", "a x + b x²: a", "a x + b x²: b"
STEPS, FAR = "a x + b x²: steps to an MSE below 0.001", "(a, b) then: distance from the truth"
BIAS, LAW = "mean error, standard errors off: most", "mean loss, standard errors off: most"
BEST, WIND = "mean loss of the best shot / σ²", "wind: variance after 5 × 3 bullets"
RATIO, SCATTER = "wind: variance by one bullet / by three", "σ² by the scatter of the first three"
NOVIKOFF, ATTAINED = "perceptron: mistakes / (R/γ)², worst child", "perceptron: mistakes on n orthogonal examples"
MISLED, LATE = "wrong labels: mistakes / (R/γ)², best child", "wrong labels: late mistakes / wrong labels"
REGRET = "online logistic: regret / bound, worst child"
EXTRA = "online logistic: late mistakes less the best's, share"


def scaled(rate, by):
    """A schedule times a number, or times a function of the step."""
    return lambda k: rate(k) * (by(k) if callable(by) else by)


def two_shots(size):
    """The bullets of the first two shots again and again."""
    rows = lambda steps: (jnp.arange(steps)[:, None] * size + jnp.arange(size)) % (2 * size)
    return Batches(size, lambda key, examples, steps: rows(steps))


def one_bullet(size):
    """A single bullet in each shot, counted as often as there should be bullets."""
    return Batches(size, lambda key, examples, steps: jnp.tile(size * jnp.arange(steps)[:, None], (1, size)))


def one_example(size):
    """The first example for ever."""
    return Batches(size, lambda key, examples, steps: jnp.zeros((steps, size), int))


def hardly_misled():
    """Four wrong labels for each child."""
    X, side, luck = animals()
    return X, side, np.where(np.arange(luck.shape[1]) % 500 == 7, 0.0, 1.0) * np.ones_like(luck)


def inseparable():
    """Animals that lie on the wrong side of the plane."""
    X, side, luck = animals()
    return X, side * np.where(np.arange(side.shape[1]) % 20, 1, -1), luck


SIGN, GRADIENT, ROWS = (
    "sandbox.optimizers.sign_sgd",
    "sandbox.optimizers.gradient_descent",
    "experiments.stories.cyclic",
)
BROKEN = {  # the story, what is broken in it, how, and what fails
    "steps doubled": ("guessing", SIGN, lambda r: sign(scaled(r, 2)), {FOUND, BITS, HALVED, SLOW, SHORT}),
    "away from the secret": ("guessing", SIGN, lambda r: sign(scaled(r, -1)), {FOUND, BITS, HALVED, SLOW, SHORT}),
    "late steps too long": ("guessing", SIGN, lambda r: sign(scaled(r, lambda k: 1 + 2 * (k > 11))), {SLOW, SHORT}),
    "the schedule one step late": (
        "guessing", SIGN, lambda r: sign(lambda k: r(jnp.maximum(k - 1, 0))), {FOUND, BITS, HALVED, SHORT},
    ),
    "another bisection": ("guessing", "experiments.stories.bisection", lambda secret: [512.0] * 11, {HALVED}),
    "the rate a thousandth too small": ("black_box", GRADIENT, lambda r: descent(0.999 * r), {FACTOR, STEPS, FAR}),
    "momentum": ("black_box", GRADIENT, lambda r: optimizers.heavy_ball(r, 0.5), {INPUT, FACTOR, STEPS, FAR}),
    "the rate 2 % of what it should be": (
        "black_box", GRADIENT, lambda r: descent(r / 50), {INPUT, FACTOR, A, B, STEPS, FAR},
    ),
    "both points on 2.22 x": (
        "black_box", "experiments.stories.OUTPUTS", np.array([2.22, 2.442]), {FIRST, SECOND, A},
    ),
    "a second point that lies lower": (
        "black_box", "experiments.stories.OUTPUTS", np.array([2.21, 2.43]), {SECOND, FLOOR, A, B, STEPS, FAR},
    ),
    "x³ instead of x²": (
        "black_box", "sandbox.models.polynomial.expand", lambda x, degree: x ** np.array([1, 3]), {SECOND, FLOOR},
    ),
    "a slope 1 % too large": ("black_box", "jax.grad", lambda f: lambda x: 1.01 * grad(f)(x), {NEWTON}),
    "corrected in full every time": ("shooting", GRADIENT, lambda r: descent(1.0), {LAW, WIND}),
    "never corrected": ("shooting", GRADIENT, lambda r: descent(0.0), {BIAS, LAW, WIND, RATIO}),
    "corrected by a twentieth too much": ("shooting", GRADIENT, lambda r: descent(scaled(r, 1.05)), {BIAS}),
    "the bullets of two shots again": ("shooting", ROWS, two_shots, {LAW, BEST, WIND}),
    "one bullet counted three times": ("shooting", ROWS, one_bullet, {LAW, WIND, RATIO, SCATTER}),
    "uphill": ("learning_cat", GRADIENT, lambda r: descent(-r), {NOVIKOFF, ATTAINED, REGRET, EXTRA}),
    "the rate times twenty": ("learning_cat", GRADIENT, lambda r: descent(20 * r), {REGRET, EXTRA}),
    "one example for ever": ("learning_cat", ROWS, one_example, {ATTAINED, MISLED, LATE, EXTRA}),
    "hardly a wrong label": ("learning_cat", "experiments.stories.animals", hardly_misled, {MISLED}),
    "classes that no plane separates": ("learning_cat", "experiments.stories.animals", inseparable, {NOVIKOFF}),
}  # fmt: skip


def test_stories():
    found = stories.main(fast=True)
    assert len(found.claims) == 27
    assert [claim.name for claim in found.claims if not claim.holds] == []
    assert {claim.name for claim in found.claims} == set.union(*(expected for *_, expected in BROKEN.values()))
    figure, caption = found.figures["figure"]
    assert len(figure.axes) == 4
    assert "float64" in caption


@pytest.mark.slow
@pytest.mark.parametrize(("part", "name", "broken", "expected"), BROKEN.values(), ids=BROKEN)
def test_a_broken_story(monkeypatch, part, name, broken, expected):
    monkeypatch.setattr(name, broken)
    with jax.enable_x64(True):
        story = getattr(stories, part)(*PARTS[part])
    assert {claim.name for claim in story.claims if not claim.holds} == expected


def test_no_strategy_needs_fewer_answers():
    """Dynamic programming over all places where an interval can be cut: ⌈log₂ N⌉ answers in the worst case."""
    least = [0, 0]
    for n in range(2, 130):
        least.append(1 + min(max(least[cut], least[n - cut]) for cut in range(1, n)))
    assert least[1:] == [int(np.ceil(np.log2(n))) for n in range(1, 130)]


def test_the_least_error_of_the_one_weight_family_by_scipy():
    x, z = stories.INPUTS, stories.OUTPUTS
    fit = optimize.minimize_scalar(lambda w: np.mean((w * x + x**2 - z) ** 2))
    assert fit.fun == pytest.approx(0.0027376, abs=5e-8)
    assert fit.fun > stories.GOOD
    assert 1.11 < fit.x < 1.21


def test_the_perceptron_beside_scikit_learn():
    """The same mistakes and weights in one pass: there too, the first score is 0 and counts as a mistake."""
    X, side, _ = (part[0] for part in stories.animals())
    with jax.enable_x64(True):
        ours = jax.jit(lambda data: stories.lesson("perceptron", data))(Examples(X, side))
    theirs = Perceptron(fit_intercept=False, shuffle=False, max_iter=1, tol=None).fit(X, side)
    np.testing.assert_allclose(ours.params, theirs.coef_[0], atol=1e-12)


def test_the_animals_keep_their_distance():
    X, side, luck = stories.animals()
    np.testing.assert_allclose(np.linalg.norm(X, axis=-1), 1.0, atol=1e-12)
    assert (side * X[..., 0]).min() >= stories.MARGIN
    assert abs((luck < stories.WRONG).mean() - stories.WRONG) < 0.01


def test_the_standard_error_of_a_ratio():
    """Over many samples, the ratios scatter as widely as each sample says."""
    rng = np.random.default_rng(0)
    a, b = 3 * rng.exponential(size=(400, 500)), rng.exponential(size=(400, 500))
    ratios, errors = np.transpose([stories.quotient(*pair) for pair in zip(a, b + 0.2 * a, strict=True)])
    assert errors.mean() == pytest.approx(ratios.std(), rel=0.1)
