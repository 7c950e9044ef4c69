"""Spectra without eigenvalues: density by quadrature, trace and diagonal by random probes.

A is symmetric and known by its products only, as in `curvature`. Along a path of parameters each of these maps:
jax.lax.map(lambda x: density(hessian(problem, x), x, key=key), path).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from sandbox.landscape.curvature import Product, lanczos, magnitude, on_vectors
from sandbox.types import Key, Params


class Density(NamedTuple):
    """Σᵢ wᵢ δ(λ − θᵢ) for each probe; the mean over probes stands for the density of the eigenvalues."""

    nodes: Float[Array, "probes steps"]
    weights: Float[Array, "probes steps"]  # of each probe together 1; 0 after a breakdown, where the node is 0


class Probed(NamedTuple):
    """A mean over random probes, and its standard error."""

    value: Array
    error: Array


def density(product: Product, like: Params, *, key: Key, probes: int = 8, steps: int = 80) -> Density:
    """Stochastic Lanczos quadrature (Golub & Meurant 1994; Ubaru, Chen & Saad 2017), with Gaussian probes z.

    For each, Σ w p(θ) = zᵀp(A)z / ‖z‖² for all polynomials p of degree below 2·steps; its mean is tr p(A)/n.
    Raises ValueError for less than one probe or step.
    """
    _at_least("probes", probes, 1)
    on = on_vectors(product, like)

    def one(key: Key) -> tuple[Array, Array]:
        found = lanczos(on.product, jax.random.normal(key, on.start.shape, on.start.dtype), steps=steps)
        return jnp.where(found.weights == 0, 0, found.values), found.weights

    return Density(*jax.lax.map(one, jax.random.split(key, probes)))


def smooth(spectrum: Density, at: Float[ArrayLike, " points"], width: ArrayLike) -> Float[Array, " points"]:
    """The density with a Gaussian of standard deviation `width` for every node: ∫ = 1, whatever the width."""
    away = (jnp.asarray(at)[:, None, None] - spectrum.nodes) / width
    bells = spectrum.weights * jnp.exp(-(away**2) / 2) / (width * jnp.sqrt(2 * jnp.pi))
    return bells.sum(axis=2).mean(axis=1)


def hutchinson_trace(product: Product, like: Params, *, key: Key, probes: int = 100, gaussian: bool = False) -> Probed:
    """tr A = E zᵀA z, of signs z (Hutchinson 1989), or Gaussian ones.

    A single probe has the variance 2 Σ_{i≠j} A²ᵢⱼ with signs, 2 ‖A‖²_F with Gaussians.
    Raises ValueError for less than two probes, which have no standard error.
    """
    _at_least("probes", probes, 2)
    on = on_vectors(product, like)

    def one(key: Key) -> Array:
        z = _probe(key, on.start, gaussian)
        return z @ on.product(z)

    return _mean(jax.lax.map(one, jax.random.split(key, probes)))


def hutchinson_diagonal(product: Product, like: Params, *, key: Key, probes: int = 100) -> Probed:
    """Aᵢᵢ = E zᵢ (A z)ᵢ of signs z (Bekas, Kokiopoulou & Saad 2007), as trees like the parameters.

    A single probe has the variance Σ_{j≠i} A²ᵢⱼ. Raises ValueError for less than two probes.
    """
    _at_least("probes", probes, 2)
    on = on_vectors(product, like)

    def add(so_far: tuple[Array, Array, Array], key: Key) -> tuple[tuple[Array, Array, Array], None]:
        """The mean and the root of the sum of squares about it, as one more comes (Welford 1962)."""
        count, mean, root = so_far
        z = _probe(key, on.start, False)
        found = z * on.product(z)
        new = (found - mean) * jnp.sqrt(count / (count + 1))
        return (count + 1, mean + (found - mean) / (count + 1), jnp.hypot(root, new)), None

    zero = jnp.zeros_like(on.start)
    (_, mean, root), _ = jax.lax.scan(add, (jnp.zeros((), zero.dtype), zero, zero), jax.random.split(key, probes))
    return Probed(on.tree(mean), on.tree(root / (probes * (probes - 1)) ** 0.5))


def xtrace(product: Product, like: Params, *, key: Key, products: int = 100) -> Probed:
    """tr A by exchangeable probes (Epperly, Tropp & Webber 2024): as good as exact for spectra that fall off fast.

    Of each probe ω in turn the others span a space, A Ω₋ᵢ, in which the trace is taken as it is; ω gives the rest:

        trᵢ = tr QᵢᵀA Qᵢ + c ωᵀ(I − QᵢQᵢᵀ) A (I − QᵢQᵢᵀ) ω,    c = (n − k + 1) / ‖(I − QᵢQᵢᵀ) ω‖²,  k probes

    The probes are Gaussian: c is right where what is left of ω points anywhere. Half of the products are spent on A Ω,
    half on A Q; of a few probes the error, too, is rough. Raises ValueError for less than four products, or for more
    than there are parameters.
    """
    omega, _, r, s, w, h, _, size = _exchangeable(product, like, jax.random.normal, key, products)
    n, k = omega.shape
    part = jnp.sum(s * w, axis=0)
    x = w - s * part  # QᵢᵀωS, in coordinates of Q
    inside = jnp.trace(h) - jnp.sum(s * (h @ s), axis=0)
    outside = jnp.sum(w * r, axis=0) - 2 * jnp.sum(x * r, axis=0) + jnp.sum(x * (h @ x), axis=0)
    rest = jnp.sum(omega**2, axis=0) - jnp.sum(x**2, axis=0)
    return _mean(size * (inside + outside * (n - k + 1) / rest))


def xdiagonal(product: Product, like: Params, *, key: Key, products: int = 100) -> Probed:
    """The diagonal by exchangeable probes (Epperly, Tropp & Webber 2024), as trees like the parameters.

    diagᵢ = diag(QᵢQᵢᵀA) + ω ⊙ (I − QᵢQᵢᵀ) A ω / ω², with the same probes as in `xtrace`, and the same errors.
    """
    omega, q, r, s, _, _, z, size = _exchangeable(product, like, jax.random.rademacher, key, products)
    left = q @ s  # what Qᵢ lacks of Q
    each = jnp.sum(q * z, axis=1)[:, None] - left * (z @ s) + left * jnp.sum(s * r, axis=0) / omega
    found = _mean(size * each.T)
    return Probed(*map(on_vectors(product, like).tree, found))


def _exchangeable(
    product: Product, like: Params, draw: Callable[..., Array], key: Key, products: int
) -> tuple[Array, ...]:
    """Ω; of AΩ = QR the factors; unit columns S at right angles to all columns of R but one; QᵀΩ, QᵀAQ and AQ.

    All that for A divided by about the largest entry of AΩ, which is returned last.
    """
    on = on_vectors(product, like)
    n, k = on.start.size, products // 2
    if not 4 <= products <= n:
        raise ValueError(f"products={products}: expected 4 to {n}, as there are parameters")
    every = lambda columns: jax.lax.map(on.product, columns.T).T
    signs, noise = jax.random.split(key)
    omega = draw(signs, (n, k), on.start.dtype)
    image = every(omega)
    size = magnitude(image)
    image = image / size
    # Of rank below k, R could not be inverted; so little of anything else makes it possible and is not seen.
    tiny = jnp.finfo(image.dtype).eps * jnp.linalg.norm(image) / n**0.5
    tiny = (tiny + (tiny == 0)) * jax.random.normal(noise, image.shape, image.dtype) / k**0.5
    q, r = jnp.linalg.qr(image + tiny)
    s = jax.scipy.linalg.solve_triangular(r, jnp.eye(k, dtype=r.dtype), trans="T")
    s = s / jnp.linalg.norm(s, axis=0)
    z = every(q) / size
    return omega, q, q.T @ image, s, q.T @ omega, q.T @ z, z, size


def _probe(key: Key, like: Array, gaussian: bool) -> Array:
    draw = jax.random.normal if gaussian else jax.random.rademacher
    return draw(key, like.shape, like.dtype)


def _mean(samples: Array) -> Probed:
    """Over the first axis."""
    size = magnitude(samples, axis=0)
    return Probed(samples.mean(axis=0), size * (samples / size).std(axis=0, ddof=1) / len(samples) ** 0.5)


def _at_least(name: str, number: int, least: int) -> None:
    if number < least:
        raise ValueError(f"{name}={number}: expected a whole number from {least} up")
