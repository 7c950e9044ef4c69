"""Models against NumPy: one example and a batch of columns are the same function."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sandbox.models import linear, mlp


@pytest.mark.parametrize("outputs", [None, 3])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_linear_model(outputs, fit_intercept, x64):
    rng = np.random.default_rng(0)
    shapes = jax.tree.map(jnp.shape, linear.init(4, outputs, fit_intercept=fit_intercept), is_leaf=lambda a: False)
    params = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    assert set(params) == ({"w", "b"} if fit_intercept else {"w"})
    X = rng.standard_normal((5, 4))
    expected = X @ params["w"].T + params.get("b", 0.0)
    np.testing.assert_allclose(linear.apply(params, X.T).T, expected, rtol=1e-13)
    np.testing.assert_allclose([linear.apply(params, x) for x in X], expected, rtol=1e-13)


@pytest.mark.parametrize("shape", [(4,), (4, 3)], ids=["one example", "a batch"])
def test_the_product_has_the_derivatives_of_a_matrix_product(shape, x64):
    w, x = (jax.random.normal(jax.random.key(n), size) for n, size in enumerate([(2, 4), shape]))
    through = lambda multiply: lambda w, x: jnp.sum(jnp.sin(multiply(w, jnp.tanh(x))))
    ways = jax.grad, jax.jacfwd, jax.hessian, lambda f, n: jax.jacrev(jax.jacrev(f, n), n)
    for way in ways:
        for arguments in (0, 1, (0, 1)):  # by one alone, the other's tangent is a symbolic zero
            ours, exact = (way(through(f), arguments)(w, x) for f in (linear.product, jnp.matmul))
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-14), ours, exact)
    both = [
        jax.vmap(jax.grad(through(f), (0, 1)), (0, None))(jnp.stack([w, -w]), x) for f in (linear.product, jnp.matmul)
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-14), *both)


def test_the_linear_model_starts_at_zero():
    assert all((leaf == 0).all() for leaf in linear.init(3, 2).values())


@pytest.mark.parametrize(
    ("activation", "phi"),
    [("relu", lambda z: np.maximum(z, 0)), (jnp.tanh, np.tanh), ("sigmoid", lambda z: 1 / (1 + np.exp(-z)))],
)
def test_the_multilayer_perceptron(activation, phi, key, x64):
    params = mlp.init(key, (4, 6, 5, 3), activation)
    params = jax.tree.map(lambda a: a + 0.1, params)  # biases too
    X = np.random.default_rng(1).standard_normal((7, 4))
    h = X.T
    for k, layer in enumerate(params):
        h = np.asarray(layer["w"]) @ h + np.asarray(layer["b"])[:, None]
        h = phi(h) if k < 2 else h
    np.testing.assert_allclose(mlp.apply(params, X.T, activation), h, rtol=1e-12)
    one_by_one = jax.vmap(lambda x: mlp.apply(params, x, activation))(jnp.asarray(X))
    np.testing.assert_allclose(one_by_one.T, h, rtol=1e-12)


@pytest.mark.parametrize(
    ("activation", "variance"), [("relu", 2 / 200), (jax.nn.relu, 2 / 200), ("tanh", 2 / 700), (jnp.tanh, 2 / 700)]
)
def test_initial_weights_have_the_variance_of_he_or_of_glorot(activation, variance, key):
    (layer,) = mlp.init(key, (200, 500), activation)
    np.testing.assert_allclose(np.var(layer["w"]), variance, rtol=5 * np.sqrt(2 / layer["w"].size))
    assert (layer["b"] == 0).all()


def test_layers_start_differently(key):
    first, second = mlp.init(key, (5, 5, 5))
    assert not np.array_equal(first["w"], second["w"])


def test_impossible_networks_are_refused(key):
    with pytest.raises(ValueError, match="expected features, hidden widths and outputs"):
        mlp.init(key, (4,))
    with pytest.raises(ValueError, match="activation='rleu': expected a function, or one of relu"):
        mlp.init(key, (4, 2), "rleu")
