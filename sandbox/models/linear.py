"""The linear model: scores w·x + b."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from sandbox.types import Params


def init(features: int, outputs: int | None = None, *, fit_intercept: bool = True) -> Params:
    """w = 0 and b = 0: a convex objective needs no luck.

    outputs=None gives one score, w of shape (features,); else w is (outputs, features) and b (outputs,).
    """
    shape = () if outputs is None else (outputs,)
    params = {"w": jnp.zeros((*shape, features))}
    return params | {"b": jnp.zeros(shape)} if fit_intercept else params


def apply(params: Params, x: Float[Array, " features *batch"]) -> Float[Array, "*outputs_batch"]:
    """w @ x + b, of one example (features,) or of a batch with one example per column (features, batch)."""
    scores = jnp.asarray(params["w"]) @ x
    if "b" not in params:
        return scores
    bias = jnp.asarray(params["b"])
    return scores + bias.reshape(bias.shape + (1,) * (scores.ndim - bias.ndim))
