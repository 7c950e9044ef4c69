"""Regularizers r(params), each with its prox: argmin_z r(z) + ‖z − x‖² / (2 step)."""

from collections.abc import Callable
from typing import NamedTuple

from sandbox.types import Params, Scalar


class Regularizer(NamedTuple):
    """A function of the parameters, together with its proximal operator."""

    value: Callable[[Params], Scalar]
    prox: Callable[[Params, Scalar], Params]

    def __call__(self, params: Params) -> Scalar:
        return self.value(params)
