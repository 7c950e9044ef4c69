"""run: its trace, its batches, its keys, and the guard, against plain Python loops."""

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sandbox import optimizers, problems, tree
from sandbox.data.batches import epochs, with_replacement
from sandbox.engine import full_loss, run, solve
from sandbox.problems import Problem


def noisy_line(n=12):
    """Least squares of one weight with data, so that batches matter."""
    x = np.linspace(-1, 1, n)
    return Problem(
        name="line",
        init=lambda key: jax.random.normal(key, (1,)),
        loss=lambda p, batch: jnp.mean((batch["y"] - p[0] * batch["x"]) ** 2),
        data={"x": x, "y": 2 * x + 0.3 * np.cos(9 * x)},
    )


def by_hand(problem, optimizer, params, batches, noise=None):
    """The loop that everybody writes: every loss, gradient and iterate, until one is not finite."""
    state, rows = optimizer.init(params), []
    for k, batch in enumerate(batches):
        value, grads = jax.value_and_grad(lambda p, b=batch: problem.objective(p, b, None))(params)
        if not (np.isfinite(value) and np.isfinite(sum(jnp.vdot(g, g) for g in jax.tree.leaves(grads)))):
            return params, rows, k
        rows.append(float(value))
        updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params, rows, -1


def test_the_jollof_story(x64, key):
    """ANSWERS D1: losses 13, 8.32, 5.3248, the iterates before each update, and the factor 0.8 on the error."""
    record = lambda info: {"loss": info.value, "x": info.params, "gradient": info.grads}
    result = run(problems.bowl(), optimizers.gradient_descent(0.1), steps=3, key=key, record=record)
    np.testing.assert_allclose(result.trace["loss"], [13, 8.32, 5.3248], rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.trace["x"], [[1, 1], [1.4, 1.6], [1.72, 2.08]], rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.trace["gradient"][0], [-4, -6], rtol=0, atol=1e-12)
    assert int(result.status) == 0
    assert int(result.diverged_at) == -1


@pytest.mark.parametrize("make", [epochs, pytest.param(with_replacement, marks=pytest.mark.slow)])
def test_a_run_is_the_loop_written_by_hand(make, x64, key):
    problem, scheme, optimizer = noisy_line(), make(5), optimizers.adam(0.1)
    init_key, batch_key, _ = jax.random.split(key, 3)
    rows = np.asarray(scheme.indices(batch_key, 12, 20))
    batches = [{k: jnp.asarray(v)[r] for k, v in problem.data.items()} for r in rows]
    params, losses, _ = by_hand(problem, optimizer, problem.init(init_key), batches)
    result = run(problem, optimizer, steps=20, key=key, batches=scheme)
    np.testing.assert_allclose(result.trace["loss"], losses, rtol=1e-12)
    np.testing.assert_allclose(result.params, params, rtol=1e-12)
    np.testing.assert_allclose(result.value, problem.objective(params), rtol=1e-12)


@pytest.mark.parametrize("every", [7, *(pytest.param(k, marks=pytest.mark.slow) for k in (2, 3))])
def test_every_k_th_row_of_the_same_run(every, x64, key):
    problem = noisy_line()
    full = run(problem, optimizers.sgd(0.1, momentum=0.9), steps=10, key=key, batch_size=5)
    thin = run(problem, optimizers.sgd(0.1, momentum=0.9), steps=10, key=key, batch_size=5, every=every)
    rows = 10 // every
    np.testing.assert_allclose(thin.trace["loss"], full.trace["loss"][::every][:rows], rtol=1e-12)
    np.testing.assert_array_equal(thin.steps, np.arange(rows) * every)
    np.testing.assert_allclose(thin.params, full.params, rtol=1e-12)


def test_lanes_that_differ_in_rate_see_the_same_batches_and_start(key):
    record = lambda info: {"batch": info.batch["x"], "start": info.params}
    both = [run(noisy_line(), optimizers.sgd(r), steps=4, key=key, batch_size=3, record=record) for r in (0.1, 0.2)]
    np.testing.assert_array_equal(both[0].trace["batch"], both[1].trace["batch"])
    np.testing.assert_array_equal(both[0].trace["start"][0], both[1].trace["start"][0])


