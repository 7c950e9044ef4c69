"""Three forms of gradient descent: all examples, one example, or a few at a time.

Question: At equal cost, counted in gradients of single examples, how do batch, stochastic and mini-batch descent
compare on real data, and where does the noise stop them?

Prediction: On ½hx² with gradient noise of variance σ², a constant rate η ends in a stationary variance ησ²/(h(2 −
ηh)) (Mandt, Hoffman & Blei 2017). On data, to first order in the rate, the floor of f − f* is then η/(4B) times the
trace of the covariance of one example's gradient at the optimum: proportional to η/B, so that half the rate or
twice the batch halves it (Bottou, Curtis & Nocedal 2018).

Found: Early on one example at a time wins by far; it stops first, at its floor. The floors of all batch sizes fall
on one line of slope 1 in η/B, at the height that the covariance predicts, and full batches go on down to rounding.
"""

import jax
import jax.numpy as jnp
import numpy as np

from sandbox import optimizers, problems, theory
from sandbox.data.batches import with_replacement
from sandbox.engine import run, solve
from sandbox.problems import Problem, certify
from sandbox.report import Claim, relative
from sandbox.report.plots import convergence, noise_floor, style
from sandbox.reproduction import Findings, kept
from sandbox.sweeps import log, static

L2 = 0.1
FORMS = {"stochastic": 1, "mini-batch 16": 16, "mini-batch 32": 32}
RATE = 0.02  # of the forms with noise: the largest η/B of the law below, where it still holds
LARGEST = 0.08  # η · λmax of the law's rates: its second-order term is then about this large


def main(fast: bool) -> Findings:
    """Three forms on diabetes at equal cost; the law of the floor on data; the exact law on one curvature."""
    with jax.enable_x64(True):
        problem = problems.diabetes_ridge(l2=L2)
        problem = certify(problem, solve(problem))
        descent, sweeps = forms(problem, fast)
        law, expected = floors(problem, fast)
        exact = stationary(fast)
    x, level = law_points(law)
    slope, spread = line(np.log(x), np.log(level))
    half = ratios(law, "learning_rate")
    twice = ratios(law, "batch")
    ratio = exact.value.mean("seed") / theory.sgd_variance(1.0, exact.learning_rate.values, 1.0)
    claims = [
        Claim(
            "stationary variance / (ησ²/(h(2−ηh))), worst rate",
            worst(ratio.values),
            1.0,
            "≈",
            0.05,
            "Mandt et al. 2017",
        ),
        Claim("slope of log floor against log η/B", slope, 1.0, "≈", 0.05, "Bottou, Curtis & Nocedal 2018"),
        Claim("floor at rate η / floor at η/2, mean", half.mean(), 2.0, "≈", relative(0.1), "proportional to η"),
        Claim(
            "floor at batch B / floor at 2B, mean",
            twice.mean(),
            2.0,
            "≈",
            relative(0.1),
            "proportional to 1/B",
        ),
        Claim(
            "floor / (η/4B · trace of the covariance), mean",
            (level / (expected * x)).mean(),
            1.0,
            "≈",
            0.1,
            "first order in η",
        ),
        Claim(
            "at the end: batch f − f* / the lowest floor of the others",
            beyond(descent),
            0.1,
            "≤",
            0,
            "no noise, no floor",
        ),
        Claim(
            "after one epoch: stochastic f − f* / batch f − f*",
            after_one(descent),
            1.0,
            "≤",
            0,
            "354 steps instead of one",
        ),
    ]
    summary = [
        {"eta/B": a, "floor": b, "predicted": expected * a, "slope": slope, "±": spread}
        for a, b in zip(x, level, strict=True)
    ]
    return Findings(figures(descent, law, expected, exact), claims, [*sweeps, law, exact], summary)


def gap(problem: Problem):
    """f − f* on all data, before each recorded step."""
    return lambda info: {"gap": problem.objective(info.params) - problem.facts.minimum}


