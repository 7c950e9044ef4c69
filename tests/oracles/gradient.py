"""Gradient descent and momentum in NumPy, and the mistakes that are easily made in them."""

import jax
import numpy as np

from oracles.losses import halving, rate


def momentum(x, losses, learning_rate, momentum=0.0, nesterov=False):
    m = 0 * x
    for k, loss in enumerate(losses):
        g = loss.grad(x)
        m = momentum * m + g
        x = x - rate(learning_rate, k) * (momentum * m + g if nesterov else m)
        yield x


def nesterov(x, losses, learning_rate, momentum_):
    return momentum(x, losses, learning_rate, momentum_, nesterov=True)


def ema_momentum(x, losses, learning_rate, decay):
    m = 0 * x
    for k, loss in enumerate(losses):
        m = decay * m + (1 - decay) * loss.grad(x)
        x = x - rate(learning_rate, k) * m
        yield x


def optimistic(x, losses, learning_rate, alpha, beta):
    before = losses[0].grad(x)
    for k, loss in enumerate(losses):
        g = loss.grad(x)
        a, b = rate(alpha, k), rate(beta, k)
        x = x - rate(learning_rate, k) * ((a + b) * g - b * before)
        before = g
        yield x


def polyak(x, losses, max_learning_rate, scaling, f_min, eps, variant="sps"):
    for k, loss in enumerate(losses):
        g = loss.grad(x)
        gap = loss.value(x) - f_min
        if variant == "sps+":
            gap = max(gap, 0.0)
        x = x - rate(scaling, k) * min(gap / (np.sum(g**2) + eps), max_learning_rate) * g
        yield x


def normal(key, shape):
    return np.asarray(jax.random.normal(key, shape))


def noisy_sgd(x, losses, learning_rate, eta, gamma, key=None, seed=0):
    stream = jax.random.key(seed if key is None else key)
    for k, loss in enumerate(losses):
        stream, now = jax.random.split(stream)
        (of_leaf,) = jax.random.split(now, 1)
        noise = np.sqrt(eta / (k + 1) ** gamma) * normal(of_leaf, x.shape)
        x = x - rate(learning_rate, k) * (loss.grad(x) + noise)
        yield x


def dpsgd(x, losses, learning_rate, l2_norm_clip, noise_multiplier, seed, momentum=0.0, nesterov=False):
    stream, m = jax.random.key(seed), 0 * x
    for k, loss in enumerate(losses):
        total = 0 * x
        for multiple in (0.5, 2.0, -1.0):  # three examples
            g = multiple * loss.grad(x)
            length = np.sqrt(np.sum(g**2))
            total += g * l2_norm_clip / length if length > l2_norm_clip else g
        stream, of_leaf = jax.random.split(stream)
        g = (total + noise_multiplier * l2_norm_clip * normal(of_leaf, x.shape)) / 3
        m = momentum * m + g
        x = x - rate(learning_rate, k) * (momentum * m + g if nesterov else m)
        yield x


POLYAK = {"max_learning_rate": 0.8, "eps": 1e-2}
PRIVATE = {"l2_norm_clip": 0.3, "noise_multiplier": 0.7, "seed": 4}
PAGES = {  # name: [(page, arguments), …]
    "gradient_descent": [(momentum, {"learning_rate": halving})],
    "heavy_ball": [(momentum, {"learning_rate": 0.1, "momentum": 0.8})],
    "nesterov": [
        (lambda *a, momentum, **kw: nesterov(*a, momentum_=momentum, **kw), {"learning_rate": halving, "momentum": 0.8})
    ],
    "ema_momentum": [(ema_momentum, {"learning_rate": halving, "decay": 0.8})],
    "sgd": [(momentum, {"learning_rate": 0.1, "momentum": 0.7, "nesterov": True})],
    "optimistic_gradient_descent": [
        (optimistic, {"learning_rate": halving, "alpha": 0.7, "beta": 0.4}),
        (optimistic, {"learning_rate": 0.1, "alpha": halving, "beta": halving}),
    ],
    "polyak_sgd": [
        (polyak, {"scaling": halving, "f_min": -0.5, **POLYAK}),
        (polyak, {"scaling": 0.5, "f_min": 0.2, "variant": "sps+", **POLYAK}),
    ],
    "noisy_sgd": [
        (noisy_sgd, {"learning_rate": halving, "eta": 0.3, "gamma": 0.8, "key": 5}),
        (noisy_sgd, {"learning_rate": 0.1, "eta": 0.3, "gamma": 0.8, "seed": 6}),
    ],
    "dpsgd": [
        (dpsgd, {"learning_rate": halving, **PRIVATE}),
        (dpsgd, {"learning_rate": 0.1, "momentum": 0.7, **PRIVATE}),
        (dpsgd, {"learning_rate": 0.1, "momentum": 0.7, "nesterov": True, **PRIVATE}),
    ],
}

