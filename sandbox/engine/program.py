"""A function of one point, traced once: what it computes, what it costs, and which inputs reach the random keys."""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core
from jax.interpreters import partial_eval

JITTED = {"jit", "pjit"}
KEYED = {"random_seed", "random_wrap", "random_fold_in", "random_split", "random_bits", "threefry2x32"}
LAPACK = {"cholesky", "eig", "eigh", "geqp3", "geqrf", "hessenberg", "householder_product", "lu", "ormqr", "qr"}
LAPACK |= {"schur", "svd", "triangular_solve", "tridiagonal", "tridiagonal_solve"}
FOURIER = {"fft"}
FLOPS, BYTES = 1e11, 2e10  # a second on one core, of matrix products and of everything else, very roughly


class Cost(NamedTuple):
    """A rough price of one point, read off the traced program."""

    seconds: float  # on one core
    working_set: int  # bytes that the busiest loop body touches
    output: int  # bytes returned


class Traced:
    """fn(**point) as a jaxpr with its constants apart, so that they are arguments of what is compiled.

    `rows`, of the structure of the outputs, says of each whether it is a table of one row a step: see `lanes.lower`.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        point: dict[str, jax.ShapeDtypeStruct],
        rows: Callable[[Any], Sequence[bool]] | None = None,
    ) -> None:
        self.names = tuple(point)
        closed, self.out = jax.make_jaxpr(lambda *xs: fn(**dict(zip(point, xs, strict=True))), return_shape=True)(
            *point.values()
        )
        self.jaxpr, self.consts = closed.jaxpr, _held(closed.consts)
        self.avals = tuple(point.values())
        self.rows = tuple(rows(self.out)) if rows else (False,) * len(self.jaxpr.outvars)

    def __call__(self, consts: tuple, *point: Any) -> list[jax.Array]:
        """The flat outputs at a point; `out` is their structure."""
        return self.evaluate(self.jaxpr, consts, *point)

    def evaluate(self, jaxpr: core.Jaxpr, consts: tuple, *point: Any) -> list[jax.Array]:
        """The same from these equations, which are the program's own or stand for them."""
        return jax.core.eval_jaxpr(jaxpr, consts, *point)

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.jaxpr, self.consts)

    @cached_property
    def keyed(self) -> frozenset[str]:
        """The inputs on which random keys depend: lanes that share them share their starts and minibatches."""
        inputs = [frozenset([name]) for name in self.names]
        nothing: frozenset[str] = frozenset()
        reached: set[str] = set()
        _flow(self.jaxpr, [nothing] * len(self.jaxpr.constvars), inputs, reached)
        return frozenset(reached)

    @cached_property
    def cost(self) -> Cost:
        seconds, working_set = _price(self.jaxpr, [True] * len(self.jaxpr.invars))
        return Cost(seconds, working_set, sum(size(v.aval) for v in self.jaxpr.outvars))

    @cached_property
    def matrices(self) -> int:
        """How many matrices a point gives to LAPACK at once, at most; 0 where none are, 2 or more for Fourier's.

        One that follows from no input is the same for all points, and not given again for each.
        """
        live, _ = partial_eval.dce_jaxpr(self.jaxpr, [True] * len(self.jaxpr.outvars))
        own, most = set(live.invars), 0
        for eqn in live.eqns:
            mine = any(v in own for v in eqn.invars if not isinstance(v, core.Literal))
            own |= set(eqn.outvars) if mine else set()
            most = max(most, count if (count := _matrices(eqn)) > 1 or mine else 0)
        return most


def _held(consts: Sequence[Any]) -> tuple:
    """Constants of NumPy as arrays of their own: JAX takes one that a trace still holds for the same in any precision.

    While the trace lives in which jnp.asarray(x) became double, it is double where only single precision is on too
    (jax 0.10), and programs are remembered.
    """
    with jax.ensure_compile_time_eval():
        return tuple(jnp.array(c) if isinstance(c, np.ndarray) else c for c in consts)


