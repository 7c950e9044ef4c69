"""Escapes: how gradient descent leaves saddles, and where it stays.

Question: A gradient vanishes at saddles too. Does gradient descent stop there, and how long does it take to leave?

Prediction: (1) ½x² + ¼y⁴ − ½y² has a saddle at 0 and minima (0, ±1) of height −¼. From y = 0 descent comes to the
saddle and stays, but almost no start lies there (Lee et al. 2016). Near it y grows by 1 + η in every step, so that
leaving takes ln(1/y₀) / ln(1 + η) steps, and with noise σ, from the saddle itself, ln(1/σ) / ln(1 + η) (after Jin et
al. 2017). (2) The origin of a linear network W₂W₁ is such a saddle, with the least curvature −s, s the largest singular
value of what is to be learned. By gradient flow from W₂ᵀ = W₁ = √a₀ R, R orthogonal, each mode grows by itself, s(t) =
s e^{2st} / (e^{2st} − 1 + s/a₀), and is half learned at ln(s/a₀ − 1) / 2s (Saxe et al. 2014): plateaus with steep drops
between, the strong modes first. Steps of rate η follow the flow to O(η). (3) The flow conserves C = W₂ᵀW₂ − W₁W₁ᵀ; a
step of descent adds η² (G₂ᵀG₂ − G₁G₁ᵀ), where G are the gradients, so that in a fixed time C drifts by O(η).

Found: All of it. Each factor 100 by which a start lies nearer to the saddle, or the noise is weaker, costs 48 steps.
At rates 0.004, 0.002 and 0.001, extrapolated to 0, the strongest mode agrees with its formula to 3e-7. Small random
starts, in which the modes meet, rest within 2.2 % of the losses that the modes not yet learned leave, and all learn the
modes in the order of their strength.
"""

import jax
import jax.numpy as jnp
import numpy as np

from sandbox import optimizers, tree
from sandbox.data.batches import cyclic
from sandbox.engine import Run, run
from sandbox.problems import Problem
from sandbox.report import Claim, relative
from sandbox.report.maps import contours
from sandbox.report.plots import COLOURS, DASHED, GREY, MARKERS
from sandbox.reproduction import Findings, Part, findings, kept

ETA = 0.1  # at the saddle
NEAR = (1e-2, 1e-4, 1e-6, 1e-8, 1e-10, 1e-12)  # y₀
STRENGTHS, SMALL = (3.0, 1.2, 0.4), 1e-3  # s and a₀
FLOW = (0.004, 0.002, 0.001)  # rates that follow the flow, each half of the last
DRIFT = (0.08, 0.04, 0.02, 0.01, 0.005)
TIMES = (1.0, 2.0, 3.0)
TINY, LARGE, HIDDEN = 1e-4, 0.5, 4  # deviation of random weights, and hidden units
CALM, TIME = 0.02, 8.0  # the rate of the plateaus, and the time of the drift
SIGMAS, NOISES = (1e-2, 1e-4, 1e-6, 1e-8, 1e-10), 100


def main(fast: bool) -> Findings:
    """The saddle from three sides, and the linear network from three starts."""
    with jax.enable_x64(True):
        parts = [*saddle(fast), shaken(fast), modes(fast), *meeting(fast)]
        return findings(parts, caption(parts), rows=2, panel=(5.4, 4.4))


def strict_saddle(z):
    """½x² + ¼y⁴ − ½y² (Nesterov 2004; Lee et al. 2016)."""
    return z[0] ** 2 / 2 + z[1] ** 4 / 4 - z[1] ** 2 / 2


def down(start, steps, record, every=1, noise=None) -> Run:
    """Descent on the strict saddle; noise, if any, is a row for each step and is added to its gradient."""
    loss = lambda z, batch: strict_saddle(z) + (0.0 if noise is None else batch[0] @ z)
    hill = Problem("strict saddle", lambda key: start, loss, data=noise)
    method, batches = optimizers.gradient_descent(ETA), None if noise is None else cyclic(1)
    return run(hill, method, steps=steps, key=jax.random.key(0), batches=batches, record=record, every=every)


