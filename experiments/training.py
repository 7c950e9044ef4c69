"""Training: what a step costs, what noise leaves of it, and what carries it over a bump.

Question: What do the batch, the order of a method, the noise of gradients and labels, and momentum do, exactly?

Prediction: An epoch has ⌊n/B⌋ steps. On least squares SGD's covariance obeys a linear recursion, so that its floor is
known for every rate and batch (to first order Mandt, Hoffman & Blei 2017); it goes with the variance of the labels, and
where they have no noise the loss falls to zero (Ma, Bassily & Belkin 2018). Noise of variance σ² in the gradient leaves
ησ²/(h(2 − ηh)) on a curvature h. Newton ends on a quadratic in one step, elsewhere it squares the error (Nocedal &
Wright 2006), for 2d³/3 operations and d² numbers; L-BFGS with exact line search ends on a quadratic after d steps, for
it takes those of conjugate gradients (Nazareth 1979). A ball that friction leaves enough speed crosses a bump in whose
dip plain descent stays (Polyak 1964): the least momentum follows from Newton's law.

Found: All of it. Floors of SGD are within two standard errors of the recursion. LAPACK's CPU time grows with an
exponent of 2.5 to 2.75 from 512 to 1,024 weights, for it is faster on larger matrices: the operations' exponent is 3. A
ball with μ = 0.9888 crosses, one with 0.9887 rolls back from the top.
"""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sandbox import optimizers, problems, theory
from sandbox.data.batches import Batches, epochs
from sandbox.data.synthetic import normal
from sandbox.engine import run
from sandbox.problems import Problem
from sandbox.report import Claim, relative, same, within
from sandbox.report.plots import COLOURS, DASHED, GREY, MARKERS
from sandbox.reproduction import Findings, Part, findings

NOISE = 0.5  # σ of the labels, and of what disturbs a gradient
BATCHES, RATES, BURN = (1, 4, 16), (0.05, 0.1, 0.2), 300  # of SGD, and the steps until its floor
EXAMPLES, FEATURES = 40, 5
TIMED, COUNTED, HELD = (256, 512, 1024), (16, 32, 64), (64, 128, 256)  # weights of Newton steps
UP, WIDTH, START, STEP = 1.0, 1.0, -5.0, 5e-4  # the bump's slope and width, the start to its left, the rate


def main(fast: bool) -> Findings:
    """One choice after the other, in double precision."""
    with jax.enable_x64(True):
        parts = [visits(), floors(fast), injected(), newton(), cost(), limited_memory(), bump(fast)]
    return findings(parts, caption())


def visits(examples: int = 100, size: int = 8, times: int = 5) -> Part:
    """Which examples the batches of some epochs hold, where a batch does not divide their number."""
    per_epoch = examples // size
    with jax.enable_x64(False):  # row numbers need no precision, and compile faster
        table = jax.jit(lambda key: epochs(size).indices(key, examples, times * per_epoch))
        rows = np.asarray(table(jax.random.key(0)))
    distinct = [len(np.unique(rows[:k])) for k in range(1, len(rows) + 1)]
    again = np.argmax(np.array(distinct) < size * np.arange(1, len(rows) + 1))
    fewest = min(len(np.unique(epoch)) for epoch in np.split(rows, times))
    return Part([
        Claim(f"batches of {size} of {examples}: steps before an example comes again", again, 12, "≈", 0, "⌊n/B⌋"),
        Claim(f"{times} epochs of them: fewest different examples in one", fewest, 96, "≈", 0, "B⌊n/B⌋, once each"),
    ])  # fmt: skip


