"""The landscape: every cell is the function at its point, filters keep their lengths, projections are least squares."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.errors import refused

from sandbox import landscape, losses, optimizers, problems
from sandbox.engine import run
from sandbox.problems import Problem

EPS = np.finfo(float).eps


def rosenbrock(x, y):
    return 100 * (y - x**2) ** 2 + (1 - x) ** 2


def network():
    """A bias, a layer with a dead output row, and whatever else: a tree with leaves of all kinds."""
    rng = np.random.default_rng(5)
    w = rng.normal(size=(4, 3))
    w[2] = 0
    return [{"w": jnp.asarray(w), "b": jnp.asarray(rng.normal(size=4))}, {"w": jnp.asarray(rng.normal(size=(2, 4)))}]


def test_every_cell_is_at_its_place(x64):
    """L = 10a + b on three rows and five columns: tall grids must not come out wide, nor rows be shifted by a cell."""
    a, b = np.array([-1.0, 0.5, 2.0]), np.array([-3.0, -1.0, 0.0, 1.0, 4.0])
    e1, e2 = jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0])
    found = landscape.plane(lambda x: 10 * x[0] + x[1], jnp.zeros(2), e1, e2, a, b)
    np.testing.assert_array_equal(found, [[10 * s + t for t in b] for s in a])
    assert found.shape == (3, 5)


def test_rosenbrock_is_that_of_numpy(x64):
    problem = problems.rosenbrock()
    x, y = np.linspace(-2, 2, 33), np.linspace(-1, 3, 21)
    u, v = landscape.directions(jnp.ones(2), jax.random.key(0))
    found = landscape.plane(problem, jnp.zeros(2), u, v, x, y)
    np.testing.assert_allclose(found, rosenbrock(x[:, None], y[None, :]), rtol=16 * EPS, atol=64 * EPS)
    np.testing.assert_allclose(
        landscape.line(problem, jnp.array([0.0, 0.5]), u, x), rosenbrock(x, 0.5), rtol=16 * EPS, atol=64 * EPS
    )


def test_a_plane_of_a_quadratic_is_a_quadratic(x64):
    """f(c + au + bv) = f(c) + a⟨g, u⟩ + b⟨g, v⟩ + ½(a² uᵀHu + 2ab uᵀHv + b² vᵀHv), with parameters in a tree."""
    rng = np.random.default_rng(0)
    root, c, u, v = rng.normal(size=(7, 7)), *rng.normal(size=(3, 7))
    h = root @ root.T
    pack = lambda x: {"w": jnp.asarray(x[:6]).reshape(2, 3), "b": jnp.asarray(x[6])}
    unpack = lambda p: jnp.append(p["w"].ravel(), p["b"])
    f = lambda p: unpack(p) @ jnp.asarray(h) @ unpack(p) / 2
    a, b = np.linspace(-2, 3, 9), np.linspace(-1, 1, 4)
    s, t = a[:, None], b[None, :]
    known = c @ h @ c / 2 + s * (c @ h @ u) + t * (c @ h @ v) + (s**2 * (u @ h @ u) + t**2 * (v @ h @ v)) / 2
    known = known + s * t * (u @ h @ v)
    found = landscape.plane(f, pack(c), pack(u), pack(v), a, b)
    np.testing.assert_allclose(found, known, rtol=1e-12, atol=1e-12)


def test_the_penalty_belongs_to_the_ground_and_all_data_is_seen(x64):
    rng = np.random.default_rng(1)
    X, y, u = rng.normal(size=(9, 3)), rng.normal(size=9), rng.normal(size=3)
    a = np.linspace(-1, 1, 5)
    problem = problems.lasso(X, y, 0.3, fit_intercept=False)
    found = landscape.line(problem, {"w": jnp.zeros(3)}, {"w": jnp.asarray(u)}, a)
    known = [((y - X @ (s * u)) ** 2).mean() / 2 + 0.3 * np.abs(s * u).sum() for s in a]
    np.testing.assert_allclose(found, known, rtol=1e-12)


@pytest.mark.parametrize("batch_size", [4, *(pytest.param(n, marks=pytest.mark.slow) for n in (None, 1, 100))])
def test_batches_of_points_agree_with_one_point_alone(batch_size, x64):
    problem = problems.digits_mlp(hidden=(5,))
    centre = problem.init(jax.random.key(1))
    u, v = landscape.directions(centre, jax.random.key(2))
    a, b = np.array([-0.5, 0.0, 1.0]), np.array([-1.0, 0.25, 0.0])
    found = landscape.plane(problem, centre, u, v, a, b, batch_size=batch_size)
    alone = [
        [problem.objective(jax.tree.map(lambda x, d, e: x + s * d + t * e, centre, u, v)) for t in b]  # noqa: B023
        for s in a
    ]
    np.testing.assert_allclose(found, alone, rtol=64 * EPS)


def test_memory_is_bounded_by_the_batch():
    """A function that fans out to 10⁶ numbers a point: a thousand points at once would take 4 GB."""
    wide = lambda x: jnp.sum(jnp.sin(jnp.arange(1e6) * x[0] + x[1]))
    e1, e2 = landscape.directions(jnp.zeros(2), jax.random.key(0))
    grid = np.linspace(-1, 1, 32)
    fn = lambda: landscape.plane(wide, jnp.zeros(2), e1, e2, grid, grid)
    sizes = []
    original = jax.lax.map

    def spied(f, xs, *, batch_size=None):
        sizes.append(np.shape(xs)[1] if batch_size is None else batch_size)  # groups of so many, or so many at a time
        return original(f, xs, batch_size=batch_size)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax.lax, "map", spied)
        jax.eval_shape(fn)
    assert sizes
    assert max(sizes) <= 4


def test_nothing_is_altered():
    """What is not finite stays what it is, its neighbours too, and the centre is the same object with the same bits."""
    centre = jnp.array([0.0, 3.0])
    before = np.asarray(centre).tobytes()
    e1, e2 = landscape.directions(centre, jax.random.key(0))
    log = lambda x: jnp.log(x[0]) + 0 * x[1]
    found = np.asarray(landscape.plane(log, centre, e1, e2, [-1.0, 0.0, 1.0, jnp.e], [0.0, 1.0]))
    np.testing.assert_array_equal(np.isnan(found[:, 0]), [True, False, False, False])
    assert found[1].tolist() == [-np.inf, -np.inf]
    np.testing.assert_allclose(found[2:], [[0, 0], [1, 1]], atol=1e-6)
    assert np.asarray(centre).tobytes() == before


def test_a_plane_may_be_traced():
    e1, e2 = landscape.directions(jnp.zeros(2), jax.random.key(0))
    at = lambda c: landscape.plane(lambda x: jnp.sum(x**2), c, e1, e2, jnp.arange(3.0), jnp.arange(2.0))
    np.testing.assert_allclose(jax.jit(at)(jnp.ones(2)), at(jnp.ones(2)), rtol=1e-6)
    np.testing.assert_allclose(jax.grad(lambda c: at(c).sum())(jnp.zeros(2)), [12.0, 6.0], rtol=1e-6)


def test_each_filter_has_the_length_of_the_weights(x64):
    """Rows of our own (out, in) matrices, whole biases; a dead filter stays where it is."""
    params = network()
    for d in landscape.directions(params, jax.random.key(3)):
        for k in (0, 1):
            own, drawn = (np.linalg.norm(tree[k]["w"], axis=1) for tree in (params, d))
            np.testing.assert_allclose(drawn, own, rtol=8 * EPS)
        assert not np.asarray(d[0]["w"][2]).any()
        np.testing.assert_allclose(np.linalg.norm(d[0]["b"]), np.linalg.norm(params[0]["b"]), rtol=8 * EPS)
        columns = np.linalg.norm(d[0]["w"], axis=0) / np.linalg.norm(params[0]["w"], axis=0)
        assert np.ptp(columns) > 1e-3, "columns are no filters"


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(6, (3, 3))(x[..., None]))
        x = nn.LayerNorm()(x.mean((1, 2)))
        return nn.Dense(3)(x)


@pytest.mark.slow
def test_filters_of_flax_are_along_the_last_axis(x64):
    """Kernels are (height, width, in, out) and (in, out)."""
    rng = np.random.default_rng(0)
    problem = problems.from_flax(Net(), rng.normal(size=(4, 5, 5)), np.arange(4) % 3, losses.softmax_cross_entropy)
    params = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), problem.init(jax.random.key(0)))
    u, v = landscape.directions(params, jax.random.key(1))
    for name, axes in (("Conv_0", (0, 1, 2)), ("Dense_0", (0,))):
        for d in (u, v):
            lengths = [np.sqrt((np.asarray(p[name]["kernel"]) ** 2).sum(axis=axes)) for p in (params, d)]
            np.testing.assert_allclose(*lengths, rtol=8 * EPS)
    for name, leaf in (("LayerNorm_0", "scale"), ("LayerNorm_0", "bias"), ("Conv_0", "bias")):
        np.testing.assert_allclose(
            np.linalg.norm(u[name][leaf]), np.linalg.norm(params[name][leaf]), rtol=8 * EPS, err_msg=name
        )
    assert np.isfinite(landscape.plane(problem, params, u, v, [-1.0, 1.0], [0.0])).all()


def test_random_directions_are_gaussian_keyed_and_nearly_orthogonal(x64):
    params = {"w": jnp.ones((100, 100)), "b": jnp.ones(100)}
    u, v = (np.asarray(d["w"]) for d in landscape.directions(params, jax.random.key(0), normalization="none"))
    n = u.size
    cosine = (u * v).sum() / np.linalg.norm(u) / np.linalg.norm(v)
    assert abs(cosine) < 5 / np.sqrt(n), "five standard deviations; directions from U[0, 1] have 0.75"
    for d in (u, v):
        assert abs(d.mean()) < 5 / np.sqrt(n)
        assert abs((d**2).mean() - 1) < 5 * np.sqrt(2 / n)
        assert abs((d**4).mean() - 3) < 5 * np.sqrt(96 / n)
    again = landscape.directions(params, jax.random.key(0), normalization="none")[0]["w"]
    np.testing.assert_array_equal(again, u)
    assert not np.array_equal(landscape.directions(params, jax.random.key(1), normalization="none")[0]["w"], u)


@pytest.mark.slow
def test_rescaling_a_rectifier_network_leaves_its_filter_normalised_ground_as_it_is(x64):
    """Layer one times 8, layer two by 8: the same function, and the same line through it (Li et al. 2018)."""
    problem = problems.digits_mlp(hidden=(4,))
    first, second = problem.init(jax.random.key(0))
    scaled = [jax.tree.map(lambda x: 8 * x, first), {**second, "w": second["w"] / 8}]
    a = np.linspace(-1, 1, 7)
    lines = {}
    for normalization in ("filter", "none"):
        lines[normalization] = [
            landscape.line(problem, p, landscape.directions(p, jax.random.key(1), normalization=normalization)[0], a)
            for p in ([first, second], scaled)
        ]
    np.testing.assert_allclose(*lines["filter"], rtol=1e-10)
    assert not np.allclose(*lines["none"], rtol=0.01)


@pytest.mark.parametrize(
    "params", [jnp.array([3.0, 4.0]), {"b": jnp.array(2.0), "w": jnp.array([5.0])}, jnp.array([[0.0], [0.0]])]
)
def test_two_variables_have_their_coordinate_axes(params):
    u, v = (np.concatenate([np.ravel(x) for x in jax.tree.leaves(d)]) for d in landscape.directions(params, None))
    assert (u.tolist(), v.tolist()) == ([1, 0], [0, 1])
    assert jax.tree.map(np.shape, landscape.directions(params, None)[0]) == jax.tree.map(np.shape, params)


def test_a_path_of_two_variables_is_where_it_is(x64):
    """Gradient descent on the bowl from (1, 1): the distance to (3, 4) shrinks by 0.8 in each step."""
    method, place = optimizers.gradient_descent(0.1), lambda info: {"x": info.params}
    r = run(problems.bowl(), method, steps=6, key=jax.random.key(0), record=place)
    u, v = landscape.directions(r.params, jax.random.key(0))
    found = landscape.project(r.trace["x"], jnp.zeros(2), u, v)
    steps = 0.8 ** np.arange(6)
    np.testing.assert_allclose(found.a, 3 - 2 * steps, rtol=8 * EPS)
    np.testing.assert_allclose(found.b, 4 - 3 * steps, rtol=8 * EPS)
    assert found.fraction < 8 * EPS


def test_projection_is_least_squares():
    """Directions of unequal length that are far from orthogonal; a path in the plane, and one that leaves it. All in
    double precision, whatever JAX computes in."""
    rng = np.random.default_rng(2)
    draw = lambda *lead: {"w": rng.normal(size=(*lead, 5, 4)), "b": rng.normal(size=(*lead, 3))}
    vector = lambda p: np.concatenate([p["b"].ravel(), p["w"].ravel()])
    centre, u, w = draw(), draw(), draw()
    v = {n: 0.9 * u[n] + 0.01 * w[n] for n in u}
    a, b = rng.normal(size=(2, 8))
    inside = {n: centre[n] + np.multiply.outer(a, u[n]) + np.multiply.outer(b, v[n]) for n in u}
    found = landscape.project(inside, centre, u, v)
    np.testing.assert_allclose(found.a, a, atol=1e-10)
    np.testing.assert_allclose(found.b, b, atol=1e-10)
    assert found.fraction < 1e-12

    path = draw(8)
    found = landscape.project(path, centre, u, v)
    basis = np.stack([vector(u), vector(v)], axis=1)
    for k in range(8):
        step = vector({n: path[n][k] for n in path}) - vector(centre)
        known, (residual,), *_ = np.linalg.lstsq(basis, step)
        np.testing.assert_allclose([found.a[k], found.b[k]], known, rtol=1e-9)
        np.testing.assert_allclose(found.outside[k] ** 2, residual, rtol=1e-9)
        np.testing.assert_allclose(found.distance[k], np.linalg.norm(step), rtol=1e-12)
    np.testing.assert_allclose(found.fraction**2, (found.outside**2).sum() / (found.distance**2).sum(), rtol=1e-12)


def test_a_path_at_right_angles_is_all_outside_and_one_that_stays_is_not():
    e = np.eye(3)
    still = np.zeros((4, 3))
    assert landscape.project(np.outer(np.arange(4), e[2]), np.zeros(3), e[0], e[1]).fraction == 1
    assert landscape.project(still, np.zeros(3), e[0], e[1]).fraction == 0
    np.testing.assert_allclose(landscape.project(e[:1] + e[2:], np.zeros(3), e[0], e[1]).fraction, 0.5**0.5)


def test_a_window_shows_the_points_and_no_runaway():
    domain = (np.array([-5.0, -5.0]), np.array([5.0, 5.0]))
    (x0, x1), (y0, y1) = landscape.window([[0.0, 0.0], [[2.0, 1.0], [1e9, 3.0], [np.nan, 0.0]]], domain, 0.25)
    np.testing.assert_allclose([x0, x1, y0, y1], [-0.5, 2.5, -1.0, 2.0])
    assert landscape.window([[1.0, 1.0]], domain) == ((-5, 5), (-5, 5))
    assert landscape.window([[1.0, 2.0]]) == ((0, 2), (1, 3))


def test_a_survey_of_two_variables_shows_them_and_the_exact_path(x64):
    """Newton's rate on the bowl: from (1, 1) to (3, 4) in one step, where gradient descent at ½ stays."""
    ground = landscape.survey(
        problems.bowl(), key=jax.random.key(0), optimizer=optimizers.gradient_descent(0.5), steps=2, points=11
    )
    assert (ground.normalization, ground.minimizers.tolist()) == ("axes", [[3, 4]])
    np.testing.assert_array_equal(np.stack([ground.path.a, ground.path.b], axis=1), [[1, 1], [3, 4], [3, 4]])
    x, y = ground.a[:, None], ground.b[None, :]
    np.testing.assert_allclose(ground.values, (x - 3) ** 2 + (y - 4) ** 2, rtol=1e-12, atol=1e-12)
    assert all(axis.min() < 1 and axis.max() > end for axis, end in ((ground.a, 3), (ground.b, 4)))


