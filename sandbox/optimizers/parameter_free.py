"""Methods that find their own rate: from the distance travelled, from bets won, or from how well it went so far."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sandbox import tree
from sandbox.optimizers.base import (
    Optimizer,
    advance,
    at,
    decay,
    decay_rate,
    factory,
    leafwise,
    made,
    marked,
    real_dtype,
    required,
    stabiliser,
    treewise,
)
from sandbox.optimizers.moments import average
from sandbox.tree import abs2
from sandbox.types import Array, Params, Scalar, Schedule


class Distance(NamedTuple):
    """The start, how far from it we have been, and the sum of ‖g‖²."""

    init_params: Params
    max_dist: Array
    sum_sq_norm_grads: Array


class WeightedDistance(NamedTuple):
    """The start, the square of how far from it we have been, and the sum of ‖g‖², weighted by that."""

    init_params: Params
    estim_sq_dist: Array
    weighted_sq_norm_grads: Array


class Bets(NamedTuple):
    """The start, −Σ g, the largest |g|, Σ |g|, and what was won."""

    init_particles: Array
    cumulative_gradients: Array
    scale: Array
    subgradients: Array
    reward: Array


class Adaptation(NamedTuple):
    """Adam's moments, the weighted sum of gradients, the estimated distance d, and the sum that it is found from."""

    exp_avg: Params
    exp_avg_sq: Params
    grad_sum: Params
    estim_lr: Array
    numerator_weighted: Array


class AnchoredAdaptation(NamedTuple):
    """The same, and the start."""

    exp_avg: Params
    exp_avg_sq: Params
    grad_sum: Params
    params0: Params
    estim_lr: Array
    numerator_weighted: Array


class Tuner(NamedTuple):
    """Of the base optimizer its state; for each horizon reward, largest and squared |h|, and factor; the start."""

    base_optimizer_state: Any
    r: Array
    m: Array
    v: Array
    s: Array
    x0: Params


@factory
def dog(
    learning_rate: Scalar | Schedule = 1.0,
    init_step: tuple[str, Scalar] = ("heuristic", 1e-6),
    eps: Scalar = 1e-8,
    weight_decay: Scalar | None = None,
    mask: Any = None,
) -> Optimizer:
    """DoG, distance over gradients (Ivgi, Hinder & Carmon 2023).

    g ← g + λ x                                  on the leaves that `mask` has True
    r ← max(r, ‖x − x₀‖)                         at first r₀
    s ← s + ‖g‖²
    x ← x − η r / √(s + ε) g

    init_step: ("distance", r₀), or ("heuristic", α) for r₀ = α (1 + ‖x₀‖), or ("learning_rate", η₀) for a first step
    of −η η₀ g. Raises ValueError for another word.
    """
    kind, size = init_step
    first = {"distance": lambda x: size, "heuristic": lambda x: size * (1 + tree.norm(x)), "learning_rate": lambda x: 0}
    if kind not in first:
        raise ValueError(f"dog: init_step was {init_step!r}; expected a pair of one of {', '.join(first)} and a number")
    eps = stabiliser(eps)

    def init(x):
        return Distance(copy(x), number(first[kind](x), x), number(0.0, x))

    def update(t, g, memory, x):
        g = _penalised(t, g, x, weight_decay, mask)
        r = jnp.maximum(memory.max_dist, tree.norm(tree.sub(required(x), memory.init_params)))
        s = memory.sum_sq_norm_grads + tree.squared_norm(g)
        rate = r / jnp.sqrt(s + eps)
        if kind == "learning_rate":
            rate = jnp.where(t == 1, size, rate)
        return tree.scale(-at(learning_rate, t) * rate, g), Distance(memory.init_params, r, s)

    return treewise(init, update)


