"""Gradient descent, its momentum, its step and its noise."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sandbox import tree
from sandbox.optimizers.base import Optimizer, at, chain, factory, leafwise, treewise
from sandbox.types import Array, Key, Params, Scalar, Schedule


class Nothing(NamedTuple):
    """No memory."""


class Trace(NamedTuple):
    """A decaying sum of gradients."""

    trace: Array


class Average(NamedTuple):
    """An exponential moving average of gradients."""

    ema: Array


class Previous(NamedTuple):
    """The gradient of the step before."""

    previous_gradient: Array


class Noise(NamedTuple):
    """The key of the noise to come."""

    rng_key: Key


@factory
def gradient_descent(learning_rate: Scalar | Schedule) -> Optimizer:
    """Gradient descent (Cauchy 1847).

    x ← x − η g
    """

    def init(x):
        return Nothing()

    def update(t, g, memory, x):
        return -at(learning_rate, t) * g, memory

    return leafwise(init, update, learning_rate)


@factory
def heavy_ball(
    learning_rate: Scalar | Schedule, momentum: Scalar = 0.9, accumulator_dtype: Any | None = None
) -> Optimizer:
    """Heavy ball (Polyak 1964), as x ← x − η g + μ (x − x₋₁) with the displacement kept in units of the gradient.

    m ← μ m + g
    x ← x − η m
    """

    def init(x):
        return Trace(jnp.zeros_like(x, dtype=accumulator_dtype))

    def update(t, g, memory, x):
        m = momentum * memory.trace + g
        return -at(learning_rate, t) * m, Trace(m)

    return leafwise(init, update, _settled(learning_rate, momentum))


@factory
def nesterov(
    learning_rate: Scalar | Schedule, momentum: Scalar = 0.9, accumulator_dtype: Any | None = None
) -> Optimizer:
    """Nesterov's accelerated gradient (Nesterov 1983), in the form of Sutskever et al. 2013, seen from its lookahead.

    m ← μ m + g
    x ← x − η (μ m + g)
    """

    def init(x):
        return Trace(jnp.zeros_like(x, dtype=accumulator_dtype))

    def update(t, g, memory, x):
        m = momentum * memory.trace + g
        return -at(learning_rate, t) * (momentum * m + g), Trace(m)

    return leafwise(init, update, _settled(learning_rate, momentum))


@factory
def ema_momentum(learning_rate: Scalar | Schedule, decay: Scalar = 0.9) -> Optimizer:
    """Momentum as an average of gradients: the first moment of Adam, without its bias correction.

    m ← β m + (1 − β) g
    x ← x − η m

    Heavy ball at the rate (1 − β) η, as long as η is constant.
    """

    def init(x):
        return Average(jnp.zeros_like(x))

    def update(t, g, memory, x):
        m = decay * memory.ema + (1 - decay) * g
        return -at(learning_rate, t) * m, Average(m)

    return leafwise(init, update, learning_rate)


@factory
def sgd(
    learning_rate: Scalar | Schedule,
    momentum: Scalar | None = None,
    nesterov: bool = False,
    accumulator_dtype: Any | None = None,
) -> Optimizer:
    """Stochastic gradient descent (Robbins & Monro 1951): gradient descent, heavy ball or Nesterov on noisy gradients.

    The stochastic part is in the batches; without a momentum, `nesterov` means nothing.
    """
    if momentum is None:
        return gradient_descent(learning_rate)
    accelerated = _nesterov if nesterov else heavy_ball
    return accelerated(learning_rate, momentum, accumulator_dtype)


_nesterov = nesterov  # the argument of sgd hides the function


@factory
def optimistic_gradient_descent(
    learning_rate: Scalar | Schedule, alpha: Scalar | Schedule = 1.0, beta: Scalar | Schedule = 1.0
) -> Optimizer:
    """Optimistic gradient descent (Popov 1980; with two weights, Mokhtari, Ozdaglar & Pattathil 2020).

    x ← x − η (α g + β (g − g₋₁))                g₋₁ is the gradient of the step before, at first g itself

    The change of the gradient foretells the next one: in games, where gradient descent goes round in circles, its
    last iterate converges.
    """

    def init(x):
        return Previous(jnp.zeros_like(x))

    def update(t, g, memory, x):
        before, a, b = jnp.where(t > 1, memory.previous_gradient, g), at(alpha, t), at(beta, t)
        return -at(learning_rate, t) * ((a + b) * g - b * before), Previous(g)

    return leafwise(init, update, lambda count: at(learning_rate, count + 1) * at(alpha, count + 1))


@factory
def polyak_sgd(
    max_learning_rate: Scalar = 1.0,
    scaling: Scalar | Schedule = 1.0,
    f_min: Scalar = 0.0,
    eps: Scalar = 0.0,
    variant: str = "sps",
) -> Optimizer:
    """Gradient descent with Polyak's step (Polyak 1969), at most γ (Loizou et al. 2021, SPS_max).

    x ← x − s min((f(x) − f*) / (‖g‖² + ε), γ) g

    γ is `max_learning_rate`, s `scaling`, f* `f_min`; `update` needs the extra argument value, f(x). The variant
    "sps+" counts f(x) below f* as f* (Garrigos, Gower & Schaipp 2023). Raises ValueError for another variant.
    """
    # 1. As in Optax, no step where ‖g‖² + ε is below the rounding of double precision.
    if variant not in ("sps", "sps+"):
        raise ValueError(f'polyak_sgd: variant={variant!r}; expected "sps" or "sps+"')

    def init(params):
        return Nothing()

    def update(t, g, memory, x, *, value):
        gap = tree.widen(jnp.asarray(value)) - f_min
        gap = jnp.maximum(gap, 0) if variant == "sps+" else gap
        squared = tree.squared_norm(g) + eps
        flat = squared <= float(jnp.finfo(float).eps)
        step = jnp.where(flat, 0, jnp.minimum(gap / jnp.where(flat, 1, squared), max_learning_rate))
        return tree.scale(-at(scaling, t) * step, g), memory

    return treewise(init, update)


@factory
def noisy_sgd(
    learning_rate: Scalar | Schedule,
    eta: Scalar = 0.01,
    gamma: Scalar = 0.55,
    key: Key | int | None = None,
    *,
    seed: int | None = None,
) -> Optimizer:
    """Gradient descent with noise that fades (Neelakantan et al. 2015).

    x ← x − α (g + ξ)                            ξ ~ N(0, η / tᵞ)

    α is the learning rate. `key` is a random key or a number, 0 where none is given; `seed` is its old name. Raises
    ValueError for both.
    """

    def init(params):
        return Noise(_random_key(key, seed))

    def update(t, g, memory, x):
        rng_key, noise_key = jax.random.split(memory.rng_key)
        noise = _normal(jax.random.split(noise_key, len(jax.tree.leaves(g))), g)
        sigma = jnp.sqrt(eta / t**gamma)
        return jax.tree.map(lambda g, n: -at(learning_rate, t) * (g + sigma * n), g, noise), Noise(rng_key)

    return treewise(init, update, learning_rate)


@factory
def differentially_private_aggregate(
    l2_norm_clip: Scalar, noise_multiplier: Scalar, key: Key | int | None = None, *, seed: int | None = None
) -> Optimizer:
    """The mean of the gradients of n single examples that hides each of them (Abadi et al. 2016, Algorithm 1).

    gᵢ ← gᵢ min(1, C / ‖gᵢ‖)                     i = 1 … n, along the first axis of every leaf
    g = (Σ gᵢ + ξ) / n                           ξ ~ N(0, σ² C²)

    C is `l2_norm_clip`, σ `noise_multiplier`, `key` as in `noisy_sgd`. The updates are g, without a rate and without
    a sign: what follows in a `chain` descends. The extra argument example_grads, as `run` gives it, makes the gᵢ of a
    batch; without it the gradients must be stacked already. Raises ValueError where they are not.
    """

    def init(params):
        return Noise(_random_key(key, seed))

    def update(t, g, memory, x, *, example_grads=None):
        g = g if example_grads is None else example_grads()
        n = _examples(g, x)
        norms = jnp.sqrt(jax.vmap(tree.squared_norm, axis_size=n)(g))
        shrinkage = jnp.minimum(1, l2_norm_clip / jnp.where(norms > 0, norms, 1))
        total = jax.tree.map(lambda g: jnp.tensordot(shrinkage, g, 1), g)
        rng_key, *keys = jax.random.split(memory.rng_key, len(jax.tree.leaves(g)) + 1)
        sigma = noise_multiplier * l2_norm_clip
        return jax.tree.map(lambda g, noise: (g + sigma * noise) / n, total, _normal(keys, total)), Noise(rng_key)

    return treewise(init, update)


@factory
def dpsgd(
    learning_rate: Scalar | Schedule,
    l2_norm_clip: Scalar,
    noise_multiplier: Scalar,
    seed: int,
    momentum: Scalar | None = None,
    nesterov: bool = False,
) -> Optimizer:
    """DP-SGD (Abadi et al. 2016, Algorithm 1): `sgd` on what `differentially_private_aggregate` lets it see.

    In `run` it sees single examples by itself; elsewhere it takes their gradients, stacked along the first axis of
    every leaf, as jax.vmap gives them.
    """
    private = differentially_private_aggregate(l2_norm_clip, noise_multiplier, seed)
    return chain(private, sgd(learning_rate, momentum, nesterov))


def _random_key(key: Key | int | None, seed: int | None) -> Key:
    """The key, as such or by its number."""
    if key is not None and seed is not None:
        raise ValueError(f"key={key} and seed={seed}: seed is the old name of key; give key alone")
    given: Any = key if key is not None else seed if seed is not None else 0
    return given if jnp.issubdtype(jnp.result_type(given), jax.dtypes.prng_key) else jax.random.key(given)


def _normal(keys: Key | list[Key], like: Params) -> Params:
    """N(0, 1) in the shapes and dtypes of the leaves, from a key for each."""
    structure: Any = jax.tree.structure(like)
    pairs = zip(keys, jax.tree.leaves(like), strict=True)
    return structure.unflatten([jax.random.normal(key, x.shape, x.dtype) for key, x in pairs])


def _examples(grads: Params, params: Params | None) -> int:
    """How many examples' gradients are stacked; 1 in a tree without leaves."""
    shapes = [x.shape for x in jax.tree.leaves(grads)]
    counts = {shape[:1] for shape in shapes}
    of_params = [shape[1:] for shape in shapes] if params is None else [x.shape for x in jax.tree.leaves(params)]
    if len(counts) > 1 or () in counts or of_params != [shape[1:] for shape in shapes]:
        raise ValueError(
            f"expected the gradients of single examples, stacked along a first axis of one length, as jax.vmap gives "
            f"them; the gradients have the shapes {shapes}" + ("" if params is None else f", the params {of_params}")
        )
    return counts.pop()[0] if counts else 1


def _settled(learning_rate: Scalar | Schedule, momentum: Scalar) -> Schedule:
    """η / (1 − μ): under a lasting gradient g, m settles at g / (1 − μ)."""
    return lambda count: at(learning_rate, count + 1) / (1 - momentum)
