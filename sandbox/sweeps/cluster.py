"""Ray: every program of a sweep as a task of its own, on this machine or a cluster, tried again where a worker is lost.

The process that sweeps keeps the store: tasks send it their chunks one by one, so that what a lost worker had finished
is not lost with it, and no folder need be shared.
"""

import os
import time
from typing import Any

import jax
import numpy as np

from sandbox.engine.lanes import Plan
from sandbox.sweeps.lane import Computed, Work, program, settings
from sandbox.sweeps.progress import bar

RETRIES = 3  # of a task whose worker is lost
AHEAD = 4  # chunks that a task may have sent before the first of them is taken


def address_of(executor: str) -> str | None:
    """Where Ray runs: "ray" is a cluster of the environment's (RAY_ADDRESS) or else this machine, "ray:HEAD:PORT" or
    "ray://HEAD:PORT" that one. ValueError for another word."""
    word, _, rest = executor.partition(":") if isinstance(executor, str) else ("", "", "")
    if word != "ray":
        raise ValueError(f"executor={executor!r}: expected 'ray', 'ray:auto' or 'ray://HEAD:PORT' for a cluster")
    return executor if rest.startswith("//") else rest or None


def compute(task: tuple, work: Work, progress: bool, planning: float) -> Computed:
    """Each chunk that is to do, in the order in which tasks send them.

    `task` is what a worker makes each program of: (fn, space, keep). Seconds are those of all workers together.
    """
    import ray

    task_of: Any = ray.remote
    fn, where, keep = task
    seconds = {"compile_seconds": planning, "run_seconds": 0.0}
    options = {"num_gpus": 1} if jax.default_backend() == "gpu" else {"num_cpus": 1}
    ahead = {"_generator_backpressure_num_objects": AHEAD}
    remote = task_of(max_retries=RETRIES, num_returns="streaming", **ahead, **options)(_work)
    bare = where._replace(static={}, dims={})
    shares: dict[tuple, list[tuple[int, dict[str, np.ndarray]]]] = {}
    for start, labels, lanes in work.chunks():
        shares.setdefault(labels, []).append((start, lanes))
    streams: list[Any] = []
    for labels, share in shares.items():
        made_of = fn, {name: where.static[name][label] for name, label in labels}, bare, keep
        streams.append(remote.remote(made_of, settings(), work.programs[labels].fingerprint, work.plan, share))
    try:
        with bar(len(work.todo) * work.plan.chunk, progress) as advance:
            while streams:
                stream: Any = ray.wait(streams)[0][0]
                try:
                    start, block, spent = _fetched(next(stream))
                except StopIteration:
                    streams.remove(stream)
                    continue
                seconds = {name: seconds[name] + spent[name] for name in seconds}
                yield start, block, seconds
                advance(work.plan.chunk)
    finally:
        for stream in streams:
            ray.cancel(stream, force=True)


def join(executor: str) -> None:
    """Connect to the cluster, or start Ray here; what is connected already stays so."""
    address = address_of(executor)
    try:
        import ray
    except ImportError:
        raise ValueError(f"executor={executor!r} needs Ray: pip install 'sandbox[ray]'") from None
    if not ray.is_initialized():
        # Ray warns at every start of what it will once do with GPUs that a task did not ask for.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            ray.init(address=address, log_to_driver=False, configure_logging=False, include_dashboard=False)
        except ConnectionError as error:
            raise ValueError(f"no Ray cluster at {address}: {error}; start one there with ray start --head") from None


def _fetched(ref: Any) -> Any:
    """What a task sent; RuntimeError with what to do where it could not be finished."""
    import ray

    try:
        return ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        raise error.as_instanceof_cause() from None
    except ray.exceptions.RayError as error:
        raise RuntimeError(
            f"a task was lost {RETRIES + 1} times ({type(error).__name__}), as when memory is short; with store=... "
            "the same call goes on from what was finished: give each task less with plan=Plan(…) of fewer groups"
        ) from error


def _work(
    task: tuple, configuration: dict[str, Any], mark: str, plan: Plan, share: list[tuple[int, dict[str, np.ndarray]]]
) -> Computed:
    """In a worker: the chunks of one program, under the settings of the process that sweeps."""
    for name, value in configuration.items():
        jax.config.update(name, value)
    began = time.perf_counter()
    mine = program(*task)
    if mine.fingerprint != mark:
        raise ValueError("a worker traced another program than this process; have the same code and versions on both")
    executable = mine.executable(plan)
    spent = time.perf_counter() - began
    for start, lanes in share:
        began = time.perf_counter()
        block = mine.block(executable(lanes))
        yield start, block, {"compile_seconds": spent, "run_seconds": time.perf_counter() - began}
        spent = 0.0
