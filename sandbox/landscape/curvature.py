"""Curvature: products with the Hessian and its kin, and the ends of their spectra by Lanczos.

A product is a function v ↦ A v of trees like the parameters, A symmetric; nothing ever holds A itself.

    hessian         v ↦ ∇²f(x) v
    gauss_newton    v ↦ Jᵀ ∇²ℓ(z) J v                of f = ℓ(z(x)), J = ∂z/∂x
    preconditioned  v ↦ P^(−½) A P^(−½) v            P a positive diagonal

All of it can be compiled, mapped and swept; called outside of `jit`, the loops are compiled at every call.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from sandbox import tree
from sandbox.landscape.directions import floats
from sandbox.problems.problem import Problem
from sandbox.types import Batch, Key, Params

Product: TypeAlias = Callable[[Params], Params]


class Krylov(NamedTuple):
    """What Lanczos found in `live` steps; of the steps after a breakdown values are NaN, the rest is 0."""

    values: Float[Array, " steps"]  # Ritz values, ascending
    weights: Float[Array, " steps"]  # ⟨start, Ritz vector⟩² / ‖start‖²
    basis: Float[Array, "steps n"]  # orthonormal rows, in the order of the parameters' leaves
    live: Int[Array, ""]


class Eigenpairs(NamedTuple):
    """Eigenvalues from the largest down; within its residual of each value lies a true one."""

    values: Float[Array, " pairs"]
    vectors: Params  # of length 1, stacked along a leading axis
    residuals: Float[Array, " pairs"]  # ‖A v − λ v‖
    products: Int[Array, ""]  # how many it took


def hessian(
    problem: Problem | Callable[[Params], Any],
    params: Params,
    *,
    key: Key | None = None,
    batch_size: int | None = None,
) -> Product:
    """v ↦ ∇²f(x) v, forward over reverse (Pearlmutter 1994): about two gradients, and the memory of one.

    f is the objective on all data, or any function of the parameters. `batch_size` examples are looked at one time,
    and what they give is averaged by their number. Raises ValueError for complex parameters.
    """
    params = _real(params)
    if not isinstance(problem, Problem) or batch_size is None:
        objective = (lambda x: problem.objective(x, key=key)) if isinstance(problem, Problem) else problem
        return lambda v: jax.jvp(jax.grad(objective), (params,), (v,))[1]
    data = jax.tree.map(jnp.asarray, problem.data)
    n = len(jax.tree.leaves(data)[0]) if jax.tree.leaves(data) else 0
    if not 1 <= batch_size <= n:
        raise ValueError(f"batch_size={batch_size}: expected 1 to {n} examples, as many as {problem.name} has")
    whole = n // batch_size * batch_size
    pieces = jax.tree.map(lambda a: a[:whole].reshape(-1, batch_size, *a.shape[1:]), data)

    def on(batch: Batch, v: Params) -> Params:
        return jax.jvp(jax.grad(lambda x: problem.objective(x, batch, key)), (params,), (v,))[1]

    def product(v: Params) -> Params:
        more = lambda total, batch: (tree.add(total, on(batch, v)), None)
        total = tree.scale(batch_size / n, jax.lax.scan(more, tree.zeros_like(v), pieces)[0])
        if whole == n:
            return total
        return tree.add(total, tree.scale(1 - whole / n, on(jax.tree.map(lambda a: a[whole:], data), v)))

    return product


def gauss_newton(model: Callable[[Params], Any], loss: Callable[[Any], Any], params: Params) -> Product:
    """v ↦ Jᵀ ∇²ℓ(z) J v of ℓ(z(x)): the Hessian without the curvature of the model z (Schraudolph 2002).

    model(params) gives all outputs, of any shape, and loss(outputs) one number, f = loss(model(params)). Positive
    semidefinite for a convex loss; the Hessian itself where the model is linear in its parameters.
    """
    params = _real(params)
    outputs, push = jax.linearize(model, params)
    pull = jax.linear_transpose(push, params)
    curve = jax.linearize(jax.grad(loss), outputs)[1]
    return lambda v: pull(curve(push(v)))[0]


def preconditioned(product: Product, preconditioner: Params) -> Product:
    """v ↦ P^(−½) A P^(−½) v, similar to P⁻¹A: what an optimizer sees that divides the gradient by P."""
    root = jax.tree.map(jax.lax.rsqrt, preconditioner)
    scaled = lambda v: jax.tree.map(lambda r, x: (r * x).astype(x.dtype), root, v)
    return lambda v: scaled(product(scaled(v)))


def lanczos(product: Product, start: Params, *, steps: int) -> Krylov:
    """A on the Krylov space of start, A start, A² start, … (Lanczos 1950), orthogonalised twice in full.

    It breaks down, and stops, where what is new of A q is below 64 eps ‖A‖ in length: rounding, of which further steps
    would make eigenvalues that are not there. Raises ValueError for less than one step.
    """
    if steps < 1:
        raise ValueError(f"steps={steps}: expected a whole number from 1 up")
    on = on_vectors(product, start)
    steps = min(steps, on.start.size)
    basis = jnp.zeros((steps + 1, on.start.size), on.start.dtype).at[0].set(_unit(on.start))
    basis, projected, _, live = _expand(on.product, basis, jnp.zeros((steps, steps), on.start.dtype), 0, None)
    # What is dead goes to the end of the order, far from the rest.
    size = _length(projected.ravel())
    dead = jnp.arange(steps) >= live
    values, vectors = jnp.linalg.eigh(_symmetric(projected) + jnp.diag(jnp.where(dead, 2 * size + (size == 0), 0)))
    weights = jnp.where(dead, 0, vectors[0] ** 2)
    return Krylov(jnp.where(dead, jnp.nan, values), weights / weights.sum(), basis[:steps], live)


def eigenpairs(
    product: Product,
    like: Params,
    largest: int = 1,
    smallest: int = 0,
    *,
    key: Key,
    start: Params | None = None,
    basis: int | None = None,
    tol: float = 1e-6,
    cycles: int = 100,
) -> Eigenpairs:
    """The ends of the spectrum of A, by Lanczos with thick restarts (Wu & Simon 2000), all in order of size.

    A space of `basis` vectors grows from a Gaussian draw, to which `start` adds as much of a direction that is known.
    Until all residuals are below tol ‖A‖, and at most `cycles` times, a third of the space is kept and grows again.
    Where it breaks down it goes on from another draw, so that repeated eigenvalues are found as often as there are.
    Raises ValueError for no pairs, or for more than there are parameters.
    """
    on = on_vectors(product, like)
    n, wanted, dtype = on.start.size, largest + smallest, on.start.dtype
    if min(largest, smallest) < 0 or not 1 <= wanted <= n:
        raise ValueError(f"largest={largest}, smallest={smallest}: expected 1 to {n} pairs, as there are parameters")
    size = min(n, max(basis or max(20, 2 * wanted + 10), wanted + 2))
    spare = (size - wanted) // 3
    low = smallest + spare * smallest // wanted
    kept = np.r_[:low, size - (wanted + spare - low) : size]
    chosen = np.r_[len(kept) - 1 : len(kept) - 1 - largest : -1, smallest - 1 : -1 : -1]
    draw = jax.random.normal(key, (n,), dtype)
    first = _unit(draw if start is None else draw + n**0.5 * _unit(ravel_pytree(_wide(start))[0]))

    def cycle(state: tuple) -> tuple:
        number, space, projected, _, _ = state
        place = jnp.where(number == 0, 0, len(kept))
        space, projected, rest, _ = _expand(on.product, space, projected, place, jnp.roll(draw, number * size))
        values, vectors = jnp.linalg.eigh(_symmetric(projected))
        residuals = rest * jnp.abs(vectors[-1, kept[chosen]])
        space = (
            jnp.zeros_like(space).at[: len(kept)].set(vectors[:, kept].T @ space[:size]).at[len(kept)].set(space[-1])
        )
        projected = jnp.zeros_like(projected).at[: len(kept), : len(kept)].set(jnp.diag(values[kept]))
        return number + 1, space, projected, residuals, jnp.abs(values).max()

    def unfinished(state: tuple) -> Array:
        number, _, _, residuals, norm = state
        return (number == 0) | (number < cycles) & (residuals.max() > tol * norm)

    space = jnp.zeros((size + 1, n), dtype).at[0].set(first)
    nothing = jnp.zeros((size, size), dtype), jnp.zeros(wanted, dtype), jnp.zeros((), dtype)
    number, space, *_ = jax.lax.while_loop(unfinished, cycle, (jnp.array(0), space, *nothing))
    # Restarts add their roundings up: what is returned is measured once more.
    values, vectors, residuals = jax.lax.map(lambda v: _measured(on.product, v), space[chosen])
    products = size + (number - 1) * (size - len(kept)) + wanted
    order = jnp.argsort(-values)
    return Eigenpairs(values[order], jax.vmap(on.tree)(vectors[order]), residuals[order], products)


def sharpness(
    problem: Problem | Callable[[Params], Any], params: Params, *, key: Key, preconditioner: Params | None = None
) -> Float[Array, ""]:
    """The largest eigenvalue of the Hessian, or of P^(−½) ∇²f P^(−½)."""
    product = hessian(problem, params)
    product = product if preconditioner is None else preconditioned(product, preconditioner)
    return eigenpairs(product, params, key=key).values[0]


def eigenpairs_along(
    problem: Problem | Callable[[Params], Any], path: Params, largest: int = 1, smallest: int = 0, **options: Any
) -> Eigenpairs:
    """Those of the Hessian at every step of a path, the leading axis of every leaf, each from those of the step before.

    The options are those of `eigenpairs`. Every field of what is returned has a leading axis of steps.
    """
    key = options.pop("key")

    def step(before: Params, params: Params) -> tuple[Params, Eigenpairs]:
        found = eigenpairs(hessian(problem, params), params, largest, smallest, key=key, start=before, **options)
        # From a step where the Hessian is not finite nothing is known of the next.
        known = lambda v: jnp.where(jnp.isfinite(v), v, 0).sum(axis=0)
        return jax.tree.map(known, found.vectors), found

    first = jax.tree.map(lambda x: jnp.zeros_like(x[0]), floats(path))
    return jax.lax.scan(step, first, floats(path))[1]


class OnVectors(NamedTuple):
    """A product on vectors, the vector that the tree is, and the way back."""

    product: Callable[[Array], Array]
    start: Float[Array, " n"]
    tree: Callable[[Array], Params]


def on_vectors(product: Product, like: Params) -> OnVectors:
    """Half precision is computed in single; the product itself is as the parameters are."""
    like = _real(like)
    vector, unravel = ravel_pytree(_wide(like))
    narrow = lambda v: jax.tree.map(lambda x, a: a.astype(x.dtype), like, unravel(v))
    return OnVectors(lambda v: ravel_pytree(_wide(product(narrow(v))))[0], vector, narrow)


def _expand(
    product: Callable[[Array], Array], basis: Array, projected: Array, first: Any, draw: Array | None
) -> tuple[Array, Array, Array, Array]:
    """Basis vectors first + 1 … size, and columns first … size − 1 of Q A Qᵀ: what is on and above its diagonal.

    Returns also the length of what is left of A q at the end, and how many steps are live. Where nothing is left, the
    next vector is what is left of the draw, its entries moved on by one each time, or 0 where there is none.
    """
    size = len(projected)

    def step(j: Array, state: tuple) -> tuple:
        basis, projected, norm, _, live = state
        image = product(basis[j])
        scale = magnitude(image)
        rows = jnp.stack([image / scale, *([] if draw is None else [jnp.roll(draw, j + 1)])])

        def rest(_: Any, state: tuple) -> tuple:
            rows, parts = state
            part = jax.vmap(_dots, (None, 0))(basis, rows)
            return rows - part @ basis, parts + part

        rows, parts = jax.lax.fori_loop(0, 2, rest, (rows, jnp.zeros((len(rows), size + 1), rows.dtype)))
        lengths = jnp.sqrt(jax.vmap(_dots)(rows[:, None], rows))
        length, part = scale * lengths[0, 0], scale * parts[0, :size]
        norm = jnp.maximum(norm, scale * jnp.hypot(lengths[0, 0], jnp.linalg.norm(parts[0])))  # ‖A q‖ ≤ ‖A‖
        grows = length > 64 * jnp.finfo(basis.dtype).eps * norm
        rows = rows / jnp.where(lengths == 0, 1, lengths)
        new = jnp.where(grows, rows[0], 0 if draw is None else rows[-1])
        live = live + ((live == j + 1) & grows)
        length = jnp.where(grows, length, 0 * length)  # which leaves NaN as it is
        return basis.at[j + 1].set(new), projected.at[:, j].set(part), norm, length, live

    zero = jnp.zeros((), basis.dtype)
    start = (basis, projected, zero, zero, jnp.ones((), int))
    basis, projected, _, left, live = jax.lax.fori_loop(first, size, step, start)
    return basis, projected, left, jnp.minimum(live, size)


def _measured(product: Callable[[Array], Array], v: Array) -> tuple[Array, Array, Array]:
    """λ = ⟨v, A v⟩/⟨v, v⟩, in which what both sums round off cancels; for ‖v‖ = 1 also v, and ‖A v − λ v‖."""
    image = product(v)
    products = _dots(jnp.stack([image, v]), v)
    value = products[0] / products[1]
    length = jnp.sqrt(products[1])
    return value, v / length, _length(image - value * v) / length


BLOCK = 512


def _dots(rows: Array, v: Array) -> Array:
    """⟨row, v⟩, summed in blocks: one long sum in single precision loses as many digits as it has (Higham 1993)."""
    if len(v) < BLOCK**2 / 16:  # short enough
        return rows @ v
    n = len(v) // BLOCK * BLOCK
    blocks = jnp.sum((rows[:, :n] * v[:n]).reshape(len(rows), -1, BLOCK), axis=-1).sum(axis=-1)
    return blocks + rows[:, n:] @ v[n:]


def _length(v: Array) -> Array:
    size = magnitude(v)
    v = v / size
    return size * jnp.sqrt(_dots(v[None], v)[0])


def magnitude(v: Array, axis: int | None = None) -> Array:
    """2ᵏ ≤ max|v| < 2ᵏ⁺¹, a divisor that rounds nothing, after which no square overflows and none that counts is 0."""
    largest = jnp.max(jnp.abs(v), axis=axis)
    # The exponent's bits alone, which are those of infinity: of all numbers of one exponent the power of two.
    exponent = np.asarray(np.inf, v.dtype).view(f"u{v.dtype.itemsize}")
    bits = jax.lax.bitcast_convert_type(largest, exponent.dtype)
    return jnp.maximum(jax.lax.bitcast_convert_type(bits & exponent, v.dtype), jnp.finfo(v.dtype).tiny)


def _symmetric(upper: Array) -> Array:
    return jnp.triu(upper) + jnp.triu(upper, 1).T


def _unit(v: Array) -> Array:
    """v/‖v‖; 0 stays 0."""
    length = _length(v)
    return v / jnp.where(length == 0, 1, length)


def _wide(x: Params) -> Params:
    return jax.tree.map(lambda leaf: tree.widen(jnp.asarray(leaf)), x)


def _real(params: Params) -> Params:
    params = floats(params)
    if any(jnp.iscomplexobj(x) for x in jax.tree.leaves(params)):
        raise ValueError("the parameters are complex; expected real ones: take optimizers.split_real_and_imaginary's")
    return params
