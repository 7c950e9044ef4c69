"""The mathematics behind the methods, computed twice.

Question: Are the equalities that every course writes down true to the last digits, when either side is computed in its
own way? Which norms, likelihoods, priors and prices hide in the losses that we minimise?

Prediction: PCA is the singular value decomposition of the centred data (Eckart & Young 1936), the pseudo-inverse the
shortest least-squares solution (Penrose 1956). The balls of the p-norms are nested, their duals are norms again (Hölder
1889). A quadratic is strictly convex exactly if its matrix is positive definite. Squared error and cross-entropy are
negative log-likelihoods (Fisher 1922), whose covariance has 1/n where scikit-learn's PCA has 1/(n − 1); ridge is a
Gaussian prior (Hoerl & Kennard 1970). Cross-entropy is entropy plus KL, never negative (Kullback & Leibler 1951); of
all densities with one mean and variance the Gaussian has the most entropy (Shannon 1948). At a constrained minimum
multipliers are prices, and what does not bind is free (Lagrange 1788; Karush 1939; Kuhn & Tucker 1951).

Found: All of it, to 2e-13 or better, prices to 4e-12 by difference quotients; the checker finds a chord below a curve.
"""

from functools import partial
from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np

from sandbox import losses, optimizers, problems, theory
from sandbox.data import load_breast_cancer, load_diabetes
from sandbox.engine import run, solve
from sandbox.problems import Facts, Problem
from sandbox.report import Claim, same
from sandbox.report.plots import COLOURS, GREY, style
from sandbox.reproduction import Findings

EXACT = 1e-10  # both sides are computed in double precision
exact = partial(same, tolerance=EXACT)
POWERS = (1.0, 1.5, 2.0, 3.0, np.inf)
CURVES = {  # in JAX and in NumPy
    "log(eˣ + e⁻²ˣ)": (lambda x: jnp.logaddexp(x, -2 * x), lambda x: np.logaddexp(x, -2 * x)),
    "x² + 3 sin²x": (lambda x: x**2 + 3 * jnp.sin(x) ** 2, lambda x: x**2 + 3 * np.sin(x) ** 2),
}
SIGMA, TAU = 0.8, 0.7  # deviations of the noise, and of the prior on each weight
MEAN, DEVIATION = 0.3, 1.2  # of the densities whose entropies are compared
TILT, TARGET = np.array([[2.0, 0.6], [0.6, 1.0]]), np.array([2.0, 1.5])  # a cost's curvature, and where it is least
NORMALS, LIMITS = np.array([[1.0, 1.0], [-1.0, 1.0]]) / np.sqrt(2), np.array([1.4, 1.0])  # walls


def main(fast: bool) -> Findings:
    """Every part, in double precision."""
    with jax.enable_x64(True):
        chords, posterior, walls = convexity(), bayes(), inequality()
        claims = [
            *components(), *pseudo_inverses(), *norms(), *definiteness(), *chords["claims"], *likelihoods(),
            *posterior["claims"], *information(), *entropies(), *equality(), *walls["claims"],
        ]  # fmt: skip
    return Findings(figures(chords, posterior, walls), claims)


def components(k: int = 3) -> list[Claim]:
    """PCA by the covariance, by the singular values and by scikit-learn."""
    from sklearn.decomposition import PCA

    X = load_diabetes().X
    centred, n = X - X.mean(0), len(X)
    s = np.linalg.svd(centred, compute_uv=False)
    variances, axes = (side[..., ::-1] for side in np.linalg.eigh(np.cov(X.T, bias=True)))
    model = PCA(svd_solver="full").fit(X)
    theirs = model.explained_variance_ * (n - 1) / n
    ours, other = (V @ V.T for V in (axes[:, :k], model.components_[:k].T))
    lost = np.sum((centred - centred @ ours) ** 2) / np.sum(s[k:] ** 2)
    return [
        exact("PCA: variances / (squared singular values / n) − 1", variances * n / s**2 - 1, "SVD of the centred X"),
        exact("PCA: variances / (scikit-learn's · (n−1)/n) − 1", variances / theirs - 1, "1/(n−1) there, 1/n here"),
        exact("PCA: projection on three axes beside scikit-learn's", ours - other, "Pearson 1901"),
        exact("PCA: squares lost / squared singular values left out − 1", lost - 1, "Eckart & Young 1936"),
    ]


