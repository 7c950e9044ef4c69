"""A map of curvature: where a picture of the loss looks convex, is the ground convex?

Question: Around a trained network, in which places is the loss convex in all directions, and not only in the two that
a plane shows?

Prediction: (1) Where the picture bends down the ground does too: its curvature lies between the ends λmin and λmax of
the Hessian's spectrum (Cauchy). The reverse is not true: random directions see an average of the eigenvalues (Li et al.
2018), filter-normalised ones Σ ‖w‖² tr H_w / dim w over the filters w. (2) Softmax regression is convex, and as scores
may be shifted together, λmin is the penalty's l2 everywhere (Böhning 1992). (3) Two linear layers compute the same
functions, but a symmetry ties curvature to slope (after Kunin et al. 2021). With s = ⟨θ, ∇f⟩ / ‖θ‖², rotations of the
hidden units give λmin ≤ s, and scales that one layer gains and the other loses λmin ≤ 2 l2 − s; at the minimum
λmin = 0. So most of the plane looks convex and is not. (4) Rectified units have scales only: λmin ≤ 2 l2 − s of each
unit. Where they were trained, negative curvature is less than 1 % of the positive (Li et al. 2018).

Found: All of it. With two linear layers 99.8 % of the plane looks convex; but for the minimum itself none of it is, and
the median of λmin / λmax is −0.09. With rectifiers it is −0.0001 where they were trained, and −0.18 in the median.
Negative curvature is more than 1 % of the positive on 99.6 % of both planes: what Li et al. found holds at the end of
training, and hardly around it. The gradient alone proves it negative at 99.8 % of the points, with a sixth to a fifth
of its size.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from sandbox import landscape, losses, optimizers, tree
from sandbox.data import load_digits
from sandbox.engine import run
from sandbox.problems import Problem
from sandbox.regularizers import l2
from sandbox.report import Claim
from sandbox.report.claims import within
from sandbox.report.maps import contours
from sandbox.reproduction import Findings, Part, findings, kept
from sandbox.sweeps import linear

on_request = True  # takes 65 s of CPU time
EXAMPLES, FEATURES, CLASSES, HIDDEN, L2 = 300, 17, 10, 10, 1e-3
RATE, MOMENTUM, STEPS, SEED = 0.2, 0.97, 6_000, 0
SPAN, POINTS, DIRECTIONS = 1.0, 25, 400
BASIS, TOL = 40, 1e-6  # of Lanczos, which finds the ends to so much of the largest
WAYS = ((1, 0), (0, 1), (1, 1), (1, -1))  # cells from a point to the next, in which a picture's curvature is taken
ONE, TWO = {"w": (CLASSES, FEATURES)}, {"first": (HIDDEN, FEATURES), "second": (CLASSES, HIDDEN)}
LINEAR, RECTIFIED = 1.0, 0.0  # what of a negative number a hidden unit lets pass
LI, KUNIN = "Li et al. 2018", "after Kunin et al. 2021"


class Ground(NamedTuple):
    """A trained model, and the plane around it."""

    title: str
    at: np.ndarray  # the coordinates along both directions
    here: dict[str, np.ndarray]  # over (a, b)
    gram: np.ndarray  # inner products of the directions
    sweeps: tuple[Any, ...] = ()


def main(fast: bool) -> Findings:
    """Train three models, and look at the ground around each."""
    with jax.enable_x64(True):
        (convex,) = grounds("one", ONE, (LINEAR,), ("Softmax regression",), fast)
        layers, rectified = grounds(
            "two", TWO, (LINEAR, RECTIFIED), ("Two linear layers", "Rectifiers between them"), fast
        )
        claims = [*shifted(convex), *rotated(layers), *scaled(rectified), *chance(layers)]
    every = (convex, layers, rectified)
    reach = max(1.0, *(np.abs(ratio(g)).max() for g in every))
    parts = [
        Part(claims),
        *(Part([], picture(g), g.sweeps) for g in every),
        *(Part([], ends_of(g, reach)) for g in every),
    ]
    return findings(parts, caption(layers), rows=2, panel=(4.7, 4.1))


def examples() -> tuple[np.ndarray, np.ndarray]:
    """The first training digits at 4×4 pixels, centred, with a 1 for a bias; and their labels."""
    digits = load_digits()
    pixels = digits.X[:EXAMPLES].reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(EXAMPLES, -1)
    return np.hstack([pixels - pixels.mean(0), np.ones((EXAMPLES, 1))]), digits.y[:EXAMPLES]


def scores(params: Any, X: Any, leak: Any) -> jax.Array:
    """What a model says of examples, one per row: one layer, or two with units between them that leak."""
    if "w" in params:
        return X @ params["w"].T
    h = X @ params["first"].T
    return jnp.where(h > 0, h, leak * h) @ params["second"].T


def problem(shapes: dict[str, tuple[int, int]], leak: Any) -> Problem:
    """Mean cross-entropy + (l2/2) ‖θ‖²; at the start each weight has the variance 1 / fan-in."""
    X, y = examples()

    def loss(params, _):
        z = scores(params, X, leak)
        return jnp.mean(jax.vmap(losses.softmax_cross_entropy)(z, y))

    def init(key):
        weights = zip(jax.random.split(key, len(shapes)), shapes.items(), strict=True)
        return {name: jax.random.normal(k, shape) / shape[1] ** 0.5 for k, (name, shape) in weights}

    return Problem(name="digits, 4×4 pixels", init=init, loss=loss, penalty=l2(L2))


def ends(problem: Problem, params: Any) -> dict[str, jax.Array]:
    """The loss, both ends of the Hessian's spectrum, and what the gradient says of the lower one."""
    value, slope = jax.value_and_grad(problem.objective)(params)
    product, key = landscape.hessian(problem, params), jax.random.key(SEED)
    top, bottom = landscape.eigenpairs(product, params, 1, 1, key=key, basis=BASIS, tol=TOL).values
    return {"loss": value, "least": bottom, "largest": top, **(symmetries(params, slope) if "first" in params else {})}


