"""Networks: what an activation adds, and how the error comes back through it.

Question: What does backpropagation do, layer by layer, and why does it fade in deep networks? What can a network with
one hidden layer draw, and what can a deep one without activations? When does the derivative come cheaper backwards?
Which weights lowered a loss, and by how much?

Prediction: The δ of the chain rule are the gradient (Rumelhart, Hinton & Williams 1986). Each of 20 layers multiplies
‖δ‖² by E φ′² times the width times the variance of a weight (Schoenholz et al. 2017), and a finite width takes a little
(Hanin & Nica 2018): sigmoids leave 1e-12, rectifiers started after He et al. 2015 nearly all. A hidden layer reaches
every continuous function (Cybenko 1989): n steps to max|f′|/2n, n rectifiers to max|f″|/8n². Layers without activations
are one linear map, which leaves ⅛ of XOR (Minsky & Papert 1969). A Jacobian costs a function for each input forward,
for each output in reverse, so a gradient five functions at most (Baur & Strassen 1983). Gradients integrated from zero
weights share out the whole change of a loss (Sundararajan, Taly & Yan 2017); gradient × weight, at a minimum, nothing.

Found: All of it. The mean field holds within 6 % in the median. A gradient costs at most 2.6 functions, whatever the
number of inputs. All of the linear networks end at ⅛, all of those with tanh below 1e-15.
"""

from collections.abc import Callable
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np

from sandbox import landscape, optimizers, problems
from sandbox.engine import run, solve
from sandbox.models import mlp
from sandbox.report import Claim, relative
from sandbox.report.plots import COLOURS, DASHED, GREY, network, style
from sandbox.reproduction import Findings

WIDTH, DEPTH, SEEDS, BOUNDED = 128, 20, 32, 2  # of the deep networks; only a few meet the bound, which takes long
WIDTHS = (4, 8, 16, 32, 64, 128)  # of the hidden layer that is set by hand
SIZES = (1, 8, 64, 512)  # inputs or outputs of a Jacobian
XOR = np.array([[-1.0, -1], [-1, 1], [1, -1], [1, 1]]), np.array([0.0, 1, 1, 0])
HIDDEN, SEEDED = (4, 4, 4, 4), 4  # of the networks that learn it

sigmoid = lambda z: (1 + np.tanh(z / 2)) / 2
gate = lambda z: sigmoid(np.sqrt(8 / np.pi) * (z + 0.044715 * z**3))
ACTIVATIONS = {  # φ and φ′ by hand
    "sigmoid": (sigmoid, lambda z: sigmoid(z) * (1 - sigmoid(z))),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "relu": (lambda z: np.maximum(z, 0), lambda z: np.where(z > 0, 1.0, 0.0)),
    "leaky_relu": (lambda z: np.where(z > 0, z, 0.01 * z), lambda z: np.where(z > 0, 1, 0.01)),
    "gelu": (
        lambda z: z * gate(z),
        lambda z: gate(z) * (1 + z * (1 - gate(z)) * np.sqrt(8 / np.pi) * (1 + 3 * 0.044715 * z**2)),
    ),
}
LABELS = ("sigmoid", "tanh", "ReLU", "leaky ReLU", "GELU")
STEEPEST = {"sigmoid": 0.25, "tanh": 1.0, "relu": 1.0}  # max φ′
wave = lambda x: np.sin(2 * np.pi * x)
LAWS = {  # the largest error of n steps, and of n pieces of a line, between knots 1/n apart
    "sigmoid": ("max|f′|/2n", lambda n: np.pi / n),
    "relu": ("max|f″|/8n²", lambda n: np.pi**2 / (2 * n**2)),
}
total = lambda shares: float(sum(leaf.sum() for leaf in jax.tree.leaves(shares)))
STARTS = {  # activation, variance of a weight, and that times the width
    "sigmoid, Xavier": ("sigmoid", mlp.glorot, 1.0),
    "ReLU, Xavier": ("relu", mlp.glorot, 1.0),
    "tanh, Xavier": ("tanh", mlp.glorot, 1.0),
    "ReLU, He": ("relu", mlp.he, 2.0),
}


