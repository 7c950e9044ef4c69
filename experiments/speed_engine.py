"""How near to the hardware is a sweep? Networks, convolutions and a valley, each beside its rivals and its machine.

Rounds are interleaved and a ratio is the median over the rounds, with its range. "sgemm" is NumPy's product of two
2048 × 2048 matrices in float32 on all cores, measured in the same rounds. All sweeps record the loss and the gradient
norm of every step, the final objective, status and diverged_at, unless a row says otherwise.

    python experiments/speed.py engine
"""

from collections.abc import Callable
from itertools import chain
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from speed import BATCH, RATES, ROSENBROCK_RATES, ROSENBROCK_STEPS, STEPS, interleaved, keep, python_loop

import sandbox
from sandbox import losses, optimizers, problems, tree
from sandbox.engine import run
from sandbox.engine.lanes import Plan
from sandbox.sweeps import log, sweep

benchmark = True
ROUNDS = 5
FLOP = 20_224  # of the digits network 64-64-10, for each example and step
SIDE = 2048  # of the matrices
CNN_RATES, CNN_STEPS, CNN_BATCH = 16, 50, 64
FRACTAL, WIDTH, EXAMPLES = 48, 16, 272  # rates to each side, units, examples


def row(what: str, against: str, ratio: np.ndarray, wanted: float, seconds: np.ndarray) -> dict[str, Any]:
    return {
        "what": what,
        "seconds": f"{np.median(seconds):.3g}",
        "against": against,
        "ratio": f"{np.median(ratio):.3g} ({ratio.min():.3g} … {ratio.max():.3g})",
        "wanted": f"≥ {wanted:g}",
        "holds": bool(np.median(ratio) >= wanted),
    }


def sgemm() -> Callable[[], Any]:
    a, b = np.random.default_rng(0).standard_normal((2, SIDE, SIDE)).astype(np.float32)
    return lambda: a @ b


def of_sgemm(flop: float, ours: np.ndarray, product: np.ndarray) -> np.ndarray:
    """Our rate as a part of that of the matrix product."""
    return (flop / ours) / (2 * SIDE**3 / product)


