"""Schedules are their formulas, and agree with Optax before, within and beyond their horizon."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.optimizers import schedules

COUNTS = [0, 1, 2, 3, 4, 5, 7, 9, 10, 11, 12, 25, 26, 100, 1000, 2_000_000_000]
HALVING = {"init_value": 0.3, "transition_steps": 4, "decay_rate": 0.5}
TWINS = [
    (schedules.constant, optax.constant_schedule, {"value": 0.3}),
    (schedules.piecewise_constant, optax.piecewise_constant_schedule, {"init_value": 0.3}),
    (
        schedules.piecewise_constant,
        optax.piecewise_constant_schedule,
        {"init_value": 0.3, "boundaries_and_scales": {10: 0.5, 3: 0.2, 25: 0.0}},
    ),
    (schedules.exponential_decay, optax.exponential_decay, HALVING),
    (
        schedules.exponential_decay,
        optax.exponential_decay,
        {**HALVING, "transition_begin": 3, "staircase": True},
    ),
    (
        schedules.exponential_decay,
        optax.exponential_decay,
        {**HALVING, "end_value": 0.07},
    ),
    (
        schedules.exponential_decay,
        optax.exponential_decay,
        {"init_value": 0.3, "transition_steps": 400, "decay_rate": 1.5, "end_value": 0.32, "transition_begin": -2},
    ),
    (
        schedules.exponential_decay,
        optax.exponential_decay,
        {"init_value": 0.25, "transition_steps": 4, "decay_rate": 0.0, "end_value": 0.75},
    ),
    (schedules.exponential_decay, optax.exponential_decay, {**HALVING, "transition_steps": 0}),
    (schedules.cosine_decay, optax.cosine_decay_schedule, {"init_value": 0.3, "decay_steps": 11}),
    (
        schedules.cosine_decay,
        optax.cosine_decay_schedule,
        {"init_value": 0.3, "decay_steps": 11, "alpha": 0.1, "exponent": 2.5},
    ),
    (
        schedules.warmup_cosine_decay,
        optax.warmup_cosine_decay_schedule,
        {"init_value": 0.01, "peak_value": 0.3, "warmup_steps": 4, "decay_steps": 25},
    ),
    (
        schedules.warmup_cosine_decay,
        optax.warmup_cosine_decay_schedule,
        {
            "init_value": 0.01,
            "peak_value": 0.3,
            "warmup_steps": 0,
            "decay_steps": 25,
            "end_value": 0.05,
            "exponent": 0.6,
        },
    ),
    (
        schedules.warmup_cosine_decay,
        optax.warmup_cosine_decay_schedule,
        {"init_value": 0.2, "peak_value": 0.0, "warmup_steps": 4, "decay_steps": 25, "end_value": 0.05},
    ),
]


@pytest.mark.parametrize(("ours", "theirs", "arguments"), TWINS)
def test_agrees_with_optax(ours, theirs, arguments, x64):
    counts = [*COUNTS, *map(jnp.int32, COUNTS)]
    a = [float(ours(**arguments)(k)) for k in counts]
    b = [float(theirs(**arguments)(k)) for k in counts]
    np.testing.assert_allclose(a, b, rtol=1e-14, atol=1e-16)


@pytest.mark.parametrize(("ours", "theirs", "arguments"), TWINS)
def test_a_traced_count_and_traced_numbers_change_nothing(ours, theirs, arguments):
    numbers = {name: value for name, value in arguments.items() if isinstance(value, float)}
    rest = {name: value for name, value in arguments.items() if name not in numbers}
    traced = jax.jit(lambda numbers, k: ours(**rest, **numbers)(k))
    for k in COUNTS[:-1]:
        plain = ours(**arguments)(k)
        np.testing.assert_allclose(traced(numbers, jnp.int32(k)), plain, rtol=20 * np.finfo("f4").eps, atol=1e-8)


@pytest.mark.parametrize(("ours", "theirs", "arguments"), [t for t in TWINS if t[0] is not schedules.constant])
def test_signature_is_optax_s(ours, theirs, arguments):
    shape = lambda f: [(p.name, p.kind, p.default) for p in inspect.signature(f).parameters.values()]
    assert shape(ours) == shape(theirs)


@settings(max_examples=40, deadline=None)
@given(st.floats(1e-5, 1.0), st.integers(1, 10_000), st.floats(0.0, 1.0), st.floats(0.1, 4.0), st.integers(0, 30_000))
def test_the_cosine_is_its_formula(init, steps, alpha, exponent, count):
    with jax.enable_x64(True):
        ours = float(schedules.cosine_decay(init, steps, alpha, exponent)(count))
    c = (1 + np.cos(np.pi * min(count, steps) / steps)) / 2
    np.testing.assert_allclose(ours, init * (alpha + (1 - alpha) * c**exponent), rtol=1e-12, atol=1e-17)


def test_the_warm_up_is_a_line_and_meets_the_cosine_at_the_peak(x64):
    schedule = schedules.warmup_cosine_decay(0.1, 0.5, 4, 12, 0.02)
    np.testing.assert_allclose([schedule(k) for k in range(5)], [0.1, 0.2, 0.3, 0.4, 0.5], rtol=1e-14)
    np.testing.assert_allclose([schedule(8), schedule(12)], [0.26, 0.02], rtol=1e-14)


def test_vmap_over_a_rate(x64):
    rates = jnp.array([0.1, 0.2])
    lanes = jax.vmap(lambda rate: schedules.cosine_decay(rate, 10)(jnp.int32(5)))(rates)
    np.testing.assert_allclose(lanes, rates / 2, rtol=1e-14)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: schedules.cosine_decay(0.1, 0), "decay_steps is 0"),
        (lambda: schedules.warmup_cosine_decay(0.0, 0.1, 10, 10), "decay_steps is 10 and warmup_steps 10"),
        (lambda: schedules.piecewise_constant(0.1, {5: -0.5}), "scale at step 5 is -0.5"),
    ],
)
def test_bad_input_is_said_in_one_line(make, words):
    with pytest.raises(ValueError, match=words) as error:
        make()
    assert "\n" not in str(error.value)