def symmetries(params: Any, slope: Any) -> dict[str, jax.Array]:
    """Means of vᵀHv / vᵀv that a gradient knows: over rotations of two hidden units; of the worst unit's scale."""
    units = lambda x, y: (x["first"] * y["first"]).sum(1) + (x["second"] * y["second"]).sum(0)
    s, lengths = units(params, slope), units(params, params)
    return {"turn": s.sum() / lengths.sum(), "scale": 2 * L2 - (s / lengths).max()}


def grounds(
    name: str, shapes: dict[str, tuple[int, int]], leaks: tuple[float, ...], titles: Sequence[str], fast: bool
) -> list[Ground]:
    """Train models of one shape; then the plane of two random filter-normalised directions around each, row by row."""
    key, method = jax.random.key(SEED), optimizers.heavy_ball(RATE, MOMENTUM)
    points = 9 if fast else POINTS
    at = np.linspace(-SPAN, SPAN, points)
    around = lambda params: landscape.directions(params, jax.random.fold_in(key, 1))

    def train(leak):
        params = run(problem(shapes, leak), method, steps=STEPS, key=key, record=None).params
        gram = jnp.array([[tree.dot(u, v) for u in around(params)] for v in around(params)])
        return {**params, "gram": gram, **directed(problem(shapes, leak), params)}

    trained = kept(__file__, f"{name}-trained", fast, train, leak=leaks)
    networks = {leaf: jnp.asarray(trained[leaf].transpose("leak", ...).values) for leaf in shapes}

    def row(leak, a):
        hill, centre = problem(shapes, leak), jax.tree.map(lambda w: w[jnp.argmax(jnp.array(leaks) == leak)], networks)
        look = lambda params: ends(hill, params)
        # Of points side by side all would take as many products as the worst.
        plane = landscape.plane(look, centre, *around(centre), a[None], at, batch_size=1)
        return jax.tree.map(lambda x: x[0], plane)

    ds = kept(__file__, f"{name}-plane", fast, row, leak=leaks, a=linear(-SPAN, SPAN, points))
    ds = ds.transpose("leak", "a", ...)
    fields = [field for field in ds if ds[field].ndim == 3]
    here = [{field: ds[field].values[i] for field in fields} for i in range(len(leaks))]
    return [
        Ground(title, at, values, trained.gram.sel(leak=leak).values, (trained, ds) if leak == leaks[0] else ())
        for title, leak, values in zip(titles, leaks, here, strict=True)
    ]