def perceptron() -> list[dict[str, Any]]:
    """64 rates × 200 steps of the digits MLP, with Adam and with SGD."""
    problem, key = problems.digits_mlp(hidden=(64,)), jax.random.key(0)

    def train(method: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda learning_rate: run(
            problem, method(learning_rate), steps=STEPS, batch_size=BATCH, key=jax.random.key(0)
        )

    rates = np.geomspace(1e-4, 1.0, RATES).astype(np.float32)
    adam, sgd = train(optimizers.adam), train(optimizers.sgd)
    axis = log(1e-4, 1.0, RATES)
    tutorial = jax.jit(jax.vmap(adam))
    plan = sweep_plan(adam, axis)
    times = interleaved(
        ROUNDS,
        adam=lambda: sweep(adam, learning_rate=axis),
        sgd=lambda: sweep(sgd, learning_rate=axis),
        alone=lambda: sweep(adam, learning_rate=axis, plan=plan._replace(devices=1)),
        both=lambda: sweep(adam, learning_rate=axis, plan=plan),
        tutorial=lambda: jax.tree.map(np.asarray, tutorial(rates)),
        loop=python_loop(problem, rates, key),
        product=sgemm(),
    )
    flop = RATES * STEPS * BATCH * FLOP
    ours, what = times["adam"], f"digits MLP, {RATES} Adam rates × {STEPS} steps"
    return [
        row(what, "Python loop over a jitted Optax step", times["loop"] / ours, 7, ours),
        row(what, "jit(vmap(run)) on one device", times["tutorial"] / ours, 2, ours),
        row(what, "sgemm", of_sgemm(flop, ours, times["product"]), 0.48, ours),
        row(what.replace("Adam", "SGD"), "sgemm", of_sgemm(flop, times["sgd"], times["product"]), 0.60, times["sgd"]),
        row(f"{what}, two devices", "one device", times["alone"] / times["both"], 1.8, times["both"]),
    ]


def sweep_plan(train: Callable[[Any], Any], axis: Any) -> Plan:
    """The sweep's own plan."""
    number = lambda name, text: int(text.partition(f"{name}=")[2].partition(",")[0])
    text = sweep(train, learning_rate=axis).attrs["plan"]
    return Plan(number("width", text), number("groups", text), number("devices", text))


def convolutional() -> list[dict[str, Any]]:
    """16 rates × 50 steps of a small CNN on pictures of 28 × 28, against flax's layers."""
    import flax.linen as nn

    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((512, 28, 28)).astype(np.float32), rng.integers(0, 10, 512)
    own, key = problems.cnn(X, y, channels=(16, 32)), jax.random.key(0)

    class Small(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            x = x[..., None]
            for channels in (16, 32):
                x = nn.max_pool(nn.relu(nn.Conv(channels, (3, 3))(x)), (2, 2), (2, 2))
            return nn.Dense(10)(x.reshape(len(x), -1))

    flax = problems.from_flax(Small(), X, y.astype(np.int32), losses.softmax_cross_entropy)

    def train(problem: Any, steps: int) -> Callable[[Any], Any]:
        return lambda learning_rate: run(
            problem, optimizers.adam(learning_rate), steps=steps, batch_size=CNN_BATCH, key=jax.random.key(0)
        )

    rates = np.geomspace(1e-4, 1e-1, CNN_RATES).astype(np.float32)
    few = 5  # steps of the two slow ways, which are scaled
    tutorial, alone = jax.jit(jax.vmap(train(flax, few))), jax.jit(train(flax, few))
    times = interleaved(
        3,
        ours=lambda: sweep(train(own, CNN_STEPS), learning_rate=log(1e-4, 1e-1, CNN_RATES)),
        tutorial=lambda: jax.tree.map(np.asarray, tutorial(rates)),
        alone=lambda: [jax.tree.map(np.asarray, alone(rate)) for rate in rates[:2]],
        loop=step_by_step(flax, rates[:4], key),
    )
    ours, what = times["ours"], f"CNN 16-32, {CNN_RATES} rates × {CNN_STEPS} steps of {CNN_BATCH} pictures"
    scaled = CNN_STEPS / few
    return [
        row(what, "jit(vmap(scan)) over flax's convolutions", times["tutorial"] * scaled / ours, 20, ours),
        row(what, "one jitted scan a rate", times["alone"] * scaled * CNN_RATES / 2 / ours, 10, ours),
        row(what, "Python loop of jitted flax steps", times["loop"] * CNN_RATES / 4 / ours, 1.3, ours),
    ]


def step_by_step(problem: Any, rates: np.ndarray, key: jax.Array) -> Callable[[], Any]:
    """A jitted, donated Optax step that XLA may spread over all cores, the data on the device."""
    data, start = jax.tree.map(jnp.asarray, problem.data), problem.init(key)
    table = np.random.default_rng(0).integers(0, 512, (CNN_STEPS, CNN_BATCH))

    def step(params: Any, state: Any, rate: Any, rows: Any) -> Any:
        batch = jax.tree.map(lambda a: a[rows], data)
        value, grads = jax.value_and_grad(problem.objective)(params, batch, None)
        updates, state = optax.adam(rate).update(grads, state, params)
        return optax.apply_updates(params, updates), state, value, tree.norm(grads)

    jitted = jax.jit(step, donate_argnums=(0, 1))

    def loop() -> Any:
        trace = []
        for rate in map(jnp.asarray, rates):
            params = jax.tree.map(jnp.copy, start)
            state = optax.adam(rate).init(params)
            for rows in table:
                params, state, value, norm = jitted(params, state, rate, rows)
                trace.append((value, norm))
        return jax.device_get(trace)

    return loop


def valley() -> list[dict[str, Any]]:
    """4,096 rates × 1,000 steps of Adam on Rosenbrock: millions of optimizer steps a second."""
    problem = problems.rosenbrock()

    def train(**options: Any) -> Callable[[Any], Any]:
        return lambda learning_rate: run(
            problem, optimizers.adam(learning_rate), steps=ROSENBROCK_STEPS, key=jax.random.key(0), **options
        )

    axis = log(1e-4, 1.0, ROSENBROCK_RATES)
    final, traced = train(record=None), train()
    times = interleaved(
        ROUNDS,
        final=lambda: sweep(final, learning_rate=axis),
        traced=lambda: sweep(traced, learning_rate=axis),
    )
    millions = ROSENBROCK_RATES * ROSENBROCK_STEPS / 1e6
    what = f"Rosenbrock, {ROSENBROCK_RATES:,} Adam rates × {ROSENBROCK_STEPS:,} steps"
    rate = "a second, in millions of steps"
    return [
        row(f"{what}, final values only", rate, millions / times["final"], 250, times["final"]),
        row(what, rate, millions / times["traced"], 40, times["traced"]),
    ]


def fractal() -> list[dict[str, Any]]:
    """Rates of two layers, each its own: tanh network without biases, as many examples as parameters, full batch."""
    first, second, third = jax.random.split(jax.random.key(0), 3)
    X = jax.random.normal(first, (WIDTH, EXAMPLES))
    y = jax.random.normal(second, (EXAMPLES,))
    draw = lambda key: {
        "w": jax.random.normal(key, (WIDTH, WIDTH)) / WIDTH**0.5,
        "v": jax.random.normal(key, (WIDTH,)) / WIDTH**0.5,
    }
    loss = lambda params: jnp.mean((params["v"] @ jnp.tanh(params["w"] @ X) - y) ** 2)
    problem = problems.Problem("fractal", draw, loss)

    def train(inner: Any, outer: Any) -> Any:
        descent = optax.GradientTransformation(
            lambda params: (), lambda g, state, params=None: ({"w": -inner * g["w"], "v": -outer * g["v"]}, state)
        )
        return run(problem, descent, steps=STEPS, key=third, record=None)

    axis = log(1e-1, 1e3, FRACTAL)
    times = interleaved(ROUNDS, ours=lambda: sweep(train, inner=axis, outer=axis), product=sgemm())
    # Per example: w x and v h, then the gradients of v, of h and of w; a product of n terms is 2 n.
    flop = FRACTAL**2 * STEPS * EXAMPLES * (2 * 2 * WIDTH**2 + 3 * 2 * WIDTH)
    what = f"trainability fractal, {FRACTAL}² networks of {WIDTH} units × {STEPS} steps, final values"
    return [row(what, "sgemm", of_sgemm(flop, times["ours"], times["product"]), 0.35, times["ours"])]


def main() -> list[dict[str, Any]]:
    """Measure everything, write results/speed/engine.csv."""
    sandbox.use_all_cores()
    return keep("engine", chain(perceptron(), convolutional(), valley(), fractal()))
