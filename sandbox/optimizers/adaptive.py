"""Methods that give every coordinate its own rate."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sandbox.optimizers.base import Optimizer, at, decay_rate, factory, leafwise, real_dtype, stabiliser
from sandbox.tree import abs2
from sandbox.types import Array, Scalar, Schedule


class Squares(NamedTuple):
    """The sum of all squared gradients."""

    sum_of_squares: Array


class Scales(NamedTuple):
    """Of RMSProp: the moving average of g², and where asked for that of g, and the trace of the steps."""

    nu: Array
    mu: Array | None = None
    trace: Array | None = None


@factory
def adagrad(learning_rate: Scalar | Schedule, initial_accumulator_value: Scalar = 0.1, eps: Scalar = 1e-7) -> Optimizer:
    """AdaGrad (Duchi, Hazan & Singer 2011, Figure 1, diagonal).

    s ← s + g²
    x ← x − η g / √(s + ε)                       where s > 0, else x
    """
    eps = stabiliser(eps)

    def init(x):
        return Squares(jnp.full_like(x, initial_accumulator_value, dtype=real_dtype(x)))

    def update(t, g, memory, x):
        s = memory.sum_of_squares + abs2(g)
        scale = jnp.where(s > 0, jax.lax.rsqrt(s + eps), 0.0)
        return -at(learning_rate, t) * scale * g, Squares(s)

    return leafwise(init, update, learning_rate)


@factory
def rmsprop(
    learning_rate: Scalar | Schedule,
    decay: Scalar = 0.9,
    eps: Scalar = 1e-8,
    initial_scale: Scalar = 0.0,
    eps_in_sqrt: bool = True,
    centered: bool = False,
    momentum: Scalar | None = None,
    nesterov: bool = False,
    bias_correction: bool = False,
) -> Optimizer:
    """RMSProp (Tieleman & Hinton 2012, lecture 6e; centered and with momentum, Graves 2013, eqs. 38–41).

    ν ← β ν + (1 − β) g²
    u = −η g / √(ν + ε)                          or −η g / (√ν + ε)
    x ← x + u

    centered:         ν − m² for ν in the root, m ← β m + (1 − β) g: the variance, not the second moment
    bias_correction:  ν / (1 − βᵗ) for ν, and m / (1 − βᵗ) for m
    momentum:         c ← μ c + u; x ← x + c, or x ← x + μ c + u with nesterov: the rate comes before the momentum
    """
    beta, eps = decay_rate(decay), stabiliser(eps)

    def init(x):
        return Scales(
            nu=jnp.full_like(x, initial_scale, dtype=real_dtype(x)),
            mu=jnp.zeros_like(x) if centered else None,
            trace=None if momentum is None else jnp.zeros_like(x),
        )

    def update(t, g, memory, x):
        nu = beta * memory.nu + (1 - beta) * abs2(g)
        correction = 1 - beta**t if bias_correction else 1
        mu, spread = None, nu / correction
        if centered:
            mu = beta * memory.mu + (1 - beta) * g
            spread = spread - abs2(mu / correction)
        u = -at(learning_rate, t) * _rescale(spread, eps, eps_in_sqrt) * g
        if momentum is None:
            return u, Scales(nu, mu)
        c = momentum * memory.trace + u
        return momentum * c + u if nesterov else c, Scales(nu, mu, c)

    return leafwise(init, update, learning_rate)


def _rescale(spread: Array, eps: Scalar, eps_in_sqrt: bool) -> Array:
    """1 / √(spread + ε), or 1 / (√spread + ε); a variance that rounding has made negative counts as 0."""
    if eps_in_sqrt:
        inside = spread + eps
        return jax.lax.rsqrt(jnp.where(inside > 0, inside, eps))
    return 1 / (jnp.sqrt(jnp.maximum(spread, 0)) + eps)
