"""Methods that give every coordinate its own rate."""

import functools
from typing import Any, NamedTuple

import jax
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


class Deltas(NamedTuple):
    """Moving averages of the squares of the gradient, e_g, and of the steps, e_x."""

    e_g: Array
    e_x: Array


class Covers(NamedTuple):
    """For every axis the largest sum of squares along the others, mu, and the moving average of the steps, nu."""

    mu: list[Array]
    nu: Array


class Factors(NamedTuple):
    """Moving averages of g²: of a large matrix its row and column means, else v; the unused are single zeros."""

    v_row: Array
    v_col: Array
    v: Array
    ema: Array | None = None


class Duals(NamedTuple):
    """Weighted sums of gradients, s, and of their squares; and where it began."""

    grad_sum_sq: Array
    s: Array
    x0: Array


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
        corrected = lambda average: average / (1 - beta**t) if bias_correction else average
        mu, spread = None, corrected(nu)
        if centered:
            mu = beta * memory.mu + (1 - beta) * g
            spread = jnp.maximum(spread - abs2(corrected(mu)), 0)  # which rounding may have made negative
        u = -at(learning_rate, t) * _rescale(spread, eps, eps_in_sqrt) * g
        if momentum is None:
            return u, Scales(nu, mu)
        c = momentum * memory.trace + u
        return momentum * c + u if nesterov else c, Scales(nu, mu, c)

    return leafwise(init, update, learning_rate)


@factory
def adadelta(
    learning_rate: Scalar | Schedule | None = None,
    rho: Scalar = 0.9,
    eps: Scalar = 1e-6,
    weight_decay: Scalar | Schedule = 0.0,
    weight_decay_mask: Any = None,
) -> Optimizer:
    """AdaDelta (Zeiler 2012, Algorithm 1): steps in units of earlier steps. The rate is 1 where it is left out.

    g ← g + λ x
    E ← ρ E + (1 − ρ) g²
    Δ = g √(D + ε) / √(E + ε)
    D ← ρ D + (1 − ρ) Δ²
    x ← x − η Δ
    """
    rho, eps = decay_rate(rho), stabiliser(eps)
    rate = 1.0 if learning_rate is None else learning_rate

    def init(x):
        zero = jnp.zeros_like(x, dtype=real_dtype(x))
        return Deltas(zero, zero)

    def update(t, g, memory, x, decays):
        g = g + decay(weight_decay, t, x, decays)
        e_g = rho * memory.e_g + (1 - rho) * abs2(g)
        delta = jnp.sqrt(memory.e_x + eps) / jnp.sqrt(e_g + eps) * g
        e_x = rho * memory.e_x + (1 - rho) * abs2(delta)
        return -at(rate, t) * delta, Deltas(e_g, e_x)

    return leafwise(init, update, rate, masks=(weight_decay_mask,))


@factory
def madgrad(
    learning_rate: Scalar | Schedule, momentum: Scalar = 0.9, weight_decay: Scalar = 0.0, eps: Scalar = 1e-6
) -> Optimizer:
    """MADGRAD (Defazio & Jelassi 2022, Algorithm 1): dual averaging from x₀, scaled by a cube root.

    λ = (η + ε) √t,  g ← g + w x                 w is the weight decay
    s ← s + λ g,  v ← v + λ g²
    z = x₀ − s / (∛v + ε)
    x ← μ x + (1 − μ) z
    """
    eps = stabiliser(eps)

    def init(x):
        return Duals(jnp.zeros_like(x, dtype=real_dtype(x)), jnp.zeros_like(x), jnp.array(x))

    def update(t, g, memory, x, decays):
        g = g + decay(weight_decay, t, x, decays)
        lam = (at(learning_rate, t) + eps) * jnp.sqrt(t)
        s, v = memory.s + lam * g, memory.grad_sum_sq + lam * abs2(g)
        z = memory.x0 - s / (jnp.cbrt(v) + eps)
        return (1 - momentum) * (z - x), Duals(v, s, memory.x0)

    return leafwise(init, update, masks=(None,))


@factory
def sm3(learning_rate: Scalar, momentum: Scalar = 0.9) -> Optimizer:
    """SM3-II (Anil et al. 2019, section 3.2): AdaGrad that remembers one number for each row, column, … of an array.

    ν = minₐ μₐ + g²                             μₐ, one for each index of axis a, repeated along the others
    m ← β m + (1 − β) g / √(ν + 1e-8)            0 where ν is 0
    μₐ ← max of ν along all axes but a
    x ← x − η m
    """

    def init(x):
        mu = [jnp.zeros_like(x)] if x.ndim < 2 else [jnp.zeros(n, x.dtype) for n in x.shape]
        return Covers(mu, jnp.zeros_like(x))

    def update(t, g, memory, x):
        others = [tuple(b for b in range(g.ndim) if b != a and g.ndim > 1) for a in range(max(1, g.ndim))]
        covers = [jnp.expand_dims(mu, axes) for mu, axes in zip(memory.mu, others, strict=True)]
        nu = functools.reduce(jnp.minimum, covers) + g**2
        m = momentum * memory.nu + (1 - momentum) * g * jnp.where(nu > 0, jax.lax.rsqrt(nu + 1e-8), 0.0)
        return -at(learning_rate, t) * m, Covers([jnp.max(nu, axes, initial=0.0) if axes else nu for axes in others], m)

    return leafwise(init, update, learning_rate)


