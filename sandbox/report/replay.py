"""A page that replays runs over the ground: sliders for learning rate and step, nothing fetched, nothing computed."""

import base64
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from sandbox.report.plots import COLOURS


class Replay(NamedTuple):
    """A plane of values, and over it the paths of some methods, one for each learning rate."""

    a: Float[np.ndarray, " a"]
    b: Float[np.ndarray, " b"]
    values: Float[np.ndarray, "a b"]
    rates: Mapping[str, Float[np.ndarray, " rates"]]  # of each method
    paths: Mapping[str, Float[np.ndarray, "rates steps 2"]]
    heights: Mapping[str, Float[np.ndarray, "rates steps"]]  # the objective along each path
    first: Mapping[str, int]  # the rate to begin with
    minimizers: Float[np.ndarray, "minima 2"] = np.empty((0, 2))
    minimum: float | None = None


def replay(scene: Replay, title: str, caption: str, *, together: bool = False) -> str:
    """The page as text: choose a method, or all of them, each at its first rate; move the rate, move or play the steps.

    Numbers travel in base64 as they are in memory, so that the page holds the same bits. plotly.js is inlined: the
    file works offline and alone. `together` begins with all methods. Raises ValueError for paths without steps, and
    for shapes that do not belong together.
    """
    _check(scene)
    return environment().get_template("replay.html.j2").render(
        title=title, caption=caption, plotly=plotly_js(), scene=_encoded(scene), together=together
    )  # fmt: skip


def scene_of(page: str) -> Replay:
    """The numbers of such a page, read back out of its text."""
    text = page.partition('<script type="application/json" id="scene">')[2].partition("</script>")[0]
    raw = json.loads(text)
    a, b, values, minimizers = (_array(raw[name]) for name in ("a", "b", "values", "minimizers"))
    of = lambda name: {method["name"]: _array(method[name]) for method in raw["methods"]}
    first = {method["name"]: method["first"] for method in raw["methods"]}
    return Replay(a, b, values, of("rates"), of("paths"), of("heights"), first, minimizers, raw["minimum"])


def plotly_js() -> str:
    """The library that draws in the browser, as text; none of it ends the script that it is put into."""
    text = resources.files("plotly").joinpath("package_data", "plotly.min.js").read_text(encoding="utf-8")
    return text.replace("</script", r"<\/script")


def environment() -> Any:
    """Templates of this folder; what they are given is escaped."""
    from jinja2 import Environment, PackageLoader

    return Environment(
        loader=PackageLoader("sandbox.report", ""), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )


def _encoded(scene: Replay) -> dict[str, Any]:
    methods = [
        {
            "name": name,
            "colour": COLOURS[i % len(COLOURS)],
            "dash": ("solid", "dot", "dash", "dashdot")[i // len(COLOURS) % 4],
            "first": int(scene.first[name]),
            **{what: _base64(getattr(scene, what)[name]) for what in ("rates", "paths", "heights")},
        }
        for i, name in enumerate(scene.paths)
    ]
    ground = {what: _base64(getattr(scene, what)) for what in ("a", "b", "values", "minimizers")}
    return {**ground, "methods": methods, "minimum": None if scene.minimum is None else float(scene.minimum)}


def _base64(values: Any) -> dict[str, Any]:
    array = np.asarray(values)
    array = np.ascontiguousarray(array, array.dtype if array.dtype == np.float32 else np.float64)
    kind = array.dtype.newbyteorder("<").str
    return {"dtype": kind[1:], "shape": array.shape, "data": base64.b64encode(array.astype(kind).tobytes()).decode()}


def _array(record: Mapping[str, Any]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(record["data"]), "<" + record["dtype"]).reshape(record["shape"])


def _check(scene: Replay) -> None:
    if not scene.paths:
        raise ValueError("there is no method to replay; expected paths by the name of a method")
    if not np.isfinite(scene.values).any():
        raise ValueError("no point of the plane has a finite value: there is nothing to draw")
    if np.shape(scene.values) != (len(scene.a), len(scene.b)):
        raise ValueError(f"the values have shape {np.shape(scene.values)}; expected {(len(scene.a), len(scene.b))}")
    for name, path in scene.paths.items():
        if np.ndim(path) != 3 or np.shape(path)[2] != 2 or 0 in np.shape(path):
            raise ValueError(f"the paths of {name} have shape {np.shape(path)}; expected (rates, steps, 2), none empty")
        wanted = {"rates": np.shape(path)[:1], "heights": np.shape(path)[:2]}
        for what, shape in wanted.items():
            if (found := np.shape(getattr(scene, what)[name])) != shape:
                raise ValueError(f"the {what} of {name} have shape {found}; expected {shape}, as the paths have")
        if not 0 <= scene.first[name] < len(path):
            raise ValueError(f"the first rate of {name} is number {scene.first[name]}; there are {len(path)}")
