"""Networks: the experiment's claims hold and fail where they should; starts, activations and blame beside oracles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from scipy import special

from experiments import networks
from sandbox import landscape, optimizers, problems
from sandbox.models import mlp
from sandbox.problems import Problem
from sandbox.report import plots

PARTS = (
    "disagreements", "vanishing", "mean_field", "approximation", "trained", "collapse", "jacobians", "blamed",
)  # fmt: skip


@pytest.fixture(scope="module")
def sound():
    """The experiment as it should be, and what each call of each part returned."""
    returned = {part: [] for part in PARTS}

    def recorded(part, whole):
        def call(*given):
            returned[part].append(whole(*given))
            return returned[part][-1]

        return call

    with pytest.MonkeyPatch.context() as patch:
        for part in PARTS:
            patch.setattr(networks, part, recorded(part, getattr(networks, part)))
        return networks.main(fast=True), returned


def test_networks(sound):
    found, _ = sound
    assert len(found.claims) == 28
    assert [claim.name for claim in found.claims if not claim.holds] == []
    figure, caption = found.figures["figure"]
    assert len(figure.axes) == 7  # six panels and a scale of colours
    assert "float64" in caption


def agrees(name):
    return f"{name}: δ and weight gradients by hand beside jax.grad"


def fades(name):
    return f"{name}: ‖δ₁‖/‖δ₂₀‖, median"


def wrong(name, derivative):
    """An activation with another derivative."""
    phi, _ = networks.ACTIVATIONS[name]
    return {**networks.ACTIVATIONS, name: (phi, derivative)}


ACTIVATIONS, STARTS = "experiments.networks.ACTIVATIONS", "experiments.networks.STARTS"
DRAWN, REGRESSION, DESCENT = networks.drawn, problems.mlp_regression, optimizers.gradient_descent
FORWARD, REVERSE, APPLY, BLAME = jax.jacfwd, jax.jacrev, mlp.apply, landscape.blame
BOUND = "‖δₗ‖/(‖Wₗ₊₁‖₂ max φ′ ‖δₗ₊₁‖), largest"
STEPS, LINES = "sigmoid: error / (max|f′|/2n), {}", "relu: error / (max|f″|/8n²), {}"
WORST, WIDEST = "worst width", f"width {networks.WIDTHS[-1]}"
ONE_MAP = "five linear layers beside one matrix, {}"
LEAST, CURVED = "XOR: loss of least squares", "XOR: loss of five layers with tanh, highest"
LOWEST, HIGHEST = "XOR: loss of five linear layers, lowest", "XOR: loss of five linear layers, highest"
SAME = "Jacobian forward beside reverse"
INPUT, OUTPUT = "forward: an input more, in functions", "reverse: an output more, in functions"
GRADIENT, TANGENT = "reverse: a gradient, in functions, most", "forward: one input, in functions, most"
CHANGE, LEFT = "blame: loss at zero weights − loss", "blame: what integrated gradients leave of it"
NAIVE = "blame: gradient × weight / change, size"


def lifted(X, y, hidden, activation):
    """The regression on targets that lie higher by one."""
    return REGRESSION(X, y + 1, hidden, activation)


def without_biases(params, x, activation):
    return APPLY([{"w": layer["w"]} for layer in params], x, activation)


BREAKS = {  # the part that is computed anew, what is broken in it, how, and what fails
    **{
        f"φ′ = 1 in {name}": ("disagreements", ACTIVATIONS, wrong(name, np.ones_like), {agrees(name)})
        for name in networks.ACTIVATIONS
    },
    "features in another order": (
        "disagreements",
        "experiments.networks.deltas",
        lambda params, x, error, name, deltas=networks.deltas: deltas(params, x[::-1], error, name),
        {agrees(name) for name in networks.ACTIVATIONS},
    ),
    "rectifiers without He's 2": (
        "vanishing", STARTS, {**networks.STARTS, "ReLU, He": ("relu", mlp.glorot, 2.0)}, {fades("ReLU, He")},
    ),
    "sigmoids that start as rectifiers": (
        "vanishing",
        STARTS,
        {**networks.STARTS, "sigmoid, Xavier": ("sigmoid", mlp.he, 1.0)},
        {fades("sigmoid, Xavier")},
    ),
    "rectifiers that pass every error": (
        "vanishing", ACTIVATIONS, wrong("relu", np.ones_like), {fades("ReLU, Xavier"), fades("ReLU, He")},
    ),
    "tanh twice as steep": (
        "vanishing",
        ACTIVATIONS,
        wrong("tanh", lambda z: 2 * (1 - np.tanh(z) ** 2)),
        {fades("tanh, Xavier"), BOUND},
    ),
    "a unit too few": (
        "approximation",
        "experiments.networks.drawn",
        lambda name, n: DRAWN(name, n - 1),
        {STEPS.format(WORST), LINES.format(WORST), LINES.format(WIDEST)},
    ),
    "two units too many": (
        "approximation",
        "experiments.networks.drawn",
        lambda name, n: DRAWN(name, n + 2),
        {STEPS.format(WIDEST), LINES.format(WIDEST)},
    ),
    "least squares through the origin": (
        "none",
        "sandbox.problems.least_squares",
        lambda X, y, least=problems.least_squares: least(X, y, fit_intercept=False),
        {LEAST, LOWEST, HIGHEST},
    ),
    "always tanh": (
        "trained", "sandbox.problems.mlp_regression", lambda *given: REGRESSION(*given[:3], "tanh"), {LOWEST, HIGHEST},
    ),
    "never tanh": (
        "trained", "sandbox.problems.mlp_regression", lambda *given: REGRESSION(*given[:3], "identity"), {CURVED},
    ),
    "steps too small": (
        "trained", "sandbox.optimizers.gradient_descent", lambda rate: DESCENT(rate / 1000), {HIGHEST, CURVED},
    ),
    "linear layers with tanh": (
        "collapse",
        "sandbox.models.mlp.apply",
        lambda params, x, _: APPLY(params, x, "tanh"),
        {ONE_MAP.format("at the start"), ONE_MAP.format("trained")},
    ),
    "biases dropped": ("collapse", "sandbox.models.mlp.apply", without_biases, {ONE_MAP.format("trained")}),
    "columns with a flipped sign": (
        "jacobians",
        "jax.jacfwd",
        lambda f, **options: lambda x: jax.tree.map(jnp.negative, FORWARD(f, **options)(x)),
        {SAME},
    ),
    "columns by rows": ("jacobians", "jax.jacfwd", REVERSE, {INPUT, TANGENT}),
    "rows by columns": ("jacobians", "jax.jacrev", FORWARD, {OUTPUT, GRADIENT}),
    "the integral by its middle": (
        "blamed", "sandbox.landscape.blame", lambda *given: BLAME(*given, nodes=1), {LEFT},
    ),
    "another loss than was trained": ("blamed", "sandbox.problems.mlp_regression", lifted, {CHANGE, NAIVE}),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("part", "broken", "by", "expected"), BREAKS.values(), ids=BREAKS)
def test_a_broken_network(monkeypatch, sound, part, broken, by, expected):
    _, returned = sound
    for other in set(PARTS) - {part}:
        again = iter(returned[other])
        monkeypatch.setattr(networks, other, lambda *_, again=again: next(again))
    monkeypatch.setattr(networks, "figures", lambda *_: {})
    monkeypatch.setattr(broken, by)
    assert {claim.name for claim in networks.main(fast=True).claims if not claim.holds} == expected


@pytest.mark.slow
def test_every_claim_can_fail(sound):
    assert {claim.name for claim in sound[0].claims} == set.union(*(expected for *_, expected in BREAKS.values()))


def test_compiled_programs_count_as_many_operations(x64):
    """The count is taken before the compiler optimizes; after it there are a few fewer."""
    W, V = jnp.ones((64, 16)), jnp.ones((3, 64))
    f = lambda x: V @ jnp.tanh(W @ x)
    for program in (f, jax.jacfwd(f), jax.jacrev(f)):
        counted = jax.jit(program).lower(np.zeros(16)).compile().cost_analysis()
        compiled = counted["flops"] + counted["transcendentals"]
        assert networks.operations(program, np.zeros(16)) == pytest.approx(compiled, rel=0.05)


def test_the_mean_field_of_rectifiers_is_a_power_of_a_half():
    """σ²/2 a layer, less (3 · 2 − 1)/2n: half of the mean square passes, and E φ′⁴ = E φ′² = ½."""
    per_layer = np.exp(-5 / (4 * networks.WIDTH))
    layers = np.arange(networks.DEPTH)[::-1]
    np.testing.assert_allclose(networks.mean_field("ReLU, He"), per_layer**layers, rtol=1e-4)
    np.testing.assert_allclose(networks.mean_field("ReLU, Xavier"), (per_layer * 0.5**0.5) ** layers, rtol=1e-4)


def test_the_activations_by_hand_are_those_of_jax(x64):
    z = np.linspace(-5, 5, 40)
    for name, (phi, derivative) in networks.ACTIVATIONS.items():
        np.testing.assert_allclose(phi(z), mlp.resolve(name)(z), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(derivative(z), jax.vmap(jax.grad(mlp.resolve(name)))(z), rtol=1e-12, atol=1e-14)
    normal = z * (1 + special.erf(z / np.sqrt(2))) / 2
    np.testing.assert_allclose(networks.ACTIVATIONS["gelu"][0](z), normal, atol=5e-4)  # an approximation of z Φ(z)


@pytest.mark.parametrize("name", networks.ACTIVATIONS)
def test_the_perceptron_is_that_of_flax(name, key):
    class Perceptron(linen.Module):
        @linen.compact
        def __call__(self, x):
            hidden = linen.Dense(6)(x)
            return linen.Dense(2)(getattr(linen, name)(hidden))

    X = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
    params = mlp.init(key, (4, 6, 2), name)
    theirs = {f"Dense_{k}": {"kernel": layer["w"].T, "bias": layer["b"]} for k, layer in enumerate(params)}
    np.testing.assert_allclose(
        mlp.apply(params, X.T, name).T, Perceptron().apply({"params": theirs}, X), rtol=2e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    ("initial", "scale", "mode"), [(mlp.he, 2.0, "fan_in"), (mlp.glorot, 1.0, "fan_avg")], ids=["he", "glorot"]
)
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_a_start_may_be_chosen(initial, scale, mode, activation, key):
    params = mlp.init(key, (30, 50, 2), activation, initial=initial)
    draw = jax.nn.initializers.variance_scaling(scale, mode, "normal", in_axis=-1, out_axis=-2)
    for layer, own in zip(params, jax.random.split(key), strict=True):
        np.testing.assert_allclose(layer["w"], draw(own, layer["w"].shape), rtol=1e-6)


def test_blame_of_a_quadratic(x64):
    """½ xᵀHx from x to y: (y − x) ⊙ H (x + y)/2, whatever the tree."""
    rng = np.random.default_rng(0)
    root, x, y = rng.normal(size=(5, 5)), *rng.normal(size=(2, 5))
    H = root @ root.T
    pack = lambda v: {"w": jnp.asarray(v[:4]).reshape(2, 2), "b": jnp.asarray(v[4])}
    unpack = lambda p: jnp.append(p["w"].ravel(), p["b"])
    found = landscape.blame(lambda p: unpack(p) @ H @ unpack(p) / 2, pack(x), pack(y))
    np.testing.assert_allclose(unpack(found), (y - x) * (H @ (x + y)) / 2, rtol=1e-12)


def test_blame_of_rectifiers_in_closed_form(x64):
    """Without biases f(t w) = tᵈ f(w), d layers: along the ray from 0, ½(f − y)² leaves (f/2 − y)/d · w ⊙ ∇f."""
    rng = np.random.default_rng(1)
    params = [{"w": rng.normal(size=shape)} for shape in ((6, 3), (5, 6), (1, 5))]
    x, y = rng.normal(size=3), 0.7
    f = lambda params: mlp.apply(params, x, "relu")[0]
    value, gradient = jax.value_and_grad(f)(params)
    zero = jax.tree.map(np.zeros_like, params)
    found = landscape.blame(lambda params: (f(params) - y) ** 2 / 2, zero, params)
    for share, layer, g in zip(found, params, gradient, strict=True):
        np.testing.assert_allclose(share["w"], (value / 2 - y) / 3 * layer["w"] * g["w"], rtol=1e-10, atol=1e-14)
        assert float(share["w"].sum()) == pytest.approx(float((value / 2 - y) * value / 3), rel=1e-12)


@pytest.mark.slow
def test_blame_of_what_is_not_used_is_none_and_all_of_it_is_the_change(x64):
    problem = problems.mlp_regression(np.eye(3), np.array([0.0, 1.0, 3.0]), (4,), "tanh")
    start, end = (problem.init(jax.random.key(seed)) for seed in (0, 1))
    found = landscape.blame(problem, start, end)
    change = problem.objective(end) - problem.objective(start)
    assert sum(leaf.sum() for leaf in jax.tree.leaves(found)) == pytest.approx(float(change), rel=1e-12)
    unused = landscape.blame(lambda x: x[0] ** 3, np.zeros(2), np.ones(2))
    np.testing.assert_allclose(unused, [1.0, 0.0], atol=1e-14)


def test_blame_keeps_dtypes_and_passes_the_key_on():
    noisy = Problem("noisy", lambda key: jnp.zeros(2), lambda x, batch, key: jnp.sum(x) * jax.random.normal(key))
    found = landscape.blame(noisy, jnp.zeros(2), jnp.ones(2), key=jax.random.key(3))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, jax.random.normal(jax.random.key(3)) * np.ones(2), rtol=1e-5)


def test_impossible_paths_are_refused():
    with pytest.raises(ValueError, match="the end is not shaped like the start"):
        landscape.blame(jnp.sum, np.zeros(2), np.zeros(3))
    with pytest.raises(ValueError, match="expected one number for one point"):
        landscape.blame(jnp.sin, np.zeros(2), np.ones(2))


def test_the_diagram_shows_every_weight_by_sign_and_size():
    import matplotlib.pyplot as plt

    layers = [{"w": np.array([[2.0, 0.0], [-1.0, 0.5], [0.1, 0.2]]), "b": np.zeros(3)}]
    ax = plots.network(plt.figure().add_subplot(), layers)
    red, *_, blue = sorted(ax.lines, key=lambda line: line.get_color()[2] - line.get_color()[0])
    assert len(ax.lines) == 6
    assert tuple(red.get_ydata()) == (-0.5, -1.0)  # from the first input to the first output
    assert tuple(blue.get_ydata()) == (-0.5, 0.0)
    assert red.get_linewidth() > blue.get_linewidth()
    assert [text.get_text() for text in ax.texts] == ["+1.800"]
    assert sum(len(circles.get_offsets()) for circles in ax.collections) == 5
    plt.close(ax.figure)
