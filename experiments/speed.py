"""How fast: every number that the README quotes, each beside its rival, side by side in one run.

Rivals are written as well as we can, and return what the sweep returns: the table's last column names it. Rounds are
interleaved, so that a busy moment of the machine meets both; the quoted time is the median, the quoted ratio the median
of the rounds' ratios with its range.

    python experiments/speed.py                      starting, sweeping
    python experiments/speed.py engine               sweeping beside what the machine can do
    python experiments/speed.py limits               plans, memory, stores, a million lanes
    python experiments/speed.py rivals               the same trials by Optuna, Ray Tune and PyTorch
    python experiments/speed.py solve [FOLDER]       certified optima, beside scikit-learn
    python experiments/speed.py optimizers [NAME]…   every optimizer beside Optax's, or these
    python experiments/speed.py landscape            planes, beside a loop and sgemm
    python experiments/speed.py curvature            eigenvalues, densities, the edge of stability
    python experiments/speed.py paths                a map of basins
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, PartitionSpec

import sandbox
from sandbox import optimizers, problems, report
from sandbox.data.batches import epochs
from sandbox.engine import run
from sandbox.sweeps import log, sweep

benchmark = True
ROOT = Path(__file__).resolve().parent.parent
ROUNDS, RATES, STEPS, BATCH = 9, 64, 200, 128
REST = 0.15  # seconds: OpenBLAS's threads turn idly for 0.1 s after a product, on the cores of whoever comes next
ROSENBROCK_RATES, ROSENBROCK_STEPS, SAMPLE = 4096, 1000, 32
WIDTHS = (2, 4, 8, 16)  # of the hand-written sweep, which takes the best of them


def interleaved(rounds: int, **ways: Callable[[], Any]) -> dict[str, np.ndarray]:
    """Seconds of each way in each round, after one call of each that is not counted, and a REST before every other."""
    for way in ways.values():
        way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in list(ways)[:: 1 if number % 2 else -1]:
            time.sleep(REST)
            began = time.perf_counter()
            ways[name]()
            seconds[name].append(time.perf_counter() - began)
    return {name: np.array(values) for name, values in seconds.items()}


def digits() -> list[dict[str, Any]]:
    """64 learning rates of Adam on the digits MLP 64-64-10, batch 128, 200 steps."""
    problem, key = problems.digits_mlp(hidden=(64,)), jax.random.key(0)

    def train(learning_rate: Any) -> Any:
        return run(problem, optimizers.adam(learning_rate), steps=STEPS, batch_size=BATCH, key=key)

    rates = np.geomspace(1e-4, 1.0, RATES).astype(np.float32)
    by_hand = {f"hand{width}": hand_written(train, rates, width) for width in WIDTHS}
    ours = lambda: sweep(train, learning_rate=log(1e-4, 1.0, RATES))
    assert np.allclose(by_hand["hand4"]()[-1][:32], ours().value[:32], rtol=1e-3)
    trial = interleaved(3, **by_hand)
    best = min(by_hand, key=lambda name: np.median(trial[name]))  # chosen first, so that no luck of the race chooses it
    times = interleaved(8 * ROUNDS, ours=ours, **{best: by_hand[best]})
    loop = interleaved(3, ours=ours, loop=python_loop(problem, rates, key))
    records = "loss and gradient norm of every step, status, diverged_at, final objective"
    return [
        row(
            "digits MLP, 64 Adam rates × 200 steps",
            "jit(shard_map(lax.map(run))) by hand",
            times["ours"],
            times[best],
            records,
        ),
        row(
            "digits MLP, 64 Adam rates × 200 steps",
            "Python loop over a jitted Optax step",
            loop["ours"],
            loop["loop"],
            records,
        ),
    ]


def hand_written(train: Callable[[Any], Any], rates: np.ndarray, width: int) -> Callable[[], Any]:
    """The same runs placed by hand: each device maps over its rates, `width` at a time."""
    mesh = jax.make_mesh((len(jax.devices()),), ("rates",), axis_types=(AxisType.Auto,))
    over = PartitionSpec("rates")

    def device(rates: jax.Array) -> Any:
        result = jax.lax.map(train, rates, batch_size=width)
        return result.trace, result.status, result.diverged_at, result.value

    program = jax.jit(jax.shard_map(device, mesh=mesh, in_specs=over, out_specs=over, check_vma=False))
    return lambda: jax.tree.map(np.asarray, program(rates))


def python_loop(problem: Any, rates: np.ndarray, key: jax.Array) -> Callable[[], Any]:
    """One jitted, donated step of Optax for each rate and step, the guard inside, the data on the device."""
    init_key, batch_key, _ = jax.random.split(key, 3)
    data = jax.tree.map(jnp.asarray, problem.data)
    examples = len(jax.tree.leaves(data)[0])
    start = problem.init(init_key)
    table = list(epochs(BATCH).indices(batch_key, examples, STEPS))

    def step(params: Any, state: Any, at: Any, k: Any, rate: Any, rows: Any) -> Any:
        batch = jax.tree.map(lambda a: a[rows], data)
        value, grads = jax.value_and_grad(lambda p: problem.objective(p, batch, None))(params)
        square = sum(jnp.vdot(g, g) for g in jax.tree.leaves(grads))
        at = jnp.where((at < 0) & ~(jnp.isfinite(value) & jnp.isfinite(square)), k, at)
        updates, state = optax.adam(rate).update(grads, state, params)
        params = jax.tree.map(lambda p, u: jnp.where(at < 0, p + u, p), params, updates)
        return params, state, at, k + 1, value, jnp.sqrt(square)

    jitted = jax.jit(step, donate_argnums=(0, 1, 2, 3))
    whole = jax.jit(lambda params: problem.objective(params))

    def loop() -> Any:
        results = []
        for rate in map(jnp.asarray, rates):
            params = jax.tree.map(jnp.copy, start)
            state, at, k, trace = optax.adam(rate).init(params), jnp.array(-1), jnp.array(0), []
            for rows in table:
                params, state, at, k, value, norm = jitted(params, state, at, k, rate, rows)
                trace.append((value, norm))
            results.append((whole(params), at, np.array(jax.device_get(trace))))
        return jax.device_get(results)

    return loop


def rosenbrock() -> list[dict[str, Any]]:
    """4,096 learning rates of Adam on Rosenbrock, 1,000 steps, final values only."""
    problem, key = problems.rosenbrock(), jax.random.key(0)

    def train(learning_rate: Any) -> Any:
        return run(problem, optimizers.adam(learning_rate), steps=ROSENBROCK_STEPS, key=key, record=None)

    start, objective = problem.init(key), jax.jit(problem.objective)

    def step(params: Any, state: Any, at: Any, k: Any, rate: Any) -> Any:
        value, grads = jax.value_and_grad(lambda p: problem.objective(p))(params)
        at = jnp.where((at < 0) & ~(jnp.isfinite(value) & jnp.isfinite(jnp.vdot(grads, grads))), k, at)
        updates, state = optax.adam(rate).update(grads, state, params)
        return jnp.where(at < 0, params + updates, params), state, at, k + 1

    jitted = jax.jit(step, donate_argnums=(0, 1, 2, 3))

    def loop() -> Any:
        results = []
        for rate in np.geomspace(1e-4, 1.0, ROSENBROCK_RATES).astype(np.float32)[:: ROSENBROCK_RATES // SAMPLE]:
            rate = jnp.asarray(rate)
            params, at, k = jnp.copy(start), jnp.array(-1), jnp.array(0)
            state = optax.adam(rate).init(params)
            for _ in range(ROSENBROCK_STEPS):
                params, state, at, k = jitted(params, state, at, k, rate)
            results.append((objective(params), at))
        return jax.device_get(results)

    ours = lambda: sweep(train, learning_rate=log(1e-4, 1.0, ROSENBROCK_RATES))
    times = interleaved(ROUNDS, ours=ours, loop=loop)
    scaled = times["loop"] * ROSENBROCK_RATES / SAMPLE
    records = f"final objective, status, diverged_at; the loop timed on {SAMPLE} rates and scaled"
    return [
        row(
            "Rosenbrock, 4,096 Adam rates × 1,000 steps",
            "Python loop over a jitted Optax step",
            times["ours"],
            scaled,
            records,
        )
    ]


def imports() -> list[dict[str, Any]]:
    """Starting the interpreter and importing, in fresh processes."""
    start = lambda code: lambda: subprocess.run([sys.executable, "-c", code], check=True)
    times = interleaved(
        2 * ROUNDS,
        ours=start("from sandbox.engine import run"),
        jax=start("import jax"),
        bare=start(""),
        sandbox=start("import sandbox"),
    )
    return [
        row(
            "from sandbox.engine import run",
            "import jax",
            times["ours"],
            times["jax"],
            "a fresh process each",
        ),
        row(
            "import sandbox",
            "an empty Python program",
            times["sandbox"],
            times["bare"],
            "a fresh process each",
        ),
    ]


def row(what: str, rival: str, ours: np.ndarray, theirs: np.ndarray, records: str) -> dict[str, Any]:
    ratio = theirs / ours
    return {
        "what": what,
        "sandbox": f"{np.median(ours):.3g} s",
        "rival": rival,
        "its time": f"{np.median(theirs):.3g} s",
        "times faster": f"{np.median(ratio):.4g} ({ratio.min():.4g} … {ratio.max():.4g})",
        "both give": records,
    }


def main() -> list[dict[str, Any]]:
    """Measure everything, write results/speed/summary.csv and the README's table."""
    sandbox.use_all_cores()
    rows = keep("summary", chain(imports(), rosenbrock(), digits()))
    quote("speed", report.markdown(rows))
    return rows


