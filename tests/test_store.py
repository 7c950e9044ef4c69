"""The store: whole or absent, resumed bit for bit, grown, refused, and damage noticed."""

import contextlib
import errno
import itertools
import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import jax
import numpy as np
import pytest
import xarray

from sandbox import optimizers, problems, store
from sandbox.engine import run
from sandbox.engine.lanes import Plan
from sandbox.sweeps import log, sobol, static, sweep


def train(learning_rate, seed):
    problem = problems.diabetes_ridge()
    return run(problem, optimizers.adam(learning_rate), steps=12, batch_size=16, key=jax.random.key(seed), every=5)


AXES = dict(learning_rate=[1e-3, 1e-2, 0.1], seed=range(4))
PLAN = Plan(width=2, groups=2, devices=2)


def same(a, b):
    """Equal bit for bit: NaN equals NaN, and nothing else is forgiven."""
    xarray.testing.assert_identical(a.drop_attrs(), b.drop_attrs())


def test_a_stored_sweep_is_the_sweep(tmp_path):
    plain = sweep(train, **AXES, plan=PLAN)
    stored = sweep(train, **AXES, plan=PLAN, store=tmp_path / "s")
    same(stored, plain)
    same(store.open(tmp_path / "s").drop_vars("step", errors="ignore"), plain.drop_vars("step"))
    assert stored.attrs["lanes_computed"] == 12


def test_on_disk_there_are_lanes_that_xarray_reads(tmp_path):
    sweep(train, **AXES, plan=PLAN, store=tmp_path / "s")
    ds = xarray.open_zarr(tmp_path / "s", chunks=None)
    assert ds.status.dims == ("lane",)
    assert ds.loss.dims == ("lane", "step")
    assert ds.learning_rate.dims == ("lane",)
    assert (ds.status != -1).all()


@pytest.mark.parametrize("lost", [[0], [1, 2], [0, 1, 2]])
def test_only_chunks_without_a_status_are_computed_again(lost, tmp_path):
    whole = sweep(train, **AXES, plan=PLAN, store=tmp_path / "s")
    for chunk in lost:
        (tmp_path / "s" / "status" / "c" / str(chunk)).unlink()
    part = store.open(tmp_path / "s")
    assert int((part.status == -1).sum()) == 4 * len(lost)
    assert np.isfinite(part.value.where(part.status == 0)).sum() == 12 - 4 * len(lost)
    again = sweep(train, **AXES, store=tmp_path / "s")
    assert again.attrs["lanes_computed"] == 4 * len(lost)
    same(again, whole)


def test_a_chunk_whose_data_is_gone_is_computed_again(tmp_path):
    whole = sweep(train, **AXES, plan=PLAN, store=tmp_path / "s")
    (tmp_path / "s" / "loss" / "c" / "1" / "0").unlink()
    again = sweep(train, **AXES, store=tmp_path / "s")
    assert again.attrs["lanes_computed"] == 4
    same(again, whole)


def test_more_seeds_and_more_rates_compute_only_those(tmp_path):
    sweep(train, **AXES, plan=PLAN, store=tmp_path / "s")
    more = dict(learning_rate=[1e-3, 3e-3, 1e-2, 0.1], seed=range(5))
    grown = sweep(train, **more, store=tmp_path / "s")
    assert grown.attrs["lanes_computed"] == 20 - 12
    xarray.testing.assert_allclose(grown.drop_attrs(), sweep(train, **more).drop_attrs(), rtol=1e-5)
    assert sweep(train, **AXES, store=tmp_path / "s").attrs["lanes_computed"] == 0


