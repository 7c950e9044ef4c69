"""Learning rates over time: functions of the number of updates done so far.

As in Optax, the quotient of two int32 is a float32, also where everything else is in double precision.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from sandbox.types import Scalar, Schedule


def constant(value: Scalar) -> Schedule:
    """η(k) = value."""
    return lambda count: value


def linear(init_value: Scalar, end_value: Scalar, transition_steps: int, transition_begin: int = 0) -> Schedule:
    """η(k) = init_value + p (end_value − init_value), p = (k − transition_begin) / transition_steps within [0, 1].

    As in Optax, transition_steps ≤ 0 mean no transition, and a negative transition_begin means 0.
    """
    return polynomial(init_value, end_value, 1, transition_steps, transition_begin)


def polynomial(
    init_value: Scalar, end_value: Scalar, power: Scalar, transition_steps: int, transition_begin: int = 0
) -> Schedule:
    """η(k) = end_value + (init_value − end_value) (1 − p)^power, p as in `linear`."""
    if transition_steps <= 0:
        return constant(init_value)
    begin = max(transition_begin, 0)

    def schedule(count: Any) -> Any:
        p = jnp.clip(count - begin, 0, transition_steps) / transition_steps
        return (init_value - end_value) * (1 - p) ** power + end_value

    return schedule


def inverse_sqrt(init_value: Scalar, peak_value: Scalar, warmup_steps: int) -> Schedule:
    """η(k) = peak_value · √(W / k), W = warmup_steps (Vaswani et al. 2017, eq. 3, told by its peak).

    Linear from init_value to the peak at k = W. Without a warm-up W counts as 1, and η(0) = η(1) = peak_value.
    """
    warming, turn = linear(init_value, peak_value, warmup_steps), max(warmup_steps, 1)

    def schedule(count: Any) -> Any:
        decaying = peak_value * jnp.sqrt(turn / jnp.maximum(count, float(turn)))
        return jnp.where(count < warmup_steps, warming(count), decaying)

    return schedule


def rex(init_value: Scalar, decay_steps: int) -> Schedule:
    """η(k) = init_value · (1 − p) / (½ + ½ (1 − p)), p = k / decay_steps (REX: Chen, Wolfe & Kyrillidis 2022).

    Above the line from init_value to 0, and 0 from decay_steps on. Raises ValueError where they are not positive.
    """
    if not decay_steps > 0:
        raise ValueError(f"rex: decay_steps is {decay_steps}; expected a positive number of steps")

    def schedule(count: Any) -> Any:
        left = 1 - jnp.minimum(count / float(decay_steps), 1.0)
        return init_value * left / (0.5 + 0.5 * left)

    return schedule


def piecewise_constant(init_value: Scalar, boundaries_and_scales: Mapping[int, Scalar] | None = None) -> Schedule:
    """η(k) = init_value · Π of the scales whose boundary is at most k (step decay).

    Raises ValueError for a negative scale.
    """
    jumps = _jumps("piecewise_constant", boundaries_and_scales)

    def schedule(count: Any) -> Any:
        value = init_value
        for boundary, scale in jumps:
            value = jnp.where(count >= boundary, scale * value, value)
        return value

    return schedule


def piecewise_interpolate(
    interpolate_type: str, init_value: Scalar, boundaries_and_scales: Mapping[int, Scalar] | None = None
) -> Schedule:
    """The values of `piecewise_constant` at 0 and at the boundaries, and between them lines or half cosines.

    `interpolate_type` is "linear" or "cosine". Raises ValueError for another one, and for a negative scale.
    """
    if interpolate_type not in INTERPOLATIONS:
        raise ValueError(
            f"piecewise_interpolate: interpolate_type is {interpolate_type!r}; expected 'linear' or 'cosine'"
        )
    knots = [(0, init_value)]
    for boundary, scale in _jumps("piecewise_interpolate", boundaries_and_scales):
        knots.append((boundary, knots[-1][1] * scale))
    return _through(knots, INTERPOLATIONS[interpolate_type])


def linear_onecycle(
    transition_steps: int,
    peak_value: Scalar,
    pct_start: Scalar = 0.3,
    pct_final: Scalar = 0.85,
    div_factor: Scalar = 25.0,
    final_div_factor: Scalar = 1e4,
) -> Schedule:
    """One cycle (Smith & Topin 2019): lines up to the peak, back to where they began, and on to almost nothing.

    k    0                    pct_start · T   pct_final · T        T = transition_steps
    η    peak / div_factor    peak            peak / div_factor    peak / (div_factor · final_div_factor)

    Raises ValueError where T is not positive, and for fractions out of order.
    """
    # 1. Where rounding down lets two of these k meet, both values count, and η jumps; Optax forgets the former.
    up, down = _fractions_of("linear_onecycle", transition_steps, pct_start, pct_final)
    low = peak_value / div_factor
    return _through([(0, low), (up, peak_value), (down, low), (transition_steps, low / final_div_factor)], _line)


def cosine_onecycle(
    transition_steps: int,
    peak_value: Scalar,
    pct_start: Scalar = 0.3,
    div_factor: Scalar = 25.0,
    final_div_factor: Scalar = 1e4,
) -> Schedule:
    """One cycle, after Smith & Topin 2019, of two half cosines: up to the peak, and down to almost nothing.

    k    0                    pct_start · T   T = transition_steps
    η    peak / div_factor    peak            peak / (div_factor · final_div_factor)

    Raises ValueError where T is not positive, and for a fraction outside [0, 1].
    """
    (up,) = _fractions_of("cosine_onecycle", transition_steps, pct_start)
    low = peak_value / div_factor
    return _through([(0, low), (up, peak_value), (transition_steps, low / final_div_factor)], _half_cosine)


def exponential_decay(
    init_value: Scalar,
    transition_steps: int,
    decay_rate: Scalar,
    transition_begin: int = 0,
    staircase: bool = False,
    end_value: Scalar | None = None,
) -> Schedule:
    """η(k) = init_value · decay_rate^p, p = (k − transition_begin) / transition_steps, rounded down by staircase.

    init_value until transition_begin. end_value bounds from below where decay_rate < 1, else from above.
    As in Optax, a decay_rate of 0 or transition_steps ≤ 0 mean no decay, and a negative transition_begin means 0.
    """
    if transition_steps <= 0:
        return constant(init_value)
    begin = max(transition_begin, 0)

    def schedule(count: Any) -> Any:
        p = (count - begin) / transition_steps
        p = jnp.floor(p) if staircase else p
        never = jnp.equal(decay_rate, 0)
        still = never | (count <= begin)
        value = init_value * jnp.where(still, 1.0, decay_rate ** jnp.where(still, 0.0, p))
        if end_value is None:
            return value
        bounded = jnp.where(decay_rate < 1, jnp.maximum(value, end_value), jnp.minimum(value, end_value))
        return jnp.where(never, value, bounded)

    return schedule


def cosine_decay(init_value: Scalar, decay_steps: int, alpha: Scalar = 0.0, exponent: Scalar = 1.0) -> Schedule:
    """η(k) = init_value · (α + (1 − α) c^exponent), c = (1 + cos(π k / decay_steps)) / 2 (Loshchilov & Hutter 2017).

    α · init_value from decay_steps on. Raises ValueError where decay_steps is not positive.
    """
    if not decay_steps > 0:
        raise ValueError(f"cosine_decay: decay_steps is {decay_steps}; expected a positive number of steps")

    def schedule(count: Any) -> Any:
        done = jnp.minimum(count / float(decay_steps), 1.0)
        cosine = 0.5 * (1 + jnp.cos(jnp.pi * done))
        return init_value * (alpha + (1 - alpha) * cosine**exponent)

    return schedule


def join(schedules: Sequence[Schedule], boundaries: Sequence[int]) -> Schedule:
    """One schedule after the other: each counts from the boundary at which it begins, the first one from 0.

    Raises ValueError unless there is one boundary less than there are schedules.
    """
    if len(boundaries) != len(schedules) - 1:
        raise ValueError(
            f"join: {len(schedules)} schedules and {len(boundaries)} boundaries; expected a boundary between each two"
        )

    def schedule(count: Any) -> Any:
        value = schedules[0](count)
        for boundary, following in zip(boundaries, schedules[1:], strict=True):
            value = jnp.where(count < boundary, value, following(count - boundary))
        return value

    return schedule


def warmup_constant(init_value: Scalar, peak_value: Scalar, warmup_steps: int) -> Schedule:
    """Linear from init_value to peak_value in warmup_steps, then constant."""
    # 1. No warm-up means peak_value, as in the other schedules with one; in Optax, here alone, init_value for ever.
    return linear(init_value, peak_value, warmup_steps) if warmup_steps > 0 else constant(peak_value)


def warmup_stable_decay(
    init_value: Scalar,
    peak_value: Scalar,
    warmup_steps: int,
    stable_steps: int,
    decay_steps: int,
    end_value: Scalar = 0.0,
    power: Scalar = 1.0,
) -> Schedule:
    """Linear to peak_value in warmup_steps, constant for stable_steps, then down to end_value in decay_steps.

    Warmup-stable-decay (Hu et al. 2024), with the cooldowns of Hägele et al. 2024: at p of its way
    η = end_value + (peak_value − end_value) (1 − p^power), a line, or 1 − √p at power ½.
    Each phase has its own number of steps. Raises ValueError for a negative one, and for no steps to decay.
    """
    if not (warmup_steps >= 0 and stable_steps >= 0 and decay_steps > 0):
        raise ValueError(
            f"warmup_stable_decay: warmup_steps is {warmup_steps}, stable_steps {stable_steps} and decay_steps "
            f"{decay_steps}; expected 0 or more, 0 or more and at least 1"
        )

    def decay(count: Any) -> Any:
        p = jnp.clip(count / float(decay_steps), 0.0, 1.0)
        return end_value + (peak_value - end_value) * (1 - p**power)

    return join([warmup_constant(init_value, peak_value, warmup_steps), decay], [warmup_steps + stable_steps])


def warmup_cosine_decay(
    init_value: Scalar,
    peak_value: Scalar,
    warmup_steps: int,
    decay_steps: int,
    end_value: Scalar = 0.0,
    exponent: Scalar = 1.0,
) -> Schedule:
    """Linear from init_value to peak_value in warmup_steps, then the cosine to end_value; decay_steps counts both.

    A peak_value of 0 stays 0. Raises ValueError for a negative warm-up and where no steps are left to decay.
    """
    if not decay_steps > warmup_steps >= 0:
        raise ValueError(
            f"warmup_cosine_decay: decay_steps is {decay_steps} and warmup_steps {warmup_steps}; "
            "expected a warm-up of 0 or more steps, and decay_steps, which counts the warm-up too, to be larger"
        )

    def cosine(count: Any) -> Any:
        flat = jnp.equal(peak_value, 0)
        alpha = jnp.where(flat, 0.0, end_value / jnp.where(flat, 1.0, peak_value))
        return cosine_decay(peak_value, decay_steps - warmup_steps, alpha, exponent)(count)

    return join([linear(init_value, peak_value, warmup_steps), cosine], [warmup_steps])


def warmup_exponential_decay(
    init_value: Scalar,
    peak_value: Scalar,
    warmup_steps: int,
    transition_steps: int,
    decay_rate: Scalar,
    transition_begin: int = 0,
    staircase: bool = False,
    end_value: Scalar | None = None,
) -> Schedule:
    """Linear from init_value to peak_value in warmup_steps, then `exponential_decay`, which counts from there."""
    decay = exponential_decay(peak_value, transition_steps, decay_rate, transition_begin, staircase, end_value)
    return join([linear(init_value, peak_value, warmup_steps), decay], [warmup_steps])


def sgdr(cosine_kwargs: Iterable[Mapping[str, Any]]) -> Schedule:
    """Warm restarts (SGDR: Loshchilov & Hutter 2017): one `warmup_cosine_decay` after the other.

    Each mapping holds the arguments of one; its decay_steps are the length of its cycle.
    """
    cycles = [dict(kwargs) for kwargs in cosine_kwargs]
    ends = list(itertools.accumulate(cycle["decay_steps"] for cycle in cycles))
    return join([warmup_cosine_decay(**cycle) for cycle in cycles], ends[:-1])


def _jumps(name: str, boundaries_and_scales: Mapping[int, Scalar] | None) -> list[tuple[int, Scalar]]:
    """The boundaries in order, each with its scale."""
    jumps = sorted((boundaries_and_scales or {}).items())
    for boundary, scale in jumps:
        if isinstance(scale, int | float) and scale < 0:
            raise ValueError(f"{name}: the scale at step {boundary} is {scale}; expected 0 or more")
    return jumps


def _through(knots: Sequence[tuple[Any, Scalar]], between: Callable[[Any, Any, Any], Any]) -> Schedule:
    """Through each (k, η), and constant after the last; between(start, end, p) leads from one to the next."""

    def schedule(count: Any) -> Any:
        curve = [(k, jnp.asarray(value, float)) for k, value in knots]
        value = curve[0][1]
        for (k, start), (following, end) in itertools.pairwise(curve):
            p = jnp.clip((count - k) / jnp.maximum(following - k, 1), 0.0, 1.0)
            value = jnp.where(count >= k, between(start, end, p), value)
        k, last = curve[-1]
        return jnp.where(count >= k, last, value)

    return schedule


def _line(start: Any, end: Any, p: Any) -> Any:
    return start + (end - start) * p


def _half_cosine(start: Any, end: Any, p: Any) -> Any:
    return end + (start - end) / 2 * (1 + jnp.cos(jnp.pi * p))


INTERPOLATIONS = {"linear": _line, "cosine": _half_cosine}


def _fractions_of(name: str, steps: int, *fractions: Scalar) -> list:
    """Each fraction of the steps, rounded down."""
    if not steps > 0:
        raise ValueError(f"{name}: transition_steps is {steps}; expected a positive number of steps")
    known = [0, *(f for f in fractions if isinstance(f, int | float)), 1]
    if known != sorted(known):
        raise ValueError(f"{name}: the fractions of the steps are {known[1:-1]}; expected them in order, from 0 to 1")
    return [int(f * steps) if isinstance(f, int | float) else jnp.floor(f * steps) for f in fractions]
