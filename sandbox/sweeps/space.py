"""Axes: what is varied, and how the points of a sweep are laid over it."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from sandbox.store import product

RESERVED = {
    "store",
    "points",
    "plan",
    "memory",
    "keep",
    "executor",
    "progress",
    "step",
    "lane",
    "point",
    "status",
    "diverged_at",
}


class Axis(NamedTuple):
    """The values of one axis. `static` ones loop over programs; `at` maps (0, 1) onto a range that can be sampled."""

    values: tuple[Any, ...]
    static: bool = False
    at: Callable[[np.ndarray], np.ndarray] | None = None

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # an axis reads as its values
        return iter(self.values)


class Points(NamedTuple):
    """Scattered points: each axis has one value at every point."""

    values: dict[str, np.ndarray]


def log(low: float, high: float, count: int | None = None) -> Axis:
    """`count` values from low to high, equally spaced in log x; both ends are included."""
    if not 0 < low < high < math.inf:
        raise ValueError(f"log({low}, {high}): expected 0 < low < high; for a range through 0 take linear")
    return _range(f"log({low}, {high}", low, high, count, np.geomspace, lambda u: low * (high / low) ** u)


def linear(low: float, high: float, count: int | None = None) -> Axis:
    """`count` equally spaced values from low to high; both ends are included."""
    if not -math.inf < low < high < math.inf:
        raise ValueError(f"linear({low}, {high}): expected finite low < high")
    return _range(f"linear({low}, {high}", low, high, count, np.linspace, lambda u: low + (high - low) * u)


def choice(*values: Any) -> Axis:
    """The values as they are; numbers are traced, anything else loops over programs."""
    numbers = all(isinstance(v, int | float | np.number) and not isinstance(v, bool | np.bool_) for v in values)
    return Axis(values, static=not numbers)


def static(*values: Any) -> Axis:
    """Values that decide the program itself: sizes, names, functions. One compilation each."""
    return Axis(values, static=True)


def sobol(count: int, seed: int = 0, **axes: Axis) -> Points:
    """Scrambled Sobol points (Owen 1998): the first powers of two of them fill the space most evenly."""
    from scipy.stats import qmc

    _count("sobol", count)
    whole = qmc.Sobol(len(axes), rng=seed).random_base2(math.ceil(math.log2(count)))
    return _points(whole[:count], axes)


def halton(count: int, seed: int = 0, **axes: Axis) -> Points:
    """Scrambled Halton points (Halton 1960): even at any number of points, in a few dimensions."""
    from scipy.stats import qmc

    _count("halton", count)
    return _points(qmc.Halton(len(axes), rng=seed).random(count), axes)


def random(count: int, seed: int = 0, **axes: Axis) -> Points:
    """Independent uniform points (Bergstra & Bengio 2012)."""
    _count("random", count)
    return _points(np.random.default_rng(seed).random((count, len(axes))), axes)


class Space(NamedTuple):
    """The lanes of a sweep: the product of its dimensions, the last one fastest."""

    dims: dict[str, tuple]  # dimension → its labels
    axes: dict[str, tuple[str, np.ndarray]]  # traced axis → (dimension, its value at each label)
    static: dict[str, dict[Any, Any]]  # static axis → label → value

    def lanes(self) -> dict[str, np.ndarray]:
        """Every coordinate of every lane, in product order: labels of dimensions, and values of scattered axes."""
        columns = product(self.dims)
        if "point" in columns:
            columns |= {name: values[columns["point"]] for name, (dim, values) in self.axes.items() if dim == "point"}
        return columns


def space(axes: Mapping[str, Any], points: Points | None = None) -> Space:
    """The space of `sweep`'s keyword arguments; ValueError for one that is empty, repeated, NaN or reserved."""
    dims: dict[str, tuple] = {}
    traced: dict[str, tuple[str, np.ndarray]] = {}
    fixed: dict[str, dict[Any, Any]] = {}
    if points is not None:
        dims["point"] = tuple(range(len(next(iter(points.values.values())))))
        traced |= {name: ("point", values) for name, values in points.values.items()}
    for name, values in axes.items():
        axis = _axis(name, values)
        if name in traced:
            raise ValueError(f"axis {name} was given twice: in points and on its own")
        labels = _labels(axis.values) if axis.static else axis.values
        numbers = np.asarray(labels)
        if np.unique(numbers).size < numbers.size or np.any(numbers != numbers):
            raise ValueError(f"axis {name}: {_short(labels)} repeats a value or holds NaN; each must be a label")
        if axis.static:
            fixed[name] = dict(zip(labels, axis.values, strict=True))
            dims[name] = labels
        else:
            dims[name] = tuple(numbers.tolist())
            traced[name] = (name, numbers)
    for name in RESERVED & {*axes, *(points.values if points else ())}:
        raise ValueError(f"'{name}' is a word of sweep itself; give the axis another name")
    return Space(dims, traced, fixed)


def _axis(name: str, values: Any) -> Axis:
    """Any way of writing an axis: an Axis, a sequence or range or array of values, or one value."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        values = (values,)
    axis = values if isinstance(values, Axis) else choice(*(np.asarray(values).tolist() if _array(values) else values))
    if not axis.values:
        if axis.at is not None:
            raise ValueError(f"axis {name}: a range needs a count here, like log(1e-4, 1.0, 64)")
        raise ValueError(f"axis {name} is empty; give it at least one value")
    return axis


def _array(values: Any) -> bool:
    return hasattr(values, "__array__")


def _labels(values: tuple) -> tuple:
    """What static values are called: numbers or words as they are, functions by name, a mixture as text."""
    named = tuple(
        v if isinstance(v, str | bool | int | float) else getattr(v, "__name__", None) or str(v) for v in values
    )
    return named if len({type(v) for v in named}) == 1 else tuple(map(str, named))


def _range(text: str, low: float, high: float, count: Any, spaced: Callable, at: Callable) -> Axis:
    if count is None:
        return Axis((), at=at)
    if not isinstance(count, int | np.integer) or count < 1:
        raise ValueError(f"{text}, {count}): expected a whole number of values, from 1 up")
    return Axis(tuple(spaced(low, high, count).tolist()), at=at)


def _points(unit: np.ndarray, axes: Mapping[str, Axis]) -> Points:
    for name, axis in axes.items():
        if not isinstance(axis, Axis) or axis.at is None:
            raise ValueError(f"axis {name}: points are drawn from a range, like log(1e-4, 1.0) or linear(0, 1)")
    if not axes:
        raise ValueError("points need at least one axis, like sobol(256, learning_rate=log(1e-4, 1.0))")
    return Points({name: axis.at(u) for (name, axis), u in zip(axes.items(), unit.T, strict=True) if axis.at})


def _count(name: str, count: Any) -> None:
    if not isinstance(count, int) or count < 1:
        raise ValueError(f"{name}({count}): expected a whole number of points, from 1 up")


def _short(labels: tuple) -> str:
    text = ", ".join(map(str, labels[:6]))
    return f"[{text}, …]" if len(labels) > 6 else f"[{text}]"
