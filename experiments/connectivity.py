"""Mode connectivity: is there a way between two trained networks that does not climb?

Question: Two networks trained from different starts are minima of the same loss. Is there a ridge between them, and is
it there because they learned something else, or only because they number their units differently?

Prediction: A copy with its hidden units in another order computes the same, yet lies behind a ridge; weight matching
finds the order again, and the ridge is gone (Ainsworth, Hayase & Srinivasa 2023). Between networks from different
starts it lowers the ridge. And they are joined by a bent curve, with one bend, along which the loss hardly rises
(Garipov et al. 2018; Draxler et al. 2018).

Found: All of it. Matching leaves a copy no barrier but rounding. Between networks from different starts it leaves at
most 16 % of the barrier, in each of four pairs. A curve with one bend leaves at most 2.4 % after 1,200 steps of
training; after 400, in an earlier trial, it still left 12.7 %.
"""

import jax
import jax.numpy as jnp
import numpy as np

from sandbox import landscape, optimizers, problems
from sandbox.data.batches import cyclic
from sandbox.engine import run
from sandbox.report import Claim
from sandbox.report.claims import same
from sandbox.report.maps import contours
from sandbox.report.plots import COLOURS, GREY, MARKERS
from sandbox.reproduction import Findings, Part, findings, kept
from sandbox.sweeps import linear

on_request = True

HIDDEN, PAIRS = 32, 4
RATE, MOMENTUM, BATCH = 0.05, 0.9, 64
STEPS, BENDING = 400, 1200  # of networks, and of bends, which see one place of the curve a step
PLACES = 41  # along a way
WAYS = ("straight", "matched", "bent")


def main(fast: bool) -> Findings:
    """Train the networks, match them, bend the curves, and look along each way."""
    with jax.enable_x64(True):
        problem = problems.digits_mlp(hidden=(HIDDEN,))
        networks = trained(problem, fast)
        starts, ends = networks[:PAIRS], networks[PAIRS:]
        matched = [landscape.permute(b, landscape.match(a, b)) for a, b in zip(starts, ends, strict=True)]
        bends, ds = bent(problem, stacked(starts), stacked(ends), fast)
        straight = [landscape.middle(a, b) for a, b in zip(starts, ends, strict=True)]
        again = [landscape.middle(a, b) for a, b in zip(starts, matched, strict=True)]
        t = np.linspace(0, 1, PLACES)
        look = along(problem, t)
        values = {
            way: look(starts, middles, others)
            for way, middles, others in zip(WAYS, (straight, again, bends), (ends, matched, ends), strict=True)
        }
        copies = copied(problem, starts[0], look, t)
        barriers = {way: landscape.barrier(t, values[way]) for way in WAYS}
        claims = [*copies, *claimed(barriers, starts, ends, matched)]
        ground = plane(problem, starts[0], bends[0], ends[0], fast)
    parts = [Part(claims, ways(t, values), (ds,)), Part([], ground), Part([], ridges(barriers))]
    caption = (
        f"{PAIRS} pairs of 64-{HIDDEN}-10 ReLU networks on the digits (training split, all of it in each value), seeds "
        f"0 to {2 * PAIRS - 1}, heavy ball, rate {RATE}, momentum {MOMENTUM}, batches of {BATCH} in turn, {STEPS} "
        f"steps, {BENDING} for a bend; float64. Left: median and range over pairs. Middle: the plane of the first "
        "pair and its bend, at right angles, in units of the weights, not normalised; solid: the bent way."
    )
    return findings(parts, caption, panel=(4.9, 4.3))


def trained(problem, fast: bool) -> list:
    """Networks from different starts, on the same batches."""
    method = optimizers.heavy_ball(RATE, MOMENTUM)

    def train(seed):
        key = jax.random.key(seed)
        return dict(enumerated(run(problem, method, steps=STEPS, batches=cyclic(BATCH), key=key, record=None).params))

    ds = kept(__file__, "networks", fast, train, seed=range(2 * PAIRS))
    return layers(ds, "seed")


def bent(problem, starts, ends, fast: bool) -> tuple[list, object]:
    """The bend of the curve between each pair, trained at a place of it drawn anew in every step."""
    method = optimizers.heavy_ball(RATE, MOMENTUM)

    def bend(pair):
        start, end = (jax.tree.map(lambda x: jnp.asarray(x)[pair], side) for side in (starts, ends))
        way = landscape.curve(problem, start, end)
        key = jax.random.key(0)
        return dict(enumerated(run(way, method, steps=BENDING, batches=cyclic(BATCH), key=key, record=None).params))

    ds = kept(__file__, "bends", fast, bend, pair=range(PAIRS))
    return layers(ds, "pair"), ds


def enumerated(params):
    """w0, b0, w1, … of the layers: what a store keeps under names."""
    return ((f"{name}{n}", leaf) for n, layer in enumerate(params) for name, leaf in layer.items())


