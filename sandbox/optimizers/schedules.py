"""Learning rates over time: functions of the number of updates done so far.

As in Optax, the quotient of two int32 is a float32, also where everything else is in double precision.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from sandbox.types import Scalar, Schedule


def constant(value: Scalar) -> Schedule:
    """η(k) = value."""
    return lambda count: value


def piecewise_constant(init_value: Scalar, boundaries_and_scales: Mapping[int, Scalar] | None = None) -> Schedule:
    """η(k) = init_value · Π of the scales whose boundary is at most k (step decay).

    Raises ValueError for a negative scale.
    """
    jumps = sorted((boundaries_and_scales or {}).items())
    for boundary, scale in jumps:
        if isinstance(scale, int | float) and scale < 0:
            raise ValueError(f"piecewise_constant: the scale at step {boundary} is {scale}; expected 0 or more")

    def schedule(count: Any) -> Any:
        value = init_value
        for boundary, scale in jumps:
            value = jnp.where(count >= boundary, scale * value, value)
        return value

    return schedule


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

    def schedule(count: Any) -> Any:
        flat = jnp.equal(peak_value, 0)
        alpha = jnp.where(flat, 0.0, end_value / jnp.where(flat, 1.0, peak_value))
        cosine = cosine_decay(peak_value, decay_steps - warmup_steps, alpha, exponent)(count - warmup_steps)
        if warmup_steps == 0:
            return cosine
        warming = (init_value - peak_value) * (1 - count / warmup_steps) + peak_value
        return jnp.where(count < warmup_steps, warming, cosine)

    return schedule
