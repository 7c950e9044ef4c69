"""From words to things: catalogue names, `file.py:name`, and name=value settings."""

import ast
import difflib
import functools
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from pathlib import Path
from types import NoneType
from typing import Any, get_args

from sandbox.problems.problem import Problem
from sandbox.sweeps.halving import Budget
from sandbox.sweeps.space import Axis, linear, log, static

_OWN = "_sandbox_"  # begins the names of the modules that files of the user become
_A = {"problem": "a Problem", "optimizer": "an optimizer, with init and update,"}


def named(kind: str, name: str, catalogue: Any, names: Iterable[str]) -> Callable[..., Any]:
    """A factory by its catalogue name, or `name` from `file.py:name`, which may also be the thing itself.

    `file.py` alone is the file's `problem` or `optimizer`, whichever is wanted.
    """
    file, colon, attribute = (name, ":", kind) if name.endswith(".py") else name.rpartition(":")
    if colon:
        return _making(kind, name, from_file(kind, Path(file), attribute))
    known = sorted(names)
    if name not in known:
        raise ValueError(f"no {kind} is called '{name}'{nearest(name, known)}; `sandbox list` shows all {len(known)}")
    return _making(kind, name, getattr(catalogue, name))


def _making(kind: str, name: str, make: Any) -> Callable[..., Any]:
    """A factory of problems or optimizers that says in one line why it makes none."""

    def wanted(thing: Any) -> bool:
        return isinstance(thing, Problem) if kind == "problem" else hasattr(thing, "init") and hasattr(thing, "update")

    if wanted(make):
        return lambda: make
    if not callable(make):
        raise ValueError(f"{name} is of type {type(make).__name__}; expected {_A[kind]} or a function that makes one")

    @functools.wraps(make)
    def made(**given: Any) -> Any:
        try:
            thing = make(**given)
        except TypeError as error:
            shown = ", ".join(f"{word}={value}" for word, value in given.items()) or "no settings"
            raise ValueError(f"{name} makes nothing of {shown}: {str(error).partition(chr(10))[0]}") from error
        if not wanted(thing):
            raise ValueError(f"{name} makes something of type {type(thing).__name__}; expected {_A[kind]}")
        return thing

    return made


def from_file(kind: str, file: Path, attribute: str) -> Any:
    """What a Python file calls `attribute`."""
    spec = importlib.util.spec_from_file_location(_OWN + file.stem, file) if file.is_file() else None
    if spec is None or spec.loader is None:
        raise ValueError(f"{file}: no such Python file; a {kind} of your own is written file.py:name")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"{file} cannot be imported: {type(error).__name__}: {error}") from error
    if not hasattr(module, attribute):
        own = [n for n in vars(module) if not n.startswith("_")]
        raise ValueError(f"{file} defines no '{attribute}'{nearest(attribute, own)}")
    return getattr(module, attribute)


def told(error: Exception) -> str | None:
    """What is wrong with what the user gave, in one line, and where in a file of theirs; None of another error."""
    place, plain = _place(error), isinstance(error, ValueError | RuntimeError | OverflowError)
    if not (place or plain):
        return None
    name, text = type(error).__name__, str(error)
    return (" ".join(text.split()) or name if plain else f"{name}: {text.partition(chr(10))[0]}") + place


def _place(error: BaseException | None) -> str:
    """' (mine.py, line 7)', the innermost line of a file of the user's that an error or its cause came from, if any."""
    while error:
        for frame, line in reversed([*traceback.walk_tb(error.__traceback__)]):
            if str(frame.f_globals.get("__name__")).startswith(_OWN):
                return f" ({Path(frame.f_code.co_filename).name}, line {line})"
        error = error.__cause__
    return ""


def accepts(kind: str, name: str, factory: Callable[..., Any], given: Iterable[str]) -> None:
    """ValueError for a setting that the factory does not have."""
    parameters = inspect.signature(factory).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    for word in given:
        if word not in parameters:
            own = list(parameters)
            raise ValueError(f"{kind} {name} has no '{word}'{nearest(word, own)}; it has {', '.join(own) or 'none'}")