@factory
def dowg(
    learning_rate: Scalar | Schedule = 1.0,
    init_estim_sq_dist: Scalar | None = None,
    eps: Scalar = 1e-4,
    weight_decay: Scalar | None = None,
    mask: Any = None,
) -> Optimizer:
    """DoWG, distance over weighted gradients (Khaled, Mishchenko & Jin 2023, Algorithm 1).

    g ← g + λ x                                  as in DoG
    q ← max(q, ‖x − x₀‖²)                        at first `init_estim_sq_dist`, or ε
    s ← s + q ‖g‖²
    x ← x − η q / (√s + ε) g
    """
    eps = stabiliser(eps)

    def init(x):
        q = eps if init_estim_sq_dist is None else init_estim_sq_dist
        return WeightedDistance(copy(x), number(q, x), number(0.0, x))

    def update(t, g, memory, x):
        g = _penalised(t, g, x, weight_decay, mask)
        q = jnp.maximum(memory.estim_sq_dist, tree.squared_norm(tree.sub(required(x), memory.init_params)))
        s = memory.weighted_sq_norm_grads + q * tree.squared_norm(g)
        rate = q / (jnp.sqrt(s) + eps)
        return tree.scale(-at(learning_rate, t) * rate, g), WeightedDistance(memory.init_params, q, s)

    return treewise(init, update)


@factory
def cocob(
    learning_rate: Scalar | Schedule = 1.0,
    alpha: Scalar = 100.0,
    eps: Scalar = 1e-8,
    weight_decay: Scalar = 0.0,
    mask: Any = None,
) -> Optimizer:
    """COCOB, continuous coin betting (Orabona & Tommasi 2017, Algorithm 2): every coordinate bets on its gradient.

    g ← g + λ x                                  as in DoG
    L ← max(L, |g|),  G ← G + |g|                at first ε and 0
    R ← max(R − g (x − x₀), 0)                   what was won
    θ ← θ − g
    w = x₀ + θ / (L max(G + L, α L)) (L + R)
    x ← x + η (w − x)
    """
    # 1. The paper has no rate; Optax puts its own on g, where the method, which knows no scale, does not feel it.
    eps = stabiliser(eps)

    def init(x):
        return Bets(
            copy(x), zeros(x), jnp.full_like(zeros(x, real=True), eps), zeros(x, real=True), zeros(x, real=True)
        )

    def update(t, g, memory, x, decays):
        x0, theta, scale, total, reward = memory
        g = g + decay(weight_decay, t, x, decays)
        scale, total = jnp.maximum(scale, jnp.abs(g)), total + jnp.abs(g)
        reward = jnp.maximum(reward - jnp.real(jnp.conj(g) * (required(x) - x0)), 0)
        theta = theta - g
        w = x0 + theta / scale / jnp.maximum(total + scale, alpha * scale) * (scale + reward)
        return at(learning_rate, t) * (w - x), Bets(x0, theta, scale, total, reward)

    return leafwise(init, update, masks=(mask,))


@factory
def dadapt_adamw(
    learning_rate: Scalar | Schedule = 1.0,
    betas: tuple[Scalar, Scalar] = (0.9, 0.999),
    eps: Scalar = 1e-8,
    estim_lr0: Scalar = 1e-6,
    weight_decay: Scalar = 0.0,
) -> Optimizer:
    """Adam with D-Adaptation (Defazio & Mishchenko 2023): its rate is an estimate d of the distance to a solution.

    γ = d η √(1 − β₂ᵗ) / (1 − β₁ᵗ)               at first d = d₀
    r ← √β₂ r + (1 − √β₂) γ ⟨g, s / (√v + ε)⟩    v and s of the step before
    m ← β₁ m + (1 − β₁) γ g
    v ← β₂ v + (1 − β₂) g²
    s ← √β₂ s + (1 − √β₂) γ g
    x ← x − m / (√v + ε) − λ γ x
    d ← max(d, r / ((1 − √β₂) ‖s‖₁))             d where s is 0
    """
    # 1. As in Optax, γ holds Adam's bias correction, which the paper does without.
    b1, b2, eps = decay_rate(betas[0]), decay_rate(betas[1]), stabiliser(eps)
    b3 = b2**0.5

    def init(x):
        return Adaptation(zeros(x), zeros(x, real=True), zeros(x), number(estim_lr0, x), number(0.0, x))

    def update(t, g, memory, x):
        m, v, s, d, r = memory
        rate = d * at(learning_rate, t) * jnp.sqrt(1 - b2**t) / (1 - b1**t)
        r = average(r, rate * dot(g, jax.tree.map(lambda s, v: s / (jnp.sqrt(v) + eps), s, v)), b3)
        m = jax.tree.map(lambda m, g: average(m, rate * g, b1), m, g)
        v = jax.tree.map(lambda v, g: average(v, abs2(g), b2), v, g)
        s = jax.tree.map(lambda s, g: average(s, rate * g, b3), s, g)
        u = jax.tree.map(lambda m, v, x: -m / (jnp.sqrt(v) + eps) - weight_decay * rate * x, m, v, required(x))
        return u, Adaptation(m, v, s, jnp.maximum(d, ratio(r, (1 - b3) * _sum_of_abs(s))), r)

    return treewise(init, update)


