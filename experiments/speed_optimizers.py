"""How fast are the optimizers? Each beside Optax's in one run: its steps, its trace, and Adam beside the memory.

A step is a jitted update, added to the parameters, that is given its parameters and its state to overwrite. Rounds are
interleaved, so that a busy moment of the machine meets both; a ratio, ours / Optax's, is the median over the rounds,
and what looks slow is measured longer. Tracing is timed in seconds of the processor, and begins from empty caches.

    python experiments/speed.py optimizers              every optimizer whose step is told no function
    python experiments/speed.py optimizers adam lion    these
"""

import gc
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
from speed import quote

import sandbox
from sandbox import optimizers, parity, report
from sandbox.optimizers import catalogue, entries_treewise

benchmark = True
ROOT = Path(__file__).resolve().parent.parent
ROUNDS, LIMIT = 11, 1.10
DIFFERENT = tuple((50 + k, 67) for k in range(200))  # for the trace; compiling so many takes half a minute
TREES = {  # the shapes of the leaves, and how many steps a round has
    "16 M in 2 leaves": (((2048, 4096), (2**23,)), 1),
    "2 M in 200 equal leaves": (((100, 100),) * 200, 10),
    "2 M in 200 leaves of 20 shapes": (tuple((50 + 10 * (k % 20), 69) for k in range(200)), 10),
}
BYTES = 28  # that a step of Adam moves for each parameter: it reads g, x, m, v and writes x, m, v


def measurable() -> list[str]:
    """Every optimizer whose update is told no function and no single examples; those that decompose matrices apart."""
    plain = lambda entry: not {"value_fn", "obj_fn", "grad_fn", "examples"} & set(entry.needs)
    return [n for n, entry in catalogue.ENTRIES.items() if plain(entry) and n not in entries_treewise.MATRIX]


def pair(name: str) -> tuple[Any, Any]:
    """Ours and Optax's with the same arguments: its own factory, or its twin where some are not plain numbers."""
    entry = catalogue.find(name)
    own = getattr(optax, name, None) or getattr(optax.contrib, name, None)
    plain = own is not None and not any(map(callable, entry.example.values()))
    rival = own if plain else parity.twin(name)[0]
    with warnings.catch_warnings(action="ignore"):
        return entry.factory(**entry.example), optax.with_extra_args_support(rival(**entry.example))


def step_of(optimizer: Any, told: dict[str, Any]) -> Callable[..., tuple]:
    """step(grads, params, state) → (params, state)."""

    def step(grads: Any, params: Any, state: Any) -> tuple:
        updates, state = optimizer.update(grads, state, params, **told)
        return jax.tree.map(jnp.add, params, updates), state

    return step


def normal(shapes: Iterable[tuple[int, ...]], seed: int) -> list[jax.Array]:
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.standard_normal(shape, np.float32)) for shape in shapes]


def donated(step: Callable[..., tuple]) -> Callable[..., tuple]:
    return jax.jit(step, donate_argnums=(1, 2))


def runner(step: Callable[..., tuple], init: Callable[[Any], Any], shapes: Any, steps: int) -> Callable[[], None]:
    """A function that goes on by so many steps, each on what the last one left, and waits for the end."""
    grads, params = normal(shapes, 0), normal(shapes, 1)
    now = [params, jax.tree.map(jnp.array, init(params))]  # copies: nothing is given away twice

    def go() -> None:
        for _ in range(steps):
            now[:] = step(grads, *now)
        jax.block_until_ready(now)

    return go


def race(rounds: int, *ways: Callable[[], None]) -> np.ndarray:
    """Seconds of each way in each round, forwards and backwards in turn, after one call that is not counted."""
    for way in ways:
        way()
    seconds = np.zeros((rounds, len(ways)))
    for number in range(rounds):
        for k in range(len(ways))[:: 1 if number % 2 else -1]:
            began = time.perf_counter()
            ways[k]()
            seconds[number, k] = time.perf_counter() - began
    return seconds


