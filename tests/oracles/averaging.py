"""Averaging methods in NumPy, every sequence written out, and the mistakes that are easily made in them."""

import functools

import numpy as np

from oracles.losses import halving, rate
from sandbox.optimizers import gradient_descent, heavy_ball


def lookahead(x, losses, fast_optimizer, sync_period, slow_step_size, reset_state=False):
    """Around heavy ball at a rate of 0.3 and a momentum of 0.7: two nested loops, as in the paper."""
    fast = slow = x
    m = 0 * x
    remaining = iter(losses)
    while True:
        for k in range(sync_period):
            loss = next(remaining, None)
            if loss is None:
                return
            m = 0.7 * m + loss.grad(fast)
            fast = fast - 0.3 * m
            if k < sync_period - 1:
                yield fast
        slow = slow + slow_step_size * (fast - slow)
        fast = slow
        m = 0 * m if reset_state else m
        yield fast


def averaged(start, losses, step, learning_rate, b1, power):
    """The pairs (y, x) of a schedule-free method whose z moves by step(η, gradient, y, t)."""
    x = y = z = start
    largest, weights = 0.0, [0.0]
    for k, loss in enumerate(losses):
        eta = rate(learning_rate, k)
        largest = max(largest, eta)
        weights.append(largest**power)
        c = weights[-1] / sum(weights) if sum(weights) else 0.0
        z = z + step(eta, loss.grad(y), y, k + 1)
        x = (1 - c) * x + c * z
        y = (1 - b1) * z + b1 * x
        yield y, x


def sgd_step(eta, g, y, t, weight_decay=0.0):
    return -eta * (g + weight_decay * y)


def adamw_step(b2, eps, weight_decay):
    v = [0.0]

    def step(eta, g, y, t):
        v[0] = b2 * v[0] + (1 - b2) * g**2
        return -eta * (g / (np.sqrt(v[0] / (1 - b2**t)) + eps) + weight_decay * y)

    return step


def warmed(learning_rate, warmup_steps):
    """Exact at powers of two only: schedules divide in single precision, as Optax does."""
    return lambda k: learning_rate * min(1.0, k / warmup_steps) if warmup_steps else learning_rate


def schedule_free(x, losses, base_optimizer, learning_rate, b1=0.9, weight_lr_power=2.0):
    """Around gradient descent at the same rate."""
    return averaged(x, losses, sgd_step, learning_rate, b1, weight_lr_power)


def schedule_free_sgd(x, losses, learning_rate, warmup_steps, b1=0.9, weight_decay=0.0, weight_lr_power=2.0):
    step = functools.partial(sgd_step, weight_decay=weight_decay)
    return averaged(x, losses, step, warmed(learning_rate, warmup_steps), b1, weight_lr_power)


def schedule_free_adamw(
    x, losses, learning_rate, warmup_steps, b1, b2, eps=1e-8, weight_decay=0.0, weight_lr_power=2.0
):
    step = adamw_step(b2, eps, weight_decay)
    return averaged(x, losses, step, warmed(learning_rate, warmup_steps), b1, weight_lr_power)


def where_gradients_are(pairs):
    """y alone: the params."""
    return lambda *args, **kwargs: (y for y, _ in pairs(*args, **kwargs))


FAST = functools.partial(heavy_ball, 0.3, 0.7)
BASE = functools.partial(gradient_descent, halving)
AVERAGES = {  # name: [(its pairs of y and x, arguments), …]
    "schedule_free": [
        (schedule_free, {"base_optimizer": BASE, "learning_rate": halving, "b1": 0.8, "weight_lr_power": 1.5}),
        (schedule_free, {"base_optimizer": BASE, "learning_rate": halving, "b1": 0.0}),
    ],
    "schedule_free_sgd": [
        (schedule_free_sgd, {"learning_rate": 0.25, "warmup_steps": 4, "b1": 0.7, "weight_decay": 0.1}),
        (schedule_free_sgd, {"learning_rate": 0.3, "warmup_steps": 0, "weight_lr_power": 0.0}),
    ],
    "schedule_free_adamw": [
        (
            schedule_free_adamw,
            {"learning_rate": 0.125, "warmup_steps": 4, "b1": 0.8, "b2": 0.9, "eps": 0.01, "weight_decay": 0.2},
        ),
        (schedule_free_adamw, {"learning_rate": 0.125, "warmup_steps": 32, "b1": 0.0, "b2": 0.99}),
    ],
}