@factory
def prodigy(
    learning_rate: Scalar | Schedule = 1.0,
    betas: tuple[Scalar, Scalar] = (0.9, 0.999),
    beta3: Scalar | None = None,
    eps: Scalar = 1e-8,
    estim_lr0: Scalar = 1e-6,
    estim_lr_coef: Scalar = 1.0,
    weight_decay: Scalar = 0.0,
    safeguard_warmup: bool = False,
) -> Optimizer:
    """Prodigy (Mishchenko & Defazio 2024): D-Adaptation with weights that grow with d, so that it finds d sooner.

    γ = d η √(1 − β₂ᵗ) / (1 − β₁ᵗ)               at first d = d₀
    m ← β₁ m + (1 − β₁) d g
    v ← β₂ v + (1 − β₂) d² g²
    r ← β₃ r + γ d / d₀ ⟨g, x₀ − x⟩              β₃ = √β₂ unless given
    s ← β₃ s + γ d / d₀ g                        or with safeguard_warmup d² / d₀ g
    d′ = max(d, c r / ‖s‖₁)                      d where s is 0; c is `estim_lr_coef`
    x ← x − γ (m / (√v + d′ ε) + λ x),  d ← d′
    """
    # 1. As in Optax, γ holds Adam's bias correction, and ε goes with d′; the paper does without, and has d.
    b1, b2, eps = decay_rate(betas[0]), decay_rate(betas[1]), stabiliser(eps)
    b3 = b2**0.5 if beta3 is None else decay_rate(beta3)

    def init(x):
        d, zero = number(estim_lr0, x), number(0.0, x)
        return AnchoredAdaptation(zeros(x), zeros(x, real=True), zeros(x), copy(x), d, zero)

    def update(t, g, memory, x):
        m, v, s, x0, d, r = memory
        rate = d * at(learning_rate, t) * jnp.sqrt(1 - b2**t) / (1 - b1**t)
        weight = d / estim_lr0 * (d if safeguard_warmup else rate)
        m = jax.tree.map(lambda m, g: average(m, d * g, b1), m, g)
        v = jax.tree.map(lambda v, g: average(v, abs2(d * g), b2), v, g)
        r = b3 * r + d / estim_lr0 * rate * dot(g, tree.sub(x0, required(x)))
        s = jax.tree.map(lambda s, g: b3 * s + weight * g, s, g)
        d = jnp.maximum(d, estim_lr_coef * ratio(r, _sum_of_abs(s)))
        u = jax.tree.map(lambda m, v, x: -rate * (m / (jnp.sqrt(v) + d * eps) + weight_decay * x), m, v, x)
        return u, AnchoredAdaptation(m, v, s, x0, d, r)

    return treewise(init, update)


