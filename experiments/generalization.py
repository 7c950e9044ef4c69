"""Generalization: what a penalty is, and what held-out examples tell.

Question: Early stopping, dropout, batch normalisation, L1 and L2, validation, more data: which of them are the same
thing under two names, and what exactly do they do to the error on new examples?

Prediction: To stop descent early is ridge but for a factor of 1.2984 in what is kept of a direction, and of 1.2147 in
the least risk (Ali, Kolter & Tibshirani 2019). Dropout on a line is ridge weighted by the features' squares, in testing
nothing (Wager, Wang & Liang 2013). Batch normalisation gives every unit mean 0 and variance 1 over the batch, so that
two rows become ±1 and gradients are orthogonal to weights, while in testing rows do not meet (Ioffe & Szegedy 2015).
The lasso is zero from max|Xᵀy|/n on (Tibshirani 1996). To leave one example out has a closed form (Allen 1974). With
Gaussian inputs the training error is σ²(1 − d/n), the test error σ²(1 + d/(n−d−1)); the error on new labels is bias² +
variance + σ² (Geman, Bienenstock & Doursat 1992), all in closed form for ridge.

Found: All of it, identities to 1e-12, samples within two standard errors. Of 30 directions descent keeps at most 1.2995
times what ridge does, which is the factor of small steps and 0.001 for those taken; its least risk is 1.035 times that
of the best ridge. All weights of the lasso vanish within 0.1 % of max|Xᵀy|/n, the grid of strengths.
"""

import jax
import jax.numpy as jnp
import numpy as np

from sandbox import optimizers, problems
from sandbox.data import k_fold
from sandbox.data.synthetic import normal
from sandbox.engine import run
from sandbox.problems import Problem
from sandbox.report import Claim, same, within
from sandbox.report.plots import COLOURS, DASHED, GREY, MARKERS
from sandbox.reproduction import Findings, Part, findings, kept

NOISE = 0.5  # σ of the labels
STRENGTHS = np.geomspace(0.01, 10, 13)  # of ridge
DROPPED = 0.4  # the share of inputs
EXAMPLES, FEATURES, FOLDS = 40, 5, 5
COUNTS = np.array([12, 16, 24, 40, 80, 160])  # examples of the learning curves


def main(fast: bool) -> Findings:
    """One choice after the other, in double precision."""
    with jax.enable_x64(True):
        parts = [stopping(), dropout(), normalised(), sparse(), folds(fast), learning(fast), decomposition(fast)]
    return findings(parts, caption())


def stopping(n: int = 60, d: int = 30, steps: int = 20_000, every: int = 20) -> Part:
    """What descent from zero keeps of each direction of least squares, beside ridge with the strength 1/ηt."""
    X = normal(n, d, seed=7) * np.geomspace(1, 0.1, d)
    y = X @ normal(d, seed=8) + NOISE * normal(n, seed=9)
    problem = problems.least_squares(X, y, fit_intercept=False)
    rate = 0.1 / problem.facts.smoothness
    method, record = optimizers.gradient_descent(rate), lambda info: {"w": info.params["w"]}
    walk = jax.jit(lambda key: run(problem, method, steps=steps, key=key, every=every, record=record).trace["w"])
    h, axes = np.linalg.eigh(X.T @ X / n)
    share = np.asarray(walk(jax.random.key(0)))[1:] @ axes / (axes.T @ np.linalg.lstsq(X, y)[0])
    t = every * np.arange(1, len(share) + 1)[:, None]
    formula, ridge = 1 - (1 - rate * h) ** t, h / (h + 1 / (rate * t))
    # Of weights N(0, I): the squares of what is not kept, and of the noise in what is.
    risk = lambda share: np.sum((1 - share) ** 2 + share**2 * NOISE**2 / (n * h), axis=-1)
    least, late = risk(h / (h + NOISE**2 / n)), t[:, 0] >= 400  # the factor is that of small steps, 1/t from it
    source = "Ali et al. 2019"
    claims = [
        same("early stopping: share kept of a direction, from 1 − (1 − ηλ)ᵗ", share - formula, "Landweber 1951", 1e-10),
        Claim("early stopping: share kept / ridge's, most", (share / ridge)[late].max(), 1.2984, "≈", 0.003, source),
        Claim("early stopping: least risk / that of the best ridge", risk(share).min() / least, 1.2147, "≤", 0, source),
    ]

    def draw(ax):
        for row, (kept_share, label) in enumerate(
            ((share, "descent until $t$"), (ridge, r"ridge, $\ell_2 = 1/\eta t$"))
        ):
            ax.semilogx(rate * t, risk(kept_share), color=COLOURS[row], label=label)
        ax.semilogx(rate * t, risk(formula), **DASHED, label=r"$1 - (1 - \eta\lambda)^t$ of each direction")
        ax.axhline(least, color=GREY, ls=":", lw=1.2, label="least of all estimates")
        ax.set(xlabel=r"$\eta t$", ylabel=r"risk $E\,\|\hat w - w\|^2$", title="To stop early is to shrink")
        ax.legend()

    return Part(claims, draw)