def numeric(kind: str, name: str, factory: Callable[..., Any], given: Mapping[str, Iterable[Any]]) -> None:
    """ValueError for values that are no numbers where the factory says that it takes numbers and no text."""
    for word, parameter in inspect.signature(factory).parameters.items():
        kinds = set(get_args(parameter.annotation) or [parameter.annotation])
        if kinds.isdisjoint({int, float, bool}) or kinds & {Any, str}:
            continue
        for value in given.get(word, ()):
            if not isinstance(value, Real) and not (value is None and NoneType in kinds):
                raise ValueError(f"{kind} {name}: {word}={value!r} is no number; expected one, or True or False")


def traceable(factory: Callable[..., Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """The axes, with sizes and switches, which decide the program itself, as static ones."""
    parameters = inspect.signature(factory).parameters
    fixed = {name for name in found if name in parameters and parameters[name].annotation in (int, bool)}
    return {name: static(*values) if name in fixed else values for name, values in found.items()}


def drawable(path: Path | None, kinds: Iterable[str] = (".png", ".svg", ".pdf")) -> None:
    """ValueError for a figure that could not be written, before anything is computed for it."""
    kinds = tuple(kinds)
    if path and not (path.suffix.lower() in kinds and path.parent.is_dir() and os.access(path.parent, os.W_OK)):
        raise ValueError(
            f"{path}: a figure cannot be written there; expected a name that ends in {', '.join(kinds)}, "
            "in a folder that exists and can be written"
        )


def settings(texts: Iterable[str], option: str = "--set") -> dict[str, Any]:
    """["b1=0.9", "nesterov=True"] as {"b1": 0.9, "nesterov": True}: Python literals, else text."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (equals and name.isidentifier()):
            raise ValueError(f"'{text}': expected name=value, like learning_rate=0.1")
        _once(option, name, found)
        found[name] = literal(value)
    return found


def axes(texts: Iterable[str], counted: bool = True) -> dict[str, Axis | list[Any]]:
    """["learning_rate=log:1e-4:1:64", "b1=0.9,0.95"] as the axes of a sweep, or of a search, without counts."""
    found: dict[str, Axis | list[Any]] = {}
    for text in texts:
        name, equals, spec = text.partition("=")
        if not (equals and name.isidentifier() and spec):
            raise ValueError(f"axis '{text}': expected name=log:LOW:HIGH:COUNT, name=linear:… or name=a,b,c")
        _once("--axis", name, found)
        kind, *numbers = spec.split(":")
        ranges: Mapping[str, Callable[..., Axis]] = {"log": log, "linear": linear}
        if kind in ranges:
            found[name] = _range(text, ranges[kind], numbers, counted)
        elif numbers:
            raise ValueError(f"axis '{text}': no range is called '{kind}'{nearest(kind, ranges)}; take log or linear")
        else:
            found[name] = [literal(value) for value in spec.split(",")]
    return found


def budget(text: str) -> Budget:
    """ "60s", "2e6 steps" or "1e6 gradients" as a budget."""
    number = text.rstrip("abcdefghijklmnopqrstuvwxyz ")
    unit = text[len(number) :].strip()
    units = {"s": "seconds", "seconds": "seconds", "steps": "steps", "gradients": "gradients"}
    try:
        amount = float(number)
    except ValueError:
        amount = 0.0
    if unit not in units or not amount > 0:
        raise ValueError(f"budget '{text}': expected a time like 60s, or an effort like 2e6steps or 1e6gradients")
    return Budget(**{units[unit]: amount})


def _once(option: str, name: str, found: Mapping[str, Any]) -> None:
    if name in found:
        raise ValueError(f"{option} {name}=… was given twice; give all its values in one, like --axis {name}=a,b")


def _range(text: str, make: Callable[..., Axis], numbers: list[str], counted: bool) -> Axis:
    """log:1e-4:1:64 as log(1e-4, 1.0, 64)."""
    if len(numbers) != 3 and (counted or len(numbers) != 2):
        raise ValueError(f"axis '{text}': expected three numbers, LOW:HIGH:COUNT, like log:1e-4:1:64")
    try:
        low, high, count = float(numbers[0]), float(numbers[1]), int(numbers[2]) if numbers[2:] else None
    except ValueError:
        raise ValueError(f"axis '{text}': LOW and HIGH are numbers and COUNT is a whole one") from None
    try:
        return make(low, high, count)
    except ValueError as error:
        raise ValueError(f"axis '{text}': {error}") from None


def literal(text: str) -> Any:
    """A Python literal, or the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def nearest(word: str, known: Iterable[str]) -> str:
    """' (did you mean …?)', or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]}?)" if close else ""
