"""Entries of the methods that look across leaves, average, estimate, or go around others."""

import functools

import jax

from sandbox.optimizers import (
    adaptive,
    averaging,
    gradient,
    layerwise,
    matrix,
    model_based,
    moments,
    parameter_free,
    schedules,
    second_order,
    wrappers,
)
from sandbox.optimizers.base import Optimizer, chain
from sandbox.optimizers.entry import Entry
from sandbox.types import Params


def _transposed(params: Params) -> Params:
    """Every matrix is taken for its transpose."""
    return jax.tree.map(lambda x: matrix.MatrixAxes(1, 0) if len(x.shape) == 2 else None, params)


def _uphill() -> Optimizer:
    """The climb of the paper on sharpness-aware minimization, ρ = 0.05, with a momentum that shows its state."""
    return chain(wrappers.normalize(), gradient.heavy_ball(0.05, 0.5))


SCHEDULE_FREE = "one count for both readings of a schedule, which Optax reads one step apart; finite at b1 = 0"

AVERAGING = {
    "lookahead": Entry(
        averaging.lookahead,
        "Zhang et al. 2019",
        {
            "fast_optimizer": functools.partial(gradient.heavy_ball, 0.1),
            "sync_period": 5,
            "slow_step_size": 0.5,
        },
        variants=(
            {"sync_period": 3, "reset_state": True},
            {"sync_period": 1, "fast_optimizer": functools.partial(moments.adam, 0.1)},
        ),
        ranges={"slow_step_size": (0.2, 0.9)},
        needs=("params",),
        deviations="params may be given alone, the slow ones are then in the state; a reset starts from the new point",
    ),
    "schedule_free": Entry(
        averaging.schedule_free,
        "Defazio et al. 2024",
        {"base_optimizer": functools.partial(gradient.gradient_descent, 0.1), "learning_rate": 0.1},
        variants=(
            {"base_optimizer": functools.partial(adaptive.rmsprop, 0.1)},
            {"learning_rate": schedules.linear(0.02, 0.3, 9)},
            {"state_dtype": "float32"},
        ),
        ranges={"weight_lr_power": (0.5, 3.0)},
        needs=("params",),
        deviations=SCHEDULE_FREE,
    ),
    "schedule_free_sgd": Entry(
        averaging.schedule_free_sgd,
        "Defazio et al. 2024",
        {"learning_rate": 0.1},
        variants=({"warmup_steps": 4}, {"warmup_steps": 30, "weight_decay": None}, {"state_dtype": "float32"}),
        ranges={"weight_decay": (0.02, 0.3), "weight_lr_power": (0.5, 3.0)},
        needs=("params",),
        deviations=SCHEDULE_FREE + "; a warm-up of 0 steps is none, where Optax stands still",
    ),
    "schedule_free_adamw": Entry(
        averaging.schedule_free_adamw,
        "Defazio et al. 2024",
        {"learning_rate": 0.01},
        variants=({"warmup_steps": 4}, {"warmup_steps": 30}, {"state_dtype": "float32"}),
        ranges={"weight_lr_power": (0.5, 3.0)},
        needs=("params",),
        deviations=SCHEDULE_FREE + "; a warm-up of 0 steps is none, where Optax stands still",
    ),
}

