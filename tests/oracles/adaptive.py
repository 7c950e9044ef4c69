"""AdaGrad and its descendants in NumPy, and the mistakes that are easily made in them."""

import numpy as np

from oracles.losses import halving, rate


def adagrad(x, losses, learning_rate, initial_accumulator_value, eps):
    s = 0 * x + initial_accumulator_value
    for k, loss in enumerate(losses):
        g = loss.grad(x)
        s = s + g * g
        x = x - rate(learning_rate, k) * g / np.sqrt(s + eps)
        yield x


def rmsprop(
    x,
    losses,
    learning_rate,
    decay,
    eps,
    initial_scale=0.0,
    eps_in_sqrt=True,
    centered=False,
    momentum=0.0,
    nesterov=False,
    bias_correction=False,
):
    m, v, c = 0 * x, 0 * x + initial_scale, 0 * x
    for k, loss in enumerate(losses):
        g = loss.grad(x)
        m, v = decay * m + (1 - decay) * g, decay * v + (1 - decay) * g * g
        whole = 1 - decay ** (k + 1) if bias_correction else 1.0
        spread = v / whole - (m / whole) ** 2 if centered else v / whole
        step = -rate(learning_rate, k) * g / (np.sqrt(spread + eps) if eps_in_sqrt else np.sqrt(spread) + eps)
        c = momentum * c + step
        x = x + (momentum * c + step if nesterov else c)
        yield x


def adadelta(x, losses, learning_rate=1.0, rho=0.9, eps=1e-6, weight_decay=0.0):
    seen, moved = 0 * x, 0 * x
    for k, loss in enumerate(losses):
        g = loss.grad(x) + weight_decay * x
        seen = rho * seen + (1 - rho) * g**2
        step = np.sqrt(moved + eps) / np.sqrt(seen + eps) * g
        moved = rho * moved + (1 - rho) * step**2
        x = x - rate(learning_rate, k) * step
        yield x


def madgrad(x, losses, learning_rate, momentum, weight_decay, eps):
    start, s, v = x, 0 * x, 0 * x
    for k, loss in enumerate(losses):
        g = loss.grad(x) + weight_decay * x
        weight = float(np.float32(rate(learning_rate, k) + eps) * np.sqrt(np.float32(k + 1)))  # single, as in Optax
        s, v = s + weight * g, v + weight * g * g
        x = momentum * x + (1 - momentum) * (start - s / (np.cbrt(v) + eps))
        yield x


def sm3(x, losses, learning_rate, momentum):
    """Of a matrix, entry by entry."""
    n, p = x.shape
    rows, columns, m = np.zeros(n), np.zeros(p), 0 * x
    for k, loss in enumerate(losses):
        g, nu, up = loss.grad(x), 0 * x, 0 * x
        for i in range(n):
            for j in range(p):
                nu[i, j] = min(rows[i], columns[j]) + g[i, j] ** 2
                up[i, j] = g[i, j] / np.sqrt(nu[i, j] + 1e-8) if nu[i, j] > 0 else 0.0
        m = momentum * m + (1 - momentum) * up
        rows, columns = nu.max(axis=1), nu.max(axis=0)
        x = x - rate(learning_rate, k) * m
        yield x


def adafactor(x, losses, learning_rate, decay_rate, clipping_threshold, weight_decay_rate, min_dim_size_to_factor):
    """Of a matrix; all that is small in the paper's algorithm 5 is left at its default."""
    rows, columns, v = np.zeros(x.shape[0]), np.zeros(x.shape[1]), 0 * x
    factored = min(x.shape) >= min_dim_size_to_factor
    for k, loss in enumerate(losses):
        g = loss.grad(x)
        beta, square = float(1 - np.float32(k + 1) ** np.float32(-decay_rate)), g * g + 1e-30
        rows = beta * rows + (1 - beta) * square.mean(axis=1)
        columns = beta * columns + (1 - beta) * square.mean(axis=0)
        v = beta * v + (1 - beta) * square
        u = g / np.sqrt(np.outer(rows, columns) / rows.mean() if factored else v)
        u = u / max(1.0, np.sqrt(np.mean(u * u)) / clipping_threshold)
        u = rate(learning_rate, k) * max(1e-3, np.sqrt(np.mean(x * x))) * u
        x = x - u - weight_decay_rate * x
        yield x