PAGES = {
    "lookahead": [
        (lookahead, {"fast_optimizer": FAST, "sync_period": 4, "slow_step_size": 0.4}),
        (lookahead, {"fast_optimizer": FAST, "sync_period": 3, "slow_step_size": 0.7, "reset_state": True}),
        (lookahead, {"fast_optimizer": FAST, "sync_period": 1, "slow_step_size": 1.5}),
    ],
    **{name: [(where_gradients_are(pairs), kw) for pairs, kw in cases] for name, cases in AVERAGES.items()},
}

AVERAGING = {  # mistakes in what all three schedule-free methods share
    "every z counts the same": ("weight = max_lr**weight_lr_power", "weight = jnp.ones(())"),
    "weighs by this rate, not by the largest": (
        "weight = max_lr**weight_lr_power",
        "weight = at(learning_rate, t) ** weight_lr_power",
    ),
    "weight of the last step forgotten": ("jnp.where(weight_sum == 0, 1, weight_sum)", "(state.weight_sum + 1e-30)"),
    "the z of before": ("c * (b * z - b_x)", "c * (b * old_z - b_x)"),
    "z and x swapped": ("b_x = y - (1 - b) * old_z", "b_x = y - b * old_z"),
    "a schedule read one step late": ("at(learning_rate, t)).astype", "at(learning_rate, t + 1)).astype"),
}

MUTANTS = {
    "lookahead": {
        "α and 1 − α swapped": ("u - (1 - slow_step_size) * d", "u - slow_step_size * d"),
        "meets a step late": ("meet = t == sync_period", "meet = state.steps_since_sync == sync_period"),
        "meets once": ("Lookahead(fast_state, t % sync_period, tree", "Lookahead(fast_state, t, tree"),
        "never resets": ("if reset_state:", "if False:"),
        "always resets": ("if reset_state:", "if True:"),
        "the last step forgotten": ("widen(x) + u - s, fast", "widen(x) - s, fast"),
        "slow stays": ("tree.add(slow, slow_u))", "slow)"),
    },
    "schedule_free": AVERAGING,
    "schedule_free_sgd": {
        "decay forgotten": ("(g + shrinkage * y)", "g"),
        "decay without the rate": ("-at(rate, t) * (g + shrinkage * y)", "-at(rate, t) * g - shrinkage * y"),
        "decay grows": ("(g + shrinkage * y)", "(g - shrinkage * y)"),
        "warm-up of the step alone": ("update), rate, b1,", "update), learning_rate, b1,"),
        "warm-up a step ahead": ("-at(rate, t)", "-at(rate, t + 1)"),
        **{mistake: AVERAGING[mistake] for mistake in ("the z of before", "z and x swapped")},
    },
    "schedule_free_adamw": {
        "no bias correction": ("corrected(nu, b2, t)", "nu"),
        "weights swapped": ("abs2(g), b2)", "abs2(g), 1 - b2)"),
        "eps inside the root": ("(jnp.sqrt(corrected(nu, b2, t)) + eps)", "jnp.sqrt(corrected(nu, b2, t) + eps)"),
        "decay forgotten": ("(d + weight_decay * y)", "d"),
        "decay before the scaling": ("d = g / (", "d = (g + weight_decay * y) / ("),
        "stale second moment": ("corrected(nu, b2, t)", "corrected(memory.nu, b2, t)"),
        "warm-up of the weights alone": ("-at(rate, t)", "-learning_rate"),
    },
}
