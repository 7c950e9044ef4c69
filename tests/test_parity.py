"""Two independent oracles, step by step in double precision: Optax, and each recursion in slow NumPy."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox import optimizers, parity
from sandbox.optimizers import catalogue

ENTRIES = catalogue.ENTRIES


@functools.cache
def rows():
    return {row.name: row for row in parity.validate()}


@pytest.mark.parametrize("name", optimizers.names())
def test_validate_passes(name):
    row = rows()[name]
    assert row.passed
    assert row.worst <= parity.TOLERANCE
    assert row.cases >= 3


@pytest.mark.parametrize("name", optimizers.names())
def test_settings_move_every_hyper_parameter_from_its_default(name):
    entry = ENTRIES[name]
    for argument in inspect.signature(entry.factory).parameters.values():
        given = [kw.get(argument.name, argument.default) for kw in entry.settings]
        assert any(value != argument.default for value in given), f"{name}: no setting moves {argument.name}"


def test_validate_refuses_unknown_names():
    with pytest.raises(ValueError, match="no optimizer called 'adm'; did you mean adam"):
        parity.validate(["adm"])


def test_validate_leaves_the_global_precision_alone():
    parity.validate(["gradient_descent"])
    assert jnp.zeros(()).dtype == jnp.float32


def test_a_nan_is_infinitely_far(x64):
    broken = optax.scale(jnp.nan)
    assert parity.deviation(optax.sgd(0.1), broken) == np.inf
    assert parity.deviation(broken, optax.sgd(0.1)) == np.inf


def test_python_control_flow_on_a_hyper_parameter_is_noticed(x64):
    def branches(learning_rate):
        return optimizers.gradient_descent(learning_rate if learning_rate > 0 else 0.0)

    assert not parity.traces(branches, {"learning_rate": 0.1})
    assert parity.traces(optimizers.gradient_descent, {"learning_rate": 0.1})


def test_a_lost_dtype_is_noticed(x64):
    wide = optax.stateless(lambda g, p: jax.tree.map(lambda g: g.astype(jnp.float64), g))
    assert not parity.keeps_dtypes(wide, "float32")
    assert parity.keeps_dtypes(wide, "float64")


def gradient_stream(seed, shape=(3, 2), steps=15):
    rng = np.random.default_rng(seed)
    stream = [10 ** rng.uniform(-3, 1) * rng.normal(size=shape) for _ in range(steps)]
    for g in stream[2::3]:
        g[0] = 0.0
    return rng.normal(size=shape), stream


def np_sgd(x, gs, eta, mu, lookahead):
    m = 0 * x
    for k, g in enumerate(gs):
        m = mu * m + g
        x = x - eta(k) * (mu * m + g if lookahead else m)
    return x


def np_ema(x, gs, eta, beta):
    m = 0 * x
    for k, g in enumerate(gs):
        m = beta * m + (1 - beta) * g
        x = x - eta(k) * m
    return x


def np_adagrad(x, gs, eta, start, eps):
    s = 0 * x + start
    for k, g in enumerate(gs):
        s = s + g * g
        x = x - eta(k) * g / np.sqrt(s + eps)
    return x


def np_rmsprop(x, gs, eta, beta, eps, start=0.0, root=True, centered=False, mu=0.0, lookahead=False, correct=False):
    m, v, c = 0 * x, 0 * x + start, 0 * x
    for k, g in enumerate(gs):
        m, v = beta * m + (1 - beta) * g, beta * v + (1 - beta) * g * g
        a = 1 - beta ** (k + 1) if correct else 1.0
        spread = v / a - (m / a) ** 2 if centered else v / a
        step = -eta(k) * g / (np.sqrt(spread + eps) if root else np.sqrt(spread) + eps)
        c = mu * c + step
        x = x + (mu * c + step if lookahead else c)
    return x


def np_adam(x, gs, eta, b1, b2, eps, root=0.0, decay=0.0, nesterov=False):
    m, v = 0 * x, 0 * x
    for k, g in enumerate(gs):
        t = k + 1
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        m_hat = m / (1 - b1**t)
        if nesterov:
            m_hat = b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
        d = m_hat / (np.sqrt(v / (1 - b2**t) + root) + eps)
        x = x - eta(k) * (d + decay * x)
    return x


def np_lion(x, gs, eta, b1, b2, decay):
    m = 0 * x
    for k, g in enumerate(gs):
        d = np.sign(b1 * m + (1 - b1) * g)
        m = b2 * m + (1 - b2) * g
        x = x - eta(k) * (d + decay * x)
    return x


CONSTANT = lambda k: 0.1
HALVING = lambda k: 0.2 * 0.5 ** (k / 4.0)
PAGES = {
    "gradient_descent": (optimizers.gradient_descent(HALVING), lambda x, gs: np_sgd(x, gs, HALVING, 0.0, False)),
    "heavy_ball": (optimizers.heavy_ball(0.1, 0.8), lambda x, gs: np_sgd(x, gs, CONSTANT, 0.8, False)),
    "nesterov": (optimizers.nesterov(HALVING, 0.8), lambda x, gs: np_sgd(x, gs, HALVING, 0.8, True)),
    "ema_momentum": (optimizers.ema_momentum(HALVING, 0.8), lambda x, gs: np_ema(x, gs, HALVING, 0.8)),
    "sgd": (optimizers.sgd(0.1, 0.7, nesterov=True), lambda x, gs: np_sgd(x, gs, CONSTANT, 0.7, True)),
    "adagrad": (optimizers.adagrad(HALVING, 0.3, 1e-3), lambda x, gs: np_adagrad(x, gs, HALVING, 0.3, 1e-3)),
    "rmsprop": (
        optimizers.rmsprop(HALVING, 0.8, 1e-3, 0.2, momentum=0.5, nesterov=True),
        lambda x, gs: np_rmsprop(x, gs, HALVING, 0.8, 1e-3, 0.2, mu=0.5, lookahead=True),
    ),
    "rmsprop, centered": (
        optimizers.rmsprop(0.1, 0.8, 1e-2, centered=True, eps_in_sqrt=False, initial_scale=0.4),
        lambda x, gs: np_rmsprop(x, gs, CONSTANT, 0.8, 1e-2, 0.4, root=False, centered=True),
    ),
    "rmsprop, corrected": (
        optimizers.rmsprop(0.1, 0.8, 1e-2, bias_correction=True),
        lambda x, gs: np_rmsprop(x, gs, CONSTANT, 0.8, 1e-2, correct=True),
    ),
    "adam": (
        optimizers.adam(HALVING, 0.8, 0.9, 1e-3, 1e-4),
        lambda x, gs: np_adam(x, gs, HALVING, 0.8, 0.9, 1e-3, 1e-4),
    ),
    "adam with nesterov": (
        optimizers.adam(0.1, 0.8, 0.9, 1e-3, nesterov=True),
        lambda x, gs: np_adam(x, gs, CONSTANT, 0.8, 0.9, 1e-3, nesterov=True),
    ),
    "adamw": (
        optimizers.adamw(HALVING, 0.8, 0.9, 1e-3, weight_decay=0.2),
        lambda x, gs: np_adam(x, gs, HALVING, 0.8, 0.9, 1e-3, decay=0.2),
    ),
    "lion": (
        optimizers.lion(HALVING, 0.7, 0.9, weight_decay=0.2),
        lambda x, gs: np_lion(x, gs, HALVING, 0.7, 0.9, 0.2),
    ),
}


def after(optimizer, x, gs):
    x = jnp.asarray(x)
    state = optimizer.init(x)
    for g in gs:
        updates, state = optimizer.update(jnp.asarray(g), state, x)
        x = x + updates
    return x


@pytest.mark.parametrize("name", PAGES)
def test_equals_its_page_in_numpy(name, x64):
    ours, page = PAGES[name]
    x, gs = gradient_stream(seed=len(name))
    np.testing.assert_allclose(after(ours, x, gs), page(x, gs), rtol=1e-12)


def test_every_optimizer_has_its_page_in_numpy():
    assert {name.replace(",", " ").split()[0] for name in PAGES} == set(optimizers.names())


NUMBERS = {  # where each float hyper-parameter may lie
    "learning_rate": st.floats(1e-5, 10.0),
    "momentum": st.floats(0.0, 0.999),
    "decay": st.floats(0.0, 0.999),
    "b1": st.floats(0.0, 0.99),
    "b2": st.floats(0.0, 0.9999),
    "eps": st.floats(1e-6, 1.0),
    "eps_root": st.floats(0.0, 1e-2),
    "initial_accumulator_value": st.floats(0.0, 2.0),
    "initial_scale": st.floats(0.0, 2.0),
    "weight_decay": st.floats(0.0, 1.0),
    "nesterov": st.booleans(),
    "eps_in_sqrt": st.booleans(),
    "bias_correction": st.booleans(),
}


@st.composite
def cases(draw):
    """An optimizer with random arguments, a random tree, and gradients with exact zeros and spikes."""
    name = draw(st.sampled_from(optimizers.names()))
    known = [p for p in inspect.signature(ENTRIES[name].factory).parameters if p in NUMBERS]
    arguments = {p: draw(NUMBERS[p]) for p in known}
    shapes = draw(st.lists(st.sampled_from([(), (1,), (3,), (2, 2), (0,)]), min_size=1, max_size=3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scales = draw(st.lists(st.sampled_from([0.0, 1e-8, 1e-3, 1.0, 1e4]), min_size=3, max_size=6))
    params = [rng.normal(size=shape) for shape in shapes]
    return name, arguments, params, [[scale * rng.normal(size=shape) for shape in shapes] for scale in scales]


@settings(max_examples=30, deadline=None)
@given(cases())
def test_agrees_with_optax_on_anything(case):
    name, arguments, params, stream = case
    with jax.enable_x64(True):
        paths = []
        for make in (ENTRIES[name].factory, ENTRIES[name].twin):
            optimizer, x = make(**arguments), jax.tree.map(jnp.asarray, params)
            state, path = optimizer.init(x), []
            for g in stream:
                updates, state = optimizer.update(jax.tree.map(jnp.asarray, g), state, x)
                x = optax.apply_updates(x, updates)
                path.append(x)
            paths.append(path)
        for ours, theirs in zip(jax.tree.leaves(paths[0]), jax.tree.leaves(paths[1]), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12 * (1 + np.abs(theirs).max(initial=0.0)))
