"""Sophia and L-BFGS in NumPy, and the mistakes that are easily made in them."""

import numpy as np

from oracles.losses import halving, rate


def sophia(
    x, losses, learning_rate, b1=0.965, b2=0.99, eps=1e-8, weight_decay=1e-4, gamma=0.01, clip=1.0, update_interval=10
):
    """The Hessian of these losses is diagonal, so that its estimate is exact, whatever the signs."""
    m, h = 0 * x, 0 * x
    for k, loss in enumerate(losses):
        m = b1 * m + (1 - b1) * loss.grad(x)
        u = np.clip(m / (1 - b1 ** (k + 1)) / np.maximum(gamma * h, eps), -clip, clip)
        if k % update_interval == 0:
            h = b2 * h + (1 - b2) * loss.s * loss.c**2 * np.cos(x - loss.o)
        x = x - rate(learning_rate, k) * (u + weight_decay * x)
        yield x


def lbfgs(x, losses, learning_rate, memory_size=10, scale_init_precond=True, linesearch=None):
    """The two-loop recursion."""
    pairs, old = [], None
    for k, loss in enumerate(losses):
        g = loss.grad(x)
        gamma = min(1.0, 1 / np.linalg.norm(g))
        if old:
            s, y = x - old[0], g - old[1]
            pairs = [*pairs, (s, y, 1 / np.sum(s * y))][-memory_size:]
            gamma = np.sum(s * y) / np.sum(y * y)
        old, q, alphas = (x, g), g, []
        for s, y, rho in reversed(pairs):
            alphas.append(rho * np.sum(s * q))
            q = q - alphas[-1] * y
        r = gamma * q if scale_init_precond else q
        for s, y, rho in pairs:
            r = r + (alphas.pop() - rho * np.sum(y * r)) * s
        x = x - rate(learning_rate, k) * r
        yield x


PAGES = {
    "sophia": [
        (
            lambda *a, clip_threshold, **kw: sophia(*a, clip=clip_threshold, **kw),
            {"learning_rate": halving, "clip_threshold": 0.5, "gamma": 0.2, "weight_decay": 0.1, "update_interval": 3},
        ),
        (sophia, {"learning_rate": 0.1, "b1": 0.8, "b2": 0.7, "eps": 0.01, "update_interval": 1}),
    ],
    "lbfgs": [
        (lbfgs, {"learning_rate": 0.1, "memory_size": 3, "linesearch": None}),
        (lbfgs, {"learning_rate": halving, "scale_init_precond": False, "linesearch": None}),
    ],
}

MUTANTS = {
    "sophia": {
        "start not corrected": ("corrected(m, b1, t)", "m"),
        "curvature not scaled": ("gamma * h", "h"),
        "the smaller denominator": ("jnp.maximum(gamma * h, eps)", "jnp.minimum(gamma * h, eps)"),
        "curvature a step late": ("(t - 1) % update_interval", "t % update_interval"),
        "betas swapped": ("b2 * h + (1 - b2) * d", "b1 * h + (1 - b1) * d"),
        "decays uphill": ("(u + decay(", "(u - decay("),
        "clipped on one side": ("jnp.clip(u, -clip_threshold, clip_threshold)", "jnp.minimum(u, clip_threshold)"),
    },
    "lbfgs": {
        "oldest pair first": ("reverse=True", "reverse=False"),
        "gamma upside down": ("_ratio(sy, yy, 1.0)", "_ratio(yy, sy, 1.0)"),
        "first step not capped": ("1 / jnp.maximum(tree.norm(g), 1)", "1.0"),
        "pair in the wrong slot": ("(t - 2) % memory_size", "(t // 2) % memory_size"),
        "s for y": ("alpha - rho[k] * _real_dot(y, r)", "alpha - rho[k] * _real_dot(s, r)"),
        "ascends": ("-1.0 if learning_rate is None else -at", "-1.0 if learning_rate is None else at"),
    },
}
