"""Paths over the ground: where the steps of a run lie in a plane, how far outside it, and how a random walk would."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from sandbox.landscape.directions import flat, steps
from sandbox.landscape.surface import check
from sandbox.types import Params

Vector = Float[np.ndarray, " steps"]
Window = tuple[tuple[float, float], tuple[float, float]]


class Projection(NamedTuple):
    """The nearest point of a plane to each step of a path."""

    a: Vector  # its coordinates along u and v
    b: Vector
    distance: Vector  # ‖xₖ − centre‖
    outside: Vector  # of this, the length at right angles to the plane

    @property
    def fraction(self) -> float:
        """√(Σ outside² / Σ distance²): 0 for a path in the plane, 1 at right angles to it, NaN where a step is lost."""
        whole = _length(self.distance)
        return float(_length(self.outside) / whole) if whole else 0.0


def project(path: Params, centre: Params, u: Params, v: Params) -> Projection:
    """argmin over (a, b) of ‖centre + a u + b v − xₖ‖ for each step k, the leading axis of every leaf of path.

    Least squares in double precision: the directions need not be at right angles, nor of length 1.
    Raises ValueError for an empty path, and for parallel directions.
    """
    count = steps(path)
    check(centre, u, v)
    like, found = (jax.tree.map(np.shape, centre), jax.tree.map(lambda x: np.shape(x)[1:], path))
    if like != found:
        raise ValueError(f"the steps of the path are shaped {found}; expected those of the centre, {like}")
    basis = np.stack([flat(u), flat(v)], axis=1)
    q, r = np.linalg.qr(basis)
    rows = flat(path, (count,)) - flat(centre)
    inside = rows @ q
    a, b = np.linalg.solve(r, inside.T)
    return Projection(a, b, _length(rows), _length(rows - inside @ q.T))


def random_walk(points: int, components: int = 3) -> Float[np.ndarray, " components"]:
    """The shares of variance of a random walk's first principal components, in ever more dimensions.

    ρₖ = 3 / (2 (n² − 1) sin²(πk/2n)) for a walk of n points (Antognini & Sohl-Dickstein 2018), which nears 6/π²k²:
    60.8 %, 15.2 %, 6.8 %, … A path is of few dimensions only where its shares are larger than these.
    Raises ValueError for fewer components than one, or more than the n − 1 that there are.
    """
    if not 1 <= components < points:
        raise ValueError(f"components={components} of a walk of {points} points: expected from 1 to {points - 1}")
    k = np.arange(1, components + 1)
    return 3 / (2 * (points**2 - 1) * np.sin(np.pi * k / (2 * points)) ** 2)


def window(points: Iterable[Any], domain: tuple[Any, Any] | None = None, margin: float = 0.2) -> Window:
    """The square ((x₀, x₁), (y₀, y₁)) around points of the plane, and a margin; the domain where they are all one.

    Points outside the domain are left out, as are those that are not finite: a run that flies off shows where it began.
    """
    places = np.concatenate([np.reshape(np.asarray(p, float), (-1, 2)) for p in points] or [np.empty((0, 2))])
    places = places[np.isfinite(places).all(axis=1)]
    if domain is not None:
        low, high = (np.broadcast_to(np.asarray(end, float), (2,)) for end in domain)
        places = places[((low <= places) & (places <= high)).all(axis=1)]
        if len(places) == 0 or not np.ptp(places, axis=0).any():
            return (low[0], high[0]), (low[1], high[1])
    if len(places) == 0:
        return (-1.0, 1.0), (-1.0, 1.0)
    middle = (places.min(axis=0) + places.max(axis=0)) / 2
    half = (0.5 + margin) * np.ptp(places, axis=0).max() or 1.0
    (x0, y0), (x1, y1) = middle - half, middle + half
    return (float(x0), float(x1)), (float(y0), float(y1))


def _length(rows: Float[np.ndarray, "*steps n"]) -> Float[np.ndarray, "*steps"]:
    """‖x‖ along the last axis, also of a run that flies off to where squares overflow."""
    largest = np.abs(rows).max(axis=-1, keepdims=True)
    unit = rows / np.where(largest > 0, largest, 1)
    return largest[..., 0] * np.linalg.norm(unit, axis=-1)