def fingerprint(jaxpr: core.Jaxpr, consts: tuple) -> str:
    """A hash of everything that decides the result: equations, shapes and constants, but no names or comments."""
    digest = hashlib.sha256()
    for part in _describe(jaxpr):
        digest.update(part)
    for const in consts:
        digest.update(_bytes(const))
    return digest.hexdigest()


def play(jaxpr: core.Jaxpr, consts: Any, args: Any, scan: Callable[[Any, list], list] | None = None) -> list[Any]:
    """The equations one after another, those of jitted functions among them; with `scan`, this in a loop's place."""
    env = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))
    for eqn in jaxpr.eqns:
        ins = [v.val if isinstance(v, core.Literal) else env[v] for v in eqn.invars]
        if scan is not None and eqn.primitive.name == "scan":
            outs = scan(eqn.params, ins)
        elif eqn.primitive.name in JITTED:
            outs = play(eqn.params["jaxpr"].jaxpr, eqn.params["jaxpr"].consts, ins, scan)
        else:
            with eqn.ctx.manager:
                result = eqn.primitive.bind(*ins, **eqn.primitive.get_bind_params(eqn.params))
            outs = result if eqn.primitive.multiple_results else [result]
        env |= dict(zip(eqn.outvars, outs, strict=True))
    return [v.val if isinstance(v, core.Literal) else env[v] for v in jaxpr.outvars]


def inside(params: dict[str, Any]) -> Iterator[tuple[Any, list]]:
    """The jaxprs inside an equation's parameters, each with its constants."""
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, core.ClosedJaxpr):
                yield item.jaxpr, list(item.consts)
            elif isinstance(item, core.Jaxpr):
                yield item, []


def _describe(jaxpr: Any) -> Iterator[bytes]:
    """The program as bytes, variables numbered in order of appearance."""
    number: dict[Any, int] = {}

    def atom(v: Any) -> bytes:
        if isinstance(v, core.Literal):
            return b"literal" + _bytes(v.val) + str(v.aval).encode()
        return f"{number.setdefault(v, len(number))}:{v.aval}".encode()

    yield from (atom(v) for v in (*jaxpr.constvars, *jaxpr.invars))
    for eqn in jaxpr.eqns:
        yield eqn.primitive.name.encode()
        yield from (atom(v) for v in eqn.invars)
        for name, value in sorted(eqn.params.items()):
            yield name.encode()
            if not any(True for _ in inside({name: value})):
                yield _plain(value)
        for inner, consts in inside(eqn.params):
            yield from _describe(inner)
            yield from (_bytes(c) for c in consts)
        yield from (atom(v) for v in eqn.outvars)
    yield from (atom(v) for v in jaxpr.outvars)


def _plain(value: Any) -> bytes:
    """A parameter's value without memory addresses: functions and objects count by their name."""
    if isinstance(value, np.ndarray | jax.Array):
        return _bytes(value)
    if isinstance(value, tuple | list):
        return b"(" + b",".join(_plain(item) for item in value) + b")"
    if isinstance(value, dict):
        return b"{" + b",".join(_plain(k) + _plain(value[k]) for k in sorted(value, key=str)) + b"}"
    if callable(value) and not isinstance(value, type):
        return getattr(value, "__qualname__", type(value).__qualname__).encode()
    if isinstance(value, np.dtype):
        return repr(np.dtype(value.type)).encode()  # one that was read from a file calls itself '<f8'
    text = repr(value)
    return (type(value).__qualname__ if " at 0x" in text else text).encode()


def _bytes(x: Any) -> bytes:
    """An array's shape, dtype and content."""
    if jax.dtypes.issubdtype(getattr(x, "dtype", None), jax.dtypes.prng_key):
        x = jax.random.key_data(x)
    a = np.asarray(x)
    return f"{a.shape}{a.dtype}".encode() + np.ascontiguousarray(a).tobytes()