@factory
def adafactor(
    learning_rate: Scalar | Schedule | None = None,
    min_dim_size_to_factor: int = 128,
    decay_rate: Scalar = 0.8,
    decay_offset: Scalar = 0,
    multiply_by_parameter_scale: bool = True,
    clipping_threshold: Scalar | None = 1.0,
    momentum: Scalar | None = None,
    dtype_momentum: Any = jnp.float32,
    weight_decay_rate: Scalar | Schedule | None = None,
    eps: Scalar = 1e-30,
    factored: bool = True,
    weight_decay_mask: Any = None,
) -> Optimizer:
    """Adafactor (Shazeer & Stern 2018, Algorithms 4 and 5): of a matrix of squares its row and column means are kept.

    β = 1 − (t − offset)^(−decay_rate)
    R ← β R + (1 − β) rowmean(g² + ε),  C ← β C + (1 − β) colmean(g² + ε),  V = R Cᵀ / mean(R)
    u = g / √V,  u ← u / max(1, rms(u) / threshold)
    m ← μ m + (1 − μ) η max(1e-3, rms(x)) u      each factor where it is given
    x ← x − m − λ x                              λ is not multiplied by the rate

    The two largest axes are rows and columns where both are long enough; otherwise, or where not `factored`, V is kept.
    """
    # 1. R and C are kept in at least single precision: an R that overflows in half makes R / mean(R) NaN.
    eps = stabiliser(eps)

    def init(x):
        plain, axes = jnp.zeros(1, real_dtype(x)), _large_axes(x.shape, factored, min_dim_size_to_factor)
        wide = jnp.promote_types(real_dtype(x), jnp.float32)
        without = lambda a: jnp.zeros(x.shape[:a] + x.shape[a + 1 :], wide)
        scales = (plain, plain, jnp.zeros_like(x, dtype=real_dtype(x)))
        if axes:
            scales = (without(axes[1]), without(axes[0]), plain)
        return Factors(*scales, ema=None if momentum is None else jnp.zeros_like(x, dtype=dtype_momentum))

    def update(t, g, memory, x, decays):
        age = jnp.asarray(t - decay_offset, jnp.float32)
        beta = 1 - age ** jnp.asarray(-decay_rate, jnp.float32)  # in single precision always, as in Optax
        mixed = lambda old, new: beta * old + (1 - beta) * new
        axes, square, ema = _large_axes(g.shape, factored, min_dim_size_to_factor), abs2(g) + eps, None
        if axes:
            low, high = axes
            row, col = mixed(memory.v_row, jnp.mean(square, high)), mixed(memory.v_col, jnp.mean(square, low))
            share = row / jnp.mean(row, low - (low > high), keepdims=True)
            u, scales = g * jnp.expand_dims(share**-0.5, high) * jnp.expand_dims(col**-0.5, low), (row, col, memory.v)
        else:
            v = mixed(memory.v, square)
            u, scales = g * v**-0.5, (memory.v_row, memory.v_col, v)
        if clipping_threshold is not None:
            u = u / jnp.maximum(1.0, _rms(u) / clipping_threshold)
        u = u if learning_rate is None else at(learning_rate, t) * u
        u = u * jnp.maximum(1e-3, _rms(required(x))) if multiply_by_parameter_scale else u
        if momentum is not None:
            u = ema = momentum * memory.ema + (1 - momentum) * u
        lost = 0.0 if weight_decay_rate is None else decay(weight_decay_rate, t, x, decays)
        return -u - lost, Factors(*scales, ema)

    return leafwise(init, update, masks=(weight_decay_mask,))


def _rescale(spread: Array, eps: Scalar, eps_in_sqrt: bool) -> Array:
    """1 / √(spread + ε), or 1 / (√spread + ε)."""
    return jax.lax.rsqrt(spread + eps) if eps_in_sqrt else 1 / (jnp.sqrt(spread) + eps)


def _large_axes(shape: tuple[int, ...], factored: bool, least: int) -> tuple[int, int] | None:
    """The second longest axis and the longest, or None where one of them is shorter than `least`."""
    if not factored or len(shape) < 2:
        return None
    low, high = sorted(range(len(shape)), key=shape.__getitem__)[-2:]
    return (low, high) if shape[low] >= least else None


def _rms(x: Array) -> Array:
    """√ mean |x|²."""
    return jnp.sqrt(jnp.mean(abs2(x)))
