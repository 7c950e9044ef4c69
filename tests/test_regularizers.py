"""A prox is what minimises r(z) + ‖z − x‖²/(2 step): found by brute force, and by its optimality condition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree
from scipy.optimize import minimize_scalar

from sandbox import regularizers

STRENGTHS = st.floats(0, 5)
POINTS = st.lists(st.floats(-10, 10), min_size=4, max_size=4).map(np.array)
STEPS = st.floats(0.01, 10)
few = settings(deadline=None, max_examples=30)

SCALAR = {  # r of one number, as written in a textbook
    "l2": (lambda a, b: regularizers.l2(a), lambda z, a, b: a / 2 * z**2),
    "l1": (lambda a, b: regularizers.l1(a), lambda z, a, b: a * abs(z)),
    "elastic_net": (regularizers.elastic_net, lambda z, a, b: a * abs(z) + b / 2 * z**2),
}


@pytest.mark.parametrize("name", SCALAR)
@few
@given(x=POINTS, a=STRENGTHS, b=STRENGTHS, step=STEPS)
def test_the_prox_minimises_its_definition(name, x, a, b, step):
    build, r = SCALAR[name]
    with jax.enable_x64(True):
        regularizer = build(a, b)
        z = np.asarray(regularizer.prox(jnp.asarray(x), step))
        np.testing.assert_allclose(regularizer(jnp.asarray(x)), sum(r(xi, a, b) for xi in x), rtol=1e-13, atol=1e-300)
    for xi, zi in zip(x, z, strict=True):
        cost = lambda z, xi=xi: r(z, a, b) + (z - xi) ** 2 / (2 * step)
        best = minimize_scalar(cost, bounds=(-11, 11), method="bounded", options={"xatol": 1e-12})
        assert cost(zi) <= best.fun + 1e-12
        assert abs(zi - best.x) <= 1e-5


@few
@given(x=POINTS, strength=st.floats(0.1, 3), step=STEPS)
def test_soft_thresholding_meets_its_optimality_condition(x, strength, step):
    """(x − z)/step is in strength · ∂|z|: equal to strength · sign(z) off zero, at most strength at zero."""
    with jax.enable_x64(True):
        z = np.asarray(regularizers.l1(strength).prox(jnp.asarray(x), step))
    subgradient = (x - z) / step
    np.testing.assert_allclose(subgradient[z != 0], strength * np.sign(z[z != 0]), rtol=1e-11, atol=1e-11 / step)
    assert (np.abs(subgradient[z == 0]) <= strength * (1 + 1e-12)).all()


def bisected_projection(x):
    """max(x − τ, 0) with τ found by halving, which needs neither a sort nor a formula."""
    low, high = x.min() - 1, x.max()
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.maximum(x - middle, 0).sum() > 1 else (low, middle)
    return np.maximum(x - high, 0)


@few
@given(x=POINTS, shift=st.sampled_from([0.0, 1e6]))
def test_the_projection_onto_the_simplex(x, shift):
    with jax.enable_x64(True):
        simplex = regularizers.simplex()
        z = simplex.prox(jnp.asarray(x + shift), 0.3)
        assert simplex(z) == 0
    np.testing.assert_allclose(z, bisected_projection(x), atol=1e-14 + 1e-15 * shift)


def test_the_indicators_know_inside_from_outside():
    simplex, box = regularizers.simplex(), regularizers.box(-1.0, 2.0)
    assert simplex(jnp.array([0.25, 0.75])) == 0
    assert simplex(jnp.array([0.25, 0.76])) == simplex(jnp.array([-0.25, 1.25])) == np.inf
    assert box(jnp.array([-1.0, 2.0])) == 0
    assert box(jnp.array([-1.1, 2.0])) == box(jnp.array([0.0, 2.1])) == np.inf


@pytest.mark.parametrize("size", [10, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 10_000))])
def test_a_projection_is_inside_in_single_precision(size, key):
    simplex = regularizers.simplex()
    assert simplex(simplex.prox(100 * jax.random.normal(key, (size,)), 1.0)) == 0


def test_the_box_clips_at_the_bounds_of_each_coordinate():
    box = regularizers.box(np.array([0.0, -1.0]), np.array([1.0, 5.0]))
    np.testing.assert_array_equal(box.prox(jnp.array([3.0, -3.0]), 7.0), [1, -1])


@pytest.mark.parametrize(
    "regularizer",
    [regularizers.l2(0.3), regularizers.l1(0.3), regularizers.elastic_net(0.3, 0.2), regularizers.box(-1.0, 1.0)],
    ids=["l2", "l1", "elastic_net", "box"],
)
def test_a_tree_is_one_long_vector(regularizer, key):
    tree = {"a": jax.random.normal(key, (3, 2)), "b": [jnp.array(0.4)]}
    flat, unravel = ravel_pytree(tree)
    np.testing.assert_allclose(regularizer(tree), regularizer(flat), rtol=1e-6)
    moved = regularizer.prox(tree, 0.5)
    np.testing.assert_allclose(ravel_pytree(moved)[0], regularizer.prox(flat, 0.5), rtol=1e-6)
    assert jax.tree.structure(moved) == jax.tree.structure(unravel(flat))


def test_each_leaf_has_its_own_simplex():
    simplex = regularizers.simplex()
    moved = simplex.prox({"a": jnp.array([3.0, 0.0]), "b": jnp.array([1.0, 1.0])}, 1.0)
    np.testing.assert_array_equal(moved["a"], [1, 0])
    np.testing.assert_array_equal(moved["b"], [0.5, 0.5])


def test_strengths_may_be_swept():
    x = jnp.array([1.0, -3.0])
    swept = jax.vmap(lambda s, step: regularizers.elastic_net(s, s).prox(x, step))(jnp.array([0.5, 2.0]), jnp.ones(2))
    np.testing.assert_allclose(swept, [[1 / 3, -5 / 3], [0, -1 / 3]], rtol=1e-6)


def test_only_one_entry_is_penalised():
    penalty = regularizers.on("w", regularizers.l1(2.0))
    params = {"w": jnp.array([1.0, -5.0]), "b": jnp.array(9.0)}
    assert penalty(params) == 12
    moved = penalty.prox(params, 1.0)
    np.testing.assert_array_equal(moved["w"], [0, -3])
    assert moved["b"] == 9


def test_the_subgradient_of_the_absolute_value_at_zero_is_zero():
    np.testing.assert_array_equal(jax.grad(regularizers.l1(2.0))(jnp.array([-1.0, 0.0, 1.0])), [-2, 0, 2])


def test_half_precision_stays_half_precision():
    assert (
        regularizers.elastic_net(jnp.float32(0.1), jnp.float32(0.1)).prox(jnp.ones(3, jnp.bfloat16), 1.0).dtype
        == jnp.bfloat16
    )
