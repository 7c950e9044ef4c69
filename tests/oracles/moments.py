"""Adam and its family in NumPy, and the mistakes that are easily made in them."""

import numpy as np

from oracles.losses import halving, rate


def adam(x, losses, learning_rate, b1=0.9, b2=0.999, eps=1e-8, eps_root=0.0, weight_decay=0.0, nesterov=False):
    m, v = 0 * x, 0 * x
    for k, loss in enumerate(losses):
        g, t = loss.grad(x), k + 1
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        m_hat = m / (1 - b1**t)
        if nesterov:
            m_hat = b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
        d = m_hat / (np.sqrt(v / (1 - b2**t) + eps_root) + eps)
        x = x - rate(learning_rate, k) * (d + rate(weight_decay, k) * x)
        yield x


def nadam(x, losses, nesterov=True, **arguments):
    return adam(x, losses, nesterov=nesterov, **arguments)


def adamax(x, losses, learning_rate, b1=0.9, b2=0.999, eps=1e-8, weight_decay=0.0):
    m, u = 0 * x, 0 * x
    for k, loss in enumerate(losses):
        g = loss.grad(x)
        m = b1 * m + (1 - b1) * g
        u = np.maximum(b2 * u, np.abs(g) + eps)
        x = x - rate(learning_rate, k) * (m / (1 - b1 ** (k + 1)) / u + rate(weight_decay, k) * x)
        yield x


def amsgrad(x, losses, learning_rate, b1, b2, eps, eps_root=0.0, bias_correction_mu=True, bias_correction_nu=True):
    m, v, w = 0 * x, 0 * x, 0 * x
    for k, loss in enumerate(losses):
        g, t = loss.grad(x), k + 1
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        w = np.maximum(w, v / (1 - b2**t) if bias_correction_nu else v)
        numerator = m / (1 - b1**t) if bias_correction_mu else m
        x = x - rate(learning_rate, k) * numerator / (np.sqrt(w + eps_root) + eps)
        yield x


def radam(x, losses, learning_rate, b1, b2, eps, eps_root=0.0, threshold=5.0, nesterov=False):
    m, v, longest = 0 * x, 0 * x, 2 / (1 - b2) - 1
    for k, loss in enumerate(losses):
        g, t = loss.grad(x), k + 1
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        d = m / (1 - b1**t)
        if nesterov:
            d = b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
        rho = longest - 2 * t * b2**t / (1 - b2**t)
        if rho >= threshold:
            variance = (longest - 4) * (longest - 2) * rho / ((rho - 4) * (rho - 2) * longest)
            d = d / np.sqrt(variance) / (np.sqrt(v / (1 - b2**t) + eps_root) + eps)
        x = x - rate(learning_rate, k) * d
        yield x


def yogi(x, losses, learning_rate, b1, b2, eps):
    m, v = 0 * x + 1e-6, 0 * x + 1e-6
    for k, loss in enumerate(losses):
        g, t = loss.grad(x), k + 1
        m = b1 * m + (1 - b1) * g
        v = v + (1 - b2) * np.where(g**2 > v, g**2, -(g**2))
        x = x - rate(learning_rate, k) * m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps)
        yield x


def adabelief(x, losses, learning_rate, b1, b2, eps, eps_root=1e-16, nesterov=False):
    m, s = 0 * x, 0 * x
    for k, loss in enumerate(losses):
        g, t = loss.grad(x), k + 1
        m = b1 * m + (1 - b1) * g
        s = b2 * s + (1 - b2) * (g - m) ** 2 + eps_root
        m_hat = m / (1 - b1**t)
        if nesterov:
            m_hat = b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
        x = x - rate(learning_rate, k) * m_hat / (np.sqrt(s / (1 - b2**t)) + eps)
        yield x


