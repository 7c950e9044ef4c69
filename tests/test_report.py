"""Claims judge as they say, figures draw what they are given, and a page tells all of it."""

import csv
import json
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from sandbox import report
from sandbox.report import Claim, plots, relative, same, within
from sandbox.report.claims import as_dict, from_dict


@pytest.fixture
def ax():
    with plots.style():
        fig, axes = plt.subplots()
        yield axes
        plt.close(fig)


@pytest.mark.parametrize(
    ("measured", "expected", "relation", "tolerance", "holds"),
    [
        (2.25, 2, "≈", 0.25, True),
        (1.75, 2, "~", 0.25, True),
        (2.26, 2, "≈", 0.25, False),
        (1.74, 2, "~", 0.25, False),
        (2.25, 2, "≤", 0.25, True),
        (-9, 2, "<=", 0, True),
        (2.26, 2, "<=", 0.25, False),
        (1.75, 2, "≥", 0.25, True),
        (9, 2, ">=", 0, True),
        (1.74, 2, "≥", 0.25, False),
        (np.nan, 2, "≈", np.inf, False),
        (np.nan, 2, "≤", 0, False),
        (2, np.nan, "≥", 0, False),
    ],
)
def test_verdicts(measured, expected, relation, tolerance, holds):
    claim = Claim("a claim", measured, expected, relation, tolerance, "a source")
    assert claim.holds is holds
    assert from_dict(json.loads(json.dumps(as_dict(claim), allow_nan=False))).holds is holds


def test_a_relative_tolerance_is_a_share_of_the_expectation():
    assert Claim("a", -102.0, -100.0, "≈", relative(0.02)).tolerance == pytest.approx(2.0)
    assert not Claim("a", -102.1, -100.0, "≈", relative(0.02)).holds


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"relation": "<"}, "≈ ~ ≤ <= ≥ >="),
        ({"tolerance": -1.0}, "tolerance is -1.0"),
        ({"tolerance": float("nan")}, "tolerance is nan"),
        ({"measured": np.ones(3)}, "one number"),
    ],
)
def test_a_malformed_claim_is_refused(change, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        Claim(**{"name": "a", "measured": 1.0, "expected": 1.0, **change})


def test_convergence_draws_the_median_as_it_is(ax):
    runs = np.exp(np.random.default_rng(0).normal(size=(5, 30)))
    curve = xr.DataArray(runs.T, dims=("step", "seed"), coords={"step": 10 * np.arange(30)})
    plots.convergence(ax, {"adam": curve}, theory={"adam": plots.geometric(0.9, (100.0, 2.0))})
    line, predicted = ax.lines[:2]
    np.testing.assert_array_equal(line.get_xdata(), 10 * np.arange(30))
    np.testing.assert_array_equal(line.get_ydata(), np.median(runs, axis=0))
    np.testing.assert_allclose(predicted.get_ydata(), 2.0 * 0.9 ** (10.0 * np.arange(30) - 100))
    assert ax.get_yscale() == "log"


def test_theory_lines_pass_where_they_are_told():
    line = plots.power(2.0, (10.0, 3.0))(np.array([0.0, 10.0, 20.0]))
    np.testing.assert_allclose(line, [np.nan, 3.0, 0.75])


def test_what_is_not_finite_is_a_gap_and_a_cross(ax):
    plots.convergence(ax, {"sgd": [4.0, 2.0, np.nan, np.inf, 1.0]})
    line, cross = ax.lines
    np.testing.assert_array_equal(line.get_ydata(), [4, 2, np.nan, np.nan, 1])
    np.testing.assert_array_equal(cross.get_xdata(), [2, 3])
    assert cross.get_marker() == "x"


def test_a_diverged_seed_counts_as_the_worst(ax):
    plots.rate_curve(ax, {"sgd": [[1.0, 2.0, 9.0], [3.0, np.nan, np.nan], [2.0, 1.0, np.inf]]}, rates=[0.1, 0.2, 0.4])
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [2, 2, np.nan])


