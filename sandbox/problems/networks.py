"""Networks as problems: classes or numbers from features by perceptrons, classes from pictures by convolutions.

The data is kept in read-only NumPy float64 and takes the dtype of the parameters when a loss is traced. A network is
given its batch with the examples innermost, one per column.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike

from sandbox import losses, models
from sandbox.data.bundled import load_diabetes, load_digits
from sandbox.models.mlp import Activation
from sandbox.problems.examples import FEATURES, PICTURES, Examples, coded, distinct, frozen, held_out, inputs, real
from sandbox.problems.problem import Facts, Problem, average, nothing
from sandbox.problems.supervised import explained, half_squared_error
from sandbox.types import Array, Key, Metrics, Params, Scalar

Apply = Callable[[Params, Array], Array]  # inputs with the examples innermost → scores (classes, examples), or numbers
PIECE = 2048  # examples that go through a network at a time: its layers hold many times what the pictures take


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


def mlp_regression(
    X: ArrayLike,
    y: ArrayLike,
    hidden: Sequence[int] = (64,),
    activation: Activation = "relu",
    *,
    X_test: ArrayLike | None = None,
    y_test: ArrayLike | None = None,
) -> Problem:
    """(1/2n) ‖y − f(X)‖², f a multilayer perceptron with one linear output: least squares where `hidden` is empty."""
    models.mlp.resolve(activation)
    features, targets = inputs(X, y)
    train, test = Examples(features, frozen(real("y", targets))), held_out(features, X_test, y_test, real)
    sizes = (features.shape[1], *hidden, 1)
    apply = lambda params, x: models.mlp.apply(params, x, activation)[0]
    init, loss = lambda key: models.mlp.init(key, sizes, activation), lambda z, y: jax.vmap(half_squared_error)(z, y)
    return _network("mlp_regression", init, apply, loss, explained, train, test)


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


def shifted(problem: Problem, reach: int = 1) -> Problem:
    """The same pictures anew in every step, each by up to `reach` pixels away along both sides (LeCun et al. 1998).

    What is pushed over an edge is lost, and zeros come in. Without a key the loss sees the pictures where they are.
    """
    if not isinstance(problem.data, Examples) or problem.data.X.ndim < 3:
        raise ValueError(f"{problem.name}: its data are no pictures, (examples, height, width), that could be moved")
    if reach < 0:
        raise ValueError(f"reach={reach}: expected a number of pixels, 0 or more")

    def loss(params: Params, batch: Examples, key: Key | None) -> Scalar:
        if key is None:
            return problem.loss(params, batch, key)
        draw, rest = jax.random.split(key)
        corners = jax.random.randint(draw, (len(batch.X), 2), 0, 2 * reach + 1)
        edges = [(reach, reach)] * 2 + [(0, 0)] * (batch.X.ndim - 3)

        def moved(picture: Array, corner: Array) -> Array:
            start = (*corner, *[0] * (batch.X.ndim - 3))
            return jax.lax.dynamic_slice(jnp.pad(picture, edges), start, picture.shape)

        return problem.loss(params, batch._replace(X=jax.vmap(moved)(jnp.asarray(batch.X), corners)), rest)

    return replace(problem, loss=loss)


def diabetes_mlp(hidden: Sequence[int] = (16,), activation: Activation = "tanh") -> Problem:
    """A multilayer perceptron with a linear output on the diabetes data, whose targets are standardised for it."""
    split = load_diabetes()
    standard = lambda y: (y - split.y.mean()) / split.y.std()
    y, y_test = standard(split.y), standard(split.y_test)
    problem = mlp_regression(split.X, y, hidden, activation, X_test=split.X_test, y_test=y_test)
    return replace(problem, name="diabetes_mlp")


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
    def metrics(z: Array, y: Array) -> Metrics:
        return {"accuracy": jnp.mean(jnp.argmax(z, 0) == y, dtype=z.dtype)}

    return _network(name, init, apply, losses.softmax_cross_entropy, metrics, train, test)


def _piecewise(forward: Callable[[Array], Array], x: Array) -> Array:
    """forward(x), whose last axis is that of the examples, piece after piece; a gradient computes each piece again."""
    whole = len(x) // PIECE * PIECE
    if len(x) <= PIECE:
        return forward(x)
    pieces = jax.lax.map(jax.checkpoint(forward), x[:whole].reshape(-1, PIECE, *x.shape[1:]))
    z = jnp.moveaxis(pieces, 0, -2).reshape(*pieces.shape[1:-1], whole)
    return z if whole == len(x) else jnp.concatenate([z, forward(x[whole:])], axis=-1)


def _network(
    name: str,
    init: Callable[[Key], Params],
    apply: Apply,
    loss: Callable[[Array, Array], Array],
    metrics: Callable[[Array, Array], Metrics],
    train: Examples,
    test: Examples | None,
) -> Problem:
    def outputs_and_targets(params: Params, batch: Examples) -> tuple[Array, Array]:
        x, y = jnp.asarray(batch.X, jax.tree.leaves(params)[0].dtype), jnp.asarray(batch.y)
        y = y if jnp.issubdtype(y.dtype, jnp.integer) else y.astype(x.dtype)
        return _piecewise(lambda x: apply(params, jnp.moveaxis(x, 0, -1)), x), y

    def evaluate(params: Params) -> Metrics:
        assert test is not None
        z, y = outputs_and_targets(jax.tree.map(jnp.asarray, params), test)
        return {"loss": jnp.mean(loss(z, y)), **metrics(z, y)}

    return Problem(
        name=name,
        init=init,
        loss=partial(average, lambda params, batch: loss(*outputs_and_targets(params, batch))),
        data=train,
        evaluate=nothing if test is None else evaluate,
        facts=Facts(convex=False),
    )
