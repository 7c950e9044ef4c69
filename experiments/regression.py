"""Regression: a line, a polynomial, a penalty, a network.

Question: Do all routes to least squares lead to one place? How many powers of x should a curve have? What do ridge,
lasso and elastic net find, and what can a network see that a line cannot?

Prediction: The normal equation, the pseudo-inverse, Newton and gradient descent agree; with more features than
examples, descent from zero ends in the pseudo-inverse's solution, the shortest of all that fit (Penrose 1956). Errors
on training examples only fall with the degree; on others they are least at the true one, where they are σ²(1 + p/n)
for p coefficients from n examples, to first order, and cross-validation finds it. Penalised minima are those of
scikit-learn. The best line through a period of a sine leaves ½ − 6/π² · ½ of its variance; a network only the noise.

Found: All of it. Cross-validation takes the true degree in most samples; where it errs, it takes more, not less.
"""

import jax
import jax.numpy as jnp
import numpy as np

from sandbox import optimizers, problems, theory
from sandbox.data import k_fold, load_diabetes
from sandbox.engine import run, solve
from sandbox.models import polynomial
from sandbox.report import Claim, relative
from sandbox.report.plots import style
from sandbox.reproduction import Findings, kept

CUBIC = (0.5, -1.0, -2.0, 3.0)  # coefficients from the constant up, of a curve on [−1, 1]
NOISE = 0.3
EXAMPLES, FOLDS, DEGREES = 60, 5, range(1, 11)
STRENGTH = 0.1  # of a penalty
WAVE = {"examples": 256, "noise": 0.1, "hidden": 32}
LINE = 0.5 - 3 / np.pi**2  # what the best line leaves of the sine's variance ½


def main(fast: bool) -> Findings:
    """Routes, degrees, penalties, a wave."""
    with jax.enable_x64(True):
        square, wide = routes()
        degrees = cross_validation(fast)
        penalties = penalised()
        waves = wave(fast)
    held_out = degrees.held_out.mean("fold")
    chosen = held_out.degree.values[held_out.transpose("degree", "seed").values.argmin(0)]
    rises = degrees.train.diff("degree").max()
    training = EXAMPLES - EXAMPLES // FOLDS
    law = NOISE**2 * (1 + len(CUBIC) / training)
    network, line = waves.network.median("seed"), waves.line.mean("seed")
    claims = [
        Claim("normal equation, pseudo-inverse, Newton, descent: distance", square, 0.0, "≈", 1e-9, "one minimum"),
        Claim("more features than examples: descent from the pseudo-inverse", wide, 0.0, "≈", 1e-10, "Penrose 1956"),
        Claim("largest rise of the training error with the degree", rises, 1e-12, "≤", 0, "nested models"),
        Claim("median degree that cross-validation takes", np.median(chosen), 3, "≈", 0, "the curve is a cubic"),
        Claim("samples in which it takes less", (chosen < 3).mean(), 0.05, "≤", 0, "bias costs more than variance"),
        Claim(
            "held-out error of the cubic / σ²(1 + p/n)",
            held_out.sel(degree=3).mean() / law, 1.0, "≈", relative(0.1), "first order in 1/n",
        ),
        Claim(
            "held-out error: tenth degree / third",
            (held_out.sel(degree=10) / held_out.sel(degree=3)).median(), 1.0, "≥", 0, "variance grows with p",
        ),
        *(
            Claim(f"{name}: f* beside scikit-learn's", apart, 0.0, "≈", 1e-9, "one minimum")
            for name, apart in penalties.items()
        ),
        Claim("a wave: error of the best line", line, LINE + WAVE["noise"] ** 2, "≈", relative(0.1), "½ − 3/π² + σ²"),
        Claim("a wave: error of a network / σ²", network / WAVE["noise"] ** 2, 1.5, "≤", 0, "Cybenko 1989"),
    ]  # fmt: skip
    mean = lambda errors, d: float(errors.sel(degree=d).mean())
    summary = [
        {"degree": d, "train": mean(degrees.train, d), "held out": mean(held_out, d), "chosen in": (chosen == d).mean()}
        for d in degrees.degree.values
    ]
    return Findings(figures(degrees, chosen, waves), claims, [degrees, waves], summary)


