"""One entry per optimizer: where it is from, and how it is tried."""

import difflib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from sandbox.optimizers import adaptive, gradient, moments, sign
from sandbox.optimizers.base import Optimizer


class Entry(NamedTuple):
    """An optimizer and what is known about it."""

    factory: Callable[..., Optimizer]
    paper: str
    example: dict[str, Any]  # sane arguments for a first try
    variants: tuple[dict[str, Any], ...] = ()  # what parity must try beside drawn numbers and flipped switches
    ranges: Mapping[str, tuple[float, float]] = MappingProxyType(
        {}
    )  # where the numbers that only this method has may be drawn from
    needs: tuple[str, ...] = ()  # what update must be given beside the gradients: params, value, value_fn, …
    complex: bool = True  # whether parameters may be complex
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
}

SIGN = {
    "lion": Entry(
        sign.lion,
        "Chen et al. 2023",
        {"learning_rate": 0.001},
        variants=({"mu_dtype": "float32"},),
        needs=("params",),
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
}

MOMENTS = {
    "adam": Entry(
        moments.adam,
        "Kingma & Ba 2015",
        {"learning_rate": 0.01},
        variants=({"mu_dtype": "float32"},),
        deviations="finite where half precision rounds eps to 0 or a decay rate to 1",
    ),
    "adamw": Entry(
        moments.adamw,
        "Loshchilov & Hutter 2019",
        {"learning_rate": 0.01, "weight_decay": 1e-2},
        variants=({"mu_dtype": "float32"},),
        needs=("params",),
        deviations="finite where half precision rounds eps to 0 or a decay rate to 1",
    ),
}

ENTRIES: dict[str, Entry] = {**GRADIENT, **SIGN, **ADAPTIVE, **MOMENTS}
