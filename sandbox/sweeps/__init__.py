"""Many runs: axes, one function over all their points, and the best learning rate among them."""

from sandbox.sweeps.grid import sweep
from sandbox.sweeps.halving import Budget, halving, hyperband
from sandbox.sweeps.space import choice, halton, linear, log, random, sobol, static
from sandbox.sweeps.tune import Tuned, judge, tune

__all__ = [
    "Budget",
    "Tuned",
    "choice",
    "halton",
    "halving",
    "hyperband",
    "judge",
    "linear",
    "log",
    "random",
    "sobol",
    "static",
    "sweep",
    "tune",
]
