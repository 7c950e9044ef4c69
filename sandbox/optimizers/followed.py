"""What may follow a step: the prox of a penalty, or the way back into a feasible set."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sandbox.optimizers.base import Optimizer, advance, at, checked, next_count, required, step_size_of, transformation
from sandbox.types import Array, Params, Scalar, Schedule


class Following(NamedTuple):
    """The state of an optimizer whose steps are followed by a map of the parameters."""

    count: Array  # type: ignore[assignment]  # of updates: tuple.count is not missed
    inner: Any


def proximal(
    optimizer: Optimizer,
    prox: Callable[[Params, Scalar], Params],
    step_size: Scalar | Schedule | None = None,
) -> Optimizer:
    """x ← prox(x + u, η): the optimizer's step u on the smooth part, then the prox of the rest (Lions & Mercier 1979).

    prox(params, step) = argmin_z r(z) + ‖z − params‖² / (2 step). The gradients must be those of the smooth part alone.
    The step is what multiplies a lasting gradient, so that the fixed points are the minimisers: the learning rate
    of this update for gradient descent and an average of gradients, η / (1 − μ) for heavy ball and Nesterov. A
    method that rescales coordinates (AdaGrad, Adam, …) would need the prox in its own metric: with η, where it
    comes to rest is not the minimiser. `step_size` gives the step of an optimizer that is not from this package, or
    another one. Raises ValueError where neither tells it.
    """
    step = step_size_of(checked(optimizer)) if step_size is None else step_size
    if step is None:
        raise ValueError(
            "proximal: this optimizer does not tell its step size, which the prox needs; "
            "expected one from sandbox.optimizers, or the number itself: proximal(optimizer, prox, step_size)"
        )
    return _followed(optimizer, lambda x, t: prox(x, at(step, t)), step)


def projected(optimizer: Optimizer, project: Callable[[Params], Params]) -> Optimizer:
    """x ← project(x + u): after every step, the nearest feasible point (Goldstein 1964; Levitin & Polyak 1966)."""
    return _followed(optimizer, lambda x, t: project(x), step_size_of(checked(optimizer)))


def _followed(optimizer: Optimizer, after: Callable[[Params, Array], Params], step_size: Any) -> Optimizer:
    """x ← after(x + u, t), as an update: after(x + u, t) − x, in the dtype of x, so that exact zeros stay exact."""

    def init(params: Params) -> Following:
        return Following(jnp.zeros((), jnp.int32), optimizer.init(params))

    def update(
        grads: Params, state: Following, params: Params = None, *, smooth_grad: Params = None, **extra: Any
    ) -> tuple[Params, Following]:
        # What follows accounts for the penalty, so the step must not: the engine tells the gradient of the loss alone.
        g = grads if smooth_grad is None else smooth_grad
        u, inner = advance(optimizer, g, state.inner, required(params), extra)
        t = next_count(state.count)
        moved = jax.tree.map(lambda u, x: x + u.astype(x.dtype), u, params)
        u = jax.tree.map(lambda z, x: (z - x).astype(x.dtype), after(moved, t), params)
        return u, Following(t, inner)

    return transformation(init, update, step_size)
