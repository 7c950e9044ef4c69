"""The parity oracle can fail: plausible mistakes are written into each optimizer, and each is found."""

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
    cases = [(kw, curve) for kw in reversed(parity.settings(name)) for curve in parity.CURVES]
    entry = catalogue.find(name)
    far = lambda kw, curve: parity.deviation(
        make(**kw), other(**kw), entry.needs, steps=7, curves=[curve], compiled=entry.compiled
    )
    return any(far(kw, curve) > 1000 * parity.TOLERANCE for kw, curve in cases)


@pytest.mark.parametrize(("name", "mistake"), [(name, mistake) for name in MUTANTS for mistake in MUTANTS[name]])
def test_a_mistake_is_found(name, mistake, x64):
    assert found(name, mutant(catalogue.find(name).factory, *MUTANTS[name][mistake]))


@pytest.mark.parametrize("name", catalogue.names())
def test_every_optimizer_has_three_mistakes(name):
    assert len(MUTANTS[name]) >= 3


def test_the_text_itself_is_no_mistake(x64):
    factory = catalogue.find("gradient_descent").factory
    assert not found("gradient_descent", mutant(factory, "* g, memory", "* g,  memory"))
