"""Weight matching: the order of one network's hidden units that brings it nearest to another.

Networks whose hidden units are in another order compute the same. Git Re-Basin (Ainsworth, Hayase & Srinivasa 2023,
algorithm 1) looks for the permutations P that maximise Σₗ ⟨Aₗ, Pₗ Bₗ Pₗ₋₁ᵀ⟩ + ⟨aₗ, Pₗ bₗ⟩, of all layers (Aₗ, aₗ) and
(Bₗ, bₗ): which is to minimise the distance. With all but one fixed this is an assignment problem.
"""

from collections.abc import Sequence
from typing import TypeAlias

import jax
import numpy as np
from jaxtyping import Float, Int

from sandbox.types import Params

Order: TypeAlias = Int[np.ndarray, " units"]


def permute(params: Params, orders: Sequence[Order]) -> Params:
    """Layers [{"w", "b"}, …] as in `models.mlp` that compute the same: hidden unit i is what orders[l][i] was."""
    layers = [dict(layer) for layer in params]
    for hidden, order in enumerate(orders):
        own, following = layers[hidden], layers[hidden + 1]
        layers[hidden] = {name: leaf[np.asarray(order)] for name, leaf in own.items()}
        layers[hidden + 1] = following | {"w": following["w"][:, np.asarray(order)]}
    return layers


def match(reference: Params, params: Params, *, seed: int = 0, rounds: int = 100) -> list[Order]:
    """Orders such that permute(params, orders) is near the reference: layer after layer the best, until none is better.

    Of one hidden layer this is the optimum; of more a local one, which depends on the seed of the order of the layers,
    but for a copy of the reference in another order, which is found.
    Raises ValueError for parameters that are not the layers of a perceptron, or unlike the reference.
    """
    from scipy.optimize import linear_sum_assignment

    a, b = _layers(reference), _layers(params)
    if jax.tree.map(np.shape, a) != jax.tree.map(np.shape, b):
        raise ValueError("the networks have layers of different sizes: only units of equal layers can be matched")
    best_of = lambda gain: linear_sum_assignment(gain, maximize=True)[1]
    orders: list[Order] = []
    # The paper starts from no permutation, and may end in a local optimum even for a copy. From the inputs on, each
    # layer matched by what comes into it, a copy is found at once; to go on from there can only improve.
    for hidden in range(len(b) - 1):
        orders.append(best_of(_incoming(a, b, orders, hidden)))
    rng = np.random.default_rng(seed)
    for _ in range(rounds):
        improved = False
        for hidden in rng.permutation(len(orders)):
            gain = _gain(a, b, orders, hidden)
            best = best_of(gain)
            now, then = (gain[np.arange(len(gain)), order].sum() for order in (orders[hidden], best))
            if then > now + 1e-12 * abs(gain).sum():  # not for rounding's sake, which could go on for ever
                orders[hidden], improved = best, True
        if not improved:
            break
    return orders


def _incoming(a: list, b: list, orders: list[Order], hidden: int) -> Float[np.ndarray, "units units"]:
    """What the weights into this layer add to the inner product where its unit i is unit j of the other network's."""
    into = b[hidden]["w"] if hidden == 0 else b[hidden]["w"][:, orders[hidden - 1]]
    return a[hidden]["w"] @ into.T + np.outer(a[hidden]["b"], b[hidden]["b"])


def _gain(a: list, b: list, orders: list[Order], hidden: int) -> Float[np.ndarray, "units units"]:
    """The same of the weights into it and out of it."""
    out = b[hidden + 1]["w"] if hidden + 1 == len(orders) else b[hidden + 1]["w"][orders[hidden + 1]]
    return _incoming(a, b, orders, hidden) + a[hidden + 1]["w"].T @ out


def _layers(params: Params) -> list[dict[str, np.ndarray]]:
    """The layers in double precision; a layer without a bias has one of 0."""
    sound = isinstance(params, list) and all(
        isinstance(layer, dict) and np.ndim(layer.get("w", 0)) == 2 for layer in params
    )
    if not sound or not params:
        raise ValueError("expected the layers of a perceptron, [{'w': (out, in), 'b': (out,)}, …], as in models.mlp")
    wide = lambda x: np.asarray(x, np.float64)
    return [{"w": wide(layer["w"]), "b": wide(layer.get("b", np.zeros(len(layer["w"]))))} for layer in params]