def main(fast: bool) -> Findings:
    """Back through two layers and through twenty; curves by hand; XOR; two ways to a Jacobian; blame."""
    with jax.enable_x64(True):
        backward = disagreements()
        fading, passed = vanishing()
        errors = {name: approximation(name) for name in LAWS}
        least = solve(problems.least_squares(*XOR)).value
        starts, ends, losses = trained()
        collapsed = {when: collapse(params) for when, params in (("at the start", starts), ("trained", ends))}
        apart, costs = jacobians()
        shares, naive, change = blamed(ends)
    predicted = {name: mean_field(name) for name in STARTS}
    more = lambda costs: (costs[-1] - costs[-2]) / (SIZES[-1] - SIZES[-2])
    griewank, sundararajan = "Griewank & Walther 2008", "Sundararajan, Taly & Yan 2017"
    straight, curved = losses[:SEEDED, -1], losses[SEEDED:, -1]
    claims = [
        *backward_claims(backward, fading, predicted, passed),
        *(
            Claim(f"{name}: error / ({law}), {where}", value, 1.0, relation, tolerance, source)
            for name, (law, _) in LAWS.items()
            for where, value, relation, tolerance, source in (
                ("worst width", errors[name].max(), "≤", 0, "mean value theorem"),
                (f"width {WIDTHS[-1]}", errors[name][-1], "≈", 0.01, "attained as n → ∞"),
            )
        ),
        Claim("XOR: loss of least squares", least, 1 / 8, "≈", 1e-12, "by hand: w = 0, b = ½"),
        *(
            Claim(f"five linear layers beside one matrix, {when}", far, 0.0, "≈", 1e-13, "A (B x) = (A B) x")
            for when, far in collapsed.items()
        ),
        Claim("XOR: loss of five linear layers, lowest", straight.min(), least, "≥", 1e-14, "Minsky & Papert 1969"),
        Claim("XOR: loss of five linear layers, highest", straight.max(), least, "≈", 1e-6, "Kawaguchi 2016"),
        Claim("XOR: loss of five layers with tanh, highest", curved.max(), 1e-6, "≤", 0, "Cybenko 1989"),
        Claim("Jacobian forward beside reverse", apart, 0.0, "≈", 1e-12, "one derivative"),
        Claim("forward: an input more, in functions", more(costs["forward", "inputs"]), 1.0, "≈", 0.05, griewank),
        Claim("reverse: an output more, in functions", more(costs["reverse", "outputs"]), 1.0, "≈", 0.05, griewank),
        Claim(
            "reverse: a gradient, in functions, most",
            costs["reverse", "inputs"].max(),
            5.0,
            "≤",
            0,
            "Baur & Strassen 1983",
        ),
        Claim(
            "forward: one input, in functions, most",
            costs["forward", "outputs"].max(),
            4.0,
            "≤",
            0,
            "(xy)′ = x′y + xy′",
        ),
        Claim("blame: loss at zero weights − loss", -change, 1 / 4, "≈", 1e-6, "½ mean y²"),
        Claim("blame: what integrated gradients leave of it", total(shares) - change, 0.0, "≈", 1e-12, sundararajan),
        Claim("blame: gradient × weight / change, size", abs(total(naive) / change), 0.01, "≤", 0, "∇f = 0 at minima"),
    ]
    return Findings(figures(fading, predicted, errors, losses, costs, shares), claims)


