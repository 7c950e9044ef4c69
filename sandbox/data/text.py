"""Text as integers: a vocabulary, windows whose next symbols are to be predicted, and the way back."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Int


class Windows(NamedTuple):
    """Symbols as they follow each other, and the next symbol after each of them."""

    X: Int[np.ndarray, "windows context"]
    y: Int[np.ndarray, "windows context"]


def vocabulary(text: str) -> str:
    """The distinct symbols of a text, sorted; the code of a symbol is its place."""
    return "".join(sorted(set(text)))


def encode(text: str, symbols: str) -> Int[np.ndarray, " length"]:
    """The place of each character in `symbols`; a ValueError names the first that has none."""
    if not symbols or len(set(symbols)) < len(symbols):
        raise ValueError(f"symbols={symbols!r}: expected at least one, each of them once")
    known, characters = _points(symbols), _points(text)
    order = np.argsort(known)
    place = np.searchsorted(known[order], characters).clip(max=len(known) - 1)
    codes = order[place]
    if (foreign := known[codes] != characters).any():
        first = int(np.argmax(foreign))
        raise ValueError(f"character {first} of the text, {text[first]!r}, is none of the symbols {symbols!r}")
    return codes.astype(np.int32)


def decode(codes: Iterable[int] | ArrayLike, symbols: str) -> str:
    """The text of which `encode` made these codes; a ValueError names the first that is no place in `symbols`."""
    places = np.asarray(codes)
    if places.ndim != 1 or (places.size and places.dtype.kind not in "iu"):
        raise ValueError(f"codes of dtype {places.dtype} and shape {places.shape}: expected whole numbers in one row")
    if (foreign := (places < 0) | (places >= len(symbols))).any():
        first = int(np.argmax(foreign))
        raise ValueError(f"code {first} is {places[first]}: expected 0 to {len(symbols) - 1}, a place in {symbols!r}")
    return "".join(symbols[place] for place in places)


def windows(codes: ArrayLike, context: int, stride: int = 1) -> Windows:
    """Every stride-th window of `context` symbols and, one place on, what follows each symbol: y[i] is next to X[i].

    Both are read-only views of the codes, which are not copied. Raises ValueError for a text that is too short.
    """
    places = np.asarray(codes)
    if places.ndim != 1 or places.dtype.kind not in "iu":
        raise ValueError(f"codes of dtype {places.dtype} and shape {places.shape}: expected whole numbers in one row")
    if context < 1 or stride < 1:
        raise ValueError(f"context={context}, stride={stride}: expected whole numbers from 1 up")
    if len(places) <= context:
        raise ValueError(f"{len(places)} symbols: a window of {context} and its next symbol take {context + 1}")
    view = np.lib.stride_tricks.sliding_window_view(places, context + 1)[::stride]
    return Windows(view[:, :-1], view[:, 1:])


def _points(text: str) -> np.ndarray:
    """The Unicode code point of each character."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