def saddle(fast: bool) -> list[Part]:
    """Descent from everywhere in a square, and from points ever nearer to the line y = 0, and on it."""
    seeds = 200 if fast else 500
    near = [[1.0, y] for y in (0.0, *NEAR)]
    starts = np.vstack([near, np.random.default_rng(0).uniform(-2, 2, (seeds, 2))])
    walk = lambda start: down(jnp.array(starts)[start], 400, lambda info: {"place": info.params})
    ds = kept(__file__, "saddle", fast, walk, start=range(len(starts)))
    random, ordered = ds.isel(start=slice(len(near), None)), ds.isel(start=slice(len(near)))
    return [everywhere(random)._replace(sweeps=(ds,)), leaving(ordered)]


def everywhere(ds) -> Part:
    """Where random starts end."""
    ends, seeds = ds.place.isel(step=-1).values, ds.start.size
    far, up = np.hypot(ends[:, 0], np.abs(ends[:, 1]) - 1).max(), (ends[:, 1] > 0).mean()
    origin, minimum = curvatures(strict_saddle, np.array([[0.0, 0.0], [0.0, 1.0]]))[:, 0]
    claims = [
        Claim("saddle: least curvature at the origin", origin, -1, "≈", 1e-12, "by hand"),
        Claim("saddle: least curvature at (0, 1)", minimum, 1, "≈", 1e-12, "by hand"),
        Claim("saddle: largest distance from a minimum at last", far, 0, "≈", 1e-9, "Lee et al. 2016"),
        Claim("saddle: largest height at last", ds.value.max(), -0.25, "≈", 1e-12, "by hand"),
        Claim("saddle: share that ends at (0, 1)", up, 0.5, "≈", 2 / np.sqrt(seeds), "4 standard errors of a coin's"),
    ]

    def draw(ax):
        x = np.linspace(-2, 2, 201)
        contours(ax, x, x, strict_saddle(np.meshgrid(x, x, indexing="ij")), label="$f - f^*$")
        for path in ds.place.values[:24]:
            ax.plot(*path.T, color="white", marker=".", ms=3, lw=0.7)
        ax.plot(0, 0, "X", ms=9, color=COLOURS[1], mec="white", ls="none", label="saddle")
        ax.plot([0, 0], [-1, 1], "*", ms=14, mfc="#F0E442", mec="black", mew=0.8, ls="none", label="minima")
        ax.set(xlabel="$x$", ylabel="$y$", title="Almost no start ends at the saddle")
        ax.legend(frameon=True, loc="upper right")

    return Part(claims, draw)


def shaken(fast: bool) -> Part:
    """From the saddle itself, with noise in the gradient: y = (1 + η)ᵗ ησ ξ / √((1 + η)² − 1) while it is small."""
    noise = np.random.default_rng(0).normal(size=(NOISES, 400, 2))

    def leave(sigma, seed):
        walk = down(jnp.zeros(2), 400, lambda info: {"y": info.params[1]}, noise=sigma * jnp.array(noise)[seed])
        return {"steps": first(jnp.abs(walk.trace["y"]) >= 0.5)}

    ds = kept(__file__, "noise", fast, leave, sigma=SIGMAS, seed=range(NOISES))
    low, middle, high = np.quantile(ds.steps.transpose("seed", "sigma"), [0.25, 0.5, 0.75], axis=0)
    law = lambda sigma: np.log(0.5 * np.sqrt((1 + ETA) ** 2 - 1) / (ETA * sigma * 0.6745)) / np.log1p(ETA)
    slope = np.polyfit(np.log(1 / np.array(SIGMAS)), middle, 1)[0]
    claims = [
        Claim("noise at the saddle: share that leaves", np.isfinite(ds.steps).mean(), 1, "≈", 0, "Jin et al. 2017"),
        Claim("noise at the saddle: median steps per ln(1/σ)", slope, 1 / np.log1p(ETA), "≈", 0.1, "1 / ln(1 + η)"),
    ]  # fmt: skip

    def draw(ax):
        ax.errorbar(SIGMAS, middle, (middle - low, high - middle), fmt="o", ms=6, capsize=3, label="measured")
        ax.plot(SIGMAS, law(np.array(SIGMAS)), **DASHED, label="predicted median")
        ax.set(xscale="log", xlabel=r"deviation $\sigma$ of the noise", ylabel="steps until $|y|$ is ½")
        ax.set_title("Noise leaves even the saddle itself")
        ax.legend()

    return Part(claims, draw)