def pseudo_inverses(rank: int = 3) -> list[Claim]:
    """Of a matrix of rank 3, whose least-squares problem has a plane of solutions."""
    rng = np.random.default_rng(1)
    A, y = rng.normal(size=(8, 3)) @ rng.normal(size=(3, 5)), rng.normal(size=8)
    U, s, Vt = np.linalg.svd(A)
    P = (Vt[:rank].T / s[:rank]) @ U[:, :rank].T
    conditions = A @ P @ A - A, P @ A @ P - P, (A @ P).T - A @ P, (P @ A).T - P @ A
    newton = solve(problems.least_squares(A, y, fit_intercept=False)).params["w"]
    return [
        exact("pseudo-inverse: Penrose's four conditions", [np.abs(c).max() for c in conditions], "Penrose 1955"),
        exact("pseudo-inverse beside the minimum that `solve` finds", P @ y - newton, "Penrose 1956"),
        exact("part of that minimum in the null space of the matrix", Vt[3:] @ newton, "so no other is shorter"),
    ]


def norm(x: np.ndarray, p: float) -> np.ndarray:
    """‖x‖ₚ over the last axis."""
    return np.abs(x).max(-1) if np.isinf(p) else (np.abs(x) ** p).sum(-1) ** (1 / p)


def norms(dim: int = 4) -> list[Claim]:
    """Inclusion and equivalence of the balls, triangles, duality; corners and edges are among the points."""
    rng = np.random.default_rng(2)
    corners = np.stack(np.meshgrid(*[[-1.0, 0.0, 1.0]] * dim), -1).reshape(-1, dim)
    x = np.concatenate([rng.normal(size=(2000, dim)), corners[np.abs(corners).any(1)]])
    y = rng.permutation(x)
    dual = lambda p: 1 / (1 - 1 / p) if p > 1 else np.inf
    pairs = list(combinations(POWERS, 2))
    nested = min((norm(x, p) / norm(x, q)).min() for p, q in pairs)
    widest = [(norm(x, p) / norm(x, q)).max() / dim ** (1 / p - 1 / q) - 1 for p, q in pairs]
    triangle = max((norm(x + y, p) / (norm(x, p) + norm(y, p))).max() for p in POWERS)
    product = lambda z, p: np.abs((x * z).sum(1)) / norm(x, p) / norm(z, dual(p))
    holder = max(product(y, p).max() for p in POWERS)
    tight = [product(np.sign(x) * np.abs(x) ** (p - 1), p) - 1 for p in POWERS[1:-1]]
    return [
        Claim("norms: least ‖x‖p / ‖x‖q for p < q", nested, 1, "≈", 1e-12, "nested balls"),
        exact("norms: largest ‖x‖p / ‖x‖q / d^(1/p − 1/q) − 1", widest, "power means", tolerance=1e-12),
        Claim("norms: largest ‖x + y‖ / (‖x‖ + ‖y‖)", triangle, 1, "≤", 1e-12, "Minkowski 1896"),
        Claim("norms: largest ⟨x, y⟩ / ‖x‖p ‖y‖q", holder, 1, "≤", 1e-12, "Hölder 1889"),
        exact("norms: the same where |yᵢ| = |xᵢ|^(p−1), less 1", tight, "Hölder, with equality", tolerance=1e-12),
    ]


