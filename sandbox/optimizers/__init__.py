"""How it is minimised: (init, update) pairs, the simplest family first."""

from sandbox.optimizers import schedules
from sandbox.optimizers.adaptive import adagrad, rmsprop
from sandbox.optimizers.base import Optimizer, chain, eval_params, hyperparameters, leafwise, treewise
from sandbox.optimizers.catalogue import Entry, find, names
from sandbox.optimizers.followed import projected, proximal
from sandbox.optimizers.gradient import ema_momentum, gradient_descent, heavy_ball, nesterov, sgd
from sandbox.optimizers.line_search import backtracking, zoom
from sandbox.optimizers.matrix import MatrixAxes, galore, muon
from sandbox.optimizers.memories import (
    acprop,
    adan,
    ademamix,
    adopt,
    optimistic_adam,
    optimistic_adam_v2,
    simplified_ademamix,
)
from sandbox.optimizers.moments import adabelief, adam, adamax, adamaxw, adamw, amsgrad, nadam, nadamw, radam, yogi
from sandbox.optimizers.second_order import hutchinson_estimator_diag_hessian, lbfgs, sophia, squared_gradients
from sandbox.optimizers.sign import lion

__all__ = [
    "Entry",
    "MatrixAxes",
    "Optimizer",
    "acprop",
    "adabelief",
    "adagrad",
    "adam",
    "adamax",
    "adamaxw",
    "adamw",
    "adan",
    "ademamix",
    "adopt",
    "amsgrad",
    "backtracking",
    "chain",
    "ema_momentum",
    "eval_params",
    "find",
    "galore",
    "gradient_descent",
    "heavy_ball",
    "hutchinson_estimator_diag_hessian",
    "hyperparameters",
    "lbfgs",
    "leafwise",
    "lion",
    "muon",
    "nadam",
    "nadamw",
    "names",
    "nesterov",
    "optimistic_adam",
    "optimistic_adam_v2",
    "projected",
    "proximal",
    "radam",
    "rmsprop",
    "schedules",
    "sgd",
    "simplified_ademamix",
    "sophia",
    "squared_gradients",
    "treewise",
    "yogi",
    "zoom",
]