def first(holds):
    """The first step at which something holds; NaN where it never does."""
    return jnp.where(holds.any(), holds.argmax(), jnp.nan)


def leaving(ds) -> Part:
    """How y grows near the saddle."""
    y = ds.place.values[..., 1]
    steps = [first(np.abs(row) >= 0.5) for row in y[1:]]
    slope = np.polyfit(np.log(1 / np.array(NEAR)), steps, 1)[0]
    growth = y[-1, 101] / y[-1, 100]
    claims = [
        Claim("saddle, from y = 0: largest |y|", np.abs(y[0]).max(), 0, "≈", 0, "y ← (1 + η) y − η y³"),
        Claim("saddle, from y = 0: height at last", ds.value[0], 0, "≈", 1e-12, "the saddle's"),
        Claim("near the saddle: growth of y in a step", growth, 1 + ETA, "≈", 1e-12, "1 + η"),
        Claim("near the saddle: steps to leave per ln(1/y₀)", slope, 1 / np.log1p(ETA), "≈", 0.1, "1 / ln(1 + η)"),
    ]

    def draw(ax):
        k = np.arange(y.shape[1])
        for row, start in enumerate(NEAR):
            power = int(np.log10(start))
            ax.plot(k, y[row + 1], marker=MARKERS[row], markevery=40, label=f"$y_0 = 10^{{{power}}}$")
            ax.plot(k, start * (1 + ETA) ** k, **DASHED, label=r"$(1 + \eta)^k y_0$" if start == NEAR[-1] else None)
        ax.set(xlabel="step", ylabel="$y$", yscale="log", ylim=(1e-13, 3), xlim=(0, 380))
        ax.set_title("Leaving takes the logarithm of 1/$y_0$")
        ax.legend(loc="lower right", ncols=2)

    return Part(claims, draw)


def linear_loss(W1, W2):
    """½ ‖S − W₂W₁‖², S diagonal with the strengths: least squares on whitened inputs."""
    return jnp.sum((np.diag(STRENGTHS) - product(W2, W1)) ** 2) / 2


def product(A, B):
    """AB, as a sum of products: a call of the library for each would take longer than these few numbers."""
    return jnp.sum(A[:, :, None] * B, axis=1)


def walk(start, rate, steps, record, every=1) -> Run:
    """Descent of the linear network."""
    net = Problem("linear network", lambda key: start, lambda W: linear_loss(W["first"], W["second"]))
    method, key = optimizers.gradient_descent(rate), jax.random.key(0)
    return run(net, method, steps=steps, key=key, record=record, every=every)


def learned(info) -> dict:
    """The loss, and how much of every mode is learned."""
    return {"loss": info.value, "mode": jnp.diag(product(info.params["second"], info.params["first"]))}


def sigmoid(t, s):
    """s(t) of a mode by gradient flow from a₀."""
    growth = np.expm1(2 * s * np.asarray(t))
    return s * (growth + 1) / (growth + s / SMALL)


def half_time(time, mode, s):
    """When a mode first has half of its strength, on straight lines between the rows; NaN where it never has."""
    k = int(np.argmax(mode >= s / 2))
    return np.interp(s / 2, mode[k - 1 : k + 1], time[k - 1 : k + 1]) if k else np.nan