def test_an_extension_that_was_cut_off_changes_nothing(tmp_path, monkeypatch):
    """Arrays had grown, the recipe had not been replaced: readers see the old store, and the next sweep mends it."""
    whole = sweep(train, **AXES, plan=PLAN, store=tmp_path / "s")
    with monkeypatch.context() as m:
        m.setattr(store, "_commit", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            sweep(train, learning_rate=[0.5], seed=range(7), store=tmp_path / "s")
    same(store.open(tmp_path / "s").drop_vars("step", errors="ignore"), whole.drop_vars("step"))
    grown = sweep(train, learning_rate=[0.5, 0.1], seed=range(4), store=tmp_path / "s")
    assert grown.attrs["lanes_computed"] == 4
    assert (grown.status == 0).all()


def test_scattered_points_resume_and_other_points_are_refused(tmp_path):
    points = sobol(8, learning_rate=log(1e-3, 0.1))
    whole = sweep(train, points=points, seed=range(2), store=tmp_path / "s")
    assert sweep(train, points=points, seed=range(3), store=tmp_path / "s").attrs["lanes_computed"] == 8
    opened = store.open(tmp_path / "s")
    np.testing.assert_array_equal(opened.learning_rate, whole.learning_rate)
    np.testing.assert_array_equal(opened.value.sel(seed=[0, 1]), whole.value)
    with pytest.raises(ValueError, match="other points"):
        sweep(train, points=sobol(8, seed=1, learning_rate=log(1e-3, 0.1)), seed=range(2), store=tmp_path / "s")


def test_text_axes_grow_by_new_programs(tmp_path):
    def fn(kind, learning_rate):
        return run(problems.bowl(), getattr(optimizers, kind)(learning_rate), steps=3, key=jax.random.key(0))

    sweep(fn, kind=["sgd"], learning_rate=[0.1, 0.2], store=tmp_path / "s")
    both = sweep(fn, kind=["sgd", "adam"], learning_rate=[0.1, 0.2], store=tmp_path / "s")
    assert both.attrs["lanes_computed"] == 2
    same(both, sweep(fn, kind=["sgd", "adam"], learning_rate=[0.1, 0.2]))


def test_another_program_is_refused_and_a_comment_is_not_another_program(tmp_path):
    def make(scale, steps=5):
        problem = problems.Problem(
            "p", lambda key: np.ones(2), lambda p, batch: scale * (batch @ p).sum() ** 2, data=np.eye(2)
        )
        return lambda learning_rate: run(problem, optimizers.sgd(learning_rate), steps=steps, key=jax.random.key(0))

    sweep(make(1.0), learning_rate=[0.01], store=tmp_path / "s")
    assert sweep(make(1.0), learning_rate=[0.01], store=tmp_path / "s").attrs["lanes_computed"] == 0
    for other in (make(2.0), make(1.0, steps=6)):
        with pytest.raises(ValueError, match="another program"):
            sweep(other, learning_rate=[0.01], store=tmp_path / "s")
    with pytest.raises(ValueError, match="has the axes learning_rate, this sweep has"):
        sweep(lambda rate: make(1.0)(rate), rate=[0.01], store=tmp_path / "s")


def test_other_data_of_the_same_shape_is_another_program(tmp_path):
    """Also inside an inner jit, where the text of a program shows only the shape of its constants."""

    def make(data):
        inner = jax.jit(lambda p: (data @ p).sum())
        problem = problems.Problem("p", lambda key: np.ones(3), lambda p: inner(p) ** 2)
        return lambda learning_rate: run(problem, optimizers.sgd(learning_rate), steps=2, key=jax.random.key(0))

    a = np.random.default_rng(0).normal(size=(3, 3))
    b = a.copy()
    b[2, 1] += 1e-6
    with jax.enable_x64(True):
        sweep(make(a), learning_rate=[0.01], store=tmp_path / "s")
        sweep(make(a.copy()), learning_rate=[0.02], store=tmp_path / "s")
        with pytest.raises(ValueError, match="another program"):
            sweep(make(b), learning_rate=[0.01], store=tmp_path / "s")


def test_a_folder_that_is_not_a_store_is_refused_and_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("a thesis")
    with pytest.raises(ValueError, match="not a store"):
        sweep(train, **AXES, store=tmp_path)
    assert [f.name for f in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(ValueError, match="no store here"):
        store.open(tmp_path / "nothing")


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be written"):
        sweep(train, **AXES, store=tmp_path / "file" / "s")


def test_an_edited_recipe_and_a_flipped_bit_are_noticed(tmp_path):
    sweep(train, **AXES, plan=PLAN, store=tmp_path / "s")
    chunk = tmp_path / "s" / "loss" / "c" / "0" / "0"
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(ValueError, match=r"(?i)checksum|crc"):
        store.open(tmp_path / "s")
    root = tmp_path / "s" / "zarr.json"
    document = json.loads(root.read_text())
    document["attributes"]["x64"] = True
    root.write_text(json.dumps(document))
    with pytest.raises(ValueError, match="damaged or edited"):
        store.open(tmp_path / "s")


@pytest.mark.parametrize("damage", ["flipped", "truncated", "emptied"])
@pytest.mark.parametrize("name", ["loss", "value", "status"])
def test_a_damaged_chunk_is_computed_anew(name, damage, tmp_path):
    whole = sweep(train, **AXES, plan=PLAN, store=tmp_path / "s")
    chunk = next(f for f in sorted((tmp_path / "s" / name / "c").rglob("*")) if f.is_file())
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1
    chunk.write_bytes({"flipped": data, "truncated": data[: len(data) // 2], "emptied": b""}[damage])
    with pytest.warns(UserWarning, match="1 of its chunks are damaged"):
        again = sweep(train, **AXES, plan=PLAN, store=tmp_path / "s")
    assert again.attrs["lanes_computed"] == PLAN.chunk
    same(again, whole)
    same(store.open(tmp_path / "s").drop_vars("step", errors="ignore"), whole.drop_vars("step"))


def test_damaged_axes_are_beyond_help(tmp_path):
    sweep(train, **AXES, plan=PLAN, store=tmp_path / "s")
    chunk = tmp_path / "s" / "learning_rate" / "c" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-1])
    with pytest.raises(ValueError, match="axis learning_rate is damaged"):
        sweep(train, **AXES, plan=PLAN, store=tmp_path / "s")


def test_a_full_disk_keeps_what_was_finished(tmp_path, monkeypatch):
    """No space is left after the seventh file of results."""
    from zarr.storage import LocalStore

    put, written = LocalStore.set, []

    async def full(self, key, value, *args):
        if "/c/" in key and not key.startswith(tuple(AXES)):
            written.append(key)
            if len(written) > 7:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return await put(self, key, value, *args)

    monkeypatch.setattr(LocalStore, "set", full)
    with pytest.raises(ValueError, match=r"No space left on device.*make room, then the same call goes on"):
        sweep(train, **AXES, plan=PLAN, store=tmp_path / "s")
    monkeypatch.undo()
    kept = store.finished(tmp_path / "s").sum() * PLAN.chunk
    assert 0 < kept < 12
    resumed = sweep(train, **AXES, plan=PLAN, store=tmp_path / "s")
    assert resumed.attrs["lanes_computed"] == 12 - kept
    same(resumed, sweep(train, **AXES, plan=PLAN))


def test_a_clock_that_jumps_changes_nothing(tmp_path, monkeypatch):
    whole = sweep(train, **AXES, plan=PLAN)
    days = itertools.cycle([0.0, 4e9, -2e9, 1e9])
    for name in ("time", "perf_counter", "monotonic"):
        clock = getattr(time, name)
        monkeypatch.setattr(time, name, lambda clock=clock: clock() + next(days))
    same(sweep(train, **AXES, plan=PLAN, store=tmp_path / "s"), whole)
    more = sweep(train, learning_rate=AXES["learning_rate"], seed=range(5), plan=PLAN, store=tmp_path / "s")
    assert more.attrs["lanes_computed"] == 3
    same(more.sel(seed=whole.seed), whole)


def test_two_writers_cannot_meet(tmp_path):
    sweep(train, **AXES, plan=PLAN, store=tmp_path / "s")
    with store.writing(tmp_path / "s"), pytest.raises(ValueError, match="another process"):
        sweep(train, **AXES, store=tmp_path / "s")


@pytest.mark.slow
def test_params_that_are_a_tree_are_kept_too(tmp_path):
    """A network's parameters have paths, and a path is not a name of a folder."""
    kept = sweep(train, **AXES, plan=PLAN, keep="params", store=tmp_path / "s")
    same(kept, sweep(train, **AXES, plan=PLAN, keep="params"))
    assert kept["params/w"].shape == (3, 4, 10)
    assert sweep(train, **AXES, keep="params", store=tmp_path / "s").attrs["lanes_computed"] == 0


def test_other_names_of_results_and_other_kinds_of_values_are_another_program(tmp_path):
    sweep(lambda a: {"x": 2 * a}, a=[1.0], store=tmp_path / "s")
    with pytest.raises(ValueError, match="another program"):
        sweep(lambda a: {"y": 2 * a}, a=[1.0, 2.0], store=tmp_path / "s")
    sweep(lambda a, n: a * n, a=[1.0], n=static(1, 2), store=tmp_path / "t")
    with pytest.raises(ValueError, match="another type"):
        sweep(lambda a, n: a * n, a=[1.0], n=static(0.5), store=tmp_path / "t")


SCRIPT = textwrap.dedent(
    """
    import sys
    import jax
    jax.config.update("jax_num_cpu_devices", 2)
    from sandbox import optimizers, problems
    from sandbox.engine import run
    from sandbox.engine.lanes import Plan
    from sandbox.sweeps import log, sweep

    def train(learning_rate, seed):
        problem = problems.diabetes_ridge()
        return run(problem, optimizers.adam(learning_rate), steps=2_000, batch_size=64, key=jax.random.key(seed))

    ds = sweep(train, learning_rate=log(1e-3, 1.0, 8), seed=range(8), store=sys.argv[1], plan=Plan(2, 2, 2))
    print(ds.attrs["lanes_computed"])
    """
)


def killed_and_resumed(folder, kills, rng):
    """A sweep in a process of its own, killed with signal 9 at random moments, then left to finish."""
    script = folder / "sweep.py"
    script.write_text(SCRIPT)
    target = folder / "killed"
    computed = []
    for _ in range(kills):
        process = subprocess.Popen(
            [sys.executable, script, target], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        chunks = rng.integers(1, 4)
        before = len(computed_chunks(target))
        deadline = time.monotonic() + 60
        while len(computed_chunks(target)) < before + chunks and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.05))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        computed.append(4 * len(computed_chunks(target)))
    last = subprocess.run([sys.executable, script, target], capture_output=True, text=True, check=True)
    subprocess.run([sys.executable, script, folder / "whole"], capture_output=True, check=True)
    return computed, int(last.stdout), store.open(target), store.open(folder / "whole")


def computed_chunks(target):
    return list((target / "status" / "c").glob("*")) if target.exists() else []


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_and_equals_an_uninterrupted_one(tmp_path):
    computed, last, resumed, whole = killed_and_resumed(tmp_path, 1, np.random.default_rng(0))
    assert 0 < computed[-1] < 64
    assert last == 64 - computed[-1]
    same(resumed, whole)


@pytest.mark.slow
def test_killed_again_and_again(tmp_path):
    for series in range(3):
        folder = tmp_path / str(series)
        folder.mkdir()
        _, _, resumed, whole = killed_and_resumed(folder, 4, np.random.default_rng(series))
        same(resumed, whole)


def test_who_loses_the_race_to_make_a_store_opens_it(tmp_path, monkeypatch):
    """Both sweeps saw that nothing was there; the other one made the store, and filled it, while this one waited."""
    create = store.create

    def late(*args):
        monkeypatch.setattr(store, "create", create)
        first = sweep(train, **AXES, plan=PLAN, store=tmp_path / "s")
        assert first.attrs["lanes_computed"] == 12
        create(*args)

    monkeypatch.setattr(store, "create", late)
    second = sweep(train, learning_rate=AXES["learning_rate"], seed=range(5), store=tmp_path / "s")
    assert second.attrs["lanes_computed"] == 3
    assert (second.status == 0).all()


def test_a_store_made_by_another_who_still_writes_is_left_to_him(tmp_path, monkeypatch):
    create = store.create

    def late(*args):
        create(*args)
        create(*args)
        stack.enter_context(store.writing(tmp_path / "s"))

    with contextlib.ExitStack() as stack:
        monkeypatch.setattr(store, "create", late)
        with pytest.raises(ValueError, match="another process is writing this store; wait for it"):
            sweep(train, **AXES, store=tmp_path / "s")
    assert sweep(train, **AXES, store=tmp_path / "s").attrs["lanes_computed"] == 12


def test_numbers_from_a_file_make_the_same_program(x64):
    """A dtype that was read spells itself '<f8', and a matrix product remembers the spelling."""
    from sandbox.engine.program import Traced

    read = np.dtype(float).newbyteorder("<")
    product = lambda dtype: lambda x: jax.lax.dot(x, x, preferred_element_type=dtype)
    of = lambda dtype: Traced(product(dtype), {"x": jax.ShapeDtypeStruct((3, 3), float)}).fingerprint
    assert repr(read) != repr(np.dtype(float))
    assert of(read) == of(np.dtype(float))
    assert of(read) != of(np.dtype(np.float32))
