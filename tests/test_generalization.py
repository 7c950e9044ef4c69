"""Generalization: its claims hold, and each fails where a penalty, a layer or a sample is another; oracles of laws."""

from types import SimpleNamespace

import numpy as np
import pytest
from flax import linen
from oracles.claims import fails, sound
from sklearn import linear_model, model_selection

from experiments import generalization
from sandbox import optimizers, problems

pytestmark = pytest.mark.usefixtures("away")
FAST = {"folds", "learning", "decomposition"}
KEPT, FACTOR, RISK = "share kept of a direction", "share kept / ridge's", "least risk"
DROPPED, LOSS, TESTED = "by all ways to drop", "dropout: loss in training", "dropout: loss in testing"
MOMENTS, COSINE, PAIR, HALVES = "mean, variance − 1", "cosine of", "batch of two", "loss of halves"
LASSO, FIVE, ONE = "lasso", "five folds", "one example left out"
CURVES, PARTS, NEW = "learning curves", "bias² and variance", "error on new labels"
HERE = "experiments.generalization."
DESCENT, LSTSQ, LASSO_PROBLEM = optimizers.gradient_descent, np.linalg.lstsq, problems.lasso
DROPOUT, NORM, DENSE, FOLDS = (
    linen.Dropout, linen.BatchNorm, linen.Dense, generalization.k_fold,
)  # fmt: skip


def always_on(rate, deterministic):
    return DROPOUT(rate, deterministic=False)


def never_on(rate, deterministic):
    return DROPOUT(rate, deterministic=True)


def by_batch(running, **options):
    """Batch normalisation that never uses the running averages."""
    return NORM(False, **options)


def numpy_with(scale):
    """NumPy whose random numbers are multiplied by scale(shape)."""

    def generator(seed):
        rng = np.random.default_rng(seed)
        return SimpleNamespace(normal=lambda size: rng.normal(size=size) * scale(np.atleast_1d(size)))

    return SimpleNamespace(**vars(np) | {"random": SimpleNamespace(default_rng=generator)})


def wider_noise(shape):
    """The noise of the learning curves."""
    return 1.1 if len(shape) == 3 and shape[-1] == 1 else 1.0


def wider(fitted, new):
    """The noise of the labels to fit, and that of new ones, which are drawn together."""
    return lambda shape: np.reshape([fitted, new], (2, 1, 1)) if len(shape) == 3 else 1.0


BROKEN = {  # the part, what is broken in it, by what, and parts of the names of the claims that fail
    "a rate 1 % too small": (
        "stopping", "sandbox.optimizers.gradient_descent", lambda r: DESCENT(0.99 * r), {KEPT, FACTOR},
    ),
    "heavy ball": (
        "stopping", "sandbox.optimizers.gradient_descent", lambda r: optimizers.heavy_ball(r, 0.9), {KEPT, FACTOR},
    ),
    "descent too slow": (
        "stopping", "sandbox.optimizers.gradient_descent", lambda r: DESCENT(r / 1e3), {KEPT, FACTOR, RISK},
    ),
    "another fit": ("dropout", "numpy.linalg.lstsq", lambda A, b: (LSTSQ(A, b)[0] * 1.001,), {DROPPED}),
    "dropped in testing too": ("dropout", "flax.linen.Dropout", always_on, {TESTED}),
    "never dropped": ("dropout", "flax.linen.Dropout", never_on, {LOSS}),
    "dropped more often": (
        "dropout", "flax.linen.Dropout", lambda p, deterministic: DROPOUT(0.5, deterministic=deterministic), {LOSS},
    ),
    "a large ε": (
        "normalised", "flax.linen.BatchNorm", lambda r, **o: NORM(r, **{**o, "epsilon": 0.1}), {MOMENTS, COSINE, PAIR},
    ),
    "statistics of the batch in testing": ("normalised", "flax.linen.BatchNorm", by_batch, {HALVES}),
    "no normalisation": (
        "normalised", "flax.linen.BatchNorm", lambda r, **o: lambda x: x, {MOMENTS, COSINE, PAIR},
    ),
    "half the penalty": (
        "sparse", "sandbox.problems.lasso", lambda X, y, l1, **o: LASSO_PROBLEM(X, y, l1 / 2, **o), {LASSO},
    ),
    "no prox": ("sparse", "sandbox.optimizers.proximal", lambda method, prox: method, {LASSO}),
    "descent too short": ("folds", "sandbox.optimizers.gradient_descent", lambda r: DESCENT(r / 20), {FIVE, ONE}),
    "overlapping folds": ("folds", HERE + "k_fold", lambda n, k: FOLDS(n, k) | (np.arange(n) == 0), {ONE}),
    "noise of another size": ("learning", HERE + "np", numpy_with(wider_noise), {CURVES}),
    "new labels that scatter more": ("decomposition", HERE + "np", numpy_with(wider(1.0, 1.2)), {NEW}),
    "labels that scatter more": ("decomposition", HERE + "np", numpy_with(wider(1.2, 1.0)), {PARTS, NEW}),
}  # fmt: skip


def test_generalization():
    sound(generalization.main(fast=True), 16, 3, BROKEN)


@pytest.mark.slow
@pytest.mark.parametrize(("part", "name", "broken", "expected"), BROKEN.values(), ids=BROKEN)
def test_broken_generalization(monkeypatch, x64, part, name, broken, expected):
    monkeypatch.setattr(name, broken)
    fails(getattr(generalization, part)(*([True] if part in FAST else [])).claims, expected)


def test_the_factors_of_early_stopping():
    """Of a direction with x = ηtλ, flow keeps 1 − e⁻ˣ, ridge x/(1 + x); risks of the best ridge and flow at its 1/t."""
    x = np.geomspace(1e-3, 1e3, 1_000_001)
    flow = 1 - np.exp(-x)
    assert (flow * (1 + x) / x).max() == pytest.approx(1.2984, abs=5e-5)
    assert ((1 + x) * ((1 - flow) ** 2 + flow**2 / x)).max() == pytest.approx(1.2147, abs=5e-5)


@pytest.mark.slow
def test_cross_validation_is_that_of_scikit_learn(x64):
    """Of ridge with alpha = n · l2, n the examples that are left, by five folds and by leaving one out."""
    ds = generalization.folds(True).sweeps[0]
    n, d, folds = generalization.EXAMPLES, generalization.FEATURES, generalization.FOLDS
    X = generalization.normal(n, d, seed=18)
    y = X.sum(1) + 2 * generalization.normal(n, seed=19)
    for k, held_out in ((0, generalization.k_fold(n, folds)), (folds, np.eye(n, dtype=bool))):
        for l2 in ds.l2.values:
            model = linear_model.Ridge(alpha=l2 * (n - held_out[0].sum()), fit_intercept=False)
            split = [(np.flatnonzero(~out), np.flatnonzero(out)) for out in held_out]
            theirs = -model_selection.cross_val_score(model, X, y, cv=split, scoring="neg_mean_squared_error")
            ours = ds.error.sel(l2=l2).values[k : k + len(held_out)]
            np.testing.assert_allclose(np.sort(ours), np.sort(theirs), rtol=1e-9)


def test_the_lasso_of_scikit_learn_starts_at_the_same_strength():
    n, d = generalization.EXAMPLES, generalization.FEATURES
    X, y = generalization.normal(n, d, seed=16), generalization.normal(n, seed=17)
    alphas, _, _ = linear_model.lasso_path(X, y)
    assert alphas[0] == pytest.approx(np.abs(X.T @ y).max() / n, rel=1e-12)