def step_ratio(name: str, shapes: Any, steps: int) -> float:
    """Ours / Optax's, from two races, each in memory of its own; from four where that is near the limit or above it.

    Where arrays happen to lie moves a ratio by a tenth for a whole race, even of two equal programs, and more often for
    those that were made first: each of the two is first in turn.
    """
    told = {"value": jnp.float32(1)} if "value" in catalogue.find(name).needs else {}
    both = [(donated(step_of(optimizer, told)), optimizer.init) for optimizer in pair(name)]

    def once(turn: int) -> np.ndarray:
        made = [runner(*way, shapes, steps) for way in both[::turn]]
        return race(ROUNDS, *made[::turn])

    seconds = np.vstack([once(1), once(-1)])
    if np.median(seconds[:, 0] / seconds[:, 1]) > 0.95 * LIMIT:
        seconds = np.vstack([seconds, once(1), once(-1)])
    return float(np.median(seconds[:, 0] / seconds[:, 1]))


def trace_ratio(name: str, shapes: Any, rounds: int = 5) -> float:
    """Ours / Optax's seconds of the processor for tracing a step, no garbage collected meanwhile."""
    told = {"value": jnp.float32(1)} if "value" in catalogue.find(name).needs else {}
    params = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    seconds = np.zeros((rounds, 2))
    for number in range(rounds):
        for k, optimizer in list(enumerate(pair(name)))[:: 1 if number % 2 else -1]:
            state = jax.eval_shape(optimizer.init, params)
            jax.clear_caches()
            gc.collect()
            gc.disable()
            began = time.thread_time()
            jax.jit(step_of(optimizer, told)).trace(params, params, state)
            seconds[number, k] = time.thread_time() - began
            gc.enable()
    return float(np.median(seconds[:, 0] / seconds[:, 1]))


def measured(name: str) -> dict[str, Any]:
    """A row of the table."""
    ratios = {tree: step_ratio(name, *TREES[tree]) for tree in TREES}
    return {"optimizer": name, **ratios, "trace of 200 different leaves": trace_ratio(name, DIFFERENT)}


def bandwidth() -> tuple[float, float]:
    """GB/s of Adam, and of a triad that reads four arrays and writes three of them, as Adam does, on all cores."""

    def triad(grads: Any, params: Any, state: Any) -> tuple:
        ahead = lambda xs: jax.tree.map(lambda x, g: x + 0.5 * g, xs, grads)
        return ahead(params), jax.tree.map(ahead, state, is_leaf=lambda x: isinstance(x, list))

    shapes, _ = TREES["16 M in 2 leaves"]
    adam, two = optimizers.adam(1e-3), lambda params: (normal(shapes, 2), normal(shapes, 3))
    ways = runner(donated(step_of(adam, {})), adam.init, shapes, 1), runner(donated(triad), two, shapes, 1)
    size = BYTES * sum(int(np.prod(shape)) for shape in shapes) / 1e9
    return tuple(size / np.median(race(3 * ROUNDS, *ways), axis=0))  # type: ignore[return-value]


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The geometric mean and the largest of each column of ratios."""
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0] if name != "optimizer"}
    means = {name: float(np.exp(np.mean(np.log(values)))) for name, values in columns.items()}
    largest = {name: float(np.max(values)) for name, values in columns.items()}
    return [
        {"optimizer": f"geometric mean of {len(rows)}", **means},
        {"optimizer": f"largest of {len(rows)}", **largest},
    ]


def main(names: list[str]) -> None:
    """Measure; print each row as it is ready, and write results/speed/optimizers.csv when all were measured."""
    sandbox.use_all_cores()
    rows = []
    for name in names or measurable():
        rows.append(measured(name))
        print(" ".join(f"{v:.2f}" if isinstance(v, float) else f"{v:28s}" for v in rows[-1].values()), flush=True)
    adam, triad = bandwidth()
    rows += summary(rows)
    shown = [{k: f"{v:.3f}" if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    print(report.markdown(shown))
    print(f"Adam moves {adam:.1f} GB/s, a triad over as many arrays {triad:.1f} GB/s: {adam / triad:.3f}")
    if not names:
        bandwidths = {"optimizer": "bandwidth of Adam / triad", next(iter(TREES)): f"{adam / triad:.3f}"}
        empty = dict.fromkeys(shown[0], "")
        (ROOT / "results" / "speed").mkdir(parents=True, exist_ok=True)
        report.write_csv(ROOT / "results" / "speed" / "optimizers.csv", [*shown, {**empty, **bandwidths}])
        quote("optimizers", report.markdown(shown[-2:]))
