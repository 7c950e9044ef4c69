"""The parity oracle can fail: plausible mistakes in each optimizer, and each is found."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import pytest

from sandbox import parity
from sandbox.optimizers import catalogue, leafwise
from sandbox.optimizers.schedules import cosine_decay

RATE = cosine_decay(0.3, 9, 0.1, 0.7)


class Memory(NamedTuple):
    m: Any
    v: Any
    c: Any


def recursion(m=None, v=None, step=None, c=None, start=0.0, count=lambda t: t - 1):
    """m, v and c are updated in this order from the old values and g, then x ← x + step; a part can be replaced."""
    keep = lambda old, g, t, s: old
    m, v, c = m or keep, v or keep, c or keep

    def init(x):
        return Memory(jnp.zeros_like(x), jnp.full_like(x, start), jnp.zeros_like(x))

    def update(t, g, memory, x):
        s = {"t": t, "g": g, "x": x, "eta": RATE(count(t)), "old": memory}
        s["m"] = m(memory.m, g, t, s)
        s["v"] = v(memory.v, g, t, s)
        s["c"] = c(memory.c, g, t, s)
        return step(s), Memory(s["m"], s["v"], s["c"])

    return leafwise(init, update)


def ema(b, power=1):
    return lambda old, g, t, s: b * old + (1 - b) * g**power


def trace(mu):
    return lambda old, g, t, s: mu * old + g


def hat(value, b, t):
    return value / (1 - b**t)


B1, B2, EPS, ROOT, DECAY = 0.8, 0.95, 1e-3, 1e-4, 0.07
ADAM = {"learning_rate": RATE, "b1": B1, "b2": B2, "eps": EPS, "eps_root": ROOT}


def adam_step(s, decay=0.0):
    m, v = hat(s["m"], B1, s["t"]), hat(s["v"], B2, s["t"])
    return -s["eta"] * (m / (jnp.sqrt(v + ROOT) + EPS) + decay * s["x"])


def nadam_step(s):
    m = B1 * hat(s["m"], B1, s["t"] + 1) + (1 - B1) * hat(s["g"], B1, s["t"])
    return -s["eta"] * m / (jnp.sqrt(hat(s["v"], B2, s["t"]) + ROOT) + EPS)


def rms_step(s):
    return -s["eta"] * s["g"] / jnp.sqrt(s["v"] + EPS)


def rms_momentum(old, g, t, s):
    return 0.6 * old + rms_step(s)


def centered_step(s):
    return -s["eta"] * s["g"] / jnp.sqrt(s["v"] - s["m"] ** 2 + EPS)


def lion_step(s, decay=DECAY):
    return -s["eta"] * (jnp.sign(B1 * s["old"].m + (1 - B1) * s["g"]) + decay * s["x"])


ADAM_PARTS = {"m": ema(B1), "v": ema(B2, 2), "step": adam_step}
DECAYED = {**ADAM_PARTS, "step": lambda s: adam_step(s, DECAY)}
LION_PARTS = {"m": ema(B2), "step": lion_step}
RMS_PARTS = {"v": ema(0.7, 2), "start": 0.5, "step": rms_step}
TRACE_PARTS = {"m": trace(0.7), "step": lambda s: -s["eta"] * s["m"]}
ADAGRAD_PARTS = {
    "v": lambda old, g, t, s: old + g**2,
    "start": 0.7,
    "step": lambda s: -s["eta"] * s["g"] / jnp.sqrt(s["v"] + EPS),
}

# (twin, its arguments, the right parts, {what is wrong: the parts that replace them})
GALLERY = {
    "gradient_descent": (
        {"learning_rate": RATE},
        {"step": lambda s: -s["eta"] * s["g"]},
        {
            "ascends": {"step": lambda s: s["eta"] * s["g"]},
            "twice the rate": {"step": lambda s: -2 * s["eta"] * s["g"]},
            "schedule read one step late": {"count": lambda t: t},
            "sign of the gradient": {"step": lambda s: -s["eta"] * jnp.sign(s["g"])},
        },
    ),
    "heavy_ball": (
        {"learning_rate": RATE, "momentum": 0.7},
        TRACE_PARTS,
        {
            "averages": {"m": ema(0.7)},
            "stale momentum": {"step": lambda s: -s["eta"] * s["old"].m},
            "rate before momentum": {"m": lambda old, g, t, s: 0.7 * old + s["eta"] * g, "step": lambda s: -s["m"]},
            "looks ahead": {"step": lambda s: -s["eta"] * (0.7 * s["m"] + s["g"])},
        },
    ),
    "nesterov": (
        {"learning_rate": RATE, "momentum": 0.7},
        {**TRACE_PARTS, "step": lambda s: -s["eta"] * (0.7 * s["m"] + s["g"])},
        {
            "heavy ball": {"step": lambda s: -s["eta"] * s["m"]},
            "stale momentum": {"step": lambda s: -s["eta"] * (0.7 * s["old"].m + s["g"])},
            "looks ahead a whole step": {"step": lambda s: -s["eta"] * (s["m"] + s["g"])},
        },
    ),
    "ema_momentum": (
        {"learning_rate": RATE, "decay": 0.7},
        {"m": ema(0.7), "step": lambda s: -s["eta"] * s["m"]},
        {
            "sums": {"m": trace(0.7)},
            "bias corrected": {"step": lambda s: -s["eta"] * hat(s["m"], 0.7, s["t"])},
            "weights swapped": {"m": ema(1 - 0.7)},
        },
    ),
    "sgd": (
        {"learning_rate": RATE, "momentum": 0.7, "nesterov": True},
        {**TRACE_PARTS, "step": lambda s: -s["eta"] * (0.7 * s["m"] + s["g"])},
        {
            "nesterov forgotten": {"step": lambda s: -s["eta"] * s["m"]},
            "momentum forgotten": {"step": lambda s: -s["eta"] * s["g"]},
            "momentum ascends": {"step": lambda s: -s["eta"] * (s["g"] - 0.7 * s["m"])},
        },
    ),
    "adagrad": (
        {"learning_rate": RATE, "initial_accumulator_value": 0.7, "eps": EPS},
        ADAGRAD_PARTS,
        {
            "eps outside the root": {"step": lambda s: -s["eta"] * s["g"] / (jnp.sqrt(s["v"]) + EPS)},
            "starts at zero": {"start": 0.0},
            "forgets": {"v": ema(0.9, 2)},
            "no root": {"step": lambda s: -s["eta"] * s["g"] / (s["v"] + EPS)},
            "stale sum": {"step": lambda s: -s["eta"] * s["g"] / jnp.sqrt(s["old"].v + EPS)},
        },
    ),
    "rmsprop": (
        {"learning_rate": RATE, "decay": 0.7, "eps": EPS, "initial_scale": 0.5},
        RMS_PARTS,
        {
            "eps outside the root": {"step": lambda s: -s["eta"] * s["g"] / (jnp.sqrt(s["v"]) + EPS)},
            "stale second moment": {"step": lambda s: -s["eta"] * s["g"] / jnp.sqrt(s["old"].v + EPS)},
            "absolute values": {"v": lambda old, g, t, s: 0.7 * old + 0.3 * jnp.abs(g)},
            "bias corrected": {"step": lambda s: -s["eta"] * s["g"] / jnp.sqrt(hat(s["v"], 0.7, s["t"]) + EPS)},
        },
    ),
    "rmsprop with momentum": (
        {"learning_rate": RATE, "decay": 0.7, "eps": EPS, "initial_scale": 0.5, "momentum": 0.6},
        {**RMS_PARTS, "c": rms_momentum, "step": lambda s: s["c"]},
        {
            "rate after momentum": {
                "c": lambda old, g, t, s: 0.6 * old + rms_step(s) / s["eta"],
                "step": lambda s: s["eta"] * s["c"],
            },
            "looks ahead": {"step": lambda s: 0.6 * s["c"] + rms_step(s)},
        },
    ),
    "rmsprop, centered": (
        {"learning_rate": RATE, "decay": 0.7, "eps": EPS, "initial_scale": 0.5, "centered": True},
        {**RMS_PARTS, "m": ema(0.7), "step": centered_step},
        {
            "mean not squared": {
                "step": lambda s: -s["eta"] * s["g"] / jnp.sqrt(jnp.abs(s["v"] - s["m"]) + EPS),
            },
            "stale mean": {"step": lambda s: centered_step({**s, "m": s["old"].m})},
        },
    ),
    "adam": (
        ADAM,
        ADAM_PARTS,
        {
            "no bias correction of m": {"step": lambda s: adam_step({**s, "m": s["m"] * (1 - B1 ** s["t"])})},
            "no bias correction of v": {"step": lambda s: adam_step({**s, "v": s["v"] * (1 - B2 ** s["t"])})},
            "bias correction one step late": {"step": lambda s: adam_step({**s, "t": s["t"] + 1})},
            "betas swapped": {"m": ema(B2), "v": ema(B1, 2)},
            "eps inside the root": {
                "step": lambda s: -s["eta"] * hat(s["m"], B1, s["t"]) / jnp.sqrt(hat(s["v"], B2, s["t"]) + ROOT + EPS)
            },
            "eps_root forgotten": {
                "step": lambda s: -s["eta"] * hat(s["m"], B1, s["t"]) / (jnp.sqrt(hat(s["v"], B2, s["t"])) + EPS)
            },
            "stale moment": {"step": lambda s: adam_step({**s, "m": s["old"].m})},
            "second moment never forgets": {
                "v": lambda old, g, t, s: jnp.maximum(B2 * old + (1 - B2) * g**2, old),
            },
            "square of the average": {"v": lambda old, g, t, s: B2 * old + (1 - B2) * s["m"] ** 2},
        },
    ),
    "adam with nesterov": (
        {**ADAM, "nesterov": True},
        {**ADAM_PARTS, "step": nadam_step},
        {
            "plain Adam": {"step": adam_step},
            "one correction for both": {
                "step": lambda s: (
                    -s["eta"]
                    * hat(B1 * s["m"] + (1 - B1) * s["g"], B1, s["t"])
                    / (jnp.sqrt(hat(s["v"], B2, s["t"]) + ROOT) + EPS)
                )
            },
        },
    ),
    "adamw": (
        {**ADAM, "weight_decay": DECAY},
        DECAYED,
        {
            "grows": {"step": lambda s: adam_step(s, -DECAY)},
            "no decay": {"step": adam_step},
            "decays without the rate": {"step": lambda s: adam_step(s) - DECAY * s["x"]},
            "into the gradient": {
                "m": lambda old, g, t, s: ema(B1)(old, g + DECAY * s["x"], t, s),
                "v": lambda old, g, t, s: ema(B2, 2)(old, g + DECAY * s["x"], t, s),
                "step": adam_step,
            },
            "towards the sign": {"step": lambda s: adam_step({**s, "x": jnp.sign(s["x"])}, DECAY)},
        },
    ),
    "lion": (
        {"learning_rate": RATE, "b1": B1, "b2": B2, "weight_decay": DECAY},
        LION_PARTS,
        {
            "betas swapped": {
                "m": ema(B1),
                "step": lambda s: -s["eta"] * (jnp.sign(B2 * s["old"].m + (1 - B2) * s["g"]) + DECAY * s["x"]),
            },
            "sign of the momentum": {"step": lambda s: -s["eta"] * (jnp.sign(s["m"]) + DECAY * s["x"])},
            "no sign": {
                "step": lambda s: -s["eta"] * (B1 * s["old"].m + (1 - B1) * s["g"] + DECAY * s["x"]),
            },
            "decays without the rate": {"step": lambda s: lion_step(s, 0.0) - DECAY * s["x"]},
            "new momentum in the direction": {"step": lambda s: lion_step({**s, "old": Memory(s["m"], 0, 0)})},
        },
    ),
}


def twin(name):
    arguments = GALLERY[name][0]
    entry = catalogue.find(name.replace(",", " ").split()[0])
    return entry.twin(**arguments)


@pytest.mark.parametrize("name", GALLERY)
def test_the_right_parts_agree(name, x64):
    assert parity.deviation(recursion(**GALLERY[name][1]), twin(name)) <= parity.TOLERANCE


@pytest.mark.parametrize("name", GALLERY)
def test_every_mutant_is_killed(name, x64):
    _, parts, mutants = GALLERY[name]
    far = {what: parity.deviation(recursion(**{**parts, **changed}), twin(name)) for what, changed in mutants.items()}
    survivors = [what for what, distance in far.items() if distance <= parity.TOLERANCE]
    assert survivors == []


def test_every_optimizer_has_three_mutants():
    counts = dict.fromkeys(catalogue.names(), 0)
    for name, (_, _, mutants) in GALLERY.items():
        counts[name.replace(",", " ").split()[0]] += len(mutants)
    assert min(counts.values()) >= 3
