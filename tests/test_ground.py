"""The ground: its claims hold, and each fails where training, a line, a plane or a scale is another."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from oracles.claims import fails, sound

from experiments import ground
from sandbox import landscape, problems, tree
from sandbox.reproduction import Part

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("away")]
FALLS, ENDS, BARRIER, NONE = "steepest rise", "walks end", "another start", "shared beginning"
NEWTON, LENGTH = "Newton's step", "length / the network's"
COLUMN, ROW, LOST = "middle column", "middle row", "without a finite value"
OUTPUTS, LEAST, LAST, FILTER, PLAIN = (
    "scaled: outputs", "second layer's, least", "scaled by 100: sharpness", "filter-normalised line", "plain line",
)  # fmt: skip
LINE, PLANE, NORMALIZED, SHARP = landscape.line, landscape.plane, landscape.normalized, ground.sharpness


def holed(*given, **options):
    """A plane whose first point is lost."""
    return PLANE(*given, **options).at[0, 0].set(jnp.nan)


BROKEN = {  # the part, what is broken in it, by what, and parts of the names of the claims that fail
    "from the end to the start": (
        "walks", "sandbox.landscape.line", lambda f, c, u, a, **o: LINE(f, c, u, a[::-1], **o), {FALLS, ENDS},
    ),
    "all from one start": (
        "walks", "experiments.ground.at",
        lambda nets, when, *place: jax.tree.map(lambda x: x[(place[0], 0, *place[2:])], nets[when]), {BARRIER},
    ),
    "no shared beginning": (
        "walks", "experiments.ground.at",
        lambda nets, when, *place: jax.tree.map(lambda x: x[(place[0], max(place[1:]), 0)], nets[when]), {NONE},
    ),
    "lines to one side": (
        "lines", "sandbox.landscape.line", lambda f, c, u, a, **o: LINE(f, c, u, a + 0.2, **o), {NEWTON},
    ),
    "directions twice as long": (
        "lines", "sandbox.landscape.normalized", lambda d, p, *o: tree.scale(2.0, NORMALIZED(d, p, *o)), {LENGTH},
    ),
    "rows for columns": (
        "map_and_surface", "sandbox.landscape.plane", lambda f, c, u, v, a, b: PLANE(f, c, v, u, a, b), {COLUMN, ROW},
    ),
    "a lost corner": ("map_and_surface", "sandbox.landscape.plane", holed, {ROW, LOST}),
    "layers normalised": (
        "scaled", "sandbox.landscape.normalized", lambda d, p: tree.scale(tree.norm(p), d), {FILTER},
    ),
    "a second layer that is not scaled back": (
        "scaled", "experiments.ground.rescaled",
        lambda layers, c: [tree.scale(c, layers[0]), layers[1]], {OUTPUTS, LEAST, LAST, FILTER},
    ),
    "no gradient": (
        "scaled", "experiments.ground.sharpness", lambda *given: SHARP(*given) * jnp.array([0.5, 1.0]), {LEAST, LAST},
    ),
    "no scale": ("scaled", "experiments.ground.rescaled", lambda layers, c: layers, {LEAST, LAST, PLAIN}),
}  # fmt: skip


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sandbox.reproduction.results", lambda *given: tmp_path_factory.mktemp("nets"))
        return ground.networks(True)


def test_ground():
    sound(ground.main(fast=True), 14, 7, BROKEN)


@pytest.mark.parametrize(("part", "name", "broken", "expected"), BROKEN.values(), ids=BROKEN)
def test_broken_ground(monkeypatch, nets, part, name, broken, expected):
    given = [ground.lines(True, nets)[1]] if part == "map_and_surface" else []
    monkeypatch.setattr(name, broken)
    found = getattr(ground, part)(True, nets, *given)
    first = found if isinstance(found, Part) else found[0]
    fails(first.claims, expected)


def test_sharpness_is_the_largest_eigenvalue_of_the_dense_hessian(x64):
    problem = problems.digits_mlp(hidden=(2,))
    params = problem.init(jax.random.key(3))
    begin = landscape.direction(params, jax.random.key(4), normalization="none")
    whole, block = ground.sharpness(problem.objective, params, begin, steps=400)
    flat, back = ravel_pytree(params)
    H = np.asarray(jax.hessian(lambda x: problem.objective(back(x)))(flat))
    weights = params[1]["w"].size
    top = lambda H: np.linalg.eigvalsh(H)[-1]
    assert whole == pytest.approx(top(H), rel=1e-8)
    assert block == pytest.approx(top(H[-weights:, -weights:]), rel=1e-8)  # b comes before w


def test_newton_s_step_is_exact_for_a_parabola():
    assert ground.newton(lambda a: 3 * (a - 0.25) ** 2 + 1) == pytest.approx(0.25)
