"""Trainability: where two learning rates stop to train a network, and how rough that border is.

Question: Each of a network's two layers has its own learning rate. For which pairs does training bring the loss down,
and what does the border to those that fail look like?

Prediction: On a separable quadratic ½ (a x² + b y²) the pairs that train are the rectangle below 2/a and 2/b, whose
border has dimension 1. Of a network with one hidden layer of tanh, trained on all of its data, as many examples as it
has weights, the border is a fractal; its dimension by box counting lies in [1.17, 1.98] (Sohl-Dickstein 2024).

Found: The rectangle, without a pair on the wrong side, and a border of dimension 0.998. The network's border has
dimension 1.40 on a map of 64 × 64 pairs; `fractal` has more of them. Beyond it, pairs that train and pairs that fail
lie side by side.
"""

import jax
import jax.numpy as jnp
import numpy as np

from sandbox import landscape
from sandbox.engine import run
from sandbox.problems import Problem
from sandbox.report import Claim
from sandbox.report.plots import COLOURS, DASHED, MARKERS
from sandbox.reproduction import Findings, Part, findings, kept
from sandbox.sweeps import log

on_request = True

WIDTH = 16
EXAMPLES = WIDTH * (WIDTH + 1)  # as many as weights
INNER, OUTER = (5.0, 5000.0), (0.2, 0.6)  # rates of the network's two layers
CURVATURES = 1.0, 4.0
SIDE, STEPS = 64, 64
CONTROL = 128, 100  # cells a side, steps
SOURCE = "Sohl-Dickstein 2024"


def main(fast: bool) -> Findings:
    """The control, the network, and the boxes that each border meets."""
    control, square = rectangle(fast)
    trained, border = networks(__file__, fast, 32 if fast else SIDE, STEPS)
    caption = (
        f"Left: gradient descent with a rate for each variable of ½ (x² + 4 y²), from (1, 1), {CONTROL[1]} steps, "
        f"float64, no seed; dashed: 2/a and 2/b. {how(len(border), STEPS)} Right: boxes of s × s cells that "
        "the border meets; dashed: slopes 1 and 2."
    )
    return findings([control, trained, boxes({"quadratic": square, "network": border})], caption, panel=(5.0, 4.4))


def rectangle(fast: bool) -> tuple[Part, np.ndarray]:
    """The separable quadratic, and the border of what trains."""
    side, steps = CONTROL
    a, b = CURVATURES
    bowl = Problem("separable", lambda key: {"x": jnp.ones(()), "y": jnp.ones(())}, separable)

    def train(x, y):
        return verdict(bowl, {"x": x, "y": y}, steps)

    axis = log(0.1, 10.0, side)
    with jax.enable_x64(True):
        ds = kept(__file__, "rectangle", fast, train, x=axis, y=axis)
    inside = ds.converged.values
    wanted = (ds.x.values[:, None] < 2 / a) & (ds.y.values[None, :] < 2 / b)
    border = landscape.boundary(inside)
    claims = [
        Claim("quadratic: pairs on the wrong side", (inside != wanted).sum(), 0, "≈", 0, "|1 − ηλ| < 1 for each"),
        Claim("quadratic: dimension of the border", landscape.dimension(border), 1, "≈", 0.02, "a rectangle's"),
    ]

    def draw(ax):
        shaded(ax, ds.x.values, ds.y.values, ds)
        ax.axvline(2 / a, **DASHED)
        ax.axhline(2 / b, **DASHED)
        ax.set(xlabel=r"rate of $x$", ylabel=r"rate of $y$", title="A separable quadratic: a rectangle")

    return Part(claims, draw, (ds,)), border


def separable(params):
    """½ (a x² + b y²)."""
    a, b = CURVATURES
    return (a * params["x"] ** 2 + b * params["y"] ** 2) / 2


