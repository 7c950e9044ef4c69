"""One lane: what the swept function returns, as named arrays with named dimensions, traced once."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sandbox.engine.guard import OK
from sandbox.engine.lanes import Executable, Plan, exactly, gathered, lower
from sandbox.engine.loop import Run
from sandbox.engine.program import Traced
from sandbox.store import Variable
from sandbox.sweeps.remember import Changeable, meaning
from sandbox.sweeps.space import Space

REMEMBERED = 64  # programs, with the executables made of them
_memory: OrderedDict[Any, "Program"] = OrderedDict()


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Lane:
    """What one lane returns: arrays by name; the names of their dimensions; how many steps lie between two rows."""

    arrays: dict[str, jax.Array]
    dims: tuple[tuple[str, tuple[str, ...]], ...] = field(metadata={"static": True})
    every: int | None = field(metadata={"static": True})


@dataclass(frozen=True, eq=False)
class Program:
    """A traced function and the executables made of it, by plan."""

    traced: Traced
    executables: dict[Plan, Executable]
    alive: list[Any]  # what must not be freed while this is remembered by identity

    @property
    def variables(self) -> dict[str, Variable]:
        """Name, dimensions, shape and dtype of every result."""
        shapes = self.traced.out.arrays
        return {
            name: Variable(dims, shapes[name].shape, str(shapes[name].dtype)) for name, dims in self.traced.out.dims
        }

    @property
    def fingerprint(self) -> str:
        """Of what is computed, and of what the results are called."""
        names = repr((self.traced.out.dims, self.traced.out.every))
        return hashlib.sha256((self.traced.fingerprint + names).encode()).hexdigest()

    def lower(self, plan: Plan) -> Callable[[], Executable]:
        """What waits for the program for a chunk: compiled beside this thread, if it was not before."""
        if plan in self.executables:
            return lambda: self.executables[plan]
        ready = lower(self.traced, plan)
        return lambda: self.executables.setdefault(plan, ready())

    def executable(self, plan: Plan) -> Executable:
        """The program for a chunk, compiled at the first call."""
        return self.lower(plan)()

    def block(self, outputs: list[jax.Array]) -> dict[str, np.ndarray]:
        """The outputs of a chunk, once they are there."""
        names = jax.tree.leaves({name: name for name in self.traced.out.arrays})
        return {name: gathered(x, row) for name, x, row in zip(names, outputs, self.traced.rows, strict=True)}


class Work(NamedTuple):
    """What is to be computed: the chunks of a table of lanes that have these numbers, each by one of the programs."""

    programs: dict[tuple, Program]  # by their static labels
    plan: Plan
    table: dict[str, np.ndarray]
    todo: np.ndarray

    def chunks(self) -> Iterator[tuple[int, tuple, dict[str, np.ndarray]]]:
        """The first row, the labels of the program and the lanes of each."""
        for start in (self.todo * self.plan.chunk).tolist():
            lanes = {name: values[start : start + self.plan.chunk] for name, values in self.table.items()}
            yield start, next(key for key in self.programs if all(lanes[n][0] == v for n, v in key)), lanes


Computed = Iterator[tuple[int, dict[str, np.ndarray], dict[str, float]]]  # first row, variables, seconds until then


def program(fn: Callable[..., Any], fixed: Mapping[str, Any], where: Space, keep: str | None) -> Program:
    """fn with its static values filled in, traced at one point, or remembered from an earlier call."""
    point = {name: _abstract(name, values) for name, (_, values) in where.axes.items()}
    alive: list[Any] = []
    try:
        shapes = tuple((name, str(aval.dtype)) for name, aval in point.items())
        key = (meaning(fn, alive), meaning(dict(fixed), alive), shapes, keep, *settings().values())
    except Changeable:
        key = None
    if key in _memory:
        _memory.move_to_end(key)
        return _memory[key]
    made = Program(Traced(lambda **values: lane(fn(**values, **fixed), keep), point, _rows), {}, alive)
    if key is not None:
        _memory[key] = made
        while len(_memory) > REMEMBERED:
            _memory.popitem(last=False)
    return made


def _rows(out: Lane) -> list[bool]:
    """Which of the arrays hold one row a step, in the order in which they are put out."""
    dims = dict(out.dims)
    return jax.tree.leaves({name: dims[name][:1] == ("step",) for name in out.arrays})


def lane(result: Any, keep: str | None = None) -> Lane:
    """A Run, a dict of arrays or one array, as a Lane."""
    every = None
    if isinstance(result, Run):
        every = result.every
        arrays: dict[str, tuple[Any, tuple[str, ...]]] = {n: (x, ("step",)) for n, x in _named(result.trace)}
        own = {"status": result.status, "diverged_at": result.diverged_at, "value": result.value}
        own |= {f"params/{name}".rstrip("/"): x for name, x in _named(result.params)} if keep == "params" else {}
        for name in own.keys() & arrays.keys():
            raise ValueError(f"the record's '{name}' is the name of a result of every run; rename it")
        arrays |= {name: (x, ()) for name, x in own.items()}
    elif isinstance(result, dict):
        arrays = {"status": (OK, ())} | {name: (x, ()) for name, x in _named(result)}
    else:
        arrays = {"status": (OK, ()), "value": (result, ())}
    try:
        found = {name: (jnp.asarray(x), dims) for name, (x, dims) in arrays.items()}
    except (TypeError, ValueError):
        kind = type(result).__name__
        raise ValueError(f"the swept function returned {kind}; expected a Run, a dict of arrays or an array") from None
    dims = {n: (*lead, *(f"{n}_{i}" for i in range(len(lead), x.ndim))) for n, (x, lead) in found.items()}
    return Lane({n: x for n, (x, _) in found.items()}, tuple(dims.items()), every)


def _named(tree: Any) -> list[tuple[str, Any]]:
    """The leaves of a tree under their paths: {"a": {"b": x}} gives a/b."""
    paths = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [(jax.tree_util.keystr(path, simple=True, separator="/"), x) for path, x in paths]


def _abstract(name: str, values: np.ndarray) -> jax.ShapeDtypeStruct:
    """One value of an axis, weakly typed as a Python number is, so that a swept rate does not promote a half."""
    dtype = jax.dtypes.canonicalize_dtype(float if values.dtype.kind == "f" else int)
    exactly(name, values, dtype)  # here already, before a store is made for it
    return jax.ShapeDtypeStruct((), dtype, weak_type=True)


def settings() -> dict[str, Any]:
    """The settings of JAX that change what a trace means."""
    precision = ("jax_enable_x64", "jax_numpy_dtype_promotion", "jax_default_matmul_precision")
    names = (*precision, "jax_threefry_partitionable", "jax_default_prng_impl")
    return {name: getattr(jax.config, name) for name in names}
