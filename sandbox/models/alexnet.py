"""AlexNet in flax: five convolutions and three dense layers, 60,965,224 parameters in the form for two processors.

Imported by those who ask for it, since flax comes with it: `from sandbox.models import alexnet`.
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from sandbox.models.convolution import conv_general_dilated

SIDE, CLASSES = 227, 1000
ONES = nn.initializers.ones  # biases from which rectifiers start alive


class AlexNet(nn.Module):
    """Pictures to scores of classes (Krizhevsky, Sutskever & Hinton 2012).

    Convolutions 2, 4 and 5 see only the half of the channels that lay on their own processor: two groups. Weights start
    as N(0, 0.01²), biases as the paper has them. `train` turns on dropout, which takes its key from "dropout".
    """

    classes: int = CLASSES

    @nn.compact
    def __call__(self, x: Float[Array, "batch 227 227 3"], *, train: bool = False) -> Float[Array, "batch classes"]:
        start = nn.initializers.normal(0.01)
        conv = partial(nn.Conv, kernel_init=start, conv_general_dilated=conv_general_dilated)
        dense = partial(nn.Dense, kernel_init=start)
        drop = nn.Dropout(0.5, deterministic=not train)

        x = pool(normalise(nn.relu(conv(96, (11, 11), 4, "VALID")(x))))
        x = pool(normalise(nn.relu(conv(256, (5, 5), feature_group_count=2, bias_init=ONES)(x))))
        x = nn.relu(conv(384, (3, 3))(x))
        x = nn.relu(conv(384, (3, 3), feature_group_count=2, bias_init=ONES)(x))
        x = pool(nn.relu(conv(256, (3, 3), feature_group_count=2, bias_init=ONES)(x)))
        x = x.reshape(len(x), -1)
        x = drop(nn.relu(dense(4096, bias_init=ONES)(x)))
        x = drop(nn.relu(dense(4096, bias_init=ONES)(x)))
        return dense(self.classes)(x)


def normalise(a: Float[Array, "batch height width channels"]) -> Float[Array, "batch height width channels"]:
    """aᵢ / (2 + 10⁻⁴ Σⱼ aⱼ²)^¾ over the five channels |j − i| ≤ 2 of the same pixel (their section 3.3)."""
    nearby = jax.lax.reduce_window(a**2, 0.0, jax.lax.add, (1, 1, 1, 5), (1, 1, 1, 1), "SAME")
    return a / (2 + 1e-4 * nearby) ** 0.75


def pool(x: Float[Array, "batch height width channels"]) -> Float[Array, "batch half_height half_width channels"]:
    """The largest of 3 × 3 pixels, every second pixel: neighbours overlap (their section 3.4)."""
    return nn.max_pool(x, (3, 3), (2, 2))


def parameters(classes: int = CLASSES) -> int:
    """How many parameters there are, of which none is made."""
    picture = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.float32)
    shapes = jax.eval_shape(AlexNet(classes).init, jax.random.key(0), picture)
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))