ADAM = {"b1": 0.8, "b2": 0.9, "eps": 1e-3}
PAGES = {  # name: [(page, arguments), …]
    "adam": [
        (adam, {"learning_rate": halving, "eps_root": 1e-4, **ADAM}),
        (adam, {"learning_rate": 0.1, "nesterov": True, **ADAM}),
    ],
    "adamw": [
        (adam, {"learning_rate": halving, "weight_decay": 0.2, **ADAM}),
        (adam, {"learning_rate": 0.1, "weight_decay": halving, "nesterov": True, **ADAM}),
    ],
    "nadam": [
        (nadam, {"learning_rate": halving, "eps_root": 1e-4, **ADAM}),
        (nadam, {"learning_rate": 0.1, "nesterov": False, **ADAM}),
    ],
    "nadamw": [(nadam, {"learning_rate": halving, "weight_decay": 0.2, "eps_root": 1e-4, **ADAM})],
    "adamax": [(adamax, {"learning_rate": halving, **ADAM})],
    "adamaxw": [(adamax, {"learning_rate": 0.1, "weight_decay": halving, **ADAM})],
    "amsgrad": [
        (amsgrad, {"learning_rate": halving, "eps_root": 1e-4, **ADAM}),
        (amsgrad, {"learning_rate": 0.1, "bias_correction_mu": False, "bias_correction_nu": False, **ADAM}),
    ],
    "radam": [
        (radam, {"learning_rate": halving, "eps_root": 1e-4, **ADAM}),
        (radam, {"learning_rate": 0.1, "threshold": 7.0, "nesterov": True, **ADAM, "b2": 0.95}),
    ],
    "yogi": [(yogi, {"learning_rate": halving, **ADAM})],
    "adabelief": [
        (adabelief, {"learning_rate": halving, "eps_root": 1e-4, **ADAM}),
        (adabelief, {"learning_rate": 0.1, "nesterov": True, **ADAM}),
    ],
}

