"""One entry per optimizer: where it is from, and how it is tried."""

import difflib
import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax

from sandbox.optimizers import (
    adaptive,
    averaging,
    gradient,
    layerwise,
    matrix,
    memories,
    model_based,
    moments,
    parameter_free,
    schedules,
    second_order,
    sign,
    wrappers,
)
from sandbox.optimizers.base import Optimizer, chain
from sandbox.types import Params


class Entry(NamedTuple):
    """An optimizer and what is known about it."""

    factory: Callable[..., Optimizer]
    paper: str
    example: dict[str, Any]  # sane arguments for a first try
    variants: tuple[dict[str, Any], ...] = ()  # what parity must try beside drawn numbers and flipped switches
    ranges: Mapping[str, tuple[float, float]] = MappingProxyType(
        {}
    )  # where the numbers that only this method has may be drawn from
    needs: tuple[str, ...] = ()  # what update must be given beside the gradients (params, value, value_fn, …), and
    # of which kind: of single examples ("examples"), or complex to show anything ("complex")
    complex: bool = True  # whether parameters may be complex
    compiled: bool = False  # whether its updates hold loops or branches, which are slow unless they are compiled
    deviations: str = ""  # where it differs from its Optax twin on purpose


def names() -> list[str]:
    """Every optimizer, the simplest first."""
    return list(ENTRIES)


def find(name: str) -> Entry:
    """The entry of this name; a ValueError that suggests the nearest one where there is none."""
    if name in ENTRIES:
        return ENTRIES[name]
    near = difflib.get_close_matches(name, ENTRIES, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(ENTRIES)}"
    raise ValueError(f"there is no optimizer called {name!r}; {hint}")


GRADIENT = {
    "gradient_descent": Entry(gradient.gradient_descent, "Cauchy 1847", {"learning_rate": 0.1}),
    "heavy_ball": Entry(
        gradient.heavy_ball,
        "Polyak 1964",
        {"learning_rate": 0.1, "momentum": 0.9},
        variants=({"accumulator_dtype": "float32"},),
    ),
    "nesterov": Entry(
        gradient.nesterov,
        "Nesterov 1983; Sutskever et al. 2013",
        {"learning_rate": 0.1, "momentum": 0.9},
        variants=({"accumulator_dtype": "float32"},),
    ),
    "ema_momentum": Entry(
        gradient.ema_momentum, "the first moment of Kingma & Ba 2015", {"learning_rate": 0.1, "decay": 0.9}
    ),
    "sgd": Entry(
        gradient.sgd,
        "Robbins & Monro 1951",
        {"learning_rate": 0.1},
        variants=(
            {"momentum": 0.8},
            {"momentum": 0.8, "nesterov": True},
            {"momentum": 0.6, "accumulator_dtype": "float32"},
        ),
    ),
    "optimistic_gradient_descent": Entry(
        gradient.optimistic_gradient_descent,
        "Popov 1980; Mokhtari, Ozdaglar & Pattathil 2020",
        {"learning_rate": 0.1},
        ranges={"alpha": (0.4, 0.9), "beta": (0.2, 0.8)},
        deviations="alpha and beta may be schedules, as Optax's documentation says and its code does not allow",
    ),
    "polyak_sgd": Entry(
        gradient.polyak_sgd,
        "Polyak 1969; Loizou et al. 2021",
        {},
        variants=({"variant": "sps+", "f_min": 1000.0}, {"max_learning_rate": 100.0}),
        ranges={"max_learning_rate": (0.05, 2.0), "scaling": (0.2, 0.8), "f_min": (-50.0, -10.0)},
        needs=("value",),
        deviations="scales the step by s, which scales it by 1/s in Optax",
    ),
    "noisy_sgd": Entry(
        gradient.noisy_sgd,
        "Neelakantan et al. 2015",
        {"learning_rate": 0.1},
        variants=({"key": 3}, {"seed": 7}),
        ranges={"eta": (0.1, 1.0), "gamma": (0.3, 0.9)},
        deviations="no warning where key is left out or goes by its old name, seed",
    ),
    "dpsgd": Entry(
        gradient.dpsgd,
        "Abadi et al. 2016",
        {"learning_rate": 0.1, "l2_norm_clip": 1.0, "noise_multiplier": 0.5, "seed": 0},
        variants=({"momentum": 0.8}, {"momentum": 0.6, "nesterov": True, "l2_norm_clip": 1e4}, {"seed": 7}),
        ranges={"l2_norm_clip": (0.5, 5.0), "noise_multiplier": (0.2, 2.0)},
        needs=("examples",),
        deviations="no warning; refuses gradients that are not those of single examples of the params",
    ),
}

