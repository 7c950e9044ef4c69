"""Kernels k(x, z) of two examples: inner products φ(x)·φ(z) of features that need not be written down."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sandbox.models import polynomial as powers
from sandbox.types import Scalar

Kernel = Callable[[Array, Array], Array]


def linear(x: Float[Array, " features"], z: Float[Array, " features"]) -> Float[Array, ""]:
    """x·z."""
    return jnp.dot(x, z)


def polynomial(degree: int, gamma: Scalar = 1.0, constant: Scalar = 1.0) -> Kernel:
    """(γ x·z + c)ᵈ: all products of up to d coordinates."""
    return lambda x, z: (gamma * jnp.dot(x, z) + constant) ** degree


def rbf(gamma: Scalar) -> Kernel:
    """exp(−γ ‖x − z‖²), the radial basis function: infinitely many features.

    ‖x‖² + ‖z‖² − 2 x·z, so that a matrix of kernels is a product of matrices; it differs from 0 by rounding at x = z.
    """
    return lambda x, z: jnp.exp(-gamma * jax.nn.relu(jnp.dot(x, x) + jnp.dot(z, z) - 2 * jnp.dot(x, z)))


def gram(kernel: Kernel, X: Float[Array, "m features"], Z: Float[Array, "n features"]) -> Float[Array, "m n"]:
    """k(x, z) of every row of X with every row of Z."""
    return jax.vmap(lambda x: jax.vmap(lambda z: kernel(x, z))(Z))(X)


def polynomial_features(
    X: Float[np.ndarray, "examples features"], degree: int, gamma: float = 1.0, constant: float = 1.0
) -> Float[np.ndarray, "examples terms"]:
    """The φ of `polynomial`, written down: φ(x)·φ(z) = (γ x·z + c)ᵈ, by the multinomial theorem.

    A term xᵏ = x₁^k₁ x₂^k₂ … of degree t = Σ k has the factor √(d! γᵗ cᵈ⁻ᵗ / ((d − t)! k₁! k₂! …)).
    """
    terms = powers.exponents(X.shape[1], degree)
    rest = degree - terms.sum(1)
    ways = [math.factorial(degree) / math.prod(map(math.factorial, (*k, r))) for k, r in zip(terms, rest, strict=True)]
    return powers.expand(X, degree, constant=True) * np.sqrt(np.array(ways) * gamma ** (degree - rest) * constant**rest)
