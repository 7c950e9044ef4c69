"""Reproduce, on experiments of three lines: what is run, reused, counted, written and said."""

import json
import sys

import jax
import pytest

from sandbox import reproduction, store
from sandbox.sweeps import sweep

HALVES = '''
"""Halving: a bowl at half its rate.

Question: How much is
left?

Prediction: A half, by hand.
With n starts: n times.

Found: A half.
"""
from sandbox.report import Claim
from sandbox.reproduction import Findings, kept

def main(fast):
    x = [1.0, 3.0] if fast else [1.0, 2.0, 3.0]
    ds = kept(__file__, "halves", fast, lambda x: {"value": x / 2}, x=x)
    half, whole = Claim("half of 1", ds.value[0], 0.5), Claim("half of 3", ds.value[-1], 3.0)
    return Findings({}, [half, whole], [ds], [{"x": 1.0, "half": float(ds.value[0])}])
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A checkout with the experiments `halves` and `plain`, `own` on request, and a benchmark that is none."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    folder = tmp_path / f"trials_of_{tmp_path.name}"  # its own package: Python remembers what it imported
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "halves.py").write_text(HALVES)
    plain = "from sandbox.reproduction import Findings\n\ndef main(fast):\n    return Findings({}, [])\n"
    (folder / "plain.py").write_text(f'"""Nothing at all."""\n{plain}')
    listed = "[], [], [{'file': path.name} for path in data.iterdir()])"
    own = plain.replace("main(fast)", "main(fast, data)").replace("[])", listed)
    (folder / "own.py").write_text(f'"""Listed.\n\nData: any files."""\non_request = True  # yours\n{own}')
    (folder / "clock.py").write_text(f'"""A race."""\nbenchmark = True\n{plain}')
    return folder


def reproduce(folder, *names, fast=False):
    """How many claims fail, and the lines that were said; tables are left out."""
    lines = []
    return reproduction.reproduce(folder, names, fast, lines.append), [x for x in lines if isinstance(x, str)]


def test_about_reads_the_parts_of_a_docstring():
    text = reproduction.about(HALVES.split('"""')[1])
    assert text == {
        "title": "Halving: a bowl at half its rate",
        "question": "How much is left?",
        "prediction": "A half, by hand. With n starts: n times.",
        "found": "A half.",
    }
    assert reproduction.about("One line.") == {"title": "One line"}


def test_benchmarks_are_not_experiments(folder):
    assert [path.stem for path in reproduction.files(folder)] == ["halves", "own", "plain"]


def test_the_projects_own_experiments_on_request():
    folder = reproduction.folder_of_experiments()
    quick = reproduction.files(folder, "benchmark|on_request")
    asked = {path.stem for path in set(reproduction.files(folder)) - set(quick)}
    networks = {"accuracy", "mnist", "connectivity", "edge_of_stability", "ground", "spectra", "spurious_minima"}
    assert asked == networks | {"curvature_map", "fractal", "profiles", "races", "trainability", "walks"}
    assert "jollof" in {path.stem for path in quick}


def test_an_experiment_on_request_runs_where_it_is_named_on_the_users_data(folder, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "mine.csv").touch()
    reproduce(folder)
    assert not (folder.parent / "results" / "own").exists()
    with pytest.raises(ValueError, match="own needs --data FOLDER: any files"):
        reproduce(folder, "own")
    with pytest.raises(ValueError, match="no experiment of these takes any: halves"):
        reproduction.reproduce(folder, ["halves"], False, lambda _: None, data=data)
    assert reproduction.reproduce(folder, ["own"], False, lambda _: None, data=data) == 0
    assert (folder.parent / "results" / "own" / "summary.csv").read_text().split() == ["file", "mine.csv"]


def test_a_claim_that_fails_is_counted_and_written(folder):
    failed, lines = reproduce(folder)
    place = folder.parent / "results"
    assert failed == 1
    assert lines[0] == "halves …"
    assert lines[-1].startswith("1 of 2 claims hold; ")
    claims = json.loads((place / "halves" / "claims.json").read_text())
    assert [(c["name"], c["measured"], c["holds"]) for c in claims] == [
        ("half of 1", 0.5, True),
        ("half of 3", 1.5, False),
    ]
    assert (place / "halves" / "summary.csv").read_text().split() == ["x,half", "1.0,0.5"]
    assert json.loads((place / "halves" / "about.json").read_text())["question"] == "How much is left?"
    page = (place / "index.html").read_text()
    assert all(text in page for text in ("Halving: a bowl at half its rate", "half of 3", "Nothing at all"))


@pytest.mark.slow
def test_some_at_a_time_find_the_same(folder):
    told = []
    failed = reproduction.reproduce(folder, [], False, told.append, processes=2)
    lines = [line for line in told if isinstance(line, str)]
    assert failed == 1
    assert lines[0] == "2 experiments, 2 at a time …"
    assert any(line.strip().startswith("3 runs, all computed now, 0 reused; ") for line in lines)
    assert lines[-1].startswith("1 of 2 claims hold; ")
    assert (folder.parent / "results" / "index.html").exists()


def test_the_second_time_everything_is_reused(folder):
    first, second = (reproduce(folder, "halves")[1][1] for _ in range(2))
    assert first.strip().startswith("3 runs, all computed now, 0 reused; ")
    assert second.strip().startswith("3 runs, 0 computed now, 3 reused; ")


def test_fast_has_a_folder_of_its_own(folder):
    failed, lines = reproduce(folder, "halves", fast=True)
    assert (failed, lines[1].strip().split(",")[0]) == (1, "2 runs")
    assert (folder.parent / "results" / "fast" / "index.html").exists()
    assert not (folder.parent / "results" / "halves").exists()


def test_an_unknown_experiment_is_refused_before_any_is_run(folder):
    with pytest.raises(ValueError, match=r"'halvse' \(did you mean halves\?\); there are halves, own, plain"):
        reproduce(folder, "plain", "halvse")
    assert not (folder.parent / "results").exists()


def test_a_results_folder_that_cannot_be_written(folder):
    (folder.parent / "results").write_text("a file, where the folder should be")
    for name in ("halves", "plain"):
        with pytest.raises(ValueError, match="cannot be written"):
            reproduce(folder, name)


def test_kept_reuses_the_same_program_and_replaces_another(tmp_path):
    """A user's store refuses another program; an experiment's own is a copy of what can be computed again."""
    script = tmp_path / "experiments" / "half.py"
    keep = lambda fn, x: reproduction.kept(str(script), "runs", False, fn, x=x)
    first = keep(lambda x: {"value": x / 2}, [1.0, 2.0])
    again = keep(lambda x: {"value": x / 2}, [1.0, 2.0, 3.0])
    assert (first.attrs["lanes_computed"], again.attrs["lanes_computed"]) == (2, 1)
    with pytest.raises(store.OtherProgram):
        sweep(lambda x: {"value": x / 3}, store=tmp_path / "results" / "half" / "runs.zarr", x=[1.0, 2.0])
    other = keep(lambda x: {"value": x / 4}, [1.0, 2.0])
    assert other.attrs["lanes_computed"] == 2
    assert other.value.values.tolist() == [0.25, 0.5]
    with jax.enable_x64(True):
        assert keep(lambda x: {"value": x / 4}, [1.0, 2.0]).value.dtype == "float64"


def test_kept_leaves_what_is_not_a_store_alone(tmp_path):
    """Only a store made by another program is replaced: somebody's folder is not."""
    place = tmp_path / "results" / "half" / "runs.zarr"
    place.mkdir(parents=True)
    (place / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="not a store"):
        reproduction.kept(str(tmp_path / "experiments" / "half.py"), "runs", False, lambda x: {"value": x}, x=[1.0])
    assert (place / "notes.txt").read_text() == "mine"
