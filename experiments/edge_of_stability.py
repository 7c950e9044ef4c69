"""The edge of stability: networks sharpen until their optimizer can bear no more.

Question: How sharp does the ground become under a network that is trained with all its data in every step?

Prediction: A quadratic throws a method off where its curvature is above 2/η for gradient descent, (2 + 2β)/η for heavy
ball, (2 + 2β)/(η(1 + 2β)) for Nesterov, and (2 + 2β₁)/((1 − β₁)η) for Adam, there as P^(−½)HP^(−½) with Adam's own P.
A network is no quadratic: its sharpness rises up to that threshold and stays there, while the gradient points along
the sharpest direction, to and fro (Cohen et al. 2021; Adam, Cohen et al. 2022).

Found: In the median of five starts all end within 9 % of their thresholds. One start under heavy ball was thrown back
on its way up, and fitted the data where the ground is flatter, at 0.77 of it; the others end between 0.90 and 1.07.
Late gradients of gradient descent lie along the sharpest direction to 0.97 and more. In double precision two of five
starts under heavy ball end at half of the threshold, and the median at 0.84: whether one is thrown back hangs on
rounding.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.polynomial.chebyshev import chebpts1, chebval

from sandbox import landscape, optimizers, problems
from sandbox.engine import run
from sandbox.report import Claim
from sandbox.report.plots import COLOURS, DASHED, MARKERS
from sandbox.reproduction import Findings, Part, findings, kept

on_request = True  # a record of curvature takes long to compile
SEEDS, EVERY = range(5), 100  # steps from row to row
BETA = 0.9
B1, B2, EPS = 0.9, 0.99, 1e-7
BAND = 0.15  # around the threshold
COHEN, ADAPTIVE = "Cohen et al. 2021", "Cohen et al. 2022"


class Family(NamedTuple):
    """Runs of one program, and what is seen of them: their sharpness over their own thresholds."""

    names: list[str]
    ds: Any
    thresholds: np.ndarray
    ratio: np.ndarray  # runs, seeds, rows
    source: str


def main(fast: bool) -> Findings:
    """Three families of methods, each run beside its threshold."""
    families = [descent(fast), nesterov(fast), adam(fast)]
    first = families[0]
    claims = [claim for family in families for claim in at_the_edge(family)] + on_the_way(first)
    panels = [Part(claims, lambda ax: sharpening(ax, first)), Part([], lambda ax: spectrum(ax, first))]
    panels += [Part([], lambda ax: normalised(ax, families), tuple(family.ds for family in families))]
    return findings(panels, caption(fast), panel=(5.0, 4.3))


def at_the_edge(found: Family) -> list[Claim]:
    """The last rows of every run beside its threshold, in the middle of the seeds."""
    about = lambda name: f"{name}: late sharpness / threshold in float32, median of {len(SEEDS)} seeds"
    middle = np.median(seeds_at_last(found), axis=1)
    return [Claim(about(n), value, 1, "≈", BAND, found.source) for n, value in zip(found.names, middle, strict=True)]


def seeds_at_last(found: Family) -> np.ndarray:
    """The median over the last rows, of every run and seed."""
    return np.median(late(found.ratio), axis=-1)


def late(rows: np.ndarray) -> np.ndarray:
    """The last third of every run."""
    return rows[..., -(rows.shape[-1] // 3) :]


def on_the_way(found: Family) -> list[Claim]:
    """They start below the edge; there, gradient descent goes to and fro along the sharpest direction."""
    aligned = np.median(np.median(late(found.ds.alignment.values[:3]), axis=-1), axis=-1)  # of rows, and of seeds
    return [
        Claim("start: largest sharpness / threshold", found.ratio[..., 0].max(), 1 - BAND, "≤", 0.0, found.source),
        Claim("gradient descent, late: least alignment with λ₁", aligned.min(), 0.9, "≥", 0.0, found.source),
    ]


def train(method, seed, steps, record):
    """All data in every step: 1-30-30-1 with tanh on 20 points of Chebyshev's T₅."""
    x = chebpts1(20)
    problem = problems.mlp_regression(x[:, None], chebval(x, [0, 0, 0, 0, 0, 1]), (30, 30), "tanh")
    return run(problem, method, steps=steps, key=jax.random.key(seed), record=record, every=EVERY)


def length(fast: bool) -> int:
    """Steps without Adam, which takes a third of them."""
    return 15_000 if fast else 30_000


def descent(fast: bool) -> Family:
    """Gradient descent, which is heavy ball without momentum, at three rates; and heavy ball."""
    rates, momenta = np.array([0.05, 0.1, 0.2, 0.05]), np.array([0, 0, 0, BETA])
    record = landscape.edge_of_stability(largest=4)

    def one(case, seed):
        method = optimizers.heavy_ball(jnp.asarray(rates)[case], jnp.asarray(momenta)[case])
        return train(method, seed, length(fast), record)

    ds = kept(__file__, "descent", fast, one, case=range(len(rates)), seed=SEEDS)
    called = lambda rate, beta: f"{'heavy ball' if beta else 'gradient descent'}, η = {rate:g}"
    names = list(map(called, rates, momenta))
    return family(names, ds, ds.sharpness, landscape.heavy_ball_threshold(rates, momenta), COHEN)


