"""Basins of attraction: which minimum a start is drawn to, and whether that is the ground's doing or the method's.

Question: Gradient descent goes downhill; where from does it end in which valley? And does momentum, which can roll over
a ridge, end in the same ones?

Prediction: At a rate below 2/L almost every start ends in a minimum and none elsewhere than where the gradient vanishes
(Lee et al. 2016); a minimum draws all that is near it. Where a function is even, so is the map: the camel's turns into
itself about the origin. The stationary points are as many as algebra says: minima − saddles + maxima = 1 for a function
that grows without bound in every direction (Morse 1934), 4 − 4 + 1 for Himmelblau's, 6 − 7 + 2 for the six-hump camel.

Found: All of it, of both methods. Momentum's basins are not those of descent: far from the minima it rolls over ridges,
and its map is of stripes, though the camel's turns into itself just as well.
"""

from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sandbox import landscape, optimizers, problems
from sandbox.problems import Problem
from sandbox.report import Claim
from sandbox.reproduction import Findings, Part, findings, kept

SIDE, FAST = 128, 48  # starts a side
STEPS, TOLERANCE = 600, 1e-7  # of the gradient
NEAR = 1e-4  # of an end to its stationary point
METHODS = {0.0: "gradient descent", 0.9: "heavy ball, β = 0.9"}
EVEN = ("six-hump camel",)
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")  # of the minima


class Ground(NamedTuple):
    """A function of two variables, half the sides of the window, and a rate below 2/L there."""

    problem: Problem
    reach: tuple[float, float]
    rate: float


class Stationary(NamedTuple):
    """Where the gradient vanishes, lowest minima first, then saddles, then maxima; and how many of each."""

    points: np.ndarray  # (points, 2)
    minima: int
    saddles: int
    maxima: int


def grounds() -> dict[str, Ground]:
    return {
        "Himmelblau": Ground(problems.himmelblau(), (5.0, 5.0), 0.003),
        "six-hump camel": Ground(camel(), (2.0, 1.0), 0.02),
    }


def main(fast: bool) -> Findings:
    """Two functions, two methods."""
    with jax.enable_x64(True):
        parts = [part for name in grounds() for part in basins(name, fast)]
    caption = (
        f"Each of {FAST if fast else SIDE}² starts, coloured by the minimum (star) it ends in; the darker, the more "
        f"steps until the gradient stays below {TOLERANCE:g}, by rank; white if none. × saddles, + maxima. "
        f"Rates 0.003 for Himmelblau's function, 0.02 for the camel, {STEPS} steps, float64, full gradient, no seed."
    )
    return findings(parts, caption, rows=2, panel=(5.4, 4.9))


def camel() -> Problem:
    """(4 − 2.1 x² + x⁴/3) x² + xy + (4y² − 4) y² (Branin 1972; Dixon & Szegő 1978): six minima, two of them global."""
    loss = lambda p: (4 - 2.1 * p[0] ** 2 + p[0] ** 4 / 3) * p[0] ** 2 + p[0] * p[1] + (4 * p[1] ** 2 - 4) * p[1] ** 2
    return Problem("six_hump_camel", lambda key: jnp.zeros(2), loss)


def grid(side: int, reach: float) -> np.ndarray:
    """From −reach to reach: each number there also has its negative there, to the last bit."""
    return (np.arange(side) - (side - 1) / 2) * (2 * reach / (side - 1))


def stationary(ground: Ground) -> Stationary:
    """All zeros of the gradient in the window that Newton's method finds from 40 × 40 starts."""
    f = ground.problem.objective
    gradient, hessian = jax.grad(f), jax.hessian(f)
    x, y = (np.linspace(-reach, reach, 40) for reach in ground.reach)
    starts = jnp.asarray(np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2))

    @jax.jit
    @jax.vmap
    def newton(p):
        def step(_, p):
            (a, b), (_, d) = hessian(p)
            u, v = gradient(p)
            return p - jnp.array([d * u - b * v, a * v - b * u]) / (a * d - b * b)

        p = jax.lax.fori_loop(0, 60, step, p)
        return p, jnp.linalg.norm(gradient(p)), hessian(p)

    points, lengths, curvature = map(np.asarray, newton(starts))
    sound = (lengths < 1e-9) & (np.abs(points) <= ground.reach).all(axis=1)
    points, curvature = points[sound], curvature[sound]
    first = np.unique(np.round(points, 6) + 0.0, axis=0, return_index=True)[1]  # + 0.0: there is one zero, not two
    points, curvature = points[first], curvature[first]
    down = (np.linalg.eigvalsh(curvature) < 0).sum(axis=1)
    order = np.lexsort((points[:, 0], np.round(jax.vmap(f)(points), 6), down))
    return Stationary(points[order], *(int((down == k).sum()) for k in (0, 1, 2)))


