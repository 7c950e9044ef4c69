"""Support vector machines to a certain gap: which method, in which units, and what vouches for the end."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sandbox import losses
from sandbox.engine import interior
from sandbox.engine.smo import smo
from sandbox.engine.solution import Solution
from sandbox.problems import dual
from sandbox.problems.problem import Problem
from sandbox.problems.supervised import LinearModel
from sandbox.types import Key

FEATURES = 3000  # of a linear machine: a matrix of so many rows is factorised in every step
MOVES = 20  # of sequential minimal optimization for each example, before another method has its turn
PATIENCE = 2000  # of it, where no other has


def is_linear(structure: Any) -> bool:
    """Whether it is a linear machine whose loss has a kink; a smooth one is for Newton."""
    return isinstance(structure, LinearModel) and structure.loss is losses.hinge


def separated(problem: Problem, method: str | None, tol: float, key: Key) -> Solution:
    """The certificate is the relative gap between the objective and a dual value: no plane is better by more."""
    model = problem.structure
    if not float(model.l2) > 0:
        raise ValueError(f"{problem.name}: l2={model.l2}; the dual, which vouches for the optimum, needs it above 0")
    if model.X.shape[1] > FEATURES:
        raise ValueError(f"{problem.name} has {model.X.shape[1]:,} features; 'interior' takes up to {FEATURES:,}")
    n, features = model.X.shape
    machine = interior.linear(model.X, model.y, float(model.l2), model.fit_intercept)
    found = interior.separate(machine, n, tol)
    params = {"w": found.z[:features]} | ({"b": np.float64(found.z[features])} if model.fit_intercept else {})
    value = float(problem.objective(jax.tree.map(jnp.asarray, params)))
    gap = (value - found.bound / n) / value
    return Solution(
        params, value, gap, "interior", found.steps, found.steps, "converged" if abs(gap) <= tol else "failed"
    )


def weighted(problem: Problem, method: str | None, tol: float, key: Key) -> Solution:
    """The dual of a kernel machine; the certificate is the relative gap between the primal objective and it."""
    model, n = problem.structure, len(problem.structure.y)
    steps, ends = 0, list[tuple[float, str, np.ndarray]]()
    assert problem.penalty is not None
    assert problem.facts.smoothness is not None
    for used in ("smo", "interior") if method is None else (method,):
        if used == "smo":
            found = smo(model, tol / 10, (MOVES if method is None else PATIENCE) * n)
            tried, steps = [found.alpha], steps + found.moves
        else:
            machine = interior.kernelled(model.Q, model.y, float(model.C), model.fit_intercept)
            ended = interior.separate(machine, n, tol)
            # An interior point has no zeros: a projected step makes them, and a few moves mend what it stirred.
            inside, rate = float(model.C) * ended.alpha, 1 / problem.facts.smoothness
            stepped = problem.penalty.prox({"alpha": inside - rate * (model.Q @ inside - 1)}, rate)
            found = smo(model, tol / 10, MOVES * n, stepped["alpha"])
            tried, steps = [inside, found.alpha], steps + ended.steps + found.moves
        ends += [(float(dual.vouch(model, weights).gap), used, weights) for weights in tried]
        if ends[-1][0] <= tol:
            break
    gap, used, alpha = next((end for end in ends[::-1] if end[0] <= tol), min(ends, key=lambda end: end[0]))
    value = float(problem.loss({"alpha": alpha}, problem.data, None))
    return Solution({"alpha": alpha}, value, gap, used, steps, steps, "converged" if gap <= tol else "failed")
