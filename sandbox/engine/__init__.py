"""One run: the loop, its guard, its lanes, its checkpoints, and a certified optimum."""

from sandbox.engine.checkpoint import long_run
from sandbox.engine.loop import Info, Run, full_loss, loss_and_gradient_norm, run
from sandbox.engine.solve import Solution, solve

__all__ = ["Info", "Run", "Solution", "full_loss", "long_run", "loss_and_gradient_norm", "run", "solve"]
