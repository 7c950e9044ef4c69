"""The words that every signature shares."""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
from jaxtyping import PyTree

Array: TypeAlias = jax.Array
Key: TypeAlias = jax.Array  # a typed key, from jax.random.key
Params: TypeAlias = PyTree  # what is optimized: any tree of arrays
Batch: TypeAlias = PyTree  # examples, stacked along the leading axis of every leaf; None where there is no data
Scalar: TypeAlias = float | jax.Array  # a number, perhaps traced
Schedule: TypeAlias = Callable[[Any], Any]  # step count → value; the first step reads schedule(0)
Loss: TypeAlias = Callable[[Params, Batch, Key], Scalar]
Metrics: TypeAlias = dict[str, Any]
