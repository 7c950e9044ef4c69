"""Adam with other memories: stale scales, the last direction, slow averages, differences of gradients."""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from sandbox.optimizers.base import Optimizer, at, decay_rate, factory, real_dtype, stabiliser
from sandbox.optimizers.moments import (
    Moments,
    adam_direction,
    average,
    corrected,
    decayed_descent,
    descent,
    from_zero,
)
from sandbox.tree import abs2
from sandbox.types import Array, Scalar, Schedule


class Optimism(NamedTuple):
    """Adam's moments, and the direction before this one."""

    mu: Array
    nu: Array
    previous_gradient: Array


class Mixture(NamedTuple):
    """A fast and a slow moving average of the gradient, and one of its square."""

    m1: Array
    m2: Array
    nu: Array


class Accumulation(NamedTuple):
    """A decaying sum of gradients, m, and a moving average of their squares, n."""

    m: Array
    n: Array


class Differences(NamedTuple):
    """Moving averages of the gradient, of its differences, and of the square of their sum; the last gradient."""

    m: Array
    v: Array
    n: Array
    g: Array


@factory
def acprop(
    learning_rate: Scalar | Schedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-16,
    eps_root: Scalar = 1e-16,
    weight_decay: Scalar = 0.0,
    mask: Any = None,
) -> Optimizer:
    """ACProp (Zhuang et al. 2021, Algorithm 2): the scale is centred at m, and one step old.

    x ← x − η (g / (√ŝ + ε) + λ x)               ŝ = s / (1 − β₂ᵗ⁻¹), 1 in the first step; `mask` as in AdamW
    s ← β₂ s + (1 − β₂) (g − m)² + ε_root        m of the step before
    m ← β₁ m + (1 − β₁) g
    """
    b1, b2, eps = decay_rate(b1), decay_rate(b2), stabiliser(eps)

    def init(x):  # half precision has no 1e-16, which is all there is in s as long as gradients are 0
        scale = jnp.promote_types(real_dtype(x), jnp.float32)
        return Moments(jnp.zeros_like(x), jnp.zeros_like(x, dtype=scale))

    def direction(t, g, memory):
        s_hat = jnp.where(t > 1, corrected(memory.nu, b2, jnp.maximum(t - 1, 1)), 1.0)
        nu = average(memory.nu, abs2(g - memory.mu), b2) + eps_root
        return g / (jnp.sqrt(s_hat) + eps), Moments(average(memory.mu, g, b1), nu)

    return decayed_descent(init, direction, learning_rate, weight_decay, mask)


@factory
def adopt(
    learning_rate: Scalar | Schedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.9999,
    eps: Scalar = 1e-6,
    mu_dtype: Any | None = None,
    *,
    nesterov: bool = False,
    use_clipping: bool = True,
    clip_value_fn: Callable[[Any], Any] = lambda k: k**0.25,
) -> Optimizer:
    """ADOPT (Taniguchi et al. 2024, Algorithm 2): Adam that scales by what it knew before this gradient.

    h = g / max(√v, ε), no longer than c(t − 1)  v of the step before
    m ← β₁ m + (1 − β₁) h                        or with nesterov, once more, for the step alone
    v ← β₂ v + (1 − β₂) g²
    x ← x − η m                                  in the first step β₁ = 1 and β₂ = 0: v = g², and nothing moves
    """
    b1, b2, eps = decay_rate(b1), decay_rate(b2), stabiliser(eps)

    def direction(t, g, memory):
        beta1, beta2 = jnp.where(t > 1, b1, 1.0), jnp.where(t > 1, b2, 0.0)
        h = g / jnp.maximum(jnp.sqrt(memory.nu), eps)
        if use_clipping:
            h = _clipped(h, clip_value_fn(t - 1))
        mu, nu = average(memory.mu, h, beta1), average(memory.nu, abs2(g), beta2)
        return average(mu, h, beta1) if nesterov else mu, Moments(mu, nu)

    return descent(from_zero(mu_dtype), direction, learning_rate)


def _clipped(h: Array, c: Array) -> Array:
    """h, where |h| > c shortened to c."""
    if jnp.iscomplexobj(h):
        return jnp.sign(h) * jnp.minimum(jnp.abs(h), c)
    return jnp.clip(h, -c, c)


@factory
def optimistic_adam_v2(
    learning_rate: Scalar | Schedule,
    *,
    alpha: Scalar = 1.0,
    beta: Scalar = 1.0,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    mu_dtype: Any | None = None,
    nesterov: bool = True,
) -> Optimizer:
    """Optimistic Adam (Daskalakis et al. 2018, Algorithm 1): it expects that the direction changes as it just did.

    x ← x − η (α d + β (d − d₋₁))                d as in Adam, or NAdam; d₋₁ = d in the first step
    """
    adam = adam_direction(b1, b2, eps, eps_root, nesterov)
    init, direction = _optimistic(mu_dtype, adam, alpha, beta)
    return descent(init, direction, learning_rate)


@factory
def optimistic_adam(
    learning_rate: Scalar,
    optimism: Scalar | None = None,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    mu_dtype: Any | None = None,
    *,
    nesterov: bool = True,
) -> Optimizer:
    """Optimistic Adam with a constant rate. Deprecated: `optimistic_adam_v2` takes schedules, too.

    x ← x − η d − o (d − d₋₁)                    o = `optimism`, by default η; d as there
    """
    instead = "please use `optimistic_adam_v2` instead, which takes schedules"
    if callable(learning_rate):
        raise ValueError(f"`optimistic_adam` expects a number as learning_rate and was given a function; {instead}")
    warnings.warn(f"`optimistic_adam` is deprecated, {instead}", DeprecationWarning, stacklevel=3)
    optimism = learning_rate if optimism is None else optimism
    adam = adam_direction(b1, b2, eps, eps_root, nesterov)
    init, direction = _optimistic(mu_dtype, adam, learning_rate, optimism)
    return descent(init, direction, 1.0)


