"""The edge of stability: how sharp the ground may be for a method, and a record of how sharp it is along a run.

On a quadratic of curvature λ a method with the learning rate η diverges where λ is above its threshold. Trained with
the full batch, networks sharpen up to it and then stay there (Cohen et al. 2021; of adaptive methods, 2022).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from sandbox import theory, tree
from sandbox.engine import Info
from sandbox.landscape.curvature import eigenpairs, hessian, preconditioned
from sandbox.types import Array, Metrics, Params, Scalar


def gradient_descent_threshold(learning_rate: ArrayLike) -> Array:
    """2/η: of ηλ, theory.gradient_descent_cliff with the other factor given."""
    return theory.gradient_descent_cliff(learning_rate)


def heavy_ball_threshold(learning_rate: ArrayLike, momentum: ArrayLike) -> Array:
    """(2 + 2β)/η."""
    return theory.heavy_ball_cliff(learning_rate, momentum)


def nesterov_threshold(learning_rate: ArrayLike, momentum: ArrayLike) -> Array:
    """(2 + 2β)/(η(1 + 2β))."""
    return theory.nesterov_cliff(learning_rate, momentum)


def adam_threshold(learning_rate: ArrayLike, b1: ArrayLike) -> Array:
    """(2 + 2β₁)/((1 − β₁)η), of the preconditioned sharpness; of EMA momentum, of the sharpness."""
    return theory.ema_momentum_cliff(learning_rate, b1)


def sam_threshold(learning_rate: ArrayLike, rho: ArrayLike, gradient_norm: ArrayLike) -> Array:
    """(‖g‖/2ρ)(√(1 + 8ρ/(η‖g‖)) − 1), where SAM climbs by ρ along g/‖g‖ (Long & Bartlett 2024); 2/η for ρ = 0."""
    # The same without a difference that loses digits, and without a division by ρ.
    eta, climb = jnp.asarray(learning_rate, float), jnp.asarray(rho, float) / jnp.asarray(gradient_norm, float)
    return 4 / (eta * (1 + jnp.sqrt(1 + 8 * climb / eta)))


def edge_of_stability(
    preconditioner: Callable[[Info], Params] | None = None, *, largest: int = 1, basis: int = 12, tol: float = 1e-3
) -> Callable[[Info], Metrics]:
    """A record for `run`: loss, sharpness, and alignment |⟨g, v⟩|/‖g‖ of the gradient with the sharpest direction v.

    With a preconditioner, P as a function of what the step knows, also preconditioned_sharpness, the largest eigenvalue
    of P^(−½) ∇²f P^(−½); with `largest` above one, so many eigenvalues. f and its gradient are those of the objective
    on all data. One row takes 12 to some 30 products with the Hessian: `run(…, record=edge_of_stability(), every=100)`
    makes them at every 100th step only. The search starts from the gradient, along which a run at the edge goes to and
    fro, and from a draw that is always the same.
    """

    def record(info: Info) -> Metrics:
        options: dict[str, Any] = {"key": jax.random.key(0), "basis": basis, "tol": tol}
        objective = lambda x: info.problem.objective(x, key=info.key)
        loss, gradient = jax.value_and_grad(objective)(info.params)
        product = hessian(objective, info.params)
        found = eigenpairs(product, info.params, largest, start=gradient, **options)
        v = jax.tree.map(lambda x: x[0], found.vectors)
        norm = tree.norm(gradient)
        alignment = jnp.abs(tree.dot(gradient, v)) / jnp.where(norm > 0, norm, 1)
        row = {"loss": loss, "sharpness": found.values[0], "alignment": alignment}
        if largest > 1:
            row["eigenvalues"] = found.values
        if preconditioner is None:
            return row
        seen = preconditioned(product, preconditioner(info))
        values = eigenpairs(seen, info.params, start=gradient, **options).values
        return row | {"preconditioned_sharpness": values[0]}

    return record


def adam_preconditioner(b1: Scalar = 0.9, b2: Scalar = 0.999, eps: Scalar = 1e-8) -> Callable[[Info], Params]:
    """P = (1 − β₁ᵗ)(√v̂ + ε), by which this step of Adam divides its average of gradients (Cohen et al. 2022).

    Of any method whose state holds one `nu` like the params, ours or Optax's.
    """

    def preconditioner(info: Info) -> Params:
        import optax

        t = info.step + 1
        nu = optax.tree.get(info.state, "nu")
        now = jax.tree.map(lambda nu, g: (b2 * nu + (1 - b2) * g**2) / (1 - b2**t), nu, info.grads)
        return jax.tree.map(lambda v: (1 - b1**t) * (jnp.sqrt(v) + eps), now)

    return preconditioner
