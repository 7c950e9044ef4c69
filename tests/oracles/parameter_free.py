"""Methods that find their own rate in NumPy, with all of their history, and the mistakes easily made in them."""

import functools

import numpy as np

from oracles.losses import halving, rate
from sandbox.optimizers import gradient_descent


def falling(k):
    """A schedule above and below 1, about which these methods mean their rate."""
    return 8 * halving(k)


def dog(x, losses, learning_rate=1.0, init_step=("heuristic", 1e-6), eps=1e-8, weight_decay=None):
    """The rate is the distance travelled, over the root of the sum of all ‖g‖²."""
    kind, number = init_step
    start = {"distance": number, "heuristic": number * (1 + np.linalg.norm(x)), "learning_rate": 0.0}[kind]
    xs, gs = [x], []
    for k, loss in enumerate(losses):
        gs.append(loss.grad(xs[-1]) + (weight_decay or 0.0) * xs[-1])
        r = max([start, *(np.linalg.norm(x - xs[0]) for x in xs)])
        step = r / np.sqrt(sum(np.sum(g**2) for g in gs) + eps)
        if kind == "learning_rate" and k == 0:
            step = number
        xs.append(xs[-1] - rate(learning_rate, k) * step * gs[-1])
        yield xs[-1]


def dowg(x, losses, learning_rate=1.0, init_estim_sq_dist=None, eps=1e-4, weight_decay=0.0):
    """DoG whose sum of ‖g‖² is weighted by the distance at the time."""
    start, s, far = x, 0.0, np.sqrt(eps if init_estim_sq_dist is None else init_estim_sq_dist)
    for k, loss in enumerate(losses):
        g = loss.grad(x) + weight_decay * x
        far = max(far, np.linalg.norm(x - start))
        s = s + far**2 * np.linalg.norm(g) ** 2
        x = x - rate(learning_rate, k) * far**2 / (np.sqrt(s) + eps) * g
        yield x


def cocob(x, losses, learning_rate=1.0, alpha=100.0, eps=1e-8, weight_decay=0.0):
    """Coordinate by coordinate, a gambler with one dollar of L who bets on the outcomes −g."""
    start = x.copy()
    outcomes = [[] for _ in x.flat]
    largest, won = np.full(x.size, eps), np.zeros(x.size)
    for k, loss in enumerate(losses):
        x, g = x.copy(), loss.grad(x) + weight_decay * x
        for i, at in enumerate(np.ndindex(x.shape)):
            outcomes[i].append(-g[at])
            largest[i] = max(largest[i], abs(g[at]))
            won[i] = max(won[i] - g[at] * (x[at] - start[at]), 0.0)
            seen = max(sum(map(abs, outcomes[i])) + largest[i], alpha * largest[i])
            target = start[at] + sum(outcomes[i]) / (largest[i] * seen) * (largest[i] + won[i])
            x[at] += rate(learning_rate, k) * (target - x[at])
        yield x


def weighted(b, terms):
    """Σ b^(newest − i) termᵢ."""
    return sum(b ** (len(terms) - 1 - i) * term for i, term in enumerate(terms))


def corrected(d, learning_rate, k, betas):
    """The estimate d times the rate, with Adam's correction for averages that start at 0."""
    return d * rate(learning_rate, k) * np.sqrt(1 - betas[1] ** (k + 1)) / (1 - betas[0] ** (k + 1))


def dadapt_adamw(x, losses, learning_rate=1.0, betas=(0.9, 0.999), eps=1e-8, estim_lr0=1e-6, weight_decay=0.0):
    """Every average as a sum over all gradients so far, each weighted by the rate of its time."""
    c, d = np.sqrt(betas[1]), estim_lr0
    steps, squares, products = [], [], []
    for k, loss in enumerate(losses):
        g, gamma = loss.grad(x), corrected(d, learning_rate, k, betas)
        past = (1 - c) * weighted(c, steps) / (np.sqrt((1 - betas[1]) * weighted(betas[1], squares)) + eps)
        products.append(gamma * np.sum(g * past))
        steps.append(gamma * g)
        squares.append(g**2)
        m, v = (1 - betas[0]) * weighted(betas[0], steps), (1 - betas[1]) * weighted(betas[1], squares)
        x = (1 - weight_decay * gamma) * x - m / (np.sqrt(v) + eps)
        total = np.sum(np.abs(weighted(c, steps)))
        d = max(d, weighted(c, products) / ((1 - c) * total)) if total else d
        yield x


