"""Methods that see a leaf by its norm, in NumPy, and the mistakes that are easily made in them."""

import numpy as np

from oracles.losses import halving, rate


def fromage(x, losses, learning_rate, min_norm):
    for k, loss in enumerate(losses):
        g, eta = loss.grad(x), rate(learning_rate, k)
        length, slope = max(np.linalg.norm(x), min_norm), max(np.linalg.norm(g), min_norm)
        x = (x - eta * length / slope * g) / np.sqrt(1 + eta**2)
        yield x


def lars(x, losses, learning_rate, weight_decay, trust_coefficient, eps, momentum, nesterov):
    m = 0 * x
    for k, loss in enumerate(losses):
        g = loss.grad(x) + weight_decay * x
        trust = trust_coefficient * np.linalg.norm(x) / (np.linalg.norm(g) + eps)
        u = rate(learning_rate, k) * trust * g
        m = momentum * m + u
        x = x - (momentum * m + u if nesterov else m)
        yield x


def lamb(x, losses, learning_rate, b1, b2, eps, eps_root, weight_decay):
    m, v = 0 * x, 0 * x
    for k, loss in enumerate(losses):
        g, t = loss.grad(x), k + 1
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        d = m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t) + eps_root) + eps) + weight_decay * x
        x = x - rate(learning_rate, k) * np.linalg.norm(x) / np.linalg.norm(d) * d
        yield x


def novograd(x, losses, learning_rate, b1, b2, eps, eps_root, weight_decay):
    m, v = 0 * x, None
    for k, loss in enumerate(losses):
        g = loss.grad(x)
        square = np.sum(g * g)
        v = square if v is None else b2 * v + (1 - b2) * square
        m = b1 * m + g / (np.sqrt(v + eps_root) + eps) + weight_decay * x
        x = x - rate(learning_rate, k) * m
        yield x


LARS = {"learning_rate": halving, "weight_decay": 0.1, "trust_coefficient": 0.5, "eps": 0.01, "momentum": 0.7}
LAMB = {"learning_rate": 0.1, "b1": 0.8, "b2": 0.9, "eps": 1e-3, "eps_root": 1e-4, "weight_decay": 0.1}

PAGES = {
    "fromage": [
        (fromage, {"learning_rate": halving, "min_norm": 1e-6}),
        (fromage, {"learning_rate": 0.3, "min_norm": 3.0}),
    ],
    "lars": [(lars, {**LARS, "nesterov": ahead}) for ahead in (False, True)],
    "lamb": [(lamb, LAMB)],
    "novograd": [(novograd, {**LAMB, "learning_rate": halving})],
}

MUTANTS = {
    "fromage": {
        "does not shrink": ("shrink = 1 / jnp.sqrt(1 + eta**2)", "shrink = 1.0"),
        "step not shrunk": ("-eta * shrink * u", "-eta * u"),
        "ratio upside down": (
            "_ratio(jnp.maximum(_norm(required(x)), min_norm), jnp.maximum(_norm(g), min_norm))",
            "_ratio(jnp.maximum(_norm(g), min_norm), jnp.maximum(_norm(required(x)), min_norm))",
        ),
    },
    "lars": {
        "rate after the momentum": (
            "u = -at(learning_rate, t) * ratio * g\n        m = momentum * memory.trace + u\n"
            "        return momentum * m + u if nesterov else m,",
            "u = -ratio * g\n        m = momentum * memory.trace + u\n"
            "        return at(learning_rate, t) * (momentum * m + u if nesterov else m),",
        ),
        "decay after the ratio": (
            "ratio = _ratio(trust_coefficient * _norm(required(x)), _norm(g), eps)",
            "ratio = _ratio(trust_coefficient * _norm(required(x)), _norm(g - decay(weight_decay, t, x, decays)), eps)",
        ),
        "eps forgotten": ("_norm(g), eps)", "_norm(g))"),
        "nesterov forgotten": ("momentum * m + u if nesterov else m", "m"),
    },
    "lamb": {
        "decay after the ratio": (
            "_norm(d)) * d, memory",
            "_norm(d - decay(weight_decay, t, x, decays))) * d, memory",
        ),
        "ratio forgotten": ("_ratio(_norm(required(x)), _norm(d)) * d", "d"),
        "decay of the wrong sign": ("d = d + decay(", "d = d - decay("),
    },
    "novograd": {
        "starts at 0": (
            "jnp.where(t > 1, b2 * memory.nu + (1 - b2) * square, square)",
            "b2 * memory.nu + (1 - b2) * square",
        ),
        "momentum averages": (
            "+ g / (jnp.sqrt(nu + eps_root) + eps) +",
            "+ (1 - b1) * g / (jnp.sqrt(nu + eps_root) + eps) +",
        ),
        "norm for its square": ("square = jnp.sum(abs2(g))", "square = jnp.sqrt(jnp.sum(abs2(g)))"),
        "decay of the wrong sign": ("+ decay(", "- decay("),
    },
}
