"""Adam and its family: a moving average of the gradient, scaled by one of its square."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from sandbox.optimizers.base import Optimizer, at, decay, decay_rate, factory, leafwise, real_dtype, stabiliser
from sandbox.tree import abs2
from sandbox.types import Array, Scalar, Schedule


class Moments(NamedTuple):
    """Moving averages of the gradient, mu, and of its square, nu."""

    mu: Array
    nu: Array


@factory
def adam(
    learning_rate: Scalar | Schedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    mu_dtype: Any | None = None,
    *,
    nesterov: bool = False,
) -> Optimizer:
    """Adam (Kingma & Ba 2015, Algorithm 1).

    m ← β₁ m + (1 − β₁) g                        m̂ = m / (1 − β₁ᵗ)
    v ← β₂ v + (1 − β₂) g²                       v̂ = v / (1 − β₂ᵗ)
    x ← x − η m̂ / (√(v̂ + ε_root) + ε)

    nesterov (Dozat 2016, Algorithm 2):          m̂ = β₁ m / (1 − β₁ᵗ⁺¹) + (1 − β₁) g / (1 − β₁ᵗ)
    """
    init, direction = _adam(b1, b2, eps, eps_root, mu_dtype, nesterov)

    def update(t, g, memory, x):
        d, memory = direction(t, g, memory)
        return -at(learning_rate, t) * d, memory

    return leafwise(init, update, learning_rate)


@factory
def adamw(
    learning_rate: Scalar | Schedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    mu_dtype: Any | None = None,
    weight_decay: Scalar | Schedule = 1e-4,
    mask: Any = None,
    *,
    nesterov: bool = False,
) -> Optimizer:
    """AdamW (Loshchilov & Hutter 2019, Algorithm 2): Adam whose weight decay passes by the moments.

    d = m̂ / (√(v̂ + ε_root) + ε)                 as in Adam
    x ← x − η (d + λ x)

    λ may be a schedule. `mask`, a prefix tree of booleans or a function from params to one, says which leaves decay.
    """
    # 1. The paper multiplies λ by the schedule alone; here, as in Optax and PyTorch, by the whole learning rate.
    init, direction = _adam(b1, b2, eps, eps_root, mu_dtype, nesterov)

    def update(t, g, memory, x, decays):
        d, memory = direction(t, g, memory)
        return -at(learning_rate, t) * (d + decay(weight_decay, t, x, decays)), memory

    return leafwise(init, update, learning_rate, masks=(mask,))


def _adam(b1: Any, b2: Any, eps: Any, eps_root: Any, mu_dtype: Any, nesterov: bool) -> tuple:
    """Adam's memory and direction: m̂ / (√(v̂ + ε_root) + ε)."""
    b1, b2, eps = decay_rate(b1), decay_rate(b2), stabiliser(eps)

    def init(x):
        return Moments(mu=jnp.zeros_like(x, dtype=mu_dtype), nu=jnp.zeros_like(x, dtype=real_dtype(x)))

    def direction(t, g, memory):
        mu = b1 * memory.mu + (1 - b1) * g
        nu = b2 * memory.nu + (1 - b2) * abs2(g)
        m_hat, v_hat = mu / (1 - b1**t), nu / (1 - b2**t)
        if nesterov:
            m_hat = b1 * mu / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
        return m_hat / (jnp.sqrt(v_hat + eps_root) + eps), Moments(mu, nu)

    return init, direction