MU, NU = "mu = b1 * memory.mu + (1 - b1) * g\n", "nu = b2 * memory.nu + (1 - b2) * abs2(g)\n"
RATE_OF_DECAY = "at(learning_rate, t) * (d + decay(weight_decay, t, x, decays))"
AHEAD = "b1 * corrected(mu, b1, t + 1) + (1 - b1) * corrected(g, b1, t)"
MUTANTS = {  # name: {mistake: (right, wrong)}
    "adam": {
        "no bias correction": ("return m * correction(b, t)", "return m"),
        "bias correction one step late": ("return m * correction(b, t)", "return m * correction(b, t + 1)"),
        "m not corrected": ("m_hat, v_hat = first(mu, g, b1, t, nesterov), ", "m_hat, v_hat = mu, "),
        "betas swapped": (
            MU + "        " + NU,
            "mu = b2 * memory.mu + (1 - b2) * g\n        nu = b1 * memory.nu + (1 - b1) * abs2(g)\n",
        ),
        "eps inside the root": ("(jnp.sqrt(v_hat + eps_root) + eps)", "jnp.sqrt(v_hat + eps_root + eps)"),
        "eps_root forgotten": ("jnp.sqrt(v_hat + eps_root)", "jnp.sqrt(v_hat)"),
        "stale moment": ("first(mu, g, b1, t, nesterov), corrected", "first(memory.mu, g, b1, t, nesterov), corrected"),
        "scale never falls": (NU, "nu = jnp.maximum(memory.nu, b2 * memory.nu + (1 - b2) * abs2(g))\n"),
        "square of the average": (NU, "nu = b2 * memory.nu + (1 - b2) * abs2(mu)\n"),
        "one correction for both in nesterov": (AHEAD, "corrected(b1 * mu + (1 - b1) * g, b1, t)"),
    },
    "adamw": {
        "grows": ("(d + decay(", "(d - decay("),
        "no decay": ("(d + decay(weight_decay, t, x, decays))", "d"),
        "decays without the rate": (RATE_OF_DECAY, "at(learning_rate, t) * d - decay(weight_decay, t, x, decays)"),
        "decays everywhere": ("t, x, decays)), memory", "t, x, True)), memory"),
        "schedule read one step late": ("return -at(learning_rate, t) * (d", "return -at(learning_rate, t + 1) * (d"),
        "mask forgotten": ("masks=(mask,)", "masks=(None,)"),
    },
    "nadam": {
        "adam": ("nesterov=nesterov", "nesterov=False"),
        "always ahead": ("nesterov=nesterov", "nesterov=True"),
        "one correction for both": (AHEAD, "corrected(b1 * mu + (1 - b1) * g, b1, t)"),
        "gradient counted in full": (AHEAD, "b1 * corrected(mu, b1, t + 1) + corrected(g, b1, t)"),
    },
    "nadamw": {
        "adamw": ("nesterov=nesterov", "nesterov=False"),
        "no decay": ("mu_dtype, weight_decay, mask", "mu_dtype, 0.0, mask"),
        "mask forgotten": ("weight_decay, mask", "weight_decay, None"),
        "momentum one step late": (AHEAD, "b1 * corrected(mu, b1, t) + (1 - b1) * corrected(g, b1, t)"),
    },
    "adamax": {
        "eps beside the maximum": (
            "jnp.maximum(jnp.abs(g) + eps, b2 * memory.nu)",
            "eps + jnp.maximum(abs(g), b2 * memory.nu)",
        ),
        "maximum forgotten": ("jnp.maximum(jnp.abs(g) + eps, b2 * memory.nu)", "jnp.abs(g) + eps"),
        "never forgets": ("b2 * memory.nu)\n", "memory.nu)\n"),
        "m not corrected": ("corrected(mu, b1, t) / nu", "mu / nu"),
        "scale corrected, too": ("corrected(mu, b1, t) / nu", "corrected(mu, b1, t) / corrected(nu, b2, t)"),
        "stale scale": ("corrected(mu, b1, t) / nu", "corrected(mu, b1, t) / (memory.nu + eps)"),
    },
    "adamaxw": {
        "no decay": ("weight_decay, mask)", "0.0, mask)"),
        "betas swapped": ("_adamax(b1, b2, eps)", "_adamax(b2, b1, eps)"),
        "mask forgotten": ("weight_decay, mask)", "weight_decay, None)"),
        "decays without the rate": (RATE_OF_DECAY, "at(learning_rate, t) * d - decay(weight_decay, t, x, decays)"),
    },
    "amsgrad": {
        "adam": ("jnp.maximum(memory.nu_max, v_hat)", "v_hat"),
        "maximum before the correction": ("corrected(nu, b2, t) if bias_correction_nu else nu", "nu"),
        "maximum over m, too": (
            "if bias_correction_mu else mu",
            "if bias_correction_mu else jnp.maximum(mu, memory.mu)",
        ),
        "average of the maximum": ("average(memory.nu, abs2(g), b2)", "average(memory.nu_max, abs2(g), b2)"),
        "maximum forgotten afterwards": ("PeakedMoments(mu, nu, peak)", "PeakedMoments(mu, nu, v_hat)"),
    },
    "radam": {
        "adam": ("jnp.where(enough, r * scaled, m_hat)", "scaled"),
        "not rectified": ("r * scaled", "scaled"),
        "never scaled": ("jnp.where(enough, r * scaled, m_hat)", "m_hat"),
        "no step while it waits": ("r * scaled, m_hat)", "r * scaled, 0 * m_hat)"),
        "no root": ("enough, jnp.sqrt(jnp.where(enough, ratio, 1.0))", "enough, jnp.where(enough, ratio, 1.0)"),
        "rho one step late": (
            "rho = most - 2 * t * b2**t / (1 - b2**t)",
            "rho = most - 2 * (t - 1) * b2**t / (1 - b2**t)",
        ),
        "threshold forgotten": ("rho >= threshold", "rho >= 5.0"),
    },
    "yogi": {
        "adam": ("(1 - b2) * jnp.sign(memory.nu - abs2(g)) * abs2(g)", "(1 - b2) * (memory.nu - abs2(g))"),
        "sign turned": ("jnp.sign(memory.nu - abs2(g))", "jnp.sign(abs2(g) - memory.nu)"),
        "starts at zero": (
            "Moments(jnp.full_like(x, 1e-6), jnp.full_like(x, 1e-6,",
            "Moments(0 * x, jnp.full_like(x, 0.0,",
        ),
        "scale not corrected": ("jnp.sqrt(corrected(nu, b2, t))", "jnp.sqrt(nu)"),
    },
    "adabelief": {
        "adam": ("abs2(g - mu)", "abs2(g)"),
        "belief one step old": ("abs2(g - mu)", "abs2(g - memory.mu)"),
        "eps_root not kept": (
            "b2) + eps_root\n        return first(mu, g, b1, t, nesterov) / (jnp.sqrt(corrected(nu, b2, t))",
            "b2)\n        return first(mu, g, b1, t, nesterov) / (jnp.sqrt(corrected(nu, b2, t) + eps_root)",
        ),
        "s not corrected": ("jnp.sqrt(corrected(nu, b2, t))", "jnp.sqrt(nu)"),
        "nesterov forgotten": ("first(mu, g, b1, t, nesterov)", "first(mu, g, b1, t, False)"),
    },
}
