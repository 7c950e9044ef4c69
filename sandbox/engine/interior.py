"""The linear support vector machine by an interior-point method: to a certain gap in some tens of steps."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

MOST = 100  # steps; ten to forty are usual, ninety were seen
PATIENCE = 10  # of them in a row that better neither objective nor bound, as rounding makes them, or a bad start
SHORT = 0.995  # of the way to the boundary that a step goes


class Separation(NamedTuple):
    """Where the method ended: a plane, and the dual value that bounds every other's objective from below."""

    w: Float[np.ndarray, " features"]
    b: float
    alpha: Float[np.ndarray, " examples"]  # multipliers, 0 … 1/n; support vectors are those above 0
    bound: float
    steps: int


def separate(
    X: Float[np.ndarray, "examples features"],
    y: Float[np.ndarray, " examples"],
    l2: float,
    fit_intercept: bool,
    tol: float,
) -> Separation:
    """min (l2/2) ‖w‖² + mean ξ over w, b, ξ ≥ 0 with yᵢ (w·xᵢ + b) ≥ 1 − ξᵢ, for labels −1 and +1.

    With slacks s = M z − 1 + ξ, z = (w, b) and rows yᵢ (xᵢ, 1) of M, the multipliers α of s and 1 − α of ξ satisfy
    λ w = Σ αᵢ yᵢ xᵢ, Σ αᵢ yᵢ = 0, α s = (1 − α) ξ = 0, where λ = n l2 and all is multiplied by n. Newton's method on
    these equations, with a right side that falls to 0, costs one system of d + 1 equations a step: Mehrotra (1992),
    for this problem Ferris & Munson (2002). It ends where the relative gap between objective and dual is tol / 10, or
    where rounding lets it fall no further.
    """
    from scipy.linalg import cho_factor, cho_solve

    n, lam = len(X), len(X) * l2
    M = y[:, None] * (np.hstack([X, np.ones((n, 1))]) if fit_intercept else X)
    ridge = np.full(M.shape[1], lam)
    ridge[X.shape[1] :] = 0.0
    z, alpha, beta, xi, s = np.zeros(M.shape[1]), np.full(n, 0.5), np.full(n, 0.5), np.full(n, 1.5), np.full(n, 0.5)
    best, plane, bound, certain, idle = np.inf, z, -np.inf, np.zeros(n), 0
    for step in range(MOST + 1):
        margins = M @ z
        value = ridge @ z**2 / 2 + np.maximum(1 - margins, 0).sum()
        feasible = _balanced(alpha, y) if fit_intercept else alpha
        lower = feasible.sum() - np.sum((X.T @ (feasible * y)) ** 2) / (2 * lam)
        idle = 0 if value < best or lower > bound else idle + 1
        if value < best:
            best, plane = value, z
        if lower > bound:
            bound, certain = lower, feasible
        if best - bound <= tol / 10 * best or idle == PATIENCE or step == MOST:
            break
        W = 1 / (s / alpha + xi / beta)
        try:
            factor = cho_factor(np.diag(ridge) + (M * W[:, None]).T @ M)
        except np.linalg.LinAlgError:
            break
        uphill, apart = M.T @ alpha - ridge * z, margins - 1 + xi - s

        def direction(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, ...]:
            """Newton's step for α s → α s + first and β ξ → β ξ + second."""
            q = first / alpha - second / beta - apart  # noqa: B023, called in this turn of the loop alone
            dz = cho_solve(factor, uphill + M.T @ (W * q))  # noqa: B023
            da = W * (q - M @ dz)  # noqa: B023
            return dz, da, (second + xi * da) / beta, (first - s * da) / alpha  # noqa: B023

        mu = (alpha @ s + beta @ xi) / (2 * n)
        dz, da, dxi, ds = direction(-alpha * s, -beta * xi)
        t = _longest((alpha, da), (beta, -da), (xi, dxi), (s, ds))
        after = ((alpha + t * da) @ (s + t * ds) + (beta - t * da) @ (xi + t * dxi)) / (2 * n)
        goal = (after / mu) ** 3 * mu
        dz, da, dxi, ds = direction(goal - alpha * s - da * ds, goal - beta * xi + da * dxi)
        t = SHORT * _longest((alpha, da), (beta, -da), (xi, dxi), (s, ds))
        z, alpha, beta, xi, s = z + t * dz, alpha + t * da, beta - t * da, xi + t * dxi, s + t * ds
    features = X.shape[1]
    b = float(plane[features]) if fit_intercept else 0.0
    return Separation(plane[:features], b, certain / n, bound / n, step)


def _balanced(alpha: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Multipliers with Σ αᵢ yᵢ = 0: those of the heavier class are made lighter."""
    sums = alpha[y > 0].sum(), alpha[y < 0].sum()
    lighter = min(sums)
    return alpha * np.where(y > 0, lighter / sums[0], lighter / sums[1])


def _longest(*pairs: tuple[np.ndarray, np.ndarray]) -> float:
    """The longest step, up to 1/SHORT, after which nothing is negative."""
    return min(1 / SHORT, *(float(np.min(np.where(d < 0, -x / np.where(d < 0, d, 1), np.inf))) for x, d in pairs))
