"""Support vector machines by an interior-point method: to a certain gap in some tens of steps, whatever the data."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

MOST = 100  # steps; ten to forty are usual, ninety were seen
PATIENCE = 10  # of them in a row that better neither objective nor bound, as rounding makes them, or a bad start
SHORT = 0.995  # of the way to the boundary that a step goes

Vector = Float[np.ndarray, " examples"]


class Machine(NamedTuple):
    """min r(z) + Σ max(0, 1 − M z) for a vector z, as its dual sees it: max Σα − r*(α) over 0 ≤ α ≤ 1.

    r is a square, and r* what remains of it in the dual. Labels are given where an intercept asks for Σ αᵢ yᵢ = 0.
    """

    start: np.ndarray  # z
    margins: Callable[[np.ndarray], Vector]  # M z
    square: Callable[[np.ndarray], float]  # r
    dual: Callable[[Vector], float]  # r*
    newton: Callable[[np.ndarray, Vector, Vector], Callable[[Vector], tuple[np.ndarray, Vector]]]
    labels: Vector | None


class Separation(NamedTuple):
    """Where the method ended: the best z, and the dual value that bounds every other's objective from below."""

    z: np.ndarray
    alpha: Vector  # multipliers, 0 … 1; support vectors are those above 0
    value: float
    bound: float
    steps: int


def separate(machine: Machine, examples: int, tol: float) -> Separation:
    """min r(z) + Σ ξ over z and ξ ≥ 0 with M z ≥ 1 − ξ.

    With slacks s = M z − 1 + ξ, the multipliers α of s and β = 1 − α of ξ satisfy ∇r(z) = Mᵀα and α s = β ξ = 0.
    Newton's method on these equations, with a right side that falls to 0, costs one linear system a step: Mehrotra
    (1992), for this problem Ferris & Munson (2002). It ends where the relative gap between objective and dual is
    tol / 10, or where rounding lets it fall no further.
    """
    n, z = examples, machine.start
    alpha, beta, xi, s = np.full(n, 0.5), np.full(n, 0.5), np.full(n, 1.5), np.full(n, 0.5)
    best, plane, bound, certain, idle = np.inf, z, -np.inf, np.zeros(n), 0
    for step in range(MOST + 1):
        margins = machine.margins(z)
        value = machine.square(z) + np.maximum(1 - margins, 0).sum()
        feasible = alpha if machine.labels is None else _balanced(alpha, machine.labels)
        lower = feasible.sum() - machine.dual(feasible)
        idle = 0 if value < best or lower > bound else idle + 1
        if value < best:
            best, plane = value, z
        if lower > bound:
            bound, certain = lower, feasible
        if best - bound <= tol / 10 * best or idle == PATIENCE or step == MOST:
            break
        W = 1 / (s / alpha + xi / beta)
        try:
            solved = machine.newton(z, alpha, W)
        except np.linalg.LinAlgError:
            break
        apart = margins - 1 + xi - s

        def direction(first: Vector, second: Vector) -> tuple[np.ndarray, ...]:
            """Newton's step for α s → α s + first and β ξ → β ξ + second."""
            dz, da = solved(first / alpha - second / beta - apart)  # noqa: B023, called in this turn of the loop alone
            return dz, da, (second + xi * da) / beta, (first - s * da) / alpha  # noqa: B023

        mu = (alpha @ s + beta @ xi) / (2 * n)
        dz, da, dxi, ds = direction(-alpha * s, -beta * xi)
        t = _longest((alpha, da), (beta, -da), (xi, dxi), (s, ds))
        after = ((alpha + t * da) @ (s + t * ds) + (beta - t * da) @ (xi + t * dxi)) / (2 * n)
        goal = (after / mu) ** 3 * mu
        dz, da, dxi, ds = direction(goal - alpha * s - da * ds, goal - beta * xi + da * dxi)
        t = SHORT * _longest((alpha, da), (beta, -da), (xi, dxi), (s, ds))
        z, alpha, beta, xi, s = z + t * dz, alpha + t * da, beta - t * da, xi + t * dxi, s + t * ds
    return Separation(plane, certain, best, bound, step)