def layers(ds, lane: str) -> list:
    """The networks again, one for each lane."""
    part = lambda one, n: {name: one[f"{name}{n}"].values for name in ("w", "b")}
    return [[part(ds.isel({lane: i}), n) for n in (0, 1)] for i in range(ds.sizes[lane])]


def stacked(networks: list):
    """One tree of networks, along a leading axis."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *networks)


def along(problem, t: np.ndarray):
    """(starts, bends, ends) → the loss at every t of each Bézier curve, (pairs, t)."""
    one = lambda path: landscape.along(problem.objective, lambda t: landscape.bezier(*path, t), t)
    look = jax.jit(lambda paths: jax.lax.map(one, paths))
    return lambda *sides: np.asarray(look(tuple(map(stacked, sides))))


def copied(problem, network, look, t: np.ndarray) -> list[Claim]:
    """A network, and a copy of it whose hidden units are in another order."""
    order = np.random.default_rng(0).permutation(HIDDEN)
    copy = landscape.permute(network, [order])
    (found,) = landscape.match(network, copy)
    ends = [copy, landscape.permute(copy, [found])] * (PAIRS // 2)
    values = look([network] * PAIRS, [landscape.middle(network, end) for end in ends], ends)
    before, after = landscape.barrier(t, values)[:2]
    return [
        same("permuted copy: its loss less the network's", values[:, -1] - values[:, 0], "the same function"),
        Claim(
            "permuted copy: units matched to another",
            (order[found] != np.arange(HIDDEN)).sum(),
            0,
            "≈",
            0,
            "exact for one layer",
        ),
        Claim(
            "permuted copy: barrier after matching / before",
            after / before if before else np.nan,
            0,
            "≈",
            1e-12,
            "Ainsworth et al. 2023",
        ),
    ]


def claimed(barriers, starts, ends, matched) -> list[Claim]:
    """What matching and bending do to independent networks."""
    apart = lambda others: np.array([distance(a, b) for a, b in zip(starts, others, strict=True)])
    lower = barriers["matched"] / barriers["straight"]
    bent = barriers["bent"] / barriers["straight"]
    return [
        Claim(
            "matched / unmatched distance, most",
            (apart(matched) / apart(ends)).max(),
            1,
            "≤",
            0,
            "the best of all orders",
        ),
        Claim("matched / unmatched barrier, most", lower.max(), 1, "≤", 0, "Ainsworth et al. 2023"),
        Claim("bent / straight barrier, most", bent.max(), 0.1, "≤", 0, "Garipov et al. 2018: hardly rises"),
    ]


def plane(problem, start, bend, end, fast: bool):
    """The plane through both networks and the bend between them, and the ways that lie in it."""
    centre, u, v, (_, (length, _), (_, height)) = landscape.through(start, end, bend)
    place = lambda a, b: jax.tree.map(lambda x, y, z: x + a * y + b * z, centre, u, v)
    axes = dict(a=linear(-0.25 * length, 1.25 * length, 41), b=linear(-0.6 * height, 1.1 * height, 41))
    ds = kept(__file__, "plane", fast, lambda a, b: problem.objective(place(a, b)), **axes)
    t = np.linspace(0, 1, 101)
    path = landscape.project(stacked([landscape.bezier(start, bend, end, s) for s in t]), centre, u, v)

    def draw(ax):
        contours(ax, ds.a.values, ds.b.values, ds.value.values, label="loss above its lowest value here")
        ax.plot([0, length], [0, 0], color="white", ls="--", lw=1.6)
        ax.plot(path.a, path.b, color="white", lw=2.4)
        ax.plot([0, length], [0, 0], "o", ms=8, mfc=COLOURS[1], mec="white", mew=1.4, ls="none", clip_on=False)
        ax.set(xlabel="along the straight line", ylabel="towards the bend", title="Around the ridge")

    return draw


def distance(a, b) -> float:
    """‖a − b‖."""
    return np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(jax.tree.map(np.subtract, a, b))))


def ways(t: np.ndarray, values: dict[str, np.ndarray]):
    """The loss along each way."""

    def draw(ax):
        for row, way in enumerate(WAYS):
            low, middle, high = np.quantile(values[way], (0, 0.5, 1), axis=0)
            ax.plot(t, middle, color=COLOURS[row], marker=MARKERS[row], markevery=5, label=way)
            ax.fill_between(t, low, high, color=COLOURS[row], alpha=0.18, lw=0)
        ax.set(xlabel="place $t$ on the way", ylabel="training loss", yscale="log", title="From network to network")
        ax.legend()

    return draw


def ridges(barriers: dict[str, np.ndarray]):
    """The barrier on each way of each pair."""

    def draw(ax):
        for row, way in enumerate(WAYS):
            ax.plot(np.arange(1, PAIRS + 1), barriers[way], MARKERS[row], ms=8, color=COLOURS[row], label=way)
        ax.vlines(np.arange(1, PAIRS + 1), 0, barriers["straight"], color=GREY, lw=0.6, zorder=0)
        ax.set(xlabel="pair", ylabel="barrier", title="What is left of the ridge", xticks=range(1, PAIRS + 1))
        ax.legend()

    return draw
