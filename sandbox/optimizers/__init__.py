"""How it is minimised: (init, update) pairs, the simplest family first."""

from sandbox.optimizers import schedules
from sandbox.optimizers.adaptive import adagrad, adam, adamw, lion, rmsprop
from sandbox.optimizers.base import Optimizer, chain, eval_params, leafwise, projected, proximal
from sandbox.optimizers.catalogue import Entry, find, names
from sandbox.optimizers.gradient import ema_momentum, gradient_descent, heavy_ball, nesterov, sgd

__all__ = [
    "Entry",
    "Optimizer",
    "adagrad",
    "adam",
    "adamw",
    "chain",
    "ema_momentum",
    "eval_params",
    "find",
    "gradient_descent",
    "heavy_ball",
    "leafwise",
    "lion",
    "names",
    "nesterov",
    "projected",
    "proximal",
    "rmsprop",
    "schedules",
    "sgd",
]
