"""Text and pictures: how well the next symbol can be known, and what a filter learns.

Question: How near does a small Transformer come to the least loss that any model can have on a text? Where does it
look? What do tables of counts reach, and where do they fail? How long is the output of a convolution, and does training
find a filter that is known?

Prediction: No model has a cross-entropy below the entropy rate of the source (Shannon 1948); one that does looks ahead.
On a Markov chain of k symbols, counts of pairs come down to it; over many texts they beat the source on the text that
they were counted on by k (k − 1)/2 nats in the mean (Anderson & Goodman 1957) and lose as much on another (Akaike
1974). Where symbols are copied from five places back, the last symbol tells nothing: no table of pairs is better than
log k. A Transformer can attend to that place (Vaswani et al. 2017) and reach the entropy rate from there on. A filter
of width K makes N − K + 1, N or N + K − 1 numbers of N: valid, same and full. Least squares has one minimum, so descent
finds the filter that made the data. AlexNet in two groups has 60,965,224 parameters (Krizhevsky, Sutskever & Hinton
2012).

Found: All of it. The Transformer ends 0.003 nats above the entropy rate of both sources, and looks at the symbol to be
copied from every place at which it is in sight. Descent on white pictures finds both filters to the last digit.
"""

from dataclasses import replace
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from scipy.special import entr, log_softmax, softmax

from sandbox import losses, optimizers, problems
from sandbox.data import cyclic, text
from sandbox.engine import run
from sandbox.models import alexnet, convolution, transformer
from sandbox.problems.examples import Examples
from sandbox.report import Claim
from sandbox.report.plots import COLOURS, DASHED, GREY, style
from sandbox.reproduction import Findings

LETTERS, LENGTH = "abcdefgh", 60_000  # of the texts to learn from
DELAY, FRESH = 5, 0.1  # a symbol is copied from so far back, or drawn afresh with this chance
TEXTS, SHORT = 100, 20_000  # on which pairs are counted many times
CONTEXT, BATCH, STEPS, RATE = 12, 32, 400, 0.01
PREFIX = 3  # all texts of so many symbols and one more, each weighed with its probability
FEW, NEAR = 4, 0.02  # standard errors; nats that a Transformer may be above the entropy rate
SIGNALS, WIDTHS = (8, 13), (1, 2, 5)  # N and K of convolutions
SOBEL = np.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 4  # the slope of a picture to the right
K = len(LETTERS)
MODEL = transformer.Transformer(K, CONTEXT)


def main(fast: bool) -> Findings:
    """Tables and a Transformer on two sources; then the lengths of convolutions, and two filters learned."""
    rng = np.random.default_rng(0)
    chain = softmax(rng.normal(size=(K, K)), axis=1)
    usual = np.linalg.matrix_power(chain, 1000)[0]
    kept = np.where(np.arange(K) == 0, 1 - FRESH, 0) + FRESH / K  # the symbol that is copied, and the others
    rates = {"Markov": usual @ entr(chain).sum(1), "copy": entr(kept).sum()}
    seen = {"Markov": spelled(markov(chain, 1, LENGTH, rng)[0]), "copy": spelled(delayed(LENGTH, rng))}
    new = text.windows(spelled(delayed(CONTEXT * K ** (PREFIX + 1) + 1, rng)), CONTEXT, CONTEXT)
    shares = {name: np.bincount(codes) / LENGTH for name, codes in seen.items()}
    tables = {name: counted(codes[None])[0] for name, codes in seen.items()}
    fits = trained(seen, rng)
    with jax.enable_x64(True):
        exact = over_all_texts(fits["Markov"].params, usual, chain)
        surprise, attended, scores = judged(fits["copy"].params, new.X, new.y)
        changed = judged(fits["copy"].params, np.hstack([new.X[:, :-1], (new.X[:, -1:] + 1) % K]), new.y)[2]
        path = filters(rng)
        slope = slope_at(tables["Markov"], seen["Markov"])
        lengths, apart = convolutions(rng)
    paired = -np.log(tables["copy"][new.X, new.y])
    claims = [
        *table_claims(chain, usual, shares["Markov"], tables["Markov"], slope, paired, rng),
        *transformer_claims(exact - rates["Markov"], surprise, kept, new, attended, scores - changed),
        *(
            Claim(f"{name}: outputs − ({law}), ours and flax's, largest", far, 0, "≈", 0, "places that overlap")
            for (name, law), far in lengths.items()
        ),
        Claim("valid, same, full: values beside NumPy's, largest", apart, 0, "≈", 1e-12, "Σ w[k] x[n − k]"),
        Claim("filters learned beside those that made the data", off(path[-1]), 0, "≈", 1e-9, "one minimum"),
        Claim("AlexNet: parameters", alexnet.parameters(), 60_965_224, "≈", 0, "Krizhevsky et al. 2012, two groups"),
    ]  # fmt: skip
    single = {"Markov": -usual @ np.log(shares["Markov"]), "copy": -np.log(shares["copy"][new.y]).mean()}
    double = {"Markov": pairs(chain, usual, tables["Markov"]), "copy": paired.mean()}
    best = {"Markov": exact, "copy": surprise[:, DELAY - 1 :].mean()}
    bars = {name: (np.log(K), single[name], double[name], best[name], rates[name]) for name in rates}
    return Findings(figures(rates, fits, bars, attended, path), claims)


