"""Designs with known truth: how well conditioned, how sparse, how separable, how noisy, is chosen.

Each is a function of its arguments and its seed; NumPy, float64, examples in rows.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped


class Sample(NamedTuple):
    """Examples, and the weights that made them."""

    X: Float[np.ndarray, "examples features"]
    y: Shaped[np.ndarray, " examples"]
    w: Float[np.ndarray, " features"]


def normal(*shape: int, seed: int) -> Float[np.ndarray, "..."]:
    """Independent draws from N(0, 1)."""
    return np.random.default_rng(seed).normal(size=shape)


def design(
    examples: int, features: int, condition_number: float = 1.0, seed: int = 0
) -> Float[np.ndarray, "examples features"]:
    """X with the eigenvalues of XᵀX/n log-spaced from 1/κ to 1, in random directions; examples ≥ features ≥ 2."""
    if not 2 <= features <= examples:
        raise ValueError(f"design of {examples} examples × {features} features: expected examples ≥ features ≥ 2")
    if not 1 <= condition_number < np.inf:
        raise ValueError(f"condition_number={condition_number}: expected a finite number from 1 up")
    rng = np.random.default_rng(seed)
    left, _ = np.linalg.qr(rng.standard_normal((examples, features)))
    right, _ = np.linalg.qr(rng.standard_normal((features, features)))
    eigenvalues = np.geomspace(1 / condition_number, 1, features)
    return np.sqrt(examples) * (left * np.sqrt(eigenvalues)) @ right.T


def conditioned_regression(
    examples: int, features: int, condition_number: float = 1.0, noise: float = 0.0, seed: int = 0
) -> Sample:
    """y = Xw + noise · N(0, 1), for a design of the given condition number and w ~ N(0, I)."""
    rng = np.random.default_rng((seed, 1))
    X = design(examples, features, condition_number, seed)
    w = rng.standard_normal(features)
    return Sample(X, X @ w + noise * rng.standard_normal(examples), w)


def sparse_regression(examples: int, features: int, nonzeros: int, noise: float = 0.0, seed: int = 0) -> Sample:
    """y = Xw + noise · N(0, 1) with X ~ N(0, 1), and `nonzeros` weights of ±1 at random places."""
    if not 0 <= nonzeros <= features:
        raise ValueError(f"nonzeros={nonzeros}: expected from 0 to the {features} features")
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((examples, features))
    w = np.zeros(features)
    w[rng.permutation(features)[:nonzeros]] = rng.choice([-1.0, 1.0], nonzeros)
    return Sample(X, X @ w + noise * rng.standard_normal(examples), w)


def separable_classes(examples: int, features: int, margin: float = 0.1, seed: int = 0) -> Sample:
    """Labels sign(w·x) with ‖w‖ = 1 and |w·x| ≥ margin: points too near are pushed away from the plane."""
    if margin <= 0:
        raise ValueError(f"margin={margin}: expected a positive distance; logistic_classes has classes that overlap")
    rng = np.random.default_rng(seed)
    w = rng.standard_normal(features)
    w /= np.linalg.norm(w)
    X = rng.standard_normal((examples, features))
    distance = X @ w
    y = np.where(distance > 0, 1, -1)
    return Sample(X + np.outer(y * (np.maximum(np.abs(distance), margin) - np.abs(distance)), w), y, w)


def logistic_classes(examples: int, features: int, strength: float = 1.0, seed: int = 0) -> Sample:
    """Labels 0, 1 drawn with probability σ(w·x), for x ~ N(0, I) and ‖w‖ = strength: logistic regression is true."""
    rng = np.random.default_rng(seed)
    w = rng.standard_normal(features)
    w *= strength / np.linalg.norm(w)
    X = rng.standard_normal((examples, features))
    probability = 1 / (1 + np.exp(-X @ w))
    return Sample(X, (rng.random(examples) < probability).astype(np.int32), w)
