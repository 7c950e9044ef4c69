"""Four stories: a guessed number, a black box, a target in the wind, a child who learns "cat".

Question: How little must one be told in order to learn? "Too high" or "too low"; what a box gives back; by how much one
missed, which has a direction, where a loss has none; a correction when one was wrong.

Prediction: (1) n answers tell 2ⁿ numbers apart, fewer cannot. Bisection is sign descent on |x − secret| whose steps
halve. Steps from d/2 down, each r times the last, leave an error of at most d rᵏ for ½ ≤ r < 1, where d is the farthest
number at the start; for r < ½ their sum falls short of d. (2) A box x + x² gives 4 at (√17 − 1)/2, where its slope is
√17: descent on (f − 4)² at rate 1/68 halves the error, Newton squares it and divides by √17. The points (1, 2.21) and
(1.1, 2.431) lie on 2.21 x, which a x + b x² can be. The family w x + x² errs by −0.21 at the first point with w = 1, by
+0.429 at the second with w = 1.5; one wants w = 1.21, the other 1.11, so that no w has an MSE below 0.01 · 1.21/(2 ·
2.21) = 0.0027376, however long one waits: underfitting. (3) A bullet's error is aim + wind + chance, of variance σ²
along each axis; the gradient of the loss ½‖error‖² is the error. Correcting by the mean error at rate 1/k averages all
bullets (Robbins & Monro 1951): k shots of m leave σ²/(mk) of the wind unknown, the next loss is σ² (1 + 1/(mk)), never
below σ². Only bullets shot together tell chance from wind. (4) A perceptron errs at most (R/γ)² times (Novikoff 1962),
just as often on orthogonal examples. With a share p of wrong labels mistakes never end; online logistic regression
loses at most ‖w‖²/2η + η/2 Σ‖g‖² more than any fixed weights w (Zinkevich 2003).

Found: All of it. At an MSE of 0.001, after 1,086 steps, (a, b) is still 0.88 from the truth: a small loss is not a
small error of the weights. One bullet leaves 2.94 times as much of the wind unknown as three, at a standard error of
0.03. Perceptrons erred 15 to 23 times where they may 98 to 100 times. With 10 % wrong labels they still erred on 22 %
of the later examples, online logistic regression on 11.3 %, the best weights on 10.2 %; its regret is at most 0.63 of
the bound.
"""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.linalg import block_diag

from sandbox import losses, optimizers, problems
from sandbox.data.batches import cyclic
from sandbox.engine import Run, run, solve
from sandbox.models import polynomial
from sandbox.problems import Problem
from sandbox.problems.examples import Examples
from sandbox.report import Claim, relative
from sandbox.report.plots import COLOURS, GREY
from sandbox.reproduction import Findings, Part, findings, kept

ANSWERS = 10
NUMBERS = np.arange(1, 2**ANSWERS + 1)
RATIOS = {1.0: "equal steps", 0.8: "each 0.8 of the last", 0.4: "each 0.4 of the last", 0.5: "halved: bisection"}
INPUTS, OUTPUTS = np.array([1.0, 1.1]), np.array([2.21, 2.431])
GOOD = 0.001  # an MSE that is good enough
SIGMA, WIND = 1.0, np.array([3.0, -2.0])
SHOTS, BULLETS = 5, (1, 3)
FEW = 4  # standard errors
FEATURES, MARGIN, EXAMPLES = 10, 0.1, 2_000
CHILDREN = range(8)
WRONG = 0.1  # the share of wrong labels
RATE = 0.5  # of logistic regression


def main(fast: bool) -> Findings:
    """One story after the other."""
    with jax.enable_x64(True):
        stories = [guessing(fast), black_box(), shooting(fast), learning_cat(fast)]
    return findings(stories, caption(stories), rows=2, panel=(5.8, 4.4))