MUTANTS = {  # name: {mistake: (right, wrong)}
    "gradient_descent": {
        "ascends": ("-at(learning_rate, t) * g", "at(learning_rate, t) * g"),
        "schedule read one step late": ("at(learning_rate, t)", "at(learning_rate, t + 1)"),
        "sign of the gradient": ("at(learning_rate, t) * g", "at(learning_rate, t) * jnp.sign(g)"),
    },
    "heavy_ball": {
        "averages": ("memory.trace + g", "memory.trace + (1 - momentum) * g"),
        "stale momentum": ("at(learning_rate, t) * m,", "at(learning_rate, t) * memory.trace,"),
        "rate before momentum": (
            "memory.trace + g\n        return -at(learning_rate, t) * m,",
            "memory.trace + at(learning_rate, t) * g\n        return -m,",
        ),
    },
    "nesterov": {
        "heavy ball": ("(momentum * m + g)", "m"),
        "stale momentum": ("(momentum * m + g)", "(momentum * memory.trace + g)"),
        "looks ahead a whole step": ("(momentum * m + g)", "(m + g)"),
    },
    "ema_momentum": {
        "sums": ("(1 - decay) * g", "g"),
        "bias corrected": ("at(learning_rate, t) * m", "at(learning_rate, t) * m / (1 - decay**t)"),
        "weights swapped": ("decay * memory.ema + (1 - decay) * g", "(1 - decay) * memory.ema + decay * g"),
    },
    "sgd": {
        "nesterov forgotten": ("_nesterov if nesterov else heavy_ball", "heavy_ball"),
        "nesterov always": ("_nesterov if nesterov else heavy_ball", "_nesterov"),
        "momentum forgotten": ("if momentum is None:", "if True:"),
    },
    "optimistic_gradient_descent": {
        "pessimistic": ("((a + b) * g - b * before)", "((a - b) * g + b * before)"),
        "expects a change from 0 in the first step": ("jnp.where(t > 1, memory.previous_gradient, g)", "memory.previous_gradient"),
        "forgets": ("Previous(g)", "Previous(0 * g)"),
        "alpha and beta swapped": ("at(alpha, t), at(beta, t)", "at(beta, t), at(alpha, t)"),
        "the gradient now counts once": ("((a + b) * g - b * before)", "(a * g - b * before)"),
    },
    "polyak_sgd": {
        "scaled before, as in Optax": (
            "-at(scaling, t) * step, g)",
            "-jnp.minimum(gap / (at(scaling, t)**2 * squared), max_learning_rate) * at(scaling, t), g)",
        ),
        "never at most": ("jnp.minimum(gap / jnp.where(flat, 1, squared), max_learning_rate)", "gap / squared"),
        "at least": ("jnp.minimum(gap", "jnp.maximum(gap"),
        "not squared": ("tree.squared_norm(g) + eps", "tree.norm(g) + eps"),
        "eps forgotten": ("tree.squared_norm(g) + eps", "tree.squared_norm(g)"),
        "minimum forgotten": ("tree.widen(jnp.asarray(value)) - f_min", "tree.widen(jnp.asarray(value))"),
        "negative gaps in sps+": ('if variant == "sps+" else gap', "if False else gap"),
        "no negative gaps in sps": ('if variant == "sps+" else gap', "if True else gap"),
    },
    "noisy_sgd": {
        "no noise": ("sigma * n)", "0 * n)"),
        "variance for deviation": ("jnp.sqrt(eta / t**gamma)", "eta / t**gamma"),
        "noise never fades": ("eta / t**gamma", "eta"),
        "noise fades one step late": ("t**gamma", "jnp.maximum(t - 1, 1)**gamma"),
        "the same noise again": ("Noise(rng_key)", "Noise(memory.rng_key)"),
        "noise beside the rate": ("(g + sigma * n)", "g + sigma * n"),
        "the same noise on all leaves": (
            "_normal(jax.random.split(noise_key, len(jax.tree.leaves(g))), g)",
            "_normal([noise_key] * len(jax.tree.leaves(g)), g)",
        ),
        "key forgotten": ("_random_key(key, seed)", "_random_key(None, seed)"),
    },
    "dpsgd": {
        "never clipped": ("total = jax.tree.map(lambda g: jnp.tensordot(shrinkage, g, 1), g)",
                          "total = jax.tree.map(lambda g: jnp.sum(g, 0), g)"),
        "small ones stretched": ("shrinkage = jnp.minimum(1, ", "shrinkage = jnp.maximum(0, "),
        "every leaf for itself": (
            "total = jax.tree.map(lambda g: jnp.tensordot(shrinkage, g, 1), g)",
            "total = jax.tree.map(lambda g: jnp.tensordot(jnp.minimum(1, l2_norm_clip / jnp.sqrt("
            "jax.vmap(tree.squared_norm)(g))), g, 1), g)",
        ),
        "sum": ("(g + sigma * noise) / n", "(g + sigma * noise)"),
        "noise on the mean": ("(g + sigma * noise) / n", "(g / n + sigma * noise)"),
        "noise in units of 1": ("sigma = noise_multiplier * l2_norm_clip", "sigma = noise_multiplier"),
        "the same noise again": ("total, _normal(keys, total)), Noise(rng_key)", "total, _normal(keys, total)), memory"),
        "seed forgotten": ("noise_multiplier, seed)", "noise_multiplier, 0)"),
        "momentum forgotten": ("sgd(learning_rate, momentum, nesterov)", "sgd(learning_rate)"),
    },
}  # fmt: skip
