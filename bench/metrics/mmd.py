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

import torch
from torch import Tensor

#: Rows and columns of the kernel that are in memory at once: fastest near 1,000, 20 MB.
TILE = 1024

#: Smaller exponents count as this one: e^-50 is nothing beside the 1 of a row with itself, and
#: denormal numbers, which slow a matrix product down tenfold, stay out.
LEAST_EXPONENT = -50.0


@dataclass(frozen=True)
class TwoSample:
    """Squared MMD between two samples of `n` rows, and its distribution under relabelling.

    Attributes:
        gamma: the bandwidth.
        v, u: the biased and the unbiased statistic of the model's sample against the test sample.
        tau_v, tau_u: the (1 - alpha) quantile of each under relabelling of two samples of true
            data: the k-th smallest of the permuted values, k = ceil((1 - alpha)(B + 1)).
        p: (1 + count) / (1 + B), `count` of the B relabellings of the test and the model's sample
            whose statistic is at least the observed one, ties included; the same for V and U.
        n: rows of each sample.
        permutations: B.
    """

    gamma: float
    v: float
    u: float
    tau_v: float
    tau_u: float
    p: float
    n: int
    permutations: int


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
) -> dict[str, TwoSample]:
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

    Raises:
        ValueError: samples of different shape, of fewer than 2 rows, or with values that are not
            finite; no bandwidth, or one that is not a positive number; too few permutations for
            `alpha`.
    """
    rank = _quantile_rank(permutations, alpha)
    if not gammas:
        raise ValueError("No bandwidth was given.")
    for name, gamma in gammas.items():
        if not (math.isfinite(gamma) and gamma > 0):
            raise ValueError(f"The bandwidth {name!r} must be a positive number, not {gamma}.")
    samples = {"x": x, "y": y, "held_out": held_out}
    for name, sample in samples.items():
        _check(name, sample)
        if sample.shape != x.shape:
            raise ValueError(
                f"All samples must have one shape: x has {tuple(x.shape)}, "
                f"{name} has {tuple(sample.shape)}."
            )
    n = len(x)
    centre = x.double().mean(0)
    x, y, held_out = (sample.double() - centre for sample in samples.values())
    signs = _balanced_signs(n, permutations, seed).to(x.device)
    s, t = signs[:, :n], signs[:, n:]
    scales = [-0.5 / gamma**2 for gamma in gammas.values()]

    # The relabelled sums over X with itself serve both pools: 3.5 half-products instead of 4.
    xx = _sums(x, x, s, s, scales, tile)
    xy, yy = _sums(x, y, s, t, scales, tile), _sums(y, y, t, t, scales, tile)
    xh, hh = _sums(x, held_out, s, t, scales, tile), _sums(held_out, held_out, t, t, scales, tile)

    results = {}
    for g, (name, gamma) in enumerate(gammas.items()):
        total, observed, relabelled = _pool(xx, xy, yy, g)
        # Each row's sum is rounded on its own, so the roundings of 2n rows add up to about
        # eps * total / sqrt(2n); relabellings that differ by no more than 4 of these are ties.
        slack = 4 * torch.finfo(torch.float32).eps * total / math.sqrt(2 * n)
        count = int((relabelled >= observed - slack).sum())
        null_total, _, null = _pool(xx, xh, hh, g)
        threshold = float(null.kthvalue(rank).values)
        results[name] = TwoSample(
            gamma=float(gamma),
            v=_v_statistic(observed, n),
            u=_u_statistic(observed, total, n),
            tau_v=_v_statistic(threshold, n),
            tau_u=_u_statistic(threshold, null_total, n),
            p=(1 + count) / (1 + permutations),
            n=n,
            permutations=permutations,
        )
    return results


def median_distance(x: Tensor, *, tile: int = TILE) -> float:
    """The exact median of the Euclidean distances between the rows of `x`, to float32.

    Over the n(n - 1)/2 pairs of different rows; the mean of the two middle ones where their number
    is even. Non-negative floats are ordered as their bit patterns are, so two passes over the
    distances suffice: a histogram of the upper 16 bits, then one of the lower 16 bits within the
    bin that holds the median. Memory is one tile and the histograms, whatever n.

    Args:
        x: sample, `(n, d)`.
        tile: rows and columns of the distances in memory at once.

    Raises:
        ValueError: fewer than 2 rows, or values that are not finite.
    """
    _check("x", x)
    x = x.double() - x.double().mean(0)
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


@dataclass(frozen=True)
class _Sums:
    """Kernel sums over the pairs of two samples: plain `(G,)`, and signed `(G, B)`, in float64."""

    plain: Tensor
    signed: Tensor


def _sums(a: Tensor, b: Tensor, s: Tensor, t: Tensor, scales: list[float], tile: int) -> _Sums:
    """Sum k_ij and s_i k_ij t_j over the pairs of rows of `a` and `b`, `(n, d)`, for G bandwidths.

    `s` and `t`, `(B, n)`, are the signs of the rows of `a` and of `b`. If `b` is `a`, a row is not
    paired with itself, and tiles above the diagonal stand for those below it too.
    """
    plain = torch.zeros(len(scales), dtype=torch.float64, device=a.device)
    signed = torch.zeros(len(scales), len(s), dtype=torch.float64, device=a.device)
    kernel_buffer, product_buffer = s.new_empty(tile * tile), s.new_empty(len(s) * tile)
    for rows, columns, distances in _tiles(a, b, tile):
        kernel = kernel_buffer[: distances.numel()].view_as(distances)
        product = product_buffer[: len(s) * len(distances)].view(len(s), -1)
        on_diagonal = a is b and rows == columns
        weight = 2.0 if a is b and not on_diagonal else 1.0
        for g, scale in enumerate(scales):
            torch.mul(distances, scale, out=kernel).clamp_(min=LEAST_EXPONENT).exp_()
            if on_diagonal:
                kernel.fill_diagonal_(0.0)
            plain[g] += weight * kernel.sum(1).double().sum()
            torch.mm(t[:, columns], kernel.T, out=product)
            signed[g] += weight * product.mul_(s[:, rows]).sum(1).double()
    return _Sums(plain, signed)


def _pool(xx: _Sums, xy: _Sums, yy: _Sums, g: int) -> tuple[float, float, Tensor]:
    """T, the observed Q, and Q of every relabelling `(B,)`, of two samples pooled."""
    within, between = float(xx.plain[g] + yy.plain[g]), 2 * float(xy.plain[g])
    relabelled = xx.signed[g] + 2 * xy.signed[g] + yy.signed[g]
    return within + between, within - between, relabelled


def _v_statistic(q: float, n: int) -> float:
    return q / n**2 + 2 / n


def _u_statistic(q: float, total: float, n: int) -> float:
    return (total + q) / (2 * n * (n - 1)) - (total - q) / (2 * n**2)


def _balanced_signs(n: int, permutations: int, seed: int) -> Tensor:
    """Signs of 2n pooled rows, n of them +1, in `permutations` random orders, `(B, 2n)`."""
    generator = torch.Generator().manual_seed(seed)
    halves = torch.cat((torch.ones(n), -torch.ones(n)))
    signs = torch.empty(permutations, 2 * n)
    for row in signs:
        torch.index_select(halves, 0, torch.randperm(2 * n, generator=generator), out=row)
    return signs


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


def _tiles(a: Tensor, b: Tensor, tile: int) -> Iterator[tuple[slice, slice, Tensor]]:
    """Squared distances between rows of `a` and `b`, `(n, d)`, float32, a tile at a time.

    If `b` is `a`, only tiles on and above the diagonal. Each tile overwrites the one before.

    |a_i - b_j|^2 = a_i.(-2 b_j) + |a_i|^2 + |b_j|^2 is one product of factors `(n, d + 2)`. It
    cancels, so it is taken in float64: rows that nearly coincide far from the centre keep their
    distance.
    """
    left = torch.cat((a, (a * a).sum(1, keepdim=True), torch.ones_like(a[:, :1])), 1)
    right = torch.cat((-2 * b, torch.ones_like(b[:, :1]), (b * b).sum(1, keepdim=True)), 1)
    exact, rounded = a.new_empty(tile * tile), a.new_empty(tile * tile, dtype=torch.float32)
    for i in range(0, len(a), tile):
        rows = slice(i, min(i + tile, len(a)))
        for j in range(i if a is b else 0, len(b), tile):
            columns = slice(j, min(j + tile, len(b)))
            shape = (rows.stop - i, columns.stop - j)
            size = shape[0] * shape[1]
            product = torch.mm(left[rows], right[columns].T, out=exact[:size].view(shape))
            yield rows, columns, rounded[:size].view(shape).copy_(product).clamp_(min=0.0)


def _distance_bits(x: Tensor, tile: int) -> Iterator[Tensor]:
    """The bit patterns of the squared distances of all pairs of rows of `x`, a tile at a time."""
    for rows, columns, squared in _tiles(x, x, tile):
        if rows == columns:
            pairs = torch.ones_like(squared, dtype=torch.bool).triu_(1)
            yield squared[pairs].view(torch.int32)
        else:
            yield squared.view(torch.int32).flatten()


def _check(name: str, sample: Tensor) -> None:
    if sample.ndim != 2 or len(sample) < 2 or sample.shape[1] < 1:
        raise ValueError(
            f"{name} must have at least 2 rows and 1 column; its shape is {tuple(sample.shape)}."
        )
    broken = int((~torch.isfinite(sample)).any(1).sum())
    if broken:
        raise ValueError(f"{broken} of {len(sample)} rows of {name} are not finite.")
