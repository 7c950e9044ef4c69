"""Entries of the methods that treat every leaf by itself, the simplest family first."""

from sandbox.optimizers import adaptive, gradient, layerwise, memories, moments, sign
from sandbox.optimizers.entry import Entry

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
        deviations="descends where the rate is left out; of complex numbers it squares the modulus",
    ),
    "madgrad": Entry(
        adaptive.madgrad,
        "Defazio & Jelassi 2022",
        {"learning_rate": 0.01},
        needs=("params",),
        deviations="takes complex parameters",
    ),
    "sm3": Entry(
        adaptive.sm3,
        "Anil et al. 2019",
        {"learning_rate": 0.1},
        complex=False,
        deviations="takes 0-d and empty parameters",
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
        deviations="finite where half precision rounds eps to 0 or overflows in the squares of rows and columns",
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
