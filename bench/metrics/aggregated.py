"""A two-sample test over a range of bandwidths at once, with a valid p-value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.metrics.kernel_sums import TILE, balanced_signs, centred, kernel_sums, pool, rounding

#: The bandwidths, as factors of the median distance.
FACTORS = tuple(2.0**k for k in range(-4, 3))


@dataclass(frozen=True)
class Aggregated:
    """The largest standardised statistic over bandwidths, and its p-value.

    Attributes:
        p: of the aggregated test.
        largest: the statistic, in standard deviations under relabelling.
        gamma: the bandwidth that gave it.
        n: rows of each sample.
        permutations: B.
    """

    p: float
    largest: float
    gamma: float
    n: int
    permutations: int


def aggregated(
    x: Tensor,
    y: Tensor,
    gammas: Sequence[float],
    *,
    permutations: int = 1000,
    seed: int = 0,
    tile: int = TILE,
) -> Aggregated:
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
    xx, xy, yy = (
        kernel_sums(a, b, p, q, scales, tile)
        for a, b, p, q in ((x, x, s, s), (x, y, s, t), (y, y, t, t))
    )
    scores, slacks = zip(
        *(_standardised(*pool(xx, xy, yy, g), n) for g in range(len(gammas))), strict=True
    )
    largest, which = torch.stack(scores).max(0)
    return Aggregated(
        p=float((largest >= largest[0] - max(slacks)).double().mean()),
        largest=float(largest[0]),
        gamma=float(gammas[int(which[0])]),
        n=n,
        permutations=permutations,
    )


def _standardised(
    total: float, observed: float, relabelled: Tensor, n: int
) -> tuple[Tensor, float]:
    """The statistics of the B + 1 labellings, the observed one first, and how far ties may differ.

    All are 0 where they differ by rounding alone, as at a bandwidth that no pair of rows reaches.
    """
    values = torch.cat([relabelled.new_tensor([observed]), relabelled])
    spread, slack = float(values.std(correction=0)), rounding(total, n)
    if spread <= slack:
        return torch.zeros_like(values), 0.0
    return (values - values.mean()) / spread, slack / spread
