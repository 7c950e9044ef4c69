"""Rehearsal: a part of the loops costs that part, the whole of them is the program, and noise decides nothing."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sandbox import optimizers, problems
from sandbox.engine import rehearsal, run
from sandbox.engine.lanes import Plan, choose
from sandbox.engine.program import Traced
from sandbox.engine.rehearsal import Partly, Timer, settle
from sandbox.sweeps import log, sweep

SCALAR = jax.ShapeDtypeStruct((), np.float32, weak_type=True)
LANES = {"rate": np.geomspace(0.01, 0.1, 64)}


def network(rate):
    return run(
        problems.digits_mlp(hidden=(4,)), optimizers.adam(rate), steps=40, every=2, batch_size=64, key=jax.random.key(0)
    )


def counting(rate):
    """Long loops forwards, backwards and within a jitted function, a short one around a long one."""
    ahead = jax.lax.scan(lambda c, x: (c + 1, c + x), 0, jnp.arange(64))
    back = jax.jit(lambda: jax.lax.scan(lambda c, x: (c + x, c), 0, jnp.arange(32), reverse=True))()
    nested = jax.lax.scan(lambda c, _: (jax.lax.fori_loop(0, 32, lambda i, c: c + 1, c), c), 0, None, length=3)
    return {"ahead": ahead, "back": back, "nested": nested, "rate": rate}


@pytest.mark.parametrize("fn", [pytest.param(network, marks=pytest.mark.slow), counting])
def test_the_whole_is_the_program(fn):
    traced = Traced(lambda rate: fn(rate), {"rate": SCALAR})
    partly = Partly(traced)
    whole = jax.jit(traced)(traced.consts, 0.05)
    played = jax.jit(partly)(partly.consts, 0.05, 1.0)
    for a, b in zip(played, whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_a_part_runs_that_part():
    partly = Partly(Traced(counting, {"rate": SCALAR}))
    out = jax.tree.unflatten(jax.tree.structure(partly.out), jax.jit(partly)(partly.consts, 0.05, 0.25))
    assert out["ahead"][0] == 16
    np.testing.assert_array_equal(out["ahead"][1][:16], 2 * np.arange(16))
    assert out["back"][0] == sum(range(24, 32))
    assert out["nested"][0] == 3 * 8


def pretended(monkeypatch, seconds, noise=0.0):
    """As if a group of so many lanes took so long; each timing is slower by as much as `noise`."""
    rng = np.random.default_rng(0)

    def timers(program, lanes, plans):
        slower = lambda: 1 + rng.uniform(0, noise)
        return [Timer(p, lambda part, p=p: 1e-4 + part * seconds(p.width) * p.width * slower()) for p in plans]

    monkeypatch.setattr(rehearsal, "_timers", timers)


def settled(tmp_path, monkeypatch, guess=200.0):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    traced = Traced(network, {"rate": SCALAR})
    layout = lambda width, devices: choose(
        [traced], {"rate": np.linspace(0.01, 0.1, 4096)}, width=width, devices=devices
    )
    return settle(traced, {"rate": np.linspace(0.01, 0.1, 4096)}, layout(8, 2), layout, guess)


@pytest.mark.parametrize("best", [1, 2, 8, 32, 128])
def test_it_climbs_to_the_best_width(best, tmp_path, monkeypatch):
    pretended(monkeypatch, lambda width: 0.05 * (1 + abs(np.log2(width / best))))
    plan = settled(tmp_path, monkeypatch)
    assert plan.width == best
    assert "rehearsed" in plan.reason
    # It is kept, and read the next time, whatever the clock would say then.
    pretended(monkeypatch, lambda width: 0.05 * (1 + abs(np.log2(width / 4))))
    assert settled(tmp_path, monkeypatch) == plan


def test_noise_decides_nothing(tmp_path, monkeypatch):
    pretended(monkeypatch, lambda width: 0.05 * (1 + abs(np.log2(width / 32))), noise=50.0)
    plan = settled(tmp_path, monkeypatch)
    assert plan.width == 8
    assert not list(tmp_path.rglob("*.json"))


def test_a_short_sweep_is_not_rehearsed(tmp_path, monkeypatch):
    monkeypatch.setattr(rehearsal, "_timers", None)
    assert settled(tmp_path, monkeypatch, guess=50.0).width == 8


@pytest.mark.parametrize(
    "content", ["", "{}", '{"width": "x"}', json.dumps({"width": 2, "devices": None, "reason": 3})]
)
def test_a_damaged_note_is_not_believed(content, tmp_path, monkeypatch):
    pretended(monkeypatch, lambda width: 0.05 * (1 + abs(np.log2(width / 32))))
    plan = settled(tmp_path, monkeypatch)
    (note,) = tmp_path.rglob("*.json")
    note.write_text(content)
    assert settled(tmp_path, monkeypatch) == plan


@pytest.mark.slow
def test_a_sweep_is_rehearsed(tmp_path, monkeypatch, x64):
    """In earnest: the plan's reason says what was measured, and the results are those of any other plan."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(rehearsal, "WORTHWHILE", 0.0)
    monkeypatch.setattr(rehearsal, "SHARE", 1e6)
    monkeypatch.setattr(rehearsal, "SPREAD", 1e6)
    train = lambda learning_rate: network(learning_rate)
    ds = sweep(train, learning_rate=log(1e-3, 1e-1, 16))
    assert "rehearsed" in ds.attrs["plan"]
    given = sweep(train, learning_rate=log(1e-3, 1e-1, 16), plan=Plan(2, 8, 2))
    np.testing.assert_allclose(ds.loss, given.loss, rtol=1e-10)
