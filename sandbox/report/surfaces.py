"""A plane of values as a surface to turn in the browser, a path on it; one HTML file that works offline."""

from typing import Any

import numpy as np

from sandbox.report.plots import COLOURS
from sandbox.report.replay import environment, plotly_js

WIDE = 1e3  # from this ratio of heights on, they are shown on a log axis at first


def surface(
    a: Any,
    b: Any,
    values: Any,
    title: str,
    caption: str,
    *,
    path: tuple[Any, Any, Any] | None = None,
    names: tuple[str, str] = ("along u", "along v"),
    minimum: float | None = None,
) -> str:
    """The page as text: values[i, j] over (aᵢ, bⱼ), and the path (x, y, height) of a run.

    Heights are above `minimum`, or above the lowest value where none is given or values lie below it; a button turns
    their axis from log to linear, and colours are their logarithm. What is not finite is a hole, and so is the very
    lowest point on a log axis. Raises ValueError where nothing is finite, and for a path without steps.
    """
    import plotly.graph_objects as go

    values = np.asarray(values, float)
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        raise ValueError("no point of the plane has a finite value: there is nothing to draw")
    known = minimum is not None and minimum <= finite.min()
    base = float(minimum) if known and minimum is not None else float(finite.min())
    height = "f − f*" if known else "objective above its lowest value here"
    above = np.where(np.isfinite(values), values, np.nan).T - base
    rises = above[above > 0]
    low, high = (float(np.log10(end)) for end in (np.quantile(rises, 0.005), rises.max())) if rises.size else (0.0, 1.0)
    with np.errstate(divide="ignore"):
        shade = np.where(above >= 0, np.maximum(np.log10(np.maximum(above, 0)), low), np.nan)
    decades = np.arange(np.ceil(low), np.floor(high) + 1)
    figure = go.Figure(
        go.Surface(
            x=np.asarray(a, float), y=np.asarray(b, float), z=above, surfacecolor=shade, cmin=low, cmax=high,
            colorscale="Cividis", customdata=values.T, connectgaps=False,
            colorbar={"title": {"text": height, "side": "right"}, "thickness": 12, "len": 0.7, "tickvals": decades,
                      "ticktext": [f"10<sup>{int(k)}</sup>" for k in decades]},
            hovertemplate="(%{x:.4g}, %{y:.4g}): %{customdata:.6g}<extra></extra>",
        )
    )  # fmt: skip
    if path is not None:
        figure.add_traces(_track(path, base))
    axis = lambda kind: {"title": {"text": height}, "type": kind, "exponentformat": "power"}
    kinds = ("log", "linear") if rises.size and rises.max() > WIDE * np.quantile(rises, 0.005) else ("linear", "log")
    figure.update_layout(
        scene={"xaxis": {"title": {"text": names[0]}}, "yaxis": {"title": {"text": names[1]}}, "zaxis": axis(kinds[0]),
               "aspectratio": {"x": 1, "y": 1, "z": 0.7}, "camera": {"eye": {"x": -1.1, "y": -1.25, "z": 1.1}}},
        margin={"l": 0, "r": 0, "t": 0, "b": 0}, legend={"x": 0, "y": 1},
        updatemenus=[{"type": "buttons", "direction": "right", "x": 0.0, "y": 0.02, "xanchor": "left",
                      "buttons": [{"label": f"{kind} height", "method": "relayout", "args": ["scene.zaxis.type", kind]}
                                  for kind in kinds]}],
    )  # fmt: skip
    return (
        environment()
        .get_template("surface.html.j2")
        .render(title=title, caption=caption, plotly=plotly_js(), figure=figure.to_json().replace("</", r"<\/"))
    )


def _track(path: tuple[Any, Any, Any], base: float) -> list[Any]:
    """The path as a line, its ends as markers."""
    import plotly.graph_objects as go

    x, y, z = (np.asarray(along, float) for along in path)
    if not x.size or not x.shape == y.shape == z.shape:
        raise ValueError(f"the path has {x.size}, {y.size} and {z.size} numbers; expected as many of each, and some")
    z = z - base
    line = go.Scatter3d(x=x, y=y, z=z, mode="lines", line={"color": COLOURS[1], "width": 6}, name="path")
    ends = go.Scatter3d(
        x=x[[0, -1]], y=y[[0, -1]], z=z[[0, -1]], mode="markers", name="start (white) and end",
        marker={"size": 6, "color": ["white", COLOURS[1]], "line": {"color": COLOURS[1], "width": 3}},
    )  # fmt: skip
    return [line, ends]
