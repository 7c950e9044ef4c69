"""Slow, plain NumPy beside every optimizer, and the mistakes that tests must find: one file per family."""

import importlib
import pkgutil


def collected(name):
    """The dictionaries of this name from every family, as one."""
    modules = [importlib.import_module(f"oracles.{m.name}") for m in pkgutil.iter_modules(__path__)]
    found = {}
    for module in modules:
        found |= getattr(module, name, {})
    return found
