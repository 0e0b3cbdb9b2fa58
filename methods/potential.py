"""OT-Flow's potential, the closed form of its gradient and that of its Hessian's trace."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

#: Numbers `(n, m)` of the rows that are differentiated at once, and numbers `(k, n, m)` of the
#: columns of J that are pushed at once: few, so that they stay in the cache.
ROWS_NUMBERS, COLUMNS_NUMBERS = 2**20, 2**17


class Potential(nn.Module):
    """Phi(s) = w'N(s) + |A s|^2 / 2 + b's + c of s = (x, t), with a residual network N.

        N(s) = u_M,   u_0 = f(K_0 s + b_0),   u_i = u_{i-1} + h f(K_i u_{i-1} + b_i),   h = 1 / M

    for i = 1 .. M, where M = layers - 1 and f(y) = |y| + ln(1 + exp(-2|y|)), an antiderivative of
    tanh. A flow depends on the derivatives of Phi alone, so c stays 0 and is not trained.

    Args:
        d: the dimension of x.
        width: the width m of N.
        layers: its layers, K_0's included.
        rank: the rows of A; no more than d + 1.

    References:
        Onken, Wu Fung, Li, Ruthotto 2021, OT-Flow: Fast and Accurate Continuous Normalizing
        Flows via Optimal Transport.
    """

    def __init__(self, d: int, width: int, layers: int, rank: int) -> None:
        super().__init__()
        self.opening = nn.Linear(d + 1, width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(layers - 1))
        for layer in self.hidden[1:]:
            layer.load_state_dict(self.hidden[0].state_dict())
        self.w = nn.Parameter(torch.ones(width))
        self.A = nn.Parameter(torch.empty(min(rank, d + 1), d + 1))
        nn.init.xavier_uniform_(self.A)
        self.b = nn.Parameter(torch.zeros(d + 1))
        self.c = nn.Parameter(torch.zeros(()), requires_grad=False)

    def forward(self, s: Tensor) -> Tensor:
        """Phi `(n,)` at s `(n, d + 1)`, whose last column is the time."""
        u = antiderivative(self.opening(s))
        for layer in self.hidden:
            u = u + antiderivative(layer(u)) / len(self.hidden)
        value: Tensor = u @ self.w + 0.5 * (s @ self.A.T).square().sum(-1) + s @ self.b + self.c
        return value

    def derivatives(self) -> Derivatives:
        """The closed forms, for the parameters as they are now."""
        return Derivatives(self)


class Derivatives:
    """The gradient of Phi, and its Laplacian in x, at the parameters of one moment.

    With a_0 = K_0 s + b_0, a_i = K_i u_{i-1} + b_i and E the first d columns of the identity:

        z_{M+1} = w,   y_i = tanh(a_i) o z_{i+1},   z_i = z_{i+1} + h K_i' y_i,   z_0 = K_0' y_0
        grad Phi = z_0 + A'A s + b

        J_0 = diag(tanh a_0) K_0 E,   P_i = K_i J_{i-1},   J_i = J_{i-1} + h diag(tanh a_i) P_i
        c_i = tanh'(a_i) o z_{i+1}
        tr = c_0' |K_0 E|^2 + h sum_i c_i' |P_i|^2 + tr(E'A'A E)

    where |.|^2 takes the squared norm of each row of a matrix. The trace costs O(M m^2 d) a row,
    all else O(M m^2 + m d). What does not depend on s is computed once.
    """

    def __init__(self, potential: Potential) -> None:
        layers = [potential.opening, *potential.hidden]
        self.weights = [layer.weight for layer in layers]
        self.biases = [layer.bias for layer in layers]
        self.w, self.b = potential.w, potential.b
        self.quadratic = potential.A.T @ potential.A
        self.quadratic_trace = self.quadratic.diagonal()[:-1].sum()
        self.K0E = self.weights[0].T[:-1].contiguous()  # transposed: (d, m)
        self.squares = self.K0E.square().sum(0)

    def gradient(self, s: Tensor) -> Tensor:
        """grad Phi `(n, d + 1)` at s `(n, d + 1)`; its last column is dPhi/dt."""
        y0 = _passes(s, self.weights, self.biases, self.w).y0
        gradient: Tensor = self._affine(s) + y0 @ self.weights[0]
        return gradient

    def with_laplacian(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """grad Phi `(n, d + 1)` and the Laplacian of every row `(n,)`."""
        seen = _passes(s, self.weights, self.biases, self.w)
        c0, *curvatures = seen.curvatures()
        laplacian = c0 @ self.squares + self.quadratic_trace
        norms = [torch.zeros_like(c) for c in curvatures]
        for columns in _split(self.K0E, len(s)) if curvatures else ():
            _, products = _push(columns, self.weights[1:], seen.slopes)
            norms = [x + P.square().sum(0) for x, P in zip(norms, products, strict=True)]
        for c, norm in zip(curvatures, norms, strict=True):
            laplacian = laplacian + (c * norm).sum(-1) / len(curvatures)
        return self._affine(s) + seen.y0 @ self.weights[0], laplacian

    def with_total_laplacian(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """grad Phi `(n, d + 1)` and the sum of the rows' Laplacians, a scalar.

        It can be differentiated once, in memory that does not grow with d.
        """
        fixed = (self.w, self.K0E, self.squares, *self.weights, *self.biases)
        at_once = max(1, ROWS_NUMBERS // len(self.w))
        parts = [
            _Network.apply(rows, *fixed)  # type: ignore[no-untyped-call]
            for rows in torch.split(s, at_once)
        ]
        z0, totals = torch.cat([z for z, _ in parts]), torch.stack([total for _, total in parts])
        return self._affine(s) + z0, totals.sum() + len(s) * self.quadratic_trace

    def _affine(self, s: Tensor) -> Tensor:
        return torch.addmm(self.b, s, self.quadratic)


def antiderivative(y: Tensor) -> Tensor:
    """|y| + ln(1 + exp(-2|y|)) = ln(1 + exp(2y)) - y, whose derivative is tanh."""
    return 2 * F.softplus(y, beta=2, threshold=40) - y


def slope(y: Tensor) -> Tensor:
    """tanh(y) = 2 / (1 + exp(-2y)) - 1, which takes half the time of `torch.tanh` on a CPU."""
    return 2 * torch.sigmoid(2 * y) - 1


@dataclass(frozen=True)
class _Passes:
    """What a pass up and one down the network give, each `(n, m)` unless said otherwise."""

    u: list[Tensor]  # u_0 .. u_{M-1}
    slopes: list[Tensor]  # tanh(a_0) .. tanh(a_M)
    z: list[Tensor]  # z_1 .. z_{M+1}, the last of them w `(m,)`

    @property
    def y0(self) -> Tensor:
        return self.slopes[0] * self.z[0]

    def curvatures(self) -> list[Tensor]:
        """c_0 .. c_M."""
        return [z - T * T * z for T, z in zip(self.slopes, self.z, strict=True)]


def _passes(s: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], w: Tensor) -> _Passes:
    a = F.linear(s, weights[0], biases[0])
    u, slopes, h = list[Tensor](), [slope(a)], 1 / max(1, len(weights) - 1)
    for K, b in zip(weights[1:], biases[1:], strict=True):
        u.append(u[-1] + h * antiderivative(a) if u else antiderivative(a))
        a = F.linear(u[-1], K, b)
        slopes.append(slope(a))
    z = [w]
    for T, K in zip(slopes[:0:-1], reversed(weights[1:]), strict=True):
        z.append(torch.addmm(z[-1], T * z[-1], K, alpha=h))
    return _Passes(u, slopes, z[::-1])


class _Network(torch.autograd.Function):
    """z_0, and the network's part of the trace summed over the rows; differentiated by hand.

    Arguments: s `(n, d + 1)`, w `(m,)`, K_0 E transposed `(d, m)` and |K_0 E|^2 `(m,)` (taken as
    if they did not depend on K_0), then K_0 .. K_M, then b_0 .. b_M. A sum's gradient is known up
    to a factor before it is asked for: so that of the terms with J is taken with their value, and
    no Jacobian outlives its columns. Since a sweep keeps what many evaluations need, all that is
    cheap is computed again when it is needed.
    """

    @staticmethod
    def forward(
        ctx: Any, s: Tensor, w: Tensor, K0E: Tensor, squares: Tensor, *layers: Tensor
    ) -> tuple[Tensor, Tensor]:
        weights, biases = layers[: len(layers) // 2], layers[len(layers) // 2 :]
        seen = _passes(s, weights, biases, w)
        c0, *curvatures = seen.curvatures()
        by_squares, M = c0.sum(0), len(curvatures)
        total, sums, by_K0E = by_squares @ squares, list[Tensor](), list[Tensor]()
        for columns in _split(K0E, len(s)) if M else ():
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
        """Against the pass that gave z, so upwards; then against the one that gave u."""
        s, w, squares, by_squares, by_K0E, *saved = ctx.saved_tensors
        M = (len(saved) - 2) // 5
        cuts = (M + 1, M + 1, M, M, M)
        ends = list(itertools.accumulate(cuts))
        weights, biases, norms, by_slopes, by_weights = (
            saved[end - cut : end] for cut, end in zip(cuts, ends, strict=True)
        )
        seen = _passes(s, weights, biases, w)
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


def _split(K0E: Tensor, n: int) -> Sequence[Tensor]:
    """The columns of K_0 E, transposed, in groups `(k, m)` of few enough numbers for n rows."""
    return torch.split(K0E, max(1, COLUMNS_NUMBERS // (n * K0E.shape[1])))


def _push(
    columns: Tensor, weights: Sequence[Tensor], slopes: Sequence[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """Those columns of J_0 .. J_{M-1} and of P_1 .. P_M, transposed: `(k, n, m)`."""
    jacobians, products = [columns[:, None] * slopes[0]], list[Tensor]()
    for i, K in enumerate(weights):
        if i > 0:
            jacobians.append(jacobians[-1] + slopes[i] * products[-1] / len(weights))
        products.append(jacobians[-1] @ K.T)
    return jacobians, products


def _push_and_pull(
    columns: Tensor,
    weights: Sequence[Tensor],
    slopes: Sequence[Tensor],
    curvatures: Sequence[Tensor],
) -> tuple[list[Tensor], Tensor]:
    """The share of columns `(k, m)` in |P_i|^2, and half the slopes of F = sum_i c_i' |P_i|^2.

    Returns:
        |P_1|^2 .. |P_M|^2 and half of dF/dtanh(a_0) .. dF/dtanh(a_{M-1}), `(n, m)`, and half of
        dF/dK_1 .. dF/dK_M, in one list; half of dF/dcolumns `(k, m)`.
    """
    jacobians, products = _push(columns, weights, slopes)
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