def definiteness(matrices: int = 300, chords: int = 2000) -> list[Claim]:
    """½xᵀAx on chords, beside Sylvester's verdict on A; no eigenvalue is near zero."""
    rng = np.random.default_rng(3)
    x, y, t = rng.normal(size=(chords, 3)), rng.normal(size=(chords, 3)), rng.uniform(0.1, 0.9, chords)
    Q = np.linalg.qr(rng.normal(size=(matrices, 3, 3)))[0]
    eigenvalues = rng.uniform(0.2, 2, (matrices, 3)) * np.where(rng.uniform(size=(matrices, 3)) < 0.75, 1, -1)
    A = (Q * eigenvalues[:, None]) @ Q.transpose(0, 2, 1)
    f = lambda x: np.einsum("ci,mij,cj->mc", x, A, x, optimize=True) / 2
    gap = t * f(x) + (1 - t) * f(y) - f(t[:, None] * x + (1 - t)[:, None] * y)
    definite = np.all([np.linalg.det(A[:, :k, :k]) > 0 for k in (1, 2, 3)], 0)
    disagreements = np.sum((gap > 0).all(1) != definite)
    return [
        Claim("matrices on which chords and minors disagree", disagreements, 0, "≈", 0, "Sylvester 1852"),
        Claim("share that is positive definite", definite.mean(), 0.75**3, "≈", 0.08, "both cases occur"),
    ]


def convexity() -> dict:
    """What the checker finds on a convex function and on one that is not, by hand."""
    curve = lambda f: Problem("curve", lambda key: jnp.zeros(()), f, facts=Facts(domain=(-4.0, 4.0)))
    check = lambda f: theory.check_convexity(curve(f), key=jax.random.key(0), points=64)
    good, bad = (check(f) for f, _ in CURVES.values())
    above, f = np.nan, CURVES["x² + 3 sin²x"][1]
    if chord := bad.counterexample:
        x, y, t = chord[:3]
        above = f(t * x + (1 - t) * y) - (t * f(x) + (1 - t) * f(y))
    claims = [
        Claim("log(eˣ + e⁻²ˣ): counter-examples to convexity", good.counterexample is not None, 0, "≈", 0, "f″ > 0"),
        Claim("x² + 3 sin²x: height above the chord that was found", above, 1e-6, "≥", 0, "Jensen 1906"),
        Claim("x² + 3 sin²x: least curvature", bad.least.curvature, -4, "≈", 0.2, "f″ = 2 + 6 cos 2x"),
    ]
    return {"claims": claims, "chord": chord}


def likelihoods() -> list[Claim]:
    """Maximum likelihood by derivatives, beside least squares, moments and Fisher's scoring."""
    data, cancer = load_diabetes(), load_breast_cancer()
    X, y = data.X[:, 2:4], (data.y - data.y.mean()) / data.y.std()
    A, B = (np.hstack([X, np.ones((len(X), 1))]) for X in (X, cancer.X[:, [1, 4]]))

    def regression(p):  # of y given X
        return jnp.mean(((y - A @ p["w"]) / jnp.exp(p["log σ"])) ** 2) / 2 + p["log σ"]

    def density(p):  # of X, with the precision MMᵀ
        return jnp.mean(jnp.sum(((X - p["mean"]) @ p["M"]) ** 2, 1)) / 2 - jnp.linalg.slogdet(p["M"])[1]

    least = lambda loss, start: solve(Problem("likelihood", lambda key: start, loss), method="newton")
    fitted = least(regression, {"w": np.zeros(3), "log σ": np.zeros(())}).params
    normal = least(density, {"mean": np.zeros(2), "M": np.eye(2)}).params
    w, C = np.linalg.lstsq(A, y)[0], np.linalg.inv(normal["M"] @ normal["M"].T)
    excess = np.exp(2 * fitted["log σ"]) - np.mean((y - A @ w) ** 2)
    positive, beta = cancer.y == cancer.y.max(), np.zeros(3)
    bernoulli = least(lambda p: jnp.mean(jax.vmap(losses.binary_cross_entropy)(B @ p, positive)), beta)
    for _ in range(30):
        p = 1 / (1 + np.exp(-B @ beta))
        beta = beta + np.linalg.solve((B.T * (p * (1 - p))) @ B, B.T @ (positive - p))
    likelihood = np.log(np.where(positive, p, 1 - p)).mean()
    return [
        exact("Gaussian likelihood: weights beside least squares", fitted["w"] - w, "Gauss 1809"),
        exact("Gaussian likelihood: σ² beside the mean squared error", excess, "Fisher 1922"),
        exact("Gaussian likelihood: mean beside the average", normal["mean"] - X.mean(0), "Fisher 1922"),
        exact("Gaussian likelihood: covariance beside that with 1/n", C - np.cov(X.T, bias=True), "Fisher 1922"),
        exact("Bernoulli likelihood beside least cross-entropy: weights", bernoulli.params - beta, "Cox 1958"),
        exact("Bernoulli likelihood beside least cross-entropy: value", bernoulli.value + likelihood, "Cox 1958"),
    ]


