"""Pages, films and grids hold the numbers that they were given: read back by other means, bit for bit."""

import base64
import io
import json
import re
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from sandbox import report
from sandbox.report.animation import gif
from sandbox.report.replay import Replay, plotly_js, replay, scene_of
from sandbox.report.surfaces import surface
from sandbox.report.vtk import structured_grid

A, B = np.linspace(-1, 1, 5), np.linspace(0, 3, 4)
VALUES = 10 * A[:, None] ** 2 + B
HOLED = np.where((np.arange(20) == 7).reshape(5, 4), np.nan, VALUES)


def scene(**change):
    rng = np.random.default_rng(0)
    paths = {"one": rng.normal(size=(3, 6, 2)), "two": rng.normal(size=(2, 6, 2)).astype(np.float32)}
    paths["one"][2, 3:] = np.nan
    whole = Replay(
        A,
        B,
        HOLED,
        {"one": np.array([0.1, 1 / 3, 1.0]), "two": np.array([1.0, 2.0])},
        paths,
        {name: path.sum(2) for name, path in paths.items()},
        {"one": 1, "two": 0},
        np.array([[0.0, 0.0]]),
        0.0,
    )
    return whole._replace(**change)


def same(a, b):
    a, b = np.asarray(a), np.asarray(b)
    assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


def test_a_page_holds_the_same_bits():
    given, found = scene(), scene_of(replay(scene(), "t", "c"))
    for what in ("a", "b", "values", "minimizers"):
        same(getattr(given, what), getattr(found, what))
    for what in ("rates", "paths", "heights"):
        for name in ("one", "two"):
            same(getattr(given, what)[name], getattr(found, what)[name])
    assert (found.first, found.minimum) == ({"one": 1, "two": 0}, 0.0)


def test_a_page_escapes_its_words_and_loads_nothing():
    evil = {"</script><b>": np.zeros((1, 2, 2))}
    page = replay(
        scene(
            paths=evil,
            rates={"</script><b>": [1.0]},
            heights={"</script><b>": np.zeros((1, 2))},
            first={"</script><b>": 0},
        ),
        "<i>",
        "</p><script>",
    )  # fmt: skip
    assert "</script><b>" not in page
    assert "<title>&lt;i&gt;</title>" in page
    assert page.count("<script") == page.count("</script>") == 3
    for text in (page, surface(A, B, VALUES, "</script>", "c", names=("</script>", "v"))):
        own = text.replace(plotly_js(), "")
        assert len(own) < len(text) - 1e6
        assert not any(word in own for word in ("src=", "@import", "http", "url("))
        assert re.findall("<link[^>]*>", own) == ['<link rel="icon" href="data:,">']
        assert own.count("<script") == own.count("</script>")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"paths": {}}, "no method to replay"),
        ({"paths": {"one": np.zeros((1, 0, 2))}}, r"one have shape \(1, 0, 2\).* none empty"),
        ({"paths": {"one": np.zeros((6, 2))}}, r"expected \(rates, steps, 2\)"),
        ({"paths": {"one": np.zeros((2, 6, 2))}}, r"the rates of one have shape \(3,\); expected \(2,\)"),
        ({"heights": {"one": np.zeros((3, 5))}}, r"the heights of one have shape \(3, 5\); expected \(3, 6\)"),
        ({"first": {"one": 3}}, "first rate of one is number 3; there are 3"),
        ({"values": np.full((5, 4), np.nan)}, "no point of the plane has a finite value"),
        ({"values": VALUES.T}, r"the values have shape \(4, 5\); expected \(5, 4\)"),
    ],
)
def test_a_page_of_what_does_not_fit_is_one_line(change, words):
    with pytest.raises(ValueError, match=words) as caught:
        replay(scene(**change), "t", "c")
    assert "\n" not in str(caught.value)


def traces(page):
    """The traces of a surface's page, arrays decoded by hand."""

    def array(x):
        if not isinstance(x, dict):
            return np.array(x, float)
        flat = np.frombuffer(base64.b64decode(x["bdata"]), np.dtype(x["dtype"]).newbyteorder("<"))
        return flat.reshape([int(n) for n in x["shape"].split(",")] if "shape" in x else -1)

    raw = json.loads(page.rpartition("const figure = ")[2].partition(";\nPlotly")[0])
    names = ("x", "y", "z", "customdata", "surfacecolor")
    return [{n: array(trace[n]) for n in names if n in trace} for trace in raw["data"]], raw["layout"]


