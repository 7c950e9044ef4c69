"""Ray: tasks of their own compute what one process computes, and a lost worker costs nothing but time."""

import os
import signal
import sys
import threading
import time
import warnings

import jax
import numpy as np
import pytest

from sandbox import optimizers, problems, store
from sandbox.engine import run
from sandbox.engine.lanes import Plan
from sandbox.sweeps import choice, cluster, log, sweep

slow = pytest.mark.slow  # Ray itself takes seconds to start, and threads of its own
PLAN = Plan(2, 2, 1)


@pytest.fixture(scope="module")
def ray():
    ray = pytest.importorskip("ray")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False)
        yield ray
        ray.shutdown()


def trainer(steps=60, pids=None):
    network = problems.digits_mlp(hidden=(8,))

    def train(method, learning_rate, seed):
        if pids is not None:
            (pids / str(os.getpid())).touch()  # traced once in every process that computes
        return run(network, method(learning_rate), steps=steps, batch_size=64, key=jax.random.key(seed))

    return train


def axes(seeds=3, rates=4):
    return dict(method=choice(optimizers.adam, optimizers.sgd), learning_rate=log(1e-3, 1e-1, rates), seed=range(seeds))


def assert_identical(ds, other):
    assert ds.equals(other)
    for name in ds.variables:
        np.testing.assert_array_equal(ds[name].values, other[name].values)


@slow
@pytest.mark.parametrize("x64", [False, True])
def test_tasks_compute_what_one_process_computes(ray, x64, tmp_path):
    with jax.enable_x64(x64):
        alone = sweep(trainer(), **axes(), plan=PLAN)
        assert_identical(sweep(trainer(), **axes(), plan=PLAN, executor="ray"), alone)
        kept = sweep(trainer(), **axes(), plan=PLAN, executor="ray", store=tmp_path / "ray")
        assert_identical(kept, alone)
        # What is there is not computed again, with tasks or without.
        for executor in ("ray", None):
            again = sweep(trainer(), **axes(seeds=4), plan=PLAN, executor=executor, store=tmp_path / "ray")
            assert again.attrs["lanes_computed"] == (8 if executor else 0)
    assert again.loss.dtype == ("float64" if x64 else "float32")


@slow
def test_a_program_each_has_a_process_of_its_own(ray, tmp_path):
    sweep(trainer(pids=tmp_path), **axes(), plan=PLAN, executor="ray")
    assert len({int(p.name) for p in tmp_path.iterdir()} - {os.getpid()}) == 2


@slow
def test_workers_killed_at_ten_random_moments(ray, tmp_path):
    moments = np.random.default_rng(0).uniform(0.0, 1.0, 10)
    whole = sweep(trainer(steps=400), **axes(), plan=PLAN)
    for number, share in enumerate(moments):
        path, pids = tmp_path / str(number), tmp_path / f"pids{number}"
        pids.mkdir()
        chunks = whole.status.size // PLAN.chunk
        thread = threading.Thread(target=kill_one, args=(path, pids, PLAN.chunk * int(share * chunks)))
        thread.start()
        ds = sweep(trainer(steps=400, pids=pids), **axes(), plan=PLAN, executor="ray", store=path)
        thread.join()
        assert len(list(pids.glob("killed"))) == 1
        assert_identical(ds.drop_attrs(), whole.drop_attrs())


def kill_one(path, pids, lanes):
    """Kill a worker once so many lanes are finished; it may be idle or at work, in either task."""
    count = lambda: store.finished(path).sum() * PLAN.chunk if (path / "status" / "c").exists() else 0
    workers = lambda: [int(p.name) for p in pids.iterdir() if p.name.isdigit() and int(p.name) != os.getpid()]
    while not workers() or count() < lanes:
        time.sleep(0.01)
    os.kill(max(workers()), signal.SIGKILL)
    (pids / "killed").touch()


@slow
def test_a_worker_that_always_dies_is_given_up(ray, tmp_path):
    def deadly(method, rate):
        if os.getpid() != mine:
            os.kill(os.getpid(), signal.SIGKILL)
        return rate

    mine = os.getpid()
    with pytest.raises(RuntimeError, match=r"a task was lost 4 times .* goes on from what was finished"):
        sweep(deadly, method=choice("a", "b"), rate=[1.0, 2.0], executor="ray", store=tmp_path / "deadly")


@slow
def test_another_program_in_the_worker_is_refused(ray):
    mine = os.getpid()
    changed = lambda method, rate: rate * (2.0 if os.getpid() == mine else 3.0)
    with pytest.raises(ValueError, match="a worker traced another program"):
        sweep(changed, method=choice("a", "b"), rate=[1.0, 2.0], executor="ray")


@pytest.mark.parametrize(
    ("executor", "address"),
    [("ray", None), ("ray:auto", "auto"), ("ray:head:6379", "head:6379"), ("ray://h:1", "ray://h:1")],
)
def test_where_ray_runs(executor, address):
    assert cluster.address_of(executor) == address


@pytest.mark.parametrize("executor", ["rey", "dask", 3, ""])
def test_another_executor_is_refused(executor):
    with pytest.raises(ValueError, match="expected 'ray'"):
        sweep(lambda x: x, x=[1.0], executor=executor)


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"pip install 'sandbox\[ray\]'"):
        sweep(lambda x: x, x=[1.0], executor="ray")