def floors(fast: bool) -> Part:
    """SGD on a line through 64 examples whose labels have no noise, some, and twice as much."""
    X, noise, lanes = normal(64, 4, seed=0), normal(64, seed=1), 64 if fast else 256
    drawn = np.random.default_rng(2).integers(0, len(X), (lanes, 2 * BURN, max(BATCHES)))
    missed = np.linalg.lstsq(X, noise)[0]

    def train(rows, noisy, batch, rate):
        def loss(w, data):  # of the first rows, so that all sizes of a batch are one program
            squares = (data[1] - data[0] @ w) ** 2
            return jnp.sum(jnp.where(jnp.arange(len(squares)) < batch, squares, 0)) / batch / 2

        best = 1 + noisy * missed
        problem = Problem("line", lambda key: jnp.zeros(X.shape[1]), loss, data=(X, X.sum(1) + noisy * noise))
        batches = Batches(max(BATCHES), lambda key, examples, steps: rows)
        record = lambda info: {"excess": jnp.mean((X @ (info.params - best)) ** 2) / 2}
        method, key = optimizers.gradient_descent(rate), jax.random.key(0)
        return run(problem, method, steps=2 * BURN, key=key, batches=batches, record=record).trace["excess"][BURN:]

    axes = drawn, NOISE * np.arange(3.0), np.array(BATCHES), np.array(RATES)
    for axis in reversed(range(len(axes))):
        train = jax.vmap(train, [0 if k == axis else None for k in range(len(axes))])
    excess = np.asarray(jax.jit(train)(*axes))  # and steps
    _, some, twice = np.moveaxis(excess.mean(-1), 1, 0)
    law = lambda rate, batch: stationary(X, NOISE * (noise - X @ missed), rate, batch)
    ratio = twice / some
    claims = [
        within("SGD: floor", "recursion of E eeᵀ", (some, [[law(r, b) for r in RATES] for b in BATCHES])),
        Claim("label noise doubled: floor / floor, least", ratio.min(), 4, "≈", 0.01, "∝ σ²"),
        Claim("no label noise: loss at last, most", excess[:, 0, ..., -1].max(), 1e-9, "≤", 0, "Ma et al. 2018"),
    ]

    def draw(ax):
        grid = np.geomspace(RATES[0] / 1.3, RATES[-1] * 1.3, 40)
        for row, batch in enumerate(BATCHES):
            ax.loglog(RATES, some[:, row].mean(0), MARKERS[row], ms=7, color=COLOURS[row], label=f"batch {batch}")
            ax.loglog(grid, [law(rate, batch) for rate in grid], **DASHED, label="predicted" if row == 2 else None)
        ax.set(xlabel=r"learning rate $\eta$", ylabel="floor of $f - f^*$", title="Where noise stops SGD")
        ax.set_xticks(RATES, RATES)
        ax.minorticks_off()
        ax.legend()

    return Part(claims, draw)


def stationary(X: np.ndarray, residual: np.ndarray, rate: float, batch: int) -> float:
    """E f − f* of SGD with rows drawn independently: ½ tr HS of the fixed point of S = E eeᵀ.

    e ← (I − η H_B) e + η g_B, so that S = E (I − η H_B) S (I − η H_B) + η² E g_B g_Bᵀ, for E e is 0 there. H_B is the
    mean of B matrices x xᵀ, g_B that of B vectors x r, r the residual at the minimum.
    """
    n, d = X.shape
    H, eye = X.T @ X / n, np.eye(d)
    fourth = np.einsum("ni,nj,nk,nl->ikjl", X, X, X, X).reshape(d * d, d * d) / n
    moved = np.kron(eye, eye) - rate * (np.kron(H, eye) + np.kron(eye, H))
    moved += rate**2 * (fourth / batch + (1 - 1 / batch) * np.kron(H, H))
    noise = (X.T * residual**2) @ X / n / batch
    S = np.linalg.solve(np.eye(d * d) - moved, rate**2 * noise.ravel()).reshape(d, d)
    return float(np.sum(H * S) / 2)


def injected(h: float = 2.0, lanes: int = 10_000) -> Part:
    """Descent on ½hx² whose gradient is disturbed, up to near the cliff at 2/h."""
    rates = np.array([0.05, 0.3, 0.6, 0.9])
    hill = Problem("hill", lambda key: jnp.zeros(lanes), lambda x: h / 2 * jnp.sum(x**2))
    shaken = lambda rate: run(hill, optimizers.noisy_sgd(rate, NOISE**2, 0.0), steps=100, key=jax.random.key(0)).params
    squares = np.asarray(jax.jit(lambda rates: jax.lax.map(shaken, rates))(rates)).T ** 2
    law = theory.sgd_variance(h, rates, NOISE**2)
    return Part([within("noise in the gradient: variance", "ησ²/(h(2−ηh))", (squares, law))])


def newton_step(f: Callable) -> Callable:
    """x ← x − H⁻¹g."""
    return jax.jit(lambda x: x - jnp.linalg.solve(jax.hessian(f)(x), jax.grad(f)(x)))