def test_full_loss_of_the_full_batch_costs_nothing(key):
    problem = problems.breast_cancer_logistic()
    train = lambda record: run(problem, optimizers.sgd(0.1), steps=3, key=key, record=record)
    products = [str(jax.make_jaxpr(lambda: train(r))()).count("dot_general") for r in (full_loss, None)]  # noqa: B023
    assert products[0] == products[1]
    ours, theirs = train(full_loss), train(lambda info: {"loss": info.problem.objective(info.params)})
    np.testing.assert_allclose(ours.trace["loss"], theirs.trace["loss"], rtol=1e-6)


def test_full_loss_is_the_objective_on_all_data(x64, key):
    problem = noisy_line()
    result = run(problem, optimizers.sgd(0.1), steps=3, key=key, batch_size=4, record=full_loss)
    start = problem.init(jax.random.split(key, 3)[0])
    np.testing.assert_allclose(result.trace["loss"][0], problem.objective(start), rtol=1e-12)


def test_the_final_value_in_pieces_is_the_objective_on_all_data(x64, key):
    problem = problems.digits_mlp(hidden=(4,))  # 1,438 examples: 14 pieces of 100, and 38
    traced = str(jax.make_jaxpr(lambda: run(problem, optimizers.sgd(0.1), steps=2, key=key, batch_size=100))())
    assert "[4,100]" in traced
    assert "[4,1438]" not in traced  # no layer meets all examples at once
    result = run(problem, optimizers.sgd(0.1), steps=2, key=key, batch_size=100)
    np.testing.assert_allclose(result.value, problem.objective(result.params), rtol=1e-12)


def test_the_noise_key_changes_from_step_to_step_and_with_the_seed(x64):
    noisy = Problem("noise", lambda key: jnp.zeros(1), lambda p, batch, key: jax.random.normal(key) * p[0])
    record = lambda info: {"g": info.grads[0]}
    draws = [run(noisy, optimizers.sgd(0.1), steps=50, key=jax.random.key(s), record=record).trace["g"] for s in (0, 1)]
    assert len(np.unique(np.concatenate(draws))) == 100


def test_penalty_counts_in_the_objective_and_its_subgradient_is_zero_at_zero(x64, key):
    lasso = problems.lasso(np.eye(3), np.array([0.0, 2.0, -1.0]), l1=0.5, fit_intercept=False)
    params = {"w": jnp.zeros(3)}
    record = lambda info: {"loss": info.value, "g": info.grads["w"]}
    result = run(lasso, optimizers.gradient_descent(0.1), steps=1, key=key, params=params, record=record)
    np.testing.assert_allclose(result.trace["loss"], [5 / 6], rtol=1e-12)
    np.testing.assert_allclose(result.trace["g"][0], [0, -2 / 3, 1 / 3], rtol=1e-12)


