"""Whether forecasts come true: of all that is told with 90 %, nine in ten should happen."""

from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float, Int, Shaped


class Reliability(NamedTuple):
    """Bins of forecasts, from low to high, without the empty ones."""

    forecast: Float[np.ndarray, " bins"]  # the mean of a bin
    share: Float[np.ndarray, " bins"]  # of outcomes that are 1
    examples: Int[np.ndarray, " bins"]


def reliability(
    forecasts: Float[ArrayLike, " examples"], outcomes: Shaped[ArrayLike, " examples"], bins: int = 10
) -> Reliability:
    """What was told beside what happened, in bins of equal width (Murphy & Winkler 1977); outcomes are 0 and 1."""
    p, y = _checked(forecasts, outcomes)
    if bins < 1:
        raise ValueError(f"bins={bins}: expected a whole number from 1 up")
    place = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], p)
    count, told, happened = (np.bincount(place, weight, bins) for weight in (None, p, y))
    some = count > 0
    return Reliability(told[some] / count[some], happened[some] / count[some], count[some])


def calibration_error(
    forecasts: Float[ArrayLike, " examples"], outcomes: Shaped[ArrayLike, " examples"], bins: int = 10
) -> float:
    """Σ nₖ/n · |share − forecast| over bins k: the expected calibration error (Naeini, Cooper & Hauskrecht 2015)."""
    forecast, share, examples = reliability(forecasts, outcomes, bins)
    return float(np.average(np.abs(share - forecast), weights=examples))


def brier_score(forecasts: Float[ArrayLike, " examples"], outcomes: Shaped[ArrayLike, " examples"]) -> float:
    """Mean (p − y)², least in expectation where every p is the true probability (Brier 1950)."""
    p, y = _checked(forecasts, outcomes)
    return float(np.mean((p - y) ** 2))


def _checked(forecasts: ArrayLike, outcomes: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    p, y = np.asarray(forecasts, float), np.asarray(outcomes, float)
    if p.ndim != 1 or p.shape != y.shape or not p.size:
        raise ValueError(
            f"forecasts have shape {p.shape} and outcomes {y.shape}; expected one of each for every example"
        )
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("a forecast is no probability; expected numbers from 0 to 1")
    if not np.isin(y, (0, 1)).all():
        raise ValueError("an outcome is neither 0 nor 1")
    return p, y
