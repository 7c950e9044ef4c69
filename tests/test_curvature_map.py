"""The map of curvature: its claims, whole and broken; symmetries, averages and ends beside all eigenvalues."""

import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from oracles.claims import fails, sound

from experiments import curvature_map
from sandbox import tree

L2 = curvature_map.L2
SHIFT, CONVEX, INSIDE = "λmin / l2", "least curvature of the picture", "softmax: share of the picture's"
FLAT, TURN, WITHIN, LOOKS = "layers, trained", "min(s, 2 l2 − s", "beyond them", "looks convex"
END, SCALE, CHANCE = "rectifiers, trained", "rectifiers: λmin less", "random directions"


def bumps(here):
    """Every other point as high as the plane is."""
    return here["loss"] + 1e3 * here["loss"].max() * (np.indices(here["loss"].shape).sum(0) % 2)


BROKEN = {  # whose claims, of which ground, what its plane shows in place of itself, and the claims that fail
    "a penalty that is twice as large": ("shifted", 0, {"least": lambda h: 2 * h["least"]}, {SHIFT}),
    "a picture upside down": ("shifted", 0, {"loss": lambda h: -h["loss"]}, {CONVEX, INSIDE}),
    "the picture's curvature above the largest": ("shifted", 0, {"largest": lambda h: 1e-2 * h["largest"]}, {INSIDE}),
    "a saddle in place of the minimum": ("rotated", 1, {"least": lambda h: h["least"] - 1e-4}, {FLAT}),
    "slopes of the wrong sign": ("rotated", 1, {"turn": lambda h: -np.abs(h["largest"])}, {TURN}),
    "a convex ground": ("rotated", 1, {"least": lambda h: h["least"].clip(0)}, {TURN, LOOKS}),
    "a picture with bumps": ("rotated", 1, {"loss": bumps}, {WITHIN, LOOKS}),
    "a largest eigenvalue that is a mean": ("rotated", 1, {"largest": lambda h: 1e-2 * h["largest"]}, {WITHIN}),
    "rectifiers that end in a saddle": ("scaled", 2, {"least": lambda h: h["least"] - 0.1 * h["largest"]}, {END}),
    "scales without a factor of two": ("scaled", 2, {"scale": lambda h: 20 * h["scale"]}, {SCALE}),
}  # fmt: skip


@pytest.fixture(scope="module")
def looked(tmp_path_factory):
    """The three grounds, and all that is found of them."""
    kept, grounds = curvature_map.grounds, []
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sandbox.reproduction.results", lambda *given: folder)
        patch.setattr(
            curvature_map, "grounds", lambda *given: grounds.extend(kept(*given)) or grounds[-len(given[2]) :]
        )
        found = curvature_map.main(fast=True)
    return grounds, found


@pytest.mark.slow
def test_curvature_map(looked):
    sound(looked[1], 10, 12, {**BROKEN, "chance": ({CHANCE},)})  # a panel and a scale of colours, six times


@pytest.mark.slow
@pytest.mark.parametrize(("claims", "number", "fields", "expected"), BROKEN.values(), ids=BROKEN)
def test_broken_ground(looked, claims, number, fields, expected):
    ground = looked[0][number]
    here = {**ground.here, **{name: broken(ground.here) for name, broken in fields.items()}}
    fails(getattr(curvature_map, claims)(ground._replace(here=here)), expected)


@pytest.mark.slow
def test_random_directions_that_are_longer(looked):
    ground = looked[0][1]
    trained = ground.sweeps[0]
    fails(curvature_map.chance(ground._replace(sweeps=(trained.assign(seen=1.2 * trained.seen),))), {CHANCE})


def hessian(problem, params):
    flat, back = ravel_pytree(params)
    return np.asarray(jax.jit(jax.hessian(lambda x: problem.objective(back(x))))(flat))


@pytest.fixture(scope="module", params=[curvature_map.LINEAR, curvature_map.RECTIFIED], ids=["linear", "rectified"])
def small(request):
    """A network of three hidden units, not trained; and its Hessian."""
    with jax.enable_x64(True):
        problem = curvature_map.problem({"first": (3, 17), "second": (10, 3)}, request.param)
        params = tree.scale(1.5, problem.init(jax.random.key(1)))
        return request.param, problem, params, hessian(problem, params)


