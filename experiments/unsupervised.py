"""Without labels: clusters, trees, planes and maps.

Question: What do k-means, single linkage and Ward's method, principal components and t-SNE find when nobody tells them
what to look for, and where is it known exactly what they must find?

Prediction: Lloyd's step is Newton's (Bottou & Bengio 1995) and never raises the objective (Lloyd 1982). A k-means++
start costs at most 8 (ln k + 2) times the optimum on average (Arthur & Vassilvitskii 2007); a random one has a centre
in each of k equal clusters with a chance of about k!/kᵏ. The objective falls like k^(−2/d) on a uniform density of d
dimensions (Zador 1982) and has its elbow at the number of clusters. Single linkage is the minimum spanning tree (Gower
& Ross 1969); Ward's heights add up to the scatter (Ward 1963); heights make an ultrametric, except those of centroids.
Descent on the reconstruction error finds the plane of the eigenvectors, its angle shrinking by 1 − 2η(λₖ − λₖ₊₁) a
step. In t-SNE each neighbourhood has the entropy log perplexity, and the first, exaggerated steps are a power iteration
(Linderman & Steinerberger 2019).

Found: All of it. Exact sides agree to 1e-11, the exaggerated slope and its linear law to 7e-8, the contraction of three
planes to 4e-6. On five clusters that are far apart a k-means++ start costs 4.2 times the optimum on average, where 28.9
is allowed; 99 % of them end in the optimum, of random starts 44 %, though only 3.8 % have a centre in each cluster. On
a line the exponent is −1.995. In the map of 300 digits 95 % have a nearest neighbour of their digit, on the plane of
two components 52 %.
"""

from itertools import product
from math import comb

import jax
import jax.numpy as jnp
import numpy as np
from optax import GradientTransformationExtraArgs

from sandbox import optimizers, problems
from sandbox.data import load_digits, load_wine
from sandbox.engine import run, solve
from sandbox.engine.unsupervised import slope
from sandbox.problems.unsupervised import neighbourhoods
from sandbox.report import Claim, same
from sandbox.report.plots import COLOURS, DASHED, GREY, MARKERS
from sandbox.reproduction import Findings, Part, findings

N, D, MOST = 150, 4, 9  # examples, features and centres: as iris has, so that one program serves all
FAR, STEPS = 1e6, 40  # where centres lie that are not in use; Lloyd's steps
RADIUS, PLANTED = 30.0, (3, 5, 6)  # the circle on which clusters of deviation 1 lie, and how many
IRIS = {2: 152.348, 3: 78.851, 4: 57.228}  # optima (Aloise, Hansen & Liberti 2012)
RATE, COMPONENTS, PERPLEXITY, DIGITS, EXAGGERATION = 0.03, 3, 30.0, 300, 12.0
INKS = (*COLOURS, "#7A3E9D", "#A0522D")  # of the digits


def main(fast: bool) -> Findings:
    """Centres, trees, planes and a map, in double precision."""
    with jax.enable_x64(True):
        parts = [starts(), elbows(), trees(), merges(), planes(), mapped()]
    return findings(parts, caption(), rows=2)


def lloyd() -> GradientTransformationExtraArgs:
    """c ← c − ∇f / f″: of k-means the Hessian is diagonal, 2 n_c for centre c, and one product with it gives all."""

    def update(gradient, state, x, *, grad_fn, **_):
        curvature = jax.jvp(grad_fn, (x,), (jax.tree.map(jnp.ones_like, x),))[1]
        step = lambda g, h: jnp.where(h > 0, -g / jnp.maximum(h, 1), 0)  # a centre without examples stays
        return jax.tree.map(step, gradient, curvature), state

    return GradientTransformationExtraArgs(lambda x: (), update)


@jax.jit
@jax.vmap
def descended(X, centres):
    """k-means along Lloyd's steps, and the gradient in the end."""
    shape = problems.kmeans(np.zeros((N, D)), MOST)
    problem = problems.Problem("kmeans", shape.init, shape.loss, data=X)
    walk = run(problem, lloyd(), steps=STEPS, key=jax.random.key(0), params={"centres": centres})
    return walk.trace["loss"], walk.trace["grad_norm"][-1]


