"""The same 64 trials elsewhere: Optuna, Ray Tune and PyTorch as their documentation shows, and Optuna at its best.

A trial is 200 steps of Adam on the digits network 64-64-10, 128 examples each, and ends with the loss of its last step.
Every way runs in a process of its own, from an empty cache: importing does not count, compiling does, where the line
says so. Processes are interleaved, and a ratio is the median over the rounds, with its range.

    pip install -e '.[bench]'
    python experiments/speed.py rivals
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

benchmark = True
ROUNDS = 5
TRIALS, STEPS, BATCH = 64, 200, 128
LOW, HIGH = 1e-4, 1.0


_kept: list[tuple[Any, Any, np.ndarray]] = []  # Ray sends it along with what uses it, which it refuses for a cache


def network() -> tuple[Any, Any, np.ndarray]:
    """The problem, its start, and the rows of every step: made once in a process."""
    if not _kept:
        _kept.append(made())
    return _kept[0]


def made() -> tuple[Any, Any, np.ndarray]:
    import jax

    from sandbox import problems
    from sandbox.data.batches import epochs

    problem, key = problems.digits_mlp(hidden=(64,)), jax.random.key(0)
    table = epochs(BATCH).indices(key, len(problem.data.y), STEPS)
    return problem, problem.init(key), np.asarray(table)


def ours() -> list[float]:
    """A sweep, and the same one again, compiled."""
    import jax
    import optax  # noqa: F401, not ours to time, like all imports
    import xarray  # noqa: F401

    import sandbox

    sandbox.use_all_cores()
    from sandbox import optimizers, problems
    from sandbox.engine import run
    from sandbox.sweeps import log, sweep

    problem = problems.digits_mlp(hidden=(64,))

    def train(learning_rate: Any) -> Any:
        method = optimizers.adam(learning_rate)
        return run(problem, method, steps=STEPS, batch_size=BATCH, key=jax.random.key(0))

    return [timed(lambda: sweep(train, learning_rate=log(LOW, HIGH, TRIALS))) for _ in range(2)]


def fresh(rate: float) -> float:
    """A trial as one writes it: an optimizer, a jitted step, a loop."""
    import jax
    import jax.numpy as jnp
    import optax

    problem, params, table = network()
    data = jax.tree.map(jnp.asarray, problem.data)
    optimizer = optax.adam(rate)
    state = optimizer.init(params)

    @jax.jit
    def step(params: Any, state: Any, rows: Any) -> tuple:
        batch = jax.tree.map(lambda a: a[rows], data)
        value, grads = jax.value_and_grad(problem.objective)(params, batch)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, value

    for rows in table:
        params, state, value = step(params, state, rows)
    return float(value)


def optuna() -> list[float]:
    """64 fresh trials."""
    import optax  # noqa: F401
    import optuna

    network()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    objective = lambda trial: fresh(trial.suggest_float("learning_rate", LOW, HIGH, log=True))
    return [timed(lambda: optuna.create_study().optimize(objective, n_trials=TRIALS))]


def cached() -> list[float]:
    """Optuna, whose trials call one jitted scan with the rate as its argument; and the same again, compiled."""
    import jax
    import optax  # noqa: F401
    import optuna

    from sandbox import optimizers, problems
    from sandbox.engine import run

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    problem = problems.digits_mlp(hidden=(64,))

    @jax.jit
    def train(rate: Any) -> Any:
        return run(problem, optimizers.adam(rate), steps=STEPS, batch_size=BATCH, key=jax.random.key(0))

    objective = lambda trial: float(train(trial.suggest_float("learning_rate", LOW, HIGH, log=True)).value)
    return [timed(lambda: optuna.create_study().optimize(objective, n_trials=TRIALS)) for _ in range(2)]


def ray_tune() -> list[float]:
    """64 fresh trials, on all cores, in workers that are kept from trial to trial."""
    import ray
    from ray import tune

    ray.init(log_to_driver=False, include_dashboard=False)
    results: list[Any] = []
    with tempfile.TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            lambda config: {"loss": fresh(config["rate"])},
            param_space={"rate": tune.loguniform(LOW, HIGH)},
            tune_config=tune.TuneConfig(num_samples=TRIALS, reuse_actors=True),
            run_config=tune.RunConfig(verbose=0, storage_path=folder),
        )
        seconds = timed(lambda: results.append(tuner.fit()))
    if errors := results[0].errors:
        raise errors[0]
    return [seconds]


def pytorch() -> list[float]:
    """A loop over rates and steps; one thread, which suits so small a network best."""
    import torch

    torch.set_num_threads(1)
    problem, start, table = network()
    X = torch.tensor(np.asarray(problem.data.X), dtype=torch.float32)
    y = torch.tensor(np.asarray(problem.data.y)).long()
    rows = torch.tensor(table).long()

    def trial(rate: float) -> list[float]:
        layers = []
        for k, layer in enumerate(start):
            linear = torch.nn.Linear(layer["w"].shape[1], layer["w"].shape[0])
            with torch.no_grad():
                linear.weight.copy_(torch.tensor(np.asarray(layer["w"])))
                linear.bias.copy_(torch.tensor(np.asarray(layer["b"])))
            layers += [linear, torch.nn.ReLU()] if k < len(start) - 1 else [linear]
        model = torch.nn.Sequential(*layers)
        optimizer = torch.optim.Adam(model.parameters(), lr=rate)
        trace = []
        for batch in rows:
            optimizer.zero_grad()
            value = torch.nn.functional.cross_entropy(model(X[batch]), y[batch])
            value.backward()
            norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters()])
            optimizer.step()
            trace.append((value.item(), norm.item()))
        return trace

    return [timed(lambda: [trial(float(rate)) for rate in np.geomspace(LOW, HIGH, TRIALS)])]


def timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


WAYS = {way.__name__: way for way in (ours, cached, pytorch, optuna, ray_tune)}
LINES = (  # what, which of our two times, the rival, which of its times, how many times faster it should be
    ("Optuna, a fresh optimizer and jitted step a trial, compile included", 0, "optuna", 0, 15.0),
    ("Ray Tune, the same trials on all cores, compile included", 0, "ray_tune", 0, 15.0),
    ("Optuna over one jitted scan, without compile", 1, "cached", 1, 1.3),
    ("Optuna over one jitted scan, compile included", 0, "cached", 0, 1.0),
    ("PyTorch's loop, loss and gradient norm of every step", 1, "pytorch", 0, 12.0),
)


def process(way: str) -> list[float]:
    """The seconds that one way takes in a fresh process."""
    done = subprocess.run([sys.executable, __file__, way], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(
            f"{way}: {done.stderr.strip().splitlines()[-1]}; pip install 'sandbox[bench]' has the rivals"
        )
    return [float(word) for word in done.stdout.split()[-2:] if word.replace(".", "").isdigit()]


def main() -> list[dict[str, Any]]:
    """Measure everything, write results/speed/rivals.csv."""
    from speed import keep

    rounds: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    for number in range(ROUNDS):
        for way in list(WAYS)[:: 1 if number % 2 else -1]:
            rounds[way].append(process(way))
            print(way, rounds[way][-1], flush=True)
    times = {way: np.array(found) for way, found in rounds.items()}
    rows = []
    for what, mine, rival, theirs, wanted in LINES:
        ratio = times[rival][:, theirs] / times["ours"][:, mine]
        rows.append(
            {
                "what": f"digits MLP, {TRIALS} Adam rates × {STEPS} steps",
                "seconds": f"{np.median(times['ours'][:, mine]):.3g}",
                "against": what,
                "ratio": f"{np.median(ratio):.3g} ({ratio.min():.3g} … {ratio.max():.3g})",
                "wanted": f"≥ {wanted:g}",
                "holds": bool(np.median(ratio) >= wanted),
            }
        )
    return keep("rivals", rows)


if __name__ == "__main__":
    print(*WAYS[sys.argv[1]]())
