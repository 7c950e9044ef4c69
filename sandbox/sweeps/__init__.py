"""Many runs: axes, and one function over all their points."""

from sandbox.sweeps.grid import sweep
from sandbox.sweeps.space import choice, halton, linear, log, random, sobol, static

__all__ = ["choice", "halton", "linear", "log", "random", "sobol", "static", "sweep"]
