"""Adam and its family: a moving average of the gradient, scaled by one of its square."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sandbox.optimizers.base import Optimizer, at, decay, decay_rate, factory, leafwise, real_dtype, stabiliser
from sandbox.tree import abs2
from sandbox.types import Array, Scalar, Schedule


class Moments(NamedTuple):
    """Moving averages of the gradient, mu, and of its square or what stands in its place, nu."""

    mu: Array
    nu: Array | None


class PeakedMoments(NamedTuple):
    """The moments, and the largest corrected nu so far."""

    mu: Array
    nu: Array
    nu_max: Array


def average(old: Array, new: Array, b: Scalar) -> Array:
    """β old + (1 − β) new."""
    return b * old + (1 - b) * new


def corrected(m: Array, b: Scalar, t: Array) -> Array:
    """m̂ = m / (1 − βᵗ): the average since 0 as the average since the start (Kingma & Ba 2015, section 3)."""
    return m * correction(b, t)  # one division, not one for every coordinate


@functools.partial(jax.jit, inline=True)  # outside of any trace, jnp would compile βᵗ anew for every t
def correction(b: Scalar, t: Array) -> Array:
    """1 / (1 − βᵗ)."""
    return 1 / (1 - b**t)


def first(mu: Array, g: Array, b1: Scalar, t: Array, nesterov: bool) -> Array:
    """m̂; with nesterov, what it will be after another gradient like this one (Dozat 2016, Algorithm 2)."""
    if nesterov:
        return b1 * corrected(mu, b1, t + 1) + (1 - b1) * corrected(g, b1, t)
    return corrected(mu, b1, t)


def from_zero(mu_dtype: Any | None = None) -> Callable:
    """Both moments start at 0; `mu_dtype` is how the first is stored."""

    def init(x):
        return Moments(jnp.zeros_like(x, dtype=mu_dtype), jnp.zeros_like(x, dtype=real_dtype(x)))

    return init


def adam_direction(b1: Scalar, b2: Scalar, eps: Scalar, eps_root: Scalar, nesterov: bool) -> Callable:
    """d = m̂ / (√(v̂ + ε_root) + ε), of the moments m and v."""
    b1, b2, eps = decay_rate(b1), decay_rate(b2), stabiliser(eps)

    def direction(t, g, memory):
        mu = b1 * memory.mu + (1 - b1) * g
        nu = b2 * memory.nu + (1 - b2) * abs2(g)
        m_hat, v_hat = first(mu, g, b1, t, nesterov), corrected(nu, b2, t)
        return m_hat / (jnp.sqrt(v_hat + eps_root) + eps), Moments(mu, nu)

    return direction


def descent(init: Callable, direction: Callable, learning_rate: Scalar | Schedule) -> Optimizer:
    """x ← x − η d, where direction(t, g, memory) → (d, memory)."""

    def update(t, g, memory, x):
        d, memory = direction(t, g, memory)
        return -at(learning_rate, t) * d, memory

    return leafwise(init, update, learning_rate)


def decayed_descent(
    init: Callable, direction: Callable, learning_rate: Scalar | Schedule, weight_decay: Scalar | Schedule, mask: Any
) -> Optimizer:
    """x ← x − η (d + λ x); λ counts only on leaves that `mask` marks."""

    def update(t, g, memory, x, decays):
        d, memory = direction(t, g, memory)
        return -at(learning_rate, t) * (d + decay(weight_decay, t, x, decays)), memory

    return leafwise(init, update, learning_rate, masks=(mask,))


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
    return descent(from_zero(mu_dtype), adam_direction(b1, b2, eps, eps_root, nesterov), learning_rate)


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
    direction = adam_direction(b1, b2, eps, eps_root, nesterov)
    return decayed_descent(from_zero(mu_dtype), direction, learning_rate, weight_decay, mask)


@factory
def nadam(
    learning_rate: Scalar | Schedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    mu_dtype: Any | None = None,
    *,
    nesterov: bool = True,
) -> Optimizer:
    """NAdam (Dozat 2016, Algorithm 2): Adam that looks ahead along its momentum.

    x ← x − η (β₁ m / (1 − β₁ᵗ⁺¹) + (1 − β₁) g / (1 − β₁ᵗ)) / (√(v̂ + ε_root) + ε)     m, v̂ as in Adam
    """
    return adam(learning_rate, b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov)


@factory
def nadamw(
    learning_rate: Scalar | Schedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    mu_dtype: Any | None = None,
    weight_decay: Scalar | Schedule = 1e-4,
    mask: Any = None,
    *,
    nesterov: bool = True,
) -> Optimizer:
    """NAdamW: NAdam (Dozat 2016) with the weight decay of AdamW (Loshchilov & Hutter 2019).

    x ← x − η (d + λ x)                          d as in NAdam; λ and `mask` as in AdamW
    """
    return adamw(learning_rate, b1, b2, eps, eps_root, mu_dtype, weight_decay, mask, nesterov=nesterov)


@factory
def adamax(learning_rate: Scalar | Schedule, b1: Scalar = 0.9, b2: Scalar = 0.999, eps: Scalar = 1e-8) -> Optimizer:
    """AdaMax (Kingma & Ba 2015, Algorithm 2): Adam in the infinity norm, which needs no correction.

    u ← max(|g| + ε, β₂ u)
    x ← x − η m̂ / u                             m̂ as in Adam
    """
    # 1. The paper has no ε, and divides 0 by 0 as long as all gradients are 0.
    return descent(from_zero(), _adamax(b1, b2, eps), learning_rate)


def _adamax(b1: Scalar, b2: Scalar, eps: Scalar) -> Callable:
    """d = m̂ / u."""
    b1, b2, eps = decay_rate(b1), decay_rate(b2), stabiliser(eps)

    def direction(t, g, memory):
        mu, nu = average(memory.mu, g, b1), jnp.maximum(jnp.abs(g) + eps, b2 * memory.nu)
        return corrected(mu, b1, t) / nu, Moments(mu, nu)

    return direction


@factory
def adamaxw(
    learning_rate: Scalar | Schedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    weight_decay: Scalar | Schedule = 1e-4,
    mask: Any = None,
) -> Optimizer:
    """AdaMax (Kingma & Ba 2015, Algorithm 2) with the weight decay of AdamW (Loshchilov & Hutter 2019).

    x ← x − η (m̂ / u + λ x)                     u as in AdaMax; λ and `mask` as in AdamW
    """
    return decayed_descent(from_zero(), _adamax(b1, b2, eps), learning_rate, weight_decay, mask)


@factory
def amsgrad(
    learning_rate: Scalar | Schedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    mu_dtype: Any | None = None,
    bias_correction_mu: bool = True,
    bias_correction_nu: bool = True,
) -> Optimizer:
    """AMSGrad (Reddi, Kale & Kumar 2018, Algorithm 2): Adam whose scale never falls.

    w ← max(w, v̂)                               m, m̂ and v̂ as in Adam; m or v where not corrected
    x ← x − η m̂ / (√(w + ε_root) + ε)
    """
    # 1. The paper corrects neither m nor v: both switches off.
    b1, b2, eps = decay_rate(b1), decay_rate(b2), stabiliser(eps)

    zero = from_zero(mu_dtype)

    def init(x):
        return PeakedMoments(*zero(x), nu_max=zero(x).nu)

    def direction(t, g, memory):
        mu, nu = average(memory.mu, g, b1), average(memory.nu, abs2(g), b2)
        m_hat = corrected(mu, b1, t) if bias_correction_mu else mu
        v_hat = corrected(nu, b2, t) if bias_correction_nu else nu
        peak = jnp.maximum(memory.nu_max, v_hat)
        return m_hat / (jnp.sqrt(peak + eps_root) + eps), PeakedMoments(mu, nu, peak)

    return descent(init, direction, learning_rate)


@factory
def radam(
    learning_rate: Scalar | Schedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    threshold: Scalar = 5.0,
    *,
    nesterov: bool = False,
) -> Optimizer:
    """RAdam (Liu et al. 2020, Algorithm 2): Adam that waits with its scale until v̂ rests on enough gradients.

    ρ∞ = 2 / (1 − β₂) − 1,  ρ = ρ∞ − 2 t β₂ᵗ / (1 − β₂ᵗ)
    r = √((ρ − 4) (ρ − 2) ρ∞ / ((ρ∞ − 4) (ρ∞ − 2) ρ))
    x ← x − η r m̂ / (√(v̂ + ε_root) + ε)         where ρ ≥ threshold, else x − η m̂; m̂ and v̂ as in Adam
    """
    # 1. The paper asks for ρ > 4, where r is still 0; its authors' code, as here, for ρ ≥ 5.
    b1, b2, eps = decay_rate(b1), decay_rate(b2), stabiliser(eps)

    def direction(t, g, memory):
        mu, nu = average(memory.mu, g, b1), average(memory.nu, abs2(g), b2)
        m_hat = first(mu, g, b1, t, nesterov)
        scaled = m_hat / (jnp.sqrt(corrected(nu, b2, t) + eps_root) + eps)
        enough, r = _rectifier(b2, t, threshold)
        return jnp.where(enough, r * scaled, m_hat), Moments(mu, nu)

    return descent(from_zero(), direction, learning_rate)


@functools.partial(jax.jit, inline=True)  # traced once, not for every leaf
def _rectifier(b2: Scalar, t: Array, threshold: Scalar) -> tuple[Array, Array]:
    most = 2 / (1 - b2) - 1
    rho = most - 2 * t * b2**t / (1 - b2**t)
    enough = rho >= threshold
    ratio = (rho - 4) * (rho - 2) * most / ((most - 4) * (most - 2) * rho)
    return enough, jnp.sqrt(jnp.where(enough, ratio, 1.0))


@factory
def yogi(learning_rate: Scalar | Schedule, b1: Scalar = 0.9, b2: Scalar = 0.999, eps: Scalar = 1e-3) -> Optimizer:
    """Yogi (Zaheer et al. 2018, Algorithm 2): the scale moves by (1 − β₂) g², whatever it is.

    v ← v − (1 − β₂) sign(v − g²) g²             m̂ and v̂ as in Adam; m and v start at 1e-6
    x ← x − η m̂ / (√v̂ + ε)
    """
    # 1. The paper corrects neither m nor v; here, as in Optax, both are, and with them the 1e-6 they start at.
    b1, b2, eps = decay_rate(b1), decay_rate(b2), stabiliser(eps)

    def init(x):
        return Moments(jnp.full_like(x, 1e-6), jnp.full_like(x, 1e-6, dtype=real_dtype(x)))

    def direction(t, g, memory):
        mu = average(memory.mu, g, b1)
        nu = memory.nu - (1 - b2) * jnp.sign(memory.nu - abs2(g)) * abs2(g)
        return corrected(mu, b1, t) / (jnp.sqrt(corrected(nu, b2, t)) + eps), Moments(mu, nu)

    return descent(init, direction, learning_rate)


@factory
def adabelief(
    learning_rate: Scalar | Schedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-16,
    eps_root: Scalar = 1e-16,
    *,
    nesterov: bool = False,
) -> Optimizer:
    """AdaBelief (Zhuang et al. 2020, Algorithm 2): the scale is how far gradients are from what m made expect.

    s ← β₂ s + (1 − β₂) (g − m)² + ε_root        ŝ = s / (1 − β₂ᵗ), m and m̂ as in Adam
    x ← x − η m̂ / (√ŝ + ε)
    """
    b1, b2, eps = decay_rate(b1), decay_rate(b2), stabiliser(eps)

    def direction(t, g, memory):
        mu = average(memory.mu, g, b1)
        nu = average(memory.nu, abs2(g - mu), b2) + eps_root
        return first(mu, g, b1, t, nesterov) / (jnp.sqrt(corrected(nu, b2, t)) + eps), Moments(mu, nu)

    return descent(from_zero(), direction, learning_rate)