def prodigy(
    x,
    losses,
    learning_rate=1.0,
    betas=(0.9, 0.999),
    beta3=None,
    eps=1e-8,
    estim_lr0=1e-6,
    estim_lr_coef=1.0,
    weight_decay=0.0,
    safeguard_warmup=False,
):
    """Every average as a sum over all gradients so far, each times the d of its time."""
    c, d, start = np.sqrt(betas[1]) if beta3 is None else beta3, estim_lr0, x
    steps, squares, products, directions = [], [], [], []
    for k, loss in enumerate(losses):
        g, gamma = loss.grad(x), corrected(d, learning_rate, k, betas)
        products.append(gamma * d * np.sum(g * (start - x)))
        directions.append((d if safeguard_warmup else gamma) * d * g)
        steps.append(d * g)
        squares.append((d * g) ** 2)
        total = np.sum(np.abs(weighted(c, directions)))
        d = max(d, estim_lr_coef * weighted(c, products) / total) if total else d
        m, v = (1 - betas[0]) * weighted(betas[0], steps), (1 - betas[1]) * weighted(betas[1], squares)
        x = (1 - weight_decay * gamma) * x - gamma * m / (np.sqrt(v) + d * eps)
        yield x


def mechanize(x, losses, base_optimizer, weight_decay=1e-2, eps=1e-8, s_init=1e-6, num_betas=6):
    """On gradient descent of rate 0.1: the path of its steps, and one gambler after the other with s of his own."""
    start, path, total = x, 0 * x, s_init * num_betas
    gamblers = [{"beta": 1 - 10.0**-i, "m": 0.0, "v": 0.0, "r": 0.0, "s": s_init} for i in range(1, num_betas + 1)]
    for loss in losses:
        g = loss.grad(x)
        path = path * total / (total + eps)  # it is read off x
        pulled = g + weight_decay * total * np.linalg.norm(g) / (np.linalg.norm(x) + eps) * x
        h = np.sum(pulled * -path)
        for one in gamblers:
            one["r"] = one["beta"] * one["r"] + min(max(h, -one["m"]), one["m"]) * one["s"]
            one["m"] = max(one["beta"] * one["m"], abs(h) + eps)
            one["v"] = one["beta"] ** 2 * one["v"] + h**2
            one["s"] = (s_init / num_betas * one["m"] + max(0.0, one["r"])) / (np.sqrt(one["v"]) + eps)
        path, total = path - 0.1 * g, sum(one["s"] for one in gamblers)
        x = start + total * path
        yield x


PAGES = {
    "dog": [
        (dog, {"learning_rate": falling, "init_step": ("heuristic", 1e-2), "weight_decay": 0.1}),
        (dog, {"init_step": ("distance", 0.4), "eps": 0.1}),
        (dog, {"init_step": ("learning_rate", 0.03)}),
    ],
    "dowg": [
        (dowg, {"learning_rate": falling, "weight_decay": 0.1}),
        (dowg, {"init_estim_sq_dist": 0.2, "eps": 0.03}),
    ],
    "cocob": [
        (cocob, {"learning_rate": halving, "alpha": 3.0, "weight_decay": 0.1}),
        (cocob, {"alpha": 8.0, "eps": 0.3}),
    ],
    "dadapt_adamw": [
        (dadapt_adamw, {"learning_rate": falling, "betas": (0.8, 0.9), "estim_lr0": 0.01, "weight_decay": 0.1}),
        (dadapt_adamw, {"learning_rate": 5.0, "eps": 0.01, "estim_lr0": 0.01}),
    ],
    "prodigy": [
        (prodigy, {"learning_rate": falling, "betas": (0.8, 0.9), "estim_lr0": 0.01, "weight_decay": 0.1}),
        (prodigy, {"beta3": 0.7, "eps": 0.01, "estim_lr0": 0.1, "estim_lr_coef": 5.0, "safeguard_warmup": True}),
    ],
    "mechanize": [
        (mechanize, {"base_optimizer": functools.partial(gradient_descent, 0.1), "s_init": 0.01}),
        (
            mechanize,
            {
                "base_optimizer": functools.partial(gradient_descent, 0.1),
                "weight_decay": 0.3,
                "eps": 0.01,
                "s_init": 0.1,
                "num_betas": 3,
            },
        ),
    ],
}

