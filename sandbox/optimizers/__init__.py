"""How it is minimised: (init, update) pairs, the simplest family first."""

from sandbox.optimizers import schedules
from sandbox.optimizers.adaptive import adadelta, adafactor, adagrad, madgrad, rmsprop, sm3
from sandbox.optimizers.averaging import (
    LookaheadParams,
    eval_params,
    lookahead,
    schedule_free,
    schedule_free_adamw,
    schedule_free_sgd,
)
from sandbox.optimizers.base import Optimizer, chain, hyperparameters, leafwise, treewise
from sandbox.optimizers.catalogue import Entry, find, names
from sandbox.optimizers.followed import projected, proximal
from sandbox.optimizers.gradient import (
    differentially_private_aggregate,
    dpsgd,
    ema_momentum,
    gradient_descent,
    heavy_ball,
    nesterov,
    noisy_sgd,
    optimistic_gradient_descent,
    polyak_sgd,
    sgd,
)
from sandbox.optimizers.layerwise import fromage, lamb, lars, novograd
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
from sandbox.optimizers.model_based import momo, momo_adam
from sandbox.optimizers.moments import adabelief, adam, adamax, adamaxw, adamw, amsgrad, nadam, nadamw, radam, yogi
from sandbox.optimizers.parameter_free import cocob, dadapt_adamw, dog, dowg, mechanize, prodigy
from sandbox.optimizers.second_order import hutchinson_estimator_diag_hessian, lbfgs, sophia, squared_gradients
from sandbox.optimizers.sign import lion, rprop, sign_sgd, signum
from sandbox.optimizers.wrappers import normalize, reduce_on_plateau, sam, split_real_and_imaginary

__all__ = [
    "Entry",
    "LookaheadParams",
    "MatrixAxes",
    "Optimizer",
    "acprop",
    "adabelief",
    "adadelta",
    "adafactor",
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
    "cocob",
    "dadapt_adamw",
    "differentially_private_aggregate",
    "dog",
    "dowg",
    "dpsgd",
    "ema_momentum",
    "eval_params",
    "find",
    "fromage",
    "galore",
    "gradient_descent",
    "heavy_ball",
    "hutchinson_estimator_diag_hessian",
    "hyperparameters",
    "lamb",
    "lars",
    "lbfgs",
    "leafwise",
    "lion",
    "lookahead",
    "madgrad",
    "mechanize",
    "momo",
    "momo_adam",
    "muon",
    "nadam",
    "nadamw",
    "names",
    "nesterov",
    "noisy_sgd",
    "normalize",
    "novograd",
    "optimistic_adam",
    "optimistic_adam_v2",
    "optimistic_gradient_descent",
    "polyak_sgd",
    "prodigy",
    "projected",
    "proximal",
    "radam",
    "reduce_on_plateau",
    "rmsprop",
    "rprop",
    "sam",
    "schedule_free",
    "schedule_free_adamw",
    "schedule_free_sgd",
    "schedules",
    "sgd",
    "sign_sgd",
    "signum",
    "simplified_ademamix",
    "sm3",
    "sophia",
    "split_real_and_imaginary",
    "squared_gradients",
    "treewise",
    "yogi",
    "zoom",
]
