"""One trace per program: what a function means, by its code and by the identity of everything that it holds."""

import dataclasses
import functools
import hashlib
import types
from typing import Any

import jax
import numpy as np


class Changeable(Exception):
    """Something that may change while it stays the same object, so that nothing may be remembered of it."""


def meaning(x: Any, keep: list[Any], home: str | None = None, seen: frozenset[int] = frozenset()) -> Any:
    """A hashable value that differs whenever calling x may differ; raises Changeable where there is none.

    Numbers, text and containers count by content, functions of the module `home` by their code and by what they refer
    to, other functions by what they hold, everything immutable by identity; `keep` collects what must stay alive for an
    identity to stay its own. Attributes of attributes of modules (`package.module.RATE`) are not followed.
    """
    if id(x) in seen:
        return "itself"
    of = functools.partial(meaning, keep=keep, home=home, seen=seen | {id(x)})
    if x is None or isinstance(x, bool | int | float | complex | str | bytes):
        return type(x).__name__, repr(x)
    if isinstance(x, tuple | list):
        return type(x).__name__, tuple(of(item) for item in x)
    if isinstance(x, dict):
        return "dict", tuple((of(k), of(v)) for k, v in x.items())
    if isinstance(x, np.ndarray | np.generic):
        return "array", x.shape, str(x.dtype), hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest()
    if isinstance(x, functools.partial):
        return "partial", of(x.func), of(x.args), of(x.keywords)
    if isinstance(x, types.MethodType):
        return "method", of(x.__func__), of(x.__self__)
    if isinstance(x, types.FunctionType) and (home is None or x.__module__ == home):
        return _function(x, functools.partial(of, home=x.__module__))
    if dataclasses.is_dataclass(x) and not isinstance(x, type) and x.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        return type(x).__qualname__, tuple(of(getattr(x, field.name)) for field in dataclasses.fields(x))
    if isinstance(x, types.FunctionType):  # of another module: its code stays, what it holds may be the user's
        keep.append(x)
        return id(x), tuple(of(cell.cell_contents) for cell in x.__closure__ or ())
    if _immutable(x):
        keep.append(x)
        return id(x)
    raise Changeable(type(x).__name__)


def _immutable(x: Any) -> bool:
    """Whether x can be trusted to mean the same as long as it is the same object."""
    named = types.ModuleType | types.BuiltinFunctionType | types.GenericAlias | types.UnionType
    if isinstance(x, jax.Array | type | range | named):
        return True
    return type(x).__module__.partition(".")[0] in {"jax", "jaxlib", "numpy"}  # compiled functions, ufuncs, dtypes


def _function(fn: types.FunctionType, of: Any) -> Any:
    """A function's code, defaults, closure, and the globals and module attributes that its code names."""
    names = _names(fn.__code__)
    cells = [cell.cell_contents for cell in fn.__closure__ or ()]
    used = [fn.__globals__[name] for name in sorted(names) if name in fn.__globals__]
    attributes = [
        getattr(module, name)
        for module in (*used, *cells)
        if isinstance(module, types.ModuleType)
        for name in sorted(names)
        if hasattr(module, name)
    ]
    return (
        fn.__code__,
        of(fn.__defaults__),
        of(fn.__kwdefaults__),
        *(of(x) for x in (*cells, *used, *attributes)),
    )


def _names(code: types.CodeType) -> set[str]:
    """Every global and attribute that the code and the functions written in it name."""
    inner = (c for c in code.co_consts if isinstance(c, types.CodeType))
    return {*code.co_names}.union(*(_names(c) for c in inner))
