"""Methods that see a leaf, say the weights of one layer, by its norm."""

from typing import Any

import jax.numpy as jnp

from sandbox.optimizers.base import (
    Optimizer,
    at,
    decay,
    decay_rate,
    factory,
    leafwise,
    real_dtype,
    required,
    stabiliser,
)
from sandbox.optimizers.gradient import Nothing, Trace
from sandbox.optimizers.moments import Moments, adam_direction, from_zero
from sandbox.tree import abs2
from sandbox.types import Array, Scalar, Schedule


@factory
def fromage(learning_rate: Scalar | Schedule, min_norm: Scalar = 1e-6) -> Optimizer:
    """Fromage (Bernstein et al. 2020, Algorithm 1): steps as long as the leaf, times the rate.

    x ← (x − η g ‖x‖ / ‖g‖) / √(1 + η²)          norms are at least `min_norm`
    """

    def init(x):
        return Nothing()

    def update(t, g, memory, x):
        eta = at(learning_rate, t)
        shrink = 1 / jnp.sqrt(1 + eta**2)
        u = g * _ratio(jnp.maximum(_norm(required(x)), min_norm), jnp.maximum(_norm(g), min_norm))
        return -eta * shrink * u + (shrink - 1) * x, memory

    return leafwise(init, update)


@factory
def lars(
    learning_rate: Scalar | Schedule,
    weight_decay: Scalar | Schedule = 0.0,
    weight_decay_mask: Any = True,
    trust_coefficient: Scalar = 0.001,
    eps: Scalar = 0.0,
    trust_ratio_mask: Any = True,
    momentum: Scalar = 0.9,
    nesterov: bool = False,
) -> Optimizer:
    """LARS (You, Gitman & Ginsburg 2017, Algorithm 1): momentum of steps that are scaled to the norm of their leaf.

    g ← g + λ x
    u = −η c ‖x‖ / (‖g‖ + ε) g                   without the ratio where a norm is 0, or the mask says so
    m ← μ m + u
    x ← x + m, or x ← x + μ m + u with nesterov
    """

    def init(x):
        return Trace(jnp.zeros_like(x))

    def update(t, g, memory, x, decays, scales):
        g = g + decay(weight_decay, t, x, decays)
        ratio = _ratio(trust_coefficient * _norm(required(x)), _norm(g), eps) if scales else 1.0
        u = -at(learning_rate, t) * ratio * g
        m = momentum * memory.trace + u
        return momentum * m + u if nesterov else m, Trace(m)

    return leafwise(init, update, masks=(weight_decay_mask, trust_ratio_mask))


@factory
def lamb(
    learning_rate: Scalar | Schedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-6,
    eps_root: Scalar = 0.0,
    weight_decay: Scalar | Schedule = 0.0,
    mask: Any = None,
) -> Optimizer:
    """LAMB (You et al. 2020, Algorithm 2): AdamW whose steps are scaled to the norm of their leaf.

    d = m̂ / (√(v̂ + ε_root) + ε) + λ x           as in AdamW
    x ← x − η ‖x‖ / ‖d‖ d                        without the ratio where a norm is 0
    """
    direction = adam_direction(b1, b2, eps, eps_root, nesterov=False)

    def update(t, g, memory, x, decays):
        d, memory = direction(t, g, memory)
        d = d + decay(weight_decay, t, x, decays)
        return -at(learning_rate, t) * _ratio(_norm(required(x)), _norm(d)) * d, memory

    return leafwise(from_zero(), update, masks=(mask,))


@factory
def novograd(
    learning_rate: Scalar | Schedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.25,
    eps: Scalar = 1e-6,
    eps_root: Scalar = 0.0,
    weight_decay: Scalar = 0.0,
) -> Optimizer:
    """NovoGrad (Ginsburg et al. 2019, Algorithm 1): one second moment for a whole leaf.

    v ← β₂ v + (1 − β₂) ‖g‖²                     v = ‖g‖² in the first step
    m ← β₁ m + g / (√(v + ε_root) + ε) + λ x
    x ← x − η m
    """
    b1, b2, eps = decay_rate(b1), decay_rate(b2), stabiliser(eps)

    def init(x):
        return Moments(jnp.zeros_like(x), jnp.zeros((), real_dtype(x)))

    def update(t, g, memory, x, decays):
        square = jnp.sum(abs2(g))
        nu = jnp.where(t > 1, b2 * memory.nu + (1 - b2) * square, square)
        mu = b1 * memory.mu + g / (jnp.sqrt(nu + eps_root) + eps) + decay(weight_decay, t, x, decays)
        return -at(learning_rate, t) * mu, Moments(mu, nu)

    return leafwise(init, update, masks=(None,))


def _norm(x: Array) -> Array:
    """‖x‖."""
    return jnp.sqrt(jnp.sum(abs2(x)))


def _ratio(a: Array, b: Array, eps: Scalar = 0.0) -> Array:
    """a / (b + ε), 1 where a or b is 0."""
    defined = (a != 0) & (b != 0)
    return jnp.where(defined, a / jnp.where(defined, b + eps, 1.0), 1.0)
