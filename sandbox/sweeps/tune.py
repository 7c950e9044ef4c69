"""tune: which point is best, how sure that is, and how far its learning rate is from the cliff."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float

from sandbox.data.batches import Batches
from sandbox.engine.guard import DIVERGED, OK
from sandbox.engine.loop import full_loss, run
from sandbox.problems.problem import Problem
from sandbox.sweeps.grid import sweep
from sandbox.sweeps.halving import Budget, hyperband
from sandbox.sweeps.space import Axis, choice, log

DEFAULT_RATES = log(1e-4, 10.0, 41)
AROUND = np.geomspace(1 / 30, 30, 41)  # the rates that are tried around one that was found, in units of it


class Tuned(NamedTuple):
    """The best learning rate and its neighbourhood; NaN where there is none."""

    learning_rate: float
    value: float  # the final objective there, median over seeds
    low: float  # the lowest and the highest of them
    high: float
    safe_low: float  # of the unbroken run of rates around the best one at which every seed stays finite and ends
    safe_high: float  # below where it started
    margin: float  # safe_high / learning_rate: how far from the cliff
    notes: tuple[str, ...]  # what a reader of these numbers must know, a sentence each
    dataset: Any  # value, start, status and diverged_at over learning_rate × seed, an xarray.Dataset
    point: Mapping[str, float]  # every hyper-parameter that was searched, the learning rate among them
    search: Any = None  # the dataset of `hyperband`, where there was a space or a budget

    @property
    def at_edge(self) -> bool:
        """Whether the best rate is the lowest or the highest of those that were tried."""
        rates = self.dataset.learning_rate.values
        return self.learning_rate in (rates.min(), rates.max())


def tune(
    problem: Problem,
    optimizer: Callable[..., Any],
    space: Mapping[str, Axis] | None = None,
    budget: Budget | None = None,
    *,
    learning_rate: Any = DEFAULT_RATES,
    seeds: Iterable[int] = range(4),
    steps: int = 1000,
    batch_size: int | None = None,
    batches: Batches | None = None,
    store: str | os.PathLike | None = None,
    memory: int | str | None = None,
    progress: bool = True,
) -> Tuned:
    """The learning rate whose median final objective over seeds is the lowest, and the range of rates that are safe.

        tuned = tune(problem, optimizers.adam, steps=500, batch_size=128)
        tuned = tune(problem, optimizers.adam, {"learning_rate": log(1e-4, 1.0), "b1": linear(0.0, 0.99)},
                     Budget(seconds=60), steps=500, batch_size=128)

    `optimizer` is a factory that is called with one learning rate. Only rates with the fewest diverged seeds, none as a
    rule, are candidates; of two that are equally good the lower one is taken, which is farther from the cliff. One
    sweep does it all, so `store`, `memory` and `progress` mean what they mean there.

    With a `space` of ranges, or a `budget`, Hyperband searches first, with the first seed; the sweep is then one around
    the rate that it found, all else as in the best point. The budget is what the search may take.
    Raises ValueError for an optimizer in place of a factory, for rates that are not positive, for seeds that are a
    number.
    """
    if hasattr(optimizer, "update") or not callable(optimizer):
        given = getattr(optimizer, "__name__", type(optimizer).__name__)
        raise ValueError(f"tune got {given} as optimizer; expected a function of the rate, adam and not adam(1e-3)")
    if not isinstance(seeds, Iterable):
        raise ValueError(f"seeds={seeds!r}: expected the seeds themselves, like range({seeds})")
    seeds, grid, found, others = list(seeds), _positive(learning_rate), None, {}
    if space or budget:
        ranges: dict[str, Any] = {"learning_rate": _range(grid)} | dict(space or {})
        found = hyperband(
            problem,
            lambda learning_rate, **rest: optimizer(learning_rate, **rest),
            steps=steps,
            budget=budget,
            seed=next(iter(seeds), 0),
            batch_size=batch_size,
            batches=batches,
            progress=progress,
            **ranges,
        )
        others = best_point(found)
        grid = choice(*(others.pop("learning_rate") * AROUND).tolist())
    # A partial, not a closure: then whatever problem and optimizer refer to is looked at when programs are remembered.
    train = partial(_train, problem, partial(optimizer, **others), steps, batch_size, batches)
    tuned = judge(sweep(train, learning_rate=grid, seed=seeds, store=store, memory=memory, progress=progress))
    return tuned._replace(point={**tuned.point, **others}, search=found)


def judge(ds: Any) -> Tuned:
    """The verdict on final objectives over learning_rate × seed: `value`, `start` and `status` of a dataset."""
    table = ds.sortby("learning_rate").transpose("learning_rate", "seed", ...)
    rates = table.learning_rate.values
    final, start = (np.asarray(table[name].values, float) for name in ("value", "start"))
    finite = (table.status.values != DIVERGED) & np.isfinite(final)
    lost = (~finite).sum(axis=1)
    if not finite.any():
        notes: tuple[str, ...] = (f"every run diverged; try rates below {rates[0]:.4g}",)
        return _tuned([np.nan] * 7, notes, ds)
    kept = np.where(finite, final, np.nan)
    median = np.full(len(rates), np.inf)
    candidates = lost == lost.min()
    median[candidates] = np.nanmedian(kept[candidates], axis=1)
    best = int(np.argmin(median))
    safe = _run_around(best, (finite & (final < start)).all(axis=1))
    low, high = (rates[safe[0]], rates[safe[-1]]) if len(safe) else (np.nan, np.nan)
    numbers = (rates[best], median[best], np.nanmin(kept[best]), np.nanmax(kept[best]), low, high, high / rates[best])
    notes = tuple(_notes(rates, best, safe, lost, finite.shape[1]))
    return _tuned(numbers, notes, ds)


def best_point(ds: Any) -> dict[str, float]:
    """Of the points of a search that came furthest, the one of the lowest objective; ValueError where all diverged."""
    value = np.where((ds.status.values == OK) & np.isfinite(ds.value.values), ds.value.values, np.inf)
    best = np.lexsort((value, -ds.steps.values * np.isfinite(value)))[0]
    if value[best] == np.inf:
        raise ValueError("every point of the search diverged; search lower learning rates")
    axes = (name for name in ds.coords if name not in ("point", "bracket"))
    return {str(name): float(ds[name].values[best]) for name in axes}


def _range(grid: Axis) -> Axis:
    """The range that a grid of rates spans, to be drawn from."""
    low, high = min(grid.values), max(grid.values)
    return log(low, high) if low < high else Axis((), at=lambda u: np.full(np.shape(u), low))


def _tuned(numbers: Sequence[Any], notes: tuple[str, ...], ds: Any) -> Tuned:
    rate, value, low, high, safe_low, safe_high, margin = map(float, numbers)
    return Tuned(rate, value, low, high, safe_low, safe_high, margin, notes, ds, {"learning_rate": rate})


def _train(
    problem: Problem,
    optimizer: Callable[..., Any],
    steps: int,
    batch_size: int | None,
    batches: Batches | None,
    *,
    learning_rate: Any,
    seed: Any,
) -> dict[str, Any]:
    """Where a run starts and ends, on all data."""
    r = run(
        problem,
        optimizer(learning_rate),
        steps=steps,
        key=jax.random.key(seed),
        batch_size=batch_size,
        batches=batches,
        record=full_loss,
        every=steps,
    )
    return {"value": r.value, "start": r.trace["loss"][0], "status": r.status, "diverged_at": r.diverged_at}


def _positive(rates: Any) -> Any:
    """The rates as an axis; ValueError where one is no positive number."""
    axis = rates if isinstance(rates, Axis) else choice(*np.atleast_1d(np.asarray(rates)).tolist())
    for rate in axis.values:
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < np.inf:
            raise ValueError(f"learning_rate={rate!r}: tune takes positive numbers, like log(1e-4, 10.0, 41)")
    return axis


def _run_around(best: int, good: Bool[np.ndarray, " rates"]) -> range:
    """The unbroken run of good places that holds the best one; empty where the best one is none of them."""
    if not good[best]:
        return range(0)
    bad = np.flatnonzero(~good)
    below, above = bad[bad < best], bad[bad > best]
    return range(int(below[-1]) + 1 if len(below) else 0, int(above[0]) if len(above) else len(good))


def _notes(rates: Float[np.ndarray, " rates"], best: int, safe: range, lost: np.ndarray, seeds: int) -> Iterator[str]:
    """What the numbers alone do not say."""
    if lost[best]:
        yield f"no rate keeps every seed finite: at the best one {lost[best]} of {seeds} diverged"
    elif not safe:
        yield "no rate is safe: even at the best one a seed ends no lower than it started"
    if best == 0:
        yield f"the best rate is the lowest that was tried; widen the grid below {rates[0]:.4g}"
    if best == len(rates) - 1:
        yield f"the best rate is the highest that was tried; widen the grid above {rates[-1]:.4g}"
    elif safe and safe[-1] == len(rates) - 1:
        yield f"the cliff lies beyond the grid, above {rates[-1]:.4g}: the margin is at least this"
