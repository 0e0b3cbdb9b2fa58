"""The network's part of OT-Flow's gradient and trace, with a backward pass written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from bench_methods.potential_passes import passes, push, split_columns, workspace


class Network(torch.autograd.Function):
    """z_0, and the network's part of the trace summed over rows, with its own backward pass.

    Arguments: s `(n, d + 1)`, w `(m,)`, then K_0 .. K_M, then b_0 .. b_M.

    The gradient of a sum is known up to a factor before the backward pass. So the gradient of the
    terms with J is computed together with their value, and no Jacobian is kept beyond its group of
    columns.
    """

    @staticmethod
    def forward(ctx: Any, s: Tensor, w: Tensor, *layers: Tensor) -> tuple[Tensor, Tensor]:
        """z_0 `(n, d + 1)` and the sum of the traces, a scalar."""
        weights, biases = layers[: len(layers) // 2], layers[len(layers) // 2 :]
        seen, M, K0E = passes(s, weights, biases, w), len(weights) - 1, weights[0][:, :-1]
        c0, *curvatures = seen.curvatures()
        curvatures = [c.div_(M) for c in curvatures]
        norms, by_slopes = ([torch.zeros_like(T) for T in seen.slopes[:M]] for _ in range(2))
        halves = [torch.zeros_like(K) for K in weights]
        space = workspace(seen.slopes[:M])
        for k, columns in enumerate(split_columns(K0E.T.contiguous(), len(s)) if M else ()):
            sums = norms, by_slopes, halves[1:]
            part = _push_and_pull(columns, weights[1:], seen.slopes, curvatures, space, sums)
            start = k * len(space[0])
            halves[0].T[start : start + len(columns)] = part
        by_squares, squares = c0.sum(0), K0E.square().sum(1)
        halves[0][:, :-1].addcmul_(K0E, by_squares[:, None])
        total = by_squares @ squares
        for c, norm in zip(curvatures, norms, strict=True):
            total = total + torch.dot(c.flatten(), norm.flatten())
        for T, by_slope in zip(seen.slopes, by_slopes, strict=False):
            by_slope.mul_(torch.addcmul(T.new_ones(()), T, T, value=-1))
        ctx.save_for_backward(
            *weights, s, *seen.u, *seen.slopes, *seen.z,
            squares, *norms, *by_slopes, s.new_zeros(()), *halves,
        )  # fmt: skip
        return seen.y[0] @ weights[0], total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_z0: Tensor, by_total: Tensor) -> tuple[Tensor | None, ...]:
        """Differentiate the pass that gave z (upwards), then the pass that gave u (downwards)."""
        saved, layers = ctx.saved_tensors, len(ctx.saved_tensors) // 7
        weights, inputs, slopes, zs, norms, direct, halves = (
            saved[k : k + layers] for k in range(0, len(saved), layers)
        )
        h = 1 / max(1, layers - 1)
        by_K, by_a, by_b = [2 * by_total * x for x in halves], list[Tensor](), list[Tensor]()
        by_z = by_z0
        for i, (K, T, z) in enumerate(zip(weights, slopes, zs, strict=True)):
            y, step, through_c = T * z, h if i > 0 else 1, by_total * (h if i > 0 else 1) * norms[i]
            by_K[i].addmm_(y.T, by_z, alpha=step)
            by_y = by_z @ (step * K.T)
            by_z = by_z.add_(through_c) if i > 0 else through_c.expand_as(T).clone()
            through_c = through_c * T
            by_z.addcmul_(T, by_y.sub_(through_c))
            c = torch.addcmul(z, T, y, value=-1, out=y)
            by_a.append(by_y.sub_(through_c).mul_(c).addcmul_(2 * by_total, direct[i]))
        by_u = by_total.new_zeros(())
        for i in reversed(range(layers)):
            if i < layers - 1:
                by_a[i].addcmul_(slopes[i], by_u, value=h if i > 0 else 1)
            by_K[i].addmm_(by_a[i].T, inputs[i])
            by_u = by_u + by_a[i] @ weights[i] if 0 < i < layers - 1 else by_a[i] @ weights[i]
            by_b.insert(0, by_a[i].sum(0))
        return by_u, by_z.sum(0), *by_K, *by_b


def _push_and_pull(
    columns: Tensor,
    weights: Sequence[Tensor],
    slopes: Sequence[Tensor],
    curvatures: Sequence[Tensor],
    space: Sequence[Tensor],
    sums: tuple[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]],
) -> Tensor:
    """Add what columns `(k, m)` contribute to sums, by F = sum_i c_i' |P_i|^2, in place.

    The sums are |P_1|^2 .. |P_M|^2 and half of dF/dtanh(a_0) .. dF/dtanh(a_{M-1}), each `(n, m)`,
    and half of dF/dK_1 .. dF/dK_M. Returns half of dF/dcolumns `(k, m)`.
    """
    norms, by_slopes, by_weights = sums
    jacobians, products = push(columns, weights, slopes, space)
    M, by_J = len(weights), columns.new_zeros(())
    for i in reversed(range(M)):
        P, J = products[i], jacobians[i].flatten(0, 1)
        for each in P:
            norms[i].addcmul_(each, each)
        if i < M - 1:
            by_slopes[i + 1].add_((by_J * P).sum(0), alpha=1 / M)
            by_P = P.mul_(curvatures[i]).addcmul_(slopes[i + 1], by_J, value=1 / M).flatten(0, 1)
            by_J.flatten(0, 1).addmm_(by_P, weights[i])
            by_weights[i].addmm_(by_P.T, J)
        else:
            by_P = P.mul_(curvatures[i]).flatten(0, 1)
            by_weights[i].addmm_(by_P.T, J)
            by_J = torch.mm(by_P, weights[i], out=J).view_as(P)
    for each, column in zip(by_J, columns, strict=True):
        by_slopes[0].addcmul_(each, column)
    return by_J.mul_(slopes[0]).sum(1)
