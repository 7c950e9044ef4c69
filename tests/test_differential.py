"""Beside Optax on anything: trees, dtypes, arguments, schedules and gradients are drawn, not picked."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox import optimizers, parity, tree
from sandbox.optimizers import catalogue

TREES = [  # nested, 0-d, empty, mixed: few shapes, since every new one is compiled
    {"w": (2, 3), "b": ()},
    [(3,), {"inner": [(2, 3), (0,)]}],
    {"block": (128, 129)},
    ((), (1,), None),
    {},
]
SPIKES = [0.0, 1e-3, 1e-3, 1.0, 1.0, 1e3]
BEYOND_OPTAX = {  # what its own code cannot take: (optimizer, whether its leaves are so)
    "sm3": lambda leaves: any(x is None or x.size == 0 or x.ndim == 0 for x in leaves),
    "galore": lambda leaves: not leaves or any(x is None for x in leaves),
    "lbfgs": lambda leaves: not leaves,
    "dpsgd": lambda leaves: all(x is None for x in leaves),
}
EPS = {"float64": 1e-9, "float32": 2e-4}


@st.composite
def cases(draw):
    """An optimizer, arguments around those of parity, a tree of some dtype, and a scale for each gradient."""
    name = draw(st.sampled_from(optimizers.names()))
    entry = catalogue.find(name)
    arguments = dict(draw(st.sampled_from(parity.settings(name))))
    for p in inspect.signature(entry.factory).parameters.values():
        bounds = {**parity.RANGES, **entry.ranges}.get(p.name)
        if bounds and isinstance(arguments.get(p.name), float):
            arguments[p.name] = draw(st.floats(*bounds))
    shapes = draw(st.sampled_from(TREES))
    scales = draw(st.lists(st.sampled_from(SPIKES), min_size=3, max_size=5))
    return name, arguments, shapes, scales, draw(st.integers(0, 2**32 - 1))


def streams(shapes, scales, seed, dtype):
    """Parameters, and a gradient for each scale."""
    rng = np.random.default_rng(seed)
    leaf = lambda x: isinstance(x, tuple) and all(isinstance(n, int) for n in x) and x != ((), (1,), None)
    draw = lambda scale: jax.tree.map(lambda s: jnp.asarray(scale * rng.normal(size=s), dtype), shapes, is_leaf=leaf)
    return draw(1.0), [draw(scale) for scale in scales]


def slope(g):
    return jax.tree_util.Partial(_slope, g)


def _slope(g, x):
    return sum(jax.tree.leaves(jax.tree.map(lambda g, x: jnp.sum(tree.widen(g * x)), g, x)), jnp.ones(()))


def path(name, optimizer, params, stream):
    """The parameters after every step."""
    entry, state, found = catalogue.find(name), optimizer.init(params), []
    step = parity.stepper(optimizer, entry.needs, entry.compiled)
    for g in stream:
        updates, state = step(slope(g), state, params)
        params = optax.apply_updates(params, updates)
        found.append(params)
    return found


def agree(case, dtype):
    """Where Optax is finite both agree; ours is finite always."""
    name, arguments, shapes, scales, seed = case
    factory, (twin, _) = catalogue.find(name).factory, parity.twin(name)
    arguments = {k: v for k, v in arguments.items() if dtype == "float64" or "dtype" not in k}
    params, stream = streams(shapes, scales, seed, dtype)
    ours = path(name, factory(**arguments), params, stream)
    alone = BEYOND_OPTAX.get(name, lambda leaves: False)(jax.tree.leaves(params, is_leaf=lambda x: x is None))
    theirs = ours if alone else path(name, twin(**arguments), params, stream)
    lost = False
    for a, b in zip(ours, theirs, strict=True):
        assert tree.all_finite(a)
        lost = lost or not tree.all_finite(b)
        if lost:  # from here on Optax follows a NaN of its own
            continue
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
            x, y = np.asarray(x, "f8"), np.asarray(y, "f8")
            np.testing.assert_allclose(x, y, rtol=EPS[dtype], atol=EPS[dtype] * (1 + np.abs(y).max(initial=0.0)))


@settings(max_examples=12, deadline=None, derandomize=True)
@given(cases())
def test_agrees_with_optax_on_anything(case):
    with jax.enable_x64(True):
        agree(case, "float64")


@pytest.mark.slow
@settings(max_examples=1500, deadline=None)
@given(cases())
def test_agrees_with_optax_on_anything_for_long(case):
    with jax.enable_x64(True):
        agree(case, "float64")


@pytest.mark.slow
@settings(max_examples=20, deadline=None, derandomize=True)
@given(cases())
def test_agrees_with_optax_in_single_precision(case):
    agree(case, "float32")
