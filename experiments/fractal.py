"""The fractal: a quarter of a million networks trained, one for each cell of a map of two learning rates.

Question: What does the border between training and failing look like under a magnifying glass, and what is its
dimension?

Prediction: A fractal: the dimension by box counting of such borders lies in [1.17, 1.98] (Sohl-Dickstein 2024).

Found: 1.59. It is steeper between larger boxes, up to 1.69, than between the smallest, 1.23: cells of this map are
too coarse to see all of the border. Half of the networks train. All 262,144 took 445 s of CPU time.
"""

import numpy as np

from experiments.trainability import boxes, how, networks
from sandbox import landscape
from sandbox.report.plots import style
from sandbox.reproduction import Findings

on_request = True  # takes 445 s of CPU time
SIDE, STEPS = 512, 128
FAST = 48, 48


def main(fast: bool) -> Findings:
    """One map, and its dimension."""
    import matplotlib.pyplot as plt

    side, steps = FAST if fast else (SIDE, STEPS)
    part, border = networks(__file__, fast, side, steps)
    sizes = np.array(landscape.powers(side // 8))
    counts = landscape.box_counts(border, sizes)
    slopes = [*landscape.exponents(counts, sizes), np.nan]
    summary = [
        {"box": int(size), "boxes met": int(count), "slope to the next": slope}
        for size, count, slope in zip(sizes, counts, slopes, strict=True)
    ]
    with style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(11.6, 7.4), width_ratios=(2.4, 1))
        part.draw(left)
        boxes({"border": border}).draw(right)
        right.set_box_aspect(1.4)
    return Findings(
        {
            "figure": (
                figure,
                f"{how(side, steps)} Right: boxes of s × s cells that the border meets; dashed: slopes 1, 2.",
            )
        },
        part.claims,
        part.sweeps,
        summary,
    )
