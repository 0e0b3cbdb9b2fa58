"""The network's part of OT-Flow's gradient and trace, with a backward pass written by hand."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from bench_methods.potential_passes import passes, push, split_columns


class Network(torch.autograd.Function):
    """z_0, and the network's part of the trace summed over rows, with its own backward pass.

    Arguments: s `(n, d + 1)`, w `(m,)`, K_0 E transposed `(d, m)` and |K_0 E|^2 `(m,)` (treated as
    independent of K_0), then K_0 .. K_M, then b_0 .. b_M.

    The gradient of a sum is known up to a factor before the backward pass. So the gradient of the
    terms with J is computed together with their value, and no Jacobian is kept beyond its group of
    columns. A solve keeps the saved tensors of many evaluations, so everything cheap is computed
    again in the backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any, s: Tensor, w: Tensor, K0E: Tensor, squares: Tensor, *layers: Tensor
    ) -> tuple[Tensor, Tensor]:
        """z_0 `(n, d + 1)` and the sum of the traces, a scalar."""
        weights, biases = layers[: len(layers) // 2], layers[len(layers) // 2 :]
        seen = passes(s, weights, biases, w)
        c0, *curvatures = seen.curvatures()
        by_squares, M = c0.sum(0), len(curvatures)
        total, sums, by_K0E = by_squares @ squares, list[Tensor](), list[Tensor]()
        for columns in split_columns(K0E, len(s)) if M else ():
            part, by_columns = _push_and_pull(columns, weights[1:], seen.slopes, curvatures)
            sums = [x.add_(y) for x, y in zip(sums, part, strict=True)] if sums else part
            by_K0E.append(by_columns)
        for c, norm in zip(curvatures, sums[:M], strict=True):
            total = total + torch.dot(c.flatten(), norm.flatten()) / M
        kept = torch.cat(by_K0E) if M else torch.zeros_like(K0E)
        ctx.save_for_backward(s, w, squares, by_squares, kept, *layers, *sums)
        return seen.y0 @ weights[0], total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_z0: Tensor, by_total: Tensor) -> tuple[Tensor | None, ...]:
        """Differentiate the pass that gave z (upwards), then the pass that gave u (downwards)."""
        s, w, squares, by_squares, by_K0E, *saved = ctx.saved_tensors
        M = (len(saved) - 2) // 5
        cuts = (M + 1, M + 1, M, M, M)
        ends = list(itertools.accumulate(cuts))
        weights, biases, norms, by_slopes, by_weights = (
            saved[end - cut : end] for cut, end in zip(cuts, ends, strict=True)
        )
        seen = passes(s, weights, biases, w)
        h, by_norms = 1 / max(1, M), by_total / max(1, M)
        by_weights = [seen.y0.T @ by_z0, *(2 * by_norms * x for x in by_weights)]
        by_y, by_c = by_z0 @ weights[0].T, by_total * squares
        by_z, by_tanh = by_c, list[Tensor]()
        for i, (T, above) in enumerate(zip(seen.slopes, seen.z, strict=True)):
            if i > 0:
                by_weights[i].addmm_((T * above).T, by_z, alpha=h)
                by_y, by_c = by_z @ (h * weights[i].T), by_norms * norms[i - 1]
                by_z = by_z + by_c
            through_c = by_c * T
            by_y = by_y - through_c
            by_z = torch.addcmul(by_z, T, by_y)
            by_tanh.append(above * (by_y - through_c))
            if i < M:
                by_tanh[i].addcmul_(2 * by_norms, by_slopes[i])
        by_u, by_biases = torch.zeros(()), list[Tensor]()
        for i, T in reversed(list(enumerate(seen.slopes))):
            by_a = torch.addcmul(by_tanh[i], by_tanh[i] * T, T, value=-1)
            if i < M:
                by_a.addcmul_(T, by_u, value=h if i > 0 else 1)
            by_biases.insert(0, by_a.sum(0))
            by_weights[i].addmm_(by_a.T, seen.u[i - 1] if i > 0 else s)
            by_u = torch.addmm(by_u, by_a, weights[i]) if 0 < i < M else by_a @ weights[i]
        return (
            by_u, by_z.sum(0), 2 * by_norms * by_K0E, by_total * by_squares,
            *by_weights, *by_biases,
        )  # fmt: skip


def _push_and_pull(
    columns: Tensor,
    weights: Sequence[Tensor],
    slopes: Sequence[Tensor],
    curvatures: Sequence[Tensor],
) -> tuple[list[Tensor], Tensor]:
    """What columns `(k, m)` contribute to |P_i|^2, and half the gradient of F = sum_i c_i' |P_i|^2.

    Returns:
        In one list, |P_1|^2 .. |P_M|^2 and half of dF/dtanh(a_0) .. dF/dtanh(a_{M-1}), each
        `(n, m)`, and half of dF/dK_1 .. dF/dK_M; then half of dF/dcolumns `(k, m)`.
    """
    jacobians, products = push(columns, weights, slopes)
    M, by_J = len(weights), torch.zeros(())
    norms = [P.square().sum(0) for P in products]
    by_slopes, by_weights = list[Tensor](), list[Tensor]()
    for i in reversed(range(M)):
        by_P = curvatures[i] * products[i]
        if i < M - 1:
            by_slopes.insert(0, (by_J * products[i]).sum(0) / M)
            by_P += slopes[i + 1] * by_J / M
        by_weights.insert(0, by_P.flatten(0, 1).T @ jacobians[i].flatten(0, 1))
        by_J = by_P @ weights[i] + by_J if i < M - 1 else by_P @ weights[i]
    by_slopes.insert(0, (by_J * columns[:, None]).sum(0))
    return [*norms, *by_slopes, *by_weights], (by_J * slopes[0]).sum(1)
