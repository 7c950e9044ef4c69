"""Methods that look at the sign of the gradient only."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from sandbox.optimizers.base import Optimizer, at, decay, decay_rate, factory, leafwise
from sandbox.optimizers.gradient import Average, Nothing
from sandbox.types import Array, Scalar, Schedule


class Momentum(NamedTuple):
    """The moving average of the gradient."""

    mu: Array


class Steps(NamedTuple):
    """A step size for each coordinate, and the step up the slope that comes next, 0 where the gradient had turned."""

    step_sizes: Array
    prev_updates: Array


@factory
def sign_sgd(learning_rate: Scalar | Schedule) -> Optimizer:
    """signSGD (Bernstein et al. 2018, Algorithm 1).

    x ← x − η sign(g)                            sign(0) = 0
    """

    def init(x):
        return Nothing()

    def update(t, g, memory, x):
        return -at(learning_rate, t) * jnp.sign(g), memory

    return leafwise(init, update)


@factory
def signum(learning_rate: Scalar | Schedule, beta: Scalar = 0.9, accumulator_dtype: Any | None = None) -> Optimizer:
    """Signum, signSGD with momentum (Bernstein et al. 2018, Algorithm 2).

    m ← β m + (1 − β) g
    x ← x − η sign(m)
    """
    beta = decay_rate(beta)

    def init(x):
        return Average(jnp.zeros_like(x, dtype=accumulator_dtype))

    def update(t, g, memory, x):
        m = beta * memory.ema + (1 - beta) * g
        return -at(learning_rate, t) * jnp.sign(m), Average(m)

    return leafwise(init, update)


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
    x ← x − η (d + λ x)                          λ and `mask` as in AdamW
    """
    b1, b2 = decay_rate(b1), decay_rate(b2)

    def init(x):
        return Momentum(jnp.zeros_like(x, dtype=mu_dtype))

    def update(t, g, memory, x, decays):
        d = jnp.sign(b1 * memory.mu + (1 - b1) * g)
        mu = b2 * memory.mu + (1 - b2) * g
        return -at(learning_rate, t) * (d + decay(weight_decay, t, x, decays)), Momentum(mu)

    return leafwise(init, update, learning_rate, masks=(mask,))


@factory
def rprop(
    learning_rate: Scalar,
    eta_minus: Scalar = 0.5,
    eta_plus: Scalar = 1.2,
    min_step_size: Scalar = 1e-6,
    max_step_size: Scalar = 50.0,
) -> Optimizer:
    """Rprop (Riedmiller & Braun 1993), in the variant that forgets a turn, iRprop− (Igel & Hüsken 2003).

    s ← clip(η₊ s, s_min, s_max)                 where g has the sign of the gradient before
    s ← clip(η₋ s, s_min, s_max), g, d₋₁ ← 0     where it has the other one
    d = s sign(g)
    x ← x − d₋₁

    s, one step size for each coordinate, starts at the learning rate; it stays where either gradient is 0.
    """
    # 1. As in Optax, a step is made one update late, unless the gradient turns meanwhile. In the papers, x ← x − d.

    def init(x):
        return Steps(jnp.full_like(x, learning_rate), jnp.zeros_like(x))

    def update(t, g, memory, x):
        turn = jnp.sign(g) * jnp.sign(memory.prev_updates)
        s = memory.step_sizes * jnp.where(turn > 0, eta_plus, eta_minus)
        s = jnp.where(turn == 0, memory.step_sizes, jnp.clip(s, min_step_size, max_step_size))
        step = jnp.where(turn < 0, 0, s * jnp.sign(g))
        return -jnp.where(turn < 0, 0, memory.prev_updates), Steps(s, step)

    return leafwise(init, update)
