"""One function for each kind of figure: axes and values in, axes out.

Values are drawn as they are. Points that are not finite leave a gap; at the top edge a cross marks the first of them
and a line their extent. Every curve has a colour (Okabe & Ito 2008, safe for the colour-blind) and a marker, so that it
can be told in grey too.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8A7A00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
GREY = "#5f6368"
DASHED = {"color": "k", "ls": (0, (4, 3)), "lw": 1}  # what is predicted

Values = Any  # an array, or an xarray.DataArray with named dimensions
Theory = Callable[[np.ndarray], Any]


@contextmanager
def style() -> Iterator[None]:
    """Fonts, grid, colours and layout of every figure, while the context lasts."""
    import matplotlib as mpl
    from cycler import cycler

    settings: dict[Any, Any] = {
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.labelsize": 10,
        "axes.linewidth": 0.8,
        "axes.prop_cycle": cycler(color=COLOURS),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlelocation": "left",
        "axes.titlesize": 11,
        "axes.titleweight": "bold",
        "figure.constrained_layout.use": True,
        "figure.dpi": 100,
        "figure.figsize": (6.4, 4.0),
        "font.size": 10,
        "grid.color": "#d9dce1",
        "grid.linewidth": 0.6,
        "legend.fontsize": 9,
        "legend.frameon": False,
        "lines.linewidth": 1.8,
        "lines.markersize": 5,
        "savefig.dpi": 200,
        "savefig.facecolor": "white",
        "svg.fonttype": "path",
        "svg.hashsalt": "sandbox",
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
    }
    with mpl.rc_context(settings):
        yield


def save(fig: "Figure", folder: str | Path, name: str = "figure") -> tuple[Path, Path]:
    """name.png and name.svg in the folder: the same figure gives the same bytes. Its layout stays as it is then."""
    folder = Path(folder)
    png, svg = folder / f"{name}.png", folder / f"{name}.svg"
    with style():
        fig.savefig(png, metadata={"Software": None})
        fig.set_layout_engine("none")  # to arrange many axes takes longer than to draw them: once is enough
        fig.savefig(svg, metadata={"Date": None, "Creator": None})
    return png, svg


def convergence(
    ax: "Axes",
    curves: Mapping[str, Values],
    *,
    steps: Any = None,
    theory: Mapping[str, Theory | Any] | None = None,
    loglog: bool = False,
    ylabel: str = "$f - f^*$",
) -> "Axes":
    """Errors along runs: the median over seeds with its interquartile band, and what theory predicts, dashed.

    A curve is an array (steps,) or (seeds, steps), or a DataArray with the dimension `step`; all others are
    seeds. theory[label] is a function of the step, such as `geometric(…)`, or an array.
    """
    theory = theory or {}
    ax.set_yscale("log")
    if loglog:
        ax.set_xscale("log")
    for row, (label, values) in enumerate(curves.items()):
        k, runs = _runs(values, "step", steps)
        _band(ax, k, runs, label, row)
        if label in theory:
            line = theory[label]
            # Dark, over its curve: in the curve's colour a prediction that comes true could not be seen.
            ax.plot(k, line(k) if callable(line) else line, ls=(0, (4, 3)), lw=1.0, color="black", zorder=4)
    for label in [name for name in theory if name not in curves]:
        line = theory[label]
        shared = np.asarray(ax.lines[0].get_xdata() if ax.lines else steps, float)
        y = line(shared) if callable(line) else line
        ax.plot(shared, y, ls=(0, (5, 2)), lw=1.2, color=GREY, zorder=4, label=label)
    if theory.keys() & curves.keys():
        ax.plot([], [], ls=(0, (4, 3)), lw=1.0, color="black", label="predicted")
    ax.set(xlabel="step", ylabel=ylabel)
    ax.legend()
    return ax


def geometric(rate: float, through: tuple[float, float]) -> Theory:
    """k ↦ rateᵏ through a point: the slope that theory predicts, laid on a curve."""
    k0, e0 = through
    return lambda k: np.exp(np.log(e0) + (np.asarray(k, float) - k0) * np.log(rate))


def power(order: float, through: tuple[float, float]) -> Theory:
    """k ↦ k^(−order) through a point; undefined, and not drawn, at k ≤ 0."""
    k0, e0 = through
    return lambda k: e0 * (np.where(np.asarray(k) > 0, k, np.nan) / k0) ** -order


def rate_curve(
    ax: "Axes",
    curves: Mapping[str, Values],
    *,
    rates: Any = None,
    cliffs: Mapping[str, float] | None = None,
    ylabel: str = "final loss",
) -> "Axes":
    """The U of a learning-rate sweep: median and interquartile band over seeds, its best rate ringed.

    A curve is an array (rates,) or (seeds, rates), or a DataArray with the dimension `learning_rate`. Where
    the median run diverged the curve ends and a cross begins at the top. cliffs[label] is a predicted largest
    stable rate.
    """
    ax.set(xscale="log", yscale="log", xlabel="learning rate", ylabel=ylabel)
    for row, ((label, values), colour) in enumerate(zip(curves.items(), cycle(COLOURS), strict=False)):
        eta, runs = _runs(values, "learning_rate", rates)
        middle = _band(ax, eta, runs, label, row)
        if np.isfinite(middle).any():
            best = int(np.nanargmin(np.where(np.isfinite(middle), middle, np.nan)))
            ax.plot(eta[best], middle[best], "o", ms=11, mfc="none", mec=colour, mew=1.5, zorder=5)
        if label in (cliffs or {}):
            ax.axvline((cliffs or {})[label], color=colour, ls=(0, (2, 2)), lw=1.2)
    if cliffs:
        ax.plot([], [], ls=(0, (2, 2)), lw=1.2, color=GREY, label="predicted cliff")
    ax.legend()
    return ax


def tuning(
    ax: "Axes",
    rates: Any,
    final: Any,
    *,
    start: float | None = None,
    best: float | None = None,
    safe: tuple[float, float] | None = None,
    ylabel: str = "final objective",
) -> "Axes":
    """The U of one optimizer: median and range over seeds of final (rates, seeds), and how far the cliff is.

    The best rate is ringed; the safe range is shaded, and so is the cell of the grid in which the cliff lies; a cross
    at the top is a rate at which a seed diverged. Where an objective is not positive the axis is linear around zero.
    """
    order = np.argsort(rates)
    eta, runs = np.asarray(rates, float)[order], np.asarray(final, float)[order].T
    lost = ~np.isfinite(runs).all(axis=0)
    low, middle, high = (np.where(lost, np.nan, f(runs, axis=0)) for f in (np.min, np.median, np.max))
    ax.set(xscale="log", xlabel="learning rate", ylabel=ylabel)
    if (low > 0).sum() == (~lost).sum():
        ax.set_yscale("log")
    else:
        sizes = np.abs(runs[np.isfinite(runs) & (runs != 0)])
        ax.set_yscale("symlog", linthresh=float(sizes.min()) if sizes.size else 1.0)
    if safe is not None and np.isfinite(safe).all():
        ax.axvspan(*safe, color=COLOURS[2], alpha=0.10, lw=0, label="safe range")
        if (beyond := eta[eta > safe[1]]).size:
            ax.axvspan(safe[1], beyond[0], color=COLOURS[1], alpha=0.45, lw=0, label="here lies the cliff")
    ax.fill_between(eta, low, high, color=COLOURS[0], alpha=0.22, lw=0, label="range over seeds")
    ax.plot(eta, middle, color=COLOURS[0], marker="o", ms=3.5, label="median", zorder=3)
    if best is not None and best in eta:
        ax.plot(best, middle[eta == best], "o", ms=11, mfc="none", mec=COLOURS[0], mew=1.5, zorder=5, label="best")
    if start is not None and np.isfinite(start):
        ax.axhline(start, color=GREY, ls=(0, (1, 2)), lw=1.2, label="start")
        if ax.get_yscale() == "log":
            ax.set_ylim(top=_headroom(start, low[~lost]))
    _crosses(ax, eta, lost, 0)
    ax.legend()
    return ax


def cliff(ax: "Axes", curves: Mapping[str, tuple[Any, Any]]) -> "Axes":
    """The share of runs that diverge against the rate over its predicted cliff: all steps ought to fall on 1.

    A curve is (rate / cliff, diverged); diverged is a verdict or a share, (rates,) or (seeds, rates). Curves
    are shifted apart by rows, since all of them step from 0 to 1 at the same place.
    """
    names = list(curves)
    for row, (label, colour) in enumerate(zip(names, cycle(COLOURS), strict=False)):
        ratio, diverged = (np.asarray(v, float) for v in curves[label])
        share = diverged.mean(axis=0) if diverged.ndim > 1 else diverged
        base = len(names) - 1 - row
        ax.fill_between(ratio, base, base + 0.8 * share, step="mid", color=colour, alpha=0.25, lw=0)
        ax.step(ratio, base + 0.8 * share, where="mid", color=colour, lw=1.8, label=label)
    ax.axvline(1, color="black", ls=(0, (5, 2)), lw=1.2, zorder=4)
    ax.set_yticks([len(names) - 1 - i + 0.4 for i in range(len(names))], names)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", visible=False)
    ax.set(xlabel="learning rate / predicted cliff", ylim=(-0.15, len(names) - 0.05))
    return ax


def agreement(ax: "Axes", distances: Mapping[str, float], allowed: float) -> "Axes":
    """How far each named thing is from what it must equal, as a dot on a log axis; a triangle below is exactly 0."""
    names, far = list(distances), np.array(list(distances.values()))
    x, floor = np.arange(len(names)), 1e-17
    zero, gone = far == 0, ~np.isfinite(far)
    ax.scatter(x[~zero & ~gone], far[~zero & ~gone], s=22, color=COLOURS[0], zorder=3)
    ax.scatter(x[zero], np.full(zero.sum(), floor), s=22, marker="v", facecolor="white", edgecolor=COLOURS[0], zorder=3)
    ax.scatter(x[gone], np.full(gone.sum(), 10 * allowed), s=30, marker="x", color=COLOURS[1], zorder=3)
    ax.axhline(allowed, color="black", ls=(0, (5, 2)), lw=1.2)
    ax.set_yscale("log")
    ax.set_xticks(x, names, rotation=90, fontsize=8)
    ax.grid(axis="x", visible=False)
    ax.set(ylabel="relative deviation", ylim=(floor / 3, 100 * allowed), xlim=(-0.7, len(names) - 0.3))
    return ax


def trajectories(
    ax: "Axes",
    function: Callable[[Any], Any],
    paths: Mapping[str, Any],
    bounds: tuple[tuple[float, float], tuple[float, float]],
    *,
    minimizers: Any = (),
    resolution: int = 200,
) -> "Axes":
    """Paths (steps, 2) over the contours of function(point), whose levels are equal steps of log(f − lowest).

    bounds is ((x₀, x₁), (y₀, y₁)). A path starts at its open ring; minimizers are stars.
    """
    import jax

    (x0, x1), (y0, y1) = bounds
    xs, ys = np.linspace(x0, x1, resolution), np.linspace(y0, y1, resolution)
    points = np.stack(np.meshgrid(xs, ys), axis=-1)
    height = np.asarray(jax.vmap(jax.vmap(function))(points), float)
    above = height - np.nanmin(height[np.isfinite(height)])
    shade = np.log1p(above / max(float(np.nanmedian(above)), 1e-300) * 100)
    ax.contourf(xs, ys, shade, levels=24, cmap="Greys", alpha=0.45, vmin=-1, vmax=np.nanmax(shade) * 1.4)
    ax.contour(xs, ys, shade, levels=12, colors="#8a8f98", linewidths=0.5, alpha=0.7)
    for (label, path), colour, marker in zip(paths.items(), cycle(COLOURS), cycle(MARKERS), strict=False):
        path = np.asarray(path, float)
        ax.plot(
            *path.T,
            color=colour,
            marker=marker,
            ms=3.5,
            lw=1.5,
            markevery=max(1, len(path) // 30),
            label=label,
        )
        ax.plot(*path[0], "o", ms=9, mfc="white", mec=colour, mew=1.8, zorder=5)
    stars = np.reshape(np.asarray(minimizers, float), (-1, 2))
    if len(stars):
        ax.plot(*stars.T, "*", ms=14, mfc="#F0E442", mec="black", mew=0.8, ls="none", zorder=6, label="minimum")
    ax.grid(visible=False)
    ax.set(xlim=(x0, x1), ylim=(y0, y1), xlabel="$x_1$", ylabel="$x_2$")
    ax.legend(frameon=True, framealpha=0.9)
    return ax


def network(ax: "Axes", layers: Any, *, label: str = "weight") -> "Axes":
    """A perceptron's {"w": (out, in), "b": (out,)}: lines and circles by sign and size, below them each layer's sum."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    w, b = ([np.asarray(layer[name], float) for layer in layers] for name in ("w", "b"))
    largest = max(np.abs(leaf).max() for leaf in (*w, *b))
    colours = ScalarMappable(Normalize(-largest, largest), "RdBu_r")
    widths = [w[0].shape[1], *map(len, w)]
    units = [np.arange(width) - (width - 1) / 2 for width in widths]
    for k, weights in enumerate(w):
        for (out, into), weight in np.ndenumerate(weights):
            size = abs(weight) / largest
            ends = (units[k][into], units[k + 1][out])
            ax.plot((k, k + 1), ends, color=colours.to_rgba(weight), lw=0.3 + 7 * size, zorder=1 + size)
        ax.text(k + 0.5, -max(widths) / 2 - 0.2, f"{weights.sum() + b[k].sum():+.3f}", ha="center", fontsize=9)
    fills: list[Any] = ["white", *map(colours.to_rgba, b)]
    for k, fill in enumerate(fills):
        ax.scatter(np.full(widths[k], k), units[k], s=170, c=fill, edgecolors="black", zorder=3)
    ax.figure.colorbar(colours, ax=ax, label=label, shrink=0.8)
    ax.axis("off")
    return ax


