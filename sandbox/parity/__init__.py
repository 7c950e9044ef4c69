"""Each optimizer beside its Optax twin, step by step in double precision."""

from sandbox.parity.cases import RANGES, settings
from sandbox.parity.table import DTYPES, TOLERANCE, Row, keeps_dtypes, rows, traces, validate
from sandbox.parity.trajectories import CURVES, SHAPES, STEPS, advance, deviation, distance, stepper, trajectory
from sandbox.parity.twins import twin

__all__ = [
    "CURVES",
    "DTYPES",
    "RANGES",
    "SHAPES",
    "STEPS",
    "TOLERANCE",
    "Row",
    "advance",
    "deviation",
    "distance",
    "keeps_dtypes",
    "rows",
    "settings",
    "stepper",
    "traces",
    "trajectory",
    "twin",
    "validate",
]
