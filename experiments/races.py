"""Races: a dozen optimizers over four grounds, each from one start at its tuned rate.

Question: From one start, which way does each optimizer take down a bowl, a bent valley, a plain with sharp corners and
a ground with four minima, when each has the learning rate that suits it best?

Prediction: On a quadratic with curvatures μ and L gradient descent multiplies the error along them by 1 − ημ and 1 − ηL
in a step: it is fastest at 2/(μ + L), and no longer descends above 2/L (Polyak 1987, §1.4). Signs alone lead each
coordinate to 0 up to η and keep it there. All minima of Himmelblau's function are zero (Himmelblau 1972), so that no
way down ends in a worse one. A recursion of NumPy with gradients by hand takes the same steps.

Found: On the quadratic the best rate of descent, of eight a decade, is 1.778, the one next to 2/(μ + L) = 1.818, and
the first at which it does not descend is 2.371, the first above 2/L. All twelve end within 0.044 of one of Himmelblau's
four minima. After 200 steps in Rosenbrock's valley f is between 0.0003 (heavy ball) and 3.2 (sign descent). Descent and
heavy ball take NumPy's steps to 4e-14 on all four grounds.
"""

import jax
import jax.numpy as jnp
import numpy as np

from sandbox import optimizers, problems
from sandbox.engine import Run, run
from sandbox.landscape import plane
from sandbox.problems import Problem
from sandbox.report import Claim
from sandbox.report.animation import gif
from sandbox.report.maps import contours
from sandbox.report.plots import COLOURS, MARKERS, style
from sandbox.report.replay import Replay, replay, scene_of
from sandbox.reproduction import Findings, kept
from sandbox.sweeps import log

on_request = True  # to compile a dozen programs takes half a minute

STEPS, PER_DECADE, POINTS, FILMED, EVERY = 200, 8, 121, "Rosenbrock", 4
METHODS = {
    "gradient descent": optimizers.gradient_descent,
    "heavy ball": optimizers.heavy_ball,
    "Nesterov": optimizers.nesterov,
    "sign descent": optimizers.sign_sgd,
    "Lion": lambda rate: optimizers.lion(rate, weight_decay=0.0),
    "AdaGrad": optimizers.adagrad,
    "RMSprop": optimizers.rmsprop,
    "Adam": optimizers.adam,
    "Nadam": optimizers.nadam,
    "AMSGrad": optimizers.amsgrad,
    "Yogi": optimizers.yogi,
    "AdaBelief": optimizers.adabelief,
}
MU, L = 0.1, 1.0
GROUNDS = {  # the problem, the start, the window, and the gradient by hand
    "quadratic": (
        problems.quadratic(L / MU), (-4.0, 1.5), ((-5, 5), (-5, 5)), lambda x, y: (MU * x, L * y),
    ),
    "Rosenbrock": (
        problems.rosenbrock(), (-1.2, 1.0), ((-2, 2), (-1, 3)),
        lambda x, y: (400 * x * (x**2 - y) + 2 * (x - 1), 200 * (y - x**2)),
    ),
    "Beale": (
        problems.beale(), (1.0, 1.0), ((0, 4.5), (-2, 2.5)),
        lambda x, y: (sum(2 * (c - x + x * y**i) * (y**i - 1) for i, c in enumerate((1.5, 2.25, 2.625), 1)),
                      sum(2 * (c - x + x * y**i) * i * x * y ** (i - 1) for i, c in enumerate((1.5, 2.25, 2.625), 1))),
    ),
    "Himmelblau": (
        problems.himmelblau(), (0.0, 0.0), ((-5, 5), (-5, 5)),
        lambda x, y: (4 * x * (x**2 + y - 11) + 2 * (x + y**2 - 7), 2 * (x**2 + y - 11) + 4 * y * (x + y**2 - 7)),
    ),
}  # fmt: skip


