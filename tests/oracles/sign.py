"""Methods that follow the sign of the gradient in NumPy, and the mistakes that are easily made in them."""

import numpy as np

from oracles.losses import halving, rate


def sign_sgd(x, losses, learning_rate):
    for k, loss in enumerate(losses):
        x = x - rate(learning_rate, k) * np.sign(loss.grad(x))
        yield x


def signum(x, losses, learning_rate, beta):
    m = 0 * x
    for k, loss in enumerate(losses):
        m = beta * m + (1 - beta) * loss.grad(x)
        x = x - rate(learning_rate, k) * np.sign(m)
        yield x


def lion(x, losses, learning_rate, b1, b2, weight_decay):
    m = 0 * x
    for k, loss in enumerate(losses):
        g = loss.grad(x)
        d = np.sign(b1 * m + (1 - b1) * g)
        m = b2 * m + (1 - b2) * g
        x = x - rate(learning_rate, k) * (d + rate(weight_decay, k) * x)
        yield x


def rprop(x, losses, learning_rate, eta_minus, eta_plus, min_step_size, max_step_size):
    steps, before, late = np.full(x.size, learning_rate), np.zeros(x.size), np.zeros(x.size)
    for loss in losses:
        x, g = x.copy(), loss.grad(x).ravel()
        for i in range(x.size):
            if g[i] * before[i] > 0:
                steps[i] = min(steps[i] * eta_plus, max_step_size)
            elif g[i] * before[i] < 0:
                steps[i] = max(steps[i] * eta_minus, min_step_size)
                g[i] = late[i] = 0.0
            x.flat[i] -= late[i]
            late[i] = steps[i] * np.sign(g[i])
            before[i] = g[i]
        yield x


RPROP = {"learning_rate": 0.1, "eta_minus": 0.4, "eta_plus": 1.5}
PAGES = {  # name: [(page, arguments), …]
    "sign_sgd": [(sign_sgd, {"learning_rate": halving})],
    "signum": [(signum, {"learning_rate": halving, "beta": 0.7}), (signum, {"learning_rate": 0.1, "beta": 0.0})],
    "lion": [
        (lion, {"learning_rate": halving, "b1": 0.7, "b2": 0.9, "weight_decay": 0.2}),
        (lion, {"learning_rate": 0.1, "b1": 0.9, "b2": 0.6, "weight_decay": halving}),
    ],
    "rprop": [
        (rprop, {"min_step_size": 0.02, "max_step_size": 0.3, **RPROP}),
        (rprop, {"min_step_size": 1e-6, "max_step_size": 50.0, **RPROP}),
    ],
}

MUTANTS = {  # name: {mistake: (right, wrong)}
    "sign_sgd": {
        "no sign": ("jnp.sign(g)", "g"),
        "never 0": ("jnp.sign(g)", "jnp.where(g >= 0, 1, -1)"),
        "schedule read one step late": ("at(learning_rate, t)", "at(learning_rate, t + 1)"),
        "one sign for all": ("jnp.sign(g)", "jnp.sign(jnp.sum(g))"),
    },
    "signum": {
        "no momentum": ("jnp.sign(m)", "jnp.sign(g)"),
        "stale momentum": ("jnp.sign(m)", "jnp.sign(memory.ema)"),
        "sign before momentum": ("(1 - beta) * g", "(1 - beta) * jnp.sign(g)"),
        "weights swapped": ("beta * memory.ema + (1 - beta) * g", "(1 - beta) * memory.ema + beta * g"),
    },
    "lion": {
        "betas swapped": ("b1, b2 = decay_rate(b1), decay_rate(b2)", "b2, b1 = decay_rate(b1), decay_rate(b2)"),
        "sign of the momentum": ("jnp.sign(b1 * memory.mu + (1 - b1) * g)", "jnp.sign(b2 * memory.mu + (1 - b2) * g)"),
        "no sign": ("jnp.sign(b1 * memory.mu + (1 - b1) * g)", "(b1 * memory.mu + (1 - b1) * g)"),
        "decays without the rate": (
            "at(learning_rate, t) * (d + decay(weight_decay, t, x, decays))",
            "at(learning_rate, t) * d - decay(weight_decay, t, x, decays)",
        ),
        "grows": ("(d + decay(", "(d - decay("),
        "remembers the direction": ("(1 - b2) * g", "(1 - b2) * d"),
        "mask forgotten": ("masks=(mask,)", "masks=(None,)"),
    },
    "rprop": {
        "goes on after a turn": ("-jnp.where(turn < 0, 0, memory.prev_updates)", "-memory.prev_updates"),
        "at once": ("-jnp.where(turn < 0, 0, memory.prev_updates)", "-step"),
        "remembers the turn": ("Steps(s, step)", "Steps(s, s * jnp.sign(g))"),
        "factors swapped": ("turn > 0, eta_plus, eta_minus", "turn > 0, eta_minus, eta_plus"),
        "grows after a 0": ("jnp.where(turn == 0, memory.step_sizes, jnp.clip(s,", "(jnp.clip(s,"),
        "no smallest step": ("min_step_size, max_step_size))\n        step", "0, max_step_size))\n        step"),
        "no largest step": ("min_step_size, max_step_size))\n        step", "min_step_size, 50.0))\n        step"),
        "step size one step late": ("jnp.where(turn < 0, 0, s *", "jnp.where(turn < 0, 0, memory.step_sizes *"),
    },
}  # fmt: skip
