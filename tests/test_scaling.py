"""The model of scaling: its limits are known in closed form."""

import numpy as np
import pytest

from experiments import scaling
from experiments.scaling import Model, parts

IDEAL = Model(start=0.0, compile=0.0, call=0.0, lane=1e-3, write=0.0, meet=0.0, spread=0.0)


@pytest.mark.parametrize("devices", [1, 8, 100, 10_000])
def test_without_costs_n_devices_are_n_times_as_fast(devices):
    assert parts(IDEAL, 40_000 * devices, devices, 1, stored=False)["run"] == pytest.approx(40.0)
    assert sum(parts(IDEAL, 400_000, devices, 1, stored=False).values()) == pytest.approx(400 / devices)


def test_what_is_not_parallel_stays():
    """Amdahl (1967): a million devices are no faster than the serial part."""
    serial = IDEAL._replace(compile=3.0, start=2.0)
    assert sum(parts(serial, 1_000, 10**6, 1, stored=False).values()) == pytest.approx(5.0 + scaling.WIDTH * 1e-3)


def test_writing_hides_behind_computing_until_the_disk_is_full():
    hidden = parts(IDEAL._replace(write=1e-5), 10_000, 10, 1)
    assert hidden["write"] == pytest.approx(10 * scaling.CHUNK * 1e-5)
    lanes = 10**9
    full = parts(IDEAL, lanes, 10**6, 10**5)
    assert full["write"] + full["run"] == pytest.approx(lanes * scaling.LANE_BYTES / scaling.DISK)


def test_the_fit_finds_the_seconds_of_a_lane():
    seconds = lambda n, stored: 0.5 + n * (2e-3 + 1e-4 * stored)
    sweeps = [
        dict(lanes=n, devices=1, stored=stored, seconds=seconds(n, stored)) for n in scaling.LANES for stored in (0, 1)
    ]
    one = dict(start=2.0, compile=3.0, meet=0.01, sweeps=sweeps)
    np.testing.assert_allclose(scaling.fit([one], [one]), [2.0, 3.0, 0.5, 2e-3, 1e-4, 0.01, 0.0], rtol=1e-9, atol=1e-12)
