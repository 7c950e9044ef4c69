"""What is minimised, and what is known about it."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sandbox.regularizers import Regularizer
from sandbox.types import Array, Batch, Key, Metrics, Params, Scalar


class Facts(NamedTuple):
    """What is known about an objective. None is unknown, never a guess."""

    minimum: Scalar | None = None  # f*
    minimizers: tuple[Params, ...] | None = None  # every global minimiser that is known
    smoothness: Scalar | None = None  # L: the gradient of the loss, without a penalty, is L-Lipschitz
    strong_convexity: Scalar | None = None  # μ: f − μ/2 ‖x‖² is convex
    convex: bool | None = None
    domain: tuple[Any, Any] | None = None  # (lower, upper): where one looks, and where the facts hold
    reference: str | None = None


UNKNOWN = Facts()
LEAST = 64  # examples in a piece: with fewer it costs more to read the parameters anew for every one


def nothing(params: Params) -> Metrics:
    """No held-out metrics."""
    return {}


@dataclass(frozen=True, eq=False)
class Problem:
    """The objective is loss + penalty; a plain optimizer sees the (sub)gradient of both.

    loss(params, batch, key) → scalar; a loss of one or two arguments is wrapped. The key is for noise and dropout.
    data is a tree of arrays with a leading example axis, or None where the loss needs none.
    structure is what `solve` may exploit, or None.
    """

    name: str
    init: Callable[[Key], Params]
    loss: Callable[..., Scalar]
    data: Batch = None
    penalty: Regularizer | None = None
    structure: Any = None
    evaluate: Callable[[Params], Metrics] = nothing
    facts: Facts = UNKNOWN

    def __post_init__(self) -> None:
        object.__setattr__(self, "loss", _three_arguments(self.loss))
        _finite(self.name, self.data)

    def objective(self, params: Params, batch: Batch = None, key: Key | None = None) -> Scalar:
        """loss + penalty on a batch; on all data where none is given."""
        batch = self.data if batch is None else batch
        value = self.loss(params, batch, key)
        return value if self.penalty is None else value + self.penalty(params)


def average(each: Callable[[Params, Batch], Array], params: Params, batch: Batch, key: Key | None) -> Scalar:
    """(1/n) Σ ℓᵢ, where each(params, batch) is the vector of all ℓᵢ, and ℓᵢ depends on no other example.

    `partial(average, each)` is a loss that says so: all data may then be taken piece after piece.
    """
    return jnp.mean(each(params, batch))


def averages(loss: Callable[..., Scalar]) -> bool:
    """Whether a loss is known to be an `average`."""
    return isinstance(loss, partial) and loss.func is average


def streamed(measure: Callable[[Batch], Any], size: int, batch: Batch) -> Any:
    """Σ nₖ m(batchₖ) / n over pieces of `size` examples and the rest."""
    lengths = {x.shape[:1] for x in jax.tree.leaves(batch)}
    if len(lengths) != 1 or lengths == {()}:
        raise ValueError(f"examples={size}: expected data, with one leading axis of examples on every leaf")
    ((n,),) = lengths
    pieces, rest = divmod(n, size)
    if pieces == 0 or n == size:
        return measure(batch)
    split = jax.tree.map(lambda x: x[: n - rest].reshape(pieces, size, *x.shape[1:]), batch)
    mean = jax.tree.map(lambda x: jnp.mean(x, axis=0), jax.lax.map(measure, split))
    if not rest:
        return mean
    last = measure(jax.tree.map(lambda x: x[n - rest :], batch))
    return jax.tree.map(lambda x, y: ((n - rest) * x + rest * y) / n, mean, last)


def certify(problem: Problem, solution: Any) -> Problem:
    """A copy of the problem whose facts hold the solved optimum.

    Refused with a ValueError unless the solver says that it converged, and where the problem is known not to be convex,
    for there a stationary point need not be a minimum; where convexity is unknown, the caller vouches for it.
    """
    if solution.status != "converged":
        raise ValueError(f"{problem.name}: only a converged solution is a certificate, this one is '{solution.status}'")
    if problem.facts.convex is False:
        raise ValueError(f"{problem.name} is not convex: a stationary point of it is no certificate of its minimum")
    facts = problem.facts._replace(minimum=solution.value, minimizers=(solution.params,))
    return replace(problem, facts=facts)


def _three_arguments(loss: Callable[..., Scalar]) -> Callable[..., Scalar]:
    """The loss as a function of (params, batch, key), whatever it takes."""
    kinds = [p.kind for p in inspect.signature(loss).parameters.values() if p.default is p.empty]
    if inspect.Parameter.VAR_POSITIONAL in kinds or len(kinds) >= 3:
        return loss
    if len(kinds) == 2:
        return lambda params, batch, key: loss(params, batch)
    return lambda params, batch, key: loss(params)


def _finite(name: str, data: Batch) -> None:
    """ValueError for data, as it lies in memory, with a NaN or an infinity: every step on it would diverge."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(data)[0]:
        if isinstance(leaf, np.ndarray) and np.issubdtype(leaf.dtype, np.inexact) and not np.isfinite(leaf).all():
            row = int(np.argwhere(~np.isfinite(leaf))[0][0]) if leaf.ndim else 0
            where = jax.tree_util.keystr(path, simple=True, separator="/")
            raise ValueError(
                f"{name}: data {where} has a NaN or an infinity in row {row}; clean it, or leave the row out"
            )