def modes(fast: bool) -> Part:
    """A start in which the modes do not meet, at rates that follow the flow."""
    every = 10
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    start = {"first": np.sqrt(SMALL) * turn, "second": np.sqrt(SMALL) * turn.T}

    def learn(rate):
        return walk(start, rate, 12_000, learned, every)

    ds = kept(__file__, "modes", fast, learn, rate=FLOW)
    rows = lambda rate: np.rint(np.array(TIMES) / rate / every).astype(int)
    coarse, middle, fine = (ds.mode.sel(rate=rate).values[rows(rate), 0] for rate in FLOW)
    flow = (coarse - 6 * middle + 8 * fine) / 3  # Richardson's: what is left is of order η³
    expected = sigmoid(TIMES, STRENGTHS[0])
    order = np.log2(np.abs(middle - expected) / np.abs(fine - expected))[0]
    slow, time = ds.mode.sel(rate=FLOW[-1]).values, ds.step.values * FLOW[-1]
    shape = (2, len(STRENGTHS), len(STRENGTHS))
    origin = curvatures(lambda W: linear_loss(*W.reshape(shape)), np.zeros((1, np.prod(shape))))[0, 0]
    claims = [
        Claim("linear network: least curvature at the origin", origin, -STRENGTHS[0], "≈", 1e-12, "−s"),
        *(
            Claim(f"mode of strength 3: learned at t = {t:g}, η → 0", u, want, "≈", 1e-5, "Saxe et al. 2014")
            for t, u, want in zip(TIMES, flow, expected, strict=True)
        ),
        Claim("mode of strength 3 at t = 1: order of the error in η", order, 1, "≈", 0.05, "Euler's method"),
    ]
    for i, s in enumerate(STRENGTHS):
        when = half_time(time, slow[:, i], s)
        claims.append(Claim(f"mode of strength {s:g}: half learned at t", when, np.log(s / SMALL - 1) / (2 * s), "≈",
                            relative(0.005), "ln(s/a₀ − 1) / 2s"))  # fmt: skip

    def draw(ax):
        for row, s in enumerate(STRENGTHS):
            ax.plot(time, slow[:, row], marker=MARKERS[row], markevery=60, color=COLOURS[row], label=f"$s = {s:g}$")
            ax.plot(time, sigmoid(time, s), **DASHED, zorder=4, label="predicted" if row == 2 else None)
        ax.set(xlabel=r"time, step $\times\ \eta$", ylabel="learned of the mode", xlim=(0, 12))
        ax.set_title("A linear network: one mode after the other")
        ax.legend(loc="center right", bbox_to_anchor=(1, 0.68))

    return Part(claims, draw, (ds,))


def meeting(fast: bool) -> list[Part]:
    """Random starts, small ones and not so small ones, in which the modes meet."""
    seeds, rng, wide = 4 if fast else 16, np.random.default_rng(0), len(STRENGTHS)
    shapes = {"first": (seeds, HIDDEN, wide), "second": (seeds, wide, HIDDEN)}
    starts = {name: rng.normal(size=shape) for name, shape in shapes.items()}

    def learn(spread, rate, seed):
        start = jax.tree.map(lambda leaf: spread * jnp.array(leaf)[seed], starts)
        balanced = balance(start)

        def record(info):
            step = balance(tree.add(info.params, info.updates)) - balance(info.params)
            wrong = jnp.abs(step - rate**2 * balance(info.grads)).max()
            return learned(info) | {"wrong": wrong, "drift": tree.norm(balance(info.params) - balanced)}

        return walk(start, rate, round(TIME / DRIFT[-1]) + 1, record)

    ds = kept(__file__, "meeting", fast, learn, spread=(TINY, LARGE), rate=DRIFT, seed=range(seeds))
    ds = ds.transpose("spread", "rate", "seed", ...)
    return [plateaus(ds.sel(spread=TINY, rate=CALM)), conserved(ds.sel(spread=LARGE))._replace(sweeps=(ds,))]