def routes() -> tuple[float, float]:
    """How far apart the ways to least squares end: on the diabetes data, and with more features than examples."""
    data, problem = load_diabetes(), problems.diabetes_linear()
    A = np.hstack([data.X, np.ones((len(data.X), 1))])
    normal = np.linalg.solve(A.T @ A, A.T @ data.y)
    inverse = np.linalg.pinv(A) @ data.y
    newton = solve(problem).params
    facts = problem.facts
    best = theory.gradient_descent_optimum(facts.strong_convexity, facts.smoothness)
    walk = run(
        problem, optimizers.gradient_descent(best.learning_rate), steps=20_000, key=jax.random.key(0), record=None
    )
    ends = [normal, *(np.append(p["w"], p["b"]) for p in (newton, walk.params))]
    square = max(np.linalg.norm(end - inverse) / np.linalg.norm(inverse) for end in ends)
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(20, 50)), rng.normal(size=20)
    wide = problems.least_squares(X, y, fit_intercept=False)
    rate = 1 / wide.facts.smoothness
    walk = run(wide, optimizers.gradient_descent(rate), steps=5_000, key=jax.random.key(0), record=None)
    shortest = np.linalg.pinv(X) @ y
    return square, float(np.linalg.norm(walk.params["w"] - shortest) / np.linalg.norm(shortest))


def cross_validation(fast: bool):
    """Mean squared errors of polynomials, on the examples of a fold and on those that it holds out."""
    folds = jnp.asarray(k_fold(EXAMPLES, FOLDS))

    def fit(degree, fold, seed):
        places, noise = jax.random.split(jax.random.key(seed))
        x = jax.random.uniform(places, (EXAMPLES,), minval=-1.0)
        y = jnp.polyval(jnp.array(CUBIC[::-1]), x) + NOISE * jax.random.normal(noise, (EXAMPLES,))
        powers = polynomial.expand(x[:, None], max(DEGREES), constant=True)
        A = powers * (jnp.arange(powers.shape[1]) <= degree)  # of columns of zeros, the shortest solution has none
        kept_in = 1.0 - folds[fold]
        coefficients = jnp.linalg.lstsq(kept_in[:, None] * A, kept_in * y)[0]
        squares = (y - A @ coefficients) ** 2
        mean = lambda weight: jnp.sum(weight * squares) / jnp.sum(weight)
        return {"train": mean(kept_in), "held_out": mean(1 - kept_in)}

    seeds = range(50 if fast else 200)
    return kept(__file__, "degrees", fast, fit, degree=DEGREES, fold=range(FOLDS), seed=seeds)


def penalised() -> dict[str, float]:
    """The relative difference between our minimum and the objective at scikit-learn's parameters.

    Its Ridge has the sum of squares where we have half the mean: alpha = n · l2. Its Lasso and ElasticNet are ours:
    alpha = l1, and alpha = l1 + l2 with l1_ratio = l1/alpha.
    """
    from sklearn import linear_model

    data, s = load_diabetes(), STRENGTH
    n, tight = len(data.y), {"tol": 1e-14, "max_iter": 1_000_000}
    rivals = {
        "ridge": (problems.ridge(data.X, data.y, s), linear_model.Ridge(alpha=n * s)),
        "lasso": (problems.lasso(data.X, data.y, s), linear_model.Lasso(alpha=s, **tight)),
        "elastic net": (
            problems.elastic_net(data.X, data.y, s, s / 2),
            linear_model.ElasticNet(alpha=1.5 * s, l1_ratio=1 / 1.5, **tight),
        ),
    }

    def difference(problem, model) -> float:
        model.fit(data.X, data.y)
        theirs = float(problem.objective({"w": model.coef_, "b": np.float64(model.intercept_)}))
        return abs(theirs - solve(problem).value) / abs(theirs)

    return {name: difference(ours, theirs) for name, (ours, theirs) in rivals.items()}


