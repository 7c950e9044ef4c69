"""Models: apply(params, x), for one example x or for many, one per column."""

from sandbox.models import linear, mlp

__all__ = ["linear", "mlp"]
