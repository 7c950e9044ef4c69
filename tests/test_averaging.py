"""Two sequences: which one is moved, which one is evaluated, and where either lives."""

import collections

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles.averaging import AVERAGES
from oracles.losses import sequence

from sandbox import optimizers, problems
from sandbox.engine import run
from sandbox.optimizers import catalogue, schedules

EPS = np.finfo("f4").eps
METHODS = {
    "lookahead": lambda: optimizers.lookahead(optimizers.heavy_ball(0.1, 0.8), 3, 0.5),
    "schedule_free": lambda: optimizers.schedule_free(optimizers.adam(0.1, b1=0.0), 0.1),
    "schedule_free_sgd": lambda: optimizers.schedule_free_sgd(0.1, warmup_steps=2),
    "schedule_free_adamw": lambda: optimizers.schedule_free_adamw(0.1, warmup_steps=2),
}


def follow(optimizer, params, stream):
    """(params, state) after each step on a sequence of gradients, or of functions that give them."""
    state = optimizer.init(params)
    for g in stream:
        updates, state = optimizer.update(g(params) if callable(g) else g, state, params)
        params = optax.apply_updates(params, updates)
        yield params, state


def gradients(n, shape=(3,), seed=0):
    rng = np.random.default_rng(seed)
    return [{"w": jnp.asarray(rng.normal(size=shape))} for _ in range(n)]


# where to evaluate


