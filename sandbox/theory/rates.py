"""Rates on quadratics: how fast each momentum method contracts, where it breaks, and its best setting.

On ½ xᵀHx the modes of H do not meet: in the mode of curvature λ a method with one momentum obeys

    z² − b z + c = 0,        x_{k+1} = b x_k − c x_{k−1},

and the distance to the minimum contracts per step by the largest |root| (f − f* by its square):

    gradient descent   x⁺ = x − η∇f(x)                                 b = 1 − ηλ               c = 0
    heavy ball         x⁺ = x − η∇f(x) + β(x − x⁻)                     b = 1 + β − ηλ           c = β
    EMA momentum       m⁺ = βm + (1−β)∇f(x),  x⁺ = x − ηm⁺             b = 1 + β − (1−β)ηλ      c = β
    Nesterov           y = x + β(x − x⁻),     x⁺ = y − η∇f(y)          b = (1+β)(1−ηλ)          c = β(1−ηλ)

Over a spectrum the slowest mode decides. Each radius falls and then rises with λ, so that on [μ, L] the two
ends decide: `heavy_ball_rate((mu, L), …)`. Everything works elementwise on NumPy arrays (in float64) and on
JAX arrays.
"""

from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Real

from sandbox.types import Array, Scalar


class Tuning(NamedTuple):
    """Hyper-parameters, and the contraction per step that they reach."""

    learning_rate: Scalar
    momentum: Scalar
    rate: Scalar


def gradient_descent_rate(eigenvalues: Real[ArrayLike, "*s"], learning_rate: ArrayLike) -> Array:
    """max over the last axis of |1 − ηλ|; below 1 it converges."""
    xp, h, eta = _arrays(eigenvalues, learning_rate)
    return xp.max(xp.abs(1 - eta[..., None] * h), axis=-1)


def heavy_ball_rate(eigenvalues: Real[ArrayLike, "*s"], learning_rate: ArrayLike, momentum: ArrayLike) -> Array:
    """max over the last axis of |root| of z² − (1 + β − ηλ) z + β (Polyak 1964)."""
    xp, h, eta, beta = _arrays(eigenvalues, learning_rate, momentum)
    curvature, beta = eta[..., None] * h, beta[..., None]
    return xp.max(_radius(xp, 1 + beta - curvature, beta), axis=-1)


def ema_momentum_rate(eigenvalues: Real[ArrayLike, "*s"], learning_rate: ArrayLike, momentum: ArrayLike) -> Array:
    """Heavy ball at the rate (1 − β)η; also Adam whose second moment no longer moves (Cohen et al. 2022)."""
    _, eta, beta = _arrays(learning_rate, momentum)
    return heavy_ball_rate(eigenvalues, (1 - beta) * eta, beta)


def nesterov_rate(eigenvalues: Real[ArrayLike, "*s"], learning_rate: ArrayLike, momentum: ArrayLike) -> Array:
    """max over the last axis of |root| of z² − (1 + β)(1 − ηλ) z + β(1 − ηλ) (Nesterov 1983, constant β)."""
    xp, h, eta, beta = _arrays(eigenvalues, learning_rate, momentum)
    shrink, beta = 1 - eta[..., None] * h, beta[..., None]
    return xp.max(_radius(xp, (1 + beta) * shrink, beta * shrink), axis=-1)


def gradient_descent_cliff(curvature: ArrayLike) -> Array:
    """2/λ, where −1 becomes a root; λ is the largest curvature."""
    _, h = _arrays(curvature)
    return 2 / h


def heavy_ball_cliff(curvature: ArrayLike, momentum: ArrayLike) -> Array:
    """2(1 + β)/λ."""
    _, h, beta = _arrays(curvature, momentum)
    return 2 * (1 + beta) / h


def ema_momentum_cliff(curvature: ArrayLike, momentum: ArrayLike) -> Array:
    """2(1 + β) / ((1 − β)λ)."""
    _, h, beta = _arrays(curvature, momentum)
    return 2 * (1 + beta) / ((1 - beta) * h)


def nesterov_cliff(curvature: ArrayLike, momentum: ArrayLike) -> Array:
    """2(1 + β) / ((1 + 2β)λ)."""
    _, h, beta = _arrays(curvature, momentum)
    return 2 * (1 + beta) / ((1 + 2 * beta) * h)


def gradient_descent_optimum(mu: ArrayLike, L: ArrayLike) -> Tuning:
    """η = 2/(L + μ), momentum 0; ρ = (κ − 1)/(κ + 1)."""
    _, low, high = _arrays(mu, L)
    return Tuning(2 / (high + low), 0 * high, (high - low) / (high + low))


def heavy_ball_optimum(mu: ArrayLike, L: ArrayLike) -> Tuning:
    """η = 4/(√L + √μ)², β = ((√κ − 1)/(√κ + 1))²; ρ = √β (Polyak 1964).

    Both end modes are defective there: their error falls like k ρᵏ, a factor k slower than ρᵏ.
    """
    xp, low, high = _arrays(mu, L)
    rate = (xp.sqrt(high) - xp.sqrt(low)) / (xp.sqrt(high) + xp.sqrt(low))
    return Tuning(4 / (xp.sqrt(high) + xp.sqrt(low)) ** 2, rate**2, rate)


def ema_momentum_optimum(mu: ArrayLike, L: ArrayLike) -> Tuning:
    """Heavy ball's, with η/(1 − β) for η."""
    best = heavy_ball_optimum(mu, L)
    return best._replace(learning_rate=best.learning_rate / (1 - best.momentum))


def nesterov_optimum(mu: ArrayLike, L: ArrayLike) -> Tuning:
    """η = 4/(3L + μ), β = (√(3κ+1) − 2)/(√(3κ+1) + 2); ρ = 1 − 2/√(3κ+1) (Lessard, Recht & Packard 2016).

    The mode of curvature μ is defective there, as in heavy ball.
    """
    xp, low, high = _arrays(mu, L)
    root = xp.sqrt(3 * high / low + 1)
    return Tuning(4 / (3 * high + low), (root - 2) / (root + 2), 1 - 2 / root)


def nesterov_standard(mu: ArrayLike, L: ArrayLike) -> Tuning:
    """The textbook's η = 1/L, β = (√κ − 1)/(√κ + 1); ρ = 1 − 1/√κ, again defective at μ (Nesterov 2004)."""
    xp, low, high = _arrays(mu, L)
    root = xp.sqrt(high / low)
    return Tuning(1 / high, (root - 1) / (root + 1), 1 - 1 / root)


def _radius(xp: ModuleType, b: Array, c: Array) -> Array:
    """The largest |z| with z² − b z + c = 0: √c where the roots are complex, else (|b| + √(b² − 4c))/2."""
    gap = b**2 - 4 * c
    complex_pair = gap < 0
    # each root is taken of something positive on both branches, so that derivatives are never NaN
    modulus = xp.sqrt(xp.where(complex_pair, c, 1.0))
    largest = (xp.abs(b) + xp.sqrt(xp.where(complex_pair | (gap == 0), 1.0, gap)) * (gap > 0)) / 2
    return xp.where(complex_pair, modulus, largest)


def _arrays(*values: ArrayLike) -> tuple[Any, ...]:
    """The namespace, NumPy or JAX, that the values ask for, and the values as its floating arrays."""
    xp = jnp if any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(values)) else np
    return xp, *(xp.asarray(value, dtype=float) for value in values)
