"""The multilayer perceptron: linear layers with an activation between them."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sandbox.models import linear
from sandbox.types import Key, Params

Activation: TypeAlias = str | Callable[[Array], Array]  # a function, or its name in jax.nn
Initial: TypeAlias = Callable[[int, int], float]  # fan-in, fan-out → the variance of a weight

HALF_DEAD = ("relu", "leaky_relu", "elu", "celu", "gelu", "silu", "swish")  # these pass about half of the variance


def init(key: Key, sizes: Sequence[int], activation: Activation = "relu", *, initial: Initial | None = None) -> Params:
    """Normal weights, zero biases; sizes are (features, hidden …, outputs).

    `initial` is `glorot`, `he` or another variance of a weight; by default the one for the activation.
    """
    if len(sizes) < 2 or min(sizes) < 1:
        raise ValueError(f"sizes={tuple(sizes)}: expected features, hidden widths and outputs, each from 1 up")
    keys = jax.random.split(key, len(sizes) - 1)

    def layer(key: Key, fan_in: int, fan_out: int) -> Params:
        spread = variance(fan_in, fan_out, activation) if initial is None else initial(fan_in, fan_out)
        return {"w": spread**0.5 * jax.random.normal(key, (fan_out, fan_in)), "b": jnp.zeros(fan_out)}

    return [layer(*shape) for shape in zip(keys, sizes[:-1], sizes[1:], strict=True)]


def variance(fan_in: int, fan_out: int, activation: Activation) -> float:
    """That of `he` for rectifiers, that of `glorot` for the rest."""
    rectifies = getattr(resolve(activation), "__name__", "") in HALF_DEAD
    return he(fan_in, fan_out) if rectifies else glorot(fan_in, fan_out)


def glorot(fan_in: int, fan_out: int) -> float:
    """2/(fan_in + fan_out) (Glorot & Bengio 2010), also named after Xavier: a compromise of the two ways."""
    return 2 / (fan_in + fan_out)


def he(fan_in: int, fan_out: int) -> float:
    """2/fan_in (He et al. 2015): a rectifier passes half of the mean square, and this doubles it again."""
    return 2 / fan_in


def apply(
    params: Params, x: Float[Array, " features *batch"], activation: Activation = "relu"
) -> Float[Array, " outputs *batch"]:
    """h ← φ(W h + b), layer after layer; the last layer has no φ.

    x is one example (features,), or a batch with one example per column (features, batch): with the batch innermost,
    many networks side by side run about half again as fast.
    """
    phi = resolve(activation)
    for layer in params[:-1]:
        x = phi(linear.apply(layer, x))
    return linear.apply(params[-1], x)


def resolve(activation: Activation) -> Callable[[Array], Array]:
    """The function that the name means; a ValueError where jax.nn has none such."""
    if callable(activation):
        return activation
    known = ("relu", "tanh", "sigmoid", "gelu", "silu", "softplus", "elu", "leaky_relu", "identity")
    if activation not in known:
        raise ValueError(f"activation={activation!r}: expected a function, or one of {', '.join(known)}")
    return getattr(jax.nn, activation)
