"""Adam with other memories in NumPy, and the mistakes that are easily made in them."""

import numpy as np

from oracles.losses import halving, rate


def optimistic(x, losses, rates, alpha, beta, b1, b2, eps, eps_root=0.0, nesterov=True):
    m, v, before = 0 * x, 0 * x, None
    for k, loss in enumerate(losses):
        g, t = loss.grad(x), k + 1
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        m_hat = m / (1 - b1**t)
        if nesterov:
            m_hat = b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
        d = m_hat / (np.sqrt(v / (1 - b2**t) + eps_root) + eps)
        change = 0.0 if before is None else d - before
        x, before = x - rate(rates, k) * (alpha * d + beta * change), d
        yield x


def optimistic_adam_v2(x, losses, learning_rate, alpha=1.0, beta=1.0, **arguments):
    return optimistic(x, losses, learning_rate, alpha, beta, **arguments)


def optimistic_adam(x, losses, learning_rate, optimism=None, **arguments):
    return optimistic(x, losses, 1.0, learning_rate, learning_rate if optimism is None else optimism, **arguments)


def acprop(x, losses, learning_rate, b1, b2, eps, eps_root=1e-16, weight_decay=0.0):
    m, s = 0 * x, 0 * x
    for k, loss in enumerate(losses):
        g = loss.grad(x)
        scale = np.sqrt(s / (1 - b2**k)) if k else 1.0
        x = x - rate(learning_rate, k) * (g / (scale + eps) + weight_decay * x)
        s = b2 * s + (1 - b2) * (g - m) ** 2 + eps_root
        m = b1 * m + (1 - b1) * g
        yield x


def adopt(
    x, losses, learning_rate, b1, b2, eps, nesterov=False, use_clipping=True, clip_value_fn=lambda k: k**0.25, **_
):
    m, v = 0 * x, None
    for k, loss in enumerate(losses):
        g = loss.grad(x)
        if v is None:
            v = g**2
        else:
            h = g / np.maximum(np.sqrt(v), eps)
            if use_clipping:
                h = np.clip(h, -clip_value_fn(k), clip_value_fn(k))
            m = b1 * m + (1 - b1) * h
            x = x - rate(learning_rate, k) * (b1 * m + (1 - b1) * h if nesterov else m)
            v = b2 * v + (1 - b2) * g**2
        yield x


def ademamix(x, losses, learning_rate, b1, b2, b3, alpha, eps, eps_root=0.0, weight_decay=0.0, mu_dtype="float64"):
    m1, m2, v = 0 * x, 0 * x, 0 * x
    for k, loss in enumerate(losses):
        g, t = loss.grad(x), k + 1
        m1 = b1 * m1 + (1 - b1) * g
        m2 = rate(b3, k) * m2 + (1 - rate(b3, k)) * g
        v = b2 * v + (1 - b2) * g**2
        d = (m1 / (1 - b1**t) + rate(alpha, k) * m2) / (np.sqrt(v / (1 - b2**t) + eps_root) + eps)
        x = x - rate(learning_rate, k) * (d + weight_decay * x)
        m1, m2 = m1.astype(mu_dtype), m2.astype(mu_dtype)
        yield x


def simplified_ademamix(x, losses, learning_rate, b1, b2, alpha, eps, eps_root=0.0, weight_decay=0.0):
    m, n = 0 * x, 0 * x
    for k, loss in enumerate(losses):
        g = loss.grad(x)
        m, n = b1 * m + g, b2 * n + (1 - b2) * g**2
        d = (m + rate(alpha, k) * g) / (np.sqrt(n / (1 - b2 ** (k + 1)) + eps_root) + eps)
        x = x - rate(learning_rate, k) * (d + weight_decay * x)
        yield x


