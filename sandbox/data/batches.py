"""Minibatches as pure functions of a key: which examples each step sees, as one table of row numbers."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from sandbox.types import Key


class Batches(NamedTuple):
    """indices(key, examples, steps) → the rows of each step, an array of shape (steps, size)."""

    size: int
    indices: Callable[[Key, int, int], Int[Array, "steps size"]]


def cyclic(size: int) -> Batches:
    """The examples in their own order, round and round; the key is not used."""

    def indices(key: Key, examples: int, steps: int) -> Int[Array, "steps size"]:
        _check(size, examples)
        return (jnp.arange(steps)[:, None] * size + jnp.arange(size)) % examples

    return Batches(size, indices)


def with_replacement(size: int) -> Batches:
    """Every row drawn afresh, uniformly and independently: the noise that theory assumes."""

    def indices(key: Key, examples: int, steps: int) -> Int[Array, "steps size"]:
        _check(size, examples)
        draw = lambda k: jax.random.randint(jax.random.fold_in(key, k), (size,), 0, examples)
        return jax.vmap(draw)(jnp.arange(steps))

    return Batches(size, indices)


def epochs(size: int) -> Batches:
    """Reshuffled in every epoch, each example at most once in it; the last partial batch is dropped."""

    def indices(key: Key, examples: int, steps: int) -> Int[Array, "steps size"]:
        _check(size, examples)
        per_epoch = examples // size
        # Sorting random bits is a shuffle, and compiles and runs faster than jax.random.permutation.
        bits = lambda epoch: jax.random.bits(jax.random.fold_in(key, epoch), (examples,))
        order = jnp.argsort(jax.vmap(bits)(jnp.arange(-(-steps // per_epoch))))
        return order[:, : per_epoch * size].reshape(-1, size)[:steps]

    return Batches(size, indices)


def _check(size: int, examples: int) -> None:
    if not 1 <= size <= examples:
        raise ValueError(f"batch size {size}: the data has {examples} examples; take from 1 to {examples}")
