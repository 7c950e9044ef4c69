"""Trainability: does a run end below where it began, and how soon (Sohl-Dickstein 2024)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from sandbox.optimizers.base import Optimizer, treewise
from sandbox.optimizers.gradient import Nothing
from sandbox.types import Params


class Trained(NamedTuple):
    """The verdict on a run, and a shade for its place on a map."""

    converged: Bool[Array, ""]
    shade: Float[Array, ""]  # small where the verdict was clear at once


def trained(loss: Float[Array, " steps"], last: int = 20) -> Trained:
    """A run has converged when the mean of its last losses is below the first one; NaN and infinity never are.

    shade = Σ ℓₖ/ℓ₀ of a run that converged, the area under its curve, and Σ ℓ₀/ℓₖ of one that did not, where a loss
    that is not finite, and so larger than any, adds nothing (Sohl-Dickstein 2024, appendix).
    """
    ratio = loss / loss[0]
    converged = jnp.mean(ratio[-last:]) < 1  # False for NaN
    inverse = jnp.where(jnp.isfinite(ratio), 1 / ratio, 0)
    return Trained(converged, jnp.sum(jnp.where(converged, ratio, inverse)))


def rates(each: Params) -> Optimizer:
    """Gradient descent with a rate for each leaf, x ← x − ηₓ ∇ₓf: `each` is a tree like the parameters."""

    def update(t: Array, g: Params, memory: Nothing, x: Params) -> tuple[Params, Nothing]:
        return jax.tree.map(lambda rate, g: -rate * g, each, g), memory

    return treewise(lambda x: Nothing(), update)