def curved(H, v):
    flat = np.asarray(ravel_pytree(v)[0])
    return flat @ H @ flat, flat @ flat


@pytest.mark.slow
def test_what_a_gradient_says_is_the_curvature_along_a_symmetry(small, x64):
    """vᵀHv of every rotation of two units, and of every unit's scale, by the dense Hessian."""
    leak, problem, params, H = small
    slope = jax.grad(problem.objective)(params)
    said = curvature_map.symmetries(params, slope)
    scales = []
    for unit in np.eye(3):
        A = np.diag(unit)
        bends, square = curved(H, {"first": A @ params["first"], "second": -params["second"] @ A})
        scales.append(bends / square)
    np.testing.assert_allclose(said["scale"], min(scales), rtol=1e-9)
    assert np.linalg.eigvalsh(H)[0] <= said["scale"] + 1e-12
    if leak == curvature_map.LINEAR:
        turns = []
        for i, j in ((0, 1), (0, 2), (1, 2)):
            A = np.zeros((3, 3))
            A[i, j], A[j, i] = 1, -1
            turns.append(curved(H, {"first": A @ params["first"], "second": -params["second"] @ A}))
        bends, squares = np.sum(turns, 0)
        np.testing.assert_allclose(said["turn"], bends / squares, rtol=1e-9)
        assert np.linalg.eigvalsh(H)[0] <= said["turn"] + 1e-12


@pytest.mark.slow
def test_the_ends_are_those_of_all_eigenvalues(small, x64):
    _, problem, params, H = small
    found = jax.jit(lambda params: curvature_map.ends(problem, params))(params)
    values = np.linalg.eigvalsh(H)
    np.testing.assert_allclose([found["least"], found["largest"]], values[[0, -1]], atol=1e-6 * values[-1])
    np.testing.assert_allclose(found["loss"], problem.objective(params), rtol=1e-12)


@pytest.mark.slow
def test_the_average_over_directions_is_one_over_spheres(small, x64):
    """Uniform on a sphere for each filter: E dᵀHd = Σ ‖w‖² tr H_w / dim w, by loops over the filters."""
    _, problem, params, H = small
    diagonal, law, place = np.diag(H), 0.0, 0
    for leaf in ("first", "second"):
        for w in np.asarray(params[leaf]):
            law += w @ w * diagonal[place : place + len(w)].mean()
            place += len(w)
    found = jax.jit(lambda params: curvature_map.directed(problem, params))(params)
    np.testing.assert_allclose(found["law"], law, rtol=1e-9)
    seen = np.asarray(found["seen"])
    assert abs(seen.mean() - law) <= 4 * seen.std(ddof=1) / len(seen) ** 0.5


def test_softmax_has_the_penalty_s_curvature_at_any_weights(x64):
    problem = curvature_map.problem(curvature_map.ONE, 1.0)
    H = hessian(problem, problem.init(jax.random.key(2)))
    np.testing.assert_allclose(np.linalg.eigvalsh(H)[:17], L2, rtol=1e-9)  # one for each feature


def test_the_curvature_of_a_parabola_is_its_own():
    """x = a u + b v: ½ xᵀHx has uᵀHu / uᵀu along u, and so on, in cells of any size."""
    rng = np.random.default_rng(0)
    at, directions = np.linspace(-1, 1, 5), rng.normal(size=(2, 4))
    H = np.diag([-1.0, 0.5, 2.0, 3.0])
    x = at[:, None, None] * directions[0] + at[None, :, None] * directions[1]
    here = {"loss": np.einsum("abi,ij,abj->ab", x, H, x) / 2, "least": np.full((5, 5), -1.0)}
    ground = curvature_map.Ground("", at, {**here, "largest": np.full((5, 5), 3.0)}, directions @ directions.T)
    curvature, lowest, highest = curvature_map.bends(ground)
    for way, found in zip(curvature_map.WAYS, curvature, strict=True):
        d = np.array(way) @ directions
        np.testing.assert_allclose(found, d @ H @ d / (d @ d), rtol=1e-9)
    assert curvature_map.beyond(ground) == 0
    assert (lowest == -1).all()
    assert (highest == 3).all()
    assert curvature_map.beyond(ground._replace(here={**ground.here, "largest": np.full((5, 5), curvature.min())})) > 0
