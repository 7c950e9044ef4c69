"""Many runs: axes, one function over all their points, and the best learning rate among them."""

from sandbox.sweeps.grid import sweep
from sandbox.sweeps.space import choice, halton, linear, log, random, sobol, static
from sandbox.sweeps.tune import Tuned, judge, tune

__all__ = [
    "Tuned",
    "choice",
    "halton",
    "judge",
    "linear",
    "log",
    "random",
    "sobol",
    "static",
    "sweep",
    "tune",
]
