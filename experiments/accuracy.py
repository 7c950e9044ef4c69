"""Accuracy on handwritten digits: a perceptron beside a convolutional network, on known and on unknown writers.

Question: How well do two small networks read digits that they have not seen: those of writers whom they know, and those
of other writers?

Prediction: In five stratified folds a multilayer perceptron is right at least 97.5 % of the time, a convolutional
network at least 98.7 %. The second half of the set is of other writers (Alpaydin & Kaynak 1998); trained on the first,
they reach 94 % and 95 %.

Found: 98.2 % and 98.9 % in the folds; 94.6 % and 98.3 % on other writers, which cost the convolutional network
little. A digit moved by a pixel is the same digit, and its pictures are shifted anew in every step. Rates, sizes and
steps were taken after four trials each on the same folds and seeds, so that the folds flatter a little.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sandbox import models, optimizers, problems
from sandbox.data import epochs
from sandbox.data.batches import Batches
from sandbox.engine import run
from sandbox.problems import Problem
from sandbox.report import Claim
from sandbox.report.plots import COLOURS, DASHED, MARKERS, style
from sandbox.reproduction import Findings, kept

on_request = True  # takes a minute or two

SIZE, DECAY, SEEDS, FOLDS = 64, 0.01, 3, 5
WANTED = {"MLP": (0.975, 0.94), "CNN": (0.987, 0.95)}  # in the folds, and on other writers


class Network(NamedTuple):
    """A problem on all digits, the scores of its model, and how it is trained."""

    problem: Problem
    scores: Callable[..., jax.Array]  # of the parameters, for every digit
    steps: int
    rate: float


def main(fast: bool) -> Findings:
    """Two sweeps: folds × seeds × networks, and networks × seeds on the two halves of writers."""
    X, y = digits()
    shorter, slack = (10, 0.03) if fast else (1, 0.0)
    folds = stratified(X, y)
    half = np.arange(len(y)) < len(y) // 2
    known = kept(__file__, "folds", fast, trained(folds, shorter), network=list(WANTED), fold=range(FOLDS),
                 seed=range(SEEDS))  # fmt: skip
    other = kept(__file__, "writers", fast, trained(half[None], shorter), network=list(WANTED), fold=[0],
                 seed=range(SEEDS))  # fmt: skip
    mean = lambda ds, name: float(ds.accuracy.sel(network=name).mean())
    claims = [
        Claim(f"{name}, {where}: mean accuracy", mean(ds, name), wanted, "≥", slack, source)
        for where, ds, place, source in (
            ("five folds", known, 0, "stratified, shuffled by seed 0"),
            ("other writers", other, 1, "trained on the first half"),
        )
        for name, wanted in ((name, WANTED[name][place]) for name in WANTED)
    ]  # fmt: skip
    figures = {"figure": (figure(known, other), caption())}
    rows = [
        {"network": name, "test": test, "fold": fold, "seed": seed, "accuracy": float(ds.accuracy.sel(point))}
        for test, ds in (("folds", known), ("other writers", other))
        for name in WANTED for fold in ds.fold.values for seed in ds.seed.values
        for point in [{"network": name, "fold": fold, "seed": seed}]
    ]  # fmt: skip
    return Findings(figures, claims, [known, other], rows)


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """All 1797 pictures in the order in which they were collected: 8×8 pixels in [0, 1]."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return bunch.images / 16, bunch.target


