"""solve: a certified optimum, in double precision."""

import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from sandbox import tree
from sandbox.engine import machines, unsupervised
from sandbox.engine.objective import Objective, objective, voucher
from sandbox.engine.solution import Solution
from sandbox.problems.dual import KernelMachine
from sandbox.problems.problem import Problem
from sandbox.problems.supervised import LinearModel
from sandbox.problems.unsupervised import Clusters, Components, Neighbours
from sandbox.types import Key, Params

DENSE = 3000  # a Hessian is formed and factorised up to so many parameters
STARTS = 16  # of a non-convex problem of at most FEW parameters
FEW = 100
EPS = float(np.finfo(np.float64).eps)
SINGLE = float(np.finfo(np.float32).eps)


class _Own(NamedTuple):
    """Problems of one structure: what solves them, by which methods, and which of the general methods do too."""

    holds: Callable[[Any], bool]
    solver: Callable[[Problem, str | None, float, Key], Solution]
    methods: tuple[str, ...]
    general: tuple[str, ...] = ()


_OWN = (
    _Own(machines.is_linear, machines.separated, ("interior",)),
    _Own(lambda s: isinstance(s, KernelMachine), machines.weighted, ("smo", "interior"), ("proximal",)),
    _Own(lambda s: isinstance(s, Clusters), unsupervised.lloyd, ("lloyd",), ("bfgs",)),
    _Own(lambda s: isinstance(s, Components), unsupervised.singular_vectors, ("svd",), ("bfgs",)),
    _Own(lambda s: isinstance(s, Neighbours), unsupervised.mapped, ("map",), ("bfgs",)),
)


class _Path(NamedTuple):
    """Where an iteration ended, and whether it moved there as one does that nears a minimiser."""

    x: np.ndarray
    iterations: int
    evaluations: int
    settled: bool


def solve(problem: Problem, *, method: str | None = None, tol: float = 1e-10, key: Key | None = None) -> Solution:
    """The minimiser of loss + penalty over all data; Newton's equations are solved with least norm.

    "newton", damped: smooth and convex. "proximal": a penalty; FISTA (Beck & Teboulle 2009), for linear models on their
    second-order model (Lee, Sun & Saunders 2014), then semismooth Newton on its fixed point. "interior": a support
    vector machine, linear or by kernels, to a relative duality gap; "smo": one by kernels, two weights at a time; None
    tries this, and the other where it has not arrived after 20 n moves. "lloyd", "svd" and "map": k-means from ten
    starts, principal components, t-SNE. "bfgs", or L-BFGS beyond a hundred parameters, polished by Newton: the rest,
    where a local minimum is all that is promised. None chooses among them.
    `key` draws the starts, where there is more than one minimum.

    Converged means that the certificate, recomputed from the problem, is at most tol (tol times its value at the start
    where that is above 1), that no curvature is negative, and that the iterates near a point: where an infimum is not
    attained, as for separable classes without l2, gradients vanish too, and the status is "failed".
    Raises ValueError for an unknown method, one that does not suit the problem, and tol ≤ 0.
    """
    with jax.enable_x64(True):
        key = jax.random.key(0) if key is None else key
        own = next((own for own in _OWN if own.holds(problem.structure)), None)
        if not tol > 0:
            raise ValueError(f"tol={tol}: expected a positive number")
        if own is not None and method not in own.general:
            if method not in (None, *own.methods):
                suitable = " or ".join(map(repr, own.methods + own.general))
                raise ValueError(f"method={method!r}: {problem.name} takes {suitable}")
            return own.solver(problem, method, tol, key)
        start, unravel = _flat(problem.init(key))
        chosen = _choose(problem, start.size, method)
        # Of linear models, whose f is not made of the problem's own functions.
        shared = isinstance(problem.structure, LinearModel)  # whose f is not made of the problem's own functions
        vouched = voucher(problem, unravel(jnp.asarray(start)), key) if shared else None
        f = objective(problem, unravel, key)
        if chosen == "newton":
            path = _newton(f, _near(f, start), tol, convex=problem.facts.convex is True)
        elif chosen == "proximal":
            path = _proximal(f, start, tol, problem.facts.smoothness)
        else:
            more = jax.random.split(key, STARTS if start.size <= FEW else 1)
            path = _bfgs(f, [start, *(_flat(problem.init(k))[0] for k in more[1:])], tol)
        value, certificate = (
            vouched(unravel(jnp.asarray(path.x))) if vouched else (float(f.at(path.x)[0]), _residual(f, path.x))
        )
        enough = certificate <= tol * max(1.0, _residual(f, start))
        params = jax.tree.map(np.asarray, unravel(jnp.asarray(path.x)))
    status = "converged" if enough and path.settled and np.isfinite(value) else "failed"
    return Solution(params, value, certificate, chosen, path.iterations, path.evaluations, status)


