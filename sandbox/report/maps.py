"""Maps: contours of the objective on a plane, and what lies over them."""

from typing import TYPE_CHECKING, Any

import numpy as np

from sandbox.report.plots import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def contours(
    ax: "Axes", a: Any, b: Any, values: Any, *, label: str = "objective above its lowest value here"
) -> "Axes":
    """values[i, j] at (aᵢ, bⱼ), in levels log-spaced above the lowest; what is not finite stays blank.

    Raises ValueError where nothing is finite.
    """
    from matplotlib import colormaps
    from matplotlib.colors import BoundaryNorm

    values = np.asarray(values, float).T
    if not np.isfinite(values).any():
        raise ValueError("no point of the plane has a finite value: there is nothing to draw")
    above = np.ma.masked_invalid(values) - values[np.isfinite(values)].min()
    ax.set(xlim=(a[0], a[-1]), ylim=(b[0], b[-1]), box_aspect=1)
    ax.grid(visible=False)
    rises = above.compressed()[above.compressed() > 0]
    if rises.size == 0:
        return ax
    levels, ticks = _levels(max(float(np.quantile(rises, 0.005)), float(rises.max()) * 1e-9), float(rises.max()))
    norm = BoundaryNorm(levels, colormaps["cividis"].N)
    filled = ax.contourf(a, b, above, levels=levels, norm=norm, cmap="cividis")
    ax.contour(a, b, above, levels=levels[1::3], colors="white", linewidths=0.4, alpha=0.6)
    ax.figure.colorbar(filled, ax=ax, label=label, pad=0.02, shrink=0.9, ticks=ticks, format="{x:.3g}")
    return ax


def _levels(low: float, top: float) -> tuple[np.ndarray, np.ndarray]:
    """0, then log-spaced levels over low … top, on whole decades where there are two or more; and those to name."""
    if top < 100 * low:
        levels = np.geomspace(min(low, top / 2), top, 25)
        return np.array([0, *levels]), levels[::4]
    first, last = np.floor(np.log10(low)), np.ceil(np.log10(top))
    decades = int(last - first)
    each = max(1, 24 // decades)
    levels = np.logspace(first, last, decades * each + 1)
    return np.array([0, *levels]), levels[:: each * max(1, decades // 8)]


def track(ax: "Axes", x: Any, y: Any, label: str, *, minimizers: Any = ()) -> "Axes":
    """A path over contours, from its open ring to its disc; minimizers are stars."""
    if len(x):
        every = max(1, len(x) // 30)
        ax.plot(x, y, color="white", lw=3.4, alpha=0.8, zorder=3)
        ax.plot(x, y, color=COLOURS[1], lw=1.6, marker=".", ms=6, markevery=every, label=label, zorder=4)
        ax.plot(x[0], y[0], "o", ms=9, mfc="white", mec=COLOURS[1], mew=1.8, ls="none", label="start", zorder=5)
        ax.plot(x[-1], y[-1], "o", ms=7, mfc=COLOURS[1], mec="white", mew=1.2, ls="none", label="end", zorder=7)
    stars = np.reshape(np.asarray(minimizers, float), (-1, 2))
    if len(stars):
        ax.plot(*stars.T, "*", ms=14, mfc="#F0E442", mec="black", mew=0.8, ls="none", label="minimum", zorder=6)
    if len(x) or len(stars):
        ax.legend(frameon=True, framealpha=0.9)
    return ax


def cells(ax: "Axes", x: Any, y: Any, values: Any, *, label: str, log: bool = False) -> "Axes":
    """values[i, j] as a cell around (xᵢ, yⱼ), on the scales that the axes have; what is not finite is hatched."""
    from matplotlib.colors import LogNorm, Normalize

    edges = [_edges(np.asarray(at, float), axis.get_scale() == "log") for at, axis in ((x, ax.xaxis), (y, ax.yaxis))]
    values = np.asarray(values, float).T
    known = np.ma.masked_invalid(np.where((values > 0) | (not log), values, np.nan))
    norm = (LogNorm if log else Normalize)(known.min(), known.max())
    shown = ax.pcolormesh(*edges, known, cmap="cividis", norm=norm, rasterized=True)
    ax.patch.set(hatch="////", edgecolor="#c4c7cc", linewidth=0)  # seen where there is no cell
    ax.figure.colorbar(shown, ax=ax, label=label, pad=0.02)
    ax.grid(visible=False)
    ax.set(xlim=edges[0][[0, -1]], ylim=edges[1][[0, -1]])
    return ax


def _edges(at: np.ndarray, log: bool) -> np.ndarray:
    """Half-way between neighbours, and as far beyond the ends."""
    at = np.log(at) if log else at
    inner = (at[1:] + at[:-1]) / 2
    edges = np.concatenate([[2 * at[0] - inner[0]], inner, [2 * at[-1] - inner[-1]]])
    return np.exp(edges) if log else edges
