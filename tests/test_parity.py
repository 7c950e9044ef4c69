"""Two independent oracles, step by step in double precision: Optax, and each recursion in slow NumPy."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import collected
from oracles.losses import Loss, sequence

from sandbox import optimizers, parity
from sandbox.optimizers import catalogue

ENTRIES = catalogue.ENTRIES
PAGES = collected("PAGES")


# In the fast tier the others are held to their pages in NumPy, and drawn by hypothesis.
SOME = [pytest.param(name, marks=[pytest.mark.slow] * (k % 4 > 0)) for k, name in enumerate(optimizers.names())]


@pytest.mark.parametrize("name", SOME)
def test_follows_its_twin(name, x64):
    """The short form: every switch and number moved, on the loss that has all kinds of curvature."""
    entry, (other, _), moved = ENTRIES[name], parity.twin(name), parity.settings(name)[2]
    ours, theirs = entry.factory(**moved), other(**moved)
    apart = parity.deviation(ours, theirs, entry.needs, steps=4, curves=["waves"], compiled=entry.compiled)
    assert apart <= parity.TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("name", optimizers.names())
def test_validate_passes(name):
    (row,) = parity.validate([name])
    assert row.worst <= parity.TOLERANCE
    assert row.dtypes
    assert row.traced
    assert row.passed
    assert row.cases >= 6


@pytest.mark.parametrize("name", optimizers.names())
def test_settings_move_every_hyper_parameter_from_its_default(name):
    for argument in inspect.signature(ENTRIES[name].factory).parameters.values():
        given = [kw.get(argument.name, argument.default) for kw in parity.settings(name)]
        assert any(value is not argument.default for value in given), f"{name}: no setting moves {argument.name}"


def test_validate_refuses_unknown_names():
    with pytest.raises(ValueError, match="no optimizer called 'adm'; did you mean adam"):
        parity.validate(["adm"])


@pytest.mark.slow
def test_validate_leaves_the_global_precision_alone():
    parity.validate(["gradient_descent"])
    assert jnp.zeros(()).dtype == jnp.float32


def test_a_nan_is_infinitely_far(x64):
    broken = optax.scale(jnp.nan)
    assert parity.deviation(optax.sgd(0.1), broken) == np.inf
    assert parity.deviation(broken, optax.sgd(0.1)) == np.inf


def test_python_control_flow_on_a_hyper_parameter_is_noticed(x64):
    def branches(learning_rate):
        return optimizers.gradient_descent(learning_rate if learning_rate > 0 else 0.0)

    assert not parity.traces(branches, {"learning_rate": 0.1})
    assert parity.traces(optimizers.gradient_descent, {"learning_rate": 0.1})


def test_a_lost_dtype_is_noticed(x64):
    wide = optax.stateless(lambda g, p: jax.tree.map(lambda g: g.astype(jnp.float64), g))
    assert not parity.keeps_dtypes(wide, "float32")
    assert parity.keeps_dtypes(wide, "float64")


def followed(optimizer, x, losses, entry):
    """The iterates; where complex ones are needed, the two columns of x are their parts."""
    x = jax.lax.complex(*jnp.asarray(x).T) if "complex" in entry.needs else jnp.asarray(x)
    state, path, step = optimizer.init(x), [], parity.stepper(optimizer, entry.needs, entry.compiled)
    for loss in losses:
        updates, state = step(jax.tree_util.Partial(_value, *loss), state, x)
        x = x + updates
        path.append(columns(x))
    return np.array(path)


def columns(x):
    return jnp.stack([x.real, x.imag], axis=1) if jnp.iscomplexobj(x) else x


def _value(s, c, o, x):
    return Loss(s, c, o).value(columns(x), jnp)


@pytest.mark.parametrize(("name", "case"), [(name, k) for name in PAGES for k in range(len(PAGES[name]))])
def test_equals_its_page_in_numpy(name, case, x64):
    page, arguments = PAGES[name][case]
    x, losses = sequence(seed=len(name) + case)
    ours = followed(ENTRIES[name].factory(**arguments), x, losses, ENTRIES[name])
    theirs = np.array(list(page(x, losses, **arguments)))
    np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("name", optimizers.names())
def test_every_optimizer_has_its_page_in_numpy(name):
    assert name in PAGES
