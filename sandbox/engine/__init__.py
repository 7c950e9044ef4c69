"""One run: the loop, its guard, its lanes, and a certified optimum."""

from sandbox.engine.loop import Info, Run, full_loss, loss_and_gradient_norm, run
from sandbox.engine.solve import Solution, solve

__all__ = ["Info", "Run", "Solution", "full_loss", "loss_and_gradient_norm", "run", "solve"]
