"""k-means, principal components and t-SNE as problems: known optima, scikit-learn's values, theorems."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, load_iris
from sklearn.decomposition import PCA
from sklearn.manifold import _t_sne

from sandbox import optimizers, problems
from sandbox.engine import full_loss, run, solve, unsupervised
from sandbox.problems.unsupervised import plus_plus, squared_distances

IRIS, DIGITS = load_iris().data, load_digits().data


@pytest.mark.parametrize(("clusters", "optimum"), [(2, 152.348), (3, 78.851), (4, 57.228)])
def test_the_optimal_clusters_of_iris(clusters, optimum):
    """Of all partitions, by branch and bound (Aloise, Hansen & Liberti 2012)."""
    solution = solve(problems.kmeans(IRIS, clusters))
    assert solution.status == "converged"
    assert solution.value == pytest.approx(optimum, abs=1e-3)


@pytest.mark.slow
def test_one_cluster_is_the_mean_and_as_many_as_examples_cost_nothing(x64):
    X = np.random.default_rng(0).normal(size=(12, 3))
    one = solve(problems.kmeans(X, 1))
    np.testing.assert_allclose(one.params["centres"], X.mean(0)[None], atol=1e-14)
    assert one.value == pytest.approx(12 * X.var(0).sum())
    assert solve(problems.kmeans(X, 12)).value == pytest.approx(0, abs=1e-13)


def test_the_sum_is_scikit_learns_inertia_and_its_minimum_no_worse():
    theirs = KMeans(10, n_init=10, random_state=0).fit(DIGITS)
    problem = problems.kmeans(DIGITS, 10)
    assert float(problem.objective({"centres": jnp.asarray(theirs.cluster_centers_)})) == pytest.approx(
        theirs.inertia_, rel=1e-5
    )
    assert solve(problem).value <= 1.005 * theirs.inertia_


def test_lloyds_steps_never_raise_the_sum_and_end_where_scikit_learns_do(x64):
    start = DIGITS[:10]
    theirs = KMeans(10, init=start, n_init=1, tol=0, algorithm="lloyd").fit(DIGITS)
    centres, steps, value = unsupervised._lloyd(jnp.asarray(DIGITS), jnp.asarray(start)[None])
    np.testing.assert_allclose(centres[0], theirs.cluster_centers_, rtol=1e-9, atol=1e-9)
    assert float(value[0]) == pytest.approx(theirs.inertia_, rel=1e-9)
    sums, walk = [], np.asarray(start)
    for _ in range(int(steps[0])):
        members = np.asarray(squared_distances(jnp.asarray(DIGITS), jnp.asarray(walk))).argmin(1)
        sums.append(((DIGITS - walk[members]) ** 2).sum())
        walk = np.stack([DIGITS[members == c].mean(0) for c in range(10)])
    assert (np.diff(sums) <= 0).all()


def test_a_centre_without_examples_stays():
    X, start = jnp.array([[0.0], [1.0], [10.0]]), jnp.array([[[0.5], [10.0], [99.0]]])
    centres, _, value = unsupervised._lloyd(X, start)
    np.testing.assert_allclose(centres[0, :, 0], [0.5, 10, 99])
    assert float(value[0]) == 0.5


@pytest.mark.slow
def test_starts_are_examples_and_better_than_chance(x64):
    """k-means++ is within 8 (2 + log k) of the optimum in expectation (Arthur & Vassilvitskii 2007)."""
    X = jnp.asarray(IRIS)
    starts = jax.vmap(lambda key: plus_plus(key, X, 4))(jax.random.split(jax.random.key(0), 100))
    cost = jax.vmap(lambda centres: jnp.sum(jnp.min(squared_distances(X, centres), 1)))
    chosen = jax.vmap(lambda key: jax.random.choice(key, X, (4,), replace=False))(
        jax.random.split(jax.random.key(1), 100)
    )
    assert (np.asarray(squared_distances(starts.reshape(-1, 4), X)).min(1) < 1e-5).all()
    assert cost(starts).mean() <= 8 * (2 + np.log(4)) * 57.228
    assert cost(starts).mean() < 0.7 * cost(chosen).mean()
    same = plus_plus(jax.random.key(0), jnp.ones((5, 2)), 3)
    np.testing.assert_array_equal(same, np.ones((3, 2)))


def test_components_are_scikit_learns():
    solution = solve(problems.pca(DIGITS, 5))
    theirs = PCA(5, svd_solver="full").fit(DIGITS)
    turned = np.sign(np.sum(theirs.components_ * solution.params["components"], 1))
    np.testing.assert_allclose(turned[:, None] * theirs.components_, solution.params["components"], atol=1e-9)
    left = DIGITS.var(0).sum() - theirs.explained_variance_.sum() * (len(DIGITS) - 1) / len(DIGITS)
    assert solution.status == "converged"
    assert solution.value == pytest.approx(left, rel=1e-9)


def test_descent_finds_the_plane_of_the_components(x64):
    """No other minimum is local (Baldi & Hornik 1989): W turns within the plane, WᵀW is the projection onto it."""
    problem = problems.pca(IRIS, 2)
    best = solve(problem)
    walk = run(problem, optimizers.gradient_descent(0.05), steps=3000, key=jax.random.key(1), record=full_loss)
    W, V = np.asarray(walk.params["components"]), best.params["components"]
    assert float(walk.value) == pytest.approx(best.value, rel=1e-9)
    np.testing.assert_allclose(W.T @ W, V.T @ V, atol=1e-6)


PROBABLE = problems.tsne(DIGITS[:200], 15.0)


def test_neighbours_are_scikit_learns():
    squares = squareform(pdist(DIGITS[:200], "sqeuclidean")).astype(np.float32)
    theirs = squareform(_t_sne._joint_probabilities(squares, 15.0, 0))
    np.testing.assert_allclose(PROBABLE.structure.P, theirs, rtol=1e-3, atol=1e-9)
    assert PROBABLE.structure.P.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("perplexity", [2.0, 15.0, 60.0])
def test_neighbours_are_mutual_and_of_an_equilateral_set_all_the_others(perplexity):
    P = problems.tsne(DIGITS[:80], perplexity).structure.P
    assert (P >= 0).all()
    assert np.abs(P - P.T).max() == 0
    assert np.diagonal(P).max() == 0
    simplex = problems.tsne(np.eye(80), perplexity).structure.P
    np.testing.assert_allclose(simplex[~np.eye(80, dtype=bool)], 1 / (80 * 79), rtol=1e-12)


@pytest.mark.slow
def test_the_slope_is_that_of_the_divergence_and_scikit_learns(x64):
    Y = np.random.default_rng(0).normal(size=(200, 2))
    by_hand = unsupervised.slope(jnp.asarray(PROBABLE.structure.P), jnp.asarray(Y))
    gradient = jax.grad(PROBABLE.objective)({"map": jnp.asarray(Y)})["map"]
    np.testing.assert_allclose(by_hand, gradient, atol=1e-13)
    pairs = squareform(PROBABLE.structure.P, checks=False)
    value, theirs = _t_sne._kl_divergence(Y.ravel(), pairs, 1, 200, 2)
    assert float(PROBABLE.objective({"map": jnp.asarray(Y)})) == pytest.approx(value, rel=1e-9)
    np.testing.assert_allclose(gradient, theirs.reshape(-1, 2), atol=1e-13)


def test_a_map_keeps_neighbours():
    solution = solve(PROBABLE, key=jax.random.key(3))
    again = solve(PROBABLE, key=jax.random.key(3))
    np.testing.assert_array_equal(solution.params["map"], again.params["map"])
    assert solution.status == "stopped"
    labels, Y = load_digits().target[:200], solution.params["map"]
    nearest = np.asarray(squared_distances(Y, Y) + 1e9 * np.eye(200)).argmin(1)
    assert (labels[nearest] == labels).mean() > 0.85
    assert solution.value < 0.75 * float(PROBABLE.objective(PROBABLE.init(jax.random.key(3))))


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="clusters=0: expected a whole number from 1 to 150"):
        problems.kmeans(IRIS, 0)
    with pytest.raises(ValueError, match="components=5: expected a whole number from 1 to 4"):
        problems.pca(IRIS, 5)
    with pytest.raises(ValueError, match="perplexity=149: expected from 1 to less than 149"):
        problems.tsne(IRIS, 149)
    with pytest.raises(ValueError, match="leave batch_size out"):
        run(PROBABLE, optimizers.gradient_descent(0.1), steps=1, key=jax.random.key(0), batch_size=10)
    with pytest.raises(ValueError, match="kmeans takes 'lloyd' or 'bfgs'"):
        solve(problems.kmeans(IRIS, 2), method="newton")
