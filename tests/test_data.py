"""Real sets are split once and for all; synthetic ones have the truth that was asked for."""

import numpy as np
import pytest
import sklearn.datasets

from sandbox import data

BUNDLED = ["diabetes", "breast_cancer", "digits", "iris", "wine"]


@pytest.mark.parametrize("name", BUNDLED)
def test_every_example_is_on_one_side_of_the_split(name):
    """The original table, standardised in the same way, holds the same rows, each once."""
    split = getattr(data, f"load_{name}")()
    options = {"scaled": False} if name == "diabetes" else {}
    X, y = getattr(sklearn.datasets, f"load_{name}")(return_X_y=True, **options)
    ours = np.vstack([np.column_stack([split.X, split.y]), np.column_stack([split.X_test, split.y_test])])
    assert len(split.X_test) == round(0.2 * len(X))
    if name == "digits":
        X = X / 16
    else:
        order = np.random.default_rng(0).permutation(len(X))[len(split.X_test) :]
        X = (X - X[order].mean(0)) / X[order].std(0)
    rows = lambda table: sorted(map(tuple, table.round(9) + 0.0))
    assert rows(ours) == rows(np.column_stack([X, y]))


@pytest.mark.parametrize("name", BUNDLED)
def test_training_features_are_standardised_and_nothing_can_be_written(name):
    split = getattr(data, f"load_{name}")()
    if name == "digits":
        assert (split.X.min(), split.X.max()) == (0, 1)
    else:
        np.testing.assert_allclose(split.X.mean(0), 0, atol=1e-12)
        np.testing.assert_allclose(split.X.std(0), 1, rtol=1e-12)
        assert np.abs(split.X_test.mean(0)).max() > 1e-3, "test examples must not enter the statistics"
    for a in split:
        with pytest.raises(ValueError, match="read-only"):
            a[0] = 0
    assert split.X.dtype == np.float64
    assert split.y.dtype == (np.float64 if name == "diabetes" else np.int32)


def test_the_split_never_changes():
    assert data.load_diabetes().y[:5].tolist() == [128, 78, 128, 141, 53]
    assert data.load_digits().y[:5].tolist() == [0, 4, 9, 5, 8]


@pytest.mark.parametrize(("examples", "features", "kappa"), [(50, 7, 1e4), (9, 9, 10.0), (20, 2, 1.0)])
def test_a_design_has_its_condition_number(examples, features, kappa):
    X = data.design(examples, features, kappa, seed=3)
    spectrum = np.linalg.svd(X)[1][::-1] ** 2 / examples
    np.testing.assert_allclose(spectrum, np.geomspace(1 / kappa, 1, features), rtol=1e-9)


def test_regressions_follow_from_their_weights():
    exact = data.conditioned_regression(30, 5, 100.0, seed=1)
    np.testing.assert_allclose(np.linalg.lstsq(exact.X, exact.y)[0], exact.w, rtol=1e-10)
    noisy = data.conditioned_regression(20_000, 3, noise=0.5, seed=1)
    np.testing.assert_allclose(np.std(noisy.y - noisy.X @ noisy.w), 0.5, rtol=0.02)
    sparse = data.sparse_regression(20, 50, 4, seed=2)
    assert sorted(np.abs(sparse.w))[-5:] == [0, 1, 1, 1, 1]
    np.testing.assert_array_equal(sparse.y, sparse.X @ sparse.w)


@pytest.mark.parametrize("margin", [0.01, 1.5])
def test_separable_classes_keep_their_margin(margin):
    X, y, w = data.separable_classes(200, 4, margin, seed=5)
    assert set(y) == {-1, 1}
    np.testing.assert_allclose(np.linalg.norm(w), 1, rtol=1e-12)
    assert (y * (X @ w)).min() >= margin * (1 - 1e-12)


def test_logistic_classes_have_the_odds_of_the_model():
    X, y, w = data.logistic_classes(100_000, 3, strength=2.0, seed=1)
    np.testing.assert_allclose(np.linalg.norm(w), 2, rtol=1e-12)
    p = 1 / (1 + np.exp(-X @ w))
    for low in (0.1, 0.3, 0.5, 0.7):
        near = (p > low) & (p < low + 0.2)
        np.testing.assert_allclose(y[near].mean(), p[near].mean(), atol=5 * 0.5 / np.sqrt(near.sum()))


def test_seeds_decide():
    a, b, c = (data.logistic_classes(10, 2, seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(a.X, b.X)
    assert not np.array_equal(a.X, c.X)


@pytest.mark.parametrize(
    "bad",
    [
        lambda: data.design(3, 5),
        lambda: data.design(5, 3, 0.5),
        lambda: data.sparse_regression(5, 3, 4),
        lambda: data.separable_classes(5, 3, 0.0),
    ],
)
def test_impossible_requests_are_refused(bad):
    with pytest.raises(ValueError, match="expected"):
        bad()
