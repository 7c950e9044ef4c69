"""The lift: states, holes in trees, masks, half precision, shared traces."""

import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox import optimizers
from sandbox.optimizers import catalogue

ENTRIES = catalogue.ENTRIES
EPS = np.finfo("f4").eps


def example(name):
    return ENTRIES[name].factory(**ENTRIES[name].example)


def types(values):
    return [(x.shape, x.dtype, x.weak_type) for x in jax.tree.leaves(values)]


def follow(optimizer, params, stream, **extra):
    state = optimizer.init(params)
    for g in stream:
        updates, state = optimizer.update(g, state, params, **extra)
        params = optax.apply_updates(params, updates)
    return params


# the record


def test_importing_the_optimizers_does_not_import_optax():
    code = "import sys, sandbox.optimizers; assert 'optax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match="no optimizer called 'rmsprob'; did you mean rmsprop"):
        optimizers.find("rmsprob")


# the state


@pytest.mark.parametrize(
    ("optimizer", "fields"),
    [
        (optimizers.sgd(0.1), ("count",)),
        (optimizers.sgd(0.1, 0.9), ("count", "trace")),
        (optimizers.ema_momentum(0.1), ("count", "ema")),
        (optimizers.adagrad(0.1), ("count", "sum_of_squares")),
        (optimizers.rmsprop(0.1), ("count", "nu", "mu", "trace")),
        (optimizers.adam(0.1), ("count", "mu", "nu")),
        (optimizers.adamw(0.1), ("count", "mu", "nu")),
        (optimizers.lion(0.1), ("count", "mu")),
    ],
)
def test_the_state_is_tree_wise_with_the_names_that_readers_expect(optimizer, fields):
    params = {"a": jnp.ones(2), "b": [jnp.ones((2, 2)), jnp.ones(())]}
    state = optimizer.init(params)
    assert state._fields == fields
    assert state.count.dtype == jnp.int32
    for field in state[1:]:
        if jax.tree.leaves(field):
            chex.assert_trees_all_equal_shapes_and_dtypes(field, params)


def test_optax_readers_find_the_moments():
    params = {"a": jnp.ones(2)}
    optimizer = optax.chain(optax.clip(1.0), optimizers.adam(0.1))
    _, state = optimizer.update(params, optimizer.init(params))
    np.testing.assert_allclose(optax.tree_utils.tree_get(state, "mu")["a"], 0.1, rtol=4 * EPS)
    assert int(optax.tree_utils.tree_get(state, "count")) == 1
    state = optax.tree_utils.tree_set(state, count=jnp.int32(7))
    assert int(state[1].count) == 7


def test_the_count_stays_at_the_largest_integer():
    optimizer = optimizers.adam(0.1)
    state = optimizer.init(jnp.ones(1))._replace(count=jnp.int32(2**31 - 1))
    updates, state = optimizer.update(jnp.ones(1), state)
    assert int(state.count) == 2**31 - 1
    assert jnp.isfinite(updates).all()


# trees


@pytest.mark.parametrize("optimizer", [optimizers.sgd(0.1, 0.9), optimizers.adamw(0.1)])
def test_a_missing_gradient_leaves_its_memory_alone(optimizer):
    params = {"a": jnp.ones(2), "b": jnp.ones(2)}
    _, before = optimizer.update(params, optimizer.init(params), params)
    updates, after = optimizer.update({"a": jnp.ones(2), "b": None}, before, params)
    assert updates["b"] is None
    for old, new in zip(before[1:], after[1:], strict=True):
        chex.assert_trees_all_equal(old["b"], new["b"])


@pytest.mark.parametrize("name", ["sgd", "adam", "rmsprop"])
def test_params_may_be_left_out(name):
    g = {"w": jnp.array([1.0, -2.0])}
    optimizer = example(name)
    chex.assert_trees_all_equal(optimizer.update(g, optimizer.init(g)), optimizer.update(g, optimizer.init(g), g))