def _headroom(start: float, values: np.ndarray) -> float | None:
    """The top of a log axis from the lowest value to the start and a third more: between the cliff and divergence lie
    values without bound, beside which the U would look flat. None where there is nothing below the start."""
    below = values.size and 0 < values.min() < start
    return start * (start / float(values.min())) ** 0.3 if below else None


def noise_floor(
    ax: "Axes",
    curves: Mapping[str, tuple[Any, Any]],
    *,
    theory: Theory | None = None,
    xlabel: str = r"learning rate / batch size, $\eta/B$",
    ylabel: str = "noise floor of $f - f^*$",
) -> "Axes":
    """The level at which SGD stops against η/B, with theory's line.

    A curve is (η/B, level), both (points,), or level (seeds, points) drawn as median and range of quartiles.
    """
    ax.set(xscale="log", yscale="log", xlabel=xlabel, ylabel=ylabel)
    for row, (label, (x, level)) in enumerate(curves.items()):
        colour, marker = COLOURS[row % len(COLOURS)], MARKERS[row % len(MARKERS)]
        low, middle, high = _quartiles(np.atleast_2d(np.asarray(level, float)))
        x = np.asarray(x, float)
        reach = np.abs(np.stack([middle - low, high - middle]))
        ax.errorbar(x, middle, reach, fmt=marker, ms=7, color=colour, capsize=3, lw=1.2, label=label, zorder=3)
        _crosses(ax, x, ~np.isfinite(middle), row)
    if theory is not None:
        xs = np.concatenate([np.asarray(x, float) for x, _ in curves.values()])
        x = np.geomspace(xs.min() / 1.5, xs.max() * 1.5, 64)
        ax.plot(x, theory(x), ls=(0, (5, 2)), lw=1.2, color=GREY, zorder=2, label="predicted")
    ax.legend()
    return ax


