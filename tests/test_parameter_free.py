"""Methods that find their own rate: what they do not need to know, what they find out, and where they stop."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sandbox import optimizers

ANCHORED = {  # those that remember where they started
    "dog": optimizers.dog,
    "dowg": optimizers.dowg,
    "cocob": optimizers.cocob,
    "prodigy": optimizers.prodigy,
    "mechanize": functools.partial(optimizers.mechanize, optimizers.adam(0.1)),
}


def bowl(x, scale=1.0):
    """A convex function with its minimum at (1, −2, 0.5)."""
    return scale * jnp.sum(jnp.array([1.0, 4.0, 0.3]) * (x - jnp.array([1.0, -2.0, 0.5])) ** 2)


def path(optimizer, loss, x, steps=30):
    """The iterates, and the last state."""

    def step(carry, _):
        x, state = carry
        value, g = jax.value_and_grad(loss)(x)
        u, state = optimizer.update(g, state, x, value=value)
        return (x + u, state), x + u

    (_, state), xs = jax.lax.scan(step, (x, optimizer.init(x)), length=steps)
    return xs, state


@pytest.mark.parametrize(
    "optimizer",
    [
        optimizers.dog(eps=1e-60),
        optimizers.dowg(init_estim_sq_dist=1e-4, eps=1e-60),
        optimizers.cocob(eps=1e-60),
        optimizers.dadapt_adamw(eps=1e-60),
        optimizers.prodigy(eps=1e-60),
    ],
)
def test_a_function_that_is_scaled_gives_the_same_path(optimizer, x64):
    """c f has the minimisers of f, and a method without a rate has no right to know c."""
    xs, _ = path(optimizer, bowl, jnp.zeros(3))
    scaled, _ = path(optimizer, lambda x: bowl(x, 1e5), jnp.zeros(3))
    assert jnp.max(jnp.abs(xs[-1])) > 1e-8
    np.testing.assert_allclose(scaled, xs, rtol=1e-9)


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.0, 0.9)])
def test_prodigy_finds_the_distance_and_never_overestimates_it(betas, x64):
    """By convexity Σ w ⟨g, x₀ − x⟩ ≤ ⟨Σ w g, x₀ − x*⟩ ≤ ‖Σ w g‖₁ ‖x₀ − x*‖∞, so d ≤ ‖x₀ − x*‖∞, which is 2."""
    _, state = path(optimizers.prodigy(betas=betas), bowl, jnp.zeros(3), steps=300)
    assert 0.2 < state.estim_lr <= 2.0


@pytest.mark.parametrize("make", [optimizers.prodigy, optimizers.dadapt_adamw])
def test_first_gradients_of_zero_teach_nothing(make):
    """Neither the estimate nor the point moves, in any precision, and learning is possible afterwards."""
    for dtype in ("float16", "bfloat16", "float32"):
        x, zero = jnp.ones(2, dtype), jnp.zeros(2, dtype)
        optimizer = make()
        state = optimizer.init(x)
        for _ in range(3):
            u, state = optimizer.update(zero, state, x)
            np.testing.assert_array_equal(u, zero)
        assert state.estim_lr == jnp.float32(1e-6)
        _, state = optimizer.update(x, state, x)
        assert jnp.isfinite(state.estim_lr)
        assert jnp.all(state.grad_sum > 0)


@pytest.mark.parametrize("bound", [0.0, -3.0, 1.5])
def test_a_momo_step_ends_where_a_linear_loss_has_its_bound(bound, x64):
    """Of a linear loss the model is exact, with any momentum: the first step goes down to the bound, to stay there."""
    loss = lambda x: 5.0 + jnp.sum(jnp.array([1.0, -2.0, 0.5]) * x)
    for optimizer in (optimizers.momo(1e6, lower_bound=bound), optimizers.momo_adam(1e6, lower_bound=bound)):
        xs, _ = path(optimizer, loss, jnp.array([1.0, 2.0, 3.0]), steps=3)
        np.testing.assert_allclose(jax.vmap(loss)(xs), bound, atol=1e-13)


def test_momo_with_a_small_rate_is_momentum(x64):
    """The model is far from its bound, so the rate alone counts."""
    xs, _ = path(optimizers.momo(1e-3, lower_bound=-1e9), bowl, jnp.zeros(3))
    x, d = np.zeros(3), None
    for found in xs:
        g = np.asarray(jax.grad(bowl)(jnp.asarray(x)))
        d = g if d is None else 0.9 * d + 0.1 * g
        x = x - 1e-3 * d
        np.testing.assert_allclose(found, x, rtol=1e-13)


def test_the_rate_of_cocob_is_how_much_of_the_way_it_goes(x64):
    x = jnp.ones(2)
    g = jnp.array([1.0, -2.0])
    updates = [(o := optimizers.cocob(rate)).update(g, o.init(x), x)[0] for rate in (1.0, 0.25)]
    np.testing.assert_allclose(updates[1], 0.25 * updates[0], rtol=1e-15)


def test_mechanic_starts_where_the_first_update_is_made(x64):
    """Params may be loaded after init."""
    optimizer = ANCHORED["mechanize"]()
    x, g = jnp.array([1.0, -2.0]), jnp.array([0.3, 0.7])
    loaded, fresh = optimizer.init(jnp.zeros(2)), optimizer.init(x)
    for _ in range(3):
        (u, loaded), (v, fresh) = optimizer.update(g, loaded, x), optimizer.update(g, fresh, x)
        np.testing.assert_array_equal(u, v)
        x = x + u
    assert jnp.any(u != 0)


@pytest.mark.parametrize("name", ANCHORED)
def test_params_and_state_can_both_be_given_away(name):
    """The start is a copy: memory that the params and the state shared could not be donated twice."""
    optimizer = ANCHORED[name]()
    step = jax.jit(lambda x, state: (x + optimizer.update(x, state, x)[0], state), donate_argnums=(0, 1))
    x = jnp.ones((64, 64))
    x, state = step(x, optimizer.init(x))
    x, state = step(x, state)
    assert jnp.all(jnp.isfinite(x))


@pytest.mark.parametrize(
    ("make", "values"),
    [
        (lambda a, b: optimizers.prodigy(betas=(a, b)), (0.8, 0.95)),
        (lambda a, b: optimizers.dadapt_adamw(betas=(a, b)), (0.8, 0.95)),
        (lambda a, b: optimizers.dog(b, ("distance", a)), (0.1, 0.5)),
        (lambda a, b: optimizers.dog(b, ("heuristic", a)), (0.1, 0.5)),
        (lambda a, b: optimizers.dog(b, ("learning_rate", a)), (0.1, 0.5)),
    ],
)
def test_numbers_inside_pairs_can_be_traced(make, values, x64):
    last = lambda a, b: path(make(a, b), bowl, jnp.zeros(3), steps=5)[0]
    np.testing.assert_allclose(jax.jit(last)(*values), last(*values), rtol=1e-12)


def test_an_unknown_first_step_is_refused():
    with pytest.raises(ValueError, match=r"dog: init_step was \('far', 0.1\); expected a pair of one of distance, "):
        optimizers.dog(init_step=("far", 0.1))


@pytest.mark.parametrize(
    "optimizer",
    [*(make() for make in ANCHORED.values()), optimizers.dadapt_adamw(), optimizers.momo(), optimizers.momo_adam()],
)
def test_turned_complex_numbers_go_the_same_path_turned(optimizer, x64):
    """|g|² and the real part of ⟨g, x⟩ are all that is measured, so the direction of the real axis does not matter."""
    goal, turn = jnp.array([1.0 + 2.0j, -0.5j]), jnp.exp(0.7j)

    def last(turn):
        x = turn * jnp.array([0.3 - 1.0j, 1.0 + 0.0j])
        state = optimizer.init(x)
        for _ in range(4):
            g = x - turn * goal
            u, state = optimizer.update(g, state, x, value=jnp.sum(jnp.abs(g) ** 2) / 2)
            x = x + u
        return x

    np.testing.assert_allclose(last(turn), turn * last(1.0), rtol=1e-12)
