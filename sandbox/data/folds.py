"""Cross-validation: which examples each fold holds out, as one table of truth values, so that folds are lanes."""

import numpy as np
from jaxtyping import ArrayLike, Bool


def k_fold(
    examples: int, folds: int, *, seed: int = 0, labels: ArrayLike | None = None
) -> Bool[np.ndarray, "folds examples"]:
    """Row k says which examples fold k holds out: every example is held out once, by folds of equal size within one.

    The examples are shuffled; with `labels`, every fold has the same number of each label too, within one (stratified:
    Kohavi 1995). Raises ValueError for less than two folds, or more than there are examples.
    """
    if not 2 <= folds <= examples:
        raise ValueError(f"folds={folds} of {examples} examples: take from 2 to {examples}")
    kinds = np.zeros(examples) if labels is None else np.asarray(labels)
    if kinds.shape != (examples,):
        raise ValueError(f"labels have shape {kinds.shape}; expected ({examples},), one for each example")
    shuffled = np.random.default_rng(seed).permutation(examples)
    dealt = shuffled[np.argsort(kinds[shuffled], kind="stable")]  # label after label, like cards to players
    held_out = np.zeros((folds, examples), bool)
    held_out[np.arange(examples) % folds, dealt] = True
    return held_out
