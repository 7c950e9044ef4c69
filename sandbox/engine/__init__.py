"""One run: the loop, its guard, its lanes, and a certified optimum."""

from sandbox.engine.loop import Info, Run, full_loss, loss_and_gradient_norm, run

__all__ = ["Info", "Run", "full_loss", "loss_and_gradient_norm", "run"]
