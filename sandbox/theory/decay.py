"""Fits of one law of decay to a stretch of a run: e′ = −C e^{1+q}, linear at q = 0 and k^{−1/q} at q > 0.

Its solutions are e ∝ (1 + u x)^{−S/u} with q = u/S, where x ∈ [−1, 1] runs over the stretch, S is the fall of
log e per half stretch at its middle, and 2u is the relative change of that slope from one end to the other. u
= 0 is a straight line in k, u = 1 a pole at the left end. Fits are least squares on block means of log e
(batch means), which makes oscillation and noise that is correlated within a block into independent errors.
"""

from typing import NamedTuple

import numpy as np

BLOCKS = 24  # enough degrees of freedom for three parameters, long enough blocks to forget correlation

FEW = 6  # blocks that a third parameter needs to spare


class Law(NamedTuple):
    """The three-parameter fit on one stretch, with standard errors."""

    q: float  # 1/order; 0 is linear
    q_error: float
    drift: float  # 2u
    drift_error: float
    slope: float  # S in steps: −d log e / dk at the middle
    freedom: int
    scatter: float  # of single points about the fit


class Line(NamedTuple):
    """log e = a − slope · k (+ j log k where that is significant), with the standard error of the slope."""

    slope: float
    error: float
    freedom: int
    correction: float  # how far the term in log k moved the slope


def fit_law(k: np.ndarray, y: np.ndarray, start: float) -> Law:
    """The law nearest to y = log e on the stretch k: a profile over u of fits that are linear in (a, S).

    Its pole lies before the run's start, by half a step at least.
    """
    middle, half = (k[0] + k[-1]) / 2, (k[-1] - k[0]) / 2
    x, edges = (k - middle) / half, blocks(len(k))
    mean = block_means(y, edges)

    def columns(u):
        return np.stack([np.ones(len(edges)), -block_means(_bend(u, x), edges)], axis=1)

    def misfit(v):
        design = columns(np.tanh(v))
        return float(np.sum((mean - design @ np.linalg.lstsq(design, mean)[0]) ** 2))

    pole = np.arctanh(half / (middle - start + (k[1] - k[0]) / 2))
    u = np.tanh(_minimize(misfit, np.concatenate([np.linspace(-3.0, 0.0, 7), np.linspace(0.0, pole, 15)[1:]])))
    design = columns(u)
    a, s = np.linalg.lstsq(design, mean)[0]
    residual = mean - design @ (a, s)
    jacobian = np.concatenate([design, -s * block_means(_bend_slope(u, x), edges)[:, None]], axis=1)
    cov = _covariance(jacobian, residual, mean)
    s_safe = s if s != 0 else np.finfo(float).tiny ** 0.25
    toward = np.array([0.0, -u / s_safe**2, 1 / s_safe])
    return Law(
        q=float(u / s_safe),
        q_error=float(np.sqrt(toward @ cov @ toward)),
        drift=float(2 * u),
        drift_error=float(2 * np.sqrt(cov[2, 2])),
        slope=float(s / half),
        freedom=len(edges) - 3,
        scatter=float(np.std(y - a + s * _bend(u, x))),
    )


def fit_line(k: np.ndarray, y: np.ndarray) -> Line:
    """The slope of log e; a defective mode's factor k^j is fitted beside it where it is seen beyond doubt."""
    edges = blocks(len(k))
    mean, ones = block_means(y, edges), np.ones(len(edges))
    plain = np.stack([ones, -block_means(k, edges)], axis=1)
    beta, cov = _least_squares(plain, mean)
    line = Line(float(beta[1]), float(np.sqrt(cov[1, 1])), len(edges) - 2, 0.0)
    if len(edges) <= FEW or k[0] <= 0:
        return line
    log_k = block_means(np.log(k), edges)
    beta, cov = _least_squares(np.concatenate([plain, log_k[:, None]], axis=1), mean)
    if abs(beta[2]) < 6 * np.sqrt(cov[2, 2]):
        return line
    return Line(float(beta[1]), float(np.sqrt(cov[1, 1])), len(edges) - 3, abs(float(beta[1]) - line.slope))


def blocks(n: int) -> np.ndarray:
    """Where at most BLOCKS consecutive blocks of n points begin."""
    return np.unique(np.linspace(0, n, min(n, BLOCKS), endpoint=False).astype(int))


def block_means(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The mean of values over each block."""
    return np.add.reduceat(values, edges) / np.diff(edges, append=len(values))


def _bend(u: float, x: np.ndarray) -> np.ndarray:
    """log(1 + u x)/u, which is x at u = 0."""
    return x - u * x**2 / 2 if abs(u) < 1e-6 else np.log1p(u * x) / u


def _bend_slope(u: float, x: np.ndarray) -> np.ndarray:
    """Its derivative in u; the series where the closed form cancels."""
    if abs(u) < 1e-3:
        return -(x**2) / 2 + 2 * u * x**3 / 3 - 3 * u**2 * x**4 / 4
    return (x / (1 + u * x) - np.log1p(u * x) / u) / u


def _least_squares(design: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients and their covariance; columns are scaled first, since k and 1 differ by many orders."""
    scale = np.linalg.norm(design, axis=0)
    beta = np.linalg.lstsq(design / scale, mean)[0] / scale
    return beta, _covariance(design, mean - design @ beta, mean)


def _covariance(jacobian: np.ndarray, residual: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """σ²(JᵀJ)⁻¹, inflated for the correlation between neighbouring blocks, never below rounding."""
    freedom = max(len(residual) - jacobian.shape[1], 1)
    rounding = 4 * np.finfo(float).eps * max(float(np.max(np.abs(mean))), 1.0)
    power = float(residual @ residual)
    correlation = float(residual[1:] @ residual[:-1]) / power if power > 0 else 0.0
    inflation = (1 + np.clip(correlation, 0, 0.8)) / (1 - np.clip(correlation, 0, 0.8))
    scale = np.linalg.norm(jacobian, axis=0)
    inverse = np.linalg.pinv(jacobian / scale)
    return (inflation * power / freedom + rounding**2) * (inverse @ inverse.T) / np.outer(scale, scale)


def _minimize(f, grid: np.ndarray) -> float:
    """The minimiser of f near the best grid point."""
    from scipy.optimize import minimize_scalar

    values = [f(v) for v in grid]
    best = int(np.argmin(values))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    found = minimize_scalar(f, bounds=(low, high), method="bounded", options={"xatol": 1e-10})
    return float(found.x) if found.fun < values[best] else float(grid[best])