def newton(l2: float = 0.1) -> Part:
    """On a quadratic, and on logistic regression until rounding stops it."""
    X, noise, start = normal(EXAMPLES, FEATURES, seed=3), normal(EXAMPLES, seed=4), np.zeros(FEATURES)
    y = X.sum(1) + noise
    ridge, logistic = (f(X, t, l2, fit_intercept=False) for f, t in ((problems.ridge, y), (problems.logistic, y > 0)))
    w = newton_step(lambda w: ridge.objective({"w": w}))(start)
    minimum = np.linalg.solve(X.T @ X / EXAMPLES + l2 * np.eye(FEATURES), X.T @ y / EXAMPLES)
    step, path = newton_step(lambda w: logistic.objective({"w": w})), [start]
    for _ in range(9):
        path.append(step(path[-1]))
    errors = np.linalg.norm(np.asarray(path[:-1]) - path[-1], axis=1)
    slow, slower = np.diff(np.log(errors[errors > 1e-13][-3:]))
    return Part([
        same("Newton on a quadratic: distance after one step", w - minimum, "its model is exact"),
        Claim("Newton on logistic regression: exponent of the error", slower / slow, 2, "≈", 0.1, "H is Lipschitz"),
    ])  # fmt: skip


def cost() -> Part:
    """Newton's equations: operations, and CPU time on one thread, where small matrices are slow. A step's memory."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        seconds = [min(elapsed(np.eye(d) + normal(d, d, seed=5) / d, np.ones(d)) for _ in range(3)) for d in TIMED]
    counts = [jax.jit(determinant).lower(np.eye(d)).cost_analysis()["flops"] for d in COUNTED]
    used = [newton_step(problems.rosenbrock(d).objective).lower(np.ones(d)).compile().memory_analysis() for d in HELD]
    memory = [u.temp_size_in_bytes + u.output_size_in_bytes for u in used]
    exponent = lambda d, y: np.log(y[-1] / y[-2]) / np.log(d[-1] / d[-2])
    measured = {"operations": (COUNTED, counts, 3), "CPU time": (TIMED, seconds, 3), "bytes": (HELD, memory, 2)}
    claims = [
        Claim("Newton's equations: exponent of the operations", exponent(COUNTED, counts), 3, "≈", 0.1, "2d³/3"),
        Claim("Newton's equations: exponent of the CPU time", exponent(TIMED, seconds), 2, "≥", 0, "above memory's"),
        Claim("Newton step: exponent of the memory", exponent(HELD, memory), 2, "≈", 0.05, "d² numbers"),
    ]  # fmt: skip

    def draw(ax):
        for row, (label, (d, y, power)) in enumerate(measured.items()):
            d, y = np.array(d), np.array(y) / y[-1]
            ax.loglog(d, y, MARKERS[row], ms=6, color=COLOURS[row], label=label)
            ax.loglog(d, (d / d[-1]) ** power, **DASHED)
            ax.text(d[0], 0.6 * (d[0] / d[-1]) ** power, f"$d^{power}$", ha="center", va="top")
        ax.set(xlabel="weights $d$", ylabel="share of the largest", title="What a Newton step costs", ylim=(3e-3, 2))
        ax.legend()

    return Part(claims, draw)


def elapsed(H: np.ndarray, g: np.ndarray) -> float:
    """CPU seconds that H⁻¹g takes."""
    began = time.process_time()
    np.linalg.solve(H, g)
    return time.process_time() - began


def determinant(H):
    """By Gaussian elimination, step after step, so that the compiler sees every operation."""
    if len(H) == 1:
        return H[0, 0]
    return H[0, 0] * determinant(H[1:, 1:] - H[1:, :1] / H[0, 0] * H[:1, 1:])


def exact_search() -> optax.GradientTransformationExtraArgs:
    """Along u to the bottom of the parabola: η = −gᵀu / uᵀHu."""

    def update(u, state, params=None, *, grad, obj_fn, **extra):
        bend = jnp.vdot(u, jax.grad(obj_fn)(params + u) - grad)
        return -jnp.vdot(grad, u) / bend * u, state

    return optax.GradientTransformationExtraArgs(lambda params: (), update)


def limited_memory(d: int = 8) -> Part:
    """L-BFGS on ½xᵀHx with curvatures from 1 to 100."""
    axes = np.linalg.qr(normal(d, d, seed=6))[0]
    H = axes * np.geomspace(1, 100, d) @ axes.T
    hill = Problem("hill", lambda key: jnp.ones(d), lambda x: x @ H @ x / 2)
    method = optimizers.lbfgs(memory_size=d, linesearch=exact_search())
    norms = jax.jit(lambda key: run(hill, method, steps=d + 1, key=key).trace["grad_norm"])(jax.random.key(0))
    name = f"L-BFGS in {d} dimensions: gradient after {d} steps / at first"
    return Part([same(name, norms[d] / norms[0], "Nazareth 1979", 1e-9)])


def bump(fast: bool) -> Part:
    """A slope of −1 with a stretch that rises: descent stays in the dip, heavy ball crosses from a momentum on."""
    momenta = 1 - np.geomspace(0.016, 0.008, 100 if fast else 400)
    height = lambda x: (1 + UP) * jnp.clip(x, 0, WIDTH) - x
    slide, record = Problem("bump", lambda key: jnp.array(START), height), lambda info: {"x": info.params}

    def roll(momentum):
        method, key = optimizers.heavy_ball(STEP, momentum), jax.random.key(0)
        return run(slide, method, steps=15_000, key=key, record=record, every=10).trace["x"]

    paths = np.asarray(jax.jit(jax.vmap(roll))(np.append(momenta, 0.0)))
    crossed = paths[:-1, -1] > WIDTH
    least = int(crossed.argmax())
    late = np.abs(paths[-1, -100:]).max()
    drag = 1 - momenta[least] if crossed[least] else np.nan
    claims = [
        Claim("bump: plain descent, late distance from the dip", late, STEP, "≤", 0, "f′ is −1, then 1"),
        Claim("bump: 1 − the least momentum that crosses", drag, 1 - crossing(), "≈", relative(0.02), "Newton's law"),
    ]  # fmt: skip

    def draw(ax):
        shown = {"plain descent": -1, **{f"heavy ball, μ = {momenta[k]:.4f}": k for k in (least - 1, least)}}
        x = np.linspace(START, 3, 401)
        ax.fill_between(x, height(x), -2.5, color=GREY, alpha=0.25, lw=0)
        for row, (label, k) in enumerate(shown.items()):
            path = paths[k][paths[k] < 3]
            lifted = np.asarray(height(path)) + 0.3 * (row + 1)
            ax.plot(path, lifted, color=COLOURS[row])
            ax.plot(path[-1], lifted[-1], MARKERS[row], ms=8, color=COLOURS[row], label=label)
        ax.set(xlabel="$x$", ylabel="$f(x)$, paths lifted", title="Momentum rolls over a bump", ylim=(-2.5, 6))
        ax.legend()

    return Part(claims, draw)


def crossing() -> float:
    """The momentum that just carries a ball, let go at the start, over the bump.

    With a = 1 − μ, v′ = −a v − η f′ from rest goes (η/a²)(T − 1 + e⁻ᵀ) down the slope until the time T/a, where
    a v/η = 1 − e⁻ᵀ =: u. Uphill, at slope c, it comes as far as (η/a²)(u − c log(1 + u/c)).
    """
    T = np.geomspace(1e-3, 60, 100_000)
    squared = STEP * (T - 1 + np.exp(-T)) / -START  # a², for which T ends at the dip
    u = 1 - np.exp(-T)
    reach = STEP / squared * (u - UP * np.log1p(u / UP))
    return float(1 - np.sqrt(np.interp(WIDTH, reach[::-1], squared[::-1])))


def caption() -> str:
    """What the panels show."""
    return (
        "All in float64, seeds fixed; dashed is predicted. Left: SGD on least squares, 64 examples with 4 weights and "
        f"label noise σ = {NOISE}, mean over steps {BURN} to {2 * BURN} and over lanes. Middle: operations of an "
        "elimination and CPU seconds of LAPACK on one thread for Newton's equations, bytes of a compiled Newton step "
        "on Rosenbrock's function; small matrices take longer than their operations. Right: "
        f"rate {STEP}, let go at {START:g}; a marker is where a path ends or leaves the panel."
    )
