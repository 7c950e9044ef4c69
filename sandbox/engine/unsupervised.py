"""Clusters, components and maps: the methods that these problems have of their own."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sandbox.engine.solution import Solution
from sandbox.problems.problem import Problem
from sandbox.problems.unsupervised import squared_distances
from sandbox.types import Key

STARTS = 10  # of Lloyd's method
MOST = 1000  # of its steps; tens are usual
EXAGGERATED, STEPS = 250, 1000  # of a map: attraction is 12 times too strong first, so that clusters form


def lloyd(problem: Problem, method: str | None, tol: float, key: Key) -> Solution:
    """Examples go to their nearest centre, centres to the mean of their examples, until nothing changes (Lloyd 1982).

    The sum never rises, and of all partitions only finitely many can be met. Ten starts by k-means++; the best end
    is returned, a local minimum. The certificate is ‖∇f‖ = 2 ‖n_c (c − mean of its examples)‖. A centre without
    examples stays where it is.
    """
    X = jnp.asarray(problem.data)
    starts = jax.vmap(problem.init)(jax.random.split(key, STARTS))["centres"]
    centres, steps, values = _lloyd(X, starts)
    best = int(jnp.argmin(values))
    return _stationary(problem, {"centres": np.asarray(centres[best])}, "lloyd", int(jnp.sum(steps)), tol)


@jax.jit
@partial(jax.vmap, in_axes=(None, 0))
def _lloyd(
    X: Float[Array, "examples features"], centres: Float[Array, "clusters features"]
) -> tuple[Array, Array, Array]:
    """The fixed point, after how many steps, and its sum."""
    clusters = jnp.arange(len(centres))

    def assigned(centres: Array) -> Array:
        return jnp.argmin(squared_distances(X, centres), 1)

    def step(at: tuple) -> tuple:
        centres, members, _, count = at
        belongs = (members[:, None] == clusters).astype(X.dtype)
        size = jnp.sum(belongs, 0)[:, None]
        moved = jnp.where(size > 0, belongs.T @ X / jnp.maximum(size, 1), centres)
        after = assigned(moved)
        return moved, after, jnp.any(after != members), count + 1

    start = (centres, assigned(centres), jnp.asarray(True), jnp.asarray(0))
    centres, members, _, count = jax.lax.while_loop(lambda at: at[2] & (at[3] < MOST), step, start)
    return centres, count, jnp.sum((X - centres[members]) ** 2)


def singular_vectors(problem: Problem, method: str | None, tol: float, key: Key) -> Solution:
    """The first right singular vectors of the centred examples (Eckart & Young 1936); largest entries are positive."""
    _, _, Vt = np.linalg.svd(problem.structure.X, full_matrices=False)
    W = Vt[: problem.structure.components]
    W = W * np.sign(W[np.arange(len(W)), np.abs(W).argmax(1)])[:, None]
    return _stationary(problem, {"components": W}, "svd", 1, tol)


def mapped(problem: Problem, method: str | None, tol: float, key: Key) -> Solution:
    """1,000 steps with momentum and a rate for each coordinate, as t-SNE goes by custom: "stopped", not converged.

    v ← μ v − η g ∇f,  Y ← Y + v, with μ = 0.5, then 0.8; g grows by 0.2 where v and ∇f point apart and else shrinks by
    a fifth (Jacobs 1988); η = n/48, at least 50 (Belkina et al. 2019); P is 12 times itself for 250 steps. In single
    precision.
    """
    P = jnp.asarray(problem.structure.P, jnp.float32)
    Y = jnp.asarray(problem.init(key)["map"], jnp.float32)
    Y = _descended(P, Y, 12.0, 0.5, EXAGGERATED)
    Y = _descended(P, Y, 1.0, 0.8, STEPS - EXAGGERATED)
    params = {"map": np.asarray(Y - jnp.mean(Y, 0), np.float64)}
    return _stationary(problem, params, "map", STEPS, tol)._replace(status="stopped")


class _Motion(NamedTuple):
    Y: Array
    velocity: Array
    gains: Array


@jax.jit
def _descended(P: Array, Y: Array, exaggeration: Any, momentum: Any, steps: Any) -> Array:
    """A stretch of the descent, from rest."""
    rate = jnp.maximum(len(P) / 48, 50.0)

    def step(_: Any, at: _Motion) -> _Motion:
        g = slope(exaggeration * P, at.Y)
        gains = jnp.maximum(jnp.where(g * at.velocity < 0, at.gains + 0.2, at.gains * 0.8), 0.01)
        velocity = momentum * at.velocity - rate * gains * g
        return _Motion(at.Y + velocity, velocity, gains)

    return jax.lax.fori_loop(0, steps, step, _Motion(Y, jnp.zeros_like(Y), jnp.ones_like(Y))).Y


def slope(P: Float[Array, "n n"], Y: Float[Array, "n dimensions"]) -> Float[Array, "n dimensions"]:
    """∇KL = 4 Σⱼ (pᵢⱼ − qᵢⱼ) (yᵢ − yⱼ) / (1 + ‖yᵢ − yⱼ‖²), as products of matrices."""
    near = (1 - jnp.eye(len(Y), dtype=Y.dtype)) / (1 + squared_distances(Y, Y))
    F = (P - near / jnp.sum(near)) * near
    return 4 * (jnp.sum(F, 1)[:, None] * Y - F @ Y)


def _stationary(problem: Problem, params: Any, method: str, steps: int, tol: float) -> Solution:
    """Converged where the gradient is at most tol, or tol times the value where that is above 1."""
    value, gradient = jax.jit(jax.value_and_grad(problem.objective))(params, problem.data)
    certificate = float(np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(gradient))))
    status = "converged" if certificate <= tol * max(1.0, float(value)) else "failed"
    return Solution(params, float(value), certificate, method, steps, steps, status)
