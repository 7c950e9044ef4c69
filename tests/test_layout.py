"""Lanes as neighbours in memory: the same numbers under every transformation, and the layout that was asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sandbox import optimizers, problems
from sandbox.engine import run
from sandbox.engine.layout import FEW, innermost

TREE = {"a": jnp.arange(6.0).reshape(2, 3), "scalar": jnp.array(2.0), "many": jnp.ones(FEW + 1), "whole": jnp.arange(3)}


def test_it_is_the_identity():
    assert jax.tree.all(jax.tree.map(np.array_equal, innermost(TREE), TREE))


@pytest.mark.parametrize("lanes", [0, 1, 2])
def test_it_is_the_identity_under_vmap_over_any_axis_and_over_two(lanes):
    a = jnp.arange(24.0).reshape(2, 3, 4)
    once = jax.vmap(innermost, lanes, lanes)
    np.testing.assert_array_equal(jax.jit(once)(a), a)
    np.testing.assert_array_equal(jax.jit(jax.vmap(jax.vmap(innermost)))(a[..., None]), a[..., None])


def test_its_derivative_is_one_in_both_modes():
    square = lambda x: jnp.sum(innermost(x) ** 2)
    points = jnp.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(jax.vmap(jax.grad(square))(points), 2 * points)
    np.testing.assert_array_equal(jax.grad(lambda p: jax.vmap(square)(p).sum())(points), 2 * points)
    np.testing.assert_array_equal(jax.vmap(jax.hessian(square))(points), np.tile(2 * np.eye(2), (3, 1, 1)))


def test_a_step_of_two_variables_runs_along_the_lanes(key):
    """What is carried from step to step is lanes × 2, with the lanes as neighbours: layout {0,1}, not {1,0}."""
    final = lambda rate: run(problems.rosenbrock(), optimizers.adam(rate), steps=9, key=key, record=None).params
    loop = next(
        line
        for line in jax.jit(jax.vmap(final)).lower(jnp.ones(32)).compile().as_text().splitlines()
        if "while(" in line
    )
    assert "f32[32,2]{0,1}" in loop
    assert "f32[32,2]{1,0}" not in loop


@pytest.mark.parametrize("name", ["adam", "noisy_sgd", "cocob", pytest.param("lbfgs", marks=pytest.mark.slow)])
def test_lanes_equal_runs_alone(name, x64, key):
    """Also where the state holds random keys, and a memory of several iterates."""
    final = lambda rate: run(problems.rosenbrock(), getattr(optimizers, name)(rate), steps=20, key=key).params
    rates = jnp.array([1e-4, 1e-3, 2e-3])
    np.testing.assert_allclose(jax.vmap(final)(rates), jnp.stack([final(r) for r in rates]), rtol=1e-10)