def backward_claims(backward: dict, fading: dict, predicted: dict, passed: float) -> list[Claim]:
    """δ as the chain rule has it, and as deep networks pass it on."""
    agree = "{}: δ and weight gradients by hand beside jax.grad"
    fade, schoenholz = "{}: ‖δ₁‖/‖δ₂₀‖, median", "Schoenholz et al. 2017, Hanin & Nica 2018"
    first = {name: (np.median(fading[name][:, 0]), predicted[name][0]) for name in STARTS}
    return [
        *(Claim(agree.format(name), far, 0.0, "≈", 1e-12, "chain rule") for name, far in backward.items()),
        *(Claim(fade.format(name), *pair, "≈", relative(0.3), schoenholz) for name, pair in first.items()),
        Claim("‖δₗ‖/(‖Wₗ₊₁‖₂ max φ′ ‖δₗ₊₁‖), largest", passed, 1.0, "≤", 0, "‖Wᵀδ‖ ≤ ‖W‖₂ ‖δ‖"),
    ]


def deltas(params: list, x: np.ndarray, error: Callable, name: str) -> tuple[list, list]:
    """δ = ∂loss/∂z of every layer, and the layers' inputs, for one example per column; error(z) is δ of the output.

    Forward:  z = W h + b,  h ← φ(z)        Backward:  δ_o = error(z_o),  δ_h = φ′(z_h) ⊙ Wᵀδ of the layer above
    """
    phi, derivative = ACTIVATIONS[name]
    inputs, z = [x], []
    for layer in params:
        z.append(layer["w"] @ inputs[-1] + layer["b"])
        inputs.append(phi(z[-1]))
    delta = [error(z[-1])]
    for layer, below in zip(params[:0:-1], z[-2::-1], strict=True):
        delta.append(derivative(below) * (layer["w"].mT @ delta[-1]))
    return delta[::-1], inputs[:-1]


def disagreements() -> dict[str, float]:
    """δ_o, δ_h and the weights' gradients δ hᵀ of a network with two layers, beside those of jax.grad."""
    rng, examples = np.random.default_rng(0), 16
    X, y = rng.normal(size=(examples, 3)), rng.normal(size=examples)
    # With a bias for every example, the gradient of the bias is δ.
    layer = lambda into, out: {"w": rng.normal(size=(out, into)), "b": rng.normal(size=(out, examples))}
    params = [layer(3, 5), layer(5, 1)]
    objective = lambda name: problems.mlp_regression(X, y, (5,), name).objective
    automatic = jax.jit(lambda params: {name: jax.grad(objective(name))(params) for name in ACTIVATIONS})(params)

    def by_hand(name: str) -> list:
        delta, inputs = deltas(params, X.T, lambda z: (z - y) / examples, name)
        return [{"w": d @ h.T, "b": d} for d, h in zip(delta, inputs, strict=True)]

    far = lambda a, b: float(np.abs(a - b).max() / np.abs(b).max())
    return {name: max(jax.tree.leaves(jax.tree.map(far, by_hand(name), automatic[name]))) for name in ACTIVATIONS}


def vanishing() -> tuple[dict[str, np.ndarray], float]:
    """‖δₗ‖/‖δ₂₀‖ of every start, (seeds, layers), and the largest share of its bound that a layer passes on.

    The error at the output is drawn at random. That of a squared loss holds the output itself, so it lies where the
    network stretches most, and does not fade as others do.
    """
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(DEPTH, SEEDS, WIDTH, WIDTH))
    x, error = rng.normal(size=(2, SEEDS, WIDTH, 1))
    spectral = np.sqrt(np.linalg.eigvalsh(normal[:, :BOUNDED].mT @ normal[:, :BOUNDED])[..., -1])
    norms, passed = {}, []
    for name, (activation, initial, _) in STARTS.items():
        deviation = np.sqrt(initial(WIDTH, WIDTH))
        params = [{"w": deviation * w, "b": 0.0} for w in normal]
        delta, _ = deltas(params, x, lambda z: error, activation)
        length = np.linalg.norm(delta, axis=(2, 3))
        bound = deviation * spectral[1:] * STEEPEST[activation] * length[1:, :BOUNDED]
        passed.append((length[:-1, :BOUNDED] / bound).max())
        norms[name] = (length / length[-1]).T
    return norms, max(passed)


