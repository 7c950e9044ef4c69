"""The dimension of a set drawn on a grid, by counting the boxes that it meets (Falconer 2003, chapter 3)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int


def boundary(inside: Bool[np.ndarray, "a b"]) -> Bool[np.ndarray, "a b"]:
    """The cells whose next one along either axis has another verdict."""
    edge = np.zeros(np.shape(inside), bool)
    edge[:-1] |= np.diff(inside, axis=0) != 0
    edge[:, :-1] |= np.diff(inside, axis=1) != 0
    return edge


def box_counts(cells: Bool[np.ndarray, "a b"], sizes: Sequence[int]) -> Int[np.ndarray, " sizes"]:
    """For each size s, how many boxes of s × s cells, laid side by side from the first cell on, hold one of the set.

    Raises ValueError for a size below one cell, and for a set that has no cell.
    """
    places = np.argwhere(cells)
    if len(places) == 0:
        raise ValueError("the set is empty and has no dimension: no cell of the grid belongs to it")
    if min(sizes, default=0) < 1:
        raise ValueError(f"sizes={tuple(sizes)}: expected boxes of one cell or more to each side")
    return np.array([len(np.unique(places // size, axis=0)) for size in sizes])


def dimension(cells: Bool[np.ndarray, "a b"], sizes: Sequence[int] | None = None) -> float:
    """The slope of log N(s) against log 1/s by least squares: 1 for a line, 2 for an area, a fraction for a fractal.

    By default the sizes are the powers of two up to an eighth of the shorter side: larger ones are all met.
    Raises ValueError for fewer than two sizes, and as `box_counts` does.
    """
    if sizes is None:
        sizes = powers(min(np.shape(cells)) // 8)
    if len(set(sizes)) < 2:
        raise ValueError(f"sizes={tuple(sizes)}: a slope needs two or more; give a grid of 16 cells or more a side")
    slope, _ = np.polyfit(-np.log(sizes), np.log(box_counts(cells, sizes)), 1)
    return float(slope)


def powers(largest: int) -> tuple[int, ...]:
    """1, 2, 4, … up to the largest."""
    return tuple(2**k for k in range(max(largest, 0).bit_length()))


def exponents(counts: Float[np.ndarray, " sizes"], sizes: Sequence[int]) -> Float[np.ndarray, " sizes-1"]:
    """The slope between each size and the next: the same everywhere where a set is alike at all scales."""
    return -np.diff(np.log(counts)) / np.diff(np.log(sizes))
