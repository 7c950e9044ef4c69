"""The command line: every error of the user's is one line, exit code 2 and nothing written; and the ordinary days."""

import base64
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from sandbox import cli, landscape, optimizers, problems, report
from sandbox import store as stores

ROOT = Path(__file__).parent.parent
USER = """
import jax.numpy as jnp
import numpy as np
from sandbox import optimizers, problems
from sandbox.problems import Problem

def hill():
    return Problem("hill", lambda key: jnp.array([2.0]), lambda x: jnp.sum(x**2) / 2)

def half(learning_rate):
    return optimizers.gradient_descent(learning_rate / 2)

def holes(l2=0.1):
    return problems.ridge(np.array([[1.0], [np.nan], [3.0]]), np.arange(3.0), l2)

def number():
    return 7

def steep(slope):
    return Problem("steep", lambda key: jnp.array([2.0]), lambda x: slope * jnp.sum(x**2))

def hole():
    return Problem("hole", lambda key: jnp.ones(2), lambda x: jnp.nan * jnp.sum(x))

def lost():
    return Problem("lost", lambda key: jnp.ones(2), lambda x: jnp.nan * jnp.sum(x))

seven = 7
flat = hill()
problem = Problem("well", lambda key: jnp.array([2.0, 1.0]), lambda x: x[0] ** 2 + 2 * x[1] ** 2)
plain = optimizers.gradient_descent(0.5)
"""
WRONG = """import jax.numpy as jnp
from sandbox.problems import Problem

start = lambda key: jnp.ones(2)
misspelt = Problem("misspelt", start, lambda x: jnp.summ(x**2))
text = Problem("text", start, lambda x: jnp.sum(x) + "1")
shapes = Problem("shapes", start, lambda x: jnp.sum(
    x + jnp.ones(3)))
problem = Problem("problem", start, lambda x: jnp.sum(x) if x[0] > 0 else jnp.sum(x**2))

def made():
    return Problem("made", start, lambda x: missing)

def never(slope=1.0):
    return Problem("never", start, slope + ())

def refused():
    raise RuntimeError
"""