def spelled(codes: np.ndarray) -> np.ndarray:
    """Codes written as a text, and read again."""
    letters = text.decode(codes, LETTERS)
    return text.encode(letters, text.vocabulary(letters))


def markov(chain: np.ndarray, texts: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """Texts in which row s of the chain has the probabilities of what follows s."""
    codes, below = np.zeros((texts, length), int), chain.cumsum(1)[:, :-1]
    codes[:, 0], luck = rng.integers(K, size=texts), rng.random((length, texts, 1))
    for t in range(1, length):
        codes[:, t] = (below[codes[:, t - 1]] < luck[t]).sum(1)
    return codes


def delayed(length: int, rng: np.random.Generator) -> np.ndarray:
    """A text that repeats what stood DELAY symbols before, but for a share FRESH that is drawn anew."""
    rows = -(-length // DELAY)
    drawn = rng.integers(K, size=(rows, DELAY))
    anew = np.where(rng.random(drawn.shape) < FRESH, np.arange(rows)[:, None], 0)
    return np.take_along_axis(drawn, np.maximum.accumulate(anew), axis=0).ravel()[:length]


def counted(codes: np.ndarray) -> np.ndarray:
    """For each text the table of maximum likelihood: how often each symbol follows each, as shares of a row."""
    places = (np.arange(len(codes))[:, None] * K + codes[:, :-1]) * K + codes[:, 1:]
    counts = np.bincount(places.ravel(), minlength=len(codes) * K * K).reshape(-1, K, K)
    return counts / counts.sum(2, keepdims=True)


def pairs(chain: np.ndarray, usual: np.ndarray, table: np.ndarray) -> float:
    """The cross-entropy of a table of pairs on the Markov chain."""
    return float(-usual @ (chain * np.log(table)).sum(1))


def next_symbol(scores, codes):
    """The mean over the places of a window of −log p(next symbol)."""
    return jnp.mean(jax.vmap(losses.softmax_cross_entropy)(scores, codes))


def trained(texts: dict[str, np.ndarray], rng: np.random.Generator) -> dict:
    """The Transformer after Adam on windows of each text: one compiled program, and one start, for all of them."""
    windows = {name: Examples(*text.windows(codes, CONTEXT, CONTEXT)) for name, codes in texts.items()}
    problem = problems.from_flax(MODEL, *windows["copy"], next_symbol)
    # As flax starts it, with variances of 1/rows, but drawn by NumPy: to compile the draws takes longer than to train.
    draw = lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) / np.sqrt(leaf.shape[0]), leaf.dtype)
    start = jax.tree.map(draw, jax.eval_shape(problem.init, jax.random.key(0)))
    method = optimizers.adam(optimizers.schedules.cosine_decay(RATE, STEPS))
    settings = {"steps": STEPS, "batches": cyclic(BATCH), "params": start, "key": jax.random.key(0)}
    fit = jax.jit(lambda data: run(replace(problem, data=data), method, **settings))
    return {name: fit(data) for name, data in windows.items()}