def wave(fast: bool):
    """A period of a sine from noisy examples: the errors of a line and of a network on a grid, and their curves."""
    grid = jnp.linspace(0.0, 1.0, 201)
    steps = 2_000 if fast else 4_000

    def fit(seed):
        keys = jax.random.split(jax.random.key(seed), 3)
        x = jax.random.uniform(keys[0], (WAVE["examples"],))
        y = jnp.sin(2 * jnp.pi * x) + WAVE["noise"] * jax.random.normal(keys[1], x.shape)
        standard = lambda x: (x[:, None] - 0.5) * jnp.sqrt(12.0)
        A = polynomial.expand(x[:, None], 1, constant=True)
        line = polynomial.expand(grid[:, None], 1, constant=True) @ jnp.linalg.lstsq(A, y)[0]
        shape = problems.mlp_regression(np.zeros((2, 1)), np.zeros(2), (WAVE["hidden"],), "tanh")
        problem = problems.Problem("wave", shape.init, shape.loss, data=shape.data._replace(X=standard(x), y=y))
        method = optimizers.adam(0.01)
        trained = run(problem, method, steps=steps, key=keys[2], record=None).params
        curve = predicted(trained, standard(grid))
        error = lambda curve: jnp.mean((curve - jnp.sin(2 * jnp.pi * grid)) ** 2) + WAVE["noise"] ** 2
        return {"line": error(line), "network": error(curve), "line_curve": line, "network_curve": curve}

    return kept(__file__, "wave", fast, fit, seed=range(8))


def predicted(params, X):
    """The network's output for every row."""
    from sandbox.models import mlp

    return mlp.apply(params, X.T, "tanh")[0]


def figures(degrees, chosen, waves) -> dict:
    """Errors against the degree, the degrees that cross-validation takes, and the wave."""
    import matplotlib.pyplot as plt

    with style():
        figure, axes = plt.subplots(1, 3, figsize=(14.4, 4.4))
        for name, label, marker in (("train", "training examples", "o"), ("held_out", "held-out examples", "s")):
            error = degrees[name].mean("fold").transpose("seed", "degree")
            low, middle, high = np.quantile(error.values, [0.25, 0.5, 0.75], axis=0)
            (drawn,) = axes[0].semilogy(degrees.degree, middle, marker=marker, ms=4, label=label)
            axes[0].fill_between(degrees.degree, low, high, color=drawn.get_color(), alpha=0.2, lw=0)
        axes[0].axhline(NOISE**2, color="0.4", ls="--", lw=1, label=r"noise $\sigma^2$")
        axes[0].set(xlabel="degree", ylabel="mean squared error", title="More powers fit better, and predict worse")
        axes[0].legend()
        axes[1].bar(DEGREES, [(chosen == d).mean() for d in DEGREES], color="C2")
        axes[1].set(xlabel="degree", ylabel="share of samples", title="What cross-validation takes; the truth is 3")
        for ax in axes[:2]:
            ax.set_xticks(list(DEGREES))
        grid = np.linspace(0, 1, waves.sizes["network_curve_0"])
        axes[2].plot(grid, np.sin(2 * np.pi * grid), color="k", ls="--", lw=1, zorder=3, label="truth")
        axes[2].plot(grid, waves.line_curve.isel(seed=0), label="least squares")
        axes[2].plot(grid, waves.network_curve.values.T, color="C1", lw=0.8, alpha=0.6)
        axes[2].plot([], [], color="C1", label=f"networks, {waves.sizes['seed']} seeds")
        axes[2].set(xlabel="$x$", ylabel="$y$", title="A network bends where a line cannot")
        axes[2].legend()
    caption = (
        f"Left: polynomials fitted by least squares to {EXAMPLES} examples of a cubic with noise σ = {NOISE}, "
        f"{FOLDS}-fold cross-validation, float64; median and interquartile band over {degrees.sizes['seed']} samples. "
        "Middle: the degree of the least held-out error of each sample. Right: a period of a sine from "
        f"{WAVE['examples']} examples with noise σ = {WAVE['noise']}, by the best line and by networks of "
        f"{WAVE['hidden']} hidden units, tanh, Adam at 0.01."
    )
    return {"figure": (figure, caption)}
