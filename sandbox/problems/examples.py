"""Arrays become examples: checked once, copied, read-only; labels become places in their sorted list."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

Matrix = Float[np.ndarray, "examples features"]
Vector = Shaped[np.ndarray, " examples"]

FEATURES = ("examples, features",)  # what the axes of inputs may be
PICTURES = ("examples, height, width", "examples, height, width, channels")


class Examples(NamedTuple):
    """Inputs and targets, one per row."""

    X: Any
    y: Any


def inputs(X: Any, y: Any, forms: tuple[str, ...] = FEATURES) -> tuple[np.ndarray, Vector]:
    """X as a read-only float64 array of one of some forms, and y as it is, checked."""
    X = array("X", X, forms)
    y = np.asarray(y)
    if y.shape != (len(X),):
        raise ValueError(f"y has shape {y.shape}; expected ({len(X)},), one target for each of the {len(X)} rows of X")
    return X, y


def held_out(X: np.ndarray, X_test: Any, y_test: Any, code: Callable[[str, Any], Vector]) -> Examples | None:
    """Examples like those of X for testing, where there are any; `code` turns their targets into numbers."""
    if (X_test is None) != (y_test is None):
        raise ValueError("X_test and y_test come together; only one of them was given")
    if X_test is None:
        return None
    X_test = array("X_test", X_test, FEATURES + PICTURES)
    if X_test.shape[1:] != X.shape[1:] or np.shape(y_test) != (len(X_test),):
        expected = ", ".join(map(str, ("m", *X.shape[1:])))
        raise ValueError(
            f"X_test has shape {X_test.shape} and y_test {np.shape(y_test)}; expected ({expected}) and (m,)"
        )
    return Examples(X_test, frozen(code("y_test", y_test)))


def array(name: str, X: Any, forms: tuple[str, ...]) -> np.ndarray:
    """Read-only float64, from a dense or a SciPy sparse array whose axes are one of some forms, none of length 0."""
    if hasattr(X, "toarray"):
        X = X.toarray()
    X = real(name, X)
    if X.ndim not in {form.count(",") + 1 for form in forms} or 0 in X.shape:
        expected = " or ".join(f"({form})" for form in forms)
        raise ValueError(f"{name} has shape {X.shape}; expected {expected}, and no axis of length 0")
    return frozen(X)


def real(name: str, values: Any) -> np.ndarray:
    """A float64 copy; a ValueError that names the first row with a NaN or an infinity."""
    try:
        values = np.array(values, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is not an array of real numbers: {error}") from None
    bad = ~np.isfinite(values)
    if bad.any():
        where = np.argwhere(bad)[0]
        raise ValueError(f"{name} holds {values[tuple(where)]} in row {where[0]}; expected finite numbers")
    return values


def distinct(y: np.ndarray) -> np.ndarray:
    """The distinct labels, sorted; a ValueError where there is nothing to tell apart."""
    if y.dtype.kind == "f":
        real("y", y)
    labels = np.unique(y)
    if len(labels) < 2:
        raise ValueError(f"y holds only the label {labels[0]}; expected at least 2 distinct labels")
    return labels


def two(problem: str, y: np.ndarray) -> np.ndarray:
    """The two distinct labels; a ValueError where there are more."""
    labels = distinct(y)
    if len(labels) > 2:
        raise ValueError(f"{problem}: y has {len(labels)} distinct labels; expected 2, softmax takes more")
    return labels


def signs(problem: str, y: np.ndarray) -> Callable[[str, Any], Vector]:
    """What gives −1 for the smaller of two labels and +1 for the larger."""
    pair = two(problem, y)
    return lambda name, y: 2.0 * coded(name, y, pair) - 1.0


def coded(name: str, y: Any, labels: np.ndarray) -> np.ndarray:
    """The place of each label in the sorted list of labels."""
    y = np.asarray(y)
    places = np.minimum(np.searchsorted(labels, y), len(labels) - 1)
    strange = labels[places] != y
    if strange.any():
        row = int(np.argmax(strange))
        raise ValueError(f"{name} holds the label {y[row]} in row {row}; expected one of those in y")
    return places


def frozen(a: np.ndarray) -> np.ndarray:
    """The array itself, read-only from now on."""
    a.setflags(write=False)
    return a