def directed(problem: Problem, params: Any) -> dict[str, jax.Array]:
    """Curvatures in random filter-normalised directions; and their mean, Σ ‖w‖² tr H_w / dim w over the filters w."""
    flat, back = ravel_pytree(params)
    product = landscape.hessian(problem, params)
    keys = jax.random.split(jax.random.key(SEED + 2), DIRECTIONS)
    draws = jax.lax.map(lambda key: ravel_pytree(landscape.direction(params, key))[0], keys)
    curvature = lambda d: d @ ravel_pytree(product(back(d)))[0]
    found = jax.lax.map(curvature, jnp.concatenate([draws, jnp.eye(flat.size)]))
    mean = lambda h, w: h.mean(1) @ (w**2).sum(1)
    law = jax.tree.map(mean, back(found[DIRECTIONS:]), params)
    return {"seen": found[:DIRECTIONS], "law": sum(jax.tree.leaves(law))}


def network(trained: Any, shapes: dict[str, tuple[int, int]], leak: Any) -> Any:
    """The trained one of a leak."""
    number = jnp.argmax(jnp.asarray(trained.leak.values) == leak)
    return {leaf: jnp.asarray(trained[leaf].transpose("leak", ...).values)[number] for leaf in shapes}


def ratio(ground: Ground) -> np.ndarray:
    """λmin / λmax over (a, b)."""
    return ground.here["least"] / ground.here["largest"]


