"""How long does a certified optimum take? Linear models, kernel machines, clusters and maps, beside scikit-learn.

a9a (32,561 × 123) and mushrooms (8,124 × 126 here, as their files have them) are read from the folder that is named;
without one, binary data of the same shape and sparsity is drawn. "First" has everything compiled anew.

    python experiments/speed.py solve [FOLDER with a9a.gz and mushrooms.gz]
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from speed import keep, line

import sandbox
from sandbox import problems
from sandbox.data import read_libsvm
from sandbox.engine import solve

benchmark = True

SETS = {"a9a": (32_561, 123, 14, 10.0), "mushrooms": (8_124, 112, 22, 3.0)}  # rows, columns, ones in a row, seconds
PENALTY = 1e-3
LINEAR: dict[str, Callable[..., Any]] = {
    "logistic": lambda X, y: problems.logistic(X, y, PENALTY),
    "logistic, l1": lambda X, y: problems.logistic(X, y, 0.0, PENALTY),
    "softmax": lambda X, y: problems.softmax(X, y, PENALTY),
    "ridge": lambda X, y: problems.ridge(X, y, PENALTY),
    "lasso": lambda X, y: problems.lasso(X, y, PENALTY),
    "elastic net": lambda X, y: problems.elastic_net(X, y, PENALTY, PENALTY),
    "svm": lambda X, y: problems.svm(X, y, PENALTY),
    "svm, squared hinge": lambda X, y: problems.svm(X, y, PENALTY, "squared_hinge"),
}
ROUNDS, AGAIN, SEEDS = 3, 5, 3


def examples(name: str, folder: Path | None) -> tuple[Any, np.ndarray, str]:
    """A set from the folder, or one like it."""
    if folder is not None:
        return *read_libsvm(folder / f"{name}.gz"), name
    n, d, ones, _ = SETS[name]
    rng = np.random.default_rng(0)
    X = (rng.random((n, d)) < rng.beta(1, d / ones, d)).astype(float)
    noise = rng.logistic(size=n)
    return X, np.where(X @ rng.normal(size=d) + noise > 0, 1.0, -1.0), f"data like {name}"


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    found = call()
    return time.perf_counter() - began, found


def told(times: list[float]) -> str:
    return f"{np.median(times):.2f} s ({min(times):.2f} … {max(times):.2f})"


def linear(folder: Path | None) -> Iterator[dict[str, Any]]:
    """Every convex linear problem from nothing, and logistic regression once it is compiled."""
    for name, (*_, limit) in SETS.items():
        X, y, called = examples(name, folder)
        for kind, make in LINEAR.items():
            times, worst = [], 0.0
            for _ in range(ROUNDS):
                jax.clear_caches()
                seconds, solution = timed(lambda make=make, X=X, y=y: solve(make(X, y)))
                times.append(seconds)
                worst = max(worst, abs(solution.certificate) if solution.status == "converged" else np.inf)
            holds = np.median(times) <= limit and worst <= 1e-8
            yield line(f"{called}: {kind}, first", f"{told(times)}, certificate {worst:.0e}", f"≤ {limit:g} s", holds)
        problem = problems.logistic(X, y, PENALTY)
        solve(problem)
        times = [timed(lambda problem=problem: solve(problem))[0] for _ in range(AGAIN)]
        yield line(f"{called}: logistic, compiled", told(times), "< 0.5 s", np.median(times) < 0.5)


def kernel(folder: Path | None) -> Iterator[dict[str, Any]]:
    """Machines of 5,000 examples, soft and hard."""
    X, y, called = examples("a9a", folder)
    chosen = np.random.default_rng(0).permutation(len(y))[:5000]
    X, y = X[chosen], y[chosen]
    for C in (1.0, 100.0):
        seconds, solution = timed(lambda C=C: solve(problems.kernel_svm(X, y, C)))
        measured = f"{seconds:.1f} s, gap {solution.certificate:.0e}, by {solution.method}"
        holds = seconds <= 60 and solution.certificate <= 1e-8
        yield line(f"{called}: kernel_svm, 5,000 examples, rbf, C = {C:g}", measured, "≤ 60 s, gap ≤ 1e-8", holds)


def clusters(_: Path | None) -> Iterator[dict[str, Any]]:
    """Ten clusters of the digits, ten starts."""
    from sklearn.cluster import KMeans
    from sklearn.datasets import load_digits

    X = load_digits().data
    ratios = [
        solve(problems.kmeans(X, 10), key=jax.random.key(seed)).value
        / KMeans(10, n_init=10, random_state=seed).fit(X).inertia_
        for seed in range(SEEDS)
    ]
    measured = f"{np.median(ratios):.5f} ({min(ratios):.5f} … {max(ratios):.5f})"
    yield line("digits: kmeans, inertia / scikit-learn's", measured, "≤ 1.005", np.median(ratios) <= 1.005)


def maps(_: Path | None) -> Iterator[dict[str, Any]]:
    """A map of the digits: perplexity 30, 1,000 steps, from the same kind of start; ours counts all, P included."""
    from sklearn.datasets import load_digits
    from sklearn.manifold import TSNE

    X, ours, theirs = load_digits().data, [], []
    for seed in range(SEEDS):
        jax.clear_caches()
        ours.append(timed(lambda seed=seed: solve(problems.tsne(X, 30.0), key=jax.random.key(seed))))
        exact = TSNE(method="exact", perplexity=30, init="random", random_state=seed, max_iter=1000)
        theirs.append(timed(lambda exact=exact: exact.fit(X)))
    divergences = np.median([s.value for _, s in ours]) / np.median([t.kl_divergence_ for _, t in theirs])
    speed = [b / a for (a, _), (b, _) in zip(ours, theirs, strict=True)]
    yield line("digits: tsne, median KL / scikit-learn's", f"{divergences:.4f}", "≤ 1.01", divergences <= 1.01)
    measured = f"{np.median(speed):.1f} ({min(speed):.1f} … {max(speed):.1f}); ours {told([a for a, _ in ours])}"
    yield line("digits: tsne, times as fast", measured, "≥ 8", np.median(speed) >= 8)


def main(arguments: list[str]) -> list[dict[str, Any]]:
    """Measure everything, write results/speed/solve.csv."""
    sandbox.use_all_cores()
    folder = Path(arguments[0]) if arguments else None
    return keep("solve", (each for part in (linear, kernel, clusters, maps) for each in part(folder)))
