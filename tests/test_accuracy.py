"""The experiments on request: folds that are scikit-learn's, networks that have to learn, files as MNIST has them."""

import gzip

import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold

from experiments import accuracy, mnist


def test_folds_are_scikit_learns_and_leave_every_digit_out_once():
    X, y = accuracy.digits()
    training = accuracy.stratified(X, y)
    assert (~training).sum(0).tolist() == [1] * len(y)
    for row, (_, left_out) in zip(training, StratifiedKFold(5, shuffle=True, random_state=0).split(X, y), strict=True):
        np.testing.assert_array_equal(np.flatnonzero(~row), left_out)


@pytest.fixture
def here(monkeypatch):
    """Sweeps in memory, and no figures."""
    from sandbox.sweeps import sweep

    for experiment in (accuracy, mnist):
        monkeypatch.setattr(experiment, "kept", lambda file, name, fast, fn, **axes: sweep(fn, **axes))
        monkeypatch.setattr(experiment, "figure", lambda *_: None)


@pytest.mark.slow
def test_networks_that_hardly_learn_fail_every_claim(here, monkeypatch):
    known = accuracy.networks
    monkeypatch.setattr(accuracy, "networks", lambda: {k: v._replace(steps=40) for k, v in known().items()})
    monkeypatch.setattr(accuracy, "SEEDS", 1)
    found = accuracy.main(fast=True)
    assert [claim.holds for claim in found.claims] == [False] * 4
    assert all(0.05 < claim.measured < 0.9 for claim in found.claims)
    assert len(found.summary) == 2 * (5 + 1)


@pytest.mark.slow
@pytest.mark.parametrize(("told", "holds"), [(True, True), (False, False)])
def test_mnist_reads_its_files_and_fails_where_labels_mean_nothing(here, tmp_path, told, holds):
    """Bright upper halves are ones; where labels are drawn, nothing can be learned."""
    rng = np.random.default_rng(0)
    for part, n in (("train", 2000), ("t10k", 500)):
        labels = rng.integers(2, size=n)
        pictures = rng.integers(100, size=(n, 28, 28))
        pictures[:, :14] += (150 * labels)[:, None, None]
        written = labels if told else rng.integers(2, size=n)
        for name, a, kind in zip(mnist.FILES, (pictures, written), (3, 1), strict=True):
            head = bytes([0, 0, 8, kind]) + np.array(a.shape, ">u4").tobytes()
            (tmp_path / name.format(part)).write_bytes(gzip.compress(head + a.astype(np.uint8).tobytes()))
    found = mnist.main(True, tmp_path)
    assert [claim.holds for claim in found.claims] == [holds]