def walks(lanes: list) -> tuple[list, np.ndarray]:
    """Objectives, (starts, steps), of every (examples, starts), where a start is some of the examples; gradients."""
    rng = np.random.default_rng(0)
    data, centres = [], []
    for X, chosen in lanes:
        at = np.full((len(chosen), MOST, D), FAR)
        at[:, : chosen.shape[1]] = X[chosen]
        data.append(np.broadcast_to(X, (len(chosen), N, D)))
        centres.append(at + 1e-3 * rng.normal(size=at.shape))  # ‖x − c‖², as a product, has no curvature at 0
    objectives, slopes = map(np.asarray, descended(np.concatenate(data), np.concatenate(centres)))
    return np.split(objectives, np.cumsum([len(chosen) for _, chosen in lanes])[:-1]), slopes


def plus_plus(X, k: int, runs: int, seed: int) -> np.ndarray:
    """k examples, the next with a chance in proportion to what it costs now: as in the theorem, of one draw each."""
    rng, squares = np.random.default_rng(seed), squared(X)
    chosen = rng.integers(N, size=(runs, 1))
    for _ in range(k - 1):
        upto = np.cumsum(squares[chosen].min(1), axis=1)
        drawn = np.sum(upto <= rng.random((runs, 1)) * upto[:, -1:], axis=1, keepdims=True)
        chosen = np.hstack([chosen, np.minimum(drawn, N - 1)])
    return chosen


def uniform(k: int, runs: int, seed: int) -> np.ndarray:
    """k different examples, all alike."""
    return np.argsort(np.random.default_rng(seed).random((runs, N)), axis=1)[:, :k]


def squared(X) -> np.ndarray:
    """‖xᵢ − xⱼ‖²."""
    return np.sum((X[:, None] - X) ** 2, axis=-1)


def planted(K: int) -> tuple[np.ndarray, np.ndarray]:
    """Equal clusters on a circle, of deviation 1 in each feature, and which example is in which."""
    cluster = np.arange(N) % K
    angle = 2 * np.pi * cluster / K
    ring = RADIUS * np.stack([np.cos(angle), np.sin(angle), 0 * angle, 0 * angle], axis=1)
    return ring + np.random.default_rng(K).normal(size=(N, D)), cluster


def least(X, k: int) -> float:
    """Of all ways to give the examples to k clusters: Σ ‖x‖² − Σ ‖sum of a cluster‖² / its size."""
    ways = np.array([(0, *others) for others in product(range(k), repeat=len(X) - 1)])
    belongs = (ways[:, None] == np.arange(k)[:, None]).astype(float)
    sizes = np.maximum(belongs.sum(2), 1)
    return float(np.sum(X**2) - np.max(np.sum(np.sum((belongs @ X) ** 2, axis=2) / sizes, axis=1)))


