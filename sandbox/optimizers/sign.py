"""Methods that look at the sign of the gradient only."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from sandbox.optimizers.base import Optimizer, at, decay, decay_rate, factory, leafwise
from sandbox.types import Array, Scalar, Schedule


class Momentum(NamedTuple):
    """The moving average of the gradient."""

    mu: Array


@factory
def lion(
    learning_rate: Scalar | Schedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.99,
    mu_dtype: Any | None = None,
    weight_decay: Scalar | Schedule = 1e-3,
    mask: Any = None,
) -> Optimizer:
    """Lion (Chen et al. 2023, Algorithm 2).

    d = sign(β₁ m + (1 − β₁) g)                  sign(0) = 0
    m ← β₂ m + (1 − β₂) g
    x ← x − η (d + λ x)

    λ and `mask` as in AdamW.
    """
    b1, b2 = decay_rate(b1), decay_rate(b2)

    def init(x):
        return Momentum(jnp.zeros_like(x, dtype=mu_dtype))

    def update(t, g, memory, x, decays):
        d = jnp.sign(b1 * memory.mu + (1 - b1) * g)
        mu = b2 * memory.mu + (1 - b2) * g
        return -at(learning_rate, t) * (d + decay(weight_decay, t, x, decays)), Momentum(mu)

    return leafwise(init, update, learning_rate, masks=(mask,))
