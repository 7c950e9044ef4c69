"""Losses of one example: loss(prediction, target) → scalar, stable for any finite prediction."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, Shaped

from sandbox.types import Scalar


def squared_error(prediction: Shaped[ArrayLike, "..."], target: Shaped[ArrayLike, "..."]) -> Float[Array, ""]:
    """‖p − t‖². Without the factor ½, which belongs to the problem: squared_error(20., 25.) is 25."""
    return jnp.sum(jnp.square(jnp.subtract(prediction, target)))


def absolute_error(prediction: Shaped[ArrayLike, "..."], target: Shaped[ArrayLike, "..."]) -> Float[Array, ""]:
    """‖p − t‖₁, with subgradient 0 where p = t."""
    residual = jnp.subtract(prediction, target)
    return jnp.sum(residual * jnp.sign(residual))  # jnp.abs has the slope 1 at 0


def huber(
    prediction: Shaped[ArrayLike, "..."], target: Shaped[ArrayLike, "..."], delta: Scalar = 1.0
) -> Float[Array, ""]:
    """Σ ½r² where |r| ≤ δ, else δ(|r| − δ/2); r = p − t (Huber 1964).

    Written as c (r − c/2) with c = r clipped to [−δ, δ], which never squares a large residual.
    """
    residual = jnp.subtract(prediction, target)
    clipped = jnp.clip(residual, -delta, delta)
    return jnp.sum(clipped * (residual - clipped / 2))


def binary_cross_entropy(logit: Float[ArrayLike, "..."], target: Shaped[ArrayLike, "..."]) -> Float[Array, ""]:
    """−t log σ(z) − (1 − t) log(1 − σ(z)), for a logit z and a target t in [0, 1].

    t log(1 + e⁻ᶻ) + (1 − t) log(1 + eᶻ): neither term overflows, and small losses keep their digits.
    """
    z = jnp.asarray(logit)
    t = jnp.asarray(target, z.dtype)
    return jnp.sum(t * jax.nn.softplus(-z) + (1 - t) * jax.nn.softplus(z))


def softmax_cross_entropy(
    logits: Float[ArrayLike, " classes *batch"], label: Int[ArrayLike, "*batch"] | Float[ArrayLike, " classes *batch"]
) -> Float[Array, "*batch"]:
    """−Σₖ qₖ log softmax(z)ₖ, where q is a vector of probabilities or, for an integer label k, the unit vector eₖ.

    Of one example, or of a batch with one example per column. A class of probability 0 adds nothing, even where
    zₖ = −∞. A label outside 0 … classes − 1 has no unit vector: NaN.
    """
    z, q = jnp.asarray(logits), jnp.asarray(label)
    z = z - jax.lax.stop_gradient(jnp.max(z, 0))  # before the difference with log Σ eᶻ, or small losses lose digits
    log_sum = jnp.log(jnp.sum(jnp.exp(z), 0))
    if q.ndim == z.ndim:
        # A class of probability 0 is cut, not multiplied: XLA then takes the logarithm once, not once for each class.
        return jnp.sum(jnp.where(q != 0, q.astype(z.dtype) * (log_sum - z), 0), 0)
    # A sum over eₖ, not z[k]: the gradient of a gather is a scatter, one example after another.
    classes = jnp.arange(len(z)).reshape(-1, *[1] * q.ndim)
    own = jnp.sum(jnp.where(classes == q, z, 0), 0)
    return log_sum - jnp.where((q >= 0) & (q < len(z)), own, jnp.nan)


def hinge(score: Float[ArrayLike, ""], target: Shaped[ArrayLike, ""]) -> Float[Array, ""]:
    """max(0, 1 − t s), for a target t of −1 or +1; subgradient 0 at the kink t s = 1."""
    s = jnp.asarray(score)
    return jax.nn.relu(1 - jnp.asarray(target, s.dtype) * s)


def squared_hinge(score: Float[ArrayLike, ""], target: Shaped[ArrayLike, ""]) -> Float[Array, ""]:
    """max(0, 1 − t s)², for a target t of −1 or +1."""
    return jnp.square(hinge(score, target))


def kl_divergence(p: Float[ArrayLike, " outcomes"], q: Float[ArrayLike, " outcomes"]) -> Float[Array, ""]:
    """KL(p ‖ q) = Σ pᵢ log(pᵢ / qᵢ) of two probability vectors (Kullback & Leibler 1951).

    0 log 0 = 0, with gradient 0; infinite where q excludes what p allows.
    """
    p, q = jnp.asarray(p), jnp.asarray(q)
    possible = p > 0
    inside = jnp.where(possible, p, 1)  # so that log never meets a 0 that is then masked: its gradient would be NaN
    return jnp.sum(jnp.where(possible, p * (jnp.log(inside) - jnp.log(jnp.where(possible, q, 1))), 0))
