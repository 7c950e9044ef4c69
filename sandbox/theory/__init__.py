"""What should happen: rates, bounds, and the estimate that is compared with them."""

from sandbox.theory.bounds import gradient_descent_bound, nesterov_bound, sgd_floor, sgd_variance
from sandbox.theory.estimate import Estimate, estimate
from sandbox.theory.rates import (
    Tuning,
    ema_momentum_cliff,
    ema_momentum_optimum,
    ema_momentum_rate,
    gradient_descent_cliff,
    gradient_descent_optimum,
    gradient_descent_rate,
    heavy_ball_cliff,
    heavy_ball_optimum,
    heavy_ball_rate,
    nesterov_cliff,
    nesterov_optimum,
    nesterov_rate,
    nesterov_standard,
)

__all__ = [
    "Estimate",
    "Tuning",
    "ema_momentum_cliff",
    "ema_momentum_optimum",
    "ema_momentum_rate",
    "estimate",
    "gradient_descent_bound",
    "gradient_descent_cliff",
    "gradient_descent_optimum",
    "gradient_descent_rate",
    "heavy_ball_cliff",
    "heavy_ball_optimum",
    "heavy_ball_rate",
    "nesterov_bound",
    "nesterov_cliff",
    "nesterov_optimum",
    "nesterov_rate",
    "nesterov_standard",
    "sgd_floor",
    "sgd_variance",
]
