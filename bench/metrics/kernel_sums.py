"""Sums of a Gaussian kernel over pairs of rows, plain and under relabelling.

Plain sums are taken tile by tile. Signed sums s'Kt are too, unless the kernel matrix K of the
pooled rows has a low rank r, to rounding: with K = LL' they are products of s'L and t'L, at a cost
that grows with r instead of the number of rows.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

#: Rows and columns of the kernel that are in memory at once: fastest near 1,000, 20 MB.
TILE = 1024

#: Smaller exponents count as this one: e^-50 is nothing beside the 1 of a row with itself, and
#: denormal numbers, which slow a matrix product down tenfold, stay out.
LEAST_EXPONENT = -50.0

#: Rows of the kernel matrix from which a round of `factor` takes its columns.
PIVOTS = 64


@dataclass(frozen=True)
class Sums:
    """Kernel sums over the pairs of two samples: plain `(G,)`, and signed `(G, B)`, in float64."""

    plain: Tensor
    signed: Tensor


def pair_sums(
    x: Tensor,
    y: Tensor,
    s: Tensor,
    t: Tensor,
    scales: Sequence[float],
    tile: int,
    xx: Sums | None = None,
) -> tuple[Sums, Sums, Sums]:
    """Return the sums within `x`, between `x` and `y`, and within `y`, both `(n, d)`.

    `s` and `t`, `(B, n)`, are the signs of the rows of `x` and of `y`; `xx` the sums within `x`, if
    they are known.
    """
    pooled = torch.cat([x, y])
    factors = {g: factor(pooled, scale, len(s)) for g, scale in enumerate(scales)}
    direct = {g for g, found in factors.items() if found is None}
    within = xx or kernel_sums(x, x, s, s, scales, tile, direct)
    between = kernel_sums(x, y, s, t, scales, tile, direct)
    yy = kernel_sums(y, y, t, t, scales, tile, direct)
    for g, found in factors.items():
        if found is not None:
            p, q = found[: len(x)], found[len(x) :]
            left, right = (s @ p.float()).double(), (t @ q.float()).double()
            between.signed[g] = (left * right).sum(1)
            yy.signed[g] = right.square().sum(1) - q.square().sum()
            if xx is None:
                within.signed[g] = left.square().sum(1) - p.square().sum()
    return within, between, yy


def kernel_sums(
    a: Tensor,
    b: Tensor,
    s: Tensor,
    t: Tensor,
    scales: Sequence[float],
    tile: int,
    signed_ones: Container[int],
) -> Sums:
    """Sum k_ij and s_i k_ij t_j over the pairs of rows of `a` and `b`, `(n, d)`, for G bandwidths.

    `s` and `t`, `(B, n)`, are the signs of the rows of `a` and of `b`; of bandwidths not among
    `signed_ones` the signed sums stay 0. If `b` is `a`, a row is not paired with itself, and tiles
    above the diagonal stand for those below it too.
    """
    plain = torch.zeros(len(scales), dtype=torch.float64, device=a.device)
    signed = torch.zeros(len(scales), len(s), dtype=torch.float64, device=a.device)
    kernel_buffer, product_buffer = s.new_empty(tile * tile), s.new_empty(len(s) * tile)
    for rows, columns, distances in tiles(a, b, tile):
        kernel = kernel_buffer[: distances.numel()].view_as(distances)
        product = product_buffer[: len(s) * len(distances)].view(len(s), len(distances))
        on_diagonal = a is b and rows == columns
        weight = 2.0 if a is b and not on_diagonal else 1.0
        for g, scale in enumerate(scales):
            torch.mul(distances, scale, out=kernel).clamp_(min=LEAST_EXPONENT).exp_()
            if on_diagonal:
                kernel.fill_diagonal_(0.0)
            plain[g] += weight * kernel.sum(1).double().sum()
            if g in signed_ones:
                torch.mm(t[:, columns], kernel.T, out=product)
                signed[g] += weight * product.mul_(s[:, rows]).sum(1).double()
    return Sums(plain, signed)


def factor(x: Tensor, scale: float, relabellings: int) -> Tensor | None:
    """Return L `(n, r)` with K = LL' to rounding, or None if it would save no time.

    K is the kernel matrix of the rows `(n, d)`. What LL' lacks of it is positive semi-definite, and
    a relabelled sum is off by about its trace: that ends below what sums in float32 are off by. It
    is a pivoted Cholesky factorisation by blocks. Each round takes rows spread evenly over what is
    still lacking, and adds the eigenvectors of their own remainder.

    Source: Chen, Epperly, Tropp & Webber 2023, Randomly pivoted Cholesky, algorithm 2; with evenly
    spaced pivots instead of random ones, and eigenvectors instead of a Cholesky factor.
    """
    n = len(x)
    most = min(n // 8, math.isqrt(n * relabellings) // 4)
    squares, lacking = x.square().sum(1), x.new_ones(n)
    found = x.new_empty(n, 0)
    shares = (torch.arange(PIVOTS, dtype=x.dtype, device=x.device) + 0.5) / PIVOTS
    while found.shape[1] < most:
        along = lacking.cumsum(0)
        pivots = torch.searchsorted(along, shares * along[-1]).clamp_(max=n - 1)
        pivots = torch.unique_consecutive(pivots)
        distances = squares[:, None] + squares[pivots] - 2 * x @ x[pivots].T
        columns = torch.exp(scale * distances.clamp_(min=0)) - found @ found[pivots].T
        values, vectors = torch.linalg.eigh(columns[pivots])
        kept = values > 1e-10
        added = columns @ (vectors[:, kept] / values[kept].sqrt())
        found = torch.cat([found, added], 1)
        lacking = (lacking - added.square().sum(1)).clamp_(min=0)
        enough = rounding(float(found.sum(0).square().sum()) - n, n // 2) / 4
        trace = float(lacking.sum())
        if trace <= enough:
            return found
        # it falls ever more slowly: at best by the same factor again for as many columns
        if trace * (trace / n) ** (most / max(found.shape[1], 1) - 1) > enough:
            break
    return None


def pool(xx: Sums, xy: Sums, yy: Sums, g: int) -> tuple[float, float, Tensor]:
    """T, the observed Q, and Q of every relabelling `(B,)`, of two samples pooled."""
    within, between = float(xx.plain[g] + yy.plain[g]), 2 * float(xy.plain[g])
    relabelled = xx.signed[g] + 2 * xy.signed[g] + yy.signed[g]
    return within + between, within - between, relabelled


def balanced_signs(n: int, permutations: int, seed: int) -> Tensor:
    """Signs of 2n pooled rows, n of them +1, in `permutations` random orders, `(B, 2n)`."""
    generator = torch.Generator().manual_seed(seed)
    halves = torch.cat((torch.ones(n), -torch.ones(n)))
    signs = torch.empty(permutations, 2 * n)
    for row in signs:
        torch.index_select(halves, 0, torch.randperm(2 * n, generator=generator), out=row)
    return signs


def tiles(a: Tensor, b: Tensor, tile: int) -> Iterator[tuple[slice, slice, Tensor]]:
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


def rounding(total: float, n: int) -> float:
    """How far statistics Q of two samples of `n` rows may differ and still be ties.

    Each row's sum is rounded on its own, so the roundings of 2n rows add up to about
    eps * total / sqrt(2n), where `total` is the sum of the kernel; this is four of these.
    """
    return 4 * torch.finfo(torch.float32).eps * total / math.sqrt(2 * n)


def centred(**samples: Tensor) -> tuple[Tensor, ...]:
    """Return the samples in float64, around the mean of the first.

    Raises:
        ValueError: they are not all `(n, d)` of one shape with at least two rows, all finite.
    """
    first = next(iter(samples.values()))
    for name, sample in samples.items():
        if sample.ndim != 2 or len(sample) < 2 or sample.shape[1] < 1:
            raise ValueError(
                f"{name} must have at least 2 rows and 1 column; its shape is "
                f"{tuple(sample.shape)}."
            )
        if broken := int((~torch.isfinite(sample)).any(1).sum()):
            raise ValueError(f"{broken} of {len(sample)} rows of {name} are not finite.")
        if sample.shape != first.shape:
            raise ValueError(
                f"The samples must have one shape; they have shapes {tuple(first.shape)} and "
                f"{tuple(sample.shape)}."
            )
    centre = first.double().mean(0)
    return tuple(sample.double() - centre for sample in samples.values())
