"""Two processes and one store: the same lanes as one process computes, each computed once."""

import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from sandbox import store

PROGRAM = """
import sys
import jax
import numpy as np
address, count, index, path, x64, rates, out = sys.argv[1:]
jax.config.update("jax_num_cpu_devices", 2 // int(count))
jax.config.update("jax_enable_x64", x64 == "x64")
if int(count) > 1:
    jax.distributed.initialize(address, int(count), int(index))
from sandbox import optimizers, problems
from sandbox.engine import run
from sandbox.engine.lanes import Plan
from sandbox.sweeps import log, sweep
network = problems.digits_mlp(hidden=(4,))
train = lambda learning_rate, seed: run(
    network, optimizers.adam(learning_rate), steps=40, batch_size=64, key=jax.random.key(seed))
plan = Plan(2, 2 // int(count), 2 // int(count), ("seed",))
ds = sweep(train, learning_rate=log(1e-3, 1e-1, int(rates)), seed=range(3), store=path or None, plan=plan)
np.savez(out, computed=ds.attrs["lanes_computed"], loss=ds.loss.values)
"""


def start(count, index, path, port, x64="", rates=6):
    arguments = [f"localhost:{port}", count, index, path, x64, rates, f"{path}{index}.npz"]
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def results(path, *processes):
    for process in processes:
        _, err = process.communicate(timeout=240)
        assert process.returncode == 0, err[-2000:]
    found = [np.load(f"{path}{index}.npz") for index in range(len(processes))]
    return [(int(each["computed"]), each["loss"]) for each in found]


def team(path, **options):
    port = free_port()
    return results(path, *[start(2, i, path, port, **options) for i in range(2)])


pytestmark = pytest.mark.slow  # each starts several processes


@pytest.mark.parametrize(("x64", "tolerance"), [("x64", 1e-10), ("", 1e-5)])
def test_two_processes_are_one(x64, tolerance, tmp_path):
    (computed, one), (again, other) = team(tmp_path / "two", x64=x64)
    assert computed == again == 18
    np.testing.assert_array_equal(one, other)
    ((_, alone),) = results(tmp_path / "one", start(1, 0, tmp_path / "one", 0, x64=x64))
    np.testing.assert_allclose(one, alone, rtol=tolerance)
    # Neither computes what is there already, and both know of it.
    assert [count for count, _ in team(tmp_path / "two", x64=x64)] == [0, 0]


def test_one_of_two_is_killed_at_ten_moments_and_both_start_again(tmp_path):
    """Whoever dies, the other can only be stopped; nothing that either of them finished is computed again."""
    path, rng, kept = tmp_path / "two", np.random.default_rng(0), 0
    for _ in range(10):
        port, until = free_port(), kept + rng.integers(1, 60)
        processes = [start(2, i, path, port, rates=600) for i in range(2)]
        finished = lambda: store.finished(path).sum() if (path / "status" / "c").exists() else 0
        while finished() < until:
            assert all(p.poll() is None for p in processes)
            time.sleep(0.01)
        victim = int(rng.integers(2))
        processes[victim].kill()
        time.sleep(rng.uniform(0, 0.3))
        processes[1 - victim].kill()
        for p in processes:
            p.communicate()
        assert finished() >= max(until, kept)
        kept = finished()
    (computed, one), _ = team(path, rates=600)
    assert computed <= 1800 - 2 * kept
    undisturbed = team(tmp_path / "other", rates=600)[0][1]
    np.testing.assert_array_equal(one, undisturbed)


def test_the_command_line_under_slurm(tmp_path):
    """Two tasks of a job, as Slurm describes them to each: one table, and every lane computed once."""
    words = ["sweep", "rosenbrock", "adam", "--axis", "learning_rate=log:1e-3:1e-1:8", "--steps", "20", "--distributed"]
    words += ["--store", str(tmp_path / "rates")]
    job = {"SLURM_JOB_ID": str(free_port()), "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"}
    task = lambda i: os.environ | job | {"SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)}
    command = [sys.executable, "-m", "sandbox", *words]
    both = [subprocess.Popen(command, env=task(i), stdout=subprocess.PIPE, text=True, cwd=tmp_path) for i in range(2)]
    first, second = (p.communicate(timeout=240)[0] for p in both)
    assert [p.returncode for p in both] == [0, 0]
    assert "8 runs, 0 of them were in" in first
    assert "rosenbrock under adam" in first
    assert "rosenbrock" not in second  # only the first of them speaks, of results; Gloo says that it has connected
    assert store.finished(tmp_path / "rates").all()
    alone = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert alone.returncode == 2
    assert "no word of other processes" in alone.stderr
    assert len(alone.stderr.splitlines()) == 1


def test_a_team_needs_a_store():
    port = free_port()
    first, second = (start(2, i, "", port) for i in range(2))
    for process in (first, second):
        assert "needs store=" in process.communicate(timeout=240)[1]
