"""How fast is a map of basins: 256 × 256 runs of two variables, each a lane.

python experiments/speed.py paths
"""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from speed import interleaved, keep, line

import sandbox
from sandbox import landscape, optimizers, problems
from sandbox.sweeps import linear, sweep

benchmark = True
SIDE, STEPS, ROUNDS = 256, 600, 5


def basins() -> list[dict[str, Any]]:
    """Himmelblau's map by gradient descent, compiled before."""
    problem = problems.himmelblau()
    method = optimizers.gradient_descent(0.003)

    def walk(x: Any, y: Any) -> dict[str, Any]:
        start = jnp.stack([x, y])
        return landscape.arrive(problem, method, start, steps=STEPS, key=jax.random.key(0))._asdict()

    axis = linear(-5, 5, SIDE)
    began = time.process_time()
    seconds = interleaved(ROUNDS, map=lambda: sweep(walk, x=axis, y=axis, progress=False))["map"]
    spent = (time.process_time() - began) / (ROUNDS + 1)
    measured = f"{np.median(seconds):.2f} s ({seconds.min():.2f} … {seconds.max():.2f}; {spent:.2f} s of CPU time)"
    what = f"basins of Himmelblau's function, {SIDE}² starts × {STEPS} steps, after compilation"
    return [line(what, measured, "≤ 3 s", np.median(seconds) <= 3)]


def main() -> list[dict[str, Any]]:
    """Measure, write results/speed/paths.csv."""
    sandbox.use_all_cores()
    return keep("paths", basins())


if __name__ == "__main__":
    main()