def dropout(n: int = 30, d: int = 4, keys: int = 5_000) -> Part:
    """Least squares on all ways to drop inputs, beside ridge; flax's dropout in training and in testing."""
    from flax import linen

    class Line(linen.Module):
        @linen.compact
        def __call__(self, x, train):
            return linen.Dense(1, use_bias=False)(linen.Dropout(DROPPED, deterministic=not train)(x))

    X, w = normal(n, d, seed=10) * np.arange(1, d + 1), normal(d, seed=11)
    y = X.sum(1) + NOISE * normal(n, seed=12)
    there = np.stack(np.meshgrid(*[[0.0, 1.0]] * d), -1).reshape(-1, 1, d)  # every way to drop
    weight = np.sqrt(np.prod(np.where(there > 0, 1 - DROPPED, DROPPED), axis=-1))
    ways = X * there / (1 - DROPPED) * weight[..., None]
    dropped = np.linalg.lstsq(ways.reshape(-1, d), (y * weight).ravel())[0]
    penalty = DROPPED / (1 - DROPPED) * np.mean(X**2, axis=0)
    ridge = np.linalg.solve(X.T @ X / n + np.diag(penalty), X.T @ y / n)
    problem = problems.from_flax(Line(), X, y, lambda z, y: (z[0] - y) ** 2 / 2, X_test=X, y_test=y)
    params = {"Dense_0": {"kernel": w[:, None]}}
    loss = jax.vmap(lambda key: problem.objective(params, None, key))
    both = jax.jit(lambda keys: (loss(keys), problem.evaluate(params)["loss"]))
    train, test = map(np.asarray, both(jax.random.split(jax.random.key(0), keys)))
    plain = np.mean((X @ w - y) ** 2) / 2
    return Part([
        same("dropout: weights by all ways to drop, beside ridge's", dropped - ridge, "Wager et al. 2013"),
        within("dropout: loss in training", "plain, and ridge's", (train, plain + penalty @ w**2 / 2)),
        same("dropout: loss in testing / without dropout − 1", test / plain - 1, "nothing is dropped"),
    ])  # fmt: skip


def normalised(n: int = 20, d: int = 4, units: int = 3) -> Part:
    """A layer and batch normalisation, with a loss behind them: what training sees and what testing sees."""
    from flax import linen

    class Normalised(linen.Module):
        @linen.compact
        def __call__(self, x, train):
            norm = linen.BatchNorm(not train, epsilon=0.0, use_fast_variance=False, use_scale=False, use_bias=False)
            return norm(linen.Dense(units, use_bias=False)(x))

    X, Y = 1 + normal(n, d, seed=13), normal(n, units, seed=14)
    at = lambda rows: problems.from_flax(
        Normalised(), X, Y, lambda z, y: jnp.sum((z - y) ** 2), X_test=X[rows], y_test=Y[rows]
    )
    all_rows, *halves = map(at, (slice(n), slice(0, n, 2), slice(1, n, 2)))
    statistics = {"BatchNorm_0": {"mean": np.zeros(units), "var": np.ones(units)}}

    def seen(params):
        known = {"params": params, "batch_stats": statistics}
        outputs = [Normalised().apply(known, X[:rows], True, mutable=["batch_stats"])[0] for rows in (n, 2)]
        test = [problem.evaluate(params)["loss"] for problem in (all_rows, *halves)]
        return *outputs, jax.grad(all_rows.objective)(params), test

    params = {"Dense_0": {"kernel": normal(d, units, seed=15)}}
    z, pair, gradient, (whole, *parts) = jax.tree.map(np.asarray, jax.jit(seen)(params))
    w, g = (tree["Dense_0"]["kernel"] for tree in (params, gradient))
    cosine = np.sum(w * g, axis=0) / np.linalg.norm(w, axis=0) / np.linalg.norm(g, axis=0)
    return Part([
        same("batch norm in training: mean, variance − 1 of a unit, most", [z.mean(0), z.var(0) - 1], "by definition"),
        same("batch norm in training: cosine of gradient and weights, most", cosine, "no scale is seen"),
        same("batch norm in training: |output| − 1 of a batch of two, most", np.abs(pair) - 1, "whatever the rows"),
        same("batch norm in testing: loss of halves / of all − 1", np.mean(parts) / whole - 1, "rows do not meet"),
    ])  # fmt: skip