def mean_field(name: str) -> np.ndarray:
    """What ‖δₗ‖/‖δ₂₀‖ is in the median, for inputs of variance 1.

    z is normal of variance q, q ← σ² E φ(z)², and each layer multiplies ‖δ‖² by σ² E φ′(z)². Of a width n, the
    logarithm of that factor spreads by (3 E φ′⁴/(E φ′²)² − 1)/n, and its median falls by half as much.
    """
    activation, _, variance = STARTS[name]
    phi, derivative = ACTIVATIONS[activation]
    normal = np.arange(-8, 8, 0.01) + 0.005
    mean = lambda values: values @ np.exp(-(normal**2) / 2) * 0.01 / np.sqrt(2 * np.pi)
    q, factors = variance, []
    for _ in range(DEPTH - 1):
        z = np.sqrt(q) * normal
        second, fourth = (mean(derivative(z) ** k) for k in (2, 4))
        factors.append((np.log(variance * second) - (3 * fourth / second**2 - 1) / (2 * WIDTH)) / 2)
        q = variance * mean(phi(z) ** 2)
    return np.exp(np.append(np.cumsum(factors[::-1])[::-1], 0.0))


def drawn(name: str, n: int) -> list:
    """A network with n hidden units that follows the wave, its weights set by hand.

    ReLU: a bend at every knot i/n, so that it is linear between knots and exact there. Sigmoid: a step half way between
    knots, from the wave's one value to the next.
    """
    knots = np.arange(n + 1) / n
    rise = np.diff(wave(knots))
    if name == "relu":
        steepness, places, outer = 1.0, knots[:-1], np.diff(n * rise, prepend=0.0)
    else:
        steepness, places, outer = 1e4 * n, (knots[1:] + knots[:-1]) / 2, rise
    hidden = {"w": np.full((n, 1), steepness), "b": -steepness * places[:, None]}
    return [hidden, {"w": outer[None], "b": wave(knots[0])}]


def curve(name: str, n: int, x: np.ndarray) -> np.ndarray:
    """What that network computes."""
    hidden, outer = drawn(name, n)
    phi, _ = ACTIVATIONS[name]
    return (outer["w"] @ phi(hidden["w"] * x + hidden["b"]) + outer["b"])[0]


def approximation(name: str) -> np.ndarray:
    """The largest error of each width, over its law."""
    _, law = LAWS[name]
    grid = lambda n: np.linspace(0, 1, 400 * n + 1)
    return np.array([np.abs(curve(name, n, grid(n)) - wave(grid(n))).max() / law(n) for n in WIDTHS])


def trained() -> tuple[list, list, np.ndarray]:
    """Networks with five layers before and after descent on XOR, and their losses: four straight ones, then curved."""
    rng = np.random.default_rng(0)
    sizes = (2, *HIDDEN, 1)
    normal = lambda into, out: np.sqrt(mlp.glorot(into, out)) * rng.normal(size=(SEEDED, out, into))
    starts = [{"w": normal(into, out), "b": np.zeros((SEEDED, out))} for into, out in pairwise(sizes)]
    twice = jax.tree.map(lambda leaf: np.concatenate([leaf, leaf]), starts)

    def fit(lane):
        curvature, start = lane
        phi = lambda z: (1 - curvature) * z + curvature * jnp.tanh(z)  # the identity at 0, tanh at 1
        problem = problems.mlp_regression(*XOR, HIDDEN, phi)
        end = run(problem, optimizers.gradient_descent(0.05), steps=1_000, key=jax.random.key(0), params=start)
        return end.params, end.trace["loss"]

    ends, losses = jax.jit(lambda lanes: jax.lax.map(fit, lanes))((np.repeat([0.0, 1.0], SEEDED), twice))
    return twice, jax.tree.map(np.asarray, ends), np.asarray(losses)


