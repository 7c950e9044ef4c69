"""A program apart in what all points share and the rest: together they are the whole, and nothing is drawn twice."""

from concurrent.futures import Future
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sandbox import optimizers, problems
from sandbox.engine import run, shared
from sandbox.engine.program import KEYED, Traced
from sandbox.sweeps import static, sweep

RATE = jax.ShapeDtypeStruct((), jnp.float32)
SEED = jax.ShapeDtypeStruct((), jnp.int32)


def train(rate, seed=0):
    problem = problems.digits_mlp(hidden=(8,))
    return run(problem, optimizers.adam(rate), steps=5, batch_size=32, key=jax.random.key(seed)).trace["loss"]


def noisy(rate):
    """Draws that all points share, and one that follows from the rate."""
    start = jax.random.normal(jax.random.key(3), (4,))
    own = jax.random.uniform(jax.random.key((1e3 * rate).astype(int)))
    return {"shared": start.sum(), "own": own, "both": start - rate * own}


@pytest.mark.parametrize("fn", [train, jax.jit(train), noisy, jax.jit(noisy), lambda rate: rate**2], ids=range(5))
def test_the_parts_are_the_whole(fn):
    whole = Traced(fn, {"rate": RATE})
    consts, draws, seeds, rest = shared.split(whole.jaxpr, whole.consts)
    drawn = jax.jit(lambda *seeds: jax.core.eval_jaxpr(draws, seeds))(*seeds)
    parts = jax.jit(lambda *known: jax.core.eval_jaxpr(rest, known, np.float32(0.1)))(*consts, *drawn)
    for part, one in zip(parts, jax.jit(whole)(whole.consts, np.float32(0.1)), strict=True):
        np.testing.assert_allclose(part, one, rtol=1e-6)  # jitted and entered, they round differently


@pytest.mark.parametrize("fn", [train, jax.jit(train)], ids=["plain", "jitted"])
def test_starts_and_minibatches_are_drawn_apart(fn):
    whole = Traced(fn, {"rate": RATE})
    parts = shared.split(whole.jaxpr, whole.consts)
    shapes = [v.aval.shape for v in parts.draws.outvars]
    assert {(8, 64), (5, 1, 32)} <= set(shapes)
    assert not any(shared._has(eqn, KEYED - {"random_fold_in"}) for eqn in parts.rest.eqns)


def test_what_follows_from_a_swept_seed_stays():
    whole = Traced(train, {"rate": RATE, "seed": SEED})
    assert not shared.split(whole.jaxpr, whole.consts).draws.eqns


@pytest.mark.slow
def test_another_optimizer_finds_the_same_draws(monkeypatch):
    monkeypatch.setattr(shared, "_memory", {})
    problem = problems.digits_mlp(hidden=(8,))

    def losses(method):
        of = lambda rate: run(problem, method(rate), steps=7, batch_size=16, key=jax.random.key(11))
        return sweep(of, rate=[0.01, 0.02]).loss.values

    first, second = losses(optimizers.gradient_descent), losses(optimizers.heavy_ball)
    assert len(shared._memory) == 1
    np.testing.assert_allclose(first[:, 0], second[:, 0], rtol=1e-6)  # the first batch, before any step


def test_a_callback_is_not_taken_for_another():
    shape = jax.ShapeDtypeStruct((3,), jnp.float32)
    draw = lambda: jax.random.normal(jax.random.key(0), (3,))
    values = [sweep(lambda a, f=f: a * jax.pure_callback(f, shape, draw()), a=[1.0]).value for f in (np.sin, np.cos)]
    np.testing.assert_allclose(values[0] ** 2 + values[1] ** 2, 1, rtol=1e-6)


def test_a_draw_follows_the_setting_that_decides_its_bits():
    one = lambda: sweep(lambda a: a * jax.random.normal(jax.random.key(0), (5,)), a=[1.0]).value.values
    with jax.threefry_partitionable(False):
        other = one()
    assert (one() != other).any()


def test_double_precision_in_another_thread():
    """Constants in float64, and draws that need them, of a program that is compiled while another runs."""
    A = np.linspace(1, 2, 12).reshape(3, 4)

    def fn(a, size):
        return a * (A @ jax.random.normal(jax.random.key(0), (4, size))).sum() + (A * a).sum()

    with jax.enable_x64(True):
        ds = sweep(fn, a=[1.0, 2.0], size=static(1, 2, 3))
        for size in (1, 2, 3):
            np.testing.assert_allclose(ds.value.sel(size=size), [float(fn(a, size)) for a in (1.0, 2.0)], rtol=1e-14)


def test_a_draw_that_fails_is_not_remembered(monkeypatch):
    monkeypatch.setattr(shared, "_memory", {})
    failed = Future()
    failed.set_exception(MemoryError("no room"))
    with monkeypatch.context() as patch:
        patch.setattr(shared, "beside", SimpleNamespace(submit=lambda *work, **options: failed))
        with pytest.raises(MemoryError):
            sweep(lambda a: a * jax.random.normal(jax.random.key(0), (7,)), a=[1.0])
    assert not shared._memory
    assert np.isfinite(sweep(lambda a: a * jax.random.normal(jax.random.key(0), (7,)), a=[1.0]).value).all()


def test_an_orthogonal_start_that_all_share_is_not_the_lanes_own():
    start = lambda: jnp.linalg.qr(jax.random.normal(jax.random.key(0), (8, 8)))[0]
    whole = Traced(lambda rate: (rate * start()).sum(), {"rate": RATE})
    assert whole.matrices == 0
    assert not any(shared._has(eqn, {"qr", "geqrf"}) for eqn in shared.split(whole.jaxpr, whole.consts).draws.eqns)


@pytest.mark.slow
def test_few_draws_are_remembered_and_large_ones_are_not(monkeypatch):
    monkeypatch.setattr(shared, "_memory", {})
    for seed in range(shared.REMEMBERED + 3):
        sweep(lambda a, seed=seed: a * jax.random.normal(jax.random.key(seed), (2,)), a=[1.0])
    assert len(shared._memory) == shared.REMEMBERED
    kept = set(shared._memory)
    large = sweep(lambda a: (a * jax.random.normal(jax.random.key(99), (shared.SMALL // 4 + 1,))).mean(), a=[1.0, 2.0])
    assert set(shared._memory) == kept
    assert np.isfinite(large.value).all()
