"""An optimizer inside chains, other people's wrappers, a prox, a projection, and where its average is found."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sandbox import optimizers
from sandbox.optimizers import catalogue, schedules

ENTRIES = catalogue.ENTRIES
EPS = np.finfo("f4").eps


def types(values):
    return [(x.shape, x.dtype, x.weak_type) for x in jax.tree.leaves(values)]


def follow(optimizer, params, stream, **extra):
    state = optimizer.init(params)
    for g in stream:
        updates, state = optimizer.update(g, state, params, **extra)
        params = optax.apply_updates(params, updates)
    return params


def regression():
    x = jax.random.normal(jax.random.key(1), (16, 3))
    y = jnp.sin(x @ jnp.array([1.0, -2.0, 0.5]))
    w = 0.5 * jax.random.normal(jax.random.key(2), (3, 4))
    params = {"hidden": {"w": w, "b": jnp.zeros(4)}, "out": jnp.ones(4)}

    def loss(p):
        return jnp.mean((jnp.tanh(x @ p["hidden"]["w"] + p["hidden"]["b"]) @ p["out"] - y) ** 2)

    return params, loss


def train(optimizer, steps=8):
    params, loss = regression()
    step = jax.jit(lambda p, s: optimizer.update(jax.grad(loss)(p), s, p))
    state = optimizer.init(params)
    for _ in range(steps):
        updates, state = step(params, state)
        params = optax.apply_updates(params, updates)
    return params


def labels(params):
    return {"hidden": {"w": "ours", "b": "ours"}, "out": "rest"}


WRAPPERS = {
    "chain": lambda make, kw: optax.chain(optax.clip_by_global_norm(0.5), make(**kw), optax.scale(0.7)),
    "multi_transform": lambda make, kw: optax.multi_transform({"ours": make(**kw), "rest": optax.sgd(0.01)}, labels),
    "inject_hyperparams": lambda make, kw: optax.inject_hyperparams(make)(
        **{**kw, "learning_rate": optax.linear_schedule(0.1, 0.01, 5)}
    ),
    "MultiSteps": lambda make, kw: optax.MultiSteps(make(**kw), every_k_schedule=3),
    "apply_if_finite": lambda make, kw: optax.apply_if_finite(make(**kw), 2),
    "masked": lambda make, kw: optax.masked(make(**kw), {"hidden": True, "out": False}),
}


@pytest.mark.slow
@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_inside_optax_wrappers_it_is_its_twin(name, wrapper, x64):
    kw, wrap = ENTRIES[name].example, WRAPPERS[wrapper]
    ours, theirs = train(wrap(getattr(optimizers, name), kw)), train(wrap(getattr(optax, name), kw))
    chex.assert_trees_all_close(ours, theirs, rtol=1e-10)


@pytest.mark.slow
def test_inside_nnx_it_is_its_twin():
    from flax import nnx

    _, loss = regression()

    def trained(optimizer):
        params, _ = regression()
        hidden = nnx.Dict(jax.tree.map(nnx.Param, params["hidden"]))
        model = nnx.Dict({"hidden": hidden, "out": nnx.Param(params["out"])})
        outer = nnx.Optimizer(model, optimizer, wrt=nnx.Param)
        for _ in range(3):
            grads = nnx.grad(lambda m: loss(jax.tree.map(lambda x: x, nnx.to_pure_dict(nnx.state(m)))))(model)
            outer.update(model, grads)
        return nnx.to_pure_dict(nnx.state(model))

    chex.assert_trees_all_close(trained(optimizers.adamw(0.01)), trained(optax.adamw(0.01)), rtol=64 * EPS, atol=1e-7)


# chain, proximal, projected


def test_chain_passes_updates_on_and_takes_any_transformation(key):
    g = {"w": jax.random.normal(key, (5,))}
    ours = optimizers.chain(optax.clip(0.1), optax.add_decayed_weights(0.3), optimizers.sgd(0.5))
    theirs = optax.chain(optax.clip(0.1), optax.add_decayed_weights(0.3), optax.sgd(0.5))
    chex.assert_trees_all_close(follow(ours, g, [g] * 3, value=1.0), follow(theirs, g, [g] * 3), rtol=8 * EPS)
    empty = optimizers.chain()
    assert empty.update(g, empty.init(g))[0] is g


def soft(params, step, l1=0.3):
    return jax.tree.map(lambda x: jnp.sign(x) * jnp.maximum(jnp.abs(x) - step * l1, 0.0), params)


@pytest.mark.parametrize(
    "optimizer",
    [
        optimizers.gradient_descent(0.3),
        optimizers.heavy_ball(0.2, 0.5),
        optimizers.nesterov(schedules.cosine_decay(0.3, 500, 0.5), 0.6),
        optimizers.chain(optax.scale(1.0), optimizers.ema_momentum(0.4, 0.5)),
    ],
)
def test_proximal_gradient_finds_the_lasso(optimizer, x64):
    """½ Σ hᵢ (xᵢ − cᵢ)² + l1 ‖x‖₁ has its minimum at soft(cᵢ, l1/hᵢ), with exact zeros."""
    h, c = jnp.array([1.0, 2.0, 0.5, 1.5]), jnp.array([2.0, -0.1, 0.4, -1.0])
    method = optimizers.proximal(optimizer, soft)
    x = jnp.ones(4)
    state = method.init(x)
    step = jax.jit(lambda x, s: method.update(h * (x - c), s, x))
    for _ in range(300):
        updates, state = step(x, state)
        x = x + updates
    expected = jnp.sign(c) * jnp.maximum(jnp.abs(c) - 0.3 / h, 0.0)
    np.testing.assert_allclose(x, expected, atol=1e-13)
    assert (x[jnp.array([1, 2])] == 0).all()


def test_the_step_of_the_prox_is_the_step_of_this_update(x64):
    rate, seen = (lambda count: 0.5 / (1.0 + count)), []

    def prox(params, step):
        seen.append(float(step))
        return params

    follow(optimizers.proximal(optimizers.sgd(rate), prox), jnp.ones(1), [jnp.ones(1)] * 3)
    follow(optimizers.proximal(optax.sgd(0.1), prox, step_size=0.7), jnp.ones(1), [jnp.ones(1)])
    follow(optimizers.proximal(optimizers.heavy_ball(0.1, 0.8), prox), jnp.ones(1), [jnp.ones(1)])
    np.testing.assert_allclose(seen, [0.5, 0.25, 0.5 / 3, 0.7, 0.5], rtol=1e-14)


def test_a_prox_without_a_known_step_is_refused():
    with pytest.raises(ValueError, match=r"expected one from sandbox.optimizers, or the number itself") as error:
        optimizers.proximal(optimizers.chain(optimizers.sgd(0.1), optax.scale(0.5)), soft)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="soft is not an optimizer"):
        optimizers.proximal(soft, soft)


@pytest.mark.parametrize("optimizer", [optimizers.gradient_descent(0.3), optimizers.nesterov(0.2, 0.5)])
def test_projected_descent_finds_the_corner(optimizer, x64):
    """Σ hᵢ (xᵢ − cᵢ)² over the box [0, 1]³ is least at c clipped to the box."""
    h, c = jnp.array([1.0, 2.0, 0.5]), jnp.array([2.0, -0.1, 0.4])
    method = optimizers.projected(optimizer, lambda x: jnp.clip(x, 0.0, 1.0))
    x = jnp.full(3, 0.5)
    state = method.init(x)
    for _ in range(200):
        updates, state = method.update(h * (x - c), state, x)
        x = x + updates
    np.testing.assert_allclose(x, [1.0, 0.0, 0.4], atol=1e-13)


def test_wrappers_keep_the_dtypes_of_the_parameters():
    params = {"w": jnp.ones(3, jnp.bfloat16)}
    method = optimizers.projected(optimizers.adam(0.1), lambda p: jax.tree.map(jnp.abs, p))
    state = method.init(params)
    updates, after = jax.jit(method.update)(params, state, params)
    assert types(updates) == types(params)
    assert types(after) == types(state)


# where to evaluate


def test_eval_params_is_the_identity_without_averaging():
    params = {"w": jnp.ones(2)}
    for optimizer in (optimizers.adam(0.1), optax.adam(0.1), optimizers.proximal(optimizers.sgd(0.1), soft)):
        assert optimizers.eval_params(optimizer.init(params), params) is params


def schedule_free(b1=0.9):
    return optax.contrib.schedule_free(optimizers.sgd(0.1), 0.1, b1=b1)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda o: o,
        lambda o: optax.chain(optax.clip(10.0), o),
        lambda o: optimizers.chain(optax.clip(10.0), o),
        lambda o: optax.MultiSteps(o, 1),
        lambda o: optax.apply_if_finite(o, 2),
    ],
)
def test_eval_params_finds_the_average(wrap, x64):
    """At a constant rate the average of schedule-free SGD is the mean of all z, which gradient steps at y moved."""
    h, y = jnp.array([1.0, 3.0]), jnp.array([2.0, -1.0])
    z, zs, x = y, [], y
    optimizer = wrap(schedule_free())
    state, params = optimizer.init(y), y
    for t in range(1, 8):
        z = z - 0.1 * h * y
        zs.append(z)
        x = x + (z - x) / t
        y = 0.1 * z + 0.9 * x
        updates, state = optimizer.update(h * params, state, params)
        params = params + updates
    np.testing.assert_allclose(x, sum(zs) / len(zs), rtol=1e-13)
    np.testing.assert_allclose(optimizers.eval_params(state, params), x, rtol=1e-12)


def test_eval_params_of_a_part_of_the_params(x64):
    params = {"a": jnp.array([1.0, 2.0]), "b": {"c": jnp.array(3.0)}}
    methods = {"free": schedule_free(), "plain": optimizers.sgd(0.1)}
    optimizer = optax.multi_transform(methods, {"a": "free", "b": "plain"})
    alone, state, whole = params["a"], optimizer.init(params), params
    single = schedule_free()
    single_state = single.init(alone)
    for _ in range(4):
        updates, state = optimizer.update(whole, state, whole)
        whole = optax.apply_updates(whole, updates)
        updates, single_state = single.update(alone, single_state, alone)
        alone = alone + updates
    found = optimizers.eval_params(state, whole)
    np.testing.assert_allclose(found["a"], optax.contrib.schedule_free_eval_params(single_state, alone), rtol=1e-13)
    np.testing.assert_array_equal(found["b"]["c"], whole["b"]["c"])


def test_eval_params_is_finite_where_nothing_is_averaged_in():
    params = {"w": jnp.array([1.0, 2.0])}
    state = schedule_free(b1=0.0).init(params)
    chex.assert_trees_all_equal(optimizers.eval_params(state, params), params)


def test_eval_params_under_vmap(x64):
    y, b1s = jnp.array([1.0, 2.0]), jnp.array([0.5, 0.9, 0.0])
    state = schedule_free().init(jnp.array([3.0, 4.0]))
    lanes = jax.vmap(lambda b1: optimizers.eval_params(state._replace(b1=b1), y))(b1s)
    z = np.array([3.0, 4.0])
    expected = [(y - 0.5 * z) / 0.5, (y - 0.1 * z) / 0.9, y]
    np.testing.assert_allclose(lanes, expected, rtol=1e-13)
