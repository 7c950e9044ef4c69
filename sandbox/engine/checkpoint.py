"""Long runs: a run in pieces, each kept on disk, so that what ends it halfway takes no more than the last piece.

A checkpoint is all that it takes to go on: the step, the parameters, the optimizer's state and keys, what the guard saw
and the trace so far. Batches follow from the seed and the step. Pieces are compiled alike whether or not they follow
an interruption, so a resumed run equals an undisturbed one bit for bit.
"""

import math
import os
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sandbox import store as stores
from sandbox.engine.loop import Course, Place, Run, course_of
from sandbox.engine.program import Traced
from sandbox.problems.problem import Problem
from sandbox.types import Key, Metrics

KEPT = 2  # checkpoints: where the last is damaged there is the one before it

Arrays = dict[str, np.ndarray]


def long_run(
    problem: Problem,
    optimizer: Any,
    *,
    steps: int,
    key: Key,
    checkpoint: str | os.PathLike,
    save_every: int = 1000,
    minutes: float = 0.0,
    told: Callable[[int], None] | None = None,
    **options: Any,
) -> Run:
    """What `run` gives with these options, in pieces of `save_every` steps that are kept in the folder `checkpoint`.

        result = long_run(problem, optimizers.adam(1e-3), steps=10**6, key=key, checkpoint="results/long")

    The same call after an interruption goes on from the last piece that was kept: each, or with `minutes` the first
    after so many, and always the very last. A piece is whole rows of the trace, so `save_every` may be rounded up.
    `told(k)` is called when step k is reached. Raises store.OtherProgram for a folder that holds another run.
    """
    if save_every < 1 or not minutes >= 0:
        raise ValueError(f"save_every={save_every}, minutes={minutes}: expected a step or more, and no negative time")
    course = course_of(problem, optimizer, steps=steps, key=key, **options)
    every = options.get("every", 1)
    piece = min(math.ceil(save_every / every) * every, steps)
    program, advance = _program(course, piece)
    mark = f"{program} {steps}"
    with _folder(checkpoint) as (folder, manager):
        at, place, trace = _resume(manager, folder, mark, course, piece, every)
        kept = time.monotonic()
        while at < steps:
            if steps - at < piece:
                _, advance = _program(course, steps - at)
            place, rows = advance(place)
            trace = rows if at == 0 else jax.tree.map(lambda old, new: np.concatenate([old, new]), trace, rows)
            at = min(at + piece, steps)
            if at == steps or time.monotonic() - kept >= 60 * minutes:
                _keep(manager, at, mark, place, trace)
                kept = time.monotonic()
            if told:
                told(at)
    return jax.jit(course.finish)(place, trace)


def _program(course: Course, number: int) -> tuple[str, Callable[[Place], tuple[Place, Metrics]]]:
    """The fingerprint of so many steps from any place, and the steps themselves."""
    leaves, structure = jax.tree.flatten(jax.eval_shape(course.start))
    steps = lambda **place: course.advance(jax.tree.unflatten(structure, place.values()), number)
    traced = Traced(steps, {str(i): leaf for i, leaf in enumerate(leaves)})
    call, result = jax.jit(traced.__call__), jax.tree.structure(traced.out)
    return traced.fingerprint, lambda p: jax.tree.unflatten(result, call(traced.consts, *jax.tree.leaves(p)))


@contextmanager
def _folder(checkpoint: str | os.PathLike) -> Iterator[tuple[Path, Any]]:
    """A folder that no other process writes, and Orbax's keeper of numbered checkpoints, each whole or absent."""
    import orbax.checkpoint as ocp

    folder = Path(checkpoint).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        options = ocp.CheckpointManagerOptions(max_to_keep=KEPT, cleanup_tmp_directories=True)
        with stores.writing(folder), ocp.CheckpointManager(folder, options=options) as manager:
            yield folder, manager
    except OSError as error:
        raise ValueError(f"{folder}: cannot be written ({error.strerror or error}); choose another folder") from error


def _keep(manager: Any, step: int, mark: str, place: Place, trace: Metrics) -> None:
    import orbax.checkpoint as ocp

    arrays = {name: np.array(leaf) for name, leaf in _named(place, trace).items()}
    about = {"fingerprint": mark, "checksum": _checksum(arrays)}
    manager.save(step, args=ocp.args.Composite(arrays=ocp.args.StandardSave(arrays), about=ocp.args.JsonSave(about)))


def _resume(
    manager: Any, folder: Path, mark: str, course: Course, piece: int, every: int
) -> tuple[int, Place, Metrics]:
    """The last checkpoint that is whole, as its step, its place and the trace up to it; else the start."""
    place, rows = jax.eval_shape(lambda: course.advance(course.start(), piece))
    for step in sorted(manager.all_steps(), reverse=True):
        like = place, _longer(rows, step // every)
        try:
            arrays = _read(manager, step, mark, like)
        except stores.OtherProgram as error:
            raise stores.OtherProgram(f"{folder} {error}; give this one another folder") from None
        except Exception as error:  # of the many kinds that damage raises in Orbax's layers
            warnings.warn(f"{folder}: the checkpoint of step {step} is damaged ({type(error).__name__})", stacklevel=4)
            manager.delete(step)
        else:
            return step, *_tree(arrays, like)
    return 0, jax.jit(course.start)(), {}


def _read(manager: Any, step: int, mark: str, like: tuple[Place, Metrics]) -> Arrays:
    """The arrays of a checkpoint of this program; an exception of some kind where they are not what was written."""
    import orbax.checkpoint as ocp

    about = manager.restore(step, args=ocp.args.Composite(about=ocp.args.JsonRestore())).about
    if about["fingerprint"] != mark:
        raise stores.OtherProgram("holds a run of another program: code, data, steps, pieces or dtypes differ")
    wanted = {name: np.zeros(x.shape, x.dtype) for name, x in jax.eval_shape(_named, *like).items()}
    arrays = manager.restore(step, args=ocp.args.Composite(arrays=ocp.args.StandardRestore(wanted))).arrays
    if _checksum(arrays) != about["checksum"]:
        raise ValueError("the checksum of its arrays differs")
    return arrays


def _longer(rows: Metrics, number: int) -> Metrics:
    """The shapes of a trace with so many rows."""
    return jax.tree.map(lambda x: x.update(shape=(number, *x.shape[1:])), rows)


def _named(place: Place, trace: Metrics) -> dict[str, Any]:
    """The leaves of both, numbered, with random keys as the numbers that they are made of."""
    return {str(i): jax.random.key_data(x) if _is_key(x) else x for i, x in enumerate(jax.tree.leaves((place, trace)))}


def _tree(arrays: Arrays, like: tuple[Place, Metrics]) -> tuple[Place, Metrics]:
    """The leaves in their places again."""
    leaves, structure = jax.tree.flatten(like)
    impl = lambda x: jax.random.key_impl(jax.lax.empty((), x.dtype))
    typed = lambda data, x: jax.random.wrap_key_data(data, impl=impl(x)) if _is_key(x) else jnp.asarray(data)
    return jax.tree.unflatten(structure, [typed(arrays[str(i)], x) for i, x in enumerate(leaves)])


def _is_key(x: Any) -> bool:
    return bool(jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key))


def _checksum(arrays: Arrays) -> int:
    total = 0
    for name in sorted(arrays, key=int):
        total = zlib.crc32(np.ascontiguousarray(arrays[name]).tobytes(), total)
    return total
