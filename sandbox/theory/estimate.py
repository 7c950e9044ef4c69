"""Linear or sublinear, and how fast? An answer from the errors of a run, with an interval, or "unknown"."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Real

from sandbox.theory.decay import Law, block_means, blocks, fit_law, fit_line

STARTS = (
    7 / 8,
    3 / 4,
    1 / 2,
    1 / 4,
    1 / 8,
    1 / 16,
    1 / 32,
    0.0,
)  # where a window opens; each lasts to the end
FEWEST = 6  # points in a window
ROUNDING = 1e-8  # no interval is relatively narrower: the fit itself is rounded
HIGHEST_ORDER = 5.0  # a power law above it is not told from an exponential


class Estimate(NamedTuple):
    """What a run says about its convergence.

    kind "linear": errors ~ rateᵏ, and [low, high] holds the rate. kind "sublinear": errors ~ k^(−order);
    "superlinear": e_{k+1} ~ e_kᵒʳᵈᵉʳ; [low, high] holds the order. kind "unknown": reason says why, the
    numbers are NaN. window is the first and last step used; floor is the level at which the run stopped
    falling, None where it did not.
    """

    kind: str
    rate: float = np.nan
    order: float = np.nan
    low: float = np.nan
    high: float = np.nan
    window: tuple[float, float] | None = None
    floor: float | None = None
    reason: str = ""


def estimate(
    errors: Real[ArrayLike, " steps"],
    steps: Real[ArrayLike, " steps"] | None = None,
    *,
    confidence: float = 0.95,
) -> Estimate:
    """Linear, sublinear or superlinear convergence of f − f* (or of gradient norms) along a run.

    errors[i] belongs to steps[i] (0, 1, 2, … where None). f − f* contracts by the square of the distance's
    factor, so give √(f − f*) to compare with `heavy_ball_rate` and its neighbours.

    A flat end (rounding, or the noise of SGD) is cut off. Over windows that open ever earlier and end with
    the run, e′ = −C e^{1+q} is fitted: q = 0 is linear, q = 1/p is k^{−p}. The latest window that can exclude
    one of the two decides. The number comes from the window with the shortest interval, which is that of its
    noise, widened by what the later windows disagree. Where a run oscillates its peaks are fitted.
    """
    k, e = _checked(errors, steps, confidence)
    if not np.all(np.isfinite(e)):
        first = k[int(np.argmin(np.isfinite(e)))]
        return Estimate("unknown", reason=f"the error is not finite from step {first:g} on: the run diverged")
    above = superlinear(k, e)
    if above is not None:
        return above
    k, y, floor = cut_floor(k, e)
    if len(k) < FEWEST:
        return Estimate("unknown", floor=floor, reason=_too_short(e, len(k), floor))
    if np.ptp(y) <= 1e-12 * max(1.0, float(np.max(np.abs(y)))):
        return Estimate("unknown", floor=floor, reason="the error is constant")
    return _decide(*_envelope(k, y), floor, confidence)


def _decide(k: np.ndarray, y: np.ndarray, floor: float | None, confidence: float) -> Estimate:
    """Let the latest window that can tell decide, unless a longer one contradicts a sublinear verdict."""
    opens = sorted({int(f * len(k)) for f in STARTS if len(k) - int(f * len(k)) >= FEWEST}, reverse=True)
    laws = [fit_law(k[i:], y[i:], k[0]) for i in opens]
    ages = [(k[i] + k[-1] - 2 * k[0]) / (2 * (k[-1] - k[i])) for i in opens]  # k over the length of the window
    kinds = [_kind(law, age, confidence) for law, age in zip(laws, ages, strict=True)]
    told = [kind for kind in kinds if kind]
    if not told:
        falls = laws[-1].slope > 0 and y[: max(len(y) // 4, 2)].mean() > y[-max(len(y) // 4, 2) :].mean()
        why = "the fall is too short, too irregular or too noisy to tell linear from sublinear"
        return Estimate("unknown", floor=floor, reason=why if falls else "the error does not fall")
    if told[0] == "linear":
        return _linear(k, y, [i for i, kind in zip(opens, kinds, strict=True) if kind == "linear"], floor, confidence)
    if told[0] == "neither":
        return Estimate("unknown", floor=floor, reason="the fall is still between sublinear and linear, or is neither")
    if "linear" in told:
        return Estimate("unknown", floor=floor, reason="a linear fall flattens out: a slower one, or a floor, begins")
    return _sublinear(k, opens, laws, kinds, floor, confidence)


def _kind(law: Law, age: float, confidence: float) -> str:
    """What a window does not exclude: "linear", "sublinear", "neither"; "" if it cannot tell.

    −d log(slope)/d log k is 0 for ρᵏ, 1 for k^{−p} and ½ for exp(−√k), which is neither.
    """
    t = _quantile(1 - (1 - confidence) / 10, law.freedom)  # a wrong kind is worse than a wide interval
    q_low, q_high = law.q - t * law.q_error, law.q + t * law.q_error
    bend, blur = abs(law.drift) * age, t * law.drift_error * age
    if law.slope <= 0:
        return ""
    steady = bend + blur < 0.2 or (bend < blur < 0.5)
    if steady and q_high < 1 / HIGHEST_ORDER:
        return "linear"
    if q_low > 1 / HIGHEST_ORDER:
        return "sublinear"
    return "neither" if q_high < 1 / HIGHEST_ORDER and bend - blur > 0.2 else ""


def _linear(k: np.ndarray, y: np.ndarray, opens: list[int], floor: float | None, confidence: float) -> Estimate:
    """The rate from the window, among those that are linear, whose interval is shortest."""
    lines = [fit_line(k[i:], y[i:]) for i in opens]
    # half the risk is kept for having chosen among windows
    noise = [_quantile((1 + confidence) / 2, line.freedom) * line.error for line in lines]
    noise = [own + line.correction for own, line in zip(noise, lines, strict=True)]
    slope, half, i = _shortest([line.slope for line in lines], noise, [float(k[i] + k[-1] - 2 * k[0]) for i in opens])
    i = opens[i]
    if slope - half <= 0:
        return Estimate("unknown", floor=floor, reason="the fall is lost in the noise")
    low, high = np.exp(-(slope + half)), np.exp(-(slope - half))
    return Estimate(
        "linear",
        rate=float(np.exp(-slope)),
        low=float(low),
        high=float(high),
        window=(float(k[i]), float(k[-1])),
        floor=floor,
        reason="log error is straight in k" + _until(floor),
    )


def _sublinear(
    k: np.ndarray, opens: list[int], laws: list[Law], kinds: list[str], floor: float | None, confidence: float
) -> Estimate:
    """The order from the window, among those that are sublinear, whose interval is shortest."""
    chosen = [j for j, kind in enumerate(kinds) if kind == "sublinear"]
    noise = [_quantile((1 + confidence) / 2, laws[j].freedom) * laws[j].q_error for j in chosen]
    ages = [float(k[opens[j]] + k[-1] - 2 * k[0]) for j in chosen]
    q, half, best = _shortest([laws[j].q for j in chosen], noise, ages)
    i = opens[chosen[best]]
    if q - half < max(1 / HIGHEST_ORDER, q / 2) or half - noise[best] > q / 8:
        return Estimate("unknown", floor=floor, reason="the order of the fall still changes along the run")
    return Estimate(
        "sublinear",
        order=1 / q,
        low=1 / (q + half),
        high=1 / (q - half),
        window=(float(k[i]), float(k[-1])),
        floor=floor,
        reason="log error is straight in log(k + offset)" + _until(floor),
    )


def _shortest(values: list[float], noise: list[float], ages: list[float]) -> tuple[float, float, int]:
    """The value with the shortest half-interval: its own noise, and its drift beyond noise per unit of log k.

    The lists run from the latest window to the earliest. A window is compared with all later ones, the latest
    with its neighbour, for want of a later one.
    """
    halves = []
    for j, (value, own) in enumerate(zip(values, noise, strict=True)):
        drifts = [0.0]
        for i in range(j) if j else range(1, min(2, len(values))):
            excess = max(0.0, abs(value - values[i]) - np.hypot(own, noise[i]))
            drifts.append(excess * max(1.0, 1 / abs(np.log(ages[j] / ages[i]))))
        halves.append(own + max(drifts) + ROUNDING * abs(value))
    best = int(np.argmin(halves))
    return values[best], float(halves[best]), best


def _envelope(k: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The peaks alone, where they lie much closer to a smooth fall than all points do: oscillation."""
    peak = np.flatnonzero((y[1:-1] > y[:-2]) & (y[1:-1] >= y[2:])) + 1
    if len(peak) < 2 * FEWEST:
        return k, y
    late = slice(len(k) // 2, None)
    top = peak[len(peak) // 2 :]
    smooth = fit_law(k[top], y[top], k[0]).scatter < 0.4 * fit_law(k[late], y[late], k[0]).scatter
    return (k[peak], y[peak]) if smooth else (k, y)


def cut_floor(k: np.ndarray, e: np.ndarray) -> tuple[np.ndarray, np.ndarray, float | None]:
    """Steps and log errors down to where the run stops falling, and that level; None where it never stops.

    A level is a floor where the local order −d log e/d log k, which never decreases for ρᵏ and for (k +
    a)^{−p}, drops to nothing. Errors that are not positive, or below the range of doubles, are beneath the
    floor whatever it is.
    """
    beneath = np.flatnonzero(e <= 1e-300)
    if len(beneath):
        end = int(beneath[0])
        level = float(np.median(np.abs(e[end:])))
        keep = _before(np.log(e[:end]), np.log(10 * level) if level > 0 else -np.inf)
        return k[:keep], np.log(e[:keep]), max(level, 0.0)
    y = np.log(e)
    tail = _flat_tail(k, y)
    if tail is None:
        return k, y, None
    level = float(np.median(e[tail:]))
    shallow = float(np.max(y)) - np.log(level) < 12  # the noise of SGD adds to the error; rounding does not
    keep = _before(y, np.log((10 if shallow else 1000) * level))
    if shallow and np.all(e[:keep] > 2 * level):
        return k[:keep], np.log(e[:keep] - level), level
    return k[:keep], y[:keep], level


def _flat_tail(k: np.ndarray, y: np.ndarray) -> int | None:
    """Where the longest flat tail begins: its order is below a quarter of what it was, and may be 0."""
    n, log_k = len(k), np.log(k - k[0] + np.median(np.diff(k))) if len(k) > 1 else np.zeros(len(k))
    marks = sorted({n // 2**j for j in range(12) if n // 2**j >= FEWEST} | {0, n})
    pieces = [(a, b) for a, b in pairwise(marks) if b - a >= FEWEST]
    before = {b: _slope(log_k[a:b], y[a:b]) for a, b in pieces}
    for fraction in (1 / 2, 3 / 4, 7 / 8, 15 / 16):
        start = int(fraction * n)
        if n - start < FEWEST:
            continue
        order, blur = _slope(log_k[start:], y[start:])
        steepest = max((p - d for b, (p, d) in before.items() if b <= start), default=0.0)
        if order - blur <= 1e-9 and order + blur < steepest / 4:
            return start
    return None


def _slope(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """−dy/dx on block means, and its 99 % half-interval."""
    edges = blocks(len(x))
    x, y = block_means(x, edges), block_means(y, edges)
    x = x - x.mean()
    slope = float(x @ y / (x @ x))
    residual = y - y.mean() - slope * x
    error = np.sqrt(residual @ residual / (len(x) - 2) / (x @ x))
    return -slope, float(_quantile(0.99, len(x) - 2) * error)


def _before(y: np.ndarray, level: float) -> int:
    """How many points come before the running median sinks below a level."""
    width = max(5, len(y) // 50)
    if len(y) < width:
        return int(np.sum(y > level))
    padded = np.concatenate([y, np.full(width - 1, y[-1])])
    low = np.median(np.lib.stride_tricks.sliding_window_view(padded, width), axis=1) <= level
    low |= np.maximum.accumulate(y[::-1])[::-1] <= level
    return int(np.argmax(low)) if low.any() else len(y)


def superlinear(k: np.ndarray, e: np.ndarray) -> Estimate | None:
    """Newton's kind of end: falls of log e that grow by one factor, the order, and are most of all."""
    stop = int(np.argmax(e <= 0)) if np.any(e <= 0) else len(e)
    if stop < 4 or np.any(np.diff(k[:stop]) != k[1] - k[0]):
        return None
    y = np.log(e[:stop])
    lowest = int(np.argmax(y < y.min() + 3)) + 1  # what comes later is rounding
    for end in (lowest + 1, lowest, lowest - 1):
        falls = -np.diff(y[:end])
        if end > stop or len(falls) < 3 or np.any(falls[-3:] <= 0):
            continue
        ratios = falls[-2:] / falls[-3:-1]
        most = falls[-3:].sum() > 0.5 * (y.max() - y[end - 1]) and falls.min() > -falls[-3]
        if most and falls[-1] > 2 and ratios.min() > 1.25 and ratios.max() < 1.5 * ratios.min():
            order, spread = float(ratios[-1]), float(abs(ratios[1] - ratios[0])) + 0.05
            return Estimate(
                "superlinear",
                order=order,
                low=order - spread,
                high=order + spread,
                window=(float(k[end - 4]), float(k[end - 1])),
                floor=float(np.median(e[end:])) if end < len(e) else None,
                reason="each step multiplies the digits",
            )
    return None


def _checked(errors: ArrayLike, steps: ArrayLike | None, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Steps and errors as float64 vectors, or a ValueError."""
    e = np.asarray(errors, dtype=np.float64)
    k = np.arange(e.size, dtype=np.float64) if steps is None else np.asarray(steps, dtype=np.float64)
    if e.ndim != 1:
        raise ValueError(f"estimate: errors have shape {e.shape}, a vector was expected: give one run at a time")
    if k.shape != e.shape:
        raise ValueError(f"estimate: {k.size} steps for {e.size} errors: give one step for each error")
    if not np.all(np.diff(k) > 0):
        raise ValueError("estimate: the steps do not increase: sort the run by step and drop repeats")
    if not 0 < confidence < 1:
        raise ValueError(f"estimate: confidence is {confidence}, a number between 0 and 1 was expected")
    return k, e


def _quantile(confidence: float, freedom: int) -> float:
    """Student's t for a two-sided interval."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + confidence) / 2))


def _until(floor: float | None) -> str:
    return "" if floor is None else f", until a floor at {floor:.2g}"


def _too_short(e: np.ndarray, n: int, floor: float | None) -> str:
    if floor is not None and len(e) >= FEWEST and e[0] <= 10 * floor:
        return "the error does not fall"
    above = "" if floor is None else f" above the floor at {floor:.2g}"
    return f"{n} errors{above} are too few: at least {FEWEST} are needed"
