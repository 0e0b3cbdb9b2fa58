"""Passes through the network of OT-Flow's potential, by the formulas of `Derivatives`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

#: Size k x n x m of the columns of J propagated at once: small enough for the cache.
COLUMNS_SIZE = 2**17


def slope(y: Tensor) -> Tensor:
    """tanh(y) = 1 - 2 / (1 + exp(2y)); some CPUs take three times as long for `torch.tanh`."""
    return torch.rsub((-2 * y).sigmoid_(), 1, alpha=2)


def antiderivative(y: Tensor, tanh: Tensor | None = None) -> Tensor:
    """|y| + ln 2 - ln(1 + |tanh y|) = ln(2 cosh y), whose derivative is tanh."""
    tanh = slope(y) if tanh is None else tanh
    return y.abs().sub_(tanh.abs().log1p()).add_(math.log(2))


@dataclass(frozen=True)
class Passes:
    """The results of a pass up and a pass down the network, each `(n, m)` unless noted."""

    u: list[Tensor]  # u_0 .. u_{M-1}
    slopes: list[Tensor]  # tanh(a_0) .. tanh(a_M)
    z: list[Tensor]  # z_1 .. z_{M+1}, the last of them w `(m,)`
    y: list[Tensor]  # y_0 .. y_M

    def curvatures(self) -> list[Tensor]:
        """c_0 .. c_M."""
        levels = zip(self.z, self.slopes, self.y, strict=True)
        return [torch.addcmul(z, T, y, value=-1) for z, T, y in levels]


def passes(s: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], w: Tensor) -> Passes:
    """Evaluate the network N at s `(n, d + 1)`, and go back down for its gradient."""
    a = F.linear(s, weights[0], biases[0])
    u: list[Tensor] = []
    slopes, h = [slope(a)], 1 / max(1, len(weights) - 1)
    for K, b in zip(weights[1:], biases[1:], strict=True):
        f = antiderivative(a, slopes[-1])
        u.append(torch.add(u[-1], f, alpha=h) if u else f)
        a = F.linear(u[-1], K, b)
        slopes.append(slope(a))
    z, y = [w], [slopes[-1] * w]
    for T, K in zip(slopes[-2::-1], reversed(weights[1:]), strict=True):
        z.append(torch.addmm(z[-1], y[-1], K, alpha=h))
        y.append(T * z[-1])
    return Passes(u, slopes, z[::-1], y[::-1])


def split_columns(K0E: Tensor, n: int) -> Sequence[Tensor]:
    """Split K_0 E, transposed, into groups of columns `(k, m)` that fit the cache for n rows."""
    return torch.split(K0E, max(1, COLUMNS_SIZE // (n * K0E.shape[1])))


def workspace(slopes: Sequence[Tensor]) -> list[Tensor]:
    """Memory for `push`, twice `(k, n, m)` for each of the slopes `(n, m)`."""
    columns = max(1, COLUMNS_SIZE // slopes[0].numel()) if slopes else 1
    return [T.new_empty(columns, *T.shape) for T in slopes for _ in range(2)]


def push(
    columns: Tensor,
    weights: Sequence[Tensor],
    slopes: Sequence[Tensor],
    space: Sequence[Tensor] | None = None,
) -> tuple[list[Tensor], list[Tensor]]:
    """Propagate columns: those of J_0 .. J_{M-1} and of P_1 .. P_M, transposed, `(k, n, m)`.

    With the memory of `space` nothing is allocated, nor differentiable.
    """
    out = [x[: len(columns)] for x in space] if space is not None else [None] * 2 * len(weights)
    jacobians = [torch.mul(columns[:, None], slopes[0], out=out[0])]
    products: list[Tensor] = []
    for i, K in enumerate(weights):
        if i > 0:
            before, P, T = jacobians[-1], products[-1], slopes[i]
            jacobians.append(torch.addcmul(before, T, P, value=1 / len(weights), out=out[2 * i]))
        products.append(torch.matmul(jacobians[-1], K.T, out=out[2 * i + 1]))
    return jacobians, products
