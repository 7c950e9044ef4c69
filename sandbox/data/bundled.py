"""Real sets that ship with scikit-learn, split once and for all into training and test examples.

A fifth of the examples, drawn by one fixed permutation, is for testing. Features are standardised with the mean and
the deviation of the training examples; the pixels of the digits are divided by 16, so that they lie in [0, 1].
Everything is NumPy, in float64 (labels in int32), and read-only.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

TEST_FRACTION = 0.2
SPLIT_SEED = 0


class Split(NamedTuple):
    """Training and test examples, one per row."""

    X: Float[np.ndarray, "examples features"]
    y: Shaped[np.ndarray, " examples"]
    X_test: Float[np.ndarray, "held_out features"]
    y_test: Shaped[np.ndarray, " held_out"]


@cache
def load_diabetes() -> Split:
    """442 patients, 10 measurements → disease progression after a year, 25 … 346 (Efron et al. 2004)."""
    from sklearn.datasets import load_diabetes

    return _standardised(*_split(load_diabetes(return_X_y=True, scaled=False), float))


@cache
def load_breast_cancer() -> Split:
    """569 tumours, 30 measurements → 1 benign, 0 malignant (Street, Wolberg & Mangasarian 1993)."""
    from sklearn.datasets import load_breast_cancer

    return _standardised(*_split(load_breast_cancer(return_X_y=True), np.int32))


@cache
def load_digits() -> Split:
    """1797 handwritten digits, 8×8 pixels in [0, 1] → 0 … 9 (Alpaydin & Kaynak 1998)."""
    from sklearn.datasets import load_digits

    X, y, X_test, y_test = _split(load_digits(return_X_y=True), np.int32)
    return _frozen(X / 16, y, X_test / 16, y_test)


@cache
def load_iris() -> Split:
    """150 flowers, 4 lengths → species 0, 1, 2 (Fisher 1936)."""
    from sklearn.datasets import load_iris

    return _standardised(*_split(load_iris(return_X_y=True), np.int32))


@cache
def load_wine() -> Split:
    """178 wines, 13 chemical measurements → cultivar 0, 1, 2 (Aeberhard, Coomans & de Vel 1992)."""
    from sklearn.datasets import load_wine

    return _standardised(*_split(load_wine(return_X_y=True), np.int32))


def _split(examples: tuple[Any, Any], label: Any) -> tuple[np.ndarray, ...]:
    """X, y, X_test, y_test: the first fifth of a fixed permutation is held out."""
    X = np.asarray(examples[0], np.float64)
    y: np.ndarray = np.asarray(examples[1], label)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(X))
    held_out = round(TEST_FRACTION * len(X))
    test, train = order[:held_out], order[held_out:]
    return X[train], y[train], X[test], y[test]


def _standardised(X: np.ndarray, y: np.ndarray, X_test: np.ndarray, y_test: np.ndarray) -> Split:
    """(X − mean) / deviation, both taken from the training examples."""
    mean, deviation = X.mean(0), X.std(0)
    return _frozen((X - mean) / deviation, y, (X_test - mean) / deviation, y_test)


def _frozen(*arrays: np.ndarray) -> Split:
    for a in arrays:
        a.setflags(write=False)
    return Split(*arrays)
