"""Clusters, trees, planes and maps: the claims hold, and each fails where a start, a step or a slope is another."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.cluster.hierarchy
import scipy.sparse.csgraph
import sklearn.datasets
from scipy.spatial.distance import pdist
from sklearn.cluster import KMeans

from experiments import unsupervised
from sandbox import optimizers, problems
from sandbox.engine import solve
from sandbox.problems.unsupervised import neighbourhoods

RISE, GRADIENT, TEN, PLANTED = "largest rise", "gradient where", "of 3⁹ partitions", "planted clusters"
IRIS = {f"iris, k = {k}" for k in (2, 3, 4)}
MEAN, CHANCE, SHARE = "a start / optimum", "a centre in each", "share that ends"
ELBOW, DECAY, LEAST = "elbow", "exponent", "/ (n / 12k²)"
TREE, CUT, NARROWEST = "the least tree's", "its three clusters", "narrowest path"
WARD, FALL, SIDES, INVERSION = "Ward: half", "largest fall", "longer side", "equilateral"
TRACE, SVD, DESCENT, ERROR, CONTRACTION = "variances /", "by SVD", "plane of descent", "error of descent", "contraction"
ENTROPY, MEANS, SLOPE, NORM, EARLY = "entropy", "P beside", "complex step", "norm of", "exaggerated"
VALUE, DIVERGENCE, NEIGHBOURS = "sum over pairs", "KL of the map", "nearest neighbours"
HERE, HIERARCHY, SANDBOX = "experiments.unsupervised.", "scipy.cluster.hierarchy.", "sandbox."

PLUS_PLUS, LEAST_OF, KMEANS, LLOYD = unsupervised.plus_plus, unsupervised.least, problems.kmeans, unsupervised.lloyd
FLOWERS = sklearn.datasets.load_iris().data
SLOPES, COV, DESCENDS, RING = unsupervised.slope, np.cov, optimizers.gradient_descent, unsupervised.planted
LINKAGE, COMPONENTS = scipy.cluster.hierarchy.linkage, scipy.sparse.csgraph.connected_components


def longer(factor):
    """Lloyd's steps, longer or shorter."""
    return lambda: optax.chain(LLOYD(), optax.scale(factor))


def scaled(factor):
    """k-means, times a factor."""

    def other(X, clusters):
        problem = KMEANS(X, clusters)
        return SimpleNamespace(init=problem.init, loss=lambda params, batch: factor * problem.loss(params, batch, None))

    return other


def first(X, k, runs, seed):
    """Many starts: the first example, and others close to it."""
    if runs < 1000:
        return PLUS_PLUS(X, k, runs, seed)
    return np.argsort(unsupervised.squared(X)[0])[None, :k].repeat(runs, 0)


def other(method, by):
    """SciPy's linkage, of which one method is another."""
    return lambda points, name: LINKAGE(points, by if name == method else name)


def moved(key, by):
    """A solver that ends elsewhere: by(params)."""

    def beside(problem):
        found = solve(problem)
        return found._replace(params={**found.params, key: by(found.params[key])}) if key in found.params else found

    return beside


def worse(problem):
    """A solver that tells another value."""
    found = solve(problem)
    return found._replace(value=found.value + 2)


def uncertain(problem):
    """A solver whose certificate is another."""
    found = solve(problem)
    return found._replace(certificate=found.certificate * 1.001)


def shuffled(Y):
    return np.random.default_rng(0).permutation(Y)


def rolled(graph, directed):
    count, labels = COMPONENTS(graph, directed=directed)
    return count, np.roll(labels, 1)


BROKEN = {  # the part, what is broken in it, by what, and parts of the names of the claims that fail
    "steps too long": ("starts", HERE + "lloyd", longer(2.2), {RISE, GRADIENT, TEN, PLANTED} | IRIS),
    "steps too short": ("starts", HERE + "lloyd", longer(0.1), {GRADIENT, TEN, PLANTED} | IRIS),
    "another enumeration": ("starts", HERE + "least", lambda X, k: LEAST_OF(X, 2), {TEN}),
    "clusters that overlap": ("starts", HERE + "RADIUS", 1.0, {PLANTED}),
    "starts close together": ("starts", HERE + "plus_plus", first, {MEAN, SHARE}),
    "random starts that are none": (
        "starts", HERE + "uniform", lambda k, runs, seed: PLUS_PLUS(RING(5)[0], k, runs, seed), {CHANCE},
    ),
    "other flowers": ("starts", "sklearn.datasets.load_iris", lambda: SimpleNamespace(data=1.001 * FLOWERS), IRIS),
    "one cloud": ("elbows", HERE + "RADIUS", 0.0, {ELBOW}),
    "steps too short on the line": ("elbows", HERE + "lloyd", longer(0.01), {DECAY}),
    "a smaller objective": ("elbows", SANDBOX + "problems.kmeans", scaled(0.9), {LEAST}),
    "average for single": ("trees", HIERARCHY + "linkage", other("single", "average"), {TREE, NARROWEST}),
    "other parts of the tree": ("trees", "scipy.sparse.csgraph.connected_components", rolled, {CUT}),
    "average for Ward": ("merges", HIERARCHY + "linkage", other("ward", "average"), {WARD}),
    "centroids for single": ("merges", HIERARCHY + "linkage", other("single", "centroid"), {FALL, SIDES}),
    "distances themselves": (
        "merges", HIERARCHY + "cophenet", lambda Z: pdist(unsupervised.blobs()), {SIDES},
    ),
    "average for centroids": ("merges", HIERARCHY + "linkage", other("centroid", "average"), {INVERSION}),
    "1/(n − 1)": ("planes", "numpy.cov", lambda X, bias: COV(X), {TRACE, ERROR, CONTRACTION}),
    "a plane beside it": ("planes", HERE + "solve", moved("components", lambda W: W + 1e-6 * W[:, ::-1]), {SVD}),
    "a rate 1 % too large": (
        "planes", SANDBOX + "optimizers.gradient_descent", lambda r: DESCENDS(1.01 * r), {CONTRACTION},
    ),
    "a rate too small": (
        "planes", SANDBOX + "optimizers.gradient_descent", lambda r: DESCENDS(0.01 * r), {DESCENT, ERROR, CONTRACTION},
    ),
    "another perplexity": (
        "mapped", HERE + "neighbourhoods", lambda X, perplexity: neighbourhoods(X, 1.01 * perplexity), {ENTROPY, MEANS},
    ),
    "twice the slope": ("mapped", HERE + "slope", lambda P, Y: 2 * SLOPES(P, Y), {SLOPE, NORM, EARLY}),
    "less exaggeration": ("mapped", HERE + "slope", lambda P, Y: SLOPES(P / jnp.maximum(P.sum() / 4, 1), Y), {EARLY}),
    "another certificate": ("mapped", HERE + "solve", uncertain, {NORM}),
    "another value": ("mapped", HERE + "solve", worse, {VALUE, DIVERGENCE}),
    "a map shuffled": ("mapped", HERE + "solve", moved("map", shuffled), {NORM, VALUE, NEIGHBOURS}),
}  # fmt: skip


