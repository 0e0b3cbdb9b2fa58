"""OT-Flow's potential, the closed form of its gradient and that of its Hessian's trace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


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

        z_{M+1} = w,   z_i = z_{i+1} + h K_i' (tanh(a_i) o z_{i+1}),   z_0 = K_0' (tanh(a_0) o z_1)
        grad Phi = z_0 + A'A s + b

        J_0 = diag(tanh a_0) K_0 E,   P_i = K_i J_{i-1},   J_i = J_{i-1} + h diag(tanh a_i) P_i
        c_i = tanh'(a_i) o z_{i+1}
        tr = c_0' |K_0 E|^2 + h sum_i c_i' |P_i|^2 + tr(E'A'A E)

    where |.|^2 takes the squared norm of each row of a matrix. The trace costs O(M m^2 d) a row,
    all else O(M m^2 + m d). What does not depend on s is computed once.
    """

    def __init__(self, potential: Potential) -> None:
        self.opening = (potential.opening.weight, potential.opening.bias)
        self.hidden = [(layer.weight, layer.bias) for layer in potential.hidden]
        self.weights = [K for K, _ in self.hidden]
        self.w, self.b = potential.w, potential.b
        self.h = 1 / max(1, len(self.hidden))
        self.quadratic = potential.A.T @ potential.A
        self.quadratic_trace = self.quadratic.diagonal()[:-1].sum()
        self.K0E = self.opening[0].T[:-1].contiguous()  # transposed: (d, m)
        self.squares = self.K0E.square().sum(0)

    def gradient(self, s: Tensor) -> Tensor:
        """grad Phi `(n, d + 1)` at s `(n, d + 1)`; its last column is dPhi/dt."""
        return self._passes(s)[0]

    def with_laplacian(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """grad Phi `(n, d + 1)` and the Laplacian of every row `(n,)`."""
        gradient, slopes, curvatures = self._passes(s)
        laplacian = curvatures[0] @ self.squares + self.quadratic_trace
        for column in self.K0E if self.hidden else ():
            _, products = _push(column, self.weights, slopes, self.h)
            for c, P in zip(curvatures[1:], products, strict=True):
                laplacian = laplacian + self.h * (c * P.square()).sum(-1)
        return gradient, laplacian

    def with_total_laplacian(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """grad Phi `(n, d + 1)` and the sum of the rows' Laplacians, a scalar.

        It can be differentiated once, in memory that does not grow with d.
        """
        gradient, slopes, curvatures = self._passes(s)
        total = (curvatures[0] @ self.squares).sum() + len(s) * self.quadratic_trace
        if self.hidden:
            inner = _Inner.apply(self.h, self.K0E, *self.weights, *slopes, *curvatures[1:])
            total = total + inner
        return gradient, total

    def _passes(self, s: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """grad Phi; tanh(a_i) for i = 0 .. M-1, which J needs; c_i for i = 0 .. M."""
        a = F.linear(s, *self.opening)
        u, slopes = a, [torch.tanh(a)]
        for i, layer in enumerate(self.hidden):
            u = antiderivative(a) if i == 0 else u + self.h * antiderivative(a)
            a = F.linear(u, *layer)
            slopes.append(torch.tanh(a))
        z, curvatures = self.w, list[Tensor]()
        for slope, K in zip(slopes[:0:-1], reversed(self.weights), strict=True):
            y = slope * z
            curvatures.append(torch.addcmul(z, slope, y, value=-1))
            z = torch.addmm(z, y, K, alpha=self.h)
        y = slopes[0] * z
        curvatures.append(torch.addcmul(z, slopes[0], y, value=-1))
        gradient = torch.addmm(torch.addmm(self.b, s, self.quadratic), y, self.opening[0])
        return gradient, slopes[: len(self.hidden)], curvatures[::-1]


def antiderivative(y: Tensor) -> Tensor:
    """|y| + ln(1 + exp(-2|y|)) = ln(1 + exp(2y)) - y, whose derivative is tanh."""
    return 2 * F.softplus(y, beta=2, threshold=40) - y


class _Inner(torch.autograd.Function):
    """h sum_i c_i' |P_i|^2, summed over the rows too; its gradient is taken with it.

    Arguments: h, K_0 E transposed `(d, m)`, and for i = 1 .. M all K_i, then all tanh(a_{i-1}),
    then all c_i `(n, m)`. Since a sum's gradient is known up to a factor, both are computed for
    one column of K_0 E at a time, and no Jacobian outlives its column. Derivatives by J_i, P_i
    and what they depend on are kept divided by 2h.
    """

    @staticmethod
    def forward(ctx: Any, h: float, K0E: Tensor, *arguments: Tensor) -> Tensor:
        M = len(arguments) // 3
        weights, slopes, curvatures = (arguments[i * M : (i + 1) * M] for i in range(3))
        by_K0E = torch.empty_like(K0E)
        by_weights, by_slopes, norms = (
            [torch.zeros_like(x) for x in arguments[i * M : (i + 1) * M]] for i in range(3)
        )
        for k, column in enumerate(K0E):
            jacobians, products = _push(column, weights, slopes, h)
            by_J = torch.zeros_like(jacobians[0])
            for i in reversed(range(M)):
                J, P = jacobians[i], products[i]
                norms[i].addcmul_(P, P)
                by_P = curvatures[i] * P
                if i < M - 1:
                    by_slopes[i + 1].addcmul_(by_J, P, value=h)
                    by_P.addcmul_(slopes[i + 1], by_J, value=h)
                by_weights[i].addmm_(by_P.T, J)
                by_J.addmm_(by_P, weights[i])
            by_slopes[0].addcmul_(by_J, column)
            torch.sum(by_J.mul_(slopes[0]), 0, out=by_K0E[k])
        ctx.h, ctx.M = h, M
        ctx.save_for_backward(by_K0E, *by_weights, *by_slopes, *norms)
        return (
            h * torch.stack([(c * x).sum() for c, x in zip(curvatures, norms, strict=True)]).sum()
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_total: Tensor) -> tuple[Tensor | None, ...]:
        scale, halves = ctx.h * by_total, 1 + 2 * ctx.M
        saved = ctx.saved_tensors
        return None, *(2 * scale * x for x in saved[:halves]), *(scale * x for x in saved[halves:])


def _push(
    column: Tensor, weights: Sequence[Tensor], slopes: Sequence[Tensor], h: float
) -> tuple[list[Tensor], list[Tensor]]:
    """A column `(m,)` of K_0 E pushed on: that of J_0 .. J_{M-1} and of P_1 .. P_M, `(n, m)`."""
    jacobians, products = [slopes[0] * column], [slopes[0]][:0]
    for i, K in enumerate(weights):
        if i > 0:
            jacobians.append(torch.addcmul(jacobians[-1], slopes[i], products[-1], value=h))
        products.append(jacobians[-1] @ K.T)
    return jacobians, products
