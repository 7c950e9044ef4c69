"""Spectra: what the curvature of a network looks like before, during and after training.

Question: How are the eigenvalues of a Hessian distributed, seen by products with it alone?

Prediction: The eigenvalues of XᵀX/n for Gaussian X, (n, d), fill (1 ± √γ)², γ = d/n (Marchenko & Pastur 1967). Under a
network that tells C classes apart, most eigenvalues gather at 0 and about C come to stand far above them (Sagun et al.
2017; Papyan 2019). Eight probes of 80 steps of Lanczos see both as if all eigenvalues had been computed (Ubaru, Chen &
Saad 2017; Ghorbani, Krishnan & Xiao 2019).

Found: Of 1,000 eigenvalues the quadrature is 0.011 away in W₁. After 1,000 steps the widest gap of the network's
spectrum lies below its tenth eigenvalue, for ten classes, and 93 % of all lie within 1 % of the largest around 0.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy.stats import wasserstein_distance

from sandbox import landscape, optimizers, problems
from sandbox.data import load_digits
from sandbox.engine import run
from sandbox.report import Claim
from sandbox.report.plots import COLOURS, MARKERS
from sandbox.reproduction import Findings, Part, findings, kept

on_request = True  # some minutes
SEED, CLASSES, EXAMPLES = 0, 10, 300
WIDTH = 0.01  # of the bells, in units of the largest eigenvalue
ASPECT = 0.5
EDGES = (1 - ASPECT**0.5) ** 2, (1 + ASPECT**0.5) ** 2
UBARU, PAPYAN = "Ubaru, Chen & Saad 2017", "Sagun et al. 2017; Papyan 2019"
TIMES = {"at the start": 0, "after 100 steps": 100, "after 1,000 steps": 1000}


def main(fast: bool) -> Findings:
    """A law that is known, and a network."""
    with jax.enable_x64(True):
        parts = [marchenko_pastur(fast), *network(fast)]
    text = (
        f"Densities of eigenvalues by 8 Gaussian probes of 80 Lanczos steps, with bells of {WIDTH} of the largest "
        f"eigenvalue; grey: all eigenvalues of the same matrix, in float64, seed {SEED}. Left: XᵀX/n, X Gaussian with "
        f"{size(fast)} columns and twice the rows. Others: the Hessian of a tanh perceptron 64-10-10 on the first "
        f"{EXAMPLES} training digits (pixels over 16), mean cross-entropy, Adam at 0.01 with batches of 100; right: "
        "its largest."
    )
    return findings(parts, text, panel=(5.0, 4.2))


def size(fast: bool) -> int:
    """Columns of the random matrix."""
    return 800 if fast else 1000


def marchenko_pastur(fast: bool) -> Part:
    """Where the law's support ends, and how far the quadrature is from all eigenvalues."""
    d = size(fast)
    n = int(d / ASPECT)

    def measure(seed):
        X = jax.random.normal(jax.random.key(seed), (n, d))
        product = lambda v: X.T @ (X @ v) / n
        found = landscape.density(product, jnp.zeros(d), key=jax.random.key(seed + 1))
        return {"nodes": found.nodes, "weights": found.weights, "exact": jnp.linalg.eigvalsh(X.T @ X / n)}

    ds = kept(__file__, "marchenko-pastur", fast, measure, seed=[SEED]).isel(seed=0)
    exact = ds.exact.values
    # Both ends fluctuate on these scales (Johnstone 2001; of the smallest eigenvalue, Feldheim & Sodin 2010).
    low, high = ((n**0.5 + s * d**0.5) * (d**-0.5 + s * n**-0.5) ** (1 / 3) / n for s in (-1, 1))
    claims = [
        Claim("XᵀX/n: smallest eigenvalue", exact[0], EDGES[0], "≈", 4 * low, "Marchenko & Pastur 1967"),
        Claim("XᵀX/n: largest eigenvalue", exact[-1], EDGES[1], "≈", 4 * high, "Marchenko & Pastur 1967"),
        Claim("XᵀX/n: W₁ of quadrature to all eigenvalues", distance(ds, exact), 0.02, "≤", 0.0, UBARU),
    ]

    def draw(ax):
        x = np.linspace(*EDGES, 400)
        bells(ax, ds, exact, "", 0)
        law = np.sqrt((EDGES[1] - x) * (x - EDGES[0])) / (2 * np.pi * ASPECT * x)
        ax.plot(x, law, color="black", ls=(0, (4, 3)), lw=1.2, label="Marchenko & Pastur's law", zorder=4)
        ax.set(title="A random matrix", ylim=(0, None))
        ax.legend()

    return Part(claims, draw, (ds,))


