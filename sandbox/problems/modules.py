"""Any flax module of the user's as a problem."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike

from sandbox.problems.examples import Examples
from sandbox.problems.problem import Problem, nothing
from sandbox.types import Array, Key, Metrics, Params

LossOfOne = Callable[[Any, Any], Array]
Predict = Callable[[Params, Array, Key | None], Array]  # one prediction a row


def from_flax(
    module: Any,
    X: ArrayLike,
    y: ArrayLike,
    loss: LossOfOne,
    *,
    X_test: ArrayLike | None = None,
    y_test: ArrayLike | None = None,
    name: str | None = None,
) -> Problem:
    """The mean over examples of loss(module(x), y), for a flax module that maps a batch of rows to a batch of rows.

    linen: `init` draws new parameters from its key. A `train` or `training` flag of the module is set in the loss and
    clear in `evaluate`, a `deterministic` flag the other way round; dropout draws from the key of the loss. Batch
    statistics are those of the batch in the loss, where the running ones are discarded so that runs stay pure, and are
    computed afresh from all training data in `evaluate`. Give `use_running_average` from such a flag.
    nnx: a module, whose own parameters are then the start whatever the key, or a function of nnx.Rngs that builds one.
    Modules with further state (nnx dropout or batch norm, other linen collections) raise a ValueError.
    `evaluate` gives the held-out loss, and the accuracy where y holds integer labels and the module gives scores.
    """
    import flax.linen
    import flax.nnx

    train = _examples("X", X, "y", y)
    if (X_test is None) != (y_test is None):
        raise ValueError("X_test and y_test come together; only one of them was given")
    if isinstance(module, flax.linen.Module):
        init, predict, held_out = _linen(module, train)
    elif isinstance(module, flax.nnx.Module) or callable(module):
        init, predict, held_out = _nnx(module)
    else:
        raise ValueError(f"{type(module).__name__} is not a flax module; expected one of linen or nnx")

    def mean_loss(predictions: Array, y: Array) -> Array:
        return jnp.mean(jax.vmap(loss)(predictions, y))

    def objective(params: Params, batch: Examples, key: Key | None) -> Array:
        X, y = (_float(a) for a in batch)
        return mean_loss(_rows(predict(params, X, key), X), y)

    def evaluate(test: Examples, params: Params) -> Metrics:
        X, y = (_float(a) for a in test)
        predictions = _rows(held_out(params, X, None), X)
        metrics = {"loss": mean_loss(predictions, y)}
        if jnp.issubdtype(y.dtype, jnp.integer) and y.ndim == 1 and predictions.ndim == 2 and predictions.shape[1] > 1:
            metrics["accuracy"] = jnp.mean(jnp.argmax(predictions, 1) == y, dtype=predictions.dtype)
        return metrics

    test = None if X_test is None or y_test is None else _examples("X_test", X_test, "y_test", y_test)
    return Problem(
        name=name or getattr(module, "name", None) or getattr(module, "__name__", None) or _class(module),
        init=init,
        loss=objective,
        data=train,
        evaluate=nothing if test is None else partial(evaluate, test),
    )


def _linen(module: Any, train: Examples) -> tuple[Callable[[Key], Params], Predict, Predict]:
    """init, the prediction while training, and the prediction with the statistics of all training data."""
    flags = inspect.signature(type(module).__call__).parameters

    def mode(training: bool) -> dict[str, bool]:
        when = {"train": training, "training": training, "deterministic": not training}
        return {flag: value for flag, value in when.items() if flag in flags}

    def variables(key: Key) -> Any:
        keys = dict(zip(("params", "dropout"), jax.random.split(key), strict=True))
        return module.init(keys, _float(train.X[:1]), **mode(False))

    shapes = jax.eval_shape(variables, jax.random.key(0))
    if foreign := sorted(set(shapes) - {"params", "batch_stats"}):
        raise ValueError(f"{_class(module)} keeps state in {', '.join(foreign)}; expected params and batch_stats only")

    def apply(params: Params, stats: Any, X: Array, key: Key | None, training: bool) -> tuple[Array, Any]:
        key = jax.random.key(0) if key is None else key
        known = {"params": params} | ({"batch_stats": stats} if stats else {})
        rows, fresh = module.apply(known, X, rngs={"dropout": key}, mutable=["batch_stats"], **mode(training))
        return rows, fresh.get("batch_stats", {})

    def statistics(params: Params) -> Any:
        """What the running averages tend to, b, from two updates a ← m a + (1 − m) b with an unknown momentum m.

        From 0 comes u = (1 − m) b, and from u then v = (1 + m) u; hence b = u² / (2u − v).
        """
        update = lambda stats: apply(params, stats, _float(train.X), None, True)[1]
        initial = _initial_statistics(variables, shapes)
        u = update(jax.tree.map(jnp.zeros_like, initial))
        limit = lambda a, u, v: jnp.where(u == 0, a, u**2 / jnp.where(u == 0, 1, 2 * u - v))
        return jax.tree.map(limit, initial, u, update(u))

    return (
        lambda key: variables(key).get("params", {}),
        lambda params, X, key: apply(params, _initial_statistics(variables, shapes), X, key, True)[0],
        lambda params, X, key: apply(params, statistics(params), X, key, False)[0],
    )


def _initial_statistics(variables: Callable[[Key], Any], shapes: Any) -> Any:
    """The running averages that a linen module starts with; they depend on no key."""
    return variables(jax.random.key(0))["batch_stats"] if "batch_stats" in shapes else {}


def _nnx(module: Any) -> tuple[Callable[[Key], Params], Predict, Predict]:
    """init and the prediction, twice: without further state, training and testing are the same."""
    from flax import nnx

    given = isinstance(module, nnx.Module)
    model = module if given else nnx.eval_shape(lambda: module(nnx.Rngs(0)))
    graph, own, rest = nnx.split(model, nnx.Param, ...)
    if jax.tree.leaves(rest):
        kinds = sorted({type(v).__name__ for _, v in nnx.to_flat_state(rest)})
        raise ValueError(
            f"{_class(model)} keeps state in {', '.join(kinds)}; expected nnx.Param only, or a linen module"
        )

    def init(key: Key) -> Params:
        return nnx.to_pure_dict(own if given else nnx.state(module(nnx.Rngs(key)), nnx.Param))

    def predict(params: Params, X: Array, key: Key | None) -> Array:
        state = jax.tree.map(lambda a: a, own)
        nnx.replace_by_pure_dict(state, params)
        return nnx.merge(graph, state)(X)

    return init, predict, predict


def _rows(predictions: Array, X: Array) -> Array:
    """The predictions, if there is one for each row of X."""
    if predictions.shape[:1] != X.shape[:1]:
        raise ValueError(f"the module maps {X.shape} to {predictions.shape}; expected one prediction for each row")
    return predictions


def _examples(X_name: str, X: ArrayLike, y_name: str, y: ArrayLike) -> Examples:
    """Read-only copies with as many rows in X as in y, and no NaN or infinity."""
    arrays = {X_name: np.array(X), y_name: np.array(y)}
    for name, a in arrays.items():
        if a.dtype.kind not in "fiub" or a.ndim == 0 or len(a) == 0:
            raise ValueError(f"{name} has dtype {a.dtype} and shape {a.shape}; expected numbers with examples in rows")
        bad = np.argwhere(~np.isfinite(a))
        if len(bad):
            raise ValueError(f"{name} holds {a[tuple(bad[0])]} in row {bad[0][0]}; expected finite numbers")
        a.setflags(write=False)
    if len(arrays[X_name]) != len(arrays[y_name]):
        raise ValueError(
            f"{X_name} has {len(arrays[X_name])} rows and {y_name} {len(arrays[y_name])}; expected as many"
        )
    return Examples(*arrays.values())


def _float(a: ArrayLike) -> Array:
    """Real numbers in JAX's default precision; integers, labels say, stay integers."""
    a = jnp.asarray(a)
    return a.astype(jnp.result_type(float)) if jnp.issubdtype(a.dtype, jnp.floating) else a


def _class(module: Any) -> str:
    return type(module).__name__