PAGES = {
    "adagrad": [(adagrad, {"learning_rate": halving, "initial_accumulator_value": 0.3, "eps": 1e-3})],
    "rmsprop": [
        (
            rmsprop,
            {
                "learning_rate": halving,
                "decay": 0.8,
                "eps": 1e-3,
                "initial_scale": 0.2,
                "momentum": 0.5,
                "nesterov": True,
            },
        ),
        (
            rmsprop,
            {
                "learning_rate": 0.1,
                "decay": 0.8,
                "eps": 1e-2,
                "centered": True,
                "eps_in_sqrt": False,
                "initial_scale": 0.4,
            },
        ),
        (rmsprop, {"learning_rate": 0.1, "decay": 0.8, "eps": 1e-2, "bias_correction": True}),
    ],
    "adadelta": [
        (adadelta, {"learning_rate": halving, "rho": 0.8, "eps": 1e-3, "weight_decay": 0.1}),
        (adadelta, {}),
    ],
    "madgrad": [(madgrad, {"learning_rate": 0.1, "momentum": 0.7, "weight_decay": 0.05, "eps": 1e-3})],
    "sm3": [(sm3, {"learning_rate": 0.1, "momentum": 0.7})],
    "adafactor": [
        (
            adafactor,
            {
                "learning_rate": 0.1,
                "decay_rate": 1.0,
                "clipping_threshold": 0.7,
                "weight_decay_rate": 0.01,
                "min_dim_size_to_factor": least,
            },
        )
        for least in (2, 100)
    ],
}

MUTANTS = {
    "adagrad": {
        "forgets": ("memory.sum_of_squares + abs2(g)", "0.9 * memory.sum_of_squares + abs2(g)"),
        "without the root": ("jax.lax.rsqrt(s + eps)", "1 / (s + eps)"),
        "eps outside the root": ("jax.lax.rsqrt(s + eps)", "1 / (jnp.sqrt(s) + eps)"),
        "starts at 0": ("jnp.full_like(x, initial_accumulator_value,", "jnp.full_like(x, 0.0,"),
    },
    "rmsprop": {
        "decays swapped": ("beta * memory.nu + (1 - beta) * abs2(g)", "(1 - beta) * memory.nu + beta * abs2(g)"),
        "rate after the momentum": (
            "c = momentum * memory.trace + u\n        return momentum * c + u if nesterov else c,",
            "c = momentum * memory.trace + u / at(learning_rate, t)\n"
            "        return (momentum * c + u if nesterov else at(learning_rate, t) * c),",
        ),
        "second moment for the variance": ("jnp.maximum(spread - abs2(corrected(mu)), 0)", "spread"),
        "nesterov forgotten": ("momentum * c + u if nesterov else c", "c"),
        "stale scale": ("spread = None, corrected(nu)", "spread = None, corrected(memory.nu)"),
    },
    "adadelta": {
        "ascends": ("-at(rate, t) * delta", "at(rate, t) * delta"),
        "the rate counts in what it moved": ("(1 - rho) * abs2(delta)", "(1 - rho) * abs2(at(rate, t) * delta)"),
        "no units": ("jnp.sqrt(memory.e_x + eps) / jnp.sqrt(e_g + eps) * g", "g / jnp.sqrt(e_g + eps)"),
        "decay of the wrong sign": ("g + decay(", "g - decay("),
    },
    "madgrad": {
        "square root": ("jnp.cbrt(v)", "jnp.sqrt(v)"),
        "from the last point": ("memory.x0 - s /", "x - s /"),
        "weights do not grow": ("* jnp.sqrt(t)", "* 1.0"),
        "momentum swapped": ("(1 - momentum) * (z - x)", "momentum * (z - x)"),
    },
    "sm3": {
        "sums the covers": ("functools.reduce(jnp.minimum, covers)", "functools.reduce(jnp.add, covers)"),
        "minimum kept": ("jnp.max(nu, axes, initial=0.0)", "jnp.min(nu, axes, initial=jnp.inf)"),
        "momentum sums": ("(1 - momentum) * g * jnp.where", "g * jnp.where"),
        "no memory": (") + g**2\n", ") * 0 + g**2\n"),
    },
    "adafactor": {
        "constant decay": ("1 - age **", "1 - 3.0 **"),
        "no mean of the rows": ("row / jnp.mean(row, low - (low > high), keepdims=True)", "row"),
        "no clipping": ("jnp.maximum(1.0, _rms(u) / clipping_threshold)", "1.0"),
        "the rate times the decay": ("-u - lost", "-u - 0.1 * lost"),
        "rows without the root": ("share**-0.5", "share**-1.0"),
        "not scaled by the parameters": ("u * jnp.maximum(1e-3, _rms(required(x)))", "u"),
    },
}
