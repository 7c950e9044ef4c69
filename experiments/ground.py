"""The ground around trained networks: straight lines between them, random lines and a plane through one, its scalings.

Question: What does one see when one walks straight from a start to the end of its training, from one trained network
to another, or away in random directions? And how much of what one sees is the network's, how much the weights' scale?

Prediction: (1) From the start to the end the training loss falls all the way (Goodfellow, Vinyals & Saxe 2015). Between
networks from different starts lies a barrier: at its top more than 2 % of the training examples more are wrong than at
the ends; between two that shared the first part of their training, and then saw other batches, fewer are (Frankle et
al. 2020, whose bound it is). (2) On filter-normalised lines through a trained network (Li et al. 2018) the training
loss is lowest where its slope and its curvature at the network say, at −gᵀd / dᵀHd, to a cell of the grid; (3) two of
the lines are the middle column and row of the plane along both. (4) With a first layer times c and a second times 1/c
a network of rectifiers computes the same (Dinh et al. 2017). The Hessian's block of the second layer is c² times what
it was, so that the largest eigenvalue is at least c² times that block's own, and at large c just that; a
filter-normalised line stays as it is, a plain one does not.

Found: All of it. Between networks from two starts 7 to 26 % more of the training examples are wrong than at the ends,
between those that shared their first 200 of 600 steps at most 0.11 % more. The lowest loss on thirty lines is within
half a cell of where slope and curvature put it. With a first layer times 100 the largest eigenvalue is 17,000 in place
of 3.3 at the same outputs; the filter-normalised line differs by rounding, the plain one by up to a factor of 1,360.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sandbox import landscape, optimizers, problems, tree
from sandbox.data import load_digits
from sandbox.data.batches import Batches, epochs
from sandbox.engine import run
from sandbox.problems.examples import Examples
from sandbox.report import Claim
from sandbox.report.maps import contours
from sandbox.report.plots import COLOURS, DASHED
from sandbox.reproduction import Findings, Part, findings, kept
from sandbox.sweeps import linear, log

on_request = True  # its many programs take a minute to compile

HIDDEN, RATE, BATCH, SHARED, STEPS = 32, 0.003, 64, 200, 600
SEEDS, LINES, POINTS, SPAN = range(5), 30, 51, 1.0
STABLE = 0.02  # of the examples: Frankle et al. 2020
SCALES = log(1, 100, 9)
WALKS = ("start to end", "another start", "shared beginning")
ROUNDING = 64 * float(np.finfo(np.float32).eps)


def main(fast: bool) -> Findings:
    """Train the networks once; look at the ground between and around them."""
    nets = networks(fast)
    rays, values = lines(fast, nets)
    parts = [*walks(fast, nets), rays, *map_and_surface(fast, nets, values), scaled(fast, nets)]
    return findings(parts, caption(fast), rows=2, panel=(5.0, 4.2))


def problem() -> problems.Problem:
    """Digits by a network with one hidden layer of rectifiers."""
    return problems.digits_mlp(hidden=(HIDDEN,))


def sets() -> dict[str, Examples]:
    """Training and test examples, labels as numbers of classes."""
    digits = load_digits()
    return {"train": problem().data, "test": Examples(digits.X_test, np.asarray(digits.y_test, np.int32))}


def scores(params: Any, X: Any) -> jax.Array:
    """What the network says of each example, one per column."""
    from sandbox.models import mlp

    return mlp.apply(params, jnp.asarray(X, params[0]["w"].dtype).T)


def wrong(params: Any, data: Examples) -> jax.Array:
    """The share of examples that get another class."""
    return jnp.mean(jnp.argmax(scores(params, data.X), 0) != data.y)


def metrics() -> dict[str, Any]:
    ground = problem()
    return {"loss": lambda params, data: ground.objective(params, data), "wrong": wrong}


def networks(fast: bool) -> dict[str, Any]:
    """Parameters with the axes (seed, start, order): where training began, and where it ended.

    Runs of one start share their first steps; then each sees the examples in an order of its own.
    """
    ground, method = problem(), optimizers.adam(RATE)

    def train(seed, start, order):
        def shared_then_own(key, examples, steps):
            keys = jnp.stack([key, jax.random.fold_in(key, order)])
            shared, own = jax.vmap(lambda key: epochs(BATCH).indices(key, examples, steps))(keys)
            return jnp.where(jnp.arange(steps)[:, None] < SHARED, shared, own)

        first = jax.random.fold_in(jax.random.key(seed), start)
        begun = ground.init(first)
        ended = run(
            ground, method, steps=STEPS, batches=Batches(BATCH, shared_then_own), key=first, params=begun, record=None
        )  # fmt: skip
        return {"start": dict(enumerate(begun)), "end": dict(enumerate(ended.params)), "loss": ended.value}

    ds = kept(__file__, "networks", fast, train, seed=SEEDS[:3] if fast else SEEDS, start=(0, 1), order=(0, 1))
    lead = ("seed", "start", "order")
    leaf = lambda when, n, name: jnp.asarray(ds[f"{when}/{n}/{name}"].transpose(*lead, ...).values)
    layers = lambda when: [{name: leaf(when, n, name) for name in ("w", "b")} for n in (0, 1)]
    ends = layers("end")
    one = jax.tree.map(lambda x: x[0, 0, 0], ends)
    return {"start": layers("start"), "end": ends, "draws": draws(one), "sweep": ds}


def at(nets: dict[str, Any], when: str, *place: int) -> Any:
    """One network, or those along the axes that are left."""
    return jax.tree.map(lambda x: x[place], nets[when])


def walks(fast: bool, nets: dict[str, Any]) -> list[Part]:
    """Three straight walks of each seed, training and test examples in one pass."""
    t = np.linspace(0, 1, POINTS)

    def walk(seed):
        ends = [at(nets, "start", seed, 0, 0), at(nets, "end", seed, 1, 0), at(nets, "end", seed, 0, 1)]
        here = at(nets, "end", seed, 0, 0)
        ends = jax.tree.map(lambda *x: jnp.stack(x), *ends)
        towards = jax.tree.map(lambda x, y: y - x, ends, jax.tree.map(lambda x: x[None], here))
        return landscape.line(problem(), ends, towards, t, data=sets(), metrics=metrics(), models=True)

    ds = kept(__file__, "walks", fast, walk, seed=nets["sweep"].seed.values)
    value = {name: ds[name].transpose("seed", ...).values for name in ds if "/" in name}  # (seeds, walks, points)
    loss, errors = value["train/loss"], value["train/wrong"]
    above = errors - (1 - t) * errors[..., :1] - t * errors[..., -1:]
    barrier = above.max(-1)
    ended = np.abs(loss[..., -1] / nets["sweep"].loss.values[:, :1, 0] - 1).max()
    frankle = "Frankle et al. 2020"
    claims = [
        Claim("start to end: steepest rise of the loss", np.diff(loss[:, 0]).max(), 0, "≤", 0, "Goodfellow 2015"),
        Claim("walks end at the network's loss, relative", ended, 0, "≈", 1e-4, "rounding"),
        Claim("another start: errors at the barrier, least", barrier[:, 1].min(), STABLE, "≥", 0, frankle),
        Claim("shared beginning: errors at the barrier, most", barrier[:, 2].max(), STABLE, "≤", 0, frankle),
    ]  # fmt: skip

    def panel(title, numbers, what, label):
        def draw(ax):
            for row, number in enumerate(numbers):
                for name, style in (("train", "-"), ("test", "--")):
                    low, middle, high = np.quantile(value[f"{name}/{what}"][:, number], (0.25, 0.5, 0.75), axis=0)
                    marker = "os"[row] if name == "train" else "^D"[row]
                    colour = COLOURS[2 * row + (name == "test")]
                    text = f"{WALKS[number]}, {name}"
                    ax.plot(t, middle, style, color=colour, marker=marker, markevery=5, label=text)
                    ax.fill_between(t, low, high, color=colour, alpha=0.18, lw=0)
            ax.set(
                xlabel="share $t$ of the way", ylabel=label, yscale="log" if what == "loss" else "linear", title=title
            )
            if what == "wrong":
                ax.set_ylim(top=1.4 * ax.get_ylim()[1])  # room for the legend
            ax.legend(ncols=len(numbers), fontsize=8, loc="best" if what == "loss" else "upper left")

        return draw

    return [
        Part(claims, panel("From the start to the end", (0,), "loss", "cross-entropy"), (nets["sweep"], ds)),
        Part([], panel("From one end to another", (1, 2), "wrong", "share of examples misclassified")),
    ]  # fmt: skip


def around(nets: dict[str, Any]) -> Any:
    """The network of the first seed, with the keys of its random directions."""
    return at(nets, "end", 0, 0, 0)


@jax.jit
def draws(params: Any) -> Any:
    """Gaussian directions, their number leading; drawn once for all parts."""
    draw = lambda key: landscape.direction(params, key, normalization="none")
    return jax.vmap(draw)(jax.random.split(jax.random.key(0), LINES))


def ray(nets: dict[str, Any], number: Any) -> Any:
    """The filter-normalised direction of a number."""
    return landscape.normalized(jax.tree.map(lambda x: x[number], nets["draws"]), around(nets))


def newton(f: Any) -> jax.Array:
    """Where a function of one number is lowest by its slope and its curvature at 0."""
    slope = lambda x: jax.jvp(f, (x,), (jnp.ones(()),))[1]
    first, second = jax.jvp(slope, (jnp.zeros(()),), (jnp.ones(()),))
    return -first / second


def lines(fast: bool, nets: dict[str, Any]) -> tuple[Part, np.ndarray]:
    """Thirty filter-normalised lines through one network, and the training loss along them."""
    a, centre = np.linspace(-SPAN, SPAN, POINTS), around(nets)

    def look(number):
        d = ray(nets, number)
        found = landscape.line(problem(), centre, d, a, data=sets())
        step = newton(lambda a: problem().objective(tree.add(centre, tree.scale(a, d))))
        return {**found, "newton": step, "length": tree.norm(d)}

    ds = kept(__file__, "lines", fast, look, number=range(10 if fast else LINES))
    train, test = (ds[name].transpose("number", ...).values for name in ("train", "test"))
    away = np.abs(a[train.argmin(1)] - ds.newton.transpose("number").values).max() / (a[1] - a[0])
    shorter = np.abs(ds.length.values / tree.norm(centre) - 1).max()
    claims = [
        Claim("lines: cells from Newton's step to the lowest loss, most", away, 0, "≈", 1, "second order"),
        Claim("lines: length / the network's, farthest from 1", shorter, 0, "≈", ROUNDING, "Li et al. 2018"),
    ]  # fmt: skip

    def draw(ax):
        ax.plot(a, train.T, color=COLOURS[0], lw=0.6, alpha=0.5)
        for name, rows, colour, marker in (("train", train, COLOURS[0], "o"), ("test", test, COLOURS[1], "^")):
            low, middle, high = np.quantile(rows, (0.25, 0.5, 0.75), axis=0)
            ax.plot(a, middle, color=colour, marker=marker, markevery=5, label=f"{name}, median")
            ax.fill_between(a, low, high, color=colour, alpha=0.2, lw=0)
        ax.set(xlabel="$a$, in lengths of the filters", ylabel="cross-entropy", yscale="log")
        ax.set_title(f"{len(train)} random lines")
        ax.legend()

    return Part(claims, draw, (ds,)), train


def map_and_surface(fast: bool, nets: dict[str, Any], line: np.ndarray) -> list[Part]:
    """The plane of the first two of the lines, row by row; as contours, and from the side."""
    centre, b = around(nets), np.linspace(-SPAN, SPAN, POINTS)

    def row(a):
        u, v = (ray(nets, number) for number in (0, 1))
        return landscape.plane(problem(), centre, u, v, a[None], b)[0]

    ds = kept(__file__, "plane", fast, row, a=linear(-SPAN, SPAN, POINTS))
    values = ds.value.transpose("a", ...).values
    middle = POINTS // 2
    lost = POINTS**2 - np.isfinite(values).sum()
    off = np.abs([values[:, middle] / line[0] - 1, values[middle] / line[1] - 1]).max(1)
    claims = [
        Claim("plane: its middle column / the first line, farthest from 1", off[0], 0, "≈", 1e-4, "rounding"),
        Claim("plane: its middle row / the second line, farthest from 1", off[1], 0, "≈", 1e-4, "rounding"),
        Claim("plane: points without a finite value", lost, 0, "≤", 0, "the loss is finite everywhere"),
    ]  # fmt: skip

    def contour(ax):
        contours(ax, b, b, values, label="loss above the lowest here")
        ax.plot(0, 0, "*", ms=12, mfc="#F0E442", mec="black", label="the network")
        ax.set(xlabel="$a$, in lengths of the filters", ylabel="$b$, in lengths of the filters", title="A plane")
        ax.legend(loc="upper right", frameon=True)

    def side(ax):
        above = ax.figure.add_subplot(ax.get_subplotspec(), projection="3d")
        ax.remove()
        above.plot_surface(
            *np.meshgrid(b, b, indexing="ij"), np.log10(values), cmap="cividis", rstride=2, cstride=2, lw=0
        )
        ticks = (-SPAN, 0, SPAN)
        above.set(
            xlabel="$a$", ylabel="$b$", xticks=ticks, yticks=ticks, title="The same from the side: log₁₀ cross-entropy"
        )
        above.view_init(32, -60)

    return [Part(claims, contour, (ds,)), Part([], side)]


def rescaled(layers: Any, scale: Any) -> Any:
    """The first layer times a scale, the weights of the second divided by it: the same function."""
    first, second = layers
    return [tree.scale(scale, first), {**second, "w": second["w"] / scale}]


def scaled(fast: bool, nets: dict[str, Any]) -> Part:
    """One function, many scales of its layers, in double precision."""
    ground = problem()
    with jax.enable_x64(True):
        wide = lambda x: jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), float), x)
        network, draw = wide((around(nets), jax.tree.map(lambda x: x[0], nets["draws"])))
        a, data = np.linspace(-SPAN, SPAN, 11), jax.tree.map(jnp.asarray, ground.data)
        said = scores(network, data.X)

        def look(scale):
            params = rescaled(network, scale)
            twice = jax.tree.map(lambda x: jnp.stack([x, x]), params)
            both = landscape.normalized(draw, params), draw
            line = landscape.line(ground, twice, jax.tree.map(lambda *d: jnp.stack(d), *both), a, models=True)
            whole, block = sharpness(lambda p: ground.objective(p, data), params, draw)
            error = jnp.max(jnp.abs(scores(params, data.X) - said)) / jnp.max(jnp.abs(said))
            return {"error": error, "sharpness": whole, "block": block, "filter": line[0], "none": line[1]}

        ds = kept(__file__, "scaled", fast, look, scale=SCALES if not fast else log(1, 100, 3))
    scale, sharp = ds.scale.values, ds.sharpness.values
    law = ds.block.sel(scale=1.0).item() * scale**2
    lines = {name: ds[name].transpose("scale", ...).values for name in ("filter", "none")}
    moved = {name: np.abs(rows[1:] / rows[0] - 1).max(1) for name, rows in lines.items()}
    error, least, last = ds.error.values.max(), (sharp / law).min(), sharp[-1] / law[-1]
    dinh, li = "Dinh et al. 2017", "Li et al. 2018"
    claims = [
        Claim("scaled: outputs, largest relative change", error, 0, "≈", 1e-12, dinh),
        Claim("scaled: sharpness / c² of the second layer's, least", least, 1, "≥", 1e-6, "Cauchy's interlacing"),
        Claim("scaled by 100: sharpness / c² of the second layer's", last, 1, "≈", 1e-3, dinh),
        Claim("scaled: filter-normalised line, largest change", moved["filter"].max(), 0, "≈", 1e-9, li),
        Claim("scaled by 100: plain line, largest change", moved["none"][-1], 1, "≥", 0, li),
    ]  # fmt: skip

    def draw(ax):
        ax.plot(scale, sharp, marker="o", label="sharpness, the Hessian's largest eigenvalue")
        ax.plot(scale, law, **DASHED, label="$c^2$ times the second layer's at $c = 1$")
        ax.plot(scale, lines["filter"][:, -1], marker="s", color=COLOURS[2], label="loss at $a = 1$, filter-normalised")
        ax.plot(scale, lines["none"][:, -1], marker="^", color=COLOURS[1], label="loss at $a = 1$, Gaussian direction")
        ax.set(
            xscale="log",
            yscale="log",
            xlabel="scale $c$ of the first layer, $1/c$ of the second",
            ylabel="eigenvalue, or cross-entropy",
        )
        ax.set_title("One function, many sharpnesses")
        ax.legend()

    return Part(claims, draw, (ds,))


def sharpness(loss, params, begin, steps: int = 100):
    """The largest eigenvalues of the Hessian and of its block of the second layer's weights, by the power method."""
    gradient = jax.grad(loss)
    second = [{"w": 0.0, "b": 0.0}, {"w": 1.0, "b": 0.0}]
    parts = jax.tree.map(lambda x: jnp.array([1.0, x]), second)

    def largest(part):
        within = lambda d: jax.tree.map(jnp.multiply, part, d)
        product = lambda d: within(jax.jvp(gradient, (params,), (d,))[1])
        unit = lambda d: tree.scale(1 / tree.norm(d), d)
        top = jax.lax.fori_loop(0, steps, lambda _, d: unit(product(d)), unit(within(begin)))
        return tree.dot(top, product(top))

    return jax.vmap(largest)(parts)


def caption(fast: bool) -> str:
    """What the panels show."""
    seeds = len(SEEDS[:3] if fast else SEEDS)
    return (
        f"A network 64-{HIDDEN}-10 of rectifiers on the digits (1,438 training and 359 test examples), Adam at rate "
        f"{RATE:g}, batches of {BATCH}, {STEPS} steps. Top left and middle: straight walks, median and interquartile "
        f"band over {seeds} seeds; two networks share their first {SHARED} steps or nothing. Top right: lines through "
        "the network of seed 0 along Gaussian directions, filter-normalised; median and interquartile band. Bottom "
        "left and middle: the plane of the first two of these directions, on training examples. All in float32, on "
        "full sets. Bottom right: the first layer times c, the second by 1/c, in float64."
    )
