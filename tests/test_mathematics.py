"""The mathematics experiment: its claims hold, and each of them fails where one of its two sides is wrong."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.decomposition
import sklearn.linear_model

from experiments import mathematics
from sandbox import losses, optimizers, problems
from sandbox.engine import solve


def test_mathematics():
    found = mathematics.main(fast=True)
    assert len(found.claims) == 45
    assert all(claim.holds for claim in found.claims), [claim.name for claim in found.claims if not claim.holds]
    fragments = {fragment for *_, broken in BROKEN.values() for fragment in broken}
    assert all(any(fragment in claim.name for fragment in fragments) for claim in found.claims)
    assert len(found.figures["figure"][0].axes) == 4


class Numpy:
    """NumPy, of which some functions are others."""

    def __init__(self, linalg=None, **other):
        self.other = other | ({"linalg": Numpy.of(np.linalg, **linalg)} if linalg else {})

    def __getattr__(self, name):
        return self.other[name] if name in self.other else getattr(np, name)

    @staticmethod
    def of(module, **other):
        return SimpleNamespace(**{name: getattr(module, name) for name in dir(module)} | other)


def moved(entry=None, name="likelihood", value=0.0):
    """A solver that stops a little beside the minimum, in one entry of the parameters, or with another value."""

    def other(problem, **options):
        found = solve(problem, **options)
        if problem.name != name or (entry and entry not in found.params):
            return found
        params = found.params
        if entry:
            params = params | {entry: params[entry] + 1e-6}
        return found._replace(params=params, value=found.value + value)

    return other


def rolled(A):
    """Eigenvectors in another order than their values."""
    values, vectors = np.linalg.eigh(A)
    return values, np.roll(vectors, 1, axis=1)


class Backwards(sklearn.decomposition.PCA):
    """The components of the features in reverse order."""

    def fit(self, X):
        return super().fit(X[:, ::-1])


def laplace(x, mean, scale):
    """A Laplace prior, and the Gaussian likelihood."""
    return GAUSSIAN(x, mean, scale) if not isinstance(mean, float) else -jnp.abs(x - mean) / scale


def permuted(A):
    """Singular vectors on the right that have changed places."""
    U, s, Vt = np.linalg.svd(A)
    return U, s, np.roll(Vt, 1, axis=0)


NORM, CROSS, KL = mathematics.norm, losses.softmax_cross_entropy, losses.kl_divergence
BINARY, GAUSSIAN, RIDGE = losses.binary_cross_entropy, jax.scipy.stats.norm.logpdf, problems.ridge
SKLEARN, DESCENT, PROJECTED = sklearn.linear_model.Ridge, optimizers.gradient_descent, optimizers.projected
(CONVEX, convex), (WAVY, wavy) = mathematics.CURVES.items()
HERE, LOSSES, OPTIMIZERS = "experiments.mathematics.", "sandbox.losses.", "sandbox.optimizers."
UNBIASED = Numpy(cov=lambda X, bias: np.cov(X))
SQUARES, NULL = "the minimum that `solve`", "part of that minimum"
WIDEST, TRIANGLE, TIGHT = "d^(1/p − 1/q)", "‖x + y‖ /", "norms: the same where"
DISAGREE, SHARE = "chords and minors", "share that is"
VALUE = "cross-entropy: value"
MAPS = ("normal equation", "`problems.ridge`", "scikit-learn's Ridge")
IDENTITY = "entropy − KL"
DENSITY, MOST, DEFICIT, DIVERGENCE = "density of most", "½ log 2πeσ²", "entropy of Gaussian", "their KL from"
POINT, PRICES, SLACK, SIGNS = "the dual's solution", "from −∇f", "price · slack", "least price and slack"
SLOPE, FREE, DEAR = "d f*/d limit", "beyond the free minimum", "least price before"
BROKEN = {  # the part, what is broken in it, by what, and parts of the names of the claims that fail
    "1/(n − 1)": ("components", HERE + "np", UNBIASED, ("squared singular values / n)", "(n−1)/n)")),
    "other features": ("components", "sklearn.decomposition.PCA", Backwards, ("three axes",)),
    "other axes": ("components", HERE + "np", Numpy({"eigh": rolled}), ("three axes", "squares lost")),
    "other directions": ("pseudo_inverses", HERE + "np", Numpy({"svd": permuted}), ("Penrose", SQUARES, NULL)),
    "not the minimum": ("pseudo_inverses", HERE + "solve", moved("w", "least_squares"), (SQUARES, NULL)),
    "2 for 3": ("norms", HERE + "norm", lambda x, p: NORM(x, 2.0 if p == 3 else p), (WIDEST, TIGHT)),
    "0.9 for 1": ("norms", HERE + "norm", lambda x, p: NORM(x, 0.9 if p == 1 else p), (WIDEST, TRIANGLE)),
    "½ among the norms": ("norms", HERE + "POWERS", (0.5, 1.5, 2.0, 3.0), (TRIANGLE,)),
    "no root": (
        "norms",
        HERE + "norm",
        lambda x, p: NORM(x, p) if p > 99 else (np.abs(x) ** p).sum(-1),
        ("for p < q", WIDEST, TRIANGLE, "⟨x, y⟩", TIGHT),
    ),
    "all definite": ("definiteness", HERE + "np", Numpy({"det": lambda A: np.ones(len(A))}), (DISAGREE, SHARE)),
    "a dent": ("convexity", HERE + "CURVES", {CONVEX: wavy, WAVY: wavy}, ("counter-examples",)),
    "no dent": ("convexity", HERE + "CURVES", {CONVEX: convex, WAVY: convex}, ("height above", "least curvature")),
    "another curve": ("convexity", HERE + "CURVES", {CONVEX: convex, WAVY: (wavy[0], convex[1])}, ("height above",)),
    "other weights": ("likelihoods", HERE + "solve", moved("w"), ("beside least squares",)),
    "other noise": ("likelihoods", HERE + "solve", moved("log σ"), ("mean squared error",)),
    "another mean": ("likelihoods", HERE + "solve", moved("mean"), ("the average",)),
    "another precision": ("likelihoods", HERE + "solve", moved("M"), ("that with 1/n",)),
    "without bias": ("likelihoods", HERE + "np", UNBIASED, ("that with 1/n",)),
    "another value": ("likelihoods", HERE + "solve", moved(value=1e-9), (VALUE,)),
    "smoothed labels": (
        "likelihoods",
        LOSSES + "binary_cross_entropy",
        lambda z, t: BINARY(z, 0.99 * t),
        ("cross-entropy: weights", VALUE),
    ),
    "a wider posterior": (
        "bayes",
        "jax.scipy.stats.norm.logpdf",
        lambda x, m, s: GAUSSIAN(x, m, 1.1 * s),
        ("posterior covariance",),
    ),
    "Laplace": ("bayes", "jax.scipy.stats.norm.logpdf", laplace, (*MAPS, "posterior mean", "posterior covariance")),
    "a sum for a mean": (
        "bayes",
        "sandbox.problems.ridge",
        lambda X, y, l2, **options: RIDGE(X, y, l2 * len(y), **options),
        MAPS[1:2],
    ),
    "a mean for a sum": (
        "bayes",
        "sklearn.linear_model.Ridge",
        lambda alpha, **options: SKLEARN(alpha=alpha / 12, **options),
        MAPS[2:],
    ),
    "smoothed targets": (
        "information",
        LOSSES + "softmax_cross_entropy",
        lambda z, t: CROSS(z, 0.99 * t + 0.002),
        (IDENTITY, "the softmax", "least cross-entropy −"),
    ),
    "KL reversed": ("information", LOSSES + "kl_divergence", lambda p, q: KL(q, p), (IDENTITY,)),
    "KL below zero": ("information", LOSSES + "kl_divergence", lambda p, q: -KL(p, q), (IDENTITY, "KL: least")),
    "no density": (
        "entropies",
        "jax.nn.logsumexp",
        lambda z: jnp.log(jnp.sum(jnp.exp(z))) + 1e-6,
        (DENSITY, MOST),
    ),
    "entropy without e": ("entropies", HERE + "np", Numpy(e=1.0), (MOST, DEFICIT, DIVERGENCE)),
    "off the plane": (
        "equality",
        HERE + "np",
        Numpy({"pinv": lambda A: 1.001 * np.linalg.pinv(A)}),
        ("the null space", "`jax.grad`"),
    ),
    "the other sign": ("equality", HERE + "np", Numpy(split=lambda a, at: (a[:5], -a[5:])), ("`jax.grad`",)),
    "no wall": ("inequality", OPTIMIZERS + "projected", lambda method, to: method, (POINT, PRICES, SIGNS, SLOPE, DEAR)),
    "a wall that is nearer": (
        "inequality",
        OPTIMIZERS + "projected",
        lambda method, to: PROJECTED(method, lambda x: to(x) - 1e-3),
        (POINT, PRICES, SLACK, SLOPE, FREE),
    ),
    "prices below zero": ("inequality", "scipy.optimize.nnls", np.linalg.lstsq, (POINT, PRICES, SLOPE)),
}


@pytest.mark.slow
@pytest.mark.parametrize(("part", "target", "by", "fragments"), BROKEN.values(), ids=BROKEN)
def test_a_wrong_side_is_found_out(monkeypatch, part, target, by, fragments):
    monkeypatch.setattr(target, by)
    with jax.enable_x64(True):
        found = getattr(mathematics, part)()
    claims = found["claims"] if isinstance(found, dict) else found
    expected = [[claim.name for claim in claims if fragment in claim.name] for fragment in fragments]
    assert [len(names) for names in expected] == [1] * len(fragments)
    assert {claim.name for claim in claims if not claim.holds} == {name for (name,) in expected}