def test_the_best_rate_is_ringed_and_the_cliff_drawn(ax):
    plots.rate_curve(ax, {"sgd": [3.0, 1.0, 2.0]}, rates=[0.1, 0.2, 0.4], cliffs={"sgd": 0.5})
    ring = next(line for line in ax.lines if line.get_markerfacecolor() == "none")
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (0.2, 1.0)
    assert any(list(line.get_xdata()) == [0.5, 0.5] for line in ax.lines)


def test_cliff_shares_are_the_mean_over_seeds(ax):
    plots.cliff(ax, {"gd": ([0.9, 1.0, 1.1], [[0, 0, 1], [0, 1, 1]]), "heavy ball": ([0.9, 1.1], [0, 1])})
    np.testing.assert_allclose(ax.lines[0].get_ydata(), 1 + 0.8 * np.array([0, 0.5, 1]))
    np.testing.assert_allclose(ax.lines[1].get_ydata(), [0, 0.8])


def test_paths_and_floors_are_drawn_where_they_are(ax):
    path = np.array([[1.0, 1.0], [0.5, 0.2], [0.0, 0.0]])
    plots.trajectories(
        ax, lambda p: p[0] ** 2 + 3 * p[1] ** 2, {"gd": path}, ((-2, 2), (-1, 1)), minimizers=[(0, 0)], resolution=20
    )
    np.testing.assert_array_equal(np.stack(ax.lines[0].get_data(), axis=1), path)
    assert ax.get_xlim() == (-2, 2)
    fig, other = plt.subplots()
    plots.noise_floor(other, {"batch 1": ([0.1, 0.2], [1.0, 2.0])}, theory=lambda x: 10 * x)
    np.testing.assert_array_equal(other.lines[0].get_ydata(), [1, 2])
    predicted = other.lines[-1]
    np.testing.assert_allclose(predicted.get_ydata(), 10 * predicted.get_xdata())
    plt.close(fig)


def test_curves_of_another_shape_are_refused(ax):
    with pytest.raises(ValueError, match=r"\(points,\) or \(seeds, points\) with 3 points"):
        plots.convergence(ax, {"gd": np.ones((2, 4))}, steps=np.arange(3))
    with pytest.raises(ValueError, match="'step' was expected"):
        plots.convergence(ax, {"gd": xr.DataArray(np.ones(3), dims="time")})