def test_a_surface_is_the_values_above_the_minimum_with_holes_and_the_path():
    path = (np.array([0.0, 0.5]), np.array([1.0, 2.0]), np.array([1.0, 4.5]))
    (ground, track, ends), layout = traces(surface(A, B, HOLED, "t", "c", path=path, minimum=-1.0))
    np.testing.assert_array_equal(ground["z"], HOLED.T + 1)
    np.testing.assert_array_equal(ground["customdata"], HOLED.T)
    np.testing.assert_array_equal([ends["x"], ends["y"]], path[:2])
    np.testing.assert_array_equal(ground["x"], A)
    np.testing.assert_array_equal(ground["y"], B)
    np.testing.assert_array_equal([track["x"], track["y"], track["z"]], [path[0], path[1], path[2] + 1])
    assert layout["scene"]["zaxis"]["type"] == "linear"
    # A minimum that values lie below is none; and four decades are shown on a log axis.
    (ground,), layout = traces(surface(A, B, VALUES - 1, "t", "c", minimum=0.5))
    np.testing.assert_array_equal(ground["z"], VALUES.T - 1 - (VALUES - 1).min())
    assert traces(surface(A, B, 10 ** (VALUES / 2), "t", "c"))[1]["scene"]["zaxis"]["type"] == "log"


def test_a_surface_of_nothing_is_one_line():
    with pytest.raises(ValueError, match="nothing to draw"):
        surface(A, B, np.full((5, 4), np.inf), "t", "c")
    with pytest.raises(ValueError, match="the path has 0, 0 and 0 numbers"):
        surface(A, B, VALUES, "t", "c", path=((), (), ()))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_grid_for_paraview_is_read_back(dtype):
    """By the standard alone: a UInt64 count of bytes, then the bytes; the first axis fastest. VTK 9.7 agrees."""
    values = HOLED.astype(dtype)
    values[0, 0] = np.inf
    root = ElementTree.fromstring(structured_grid(A, B, values))
    assert (root.attrib["type"], root.attrib["byte_order"], root.attrib["header_type"]) == (
        "StructuredGrid",
        "LittleEndian",
        "UInt64",
    )
    piece = root.find("StructuredGrid/Piece")
    assert root.find("StructuredGrid").attrib["WholeExtent"] == piece.attrib["Extent"] == "0 4 0 3 0 0"

    def array(element):
        raw = base64.b64decode(element.text)
        assert int.from_bytes(raw[:8], "little") == len(raw) - 8
        return np.frombuffer(raw[8:], {"Float32": "<f4", "Float64": "<f8"}[element.attrib["type"]])

    (found,) = piece.find("PointData")
    same(array(found).reshape(4, 5).T.copy(), values)
    assert (found.attrib["Name"], found.attrib["format"]) == ("objective", "binary")
    points = array(piece.find("Points/DataArray")).reshape(4, 5, 3)
    for j, b in enumerate(B):
        for i, a in enumerate(A):
            assert points[j, i].tolist() == [a, b, 0]
    with pytest.raises(ValueError, match=r"shape \(4, 5\); expected \(5, 4\)"):
        structured_grid(A, B, VALUES.T)


def test_a_film_shows_each_step_and_keeps_its_shades():
    figure, ax = plt.subplots(figsize=(2, 2), dpi=50)
    ax.set(position=(0, 0, 1, 1), xlim=(0, 1), ylim=(0, 1))
    ax.axis("off")
    ax.add_patch(plt.Rectangle((0, 0), 1, 1, color="#0072B2", lw=0))
    (dot,) = ax.plot([], [], "s", color="#D55E00", ms=16)
    places = np.array([0.2, 0.4, 0.8])
    film = gif(figure, [dot], lambda k: dot.set_data([places[k]], [0.5]), range(3), milliseconds=50, pause=1000)
    plt.close(figure)
    with Image.open(io.BytesIO(film)) as read:
        assert read.n_frames == 3
        times = []
        for k, place in enumerate(places):
            read.seek(k)
            times.append(read.info["duration"])
            picture = np.asarray(read.convert("RGB"))
            orange = np.argwhere((picture == [0xD5, 0x5E, 0]).all(axis=2))
            np.testing.assert_allclose(orange.mean(axis=0)[::-1] / 100, [place, 0.5], atol=0.02)
            assert ((picture == [0, 0x72, 0xB2]).all(axis=2)).sum() > 9000
        assert times == [50, 50, 1050]
    with pytest.raises(ValueError, match="no steps"):
        gif(figure, [dot], print, [])


def test_films_and_pages_are_results(tmp_path):
    """A film is on the page, an interactive page is linked; what a later run has not is gone, other files stay."""
    figures = {"race.gif": (b"GIF89a", "a race"), "explorer.html": (b"<html>", "rates & <steps>")}
    place = tmp_path / "races"
    report.write(place, figures=figures, claims=[report.Claim("two", 2, 2)])
    (place / "notes.txt").write_text("mine")
    found = report.read(place)
    assert found.figures == ((place / "race.gif", "a race"),)
    assert found.pages == ((place / "explorer.html", "rates & <steps>"),)
    page = report.page(tmp_path).read_text()
    assert f"data:image/gif;base64,{base64.b64encode(b'GIF89a').decode()}" in page
    assert '<a href="races/explorer.html">' in page
    assert "rates &amp; &lt;steps&gt;" in page
    (place / "explorer.html").unlink()
    assert "explorer.html" not in report.page(tmp_path).read_text()
    report.write(place, claims=[])
    assert sorted(path.name for path in place.iterdir()) == ["about.json", "claims.json", "notes.txt", "summary.csv"]