SIGN = {
    "sign_sgd": Entry(sign.sign_sgd, "Bernstein et al. 2018", {"learning_rate": 0.001}),
    "signum": Entry(
        sign.signum,
        "Bernstein et al. 2018",
        {"learning_rate": 0.001},
        variants=({"accumulator_dtype": "float32"},),
        ranges={"beta": (0.6, 0.85)},
    ),
    "lion": Entry(
        sign.lion,
        "Chen et al. 2023",
        {"learning_rate": 0.001},
        variants=({"mu_dtype": "float32"},),
        needs=("params",),
    ),
    "rprop": Entry(
        sign.rprop,
        "Riedmiller & Braun 1993; Igel & Hüsken 2003",
        {"learning_rate": 0.01},
        variants=({"min_step_size": 0.08, "max_step_size": 0.12, "learning_rate": 0.1},),
        ranges={
            "eta_minus": (0.3, 0.8),
            "eta_plus": (1.1, 1.5),
            "min_step_size": (0.005, 0.01),
            "max_step_size": (0.3, 0.6),
        },
        complex=False,
        deviations="compares signs, where the product of two tiny gradients is 0 in Optax",
    ),
}

ADAPTIVE = {
    "adagrad": Entry(
        adaptive.adagrad,
        "Duchi, Hazan & Singer 2011",
        {"learning_rate": 0.1},
        variants=({"initial_accumulator_value": 0.0},),
        ranges={"initial_accumulator_value": (0.3, 1.0)},
    ),
    "rmsprop": Entry(
        adaptive.rmsprop,
        "Tieleman & Hinton 2012; Graves 2013",
        {"learning_rate": 0.01},
        variants=(
            {"momentum": 0.6, "nesterov": True},
            {"momentum": 0.4, "centered": True, "initial_scale": 1.0},
            {"eps_in_sqrt": False, "bias_correction": True},
            {"centered": True, "bias_correction": True, "eps": 0.1},
        ),
        ranges={"initial_scale": (0.2, 1.0)},
        deviations="finite where rounding makes the centered variance negative and Optax gives NaN",
    ),
    "adadelta": Entry(
        adaptive.adadelta,
        "Zeiler 2012",
        {},
        ranges={"learning_rate": (0.3, 2.0), "rho": (0.6, 0.95)},
        needs=("params",),
        deviations="descends where the rate is left out",
    ),
    "madgrad": Entry(adaptive.madgrad, "Defazio & Jelassi 2022", {"learning_rate": 0.01}, needs=("params",)),
    "sm3": Entry(
        adaptive.sm3, "Anil et al. 2019", {"learning_rate": 0.1}, complex=False, deviations="takes 0-d parameters"
    ),
    "adafactor": Entry(
        adaptive.adafactor,
        "Shazeer & Stern 2018",
        {"learning_rate": 0.01},
        variants=(
            {"learning_rate": None, "clipping_threshold": None},
            {"momentum": 0.7, "dtype_momentum": "float64", "decay_offset": -2},
            {"min_dim_size_to_factor": 2, "weight_decay_rate": 0.05},
        ),
        ranges={"decay_rate": (0.4, 0.9), "clipping_threshold": (0.3, 0.8)},
        needs=("params",),
    ),
}

ROUNDED = "finite where half precision rounds eps to 0 or a decay rate to 1"

MOMENTS = {
    "adam": Entry(
        moments.adam,
        "Kingma & Ba 2015",
        {"learning_rate": 0.01},
        variants=({"mu_dtype": "float32"},),
        deviations=ROUNDED,
    ),
    "adamw": Entry(
        moments.adamw,
        "Loshchilov & Hutter 2019",
        {"learning_rate": 0.01, "weight_decay": 1e-2},
        variants=({"mu_dtype": "float32"},),
        needs=("params",),
        deviations=ROUNDED,
    ),
    "nadam": Entry(
        moments.nadam,
        "Dozat 2016",
        {"learning_rate": 0.01},
        variants=({"mu_dtype": "float32"},),
        deviations=ROUNDED,
    ),
    "nadamw": Entry(
        moments.nadamw,
        "Dozat 2016; Loshchilov & Hutter 2019",
        {"learning_rate": 0.01, "weight_decay": 1e-2},
        variants=({"mu_dtype": "float32"},),
        needs=("params",),
        deviations=ROUNDED,
    ),
    "adamax": Entry(moments.adamax, "Kingma & Ba 2015", {"learning_rate": 0.01}, deviations=ROUNDED),
    "adamaxw": Entry(
        moments.adamaxw,
        "Kingma & Ba 2015; Loshchilov & Hutter 2019",
        {"learning_rate": 0.01, "weight_decay": 1e-2},
        needs=("params",),
        deviations=ROUNDED,
    ),
    "amsgrad": Entry(
        moments.amsgrad,
        "Reddi, Kale & Kumar 2018",
        {"learning_rate": 0.01},
        variants=({"mu_dtype": "float32"}, {"bias_correction_mu": False}, {"bias_correction_nu": False}),
        deviations=ROUNDED,
    ),
    "radam": Entry(
        moments.radam,
        "Liu et al. 2020",
        {"learning_rate": 0.01},
        variants=({"b2": 0.97, "threshold": 4.5},),
        ranges={"threshold": (4.2, 4.9)},
        deviations=ROUNDED,
    ),
    "yogi": Entry(moments.yogi, "Zaheer et al. 2018", {"learning_rate": 0.01}),
    "adabelief": Entry(moments.adabelief, "Zhuang et al. 2020", {"learning_rate": 0.01}, deviations=ROUNDED),
}

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

