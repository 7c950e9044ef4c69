"""Without labels: clusters around centres, directions that explain most, a map on which neighbours stay neighbours."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from sandbox.problems.examples import FEATURES, Matrix, array, frozen
from sandbox.problems.problem import Facts, Problem
from sandbox.types import Key, Params, Scalar

HALVINGS = 64  # of the interval in which a bandwidth is sought


class Clusters(NamedTuple):
    """What a solver may exploit: every example belongs to its nearest centre, and that is best in their mean."""

    X: Matrix
    clusters: int


class Components(NamedTuple):
    """What a solver may exploit: the best directions are singular vectors of the centred examples."""

    X: Matrix  # centred
    mean: Float[np.ndarray, " features"]
    components: int


class Neighbours(NamedTuple):
    """What a solver may exploit: a matrix of probabilities that two examples are neighbours."""

    P: Float[np.ndarray, "examples examples"]
    perplexity: float


def kmeans(X: Any, clusters: int) -> Problem:
    """Σ min ‖x − c‖² over the centres c (Lloyd 1957, 1982): scikit-learn's inertia; starts are k-means++.

    Parameters are {"centres": (clusters, features)}. On a batch the sum is times n over the size of the batch.
    """
    X = array("X", X, FEATURES)
    _between("clusters", clusters, 1, len(X), "one for each example")
    n = len(X)

    def loss(params: Params, batch: Array) -> Array:
        centres = jnp.asarray(params["centres"])
        squares = squared_distances(jnp.asarray(batch, centres.dtype), centres)
        return n / len(batch) * jnp.sum(jnp.min(squares, 1))

    return Problem(
        name="kmeans",
        init=lambda key: {"centres": plus_plus(key, jnp.asarray(X, jnp.result_type(float)), clusters)},
        loss=loss,
        data=X,
        structure=Clusters(X, clusters),
        facts=Facts(convex=clusters == 1, reference="Lloyd 1982"),
    )


def pca(X: Any, components: int) -> Problem:
    """Mean ‖x̄ − WᵀW x̄‖² over W of shape (components, features), x̄ the centred examples (Pearson 1901).

    What the best plane through the mean leaves. Its minima are all orthonormal bases of one plane, and no other point
    is a local minimum (Baldi & Hornik 1989). Parameters are {"components": W}.
    """
    X = array("X", X, FEATURES)
    _between("components", components, 1, min(X.shape), "the rank that X may have")
    mean = X.mean(0)
    centred = frozen(X - mean)

    def loss(params: Params, batch: Array) -> Array:
        W = jnp.asarray(params["components"])
        rows = jnp.asarray(batch, W.dtype)
        return jnp.mean(jnp.sum((rows - rows @ W.T @ W) ** 2, 1))

    def init(key: Key) -> Params:
        return {"components": jax.random.normal(key, (components, X.shape[1])) / np.sqrt(X.shape[1])}

    structure = Components(centred, mean, components)
    return Problem(
        "pca", init, loss, data=centred, structure=structure, facts=Facts(convex=False, reference="Pearson 1901")
    )


def tsne(X: Any, perplexity: float = 30.0, dimensions: int = 2) -> Problem:
    """KL(P ‖ Q) of neighbours among examples and on a map (van der Maaten & Hinton 2008); 1,000 steps by `solve`.

    P holds Gaussian neighbourhoods whose entropy is log perplexity, made symmetric; Q ∝ 1 / (1 + ‖yᵢ − yⱼ‖²).
    Parameters are {"map": (examples, dimensions)}. The loss needs all examples at once.
    """
    X = array("X", X, FEATURES)
    n = len(X)
    if not 1 <= perplexity < n - 1:
        raise ValueError(f"perplexity={perplexity}: expected from 1 to less than {n - 1}, the neighbours of an example")
    with jax.enable_x64(True):
        p = np.asarray(neighbourhoods(np.asarray(X), float(perplexity)))
    P = frozen((p + p.T) / (2 * n))
    entropy = float(np.sum(P[P > 0] * np.log(P[P > 0])))

    def loss(params: Params, batch: Array) -> Array:
        Y = jnp.asarray(params["map"])
        if batch.shape != (n, n):
            raise ValueError(f"tsne: a batch of {len(batch)} examples; every pair counts, so leave batch_size out")
        farther = jnp.sum((Y[:, None] - Y) ** 2, -1)
        Z = jnp.sum(1 / (1 + farther)) - n  # an example is no neighbour of itself
        # Σ P log P − Σ P log Q, with log Q = −log(1 + ‖·‖²) − log Z and Σ P = 1
        return entropy + jnp.sum(jnp.asarray(batch, Y.dtype) * jnp.log1p(farther)) + jnp.log(Z)

    return Problem(
        name="tsne",
        init=lambda key: {"map": 1e-4 * jax.random.normal(key, (n, dimensions))},
        loss=loss,
        data=P,
        structure=Neighbours(P, float(perplexity)),
        facts=Facts(convex=False, reference="van der Maaten & Hinton 2008"),
    )


def squared_distances(X: Float[Array, "m features"], Z: Float[Array, "n features"]) -> Float[Array, "m n"]:
    """‖x‖² + ‖z‖² − 2 x·z of every pair of rows: a product of matrices, never below 0."""
    return jax.nn.relu(jnp.sum(X * X, 1)[:, None] + jnp.sum(Z * Z, 1) - 2 * X @ Z.T)


@partial(jax.jit, static_argnames="clusters")
def plus_plus(key: Key, X: Float[Array, "examples features"], clusters: int) -> Float[Array, "clusters features"]:
    """k-means++: each centre an example, with chances in proportion to what it costs now (Arthur & Vassilvitskii 2007).

    Of 2 + log k examples so drawn, the one that lowers the sum most is taken.
    """
    draws = jax.random.uniform(key, (clusters, 2 + int(np.log(clusters))), X.dtype)
    first = X[(draws[0, 0] * len(X)).astype(int)]

    def add(costs: Array, draws: Array) -> tuple[Array, Array]:
        upto = jnp.cumsum(costs)
        # How many sums a draw passes is which example it picks: the last where every example has its centre.
        tried = X[jnp.sum(upto[:, None] <= draws * upto[-1], 0)]
        lower = jnp.minimum(costs[:, None], squared_distances(X, tried))
        best = jnp.argmin(jnp.sum(lower, 0))
        return lower[:, best], tried[best]

    _, others = jax.lax.scan(add, jnp.sum((X - first) ** 2, 1), draws[1:])
    return jnp.concatenate([first[None], others])


@jax.jit
def neighbourhoods(X: Float[ArrayLike, "n features"], perplexity: Scalar) -> Float[Array, "n n"]:
    """p(j|i) ∝ exp(−β ‖xᵢ − xⱼ‖²) in row i, whose entropy is log perplexity: β by bisection (Hinton & Roweis 2003)."""
    X = jnp.asarray(X)
    D = jnp.where(np.eye(len(X), dtype=bool), jnp.inf, squared_distances(X, X))
    nearer = D - jnp.min(D, 1, keepdims=True)
    others = lambda D: jnp.mean(jnp.where(jnp.isinf(D), 0, D), 1)
    scale = jnp.log(others(nearer) + 1e-9 * others(D) + 1e-30)  # where all are equally near, nearer is 0

    def distribution(log_beta: Array) -> Array:
        return jax.nn.softmax(-jnp.exp(log_beta)[:, None] * nearer, 1)

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        p = distribution(middle)
        entropy = -jnp.sum(jnp.where(p > 0, p * jnp.log(jnp.where(p > 0, p, 1)), 0), 1)
        wide = entropy > jnp.log(perplexity)
        return jnp.where(wide, middle, low), jnp.where(wide, high, middle)

    low, high = jax.lax.fori_loop(0, HALVINGS, halve, (-scale - 10, -scale + 30))
    return distribution((low + high) / 2)


def _between(name: str, count: int, low: int, high: int, why: str) -> None:
    if not low <= count <= high:
        raise ValueError(f"{name}={count}: expected a whole number from {low} to {high}, {why}")