def test_a_survey_without_a_run_shows_the_domain_or_as_far_as_the_span():
    ground = landscape.survey(problems.himmelblau(), key=jax.random.key(0), points=3)
    assert (ground.a.tolist(), ground.b.tolist(), len(ground.minimizers)) == ([-5, 0, 5], [-5, 0, 5], 4)
    near = landscape.survey(problems.rosenbrock(), key=jax.random.key(0), span=0.5, points=3)
    assert (near.a.tolist(), near.b.tolist()) == ([0.5, 1, 1.5], [0.5, 1, 1.5])
    assert (ground.path, ground.run) == (None, None)


def test_a_survey_of_a_run_that_diverges_ends_where_it_was_last_finite(x64):
    """f = ½(x² + y²) at rate 3: the point is multiplied by −2 a step; every place kept is finite and its own."""
    problem = Problem("round", lambda key: jnp.array([1.0, -1.0]), lambda x: jnp.sum(x**2) / 2)
    ground = landscape.survey(
        problem, key=jax.random.key(0), optimizer=optimizers.gradient_descent(3.0), steps=2000, points=3, span=1.0
    )
    last = int(ground.run.diverged_at)
    assert 500 < last < 520  # (2ᵏ)² passes the largest double, 2¹⁰²⁴, at step 512
    np.testing.assert_array_equal(ground.path.a[:last], (-2.0) ** np.arange(last))
    assert np.isfinite(ground.path.a).all()