def _optimistic(mu_dtype: Any, direction: Callable, alpha: Scalar, beta: Scalar) -> tuple[Callable, Callable]:
    """The memory, and the direction α d + β (d − d₋₁)."""
    zero = from_zero(mu_dtype)

    def init(x):
        return Optimism(*zero(x), previous_gradient=jnp.zeros_like(x))

    def optimistic(t, g, memory):
        d, moments = direction(t, g, Moments(memory.mu, memory.nu))
        previous = jnp.where(t > 1, memory.previous_gradient, d)
        return alpha * d + beta * (d - previous), Optimism(*moments, previous_gradient=d)

    return init, optimistic


@factory
def ademamix(
    learning_rate: Scalar | Schedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    b3: Scalar | Schedule = 0.9999,
    alpha: Scalar | Schedule = 5.0,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    mu_dtype: Any | None = None,
    weight_decay: Scalar = 0.0,
    mask: Any = None,
) -> Optimizer:
    """AdEMAMix (Pagliardini et al. 2024, Algorithm 1): AdamW with a second, much slower average of the gradient.

    m₁ ← β₁ m₁ + (1 − β₁) g,  m₂ ← β₃ m₂ + (1 − β₃) g
    d = (m̂₁ + α m₂) / (√(v̂ + ε_root) + ε)       m̂₁ and v̂ corrected as in Adam
    x ← x − η (d + λ x)                          λ and `mask` as in AdamW
    """
    b1, b2, b3, eps = decay_rate(b1), decay_rate(b2), decay_rate(b3), stabiliser(eps)

    zero = from_zero(mu_dtype)

    def init(x):
        return Mixture(zero(x).mu, *zero(x))

    def direction(t, g, memory):
        m1, m2 = average(memory.m1, g, b1), average(memory.m2, g, at(b3, t))
        nu = average(memory.nu, abs2(g), b2)
        d = (corrected(m1, b1, t) + at(alpha, t) * m2) / (jnp.sqrt(corrected(nu, b2, t) + eps_root) + eps)
        return d, Mixture(m1, m2, nu)

    return decayed_descent(init, direction, learning_rate, weight_decay, mask)


@factory
def simplified_ademamix(
    learning_rate: Scalar | Schedule,
    b1: Scalar = 0.99,
    b2: Scalar = 0.95,
    alpha: Scalar | Schedule = 0.0,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    weight_decay: Scalar = 0.0,
    mask: Any = None,
) -> Optimizer:
    """Simplified AdEMAMix (Morwani et al. 2025): one sum of gradients, and the present one counted extra.

    m ← β₁ m + g,  n ← β₂ n + (1 − β₂) g²
    d = (m + α g) / (√(n̂ + ε_root) + ε)          n̂ = n / (1 − β₂ᵗ)
    x ← x − η (d + λ x)                          λ and `mask` as in AdamW
    """
    b1, b2, eps = decay_rate(b1), decay_rate(b2), stabiliser(eps)

    def init(x):
        return Accumulation(jnp.zeros_like(x), jnp.zeros_like(x, dtype=real_dtype(x)))

    def direction(t, g, memory):
        m, n = b1 * memory.m + g, average(memory.n, abs2(g), b2)
        return (m + at(alpha, t) * g) / (jnp.sqrt(corrected(n, b2, t) + eps_root) + eps), Accumulation(m, n)

    return decayed_descent(init, direction, learning_rate, weight_decay, mask)


@factory
def adan(
    learning_rate: Scalar | Schedule,
    b1: Scalar = 0.98,
    b2: Scalar = 0.92,
    b3: Scalar = 0.99,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 1e-8,
    weight_decay: Scalar | Schedule = 0.0,
    mask: Any = None,
) -> Optimizer:
    """Adan (Xie et al. 2024, Algorithm 1), with 1 − βᵢ for the paper's βᵢ.

    Δ = g − g₋₁                                  0 in the first step
    m ← β₁ m + (1 − β₁) g
    v ← β₂ v + (1 − β₂) Δ
    n ← β₃ n + (1 − β₃) (g + β₂ Δ)²              m̂, v̂, n̂ corrected as in Adam
    x ← x − η ((m̂ + β₂ v̂) / (√(n̂ + ε_root) + ε) + λ x)
    """
    # 1. The paper does not correct the averages; its authors' code does, as here and in Optax.
    # 2. The paper divides x by 1 + η λ; here, as in Optax and AdamW, the decay is added to the direction.
    b1, b2, b3, eps = decay_rate(b1), decay_rate(b2), decay_rate(b3), stabiliser(eps)

    def init(x):
        m, v, g = jnp.zeros_like(x), jnp.zeros_like(x), jnp.zeros_like(x)
        return Differences(m, v, jnp.zeros_like(x, dtype=real_dtype(x)), g)

    def direction(t, g, memory):
        change = jnp.where(t > 1, g - memory.g, 0)
        m, v = average(memory.m, g, b1), average(memory.v, change, b2)
        n = average(memory.n, abs2(g + b2 * change), b3)
        m_hat, v_hat, n_hat = corrected(m, b1, t), corrected(v, b2, t), corrected(n, b3, t)
        return (m_hat + b2 * v_hat) / (jnp.sqrt(n_hat + eps_root) + eps), Differences(m, v, n, g)

    return decayed_descent(init, direction, learning_rate, weight_decay, mask)
