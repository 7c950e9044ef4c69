"""What is known about an optimizer."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from sandbox.optimizers.base import Optimizer


class Entry(NamedTuple):
    """An optimizer and what is known about it."""

    factory: Callable[..., Optimizer]
    paper: str
    example: dict[str, Any]  # sane arguments for a first try
    variants: tuple[dict[str, Any], ...] = ()  # what parity must try beside drawn numbers and flipped switches
    # where the numbers that only this method has may be drawn from
    ranges: Mapping[str, tuple[float, float]] = MappingProxyType({})
    needs: tuple[str, ...] = ()  # what update must be given beside the gradients (params, value, value_fn, …), and
    # of which kind: of single examples ("examples"), or complex to show anything ("complex")
    complex: bool = True  # whether parameters may be complex
    compiled: bool = False  # whether its updates hold loops or branches, which are slow unless they are compiled
    deviations: str = ""  # where it differs from its Optax twin on purpose
