"""Sharpness-aware minimization, plateaus, pairs of real numbers, and what private gradients promise."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sandbox import optimizers, problems, tree
from sandbox.engine import run

SGD = functools.partial(optimizers.sgd, 0.1)


def climb(rho=0.05):
    return optimizers.chain(optimizers.normalize(), optimizers.sgd(rho))


def slope(x):
    return {"w": jnp.sin(3 * x["w"]) + x["w"], "b": x["b"] ** 3}


def start():
    return {"w": jnp.array([1.0, -2.0, 0.3]), "b": jnp.array(0.7)}


def follow(optimizer, x, steps, gradient=slope, **extra):
    state, path = optimizer.init(x), [x]
    for _ in range(steps):
        updates, state = optimizer.update(gradient(path[-1]), state, path[-1], **extra)
        path.append(optax.apply_updates(path[-1], updates))
    return path, state


# the direction of the gradient


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "complex64"])
def test_a_direction_has_length_one_or_there_is_none(dtype):
    g = {"a": jnp.full((300,), 20.0, dtype), "b": jnp.array([-7.0], dtype)}  # ‖g‖² is beyond float16
    direction = optimizers.normalize()
    found, _ = direction.update(g, direction.init(g))
    np.testing.assert_allclose(float(tree.norm(found)), 1.0, rtol=8 * float(jnp.finfo(dtype).eps))
    chex.assert_trees_all_equal(direction.update(tree.zeros_like(g), direction.init(g))[0], tree.zeros_like(g))


# sharpness-aware minimization


def test_two_updates_of_sam_are_one_in_opaque_mode(x64):
    """Step by step, every second point is one of the points that the opaque mode visits."""
    for period in (1, 2, 4):
        whole = optimizers.sam(SGD, climb(), period, opaque_mode=True)
        steps, _ = follow(optimizers.sam(SGD, climb(), period), start(), 3 * period)
        leaps, _ = follow(whole, start(), 3, grad_fn=lambda x, i: slope(x))
        for leap, step in zip(leaps, steps[::period], strict=True):
            chex.assert_trees_all_close(leap, step, rtol=1e-14)


def test_a_climb_has_length_rho_and_its_gradient_is_taken_at_the_top(x64):
    """Foret et al. 2021: x ← x − η ∇f(x + ρ ∇f(x) / ‖∇f(x)‖)."""
    rho, eta, x = 0.05, 0.1, start()
    (_, top, after), _ = follow(optimizers.sam(SGD, climb(rho)), x, 2)
    np.testing.assert_allclose(tree.norm(tree.sub(top, x)), rho, rtol=1e-14)
    chex.assert_trees_all_close(after, tree.sub(x, tree.scale(eta, slope(top))), rtol=1e-14)


def test_the_climb_is_told_which_of_its_gradients_is_asked_for():
    asked = []
    method = optimizers.sam(SGD, climb(), 4, opaque_mode=True)
    follow(method, start(), 1, grad_fn=lambda x, i: asked.append(i) or slope(x))
    assert asked == [0, 1, 2]


def test_the_gradient_at_the_top_is_the_mean_over_devices(x64):
    """Two halves of a batch climb together: the mean of both gradients moves each of them."""
    weights = jnp.array([0.5, 1.5])
    x, g = jnp.array([1.0, -2.0]), jnp.array([0.6, 0.8])
    method = optimizers.sam(SGD, climb(), opaque_mode=True, batch_axis_name="halves")
    half = lambda w: method.update(g, method.init(x), x, grad_fn=lambda y, i: w * y)[0]
    moves = jax.vmap(half, axis_name="halves")(weights)
    np.testing.assert_allclose(moves, np.tile(-0.1 * (x + 0.05 * g), (2, 1)), rtol=1e-14)


@pytest.mark.parametrize("make", [optimizers.sam, optax.contrib.sam])
def test_a_run_that_ends_on_a_climb_is_evaluated_where_it_began(make, key, x64):
    problem = problems.rosenbrock()
    four, five = (run(problem, make(SGD(), climb(), 4), steps=n, key=key) for n in (4, 5))
    chex.assert_trees_all_equal(five.params, four.params)
    assert float(five.value) == float(four.value)


def test_sam_without_a_step_is_refused():
    with pytest.raises(ValueError, match="sam: sync_period is 0; expected a number of steps of 1 or more"):
        optimizers.sam(SGD, climb(), 0)
    opaque = optimizers.sam(SGD, climb(), opaque_mode=True)
    with pytest.raises(ValueError, match="without grad_fn, which this optimizer needs"):
        opaque.update(start(), opaque.init(start()), start())


# plateaus


def scales(values, **arguments):
    """The scale after each of the values."""
    plateau = optimizers.reduce_on_plateau(**arguments)
    state, found = plateau.init(jnp.ones(1)), []
    for value in values:
        updates, state = plateau.update(jnp.ones(1), state, value=value)
        found.append(float(updates[0]))
    return found


def test_the_rate_falls_after_as_many_values_as_there_is_patience():
    assert scales([5.0, 5, 5, 5, 5, 5, 5], factor=0.5, patience=3) == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]
    assert scales([5.0, 5, 5, 4, 4, 4, 4], factor=0.5, patience=3) == [1, 1, 1, 1, 1, 1, 0.5]
    assert scales([5.0, 5, 5, 5, 5, 5], factor=0.5, patience=1, cooldown=2) == [1, 0.5, 0.5, 0.5, 0.25, 0.25]
    assert scales([5.0, 4, 5, 5, 4], factor=0.5, patience=0) == [1, 1, 0.5, 0.25, 0.125]


def test_an_improvement_within_the_tolerance_is_none():
    assert scales([10.0, 9.1, 8.9], factor=0.5, patience=1, rtol=0.1) == [1, 0.5, 0.5]
    assert scales([10.0, 9.1, 8.9], factor=0.5, patience=1, rtol=0.0, atol=1.0) == [1, 0.5, 0.5]


def test_half_precision_sees_small_improvements():
    """bfloat16 cannot tell 1.001ᵏ from 1.001ᵏ⁺¹."""
    plateau = optimizers.reduce_on_plateau(patience=1)
    state = plateau.init(jnp.ones(2, jnp.bfloat16))
    for k in range(8):
        updates, state = plateau.update(jnp.ones(2, jnp.bfloat16), state, value=jnp.float32(1.001**-k))
    assert updates.dtype == jnp.bfloat16
    assert float(state.scale) == 1.0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"factor": 1.0}, "factor is 1.0; expected a number between 0 and 1"),
        ({"rtol": 1.5}, "rtol is 1.5; expected a number from 0 to 1"),
        ({"atol": -1.0}, "atol is -1.0; expected a number from 0 up"),
        ({"rtol": 0.0}, r"rtol \+ atol is 0.0; expected a number above 0"),
    ],
)
def test_a_plateau_that_cannot_be_is_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        optimizers.reduce_on_plateau(**arguments)


# complex numbers as pairs


@pytest.mark.slow
def test_a_complex_array_is_two_real_ones(x64):
    """Adam on z = x + iy moves as Adam on (x, y), here through L-BFGS's line search, too, which calls the loss."""
    loss = lambda p: jnp.sum((p[0] - 1) ** 2 + 3 * (p[1] + p[0] ** 2) ** 2)
    on_pairs = lambda z: loss((z.real, z.imag))
    x, y = jnp.array([0.2, -0.5]), jnp.array([1.0, 0.4])
    for make in (functools.partial(optimizers.adam, 0.1), optimizers.lbfgs):
        real, split = make(), optimizers.split_real_and_imaginary(make)
        p, z = (x, y), jax.lax.complex(x, y)
        state, split_state = real.init(p), split.init(z)
        for _ in range(4):
            value, g = jax.value_and_grad(loss)(p)
            u, state = real.update(g, state, p, value=value, grad=g, value_fn=loss)
            g = jnp.conj(jax.grad(on_pairs)(z))
            v, split_state = split.update(g, split_state, z, value=value, grad=g, value_fn=on_pairs)
            p, z = tree.add(p, u), z + v
            np.testing.assert_allclose(z, p[0] + 1j * p[1], rtol=1e-12)