def network(fast: bool) -> list[Part]:
    """One perceptron at three times."""
    split = load_digits()
    problem = problems.mlp(split.X[:EXAMPLES], split.y[:EXAMPLES], (10,), "tanh")

    def measure(steps):
        record = lambda info: {"at": info.params}
        every = 100
        result = run(
            problem, optimizers.adam(0.01), steps=max(TIMES.values()) + every, batch_size=100,
            key=jax.random.key(SEED), record=record, every=every,
        )  # fmt: skip
        params = jax.tree.map(lambda leaf: leaf[steps // every], result.trace["at"])
        vector, unravel = ravel_pytree(params)
        found = landscape.density(landscape.hessian(problem, params), params, key=jax.random.key(SEED + 1))
        columns = jax.lax.map(
            landscape.hessian(lambda v: problem.objective(unravel(v)), vector), jnp.eye(vector.size), batch_size=64
        )
        return {"nodes": found.nodes, "weights": found.weights, "exact": jnp.linalg.eigvalsh((columns + columns.T) / 2)}

    ds = kept(__file__, "network", fast, measure, steps=list(TIMES.values()))
    claims = []
    for name, steps in TIMES.items():
        row = ds.sel(steps=steps)
        exact = row.exact.values
        claims.append(
            Claim(f"network {name}: W₁ / largest eigenvalue", distance(row, exact) / exact[-1], 0.005, "≤", 0.0, UBARU)
        )
    exact = ds.exact.values
    claims += outliers(exact)
    return [Part(claims, lambda ax: densities(ax, ds), (ds,)), Part([], lambda ax: largest(ax, exact))]


def outliers(exact: np.ndarray) -> list[Claim]:
    """Where the spectrum of the trained network has its widest gap; and how many eigenvalues are next to 0."""
    end = exact[-1][::-1]
    positive = end[: 3 * CLASSES][end[: 3 * CLASSES] > 0]
    gap = 1 + int(np.argmax(positive[:-1] / positive[1:]))
    small = np.mean(np.abs(exact[-1]) < 0.01 * end[0])
    return [
        Claim("trained: eigenvalues above the widest gap", gap, CLASSES, "≈", 1, PAPYAN),
        Claim("trained: share within 1 % of the largest", small, 0.5, "≥", 0.0, PAPYAN),
    ]


def distance(ds, exact) -> float:
    """W₁ between the quadrature, the mean of its probes, and all eigenvalues."""
    return wasserstein_distance(ds.nodes.values.ravel(), exact, ds.weights.values.ravel())


def bells(ax, ds, exact, label, row):
    """A density by quadrature over the histogram of all eigenvalues."""
    x = np.linspace(exact[0] - 0.05 * exact[-1], 1.05 * exact[-1], 800)
    found = landscape.Density(jnp.asarray(ds.nodes.values), jnp.asarray(ds.weights.values))
    ax.hist(exact, bins=60, density=True, color="#c9ccd1", label="all eigenvalues")
    ax.plot(x, landscape.smooth(found, x, WIDTH * exact[-1]), color=COLOURS[row], lw=1.4, label=f"quadrature{label}")
    ax.set(xlabel="eigenvalue", ylabel="density")


def densities(ax, ds):
    """All times on one axis, on a log scale, since almost all mass is at 0."""
    reach = float(np.abs(ds.exact.values).max())
    x = np.linspace(min(-0.05 * reach, 1.1 * float(ds.exact.values.min())), 1.05 * reach, 2000)
    for row, (name, steps) in enumerate(TIMES.items()):
        one = ds.sel(steps=steps)
        found = landscape.Density(jnp.asarray(one.nodes.values), jnp.asarray(one.weights.values))
        y = np.asarray(landscape.smooth(found, x, WIDTH * reach))
        ax.plot(x, y, color=COLOURS[row], marker=MARKERS[row], markevery=(20 * row, 200), lw=1.4, label=name)
    ax.set(title="The Hessian of a network", xlabel="eigenvalue", ylabel="density", yscale="log", ylim=(1e-4, None))
    ax.legend()


def largest(ax, exact):
    """The largest eigenvalues in order of size."""
    for row, name in enumerate(TIMES):
        order = exact[row][::-1][: 4 * CLASSES]
        ax.plot(1 + np.arange(len(order)), order, color=COLOURS[row], marker=MARKERS[row], ms=4, lw=1, label=name)
    ax.axvline(CLASSES + 0.5, color="black", ls=(0, (4, 3)), lw=1, label=f"{CLASSES} classes")
    ax.set(title="Its largest eigenvalues", xlabel="number, from the largest", ylabel="eigenvalue", yscale="log")
    ax.legend()