def forms(problem: Problem, fast: bool) -> tuple[dict, list]:
    """Each form for the same number of single gradients, recorded about eight times an epoch."""
    n, epochs = len(problem.data.y), 100 if fast else 150
    curves, sweeps = {}, []

    def batch(learning_rate):
        method = optimizers.gradient_descent(learning_rate)
        return run(problem, method, steps=epochs, key=jax.random.key(0), record=gap(problem))

    best = theory.gradient_descent_optimum(problem.facts.strong_convexity, problem.facts.smoothness).learning_rate
    ds = kept(__file__, "forms-batch", fast, batch, learning_rate=[float(best)])
    curves["batch"] = ds.gap.isel(learning_rate=0).assign_coords(step=ds.step.values.astype(float))
    sweeps.append(ds)
    for name, size in FORMS.items():
        steps = epochs * n // size

        def train(learning_rate, seed, size=size, steps=steps):
            method = optimizers.gradient_descent(learning_rate)
            every = max(1, n // size // 8)
            return run(
                problem,
                method,
                steps=steps,
                key=jax.random.key(seed),
                batch_size=size,
                record=gap(problem),
                every=every,
            )

        ds = kept(__file__, "forms-" + name.replace(" ", "-"), fast, train, learning_rate=[RATE], seed=range(8))
        curves[name] = ds.gap.isel(learning_rate=0).assign_coords(step=ds.step.values * size / n)
        sweeps.append(ds)
    return curves, sweeps


def floors(problem: Problem, fast: bool):
    """The mean of f − f* over long runs from the optimum, and theory's slope: floor ≈ slope · η/B."""
    optimum = jax.tree.map(jnp.asarray, problem.facts.minimizers[0])
    steps = 4_000 if fast else 10_000
    rates = LARGEST / problem.facts.smoothness / np.array([4.0, 2.0, 1.0])

    def train(learning_rate, batch, seed):
        method = optimizers.gradient_descent(learning_rate)
        walk = run(
            problem, method, steps=steps, key=jax.random.key(seed), batches=with_replacement(batch), params=optimum,
            record=gap(problem), every=10,
        )  # fmt: skip
        return {"value": walk.trace["gap"][steps // 20 :].mean()}

    law = kept(__file__, "floors", fast, train, learning_rate=rates, batch=static(1, 4, 16), seed=range(8))
    data = jax.tree.map(jnp.asarray, problem.data)
    grad = lambda row: jax.grad(problem.loss)(optimum, jax.tree.map(lambda a: a[None], row), None)
    each = jax.jit(jax.vmap(grad))(data)
    rows = jnp.concatenate([g.reshape(len(data.y), -1) for g in jax.tree.leaves(each)], axis=1)
    return law, float(jnp.sum(jnp.var(rows, axis=0)) / 4)


def stationary(fast: bool):
    """The mean of x² over long runs on ½x² + ξx with ξ ~ N(0, 1), one draw a step."""
    steps = 20_000 if fast else 60_000
    noisy = Problem("noisy", lambda key: jnp.zeros(()), lambda x, batch, key: x**2 / 2 + jax.random.normal(key) * x)

    def train(learning_rate, seed):
        square = lambda info: {"square": info.params**2}
        walk = run(
            noisy,
            optimizers.gradient_descent(learning_rate),
            steps=steps,
            key=jax.random.key(seed),
            record=square,
        )
        return {"value": walk.trace["square"][steps // 10 :].mean()}

    return kept(__file__, "stationary", fast, train, learning_rate=log(0.05, 1.6, 6), seed=range(16))


def law_points(law) -> tuple[np.ndarray, np.ndarray]:
    """η/B and the median floor over seeds, of every rate and batch size."""
    level = law.value.median("seed")
    return (level.learning_rate / level.batch).values.ravel(), level.values.ravel()


def ratios(law, axis: str) -> np.ndarray:
    """The factor by which the mean floor changes with each doubling along one axis, as a number above 1."""
    level = law.value.mean("seed").transpose(axis, ...).values
    doublings = np.diff(np.log2(np.asarray(law[axis].values, float)))
    return np.exp2(np.abs(np.diff(np.log2(level), axis=0) / doublings[:, None]))


def line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope of the least-squares line, and its standard error."""
    coefficients, covariance = np.polyfit(x, y, 1, cov=True)
    return float(coefficients[0]), float(np.sqrt(covariance[0, 0]))


def worst(ratio: np.ndarray) -> float:
    """The ratio furthest from 1."""
    return float(ratio[np.argmax(np.abs(np.log(ratio)))])


def beyond(curves: dict) -> float:
    """Where batch descent ends, over the lowest of the others' floors: their medians in the last tenth."""
    floor = min(
        float(c.isel(step=slice(-c.sizes["step"] // 10, None)).median()) for c in curves.values() if "seed" in c.dims
    )
    return float(curves["batch"][-1]) / floor


def after_one(curves: dict) -> float:
    """Stochastic over batch, once each has spent one gradient for every example."""
    stochastic = curves["stochastic"].median("seed")
    return float(stochastic.sel(step=1.0, method="nearest") / curves["batch"].sel(step=1.0))


def figures(descent: dict, law, expected: float, exact) -> dict:
    """The race at equal cost, the law on data, and the exact law."""
    import matplotlib.pyplot as plt

    with style():
        figure, axes = plt.subplots(1, 3, figsize=(14.4, 4.4))
        convergence(axes[0], {name: c.isel(step=slice(1, None)) for name, c in descent.items()}, loglog=True)
        axes[0].set(xlabel="gradients of single examples / n  (epochs)", title="At equal cost")
        level = law.value.transpose("seed", "batch", "learning_rate")
        points = {
            f"batch size {b}": (law.learning_rate.values / b, level.sel(batch=b).values) for b in law.batch.values
        }
        noise_floor(axes[1], points, theory=lambda x: expected * x)
        axes[1].set_title("The floor is set by η/B")
        noise_floor(
            axes[2],
            {
                "x² over time, 16 seeds": (
                    exact.learning_rate.values,
                    exact.value.transpose("seed", ...).values,
                )
            },
            theory=lambda eta: theory.sgd_variance(1.0, eta, 1.0),
            xlabel=r"learning rate $\eta$",
            ylabel="stationary variance of $x$",
        )
        axes[2].set_title("One curvature, exactly")
    caption = (
        f"Left: ridge regression (l2 = {L2}) on the diabetes training set, float64; batch descent at its optimal "
        f"rate, the others at rate {RATE}; median and interquartile band over seeds 0 to 7, reshuffled in every "
        "epoch. Middle: the mean of f − f* over long runs from the optimum, rows drawn with replacement, 8 seeds; "
        "dashed, η/4B times the trace of the gradient's covariance. Right: SGD on ½x² with unit noise, 16 seeds; "
        "dashed, η/(2 − η)."
    )
    return {"figure": (figure, caption)}