MUTANTS = {
    "dog": {
        "distance of now": ("jnp.maximum(memory.max_dist, tree.norm", "jnp.maximum(1e-6, tree.norm"),
        "only this gradient": ("memory.sum_sq_norm_grads + tree.squared_norm(g)", "tree.squared_norm(g)"),
        "eps outside the root": ("jnp.sqrt(s + eps)", "(jnp.sqrt(s) + eps)"),
        "start that knows no scale": ("size * (1 + tree.norm(x))", "size"),
        "first rate kept": ("t == 1, size", "t <= 2, size"),
        "decay with the wrong sign": ("g + decay(weight_decay, t, x, on)", "g - decay(weight_decay, t, x, on)"),
    },
    "dowg": {
        "unweighted": ("+ q * tree.squared_norm(g)", "+ tree.squared_norm(g)"),
        "distance for its square": ("q / (jnp.sqrt(s) + eps)", "jnp.sqrt(q) / (jnp.sqrt(s) + eps)"),
        "eps inside the root": ("(jnp.sqrt(s) + eps)", "jnp.sqrt(s + eps)"),
        "distance of now": ("jnp.maximum(memory.estim_sq_dist,", "jnp.maximum(eps,"),
    },
    "cocob": {
        "bets it all at first": ("jnp.maximum(total + scale, alpha * scale)", "(total + scale)"),
        "debts": (
            "jnp.maximum(reward - jnp.real(jnp.conj(g) * (required(x) - x0)), 0)",
            "(reward - jnp.real(jnp.conj(g) * (required(x) - x0)))",
        ),
        "stale bet": ("x0 + theta / scale", "x0 + memory.cumulative_gradients / scale"),
        "bets from where it is": ("x0 + theta / scale", "x + theta / scale"),
        "no rate": ("at(learning_rate, t) * (w - x)", "(w - x)"),
    },
    "dadapt_adamw": {
        "d may fall": (
            "jnp.maximum(d, ratio(r, (1 - b3) * _sum_of_abs(s)))",
            "ratio(r, (1 - b3) * _sum_of_abs(s))",
        ),
        "no bias correction": (" * jnp.sqrt(1 - b2**t) / (1 - b1**t)", ""),
        "unscaled product": ("s / (jnp.sqrt(v) + eps), s, v", "s, s, v"),
        "β₂ for its root": ("b3 = b2**0.5", "b3 = b2"),
        "decay without d": ("weight_decay * rate * x", "weight_decay * at(learning_rate, t) * x"),
    },
    "prodigy": {
        "looks back": ("tree.sub(x0, required(x))", "tree.sub(required(x), x0)"),
        "moments of g itself": ("abs2(d * g)", "abs2(g)"),
        "eps without d": ("d * eps", "eps"),
        "no bias correction": (" * jnp.sqrt(1 - b2**t) / (1 - b1**t)", ""),
        "d may fall": ("d = jnp.maximum(d, estim_lr_coef", "d = jnp.maximum(1e-9, estim_lr_coef"),
        "largest for all": ("estim_lr_coef * ratio(r, _sum_of_abs(s))", "estim_lr_coef * ratio(r, tree.norm(s))"),
    },
    "mechanize": {
        "not clipped": ("jnp.clip(h, -memory.m, memory.m)", "h"),
        "squares forgotten too late": ("betas**2 * memory.v", "betas * memory.v"),
        "stale factor": ("jnp.sum(s) * (path - u)", "factor * (path - u)"),
        "path without its newest step": ("(path - u)", "path"),
        "decay with the wrong sign": ("g + pull * x", "g - pull * x"),
    },
}