def guessing(fast: bool) -> Part:
    """Sign descent from the middle, for every secret number and several ratios of a step to the one before."""
    count, middle = len(NUMBERS), (len(NUMBERS) + 1) / 2

    def guess(ratio, secret):
        problem = Problem("secret", lambda key: jnp.array(middle), lambda x: losses.absolute_error(x, secret))
        method = optimizers.sign_sgd(lambda k: count / 4 * ratio**k)
        record = lambda info: {"guess": info.params, "answer": info.grads}
        return run(problem, method, steps=2 * ANSWERS + 1, key=jax.random.key(0), record=record)

    ds = kept(__file__, "guesses", fast, guess, ratio=list(RATIOS), secret=NUMBERS.astype(float))
    halving, worst = ds.sel(ratio=0.5), np.abs(ds.guess - ds.secret).max("secret")
    found = halving.guess.values[:, ANSWERS] == NUMBERS
    told = [len(np.unique(halving.answer.values[:, :k], axis=0)) for k in range(2 * ANSWERS)]
    enough = next((k for k, ways in enumerate(told) if ways == count), np.nan)
    apart = halving.guess.values[:, : ANSWERS + 1] - [bisection(secret) for secret in NUMBERS]
    k, farthest = worst.step.values, count - middle
    slow = (worst.sel(ratio=0.8) / (farthest * 0.8**k))[1:].max()
    short = farthest - count / 4 * (1 - 0.4 ** k[-1]) / (1 - 0.4)
    claims = [
        Claim(f"{count:,} numbers: found after {ANSWERS} answers", found.sum(), count, "≈", 0, "2ⁿ numbers, n answers"),
        Claim(f"{count:,} numbers: fewest answers that tell all apart", enough, np.log2(count), "≈", 0, "log₂ N bits"),
        Claim("steps halved: largest distance from bisection", np.abs(apart).max(), 0, "≈", 0, "the same guesses"),
        Claim("steps shrinking by 0.8: worst error / d 0.8ᵏ", slow, 1, "≤", 0, "induction over the steps"),
        Claim(
            "steps shrinking by 0.4: worst error that is left",
            worst.sel(ratio=0.4)[-1], short, "≈", relative(1e-9), "d less the sum of the steps",
        ),
    ]  # fmt: skip

    def draw(ax):
        for (ratio, label), marker in zip(RATIOS.items(), "sD^o", strict=True):
            ax.plot(k, worst.sel(ratio=ratio), marker=marker, ms=4, label=label)
        halved = np.arange(ANSWERS + 1)
        ax.plot(halved, count / 2 ** (halved + 1) - 0.5, color="k", ls="--", lw=1, zorder=4)
        ax.axhline(short, color="k", ls="--", lw=1, label="predicted", zorder=4)
        ax.set_yscale("symlog", linthresh=1)
        ax.set(xlabel="answers", ylabel="worst error over all numbers", title="“Too high”, “too low”: halve the step")
        ax.set(xticks=k[::2], yticks=[0, 1, 10, 100], yticklabels=["0", "1", "10", "100"], ylim=(-0.2, 700))
        ax.legend(loc="lower right", bbox_to_anchor=(1, 0.08))

    return Part(claims, draw, (ds,))


def bisection(secret: int) -> list[float]:
    """Guesses half-way between two numbers, until one number is left; that one."""
    low, high, guesses = 1, len(NUMBERS), []
    while low < high:
        guesses.append((low + high) / 2)
        below = (low + high) // 2
        low, high = (low, below) if secret < guesses[-1] else (below + 1, high)
    return [*guesses, float(low)]