def _runs(values: Values, along: str, axis: Any) -> tuple[np.ndarray, np.ndarray]:
    """The axis, and the values as (seeds, points); a DataArray brings its own axis."""
    if hasattr(values, "dims"):
        if along not in values.dims:
            raise ValueError(f"a curve has the dimensions {tuple(values.dims)}, '{along}' was expected among them")
        seeds = [dim for dim in values.dims if dim != along]
        table = np.asarray(values.transpose(*seeds, along).values, float)
        x = np.asarray(values[along].values, float)
        return x, table.reshape(-1, table.shape[-1])
    table = np.atleast_2d(np.asarray(values, float))
    x = np.arange(table.shape[-1], dtype=float) if axis is None else np.asarray(axis, float)
    if table.ndim != 2 or x.shape != table.shape[1:]:
        raise ValueError(
            f"a curve has the shape {np.shape(values)}, (points,) or (seeds, points) with {x.size} points was expected"
        )
    return x, table


def _quartiles(runs: np.ndarray) -> np.ndarray:
    """Quartiles over seeds, (3, points); a run that is not finite counts as worse than any other."""
    ranked = np.sort(np.where(np.isfinite(runs), runs, np.inf), axis=0)
    place = np.array([0.25, 0.5, 0.75]) * (len(ranked) - 1)
    below, share = ranked[np.floor(place).astype(int)], (place % 1)[:, None]
    with np.errstate(invalid="ignore"):  # inf − inf, where either neighbour is lost
        return np.where(share == 0, below, below + share * (ranked[np.ceil(place).astype(int)] - below))