def bayes() -> dict:
    """The mode and the moments of a posterior, beside ridge."""
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(4)
    X = rng.normal(size=(12, 2)) @ np.array([[1.0, 0.6], [0.0, 0.5]])
    y = X @ np.array([1.2, -0.9]) + SIGMA * rng.normal(size=12)
    strength = SIGMA**2 / TAU**2
    ridge = np.linalg.solve(H := X.T @ X + strength * np.eye(2), X.T @ y)
    gaussian = jax.scipy.stats.norm.logpdf
    log_posterior = lambda w: jnp.sum(gaussian(y, X @ w, SIGMA)) + jnp.sum(gaussian(w, 0.0, TAU))  # up to a constant
    mode = solve(Problem("Bayes", lambda key: np.zeros(2), lambda w: -log_posterior(w)), method="newton").params
    ours = solve(problems.ridge(X, y, strength / len(y), fit_intercept=False)).params["w"]
    theirs = Ridge(alpha=strength, fit_intercept=False).fit(X, y).coef_
    # Bayes's rule on a grid: for a density that is analytic, a sum over cells converges faster than any power of them.
    reach = 9 * SIGMA / np.sqrt(np.linalg.eigvalsh(H)[0])
    cells = np.stack(np.meshgrid(*(np.linspace(c - reach, c + reach, 241) for c in ridge), indexing="ij"), -1)
    logs = np.asarray(jax.jit(jax.vmap(jax.vmap(log_posterior)))(cells))
    weights = np.exp(logs - logs.max()) / np.exp(logs - logs.max()).sum()
    mean = np.einsum("ij,ijk->k", weights, cells)
    spread = np.einsum("ij,ijk,ijl->kl", weights, cells - mean, cells - mean)
    claims = [
        exact("MAP beside ridge's normal equation, λ = σ²/τ²", mode - ridge, "Hoerl & Kennard 1970"),
        exact("MAP beside `problems.ridge`, l2 = σ²/(nτ²)", mode - ours, "Hoerl & Kennard 1970"),
        exact("MAP beside scikit-learn's Ridge, alpha = σ²/τ²", mode - theirs, "Hoerl & Kennard 1970"),
        exact("posterior mean, by Bayes's rule on a grid, beside ridge", mean - ridge, "Bayes 1763"),
        exact("posterior covariance beside σ²(XᵀX + λ)⁻¹", spread - SIGMA**2 * np.linalg.inv(H), "Bayes 1763"),
    ]
    return {"claims": claims, "X": X, "y": y, "mode": mode}


def information(outcomes: int = 5) -> list[Claim]:
    """Cross-entropy, entropy and KL of random distributions."""
    p, q = np.random.default_rng(5).dirichlet(np.ones(outcomes), (2, 1000))
    entropy = lambda p: -np.sum(p * np.log(p), -1)
    both = lambda p, q: (losses.softmax_cross_entropy(jnp.log(q), p), losses.kl_divergence(p, q))
    cross, kl = map(np.asarray, jax.jit(jax.vmap(both))(p, q))
    loss = lambda z: losses.softmax_cross_entropy(z, p[0])
    nearest = solve(Problem("labels", lambda key: np.zeros(outcomes), loss), method="newton")
    found = np.exp(nearest.params) / np.exp(nearest.params).sum()
    return [
        exact("cross-entropy − entropy − KL", cross - entropy(p) - kl, "Kullback & Leibler 1951"),
        Claim("KL: least of 1,000 random pairs", kl.min(), 0, "≥", 0, "Gibbs 1902"),
        exact("the softmax of least cross-entropy beside the target", found - p[0], "where KL is 0"),
        exact("least cross-entropy − entropy", nearest.value - entropy(p[0]), "where KL is 0"),
    ]


