r"""Maximum mean discrepancy between two samples, and how large chance alone makes it.

Gaussian kernel $k(x, y) = \exp(-|x - y|^2 / (2 \gamma^2))$; samples $X$ and $Y$ of $n$ rows each.
With $S_{ab}$ for the sum of $k$ over all pairs of a row of $a$ and another row of $b$ (a row is not
paired with itself), the squared MMD is estimated twice (Gretton et al. 2012, JMLR 13, eqs. 5, 3):

- V, biased:   $(S_{xx} + n + S_{yy} + n - 2 S_{xy}) / n^2$, the $2n$ pairs of a row with itself
  included; it exceeds U by about $(2/n)(1 - E k)$, which is all there is if the kernel is narrow;
- U, unbiased: $(S_{xx} + S_{yy}) / (n(n-1)) - 2 S_{xy} / n^2$.

Relabelling. Give the $2n$ pooled rows signs $s$, half of them +1, half -1, and let
$Q = \sum_{i \ne j} s_i s_j k_{ij}$ and $T = \sum_{i \ne j} k_{ij}$. The pairs with equal signs sum
to $(T + Q)/2$, those with opposite signs to $(T - Q)/2$, so

    V = Q/n^2 + 2/n,    U = (T + Q) / (2n(n-1)) - (T - Q) / (2n^2).

No relabelling changes $T$: both are the same increasing affine function of $Q$ throughout, they
order the relabellings alike, and V and U share one p-value.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.metrics.kernel_sums import (
    TILE,
    Sums,
    balanced_signs,
    centred,
    pair_sums,
    pool,
    rounding,
    tiles,
)


@dataclass(frozen=True)
class Null:
    """What two samples of true data, `x` and `held_out`, give to every test of a model against `x`.

    Attributes:
        within: the sums within `x`.
        total: T of the two samples pooled, `(G,)`.
        relabelled: Q of each of their relabellings, `(G, B)`.
    """

    within: Sums
    total: Tensor
    relabelled: Tensor


def null_sums(
    x: Tensor,
    held_out: Tensor,
    gammas: Mapping[str, float],
    *,
    permutations: int = 1000,
    seed: int = 0,
    tile: int = TILE,
) -> Null:
    """Sum the kernel over two samples of true data, with the arguments of `two_sample`."""
    x, held_out = centred(x=x, held_out=held_out)
    signs = balanced_signs(len(x), permutations, seed).to(x.device)
    s, t = signs[:, : len(x)], signs[:, len(x) :]
    xx, xh, hh = pair_sums(x, held_out, s, t, _scales(gammas), tile)
    totals, _, relabelled = zip(*(pool(xx, xh, hh, g) for g in range(len(gammas))), strict=True)
    return Null(xx, xx.plain.new_tensor(totals), torch.stack(relabelled))


def two_sample(
    x: Tensor,
    y: Tensor,
    held_out: Tensor,
    gammas: Mapping[str, float],
    *,
    permutations: int = 1000,
    alpha: float = 0.05,
    seed: int = 0,
    tile: int = TILE,
    null: Null | None = None,
) -> dict[str, float]:
    """Squared MMD of a model's sample against a test sample, with threshold and p-value.

    `tau` relabels `x` and `held_out`, `p` relabels `x` and `y`; both with the same label patterns,
    drawn on the CPU from `seed`, so that they are the same on every device and for every model.
    The kernel is summed tile by tile; beside one tile, memory holds the signs, 8 n B bytes.

    Args:
        x: test sample, `(n, d)`.
        y: the model's sample, `(n, d)`.
        held_out: a second sample of true data, `(n, d)`; no row of it may be a row of `x`.
        gammas: bandwidths by name, the same for statistic and relabellings.
        permutations: B, at least 1/alpha - 1.
        alpha: level of the test.
        seed: of the relabellings.
        tile: rows and columns of the kernel in memory at once.
        null: what `null_sums` returns for these arguments, if it is known.

    Returns:
        The columns of each bandwidth, here for one named `m`: `gamma_m`, the bandwidth; `mmd_m` and
        `mmd_m_u`, V and U of the model's sample against the test sample; `tau_m` and `tau_m_u`, the
        (1 - alpha) quantile of each under relabelling of two samples of true data, the k-th
        smallest of the permuted values, k = ceil((1 - alpha)(B + 1)); `tau_m_se` and `tau_m_u_se`,
        its Monte-Carlo standard error, half the distance of the permuted values whose ranks are
        k -+ sqrt(B alpha (1 - alpha)), the standard deviation of the number of values below the
        true quantile; `p_m`, (1 + count) / (1 + B) for the `count` of the B relabellings of the
        test and the model's sample whose statistic is at least the observed one, ties included; the
        same for V and U.

    Raises:
        ValueError: samples of different shape, of fewer than 2 rows, or with values that are not
            finite; no bandwidth, or one that is not a positive number; too few permutations for
            `alpha`.
    """
    rank = _quantile_rank(permutations, alpha)
    scales = _scales(gammas)
    if null is None:
        options = {"permutations": permutations, "seed": seed, "tile": tile}
        null = null_sums(x, held_out, gammas, **options)
    x, y = centred(x=x, y=y)
    n = len(x)
    signs = balanced_signs(n, permutations, seed).to(x.device)
    xx, xy, yy = pair_sums(x, y, signs[:, :n], signs[:, n:], scales, tile, null.within)

    found: dict[str, float] = {}
    for g, (name, gamma) in enumerate(gammas.items()):
        total, observed, relabelled = pool(xx, xy, yy, g)
        count = int((relabelled >= observed - rounding(total, n)).sum())
        ordered = null.relabelled[g].sort().values
        threshold = float(ordered[rank - 1])
        spread = math.sqrt(permutations * alpha * (1 - alpha))
        ends = np.interp(
            [rank - 1 - spread, rank - 1 + spread], np.arange(permutations), ordered.cpu().numpy()
        )
        error = float(ends[1] - ends[0]) / 2
        found |= {
            f"mmd_{name}": _v_statistic(observed, n),
            f"mmd_{name}_u": _u_statistic(observed, total, n),
            f"tau_{name}": _v_statistic(threshold, n),
            f"tau_{name}_u": _u_statistic(threshold, float(null.total[g]), n),
            f"tau_{name}_se": error / n**2,
            f"tau_{name}_u_se": error * (1 / (2 * n * (n - 1)) + 1 / (2 * n**2)),
            f"p_{name}": (1 + count) / (1 + permutations),
            f"gamma_{name}": float(gamma),
        }
    return found


def discrepancy(x: Tensor, y: Tensor, gamma: float, *, tile: int = TILE) -> tuple[float, float]:
    """The squared MMD of two samples `(n, d)`: V and U, without a threshold.

    Of a narrow kernel V keeps its floor alone, 2/n, whatever the samples:

    >>> x = torch.tensor([[0.0], [100.0]])
    >>> discrepancy(x, x + 50.0, gamma=1.0)
    (1.0, 0.0)

    Raises:
        ValueError: samples of different shape, of fewer than 2 rows, or with values that are not
            finite.
    """
    x, y = centred(x=x, y=y)
    n = len(x)
    none = torch.ones(0, n, device=x.device)
    scales = [-0.5 / gamma**2]
    total, observed, _ = pool(*pair_sums(x, y, none, none, scales, tile), 0)
    return _v_statistic(observed, n), _u_statistic(observed, total, n)


def median_distance(x: Tensor, *, tile: int = TILE) -> float:
    """The exact median of the Euclidean distances between the rows of `x`, to float32.

    Over the n(n - 1)/2 pairs of different rows; the mean of the two middle ones where their number
    is even. Non-negative floats are ordered as their bit patterns are, so two passes over the
    distances suffice: a histogram of the upper 16 bits, then one of the lower 16 bits within the
    bin that holds the median. Memory is one tile and the histograms, whatever n.

    >>> median_distance(torch.tensor([[0.0], [1.0], [4.0]]))
    3.0

    Args:
        x: sample, `(n, d)`.
        tile: rows and columns of the distances in memory at once.

    Raises:
        ValueError: fewer than 2 rows, or values that are not finite.
    """
    (x,) = centred(x=x)
    pairs = len(x) * (len(x) - 1) // 2
    ranks = {(pairs - 1) // 2, pairs // 2}

    upper = torch.zeros(1 << 16, dtype=torch.int64, device=x.device)
    for bits in _distance_bits(x, tile):
        upper += torch.bincount(bits >> 16, minlength=1 << 16)
    above = upper.cumsum(0)
    bins = {rank: int(torch.searchsorted(above, rank, right=True)) for rank in ranks}

    lower = {b: torch.zeros(1 << 16, dtype=torch.int64, device=x.device) for b in bins.values()}
    for bits in _distance_bits(x, tile):
        for b, histogram in lower.items():
            inside = bits[bits >> 16 == b] & 0xFFFF
            histogram += torch.bincount(inside, minlength=1 << 16)

    middle = []
    for rank, b in bins.items():
        rank_inside = rank - int(above[b] - upper[b])
        low = int(torch.searchsorted(lower[b].cumsum(0), rank_inside, right=True))
        value = torch.tensor((b << 16) | low, dtype=torch.int32).view(torch.float32)
        middle.append(math.sqrt(float(value)))
    return sum(middle) / len(middle)


def _scales(gammas: Mapping[str, float]) -> list[float]:
    """The factors of squared distances in the kernel's exponent."""
    if not gammas:
        raise ValueError("No bandwidth was given.")
    for name, gamma in gammas.items():
        if not (math.isfinite(gamma) and gamma > 0):
            raise ValueError(f"The bandwidth {name!r} must be a positive number, not {gamma}.")
    return [-0.5 / gamma**2 for gamma in gammas.values()]


def _v_statistic(q: float, n: int) -> float:
    return q / n**2 + 2 / n


def _u_statistic(q: float, total: float, n: int) -> float:
    return (total + q) / (2 * n * (n - 1)) - (total - q) / (2 * n**2)


def _quantile_rank(permutations: int, alpha: float) -> int:
    """Which of the sorted permuted values is the (1 - alpha) quantile; 1 is the smallest."""
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1, not {alpha}.")
    # 0.95 * (B + 1) may come out a rounding error above a whole number
    rank = math.ceil((1 - alpha) * (permutations + 1) - 1e-9)
    if not 1 <= rank <= permutations:
        least = math.ceil(1 / alpha - 1 - 1e-9)
        raise ValueError(
            f"{permutations} permutations have no {1 - alpha:g} quantile: give at least {least}."
        )
    return rank


def _distance_bits(x: Tensor, tile: int) -> Iterator[Tensor]:
    """The bit patterns of the squared distances of all pairs of rows of `x`, a tile at a time."""
    for rows, columns, squared in tiles(x, x, tile):
        if rows == columns:
            pairs = torch.ones_like(squared, dtype=torch.bool).triu_(1)
            yield squared[pairs].view(torch.int32)
        else:
            yield squared.view(torch.int32).flatten()
