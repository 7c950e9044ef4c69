"""Methods that learn the curvature: from its diagonal, or from how the gradient changes along the way."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sandbox import tree
from sandbox.optimizers.base import (
    Later,
    Optimizer,
    advance,
    at,
    decay,
    decay_rate,
    factory,
    made,
    marked,
    needed,
    real_dtype,
    required,
    stabiliser,
    transformation,
    treewise,
)
from sandbox.optimizers.line_search import zoom
from sandbox.optimizers.moments import corrected
from sandbox.tree import abs2
from sandbox.types import Array, Key, Params, Scalar, Schedule

WOLFE = Later(functools.partial(zoom, max_linesearch_steps=20, initial_guess_strategy="one"))


class Estimator(NamedTuple):
    """The key of the next random signs."""

    key: Key


class Diagonal(NamedTuple):
    """Moving averages of the gradient, mu, and of the estimated diagonal of the Hessian, nu."""

    mu: Params
    nu: Params
    hessian_fn_state: Any


class Pairs(NamedTuple):
    """The last point and its gradient; the last pairs s = Δx and y = Δg, in a ring, with 1 / sᵀy."""

    params: Params
    updates: Params
    diff_params_memory: Params
    diff_updates_memory: Params
    weights_memory: Array
    linesearch: Any


@factory
def hutchinson_estimator_diag_hessian(random_seed: Key | None = None) -> Optimizer:
    """The diagonal of the Hessian, estimated (Hutchinson 1990; Bekas, Kokiopoulou & Saad 2007).

    z ∘ ∇²f(x) z                                 every zᵢ is 1 or −1 at random

    An estimator for `sophia`: its updates are the estimates, and it must be given the extra argument obj_fn, f.
    """

    def init(params):
        return Estimator(jax.random.PRNGKey(0) if random_seed is None else random_seed)

    def update(grads, state, params=None, **extra):
        f = needed(extra, "obj_fn")
        xs = jax.tree.leaves(required(params))
        key, signs_key = jax.random.split(state.key)
        keys = jax.random.split(signs_key, len(xs))
        z = [jax.random.rademacher(k, x.shape, jnp.float32).astype(x.dtype) for k, x in zip(keys, xs, strict=True)]
        z = jax.tree.unflatten(jax.tree.structure(params), z)
        _, hz = jax.jvp(jax.grad(f), (params,), (z,))
        return jax.tree.map(jnp.multiply, z, hz), Estimator(key)

    return transformation(init, update)


@factory
def squared_gradients() -> Optimizer:
    """The diagonal of the empirical Fisher matrix, g ∘ g: an estimator for `sophia` that needs no second derivative."""
    return transformation(lambda params: (), lambda grads, state, params=None, **extra: (jax.tree.map(abs2, grads), ()))


HUTCHINSON = Later(hutchinson_estimator_diag_hessian)


@factory
def sophia(
    learning_rate: Scalar | Schedule,
    b1: Scalar = 0.965,
    b2: Scalar = 0.99,
    eps: Scalar = 1e-8,
    weight_decay: Scalar | Schedule = 1e-4,
    weight_decay_mask: Any = None,
    gamma: Scalar = 0.01,
    clip_threshold: Scalar | None = 1.0,
    update_interval: int = 10,
    hessian_diagonal_fn: Any = HUTCHINSON,
    mu_dtype: Any | None = None,
    verbose: bool = False,
    print_win_rate_every_n_steps: int = 0,
) -> Optimizer:
    """Sophia (Liu et al. 2024, Algorithm 3), a clipped Newton step on the diagonal of the Hessian.

    m ← β₁ m + (1 − β₁) g                        m̂ = m / (1 − β₁ᵗ)
    u = clip(m̂ / max(γ h, ε), ρ)
    h ← β₂ h + (1 − β₂) diag ∇²f(x)              estimated, in every k-th update
    x ← x − η (u + λ x)

    `hessian_diagonal_fn` estimates the diagonal: a transformation, or a function without arguments that makes one;
    it gets the extra arguments of the update, of which Hutchinson's needs obj_fn. λ and its mask as in AdamW.
    `verbose` prints the share of coordinates that are not clipped, every so many updates.
    """
    # 1. As in Optax, m is corrected for its start, and a step uses the h of the step before: at first 0, so that every
    #    coordinate is clipped. The paper does not correct m, and estimates h first.
    b1, b2, eps = decay_rate(b1), decay_rate(b2), stabiliser(eps)
    estimator = made(hessian_diagonal_fn)

    def init(x):
        mu = jax.tree.map(lambda x: jnp.zeros_like(x, dtype=mu_dtype), x)
        return Diagonal(mu, tree.zeros_like(x), estimator.init(x))

    def update(t, g, memory, x, **extra):
        x = required(x)
        mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, memory.mu, g)
        u = jax.tree.map(lambda m, h: corrected(m, b1, t) / jnp.maximum(gamma * h, eps), mu, memory.nu)
        if clip_threshold is not None:
            if verbose and print_win_rate_every_n_steps:
                _tell_win_rate(t, u, clip_threshold, print_win_rate_every_n_steps)
            u = jax.tree.map(lambda u: jnp.clip(u, -clip_threshold, clip_threshold), u)

        def estimated():
            diagonal, state = advance(estimator, g, memory.hessian_fn_state, x, extra)
            return jax.tree.map(lambda h, d: (b2 * h + (1 - b2) * d).astype(h.dtype), memory.nu, diagonal), state

        due = (t - 1) % update_interval == 0
        nu, state = jax.lax.cond(due, estimated, lambda: (memory.nu, memory.hessian_fn_state))
        decays = marked(weight_decay_mask, x)
        step = lambda u, x, decays: -at(learning_rate, t) * (u + decay(weight_decay, t, x, decays))
        return jax.tree.map(step, u, x, decays), Diagonal(mu, nu, state)

    return treewise(init, update)


@factory
def lbfgs(
    learning_rate: Scalar | Schedule | None = None,
    memory_size: int = 10,
    scale_init_precond: bool = True,
    linesearch: Any = WOLFE,
) -> Optimizer:
    """L-BFGS (Liu & Nocedal 1989; Nocedal & Wright 2006, Algorithms 7.4 and 7.5).

    s = x − x₋₁,  y = g − g₋₁,  ρ = 1 / sᵀy      the last m pairs are kept
    q = g;  from the newest pair to the oldest:  α = ρ sᵀq,  q ← q − α y
    r = γ q;  from the oldest to the newest:     r ← r + (α − ρ yᵀr) s
    x ← x − η r                                  r = H g, H the inverse Hessian that the pairs tell

    γ = sᵀy / yᵀy of the newest pair, at first min(1, 1 / ‖g‖), or 1 throughout without `scale_init_precond`.
    η is found by `linesearch`, which scales −r, or −η r with a learning rate: by default zoom from η = 1; a
    transformation, a function without arguments that makes one, or None.
    """
    if memory_size < 1:
        raise ValueError(f"lbfgs: memory_size is {memory_size}; expected at least one pair")
    search = None if linesearch is None else made(linesearch)

    def init(x):
        ring = jax.tree.map(lambda x: jnp.zeros((memory_size, *x.shape), x.dtype), x)
        number = jnp.result_type(jnp.float32, *[real_dtype(leaf) for leaf in jax.tree.leaves(x)])
        weights = jnp.zeros(memory_size, number)
        zero = tree.zeros_like(x)
        return Pairs(zero, zero, ring, ring, weights, None if search is None else search.init(x))

    def update(t, g, memory, x, **extra):
        s, y = tree.sub(required(x), memory.params), tree.sub(g, memory.updates)
        s, y = tree.where(t > 1, (s, y), tree.zeros_like((s, y)))
        sy, yy = _real_dot(s, y), tree.squared_norm(y)
        rho, newest = _ratio(1.0, sy, 0.0), (t - 2) % memory_size
        rings = (memory.diff_params_memory, memory.diff_updates_memory, memory.weights_memory)
        put = lambda ring, new: ring.at[newest].set(new.astype(ring.dtype))
        ss, ys, weights = jax.tree.map(put, rings, (s, y, rho))
        gamma: Any = 1.0
        if scale_init_precond:
            gamma = jnp.where(t > 1, _ratio(sy, yy, 1.0), 1 / jnp.maximum(tree.norm(g), 1))
        r = _two_loops(g, ss, ys, weights, gamma, newest)
        u = tree.scale(-1.0 if learning_rate is None else -at(learning_rate, t), r)
        state = memory.linesearch
        if search is not None:
            u, state = advance(search, u, state, x, extra)
        return u, Pairs(x, g, ss, ys, weights, state)

    return treewise(init, update)


def _two_loops(g: Params, s: Params, y: Params, rho: Array, gamma: Scalar, newest: Array) -> Params:
    """H g. The slots of pairs that are still to come hold zeros, and change nothing."""
    oldest_first = (newest + 1 + jnp.arange(len(rho))) % len(rho)
    pair = lambda k: jax.tree.map(lambda ring: ring[k], (s, y))
    moved = lambda a, c, b: jax.tree.map(lambda a, b: (a + c * b).astype(a.dtype), a, b)

    def back(q, k):
        s, y = pair(k)
        alpha = rho[k] * _real_dot(s, q)
        return moved(q, -alpha, y), alpha

    def forth(r, row):
        k, alpha = row
        s, y = pair(k)
        return moved(r, alpha - rho[k] * _real_dot(y, r), s), None

    q, alphas = jax.lax.scan(back, g, oldest_first, reverse=True)
    r, _ = jax.lax.scan(forth, tree.scale(gamma, q), (oldest_first, alphas))
    return r


def _ratio(a: Scalar, b: Array, otherwise: Scalar) -> Array:
    """a / b, where b is not 0."""
    return jnp.where(b == 0, otherwise, a / jnp.where(b == 0, 1, b))


def _real_dot(a: Params, b: Params) -> Array:
    """aᵀb; of complex numbers, of their real and imaginary parts."""
    return jnp.real(tree.dot(a, b))


def _tell_win_rate(t: Array, u: Params, threshold: Scalar, every: int) -> None:
    """Prints which share of the coordinates is not clipped."""
    free = [jnp.sum(jnp.abs(leaf) < threshold) for leaf in jax.tree.leaves(u)]
    share = sum(free) / max(1, sum(leaf.size for leaf in jax.tree.leaves(u)))
    jax.lax.cond(t % every == 0, lambda: jax.debug.print("sophia: {share} are not clipped", share=share), lambda: None)