def entropies() -> list[Claim]:
    """Densities of one mean and variance: entropies by quadrature, and the one with the most, by its Lagrange dual."""
    log_normal = lambda x: -(((x - MEAN) / DEVIATION) ** 2) / 2 - np.log(DEVIATION * np.sqrt(2 * np.pi))
    most = np.log(2 * np.pi * np.e * DEVIATION**2) / 2
    others = (  # log density of z ≥ 0, of unit scale; its variance; where it ends
        (lambda z: -z - np.log(2), 2, 40),  # Laplace
        (lambda z: -np.log(2) + 0 * z, 1 / 3, 1),  # uniform
        (lambda z: -z - 2 * np.log1p(np.exp(-z)), np.pi**2 / 3, 40),  # logistic
    )
    nodes, weights = np.polynomial.legendre.leggauss(200)
    deficits, divergences = [], []
    for log_density, variance, end in others:
        z, scale = end * (nodes + 1) / 2, DEVIATION / np.sqrt(variance)
        share, log_p = end * weights * np.exp(log_density(z)), log_density(z) - np.log(scale)  # both halves are alike
        deficits.append(most + share @ log_p)
        divergences.append(share @ (log_p - log_normal(MEAN + scale * z)))
    x = np.linspace(MEAN - 14, MEAN + 14, 81)
    features = np.stack([x - MEAN, x**2 - MEAN**2 - DEVIATION**2])  # constraints: both have the mean 0
    dual = lambda multipliers: jax.nn.logsumexp(multipliers @ features) + np.log(x[1] - x[0])
    best = solve(Problem("entropy", lambda key: np.array([0.0, -0.1]), dual), method="newton")
    found = np.exp(best.params @ features - best.value)
    return [
        exact("density of most entropy beside the Gaussian", found - np.exp(log_normal(x)), "exp(λ₁x + λ₂x²)"),
        exact("its entropy beside ½ log 2πeσ²", best.value - most, "Shannon 1948"),
        Claim("entropy of Gaussian − Laplace, uniform, logistic: least", min(deficits), 0, "≥", 0, "Shannon 1948"),
        exact("the same beside their KL from the Gaussian", np.subtract(deficits, divergences), "Shannon 1948"),
    ]


def equality() -> list[Claim]:
    """A quadratic on a plane: by its KKT system, and by the null space of A."""
    rng = np.random.default_rng(6)
    B, A, c, b = rng.normal(size=(5, 5)), rng.normal(size=(2, 5)), rng.normal(size=5), rng.normal(size=2)
    Q, N = B @ B.T + np.eye(5), np.linalg.svd(A)[2][2:].T
    system = np.block([[Q, A.T], [A, np.zeros((2, 2))]])  # Qx + c + Aᵀν = 0 and Ax = b
    x, price = np.split(np.linalg.solve(system, np.append(-c, b)), [5])
    right, inner = np.linalg.pinv(A), N @ np.linalg.inv(N.T @ Q @ N) @ N.T

    def least(b):
        x = right @ b - inner @ (Q @ right @ b + c)
        return x @ Q @ x / 2 + c @ x, x

    (_, other), slope = jax.jit(jax.value_and_grad(least, has_aux=True))(b)
    return [
        exact("equality: KKT system beside the null space", x - other, "Lagrange 1788"),
        exact("equality: multiplier beside −d f*/db by `jax.grad`", price + slope, "prices"),
    ]


