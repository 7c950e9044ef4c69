"""Two optimizers on the same losses, step by step, and how far apart they are."""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sandbox import tree
from sandbox.optimizers.base import Optimizer
from sandbox.types import Array, Params

STEPS = 12
SHAPES = {"block": (128, 130), "bias": (5,)}
CURVES = {  # φ, of the losses scale · Σ φ(x − centre, slope)
    "linear": lambda u, s: s * u,
    "quadratic": lambda u, s: s**2 * u**2 / 2,
    "waves": lambda u, s: s**2 * (1 - jnp.cos(u)),
}


def deviation(
    optimizer: Optimizer,
    twin: Optimizer,
    needs: tuple = (),
    seed: int = 0,
    steps: int = STEPS,
    curves: Iterable[str] = tuple(CURVES),
    compiled: bool = False,
) -> float:
    """The largest `distance` of two optimizers' trajectories over the losses. Call it in double precision."""
    follow = lambda optimizer, curve: trajectory(optimizer, needs, curve, seed, steps, compiled)
    return max(distance(follow(optimizer, curve), follow(twin, curve)) for curve in curves)


def distance(ours: list[tuple[Params, Params]], theirs: list[tuple[Params, Params]]) -> float:
    """The largest |a − b| / max |b| over the leaves of updates and params, over all steps of two trajectories.

    NaN against a number is infinitely far; so are two trees of different shapes.
    """
    pairs = zip(ours, theirs, strict=True)
    return max(far(a, b) for pair in pairs for a, b in _leaves(*pair))


def trajectory(
    optimizer: Optimizer,
    needs: tuple = (),
    curve: str = "linear",
    seed: int = 0,
    steps: int = STEPS,
    compiled: bool = False,
) -> list[tuple[Params, Params]]:
    """(updates, params) after each step on a fixed sequence of losses.

    A block of 128×130 and a vector; each step's loss is scaled by 10^U(−3, 1), and in every third step it does not
    depend on one coordinate of every array, where division by the gradient and its sign are easily wrong. Where
    "complex" is among the needs, all numbers are. Updates that hold loops or branches are faster when `compiled`; the
    others are not. What needs value_fn searches along one loss, the same in every step: between two, whether a step
    is accepted would hang on how numbers are rounded.
    """
    params, losses = _losses(curve, seed, steps, "complex" in needs)
    losses = losses[2:3] * steps if "value_fn" in needs else losses
    state, path, step = optimizer.init(params), [], stepper(optimizer, needs, compiled)
    for loss in losses:
        updates, state = step(loss, state, params)
        params = tree.add(params, updates)
        path.append((updates, params))
    return path


def stepper(optimizer: Any, needs: tuple = (), compiled: bool = False) -> Callable[..., tuple]:
    """step(loss, state, params) → (updates, state), by `advance`; one program for all losses when it is compiled."""
    return _compiled(optimizer, needs) if compiled else _step(optimizer, needs)


def _step(optimizer: Any, needs: tuple) -> Callable[..., tuple]:
    return lambda loss, state, params: advance(optimizer, loss, state, params, needs)


@functools.lru_cache(maxsize=4)
def _compiled(optimizer: Any, needs: tuple) -> Callable[..., tuple]:
    return jax.jit(_step(optimizer, needs))


def advance(optimizer: Any, loss: Callable[[Params], Array], state: Any, params: Params, needs: tuple = ()) -> tuple:
    """One update on the loss, a `jax.tree_util.Partial`, with the extra arguments that the optimizer needs.

    Where those are "examples", the gradients are those of three, stacked.
    """
    objective = lambda x, *_, **__: loss(x)
    value, grads = _value_and_grad(loss, params)
    grads = jax.tree.map(jnp.conj, grads)
    if "examples" in needs:
        grads = jax.tree.map(lambda g: jnp.stack([0.5 * g, 2.0 * g, -g]), grads)
    known = {
        "value": value,
        "grad": grads,
        "value_fn": objective,
        "obj_fn": objective,
        "grad_fn": lambda x, *_: jax.tree.map(jnp.conj, jax.grad(objective)(x)),
    }
    return optimizer.update(grads, state, params, **{name: known[name] for name in needs if name in known})


@functools.cache
def _losses(
    curve: str, seed: int, steps: int, complex_numbers: bool = False
) -> tuple[Params, list[Callable[[Params], Array]]]:
    """Parameters and a loss for each step."""
    rng, which = np.random.default_rng(seed), jnp.int32(list(CURVES).index(curve))

    def part(shape: tuple[int, ...]) -> np.ndarray:
        x = rng.normal(size=shape)
        return x + 1j * rng.normal(size=shape) if complex_numbers else x

    draw = lambda: {k: part(shape) for k, shape in SHAPES.items()}

    def loss(k: int) -> Callable[[Params], Array]:
        centre, slope, scale = draw(), draw(), 10 ** rng.uniform(-3, 1)
        if k % 3 == 2:
            for s in slope.values():
                s[(0,) * s.ndim] = 0.0
        return jax.tree_util.Partial(_loss, which, *jax.tree.map(jnp.asarray, (centre, slope, scale)))

    return jax.tree.map(jnp.asarray, draw()), [loss(k) for k in range(steps)]


@jax.jit
def _value_and_grad(loss: Callable[[Params], Array], params: Params) -> tuple[Array, Params]:
    """Compiled once for all losses: what they are made of is data."""
    return jax.value_and_grad(loss)(params)


def _loss(which: Array, centre: Params, slope: Params, scale: Array, params: Params) -> Array:
    """scale · Σ φ(x − centre, slope), over all entries of all leaves; over both parts of complex ones."""
    curve = lambda u, s: jax.lax.switch(which, list(CURVES.values()), u, s)
    real = lambda x: jnp.stack([x.real, x.imag]) if jnp.iscomplexobj(x) else x
    sums = jax.tree.map(lambda x, c, s: jnp.sum(curve(real(x - c), real(s))), params, centre, slope)
    return scale * jnp.sum(jnp.stack(jax.tree.leaves(sums)))


def _leaves(a: Any, b: Any) -> list[tuple[Any, Any]]:
    return list(zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def far(a: Any, b: Any) -> float:
    """max |a − b| / max |b|, 0 where both are 0, and infinity where it is not a number."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        return np.inf
    far, size = np.max(np.abs(a - b)), np.max(np.abs(b))
    if far == 0:
        return 0.0
    return float(far / size) if far < np.inf and size > 0 else np.inf
