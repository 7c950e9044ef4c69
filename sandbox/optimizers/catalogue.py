"""One entry per optimizer: what it is called, where it is from, and what it is compared with."""

import difflib
from collections.abc import Callable
from typing import Any, NamedTuple

from sandbox.optimizers import adaptive, gradient, schedules
from sandbox.optimizers.base import Optimizer


class Entry(NamedTuple):
    """An optimizer and what is known about it."""

    factory: Callable[..., Optimizer]
    twin: Callable[..., Any]  # the same keyword arguments → the Optax transformation that must agree
    twin_name: str
    paper: str
    example: dict[str, Any]  # sane arguments for a first try
    settings: tuple[dict[str, Any], ...]  # arguments for parity: every one away from its default somewhere
    needs: tuple[str, ...] = ()  # what update must be given beside the gradients
    deviations: str = ""  # where it differs from its twin on purpose


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


def _optax(name: str, **fixed: Any) -> Callable[..., Any]:
    """The Optax factory of this name, imported when it is called."""

    def twin(*args: Any, **kwargs: Any) -> Any:
        import optax

        return getattr(optax, name)(*args, **kwargs, **fixed)

    return twin


def _optax_momentum(nesterov: bool) -> Callable[..., Any]:
    return lambda learning_rate, momentum=0.9, accumulator_dtype=None: _optax("sgd")(
        learning_rate, momentum, nesterov, accumulator_dtype
    )


def _optax_ema(learning_rate: Any, decay: Any = 0.9) -> Any:
    import optax

    return optax.chain(optax.ema(decay, debias=False), optax.scale_by_learning_rate(learning_rate))


def _weights_and_not_biases(params: Any) -> Any:
    """A mask: matrices decay, vectors and numbers do not."""
    import jax

    return jax.tree.map(lambda x: x.ndim > 1, params)


RATE = {"learning_rate": 0.1}
COSINE = {"learning_rate": schedules.cosine_decay(0.3, 9, 0.1, 0.7)}
LINEAR = {"learning_rate": schedules.warmup_cosine_decay(0.01, 0.2, 4, 10, 0.02)}
DECAYING = {"weight_decay": 0.07, "mask": _weights_and_not_biases}
MOMENTUM = ({**RATE, "momentum": 0.7}, {**COSINE, "momentum": 0.95, "accumulator_dtype": "float32"})
ADAM = {"b1": 0.8, "b2": 0.95, "eps": 1e-3, "eps_root": 1e-4}

