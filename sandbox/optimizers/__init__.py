"""How it is minimised: (init, update) pairs, the simplest family first."""

from sandbox.optimizers import schedules
from sandbox.optimizers.adaptive import adagrad, rmsprop
from sandbox.optimizers.base import Optimizer, chain, eval_params, hyperparameters, leafwise, treewise
from sandbox.optimizers.catalogue import Entry, find, names
from sandbox.optimizers.followed import projected, proximal
from sandbox.optimizers.gradient import ema_momentum, gradient_descent, heavy_ball, nesterov, sgd
from sandbox.optimizers.moments import adam, adamw
from sandbox.optimizers.sign import lion

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
    "hyperparameters",
    "leafwise",
    "lion",
    "names",
    "nesterov",
    "projected",
    "proximal",
    "rmsprop",
    "schedules",
    "sgd",
    "treewise",
]
