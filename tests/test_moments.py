"""Adam's family among itself: where one method is another, and what each promises."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sandbox import optimizers
from sandbox.optimizers import catalogue

FAMILY = [*catalogue.MOMENTS, *catalogue.MEMORIES]


def path(optimizer, seed=0, steps=8, scale=1.0, shape=(5,)):
    """The parameters after each of some random gradients."""
    rng = np.random.default_rng(seed)
    x = jnp.asarray(rng.normal(size=shape))
    state, found = optimizer.init(x), []
    for _ in range(steps):
        updates, state = optimizer.update(jnp.asarray(scale * rng.normal(size=shape)), state, x)
        x = optax.apply_updates(x, updates)
        found.append(x)
    return np.array(found)


def uncorrected(rate, b1):
    """The rate at which the corrected average of Adam is η times the plain sum Σ β₁ᵏ g."""
    return lambda k: rate * (1 - b1 ** (k + 1)) / (1 - b1)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda: optimizers.nadam(0.1, nesterov=False), lambda: optimizers.adam(0.1)),
        (lambda: optimizers.nadam(0.1), lambda: optimizers.adam(0.1, nesterov=True)),
        (lambda: optimizers.nadamw(0.1), lambda: optimizers.adamw(0.1, nesterov=True)),
        (lambda: optimizers.adamw(0.1, weight_decay=0.0), lambda: optimizers.adam(0.1)),
        (lambda: optimizers.adamaxw(0.1, weight_decay=0.0), lambda: optimizers.adamax(0.1)),
        (lambda: optimizers.optimistic_adam_v2(0.1, beta=0.0, nesterov=False), lambda: optimizers.adam(0.1)),
        (lambda: optimizers.optimistic_adam(0.1, 0.02), lambda: optimizers.optimistic_adam_v2(0.1, beta=0.2)),
        (lambda: optimizers.optimistic_adam(0.1), lambda: optimizers.optimistic_adam_v2(0.1)),
        (lambda: optimizers.ademamix(0.1, b3=0.5, alpha=0.0), lambda: optimizers.adam(0.1)),
        (
            lambda: optimizers.simplified_ademamix(0.1, b1=0.9),
            lambda: optimizers.adam(uncorrected(0.1, 0.9), b1=0.9, b2=0.95),
        ),
        (lambda: optimizers.adan(0.1, b2=0.0), lambda: optimizers.adam(0.1, b1=0.98, b2=0.99, eps_root=1e-8)),
        (lambda: optimizers.radam(0.1, b2=0.9, threshold=20.0), lambda: optimizers.radam(0.1, b2=0.5)),
        (lambda: optimizers.amsgrad(0.1, b2=0.0), lambda: optimizers.amsgrad(0.1, b2=0.0, bias_correction_nu=False)),
    ],
)
def test_where_one_method_is_another(one, other, x64):
    """Without what it adds: b₂ = 0 weighs no difference in Adan, and ρ stays below the threshold in both RAdams."""
    np.testing.assert_allclose(path(one()), path(other()), rtol=1e-12)


def test_amsgrad_s_scale_never_falls(x64):
    optimizer = optimizers.amsgrad(0.1, b2=0.5)
    x = jnp.ones(3)
    state, scales = optimizer.init(x), []
    for size in (1.0, 10.0, 0.1, 0.0, 3.0):
        _, state = optimizer.update(size * x, state, x)
        scales.append(np.array(state.nu_max))
    assert (np.diff(scales, axis=0) >= 0).all()
    np.testing.assert_allclose(scales[-1], (0.25 * 1 + 0.5 * 100) / 0.75, rtol=1e-14)


@pytest.mark.parametrize("name", ["adam", "nadam", "adamax", "adabelief", "amsgrad", "ademamix"])
def test_the_size_of_gradients_does_not_matter(name, x64):
    """At eps of 0 a method that divides by its scale takes the same steps on g and on 1000 g."""
    zeros = {"eps": 0.0, "eps_root": 0.0} if name != "adamax" else {"eps": 0.0}
    optimizer = catalogue.find(name).factory(0.1, **zeros)
    np.testing.assert_allclose(path(optimizer), path(optimizer, scale=1000.0), rtol=1e-10)


def test_adopt_stands_still_once_and_then_clips(x64):
    """c(1) = 1: the second step is at most η (1 − β₁), along each complex number that is clipped."""
    optimizer = optimizers.adopt(0.5, b1=0.8)
    x = jnp.array([1.0 + 1.0j, 2.0])
    first, state = optimizer.update(jnp.array([0.1, 0.1 + 0.0j]), optimizer.init(x), x)
    np.testing.assert_array_equal(first, 0)
    second, _ = optimizer.update(jnp.array([3.0 + 4.0j, 0.05]), state, x)
    np.testing.assert_allclose(second, [-0.1 * (0.6 + 0.8j), -0.1 * 0.5], rtol=1e-12)


def test_optimistic_adam_says_that_it_is_deprecated():
    with pytest.warns(DeprecationWarning, match="use `optimistic_adam_v2` instead") as caught:
        optimizers.optimistic_adam(0.1)
    assert caught[0].filename == __file__
    with pytest.raises(ValueError, match="expects a number as learning_rate and was given a function"):
        optimizers.optimistic_adam(lambda k: 0.1)


@pytest.mark.parametrize("name", FAMILY)
def test_params_and_state_may_be_donated(name):
    """No buffer of the first state stands in two places."""
    optimizer = catalogue.find(name).factory(**catalogue.find(name).example)
    x = jnp.ones(3)
    state = optimizer.init(x)
    buffers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(state)]
    assert len(set(buffers)) == len(buffers)
