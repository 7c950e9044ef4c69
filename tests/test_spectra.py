"""Spectra: the claims hold, and each fails where a spectrum or its quadrature is another."""

import numpy as np
import pytest
from oracles.claims import fails, sound

from experiments import spectra
from sandbox.reproduction import Part

LEAST, MOST, QUADRATURE = "smallest eigenvalue", "largest eigenvalue", "XᵀX/n: W₁"
START, MIDDLE, END = (f"network {name}" for name in spectra.TIMES)
GAP, BULK = "widest gap", "within 1 %"


def changed(field, change, **place):
    """A dataset with some of a field's values, those at a place, changed in a copy."""

    def new(ds):
        ds = ds.copy(deep=True)
        ds[field].loc[place] = change(ds[field].sel(place))
        return ds

    return new


def entry(number, value):
    """One eigenvalue replaced."""

    def change(x):
        x = x.copy(deep=True)
        x[..., number] = value
        return x

    return change


def half_the_classes(exact):
    """The lower five of the ten largest in line with what follows them."""
    order = exact.copy(deep=True)
    order[..., -10:-5] = order[..., -11]
    return order


def lifted(ds):
    """All eigenvalues of the trained network, and what is found of them, 2 % of the largest higher."""
    last = {"steps": 1000}
    by = 0.02 * float(ds.exact.sel(last).max())
    for field in ("exact", "nodes"):
        ds = changed(field, lambda x: x + by, **last)(ds)
    return ds


away_by = lambda ds: 0.05 * float(ds.exact.max())
BROKEN = {  # the part, what becomes of its dataset, and parts of the names of the claims that fail
    "a rank that is lost": ("marchenko_pastur", changed("exact", entry(0, 0.0)), {LEAST}),
    "a spike": ("marchenko_pastur", changed("exact", entry(-1, 4.0)), {MOST}),
    "a quadrature to one side": ("marchenko_pastur", changed("nodes", lambda x: x + 0.05), {QUADRATURE}),
    "rows that are not independent": (
        "marchenko_pastur", changed("exact", lambda x: 1.2 * x), {LEAST, MOST, QUADRATURE},
    ),
    **{
        f"another quadrature, {name}": (
            "network", lambda ds, s=s: changed("nodes", lambda x: x + away_by(ds.sel(steps=s)), steps=s)(ds),
            {f"network {name}"},
        )
        for name, s in spectra.TIMES.items()
    },
    "half of the classes": ("network", changed("exact", half_the_classes, steps=1000), {GAP}),
    "no flat directions": ("network", lifted, {BULK}),
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """All that is found, and the datasets that it rests on."""
    folder, kept, known = tmp_path_factory.mktemp("results"), spectra.kept, {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sandbox.reproduction.results", lambda *given: folder)
        patch.setattr(spectra, "kept", lambda *given, **axes: known.setdefault(given[1], kept(*given, **axes)))
        return spectra.main(fast=True), known


@pytest.mark.slow
def test_spectra(whole):
    sound(whole[0], 8, 3, BROKEN)


@pytest.mark.slow
@pytest.mark.parametrize(("part", "change", "expected"), BROKEN.values(), ids=BROKEN)
def test_broken_spectra(monkeypatch, whole, part, change, expected):
    monkeypatch.setattr(spectra, "kept", lambda *given, **axes: change(whole[1][given[1]]))
    found = getattr(spectra, part)(True)
    fails((found if isinstance(found, Part) else found[0]).claims, expected)


def test_the_widest_gap_is_counted_from_the_largest():
    """Seven that are far above the rest, in a spectrum that is mostly 0."""
    exact = np.sort(np.r_[np.zeros(77), np.linspace(1e-3, 2e-3, 23), np.linspace(1.0, 2.0, 7)])
    gap, small = spectra.outliers(exact[None])
    assert gap.measured == 7
    assert small.measured == pytest.approx(100 / 107)