@pytest.fixture
def sandbox(tmp_path, monkeypatch, capsys):
    """sandbox(arguments) → exit code, lines on stdout, lines on stderr; in an empty folder with a user's files."""
    monkeypatch.setattr(cli, "start", jax.enable_x64)  # the backend runs already, and keeps its own cache
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(USER)
    (tmp_path / "wrong.py").write_text(WRONG)
    (tmp_path / "broken.py").write_text("import no_such_library\n")
    (tmp_path / "empty.py").write_text("x = 1\n")
    (tmp_path / "garbled.py").write_text("def f(:\n")
    (tmp_path / "afile").write_text("not a folder")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("not a store")

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["sandbox", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        return end.value.code or 0, out.splitlines(), err.splitlines()

    return call


def everything(folder):
    """Each file below a folder, with what it holds; what Python compiled on the way is not ours."""
    return {
        path: path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if "__pycache__" not in path.parts
    }


RUN = ("run", "bowl", "gradient_descent", "--set", "learning_rate=0.1")
SWEEP = ("sweep", "bowl", "gradient_descent", "--steps", 3, "--store", "new", "--axis")
DIGITS = ("run", "diabetes_ridge", "gradient_descent", "--set", "learning_rate=0.1", "--batch-size")
RATE = "learning_rate=0.1"
BAD = {  # what is typed, and words that the one line must have
    "problem": (("run", "rosenbrok", "adam", "--set", RATE), "no problem 'rosenbrok' rosenbrock? list"),
    "optimizer": (("run", "bowl", "adm", "--set", RATE), "no optimizer 'adm' adam? list"),
    "unlike anything": (("run", "bowl", "xyzzy"), "no optimizer 'xyzzy' list"),
    "hyper-parameter": (("run", "bowl", "adam", "--set", "learning_rat=0.1"), "adam 'learning_rat' learning_rate?"),
    "swept hyper-parameter": (("sweep", "bowl", "adam", "--set", RATE, "--axis", "bb1=0.9,0.99"), "adam 'bb1' b1?"),
    "no learning rate": (("run", "bowl", "adam"), "adam learning rate --set"),
    "a rate in words": (("run", "bowl", "adam", "--set", "learning_rate=fast"), "learning_rate 'fast' number"),
    "steep by name": (("run", "bowl", "adam", "--set", RATE, "--set", "b1=high"), "b1 'high' number"),
    "half a dimension": (("run", "rosenbrock", "adam", "--set", RATE, "--set", "dim=2.5"), "dim 2.5"),
    "no rate": (("run", "bowl", "adam", "--set", "learning_rate=None"), "learning_rate None number"),
    "a list for a rate": (("run", "bowl", "adam", "--set", "learning_rate=[0.1]"), "learning_rate [0.1] number"),
    "set twice": ((*RUN, "--set", "learning_rate=0.2"), "learning_rate twice"),
    "a setting left out": (("run", "mine.py:steep", "adam", "--set", RATE), "mine.py:steep slope"),
    "a swept rate in words": ((*SWEEP, "learning_rate=slow,fast"), "learning_rate 'slow' number"),
    "set without =": (("run", "bowl", "adam", "--set", "learning_rate"), "'learning_rate' name=value"),
    "set without a name": (("run", "bowl", "adam", "--set", "=0.1"), "'=0.1' name=value"),
    "log from 0": ((*SWEEP, "learning_rate=log:0:1:64"), "learning_rate=log:0:1:64 0"),
    "log, two numbers": ((*SWEEP, "learning_rate=log:1:2"), "learning_rate=log:1:2 LOW:HIGH:COUNT"),
    "log, none of them": ((*SWEEP, "learning_rate=log:1e-4:1:0"), "learning_rate=log:1e-4:1:0 0 1"),
    "log of words": ((*SWEEP, "learning_rate=log:a:b:c"), "learning_rate=log:a:b:c numbers"),
    "log, half a count": ((*SWEEP, "learning_rate=log:1e-4:1:2.5"), "learning_rate=log:1e-4:1:2.5 whole"),
    "log backwards": ((*SWEEP, "learning_rate=log:1:1e-4:8"), "learning_rate=log:1:1e-4:8"),
    "log of nan": ((*SWEEP, "learning_rate=log:nan:1:8"), "learning_rate=log:nan:1:8"),
    "linear to infinity": ((*SWEEP, "learning_rate=linear:0:inf:8"), "learning_rate=linear:0:inf:8"),
    "no such range": ((*SWEEP, "learning_rate=lgo:1:2:3"), "'lgo' log?"),
    "axis without =": ((*SWEEP, "learning_rate"), "'learning_rate' name=log:LOW:HIGH:COUNT"),
    "axis without values": ((*SWEEP, "learning_rate="), "'learning_rate=' name=log:LOW:HIGH:COUNT"),
    "axis twice": ((*SWEEP, RATE, "--axis", "learning_rate=0.2"), "learning_rate twice"),
    "set and axis": ((*SWEEP, RATE, "--set", "learning_rate=0.2"), "learning_rate --set --axis"),
    "seed as an axis": ((*SWEEP, RATE, "--axis", "seed=1,2"), "seed --seeds"),
    "no steps": ((*RUN, "--steps", 0), "--steps 0 1"),
    "fewer steps than none": ((*SWEEP, RATE, "--steps", -5), "--steps -5 1"),
    "no seeds": ((*SWEEP, RATE, "--seeds", 0), "--seeds 0 1"),
    "no batch": ((*DIGITS, 0), "--batch-size 0 1"),
    "batch beyond the data": ((*DIGITS, 355), "355 354"),
    "batch without data": ((*RUN, "--batch-size", 4), "bowl no data batch"),
    "memory": ((*SWEEP, RATE, "--memory", "lots"), "lots 2GB"),
    "no such file": (("run", "absent.py:hill", "adam", "--set", RATE), "absent.py file.py:name"),
    "a file that raises": (("run", "broken.py:hill", "adam", "--set", RATE), "broken.py line 1 no_such_library"),
    "a file that is not Python": (("run", "garbled.py:f", "adam", "--set", RATE), "garbled.py SyntaxError"),
    "no such name": (("run", "mine.py:hil", "adam", "--set", RATE), "mine.py 'hil' hill?"),
    "no name": (("run", "mine.py:", "adam", "--set", RATE), "mine.py '' defines"),
    "not a problem": (("run", "mine.py:seven", "adam", "--set", RATE), "mine.py:seven int Problem"),
    "makes no problem": (("run", "mine.py:number", "adam", "--set", RATE), "mine.py:number int Problem"),
    "not an optimizer": (("run", "bowl", "mine.py:seven", "--set", RATE), "mine.py:seven int optimizer"),
    "makes no optimizer": (("run", "bowl", "mine.py:number"), "int optimizer"),
    "NaN in a design": (("run", "mine.py:holes", "adam", "--set", RATE), "X finite"),
    "NaN in a swept design": (("sweep", "mine.py:holes", "adam", "--set", RATE, "--axis", "l2=0.1,1"), "X finite"),
    "a folder that is no store": (("sweep", "bowl", "adam", "--axis", RATE, "--store", "folder"), "folder store"),
    "a store that is a file": (("sweep", "bowl", "adam", "--axis", RATE, "--store", "afile"), "afile store"),
    "a store below a file": (("sweep", "bowl", "adam", "--axis", RATE, "--store", "afile/x"), "afile/x written"),
    "a figure below a file": ((*RUN, "--figure", "afile/x.png"), "afile/x.png written"),
    "a figure of no kind": ((*RUN, "--figure", "x.docx"), "x.docx written .png"),
    "a figure below a file, of a sweep": ((*SWEEP, RATE, "--figure", "afile/x.png"), "afile/x.png written"),
    "a loss that raises": (("landscape", "wrong.py:misspelt"), "AttributeError 'summ' wrong.py line 5"),
    "a loss that raises, run": (("run", "wrong.py:text", "adam", "--set", RATE), "TypeError wrong.py line 6"),
    "a loss that raises, swept": (("sweep", "wrong.py:made", "adam", "--axis", RATE), "NameError missing line 12"),
    "a loss that raises within JAX": (("landscape", "wrong.py:shapes"), "(2,) (3,) wrong.py line 8"),
    "a loss that branches": (("landscape", "wrong.py"), "TracerBoolConversionError wrong.py line 9"),
    "a problem that raises": (("landscape", "wrong.py:never"), "wrong.py:never nothing line 15"),
    "a problem that raises without a word": (("landscape", "wrong.py:refused"), "RuntimeError wrong.py line 18"),
    "a rate for tune": (("tune", "bowl", "adam", "--set", RATE), "learning_rate --set once"),
    "tune without that rate": (("tune", "mine.py:hill", "mine.py:plain"), "mine.py:plain 'learning_rate'"),
    "a rate below zero": (("tune", "bowl", "adam", "--rates", "-0.1,0.1"), "learning_rate=-0.1 positive"),
    "rates in words": (("tune", "bowl", "adam", "--rates", "log:a:b:c"), "log:a:b:c numbers"),
    "tune with no seeds": (("tune", "bowl", "adam", "--seeds", 0), "--seeds 0 1"),
    "an axis of tune in one number": (("tune", "bowl", "adam", "--axis", "b1=linear:0"), "b1=linear:0 numbers"),
    "an axis of tune that is no range": (("tune", "bowl", "adam", "--axis", "b1=0,0.9"), "b1 range linear"),
    "a budget in words": (("tune", "bowl", "adam", "--budget", "much"), "'much' 60s 2e6steps"),
    "a budget of nothing": (("tune", "bowl", "adam", "--budget", "0s"), "'0s' 60s"),
    "a budget below one run": (("tune", "bowl", "adam", "--budget", "5steps"), "steps=5 1000"),
    "no steps between checkpoints": ((*RUN, "--checkpoint", "c", "--save-every", 0), "--save-every 0 1"),
    "a checkpoint below a file": ((*RUN, "--checkpoint", "afile/x"), "afile/x written"),
    "a figure of tune below a file": (("tune", "bowl", "adam", "--figure", "afile/x.png"), "afile/x.png written"),
    "the landscape of nothing": (("landscape", "bowll"), "no problem 'bowll' bowl? list"),
    "the landscape of one variable": (("landscape", "mine.py:hill"), "two parameters 1 line"),
    "no span": (("landscape", "bowl", "--span", 0), "span=0.0 positive"),
    "two points": (("landscape", "bowl", "--points", 2), "points=2 three"),
    "a setting of no problem": (("landscape", "bowl", "--set", RATE), "bowl 'learning_rate'"),
    "a landscape of NaN": (("landscape", "mine.py:hole"), "no point finite"),
    "a figure of a landscape below a file": (("landscape", "bowl", "--figure", "afile/x.png"), "afile/x.png written"),
    "a run without a rate": (("landscape", "bowl", "--optimizer", "adam"), "adam learning rate --set"),
    "a landscape of an unknown kind": (("landscape", "bowl", "--figure", "x.docx"), "x.docx .png .gif .html .vts"),
    "directions of an unknown kind": (("landscape", "diabetes_ridge", "--normalization", "fliter"), "fliter filter"),
    "a film of no path": (("landscape", "bowl", "--figure", "x.gif"), "x.gif path --optimizer --store"),
    "a landscape of NaN, run": (
        ("landscape", "mine.py:lost", "--optimizer", "adam", "--set", RATE, "--figure", "x.html"), "no point finite",
    ),
    "a file without a problem": (("landscape", "broken.py"), "broken.py no_such_library"),
    "a file that defines no problem": (("landscape", "empty.py"), "empty.py 'problem'"),
    "no file": (("landscape", "absent.py"), "absent.py file.py"),
    "a landscape of no store": (("landscape", "bowl", "--store", "absent"), "absent store"),
    "a landscape of a folder": (("landscape", "bowl", "--store", "folder"), "folder store"),
    "two runs": (("landscape", "bowl", "--store", "s", "--optimizer", "adam", "--set", RATE), "--store --optimizer"),
    "which of no runs": (("landscape", "bowl", "--at", RATE), "--store --at"),
    "a sweep that keeps what is not": ((*SWEEP, RATE, "--keep", "all"), "'all' 'params'"),
    "no checkout": (("reproduce",), "experiments/ checkout"),
    "validate what is not": (("validate", "adamm"), "no optimizer 'adamm' adam? list"),
    "report of nothing": (("report", "absent"), "absent folder"),
    "report of a file": (("report", "afile"), "afile folder"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "words"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line_and_leaves_no_trace(sandbox, tmp_path, arguments, words):
    before = everything(tmp_path)
    code, out, err = sandbox(*arguments)
    assert code == 2
    assert out == []
    assert len(err) == 1
    assert err[0].startswith("error: ")
    assert [word for word in words.split() if word not in err[0]] == []
    assert everything(tmp_path) == before


def test_an_error_of_our_own_is_not_hidden(monkeypatch):
    def broken():
        raise TypeError("ours")

    monkeypatch.setattr(problems, "names", broken)
    monkeypatch.setattr(sys, "argv", ["sandbox", "list"])
    with pytest.raises(TypeError, match="ours"):
        cli.main()


def test_a_store_of_another_program_stays_as_it_was(sandbox, tmp_path):
    assert sandbox(*SWEEP, RATE)[0] == 0
    before = everything(tmp_path)
    code, out, err = sandbox(*SWEEP, RATE, "--steps", 4)
    assert (code, out, len(err)) == (2, [], 1)
    assert err[0].startswith("error: new was made by another program")
    assert everything(tmp_path) == before


def test_usage_errors_exit_2_and_leave_no_trace(sandbox, tmp_path):
    before = everything(tmp_path)
    for arguments in (("run",), ("run", "bowl"), ("sweeep",), (*RUN, "--steps", "many"), (*RUN, "--stepps", 3)):
        code, out, err = sandbox(*arguments)
        assert (code, out) == (2, [])
        assert err
    assert everything(tmp_path) == before


def test_list_names_everything_that_can_be_run(sandbox, monkeypatch):
    monkeypatch.chdir(ROOT)
    code, out, _ = sandbox("list")
    words = set(" ".join(out).split())
    assert code == 0
    assert {*problems.names(), *optimizers.names(), "jollof", "three_forms", "convex_vs_nonconvex"} <= words
    assert "speed" not in words


def test_run_shows_the_first_steps_of_the_bowl(sandbox):
    """13, 8.32, 5.3248, 3.407872: by hand, each is 0.64 times the one before."""
    code, out, err = sandbox(*RUN, "--steps", 3, "--x64")
    text = "\n".join(out)
    assert (code, err) == (0, [])
    assert [line.split()[1:4:2] for line in out if line[:1] == "│"] == [["0", "13"], ["1", "8.32"], ["2", "5.3248"]]
    assert "final objective 3.407872, 3.41 above the known minimum" in text


def test_run_says_where_it_diverged(sandbox):
    """At rate 10 each step multiplies the distance by −19: 13 · 361ᵏ passes the largest float32 at step 15."""
    code, out, _ = sandbox("run", "bowl", "gradient_descent", "--set", "learning_rate=10", "--steps", 30)
    assert code == 0
    assert out[-1].startswith("diverged at step 15:")


def test_sweep_finds_the_best_rate_and_reuses_what_is_stored(sandbox):
    """On ½x² the best rate is 1: it arrives in one step."""
    call = ("sweep", "mine.py:hill", "gradient_descent", "--steps", 3, "--seeds", 2, "--store", "kept")
    code, first, _ = sandbox(*call, "--axis", "learning_rate=0.5,1,1.9")
    assert code == 0
    rows = [line.split("│")[1:-1] for line in first if line.startswith("│")]
    assert [row[0].strip() for row in rows] == ["1", "0.5", "1.9"]
    assert [float(row[1]) for row in rows] == pytest.approx([0.0, 2 * 0.5**6, 2 * 0.9**6], rel=1e-5)
    assert first[-1] == "6 runs, 0 of them were in kept already; 0 diverged"
    assert sandbox(*call, "--axis", "learning_rate=0.5,1,1.9")[1][-1].startswith("6 runs, 6 of them were in kept")
    more = sandbox(*call, "--axis", "learning_rate=0.5,1,1.9,3")[1]
    assert more[-1].startswith("8 runs, 6 of them were in kept")


def test_problems_and_optimizers_of_ones_own(sandbox):
    """Half the rate 1 halves the distance from 2: ½·1². A file may define the thing itself instead of a factory."""
    code, out, _ = sandbox("run", "mine.py:hill", "mine.py:half", "--set", "learning_rate=1.0", "--steps", 1)
    assert (code, out[-1]) == (0, "final objective 0.5")
    assert sandbox("run", "mine.py:flat", "mine.py:plain", "--steps", 1)[1][-1] == "final objective 0.5"
    settings = ("--set", "slope=0.25", "--set", "learning_rate=1.0")  # f = x²/4: 2 − 1 = 1
    assert sandbox("run", "mine.py:steep", "gradient_descent", *settings, "--steps", 1)[1][-1] == "final objective 0.25"


def test_an_axis_of_sizes_runs_one_program_for_each(sandbox):
    """At the rate 0 the objective stays as it is at the start (−1.2, 1, −1.2, 1): 24.2, or 2 · 24.2 + 484."""
    call = ("sweep", "rosenbrock", "gradient_descent", "--set", "learning_rate=0.0", "--steps", 1)
    code, out, _ = sandbox(*call, "--axis", "dim=2,4")
    assert code == 0
    assert {"24.2", "532.4"} <= set(" ".join(out).split())


@pytest.mark.slow
def test_validate_one(sandbox):
    code, out, _ = sandbox("validate", "gradient_descent")
    assert code == 0
    assert {"gradient_descent", "sgd", "ok"} <= set(" ".join(out).split())


@pytest.mark.slow
def test_validate_is_put_on_the_page(sandbox, tmp_path):
    code, out, _ = sandbox("validate", "gradient_descent", "adam", "--results", "kept")
    assert code == 0
    assert "kept/index.html shows it" in out[-1]
    page = (tmp_path / "kept" / "index.html").read_text()
    assert "2 of 2 claims hold" in page
    assert "adam is Optax&#39;s adam" in page
    assert (tmp_path / "kept" / "validation" / "summary.csv").read_text().startswith("name,paper,twin,cases,worst")


def test_figures_are_drawn(sandbox, tmp_path):
    assert sandbox(*RUN, "--steps", 3, "--figure", "run.png")[1][-1] == "run.png written"
    call = (*SWEEP, "learning_rate=log:0.01:1:3", "--figure", "sweep.svg")
    assert sandbox(*call)[1][-1] == "sweep.svg written"
    assert (tmp_path / "run.png").read_bytes()[:4] == b"\x89PNG"
    assert "</svg>" in (tmp_path / "sweep.svg").read_text()


def cells(out):
    """The cells of every row of the tables on a screen."""
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in out if line.startswith("│")]


def test_tune_finds_the_best_rate_and_the_cliff(sandbox, tmp_path):
    """On ½x² the objective after k steps is (1 − η)²ᵏ times the first: best at 1, safe below 2, and 1.9 is tried."""
    rates = ("--rates", "0.5,1,1.5,1.9,2.1", "--x64")
    call = ("tune", "mine.py:hill", "gradient_descent", *rates, "--seeds", 2, "--steps", 20)
    code, out, err = sandbox(*call, "--store", "kept", "--figure", "u.png")
    assert (code, err) == (0, [])
    assert cells(out) == [["1", "0", "0 … 0", "0.5 … 1.9", "1.9 ×"]]
    assert "10 runs, 0 of them were in the store already; 0 diverged" in out
    assert (tmp_path / "u.png").read_bytes()[:4] == b"\x89PNG"
    assert "10 runs, 10 of them were in the store already; 0 diverged" in sandbox(*call, "--store", "kept")[1]


def test_tune_says_that_the_grid_is_too_narrow_or_too_high(sandbox):
    call = ("tune", "bowl", "gradient_descent", "--seeds", 1, "--steps", 50, "--figure", "u.svg", "--rates")
    low = sandbox(*call, "0.01,0.1")[1]
    assert "note: the best rate is the highest that was tried; widen the grid above 0.1" in low
    high = sandbox(*call, "30,100")[1]
    assert "note: every run diverged; try rates below 30" in high
    assert cells(high) == []


@pytest.mark.slow
def test_tune_searches_more_than_the_rate(sandbox):
    """On ½x² heavy ball lands at once with η = 1 and β = 0; every β above remembers too long."""
    call = ("tune", "mine.py:hill", "heavy_ball", "--axis", "momentum=linear:0:0.9", "--rates", "log:0.01:4:9")
    code, out, err = sandbox(*call, "--budget", "20000steps", "--seeds", 1, "--steps", 27, "--x64")
    assert (code, err) == (0, [])
    (said,) = [line for line in out if "points searched in" in line]
    assert float(said.partition("momentum = ")[2]) < 0.5
    assert float(cells(out)[0][1]) < 1e-6


def test_a_run_in_pieces_goes_on(sandbox, tmp_path):
    call = ("run", "bowl", "adam", "--set", RATE, "--steps", 30)
    whole = sandbox(*call)[1]
    assert sandbox(*call, "--checkpoint", "kept", "--save-every", 8)[1] == whole
    assert (tmp_path / "kept" / "30").is_dir()
    assert sandbox(*call, "--checkpoint", "kept", "--save-every", 8)[1] == whole
    code, _, err = sandbox(*call[:-1], 40, "--checkpoint", "kept", "--save-every", 8)
    assert code == 2
    assert "another program" in err[0]


def test_tune_takes_settings_of_problem_and_optimizer(sandbox):
    """κ = 1 makes the quadratic ½‖x‖², and heavy ball at β = 0 lands on its minimum in one step of the rate 1."""
    settings = ("--set", "condition_number=1", "--set", "momentum=0.0")
    code, out, _ = sandbox("tune", "quadratic", "heavy_ball", "--rates", "0.5,1,1.5", *settings, "--steps", 1)
    assert (code, cells(out)[0][:2]) == (0, ["1", "0"])


def test_landscape_names_the_lowest_and_the_highest_point(sandbox, tmp_path):
    """(x − 3)² + (y − 4)² within 2 of its minimum: 0 there and 8 in the corners, the first of which is named."""
    call = ("landscape", "bowl", "--span", 2, "--points", 5, "--x64", "--figure", "map.png")
    code, out, err = sandbox(*call)
    assert (code, err) == (0, [])
    assert cells(out) == [["lowest", "0", "3", "4"], ["highest", "8", "1", "2"]]
    text = " ".join(out)
    assert all(word in text for word in ("no data", "two variables", "seed 0", "float64", "map.png written"))
    assert (tmp_path / "map.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.slow
def test_landscape_of_a_run_says_what_is_seen(sandbox):
    run = ("--optimizer", "gradient_descent", "--set", "learning_rate=0.1")
    text = " ".join(sandbox("landscape", "bowl", *run, "--steps", 9, "--figure", "map.svg")[1])
    assert "gradient_descent, learning_rate=0.1, 9 steps; path exact" in text
    text = " ".join(sandbox("landscape", "diabetes_ridge", *run, "--steps", 9, "--points", 3, "--seed", 5)[1])
    assert all(
        word in text
        for word in ("full training set", "354 examples", "filter-normalised", "seed 5", "float32", "out of plane")
    )


def test_landscape_says_what_is_not_finite(sandbox, tmp_path):
    (tmp_path / "log.py").write_text(
        "import jax.numpy as jnp\nfrom sandbox.problems import Problem\n"
        'wall = Problem("wall", lambda key: jnp.ones(2), lambda x: jnp.sqrt(x[0]) + x[1])\n'
    )
    text = " ".join(sandbox("landscape", "log.py:wall", "--span", 2, "--points", 5, "--figure", "map.png")[1])
    assert "5 of 25 points not finite, left blank" in text  # x = −1


RUNS = ("sweep", "mine.py", "gradient_descent", "--axis", "learning_rate=0.1,0.25", "--seeds", 2, "--steps", 1)


def test_landscape_looks_around_a_run_of_a_store(sandbox, tmp_path):
    """x² + 2y² from (2, 1) at rate ¼: (2 − ¼·4, 1 − ¼·4) = (1, 0), where f = 1; within 1 of it the lowest is (0, 0)."""
    assert sandbox(*RUNS, "--store", "kept", "--keep", "params", "--x64")[0] == 0
    which = ("--store", "kept", "--at", "learning_rate=0.25", "--at", "seed=1")
    files = ("map.png", "map.html", "map.vts")
    draw = [word for file in files for word in ("--figure", file)]
    call = ("landscape", "mine.py", *which, "--span", 1, "--points", 3, "--x64")
    code, out, err = sandbox(*call, *draw)
    assert (code, err) == (0, [])
    assert cells(out) == [["lowest", "0", "0", "0"], ["highest", "6", "2", "-1"]]
    text = " ".join(out)
    assert "the run at learning_rate=0.25, seed=1 of kept" in text
    assert all((tmp_path / file).is_file() and f"{file} written" in text for file in files)
    assert 'WholeExtent="0 2 0 2 0 0"' in (tmp_path / "map.vts").read_text()


def test_what_a_store_cannot_show_is_one_line(sandbox, tmp_path):
    sandbox(*RUNS, "--store", "bare")
    sandbox(*RUNS, "--store", "kept", "--keep", "params")
    before = everything(tmp_path)
    for arguments, words in (
        (("mine.py", "--store", "bare"), "bare no parameters --keep params"),
        (("mine.py", "--store", "kept"), "learning_rate: 0.1, 0.25 --at"),
        (("mine.py", "--store", "kept", "--at", "seed=0"), "learning_rate: 0.1, 0.25 --at"),
        (("mine.py", "--store", "kept", "--at", "learning_rate=0.3", "--at", "seed=0"), "learning_rate=0.3 0.1, 0.25"),
        (("mine.py", "--store", "kept", "--at", "learning_rate=a", "--at", "seed=0"), "learning_rate=a number"),
        (("mine.py", "--store", "kept", "--at", "learning_rat=0.1"), "learning_rat learning_rate?"),
        (("mine.py", "--store", "kept", "--at", "seed"), "'seed' name=value"),
        (("mine.py:hill", "--store", "kept", "--at", RATE, "--at", "seed=0"), "kept (2,) hill (1,) swept"),
        (("mine.py", "--store", "kept", "--at", RATE, "--at", "seed=0", "--figure", "x.gif"), "x.gif path"),
    ):
        code, out, err = sandbox("landscape", *arguments)
        assert (code, out, len(err)) == (2, [], 1), arguments
        assert [word for word in words.split() if word not in err[0]] == [], err
    assert everything(tmp_path) == before


def test_landscape_draws_the_path_of_a_store_step_by_step(sandbox, tmp_path):
    """A sweep of the user's own that records the path: at rate ¼, x halves and y is 0 from the first step on."""
    from PIL import Image

    from sandbox.engine import run
    from sandbox.sweeps import sweep as swept

    well = problems.Problem("well", lambda key: jax.numpy.array([2.0, 1.0]), lambda x: x[0] ** 2 + 2 * x[1] ** 2)
    record = lambda info: {"path": info.params}
    train = lambda learning_rate: run(
        well, optimizers.gradient_descent(learning_rate), steps=4, key=jax.random.key(0), record=record
    )
    swept(train, learning_rate=[0.25], store="own", keep="params", progress=False)
    code, out, err = sandbox("landscape", "mine.py", "--store", "own", "--points", 5, "--figure", "x.gif")
    assert (code, err) == (0, [])
    assert "path exact" in " ".join(out)
    with Image.open(tmp_path / "x.gif") as film:
        assert film.n_frames == 4


@pytest.mark.slow
def test_landscape_puts_the_path_onto_the_surface(sandbox, tmp_path):
    """In a plane of many variables: at each projected step the height is the objective there, by `plane` anew."""
    run = ("--optimizer", "gradient_descent", "--set", RATE, "--steps", 9, "--points", 3)
    assert sandbox("landscape", "diabetes_ridge", *run, "--figure", "x.html", "--x64")[0] == 0
    raw = (tmp_path / "x.html").read_text().rpartition("const figure = ")[2].partition(";\nPlotly")[0]
    track = json.loads(raw)["data"][1]
    problem, method = problems.diabetes_ridge(), optimizers.gradient_descent(0.1)
    with jax.enable_x64(True):
        seen = landscape.survey(problem, key=jax.random.key(0), optimizer=method, steps=9, points=3)
        grid = landscape.plane(problem, seen.centre, *seen.directions, seen.path.a, seen.path.b)
    found = np.frombuffer(base64.b64decode(track["z"]["bdata"]))
    np.testing.assert_allclose(found + seen.values.min(), np.diag(grid), rtol=1e-10)


def interrupt(*args, **kwargs):
    raise KeyboardInterrupt


def test_an_interruption_is_explained(sandbox, tmp_path, monkeypatch):
    """The store is spoken of only where there is one."""
    from sandbox import sweeps

    monkeypatch.setattr(sweeps, "sweep", interrupt)
    call = ("sweep", "bowl", "gradient_descent", "--axis", RATE)
    assert sandbox(*call) == (130, [], ["interrupted"])
    assert sandbox(*call, "--store", "none_yet") == (130, [], ["interrupted"])
    (tmp_path / "kept").mkdir()
    said = ["interrupted; what was finished is in kept, the same command goes on from there"]
    assert sandbox(*call, "--store", "kept") == (130, [], said)


def test_report_writes_the_page(sandbox, tmp_path):
    place = tmp_path / "results" / "walk"
    report.write(place, claims=[report.Claim("two", 2, 2)], about={"title": "A walk"})
    code, out, _ = sandbox("report")
    assert (code, out) == (0, ["results/index.html"])
    assert "A walk" in (tmp_path / "results" / "index.html").read_text()


COMMANDS = [command.name or command.callback.__name__ for command in cli.app.registered_commands]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_explains_each_command(sandbox, command):
    code, out, _ = sandbox(command, "--help")
    text = " ".join(" ".join(out).split())
    explained = next(
        c.callback.__doc__ for c in cli.app.registered_commands if command in (c.name, c.callback.__name__)
    )
    assert code == 0
    assert " ".join(explained.partition("\n")[0].split())[:40] in text
    assert all(option in text for option in ("Usage:", "--help"))


def test_the_real_command(tmp_path):
    """In a process of its own: the exit code, the streams and what start() does reach the user as they should."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}

    def call(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "sandbox", *map(str, arguments)],
            cwd=tmp_path, env=environment, capture_output=True, text=True,
        )  # fmt: skip

    good = call(*RUN, "--steps", 3)
    assert (good.returncode, good.stderr) == (0, "")
    assert "8.32" in good.stdout
    before = {path for path in everything(tmp_path) if "cache" not in path.parts}
    bad = call("sweep", "bowl", "adam", "--axis", "learning_rate=log:0:1:64", "--store", "new")
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr.startswith("error: axis 'learning_rate=log:0:1:64'")
    assert bad.stderr.count("\n") == 1
    assert {path for path in everything(tmp_path) if "cache" not in path.parts} == before


@pytest.mark.slow
def test_ctrl_c_in_a_real_process_leaves_what_is_finished(tmp_path):
    """SIGINT as the terminal sends it, once the first chunk is there; the same command then goes on."""
    call = ["tune", "rosenbrock", "adam", "--rates", "log:1e-4:0.01:512", "--steps", "40000", "--store", "kept"]
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from sandbox import cli; cli.main()"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    process = subprocess.Popen(
        [sys.executable, "-c", code, *call], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    status = tmp_path / "kept" / "status" / "c"
    deadline = time.monotonic() + 120
    while not (status.is_dir() and any(status.iterdir())) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert err == "interrupted; what was finished is in kept, the same command goes on from there\n"
    finished = stores.finished(tmp_path / "kept")
    assert finished.any()
    assert not finished.all()