def starts(K: int = 5, runs: int = 70, draws: int = 2000) -> Part:
    """Lloyd's steps from many starts, and the optimum: of ten points, of iris, of clusters that are far apart."""
    from sklearn.datasets import load_iris

    iris, (X, cluster) = load_iris().data, planted(K)
    ten = np.random.default_rng(1).normal(size=(10, D))
    tiny = np.repeat(ten, N // 10, axis=0)
    clever, blind = plus_plus(X, K, draws, seed=2), uniform(K, draws, seed=3)
    lanes = [(X, clever[:runs]), (X, blind[:runs]), (tiny, plus_plus(tiny, 3, 19, seed=4))]
    lanes += [(iris, plus_plus(iris, k, 19, seed=k)) for k in IRIS]
    found, slopes = walks(lanes)
    ends = [objective[:, -1] for objective in found]
    rises = np.max([np.max(np.diff(objective, axis=1) / objective[:, :1]) for objective in found])
    optimum, squares = sum(X[cluster == c].var(0).sum() * (N // K) for c in range(K)), squared(X)
    cost = lambda chosen: squares[chosen].min(1).sum(1) / optimum
    bound, chance = 8 * (np.log(K) + 2), (N // K) ** K / comb(N, K)
    everywhere = np.mean([len(set(cluster[chosen])) == K for chosen in blind])
    shares = [np.mean(end <= (1 + 1e-9) * optimum) for end in ends[:2]]
    claims = [
        Claim("k-means: largest rise of the objective in a step", rises, 0, "≤", 1e-12, "Lloyd 1982"),
        same("k-means: gradient where Lloyd's steps end", slopes, "a fixed point is stationary", 1e-9),
        same("k-means of ten points, of 3⁹ partitions", ends[2].min() / (N // 10) / least(ten, 3) - 1, "enumerated"),
        *(
            Claim(f"k-means of iris, k = {k}", end.min(), IRIS[k], "≈", 5e-4, "Aloise, Hansen & Liberti 2012")
            for k, end in zip(IRIS, ends[3:], strict=True)
        ),
        same("k-means beside the planted clusters", np.min(ends[:2]) / optimum - 1, "far apart"),
        Claim("k-means++: a start / optimum, mean", cost(clever).mean(), bound, "≤", 0, "Arthur & Vassilvitskii 2007"),
        Claim("random starts with a centre in each cluster", everywhere, chance, "≈",
              4 * np.sqrt(chance * (1 - chance) / draws), "mᵏ / (n over k); 4 standard errors"),
        Claim("k-means++: share that ends in the optimum, beside random", shares[0], shares[1], "≥", 0, "the same"),
    ]  # fmt: skip

    def draw(ax):
        for objective, colour, label in zip(found[1::-1], (GREY, COLOURS[0]), ("random", "k-means++"), strict=True):
            ax.semilogy(objective[:, :13].T / optimum, color=colour, lw=0.6, alpha=0.35)
            ax.plot([], [], color=colour, label=f"{label}: {shares[label == 'random']:.0%} end in the optimum")
        ax.axhline(bound, **DASHED, label="$8\\,(\\ln k + 2)$, for the mean start of k-means++")
        ax.set(title="The start decides", xlabel="Lloyd's step", ylabel="objective / optimum", ylim=(0.6, 4e3))
        ax.legend(loc="upper right")

    return Part(claims, draw)


def elbows(runs: int = 6) -> Part:
    """The least objective found for each number of centres: where clusters are planted, and on a line."""
    line = np.zeros((N, D))
    line[:, 0] = (np.arange(N) + 0.5) / N
    sets = {f"{K} clusters": planted(K)[0] for K in PLANTED} | {"a uniform line": line}
    counts = np.arange(1, MOST + 1)
    found, _ = walks([(X, plus_plus(X, k, runs, seed=k)) for X in sets.values() for k in counts])
    curves = np.reshape([objective[:, -1].min() for objective in found], (len(sets), MOST))
    named = 2 + np.diff(np.log(curves[:-1]), 2, axis=1).argmax(1)
    length = curves[-1] + 1 / (12 * N)  # what the N points of the line lack of their intervals
    decay = np.polyfit(np.log(counts), np.log(length), 1)[0]
    claims = [
        same("elbow: largest second difference of the log, beside the clusters", named - PLANTED, "planted", 0),
        Claim("uniform line: exponent of the objective in k", decay, -2, "≈", 0.01, "Zador 1982, d = 1"),
        Claim(
            "uniform line: objective / (n / 12k²), least",
            (12 / N * counts**2 * length).min(),
            1,
            "≥",
            1e-12,
            "equal intervals",
        ),
    ]

    def draw(ax):
        for (label, marker), curve in zip(zip(sets, MARKERS, strict=False), [*curves[:-1], length], strict=True):
            ax.semilogy(counts, curve / curve[0], marker=marker, ms=4, lw=1.3, label=label)
        for K, curve in zip(PLANTED, curves, strict=False):
            ax.plot(K, curve[K - 1] / curve[0], "o", ms=13, mfc="none", mec="k", mew=0.9)
        ax.plot(counts, 1.0 / counts**2, **DASHED, zorder=4, label="$k^{-2/d}$, $d = 1$")
        ax.set(xlabel="centres $k$", ylabel="least objective / that of one", title="The elbow names the clusters")
        ax.legend(loc="upper right")

    return Part(claims, draw)


def blobs() -> np.ndarray:
    """Three clouds of twenty points in the plane."""
    return np.repeat([[0.0, 0.0], [5.0, 1.0], [1.5, 5.0]], 20, axis=0) + np.random.default_rng(5).normal(size=(60, 2))


def trees(K: int = 3) -> Part:
    """Single linkage and the minimum spanning tree."""
    from scipy.cluster.hierarchy import cophenet, fcluster, linkage
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
    from scipy.spatial.distance import pdist, squareform

    points = blobs()
    distances, merged = squareform(pdist(points)), linkage(points, "single")
    tree = minimum_spanning_tree(distances).tocoo()
    order = np.argsort(tree.data)
    edges = np.stack([tree.row, tree.col], axis=1)[order]
    rest = coo_array((np.ones(len(edges) - K + 1), tuple(edges[: 1 - K].T)), distances.shape)
    cut, joined = connected_components(rest, directed=False)[1], fcluster(merged, K, "maxclust")
    pairs, source = lambda labels: labels[:, None] == labels, "Gower & Ross 1969"
    widest = distances.copy()  # the least width of a path's longest edge, after Floyd & Warshall
    for j in range(len(points)):
        widest = np.minimum(widest, np.maximum(widest[:, [j]], widest[j]))
    claims = [
        same("single linkage: heights beside the least tree's edges", merged[:, 2] - tree.data[order], source),
        same("its three clusters beside the tree cut at its longest edges", pairs(cut) != pairs(joined), source, 0),
        same("its cophenetic distance beside the narrowest path", squareform(cophenet(merged)) - widest, "Hu 1961"),
    ]

    def draw(ax):
        for part, look in ((edges[: 1 - K], {"color": GREY, "lw": 1.2}), (edges[1 - K :], DASHED)):
            ax.plot(*points[part].T, **look, zorder=1)
        for c in range(K):
            ax.plot(*points[cut == c].T, MARKERS[c], color=COLOURS[c], ms=5)
        ax.plot([], [], **DASHED, label="cut: the longest edges")
        ax.set(xlabel="$x_1$", ylabel="$x_2$", title="Single linkage is the least spanning tree")
        ax.legend(loc="upper right")

    return Part(claims, draw)


def merges() -> Part:
    """Heights of merges: Ward's add up to the scatter, all but those of centroids rise."""
    from scipy.cluster.hierarchy import cophenet, dendrogram, leaves_list, linkage, set_link_color_palette
    from scipy.spatial.distance import squareform

    points = blobs()
    merged = {name: linkage(points, name) for name in ("single", "complete", "average", "ward")}
    falls = max((-np.diff(Z[:, 2])).max() for Z in merged.values())
    far = [squareform(cophenet(Z)) for Z in merged.values()]
    excess = max((d[:, None] - np.maximum(d[:, :, None], d)).max() for d in far)  # d(i, k) over d(i, j), d(j, k)
    ward, scatter = merged["ward"], len(points) * points.var(0).sum()
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])
    inverted = linkage(corners, "centroid")[:, 2]
    claims = [
        same("Ward: half the squared heights / scatter − 1", np.sum(ward[:, 2] ** 2) / 2 / scatter - 1, "Ward 1963"),
        Claim("single, complete, average, Ward: largest fall of the height", falls, 0, "≤", 0, "Milligan 1979"),
        Claim("the same: distance above the longer side of a triangle", excess, 0, "≤", 0, "ultrametric, Johnson 1967"),
        same("centroids: an equilateral triangle's heights − 1, √¾", inverted - [1, np.sqrt(0.75)], "they fall"),
    ]

    def draw(ax):
        height = ward[-3:-1, 2].mean()
        set_link_color_palette([COLOURS[c] for c in dict.fromkeys(leaves_list(ward) // 20)])  # as in the tree
        dendrogram(ward, ax=ax, color_threshold=height, above_threshold_color="k", no_labels=True)
        set_link_color_palette(None)
        ax.axhline(height, **DASHED)
        ax.set(xlabel="the same points", ylabel="height of the merge", title="Ward's heights add up to the scatter")
        ax.grid(False, axis="x")

    return Part(claims, draw)


def planes(steps: int = 800) -> Part:
    """Principal components by eigenvectors, by singular vectors and by descent."""
    X = load_wine().X
    d = X.shape[1]
    values, axes = (side[..., ::-1] for side in np.linalg.eigh(np.cov(X.T, bias=True)))
    problem = problems.pca(X, COMPONENTS)
    rows = np.tri(COMPONENTS)[:, :, None]  # a row that starts at zero stays there: one program for 1, 2, 3 components
    first = rows * np.random.default_rng(6).normal(size=(COMPONENTS, d)) / np.sqrt(d)
    record = lambda info: {"W": info.params["components"], "loss": info.value}
    options = {"steps": steps, "key": jax.random.key(0), "record": record}
    walk = lambda W: run(problem, optimizers.gradient_descent(RATE), params={"components": W}, **options)
    trace = jax.tree.map(np.asarray, jax.jit(jax.vmap(walk))(first).trace)
    counts = range(1, COMPONENTS + 1)
    angles = [sine(trace["W"][k - 1, :, :k], axes[:, :k]) for k in counts]
    laws = 1 - 2 * RATE * (values - np.append(values[1:], 0))[:COMPONENTS]
    rates = np.array([contraction(angle) for angle in angles])
    ends, left, svd = trace["loss"][:, -1], [values[k:].sum() for k in counts], solve(problem).params["components"]
    claims = [
        same("PCA: variances / those of the features − 1", values.sum() / X.var(0).sum() - 1, "trace"),
        same(
            "PCA: plane of `solve`, by SVD, from the eigenvectors'",
            sine(svd[None], axes[:, :COMPONENTS]),
            "Pearson 1901",
        ),
        same("PCA: plane of descent from the eigenvectors'", [a[-1] for a in angles], "Baldi & Hornik 1989", 1e-9),
        same("PCA: error of descent − eigenvalues left out", ends - left, "Eckart & Young 1936"),
        same("PCA: (1 − contraction of the angle) / 2η(λₖ − λₖ₊₁) − 1", (1 - rates) / (1 - laws) - 1, "∇²f", 1e-3),
    ]

    def draw(ax):
        for k, angle, law in zip(counts, angles, laws, strict=True):
            seen = angle > 1e-11
            ax.semilogy(np.arange(steps)[seen], angle[seen], color=COLOURS[k - 1], label=f"{k} component{'s'[: k > 1]}")
            at = np.argmax(angle < 1e-6)
            t = np.arange(max(at - 250, 0), np.argmax(~seen) or steps)
            ax.plot(t, angle[at] * law ** (t - at), **DASHED, zorder=4)
        ax.plot([], [], **DASHED, label=r"$1 - 2\eta(\lambda_k - \lambda_{k+1})$ a step")
        ax.set(title="Descent finds the components' plane", ylim=(1e-11, 3))
        ax.set(xlabel="step of gradient descent", ylabel="sine of the angle to the plane")
        ax.legend(loc="upper right", fontsize=8)
        inset = ax.inset_axes((0.66, 0.45, 0.33, 0.26))
        inset.bar(np.arange(1, d + 1), np.cumsum(values) / values.sum(), color="#cfd3da")
        inset.scatter(counts, 1 - ends / values.sum(), c=COLOURS[:COMPONENTS], marker="x", s=26, lw=1.6, zorder=3)
        inset.set_title("variance explained", fontsize=8, fontweight="normal")
        inset.tick_params(labelsize=7)

    return Part(claims, draw)


def sine(W, V) -> np.ndarray:
    """Of the largest angle between the rows of each W and the columns of V."""
    Q = np.linalg.qr(np.swapaxes(W, -1, -2))[0]
    return np.linalg.norm(Q - V @ (V.T @ Q), 2, axis=(-2, -1))


def contraction(angle) -> float:
    """A step, on the way from 1e-6 to 1e-9."""
    a, b = np.argmax(angle < 1e-6), np.argmax(angle < 1e-9)
    return float((angle[b] / angle[a]) ** (1 / (b - a))) if a < b else np.nan


def mapped() -> Part:
    """t-SNE of the first digits."""
    X, digit = load_digits().X[:DIGITS], load_digits().y[:DIGITS]
    problem, n = problems.tsne(X, PERPLEXITY), DIGITS
    P, solution = problem.structure.P, solve(problem)
    Y, small = solution.params["map"], 1e-4 * np.random.default_rng(7).normal(size=(n, 2))
    plane = (X - X.mean(0)) @ np.linalg.eigh(np.cov(X.T))[1][:, -2:]
    p = np.asarray(neighbourhoods(np.asarray(X), PERPLEXITY))
    entropies = -np.sum(p * np.log(np.where(p > 0, p, 1)), axis=1)
    there, here, early = map(jax.jit(slope), (P, P, EXAGGERATION * P), (Y, plane, small))
    along = np.random.default_rng(8).normal(size=(3, n, 2))
    laplacian = lambda A: np.diag(A.sum(1)) - A
    push = 4 * (EXAGGERATION * laplacian(P) - laplacian((1 - np.eye(n)) / (n * (n - 1)))) @ small
    flat = min(divergence(P, scale * plane) for scale in np.geomspace(0.3, 30, 9))
    kept = lambda Y: np.mean(digit[(squared(Y) + np.diag([np.inf] * n)).argmin(1)] == digit)
    steps = np.array([divergence(P, plane + 1e-20j * v).imag / 1e-20 for v in along])  # no like numbers subtracted
    maaten, norm = "van der Maaten & Hinton 2008", np.linalg.norm
    claims = [
        same("t-SNE: entropy of each neighbourhood − log perplexity", entropies - np.log(PERPLEXITY), maaten),
        same("t-SNE: P beside the mean of p(j|i) and p(i|j), times n", n * P - (p + p.T) / 2, maaten),
        same("t-SNE: slope / KL's by a complex step − 1", np.sum(here * along, axis=(1, 2)) / steps - 1, "equation 5"),
        same("t-SNE: norm of the slope / `jax.grad`'s − 1", norm(there) / solution.certificate - 1, "the same", 1e-9),
        same("t-SNE: exaggerated slope at the start beside 4 (12 L_P − L_Q) Y, relative",
             norm(early - push) / norm(push), "Linderman & Steinerberger 2019", 1e-6),
        same("t-SNE: KL by `solve` beside the sum over pairs", solution.value - divergence(P, Y), "equation 2"),
        Claim("t-SNE: KL of the map beside the components', best scale", solution.value, flat, "≤", 0, maaten),
        Claim("t-SNE: nearest neighbours of one digit beside the components'", kept(Y), kept(plane), "≥", 0, maaten),
    ]  # fmt: skip

    def draw(ax):
        for c, ink in enumerate(INKS):
            ax.plot(*Y[digit == c].T, ls="none", marker=f"${c}$", ms=5, mew=0.2, color=ink)
        ax.set(title=f"t-SNE: {kept(Y):.0%} have a neighbour of their digit", xlabel="$y_1$", ylabel="$y_2$")
        ax.text(0.02, 0.02, f"first two components: {kept(plane):.0%}", transform=ax.transAxes, fontsize=9)

    return Part(claims, draw)


def divergence(P, Y) -> float:
    """KL(P ‖ Q), pair by pair; of a complex map too."""
    near = 1 / (1 + squared(Y)) * (1 - np.eye(len(Y)))
    Q = near / near.sum()
    return np.sum(P[P > 0] * np.log(P[P > 0] / Q[P > 0]))


def caption() -> str:
    """What the panels show."""
    return (
        "All in float64, seeds fixed. Lloyd's method from 70 starts of each kind on five clusters of 30 examples; the "
        "least objective of six starts for each k, elbows circled; the least spanning tree of 60 points; Ward's "
        "dendrogram of the same points, cut into three; gradient descent on the reconstruction error of the wines, "
        f"rate {RATE}, and the variance that it explains (crosses) beside that of the eigenvectors; the first "
        f"{DIGITS} digits at perplexity {PERPLEXITY:.0f}, each drawn as itself."
    )
