"""Arrays come in: real sets, designs with known truth, and minibatches."""

from sandbox.data import text
from sandbox.data.batches import cyclic, epochs, with_replacement
from sandbox.data.bundled import Split, load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from sandbox.data.files import DataError, Labelled, read_csv, read_idx, read_libsvm, read_npz
from sandbox.data.folds import k_fold
from sandbox.data.synthetic import (
    Sample,
    conditioned_regression,
    design,
    logistic_classes,
    separable_classes,
    sparse_regression,
)

__all__ = [
    "DataError",
    "Labelled",
    "Sample",
    "Split",
    "conditioned_regression",
    "cyclic",
    "design",
    "epochs",
    "k_fold",
    "load_breast_cancer",
    "load_diabetes",
    "load_digits",
    "load_iris",
    "load_wine",
    "logistic_classes",
    "read_csv",
    "read_idx",
    "read_libsvm",
    "read_npz",
    "separable_classes",
    "sparse_regression",
    "text",
    "with_replacement",
]