def collapse(params: list) -> float:
    """How far networks without activations are from one map x ↦ A x + c: A the product of their matrices."""
    x = np.random.default_rng(0).normal(size=(2, 32))
    networks = jax.tree.map(lambda leaf: leaf[:SEEDED], params)
    A, c = np.eye(2), np.zeros((2, 1))
    for layer in networks:
        A, c = layer["w"] @ A, layer["w"] @ c + layer["b"][..., None]
    deep = jax.jit(jax.vmap(lambda params: mlp.apply(params, x, "identity")))(networks)
    return np.abs(deep - (A @ x + c)).max() / np.abs(deep).max()


def jacobians() -> tuple[float, dict[tuple[str, str], np.ndarray]]:
    """How far the Jacobians are apart, and the operations of each with the value, in multiples of the value's own."""
    ways = {"forward": jax.jacfwd, "reverse": jax.jacrev}
    W, V = np.random.default_rng(0).normal(size=(2, 64, SIZES[-1]))
    layers = lambda inputs, outputs: lambda x: V.T[:outputs] @ jnp.tanh(W[:, :inputs] @ x)
    both = lambda way, f: way(lambda x: (f(x),) * 2, has_aux=True)
    f, x = layers(5, 7), np.linspace(-1, 1, 5)
    columns, rows = (np.asarray(jax.jit(way(f))(x)) for way in ways.values())
    costs = {}
    for varied, shape in (("inputs", lambda size: (size, 1)), ("outputs", lambda size: (1, size))):
        functions = [(layers(*shape(size)), np.zeros(shape(size)[0])) for size in SIZES]
        alone = np.array([operations(f, x) for f, x in functions])
        for name, way in ways.items():
            costs[name, varied] = np.array([operations(both(way, f), x) for f, x in functions]) / alone
    return np.abs(columns - rows).max() / np.abs(rows).max(), costs


def operations(f, x: np.ndarray) -> float:
    """Floating-point operations of a compiled function, counted by the compiler before it optimizes."""
    counted = jax.jit(f).lower(x).cost_analysis()
    return counted["flops"] + counted.get("transcendentals", 0.0)


def blamed(ends: list) -> tuple[list, list, float]:
    """What each weight adds to the loss from all zero, integrated, and gradient × weight; and the whole change."""
    problem = problems.mlp_regression(*XOR, HIDDEN, "tanh")
    params = jax.tree.map(lambda leaf: leaf[SEEDED], ends)
    nothing = jax.tree.map(np.zeros_like, params)
    values = jax.jit(jax.value_and_grad(problem.objective))
    (before, _), (after, gradient) = values(nothing), values(params)
    shares = landscape.blame(problem, nothing, params)
    naive = jax.tree.map(lambda w, g: w * np.asarray(g), params, gradient)
    return jax.tree.map(np.asarray, shares), naive, float(after - before)


def figures(fading: dict, predicted: dict, errors: dict, losses: np.ndarray, costs: dict, shares: list) -> dict:
    """Six panels, in the order of the questions."""
    import matplotlib.pyplot as plt

    with style():
        figure, axes = plt.subplots(2, 3, figsize=(14.4, 8.2))
        slopes(axes[0, 0])
        depths(axes[0, 1], fading, predicted)
        widths(axes[0, 2], errors)
        xor(axes[1, 0], losses)
        modes(axes[1, 1], costs)
        network(axes[1, 2], shares, label="share of the change")
        axes[1, 2].set_title("Who lowered the loss by ¼")
    caption = (
        f"All in float64. Backwards: {DEPTH} layers of {WIDTH} units; weights, inputs and the error at the output are "
        f"normal; median and range over {SEEDS} draws, dashed the mean field with its correction for the width. Units: "
        "largest error on [0, 1] of networks set by hand, dashed the theorems; inset, eight units. XOR: 2-4-4-4-4-1, "
        f"gradient descent on all data at 0.05 from {SEEDED} Xavier starts. Operations: those of the Jacobian and the "
        "value over those of the value, for V tanh(W x) with 64 hidden units and one output or one input. Blame: the "
        "first network with tanh after training, from zero weights; the thickness and colour of a line are a weight's "
        "share, the colour of a circle its bias's; below, what each layer adds to the loss."
    )
    return {"figure": (figure, caption)}


