"""Two-sample tests with valid p-values: over a range of bandwidths, and by a classifier."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binom
from sklearn.ensemble import HistGradientBoostingClassifier
from torch import Tensor

from bench.metrics.kernel_sums import TILE, balanced_signs, centred, pair_sums, pool, rounding

#: The bandwidths, as factors of the median distance.
FACTORS = tuple(2.0**k for k in range(-4, 3))


def aggregated(
    x: Tensor,
    y: Tensor,
    gammas: Sequence[float],
    *,
    permutations: int = 1000,
    seed: int = 0,
    tile: int = TILE,
) -> dict[str, float]:
    """Test whether `x` and `y`, both `(n, d)`, are of one distribution, by their MMD.

    Which bandwidth tells two distributions apart depends on both, and choosing it by the outcome is
    not a valid test. For each bandwidth the statistic of every labelling of the pooled rows, the
    observed one and B random ones alike, is standardised by the mean and the standard deviation of
    all B + 1. The labelling's statistic is the largest of these over bandwidths, and p the share of
    the B + 1 labellings whose largest is at least the observed one's. Under the hypothesis the
    labellings are exchangeable, so P(p <= a) <= a for every n, B and set of bandwidths that does
    not depend on the labels.

    Source: the max-T procedure of Westfall & Young 1993, over kernels as in Schrab et al. 2023,
    JMLR 24 (MMDAgg), which corrects the level with a second set of draws instead.

    Args:
        x, y: the samples.
        gammas: the bandwidths, at least one.
        permutations: B.
        seed: of the relabellings.
        tile: rows and columns of the kernel in memory at once.

    Returns:
        The columns `p_aggregated`, the p-value; `aggregated_largest`, the largest statistic, in
        standard deviations under relabelling; `aggregated_gamma`, its bandwidth; and
        `aggregated_n`, the rows of each sample.

    Raises:
        ValueError: samples of different shape, of fewer than 2 rows, or with values that are not
            finite; no bandwidth, or one that is not positive; no permutation.
    """
    x, y = centred(x=x, y=y)
    if not gammas or not all(0 < gamma < float("inf") for gamma in gammas) or permutations < 1:
        raise ValueError("The test needs positive bandwidths, and at least one permutation.")
    n = len(x)
    signs = balanced_signs(n, permutations, seed).to(x.device)
    s, t = signs[:, :n], signs[:, n:]
    scales = [-0.5 / gamma**2 for gamma in gammas]
    xx, xy, yy = pair_sums(x, y, s, t, scales, tile)
    scores, slacks = [], []
    for g in range(len(gammas)):
        total, observed, relabelled = pool(xx, xy, yy, g)
        values = torch.cat([relabelled.new_tensor([observed]), relabelled])
        spread, slack = float(values.std(correction=0)), rounding(total, n)
        # by rounding alone they differ at a bandwidth that no pair of rows reaches
        differ = spread > slack
        scores.append((values - values.mean()) / spread if differ else torch.zeros_like(values))
        slacks.append(slack / spread if differ else 0.0)
    largest, which = torch.stack(scores).max(0)
    return {
        "p_aggregated": float((largest >= largest[0] - max(slacks)).double().mean()),
        "aggregated_largest": float(largest[0]),
        "aggregated_gamma": float(gammas[int(which[0])]),
        "aggregated_n": n,
    }


def classifier_test(
    x: NDArray[np.float32], y: NDArray[np.float32], *, seed: int = 0
) -> dict[str, float]:
    """Train gradient-boosted trees on half of `x` and `y`, both `(n, d)`; test them on the rest.

    Trees split along axes, one column at a time: they see wrong marginals, tails and gaps where a
    kernel sees little, and are slow to see a rotation. The held-out rows had no part in training,
    so under the hypothesis the number of right ones is binomial, or less spread where the
    classifier prefers one sample (Hoeffding 1956): p is valid for any classifier.
    Source: Lopez-Paz & Oquab 2017, Revisiting classifier two-sample tests.

    Args:
        x, y: the samples; their rows are shuffled before they are halved.
        seed: of the shuffle and of the trees.

    Returns:
        The columns `c2st`, the share a of held-out rows that are assigned to the right sample, 1/2
        if they can't be told apart; `c2st_se`, its standard error over held-out rows,
        sqrt(a (1 - a) / n); `p_c2st`, the probability of as many correct rows or more by tossing a
        coin; and `c2st_rows`, the held-out rows, half of them of each sample.

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
    p = float(binom.sf(right - 1, n, 0.5))
    return {"c2st": accuracy, "c2st_se": se, "p_c2st": p, "c2st_rows": n}