def figure():
    with plots.style():
        fig, axes = plt.subplots(figsize=(3, 2))
        plots.convergence(axes, {"gd": 0.9 ** np.arange(20)})
    return fig


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        fig = figure()
        plots.save(fig, tmp_path, name)
        plt.close(fig)
    for kind in ("png", "svg"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


CLAIMS = [Claim("holds", 1.0, 1.0, "≈", 0.1, "Polyak 1964"), Claim("breaks <i>", np.nan, 2.0, "≤", 0.0, "A & B")]
ROWS = [{"method": "gd | plain", "rate": 1 / 3}, {"method": "nag", "steps": 7}]
ABOUT = {"title": "A <script>alert(1)</script>", "question": "Why?", "prediction": "ρ = 0.9", "found": "so it is"}


@pytest.fixture
def results(tmp_path):
    fig = figure()
    report.write(
        tmp_path / "one",
        figures={"figure": (fig, "first"), "more": (fig, "second & last")},
        claims=CLAIMS,
        summary=ROWS,
        about=ABOUT,
    )
    report.write(tmp_path / "two", claims=CLAIMS[:1])
    plt.close(fig)
    return tmp_path


def test_results_read_back_as_written(results):
    one, two = report.read_all(results)
    assert [claim.name for claim in one.claims] == ["holds", "breaks <i>"]
    assert one.claims[0] == CLAIMS[0]
    assert np.isnan(one.claims[1].measured)
    assert one.title == ABOUT["title"]
    assert [caption for _, caption in one.figures] == ["first", "second & last"]
    assert float(one.summary[0]["rate"]) == 1 / 3
    assert (two.title, two.figures) == ("Two", ())
    names = {path.name for path in (results / "one").iterdir()}
    assert names == {"about.json", "claims.json", "summary.csv"} | {
        f"figure{more}.{kind}" for more in ("", "-more") for kind in ("png", "svg")
    }


def test_a_second_run_replaces_figures_and_keeps_other_files(results):
    (results / "one" / "store.zarr").mkdir()
    fig = figure()
    report.write(results / "one", figures={"figure": (fig, "")}, claims=CLAIMS[:1])
    plt.close(fig)
    left = {path.name for path in (results / "one").iterdir()}
    assert left == {"about.json", "claims.json", "summary.csv", "figure.png", "figure.svg", "store.zarr"}


def test_the_page_tells_everything_and_needs_nothing(results):
    text = report.page(results).read_text(encoding="utf-8")
    assert "2 of 3 claims hold" in text
    assert text.count('class="failed"') == 1
    assert "NaN" in text
    for word in (
        "Polyak 1964",
        "A &amp; B",
        "breaks &lt;i&gt;",
        "second &amp; last",
        "ρ = 0.9",
        'href="#two"',
        "0.333333",
    ):
        assert word in text
    assert "<script" not in text
    assert not re.search(r'(src|href)="https?:', text)
    assert len(re.findall(r'src="data:image/', text)) == 2


def test_an_empty_folder_gives_a_page_and_a_missing_one_an_error(tmp_path):
    assert "no claims yet" in report.page(tmp_path).read_text()
    with pytest.raises(ValueError, match="not a folder of results"):
        report.page(tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["{", '{"a": 1}', '[{"name": "x"}]', "[3]"])
def test_broken_claims_name_their_file(results, text):
    (results / "one" / "claims.json").write_text(text)
    with pytest.raises(ValueError, match=re.escape(str(results / "one" / "claims.json"))):
        report.page(results)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be written"):
        report.write(tmp_path / "file" / "one", claims=CLAIMS)


def test_a_run_that_fails_while_writing_leaves_the_old_results(results):
    before = (results / "one" / "claims.json").read_bytes()
    with pytest.raises(TypeError):
        report.write(results / "one", claims=[], about={"title": object()})
    assert (results / "one" / "claims.json").read_bytes() == before
    assert not list((results / "one").glob(".partial*"))


def test_tables(tmp_path):
    from rich.console import Console

    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(report.claims_table(CLAIMS, "[one]"))
    text = console.export_text()
    for word in ("[one]", "≈ 1 ± 0.1", "FAILS", "NaN", "breaks <i>"):
        assert word in text
    console.file.close()
    assert report.markdown(ROWS).splitlines() == [
        "| method | rate | steps |",
        "| --- | ---: | ---: |",
        "| gd \\| plain | 0.333333 |  |",
        "| nag |  | 7 |",
    ]
    path = report.write_csv(tmp_path / "s.csv", [{"x": np.float64(0.1), "y": np.int64(3)}])
    with path.open() as file:
        assert list(csv.DictReader(file)) == [{"x": "0.1", "y": "3"}]


def test_two_sides_that_ought_to_be_one():
    assert same("zero", np.array([0.0, -1e-13]), "").holds
    assert not same("not zero", np.array([0.0, -1e-11]), "").holds
    assert same("scaled", -1e-11, "", tolerance=1e-10).measured == 1e-11


def test_means_beside_their_laws_in_standard_errors():
    """The samples 1, 2, 3 have the mean 2 and the standard error 1/√3."""
    samples = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    claim = within("means", "", (samples, np.array([2.0, 1.0])))
    assert claim.measured == pytest.approx(np.sqrt(3))
    assert claim.holds
    assert not within("means", "", (samples, -1.0)).holds
    assert not within("means", "", (samples, np.array([2.0, 1.0])), (samples, np.nan)).holds