def _flow(jaxpr: Any, consts: list[frozenset], args: list[frozenset], reached: set[str]) -> list[frozenset]:
    """Which inputs each output depends on; those that a random primitive reads are added to `reached`.

    Inner programs of an equation are followed with each of their inputs where the two agree in number, else with all
    of them; loops are followed until their carry stops growing.
    """
    source: dict[Any, frozenset] = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))
    read = lambda v: frozenset() if isinstance(v, core.Literal) else source.get(v, frozenset())
    for eqn in jaxpr.eqns:
        ins = [read(v) for v in eqn.invars]
        everything = frozenset().union(*ins)
        if eqn.primitive.name in KEYED:
            reached |= everything
        outs = [everything] * len(eqn.outvars)
        for inner, inner_consts in inside(eqn.params):
            exact = len(inner.invars) == len(ins)
            into = list(ins) if exact else [everything] * len(inner.invars)
            while True:
                out = _flow(inner, [frozenset()] * len(inner_consts), into, reached)
                if eqn.primitive.name != "scan":
                    break
                first, carried = eqn.params["num_consts"], eqn.params["num_carry"]
                grown = [into[first + i] | out[i] for i in range(carried)]
                if grown == into[first : first + carried]:
                    break
                into[first : first + carried] = grown
            outs = out if exact and len(out) == len(outs) else outs
        source |= dict(zip(eqn.outvars, outs, strict=True))
    return [read(v) for v in jaxpr.outvars]


def _matrices(eqn: Any) -> int:
    name, shape = eqn.primitive.name, eqn.invars[0].aval.shape if eqn.invars else ()
    batch = shape[: -1 if name == "tridiagonal_solve" else -2]  # whose first input is a diagonal
    own = math.prod(batch) if name in LAPACK else 2 if name in FOURIER else 0
    return max([own, *(_matrices(e) for j, _ in inside(eqn.params) for e in j.eqns)])


def size(aval: Any) -> int:
    return math.prod(getattr(aval, "shape", ())) * getattr(getattr(aval, "dtype", None), "itemsize", 4)


def _price(jaxpr: Any, own: list[bool]) -> tuple[float, int]:
    """Seconds on one core, and the bytes touched by one pass of the part that costs most, of what is a point's `own`:
    what follows from constants alone is computed once for all points that go together."""
    mine = {v for v, is_own in zip(jaxpr.invars, own, strict=True) if is_own}
    seconds, touched, loops = 0.0, 0, []
    for eqn in jaxpr.eqns:
        reads = [not isinstance(v, core.Literal) and v in mine for v in eqn.invars]
        if not any(reads):
            continue
        mine |= set(eqn.outvars)
        inner = []
        for j, _ in inside(eqn.params):
            into = reads if len(j.invars) == len(reads) else [True] * len(j.invars)
            if eqn.primitive.name == "scan":  # what is carried becomes a point's own, if it is not yet
                first, carried = eqn.params["num_consts"], eqn.params["num_carry"]
                into = [*into[:first], *[True] * carried, *into[first + carried :]]
            inner.append(_price(j, into))
        if eqn.primitive.name in ("scan", "while"):
            loops += [(eqn.params.get("length", 1) * s, b) for s, b in inner]
        elif inner:
            seconds += sum(s for s, _ in inner)
            touched += sum(b for _, b in inner)
        else:
            out = sum(size(v.aval) for v in eqn.outvars)
            seconds += out / BYTES + _flops(eqn) / FLOPS
            touched += out
    _, working_set = max([(seconds, touched), *loops])
    return seconds + sum(s for s, _ in loops), working_set


def _flops(eqn: Any) -> int:
    """Of the two primitives that dominate where they occur: 2 · outputs · terms summed for each."""
    if eqn.primitive.name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        terms = math.prod(eqn.invars[0].aval.shape[i] for i in contracted)
    elif eqn.primitive.name == "conv_general_dilated":
        terms = math.prod(eqn.invars[1].aval.shape) // max(eqn.outvars[0].aval.shape[1], 1)
    else:
        return 0
    return 2 * math.prod(eqn.outvars[0].aval.shape) * terms