def _band(ax: "Axes", x: np.ndarray, runs: np.ndarray, label: str, row: int) -> np.ndarray:
    """Median and interquartile band of the row-th curve; returns the median."""
    colour, marker = COLOURS[row % len(COLOURS)], MARKERS[row % len(MARKERS)]
    low, middle, high = _quartiles(runs)
    drawn = np.where(np.isfinite(middle), middle, np.nan)
    every = _marked(x, np.isfinite(drawn), row, ax.get_xscale() == "log")
    ax.plot(x, drawn, color=colour, marker=marker, markevery=every, label=label, zorder=3)
    if len(runs) > 1:
        ax.fill_between(x, low, np.where(np.isfinite(high), high, drawn), color=colour, alpha=0.18, lw=0)
    _crosses(ax, x, ~np.isfinite(middle), row)
    return middle


def _marked(x: np.ndarray, finite: np.ndarray, row: int, log_spaced: bool) -> list[int]:
    """Points that carry a marker: all of a few, else eleven at equal distances, staggered from row to row."""
    usable = np.flatnonzero(finite & (x > 0) if log_spaced else finite)
    if len(usable) <= 14:
        return usable.tolist()
    place = np.log(x[usable]) if log_spaced else x[usable]
    wanted = place[0] + (np.arange(11) + 0.23 * (row % 4)) / 11 * (place[-1] - place[0])
    return np.unique(usable[np.searchsorted(place, wanted)]).tolist()


def _crosses(ax: "Axes", x: np.ndarray, gone: np.ndarray, row: int) -> None:
    """At the top edge, a row for each curve: a cross where finiteness ends, a line while it is lost."""
    colour, height = COLOURS[row % len(COLOURS)], 1 - 0.03 * row
    where = np.flatnonzero(gone)
    for piece in np.split(where, np.flatnonzero(np.diff(where) > 1) + 1) if len(where) else ():
        (line,) = ax.plot(
            x[piece], np.full(len(piece), height), "-x", color=colour, markevery=[0], ms=7, mew=1.8, lw=0.8,
            transform=ax.get_xaxis_transform(), clip_on=False, zorder=6,
        )  # fmt: skip
        line.set_in_layout(False)
