"""How fast is one update? Every optimizer beside Optax's own, in one run, rounds interleaved.

A jitted, donated update of 16 million float32 parameters in 2 leaves and of 2 million in 200; the time to trace 200
leaves; and Adam's bandwidth beside a triad, a ← a + c b, on as many arrays. Left out are methods that look at single
examples, search along lines or decompose matrices: what they cost is not the update.

    python experiments/speed_optimizers.py              all
    python experiments/speed_optimizers.py adam lion    only these
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sandbox import optimizers, parity, report
from sandbox.optimizers import catalogue

benchmark = True
ROOT = Path(__file__).resolve().parent.parent
ROUNDS, TRACES = 5, 3
TREES = {
    "16 M in 2 leaves": [(4000, 2000), (4000, 2000)],
    "2 M in 200 leaves": [(100, 100)] * 100 + [(n, 40) for n in range(200, 300)],
}
LEFT_OUT = {"dpsgd", "lbfgs", "muon", "galore", "sophia", "mechanize", "sam", "split_real_and_imaginary"}


def comparable() -> list[str]:
    """The optimizers whose update is arithmetic on every coordinate."""
    return [name for name in optimizers.names() if name not in LEFT_OUT]


def stepper(optimizer: Any, shapes: list[tuple[int, ...]], needs: tuple[str, ...]) -> Callable[[], None]:
    """A donated update that goes on from where the last one ended."""
    rng = np.random.default_rng(0)
    block = rng.standard_normal(1_000_000, dtype=np.float32)
    draw = lambda: [jnp.asarray(np.resize(block, shape)) for shape in shapes]
    params, grads = draw(), draw()
    carry = [params, optimizer.init(params)]
    extra = {"value": jnp.float32(1.0)} if "value" in needs else {}

    def update(grads: Any, params: Any, state: Any) -> Any:
        updates, state = optimizer.update(grads, state, params, **extra)
        return jax.tree.map(jnp.add, params, updates), state

    compiled = jax.jit(update, donate_argnums=(1, 2))

    def step() -> None:
        carry[:] = jax.block_until_ready(compiled(grads, *carry))

    return step


def ratio(ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int = ROUNDS) -> tuple[float, float, float]:
    """Seconds of both, medians, and the median of the rounds' quotients."""
    ours(), theirs()
    rows = []
    for k in range(rounds):
        seconds = {}
        for way in (ours, theirs)[:: 1 if k % 2 else -1]:
            began = time.perf_counter()
            way()
            seconds[way] = time.perf_counter() - began
        rows.append((seconds[ours], seconds[theirs]))
    a, b = np.array(rows).T
    return float(np.median(a)), float(np.median(b)), float(np.median(a / b))


def updates(names: list[str]) -> list[dict[str, Any]]:
    """A row for each optimizer and tree."""
    rows = []
    for name in names:
        entry, (twin, _) = catalogue.find(name), parity.twin(name)
        for tree, shapes in TREES.items():
            pair = [stepper(make(**entry.example), shapes, entry.needs) for make in (entry.factory, twin)]
            ours, theirs, quotient = ratio(*pair)
            rows.append(
                {"optimizer": name, "what": tree, "ours, s": ours, "Optax, s": theirs, "ours / Optax": quotient}
            )
            print(f"{name:30} {tree:20} {quotient:.3f}", flush=True)
    return rows


def tracing(names: list[str]) -> list[dict[str, Any]]:
    """Tracing an update of 200 leaves of 100 shapes."""
    rows = []
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in TREES["2 M in 200 leaves"]]
    for name in names:
        entry, (twin, _) = catalogue.find(name), parity.twin(name)
        extra = {"value": jax.ShapeDtypeStruct((), jnp.float32)} if "value" in entry.needs else {}

        def traced(make: Any, entry: Any = entry, extra: Any = extra) -> Callable[[], Any]:
            def trace() -> Any:
                optimizer = make(**entry.example)
                state = jax.eval_shape(optimizer.init, shapes)
                return jax.jit(lambda g, s, p, e: optimizer.update(g, s, p, **e)).trace(shapes, state, shapes, extra)

            return trace

        ours, theirs, quotient = ratio(traced(entry.factory), traced(twin), TRACES)
        what = "tracing 200 leaves"
        rows.append({"optimizer": name, "what": what, "ours, s": ours, "Optax, s": theirs, "ours / Optax": quotient})
        print(f"{name:30} {what:20} {quotient:.3f}", flush=True)
    return rows


def bandwidth() -> dict[str, Any]:
    """Adam moves 28 bytes a parameter: g, m, v and x are read, m, v and x written. So does this triad of arrays."""
    shapes = TREES["16 M in 2 leaves"]
    adam = stepper(optimizers.adam(1e-3), shapes, ())
    arrays = [jnp.ones(sum(int(np.prod(shape)) for shape in shapes), jnp.float32) for _ in range(4)]
    triad = jax.jit(lambda g, m, v, x: (m + 0.1 * g, v + 0.1 * g, x + 0.1 * g), donate_argnums=(1, 2, 3))
    carry = arrays[1:]

    def moved() -> None:
        carry[:] = jax.block_until_ready(triad(arrays[0], *carry))

    ours, theirs, quotient = ratio(adam, moved)
    row = {"optimizer": "adam", "what": "a triad's bandwidth", "ours, s": ours, "Optax, s": theirs}
    return {**row, "ours / Optax": 1 / quotient}


def main() -> list[dict[str, Any]]:
    """Measure, print, and write results/speed/optimizers.csv."""
    names = sys.argv[1:] or comparable()
    rows = [*updates(names), *tracing(names), bandwidth()]
    quotients = np.array([row["ours / Optax"] for row in rows if " in " in row["what"]])
    traces = np.array([row["ours / Optax"] for row in rows if row["what"].startswith("tracing")])
    print(f"updates: geometric mean {np.exp(np.log(quotients).mean()):.3f}, largest {quotients.max():.3f}")
    print(f"tracing: geometric mean {np.exp(np.log(traces).mean()):.3f}, largest {traces.max():.3f}")
    print(f"adam's share of a triad's bandwidth: {rows[-1]['ours / Optax']:.3f}")
    (ROOT / "results" / "speed").mkdir(parents=True, exist_ok=True)
    report.write_csv(ROOT / "results" / "speed" / "optimizers.csv", rows)
    return rows


if __name__ == "__main__":
    main()
