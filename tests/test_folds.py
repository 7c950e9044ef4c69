"""Cross-validation's folds are fair, and polynomial features are scikit-learn's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import PolynomialFeatures

from sandbox.data import k_fold
from sandbox.models import polynomial


@given(st.integers(2, 60), st.integers(2, 9), st.integers(1, 4), st.integers(0, 99))
def test_every_example_is_held_out_once_and_every_label_shared_evenly(examples, folds, kinds, seed):
    folds = min(folds, examples)
    labels = np.random.default_rng(seed).integers(kinds, size=examples)
    held_out = k_fold(examples, folds, seed=seed, labels=labels)
    assert (held_out.sum(0) == 1).all()
    assert np.ptp(held_out.sum(1)) <= 1
    for label in range(kinds):
        assert np.ptp(held_out[:, labels == label].sum(1)) <= 1


def test_folds_follow_their_seed():
    np.testing.assert_array_equal(k_fold(50, 5, seed=1), k_fold(50, 5, seed=1))
    assert not np.array_equal(k_fold(50, 5, seed=1), k_fold(50, 5, seed=2))


@pytest.mark.parametrize("folds", [1, 0, 11])
def test_impossible_folds_are_refused(folds):
    with pytest.raises(ValueError, match=rf"folds={folds} of 10 examples: take from 2 to 10"):
        k_fold(10, folds)
    with pytest.raises(ValueError, match=r"labels have shape \(3,\)"):
        k_fold(10, 2, labels=[1, 2, 3])


@pytest.mark.parametrize("features", [1, 2, 4])
@pytest.mark.parametrize("degree", [1, 2, 5])
@pytest.mark.parametrize("constant", [True, False])
def test_polynomial_features_are_scikit_learns(features, degree, constant):
    X = np.random.default_rng(0).normal(size=(7, features))
    expected = PolynomialFeatures(degree, include_bias=constant).fit_transform(X)
    np.testing.assert_allclose(polynomial.expand(X, degree, constant=constant), expected, rtol=1e-12)


def test_polynomial_features_have_derivatives_at_zero():
    """Where x⁰ is written as a power of a traced exponent, its derivative at 0 is NaN."""
    jacobian = jax.jacobian(lambda x: polynomial.expand(x, 3))(jnp.zeros(2))
    np.testing.assert_array_equal(jacobian[:2], np.eye(2))
    assert (jacobian[2:] == 0).all()


def test_whole_numbers_do_not_wrap_around():
    np.testing.assert_array_equal(polynomial.expand(np.array([[20]], np.uint8), 3), [[20, 400, 8000]])
    np.testing.assert_allclose(polynomial.expand(jnp.array([[1300]]), 3), [[1300, 1300.0**2, 1300.0**3]], rtol=1e-6)


def test_a_polynomial_of_no_degree_is_refused():
    with pytest.raises(ValueError, match="degree=0 in 2 features"):
        polynomial.expand(np.ones((3, 2)), 0)
