"""Sums of a Gaussian kernel over pairs of rows, plain and under relabelling, tile by tile."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

#: Rows and columns of the kernel that are in memory at once: fastest near 1,000, 20 MB.
TILE = 1024

#: Smaller exponents count as this one: e^-50 is nothing beside the 1 of a row with itself, and
#: denormal numbers, which slow a matrix product down tenfold, stay out.
LEAST_EXPONENT = -50.0


@dataclass(frozen=True)
class Sums:
    """Kernel sums over the pairs of two samples: plain `(G,)`, and signed `(G, B)`, in float64."""

    plain: Tensor
    signed: Tensor


def kernel_sums(a: Tensor, b: Tensor, s: Tensor, t: Tensor, scales: list[float], tile: int) -> Sums:
    """Sum k_ij and s_i k_ij t_j over the pairs of rows of `a` and `b`, `(n, d)`, for G bandwidths.

    `s` and `t`, `(B, n)`, are the signs of the rows of `a` and of `b`. If `b` is `a`, a row is not
    paired with itself, and tiles above the diagonal stand for those below it too.
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
            torch.mm(t[:, columns], kernel.T, out=product)
            signed[g] += weight * product.mul_(s[:, rows]).sum(1).double()
    return Sums(plain, signed)


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
