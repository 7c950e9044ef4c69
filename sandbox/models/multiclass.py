"""Many classes by machines that tell two apart: each class from the rest, or each from every other."""

from collections.abc import Callable
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float, Shaped

Decision = Callable[[Any], Any]  # X → a number for every row, above 0 for the class +1
Fit = Callable[[Any, Any], Decision]  # X and labels −1, +1 → the decision of one machine


class Classifier(NamedTuple):
    """The labels, the machines, and what these make together: a score for every label."""

    labels: Shaped[np.ndarray, " classes"]
    machines: tuple[Decision, ...]
    scores: Callable[[Any], Float[np.ndarray, "examples classes"]]


def predict(classifier: Classifier, X: Shaped[Any, " examples *features"]) -> Shaped[np.ndarray, " examples"]:
    """The label of the largest score; of equal ones, the first."""
    return classifier.labels[np.argmax(classifier.scores(X), 1)]


def one_vs_rest(fit: Fit, X: Shaped[Any, " examples *features"], y: Shaped[ArrayLike, " examples"]) -> Classifier:
    """A machine for each of k classes, +1 for it and −1 for all others; the score is its decision.

    Rifkin & Klautau (2004). `fit` is any that takes rows of X. Of two classes either gets a machine, one the other's
    mirror.
    """
    X, y, labels = _examples(X, y)
    machines = tuple(fit(X, np.where(y == label, 1.0, -1.0)) for label in labels)
    return Classifier(labels, machines, lambda X: _decisions(machines, X))


def one_vs_one(fit: Fit, X: Shaped[Any, " examples *features"], y: Shaped[ArrayLike, " examples"]) -> Classifier:
    """A machine for each of k (k − 1) / 2 pairs of classes, with no other examples; the score is votes (Kreßel 1999).

    The larger label of a pair is +1. Where votes are equal, the sum s of the decisions for a class tells: it enters as
    s / (3 (1 + |s|)), which is less than half a vote, as in scikit-learn.
    """
    X, y, labels = _examples(X, y)
    pairs = np.array(list(combinations(range(len(labels)), 2)))

    def machine(pair: np.ndarray) -> Decision:
        smaller, larger = labels[pair]
        rows = (y == smaller) | (y == larger)
        return fit(X[rows], np.where(y[rows] == larger, 1.0, -1.0))

    machines = tuple(map(machine, pairs))
    smaller, larger = np.eye(len(labels))[pairs.T]  # a unit vector for the class of every machine

    def scores(X: Any) -> np.ndarray:
        decisions = _decisions(machines, X)
        votes = (decisions > 0) @ larger + (decisions <= 0) @ smaller
        sums = decisions @ (larger - smaller)
        return votes + sums / (3 * (1 + np.abs(sums)))

    return Classifier(labels, machines, scores)


def _decisions(machines: tuple[Decision, ...], X: Any) -> Float[np.ndarray, "examples machines"]:
    return np.stack([np.asarray(decide(X)) for decide in machines], 1)


def _examples(X: Any, y: ArrayLike) -> tuple[Any, np.ndarray, np.ndarray]:
    """X, y and the distinct labels; ValueError where they cannot be rows and their classes."""
    X, y = X if hasattr(X, "shape") else np.asarray(X), np.asarray(y)
    if y.shape != X.shape[:1]:
        raise ValueError(f"X has shape {X.shape} and y {y.shape}; expected one label for each row")
    if y.dtype.kind == "f" and np.isnan(y).any():
        raise ValueError("y holds NaN; expected a label for each row")
    labels = np.unique(y)
    if len(labels) < 2:
        raise ValueError(f"y holds {len(labels)} distinct labels; expected at least 2")
    return X, y, labels
