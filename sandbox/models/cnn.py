"""The convolutional network: convolutions with an activation and pooling after each, then a linear layer."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sandbox.models import linear, mlp
from sandbox.models.convolution import convolve
from sandbox.types import Key, Params

WINDOW, POOL = 3, 2  # pixels to each side


def init(
    key: Key, shape: tuple[int, int, int], channels: Sequence[int], outputs: int, activation: mlp.Activation = "relu"
) -> Params:
    """Weights and zero biases as in the multilayer perceptron; shape is that of one picture, (channels, height, width).

    A kernel of shape (out, in, 3, 3) has fan-in in · 9 and fan-out out · 9. Every layer halves height and width.
    """
    first, last = jax.random.split(key)
    depths = [shape[0], *channels]

    def kernel(key: Key, into: int, out: int) -> Params:
        area = WINDOW**2
        w = math.sqrt(mlp.variance(into * area, out * area, activation)) * jax.random.normal(key, (out, into, area))
        return {"w": w.reshape(out, into, WINDOW, WINDOW), "b": jnp.zeros(out)}

    keys = jax.random.split(first, len(channels))
    kernels = [kernel(*layer) for layer in zip(keys, depths[:-1], depths[1:], strict=True)]
    return [*kernels, *mlp.init(last, (math.prod(sizes(shape, channels)), outputs), activation)]


def sizes(shape: tuple[int, int, int], channels: Sequence[int]) -> tuple[int, int, int]:
    """Channels, height and width before the linear layer; a ValueError where nothing is left of the picture."""
    left = ((shape[0], *channels)[-1], *(side // POOL ** len(channels) for side in shape[1:]))
    if min(*left, *channels, *shape) < 1:
        raise ValueError(
            f"channels={tuple(channels)}: every layer needs a channel and halves pictures of {shape[1]}×{shape[2]}; "
            "take fewer layers"
        )
    return left


def apply(
    params: Params, x: Float[Array, "channels height width *batch"], activation: mlp.Activation = "relu"
) -> Float[Array, " outputs *batch"]:
    """h ← pool(φ(w ∗ h + b)), layer after layer, padded with zeros to the same size; then W h + b.

    x is one picture, or a batch of them with the batch innermost.
    """
    phi = mlp.resolve(activation)
    batch = x.shape[3:]
    x = x.reshape(*x.shape[:3], -1)
    for layer in params[:-1]:
        edge = WINDOW // 2
        padded = jnp.pad(x, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
        x = pool(phi(convolve(padded, layer["w"]) + layer["b"][:, None, None, None]))
    return linear.apply(params[-1], x.reshape(-1, *batch))


def pool(x: Float[Array, "channels height width batch"]) -> Float[Array, "channels half_height half_width batch"]:
    """The largest of every 2 × 2 pixels; a last odd row or column is left out."""
    channels, height, width, batch = x.shape
    x = x[:, : height // POOL * POOL, : width // POOL * POOL]
    return x.reshape(channels, height // POOL, POOL, width // POOL, POOL, batch).max((2, 4))
