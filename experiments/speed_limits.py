"""What does a sweep cost beyond its steps? Its plan beside the best there is, its memory, its store, a million lanes.

The best plan is found by trying every width on one device and on all; the plan that a sweep finds for itself is timed
in the same rounds. Memory is the peak of a process of its own since it began, VmHWM; ru_maxrss would start from what
its parent holds.

    python experiments/speed.py limits
"""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from speed import BATCH, RATES, ROSENBROCK_RATES, ROSENBROCK_STEPS, STEPS, interleaved, keep, line

import sandbox
from sandbox import optimizers, problems
from sandbox.engine import rehearsal, run
from sandbox.engine.lanes import Plan
from sandbox.sweeps import grid, log, sweep

benchmark = True
TRAIN = Callable[[Any], Any]

PEAK = r"""
import re, jax, sandbox
sandbox.use_all_cores()
from sandbox import optimizers, problems
from sandbox.engine import run
from sandbox.sweeps import log, sweep
problem = problems.digits_mlp(hidden=(64,))
train = lambda learning_rate: run(
    problem, optimizers.adam(learning_rate), steps=10, batch_size=128, key=jax.random.key(0))
ds = sweep(train, learning_rate=log(1e-4, 1.0, 100_000), memory="2GB")
assert (ds.status.values >= 0).all()
print(int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) * 1024 / 1e9)
"""


def workloads() -> dict[str, tuple[TRAIN, int]]:
    """Four problems of different sizes: a function of the rate, and how many rates."""
    rng = np.random.default_rng(0)
    pictures, labels = rng.standard_normal((512, 28, 28)), rng.integers(0, 10, 512)
    table, cancer = problems.cnn(pictures, labels, channels=(16, 32)), problems.breast_cancer_logistic()
    network, valley = problems.digits_mlp(hidden=(64,)), problems.rosenbrock()

    def train(problem: Any, **options: Any) -> TRAIN:
        return lambda learning_rate: run(problem, optimizers.adam(learning_rate), key=jax.random.key(0), **options)

    return {
        "digits MLP": (train(network, steps=STEPS, batch_size=BATCH), RATES),
        "CNN 16-32": (train(table, steps=5, batch_size=64), 16),
        "Rosenbrock": (train(valley, steps=ROSENBROCK_STEPS, record=None), ROSENBROCK_RATES),
        "logistic": (train(cancer, steps=STEPS), 256),
    }


@contextlib.contextmanager
def rehearsing() -> Iterator[None]:
    """However short a sweep is, its plan is rehearsed, and nothing that was found before is known."""
    kept = rehearsal.WORTHWHILE, rehearsal.SHARE, os.environ.get("XDG_CACHE_HOME")
    with tempfile.TemporaryDirectory() as folder:
        rehearsal.WORTHWHILE, rehearsal.SHARE, os.environ["XDG_CACHE_HOME"] = 0.0, np.inf, folder
        try:
            yield
        finally:
            rehearsal.WORTHWHILE, rehearsal.SHARE = kept[:2]
            os.environ.pop("XDG_CACHE_HOME") if kept[2] is None else os.environ.update(XDG_CACHE_HOME=kept[2])


def plan_in(ds: Any) -> tuple[int, int]:
    """Width and devices of the plan that a sweep was run with."""
    width, devices = (re.search(rf"{name}=(\d+)", ds.attrs["plan"]) for name in ("width", "devices"))
    assert width is not None
    assert devices is not None
    return int(width[1]), int(devices[1])