def middle(ground: Ground) -> float:
    """That of the trained model."""
    return ratio(ground)[(len(ground.at) // 2,) * 2]


def bends(ground: Ground) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """At inner points, in four ways: the picture's curvature; of its three points the lowest λmin, the highest λmax.

    A second difference is an average of the curvatures from one neighbour to the other.
    """
    n, cell = len(ground.at), ground.at[1] - ground.at[0]
    shift = lambda x, i, j: x[1 + i : n - 1 + i, 1 + j : n - 1 + j]
    three = lambda field, way: np.array([shift(ground.here[field], *(k * np.array(way))) for k in (-1, 0, 1)])
    squared = [cell**2 * (np.array(way) @ ground.gram @ way) for way in WAYS]
    rise = [np.tensordot((1, -2, 1), three("loss", way), 1) for way in WAYS]
    lowest, highest = (
        [getattr(three(field, way), end)(0) for way in WAYS] for field, end in (("least", "min"), ("largest", "max"))
    )
    return np.array([r / d for r, d in zip(rise, squared, strict=True)]), np.array(lowest), np.array(highest)


def beyond(ground: Ground) -> float:
    """The share of the picture's curvatures that are not between λmin and λmax."""
    curvature, lowest, highest = bends(ground)
    inside = (curvature >= lowest - TOL * highest) & (curvature <= (1 + TOL) * highest)
    return 1 - inside.mean()


def above(ground: Ground, *fields: str) -> float:
    """How far λmin is above what the gradient says, most, in the largest eigenvalues."""
    here = ground.here
    return ((here["least"] - np.min([here[field] for field in fields], axis=0)) / here["largest"]).max()


def shifted(ground: Ground) -> list[Claim]:
    """Softmax regression: a curvature of nothing but the penalty, everywhere; and convex in the picture."""
    off = np.abs(ground.here["least"] / L2 - 1).max()
    return [
        Claim("softmax: λmin / l2, farthest from 1", off, 0, "≈", 1e-3, "Böhning 1992"),
        Claim("softmax: least curvature of the picture", bends(ground)[0].min(), L2, "≥", 0, "strong convexity"),
        Claim("softmax: share of the picture's curvatures beyond λmin, λmax", beyond(ground), 0, "≤", 0, "Cauchy"),
    ]


def rotated(ground: Ground) -> list[Claim]:
    """Two linear layers: flat at the minimum, and not convex where it looks so."""
    looks = (bends(ground)[0] > 0).all(0) & (ground.here["least"] < 0)[1:-1, 1:-1]
    least = "linear layers: λmin less min(s, 2 l2 − s of a unit), most, in λmax"
    return [
        Claim("linear layers, trained: λmin / λmax", middle(ground), 0, "≈", TOL, "a minimum with symmetries"),
        Claim(least, above(ground, "turn", "scale"), 0, "≤", TOL, KUNIN),
        Claim("linear layers: share of the picture's curvatures beyond them", beyond(ground), 0, "≤", 0, "Cauchy"),
        Claim("linear layers: share that looks convex and is not", looks.mean(), 0.5, "≥", 0, LI),
    ]


def scaled(ground: Ground) -> list[Claim]:
    """Rectifiers: nearly convex where they were trained, and below what each unit's scale says."""
    least = "rectifiers: λmin less 2 l2 − s of a unit, most, in λmax"
    return [
        Claim("rectifiers, trained: λmin / λmax", middle(ground), -0.01, "≥", 0, LI),
        Claim(least, above(ground, "scale"), 0, "≤", TOL, KUNIN),
    ]


def chance(ground: Ground) -> list[Claim]:
    """What random directions see at a trained model: an average over the Hessian's diagonal, filter by filter."""
    seen, law = (ground.sweeps[0][field].values for field in ("seen", "law"))
    name = "trained: curvature in random directions"
    return [within(name, LI, *((one, average) for one, average in zip(seen, law, strict=True)))]


def picture(ground: Ground) -> Callable:
    """The loss, as it is drawn everywhere."""

    def draw(ax):
        contours(ax, ground.at, ground.at, ground.here["loss"], label="loss above its lowest value here")
        around(ax, ground.title)

    return draw


def ends_of(ground: Ground, reach: float) -> Callable:
    """λmin / λmax around 0, which is white; linear within 0.001 of it and logarithmic beyond, as far as it reaches."""

    def draw(ax):
        from matplotlib.colors import SymLogNorm

        values, norm = ratio(ground), SymLogNorm(1e-3, vmin=-reach, vmax=reach)
        shown = ax.pcolormesh(
            ground.at, ground.at, values.T, cmap="PuOr", norm=norm, shading="nearest", rasterized=True
        )
        bar = ax.figure.colorbar(shown, ax=ax, label="$λ_{min}$ / $λ_{max}$", pad=0.02, shrink=0.9, format="{x:g}")
        bar.set_ticks([-1, -0.1, -0.01, -0.001, 0, 0.001, 0.01, 0.1, 1])
        bar.minorticks_off()
        ax.grid(visible=False)
        ax.set(box_aspect=1, xlim=(-SPAN, SPAN), ylim=(-SPAN, SPAN))
        around(ax, f"Negative at {np.sum(values < -TOL)} of {values.size} points")

    return draw


def around(ax, title: str) -> None:
    """The model in the middle, and names."""
    ax.plot(0, 0, "*", ms=11, mfc="#F0E442", mec="black", mew=0.8)
    ax.set(xlabel="$a$, in lengths of the filters", ylabel="$b$, in lengths of the filters", title=title)


def caption(ground: Ground) -> str:
    """What the panels show."""
    return (
        f"Three models of the first {EXAMPLES} training digits, at 4×4 pixels of 0 to 1, centred, and a bias: softmax "
        f"regression, {HIDDEN} linear hidden units, {HIDDEN} rectified ones. Mean cross-entropy with l2 = {L2:g} on "
        f"all weights; {STEPS:,} steps of heavy ball on all examples (rate {RATE}, momentum {MOMENTUM}, seed {SEED}). "
        f"Planes of two Gaussian filter-normalised directions, {len(ground.at)} by {len(ground.at)} points; star: the "
        f"trained model. Bottom: the least eigenvalue of the Hessian over the largest, by Lanczos to {TOL:g} of the "
        "largest; white is 0, and the scale is linear within 0.001 of it. In float64."
    )
