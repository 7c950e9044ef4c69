"""A team: the processes of one sweep under jax.distributed, each with chunks of its own in a store that all see.

They compute apart, without a collective in their programs, and wait for one another only where the store is made, where
it is counted what is to do, and at the end. The first of them holds the store's lock and writes its recipe.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import jax
import numpy as np

from sandbox import store as stores


def join(store: str | os.PathLike | None) -> None:
    """Find the other processes, which Slurm, MPI, Kubernetes or a TPU's metadata tell JAX of; before its first array.
    ValueError where there is no word of them, or no store for them all."""
    if store is None:
        raise ValueError("a sweep of many processes needs a store, a folder that all of them see")
    try:
        jax.distributed.initialize()
    except ValueError as error:
        raise ValueError(
            f"no word of other processes ({error}): start this with srun, mpirun or the like, or in a script call "
            "jax.distributed.initialize(address, count, index)"
        ) from None


def leads() -> bool:
    """Whether this process is the first, or the only one."""
    return jax.process_index() == 0


def size() -> int:
    return jax.process_count()


def share(todo: np.ndarray) -> np.ndarray:
    """Every so many-th of what is to do, for this process."""
    return todo[jax.process_index() :: size()]


def meet(where: str) -> None:
    """Wait for the others; they must all come, in the same order of places."""
    if size() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(where)


@contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """The right to write a store, which the first process takes for all."""
    if leads():
        with stores.writing(path):
            yield
    else:
        yield
