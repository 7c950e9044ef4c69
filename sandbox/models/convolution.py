"""Convolution as patches @ weights: on a CPU, inside a loop, many times as fast as the native one."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Padding = str | Sequence[tuple[int, int]]


def conv_general_dilated(
    lhs: Array,
    rhs: Array,
    window_strides: Sequence[int],
    padding: Padding,
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
    **others: Any,
) -> Array:
    """jax.lax.conv_general_dilated, and equal to it but for rounding: patches @ weights on a CPU, native elsewhere.

    XLA's convolutions lose their threads inside lax.scan on a CPU and become tens of times slower; a matrix product
    does not. For the layers of flax: `nn.Conv(16, (3, 3), conv_general_dilated=conv_general_dilated)`.
    """
    numbers = jax.lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    rank = lhs.ndim - 2
    strides, inner, outer = window_strides, lhs_dilation or (1,) * rank, rhs_dilation or (1,) * rank

    def native(lhs: Array, rhs: Array) -> Array:
        return jax.lax.conv_general_dilated(
            lhs,
            rhs,
            strides,
            padding,
            inner,
            outer,
            numbers,
            feature_group_count,
            batch_group_count,
            precision,
            preferred_element_type,
            **others,
        )

    def as_product(lhs: Array, rhs: Array) -> Array:
        batch, feature, *space = numbers.lhs_spec
        x, w = lhs.transpose(feature, *space, batch), rhs.transpose(numbers.rhs_spec)
        spread = [(n - 1) * d + 1 if n else 0 for n, d in zip(x.shape[1:-1], inner, strict=True)]
        reach = [(k - 1) * d + 1 for k, d in zip(w.shape[2:], outer, strict=True)]
        edges = jax.lax.padtype_to_pads(spread, reach, strides, padding) if isinstance(padding, str) else padding
        holes = [(low, high, d - 1) for (low, high), d in zip(edges, inner, strict=True)]
        x = jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *holes, (0, 0, 0)])
        y = convolve(x, w, strides, outer, feature_group_count, precision, preferred_element_type)
        batch, feature, *space = numbers.out_spec
        return jnp.moveaxis(y, (*range(rank + 2),), (feature, *space, batch))

    if batch_group_count != 1 or any(value is not None for value in others.values()):
        return native(lhs, rhs)
    return jax.lax.platform_dependent(lhs, rhs, cpu=as_product, default=native)


def convolve(
    x: Float[Array, "channels *space batch"],
    w: Float[Array, "features part_of_channels *window"],
    strides: Sequence[int] | None = None,
    dilation: Sequence[int] | None = None,
    groups: int = 1,
    precision: Any = None,
    dtype: Any = None,
) -> Float[Array, "features *positions batch"]:
    """y[o, p] = Σ_{c, k} w[o, c, k] x[c, p·stride + k·dilation], with no padding: N − K + 1 positions at stride 1.

    Each of `groups` parts of the channels makes its own part of the features. The batch is innermost, so that patches
    are copied in long pieces, and the sum over channels and window is one matrix product.
    """
    window, space = w.shape[2:], x.shape[1:-1]
    strides, dilation = strides or (1,) * len(window), dilation or (1,) * len(window)
    reach = [(k - 1) * d + 1 for k, d in zip(window, dilation, strict=True)]
    positions = [max(0, (n - r) // s + 1) for n, r, s in zip(space, reach, strides, strict=True)]
    if 0 in positions:
        return jnp.zeros((w.shape[0], *positions, x.shape[-1]), dtype or x.dtype)

    def patch(offset: tuple[int, ...]) -> Array:
        start = [k * d for k, d in zip(offset, dilation, strict=True)]
        stop = [b + (p - 1) * s + 1 for b, p, s in zip(start, positions, strides, strict=True)]
        return jax.lax.slice(x, (0, *start, 0), (x.shape[0], *stop, x.shape[-1]), (1, *strides, 1))

    patches = jnp.stack([patch(offset) for offset in product(*map(range, window))], axis=1)
    patches = patches.reshape(groups, -1, *positions, x.shape[-1])
    weights = w.reshape(groups, w.shape[0] // groups, -1)
    y = jnp.einsum("gof,gf...->go...", weights, patches, precision=precision, preferred_element_type=dtype)
    return y.reshape(w.shape[0], *positions, x.shape[-1])