@pytest.mark.parametrize("make", [optimizers.adamw, optimizers.lion])
@pytest.mark.parametrize(
    "mask", [{"w": True, "b": False}, {"w": {"x": False, "y": True}, "b": True}, lambda p: {"w": False, "b": True}]
)
def test_the_mask_says_what_decays(make, mask):
    """With zero gradients only the decay is left: x ← (1 − ηλ) x where the mask is True."""
    params = {"w": {"x": jnp.ones(2), "y": jnp.ones(3)}, "b": jnp.ones(())}
    optimizer = make(0.5, weight_decay=0.2, mask=mask)
    after = follow(optimizer, params, [jax.tree.map(jnp.zeros_like, params)])
    marks = jax.tree.broadcast(mask(params) if callable(mask) else mask, params)
    chex.assert_trees_all_close(after, jax.tree.map(lambda x, m: 0.9 * x if m else x, params, marks), rtol=4 * EPS)


# dtypes


@pytest.mark.parametrize("name", ["heavy_ball", "adam", "rmsprop"])
def test_half_precision_is_computed_in_single(name, key):
    """The update is that of float32, rounded once; the float16 memory starts at zero, so nothing else is rounded."""
    g = {"w": jax.random.normal(key, (64,)).astype(jnp.float16)}
    wide = jax.tree.map(lambda x: x.astype(jnp.float32), g)
    optimizer = example(name)
    half, _ = optimizer.update(g, optimizer.init(g), g)
    full, _ = optimizer.update(wide, optimizer.init(wide), wide)
    rounding = np.finfo("f2").eps
    np.testing.assert_allclose(half["w"].astype(jnp.float32), full["w"], rtol=rounding, atol=float(np.finfo("f2").tiny))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_hyper_parameters_injected_in_half_precision(dtype):
    """Rounded to half, b2 = 0.999 may be 1 and eps = 1e-8 may be 0; Adam's first steps are ±η nevertheless."""
    params = jnp.ones(2, dtype)
    optimizer = optax.inject_hyperparams(optimizers.adam)(2.0**-4)
    after = follow(optimizer, params, [jnp.array([1.0, 0.0], dtype)] * 3)
    np.testing.assert_allclose(after.astype(jnp.float32), [1 - 3 / 16, 1.0], rtol=0.02)


def test_complex_parameters_are_scaled_by_their_modulus(x64):
    """ν is real and counts both parts, so that a rotation of the gradient rotates the update."""
    g = jnp.array([3.0 + 4.0j, -1.0j])
    turn = jnp.exp(0.7j)
    for optimizer in (optimizers.adam(0.1), optimizers.rmsprop(0.1), optimizers.adagrad(0.1)):
        state = optimizer.init(g)
        plain, rotated = optimizer.update(g, state, g)[0], optimizer.update(turn * g, state, g)[0]
        np.testing.assert_allclose(rotated, turn * plain, rtol=1e-14)


def test_mu_dtype_stores_the_first_moment_alone():
    state = optimizers.adam(0.1, mu_dtype="bfloat16").init(jnp.ones(2))
    assert (state.mu.dtype, state.nu.dtype) == (jnp.bfloat16, jnp.float32)


# tracing


def test_equal_shapes_share_one_trace_and_the_numbers_stay():
    calls = []

    def schedule(count):
        calls.append(count)
        return 0.1 / (1.0 + count)

    params = [jnp.full((4,), i + 1.0) for i in range(20)] + [jnp.ones((2, 2))]
    optimizer = optimizers.adam(schedule)
    state = optimizer.init(params)
    traced = jax.jit(optimizer.update)(params, state)
    assert len(calls) == 2
    chex.assert_trees_all_close(traced, optimizer.update(params, state), rtol=8 * EPS)


def test_the_rate_is_differentiable(x64):
    """d/dη of x − η g is −g: a tracer reaches the leaves that share a trace, too."""
    params = [jnp.ones(2), jnp.ones(2)]
    total = lambda rate: sum(jnp.sum(x) for x in follow(optimizers.sgd(rate), params, [params]))
    assert jax.grad(jax.jit(total))(0.1) == -4.0


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from(["sgd", "adagrad", "adam"]), st.lists(st.sampled_from([(), (1,), (3,), (2, 2), (0,)]), max_size=5)
)
def test_jitted_is_eager_on_any_tree(name, shapes):
    rng = np.random.default_rng(len(shapes))
    params = [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]
    optimizer = example(name)
    state = optimizer.init(params)
    eager, jitted = optimizer.update(params, state, params), jax.jit(optimizer.update)(params, state, params)
    chex.assert_trees_all_close(eager, jitted, rtol=16 * EPS, atol=1e-7)
