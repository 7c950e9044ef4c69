"""The digits MLP trained through each of the wrappers that people put around optimizers: as with Optax, every time."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sandbox import optimizers, problems
from sandbox.engine import run

WRAPPERS = {
    "chain": lambda make: optax.chain(optax.clip_by_global_norm(0.5), make(0.01), optax.scale(0.7)),
    "multi_transform": lambda make: optax.multi_transform(
        {"weights": make(0.01), "biases": make(0.03)},
        lambda params: jax.tree.map(lambda x: "weights" if x.ndim > 1 else "biases", params),
    ),
    "inject_hyperparams": lambda make: optax.inject_hyperparams(make)(optax.linear_schedule(0.02, 0.001, 10)),
    "MultiSteps": lambda make: optax.MultiSteps(make(0.01), every_k_schedule=2),
    "apply_if_finite": lambda make: optax.apply_if_finite(make(0.01), max_consecutive_errors=2),
}


@pytest.mark.slow
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_the_digits_network_trains_as_with_optax(wrapper, x64):
    problem = problems.digits_mlp(hidden=(16,))

    def trained(make):
        method = WRAPPERS[wrapper](make)
        return run(problem, method, steps=12, batch_size=64, key=jax.random.key(0))

    ours, theirs = trained(optimizers.adamw), trained(optax.adamw)
    np.testing.assert_allclose(ours.trace["loss"], theirs.trace["loss"], rtol=1e-9)
    chex.assert_trees_all_close(ours.params, theirs.params, rtol=1e-8, atol=1e-12)
    assert ours.trace["loss"][-1] < 0.9 * ours.trace["loss"][0]


@pytest.mark.slow
def test_the_digits_network_trains_in_nnx_as_with_optax():
    from flax import nnx

    problem = problems.digits_mlp(hidden=(16,))
    layers, data = problem.init(jax.random.key(0)), jax.tree.map(jnp.asarray, problem.data)

    def loss(model):
        params = [dict(layer) for layer in nnx.to_pure_dict(nnx.state(model)).values()]
        return problem.loss(params, data, jax.random.key(1))

    def trained(method):
        model = nnx.Dict({f"layer{k}": nnx.Dict(jax.tree.map(nnx.Param, layer)) for k, layer in enumerate(layers)})
        outer, losses = nnx.Optimizer(model, method, wrt=nnx.Param), []
        for _ in range(4):
            value, grads = nnx.value_and_grad(loss)(model)
            outer.update(model, grads)
            losses.append(value)
        return np.array(losses)

    ours = trained(optimizers.adamw(0.01))
    np.testing.assert_allclose(ours, trained(optax.adamw(0.01)), rtol=1e-5)
    assert ours[-1] < ours[0]