LAYERWISE = {
    "fromage": Entry(
        layerwise.fromage,
        "Bernstein et al. 2020",
        {"learning_rate": 0.01},
        ranges={"min_norm": (0.1, 5.0)},
        needs=("params",),
    ),
    "lars": Entry(
        layerwise.lars,
        "You, Gitman & Ginsburg 2017",
        {"learning_rate": 1.0},
        ranges={"trust_coefficient": (0.01, 0.1)},
        needs=("params",),
    ),
    "lamb": Entry(layerwise.lamb, "You et al. 2020", {"learning_rate": 0.01}, needs=("params",)),
    "novograd": Entry(layerwise.novograd, "Ginsburg et al. 2019", {"learning_rate": 0.01}, needs=("params",)),
}

MEMORIES = {
    "acprop": Entry(
        memories.acprop,
        "Zhuang et al. 2021",
        {"learning_rate": 0.001},
        needs=("params",),
        deviations=ROUNDED,
    ),
    "adopt": Entry(
        memories.adopt,
        "Taniguchi et al. 2024",
        {"learning_rate": 0.01},
        variants=({"mu_dtype": "float32"}, {"clip_value_fn": lambda k: 0.3 + k**0.5}),
        deviations="takes complex parameters: the modulus is clipped",
    ),
    "optimistic_adam_v2": Entry(
        memories.optimistic_adam_v2,
        "Daskalakis et al. 2018",
        {"learning_rate": 0.01},
        variants=({"mu_dtype": "float32"},),
        ranges={"alpha": (0.4, 0.9), "beta": (0.2, 0.8)},
        deviations=ROUNDED,
    ),
    "optimistic_adam": Entry(
        memories.optimistic_adam,
        "Daskalakis et al. 2018",
        {"learning_rate": 0.01},
        variants=({"mu_dtype": "float32"},),
        ranges={"optimism": (0.02, 0.2)},
        deviations=ROUNDED,
    ),
    "ademamix": Entry(
        memories.ademamix,
        "Pagliardini et al. 2024",
        {"learning_rate": 0.01},
        variants=({"mu_dtype": "float64"},),
        ranges={"alpha": (2.0, 8.0)},
        needs=("params",),
        deviations="mu_dtype lasts beyond the first step; " + ROUNDED,
    ),
    "simplified_ademamix": Entry(
        memories.simplified_ademamix,
        "Morwani et al. 2025",
        {"learning_rate": 0.01},
        ranges={"alpha": (0.5, 3.0)},
        needs=("params",),
        deviations=ROUNDED,
    ),
    "adan": Entry(
        memories.adan,
        "Xie et al. 2024",
        {"learning_rate": 0.01},
        needs=("params",),
        deviations="weighs differences with β₂ as the paper does, where Optax has 1 − β₂; " + ROUNDED,
    ),
}


def _transposed(params: Params) -> Params:
    """Every matrix is taken for its transpose."""
    return jax.tree.map(lambda x: matrix.MatrixAxes(1, 0) if len(x.shape) == 2 else None, params)


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


def _uphill() -> Optimizer:
    """The climb of the paper on sharpness-aware minimization, ρ = 0.05, with a momentum that shows its state."""
    return chain(wrappers.normalize(), gradient.heavy_ball(0.05, 0.5))


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
        needs=("params", "complex"),
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
        deviations="with a sync_period of 1 the optimizer itself, where Optax starts a step late",
    ),
}

ENTRIES: dict[str, Entry] = {
    **GRADIENT,
    **SIGN,
    **ADAPTIVE,
    **MOMENTS,
    **AVERAGING,
    **LAYERWISE,
    **MEMORIES,
    **MATRIX,
    **PARAMETER_FREE,
    **MODEL_BASED,
    **SECOND_ORDER,
    **WRAPPERS,
}