@pytest.mark.slow
def test_a_proximal_method_sees_the_gradient_of_the_loss_alone(x64, key):
    """Proximal gradient descent ends at the lasso's certified optimum, with its zeros exact."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 6))
    lasso = problems.lasso(X, X @ [2.0, 0, 0, -1, 0, 0] + 0.1 * rng.normal(size=40), l1=0.2)
    method = optimizers.proximal(optimizers.gradient_descent(0.3), lasso.penalty.prox)
    result = run(lasso, method, steps=2000, key=key)
    exact = solve(lasso)
    np.testing.assert_allclose(result.value, exact.value, rtol=1e-12)
    np.testing.assert_array_equal(np.asarray(result.params["w"]) == 0, exact.params["w"] == 0)


OPTAX = {
    "adamw": lambda: optax.adamw(0.01),
    "chain": lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1)),
    "lbfgs": lambda: optax.lbfgs(),
    "polyak": lambda: optax.polyak_sgd(),
    "sam": lambda: optax.contrib.sam(
        optax.sgd(0.01), optax.chain(optax.contrib.normalize(), optax.sgd(0.01)), opaque_mode=True
    ),
    "schedule_free": lambda: optax.contrib.schedule_free_sgd(0.1),
}


@pytest.mark.parametrize("name", OPTAX)
def test_any_optax_transformation_reaches_the_minimum_of_a_line(name, key):
    """Least squares has one stationary point: where the gradient vanishes, the method has solved it."""
    result = run(noisy_line(), OPTAX[name](), steps=2000, key=key)
    assert float(result.trace["grad_norm"][-1]) < 2e-2
    exact = np.polyfit(*noisy_line().data.values(), 1)[0]
    np.testing.assert_allclose(result.params, [exact], atol=2e-2)


def test_an_averaging_method_is_evaluated_at_its_average(key):
    method = optax.contrib.schedule_free_sgd(0.2, b1=0.9)
    result = run(noisy_line(), method, steps=30, key=key)
    raw = by_hand(noisy_line(), method, noisy_line().init(jax.random.split(key, 3)[0]), [noisy_line().data] * 30)[0]
    average = optax.contrib.schedule_free_eval_params(result.state, raw)
    np.testing.assert_allclose(result.params, average, rtol=1e-5)
    assert not np.allclose(result.params, raw, rtol=1e-4)


@pytest.mark.parametrize("rate", [3.0, 1e3, 1e30, np.inf, np.nan])
def test_divergence_is_marked_and_the_last_finite_params_stay(rate, key):
    bowl = problems.bowl()
    start = jnp.array([1.0, 1.0])
    last, losses, at = by_hand(bowl, optax.sgd(rate), start, [None] * 200)
    result = run(bowl, optimizers.gradient_descent(rate), steps=200, key=key)
    assert int(result.status) == 1
    assert int(result.diverged_at) == at
    assert np.isfinite(result.params).all()
    if np.isfinite(last).all():
        np.testing.assert_allclose(result.params, last, rtol=1e-5)
    np.testing.assert_allclose(result.trace["loss"][:at], losses, rtol=1e-5)
    assert np.isnan(result.trace["loss"][at:]).all()
    assert np.isnan(result.trace["grad_norm"][at:]).all()
    assert np.isnan(result.value)


def test_an_infinite_gradient_of_a_finite_loss_is_divergence(key):
    root = Problem("root", lambda key: jnp.ones(1), lambda p: jnp.sqrt(jnp.abs(p[0] - 1)))
    result = run(root, optimizers.sgd(0.1), steps=5, key=key)
    assert int(result.diverged_at) == 0
    np.testing.assert_array_equal(result.params, [1.0])


def test_an_update_that_overflows_in_the_last_step_is_divergence(key):
    """Its objective is never evaluated in the loop, but there is no finite iterate to return as the last one."""
    line = Problem("line", lambda key: jnp.full(1, 2e38), lambda p: -p[0])
    result = run(line, optimizers.sgd(3e38), steps=1, key=key)
    assert int(result.diverged_at) == 1
    np.testing.assert_array_equal(result.params, np.float32([2e38]))


def test_an_infinite_iterate_is_divergence_however_flat_the_ground_there(key):
    """1/x is 0 at infinity and so is its slope, so that nothing but the iterate tells."""
    hyperbola = Problem("hyperbola", lambda key: jnp.full(1, 1e-5), lambda p: 1 / p[0])
    result = run(hyperbola, optimizers.sgd(1e30), steps=5, key=key)
    assert int(result.diverged_at) == 1
    np.testing.assert_array_equal(result.params, np.float32([1e-5]))
    assert np.isfinite(result.trace["loss"][0])
    assert np.isnan(result.trace["loss"][1:]).all()


def test_run_is_pure_and_differentiable(x64, key):
    """d/dη of the objective after one step of gradient descent is −∇f(x₁)·∇f(x₀)."""
    after = lambda rate: run(problems.bowl(), optimizers.gradient_descent(rate), steps=1, key=key).value
    np.testing.assert_allclose(jax.grad(after)(0.1), -(np.array([-3.2, -4.8]) @ np.array([-4, -6])), rtol=1e-12)
    once = jax.jit(chex.assert_max_traces(after, n=1))
    assert float(once(0.1)) == float(once(0.1))
    once(0.2)


BAD = {
    "no steps": (dict(steps=0), "steps=0"),
    "steps of a half": (dict(steps=2.5), "steps=2.5"),
    "every zero": (dict(steps=1, every=0), "every=0"),
    "too large a batch": (dict(steps=1, batch_size=13), "12 examples"),
    "an empty batch": (dict(steps=1, batch_size=0), "12 examples"),
    "both kinds of batches": (dict(steps=1, batch_size=2, batches=epochs(2)), "both"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_request_that_makes_no_sense_is_refused_in_one_line(case, key):
    arguments, words = BAD[case]
    with pytest.raises(ValueError, match=words) as caught:
        run(noisy_line(), optimizers.sgd(0.1), key=key, **arguments)
    assert "\n" not in str(caught.value)


def test_batches_need_data(key):
    with pytest.raises(ValueError, match="has no data"):
        run(problems.bowl(), optimizers.sgd(0.1), steps=1, key=key, batch_size=1)


def test_a_loss_is_one_number(key):
    for loss, shape in ((lambda x: x**2, "(3,)"), (lambda x: (x.sum(), x), "((), (3,))"), (lambda x: None, "None")):
        problem = problems.Problem("mine", lambda key: jnp.zeros(3), loss)
        with pytest.raises(ValueError, match=re.escape(f"mine: the loss has the shape {shape}; expected one number")):
            run(problem, optimizers.sgd(0.1), steps=1, key=key)


def test_a_factory_is_not_an_optimizer(key):
    with pytest.raises(ValueError, match="not an optimizer"):
        run(problems.bowl(), optimizers.sgd, steps=1, key=key)


@pytest.mark.parametrize("number", [np.int64(6), np.uint8(6), np.array(6), jnp.int32(6)])
def test_any_whole_number_counts_steps(number, key):
    plain = run(noisy_line(), optimizers.sgd(0.1), steps=6, every=6, key=key)
    counted = run(noisy_line(), optimizers.sgd(0.1), steps=number, every=number, key=key)
    chex.assert_trees_all_equal(counted, plain)


@pytest.mark.parametrize("number", [True, np.bool_(True), jnp.array(True), 6.0, "6", None, np.array([6, 7])])
@pytest.mark.parametrize("name", ["steps", "every"])
def test_what_is_no_whole_number_counts_none(name, number, key):
    with pytest.raises(ValueError, match=f"{name}=.*whole number from 1 up"):
        run(noisy_line(), optimizers.sgd(0.1), **{"steps": 6, name: number}, key=key)


@pytest.mark.slow
def test_private_descent_that_neither_clips_nor_adds_noise_is_descent(x64):
    """Of single examples' gradients the mean is the gradient; clipped to length C, no step is longer than η C."""
    problem, key = problems.breast_cancer_logistic(), jax.random.key(0)
    free = run(problem, optimizers.dpsgd(0.1, 1e9, 0.0, seed=0), steps=20, batch_size=16, key=key)
    plain = run(problem, optimizers.sgd(0.1), steps=20, batch_size=16, key=key)
    np.testing.assert_allclose(free.trace["loss"], plain.trace["loss"], rtol=1e-12)
    step = lambda info: {"step": tree.norm(info.updates)}
    clipped = run(problem, optimizers.dpsgd(0.1, 0.01, 0.0, seed=0), steps=20, batch_size=16, key=key, record=step)
    assert (clipped.trace["step"] <= 0.1 * 0.01 * (1 + 1e-12)).all()
    with pytest.raises(ValueError, match="bowl has no data, and this optimizer needs the gradients of single examples"):
        run(problems.bowl(), optimizers.dpsgd(0.1, 1.0, 0.0, seed=0), steps=1, key=key)
