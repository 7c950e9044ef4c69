"""The contract of the whole catalogue: a drop-in for Optax, on any tree, in any dtype, under any transformation."""

import inspect
import pickle
from typing import get_args

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

from sandbox import optimizers, parity, tree
from sandbox.optimizers import catalogue
from sandbox.types import Schedule

NAMES = optimizers.names()
ENTRIES = catalogue.ENTRIES
IN_OPTAX = [name for name in NAMES if hasattr(optax.contrib, name) or hasattr(optax, name)]


def example(name):
    return ENTRIES[name].factory(**ENTRIES[name].example)


def richest(name):
    """With every number, switch and schedule that parity draws, but in the dtypes of the parameters."""
    arguments = max(parity.settings(name), key=len)
    return ENTRIES[name].factory(**{k: v for k, v in arguments.items() if "mask" not in k and "dtype" not in k})


def slope(grads):
    """A loss, 1 + ⟨g, x⟩, whose gradient is g everywhere."""
    return jax.tree_util.Partial(_slope, grads)


def _slope(grads, params):
    terms = jax.tree.map(lambda g, x: jnp.sum(jnp.real(tree.widen(jnp.conj(g)) * tree.widen(x))), grads, params)
    return sum(jax.tree.leaves(terms), jnp.ones(()))


def follow(name, optimizer, params, stream):
    state, step = optimizer.init(params), parity.stepper(optimizer, ENTRIES[name].needs, ENTRIES[name].compiled)
    for g in stream:
        updates, state = step(slope(g), state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def types(values):
    return [(x.shape, x.dtype, getattr(x, "weak_type", False)) for x in jax.tree.leaves(values) if hasattr(x, "dtype")]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_an_optax_transformation_listed_by_its_name(name):
    assert getattr(optimizers, name) is ENTRIES[name].factory
    assert name in optimizers.__all__
    assert type(example(name)) is optax.GradientTransformationExtraArgs


@pytest.mark.parametrize("name", IN_OPTAX)
def test_the_signature_is_optax_s(name):
    """Names, kinds, order and defaults; a default that is a function or an optimizer is our own."""

    def shape(factory):
        for p in inspect.signature(factory).parameters.values():
            yield p.name, p.kind, "ours" if callable(p.default) or isinstance(p.default, tuple) else p.default

    theirs = getattr(optax.contrib, name, None) or getattr(optax, name)
    assert list(shape(getattr(optimizers, name))) == list(shape(theirs))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_unknown_keywords_are_tolerated_and_change_nothing(name, key):
    params, needs = {"w": jax.random.normal(key, (3,))}, ENTRIES[name].needs
    optimizer = example(name)
    extended = optimizer._replace(update=lambda *args, **extra: optimizer.update(*args, **extra, unheard_of=1))
    if "value_fn" in needs:  # an unknown name may be meant for it
        extended = optimizer
    plain, _ = follow(name, optimizer, params, [params] * 2)
    chex.assert_trees_all_equal(plain, follow(name, extended, params, [params] * 2)[0])


@pytest.mark.parametrize("name", NAMES)
def test_what_is_needed_is_asked_for(name):
    """An update that lacks something says in one line what."""
    optimizer, needs = example(name), set(ENTRIES[name].needs) - {"examples", "complex"}
    x = {"w": jnp.array([1.0, -2.0])}
    state = optimizer.init(x)
    if needs:
        with pytest.raises(ValueError, match=r"needs: ") as error:
            optimizer.update(x, state)
        assert "\n" not in str(error.value)
    else:
        _, state = parity.advance(optimizer, slope(x), state, x, ENTRIES[name].needs)


@pytest.mark.parametrize("name", NAMES)
def test_arguments_of_update_go_by_optax_s_names(name):
    order = list(inspect.signature(example(name).update).parameters)
    assert order[:3] == list(inspect.signature(optax.adam(0.1).update).parameters)[:3] == ["updates", "state", "params"]


@pytest.mark.parametrize("name", NAMES)
def test_the_state_can_be_pickled(name):
    state = example(name).init({"w": jnp.ones((2, 3))})
    copy = pickle.loads(pickle.dumps(state))
    assert jax.tree.structure(copy) == jax.tree.structure(state)
    chex.assert_trees_all_equal(copy, state)


@pytest.mark.parametrize("name", NAMES)
def test_a_tree_without_leaves(name):
    optimizer = richest(name)
    for empty in ({}, {"a": None}):
        params, state = follow(name, optimizer, empty, [empty])
        assert params == empty
        assert jax.tree.structure(state) == jax.tree.structure(optimizer.init(empty))


@pytest.mark.parametrize("name", NAMES)
def test_init_from_shapes_alone(name):
    params = {"w": jnp.ones((2, 3)), "h": jnp.ones((), jnp.bfloat16)}
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params)
    assert types(jax.eval_shape(richest(name).init, shapes)) == types(richest(name).init(params))


@pytest.mark.parametrize("name", NAMES)
def test_leaves_that_are_none_are_skipped(name, key):
    w = jax.random.normal(key, (3,))
    full, holes = {"w": w}, {"w": w, "frozen": None}
    whole, _ = follow(name, richest(name), full, [full] * 3)
    sparse, _ = follow(name, richest(name), holes, [holes] * 3)
    assert sparse["frozen"] is None
    chex.assert_trees_all_equal(sparse["w"], whole["w"])


@pytest.mark.parametrize("name", NAMES)
def test_dtypes_are_kept_even_under_strict_promotion(name):
    params = {"w": jnp.ones((2, 3), "bfloat16"), "b": jnp.ones((), "float32"), "c": jnp.ones(3, "float16")}
    optimizer = richest(name)
    with jax.numpy_dtype_promotion("strict"):
        state = optimizer.init(params)
        step = lambda state: parity.advance(optimizer, slope(params), state, params, ENTRIES[name].needs)
        updates, after = jax.eval_shape(step, state)
    assert types(updates) == types(params)
    assert types(after) == types(state)


@pytest.mark.parametrize("dtype", ["float16", pytest.param("bfloat16", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", NAMES)
def test_zero_gradients_are_harmless(name, dtype):
    """At params of 0 and of 1: three steps without a slope, one along it, and one without."""
    params = {"zero": jnp.zeros((2, 3), dtype), "one": jnp.ones((2, 3), dtype), "none": jnp.zeros((0,), dtype)}
    zero, one = tree.zeros_like(params), jax.tree.map(jnp.ones_like, params)
    after, _ = follow(name, example(name), params, [zero, zero, zero, one, zero])
    assert tree.all_finite(after)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_second_call_never_compiles(name):
    optimizer = richest(name)
    params = {"w": jnp.ones((2, 3)), "v": jnp.ones((2, 3)), "weak": jnp.asarray(1.0)}
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def step(params, state):
        return parity.advance(optimizer, slope(params), state, params, ENTRIES[name].needs)

    state = optimizer.init(params)
    for _ in range(3):
        _, state = step(params, state)


@pytest.mark.parametrize("name", NAMES)
def test_its_arguments_can_be_read_back(name):
    """Schedules as they are at the step: what was the rate at step 412?"""
    entry = ENTRIES[name]
    parameters = inspect.signature(entry.factory).parameters
    for k, arguments in enumerate(parity.settings(name)[:3]):
        read = optimizers.hyperparameters(entry.factory(**arguments), 412)
        for argument, value in arguments.items():
            scheduled = callable(value) and Schedule in get_args(parameters[argument].annotation)
            np.testing.assert_equal(read[argument], value(412) if scheduled else value, err_msg=f"{argument}, case {k}")