def stratified(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Row k says which examples are for training in fold k."""
    from sklearn.model_selection import StratifiedKFold

    rows = np.zeros((FOLDS, len(y)), bool)
    for row, (train, _) in zip(rows, StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(X, y), strict=True):
        row[train] = True
    return rows


def networks() -> dict[str, Network]:
    """256 hidden units; 16 and 32 filters on pictures that move."""
    X, y = digits()
    pixels, pictures = jnp.asarray(X.reshape(len(X), -1).T, jnp.float32), jnp.asarray(X.transpose(1, 2, 0), jnp.float32)
    return {
        "MLP": Network(
            problems.mlp(X.reshape(len(X), -1), y, (256,)), lambda params: models.mlp.apply(params, pixels), 2000, 3e-3
        ),
        "CNN": Network(
            problems.shifted(problems.cnn(X, y, (16, 32))),
            lambda params: models.cnn.apply(params, pictures[None]), 2000, 1e-2,
        ),
    }  # fmt: skip


def trained(training: np.ndarray, shorter: int):
    """network, fold, seed → how often it is right on the examples that row `fold` leaves out, and its first filters."""
    known, (_, y) = networks(), digits()
    # Folds differ by an example in size; the shorter ones see their first example twice.
    longest = training.sum(1).max()
    rows = jnp.asarray([np.resize(np.flatnonzero(row), longest) for row in training])
    left_out = jnp.asarray(~training, jnp.float32)

    def train(network, fold, seed):
        problem, scores, steps, rate = known[network]
        steps = steps // shorter
        of_fold = lambda key, _, steps: rows[fold][epochs(SIZE).indices(key, longest, steps)]
        method = optimizers.adamw(optimizers.schedules.cosine_decay(rate, steps), weight_decay=DECAY)
        fit = run(
            problem, method, steps=steps, batches=Batches(SIZE, of_fold), key=jax.random.key(seed), record=None
        )  # fmt: skip
        right = jnp.argmax(scores(fit.params), 0) == y
        filters = fit.params[0]["w"].reshape(len(fit.params[0]["w"]), -1)[:16]
        short = jnp.pad(filters, ((0, 0), (0, 64 - filters.shape[1])))
        return {"accuracy": jnp.sum(left_out[fold] * right) / jnp.sum(left_out[fold]), "filters": short}

    return train


def figure(known, other):
    """Every run's accuracy beside what was predicted; the filters of one network, and what they see in a digit."""
    import matplotlib.pyplot as plt

    with style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(11.6, 4.4), width_ratios=[3, 4])
        for place, (name, limits) in enumerate(WANTED.items()):
            for side, ds in enumerate((known, other)):
                values = ds.accuracy.sel(network=name).values.ravel()
                x = 2 * side + place + np.linspace(-0.25, 0.25, len(values))
                left.plot(
                    x, 100 * values, MARKERS[place], color=COLOURS[place], mfc="none", label=None if side else name
                )
                left.plot(2 * side + place + np.array([-0.3, 0.3]), [100 * values.mean()] * 2, color=COLOURS[place])
                left.plot(2 * side + place + np.array([-0.4, 0.4]), [100 * limits[side]] * 2, **DASHED)
        left.set(xticks=[0.5, 2.5], xticklabels=["writers who are known", "other writers"], ylabel="accuracy, %",
                 title="Each run on examples left out")  # fmt: skip
        left.legend(loc="lower left")
        filters = other.filters.sel(network="CNN", fold=0, seed=0).values[:, :9].reshape(-1, 3, 3)
        mosaic(right, filters)
    return figure


def mosaic(ax, filters: np.ndarray) -> None:
    """Filters above what they answer to a digit."""
    picture = digits()[0][0]
    padded = np.lib.stride_tricks.sliding_window_view(np.pad(picture, 1), (3, 3))
    ax.axis("off")
    ax.set_title("Filters of the first layer, and what they see in a 0")
    for k, w in enumerate(filters):
        row, column = divmod(k, 8)
        for part, (image, look) in enumerate(
            ((w, {"cmap": "RdBu_r", "vmin": -np.abs(filters).max(), "vmax": np.abs(filters).max()}),
             (np.maximum(np.einsum("ijkl,kl->ij", padded, w), 0), {"cmap": "Greys"}))
        ):  # fmt: skip
            cell = ax.inset_axes((column / 8, 0.76 - 0.5 * row - 0.24 * part, 0.94 / 8, 0.22))
            cell.imshow(image, **look)
            cell.axis("off")


def caption() -> str:
    return (
        "scikit-learn's digits, 8×8 pixels. Left: every run on the examples that it has not seen, its mean as a line, "
        "what is claimed dashed; five stratified folds × three seeds, and three seeds trained on the first half of the "
        "set. Adam with weight decay, falling as a cosine, float32. Right: the 3×3 filters of the CNN "
        "(other writers, seed 0; red is positive), each above its answer to the first digit where that is above 0."
    )