def plateaus(ds) -> Part:
    """Modes that meet are still learned one after the other."""
    seeds = ds.seed.size
    loss, mode, time = ds.loss.values, ds.mode.values, ds.step.values * CALM
    halves = np.array([[half_time(time, mode[n, :, i], s) for i, s in enumerate(STRENGTHS)] for n in range(seeds)])
    left = np.array([sum(s**2 for s in STRENGTHS[i:]) / 2 for i in range(len(STRENGTHS))])
    between = (np.column_stack([np.zeros(seeds), halves[:, :-1]]) + halves) / 2
    level = np.array([np.interp(t, time, rows) for t, rows in zip(between, loss, strict=True)])
    claims = [
        Claim("random starts: share that learn in the order of strength", (np.diff(halves) > 0).all(1).mean(), 1,
              "≈", 0, "Saxe et al. 2014"),
        Claim("random starts: plateau / ½ Σ of what is left, farthest from 1", np.abs(level / left - 1).max(), 0,
              "≈", 0.05, "½ Σ s² over the modes that are left"),
        Claim("random starts: largest loss at last", loss[:, -1].max(), 1e-3, "≤", 0, "the origin is no minimum"),
    ]  # fmt: skip

    def draw(ax):
        ax.plot(time, loss.T, color=GREY, lw=0.5, alpha=0.5)
        ax.plot([], [], color=GREY, lw=0.5, label=f"{seeds} random starts")
        ax.plot(time, np.median(loss, 0), color=COLOURS[0], marker="o", markevery=150, label="median")
        for row, rest in enumerate(left):
            ax.axhline(rest, **DASHED, label=r"$\frac{1}{2}\sum s^2$ of what is left" if row == 0 else None)
        ax.set(xlabel=r"time, step $\times\ \eta$", ylabel="$f - f^*$", yscale="log", ylim=(1e-4, 20))
        ax.set_title("Plateaus and drops")
        ax.legend(loc="lower left")

    return Part(claims, draw)


def balance(W) -> jax.Array:
    """C = W₂ᵀW₂ − W₁W₁ᵀ."""
    return product(W["second"].T, W["second"]) - product(W["first"], W["first"].T)


def conserved(ds) -> Part:
    """How far C drifts in a time, at rates of which each is half of the last."""
    drift = np.array([ds.drift.sel(rate=rate, step=round(TIME / rate)) for rate in DRIFT])
    orders = np.log2(drift[-2] / drift[-1])
    claims = [
        Claim("a step's change of C, farthest from η² (G₂ᵀG₂ − G₁G₁ᵀ)", ds.wrong.max(), 0, "≈", 1e-13, "by hand"),
        Claim(
            "drift of C in a fixed time: order in η, median", np.median(orders), 1, "≈", 0.05, "η ∫ (G₂ᵀG₂ − G₁G₁ᵀ) dt"
        ),
    ]

    def draw(ax):
        low, middle, high = np.quantile(drift, [0.25, 0.5, 0.75], axis=1)
        ax.fill_between(DRIFT, low, high, color=COLOURS[0], alpha=0.2, lw=0)
        ax.loglog(DRIFT, middle, "o-", color=COLOURS[0], ms=7, label="measured")
        ax.loglog(DRIFT, middle[-1] * np.array(DRIFT) / DRIFT[-1], **DASHED, label=r"$\propto \eta$")
        ax.set(xlabel=r"learning rate $\eta$", ylabel=r"$\|C - C_0\|$ at time 8, $C = W_2^\top W_2 - W_1 W_1^\top$")
        ax.set_xticks(DRIFT, DRIFT)
        ax.minorticks_off()
        ax.set_title("What the flow conserves, steps conserve to O(η)")
        ax.legend()

    return Part(claims, draw)


def curvatures(f, points) -> np.ndarray:
    """The eigenvalues of the Hessian at every point, the least first."""
    return np.linalg.eigvalsh(jax.jit(jax.vmap(jax.hessian(f)))(points))


def caption(parts: list[Part]) -> str:
    """What the panels show."""
    starts, *_, seeds = (part.sweeps[0].sizes for part in parts if part.sweeps)
    return (
        f"Top: gradient descent at rate {ETA} on ½x² + ¼y⁴ − ½y². Left, 24 of {starts['start']} starts drawn uniformly "
        "from the square [−2, 2]²; all end in a minimum. Middle, from (1, y₀). Right, from the saddle itself with "
        f"Gaussian noise of deviation σ in the gradient: median and interquartile range over {NOISES} seeds. Bottom: a "
        f"linear network ½‖S − W₂W₁‖² with singular values {', '.join(f'{s:g}' for s in STRENGTHS)} of S. Left, from "
        f"W₂ᵀ = W₁ = √a₀ R with a₀ = {SMALL:g}, R orthogonal, at rate {FLOW[-1]}. Middle, from Gaussian weights of "
        f"deviation {TINY:g} with {HIDDEN} hidden units, at rate {CALM}. Right, from deviation {LARGE:g}: median and "
        f"interquartile range over {seeds['seed']} seeds. Nothing is normalised. NumPy's seed is 0, no split. In "
        "float64, full gradient."
    )