def networks(experiment: str, fast: bool, side: int, steps: int) -> tuple[Part, np.ndarray]:
    """One network for each pair of rates, all from the same start on the same data, and the border of what trains."""
    problem = network()

    def train(inner, outer):
        return verdict(problem, {"w": inner, "v": outer}, steps)

    ds = kept(experiment, "networks", fast, train, inner=log(*INNER, side), outer=log(*OUTER, side))
    border = landscape.boundary(ds.converged.values)
    size = landscape.dimension(border)
    claims = [
        Claim("network: dimension of the border, from below", size, 1.17, "≥", 0, SOURCE),
        Claim("network: dimension of the border, from above", size, 1.98, "≤", 0, SOURCE),
    ]

    def draw(ax):
        shaded(ax, ds.inner.values, ds.outer.values, ds)
        ax.set(xlabel="rate of the hidden layer", ylabel="rate of the output layer")
        ax.set_title(f"A tanh network: dimension {size:.2f}")

    return Part(claims, draw, (ds,)), border


def network() -> Problem:
    """Mean squared error of v tanh(w x) on random inputs and targets: there is nothing to learn but to remember."""
    inputs, targets, start = jax.random.split(jax.random.key(0), 3)
    X = jax.random.normal(inputs, (WIDTH, EXAMPLES), jnp.float32)
    y = jax.random.normal(targets, (EXAMPLES,), jnp.float32)
    w, v = jax.random.normal(start, (2, WIDTH, WIDTH), jnp.float32) / WIDTH**0.5
    loss = lambda params: jnp.mean((params["v"] @ jnp.tanh(params["w"] @ X) - y) ** 2)
    return Problem("tanh network", lambda key: {"w": w, "v": v[0]}, loss)


def verdict(problem: Problem, each, steps: int) -> dict:
    """Whether gradient descent with these rates trains, and how clearly."""
    record = lambda info: {"loss": info.value}
    trace = run(problem, landscape.rates(each), steps=steps, key=jax.random.key(0), record=record).trace
    return landscape.trained(trace["loss"])._asdict()


def shaded(ax, x: np.ndarray, y: np.ndarray, ds) -> None:
    """Blue where training converged, orange where not; each the darker the less clear its verdict was, by rank."""
    from matplotlib import colormaps

    converged, shade = ds.converged.values, ds.shade.values
    image = np.empty((*converged.shape, 4))
    for which, colours in ((converged, "Blues"), (~converged, "Oranges")):
        values, place = np.unique(shade[which], return_inverse=True)
        image[which] = colormaps[colours](0.15 + 0.8 * place / max(len(values) - 1, 1))
    ax.pcolormesh(x, y, image.swapaxes(0, 1), rasterized=True)
    ax.set(xscale="log", yscale="log", xlim=(x[0], x[-1]), ylim=(y[0], y[-1]), box_aspect=1)
    ax.grid(visible=False)


def boxes(borders: dict[str, np.ndarray]) -> Part:
    """How many boxes each border meets."""

    def draw(ax):
        for row, (label, cells) in enumerate(borders.items()):
            sizes = np.array(landscape.powers(len(cells) // 8))
            counts = landscape.box_counts(cells, sizes)
            size = landscape.dimension(cells, sizes)
            share = sizes / len(cells)
            ax.plot(share, counts, MARKERS[row], ls="-", color=COLOURS[row], label=f"{label}: {size:.2f}")
            for slope in (1, 2):
                ax.plot(share, counts[-1] * (share / share[-1]) ** -slope, **DASHED)
        ax.set(xscale="log", yscale="log", xlabel="side of a box / side of the map", ylabel="boxes that it meets")
        ax.set_title("Its roughness")
        ax.legend(title="slope")

    return Part([], draw)


def how(side: int, steps: int) -> str:
    """What the map of networks shows, in the words of a caption."""
    return (
        f"Networks: {side:,}² pairs of rates of v tanh(w x), {WIDTH} inputs, {WIDTH} units, {EXAMPLES} random "
        f"examples, all in each of {steps} steps, the same data and start (seed 0) for all, float32. Blue: the mean of "
        "the last 20 losses is below the first one; orange: it is not. The darker, the later or less clear, by rank."
    )