def keep(name: str, measured: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tell each row as it comes; all of them are results/speed/NAME.csv."""
    rows = []
    for each in measured:
        print(each, flush=True)
        rows.append(each)
    folder = ROOT / "results" / "speed"
    folder.mkdir(parents=True, exist_ok=True)
    report.write_csv(folder / f"{name}.csv", rows)
    print(report.markdown(rows))
    return rows


def line(what: str, measured: str, wanted: str, holds: Any) -> dict[str, Any]:
    """A row that is told with what is wanted of it."""
    return {"what": what, "measured": measured, "wanted": wanted, "holds": bool(holds)}


def quote(mark: str, table: str) -> None:
    """Put a table between its marks in the README."""
    readme = ROOT / "README.md"
    before, begin, rest = readme.read_text().partition(f"<!-- {mark} -->\n")
    _, end, after = rest.partition(f"<!-- /{mark} -->")
    if begin and end:
        readme.write_text(f"{before}{begin}{table.rstrip()}\n{end}{after}")


TABLES = ("engine", "limits", "rivals", "solve", "optimizers", "landscape", "curvature", "paths")

if __name__ == "__main__":
    name, *arguments = sys.argv[1:] or ["main"]
    if name in TABLES:
        table = import_module(f"speed_{name}").main
        table(arguments) if name in ("solve", "optimizers") else table()
    else:
        main()
