"""Every test sees two CPU devices and strict arrays."""

import os

os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # half of all the time is compilation

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 2)
os.environ.setdefault("MPLBACKEND", "agg")


@pytest.fixture
def x64():
    """Double precision for the length of one test: oracles are compared at 1e-9, not at 1e-5."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def key():
    return jax.random.key(0)