@factory
def mechanize(
    base_optimizer: Any,
    weight_decay: Scalar = 1e-2,
    eps: Scalar = 1e-8,
    s_init: Scalar = 1e-6,
    num_betas: int = 6,
) -> Optimizer:
    """Mechanic (Cutkosky, Defazio & Mehta 2023, Algorithm 1): learns how far to go along another optimizer's path.

    Δ = (x₀ − x) / (Σs + ε)                      u: the update of the base optimizer
    h = ⟨g + λ Σs ‖g‖ / (‖x‖ + ε) x, Δ⟩
    r ← β r + clip(h, ±m) s                      for each β = 0.9, 0.99, …, 1 − 10⁻ⁿ
    m ← max(β m, |h| + ε)
    v ← β² v + h²
    s ← (m s₀ / n + max(r, 0)) / (√v + ε)
    x ← x₀ − Σs (Δ − u)

    The base optimizer is one, or a function without arguments that makes one. x₀ is where the first update is made.
    """
    # 1. The paper does not clip h by the m before it; its authors do in their code, as does Optax.
    base, eps = made(base_optimizer), stabiliser(eps)

    def init(x):
        full = lambda value: jnp.full(num_betas, number(value, x))
        return Tuner(base.init(x), full(0.0), full(0.0), full(0.0), full(s_init), copy(x))

    def update(t, g, memory, x, **extra):
        u, state = advance(base, g, memory.base_optimizer_state, required(x), extra)
        x0 = tree.where(t == 1, x, memory.x0)
        factor = jnp.sum(memory.s)
        path = jax.tree.map(lambda x0, x: (x0 - x) / (factor + eps), x0, x)
        pull = weight_decay * factor * tree.norm(g) / (tree.norm(x) + eps)
        h = dot(jax.tree.map(lambda g, x: g + pull * x, g, x), path)
        betas = jnp.asarray([1 - 0.1**k for k in range(1, num_betas + 1)], memory.s.dtype)
        r = betas * memory.r + jnp.clip(h, -memory.m, memory.m) * memory.s
        m = jnp.maximum(betas * memory.m, jnp.abs(h) + eps)
        v = betas**2 * memory.v + h**2
        s = (m * s_init / num_betas + jnp.maximum(r, 0)) / (jnp.sqrt(v) + eps)
        u = jax.tree.map(lambda x0, x, path, u: x0 - jnp.sum(s) * (path - u) - x, x0, x, path, u)
        return u, Tuner(state, r, m, v, s, x0)

    return treewise(init, update)


def _penalised(t: Array, g: Params, x: Params, weight_decay: Scalar | None, mask: Any) -> Params:
    """g + λ x, the gradient of f + λ ‖x‖² / 2, on the leaves that the mask has True."""
    if weight_decay is None:
        return g
    return jax.tree.map(lambda g, x, on: g + decay(weight_decay, t, x, on), g, x, marked(mask, required(x)))


def copy(x: Params) -> Params:
    """x in memory of its own, so that a step may be given both x and the state to write over."""
    return jax.tree.map(jnp.copy, x)


def number(value: Scalar, params: Params) -> Array:
    """A number beside these params, in at least float32: half precision has no 1e-6, nor room for sums of squares."""
    return jnp.asarray(value, jnp.result_type(jnp.float32, *[real_dtype(x) for x in jax.tree.leaves(params)]))


def zeros(params: Params, real: bool = False) -> Params:
    """0 for each of these params, in at least float32, since what is kept there may be 1e-6 times a gradient."""
    kind = lambda x: jnp.promote_types(real_dtype(x) if real else x.dtype, jnp.float32)
    return jax.tree.map(lambda x: jnp.zeros_like(x, dtype=kind(x)), params)


def dot(a: Params, b: Params) -> Array:
    """⟨a, b⟩, of which complex numbers have the real part."""
    return jnp.real(tree.dot(a, b))


def _sum_of_abs(a: Params) -> Scalar:
    """‖a‖₁."""
    return sum((jnp.sum(jnp.abs(x)) for x in jax.tree.leaves(a)), 0.0)


def ratio(a: Array, b: Scalar) -> Array:
    """a / b, and 0 where b is 0."""
    return jnp.where(b == 0, 0.0, a / jnp.where(b == 0, 1.0, b))
