"""Convex beside non-convex: six optimizers on ten problems, each at its best rate, beside what theory predicts.

Question: How fast do the usual methods converge on problems where theory has an answer, and what is left of that
answer where it has none?

Prediction: On a quadratic with curvatures in [μ, L] the distance contracts by the largest root of the method's
characteristic polynomial (Polyak 1964; Nesterov 1983; Lessard, Recht & Packard 2016); near the optimum of a smooth
convex problem by the same number with the curvatures of its Hessian there. f − f* contracts by the square. No such
number exists for Rosenbrock, Himmelblau, Rastrigin or a network.

Found: On quadratics the measured contraction is the predicted one, for every condition number; ridge regression on
real data, a quadratic too, agrees to a percent. Logistic and softmax regression are still on their way to the slope
at their optimum, and fall a little faster. On the non-convex side the ranking changes from problem to problem, and
where there are many minima the start decides more than the method.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sandbox import optimizers, problems, theory
from sandbox.engine import full_loss, run, solve
from sandbox.problems import Problem, certify
from sandbox.report import Claim, relative
from sandbox.report.plots import convergence, geometric, style
from sandbox.reproduction import Findings, kept


class Setting(NamedTuple):
    """One panel: a problem, how long, on what batches, from how many starts, at which rates."""

    problem: Problem
    steps: int
    momentum: tuple[float, float] = (0.9, 0.9)  # of heavy ball and of Nesterov
    batch_size: int | None = None
    seeds: int = 1
    rates: tuple[float, float, int] = (1e-3, 3.0, 16)
    x64: bool = True
    every: int = 1  # steps to a row of the trace: the objective on all data, which only a full batch has at hand


ROWS = 400  # of a trace that are looked at
METHODS = {
    "gradient descent": lambda rate, beta: optimizers.gradient_descent(rate),
    "heavy ball": lambda rate, beta: optimizers.sgd(rate, momentum=beta[0]),
    "Nesterov": lambda rate, beta: optimizers.sgd(rate, momentum=beta[1], nesterov=True),
    "AdaGrad": lambda rate, beta: optimizers.adagrad(rate),
    "RMSProp": lambda rate, beta: optimizers.rmsprop(rate),
    "Adam": lambda rate, beta: optimizers.adam(rate),
}
CONTRACTION = {  # of the methods for which theory has a number
    "gradient descent": lambda eigenvalues, rate, beta: theory.gradient_descent_rate(eigenvalues, rate),
    "heavy ball": lambda eigenvalues, rate, beta: theory.heavy_ball_rate(eigenvalues, rate, beta[0]),
    "Nesterov": lambda eigenvalues, rate, beta: theory.nesterov_rate(eigenvalues, rate, beta[1]),
}


def convex() -> dict[str, Setting]:
    """Quadratics of growing condition number at their optimal momentum, then regression on real data, certified."""
    panels = {}
    for kappa, steps in ((10, 400), (100, 1200), (1000, 4000)):
        problem = problems.quadratic(float(kappa), dim=8)
        mu, L = problem.facts.strong_convexity, problem.facts.smoothness
        momentum = tuple(float(best(mu, L).momentum) for best in (theory.heavy_ball_optimum, theory.nesterov_optimum))
        panels[f"quadratic, κ = {kappa}"] = Setting(problem, steps, momentum)
    for name, make, steps in (
        ("ridge, diabetes", problems.diabetes_ridge, 1200),
        ("logistic, breast cancer", problems.breast_cancer_logistic, 1200),
        ("softmax, digits", lambda: problems.digits_softmax(l2=0.01), 300),
    ):
        problem = make()
        panels[name] = Setting(certify(problem, solve(problem)), steps)
    return panels


def nonconvex() -> dict[str, Setting]:
    """A valley, four equal minima, a hundred unequal ones, and a network."""
    rate = (1e-4, 1.0, 24)
    return {
        "Rosenbrock": Setting(problems.rosenbrock(), 5000, rates=rate),
        "Himmelblau": Setting(problems.himmelblau(), 500, seeds=16, rates=rate),
        "Rastrigin": Setting(problems.rastrigin(), 500, seeds=16, rates=rate),
        "MLP, digits": Setting(
            problems.digits_mlp(hidden=(64,)), 300, batch_size=128, seeds=4, rates=(3e-4, 1.0, 12), x64=False, every=3
        ),
    }


def main(fast: bool) -> Findings:
    """Sweep the rates of every method on every problem; keep the best; compare with theory."""
    claims, summary, sweeps, curves, slopes = [], [], [], {}, {}
    with jax.enable_x64(True):
        settings = {"convex": convex(), "nonconvex": nonconvex()}
    for side, panels in settings.items():
        for panel, setting in panels.items():
            lowest = setting.problem.facts.minimum
            spectrum = curvatures(setting.problem) if side == "convex" else None
            curves[panel], slopes[panel] = {}, {}
            sweeps.append(swept := rates(panel, setting, fast))
            for method in METHODS:
                ds = swept.sel(optimizer=method).swap_dims(position="learning_rate")
                best = chosen(ds)
                error = ds.loss.sel(learning_rate=best) - (0.0 if lowest is None else float(lowest))
                curves[panel][method] = error
                row = {"problem": panel, "optimizer": method, "best rate": best}
                row |= verdict(error, lowest)
                if spectrum is not None and method in CONTRACTION:
                    rho = float(CONTRACTION[method](spectrum, best, setting.momentum))
                    slopes[panel][method] = rho
                    row["predicted contraction"] = rho
                    if panel.startswith("quadratic"):
                        claims.append(contraction(panel, method, error, rho))
                summary.append(row)
            if lowest is not None:
                least = min(float(curve.min()) for curve in curves[panel].values())
                claims.append(Claim(f"{panel}: least f − f* of all runs", least, 0.0, "≥", 1e-12, "f* is certified"))
    return Findings(figures(settings, curves, slopes), claims, sweeps, summary)


def rates(panel: str, setting: Setting, fast: bool):
    """Every method, rate and seed on one problem, the objective on all data recorded.

    Each method has its own rates: they lie at the same positions of its own interval, 0 its smallest, 1 its largest.
    """
    problem, steps = setting.problem, setting.steps

    def rate(method, position):
        low, high = interval(setting, method)
        return low * (high / low) ** position

    def train(optimizer, position, seed):
        method = METHODS[optimizer](rate(optimizer, position), setting.momentum)
        return run(
            problem, method, steps=steps, key=jax.random.key(seed), batch_size=setting.batch_size,
            record=full_loss, every=setting.every,
        )  # fmt: skip

    *_, count = setting.rates
    positions = np.linspace(0, 1, count // 2 if fast else count)
    name = panel.replace(",", "").replace(" ", "-").replace("=", "")
    with jax.enable_x64(setting.x64):
        ds = kept(__file__, name, fast, train, optimizer=list(METHODS), position=positions, seed=range(setting.seeds))
    ds = ds.isel(step=slice(None, None, max(1, ds.step.size // ROWS)))
    return ds.assign_coords(learning_rate=(("optimizer", "position"), [rate(m, positions) for m in METHODS]))


def interval(setting: Setting, method: str) -> tuple[float, float]:
    """The smallest and the largest rate: up to where momentum makes the method unstable, if theory knows where."""
    smoothness = setting.problem.facts.smoothness
    if smoothness is None or method not in CONTRACTION:
        return setting.rates[:2]
    largest = 2 * (1 + max(setting.momentum)) / float(smoothness)
    return 0.02 * largest, largest


def chosen(ds) -> float:
    """The rate with the least median final objective among those at which no seed diverged."""
    safe = (ds.status == 0).all("seed")
    return float(ds.value.median("seed").where(safe).idxmin("learning_rate"))


def curvatures(problem: Problem) -> np.ndarray:
    """The eigenvalues of the Hessian at the optimum, but for directions in which nothing changes."""
    with jax.enable_x64(True):
        optimum, unravel = jax.flatten_util.ravel_pytree(jax.tree.map(jnp.asarray, problem.facts.minimizers[0]))
        hessian = jax.jit(jax.hessian(lambda x: problem.objective(unravel(x))))(optimum)
        eigenvalues = np.linalg.eigvalsh(np.asarray(hessian))
    return eigenvalues[eigenvalues > 1e-10 * eigenvalues[-1]]


def contraction(panel: str, method: str, error, rho: float) -> Claim:
    """Measured against predicted, both as −log of the contraction per step of the distance."""
    found = theory.estimate(np.sqrt(error.isel(seed=0).values), error.step.values)
    measured = -np.log(found.rate) if found.kind == "linear" else np.nan
    name = f"{panel}: −log contraction of {method}"
    return Claim(name, measured, -np.log(rho), "≈", relative(0.02), "largest root at the rate used")


def verdict(error, lowest) -> dict:
    """What the tail of the median run says of itself."""
    middle = error.median("seed")
    row = {"final": float(middle[-1])}
    if lowest is None:
        return row | {"type": "f* unknown"}
    found = theory.estimate(middle.values, middle.step.values)
    number = found.rate if found.kind == "linear" else found.order
    return row | {
        "type": found.kind,
        "number": number,
        "low": found.low,
        "high": found.high,
        "reason": found.reason,
    }


def figures(settings: dict, curves: dict, slopes: dict) -> dict:
    """Convex on the left with theory's slope dashed, non-convex on the right with bands over seeds."""
    import matplotlib.pyplot as plt

    with style():
        figure = plt.figure(figsize=(17, 7.6))
        *_, legend = rows = figure.subfigures(2, 1, height_ratios=[15, 1])
        left, right = rows[0].subfigures(1, 2, width_ratios=[3, 2])
        for side, part, shape in (("convex", left, (2, 3)), ("nonconvex", right, (2, 2))):
            part.suptitle({"convex": "Convex: theory has a number", "nonconvex": "Non-convex: it has none"}[side])
            axes = part.subplots(*shape)
            for ax, (panel, setting) in zip(axes.flat, settings[side].items(), strict=True):
                draw(ax, panel, setting, curves[panel], slopes[panel])
        handles = left.axes[0].get_legend_handles_labels()
        legend.legend(*handles, loc="center", ncols=len(handles[0]))
        for ax in (*left.axes, *right.axes):
            ax.get_legend().remove()
    caption = (
        "Each optimizer at the best of its swept rates (least median final objective, no seed diverged). Left: f "
        "− f* with f* certified; dashed, the slope that theory predicts at the rate used; float64, full batch. "
        "Right: median and interquartile band over seeds (16 starts for Himmelblau and Rastrigin, float64; 4 "
        "seeds, batch 128, float32 and the training loss itself for the network)."
    )
    return {"figure": (figure, caption)}


def draw(ax, panel: str, setting: Setting, curves: dict, slopes: dict) -> None:
    """One panel, down to where rounding begins; a dashed line crosses its curve half-way down, on its tail."""
    known, lowest = setting.problem.facts.minimum is not None, float(setting.problem.facts.minimum or 0)
    top = max(float(curve.max()) for curve in curves.values())
    bottom = max(1e-14, 100 * np.finfo(float).eps * abs(lowest))
    lines = {}
    for method, rho in slopes.items():
        middle = curves[method].median("seed")
        falling = middle.isel(step=slice(0, 1 + int(np.argmax(np.append(middle.values <= bottom, True)))))
        anchor = falling.isel(step=len(falling) // 2)
        lines[method] = geometric(rho**2, (float(anchor.step), float(anchor)))
    convergence(ax, curves, theory=lines, ylabel="$f - f^*$" if known else "training loss")
    least = min(float(curve.where(curve > 0).min()) for curve in curves.values())
    ax.set(title=panel, ylim=(max(bottom, least / 3), 3 * top))
