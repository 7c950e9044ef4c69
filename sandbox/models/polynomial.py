"""Polynomial features: with φ(x) = all products of powers of x, a linear model of φ(x) is a polynomial in x."""

import functools
import itertools
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int


def expand(X: Float[Any, "*batch features"], degree: int, *, constant: bool = False) -> Float[Any, "*batch terms"]:
    """φ(x) of every row: all products of x₁, x₂, … of degree 1 to `degree`, lower degrees first: x, y, x², xy, y².

    Without the constant term, for which a linear model has its intercept. NumPy arrays stay NumPy's, and as precise.
    The number of terms is C(features + degree, degree), less the constant. Raises ValueError for a degree below 1.
    """
    xp: Any = jnp if isinstance(X, jax.Array) else np
    X = xp.asarray(X)
    X = X if xp.issubdtype(X.dtype, xp.inexact) else X.astype(float)  # the square of 20 is no uint8
    powers = list(itertools.accumulate([X] * degree, operator.mul, initial=xp.ones_like(X)))
    terms = exponents(X.shape[-1], degree)[0 if constant else 1 :]
    product = lambda term: functools.reduce(operator.mul, (powers[k][..., j] for j, k in enumerate(term) if k), 1.0)
    return xp.stack([xp.broadcast_to(product(term), X.shape[:-1]) for term in terms], -1).astype(X.dtype)


def exponents(features: int, degree: int) -> Int[np.ndarray, "terms features"]:
    """The powers in each term, from the constant up: within a degree, high powers of the first features come first."""
    if degree < 1 or features < 1:
        raise ValueError(f"degree={degree} in {features} features: expected whole numbers from 1 up")
    chosen = (c for d in range(degree + 1) for c in itertools.combinations_with_replacement(range(features), d))
    return np.array([np.bincount(np.array(c, int), minlength=features) for c in chosen])