def _choose(problem: Problem, size: int, method: str | None) -> str:
    smooth = problem.penalty is None
    if method is None:
        return "proximal" if not smooth else "newton" if problem.facts.convex and size <= DENSE else "bfgs"
    suitable = ("bfgs", "newton") if smooth else ("proximal",)
    if method not in suitable:
        kind = "without a penalty" if smooth else "with a penalty"
        raise ValueError(f"method={method!r}: {problem.name}, {kind}, takes {' or '.join(map(repr, suitable))}")
    return method


def _flat(params: Params) -> tuple[np.ndarray, Callable[[Any], Params]]:
    """The parameters as one float64 vector, and the way back."""
    flat, unravel = ravel_pytree(tree.double(params))
    return np.asarray(flat), unravel


def _numbers(f: Objective, x: np.ndarray) -> tuple[float, np.ndarray]:
    value, gradient = f.at(x)
    return float(value), np.asarray(gradient)


def _residual(f: Objective, x: np.ndarray) -> float:
    """‖∇f‖, or how far one proximal step of length 1 moves."""
    _, gradient = _numbers(f, x)
    move = gradient if f.prox is None else x - np.asarray(f.prox(x - gradient, 1.0))
    return float(np.linalg.norm(move))


def _newton(f: Objective, x: np.ndarray, tol: float, convex: bool, most: int = 200) -> _Path:
    """x ← x − t H⁺g with t halved until f falls enough, to a gradient of tol/1000 if rounding allows it.

    Settled: no curvature at the end is negative and, when the gradient first passes tol, it fell tenfold in one of the
    last steps or the steps grow shorter. Towards an infimum that is not attained neither happens: all steps are
    equally long, each divides g by e.
    """
    value, g = _numbers(f, x)
    norms, evaluations = [float(np.linalg.norm(g))], 1
    lengths: list[float] = []
    curvature, eps = (f.hessian, EPS) if f.coarse is None else (f.coarse, SINGLE)
    settled: bool | None = True if norms[0] <= tol else None
    while len(lengths) < most and settled is not False and tol / 1000 < norms[-1] < np.inf:
        step = _least_norm(np.asarray(curvature(x)), g, eps)
        t, x_new, value_new, g_new, tried = _backtrack(f, x, value, g, step)
        evaluations += 1 + tried
        if t == 0 and eps == EPS:
            break
        if t == 0 or (t == 1 and np.linalg.norm(g_new) > norms[-1] / 2):
            curvature, eps = f.hessian, EPS  # for the rounding of a coarse one may be what holds a step back
        if t == 0:
            continue
        x, value, g = x_new, value_new, g_new
        lengths.append(float(np.linalg.norm(step)))
        norms.append(float(np.linalg.norm(g)))
        if settled is None and norms[-1] <= tol:
            settled = _nears(norms, lengths)
    settled = _nears(norms, lengths) if settled is None else settled
    return _Path(x, len(lengths), evaluations, settled and (convex or _no_negative_curvature(f, x)))


def _near(f: Objective, start: np.ndarray) -> np.ndarray:
    """Where to start: the optimum of a sample is as far off as its noise, which a tenth of the work finds.

    Mokhtari, Daneshmand, Lucchi, Hofmann & Ribeiro (2016).
    """
    if f.sample is None:
        return start
    nearer = _newton(f.sample, start, 1.0, convex=True).x  # to a gradient of 1/1000
    return nearer if _numbers(f, nearer)[0] < _numbers(f, start)[0] else start


def _nears(norms: list[float], lengths: list[float]) -> bool:
    """Whether the last steps look like those of a convergent iteration."""
    fell = any(after <= before / 10 for before, after in pairwise(norms[-4:]))
    return fell or (len(lengths) > 1 and lengths[-1] <= 0.9 * lengths[-2])


