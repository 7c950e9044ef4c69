"""What the ground looks like: directions, the objective along them, and paths laid over it."""

from sandbox.landscape.directions import directions
from sandbox.landscape.paths import Projection, project, window
from sandbox.landscape.surface import blame, line, plane
from sandbox.landscape.survey import Survey, survey

__all__ = ["Projection", "Survey", "blame", "directions", "line", "plane", "project", "survey", "window"]