def adan(x, losses, learning_rate, b1, b2, b3, eps, eps_root=1e-8, weight_decay=0.0):
    beta1, beta2, beta3 = 1 - b1, 1 - b2, 1 - b3  # as the paper has them
    m, v, n, before = 0 * x, 0 * x, 0 * x, None
    for k, loss in enumerate(losses):
        g, t = loss.grad(x), k + 1
        change = 0 * g if before is None else g - before
        m = (1 - beta1) * m + beta1 * g
        v = (1 - beta2) * v + beta2 * change
        n = (1 - beta3) * n + beta3 * (g + (1 - beta2) * change) ** 2
        m_hat, v_hat, n_hat = m / (1 - b1**t), v / (1 - b2**t), n / (1 - b3**t)
        d = (m_hat + (1 - beta2) * v_hat) / (np.sqrt(n_hat + eps_root) + eps)
        x, before = x - rate(learning_rate, k) * (d + rate(weight_decay, k) * x), g
        yield x


def rising(k):
    """A schedule that grows."""
    return 1 - 0.5 ** (k + 1.0)


ADAM = {"b1": 0.8, "b2": 0.9, "eps": 1e-3}
PAGES = {  # name: [(page, arguments), …]
    "optimistic_adam_v2": [
        (optimistic_adam_v2, {"learning_rate": halving, "alpha": 0.7, "beta": 0.4, "eps_root": 1e-4, **ADAM}),
        (optimistic_adam_v2, {"learning_rate": 0.1, "nesterov": False, **ADAM}),
    ],
    "optimistic_adam": [
        (optimistic_adam, {"learning_rate": 0.1, **ADAM}),
        (optimistic_adam, {"learning_rate": 0.1, "optimism": 0.03, "nesterov": False, **ADAM}),
    ],
    "acprop": [
        (acprop, {"learning_rate": halving, "eps_root": 1e-4, **ADAM}),
        (acprop, {"learning_rate": 0.1, "weight_decay": 0.2, **ADAM}),
    ],
    "adopt": [
        (adopt, {"learning_rate": halving, **ADAM}),
        (adopt, {"learning_rate": 0.1, "nesterov": True, "use_clipping": False, **ADAM}),
        (adopt, {"learning_rate": 0.1, "clip_value_fn": lambda k: 0.1 + 0.2 * k, **ADAM}),
    ],
    "ademamix": [
        (ademamix, {"learning_rate": halving, "b3": 0.95, "alpha": 3.0, "eps_root": 1e-4, **ADAM}),
        (ademamix, {"learning_rate": 0.1, "b3": rising, "alpha": rising, "weight_decay": 0.2, **ADAM}),
        (ademamix, {"learning_rate": 0.1, "b3": 0.95, "alpha": 3.0, "mu_dtype": "float32", **ADAM}),
    ],
    "simplified_ademamix": [
        (simplified_ademamix, {"learning_rate": halving, "alpha": 2.0, "eps_root": 1e-4, **ADAM}),
        (simplified_ademamix, {"learning_rate": 0.02, "alpha": rising, "weight_decay": 0.2, **ADAM}),
    ],
    "adan": [
        (adan, {"learning_rate": halving, "b3": 0.95, **ADAM}),
        (adan, {"learning_rate": 0.1, "b3": 0.95, "weight_decay": halving, "eps_root": 1e-4, **ADAM}),
    ],
}

