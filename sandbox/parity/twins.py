"""The Optax factory that each optimizer must agree with; where Optax is wrong, with that term put right."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from sandbox import tree
from sandbox.optimizers.base import made, transformation
from sandbox.types import Params


def twin(name: str) -> tuple[Callable[..., Any], str]:
    """The Optax factory that takes the same arguments and must agree, and what it is called."""
    import optax
    import optax.contrib

    if name in TWINS:
        return TWINS[name](optax)
    module = optax.contrib if hasattr(optax.contrib, name) else optax
    return getattr(module, name), name


TWINS: dict[str, Callable[[Any], tuple[Callable[..., Any], str]]] = {  # where it goes by another name or is wrong
    "gradient_descent": lambda optax: (optax.sgd, "sgd"),
    "heavy_ball": lambda optax: (
        lambda learning_rate, momentum=0.9, accumulator_dtype=None: optax.sgd(
            learning_rate, momentum, False, accumulator_dtype
        ),
        "sgd(momentum)",
    ),
    "nesterov": lambda optax: (
        lambda learning_rate, momentum=0.9, accumulator_dtype=None: optax.sgd(
            learning_rate, momentum, True, accumulator_dtype
        ),
        "sgd(momentum, nesterov)",
    ),
    "optimistic_gradient_descent": lambda optax: (
        optax.inject_hyperparams(optax.optimistic_gradient_descent),
        "optimistic_gradient_descent",
    ),
    "polyak_sgd": lambda optax: (_polyak_sgd(optax), "scale_by_polyak, then sgd"),
    "noisy_sgd": lambda optax: (
        lambda learning_rate, key=None, seed=0, **rest: optax.noisy_sgd(
            learning_rate, key=seed if key is None else key, **rest
        ),
        "noisy_sgd",
    ),
    "dpsgd": lambda optax: (_dpsgd(optax), "dpsgd"),
    "ema_momentum": lambda optax: (
        lambda learning_rate, decay=0.9: optax.chain(
            optax.ema(decay, debias=False), optax.scale_by_learning_rate(learning_rate)
        ),
        "ema, scaled",
    ),
    "muon": lambda optax: (
        _told(
            optax.contrib.muon,
            muon_weight_dimension_numbers=lambda f: _axes_as(optax.contrib.MuonDimensionNumbers, f),
        ),
        "muon",
    ),
    "galore": lambda optax: (
        _told(
            optax.contrib.galore,
            base_optimizer=made,
            weight_dimension_numbers=lambda f: _axes_as(optax.contrib.GaLoreDimensionNumbers, f),
        ),
        "galore",
    ),
    "adadelta": lambda optax: (
        lambda learning_rate=None, **rest: optax.adadelta(learning_rate or 1.0, **rest),
        "adadelta",
    ),
    "adan": lambda optax: (_adan(optax), "adan, β₂ for 1 − β₂"),
    "lookahead": lambda optax: (_slow_in_state(optax), "lookahead"),
    "schedule_free": lambda optax: (
        _told(_counted_from_zero(optax.contrib.schedule_free), base_optimizer=made),
        "schedule_free, counted from 0",
    ),
    "schedule_free_sgd": lambda optax: (
        _counted_from_zero(optax.contrib.schedule_free_sgd),
        "schedule_free_sgd, counted from 0",
    ),
    "schedule_free_adamw": lambda optax: (
        _counted_from_zero(optax.contrib.schedule_free_adamw),
        "schedule_free_adamw, counted from 0",
    ),
    "sophia": lambda optax: (_told(optax.contrib.sophia, hessian_diagonal_fn=made), "sophia"),
    "cocob": lambda optax: (_cocob(optax), "cocob, then the rate"),
    "mechanize": lambda optax: (_told(optax.contrib.mechanize, base_optimizer=made), "mechanize"),
    "split_real_and_imaginary": lambda optax: (
        _told(optax.contrib.split_real_and_imaginary, inner=made),
        "split_real_and_imaginary",
    ),
    "sam": lambda optax: (_told(optax.contrib.sam, optimizer=made, adv_optimizer=made), "sam"),
}


def _polyak_sgd(optax: Any) -> Callable[..., Any]:
    """Optax's Polyak step, scaled once it is found; in polyak_sgd it is before, and a larger gradient makes it fall."""
    return lambda max_learning_rate=1.0, scaling=1.0, f_min=0.0, eps=0.0, variant="sps": optax.chain(
        optax.scale_by_polyak(f_min, max_learning_rate, eps, variant), optax.sgd(scaling)
    )