@pytest.mark.parametrize(("name", "case"), [(name, k) for name in AVERAGES for k in range(len(AVERAGES[name]))])
def test_the_average_is_that_of_the_paper(name, case, x64):
    """At b1 = 0 the params know nothing of it: there the params themselves are returned."""
    pairs, arguments = AVERAGES[name][case]
    start, losses = sequence(seed=case)
    optimizer = catalogue.find(name).factory(**arguments)
    ours = [optimizers.eval_params(s, x) for x, s in follow(optimizer, jnp.asarray(start), [f.grad for f in losses])]
    y, x = (np.array(a) for a in zip(*pairs(start, losses, **arguments), strict=True))
    np.testing.assert_allclose(ours, y if arguments.get("b1") == 0 else x, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("b1", [0.3, 0.9, 1.0])
def test_at_a_constant_rate_the_average_is_the_mean(b1, x64):
    """x = (z₁ + … + z_t) / t, however large the rate."""
    zs = []
    params = {"w": jnp.array([1.0, -2.0, 3.0])}
    for x, state in follow(optimizers.schedule_free_sgd(0.7, b1=b1), params, gradients(9)):
        zs.append(state.z["w"])
        average = optimizers.eval_params(state, x)["w"]
        np.testing.assert_allclose(average, np.mean(zs, axis=0), rtol=1e-13)
        np.testing.assert_allclose(x["w"], (1 - b1) * zs[-1] + b1 * average, rtol=1e-13)


def test_without_b1_it_is_its_base_optimizer(x64):
    """y is z, and Optax would divide by 0."""
    params, stream = {"w": jnp.array([1.0, -2.0, 3.0])}, gradients(7)
    free = optimizers.schedule_free(optimizers.adam(0.1), 0.1, b1=0.0)
    for (ours, state), (base, _) in zip(
        follow(free, params, stream), follow(optimizers.adam(0.1), params, stream), strict=True
    ):
        chex.assert_trees_all_close(ours, base, rtol=1e-13)
        chex.assert_trees_all_equal(optimizers.eval_params(state, ours), ours)


@pytest.mark.parametrize("b1", [0.9, 0.5])
def test_it_is_optax_s_own_where_the_rate_is_constant(b1, x64):
    params, stream = {"w": jnp.array([1.0, -2.0, 3.0])}, gradients(12)
    ours = follow(optimizers.schedule_free_adamw(0.1, None, b1, weight_decay=0.1), params, stream)
    theirs = follow(optax.contrib.schedule_free_adamw(0.1, None, b1, weight_decay=0.1), params, stream)
    for (x, state), (y, other) in zip(ours, theirs, strict=True):
        chex.assert_trees_all_close(x, y, rtol=1e-12)
        chex.assert_trees_all_close(
            optimizers.eval_params(state, x), optax.contrib.schedule_free_eval_params(other, y), rtol=1e-11
        )
        assert set(state._fields) == set(other._fields)


def test_nothing_moves_while_the_rate_is_zero():
    params = {"w": jnp.array([1.0, -2.0, 3.0])}
    rate = schedules.join([schedules.constant(0.0), schedules.constant(0.1)], [2])
    free = optimizers.schedule_free(optimizers.sgd(rate), rate)
    path = [x for x, _ in follow(free, params, [{"w": jnp.ones(3)}] * 3)]
    chex.assert_trees_all_equal(path[0], params)
    chex.assert_trees_all_equal(path[1], params)
    np.testing.assert_allclose(path[2]["w"], params["w"] - 0.1, rtol=4 * EPS)


def test_the_injected_b1_is_the_one_that_counts(x64):
    """Also where it changes along the way: the average is read with the last one."""
    injected = optax.inject_hyperparams(optimizers.schedule_free_sgd)(0.1, b1=lambda count: 0.9 - 0.1 * count)
    params = {"w": jnp.array([1.0, -2.0, 3.0])}
    *_, (_, state) = follow(injected, params, gradients(3))
    np.testing.assert_allclose(state.inner_state.b1, 0.7, rtol=EPS)


# lookahead


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("record", [optax.LookaheadParams, optimizers.LookaheadParams])
def test_fast_and_slow_in_one_record_are_optax_s(record, reset, x64):
    params, stream = {"w": jnp.array([1.0, -2.0, 3.0])}, gradients(11)
    ours = follow(optimizers.lookahead(optimizers.adam(0.1), 4, 0.3, reset), record.init_synced(params), stream)
    theirs = follow(optax.lookahead(optax.adam(0.1), 4, 0.3, reset), optax.LookaheadParams.init_synced(params), stream)
    for (x, state), (y, other) in zip(ours, theirs, strict=True):
        assert type(x) is record
        chex.assert_trees_all_close(tuple(x), tuple(y), rtol=1e-12)
        assert int(state.steps_since_sync) == int(other.steps_since_sync)
        assert optimizers.eval_params(state, x) is x.slow
        assert optimizers.eval_params(other, y) is y.slow


def test_any_record_with_fast_and_slow_will_do(x64):
    Weights = collections.namedtuple("Weights", "slow fast")
    params, stream = jnp.array([1.0, -2.0]), [jnp.ones(2)] * 4
    *_, (x, _) = follow(optimizers.lookahead(optimizers.sgd(0.5), 2, 0.5), Weights(params, params), stream)
    np.testing.assert_allclose([x.fast, x.slow], [params - 1.0] * 2, rtol=1e-14)


def test_params_alone_and_params_in_a_record_take_the_same_way(x64):
    params, stream = {"w": jnp.array([1.0, -2.0, 3.0])}, gradients(8)
    optimizer = optimizers.lookahead(optimizers.adam(0.1), 3, 0.4)
    alone, paired = (follow(optimizer, x, stream) for x in (params, optimizers.LookaheadParams.init_synced(params)))
    for (x, state), (both, _) in zip(alone, paired, strict=True):
        chex.assert_trees_all_close((x, optimizers.eval_params(state, x)), (both.fast, both.slow), rtol=1e-13)


def test_a_whole_step_back_or_none():
    """α = 1 is the fast optimizer; at α = 0 the slow weights never move."""
    params, stream = {"w": jnp.array([1.0, -2.0, 3.0])}, gradients(6)
    *_, (x, _) = follow(optimizers.lookahead(optimizers.adam(0.1), 2, 1.0), params, stream)
    *_, (base, _) = follow(optimizers.adam(0.1), params, stream)
    chex.assert_trees_all_close(x, base, rtol=8 * EPS)
    *_, (x, state) = follow(optimizers.lookahead(optimizers.adam(0.1), 2, 0.0), params, stream)
    chex.assert_trees_all_equal(optimizers.eval_params(state, x), params)
    chex.assert_trees_all_close(x, params, rtol=8 * EPS)


def test_a_reset_starts_from_where_they_meet(x64):
    """The z of a schedule-free method begins anew at the synchronized params."""
    inner = optimizers.schedule_free_sgd(0.1)
    optimizer = optimizers.lookahead(inner, 3, 0.5, reset_state=True)
    (_, _), (_, _), (x, state) = follow(optimizer, {"w": jnp.array([1.0, -2.0, 3.0])}, gradients(3))
    chex.assert_trees_all_close(state.fast_state.z, x, rtol=1e-14)
    assert int(state.fast_state.step_count) == 0


def test_a_run_ends_at_the_slow_weights(key):
    bowl = problems.bowl()
    optimizer = optimizers.lookahead(optimizers.sgd(0.05), 4, 0.5)
    start = jnp.array([3.0, -2.0])
    *_, (x, state) = follow(optimizer, start, [jax.grad(lambda p: bowl.objective(p, key=key))] * 7)
    result = run(bowl, optimizer, steps=7, key=key, params=start)
    np.testing.assert_allclose(result.params, state.slow, rtol=8 * EPS)
    assert not np.allclose(result.params, x, rtol=1e-3)


@pytest.mark.parametrize("wrap", [lambda o: optax.masked(o, {"w": True, "b": False}), lambda o: optax.chain(o)])
def test_slow_weights_are_found_inside_other_states(wrap, x64):
    params = {"w": jnp.array([1.0, -2.0]), "b": jnp.array([4.0])}
    stream = [{"w": jnp.ones(2), "b": jnp.zeros(1)}] * 3
    *_, (x, state) = follow(wrap(optimizers.lookahead(optimizers.sgd(0.5), 2, 0.5)), params, stream)
    found = optimizers.eval_params(state, x)
    np.testing.assert_allclose(x["w"], params["w"] - 1.0, rtol=1e-14)
    np.testing.assert_allclose(found["w"], params["w"] - 0.5, rtol=1e-14)
    np.testing.assert_allclose(found["b"], params["b"], rtol=1e-14)


# buffers and words


@pytest.mark.parametrize("name", METHODS)
def test_params_and_state_may_both_be_donated(name):
    params = {"w": jnp.ones(3)}
    optimizer = METHODS[name]()
    step = jax.jit(lambda x, s: optimizer.update(x, s, x), donate_argnums=(0, 1))
    step(params, optimizer.init(params))
    pair = optimizers.LookaheadParams.init_synced({"w": jnp.ones(3)})
    jax.jit(lambda x: x, donate_argnums=0)(pair)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_dtype_of_z_can_be_chosen(dtype):
    params = jnp.ones(2, "bfloat16")
    state = optimizers.schedule_free_sgd(0.1, state_dtype=dtype).init(params)
    assert state.z.dtype == dtype
    assert optimizers.eval_params(state, params).dtype == jnp.bfloat16


def test_map_params_of_optax_reaches_the_trees():
    params = {"w": jnp.ones(3)}
    for make in METHODS.values():
        state = make().init(params)
        doubled = optax.tree_utils.tree_map_params(make(), lambda x: 2 * x, state)
        for name in {"z", "slow"} & set(state._fields):
            chex.assert_trees_all_equal(getattr(doubled, name), {"w": jnp.full(3, 2.0)})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: optimizers.lookahead(optimizers.sgd(0.1), 0, 0.5), "sync_period is 0"),
        (lambda: optimizers.lookahead(3.0, 5, 0.5), "not an optimizer"),
        (lambda: optimizers.schedule_free(None, 0.1), "not an optimizer"),
    ],
)
def test_bad_input_is_said_in_one_line(make, words):
    with pytest.raises(ValueError, match=words) as error:
        make()
    assert "\n" not in str(error.value)
