"""How fast is curvature? Ten eigenvalues beside power iteration, a density, thirty lines, the edge of stability.

The rival takes one eigenvalue after another by power iteration, each time without the directions that it has, until
the residual of each is as small as ours: one jitted loop, on one device as ours is. Both are told how accurate to be by
the same tolerance, and what they find is compared.

    python experiments/speed.py curvature
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from numpy.polynomial.chebyshev import chebpts1, chebval
from speed import interleaved, keep, line
from speed_engine import row

import sandbox
from sandbox import landscape, optimizers, problems
from sandbox.engine import run
from sandbox.sweeps import sweep

benchmark = True
ROUNDS, PAIRS, TOLERANCE, MOST = 5, 10, 1e-3, 5_000
SECONDS = 10.0


def trained() -> tuple[problems.Problem, Any]:
    """The digits MLP after 200 steps of Adam."""
    problem = problems.digits_mlp(hidden=(64,))
    return problem, run(problem, optimizers.adam(1e-3), steps=200, batch_size=128, key=jax.random.key(0)).params


def deflated(problem: problems.Problem, params: Any) -> Callable[[], np.ndarray]:
    """v ← A v/‖A v‖, without the directions before; the values with their residuals at most TOLERANCE λ₁."""
    flat, unravel = ravel_pytree(params)

    @jax.jit
    def values(flat: jax.Array) -> jax.Array:
        product = landscape.hessian(problem, unravel(flat))
        on = lambda v: ravel_pytree(product(unravel(v)))[0]

        def pair(
            known: tuple[jax.Array, jax.Array], number: jax.Array
        ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
            basis, norm = known
            apart = lambda v: v - (basis @ v) @ basis

            def turn(state: tuple) -> tuple:
                count, v, *_ = state
                image = apart(on(v))
                value = v @ image
                rest = jnp.linalg.norm(image - value * v)
                return count + 1, image / jnp.linalg.norm(image), v, value, rest

            unfinished = lambda state: (state[0] < MOST) & (state[4] > TOLERANCE * jnp.maximum(norm, jnp.abs(state[3])))
            v = apart(jax.random.normal(jax.random.fold_in(jax.random.key(0), number), flat.shape))
            first = (0, v / jnp.linalg.norm(v), v, jnp.zeros(()), jnp.asarray(jnp.inf))
            _, _, v, value, _ = jax.lax.while_loop(unfinished, turn, first)
            return (basis.at[number].set(v), jnp.maximum(norm, jnp.abs(value))), value

        start = jnp.zeros((PAIRS, flat.size)), jnp.zeros(())
        return jax.lax.scan(pair, start, jnp.arange(PAIRS))[1]

    return lambda: np.asarray(values(flat))


def eigenvalues() -> list[dict[str, Any]]:
    """The ten largest of the Hessian, both to residuals of TOLERANCE λ₁."""
    problem, params = trained()
    options: dict[str, Any] = {"key": jax.random.key(0), "tol": TOLERANCE}
    found = jax.jit(lambda x: landscape.eigenpairs(landscape.hessian(problem, x), x, PAIRS, **options).values)
    ways = {"ours": lambda: np.asarray(found(params)), "power": deflated(problem, params)}
    mine, theirs = (np.sort(way()) for way in ways.values())
    np.testing.assert_allclose(theirs, mine, atol=4 * TOLERANCE * mine[-1])
    times = interleaved(ROUNDS, **ways)
    what = f"top {PAIRS} eigenvalues, digits MLP, residuals {TOLERANCE:g} λ₁"
    return [row(what, "power iteration with deflation", times["power"] / times["ours"], 5, times["ours"])]


def seconds() -> list[dict[str, Any]]:
    """Thirty lines of 51 points and a density of 8 probes and 80 steps, compilation included in the first call."""
    problem, params = trained()
    axis = np.linspace(-1, 1, 51)

    def bundle() -> None:
        for key in jax.random.split(jax.random.key(1), 30):
            np.asarray(landscape.line(problem, params, landscape.direction(params, key), axis))

    find = jax.jit(lambda x: landscape.density(landscape.hessian(problem, x), x, key=jax.random.key(2)))
    rows = []
    for what, way in (
        ("30 lines of 51 points", bundle),
        ("density, 80 steps, 8 probes", lambda: jax.block_until_ready(find(params))),
    ):
        began = time.perf_counter()
        way()
        first = time.perf_counter() - began
        again = np.median(interleaved(ROUNDS, way=way)["way"])
        measured = f"{again:.2f} s; the first, compiled on the way, {first:.1f} s"
        rows.append(line(f"{what} of the digits MLP", measured, f"≤ {SECONDS:g} s, first", first <= SECONDS))
    return rows


def edge() -> list[dict[str, Any]]:
    """ANSWERS X3: four runs of 30,000 steps with their sharpness at every 100th, the first time."""
    x = chebpts1(20)
    problem = problems.mlp_regression(x[:, None], chebval(x, [0, 0, 0, 0, 0, 1]), (30, 30), "tanh")
    rates, momenta = np.array([0.05, 0.1, 0.2, 0.05]), np.array([0, 0, 0, 0.9])

    def one(case: Any) -> Any:
        method = optimizers.heavy_ball(jnp.asarray(rates)[case], jnp.asarray(momenta)[case])
        record = landscape.edge_of_stability()
        return run(problem, method, steps=30_000, key=jax.random.key(0), record=record, every=100)

    began = time.perf_counter()
    ds = sweep(one, case=range(len(rates)), progress=False)
    took = time.perf_counter() - began
    measured = f"{took:.1f} s, of which compiling {ds.attrs['compile_seconds']:.1f} s"
    return [line("edge of stability, 4 runs × 30,000 steps", measured, f"≤ {SECONDS:g} s", took <= SECONDS)]


def main() -> list[dict[str, Any]]:
    """Measure everything, write results/speed/curvature.csv and curvature_times.csv."""
    sandbox.use_all_cores()
    return keep("curvature", eigenvalues()) + keep("curvature_times", [*edge(), *seconds()])


if __name__ == "__main__":
    main()