def inequality() -> dict:
    """Two walls, one of which is touched: projected gradient beside the dual, for many places of that wall."""
    from scipy.optimize import nnls

    problem = Problem("cost", lambda key: jnp.array([-1.0, 0.0]), lambda x: (x - TARGET) @ TILT @ (x - TARGET) / 2)
    rate = 1 / np.linalg.eigvalsh(TILT)[-1]

    def walk(limits):
        # The normals are orthonormal: projections on either side of each make the projection on both.
        project = lambda x: NORMALS.T @ jnp.minimum(NORMALS @ x, limits)
        method = optimizers.projected(optimizers.gradient_descent(rate), project)
        return run(problem, method, steps=100, key=jax.random.key(0), record=lambda info: {"x": info.params})

    def dual(limits):  # least ½ μᵀN Q⁻¹Nᵀμ − μᵀ(N·target − limits) with μ ≥ 0; x = target − Q⁻¹Nᵀμ, f* = ½ μᵀN Q⁻¹Nᵀμ
        R = np.linalg.cholesky(NORMALS @ np.linalg.inv(TILT) @ NORMALS.T)
        price = nnls(R.T, np.linalg.solve(R, NORMALS @ TARGET - limits))[0]
        return price, np.sum((R.T @ price) ** 2) / 2

    limits = np.stack([np.append(LIMITS[0], np.linspace(0.5, 3.5, 31)), np.full(32, LIMITS[1])], 1)
    runs = jax.jit(jax.vmap(walk))(limits)
    ends = np.asarray(runs.params)
    prices, slack = (TARGET - ends) @ TILT @ NORMALS.T, limits - ends @ NORMALS.T  # −∇f along the normals
    expected = np.array([dual(at)[0] for at in limits])
    x = TARGET - np.linalg.solve(TILT, NORMALS.T @ expected[0])
    h, free = np.array([1e-4, 0.0]), limits[:, 0] > NORMALS[0] @ TARGET
    slopes = [(dual(at + h)[1] - dual(at - h)[1]) / 2e-4 for at in limits]
    claims = [
        exact("walls: projected gradient beside the dual's solution", ends[0] - x, "Slater 1950"),
        exact("walls: prices, from −∇f, beside the dual's", prices - expected, "Kuhn & Tucker 1951"),
        exact("walls: price · slack", prices * slack, "complementary slackness, Karush 1939"),
        Claim("walls: least price and slack", min(prices.min(), slack.min()), 0, "≥", EXACT, "Kuhn & Tucker 1951"),
        same("walls: price beside −d f*/d limit, by differences", prices[:, 0] + slopes, "envelope theorem", 1e-9),
        exact("walls: price beyond the free minimum", prices[free, 0], "free where it is not touched"),
        Claim("walls: least price before it", prices[~free, 0].min(), 0.01, "≥", 0, "dear where it is touched"),
    ]
    return {"claims": claims, "path": np.asarray(runs.trace["x"])[0], "x": ends[0], "price": prices[0, 0]}


def figures(chords: dict, posterior: dict, walls: dict) -> dict:
    """Unit balls; chords; a likelihood, a prior and what they make; a minimum against a wall."""
    import matplotlib.pyplot as plt

    with style():
        figure, axes = plt.subplots(2, 2, figsize=(10.4, 8.8))
        draw_balls(axes[0, 0])
        draw_chords(axes[0, 1], chords["chord"])
        draw_posterior(axes[1, 0], **posterior)
        draw_wall(axes[1, 1], **walls)
    caption = (
        "Unit balls of p-norms; that of p = ½ is not convex. Two functions with a chord each, the second found by "
        "`check_convexity` (512 random chords, seed 0). Two weights from 12 examples, noise "
        f"σ = {SIGMA}, prior deviation τ = {TAU}, one and two deviations of each. Projected gradient at 1/L: where it "
        "ends, −∇f is the price μ times the normal a of the wall. Double precision."
    )
    return {"figure": (figure, caption)}


def draw_balls(ax) -> None:
    """The p-norms' unit balls."""
    angle = np.linspace(0, 2 * np.pi, 4001)
    circle = np.stack([np.cos(angle), np.sin(angle)], -1)
    for p, name, colour in zip((0.5, *POWERS), ("½", "1", "1.5", "2", "3", "∞"), (GREY, *COLOURS), strict=False):
        ax.plot(*(circle / norm(circle, p)[:, None]).T, color=colour, ls="--" if p < 1 else "-", label=f"$p$ = {name}")
    ax.set(title="Unit balls: nested, and convex from 1 on", aspect="equal", xlabel="$x_1$", ylabel="$x_2$")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))