@pytest.mark.slow
def test_a_survey_of_a_network_is_around_the_end_of_its_run(x64):
    problem = problems.digits_mlp(hidden=(3,))
    method = optimizers.adam(0.01)
    ground = landscape.survey(problem, key=jax.random.key(4), optimizer=method, steps=301, batch_size=32, points=3)
    alone = jax.jit(lambda key: run(problem, method, steps=301, batch_size=32, key=key))(jax.random.key(4))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), ground.centre, alone.params)
    np.testing.assert_allclose(ground.values[1, 1], alone.value, rtol=1e-9)
    assert ground.normalization == "filter"
    np.testing.assert_allclose([ground.path.a[-1], ground.path.b[-1], ground.path.distance[-1]], 0, atol=1e-12)
    assert len(ground.path.a) <= 202
    start = problem.init(jax.random.split(jax.random.key(4), 3)[0])
    far = np.sqrt(sum(((a - b) ** 2).sum() for a, b in zip(*map(jax.tree.leaves, (start, alone.params)), strict=True)))
    np.testing.assert_allclose(ground.path.distance[0], far, rtol=1e-9)


def test_a_linear_model_that_starts_at_zero_has_plain_directions():
    ground = landscape.survey(problems.breast_cancer_logistic(), key=jax.random.key(0), points=3)
    assert ground.normalization == "none"
    np.testing.assert_allclose(ground.values[1, 1], np.log(2), rtol=1e-6)