def basins(name: str, fast: bool) -> list[Part]:
    """Every start a lane; the same for each momentum, where 0 is gradient descent."""
    ground, known = grounds()[name], stationary(grounds()[name])
    f, side = ground.problem.objective, FAST if fast else SIDE

    def walk(momentum, x, y):
        start, method = jnp.stack([x, y]), optimizers.heavy_ball(ground.rate, momentum)
        end, steps = landscape.arrive(
            ground.problem, method, start, steps=STEPS, key=jax.random.key(0), tolerance=TOLERANCE
        )
        return {"end": end, "steps": steps, "rise": f(end) - f(start)}

    x, y = (grid(side, reach) for reach in ground.reach)
    ds = kept(__file__, name.replace(" ", "-"), fast, walk, momentum=list(METHODS), x=x, y=y)
    euler = known.minima - known.saddles + known.maxima
    rise = ds.rise.sel(momentum=0).max()
    shared = [
        Claim(f"{name}: minima − saddles + maxima", euler, 1, "≈", 0, "Morse 1934"),
        Claim(f"{name}, gradient descent: most that an end is above its start", rise, 0, "≤", 0, "η ≤ 2/L"),
    ]

    def part(momentum: float) -> Part:
        one, title = ds.sel(momentum=momentum), f"{name}, {METHODS[momentum]}"
        label = landscape.nearest(one.end.values, known.points, NEAR)
        claims = agreement(title, x, y, label, known)
        if name in EVEN:
            partner = landscape.nearest(-known.points, known.points, NEAR)
            turned = np.where(label >= 0, partner[label], -1)[::-1, ::-1]
            unlike = (label != turned).sum()
            claims.append(Claim(f"{title}: starts unlike their mirror image", unlike, 0, "≈", 0, "f(−x) = f(x)"))

        def draw(ax):
            mapped(ax, x, y, label, one.steps.values, known)
            ax.set(xlabel="$x$", ylabel="$y$", title=title)

        return Part(claims, draw)

    return [Part(shared, None, (ds,)), *map(part, METHODS)]


def agreement(name: str, x: np.ndarray, y: np.ndarray, label: np.ndarray, known: Stationary) -> list[Claim]:
    """All starts end where the gradient vanishes, and in a minimum; each minimum lies in its own basin."""
    at = lambda point: label[np.abs(x - point[0]).argmin(), np.abs(y - point[1]).argmin()]
    own = sum(at(point) == number for number, point in enumerate(known.points[: known.minima]))
    unstable, source = (label >= known.minima).sum(), "Lee et al. 2016"
    return [
        Claim(f"{name}: ends that are no stationary point", (label < 0).sum(), 0, "≈", 0, "f has a minimum"),
        Claim(f"{name}: ends in a saddle or maximum", unstable, 0, "≈", 0, source),
        Claim(f"{name}: minima within their basins", own, known.minima, "≈", 0, "a minimum is stable"),
    ]


def mapped(ax, x: np.ndarray, y: np.ndarray, label: np.ndarray, steps: np.ndarray, known: Stationary) -> None:
    """Colour by minimum, the darker the more steps."""
    from matplotlib.colors import to_rgb

    image = np.ones((*label.shape, 3))
    ranks = np.searchsorted(np.sort(steps.ravel()), steps) / steps.size
    for k, colour in enumerate(COLOURS[: known.minima]):
        mine = label == k
        light = 0.75 * (1 - ranks[mine, None])
        image[mine] = np.array(to_rgb(colour)) * (1 - light) + light
    ax.pcolormesh(x, y, image.swapaxes(0, 1), rasterized=True)
    ends = np.cumsum([0, known.minima, known.saddles, known.maxima])
    for (first, last), marker, size in zip(pairwise(ends), "*x+", (13, 6, 8), strict=True):
        style = {"mfc": "white", "mew": 0.8} if marker == "*" else {"mew": 1.6}
        ax.plot(*known.points[first:last].T, marker, ms=size, mec="black", ls="none", **style)
    ax.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]), box_aspect=1)
    ax.grid(visible=False)
