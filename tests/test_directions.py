"""Directions: lengths by filter, layer and model; principal ones by an SVD; planes through points by Gram–Schmidt."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.errors import refused

from sandbox import landscape
from sandbox.landscape.directions import flat, unflat
from sandbox.problems import Problem

EPS = np.finfo(float).eps
RNG = np.random.default_rng(3)


def tree(*lead):
    return {"w": RNG.normal(size=(*lead, 4, 3)), "b": RNG.normal(size=(*lead, 4))}


def vector(params):
    return np.concatenate([np.ravel(params["b"]), np.ravel(params["w"])])


def path(count, rank=None):
    """Steps with decaying strengths along orthonormal vectors of 16 parameters, as a tree and as rows."""
    rank = rank or min(count, 16)
    left, right = (np.linalg.qr(RNG.normal(size=(n, rank)))[0] for n in (count, 16))
    rows = left * 0.5 ** np.arange(rank) @ right.T + RNG.normal(size=16)
    return {"b": rows[:, :4], "w": rows[:, 4:].reshape(count, 4, 3)}, rows


@pytest.mark.parametrize("normalization", ["filter", "layer", "model", "none"])
def test_lengths_are_those_of_the_parameters(normalization, x64):
    params, key = tree(), jax.random.key(0)
    drawn = landscape.direction(params, key, normalization="none")
    found = landscape.direction(params, key, normalization=normalization)
    groups = {
        "filter": [("w", 0), ("w", 1), ("w", 2), ("w", 3), ("b", slice(None))],
        "layer": [("w", slice(None)), ("b", slice(None))],
    }.get(normalization, [])
    for name, rows in groups:
        own, wanted, plain = (np.asarray(x[name])[rows] for x in (found, params, drawn))
        np.testing.assert_allclose(np.linalg.norm(own), np.linalg.norm(wanted), rtol=8 * EPS)
        np.testing.assert_allclose(own / np.linalg.norm(own), plain / np.linalg.norm(plain), rtol=8 * EPS)
    if normalization == "model":
        np.testing.assert_allclose(np.linalg.norm(vector(found)), np.linalg.norm(vector(params)), rtol=8 * EPS)
        ratio = vector(found) / vector(drawn)
        np.testing.assert_allclose(ratio, ratio[0], rtol=8 * EPS)


def test_a_direction_may_be_traced():
    params, key = tree(), jax.random.key(0)
    alone = landscape.direction(params, key)
    traced = jax.jit(lambda key: landscape.direction(params, key))(key)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), traced, alone)


def test_filters_of_a_flax_state_are_those_of_its_dict():
    """Every nnx.Param is a box around its array, whose path ends in `.value`; linen has boxes too."""
    nnx = pytest.importorskip("flax.nnx")
    params = {"conv": {"kernel": RNG.normal(size=(2, 2, 3, 4)), "bias": RNG.normal(size=4)}}
    state = nnx.State(jax.tree.map(lambda x: nnx.Param(jnp.asarray(x, np.float32)), params))
    known = landscape.direction(nnx.to_pure_dict(state), jax.random.key(0))
    found = landscape.direction(state, jax.random.key(0))
    assert jax.tree.structure(found) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, nnx.to_pure_dict(found), known)
    own, wanted = (np.linalg.norm(x["conv"]["kernel"].reshape(12, 4), axis=0) for x in (known, params))
    np.testing.assert_allclose(own, wanted, rtol=1e-5)


@pytest.mark.parametrize("count", [9, 40], ids=["Gram", "SVD"])
def test_principal_directions_are_those_of_an_svd(count, x64):
    steps, rows = path(count)
    found = landscape.principal(steps, 3)
    centred = rows - rows.mean(0)
    _, strength, right = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(found.shares, strength[:3] ** 2 / (strength**2).sum(), rtol=1e-10)
    np.testing.assert_allclose(vector(found.centre), rows.mean(0), rtol=1e-12)
    axes = np.stack([vector(d) for d in found.directions])
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(np.abs(np.sum(axes * right[:3], 1)), 1, atol=1e-12)
    assert (axes @ centred[-1] > 0).all(), "each points to where the path ends"


def test_a_path_in_a_plane_lies_in_its_principal_plane(x64):
    steps, _ = path(7, rank=2)
    found = landscape.principal(steps, 2)
    np.testing.assert_allclose(found.shares.sum(), 1, rtol=1e-12)
    assert landscape.project(steps, found.centre, *found.directions).fraction < 1e-7
    with pytest.raises(ValueError, match="varies along 2 directions"):
        landscape.principal(steps, 3)


def test_three_points_lie_where_their_plane_says(x64):
    points = [tree() for _ in range(3)]
    found = landscape.through(*points)
    u, v = vector(found.u), vector(found.v)
    np.testing.assert_allclose([u @ u, v @ v, u @ v], [1, 1, 0], atol=4 * EPS)
    for point, (a, b) in zip(points, found.places, strict=True):
        np.testing.assert_allclose(vector(points[0]) + a * u + b * v, vector(point), rtol=1e-12, atol=1e-12)
    values = landscape.plane(
        lambda p: jnp.sum(p["w"] ** 3) + jnp.sum(p["b"]), found.centre, found.u, found.v, *found.places[1:].T
    )
    np.testing.assert_allclose(values[0, 0], (points[1]["w"] ** 3).sum() + points[1]["b"].sum(), rtol=1e-10)
    np.testing.assert_allclose(values[1, 1], (points[2]["w"] ** 3).sum() + points[2]["b"].sum(), rtol=1e-10)


def test_towards_interpolates(x64):
    start, end = tree(), tree()
    found = landscape.line(lambda p: jnp.sum(p["w"]), start, landscape.towards(start, end), [0.0, 0.25, 1.0])
    a, b = start["w"].sum(), end["w"].sum()
    np.testing.assert_allclose(found, [a, 0.75 * a + 0.25 * b, b], rtol=1e-12)


@pytest.mark.parametrize(
    "join",
    [
        landscape.towards,
        lambda start, end: landscape.blame(jnp.sum, start, end),
        lambda start, end: landscape.curve(Problem("p", None, jnp.sum), start, end),
    ],
    ids=["towards", "blame", "curve"],
)
@pytest.mark.parametrize("end", [jnp.ones(4), {"w": jnp.ones(3)}], ids=["shape", "structure"])
def test_an_end_unlike_the_start_is_refused_in_the_same_words(join, end):
    refused(lambda: join(jnp.ones(3), end), "the end is not shaped like the start: a path joins parameters of one")


def test_flat_and_back(x64):
    params = {"w": RNG.normal(size=(2, 3)) + 1j * RNG.normal(size=(2, 3)), "b": RNG.normal(size=2)}
    back = unflat(flat(params), params)
    jax.tree.map(np.testing.assert_array_equal, back, params)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: landscape.direction(tree(), jax.random.key(0), normalization="row"), "'row': expected 'filter'"),
        (lambda: landscape.normalized(tree(), tree(), "rows"), "'rows'"),
        (lambda: landscape.direction(jnp.zeros(3), jax.random.key(0)), "all parameters are zero"),
        (lambda: landscape.principal({"w": np.zeros((0, 3))}), "no steps"),
        (lambda: landscape.principal({}), "no steps"),
        (lambda: landscape.principal({"w": np.zeros((4, 3)), "b": np.zeros(3)}), "no steps"),
        (lambda: landscape.principal(np.ones((4, 3))), "varies along 0 directions"),
        (lambda: landscape.principal(np.eye(4), 0), "k=0"),
        (lambda: landscape.principal(np.array([[1.0, 2], [np.nan, 3]])), "step 1 of the path is not finite"),
        (lambda: landscape.towards(np.ones(3), np.ones(3)), "the end is the start"),
        (lambda: landscape.through(np.zeros(3), np.ones(3), 3 * np.ones(3)), "on one line"),
        (lambda: landscape.through(np.zeros(3), np.ones(3), np.zeros(3)), "the end is the start"),
    ],
)
def test_bad_input_is_one_line(call, words):
    refused(call, words)
