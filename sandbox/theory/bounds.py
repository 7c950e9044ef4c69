"""Bounds of the textbooks: what a method reaches after k steps at worst, and where noise stops it.

f is convex and L-smooth and R = ‖x₀ − x*‖; h is a curvature, η a learning rate, σ² the variance of the
gradient noise.
"""

from jax.typing import ArrayLike

from sandbox.theory.rates import _arrays
from sandbox.types import Array


def gradient_descent_bound(L: ArrayLike, R: ArrayLike, k: ArrayLike) -> Array:
    """f(x_k) − f* ≤ L R²/(4k + 2) at the rate 1/L; a Huber function attains it (Drori & Teboulle 2014)."""
    _, smoothness, distance, steps = _arrays(L, R, k)
    return smoothness * distance**2 / (4 * steps + 2)


def nesterov_bound(L: ArrayLike, R: ArrayLike, k: ArrayLike) -> Array:
    """f(x_k) − f* ≤ 2 L R²/(k² + 5k + 6) for k ≥ 1 (Taylor, Hendrickx & Glineur 2017).

    The rate is 1/L and the momentum of step t is (t − 1)/(t + 2).
    """
    _, smoothness, distance, steps = _arrays(L, R, k)
    return 2 * smoothness * distance**2 / (steps**2 + 5 * steps + 6)


def sgd_variance(curvature: ArrayLike, learning_rate: ArrayLike, noise: ArrayLike) -> Array:
    """E x² → ησ²/(h(2 − ηh)) for SGD on ½hx² (Mandt, Hoffman & Blei 2017); infinite from η = 2/h on."""
    xp, h, eta, variance = _arrays(curvature, learning_rate, noise)
    stable = eta * h < 2
    return xp.where(stable, eta * variance / (h * xp.where(stable, 2 - eta * h, 1.0)), xp.inf)


def sgd_floor(eigenvalues: ArrayLike, learning_rate: ArrayLike, noise: ArrayLike) -> Array:
    """E f − f* → Σᵢ ησᵢ²/(2(2 − ηhᵢ)) over the last axis, ½hᵢ times each variance; ∝ η if η is small.

    noise is the variance σᵢ² of the gradient along each eigenvector, so a batch of B divides it by B.
    """
    xp, h, eta, variance = _arrays(eigenvalues, learning_rate, noise)
    return xp.sum(h / 2 * sgd_variance(h, eta[..., None], variance), axis=-1)