def main(fast: bool) -> Findings:
    """Sweep every optimizer over rates and grounds, tune each on each, and replay the runs."""
    axis = log(1e-4, 10.0, 5 * PER_DECADE // (2 if fast else 1) + 1)
    with jax.enable_x64(True):
        ds = kept(
            __file__, "races", fast, race, optimizer=list(METHODS), ground=range(len(GROUNDS)), learning_rate=axis
        )
        planes = {name: ground_of(name) for name in GROUNDS}
    ds = ds.transpose("optimizer", "ground", "learning_rate", ...)
    best = tuned(ds)
    scene = scene_on(ds, best, FILMED, planes[FILMED])
    told = f"From one start, full gradient, no seed, float64, {STEPS} steps; "
    pages = {
        "explorer.html": replay(
            scene, f"{FILMED}: learning rates", f"{told}{len(axis.values)} rates of each optimizer."
        ),
        "race.html": replay(winners(scene), f"{FILMED}: a race", f"{told}each at its tuned rate.", together=True),
    }
    film, shown = filmed(winners(scene))
    summary = [
        {"ground": ground, "optimizer": method, "rate": float(rate), "f": float(ds.f[i, j, k, -1])}
        for j, ground in enumerate(GROUNDS)
        for i, method in enumerate(METHODS)
        for k, rate in [(best[i, j], ds.learning_rate[best[i, j]])]
    ]
    figures = {
        "figure": (drawn(ds, best, planes), caption()),
        "race.gif": (film, f"{FILMED}: the race, a picture for every {EVERY} steps; each optimizer at its tuned rate."),
        **{name: (page.encode(), about) for (name, page), about in zip(
            pages.items(), ("any optimizer at any rate, step by step", "the race, to play and to stop"), strict=True)},
    }  # fmt: skip
    claims = [*laws(ds, best), *same_steps(ds, best), *same_numbers(ds, best, pages, shown)]
    return Findings(figures, claims, [ds], summary)


def race(optimizer: str, ground, learning_rate) -> Run:
    """One optimizer on one of the grounds, which are branches of one problem."""
    number = ground.astype(int)
    objectives = [problem.objective for problem, *_ in GROUNDS.values()]
    start = jnp.array([start for _, start, *_ in GROUNDS.values()])[number]
    problem = Problem("ground", lambda key: start, lambda x: jax.lax.switch(number, objectives, x))
    record = lambda info: {"x": info.params, "f": info.value}
    return run(problem, METHODS[optimizer](learning_rate), steps=STEPS + 1, key=jax.random.key(0), record=record)


def tuned(ds) -> np.ndarray:
    """For each optimizer and ground the number of the rate whose highest f of the last quarter of the steps is lowest.

    At a last step alone, one that bounces around may be low by chance. Of equal rates it is the least.
    """
    worst = ds.f.values[..., -(STEPS // 4) :].max(axis=-1)
    return np.argmin(np.where(np.isfinite(worst), worst, np.inf), axis=2)


def ground_of(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The values of a ground over its window."""
    problem, _, (along, across), _ = GROUNDS[name]
    a, b = np.linspace(*along, POINTS), np.linspace(*across, POINTS)
    return a, b, np.asarray(plane(problem, jnp.zeros(2), *jnp.eye(2), a, b))


def scene_on(ds, best: np.ndarray, name: str, ground: tuple) -> Replay:
    """Everything that ran on one ground, for a page."""
    j, facts = list(GROUNDS).index(name), GROUNDS[name][0].facts
    of = lambda values: {method: values[i, j] for i, method in enumerate(METHODS)}
    rates = dict.fromkeys(METHODS, ds.learning_rate.values)
    return Replay(*ground, rates, of(ds.x.values), of(ds.f.values), of(best), np.stack(facts.minimizers), facts.minimum)


def winners(scene: Replay) -> Replay:
    """Each method at its first rate alone."""
    one = lambda rows: {name: values[[scene.first[name]]] for name, values in rows.items()}
    first = dict.fromkeys(scene.first, 0)
    return scene._replace(rates=one(scene.rates), paths=one(scene.paths), heights=one(scene.heights), first=first)


def laws(ds, best: np.ndarray) -> list[Claim]:
    """What theory says of the quadratic and of Himmelblau's ground."""
    names, rates, f = list(METHODS), ds.learning_rate.values, ds.f.values
    descent, signs = names.index("gradient descent"), names.index("sign descent")
    rate = rates[best[descent, 0]]
    away = np.log(rate * (MU + L) / 2) / np.log(rates[1] / rates[0])
    ends = f[descent, 0, :, -1]
    first = rates[np.argmax(~(ends < f[descent, 0, :, 0]))]
    x0, curvatures = np.array(GROUNDS["quadratic"][1]), np.array([MU, L])
    stable = rates < 2 / L
    law = (curvatures * ((1 - rates[stable, None] * curvatures) ** STEPS * x0) ** 2).sum(1) / 2
    error = np.abs(ends[stable] / law - 1).max()
    step = rates[best[signs, 0]]
    held = f[signs, 0, best[signs, 0], -1] / ((MU + L) * step**2 / 2)
    j = list(GROUNDS).index("Himmelblau")
    last = np.stack([ds.x.values[i, j, best[i, j], -1] for i in range(len(names))])
    minima = np.stack(GROUNDS["Himmelblau"][0].facts.minimizers)
    far = np.linalg.norm(last[:, None] - minima, axis=2).min(1).max()
    return [
        Claim("quadratic: tuned descent, cells of the grid from 2/(μ + L)", away, 0, "≈", 1, "Polyak 1987"),
        Claim(
            "quadratic: smallest rate at which descent does not descend", first, rates[rates > 2 / L][0], "≈", 0, "2/L"
        ),
        Claim("quadratic: f of descent / closed form, worst rate's error", error, 0, "≈", 1e-9, "(1 − ηλ)²ᵏ"),
        Claim("quadratic: f of tuned sign descent / ½ (μ + L) η²", held, 1, "≤", 0, "|xᵢ| ≤ η at last"),
        Claim("Himmelblau: farthest end from a minimum", far, 0, "≈", 0.05, "Himmelblau 1972: four, all zero"),
    ]


def same_steps(ds, best: np.ndarray) -> list[Claim]:
    """The tuned runs of gradient descent and heavy ball beside a recursion with gradients by hand."""
    claims = []
    for i, (method, momentum) in enumerate((("gradient descent", 0.0), ("heavy ball", 0.9))):
        for j, (name, (_, start, _, gradient)) in enumerate(GROUNDS.items()):
            k = best[i, j]
            x, m, path = np.array(start), np.zeros(2), []
            with np.errstate(over="ignore", invalid="ignore"):  # one that flies off is not the same either
                for _ in range(STEPS + 1):
                    path.append(x)
                    m = momentum * m + np.array(gradient(*x))
                    x = x - ds.learning_rate.values[k] * m
            error = np.abs(ds.x.values[i, j, k] - path).max()
            claims.append(Claim(f"{name}: {method}, farthest from NumPy's steps", error, 0, "≈", 1e-9, "Polyak 1964"))
    return claims


def same_numbers(ds, best: np.ndarray, pages: dict[str, str], shown: np.ndarray) -> list[Claim]:
    """What the pages and the film hold, beside the store, bit for bit."""
    j, methods = list(GROUNDS).index(FILMED), range(len(METHODS))
    whole = scene_of(pages["explorer.html"])
    raced = scene_of(pages["race.html"])
    path = lambda scene: np.stack([scene.paths[name] for name in METHODS])
    height = lambda scene: np.stack([scene.heights[name] for name in METHODS])
    at = lambda values: np.stack([values[i, j, best[i, j]] for i in methods])
    pairs = {
        "explorer: numbers that are not the store's": (
            [path(whole), height(whole)], [ds.x.values[:, j], ds.f.values[:, j]],
        ),
        "race: numbers that are not the store's": (
            [path(raced)[:, 0], height(raced)[:, 0]], [at(ds.x.values), at(ds.f.values)],
        ),
        "film: points that are not the store's": ([shown], [at(ds.x.values)[:, ::EVERY].swapaxes(0, 1)]),
    }  # fmt: skip
    return [Claim(name, differing(*pair), 0, source="the same bits") for name, pair in pairs.items()]


def differing(found: list[np.ndarray], wanted: list[np.ndarray]) -> int:
    """How many numbers differ in a bit; all of them, where the shapes differ."""
    bits = lambda x: np.ascontiguousarray(x, float).view(np.int64)
    return sum(
        int((bits(a) != bits(b)).sum()) if a.shape == b.shape else max(a.size, b.size)
        for a, b in zip(found, wanted, strict=True)
    )


def look(i: int) -> dict:
    """Colour, marker and dashes of the i-th optimizer."""
    n = len(COLOURS)
    return {"color": COLOURS[i % n], "marker": MARKERS[(i + i // n) % n], "ls": "--" if i >= n else "-",
            "mfc": "white" if i >= n else COLOURS[i % n], "lw": 1.3, "ms": 4.5}  # fmt: skip


def drawn(ds, best: np.ndarray, planes: dict):
    """Above, the ways over each ground; below, how high above the minimum they are."""
    import matplotlib.pyplot as plt

    with style():
        figure, axes = plt.subplots(2, len(GROUNDS), figsize=(3.9 * len(GROUNDS), 6.9), dpi=100)
        for j, (name, (problem, start, *_)) in enumerate(GROUNDS.items()):
            above, below = axes[:, j]
            contours(above, *planes[name], label="$f$ above its lowest value here" if j == len(GROUNDS) - 1 else "")
            for i, method in enumerate(METHODS):
                path, f = ds.x.values[i, j, best[i, j]], ds.f.values[i, j, best[i, j]]
                above.plot(*path.T, color="white", lw=2.4, alpha=0.5, zorder=3)
                above.plot(*path.T, **look(i), markevery=20, zorder=4, label=method)
                below.plot(f - problem.facts.minimum, **look(i), markevery=(2 * i, 25))
            above.plot(
                *np.transpose(problem.facts.minimizers), "*", ms=14, mfc="#F0E442", mec="black", ls="none", zorder=6
            )
            above.plot(*start, "o", ms=9, mfc="white", mec="black", mew=1.6, zorder=7)
            above.set(title=name, xlabel="$x_1$", ylabel="$x_2$")
            below.set(yscale="log", xlabel="step", ylabel="$f - f^*$", ylim=(1e-16, 1e4))
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    return figure


def filmed(scene: Replay) -> tuple[bytes, np.ndarray]:
    """The race as a GIF, a picture for every few steps; and the points in them, (pictures, methods, 2)."""
    import matplotlib.pyplot as plt

    with style():
        figure, ax = plt.subplots(figsize=(6.2, 5.6), dpi=80)
        contours(ax, scene.a, scene.b, scene.values, label="$f$ above its lowest value here")
        ax.plot(*scene.minimizers.T, "*", ms=14, mfc="#F0E442", mec="black", ls="none", zorder=6)
        ax.set(xlabel="$x_1$", ylabel="$x_2$")
        tails = [ax.plot([], [], **look(i) | {"marker": ""}, zorder=4)[0] for i in range(len(scene.paths))]
        heads = [
            ax.plot([], [], **look(i) | {"ls": "", "ms": 9, "mew": 1.4}, zorder=5, label=name)[0]
            for i, name in enumerate(scene.paths)
        ]
        text = ax.text(0.02, 0.97, "", transform=ax.transAxes, va="top", color="white", weight="bold")
        for i in range(len(heads)):
            ax.plot([], [], **look(i), label=list(scene.paths)[i])
        handles = ax.lines[-len(heads) :]
        figure.legend(handles, list(scene.paths), loc="outside lower center", ncols=4)
        shown = []

        def show(step: int) -> None:
            for tail, head, paths in zip(tails, heads, scene.paths.values(), strict=True):
                tail.set_data(*paths[0, : step + 1].T)
                head.set_data(*paths[0, step : step + 1].T)
            text.set_text(f"step {step}")

        steps = range(0, STEPS + 1, EVERY)
        film = gif(figure, [*tails, *heads, text], show, steps)
        for step in steps:
            show(step)
            shown.append([head.get_xydata()[0] for head in heads])
    plt.close(figure)
    return film, np.array(shown)


def caption() -> str:
    """What is drawn."""
    starts = ", ".join(f"({x:g}, {y:g})" for _, (x, y), *_ in GROUNDS.values())
    return (
        f"Above: the ways of {len(METHODS)} optimizers from one start (ring; {starts}) to the minima (stars), a marker "
        f"for every 20 of {STEPS} steps, over contours in log-spaced levels. Below: f − f* along them; what is exactly "
        f"0 leaves the axis. Each at the rate, of {PER_DECADE} a decade from 0.0001 to 10, whose highest f of the last "
        "quarter of the steps is lowest; momentum 0.9 and other settings as in Optax, no weight decay. Full gradient, "
        "float64, no seed."
    )