def _no_negative_curvature(f: Objective, x: np.ndarray) -> bool:
    H = np.asarray(f.hessian(x))
    if not np.isfinite(H).all():
        return False
    curvatures = np.linalg.eigvalsh(H)
    return bool(curvatures[0] >= -max(64, len(x)) * EPS * np.abs(curvatures).max())


def _least_norm(H: np.ndarray, g: np.ndarray, eps: float = EPS) -> np.ndarray:
    """The shortest step with |H| step = −g, where |H| has the absolute values of H's eigenvalues, eps its rounding."""
    if not np.isfinite(H).all():
        return np.zeros_like(g)
    curvatures, directions = np.linalg.eigh(H)
    floor = max(64, len(g)) * eps * np.abs(curvatures).max()
    kept = np.abs(curvatures) > floor
    inverse = np.where(kept, 1 / np.where(kept, np.abs(curvatures), 1), 0)
    return -directions @ (inverse * (directions.T @ g))


def _backtrack(
    f: Objective, x: np.ndarray, value: float, g: np.ndarray, step: np.ndarray
) -> tuple[float, np.ndarray, float, np.ndarray, int]:
    """t = 1, ½, ¼, … until f(x + t·step) ≤ f(x) + 10⁻⁴ t ⟨g, step⟩; t = 0 where none will do.

    Where f no longer shows the difference, the gradient has to halve.
    """
    slope, t, tried = float(g @ step), 1.0, 0
    while t > 1e-12 and slope < 0:
        x_new = x + t * step
        (value_new, g_new), tried = _numbers(f, x_new), tried + 1
        flat = abs(value_new - value) <= 16 * EPS * (1 + abs(value))
        enough = np.linalg.norm(g_new) <= np.linalg.norm(g) / 2 if flat else value_new <= value + 1e-4 * t * slope
        if enough:
            return t, x_new, value_new, g_new, tried
        t /= 2
    return 0.0, x, value, g, tried


def _bfgs(f: Objective, starts: list[np.ndarray], tol: float) -> _Path:
    """SciPy from every start; the lowest end is polished by Newton."""
    from scipy.optimize import minimize

    quasi_newton = "BFGS" if starts[0].size <= FEW else "L-BFGS-B"
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # overflow on the way down an unbounded valley
        ends = [minimize(lambda x: _numbers(f, x), x, jac=True, method=quasi_newton) for x in starts]
    iterations, evaluations = sum(e.nit for e in ends), sum(e.nfev for e in ends)
    best = min(ends, key=lambda e: e.fun if np.isfinite(e.fun) else -np.inf)
    if best.x.size > DENSE or not np.isfinite(best.fun):
        return _Path(best.x, iterations, evaluations, bool(np.isfinite(best.fun)))
    polished = _newton(f, best.x, tol, convex=False, most=20)
    return _Path(polished.x, iterations + polished.iterations, evaluations + polished.evaluations, polished.settled)


def _proximal(f: Objective, x: np.ndarray, tol: float, L: Any, blocks: int = 100) -> _Path:
    """Descents until semismooth Newton takes hold of F(x) = x − prox(x − ∇f(x)/L, 1/L) = 0."""
    L = 1.0 if L is None or not float(L) > 0 else float(L)
    value, iterations, evaluations, length = np.inf, 0, 0, f.length
    for _ in range(blocks):
        moved = np.asarray(f.descent(x, L))
        lower, _ = _numbers(f, moved)
        iterations, evaluations = iterations + length, evaluations + length + 1
        if not lower <= value + 16 * EPS * (1 + abs(value)):  # so L was no bound: shorter steps, from the same point
            L *= 2
            continue
        x, value = moved, lower
        for _ in range(50 if x.size <= DENSE else 0):
            F, J = np.asarray(f.fixed_point(x, L)), np.asarray(f.jacobian(x, L))
            tried = x - np.linalg.lstsq(J, F)[0]
            iterations, evaluations = iterations + 1, evaluations + 2
            if not np.linalg.norm(f.fixed_point(tried, L)) <= np.linalg.norm(F) / 2:
                break
            x = tried
        x = np.asarray(f.prox(x - _numbers(f, x)[1] / L, 1 / L))  # back into the domain of the penalty: exact zeros
        value, _ = _numbers(f, x)
        if _residual(f, x) <= tol:
            break
    return _Path(x, iterations, evaluations, True)