def plans() -> Iterator[dict[str, Any]]:
    """The plan that a sweep finds for itself, beside the best of all widths and devices."""
    for name, (train, count) in workloads().items():
        axis = log(1e-4, 1e-1, count)
        with rehearsing():
            own = plan_in(sweep(train, learning_rate=axis))
        guess = plan_in(sweep(train, learning_rate=axis))
        every = {(width, devices) for width in 2 ** np.arange(0, 13) if width <= count for devices in (1, 2)}
        shapes = sorted({own, guess, *((int(w), d) for w, d in every if w * d <= count)})

        def timed(width: int, devices: int, train: TRAIN = train, axis: Any = axis) -> Callable[[], Any]:
            groups = -(-len(axis.values) // width)
            plan = Plan(width, groups + groups % devices, devices)
            return lambda: sweep(train, learning_rate=axis, plan=plan)

        coarse = interleaved(1, **{f"{w} {d}": timed(w, d) for w, d in shapes})
        near = sorted(shapes, key=lambda shape: coarse[f"{shape[0]} {shape[1]}"][0])[:4]
        times = interleaved(5, **{f"{w} {d}": timed(w, d) for w, d in {*near, own, guess}})
        median = {tuple(map(int, key.split())): float(np.median(seconds)) for key, seconds in times.items()}
        best = min(median, key=median.__getitem__)
        ratio = {f"{width} on {devices}": median[width, devices] / median[best] for width, devices in median}
        mine, found, guessed = (f"{width} on {devices}" for width, devices in (own, best, guess))
        yield line(
            f"plan of {name}: time / best of {len(shapes)} plans",
            f"{ratio[mine]:.3g} ({mine}; best {found}; without rehearsal {ratio[guessed]:.3g})",
            "≤ 1.15",
            ratio[mine] <= 1.15,
        )


def tuning() -> Iterator[dict[str, Any]]:
    """What it costs to find a plan, in a sweep of some minutes: shorter ones are not rehearsed, and pay nothing."""
    problem = problems.digits_mlp(hidden=(64,))
    train = lambda learning_rate, seed: run(
        problem, optimizers.adam(learning_rate), steps=STEPS, batch_size=BATCH, key=jax.random.key(seed), record=None
    )
    spent, settle = [], rehearsal.settle

    def timed(*arguments: Any) -> Plan:
        began = time.perf_counter()
        plan = settle(*arguments)
        spent.append(time.perf_counter() - began)
        return plan

    share, guess = rehearsal.SHARE, rehearsal.WORTHWHILE
    grid.settle = timed  # type: ignore[assignment]
    with rehearsing():
        rehearsal.SHARE, rehearsal.WORTHWHILE = share, guess
        began = time.perf_counter()
        ds = sweep(train, learning_rate=log(1e-4, 1.0, RATES), seed=range(400))
        whole = time.perf_counter() - began
    grid.settle = settle  # type: ignore[assignment]
    part = spent[0] / whole
    width, devices = plan_in(ds)
    found = "rehearsed" if "rehearsed" in ds.attrs["plan"] else "not rehearsed"
    measured = f"{spent[0]:.2f} s of {whole:.0f} s: {part:.3f}; {width} on {devices}, {found}"
    yield line(
        "finding the plan of a sweep of the digits MLP", measured, "≤ 0.10", part <= 0.10 and found == "rehearsed"
    )


def memory() -> Iterator[dict[str, Any]]:
    """A hundred thousand networks within two gigabytes."""
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True)
    peak = float(done.stdout) if done.returncode == 0 else np.inf
    measured = f"{peak:.2f} GB" if done.returncode == 0 else done.stderr.strip().splitlines()[-1]
    yield line("peak of 100,000 lanes of the digits MLP with memory='2GB'", measured, "≤ 2.2 GB", peak <= 2.2)


def million() -> Iterator[dict[str, Any]]:
    """Time a lane, of a million lanes beside ten thousand."""
    valley = problems.rosenbrock()
    train = lambda learning_rate: run(
        valley, optimizers.adam(learning_rate), steps=100, key=jax.random.key(0), record=None
    )
    few, many = log(1e-4, 1.0, 10_000), log(1e-4, 1.0, 1_000_000)
    times = interleaved(5, few=lambda: sweep(train, learning_rate=few), many=lambda: sweep(train, learning_rate=many))
    ratio = times["many"] / 100 / times["few"]
    measured = f"{np.median(ratio):.3g} ({ratio.min():.3g} … {ratio.max():.3g})"
    yield line("time a lane, 1,000,000 / 10,000 of Rosenbrock × 100 steps", measured, "≤ 1.10", np.median(ratio) <= 1.1)


def store() -> Iterator[dict[str, Any]]:
    """What keeping the results costs a sweep of ten seconds and more."""
    problem = problems.digits_mlp(hidden=(64,))
    train = lambda learning_rate, seed: run(
        problem, optimizers.adam(learning_rate), steps=STEPS, batch_size=BATCH, key=jax.random.key(seed)
    )
    axes: dict[str, Any] = dict(
        learning_rate=log(1e-4, 1.0, RATES), seed=range(60)
    )  # ten seconds on a quick machine too
    with tempfile.TemporaryDirectory() as folder:
        places = (Path(folder) / str(i) for i in range(99))
        times = interleaved(
            3,
            without=lambda: sweep(train, **axes),
            kept=lambda: sweep(train, **axes, store=next(places)),
        )
    extra = times["kept"] / times["without"] - 1
    measured = f"{np.median(extra):.3f} of {np.median(times['without']):.1f} s ({extra.min():.3f} … {extra.max():.3f})"
    yield line("extra time with a store", measured, "≤ 0.05", np.median(extra) <= 0.05)


def main() -> list[dict[str, Any]]:
    """Measure everything, write results/speed/limits.csv."""
    sandbox.use_all_cores()
    return keep("limits", (each for part in (plans, tuning, memory, million, store) for each in part()))