def black_box() -> Part:
    """The input whose output is 4, by descent and by Newton; then two families for what another box does."""
    box, root = lambda x: x + x**2, (np.sqrt(17) - 1) / 2
    search = descend(Problem("output 4", lambda key: jnp.array(1.0), lambda x: (box(x) - 4) ** 2), 1 / 68, 60)
    newton, better = [1.0], jax.jit(lambda x: x - (box(x) - 4) / jax.grad(box)(x))
    for _ in range(4):
        newton.append(float(better(newton[-1])))
    halved, squared = (np.abs(np.asarray(inputs) - root) for inputs in (search.trace["weights"], newton))

    powers, truth = polynomial.expand(INPUTS[:, None], 2), np.array([OUTPUTS[0], 0.0])
    two = problems.least_squares(powers, OUTPUTS, fit_intercept=False)
    one = problems.least_squares(powers[:, :1], OUTPUTS - powers[:, 1], fit_intercept=False)
    rate = 1 / two.facts.smoothness
    narrow, wide = (descend(family, rate, 60_000) for family in (one, two))
    mse = [2 * np.asarray(fit.trace["loss"]) for fit in (narrow, wide)]  # the problems have half of it
    floor = (INPUTS[1] * (INPUTS[1] - INPUTS[0])) ** 2 / (INPUTS @ INPUTS) / 2
    errs = lambda w, i: powers[i] @ [w, 1] - OUTPUTS[i]
    steps = int(np.argmax(mse[1] < GOOD))
    # From 0, what is missing along an eigenvector of XᵀX/n shrinks by 1 − ηλ in every step.
    curvature, directions = np.linalg.eigh(powers.T @ powers / 2)
    missing = lambda k: (1 - rate * curvature) ** k * (directions.T @ truth)
    expected = next(k for k in range(60_000) if curvature @ missing(k) ** 2 < GOOD)
    far = np.linalg.norm(wide.trace["weights"]["w"][steps] - truth)
    a, b = wide.params["w"]
    claims = [
        Claim("input whose output is 4", search.params, root, "≈", 1e-12, "(√17 − 1)/2"),
        Claim("descent at rate 1/68: error / the last", halved[25] / halved[24], 0.5, "≈", 1e-6, "1 − 34η"),
        Claim("Newton: error / square of the last", squared[4] / squared[3] ** 2, 17**-0.5, "≈", 1e-4, "f″/2f′"),
        Claim("w x + x²: error at x = 1 with w = 1", errs(1.0, 0), -0.21, "≈", 1e-12, "by hand"),
        Claim("w x + x²: error at x = 1.1 with w = 1.5", errs(1.5, 1), 0.429, "≈", 1e-12, "by hand"),
        Claim("w x + x²: MSE at last", mse[0][-1], 0.0027376, "≈", 5e-8, "0.01 · 1.21/(2 · 2.21)"),
        Claim("a x + b x²: a", a, 2.21, "≈", 1e-9, "the points lie on 2.21 x"),
        Claim("a x + b x²: b", b, 0, "≈", 1e-9, "the points lie on 2.21 x"),
        Claim(f"a x + b x²: steps to an MSE below {GOOD}", steps, expected, "≈", 0, "1 − ηλ along each eigenvector"),
        Claim("(a, b) then: distance from the truth", far, np.linalg.norm(missing(expected)), "≈", 1e-9, "the same"),
    ]  # fmt: skip

    def draw(ax):
        curves = ((search.trace["loss"], "$(f(x) - 4)^2$"), (mse[0], "$wx + x^2$: MSE"), (mse[1], "$ax + bx^2$: MSE"))
        for (loss, label), line, colour in zip(curves, ("-.", "-", "-"), COLOURS[2::-1], strict=True):
            ax.plot(np.asarray(loss), ls=line, color=colour, label=label)
        ax.axhline(floor, color="k", ls="--", lw=1, label=f"least MSE of $wx + x^2$: {floor:.7f}")
        ax.axhline(GOOD, color=GREY, ls=":", lw=1.2, label=f"good enough: {GOOD}")
        ax.set_xscale("symlog", linthresh=1)
        ax.set(xlabel="step", ylabel="loss", yscale="log", ylim=(1e-9, 1e3), xlim=(0, 60_000))
        ax.set_title("A black box: what family is it of?")
        ax.legend(loc="upper right")

    return Part(claims, draw)


def descend(problem: Problem, rate: float, steps: int) -> Run:
    """Gradient descent that keeps the loss and the weights before every step."""
    record = lambda info: {"loss": info.value, "weights": info.params}
    method = optimizers.gradient_descent(rate)
    return jax.jit(lambda key: run(problem, method, steps=steps, key=key, record=record))(jax.random.key(0))


