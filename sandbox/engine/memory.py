"""Memory: what a sweep may take, what its program needs, and a plan that fits."""

import math
import os
from collections.abc import Callable
from pathlib import Path

from sandbox.engine.lanes import Plan

SHARE = 0.6  # of the memory that the machine has to spare, where nothing is said
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def room(memory: int | str | None = None) -> int:
    """Bytes that may still be taken: up to `memory` ("2GB" or a number) with all that this process holds already.

    Without a limit, a share of what is available. Raises ValueError for a limit that is none, or already passed.
    """
    if memory is None:
        return int(SHARE * _available())
    limit, held = _bytes(memory), _resident()
    if limit <= held:
        raise ValueError(f"memory={memory!r}: this process holds {readable(held)} already; allow more than that")
    return limit - held


def fit(plan: Plan, room: int, needs: Callable[[Plan], int]) -> Plan:
    """The plan, cut until its program needs no more than `room` bytes: fewer groups in a call, then narrower ones."""
    while (needed := needs(plan)) > room:
        excess = math.ceil(needed / max(room, 1))
        if plan.groups > plan.devices:
            cut = plan._replace(groups=plan.devices * max(1, plan.groups // plan.devices // excess))
        elif plan.width > 1:
            cut = plan._replace(width=max(1, plan.width // excess))
        elif plan.devices > 1:
            cut = plan._replace(groups=1, devices=1)
        else:
            raise ValueError(
                f"one lane alone needs {readable(needed)}, and {readable(room)} are left; allow more memory"
            )
        plan = cut._replace(
            reason=f"{plan.reason}; cut to fit {readable(room)}" if "; cut" not in plan.reason else plan.reason
        )
    return plan


def readable(size: float) -> str:
    """A number of bytes as one reads it: 2.1 GB."""
    unit = max((u for u in UNITS if u and UNITS[u] <= max(size, 1)), key=UNITS.__getitem__)
    return f"{size / UNITS[unit]:.3g} {unit}"


def _bytes(memory: int | str) -> int:
    """A number of bytes, from "2GB" or a number."""
    digits = str(memory).strip().rstrip("KMGTB").strip()
    unit = str(memory).strip()[len(digits) :].strip()
    try:
        size = int(float(digits) * UNITS[unit])
    except (ValueError, KeyError, OverflowError):
        size = 0
    if size < 1:
        raise ValueError(f"memory={memory!r}: expected a number of bytes, or text like '2GB'")
    return size


def _available() -> int:
    """What the machine can give without swapping: Linux knows it; elsewhere, half of all there is."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _resident() -> int:
    """What this process holds, where the system tells it."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