MATRIX = {
    "muon": Entry(
        matrix.muon,
        "Jordan et al. 2024",
        {"learning_rate": 0.01},
        variants=(
            {"preconditioning": "spectral", "ns_steps": 3},
            {"preconditioning": "aol", "ns_coeffs": "dion", "muon_weight_dimension_numbers": _transposed},
            {"preconditioning": "schatten", "mu_dtype": "float32", "consistent_rms": None},
        ),
        ranges={
            "learning_rate": (0.001, 0.01),  # adaptive steps are as long as ten thousand gradients
            "beta": (0.6, 0.85),
            "adam_b1": (0.6, 0.85),
            "adam_b2": (0.7, 0.95),
            "adam_eps_root": (1e-5, 1e-3),
            "adam_weight_decay": (0.02, 0.3),
            "adam_learning_rate": (0.01, 0.3),
            "consistent_rms": (0.1, 0.4),
        },
        needs=("params",),
        compiled=True,
        deviations='the preset ns_coeffs="muon" works; more coefficients than ns_steps are all used; '
        "an array without entries is no error; the modulus, not the square, in complex schatten",
    ),
    "galore": Entry(
        matrix.galore,
        "Zhao et al. 2024",
        {"learning_rate": 0.01},
        variants=(
            {"rank": 4, "update_proj_gap": 3},
            {"rank": 40, "update_proj_gap": 5, "weight_dimension_numbers": _transposed},
            {"rank": 16, "base_optimizer": functools.partial(gradient.heavy_ball, -1.0)},
        ),
        ranges={"scale": (0.3, 0.9)},
        needs=("params",),
        compiled=True,
        deviations="complex matrices are projected by the conjugate transpose; axes that count matrices are allowed",
    ),
}

SECOND_ORDER = {
    "sophia": Entry(
        second_order.sophia,
        "Liu et al. 2024",
        {"learning_rate": 0.01},
        variants=(
            {"update_interval": 3, "clip_threshold": None, "eps": 1.0, "mu_dtype": "float32"},
            {"verbose": True, "print_win_rate_every_n_steps": 1000},
            {"hessian_diagonal_fn": second_order.squared_gradients},
        ),
        ranges={"gamma": (0.05, 0.5), "clip_threshold": (0.3, 0.8)},
        needs=("params", "obj_fn"),
        compiled=True,
        complex=False,
    ),
    "lbfgs": Entry(
        second_order.lbfgs,
        "Liu & Nocedal 1989",
        {},
        variants=({"memory_size": 3, "linesearch": None, "scale_init_precond": True},),
        ranges={"learning_rate": (0.3, 0.9)},
        needs=("params", "value", "grad", "value_fn"),
        compiled=True,
    ),
}

PARAMETER_FREE = {
    "dog": Entry(
        parameter_free.dog,
        "Ivgi, Hinder & Carmon 2023",
        {},
        variants=(
            {"init_step": ("heuristic", 1e-3), "weight_decay": None},
            {"init_step": ("distance", 0.1)},
            {"init_step": ("learning_rate", 0.05)},
        ),
        ranges={"learning_rate": (1.0, 2.0), "weight_decay": (0.02, 0.3)},
        needs=("params",),
        deviations="half precision keeps its numbers in single, where r₀ is not lost and the squares do not overflow",
    ),
    "dowg": Entry(
        parameter_free.dowg,
        "Khaled, Mishchenko & Jin 2023",
        {},
        ranges={"learning_rate": (1.0, 2.0), "weight_decay": (0.02, 0.3), "init_estim_sq_dist": (1e-4, 0.01)},
        needs=("params",),
        deviations="half precision keeps its numbers in single, where the squares do not overflow",
    ),
    "cocob": Entry(
        parameter_free.cocob,
        "Orabona & Tommasi 2017",
        {},
        variants=({"eps": 0.5},),
        ranges={"alpha": (2.0, 20.0)},
        needs=("params",),
        deviations="learning_rate multiplies the step, where Optax gives it to a method that does not feel it; "
        "finite in half precision, where Optax loses ε; complex numbers count by their modulus",
    ),
    "dadapt_adamw": Entry(
        parameter_free.dadapt_adamw,
        "Defazio & Mishchenko 2023",
        {},
        variants=({"betas": (0.7, 0.9)}, {"betas": (0.6, 0.95), "weight_decay": 0.0}),
        ranges={"learning_rate": (3.0, 10.0), "estim_lr0": (1e-4, 0.01)},
        needs=("params",),
        deviations="finite where the first gradients are 0 and Optax divides 0 by 0, and in half precision; "
        "complex numbers count by their modulus",
    ),
    "prodigy": Entry(
        parameter_free.prodigy,
        "Mishchenko & Defazio 2024",
        {},
        variants=({"betas": (0.7, 0.9)}, {"betas": (0.6, 0.95), "safeguard_warmup": True, "eps": 0.1}),
        ranges={
            "learning_rate": (0.5, 1.5),
            "beta3": (0.6, 0.9),
            "estim_lr0": (1e-4, 0.01),
            "estim_lr_coef": (10.0, 50.0),
        },
        needs=("params",),
        deviations="finite where the first gradients are 0 and Optax divides 0 by 0, and in half precision; "
        "complex numbers count by their modulus",
    ),
    "mechanize": Entry(
        parameter_free.mechanize,
        "Cutkosky, Defazio & Mehta 2023",
        {"base_optimizer": functools.partial(gradient.gradient_descent, 0.1)},
        variants=({"num_betas": 3}, {"base_optimizer": functools.partial(moments.adam, 0.1), "weight_decay": 0.0}),
        ranges={"s_init": (0.001, 0.1)},
        needs=("params",),
        deviations="finite in half precision, where Optax loses ε",
    ),
}

