"""What each optimizer is tried with: its example, and arguments away from every default."""

import inspect
import zlib
from typing import Any, get_args

import jax
import numpy as np

from sandbox.optimizers import catalogue
from sandbox.optimizers.schedules import cosine_decay, exponential_decay
from sandbox.types import Params, Schedule

RANGES = {  # where parity looks for each argument, away from its default
    "learning_rate": (0.01, 0.3),
    "weight_decay": (0.02, 0.3),
    "b1": (0.6, 0.85),
    "b2": (0.7, 0.95),
    "b3": (0.7, 0.98),
    "decay": (0.5, 0.85),
    "momentum": (0.4, 0.8),
    "eps": (1e-4, 1e-2),
    "eps_root": (1e-5, 1e-3),
}


def settings(name: str) -> list[dict[str, Any]]:
    """Arguments to compare with: the example; twice every number elsewhere, switches flipped and rates on a schedule;
    and the same once for each of the entry's variants."""
    entry = catalogue.find(name)
    parameters = inspect.signature(entry.factory).parameters
    rng = np.random.default_rng(zlib.crc32(name.encode()))

    def drawn(flip: bool) -> dict[str, Any]:
        arguments = dict(entry.example)
        for p in parameters.values():
            default = entry.example.get(p.name, p.default)
            if isinstance(default, bool):
                arguments[p.name] = default ^ flip
            elif p.name in (*RANGES, *entry.ranges) and (isinstance(default, int | float) or p.name in entry.ranges):
                number = float(rng.uniform(*{**RANGES, **entry.ranges}[p.name]))
                scheduled = flip and Schedule in get_args(p.annotation)
                arguments[p.name] = _schedule(p.name, number) if scheduled else number
            elif p.name.endswith("mask") and flip:
                arguments[p.name] = _weights_and_not_biases
        return arguments

    return [entry.example, drawn(flip=False), drawn(flip=True), *({**drawn(False), **v} for v in entry.variants)]


def _schedule(name: str, number: float) -> Schedule:
    """A rate falls on half a cosine, anything else by steps."""
    return cosine_decay(number, 9, 0.1, 0.7) if name == "learning_rate" else exponential_decay(number, 3, 0.5)


def _weights_and_not_biases(params: Params) -> Any:
    """A mask: matrices yes, vectors and numbers not."""
    return jax.tree.map(lambda x: x.ndim > 1, params)
