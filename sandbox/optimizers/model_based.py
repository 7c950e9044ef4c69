"""Methods that follow a linear model of the loss, no farther than down to its lower bound."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sandbox.optimizers.base import Optimizer, at, decay_rate, factory, required, stabiliser, treewise
from sandbox.optimizers.moments import average, corrected
from sandbox.optimizers.parameter_free import dot, number, ratio, zeros
from sandbox.tree import abs2
from sandbox.types import Array, Params, Scalar, Schedule


class Model(NamedTuple):
    """Moving averages of gradient, loss and ⟨g, x⟩, which make a linear model of the loss; its lower bound."""

    exp_avg: Params
    barf: Array
    gamma: Array
    lb: Array


class ScaledModel(NamedTuple):
    """The same, and the moving average of the gradient's square."""

    exp_avg: Params
    exp_avg_sq: Params
    barf: Array
    gamma: Array
    lb: Array


@factory
def momo(
    learning_rate: Scalar | Schedule = 1.0,
    beta: Scalar = 0.9,
    lower_bound: Scalar = 0.0,
    weight_decay: Scalar = 0.0,
    adapt_lower_bound: bool = False,
) -> Optimizer:
    """MoMo (Schaipp et al. 2024, Algorithm 1): momentum, as far as its linear model of the loss reaches a lower bound.

    d ← β d + (1 − β) g                          the first d, f̄ and γ are g, f(x) and ⟨g, x⟩
    f̄ ← β f̄ + (1 − β) f(x)
    γ ← β γ + (1 − β) ⟨g, x⟩
    τ = min(η, ((1 + ηλ) (f̄ − γ − f*) + ⟨d, x⟩)₊ / ‖d‖²)    0 where ‖d‖² ≤ 2⁻⁵²
    x ← x / (1 + ηλ) − τ d

    f* is `lower_bound`, or with adapt_lower_bound an estimate above it. `update` needs the extra argument value, f(x).
    """
    beta = decay_rate(beta)

    def init(x):
        return Model(zeros(x), number(0.0, x), number(0.0, x), number(lower_bound, x))

    def update(t, g, memory, x, *, value):
        model = _observed(memory, g, required(x), value, jnp.where(t == 1, 0.0, beta))
        rate = at(learning_rate, t)
        u, lb = _descended(model, model.exp_avg, x, rate, weight_decay, 1, lower_bound, adapt_lower_bound)
        return u, model._replace(lb=lb)

    return treewise(init, update)


@factory
def momo_adam(
    learning_rate: Scalar | Schedule = 1e-2,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    lower_bound: Scalar = 0.0,
    weight_decay: Scalar = 0.0,
    adapt_lower_bound: bool = False,
) -> Optimizer:
    """MoMo-Adam (Schaipp et al. 2024, Algorithm 2): MoMo in Adam's metric D, with averages that start at 0.

    d, f̄, γ                                      as in MoMo, with β₁ and from 0; ρ = 1 − β₁ᵗ
    v ← β₂ v + (1 − β₂) g²                       D = √(v / (1 − β₂ᵗ)) + ε
    τ = min(η / ρ, ((1 + ηλ) (f̄ − γ − ρ f*) + ⟨d, x⟩)₊ / ⟨d, D⁻¹ d⟩)
    x ← x / (1 + ηλ) − τ D⁻¹ d
    """
    b1, b2, eps = decay_rate(b1), decay_rate(b2), stabiliser(eps)

    def init(x):
        f, gamma, lb = number(0.0, x), number(0.0, x), number(lower_bound, x)
        return ScaledModel(zeros(x), zeros(x, real=True), f, gamma, lb)

    def update(t, g, memory, x, *, value):
        model = _observed(memory, g, required(x), value, b1)
        v = jax.tree.map(lambda v, g: average(v, abs2(g), b2), memory.exp_avg_sq, g)
        scaled = jax.tree.map(lambda d, v: d / (jnp.sqrt(corrected(v, b2, t)) + eps), model.exp_avg, v)
        rate, rho = at(learning_rate, t), 1 - b1**t
        u, lb = _descended(model, scaled, x, rate, weight_decay, rho, lower_bound, adapt_lower_bound)
        return u, model._replace(exp_avg_sq=v, lb=lb)

    return treewise(init, update)


def _observed(memory: Any, g: Params, x: Params, value: Scalar, b: Scalar) -> Any:
    """The model f̄ + ⟨d, y⟩ − γ of f(y), with this gradient and this value in its averages."""
    return memory._replace(
        exp_avg=jax.tree.map(lambda d, g: average(d, g, b), memory.exp_avg, g),
        barf=average(memory.barf, jnp.asarray(value, memory.barf.dtype), b),
        gamma=average(memory.gamma, dot(g, x), b),
    )


def _descended(
    model: Any,
    scaled: Params,
    x: Params,
    rate: Scalar,
    weight_decay: Scalar,
    rho: Scalar,
    lower_bound: Scalar,
    adapts: bool,
) -> tuple[Params, Array]:
    """MoMo's update along −D⁻¹ d, which is `scaled`, and its next f*.

    c = (1 + ηλ) (f̄ − γ) + ⟨d, x⟩                            the model at x / (1 + ηλ), times 1 + ηλ
    f* ← max(c / (2 ρ (1 + ηλ)), lower bound)                where f* adapts, if c < (1 + ηλ) ρ f*
    τ = min(η / ρ, (c − (1 + ηλ) ρ f*)₊ / ⟨d, D⁻¹ d⟩)
    f* ← max((f̄ − γ + ⟨d, x⟩ − ½ τ ⟨d, D⁻¹ d⟩) / ρ, lower bound)    where f* adapts
    """
    # 1. As in Optax, the decay does not shrink the step. The paper has (x − τ D⁻¹ d) / (1 + ηλ), its model's minimum.
    lb, shrink = model.lb, 1 + rate * weight_decay
    height, slope, length = model.barf - model.gamma, dot(model.exp_avg, x), dot(model.exp_avg, scaled)
    c = shrink * height + slope
    if adapts:
        lb = jnp.where(c < shrink * rho * lb, jnp.maximum(c / (2 * rho * shrink), lower_bound), lb)
    reach = ratio(jnp.maximum(c - shrink * rho * lb, 0), jnp.where(length > 2.0**-52, length, 0.0))
    tau = jnp.minimum(rate / rho, reach)
    if adapts:
        lb = jnp.maximum((height + slope - tau * length / 2) / rho, lower_bound)
    return jax.tree.map(lambda x, s: -rate * weight_decay / shrink * x - tau * s, x, scaled), lb
