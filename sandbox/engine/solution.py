"""An optimum, and what vouches for it."""

from typing import NamedTuple

from sandbox.types import Params


class Solution(NamedTuple):
    """What `solve` returns; everything in NumPy, float64."""

    params: Params
    value: float  # loss + penalty on all data
    certificate: float  # ‖∇f‖; with a penalty ‖x − prox(x − ∇loss)‖, zero at stationary points and only there; or a gap
    method: str
    iterations: int
    evaluations: int  # of value and gradient together, or of a Hessian
    status: str  # "converged" or "failed"; "stopped" after the steps that a method goes by custom
