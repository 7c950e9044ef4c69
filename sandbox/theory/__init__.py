"""What should happen: rates, bounds, the estimate that is compared with them; convexity and calibration."""

from sandbox.theory.bounds import gradient_descent_bound, nesterov_bound, sgd_floor, sgd_variance
from sandbox.theory.calibration import Reliability, brier_score, calibration_error, reliability
from sandbox.theory.convexity import Bend, Chord, Convexity, check_convexity
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
    "Bend",
    "Chord",
    "Convexity",
    "Estimate",
    "Reliability",
    "Tuning",
    "brier_score",
    "calibration_error",
    "check_convexity",
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
    "reliability",
    "sgd_floor",
    "sgd_variance",
]
