"""Every test sees two CPU devices and strict arrays."""

import gc
import os
from pathlib import Path

# Two workers share two cores: a solver of SciPy that waits for threads of its own takes twice as long.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Most of the time is compilation and dispatch: as little of it as can be, in the thread that asks, and none of it
# twice, in another process or in the next run of the tests. `make test-all` compiles and dispatches as users do.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
if os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "1":
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")
    os.environ.setdefault("JAX_CPU_ENABLE_ASYNC_DISPATCH", "0")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "compiled"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 2)
os.environ.setdefault("MPLBACKEND", "agg")
# Millions of objects that live to the end are not searched for garbage again and again.
gc.set_threshold(200_000, 20, 1000)


@pytest.fixture
def x64():
    """Double precision for the length of one test: oracles are compared at 1e-9, not at 1e-5."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def away(tmp_path, monkeypatch):
    """An experiment's results go to a folder of the test's own."""
    from sandbox import reproduction

    monkeypatch.setattr(reproduction, "results", lambda experiment, fast: tmp_path / "results")


@pytest.fixture
def key():
    return jax.random.key(0)