def sparse() -> Part:
    """The lasso at strengths around that from which on all weights are zero, by proximal gradient steps."""
    X, y = normal(EXAMPLES, FEATURES, seed=16), normal(EXAMPLES, seed=17)
    highest = np.abs(X.T @ y).max() / EXAMPLES

    def fit(l1):
        problem, start = problems.lasso(X, y, l1, fit_intercept=False), {"w": jnp.ones(FEATURES)}
        descent = optimizers.gradient_descent(1 / problem.facts.smoothness)
        method = optimizers.proximal(descent, problem.penalty.prox)
        return run(problem, method, steps=300, key=jax.random.key(0), params=start, record=None).params["w"]

    strengths = np.linspace(0.9, 1.1, 201) * highest
    some = (np.asarray(jax.jit(jax.vmap(fit))(strengths)) != 0).any(1)
    last = strengths[some].max(initial=0) / highest
    return Part([Claim("lasso: largest strength with a weight / (max|Xᵀy|/n)", last, 1, "≈", 0.0011, "0 in ∂f")])


def folds(fast: bool) -> Part:
    """Cross-validation as one sweep: its lanes are folds, those of five and those that leave out one example."""
    X, eye = normal(EXAMPLES, FEATURES, seed=18), np.eye(FEATURES)
    y, L = X.sum(1) + 2 * normal(EXAMPLES, seed=19), np.linalg.norm(X, 2) ** 2 / EXAMPLES
    held_out = np.concatenate([k_fold(EXAMPLES, FOLDS), k_fold(EXAMPLES, EXAMPLES)])
    table = jnp.asarray(held_out, float)

    def fit(l2, fold):
        mean = lambda w, weight: jnp.sum(weight * (y - X @ w) ** 2) / jnp.sum(weight)
        loss = lambda w: (mean(w, 1 - table[fold]) + l2 * w @ w) / 2
        problem = Problem("fold", lambda key: jnp.zeros(FEATURES), loss)
        method = optimizers.gradient_descent(1 / (1.5 * L + l2))
        w = run(problem, method, steps=300, key=jax.random.key(0), record=None).params
        return {"error": mean(w, table[fold])}

    ds = kept(__file__, "folds", fast, fit, l2=STRENGTHS[::3], fold=range(len(held_out)))
    error = ds.error.transpose("l2", "fold").values

    def alone(l2, out):
        A, b = X[~out], y[~out]
        return np.mean((y[out] - X[out] @ np.linalg.solve(A.T @ A + len(A) * l2 * eye, A.T @ b)) ** 2)

    def closed(l2):
        hat = X @ np.linalg.solve(X.T @ X + (EXAMPLES - 1) * l2 * eye, X.T)
        return np.mean(((y - hat @ y) / (1 - np.diag(hat))) ** 2)

    five = [[alone(l2, out) for out in held_out[:FOLDS]] for l2 in ds.l2.values]
    one = error[:, FOLDS:].mean(1) / [closed(l2) for l2 in ds.l2.values]
    claims = [
        same(
            "five folds as lanes / one after the other − 1, most", error[:, :FOLDS] / five - 1, "the same ridge", 1e-9
        ),
        same("one example left out: error / closed form − 1, most", one - 1, "Allen 1974", 1e-9),
    ]
    return Part(claims, sweeps=(ds,))