def draw_chords(ax, found) -> None:
    """A chord above its function, and one that is not."""
    x = np.linspace(-4, 4, 801)
    chords = [(-2.5, 3.0, 0.5), found and (float(found.x), float(found.y), found.t)]
    for (name, (_, f)), chord, colour in zip(CURVES.items(), chords, COLOURS, strict=False):
        ax.plot(x, f(x), color=colour, label=name)
        if chord:
            a, b, t = chord
            m, bound = t * a + (1 - t) * b, t * f(a) + (1 - t) * f(b)
            marker, label = ("X", "above it: a counter-example") if f(m) > bound else ("v", "below its chord")
            ax.plot([a, b], [f(a), f(b)], "o-", color=colour, lw=1.1)
            ax.plot([m, m], [f(m), bound], color="black", lw=1.4, ls=":")
            ax.plot(m, f(m), marker, color="black", ms=6.5, zorder=4, label=label)
    ax.set(title="One chord can refute convexity", xlabel="$x$", ylabel="$f(x)$")
    ax.legend(loc="upper center")


def draw_posterior(ax, X, y, mode, **_) -> None:
    """Lines of equal likelihood, prior and posterior."""
    a, b = np.meshgrid(np.linspace(-1.6, 2.9, 241), np.linspace(-3.2, 1.3, 241))
    misfit = lambda w: ((y - w @ X.T) ** 2).sum(-1) / (2 * SIGMA**2)
    prior = lambda w: (w**2).sum(-1) / (2 * TAU**2)
    ends = ("likelihood: least squares", np.linalg.lstsq(X, y)[0]), ("prior", np.zeros(2)), ("posterior: ridge", mode)
    heights = misfit, prior, lambda w: misfit(w) + prior(w)
    for f, (label, at), colour in zip(heights, ends, (COLOURS[0], COLOURS[4], COLOURS[2]), strict=True):
        levels = f(at) + np.array([0.5, 2.0])
        ax.contour(a, b, f(np.stack([a, b], -1)), levels=levels, colors=colour, linewidths=(1.9, 1))
        ax.plot(*at, "o", color=colour, ms=6, zorder=4, label=label)
    ax.set(title="Ridge is a Gaussian prior", xlabel="$w_1$", ylabel="$w_2$", aspect="equal")
    ax.legend(loc="lower left")


def draw_wall(ax, path, x, price, **_) -> None:
    """The cost's level lines, what is allowed, the path, and the force that the wall balances."""
    at = np.stack(np.meshgrid(*[np.linspace(-1.5, 3.5, 241)] * 2), -1)
    a, b = np.moveaxis(at, -1, 0)
    cost = (((at - TARGET) @ TILT) * (at - TARGET)).sum(-1) / 2
    beyond = (at @ NORMALS.T - LIMITS).max(-1)
    ax.contour(a, b, cost, levels=[0.05, 0.3, 0.75, 1.5, 3, 5, 8], colors="#8a8f98", linewidths=0.7)
    ax.contourf(a, b, beyond, levels=[-99, 0], colors=[COLOURS[2]], alpha=0.13)
    ax.contour(a, b, beyond, levels=[0], colors=[COLOURS[2]], linewidths=1.4)
    ax.plot(*path.T, "o-", color=COLOURS[0], ms=3.5, lw=1.2, label="projected gradient")
    ax.plot(*TARGET, "*", ms=13, mfc="#F0E442", mec="black", mew=0.8, ls="none", label="free minimum")
    tip = x + price * NORMALS[0]
    ax.annotate("", tip, x, arrowprops={"arrowstyle": "-|>", "color": COLOURS[1], "lw": 2})
    ax.annotate(r"$-\nabla f = \mu a$", tip, (0, 6), textcoords="offset points", color=COLOURS[1], ha="center")
    ax.set(title="Against a wall, forces balance", xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
    ax.legend(loc="upper left", frameon=True, framealpha=0.9)
