"""Methods that give every coordinate its own rate."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sandbox.optimizers.base import Optimizer, at, decay_rate, leafwise, required, stabiliser
from sandbox.tree import abs2
from sandbox.types import Array, Scalar, Schedule


class Squares(NamedTuple):
    """The sum of all squared gradients."""

    sum_of_squares: Array


class Moments(NamedTuple):
    """Moving averages of the gradient, mu, and of its square, nu."""

    mu: Array
    nu: Array


class Momentum(NamedTuple):
    """The moving average of the gradient."""

    mu: Array


class Scales(NamedTuple):
    """Of RMSProp: the moving average of g², and where asked for that of g, and the trace of the steps."""

    nu: Array
    mu: Array | None = None
    trace: Array | None = None


def adagrad(learning_rate: Scalar | Schedule, initial_accumulator_value: Scalar = 0.1, eps: Scalar = 1e-7) -> Optimizer:
    """AdaGrad (Duchi, Hazan & Singer 2011, Figure 1, diagonal).

    s ← s + g²
    x ← x − η g / √(s + ε)                       where s > 0, else x
    """
    eps = stabiliser(eps)

    def init(x):
        return Squares(jnp.full_like(x, initial_accumulator_value, dtype=_real(x)))

    def update(t, g, memory, x):
        s = memory.sum_of_squares + abs2(g)
        scale = jnp.where(s > 0, jax.lax.rsqrt(s + eps), 0.0)
        return -at(learning_rate, t) * scale * g, Squares(s)

    return leafwise(init, update, learning_rate)


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
            nu=jnp.full_like(x, initial_scale, dtype=_real(x)),
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

    def update(t, g, memory, x):
        d, memory = direction(t, g, memory)
        return -at(learning_rate, t) * (d + at(weight_decay, t) * required(x)), memory

    return leafwise(init, update, learning_rate, mask=mask)


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

    def update(t, g, memory, x):
        d = jnp.sign(b1 * memory.mu + (1 - b1) * g)
        mu = b2 * memory.mu + (1 - b2) * g
        return -at(learning_rate, t) * (d + at(weight_decay, t) * required(x)), Momentum(mu)

    return leafwise(init, update, learning_rate, mask=mask)


def _adam(b1: Any, b2: Any, eps: Any, eps_root: Any, mu_dtype: Any, nesterov: bool) -> tuple:
    """Adam's memory and direction: m̂ / (√(v̂ + ε_root) + ε)."""
    b1, b2, eps = decay_rate(b1), decay_rate(b2), stabiliser(eps)

    def init(x):
        return Moments(mu=jnp.zeros_like(x, dtype=mu_dtype), nu=jnp.zeros_like(x, dtype=_real(x)))

    def direction(t, g, memory):
        mu = b1 * memory.mu + (1 - b1) * g
        nu = b2 * memory.nu + (1 - b2) * abs2(g)
        m_hat, v_hat = mu / (1 - b1**t), nu / (1 - b2**t)
        if nesterov:
            m_hat = b1 * mu / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
        return m_hat / (jnp.sqrt(v_hat + eps_root) + eps), Moments(mu, nu)

    return init, direction


def _rescale(spread: Array, eps: Scalar, eps_in_sqrt: bool) -> Array:
    """1 / √(spread + ε), or 1 / (√spread + ε); a variance that rounding has made negative counts as 0."""
    if eps_in_sqrt:
        inside = spread + eps
        return jax.lax.rsqrt(jnp.where(inside > 0, inside, eps))
    return 1 / (jnp.sqrt(jnp.maximum(spread, 0)) + eps)


def _real(x: Array) -> Any:
    """The dtype of |x|²."""
    return jnp.finfo(x.dtype).dtype if jnp.issubdtype(x.dtype, jnp.complexfloating) else x.dtype
