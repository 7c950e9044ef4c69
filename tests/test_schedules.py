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
SPAN = {"init_value": 0.3, "end_value": 0.02, "transition_steps": 9}
RISE = {"init_value": 0.01, "peak_value": 0.3, "warmup_steps": 4}
CYCLES = [
    {"init_value": 0.01, "peak_value": 0.3, "warmup_steps": 2, "decay_steps": 9},
    {"init_value": 0.1, "peak_value": 0.2, "warmup_steps": 0, "decay_steps": 3, "end_value": 0.05, "exponent": 0.7},
    {"init_value": 0.0, "peak_value": 0.1, "warmup_steps": 5, "decay_steps": 14, "end_value": 0.01},
]
HALVING = {"init_value": 0.3, "transition_steps": 4, "decay_rate": 0.5}
TWINS = [
    (schedules.constant, optax.constant_schedule, {"value": 0.3}),
    (schedules.linear, optax.linear_schedule, SPAN),
    (schedules.linear, optax.linear_schedule, {**SPAN, "transition_begin": 2}),
    (schedules.linear, optax.linear_schedule, {**SPAN, "transition_begin": -5}),
    (schedules.linear, optax.linear_schedule, {**SPAN, "transition_steps": 0}),
    (schedules.polynomial, optax.polynomial_schedule, {**SPAN, "power": 2.5, "transition_begin": 3}),
    (schedules.polynomial, optax.polynomial_schedule, {**SPAN, "power": 0.5, "end_value": 0.7}),
    (schedules.polynomial, optax.polynomial_schedule, {**SPAN, "power": 3, "transition_steps": -1}),
    (schedules.warmup_constant, optax.warmup_constant_schedule, RISE),
    (
        schedules.warmup_exponential_decay,
        optax.warmup_exponential_decay_schedule,
        {**RISE, "transition_steps": 6, "decay_rate": 0.5},
    ),
    (
        schedules.warmup_exponential_decay,
        optax.warmup_exponential_decay_schedule,
        {**RISE, "transition_steps": 2, "decay_rate": 0.7, "transition_begin": 5, "staircase": True, "end_value": 0.1},
    ),
    (
        schedules.warmup_exponential_decay,
        optax.warmup_exponential_decay_schedule,
        {**RISE, "warmup_steps": 0, "transition_steps": 6, "decay_rate": 0.5},
    ),
    (schedules.sgdr, optax.sgdr_schedule, {"cosine_kwargs": CYCLES}),
    (schedules.sgdr, optax.sgdr_schedule, {"cosine_kwargs": CYCLES[:1]}),
    *(
        (
            schedules.piecewise_interpolate,
            optax.piecewise_interpolate_schedule,
            {"interpolate_type": kind, "init_value": 0.3, **jumps},
        )
        for kind in ("linear", "cosine")
        for jumps in (
            {},
            {"boundaries_and_scales": {10: 0.5, 3: 0.2, 25: 4.0}},
            {"boundaries_and_scales": {0: 2.0, 1: 0.5}},
        )
    ),
    (schedules.linear_onecycle, optax.linear_onecycle_schedule, {"transition_steps": 25, "peak_value": 0.3}),
    (
        schedules.linear_onecycle,
        optax.linear_onecycle_schedule,
        {
            "transition_steps": 20,
            "peak_value": 0.3,
            "pct_start": 0.25,
            "pct_final": 0.5,
            "div_factor": 3.0,
            "final_div_factor": 50.0,
        },
    ),
    (schedules.cosine_onecycle, optax.cosine_onecycle_schedule, {"transition_steps": 25, "peak_value": 0.3}),
    (
        schedules.cosine_onecycle,
        optax.cosine_onecycle_schedule,
        {"transition_steps": 20, "peak_value": 0.3, "pct_start": 0.5, "div_factor": 3.0, "final_div_factor": 50.0},
    ),
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


@pytest.mark.slow
def test_vmap_over_counts(x64):
    counts = jnp.arange(30)
    for ours, _, arguments in TWINS:
        schedule = ours(**arguments)
        together = jax.vmap(lambda k, schedule=schedule: jnp.asarray(schedule(k)))(counts)
        np.testing.assert_allclose(together, [float(schedule(k)) for k in counts], rtol=1e-14, atol=1e-16)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.floats(0.01, 1.0)), min_size=1, max_size=4), st.integers(0, 40))
def test_join_is_one_schedule_after_the_other(pieces, count):
    """Each counts from its own beginning; Optax agrees."""
    boundaries = list(np.cumsum([steps for steps, _ in pieces]))[:-1]
    parts = [schedules.exponential_decay(rate, 3, 0.5) for _, rate in pieces]
    which = int(np.searchsorted(boundaries, count, side="right"))
    begin = boundaries[which - 1] if which else 0
    with jax.enable_x64(True):
        ours = float(schedules.join(parts, boundaries)(count))
        theirs = float(optax.join_schedules(parts, boundaries)(count))
    np.testing.assert_allclose(ours, pieces[which][1] * 0.5 ** ((count - begin) / 3), rtol=1e-12)
    assert ours == theirs


def test_join_takes_what_optax_takes():
    shape = lambda f: [(p.name, p.kind, p.default) for p in inspect.signature(f).parameters.values()]
    assert shape(schedules.join) == shape(optax.join_schedules)


def test_no_warm_up_means_the_peak():
    """Optax would stay at the initial value for ever."""
    assert [schedules.warmup_constant(0.0, 0.3, 0)(k) for k in (0, 5)] == [0.3, 0.3]


