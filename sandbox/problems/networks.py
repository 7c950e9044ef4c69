"""Networks as problems: classes from features by a perceptron of several layers, from pictures by convolutions.

The data is kept in read-only NumPy float64 and takes the dtype of the parameters when a loss is traced. A network is
given its batch with the examples innermost, one per column.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike

from sandbox import losses, models
from sandbox.data.bundled import load_digits
from sandbox.models.mlp import Activation
from sandbox.problems.examples import FEATURES, PICTURES, Examples, coded, distinct, frozen, held_out, inputs
from sandbox.problems.problem import Facts, Problem, nothing
from sandbox.types import Array, Key, Metrics, Params

Apply = Callable[[Params, Array], Array]  # inputs with the examples innermost → scores (classes, examples)


def mlp(
    X: ArrayLike,
    y: ArrayLike,
    hidden: Sequence[int] = (64,),
    activation: Activation = "relu",
    *,
    X_test: ArrayLike | None = None,
    y_test: ArrayLike | None = None,
) -> Problem:
    """Mean cross-entropy of a multilayer perceptron; labels of any kind, in sorted order."""
    models.mlp.resolve(activation)
    train, test, classes = _examples(X, y, X_test, y_test, FEATURES)
    sizes = (train.X.shape[1], *hidden, classes)
    init = lambda key: models.mlp.init(key, sizes, activation)
    return _classifier("mlp", init, lambda params, x: models.mlp.apply(params, x, activation), train, test)


def cnn(
    X: ArrayLike,
    y: ArrayLike,
    channels: Sequence[int] = (16, 32),
    activation: Activation = "relu",
    *,
    X_test: ArrayLike | None = None,
    y_test: ArrayLike | None = None,
) -> Problem:
    """Mean cross-entropy of a convolutional network; labels of any kind, in sorted order.

    X is (examples, height, width), or with colours last; every layer, 3×3, has as many channels as `channels` says and
    halves the picture.
    """
    models.mlp.resolve(activation)
    train, test, classes = _examples(X, y, X_test, y_test, PICTURES)
    shape = (*train.X.shape[3:], 1)[0], *train.X.shape[1:3]
    models.cnn.sizes(shape, channels)
    init = lambda key: models.cnn.init(key, shape, channels, classes, activation)

    def apply(params: Params, x: Array) -> Array:
        pictures = x[None] if x.ndim == 3 else jnp.moveaxis(x, 2, 0)
        return models.cnn.apply(params, pictures, activation)

    return _classifier("cnn", init, apply, train, test)


def digits_mlp(hidden: Sequence[int] = (64,), activation: Activation = "relu") -> Problem:
    """A multilayer perceptron on the digits: 64 pixels, hidden layers, ten classes."""
    split = load_digits()
    problem = mlp(split.X, split.y, hidden, activation, X_test=split.X_test, y_test=split.y_test)
    return replace(problem, name="digits_mlp")


def digits_cnn(channels: Sequence[int] = (16, 32), activation: Activation = "relu") -> Problem:
    """A convolutional network on the digits: 8×8 pixels, ten classes."""
    split = load_digits()
    pictures = lambda X: X.reshape(-1, 8, 8)
    problem = cnn(pictures(split.X), split.y, channels, activation, X_test=pictures(split.X_test), y_test=split.y_test)
    return replace(problem, name="digits_cnn")


def _examples(
    X: ArrayLike, y: ArrayLike, X_test: ArrayLike | None, y_test: ArrayLike | None, forms: tuple[str, ...]
) -> tuple[Examples, Examples | None, int]:
    """Training and test examples with their classes as numbers, and how many classes there are."""
    inputs_, targets = inputs(X, y, forms)
    labels = distinct(targets)
    code = lambda name, y: coded(name, y, labels).astype(np.int32)
    return Examples(inputs_, frozen(code("y", targets))), held_out(inputs_, X_test, y_test, code), len(labels)


def _classifier(
    name: str, init: Callable[[Key], Params], apply: Apply, train: Examples, test: Examples | None
) -> Problem:
    def scores(params: Params, X: ArrayLike) -> Array:
        x = jnp.asarray(X, jax.tree.leaves(params)[0].dtype)
        return apply(params, jnp.moveaxis(x, 0, -1))

    def loss(params: Params, batch: Examples) -> Array:
        z = scores(params, batch.X)
        # As unit vectors the labels lie as the scores do, one example per column, and nothing is transposed.
        targets = jax.nn.one_hot(jnp.asarray(batch.y), len(z), dtype=z.dtype, axis=0)
        return jnp.mean(jax.vmap(losses.softmax_cross_entropy, in_axes=-1)(z, targets))

    def evaluate(params: Params) -> Metrics:
        assert test is not None
        params = jax.tree.map(jnp.asarray, params)
        correct = jnp.argmax(scores(params, test.X), 0) == test.y
        return {"loss": loss(params, test), "accuracy": jnp.mean(correct, dtype=jax.tree.leaves(params)[0].dtype)}

    return Problem(
        name=name,
        init=init,
        loss=loss,
        data=train,
        evaluate=nothing if test is None else evaluate,
        facts=Facts(convex=False),
    )
