"""What the ground looks like: directions, the objective along them, and paths laid over it."""

from sandbox.landscape.directions import (
    Principal,
    Triangle,
    direction,
    directions,
    normalized,
    principal,
    through,
    towards,
)
from sandbox.landscape.paths import Projection, project, window
from sandbox.landscape.surface import blame, line, plane, section
from sandbox.landscape.survey import Survey, survey

__all__ = [
    "Principal",
    "Projection",
    "Survey",
    "Triangle",
    "blame",
    "direction",
    "directions",
    "line",
    "normalized",
    "plane",
    "principal",
    "project",
    "section",
    "survey",
    "through",
    "towards",
    "window",
]
