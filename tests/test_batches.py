"""Minibatches: what each scheme promises about which rows are seen."""

import jax
import numpy as np
import pytest

from sandbox.data.batches import cyclic, epochs, with_replacement


@pytest.mark.parametrize(("examples", "size"), [(12, 4), (13, 4), (7, 7), (5, 1)])
def test_an_epoch_shows_each_example_at_most_once_and_drops_the_remainder(examples, size, key):
    per_epoch = examples // size
    rows = np.asarray(epochs(size).indices(key, examples, 3 * per_epoch)).reshape(3, -1)
    for epoch in rows:
        assert len(set(epoch.tolist())) == per_epoch * size
        assert set(epoch.tolist()) <= set(range(examples))
    assert (rows[0] != rows[1]).any() or examples == 1


def test_every_order_of_three_examples_is_as_likely():
    """Uniform shuffles: chi-squared with 5 degrees of freedom stays under its 0.999 quantile, 20.5."""
    orders = jax.vmap(lambda seed: epochs(3).indices(jax.random.key(seed), 3, 1)[0])(np.arange(6000))
    _, counts = np.unique(np.asarray(orders), axis=0, return_counts=True)
    assert len(counts) == 6
    assert np.sum((counts - 1000) ** 2 / 1000) < 20.5


def test_with_replacement_is_uniform_and_independent_between_steps():
    """Counts have the multinomial's variance, and rows one step apart are uncorrelated."""
    rows = np.asarray(with_replacement(8).indices(jax.random.key(3), 10, 5000))
    counts = np.bincount(rows.ravel(), minlength=10)
    assert np.sum((counts - 4000) ** 2 / 4000) < 27.9  # chi-squared, 9 degrees of freedom, 0.999
    assert abs(np.corrcoef(rows[:-1].ravel(), rows[1:].ravel())[0, 1]) < 4 / np.sqrt(rows.size)


def test_cyclic_goes_round_in_order(key):
    rows = np.asarray(cyclic(2).indices(key, 5, 5)).ravel()
    assert rows.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]


@pytest.mark.parametrize("scheme", [epochs, with_replacement, cyclic])
def test_a_longer_run_starts_with_the_same_batches(scheme, key):
    short, long = scheme(3).indices(key, 10, 4), scheme(3).indices(key, 10, 9)
    np.testing.assert_array_equal(short, long[:4])


@pytest.mark.parametrize("scheme", [epochs, with_replacement, cyclic])
@pytest.mark.parametrize("size", [0, 11])
def test_a_batch_that_the_data_cannot_fill_is_refused(scheme, size, key):
    with pytest.raises(ValueError, match=r"the data has 10 examples"):
        scheme(size).indices(key, 10, 1)
