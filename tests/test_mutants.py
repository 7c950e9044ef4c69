"""The parity oracle can fail: plausible mistakes are written into each optimizer, and each is found."""

import functools
import inspect
import sys
import types

import pytest
from oracles import collected

from sandbox import parity
from sandbox.optimizers import catalogue

MUTANTS = collected("MUTANTS")


def mutant(factory, right, wrong):
    """The factory, made anew from its module's text with `right` replaced by `wrong` where it stands once: in the
    page of the factory itself, or else in the rest of its module."""
    page = inspect.getsource(inspect.unwrap(factory))
    module = sys.modules[inspect.unwrap(factory).__module__]
    whole = inspect.getsource(module)
    region = page if right in page else whole
    assert region.count(right) == 1, f"{right!r} stands {region.count(right)} times in {factory.__name__}"
    text = whole.replace(region, region.replace(right, wrong))
    twisted = types.ModuleType("twisted")
    exec(compile(text, "twisted", "exec"), twisted.__dict__)
    return getattr(twisted, factory.__name__)


def found(name, make):
    """Whether the factory is seen to differ from Optax somewhere: on any loss, at any of parity's settings."""
    other, _ = parity.twin(name)
    cases = [(case, curve) for case in reversed(range(len(parity.settings(name)))) for curve in parity.CURVES]
    far = lambda *case: parity.distance(path(name, make, *case), optax_path(name, other, *case))
    return any(far(*case) > 1000 * parity.TOLERANCE for case in cases)


def path(name, make, case, curve):
    entry, arguments = catalogue.find(name), parity.settings(name)[case]
    return parity.trajectory(make(**arguments), entry.needs, curve, steps=7, compiled=entry.compiled)


optax_path = functools.lru_cache(maxsize=20)(path)  # the same for all mistakes of an optimizer
EVERY = [(name, mistake) for name in MUTANTS for mistake in MUTANTS[name]]
FIRST = [(name, min(MUTANTS[name])) for name in MUTANTS if not catalogue.find(name).compiled][::4]


@pytest.mark.parametrize(
    ("name", "mistake"), [pytest.param(*case, marks=[pytest.mark.slow] * (case not in FIRST)) for case in EVERY]
)
def test_a_mistake_is_found(name, mistake, x64):
    assert found(name, mutant(catalogue.find(name).factory, *MUTANTS[name][mistake]))


@pytest.mark.parametrize("name", catalogue.names())
def test_every_optimizer_has_three_mistakes(name):
    assert len(MUTANTS[name]) >= 3
    for right, wrong in MUTANTS[name].values():  # each still finds the text that it replaces
        mutant(catalogue.find(name).factory, right, wrong)


def test_the_text_itself_is_no_mistake(x64):
    factory = catalogue.find("gradient_descent").factory
    assert not found("gradient_descent", mutant(factory, "* g, memory", "* g,  memory"))
