"""Gradient descent, and its momentum."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from sandbox.optimizers.base import Optimizer, at, factory, leafwise
from sandbox.types import Array, Scalar, Schedule


class Nothing(NamedTuple):
    """No memory."""


class Trace(NamedTuple):
    """A decaying sum of gradients."""

    trace: Array


class Average(NamedTuple):
    """An exponential moving average of gradients."""

    ema: Array


@factory
def gradient_descent(learning_rate: Scalar | Schedule) -> Optimizer:
    """Gradient descent (Cauchy 1847).

    x ← x − η g
    """

    def init(x):
        return Nothing()

    def update(t, g, memory, x):
        return -at(learning_rate, t) * g, memory

    return leafwise(init, update, learning_rate)


@factory
def heavy_ball(
    learning_rate: Scalar | Schedule, momentum: Scalar = 0.9, accumulator_dtype: Any | None = None
) -> Optimizer:
    """Heavy ball (Polyak 1964), as x ← x − η g + μ (x − x₋₁) with the displacement kept in units of the gradient.

    m ← μ m + g
    x ← x − η m
    """

    def init(x):
        return Trace(jnp.zeros_like(x, dtype=accumulator_dtype))

    def update(t, g, memory, x):
        m = momentum * memory.trace + g
        return -at(learning_rate, t) * m, Trace(m)

    return leafwise(init, update, _settled(learning_rate, momentum))


@factory
def nesterov(
    learning_rate: Scalar | Schedule, momentum: Scalar = 0.9, accumulator_dtype: Any | None = None
) -> Optimizer:
    """Nesterov's accelerated gradient (Nesterov 1983), in the form of Sutskever et al. 2013, seen from its lookahead.

    m ← μ m + g
    x ← x − η (μ m + g)
    """

    def init(x):
        return Trace(jnp.zeros_like(x, dtype=accumulator_dtype))

    def update(t, g, memory, x):
        m = momentum * memory.trace + g
        return -at(learning_rate, t) * (momentum * m + g), Trace(m)

    return leafwise(init, update, _settled(learning_rate, momentum))


@factory
def ema_momentum(learning_rate: Scalar | Schedule, decay: Scalar = 0.9) -> Optimizer:
    """Momentum as an average of gradients: the first moment of Adam, without its bias correction.

    m ← β m + (1 − β) g
    x ← x − η m

    Heavy ball at the rate (1 − β) η, as long as η is constant.
    """

    def init(x):
        return Average(jnp.zeros_like(x))

    def update(t, g, memory, x):
        m = decay * memory.ema + (1 - decay) * g
        return -at(learning_rate, t) * m, Average(m)

    return leafwise(init, update, learning_rate)


@factory
def sgd(
    learning_rate: Scalar | Schedule,
    momentum: Scalar | None = None,
    nesterov: bool = False,
    accumulator_dtype: Any | None = None,
) -> Optimizer:
    """Stochastic gradient descent (Robbins & Monro 1951): gradient descent, heavy ball or Nesterov on noisy gradients.

    The stochastic part is in the batches; without a momentum, `nesterov` means nothing.
    """
    if momentum is None:
        return gradient_descent(learning_rate)
    accelerated = _nesterov if nesterov else heavy_ball
    return accelerated(learning_rate, momentum, accumulator_dtype)


_nesterov = nesterov  # the argument of sgd hides the function


def _settled(learning_rate: Scalar | Schedule, momentum: Scalar) -> Schedule:
    """η / (1 − μ): under a lasting gradient g, m settles at g / (1 − μ)."""
    return lambda count: at(learning_rate, count + 1) / (1 - momentum)