def test_a_cycle_that_rounds_to_nothing_still_ends_where_it_should(x64):
    """Of 1 step, the rise, the way back and the end: 0, 0, 1. Optax loses the rise, and with it a factor of 25."""
    schedule = schedules.linear_onecycle(1, 0.5, div_factor=25.0, final_div_factor=100.0)
    np.testing.assert_allclose([schedule(0), schedule(1)], [0.02, 0.0002], rtol=1e-14)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 20),
    st.integers(0, 20),
    st.integers(1, 20),
    st.floats(0.0, 1.0),
    st.floats(0.2, 3.0),
    st.integers(0, 70),
)
def test_warmup_stable_decay_is_its_three_phases(warm, stable, steps, end, power, count):
    with jax.enable_x64(True):
        ours = float(schedules.warmup_stable_decay(0.1, 0.5, warm, stable, steps, end, power)(count))
    if count < warm:
        expected = 0.1 + 0.4 * count / warm
    elif count < warm + stable:
        expected = 0.5
    else:
        expected = end + (0.5 - end) * (1 - min((count - warm - stable) / steps, 1) ** power)
    np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-13)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 1000), st.integers(0, 10_000))
def test_inverse_sqrt_is_that_of_the_transformer(warmup, count):
    """Vaswani et al. 2017, eq. 3: d^−½ min(k^−½, k W^−3/2), whose peak is (d W)^−½."""
    model = 64
    with jax.enable_x64(True):
        ours = float(schedules.inverse_sqrt(0.0, (model * warmup) ** -0.5, warmup)(count))
    k = max(count, 1e-300)
    expected = model**-0.5 * min(k**-0.5, count * warmup**-1.5)
    np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-14)


@settings(max_examples=40, deadline=None)
@given(st.floats(1e-3, 1.0), st.integers(1, 1000), st.integers(0, 2000))
def test_rex_is_its_formula(init, steps, count):
    """Chen, Wolfe & Kyrillidis 2022: η₀ (1 − p) / (1 − p + p / 2)."""
    with jax.enable_x64(True):
        ours = float(schedules.rex(init, steps)(count))
    p = min(count / steps, 1.0)
    np.testing.assert_allclose(ours, init * (1 - p) / (1 - p / 2), rtol=1e-12, atol=1e-16)


BEYOND = {
    "warmup_stable_decay": lambda peak: schedules.warmup_stable_decay(0.02, peak, 50, 70, 80, 0.01, 0.5),
    "inverse_sqrt": lambda peak: schedules.inverse_sqrt(0.02, peak, 50),
    "rex": lambda peak: schedules.rex(peak, 200),
}


@pytest.mark.parametrize("name", BEYOND)
def test_they_rise_once_then_fall_without_a_jump(name, x64):
    values = np.array(jax.vmap(BEYOND[name](0.5))(jnp.arange(400)))
    top = int(np.argmax(values))
    assert values[top] == 0.5
    assert np.all(np.diff(values[: top + 1]) >= 0)
    assert np.all(np.diff(values[top:]) <= 0)
    steepest = {"warmup_stable_decay": 0.49 * 80**-0.5, "inverse_sqrt": 0.48 / 50, "rex": 0.5 * 2 / 200}[name]
    assert np.max(np.abs(np.diff(values))) <= 1.001 * steepest


@pytest.mark.parametrize("name", BEYOND)
def test_a_traced_peak_changes_nothing(name, x64):
    counts = jnp.array([0, 3, 49, 50, 51, 119, 120, 150, 200, 1000])
    traced = jax.jit(lambda peak: jax.vmap(BEYOND[name](peak))(counts))(0.5)
    np.testing.assert_allclose(traced, [float(BEYOND[name](0.5)(int(k))) for k in counts], rtol=1e-12, atol=1e-16)


def test_rex_lies_between_its_line_and_its_start(x64):
    """Concave: above 1 − p, and half way at 2/3."""
    counts = np.arange(101)
    values = np.array(jax.vmap(schedules.rex(1.0, 100))(jnp.asarray(counts)))
    assert np.all(values >= 1 - counts / 100 - 1e-15)
    np.testing.assert_allclose(values[[0, 50, 100]], [1, 2 / 3, 0], rtol=1e-14)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: schedules.join([schedules.constant(0.1)], [3]), "1 schedules and 1 boundaries"),
        (lambda: schedules.piecewise_interpolate("cubic", 0.1), "interpolate_type is 'cubic'"),
        (lambda: schedules.piecewise_interpolate("linear", 0.1, {5: -0.5}), "scale at step 5 is -0.5"),
        (lambda: schedules.linear_onecycle(0, 0.1), "transition_steps is 0"),
        (lambda: schedules.linear_onecycle(9, 0.1, 0.8, 0.5), "expected them in order"),
        (lambda: schedules.cosine_onecycle(9, 0.1, 1.2), "expected them in order"),
        (lambda: schedules.warmup_stable_decay(0.0, 0.1, 3, 3, 0), "decay_steps 0"),
        (lambda: schedules.rex(0.1, 0), "decay_steps is 0"),
        (lambda: schedules.cosine_decay(0.1, 0), "decay_steps is 0"),
        (lambda: schedules.warmup_cosine_decay(0.0, 0.1, 10, 10), "decay_steps is 10 and warmup_steps 10"),
        (lambda: schedules.piecewise_constant(0.1, {5: -0.5}), "scale at step 5 is -0.5"),
    ],
)
def test_bad_input_is_said_in_one_line(make, words):
    with pytest.raises(ValueError, match=words) as error:
        make()
    assert "\n" not in str(error.value)
