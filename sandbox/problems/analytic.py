"""Test functions, friendly to hostile; parameters are one array of shape (dim,).

Each starts at its published standard point where there is one, else uniformly in its domain, from the key.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from sandbox.problems.problem import Facts, Problem
from sandbox.types import Array, Key, Scalar


def bowl() -> Problem:
    """The bowl (x − 3)² + (y − 4)², always from (1, 1), where the loss is 13 and the gradient (−4, −6)."""
    facts = Facts(
        minimum=0.0,
        minimizers=(np.array([3.0, 4.0]),),
        smoothness=2.0,
        strong_convexity=2.0,
        convex=True,
        domain=_cube(10.0, 2),
    )
    return Problem("bowl", _at([1.0, 1.0]), lambda x: (x[0] - 3) ** 2 + (x[1] - 4) ** 2, facts=facts)


def quadratic(condition_number: Scalar = 10.0, dim: int = 2) -> Problem:
    """½ Σ λᵢ xᵢ², with λ log-spaced from μ = 1/κ to L = 1: the same rates suit every condition number."""
    _at_least(dim, 1)
    if not isinstance(condition_number, jax.core.Tracer):
        condition_number = float(condition_number)
        if not 1 <= condition_number < np.inf:
            raise ValueError(f"condition_number={condition_number}: expected a finite number from 1 up")
        if dim == 1 and condition_number != 1:
            raise ValueError(f"condition_number={condition_number}: one dimension has one curvature; give dim ≥ 2")
    exponents = np.linspace(-1, 0, dim) if dim > 1 else np.zeros(1)

    def loss(x: Array) -> Array:
        curvatures = jnp.asarray(condition_number, x.dtype) ** jnp.asarray(exponents, x.dtype)
        return jnp.sum(curvatures * x**2) / 2

    facts = Facts(
        minimum=0.0,
        minimizers=(np.zeros(dim),),
        smoothness=1.0,
        strong_convexity=1 / condition_number,
        convex=True,
        domain=_cube(5.0, dim),
    )
    return Problem("quadratic", _uniform(facts), loss, facts=facts)


def double_well() -> Problem:
    """(x² − 1)² + y²: two equal valleys at (±1, 0), and a saddle of height 1 at the origin between them."""
    facts = Facts(0.0, (np.array([-1.0, 0.0]), np.array([1.0, 0.0])), convex=False, domain=_cube(2.0, 2))
    return Problem("double_well", _uniform(facts), lambda x: (x[0] ** 2 - 1) ** 2 + x[1] ** 2, facts=facts)


def rosenbrock(dim: int = 2) -> Problem:
    """Σ 100 (xᵢ₊₁ − xᵢ²)² + (1 − xᵢ)² (Rosenbrock 1960), from (−1.2, 1, −1.2, 1, …): a long bent valley."""
    _at_least(dim, 2)

    def loss(x: Array) -> Array:
        here, there = x[:-1], x[1:]  # named once: the gradient of every slice is an array of its own
        return jnp.sum(100 * (there - here**2) ** 2 + (1 - here) ** 2)

    facts = Facts(0.0, (np.ones(dim),), convex=False, domain=_cube(2.048, dim), reference="Rosenbrock 1960")
    return Problem("rosenbrock", _at(np.resize([-1.2, 1.0], dim)), loss, facts=facts)


def beale() -> Problem:
    """Σᵢ (cᵢ − x (1 − yⁱ))² with c = 1.5, 2.25, 2.625 (Beale 1958), from (1, 1): a flat plain with sharp corners."""
    loss = lambda x: sum((c - x[0] * (1 - x[1] ** i)) ** 2 for i, c in ((1, 1.5), (2, 2.25), (3, 2.625)))
    facts = Facts(0.0, (np.array([3.0, 0.5]),), convex=False, domain=_cube(4.5, 2), reference="Beale 1958")
    return Problem("beale", _at([1.0, 1.0]), loss, facts=facts)


def himmelblau() -> Problem:
    """(x² + y − 11)² + (x + y² − 7)² (Himmelblau 1972): four global minima, all zero."""
    # On the parabola y = 11 − x² the second square vanishes where (x − 3)(x³ + 3x² − 13x − 38) = 0.
    roots = np.append(3.0, np.roots([1.0, 3.0, -13.0, -38.0]).real)
    minimizers = tuple(_newton_himmelblau(np.array([x, 11 - x**2])) for x in roots)
    loss = lambda x: (x[0] ** 2 + x[1] - 11) ** 2 + (x[0] + x[1] ** 2 - 7) ** 2
    facts = Facts(0.0, minimizers, convex=False, domain=_cube(5.0, 2), reference="Himmelblau 1972")
    return Problem("himmelblau", _uniform(facts), loss, facts=facts)


def rastrigin(dim: int = 2) -> Problem:
    """10 d + Σ xᵢ² − 10 cos 2πxᵢ (Rastrigin 1974): a bowl covered with dents, one near each integer point."""
    _at_least(dim, 1)
    facts = Facts(
        minimum=0.0,
        minimizers=(np.zeros(dim),),
        smoothness=2 + 40 * np.pi**2,
        convex=False,
        domain=_cube(5.12, dim),
        reference="Rastrigin 1974",
    )
    loss = lambda x: jnp.sum(x**2 + 10 * (1 - jnp.cos(2 * jnp.pi * x)))
    return Problem("rastrigin", _uniform(facts), loss, facts=facts)


def saddle() -> Problem:
    """x² − y²: unbounded below, so it has no minimum; the origin is stationary and unstable."""
    facts = Facts(smoothness=2.0, convex=False, domain=_cube(2.0, 2))
    return Problem("saddle", _uniform(facts), lambda x: x[0] ** 2 - x[1] ** 2, facts=facts)


def monkey_saddle() -> Problem:
    """x³ − 3xy²: unbounded below, so it has no minimum; the origin is stationary, and there the Hessian vanishes."""
    facts = Facts(convex=False, domain=_cube(2.0, 2))
    return Problem("monkey_saddle", _uniform(facts), lambda x: x[0] ** 3 - 3 * x[0] * x[1] ** 2, facts=facts)


def _newton_himmelblau(x: np.ndarray) -> np.ndarray:
    """The common zero of both squares near x, to the last digit."""
    for _ in range(5):
        residual = np.array([x[0] ** 2 + x[1] - 11, x[0] + x[1] ** 2 - 7])
        x = x - np.linalg.solve(np.array([[2 * x[0], 1.0], [1.0, 2 * x[1]]]), residual)
    return x


def _cube(half_width: float, dim: int) -> tuple[np.ndarray, np.ndarray]:
    return np.full(dim, -half_width), np.full(dim, half_width)


def _at(start: np.ndarray | list[float]) -> Callable[[Key], Array]:
    """Always this point, whatever the key."""
    return lambda key: jnp.asarray(start, jnp.result_type(float))


def _uniform(facts: Facts) -> Callable[[Key], Array]:
    """Anywhere in the domain."""
    lower, upper = facts.domain
    return lambda key: jnp.asarray(lower) + jnp.asarray(upper - lower) * jax.random.uniform(key, lower.shape)


def _at_least(dim: int, least: int) -> None:
    if not isinstance(dim, int) or dim < least:
        raise ValueError(f"dim={dim!r}: expected a whole number from {least} up")
