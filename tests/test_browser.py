"""The interactive pages in a real browser: moving a slider draws the stored numbers, and no request leaves the file."""

import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.request

import numpy as np
import pytest

from sandbox.report.replay import Replay, replay
from sandbox.report.surfaces import surface

FLAGS = (
    "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
    "disable-component-update", "disable-sync", "window-size=1250,900",
)  # fmt: skip
BROWSER = next((found for name in ("chromium", "google-chrome", "chrome") if (found := shutil.which(name))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="no browser here: apt-get install chromium chromium-driver"),
]
LEFT, RIGHT, HOME, END = "\ue012", "\ue014", "\ue011", "\ue010"  # keys, as WebDriver names them
KEY = "element-6066-11e4-a52e-4f735466cecf"  # what WebDriver calls a reference to an element


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """session(path, **body) speaks WebDriver (W3C 2018) with a browser of the tests' own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    driver = subprocess.Popen([DRIVER, f"--port={port}", "--log-level=OFF"])
    root = f"http://127.0.0.1:{port}/session"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(method, url, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
        with opener.open(request, timeout=60) as answer:
            return json.load(answer)["value"]

    chrome = {
        "binary": BROWSER,
        "args": [*(f"--{flag}" for flag in FLAGS), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"],
    }
    wanted = {"goog:chromeOptions": chrome, "goog:loggingPrefs": {"performance": "ALL", "browser": "ALL"}}
    try:
        for _ in range(100):
            with contextlib.suppress(OSError):
                ask("GET", f"http://127.0.0.1:{port}/status")
                break
            time.sleep(0.1)
        name = ask("POST", root, {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        yield lambda path, **body: ask("POST", f"{root}/{name}/{path}", body)
        ask("DELETE", f"{root}/{name}")
    finally:
        driver.terminate()
        driver.wait(20)


def opened(session, path):
    """Open a file of a page, when what was said before is forgotten."""
    for kind in ("performance", "browser"):
        session("se/log", type=kind)
    session("url", url=path.as_uri())


def js(session, code):
    """What a line of JavaScript returns."""
    return session("execute/sync", script=f"return {code}", args=[])


def press(session, name, keys):
    """Press keys on an element as a user does."""
    found = session("element", using="css selector", value=f"#{name}")[KEY]
    session(f"element/{found}/value", text=keys)


def quiet(session):
    """No request but for the file itself, what it holds, and the empty tab before it; no error on the console."""
    events = [json.loads(entry["message"])["message"] for entry in session("se/log", type="performance")]
    urls = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    urls += [e["params"]["url"] for e in events if e["method"] == "Network.webSocketCreated"]
    assert urls
    assert [url for url in urls if not url.startswith(("file:", "data:", "blob:", "chrome"))] == []
    assert [entry for entry in session("se/log", type="browser") if entry["level"] == "SEVERE"] == []


STEPS, RATES = 130, np.array([0.05, 0.1, 0.5, 1.5])
START = np.array([1.0, 1.0])


def bowl(x):
    return (x[..., 0] - 3) ** 2 + (x[..., 1] - 4) ** 2


def scene():
    """Gradient descent on the bowl in closed form, and half as fast; at 1.5 the errors double until they are lost."""
    a, b = np.linspace(0, 6, 31), np.linspace(0, 7, 36)
    values = bowl(np.stack(np.meshgrid(a, b, indexing="ij"), axis=-1))
    values[3, 4] = np.nan
    paths, heights = {}, {}
    for name, rates in (("descent", RATES), ("half", RATES / 2)):
        factor = (1 - 2 * rates)[:, None, None] ** np.arange(STEPS)[:, None]
        paths[name] = np.array([3.0, 4.0]) + factor * (START - [3, 4])
        heights[name] = bowl(paths[name])
    paths["descent"][3, 20:] = np.nan
    heights["descent"][3, 20:] = np.nan
    return Replay(a, b, values, {"descent": RATES, "half": RATES / 2}, paths, heights, {"descent": 1, "half": 2},
                  np.array([[3.0, 4.0]]), 0.0)  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "explorer.html"
    file.write_text(replay(scene(), "The bowl", "Seed <none>; float64"), encoding="utf-8")
    return file


def drawn(session, number, where="map"):
    """The points of a trace as the page has drawn them."""
    x, y = js(session, f'(t => [Array.from(t.x), Array.from(t.y)])(document.getElementById("{where}").data[{number}])')
    return np.array([x, y], float).T


def test_the_slider_of_the_rate_replays_each_stored_trajectory(session, page):
    opened(session, page)
    ground = scene()
    press(session, "rate", HOME)
    for i, rate in enumerate(RATES):
        np.testing.assert_array_equal(drawn(session, 2), ground.paths["descent"][i])
        curve = drawn(session, 0, "curve")
        np.testing.assert_array_equal(curve.T, [np.arange(STEPS), ground.heights["descent"][i]])
        assert float(js(session, 'document.getElementById("rate-said").textContent')) == pytest.approx(rate, rel=1e-4)
        press(session, "rate", RIGHT)
    assert "diverged at step 20" in js(session, 'document.getElementById("said").textContent')
    # What is drawn is a picture, too: the path on the screen has a point for each finite step.
    path = js(session, 'document.querySelector("#map .scatterlayer .trace .js-line").getAttribute("d")')
    press(session, "rate", LEFT)
    assert path != js(session, 'document.querySelector("#map .scatterlayer .trace .js-line").getAttribute("d")')
    quiet(session)


def test_the_slider_of_the_steps_and_the_choice_of_the_optimizer(session, page):
    opened(session, page)
    ground = scene()
    press(session, "step", HOME)
    assert drawn(session, 2).tolist() == [[1, 1]]
    press(session, "step", RIGHT * 7)
    np.testing.assert_array_equal(drawn(session, 2), ground.paths["descent"][1][:8])
    press(session, "method", "half")
    np.testing.assert_array_equal(drawn(session, 3), ground.paths["half"][2][:8])
    assert drawn(session, 2).size == 0
    press(session, "method", HOME)  # all
    np.testing.assert_array_equal(drawn(session, 2), ground.paths["descent"][1][:8])
    np.testing.assert_array_equal(drawn(session, 3), ground.paths["half"][2][:8])
    assert js(session, 'document.getElementById("rate").disabled')
    quiet(session)


@pytest.mark.slow
def test_the_button_plays_to_the_last_step(session, page):
    opened(session, page)
    press(session, "step", LEFT * 20)
    assert len(drawn(session, 2)) == STEPS - 20
    js(session, 'document.getElementById("play").click()')
    for _ in range(100):
        if len(drawn(session, 2)) == STEPS:
            break
        time.sleep(0.1)
    np.testing.assert_array_equal(drawn(session, 2), scene().paths["descent"][1])
    assert js(session, 'document.getElementById("play").textContent') == "play"


def test_the_ground_is_drawn_as_it_is(session, page):
    """Values by hovering, the logarithm of their rise as shades, and a gap where one is not finite."""
    opened(session, page)
    ground = scene()
    shown = np.array(js(session, 'document.getElementById("map").data[0].customdata'), float).T
    np.testing.assert_array_equal(shown, ground.values)
    shade = np.array(js(session, 'document.getElementById("map").data[0].z'), float).T
    assert np.argwhere(np.isnan(shade)).tolist() == [[3, 4]]
    rise = ground.values - np.nanmin(ground.values)
    clear = np.isfinite(rise) & (rise > 0.1)
    np.testing.assert_allclose(shade[clear], np.log10(rise[clear]), rtol=1e-12)
    assert js(session, 'document.querySelectorAll("#map .contourlayer path").length') > 10


@pytest.mark.slow
def test_a_surface_is_drawn_and_its_button_turns_the_axis(session, tmp_path):
    ground, path = scene(), scene().paths["descent"][1]
    track = (*path.T, scene().heights["descent"][1])
    file = tmp_path / "surface.html"
    file.write_text(surface(ground.a, ground.b, ground.values, "The bowl", "float64", path=track, minimum=0.0))
    opened(session, file)
    data = 'document.getElementById("surface")._fullData'
    shown = np.array(js(session, f"{data}[0].z.map(row => Array.from(row))"), float)
    np.testing.assert_array_equal(shown, ground.values.T)
    np.testing.assert_array_equal(js(session, f"Array.from({data}[1].x)"), path[:, 0])
    kind = 'document.getElementById("surface")._fullLayout.scene.zaxis.type'
    assert js(session, kind) == "linear"
    buttons = 'document.querySelectorAll("#surface .updatemenu-button")'
    js(session, f'{buttons}[1].dispatchEvent(new MouseEvent("click", {{bubbles: true}}))')
    assert js(session, kind) == "log"
    quiet(session)
