"""Hyper-parameters are data: every float of every optimizer is an axis, and a lane is the run alone."""

import inspect

import jax
import numpy as np
import pytest

from sandbox import engine, optimizers, problems, sweeps
from sandbox.optimizers import catalogue

STEPS = 6


def floats(name):
    """The float arguments of the factory, each at its usual value and a little below; 0.1 where it is left out."""
    entry = catalogue.find(name)
    usual = lambda p: 0.1 if p.default is None and "float" in str(p.annotation) else p.default
    given = {p.name: usual(p) for p in inspect.signature(entry.factory).parameters.values()} | entry.example
    return {k: [v, 0.93 * v + 0.003] for k, v in given.items() if isinstance(v, float)}


def test_all_have_a_float_but_two_wrappers_and_one_without_arguments():
    assert {name for name in optimizers.names() if not floats(name)} == {"normalize", "sam", "split_real_and_imaginary"}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("sgd", "adam", "rmsprop") else pytest.mark.slow)
        for name in optimizers.names()
        if floats(name)
    ],
)
def test_every_float_is_an_axis_and_a_lane_is_the_run_alone(name, x64):
    entry, axes = catalogue.find(name), floats(name)
    X = np.random.default_rng(0).standard_normal((12, 4))
    problem = problems.least_squares(X, X.sum(1)) if "examples" in entry.needs else problems.quadratic(10.0, 4)

    def train(**arguments):
        optimizer = entry.factory(**entry.example | arguments)
        return engine.run(problem, optimizer, steps=STEPS, key=jax.random.key(1))

    ds = sweeps.sweep(train, **axes, progress=False)
    alone = jax.jit(train)
    for corner in ({k: v[0] for k, v in axes.items()}, {k: v[1] for k, v in axes.items()}):
        lane, one = ds.sel(**corner), alone(**corner)
        np.testing.assert_allclose(lane.loss, one.trace["loss"], rtol=1e-10, atol=1e-13)
        np.testing.assert_allclose(lane.value, one.value, rtol=1e-10, atol=1e-13)