def test_a_map_shows_every_value_and_leaves_gaps(tmp_path):
    """The lowest level starts at 0, the highest holds the highest value, and what is not finite is masked, no more."""
    import matplotlib.pyplot as plt

    from sandbox.report import maps

    a, b = np.linspace(0, 1, 4), np.linspace(0, 2, 3)
    values = 10.0 ** np.arange(12).reshape(4, 3)
    values[2, 1] = np.nan
    figure, ax = plt.subplots()
    maps.contours(ax, a, b, values)
    filled = ax.collections[0]
    assert filled.levels[0] == 0
    assert filled.levels[1] > 0
    assert filled.levels[-1] >= 1e11 - 1
    assert (filled.zmin, filled.zmax) == (0, 1e11 - 1)
    assert int(np.ma.count_masked(np.ma.masked_invalid(values))) == 1
    steps = np.diff(np.log(filled.levels[1:]))
    np.testing.assert_allclose(steps, steps[0], rtol=1e-9)
    maps.track(ax, [0.1, 0.2], [0.3, 0.4], "adam", minimizers=[[0.5, 0.6]])
    drawn = [tuple(map(float, line.get_xydata()[-1])) for line in ax.lines]
    assert {(0.2, 0.4), (0.1, 0.3), (0.5, 0.6)} <= set(drawn)
    with pytest.raises(ValueError, match="nothing to draw"):
        maps.contours(ax, a, b, np.full((4, 3), np.nan))
    maps.contours(ax, a, b, np.ones((4, 3)))
    plt.close(figure)