@pytest.mark.slow
def test_unsupervised():
    unsupervised.descended.clear_cache()
    found = unsupervised.main(fast=True)
    assert len(found.claims) == 33
    assert all(claim.holds for claim in found.claims), [claim.name for claim in found.claims if not claim.holds]
    fragments = set.union(*(broken for *_, broken in BROKEN.values()))
    assert all(sum(fragment in claim.name for fragment in fragments) == 1 for claim in found.claims)
    assert len(found.figures["figure"][0].axes) == 6


@pytest.mark.slow
@pytest.mark.parametrize(("part", "target", "by", "fragments"), BROKEN.values(), ids=BROKEN)
def test_a_wrong_side_is_found_out(monkeypatch, part, target, by, fragments):
    monkeypatch.setattr(target, by)
    if target.endswith(("lloyd", "kmeans")):
        unsupervised.descended.clear_cache()
    with jax.enable_x64(True):
        claims = getattr(unsupervised, part)().claims
    if target.endswith(("lloyd", "kmeans")):
        unsupervised.descended.clear_cache()
    expected = {claim.name for claim in claims for fragment in fragments if fragment in claim.name}
    assert len(expected) == len(fragments)
    assert {claim.name for claim in claims if not claim.holds} == expected


def test_newtons_steps_are_lloyds(x64):
    """From one start, the centres of scikit-learn's Lloyd; steps on the diagonal of the Hessian go there."""
    X = sklearn.datasets.load_iris().data
    start = X[[3, 60, 140]]
    theirs = KMeans(3, init=start, n_init=1, tol=0, algorithm="lloyd").fit(X)
    chosen = np.array([[3, 60, 140]])
    (objective,), slopes = unsupervised.walks([(X, chosen)])
    assert objective[0, -1] == pytest.approx(theirs.inertia_, rel=1e-12)
    assert slopes.max() < 1e-10
    members = unsupervised.squared(np.concatenate([start, X]))[3:, :3].argmin(1)
    means = np.stack([X[members == c].mean(0) for c in range(3)])
    second = np.sum(np.min(np.sum((X[:, None] - means) ** 2, -1), 1))
    assert objective[0, 1] == pytest.approx(second, rel=1e-12)


def test_the_enumeration_is_that_of_a_loop():
    X = np.random.default_rng(3).normal(size=(5, 2))
    inside = lambda part: np.sum((X[part] - X[part].mean(0)) ** 2) if part.any() else 0.0
    ways = [np.array([(way >> i) % 2 for i in range(5)]) for way in range(32)]
    assert unsupervised.least(X, 2) == pytest.approx(min(inside(w == 0) + inside(w == 1) for w in ways), rel=1e-12)


def test_the_next_centre_has_a_chance_in_proportion_to_its_cost(monkeypatch):
    monkeypatch.setattr(unsupervised, "N", 3)
    X = np.array([[0.0], [1.0], [3.0]])
    chosen = unsupervised.plus_plus(X, 2, 20_000, seed=0)
    after = chosen[chosen[:, 0] == 0, 1]
    assert np.mean(after == 2) == pytest.approx(0.9, abs=0.02)
    assert not np.any(chosen[:, 0] == chosen[:, 1])


def test_neighbourhoods_have_the_entropy_that_is_asked_for(x64):
    X = np.random.default_rng(4).normal(size=(40, 3))
    p = np.asarray(neighbourhoods(X, 7.0))
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-12)
    np.testing.assert_allclose(np.exp(-np.sum(np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0), 1)), 7, rtol=1e-10)
    assert np.diagonal(p).max() == 0
    squares = unsupervised.squared(X)
    slope = lambda i, j: np.log(p[3:, i] / p[3:, j]) / (squares[3:, j] - squares[3:, i])  # β, from any pair
    np.testing.assert_allclose(slope(0, 1), slope(1, 2), rtol=1e-8)


def test_the_sine_is_that_of_the_largest_principal_angle():
    from scipy.linalg import subspace_angles

    rng = np.random.default_rng(5)
    W, V = rng.normal(size=(3, 6)), np.linalg.qr(rng.normal(size=(6, 3)))[0]
    assert unsupervised.sine(W[None], V)[0] == pytest.approx(np.sin(subspace_angles(W.T, V)[0]), rel=1e-12)