def nesterov(fast: bool) -> Family:
    """Nesterov's method, whose threshold is the lowest for its rate."""
    rates = np.array([0.05])
    record = landscape.edge_of_stability()
    one = lambda rate, seed: train(optimizers.nesterov(rate, BETA), seed, length(fast), record)
    ds = kept(__file__, "nesterov", fast, one, rate=rates, seed=SEEDS)
    names = [f"Nesterov, η = {rate:g}" for rate in rates]
    return family(names, ds, ds.sharpness, landscape.nesterov_threshold(rates, BETA), COHEN)


def adam(fast: bool) -> Family:
    """Adam, on the ground as its preconditioner shapes it."""
    rates = np.array([3e-4, 1e-3, 3e-3])
    record = landscape.edge_of_stability(landscape.adam_preconditioner(B1, B2, EPS))
    one = lambda rate, seed: train(optimizers.adam(rate, B1, B2, EPS), seed, length(fast) // 3, record)
    ds = kept(__file__, "adam", fast, one, rate=rates, seed=SEEDS)
    names = [f"Adam, η = {rate:g}" for rate in rates]
    return family(names, ds, ds.preconditioned_sharpness, landscape.adam_threshold(rates, B1), ADAPTIVE)


def family(names, ds, sharpness, thresholds, source) -> Family:
    """With the thresholds as columns beside the runs."""
    thresholds = np.asarray(thresholds)
    return Family(names, ds, thresholds, sharpness.values / thresholds[:, None, None], source)


def curve(ax, steps, values, label, row, **options):
    """A line with its colour and, where it is not lost among others, its marker."""
    colour, marker = COLOURS[row % len(COLOURS)], MARKERS[(row + row // len(COLOURS)) % len(MARKERS)]
    every = max(1, len(steps) // 8)
    ax.plot(
        steps, values, color=colour, marker=marker, markevery=(row * every // 8, every), lw=1.2, label=label, **options
    )


def sharpening(ax, found: Family):
    """The sharpness under gradient descent at three rates."""
    for row in range(3):
        curve(ax, found.ds.step, found.ds.sharpness.values[row, 0], found.names[row].partition(", ")[2], row)
        ax.axhline(found.thresholds[row], **DASHED)
    ax.plot([], [], **DASHED, label="2/η")
    ax.set(title="Gradient descent sharpens up to 2/η", xlabel="step", ylabel="sharpness: largest eigenvalue of ∇²f")
    ax.legend(loc="center right")


def spectrum(ax, found: Family):
    """The largest eigenvalues under gradient descent at one rate."""
    for row, values in enumerate(found.ds.eigenvalues.values[1, 0].T):
        curve(ax, found.ds.step, values, f"$\\lambda_{row + 1}$", row)
    ax.axhline(found.thresholds[1], **DASHED, label="2/η")
    ax.set(title=f"The largest four, {found.names[1].partition(', ')[2]}", xlabel="step", ylabel="eigenvalue of ∇²f")
    ax.set(ylim=(None, 1.3 * found.thresholds[1]))
    ax.legend(loc="upper center", ncols=5, columnspacing=1)


def normalised(ax, families: list[Family]):
    """Every run over its own threshold, against the share of its steps."""
    row = 0
    for found in families:
        for name, ratio in zip(found.names, np.median(found.ratio, axis=1), strict=True):
            curve(ax, np.linspace(0, 1, len(ratio)), ratio, name, row, alpha=0.9)
            row += 1
    ax.axhline(1, **DASHED)
    ax.set(
        title="Each beside its own threshold", xlabel="share of the steps taken",
        ylabel="sharpness / threshold, median of seeds",
        ylim=(0, 1.6),
    )  # fmt: skip
    ax.legend(ncols=2, fontsize=7)


def caption(fast: bool) -> str:
    """How it was made."""
    return (
        f"A tanh network 1-30-30-1 (1,020 weights and biases) fits the Chebyshev polynomial T₅ at 20 points, by "
        f"half the mean squared error; all data in every step, float32, seeds {SEEDS[0]} to {SEEDS[-1]} (left and "
        f"middle: the first), no test split, no normalisation. "
        f"{length(fast):,} steps, of Adam {length(fast) // 3:,}; sharpness at every {EVERY}th. Momentum β = {BETA}; "
        f"Adam: β₁ = {B1}, β₂ = {B2}, ε = {EPS:g}, and the sharpness of P^(−½)∇²f P^(−½), which starts far above "
        "the panel: P, the size of recent gradients, is small at first. Dashed: what a quadratic can bear."
    )
