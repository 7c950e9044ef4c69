"""L-BFGS by its theorems and beside SciPy; Hutchinson's estimate and Sophia on a Hessian that is not diagonal."""

import jax
import jax.numpy as jnp
import numpy as np
import optax.contrib
import pytest
import scipy.optimize

from sandbox import optimizers
from sandbox.optimizers.second_order import _two_loops

A = np.array([[4.0, 1.0, 0.5], [1.0, 3.0, -1.0], [0.5, -1.0, 2.0]])


def bowl(p):
    x = jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(p)])
    return x @ A @ x / 2 + jnp.sum(jnp.cos(x))


def rosenbrock(x):
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def minimized(optimizer, f, x, steps):
    @jax.jit
    def step(x, state):
        value, grad = jax.value_and_grad(f)(x)
        u, state = optimizer.update(grad, state, x, value=value, grad=grad, value_fn=f)
        return x + u, state

    state = optimizer.init(x)
    for _ in range(steps):
        x, state = step(x, state)
    return x, state


def test_lbfgs_reaches_scipy_s_optimum(x64):
    """Of a logistic regression, where the optimum is one point."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 6)), rng.choice([-1.0, 1.0], size=40)
    f = lambda w: jnp.mean(jnp.logaddexp(0, -y * (X @ w))) + 0.01 * jnp.sum(w**2)
    w, _ = minimized(optimizers.lbfgs(), f, jnp.zeros(6), steps=25)
    options = {"ftol": 1e-16, "gtol": 1e-12}
    best = scipy.optimize.minimize(jax.value_and_grad(f), np.zeros(6), jac=True, method="L-BFGS-B", options=options)
    np.testing.assert_allclose(w, best.x, atol=1e-7)
    assert np.linalg.norm(jax.grad(f)(w)) < 1e-10


@pytest.mark.slow
def test_lbfgs_leaves_the_valley(x64):
    x, _ = minimized(optimizers.lbfgs(), rosenbrock, jnp.full(10, -1.2).at[1::2].set(1.0), steps=90)
    np.testing.assert_allclose(x, 1.0, atol=1e-9)


def test_with_exact_searches_a_quadratic_takes_as_many_steps_as_dimensions(x64):
    """Nocedal & Wright 2006, theorem 6.4: the steps are then those of conjugate gradients. One less is not enough."""
    f = lambda x: x @ A @ x / 2
    exact = optimizers.zoom(20, curv_rtol=1e-13, initial_guess_strategy="one")
    far = [np.linalg.norm(minimized(optimizers.lbfgs(linesearch=exact), f, jnp.ones(3), k)[0]) for k in (2, 3)]
    assert far[0] > 1e-3
    assert far[1] < 1e-12


@pytest.mark.parametrize("memory_size", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 5))])
def test_the_newest_pair_satisfies_the_secant_equation(memory_size, x64):
    """H y = s, whatever the older pairs are; and H is the dense BFGS matrix where no pair has been forgotten."""
    rng = np.random.default_rng(1)
    steps = rng.normal(size=(memory_size, 3))
    s, y = jnp.asarray(steps), jnp.asarray(steps @ A)
    rho, newest = 1 / jnp.sum(s * y, axis=1), memory_size - 1
    H = np.stack([_two_loops(e, s, y, rho, 0.7, newest) for e in jnp.eye(3)])
    np.testing.assert_allclose(H @ y[-1], s[-1], rtol=1e-12)
    dense = 0.7 * np.eye(3)
    for s_k, y_k in zip(np.array(s), np.array(y), strict=True):
        V = np.eye(3) - np.outer(y_k, s_k) / (s_k @ y_k)
        dense = V.T @ dense @ V + np.outer(s_k, s_k) / (s_k @ y_k)
    np.testing.assert_allclose(H, dense, rtol=1e-10, atol=1e-12)


def test_lbfgs_keeps_at_least_one_pair():
    with pytest.raises(ValueError, match="memory_size is 0; expected at least one pair"):
        optimizers.lbfgs(memory_size=0)


def test_optax_finds_value_gradient_and_step_in_the_state(x64):
    x, state = minimized(optimizers.lbfgs(), rosenbrock, jnp.array([-1.2, 1.0]), steps=4)
    value, grad = optax.value_and_grad_from_state(lambda x: 7.0 + 0 * x[0])(x, state=state)
    np.testing.assert_allclose(value, rosenbrock(x), rtol=1e-12)
    np.testing.assert_allclose(grad, jax.grad(rosenbrock)(x), rtol=1e-9)
    assert optax.tree_utils.tree_get(state, "learning_rate") > 0
    assert int(optax.tree_utils.tree_get(state, "count")) == 4


# the diagonal


@pytest.mark.parametrize("seed", [None, 3])
def test_hutchinson_draws_the_signs_that_optax_draws(seed, x64):
    key = None if seed is None else jax.random.key(seed)
    p = {"a": jnp.array([0.3, -1.0]), "b": jnp.array(0.5)}
    ours, theirs = (m.hutchinson_estimator_diag_hessian(key) for m in (optimizers, optax.contrib))
    states = ours.init(p), theirs.init(p)
    for _ in range(5):
        a, mine = ours.update(p, states[0], p, obj_fn=bowl)
        b, other = theirs.update(p, states[1], p, obj_fn=bowl)
        states = mine, other
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), a, b)


@pytest.mark.slow
def test_hutchinson_is_right_on_average(x64):
    """E z ∘ H z = diag H, with variance Σ_{j≠i} H²ᵢⱼ: five standard errors of the mean of 4,000."""
    x = jnp.array([0.3, -1.0, 0.5])
    keys = jax.random.split(jax.random.key(0), 4000)

    def estimate(key):
        estimator = optimizers.hutchinson_estimator_diag_hessian(key)
        return estimator.update(x, estimator.init(x), x, obj_fn=bowl)[0]

    H = np.array(jax.hessian(bowl)(x))
    error = np.sqrt((np.sum(H**2, axis=1) - np.diag(H) ** 2) / len(keys))
    gap = np.abs(jax.jit(jax.vmap(estimate))(keys).mean(axis=0) - np.diag(H))
    assert (gap < 5 * error).all()
    assert (error > 0.01).all()


@pytest.mark.slow
def test_sophia_follows_optax_s_where_the_hessian_is_not_diagonal(x64):
    kw = dict(learning_rate=0.1, gamma=0.3, update_interval=2, clip_threshold=0.7)
    ends = []
    for make in (optimizers.sophia, optax.contrib.sophia):
        optimizer, p = make(**kw), {"a": jnp.array([0.3, -1.0]), "b": jnp.array(0.5)}
        state = optimizer.init(p)
        for _ in range(6):
            u, state = optimizer.update(jax.grad(bowl)(p), state, p, obj_fn=bowl)
            p = optax.apply_updates(p, u)
        ends.append(p)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), *ends)


def test_sophia_takes_any_estimate_of_the_curvature(x64):
    """With g ∘ g for the diagonal, the second step is −η m̂ / (γ (1 − β₂) g²)."""
    optimizer = optimizers.sophia(
        0.1, weight_decay=0.0, gamma=2.0, clip_threshold=None, b2=0.5,
        hessian_diagonal_fn=optimizers.squared_gradients,
    )  # fmt: skip
    g = jnp.array([0.5, -2.0])
    state = optimizer.init(g)
    _, state = optimizer.update(g, state, g)
    u, _ = optimizer.update(g, state, g)
    np.testing.assert_allclose(u, -0.1 * g / (2.0 * 0.5 * g**2), rtol=1e-12)


def test_sophia_tells_what_it_does_not_clip(capsys):
    optimizer = optimizers.sophia(
        0.1, eps=1.0, verbose=True, print_win_rate_every_n_steps=2, hessian_diagonal_fn=optimizers.squared_gradients
    )
    g = jnp.array([0.5, -2.0, 0.1, 0.2])
    state = optimizer.init(g)
    for _ in range(2):
        _, state = optimizer.update(g, state, g)
    jax.effects_barrier()
    assert capsys.readouterr().out == "sophia: 0.75 are not clipped\n"
