"""A fixed sequence of losses in NumPy, on which an optimizer and its page are followed side by side."""

from typing import Any, NamedTuple

import numpy as np


class Loss(NamedTuple):
    """f(x) = s Σ c² (1 − cos(x − o)): curved both ways, at least 0, and without a slope where c is 0."""

    s: float
    c: Any
    o: Any

    def value(self, x, xp=np):
        return self.s * xp.sum(self.c**2 * (1 - xp.cos(x - self.o)))

    def grad(self, x):
        return self.s * self.c**2 * np.sin(x - self.o)


def sequence(seed, shape=(3, 2), steps=15):
    """A start, and losses of scales 10^U(−3, 1); every third step has no slope along the first row."""
    rng = np.random.default_rng(seed)
    losses = [Loss(10 ** rng.uniform(-3, 1), rng.normal(size=shape), rng.normal(size=shape)) for _ in range(steps)]
    for loss in losses[2::3]:
        loss.c[0] = 0.0
    return rng.normal(size=shape), losses


def rate(learning_rate, k):
    """The learning rate of step k = 0, 1, …"""
    return learning_rate(k) if callable(learning_rate) else learning_rate


def halving(k):
    """A schedule."""
    return 0.2 * 0.5 ** (k / 4.0)
