"""Models: apply(params, x), for one example x or for many, one per column."""

from sandbox.models import cnn, convolution, linear, mlp, multiclass, polynomial

__all__ = ["cnn", "convolution", "linear", "mlp", "multiclass", "polynomial"]