# private gradients


def test_one_example_moves_the_private_mean_by_2C_over_n(x64):
    """The sensitivity that the noise is made for: whatever replaces one example, ‖Δg‖ ≤ 2 C / n."""
    rng, clip, n = np.random.default_rng(0), 0.7, 8
    mean = optimizers.differentially_private_aggregate(clip, 0.0, 0)
    aggregate = lambda g: mean.update(g, mean.init(None))[0]
    for scale in (1e-2, 1.0, 1e6):
        g = {"w": rng.normal(size=(n, 3, 2)), "b": rng.normal(size=n)}
        other = {k: v.copy() for k, v in g.items()}
        other["w"][3], other["b"][3] = scale * rng.normal(size=(3, 2)), scale
        g, other = (jax.tree.map(jnp.asarray, x) for x in (g, other))
        assert tree.norm(tree.sub(aggregate(g), aggregate(other))) <= 2 * clip / n * (1 + 1e-12)
        assert tree.norm(aggregate(other)) <= clip * (1 + 1e-12)


def test_the_noise_has_the_deviation_that_was_asked_for():
    """σ C / n; of 40,000 numbers the sample's is within 5 % but for one chance in 10⁴⁰."""
    mean = optimizers.differentially_private_aggregate(2.0, 3.0, 5)
    noise, _ = mean.update({"w": jnp.zeros((4, 40_000))}, mean.init(None))
    np.testing.assert_allclose(jnp.std(noise["w"]), 3.0 * 2.0 / 4, rtol=0.05)