def learning(fast: bool) -> Part:
    """Least squares on ever more examples."""
    trials, rng = 1_000 if fast else 4_000, np.random.default_rng(20)
    train, test = np.empty((2, trials, len(COUNTS)))
    for k, n in enumerate(COUNTS):
        X, noise = rng.normal(size=(trials, n, FEATURES)), NOISE * rng.normal(size=(trials, n, 1))
        missed = np.linalg.solve(X.mT @ X, X.mT @ noise)  # ŵ − w
        train[:, k] = np.mean((noise - X @ missed) ** 2, axis=(1, 2))
        test[:, k] = NOISE**2 + np.sum(missed**2, axis=(1, 2))
    laws = NOISE**2 * np.array([1 - FEATURES / COUNTS, 1 + FEATURES / (COUNTS - FEATURES - 1)])
    curves = {"training examples": (train, laws[0]), "new examples": (test, laws[1])}

    def draw(ax):
        compared(ax, COUNTS, curves)
        ax.set(xlabel="examples $n$", ylabel="mean squared error", title="More examples close the gap")
        ax.set_xticks(COUNTS, COUNTS)
        ax.minorticks_off()

    source = "σ²(1 − d/n), σ²(1 + d/(n−d−1))"
    return Part([within("learning curves: error in training and in testing", source, *curves.values())], draw)


def decomposition(fast: bool) -> Part:
    """Ridge on many samples of the labels at fixed inputs: bias, variance, and the error on new labels."""
    samples, rng, n, d = 2_000 if fast else 10_000, np.random.default_rng(21), 24, 12
    X = rng.normal(size=(n, d))
    f = X @ rng.normal(size=d) * 0.4
    labels, new = f + NOISE * rng.normal(size=(2, samples, n))
    hats = np.array([X @ np.linalg.solve(X.T @ X + n * l2 * np.eye(d), X.T) for l2 in STRENGTHS])
    bias_law, variance_law = np.mean((hats @ f - f) ** 2, axis=1), NOISE**2 * np.sum(hats**2, axis=(1, 2)) / n
    fitted = np.einsum("lij,sj->sli", hats, labels, optimize=True)
    first, second = fitted[::2] - f, fitted[1::2] - f
    curves = {
        "bias²": (np.mean(first * second, axis=2), bias_law),  # independent: no variance enters
        "variance": (np.mean((first - second) ** 2, axis=2) / 2, variance_law),
        "error on new labels": (np.mean((fitted - new[:, None]) ** 2, axis=2), bias_law + variance_law + NOISE**2),
    }
    bias, variance, error = curves.values()
    claims = [
        within("ridge: bias² and variance", "‖(I − H) f‖²/n, σ² tr HHᵀ/n", bias, variance),
        within("ridge: error on new labels", "bias² + variance + σ²", error),
    ]

    def draw(ax):
        compared(ax, STRENGTHS, curves)
        ax.set(xlabel=r"penalty $\ell_2$", ylabel="mean squared error", title="Variance falls, bias rises")

    return Part(claims, draw)


def compared(ax, x: np.ndarray, curves: dict) -> None:
    """Means over samples as points, their laws dashed."""
    for row, (label, (samples, law)) in enumerate(curves.items()):
        ax.semilogx(x, samples.mean(0), MARKERS[row], color=COLOURS[row], label=label)
        ax.semilogx(x, law, **DASHED, label="predicted" if row == len(curves) - 1 else None)
    ax.axhline(NOISE**2, color=GREY, ls=":", lw=1.2, label=r"noise $\sigma^2$")
    ax.legend()


def caption() -> str:
    """What the panels show."""
    return (
        "All in float64, seeds fixed; dashed is predicted. Left: least squares with 60 examples and 30 weights, from "
        "the shares that descent keeps of each direction; the risk is averaged over weights N(0, I). Middle: least "
        f"squares with {FEATURES} weights on Gaussian inputs. Right: ridge with 24 fixed inputs and 12 weights on many "
        f"samples of the labels. The noise is σ = {NOISE} throughout."
    )
