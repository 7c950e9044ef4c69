"""Methods of matrices in NumPy, on their singular values, and the mistakes that are easily made in them."""

import jax.numpy as jnp
import numpy as np

from oracles.losses import halving, rate


def muon(
    x,
    losses,
    learning_rate,
    beta=0.95,
    ns_coeffs=(3.4445, -4.7750, 2.0315),
    ns_steps=5,
    eps=1e-8,
    nesterov=True,
    weight_decay=0.0,
    adaptive=False,
    consistent_rms=None,
    preconditioning="frobenius",
):
    m, (rows, columns) = 0 * x, x.shape
    triples = [ns_coeffs] * ns_steps if np.ndim(ns_coeffs) == 1 else ns_coeffs
    for k, loss in enumerate(losses):
        g = loss.grad(x)
        m = beta * m + (1 - beta) * g
        m_hat = m / (1 - beta ** (k + 1))
        if nesterov:
            m_hat = beta * m / (1 - beta ** (k + 2)) + (1 - beta) * g / (1 - beta ** (k + 1))
        o = orthogonal(m_hat, triples, eps, preconditioning)
        if adaptive:
            o = np.sum(m_hat * o) * o
        size = max(1, columns / rows) ** 0.5 if consistent_rms is None else consistent_rms * max(rows, columns) ** 0.5
        x = x - rate(learning_rate, k) * (size * o + weight_decay * x)
        yield x


def orthogonal(m, triples, eps, preconditioning):
    """The polynomial a σ + b σ³ + c σ⁵, again and again, of each singular value."""
    if m.shape[0] > m.shape[1]:
        return orthogonal(m.T, triples, eps, preconditioning).T
    if preconditioning == "aol":
        m = m / np.sqrt(np.abs(m @ m.T).sum(axis=1))[:, None]
    u, sigma, vt = np.linalg.svd(m, full_matrices=False)
    sigma = {
        "frobenius": lambda: sigma / (np.sqrt(np.sum(sigma**2)) + eps),
        "spectral": lambda: sigma / (sigma[0] + eps),
        "schatten": lambda: sigma / np.sum(sigma**4) ** 0.25,
        "aol": lambda: sigma,
    }[preconditioning]()
    for a, b, c in triples:
        sigma = a * sigma + b * sigma**3 + c * sigma**5
    return u @ np.diag(sigma) @ vt


def galore(x, losses, learning_rate, rank, update_proj_gap, scale=1.0, weight_decay=0.0):
    """Of a matrix with at least as many rows as columns. The subspace is taken from LAPACK, as ours is."""
    m = v = 0.0
    for k, loss in enumerate(losses):
        g = loss.grad(x)
        if k % update_proj_gap == 0:
            p = np.array(jnp.linalg.svd(jnp.asarray(g, jnp.float32), full_matrices=False)[0], float)[:, :rank]
        r = p.T @ g
        m, v = 0.9 * m + 0.1 * r, 0.999 * v + 0.001 * r**2
        d = m / (1 - 0.9 ** (k + 1)) / (np.sqrt(v / (1 - 0.999 ** (k + 1))) + 1e-8)
        x = x - rate(learning_rate, k) * (scale * p @ d + weight_decay * x)
        yield x


PAGES = {
    "muon": [
        (muon, {"learning_rate": halving, "weight_decay": 0.1, "beta": 0.8}),
        (muon, {"learning_rate": 0.1, "nesterov": False, "adaptive": True, "preconditioning": "spectral"}),
        (muon, {"learning_rate": 0.1, "preconditioning": "aol", "ns_steps": 3, "consistent_rms": 0.2}),
        (
            muon,
            {"learning_rate": 0.1, "preconditioning": "schatten", "ns_coeffs": ((4.0, -6.8, 2.9), (2.8, -3.0, 1.2))},
        ),
    ],
    "galore": [
        (galore, {"learning_rate": halving, "rank": 1, "update_proj_gap": 4, "scale": 0.6, "weight_decay": 0.1}),
        (galore, {"learning_rate": 0.1, "rank": 2, "update_proj_gap": 1}),
    ],
}

MUTANTS = {
    "muon": {
        "start not corrected": ("first(mu, g, beta, t, nesterov)", "mu"),
        "nesterov forgotten": ("first(mu, g, beta, t, nesterov)", "first(mu, g, beta, t, False)"),
        "gradient for momentum": ("_folded(m_hat, axes)", "_folded(g, axes)"),
        "a cubic": ("c * gram @ gram", "0 * gram"),
        "width upside down": ("columns / max(1, rows)", "rows / max(1, columns)"),
        "decay without the rate": (
            "(size * o + decay(weight_decay, t, x, decays))",
            "size * o - decay(weight_decay, t, x, decays)",
        ),
        "no square root of the size": ("math.sqrt(max(rows, columns))", "max(rows, columns)"),
        "rate of the others forgotten": ("at(adam_rate, t)", "at(learning_rate, t)"),
    },
    "galore": {
        "the last singular vectors": ("vectors[..., : p.shape[-1]]", "vectors[..., -p.shape[-1] :]"),
        "subspace never renewed": ("(t - 1) % update_proj_gap == 0", "t == 1"),
        "subspace a step late": ("(t - 1) % update_proj_gap", "t % update_proj_gap"),
        "scale forgotten": ("scale * (d @", "(d @"),
        "decays uphill": ("* (d + decay(weight_decay", "* (d - decay(weight_decay"),
    },
}