def bad_plane(**change):
    call = {"centre": jnp.zeros(3), "u": jnp.array([1.0, 2, 3]), "v": jnp.array([0.0, 1, 0]), "a": [0.0], "b": [0.0]}
    return landscape.plane(lambda x: jnp.sum(x**2), **{**call, **change})


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: bad_plane(v=jnp.array([-2.0, -4, -6])), "parallel"),
        (lambda: bad_plane(v=0.1 * jnp.array([1.0, 2, 3])), "parallel"),
        (lambda: bad_plane(v=jnp.zeros(3)), "direction v is zero"),
        (lambda: bad_plane(u=jnp.array([1.0, np.nan, 0])), "direction u is not finite"),
        (lambda: bad_plane(u=jnp.ones(2)), "direction u is not shaped like the centre"),
        (lambda: bad_plane(u={"w": jnp.ones(3)}), "direction u is not shaped like the centre"),
        (lambda: bad_plane(a=[]), r"a has shape \(0,\)"),
        (lambda: bad_plane(b=0.5), r"b has shape \(\)"),
        (lambda: bad_plane(batch_size=0), "batch_size=0"),
        (lambda: landscape.plane(lambda x: x, jnp.zeros(2), *jnp.eye(2), [0.0], [0.0]), r"shape \(2,\)"),
        (lambda: landscape.line(Problem("p", None, lambda x: x @ x), jnp.ones(2), jnp.zeros(2), [0.0]), "u is zero"),
        (lambda: landscape.directions(jnp.ones(1), jax.random.key(0)), "plane needs two parameters .* 1: draw a line"),
        (lambda: landscape.directions(jnp.zeros(3), jax.random.key(0)), "all parameters are zero"),
        (
            lambda: landscape.directions(jnp.ones(3), jax.random.key(0), normalization="row"),
            "'row': expected 'filter', 'layer'",
        ),
        (lambda: landscape.project(np.zeros((0, 3)), np.zeros(3), np.eye(3)[0], np.eye(3)[1]), "no steps"),
        (lambda: landscape.project(np.zeros((4, 3)), np.zeros(3), np.eye(3)[0], np.eye(3)[0]), "parallel"),
        (lambda: landscape.survey(problems.bowl(), key=jax.random.key(0), span=0.0), "span=0.0"),
        (lambda: landscape.survey(problems.bowl(), key=jax.random.key(0), points=2), "points=2"),
    ],
)
def test_bad_input_is_one_line(call, words):
    refused(call, words)