def slopes(ax) -> None:
    """φ′ of every activation."""
    z = np.linspace(-4, 4, 401)
    for (name, (_, derivative)), label in zip(ACTIVATIONS.items(), LABELS, strict=True):
        ax.plot(z, derivative(z), ls=(0, (4, 2)) if name == "leaky_relu" else "-", label=label)
    ax.axhline(STEEPEST["sigmoid"], color=GREY, ls=(0, (1, 2)), lw=1.2)
    ax.set(xlabel="$z$", ylabel=r"$\varphi\,'(z)$", title="What each layer multiplies the error by")
    ax.legend()


def depths(ax, fading: dict, predicted: dict) -> None:
    """‖δ‖ from the last layer back to the first."""
    layers = np.arange(1, DEPTH + 1)
    for name, colour in zip(STARTS, COLOURS, strict=False):
        low, middle, high = np.quantile(fading[name], [0, 0.5, 1], axis=0)
        ax.fill_between(layers, low, high, color=colour, alpha=0.2, lw=0)
        ax.semilogy(layers, middle, color=colour, label=name)
        ax.semilogy(layers, predicted[name], **DASHED)
    ax.plot([], [], **DASHED, label="mean field")
    ax.set(
        xlabel="layer", ylabel=r"$\|\delta_\ell\|\,/\,\|\delta_{20}\|$", title="Sigmoids lose the error, ReLU need not"
    )
    ax.set_xticks([1, 5, 10, 15, 20])
    ax.legend()


def widths(ax, errors: dict) -> None:
    """The error of the networks set by hand, and two of them."""
    n = np.array(WIDTHS)
    inset = ax.inset_axes((0.03, 0.06, 0.36, 0.36))
    x = np.linspace(0, 1, 801)
    inset.plot(x, wave(x), **DASHED)
    for (name, (_, law)), label, marker in zip(LAWS.items(), ("sigmoids, $1/n$", "ReLU, $1/n^2$"), "os", strict=True):
        ax.loglog(n, law(n), **DASHED)
        (line,) = ax.loglog(n, errors[name] * law(n), marker, ms=6, label=label)
        inset.plot(x, curve(name, 8, x), color=line.get_color(), lw=1.2)
    inset.set(xticks=[], yticks=[], facecolor="white")
    ax.set(xlabel="hidden units $n$", ylabel="largest error", title="One hidden layer draws any curve")
    ax.set_xticks(n, n)
    ax.minorticks_off()
    ax.legend(loc="upper right")


def xor(ax, losses: np.ndarray) -> None:
    """Losses along descent."""
    for runs, colour, label in ((losses[:SEEDED], COLOURS[0], "identity"), (losses[SEEDED:], COLOURS[1], "tanh")):
        ax.semilogy(runs.T, color=colour, lw=1.2)
        ax.plot([], [], color=colour, label=f"five layers, {label}")
    ax.axhline(1 / 8, **DASHED, zorder=3, label="least squares: ⅛")
    ax.set(xlabel="step", ylabel="loss on XOR", ylim=(1e-9, 30), xlim=(0, 600))
    ax.set_title("Without activations, depth adds nothing")
    ax.legend()


def modes(ax, costs: dict) -> None:
    """Operations against the number of inputs and of outputs."""
    for (way, varied), ratio in costs.items():
        colour, marker = (COLOURS[0], "o") if way == "forward" else (COLOURS[1], "s")
        line, fill, size = ("-", colour, 9) if varied == "inputs" else ((0, (2, 2)), "white", 5)
        ax.loglog(SIZES, ratio, marker=marker, ls=line, color=colour, mfc=fill, ms=size, label=f"{way}, {varied} vary")
    ax.axhline(5, **DASHED, label="bound of Baur & Strassen")
    ax.set(xlabel="number of inputs, or of outputs", ylabel="operations / those of the function")
    ax.set_title("Forward pays for inputs, reverse for outputs")
    ax.set_xticks(SIZES, SIZES)
    ax.minorticks_off()
    ax.legend()