MUTANTS = {  # name: {mistake: (right, wrong)}
    "optimistic_adam_v2": {
        "pessimistic": ("beta * (d - previous)", "beta * (previous - d)"),
        "forgets": ("previous_gradient=d)", "previous_gradient=jnp.zeros_like(d))"),
        "expects a change from 0 in the first step": (
            "jnp.where(t > 1, memory.previous_gradient, d)",
            "memory.previous_gradient",
        ),
        "alpha and beta swapped": ("adam, alpha, beta)", "adam, beta, alpha)"),
        "difference of gradients": ("previous_gradient=d)", "previous_gradient=g)"),
    },
    "optimistic_adam": {
        "optimism forgotten": ("learning_rate, optimism)", "learning_rate, learning_rate)"),
        "rate twice": ("direction, 1.0)", "direction, learning_rate)"),
        "nesterov forgotten": ("eps_root, nesterov)", "eps_root, False)"),
        "rate and optimism swapped": ("learning_rate, optimism)", "optimism, learning_rate)"),
    },
    "acprop": {
        "centred at the new m": ("abs2(g - memory.mu)", "abs2(g - average(memory.mu, g, b1))"),
        "not centred": ("abs2(g - memory.mu)", "abs2(g)"),
        "scale of now": ("corrected(memory.nu, b2, ", "corrected(b2 * memory.nu + (1 - b2) * abs2(g), b2, "),
        "correction of now": ("jnp.maximum(t - 1, 1)", "t"),
        "steps along m": ("return g / (jnp.sqrt(s_hat)", "return average(memory.mu, g, b1) / (jnp.sqrt(s_hat)"),
        "first step scaled": ("jnp.where(t > 1, corrected(", "jnp.where(t > 0, eps_root + corrected("),
        "no decay": ("learning_rate, weight_decay, mask)", "learning_rate, 0.0, mask)"),
    },
    "adopt": {
        "scale of now": (
            "jnp.maximum(jnp.sqrt(memory.nu), eps)",
            "jnp.maximum(jnp.sqrt(average(memory.nu, abs2(g), beta2)), eps)",
        ),
        "eps added": ("jnp.maximum(jnp.sqrt(memory.nu), eps)", "(jnp.sqrt(memory.nu) + eps)"),
        "moves in the first step": ("jnp.where(t > 1, b1, 1.0)", "b1"),
        "v starts as an average": ("jnp.where(t > 1, b2, 0.0)", "b2"),
        "clips one step late": ("clip_value_fn(t - 1)", "clip_value_fn(t)"),
        "never clips": ("if use_clipping:", "if False:"),
        "corrected": ("else mu, Moments", "else mu / (1 - b1**t), Moments"),
        "nesterov forgotten": ("if nesterov else mu", "if False else mu"),
    },
    "ademamix": {
        "slow average corrected": ("at(alpha, t) * m2)", "at(alpha, t) * corrected(m2, at(b3, t), t))"),
        "adam": ("(corrected(m1, b1, t) + at(alpha, t) * m2)", "corrected(m1, b1, t)"),
        "fast and slow swapped": (
            "corrected(m1, b1, t) + at(alpha, t) * m2",
            "m2 + at(alpha, t) * corrected(m1, b1, t)",
        ),
        "schedule of b3 one step late": ("average(memory.m2, g, at(b3, t))", "average(memory.m2, g, at(b3, t + 1))"),
        "scale not corrected": ("jnp.sqrt(corrected(nu, b2, t) + eps_root)", "jnp.sqrt(nu + eps_root)"),
    },
    "simplified_ademamix": {
        "averages": ("b1 * memory.m + g", "average(memory.m, g, b1)"),
        "present gradient forgotten": ("(m + at(alpha, t) * g)", "m"),
        "old sum": ("(m + at(alpha, t) * g)", "(memory.m + at(alpha, t) * g)"),
        "sum corrected": ("(m + at(alpha, t) * g)", "(corrected(m, b1, t) + at(alpha, t) * g)"),
        "betas swapped": (
            "b1 * memory.m + g, average(memory.n, abs2(g), b2)",
            "b2 * memory.m + g, average(memory.n, abs2(g), b1)",
        ),
    },
    "adan": {
        "weight of the last difference as in Optax": ("g + b2 * change", "g + (1 - b2) * change"),
        "weight of differences as in Optax": ("m_hat + b2 * v_hat", "m_hat + (1 - b2) * v_hat"),
        "differences from 0 in the first step": ("jnp.where(t > 1, g - memory.g, 0)", "g - memory.g"),
        "differences turned": ("g - memory.g", "memory.g - g"),
        "square of the gradient alone": ("abs2(g + b2 * change)", "abs2(g)"),
        "not corrected": ("corrected(m, b1, t), corrected(v, b2, t), corrected(n, b3, t)", "m, v, n"),
        "last gradient forgotten": ("Differences(m, v, n, g)", "Differences(m, v, n, memory.g)"),
    },
}