def linear(X: Float[np.ndarray, "examples features"], y: Vector, l2: float, fit_intercept: bool) -> Machine:
    """z = (w, b), r = (λ/2) ‖w‖² with λ = n l2, and rows yᵢ (xᵢ, 1) of M; a system of as many equations as features."""
    from scipy.linalg import cho_factor, cho_solve

    lam = len(X) * l2
    M = y[:, None] * (np.hstack([X, np.ones((len(X), 1))]) if fit_intercept else X)
    ridge = np.full(M.shape[1], lam)
    ridge[X.shape[1] :] = 0.0

    def newton(z: np.ndarray, alpha: Vector, W: Vector) -> Callable[[Vector], tuple[np.ndarray, Vector]]:
        """(λD + MᵀWM) dz = Mᵀα − λDz + MᵀWq, and dα = W (q − M dz)."""
        factor, uphill = cho_factor(np.diag(ridge) + (M * W[:, None]).T @ M), M.T @ alpha - ridge * z

        def solved(q: Vector) -> tuple[np.ndarray, Vector]:
            dz = cho_solve(factor, uphill + M.T @ (W * q))
            return dz, W * (q - M @ dz)

        return solved

    return Machine(
        start=np.zeros(M.shape[1]),
        margins=lambda z: M @ z,
        square=lambda z: ridge @ z**2 / 2,
        dual=lambda alpha: np.sum((X.T @ (alpha * y)) ** 2) / (2 * lam),
        newton=newton,
        labels=y if fit_intercept else None,
    )


def kernelled(Q: Float[np.ndarray, "examples examples"], y: Vector, C: float, fit_intercept: bool) -> Machine:
    """z = (a, b), w = C Σ aᵢ yᵢ φ(xᵢ), all divided by C: M z = C Q a + y b; a system of as many equations as examples.

    Where a starts as α does, ∇r = Mᵀα holds for w at every step, and Σ αᵢ yᵢ = 0 alone is left of it.
    """
    from scipy.linalg import cho_factor, cho_solve

    ones = y if fit_intercept else np.zeros_like(y)
    diagonal = np.diag_indices(len(Q))
    # Of the size of rounding: examples that are there twice would leave nothing to factorise.
    floor = len(Q) * np.finfo(float).eps * C * Q.diagonal().max()

    def newton(z: np.ndarray, alpha: Vector, W: Vector) -> Callable[[Vector], tuple[np.ndarray, Vector]]:
        """(CQ + W⁻¹) dα + y db = q and yᵀdα = −yᵀα: dα = u − v db of two right sides."""
        A = C * Q
        A[diagonal] += 1 / W + floor
        factor = cho_factor(A, overwrite_a=True, check_finite=False)
        v = cho_solve(factor, ones, check_finite=False)

        def solved(q: Vector) -> tuple[np.ndarray, Vector]:
            u = cho_solve(factor, q, check_finite=False)
            db = ones @ (u + alpha) / (ones @ v) if fit_intercept else 0.0
            return np.append(u - v * db, db), u - v * db

        return solved

    square = lambda a: C / 2 * (a @ (Q @ a))
    return Machine(
        start=np.append(np.full(len(y), 0.5), 0.0),
        margins=lambda z: C * (Q @ z[:-1]) + ones * z[-1],
        square=lambda z: square(z[:-1]),
        dual=square,
        newton=newton,
        labels=y if fit_intercept else None,
    )


def _balanced(alpha: Vector, y: Vector) -> Vector:
    """Multipliers with Σ αᵢ yᵢ = 0: those of the heavier class are made lighter."""
    sums = alpha[y > 0].sum(), alpha[y < 0].sum()
    lighter = min(sums)
    return alpha * np.where(y > 0, lighter / sums[0], lighter / sums[1])


def _longest(*pairs: tuple[np.ndarray, np.ndarray]) -> float:
    """The longest step, up to 1/SHORT, after which nothing is negative."""
    return min(1 / SHORT, *(float(np.min(np.where(d < 0, -x / np.where(d < 0, d, 1), np.inf))) for x, d in pairs))