def _dpsgd(optax: Any) -> Callable[..., Any]:
    """Optax's DP-SGD, which warns whatever it is given, by its parts."""
    return lambda learning_rate, l2_norm_clip, noise_multiplier, seed, momentum=None, nesterov=False: optax.chain(
        optax.contrib.differentially_private_aggregate(l2_norm_clip, noise_multiplier, seed),
        optax.sgd(learning_rate, momentum, nesterov),
    )


def _adan(optax: Any) -> Callable[..., Any]:
    """Optax's Adan with the paper's weight of differences: its own text, with this one term in its place."""
    scale = _reworded(optax.scale_by_adan, {"1 - b2, diff": "b2, diff", "1 - b2, v_hat": "b2, v_hat"})
    return lambda learning_rate, *args, weight_decay=0.0, mask=None, eps_root=1e-8, **kwargs: optax.chain(
        scale(*args, eps_root=eps_root, **kwargs),
        optax.add_decayed_weights(weight_decay, mask),
        optax.scale_by_learning_rate(learning_rate),
    )


def _reworded(function: Callable[..., Any], terms: dict[str, str]) -> Callable[..., Any]:
    """A function of another package with some terms of its text replaced; those that it no longer has are left out."""
    text = inspect.getsource(function)
    for theirs, right in terms.items():
        text = text.replace(theirs, right)
    scope = dict(vars(inspect.getmodule(function)))
    exec(compile(text, f"<{function.__name__}, reworded>", "exec"), scope)
    return scope[function.__name__]


def _counted_from_zero(factory: Callable[..., Any]) -> Callable[..., Any]:
    """Optax's schedule-free methods, whose count begins where the schedule of the base optimizer does, and which stay
    where they are as long as their rate is 0: Optax moves by what rounding leaves of y − y. b1 is in double precision,
    also where z is not."""

    def make(b1: Any = 0.9, **arguments: Any) -> Any:
        inner = factory(b1=jnp.asarray(b1, float), **arguments)

        def update(*args: Any, **extra: Any) -> tuple[Params, Any]:
            u, state = inner.update(*args, **extra)
            return jax.tree.map(lambda u: jnp.where(state.max_lr > 0, u, 0), u), state

        return transformation(lambda x: inner.init(x)._replace(step_count=jnp.zeros((), jnp.int32)), update)

    return make


def _slow_in_state(optax: Any) -> Callable[..., Any]:
    """Optax's lookahead on the fast params alone: the slow ones, which it leaves to its caller, in the state."""

    def make(fast_optimizer: Any, **arguments: Any) -> Any:
        inner = optax.lookahead(made(fast_optimizer), **arguments)

        def update(grads: Params, state: tuple, params: Params, **extra: Any) -> tuple[Params, tuple]:
            u, ahead = inner.update(grads, state[0], optax.LookaheadParams(params, state[1]))
            return u.fast, (ahead, tree.add(state[1], u.slow))

        return transformation(lambda params: (inner.init(optax.LookaheadParams(params, params)), params), update)

    return make


def _cocob(optax: Any) -> Callable[..., Any]:
    """Optax's COCOB, and after it the rate, which it would itself put before it, to no effect."""
    return lambda learning_rate=1.0, **arguments: optax.chain(
        optax.contrib.cocob(**arguments), optax.scale_by_learning_rate(learning_rate, flip_sign=False)
    )


def _told(factory: Callable[..., Any], **translations: Callable[[Any], Any]) -> Callable[..., Any]:
    """The factory, some of whose arguments are first translated from our words to Optax's."""
    say = lambda name, value: translations[name](value) if name in translations and value is not None else value
    return lambda **arguments: factory(**{name: say(name, value) for name, value in arguments.items()})


def _axes_as(record: Any, axes_of: Callable[[Params], Params]) -> Callable[[Params], Params]:
    """The function from params to the axes of each matrix, which come as this record."""
    named = lambda axes: hasattr(axes, "reduction_axis")
    return lambda params: jax.tree.map(lambda axes: record(*axes), axes_of(params), is_leaf=named)
