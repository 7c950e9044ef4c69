"""MoMo in NumPy, with all of its history, and the mistakes that are easily made in it."""

import numpy as np

from oracles.losses import halving, rate


def momo(x, losses, learning_rate=1.0, beta=0.9, lower_bound=0.0, weight_decay=0.0, adapt_lower_bound=False, adam=None):
    """The model of f(y) is Σ wᵢ (f(xᵢ) + ⟨gᵢ, y − xᵢ⟩), over all steps so far; with adam = (β₂, ε), in its metric."""
    history, floor = [], lower_bound
    for k, loss in enumerate(losses):
        history.append((loss.value(x), loss.grad(x), x))
        ages = np.arange(k, -1, -1)
        w = beta**ages * np.where((ages == k) & (adam is None), 1.0, 1 - beta)
        model = lambda y, w=w: sum(w * [f + np.sum(g * (y - x)) for f, g, x in history])
        slope = sum(w_i * g for w_i, (_, g, _) in zip(w, history, strict=True))
        metric = 1.0
        if adam:
            v = sum(adam[0] ** age * (1 - adam[0]) * g**2 for age, (_, g, _) in zip(ages, history, strict=True))
            metric = np.sqrt(v / (1 - adam[0] ** (k + 1))) + adam[1]
        rho, eta = np.sum(w), rate(learning_rate, k)
        shrunk = x / (1 + eta * weight_decay)
        length = np.sum(slope**2 / metric)
        if adapt_lower_bound and model(shrunk) < rho * floor:
            floor = max(model(shrunk) / (2 * rho), lower_bound)
        room = (1 + eta * weight_decay) * (model(shrunk) - rho * floor)
        tau = min(eta / rho, max(room, 0.0) / length) if length > 2**-52 else 0.0
        if adapt_lower_bound:
            floor = max((model(x) - tau * length / 2) / rho, lower_bound)
        x = shrunk - tau * slope / metric
        yield x


def momo_adam(x, losses, learning_rate=1e-2, b1=0.9, b2=0.999, eps=1e-8, **arguments):
    return momo(x, losses, learning_rate, b1, adam=(b2, eps), **arguments)


PAGES = {
    "momo": [
        (momo, {"learning_rate": 0.3, "beta": 0.7}),
        (momo, {"learning_rate": halving, "lower_bound": 0.3, "weight_decay": 0.2}),
        (momo, {"learning_rate": 2.0, "lower_bound": -1.0, "weight_decay": 0.1, "adapt_lower_bound": True}),
    ],
    "momo_adam": [
        (momo_adam, {"learning_rate": 0.3, "b1": 0.7, "b2": 0.9}),
        (momo_adam, {"learning_rate": halving, "lower_bound": 0.3, "weight_decay": 0.2, "eps": 0.1}),
        (momo_adam, {"learning_rate": 2.0, "lower_bound": -1.0, "weight_decay": 0.1, "adapt_lower_bound": True}),
    ],
}

SHARED = {
    "decay that is not proximal": ("rate * weight_decay / shrink * x", "rate * weight_decay * x"),
    "model at x": ("c = shrink * height + slope", "c = height + slope"),
    "may go up": ("jnp.maximum(c - shrink * rho * lb, 0)", "(c - shrink * rho * lb)"),
    "bound of the whole step": ("tau * length / 2", "tau * length"),
    "no reset": ("c < shrink * rho * lb", "c < -1e9"),
}

MUTANTS = {
    "momo": {
        **SHARED,
        "starts from 0": ("jnp.where(t == 1, 0.0, beta)", "beta"),
        "no largest rate": ("jnp.minimum(rate / rho, reach)", "reach"),
        "stale product": ("average(memory.gamma, dot(g, x), b)", "dot(g, x)"),
    },
    "momo_adam": {
        **SHARED,
        "no bias correction of v": ("corrected(v, b2, t)", "v"),
        "no bias correction of d": ("1 - b1**t", "1.0"),
        "b1 and b2 swapped": (
            "b1, b2, eps = decay_rate(b1), decay_rate(b2)",
            "b1, b2, eps = decay_rate(b2), decay_rate(b1)",
        ),
    },
}