MODEL_BASED = {
    "momo": Entry(
        model_based.momo,
        "Schaipp et al. 2024",
        {},
        variants=({"lower_bound": -2.0, "adapt_lower_bound": True}, {"lower_bound": 50.0, "learning_rate": 0.02}),
        ranges={"learning_rate": (0.5, 2.0), "beta": (0.4, 0.8), "lower_bound": (0.5, 5.0)},
        needs=("params", "value"),
        deviations="complex numbers count by their modulus",
    ),
    "momo_adam": Entry(
        model_based.momo_adam,
        "Schaipp et al. 2024",
        {},
        variants=({"lower_bound": -2.0, "adapt_lower_bound": True}, {"lower_bound": 50.0}),
        ranges={"learning_rate": (0.5, 2.0), "lower_bound": (0.5, 5.0)},
        needs=("params", "value"),
        deviations="complex numbers count by their modulus",
    ),
}

WRAPPERS = {
    "normalize": Entry(
        wrappers.normalize,
        "Hazan, Levy & Shalev-Shwartz 2015",
        {},
        deviations="0 where the gradient is 0 and Optax gives NaN",
    ),
    "reduce_on_plateau": Entry(
        wrappers.reduce_on_plateau,
        "no paper: a rule of practice",
        {},
        variants=(
            {"patience": 1, "accumulation_size": 2},
            {"patience": 1, "min_scale": 0.3, "atol": 8e3},
            {"patience": 2, "cooldown": 1},
        ),
        ranges={"factor": (0.3, 0.8), "rtol": (0.05, 0.3), "atol": (10.0, 100.0), "min_scale": (0.05, 0.2)},
        needs=("value",),
        compiled=True,
        deviations="counts in at least float32; takes complex parameters; with a patience of 0 it waits for no better "
        "value, where Optax waits for one",
    ),
    "split_real_and_imaginary": Entry(
        wrappers.split_real_and_imaginary,
        "no paper: ℂ as ℝ²",
        {"inner": functools.partial(moments.adam, 0.01)},
        variants=({"inner": functools.partial(layerwise.lars, 1.0)},),
        needs=("complex",),
        deviations="hands on extra arguments, those that hold parameters or take them in pairs",
    ),
    "sam": Entry(
        wrappers.sam,
        "Foret et al. 2021",
        {"optimizer": functools.partial(gradient.heavy_ball, 0.1), "adv_optimizer": _uphill},
        variants=(
            {"sync_period": 3, "batch_axis_name": "batch"},
            {"sync_period": 3, "reset_state": False},
            {"sync_period": 3, "opaque_mode": True},
            {"optimizer": functools.partial(moments.adamw, 0.1, weight_decay=0.5)},
        ),
        needs=("params", "grad_fn"),
        compiled=True,
        deviations="with a sync_period of 1 the optimizer itself, where Optax starts a step late",
    ),
}
