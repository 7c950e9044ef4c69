"""Long runs: in pieces as in one, resumed as undisturbed, and nothing damaged is believed."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import chex
import jax
import numpy as np
import optax
import pytest

from sandbox import optimizers, problems, store
from sandbox.engine import long_run, run

KEY = jax.random.key(3)
SCORES = dict(steps=23, key=KEY, batch_size=100, every=2)


def scores():
    """Of few equations: a program compiles in a moment."""
    return problems.breast_cancer_logistic()


def stop_at(step):
    def told(k):
        if k >= step:
            raise KeyboardInterrupt

    return told


DEEP = lambda info: {"deep": {"x": info.params["b"], "k": info.step}}


@pytest.mark.slow
@pytest.mark.parametrize("record", [None, "default", DEEP])
def test_in_pieces_as_in_one(record, tmp_path, x64):
    options = SCORES if record == "default" else SCORES | {"record": record}
    whole = run(scores(), optimizers.adam(0.01), **options)
    pieces = long_run(scores(), optimizers.adam(0.01), checkpoint=tmp_path, save_every=5, **options)
    chex.assert_trees_all_close(pieces, whole, rtol=1e-11)


def network():
    return problems.digits_mlp(hidden=(4,))


@pytest.mark.parametrize(
    ("problem", "optimizer"),
    [
        (scores, optimizers.noisy_sgd(0.01)),
        pytest.param(scores, optimizers.schedule_free_sgd(0.1), marks=pytest.mark.slow),
        pytest.param(network, optimizers.adam(0.01), marks=pytest.mark.slow),
        pytest.param(network, optax.lion(1e-3), marks=pytest.mark.slow),
    ],
)
def test_resumed_as_undisturbed(problem, optimizer, tmp_path):
    options = dict(save_every=6, **SCORES)
    undisturbed = long_run(problem(), optimizer, checkpoint=tmp_path / "a", **options)
    with pytest.raises(KeyboardInterrupt):
        long_run(problem(), optimizer, checkpoint=tmp_path / "b", told=stop_at(12), **options)
    reached = []
    resumed = long_run(problem(), optimizer, checkpoint=tmp_path / "b", told=reached.append, **options)
    assert reached == [18, 23]
    same(resumed, undisturbed)
    finished = []
    same(long_run(problem(), optimizer, checkpoint=tmp_path / "b", told=finished.append, **options), undisturbed)
    assert finished == []


def same(a, b):
    plain = lambda x: jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x
    chex.assert_trees_all_equal(*(jax.tree.map(plain, each) for each in (a, b)))


@pytest.mark.slow
def test_what_was_not_kept_is_run_again(tmp_path):
    """Nothing is kept within the first hour but the end."""
    with pytest.raises(KeyboardInterrupt):
        long_run(
            scores(), optimizers.sgd(0.1), checkpoint=tmp_path, save_every=6, minutes=60, told=stop_at(12), **SCORES
        )
    reached = []
    for _ in range(2):
        long_run(scores(), optimizers.sgd(0.1), checkpoint=tmp_path, save_every=6, told=reached.append, **SCORES)
    assert reached == [6, 12, 18, 23]


# Of files that are gone, Orbax's event loop goes on to complain after it was closed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
@pytest.mark.parametrize("damage", ["flipped", "truncated", "gone"])
def test_a_damaged_checkpoint_is_passed_over(damage, tmp_path):
    options = dict(save_every=6, **SCORES)
    expected = long_run(scores(), optimizers.adam(0.01), checkpoint=tmp_path, **options)
    for file in [f for f in (tmp_path / "23" / "arrays").rglob("*") if f.is_file() and f.stat().st_size > 200]:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        if damage == "gone":
            file.unlink()
        else:
            file.write_bytes(content if damage == "flipped" else content[:100])
    reached = []
    with pytest.warns(UserWarning, match="the checkpoint of step 23 is damaged"):
        again = long_run(scores(), optimizers.adam(0.01), checkpoint=tmp_path, told=reached.append, **options)
    assert reached == [23]
    same(again, expected)


def test_another_run_is_refused(tmp_path):
    long_run(scores(), optimizers.adam(0.01), checkpoint=tmp_path, save_every=12, **SCORES)
    with pytest.raises(store.OtherProgram, match=r"another program.*another folder"):
        long_run(scores(), optimizers.adam(0.02), checkpoint=tmp_path, save_every=12, **SCORES)


@pytest.mark.slow
def test_a_diverged_run_stays_diverged(tmp_path):
    options = dict(steps=400, key=KEY)
    valley, wild = problems.rosenbrock(), optimizers.sgd(1.0)
    pieces = long_run(valley, wild, checkpoint=tmp_path, save_every=3, **options | {"steps": 20})
    chex.assert_trees_all_equal(pieces.params, run(valley, wild, **options | {"steps": 20}).params)
    assert pieces.status == 1
    assert np.isnan(pieces.trace["loss"][-1])


@pytest.mark.parametrize("bad", [dict(save_every=0), dict(minutes=-1), dict(minutes=float("nan"))])
def test_senseless_pieces(bad, tmp_path):
    with pytest.raises(ValueError, match="save_every"):
        long_run(scores(), optimizers.adam(0.01), checkpoint=tmp_path, **SCORES, **bad)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"cannot be written .*choose another folder"):
        long_run(scores(), optimizers.adam(0.01), checkpoint=tmp_path / "file", **SCORES)


PROGRAM = """
import sys, jax
from sandbox import optimizers, problems
from sandbox.engine import long_run
r = long_run(problems.digits_mlp(hidden=(4,)), optimizers.adam(0.01), steps=3000, key=jax.random.key(0),
             batch_size=100, checkpoint=sys.argv[1], save_every=10, told=lambda k: print(k, flush=True))
print("end", float(r.value).hex(), float(r.trace["loss"].sum()).hex())
"""


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path):
    """Ten SIGKILLs between 2 and 6 seconds after the start: what was kept stays, and the end is the undisturbed one."""
    command = [sys.executable, "-c", PROGRAM]
    lines = subprocess.run([*command, tmp_path / "a"], capture_output=True, text=True, check=True).stdout.splitlines()
    best = 0
    for moment in np.random.default_rng(0).uniform(2, 6, 10):
        process = subprocess.Popen([*command, tmp_path / "b"], stdout=subprocess.PIPE, text=True)
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        steps = [int(word) for word in process.communicate()[0].split("\n") if word.isdigit()]
        # A checkpoint is written while the next piece runs, so the last one or two may not have been kept.
        assert not steps or steps[0] >= best - 20
        best = max([best, *steps])
    finished = subprocess.run(
        [*command, tmp_path / "b"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert lines[-1].startswith("end")
    assert finished[-1] == lines[-1]
    assert not list(Path(tmp_path / "b").glob("*tmp*"))
    went = [int(k) for k in finished[:-1]]
    assert went == list(range(3010 - 10 * len(went), 3010, 10))