ENTRIES: dict[str, Entry] = {
    "gradient_descent": Entry(
        factory=gradient.gradient_descent,
        twin=_optax("sgd"),
        twin_name="sgd",
        paper="Cauchy 1847",
        example=RATE,
        settings=(RATE, COSINE, LINEAR),
    ),
    "heavy_ball": Entry(
        factory=gradient.heavy_ball,
        twin=_optax_momentum(nesterov=False),
        twin_name="sgd(momentum)",
        paper="Polyak 1964",
        example={"learning_rate": 0.1, "momentum": 0.9},
        settings=({**RATE}, *MOMENTUM),
    ),
    "nesterov": Entry(
        factory=gradient.nesterov,
        twin=_optax_momentum(nesterov=True),
        twin_name="sgd(momentum, nesterov)",
        paper="Nesterov 1983; Sutskever et al. 2013",
        example={"learning_rate": 0.1, "momentum": 0.9},
        settings=({**RATE}, *MOMENTUM),
    ),
    "ema_momentum": Entry(
        factory=gradient.ema_momentum,
        twin=_optax_ema,
        twin_name="ema, scaled",
        paper="the first moment of Kingma & Ba 2015",
        example={"learning_rate": 0.1, "decay": 0.9},
        settings=(RATE, {**RATE, "decay": 0.6}, {**COSINE, "decay": 0.98}),
    ),
    "sgd": Entry(
        factory=gradient.sgd,
        twin=_optax("sgd"),
        twin_name="sgd",
        paper="Robbins & Monro 1951",
        example=RATE,
        settings=(
            RATE,
            {**LINEAR, "nesterov": True},
            {**RATE, "momentum": 0.8},
            {**COSINE, "momentum": 0.8, "nesterov": True},
            {**RATE, "momentum": 0.6, "nesterov": True, "accumulator_dtype": "float32"},
        ),
    ),
    "adagrad": Entry(
        factory=adaptive.adagrad,
        twin=_optax("adagrad"),
        twin_name="adagrad",
        paper="Duchi, Hazan & Singer 2011",
        example={"learning_rate": 0.1},
        settings=(
            RATE,
            {**COSINE, "initial_accumulator_value": 0.0, "eps": 1e-2},
            {**LINEAR, "initial_accumulator_value": 0.7, "eps": 1e-4},
        ),
    ),
    "rmsprop": Entry(
        factory=adaptive.rmsprop,
        twin=_optax("rmsprop"),
        twin_name="rmsprop",
        paper="Tieleman & Hinton 2012; Graves 2013",
        example={"learning_rate": 0.01},
        settings=(
            RATE,
            {**COSINE, "decay": 0.7, "eps": 1e-3, "initial_scale": 0.5, "momentum": 0.6},
            {**LINEAR, "decay": 0.8, "eps": 1e-2, "eps_in_sqrt": False, "momentum": 0.6, "nesterov": True},
            {**RATE, "decay": 0.7, "eps": 1e-3, "centered": True, "initial_scale": 1.0, "momentum": 0.4},
            {**RATE, "decay": 0.7, "eps": 1e-2, "eps_in_sqrt": False, "bias_correction": True},
            {**COSINE, "decay": 0.6, "eps": 1e-1, "centered": True, "bias_correction": True, "initial_scale": 0.3},
            {**RATE, "decay": 0.6, "eps": 1e-1, "centered": True, "eps_in_sqrt": False, "initial_scale": 0.3},
        ),
        deviations="finite where rounding makes the centered variance negative and Optax gives NaN",
    ),
    "adam": Entry(
        factory=adaptive.adam,
        twin=_optax("adam"),
        twin_name="adam",
        paper="Kingma & Ba 2015",
        example={"learning_rate": 0.01},
        settings=(
            RATE,
            {**COSINE, **ADAM},
            {**LINEAR, **ADAM, "nesterov": True},
            {**RATE, **ADAM, "mu_dtype": "float32"},
        ),
        deviations="finite where half precision rounds eps to 0 or a decay rate to 1",
    ),
    "adamw": Entry(
        factory=adaptive.adamw,
        twin=_optax("adamw"),
        twin_name="adamw",
        paper="Loshchilov & Hutter 2019",
        example={"learning_rate": 0.01, "weight_decay": 1e-2},
        settings=(
            RATE,
            {**COSINE, **ADAM, **DECAYING},
            {**LINEAR, **ADAM, "weight_decay": 0.3, "nesterov": True},
            {**RATE, **ADAM, "weight_decay": schedules.exponential_decay(0.2, 3, 0.5), "mu_dtype": "float32"},
        ),
        needs=("params",),
        deviations="finite where half precision rounds eps to 0 or a decay rate to 1",
    ),
    "lion": Entry(
        factory=adaptive.lion,
        twin=_optax("lion"),
        twin_name="lion",
        paper="Chen et al. 2023",
        example={"learning_rate": 0.001},
        settings=(
            RATE,
            {**COSINE, "b1": 0.7, "b2": 0.85, **DECAYING},
            {**LINEAR, "b1": 0.95, "b2": 0.6, "weight_decay": schedules.exponential_decay(0.2, 3, 0.5)},
            {**RATE, "b1": 0.7, "b2": 0.85, "weight_decay": 0.07, "mu_dtype": "float32"},
        ),
        needs=("params",),
    ),
}
