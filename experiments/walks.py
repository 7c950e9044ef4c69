"""Walks: how much of a path does a plane hold, and how much of that would chance alone give?

Question: Pictures of training show a smooth arc in the plane of the path's two largest principal components, which
holds most of its variance. What does that say of training?

Prediction: Less than it seems. A random walk of n steps in many dimensions has the shares of variance
ρₖ = 3 / (2 (n² − 1) sin²(πk/2n)), which near 6/π²k²: 60.8 %, 15.2 %, 6.8 %; and its k-th coordinate is a cosine of k
half-turns, so that it draws an arc too (Antognini & Sohl-Dickstein 2018). Training is of few dimensions where it beats
that; what is left of it outside of the plane is √(1 − ρ₁ − ρ₂) of its length.

Found: The shares of 8 walks lie within 2.4 standard errors of the law, their coordinates on its cosines. A small
network's training is of fewer dimensions: its plane holds at least 99.4 % of the variance in each of five seeds, where
a random walk's holds 76.0 %; at most 7.4 % of its length is outside.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from sandbox import landscape, optimizers, problems
from sandbox.data.batches import cyclic
from sandbox.engine import run
from sandbox.report import Claim
from sandbox.report.claims import same, within
from sandbox.report.plots import COLOURS, DASHED
from sandbox.reproduction import Findings, Part, findings, kept

on_request = True

POINTS, DIMENSIONS, WALKS = 100, 10_000, 8
COMPONENTS = 6
SEEDS, STEPS, BATCH, RATE = 5, 600, 64, 0.1
SOURCE = "Antognini & Sohl-Dickstein 2018"


def main(fast: bool) -> Findings:
    """Random walks, then a network's training beside them."""
    with jax.enable_x64(True):
        parts = [random_walks(WALKS // 2 if fast else WALKS), *trained(fast)]
    caption = (
        f"Left: the first of {WALKS} walks of {POINTS} normal steps in {DIMENSIONS:,} dimensions (seed 0), in the "
        "plane of its two largest principal components. Middle: so the weights of a 64-32-10 network on the digits "
        f"(training split) under SGD, rate {RATE}, batches of {BATCH} in turn, {STEPS} steps, every sixth one shown, "
        f"seed 0; not normalised. Right: shares of variance, median and range over {SEEDS} seeds; float64. "
        "Dashed: the law."
    )
    return findings(parts, caption, panel=(4.8, 4.2))


def components(path: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares of variance, unit directions and coordinates of a path (points, n)."""
    found = landscape.principal(path, COMPONENTS)
    axes = np.stack(found.directions)
    return found.shares, axes, (path - np.asarray(found.centre)) @ axes.T


def random_walks(count: int) -> Part:
    """Sums of normal steps; their shares and coordinates beside the law."""
    rng = np.random.default_rng(0)
    walks = (np.cumsum(rng.standard_normal((POINTS, DIMENSIONS)), axis=0) for _ in range(count))
    shares, _, coordinates = map(np.array, zip(*map(components, walks), strict=True))
    units = coordinates / np.linalg.norm(coordinates, axis=1, keepdims=True)
    alike = np.abs((units * arcs(POINTS, COMPONENTS)).sum(1)).min()
    long = landscape.random_walk(100_000, 3)
    claims = [
        within("random walk: shares of variance", SOURCE, (shares, landscape.random_walk(POINTS, COMPONENTS))),
        Claim("random walk: least |cosine| of a coordinate and its arc", alike, 1, "≈", tolerance(), SOURCE),
        *(
            Claim(f"long walk: share {k}", share, known, "≈", 5e-4, "6/π²k²")
            for k, share, known in zip((1, 2, 3), long, (0.608, 0.152, 0.068), strict=True)
        ),
    ]

    def draw(ax):
        plane(ax, coordinates[0], shares[0])
        arc = arcs(POINTS, 2) * np.linalg.norm(coordinates[0], axis=0)[:2]
        ax.plot(*(arc * np.sign((arc * coordinates[0][:, :2]).sum(0))).T, **DASHED, zorder=4)
        ax.set_title("A random walk")

    return Part(claims, draw)


def arcs(points: int, components: int) -> np.ndarray:
    """cos(πk(j − ½)/n) in columns of length 1: the eigenvectors of a walk's inner products, n → ∞ dimensions."""
    j, k = np.arange(points)[:, None] + 0.5, np.arange(1, components + 1)
    return np.cos(np.pi * k * j / points) * np.sqrt(2 / points)


def tolerance() -> float:
    """How far 1 − cosine may be from 0 for finite dimensions d: eigenvectors turn by sin² ≈ Σ λᵢλⱼ/(λᵢ − λⱼ)²/d.

    The mean of the last component, which has the nearest neighbours, four times.
    """
    values = landscape.random_walk(POINTS, POINTS - 1)
    own, others = values[COMPONENTS - 1], np.delete(values, COMPONENTS - 1)
    return 4 * (own * others / (own - others) ** 2).sum() / DIMENSIONS / 2


def trained(fast: bool) -> tuple[Part, Part]:
    """A network's weights while it learns, as many points as the walks have, in the plane of its own components."""
    problem = problems.digits_mlp(hidden=(32,))
    flat = lambda params: jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(params)])

    def train(seed):
        method, key = optimizers.gradient_descent(RATE), jax.random.key(seed)
        record = lambda info: {"weights": flat(info.params)}
        return run(problem, method, steps=STEPS, batches=cyclic(BATCH), key=key, record=record, every=STEPS // POINTS)

    ds = kept(__file__, "training", fast, train, seed=range(SEEDS))
    paths = ds.weights.values
    shares, axes, coordinates = map(np.array, zip(*map(components, paths), strict=True))
    law = landscape.random_walk(POINTS, 2).sum()
    inside = shares[:, :2].sum(1)
    outside = np.array([landscape.project(p, p.mean(0), *a[:2]).fraction for p, a in zip(paths, axes, strict=True)])
    claims = [
        Claim("training: least share of its plane", inside.min(), law, "≥", 0, "a random walk's"),
        Claim(
            "training: most that is outside of it, of its length", outside.max(), np.sqrt(1 - law), "≤", 0, "the same"
        ),
        same("training: share + (part outside)² − 1", inside + outside**2 - 1, "Pythagoras", 1e-10),
    ]

    def draw(ax):
        plane(ax, coordinates[0], shares[0])
        ax.set_title(f"Training: {outside[0]:.1%} of its length outside")

    return Part(claims, draw, (ds,)), Part([], scree(shares))


def plane(ax, coordinates: np.ndarray, shares: np.ndarray) -> None:
    """A path in its plane, from its open ring to its disc, both axes in the same unit."""
    x, y = coordinates[:, :2].T
    ax.plot(x, y, color=COLOURS[0], marker=".", ms=4, lw=1)
    ax.plot(x[0], y[0], "o", ms=9, mfc="white", mec=COLOURS[0], mew=1.8, zorder=5)
    ax.plot(x[-1], y[-1], "o", ms=8, mfc=COLOURS[0], mec="white", mew=1.2, zorder=5)
    ax.set(xlabel=f"component 1: {shares[0]:.1%} of the variance", ylabel=f"component 2: {shares[1]:.1%}")
    ax.set_aspect("equal", "datalim")


def scree(shares: np.ndarray) -> Callable:
    """The shares of training beside those of a random walk."""

    def draw(ax):
        k, middle = np.arange(1, COMPONENTS + 1), np.median(shares, 0)
        reach = np.abs([middle - shares.min(0), shares.max(0) - middle])
        ax.errorbar(k, 100 * middle, 100 * reach, marker="o", ls="", capsize=3, label="training")
        ax.plot(
            k, 100 * landscape.random_walk(POINTS, COMPONENTS), marker="s", mfc="white", **DASHED, label="random walk"
        )
        ax.set(xlabel="principal component", ylabel="share of the variance, %", yscale="log", title="Beside chance")
        ax.legend()

    return draw