def shooting(fast: bool) -> Part:
    """Shots at 0 of one and of three bullets; after shot k the aim is corrected by the mean error, at rate 1/k."""
    seeds, most = 2_000 if fast else 10_000, max(BULLETS)
    blown = WIND + np.random.default_rng(0).normal(0, SIGMA, (seeds, SHOTS, most, 2))
    loss = lambda aim, batch: jnp.mean(jnp.sum((aim + batch) ** 2, axis=1)) / 2

    def shoot(bullets, seed):
        places = jnp.array(blown)[seed][:, jnp.arange(most) % bullets]  # one bullet is three in one place
        problem = Problem("target", lambda key: jnp.zeros(2), loss, data=places.reshape(-1, 2))
        method = optimizers.gradient_descent(lambda k: 1 / (k + 1))
        record = lambda info: {"loss": info.value, "error": info.grads, "aim": info.params}
        shots = run(problem, method, steps=SHOTS, key=jax.random.key(0), batches=cyclic(most), record=record)
        return {**shots.trace, "unknown": shots.params + WIND}

    ds = kept(__file__, "shots", fast, shoot, bullets=BULLETS, seed=range(seeds))
    value = lambda name: ds[name].transpose("bullets", "seed", ...).values
    k, m = np.arange(1, SHOTS), np.array(BULLETS)[:, None]
    law = SIGMA**2 * np.hstack([1 + 0 * m + WIND @ WIND / 2 / SIGMA**2, 1 + 1 / (m * k)])
    mean, width = mean_and_error(value("loss"))
    bias, bias_width = mean_and_error(value("error"))
    bias[:, 0] -= WIND  # before the first correction
    unknown = (value("unknown") ** 2).mean(-1)
    left, left_width = mean_and_error(unknown)
    ratio, ratio_width = quotient(*unknown)
    scatter = (value("loss") - (value("error") ** 2).sum(-1) / 2)[1, :, 0] / (1 - 1 / most)
    chance, chance_width = mean_and_error(scatter[None])
    farthest = lambda deviations: np.abs(deviations).max()
    claims = [
        Claim("mean error, standard errors off: most", farthest(bias / bias_width), FEW, "≤", 0, "the wind, then 0"),
        Claim("mean loss, standard errors off: most", farthest((mean - law) / width), FEW, "≤", 0, "σ² (1 + 1/(mk))"),
        Claim("mean loss of the best shot / σ²", mean.min() / SIGMA**2, 1, "≥", 0, "no aim undoes chance"),
        Claim("wind: variance after 5 × 3 bullets", left[1], SIGMA**2 / 15, "≈", FEW * left_width[1], "σ²/(mk)"),
        Claim("wind: variance by one bullet / by three", ratio, 3, "≈", FEW * ratio_width, "σ²/(mk)"),
        Claim("σ² by the scatter of the first three", chance[0], SIGMA**2, "≈", FEW * chance_width[0], "unbiased"),
    ]  # fmt: skip

    def draw(ax):
        shots = np.arange(1, SHOTS + 1)
        for row, (label, marker) in enumerate(zip(("one bullet", "three bullets"), "os", strict=True)):
            ax.errorbar(shots, mean[row], FEW * width[row], marker=marker, ls="", capsize=3, label=label)
            ax.plot(shots, law[row], color="k", ls="--", lw=1, label="predicted" if row else None)
        ax.axhline(SIGMA**2, color=GREY, ls=":", label="chance alone")
        ax.set(xlabel="shot", ylabel="mean loss: half the squared miss", yscale="log", title="A target in the wind")
        ax.set(xticks=shots, yticks=(ticks := [1, 1.5, 2, 3, 5, 8]), yticklabels=ticks)
        ax.set_yticks([], minor=True)
        ax.legend(loc="upper right")
        bullets = value("aim")[1, 0, :, None] + blown[0]
        target(ax.inset_axes((0.24, 0.38, 0.42, 0.62)), {"first shot": bullets[0], "last shot": bullets[-1]})

    return Part(claims, draw, (ds,))


