"""The recipe of a sweep: what it takes to know what was run, and to run it again."""

import platform
import subprocess
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from sandbox import store as stores
from sandbox.engine.lanes import Plan
from sandbox.sweeps.space import Space


def describe(where: Space, plan: Plan, fingerprints: Mapping[str, str]) -> dict[str, Any]:
    """Axes, plan, fingerprints of the programs, versions, device, precision, as JSON takes them."""
    device = jax.local_devices()[0]
    return {
        "format": stores.FORMAT,
        "dims": {name: list(labels) for name, labels in where.dims.items()},
        "coordinates": list(where.lanes()),
        "plan": plan._asdict() | {"outer": list(plan.outer)},
        "fingerprints": dict(fingerprints),
        "versions": {name: version(name) for name in ("sandbox", "jax", "jaxlib", "numpy", "xarray", "zarr")},
        "python": platform.python_version(),
        "device": f"{plan.devices} × {device.platform} ({device.device_kind})",
        "commit": _commit(),
        "x64": bool(jax.config.jax_enable_x64),  # type: ignore[attr-defined]
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "compile_seconds": 0.0,
        "run_seconds": 0.0,
    }


def plan_of(recipe: Mapping[str, Any]) -> Plan:
    """The plan that a store was made with."""
    return Plan(**{**recipe["plan"], "outer": tuple(recipe["plan"]["outer"])})


def merge(recipe: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe of a store that grows: the labels and programs of both, all else as it was."""
    dims = {
        name: [*labels, *(v for v in new["dims"][name] if v not in labels)] for name, labels in recipe["dims"].items()
    }
    return {**recipe, "dims": dims, "fingerprints": {**recipe["fingerprints"], **new["fingerprints"]}}


def conflict(recipe: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """Why a store cannot take these lanes, in words; None when it can."""
    if recipe["format"] != new["format"]:
        return f"was written in format {recipe['format']}, this version writes {new['format']}"
    if recipe["coordinates"] != new["coordinates"]:
        return f"has the axes {', '.join(recipe['coordinates'])}, this sweep has {', '.join(new['coordinates'])}"
    known = recipe["fingerprints"]
    if any(known.get(name, mark) != mark for name, mark in new["fingerprints"].items()):
        precision = "" if recipe["x64"] == new["x64"] else f" (float64 was {'on' if recipe['x64'] else 'off'})"
        return f"was made by another program: code, data, steps or dtypes differ{precision}"
    return None


def _commit() -> str | None:
    """The commit that the working folder is at, where there is one."""
    try:
        shown = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            capture_output=True,
            text=True,
            timeout=5,
            cwd=Path.cwd(),
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return shown.stdout.strip() or None