@partial(jax.jit, static_argnums=0)
def scored(model, params, X):
    """Scores of the next symbol at every place, and the attention matrices."""
    return model.apply({"params": params}, X, mutable="intermediates")


def judged(params, X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """−log p(next symbol) at every place of every window, where the Transformer looks, and its scores; in float64."""
    scores, sown = scored(MODEL, jax.tree.map(lambda leaf: np.asarray(leaf, float), params), X)
    surprise = -np.take_along_axis(log_softmax(scores, axis=-1), y[..., None], axis=-1)[..., 0]
    (attended,) = jax.tree.leaves(sown)
    return surprise, np.asarray(attended)[:, 0], np.asarray(scores)


def over_all_texts(params, usual: np.ndarray, chain: np.ndarray) -> float:
    """The cross-entropy of the Transformer on the Markov chain, exactly: a mean over all short texts there can be."""
    texts = np.array(list(product(range(K), repeat=PREFIX + 1)))
    weights = usual[texts[:, 0]] * chain[texts[:, :-1], texts[:, 1:]].prod(1)
    X = np.zeros((len(texts), CONTEXT), np.int32)  # as long as the windows, so that the program is the same
    X[:, : PREFIX + 1] = texts
    surprise, *_ = judged(params, X, np.roll(X, -1, axis=1))
    return float(weights @ surprise[:, :PREFIX].mean(1))


def slope_at(table: np.ndarray, codes: np.ndarray) -> float:
    """The largest derivative of the mean log-loss on a text, at the logarithms of a table: 0 at the minimum."""
    model = problems.softmax(np.eye(K)[codes[:-1]], codes[1:], 0.0, fit_intercept=False)
    return float(jnp.abs(jax.jit(jax.grad(model.objective))({"w": np.log(table).T})["w"]).max())


def table_claims(chain, usual, shares, table, slope, paired, rng) -> list[Claim]:
    """What counts reach: on the Markov chain the entropy rate, on copies nothing."""
    rate, freedom = usual @ entr(chain).sum(1), K * (K - 1)
    above = pairs(chain, usual, table) - rate
    texts = markov(chain, TEXTS, SHORT, rng)
    many, texts_, before, after = counted(texts), np.arange(TEXTS)[:, None], texts[:, :-1], texts[:, 1:]
    gain = np.log(many[texts_, before, after] / chain[before, after]).sum(1)
    loss = SHORT * np.array([pairs(chain, usual, one) - rate for one in many])
    anderson, own = "k (k − 1)/2: Anderson & Goodman 1957", "pairs on their own text: nats better than the source"
    return [
        Claim("Markov, single symbols: cross-entropy", -usual @ np.log(shares), entr(usual).sum(), "≈", 1e-3, "H(π)"),
        Claim("Markov, pairs: cross-entropy − entropy rate", above, 0, "≥", 1e-12, "Shannon 1948"),
        Claim(own, gain.mean(), freedom / 2, "≈", wide(gain), anderson),
        Claim("pairs on as long a new text: nats worse", loss.mean(), freedom / 2, "≈", wide(loss), "Akaike 1974"),
        Claim("Markov, pairs: slope of the log-loss at the counts", slope, 0, "≈", 1e-12, "n(s, t) / n(s) is best"),
        Claim("copy, pairs: cross-entropy", paired.mean(), np.log(K), "≥", wide(paired), "log k: independent"),
    ]  # fmt: skip


def wide(values: np.ndarray) -> float:
    """A few standard errors of the mean."""
    return FEW * values.std() / np.sqrt(values.size)


def transformer_claims(beyond, surprise, kept, new, attended, change) -> list[Claim]:
    """What the Transformer reaches, on what it looks, and that it does not look ahead."""
    far = DELAY - 1  # from the last symbol back to the one that is copied
    source = -np.log(kept[(new.y[:, far:] != new.X[:, :-far]).astype(int)])
    extra, blind = (surprise[:, far:] - source).mean(1), surprise[:, :far].mean(1)
    strongest = attended[:, far:].argmax(2) == np.arange(CONTEXT - far)
    ahead, vaswani = attended[:, ~np.tri(CONTEXT, dtype=bool)].max(), "Vaswani et al. 2017"
    return [
        Claim("Markov, Transformer: cross-entropy − entropy rate", beyond, 0, "≥", 1e-12, "Shannon 1948"),
        Claim("Markov, Transformer: the same, at most", beyond, NEAR, "≤", 0, "one symbol back is in sight"),
        Claim("copy, Transformer: loss − the source's", extra.mean(), 0, "≥", wide(extra), "Shannon 1948"),
        Claim("copy, Transformer: the same, at most", extra.mean(), NEAR, "≤", 0, "the symbol copied is in sight"),
        Claim("copy, Transformer: loss where it is not", blind.mean(), np.log(K), "≥", wide(blind), "independent"),
        Claim("copy: places that look most at the symbol copied", strongest.mean(), 1, "≈", 0, vaswani),
        Claim("attention to later symbols, largest", ahead, 0, "≈", 0, "exp(−∞) = 0"),
        Claim("scores that a later symbol changes, by at most", np.abs(change[:, :-1]).max(), 0, "≈", 0, "the same"),
    ]  # fmt: skip


PADDINGS = {  # name: the law, its value, and what flax and JAX call it
    "valid": ("N − K + 1", lambda n, k: n - k + 1, lambda k: "VALID"),
    "same": ("N", lambda n, k: n, lambda k: "SAME"),
    "full": ("N + K − 1", lambda n, k: n + k - 1, lambda k: [(k - 1, k - 1)]),
}


def convolutions(rng: np.random.Generator) -> tuple[dict, float]:
    """By how much lengths depart from their laws, and values from NumPy's."""

    def lengths(n, k, padding):
        layer = lambda x: nn.Conv(1, (k,), padding=padding).init_with_output(jax.random.key(0), x)[0]
        ours = partial(convolution.conv_general_dilated, window_strides=(1,), padding=padding)
        shape = lambda *dims: jax.ShapeDtypeStruct(dims, jnp.float32)
        return (
            jax.eval_shape(layer, shape(1, n, 1)).shape[1],
            jax.eval_shape(ours, shape(1, 1, n), shape(1, 1, k)).shape[2],
        )

    off = {
        (name, law): max(
            abs(length - wanted(n, k)) for n in SIGNALS for k in WIDTHS for length in lengths(n, k, padding(k))
        )
        for name, (law, wanted, padding) in PADDINGS.items()
    }
    n, k = SIGNALS[-1], WIDTHS[-1]
    x, w = rng.normal(size=n), rng.normal(size=k)
    every = [padding(k) for *_, padding in PADDINGS.values()]
    # What flax and JAX call a convolution slides the filter as it is; NumPy turns it round.
    slide = lambda padding: convolution.conv_general_dilated(x[None, None], w[None, None, ::-1], (1,), padding)[0, 0]
    values = jax.jit(lambda: [slide(padding) for padding in every])()
    return off, max(np.abs(np.convolve(x, w, name) - v).max() for name, v in zip(PADDINGS, values, strict=True))


def filters(rng: np.random.Generator) -> np.ndarray:
    """The two filters of a flax layer at each step of descent, as it learns the slopes of pictures."""
    X, true = rng.normal(size=(64, 12, 12, 1)), np.stack([SOBEL, SOBEL.T], axis=-1)
    y = sum(X[:, i : i + 10, j : j + 10] * true[i, j] for i in range(3) for j in range(3))
    layer = nn.Conv(2, (3, 3), padding="VALID", use_bias=False)
    problem = problems.from_flax(layer, X, y, lambda z, y: losses.squared_error(z, y) / y.size)
    method = optimizers.gradient_descent(0.5)  # white pictures have the curvature 2/2 = 1 along every weight
    record = lambda info: {"kernel": info.params["kernel"][:, :, 0]}
    start = {"kernel": jnp.zeros((3, 3, 1, 2))}
    fit = jax.jit(lambda: run(problem, method, steps=60, key=jax.random.key(0), params=start, record=record))
    return np.asarray(fit().trace["kernel"])


def off(kernel: np.ndarray) -> float:
    """The largest distance from the true filters."""
    return float(np.abs(kernel - np.stack([SOBEL, SOBEL.T], axis=-1)).max())


def figures(rates, fits, bars, attended, path) -> dict:
    """Losses on their way to the bounds; three models beside them; where the Transformer looks; filters."""
    import matplotlib.pyplot as plt

    far = DELAY - 1
    bounds = {"Markov": rates["Markov"], "copy": (far * np.log(K) + (CONTEXT - far) * rates["copy"]) / CONTEXT}
    with style():
        figure, axes = plt.subplots(2, 2, figsize=(11.6, 8.4))
        for (name, fit), colour in zip(fits.items(), COLOURS, strict=False):
            axes[0, 0].plot(np.asarray(fit.trace["loss"]), color=colour, lw=1, label=f"Transformer, {name}")
            axes[0, 0].axhline(bounds[name], **DASHED, label="least possible" if name == "copy" else None)
        axes[0, 0].axhline(np.log(K), color=GREY, ls=":", label=r"$\log k$: nothing is known")
        axes[0, 0].set(xlabel="step", ylabel="loss on a batch, nats per symbol", title="To the least possible loss")
        axes[0, 0].legend()
        kinds = ("guess", "single symbols", "pairs", "Transformer")
        for (name, values), colour, marker in zip(bars.items(), COLOURS, "os", strict=False):
            axes[0, 1].plot(kinds, values[:-1], color=colour, marker=marker, ls="-", lw=1, ms=8, label=name)
            axes[0, 1].axhline(values[-1], **DASHED, label="entropy rate" if name == "copy" else None)
        axes[0, 1].set(ylabel="cross-entropy, nats per symbol", ylim=(0, None), title="What each model can know")
        axes[0, 1].legend(loc="lower left")
        image = axes[1, 0].imshow(attended.mean(0), cmap="Blues", vmin=0, vmax=1)
        rows = np.arange(far, CONTEXT)
        axes[1, 0].plot(rows - far, rows, "o", ms=11, mfc="none", mec=COLOURS[1], label=f"copied: {far} back")
        axes[1, 0].set(xlabel="looks at place", ylabel="from place", title="Where the Transformer looks")
        axes[1, 0].grid(visible=False)
        axes[1, 0].legend(loc="upper right")
        figure.colorbar(image, ax=axes[1, 0], label="mean attention", shrink=0.85)
        mosaic(axes[1, 1], path)
    caption = (
        f"Texts of {K} symbols. Markov: row s of a fixed table has the probabilities of what follows s. Copy: what "
        f"stood {DELAY} symbols before, but for {FRESH:.0%} drawn afresh. Top left: Adam at {RATE:g}, falling as a "
        f"cosine, batches of {BATCH} windows of {CONTEXT} symbols, {LENGTH:,} in all; float32, one seed; in the first "
        f"{far} places of a window the symbol copied is out of sight. Top right: on the Markov chain exactly, for the "
        f"Transformer as a mean over all texts of {PREFIX + 1} symbols; on {CONTEXT * K ** (PREFIX + 1):,} new symbols "
        "of copies, for the Transformer where the symbol copied is in sight. Bottom left: the mean over "
        f"{K ** (PREFIX + 1):,} new windows. Bottom right: two 3 × 3 filters of a flax layer, from 0 by full gradient "
        "descent at rate ½ on white pictures whose slopes are given by Sobel's filters; red is positive; float64."
    )
    return {"figure": (figure, caption)}


def mosaic(ax, path: np.ndarray) -> None:
    """Two filters in the rows, at some steps of descent in the columns."""
    steps = (1, 2, 4, len(path) - 1)
    ax.axis("off")
    ax.set_title("Two filters learn the slopes of pictures")
    for (column, step), row in product(enumerate(steps), range(2)):
        cell = ax.inset_axes((column / len(steps), 0.5 - 0.5 * row, 0.94 / len(steps), 0.44))
        cell.imshow(path[step, :, :, row], cmap="RdBu_r", vmin=-0.5, vmax=0.5)
        cell.axis("off")
        if not row:
            cell.set_title(f"step {step}", fontsize=10, fontweight="normal", loc="center")
