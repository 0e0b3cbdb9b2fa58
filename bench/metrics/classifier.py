"""A classifier two-sample test: can a classifier tell rows it has not seen apart?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom
from sklearn.ensemble import HistGradientBoostingClassifier


@dataclass(frozen=True)
class Accuracy:
    """The held-out accuracy of a classifier of two samples; 1/2 if it can't tell them apart.

    Attributes:
        accuracy: the share of held-out rows that it assigns to the right sample.
        se: its standard error over held-out rows, sqrt(a (1 - a) / n).
        p: the probability of as many correct rows or more by tossing a coin.
        rows: held-out rows, half of them of each sample.
    """

    accuracy: float
    se: float
    p: float
    rows: int


def classifier_test(x: NDArray[np.float32], y: NDArray[np.float32], *, seed: int = 0) -> Accuracy:
    """Train gradient-boosted trees on half of `x` and `y`, both `(n, d)`; test them on the rest.

    Trees split along axes, one column at a time: they see wrong marginals, tails and gaps where a
    kernel sees little, and are slow to see a rotation. The held-out rows had no part in training,
    so under the hypothesis the number of right ones is binomial, or less spread where the
    classifier prefers one sample (Hoeffding 1956): p is valid for any classifier.
    Source: Lopez-Paz & Oquab 2017, Revisiting classifier two-sample tests.

    Args:
        x, y: the samples; their rows are shuffled before they are halved.
        seed: of the shuffle and of the trees.

    Raises:
        ValueError: samples of different shape or of fewer than 4 rows.
    """
    if x.ndim != 2 or x.shape != y.shape or len(x) < 4:
        raise ValueError(
            f"The samples must have one shape, with 4 rows or more: {x.shape}, {y.shape}."
        )
    rng = np.random.default_rng(seed)
    half = len(x) // 2
    samples = [rng.permutation(sample) for sample in (x, y)]
    train = np.concatenate([sample[:half] for sample in samples])
    held_out = np.concatenate([sample[half:] for sample in samples])
    trees = HistGradientBoostingClassifier(
        max_iter=100, learning_rate=0.1, early_stopping=False, random_state=seed
    )
    trees.fit(train, np.repeat([0, 1], half))
    right = int((trees.predict(held_out) == np.repeat([0, 1], len(x) - half)).sum())
    n = len(held_out)
    accuracy = right / n
    se = math.sqrt(accuracy * (1 - accuracy) / n)
    return Accuracy(accuracy, se, p=float(binom.sf(right - 1, n, 0.5)), rows=n)