@pytest.mark.parametrize(
    ("g", "params"),
    [
        ({"a": jnp.ones((2, 3)), "b": jnp.ones(4)}, None),
        ({"a": jnp.ones(())}, None),
        ({"a": jnp.ones(3)}, {"a": jnp.ones(3)}),
    ],
)
def test_private_descent_refuses_what_is_not_stacked(g, params):
    method = optimizers.dpsgd(0.1, 1.0, 1.0, seed=0)
    with pytest.raises(ValueError, match="expected the gradients of single examples, stacked along a first axis"):
        method.update(g, method.init(g), params)


def test_a_key_goes_by_its_number_and_by_its_old_name():
    g = jnp.ones(3)
    first = lambda *args, **kwargs: follow(optimizers.noisy_sgd(0.1, *args, **kwargs), g, 1, lambda x: g)[0][1]
    same = first(0.5, 0.5, jax.random.key(7))
    for other in (first(0.5, 0.5, 7), first(0.5, 0.5, seed=7), first(0.5, 0.5, jnp.uint32(7))):
        np.testing.assert_array_equal(other, same)
    assert not np.allclose(first(0.5, 0.5), same)
    with pytest.raises(ValueError, match="key=1 and seed=2: seed is the old name of key; give key alone"):
        first(key=1, seed=2)


def test_polyak_s_step_is_exact_on_a_parabola(x64):
    """Of f = ‖x‖², the step (f − f*) / ‖∇f‖² halves x; scaled by s, x shrinks to 1 − s/2 of it."""
    for s in (1.0, 0.5, 2.0):
        method, x = optimizers.polyak_sgd(1.0, s), jnp.array([3.0, -4.0])
        u, _ = method.update(2 * x, method.init(x), x, value=jnp.sum(x**2))
        np.testing.assert_allclose(x + u, (1 - s / 2) * x, rtol=1e-14)
    with pytest.raises(ValueError, match='variant=\'sps-\'; expected "sps" or "sps\\+"'):
        optimizers.polyak_sgd(variant="sps-")