def target(ax, shots: dict[str, np.ndarray]) -> None:
    """Bullets around the bull's eye, and the mean error of the first shot as an arrow."""
    turn = np.linspace(0, 2 * np.pi, 100)
    for radius in SIGMA * np.arange(1, 5):
        ax.plot(radius * np.cos(turn), radius * np.sin(turn), color=GREY, lw=0.5)
    for (label, bullets), face in zip(shots.items(), ("white", COLOURS[1]), strict=True):
        ax.plot(*bullets.T, ls="", marker="s", ms=5, mfc=face, mec=COLOURS[1], label=label)
    mean = shots["first shot"].mean(0)
    ax.annotate("", mean, (0, 0), arrowprops={"arrowstyle": "->", "lw": 1.2, "shrinkA": 0, "shrinkB": 0})
    ax.set(aspect="equal", xlim=(-4.5, 5.5), ylim=(-4.5, 5.5))
    ax.axis("off")
    ax.legend(loc="upper center", ncols=2, handletextpad=0, columnspacing=1)


def mean_and_error(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean over seeds, the second axis, and its standard error."""
    return values.mean(1), values.std(1) / np.sqrt(values.shape[1])


def quotient(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """The ratio of two means over the same seeds, and its standard error (Cochran 1977, §6.4)."""
    ratio = a.mean() / b.mean()
    return ratio, (a - ratio * b).std() / b.mean() / np.sqrt(len(a))


def learning_cat(fast: bool) -> Part:
    """Examples one by one, each seen once: a perceptron and logistic regression, with right and with wrong labels."""
    X, side, luck = animals()

    def learn(wrong, seed):
        y = jnp.where(jnp.array(luck)[seed] < wrong, -1, 1) * jnp.array(side)[seed]
        walks = {name: lesson(name, Examples(jnp.array(X)[seed], y)) for name in METHODS}
        return {f"{name} {what}": rows for name, walk in walks.items() for what, rows in walk.trace.items()}

    ds = kept(__file__, "cats", fast, learn, wrong=(0.0, WRONG), seed=CHILDREN)
    rows = lambda name, wrong: ds[name].sel(wrong=wrong).transpose("seed", ...).values
    bound = (np.linalg.norm(X, axis=2).max(1) / (side * X[:, :, 0]).min(1)) ** 2
    right, misled = (rows("perceptron mistakes", wrong).sum(1) / bound for wrong in (0.0, WRONG))
    turns = Examples(np.tile(np.eye(FEATURES), (2, 1)), np.tile(np.resize([1.0, -1.0], FEATURES), 2))
    taught = jax.jit(lambda data: lesson("perceptron", data).trace["mistakes"].sum())(turns)

    # The children's problems side by side are one problem, so that one solve gives the best weights of each.
    labels = np.where(luck < WRONG, -side, side)
    pooled = solve(problems.logistic(block_diag(*X), labels.ravel(), 0.0, fit_intercept=False))
    best = pooled.params["w"].reshape(-1, FEATURES)
    margins = labels * np.einsum("cef,cf->ce", X, best)
    regret = rows("logistic loss", WRONG).sum(1) - np.logaddexp(0, -margins).sum(1)
    allowed = (best**2).sum(1) / (2 * RATE) + RATE / 2 * rows("logistic square", WRONG).sum(1)
    late = lambda mistakes: mistakes[:, EXAMPLES // 2 :].mean()
    perceptron, logistic = (late(rows(f"{name} mistakes", WRONG)) for name in METHODS)
    extra = logistic - late(margins <= 0)
    claims = [
        Claim("perceptron: mistakes / (R/γ)², worst child", right.max(), 1, "≤", 0, "Novikoff 1962"),
        Claim("perceptron: mistakes on n orthogonal examples", taught, FEATURES, "≈", 0, "(R/γ)² = n, attained"),
        Claim("wrong labels: mistakes / (R/γ)², best child", misled.min(), 1, "≥", 0, "no bound holds"),
        Claim("wrong labels: late mistakes / wrong labels", perceptron / late(luck < WRONG), 1, "≥", 0, "share ≥ p"),
        Claim("online logistic: regret / bound, worst child", (regret / allowed).max(), 1, "≤", 0, "Zinkevich 2003"),
        Claim("online logistic: late mistakes less the best's, share", extra, 0, "≈", 0.02, "regret / n → 0"),
    ]  # fmt: skip

    def draw(ax):
        seen = np.arange(1, EXAMPLES + 1)
        curves = {
            "perceptron, 10 % wrong labels": ("perceptron mistakes", WRONG, COLOURS[1], "-"),
            "logistic, 10 % wrong labels": ("logistic mistakes", WRONG, COLOURS[2], "-."),
            "perceptron, right labels": ("perceptron mistakes", 0.0, COLOURS[0], "-"),
        }
        for label, (name, wrong, colour, line) in curves.items():
            count = rows(name, wrong).cumsum(1)
            ax.plot(seen, count.mean(0), color=colour, ls=line, label=label)
            ax.fill_between(seen, count.min(0), count.max(0), color=colour, alpha=0.15, lw=0)
        ax.axhline(bound.max(), color="k", ls="--", lw=1, label="$(R/γ)^2$, bound for right labels")
        ax.plot(seen, WRONG * seen, color=GREY, ls=":", label="wrong labels so far")
        ax.set(xlabel="examples", ylabel="mistakes so far", xscale="log", yscale="log", ylim=(0.8, 1500))
        ax.set_title("“No, that is no cat”: learning from corrections")
        ax.legend(loc="upper left")

    return Part(claims, draw, (ds,))


def animals() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each child: examples of length 1, at least γ from the plane x₁ = 0; their sides of it; and luck in [0, 1]."""
    rng, shape = np.random.default_rng(0), (len(CHILDREN), EXAMPLES)
    side, luck, away = rng.choice([-1.0, 1.0], shape), rng.random(shape), rng.uniform(MARGIN, 1, shape)
    along = rng.normal(size=(*shape, FEATURES - 1))
    along *= np.sqrt(1 - away**2)[..., None] / np.linalg.norm(along, axis=-1, keepdims=True)
    return np.concatenate([(side * away)[..., None], along], axis=-1), side, luck


def when_wrong(score, label):
    """The perceptron's loss: the gradient is −y x after a mistake, else 0 (Rosenblatt 1958)."""
    return jnp.where(label * score > 0, 0.0, -label * score)


def always(score, label):
    """The logistic loss of a label −1 or +1."""
    return losses.binary_cross_entropy(score, (label + 1) / 2)


METHODS = {"perceptron": (when_wrong, 1.0), "logistic": (always, RATE)}


def lesson(name: str, data: Examples) -> Run:
    """Descent from 0 over the examples in their order; a mistake is counted before it is corrected."""
    loss, rate = METHODS[name]
    judge = lambda w, batch: (batch.X[0] @ w, batch.y[0])
    problem = Problem(name, lambda key: jnp.zeros(FEATURES), lambda w, batch: loss(*judge(w, batch)), data=data)

    def record(info):
        score, label = judge(info.params, info.batch)
        return {"mistakes": 1.0 * (score * label <= 0), "loss": info.value, "square": jnp.sum(info.grads**2)}

    method, steps = optimizers.gradient_descent(rate), len(data.y)
    return run(problem, method, steps=steps, key=jax.random.key(0), batches=cyclic(1), record=record)


def caption(stories: list[Part]) -> str:
    """What the panels show."""
    return (
        f"Top left: sign descent on |x − secret| from the middle; the worst of {len(NUMBERS):,} numbers; the axis is "
        "linear below 1. Top right: gradient descent to the input of x + x² whose output is 4, and on the weights of "
        "two families for two points of 2.21 x, from 0, at the rate 1/L of the wider one. Bottom left: the mean over "
        f"{stories[2].sweeps[0].sizes['seed']:,} seeds with ± {FEW} standard errors; the wind is ({WIND[0]:g}, "
        f"{WIND[1]:g}), chance has σ = {SIGMA:g}; inset: one of the seeds, three bullets a shot, rings σ apart; the "
        f"arrow is the first mean error. Bottom right: mean and range over {len(CHILDREN)} streams of {EXAMPLES:,} "
        f"examples in {FEATURES} dimensions with margin {MARGIN:g}; logistic regression at rate {RATE:g}. In float64."
    )
