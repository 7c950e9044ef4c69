"""What goes around other optimizers in NumPy, and the mistakes that are easily made in it."""

import functools

import numpy as np

from oracles.losses import halving
from oracles.moments import adam
from sandbox import optimizers


def normalize(x, losses):
    for loss in losses:
        g = loss.grad(x)
        x = x + g / np.sqrt(np.sum(g**2))
        yield x


def reduce_on_plateau(x, losses, factor, patience, rtol, atol, cooldown=0, accumulation_size=1, min_scale=0.0):
    scale, best, bad, pause, values = 1.0, np.inf, 0, 0, []
    for loss in losses:
        g = loss.grad(x)
        values.append(loss.value(x))
        if len(values) == accumulation_size:
            mean, values = np.mean(values), []
            better = mean < (1 - rtol) * best - atol
            best, bad = (mean, 0) if better else (best, bad + 1)
            if pause > 0:
                bad, pause = 0, pause - 1
            elif bad == patience:
                scale, bad, pause = max(scale * factor, min_scale), 0, cooldown
        x = x + scale * g
        yield x


def split(x, losses, inner):
    """The complex parameters of the test are these real ones in pairs: the columns are the two parts."""
    return adam(x, losses, learning_rate=halving, b1=0.8, b2=0.9, eps=1e-3)


def sam(x, losses, sync_period, optimizer, adv_optimizer, reset_state=True, opaque_mode=False):
    y, m_up, m_down = x, 0 * x, 0 * x
    for k, loss in enumerate(losses):
        climbing = range(sync_period - 1) if opaque_mode else [k] if (k + 1) % sync_period else []
        for _ in climbing:
            g = loss.grad(y)
            m_up = 0.5 * m_up + g / np.sqrt(np.sum(g**2))
            y = y + 0.05 * m_up
        if opaque_mode or not climbing:
            m_down = 0.8 * m_down + loss.grad(y)
            x = x - 0.1 * m_down
            y, m_up = x, 0 * x if reset_state else m_up
        yield y


def uphill():
    return optimizers.chain(optimizers.normalize(), optimizers.heavy_ball(0.05, 0.5))


ADAM = functools.partial(optimizers.adam, halving, 0.8, 0.9, 1e-3)
SAM = {"optimizer": functools.partial(optimizers.heavy_ball, 0.1, 0.8), "adv_optimizer": uphill}
PLATEAU = {"factor": 0.6, "rtol": 0.1, "atol": 0.2}
PAGES = {  # name: [(page, arguments), …]
    "normalize": [(normalize, {})],
    "reduce_on_plateau": [
        (reduce_on_plateau, {"patience": 2, "cooldown": 1, **PLATEAU}),
        (reduce_on_plateau, {"patience": 1, "cooldown": 2, "min_scale": 0.5, **PLATEAU}),
        (reduce_on_plateau, {"patience": 1, "accumulation_size": 3, **PLATEAU}),
    ],
    "split_real_and_imaginary": [(split, {"inner": ADAM})],
    "sam": [
        (sam, {"sync_period": 1, **SAM}),
        (sam, {"sync_period": 2, **SAM}),
        (sam, {"sync_period": 4, "reset_state": False, **SAM}),
        (sam, {"sync_period": 3, "opaque_mode": True, **SAM}),
        (sam, {"sync_period": 3, "opaque_mode": True, "reset_state": False, **SAM}),
    ],
}

IMPROVED = "mean < (1 - rtol) * state.best_value - atol"
MUTANTS = {  # name: {mistake: (right, wrong)}
    "normalize": {
        "squared length": ("norm = tree.norm(g)", "norm = tree.squared_norm(g)"),
        "every leaf for itself": (
            "tree.scale(1 / jnp.where(norm > 0, norm, 1), g)",
            "jax.tree.map(lambda g: g / tree.norm(g), g)",
        ),
        "downhill": ("tree.scale(1 /", "tree.scale(-1 /"),
        "not normalized": ("tree.scale(1 / jnp.where(norm > 0, norm, 1), g)", "g"),
    },
    "reduce_on_plateau": {
        "any lower value is better": (IMPROVED, "mean < state.best_value"),
        "atol forgotten": (IMPROVED, "mean < (1 - rtol) * state.best_value"),
        "compares with the last value": ("jnp.where(improved, mean, state.best_value)", "mean"),
        "one step too patient": ("waited >= patience", "waited > patience"),
        "patience never ends": ("jnp.where(reduced | cooling, 0, waited)", "waited"),
        "no cooldown": ("jnp.where(reduced, cooldown, ", "jnp.where(reduced, 0, "),
        "cooldown never ends": ("state.cooldown_count - 1", "state.cooldown_count"),
        "scale falls without end": ("jnp.maximum(factor * state.scale, min_scale)", "factor * state.scale"),
        "scale of the step before": ("(new.scale * widen(g))", "(state.scale * widen(g))"),
        "last value for the mean": ("(state.count * state.avg_value + value) / count", "value"),
        "judges every value": ("count == accumulation_size", "True"),
    },
    "split_real_and_imaginary": {
        "not split": ("if jnp.iscomplexobj(z) else z, values)", "if False else z, values)"),
        "imaginary part forgotten": ("Pair(jnp.real(z), jnp.imag(z))", "Pair(jnp.real(z), 0 * jnp.imag(z))"),
        "gradients for params": ("_pairs(params), told)", "_pairs(grads), told)"),
        "conjugated": ("jax.lax.complex(*x)", "jnp.conj(jax.lax.complex(*x))"),
        "parts swapped": ("jax.lax.complex(*x)", "jax.lax.complex(x[1], x[0])"),
    },
    "sam": {
        "climbs downhill": ("widen(u), -widen(v))", "widen(u), widen(v))"),
        "stays where it climbed to": ("widen(x) - widen(y) + widen(u)", "widen(u)"),
        "climb never starts anew": (
            "tree.where(last, ascent.init(y) if reset_state else state.adv_state, adv_state)",
            "adv_state",
        ),
        "counts the last step as a climb": (
            "ascent.init(y) if reset_state else state.adv_state, adv_state)",
            "ascent.init(y) if reset_state else adv_state, adv_state)",
        ),
        "optimizer remembers the climb": ("tree.where(last, opt_state, state.opt_state)", "opt_state"),
        "params of the climb for the step": (
            "advance(descent, grads, state.opt_state, x, extra)\n        move",
            "advance(descent, grads, state.opt_state, y, extra)\n        move",
        ),
        "comes down a step late": ("last = k == sync_period - 1", "last = k == 0"),
        "at once: one climb too many": ("range(sync_period - 1)", "range(sync_period)"),
        "at once: steps from the top": ("advance(descent, grads, state.opt_state, x, extra)\n        return u,",
                                        "advance(descent, grads, state.opt_state, y, extra)\n        return tree.add(tree.sub(y, x), u),"),
        "at once: gradient of the bottom": ("grads = gradient(y, i)", "grads = gradient(x, i)"),
    },
}  # fmt: skip
