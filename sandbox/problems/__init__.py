"""What is minimised. `names()` lists the factories that can be called bare; the others take arrays."""

from sandbox.problems.analytic import (
    beale,
    bowl,
    double_well,
    himmelblau,
    monkey_saddle,
    quadratic,
    rastrigin,
    rosenbrock,
    saddle,
)
from sandbox.problems.dual import breast_cancer_kernel_svm, kernel_svm
from sandbox.problems.modules import from_flax
from sandbox.problems.networks import cnn, diabetes_mlp, digits_cnn, digits_mlp, mlp, mlp_regression, shifted
from sandbox.problems.problem import Facts, Problem, average, certify
from sandbox.problems.supervised import (
    breast_cancer_logistic,
    breast_cancer_svm,
    diabetes_linear,
    diabetes_ridge,
    digits_softmax,
    elastic_net,
    lasso,
    least_squares,
    logistic,
    platt,
    ridge,
    softmax,
    svm,
)
from sandbox.problems.unsupervised import kmeans, pca, tsne

_BARE = (
    bowl,
    quadratic,
    double_well,
    rosenbrock,
    beale,
    himmelblau,
    rastrigin,
    saddle,
    monkey_saddle,
    diabetes_linear,
    diabetes_ridge,
    breast_cancer_logistic,
    breast_cancer_svm,
    breast_cancer_kernel_svm,
    digits_softmax,
    diabetes_mlp,
    digits_mlp,
    digits_cnn,
)

__all__ = [
    "Facts",
    "Problem",
    "average",
    "beale",
    "bowl",
    "breast_cancer_kernel_svm",
    "breast_cancer_logistic",
    "breast_cancer_svm",
    "certify",
    "cnn",
    "diabetes_linear",
    "diabetes_mlp",
    "diabetes_ridge",
    "digits_cnn",
    "digits_mlp",
    "digits_softmax",
    "double_well",
    "elastic_net",
    "from_flax",
    "himmelblau",
    "kernel_svm",
    "kmeans",
    "lasso",
    "least_squares",
    "logistic",
    "mlp",
    "mlp_regression",
    "monkey_saddle",
    "names",
    "pca",
    "platt",
    "quadratic",
    "rastrigin",
    "ridge",
    "rosenbrock",
    "saddle",
    "shifted",
    "softmax",
    "svm",
    "tsne",
]


def names() -> list[str]:
    """The problems that need no argument, friendly to hostile, then real data."""
    return [factory.__name__ for factory in _BARE]
