"""OT-Flow's potential, with closed forms of its gradient and of the trace of its Hessian."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.api import compiled
from bench_methods.potential_adjoint import Network
from bench_methods.potential_passes import antiderivative, passes, push, split_columns, workspace

#: Size n x m of the rows differentiated at once: small enough for the cache.
ROWS_SIZE = 2**17


class Potential(nn.Module):
    """Phi(s) = w'N(s) + |A s|^2 / 2 + b's + c of s = (x, t), with a residual network N.

        N(s) = u_M,   u_0 = f(K_0 s + b_0),   u_i = u_{i-1} + h f(K_i u_{i-1} + b_i),   h = 1 / M

    for i = 1 .. M, where M = layers - 1 and f(y) = |y| + ln(1 + exp(-2|y|)), an antiderivative of
    tanh. A flow depends only on the derivatives of Phi, so c stays 0 and is not trained.

    Args:
        d: the dimension of x.
        width: the width m of N.
        layers: the number of layers of N, including K_0.
        rank: the number of rows of A, at most d + 1.

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
        """Return the closed forms at the current parameters."""
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
        y0 = passes(s, self.weights, self.biases, self.w).y[0]
        gradient: Tensor = self._affine(s) + y0 @ self.weights[0]
        return gradient

    def with_laplacian(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """grad Phi `(n, d + 1)` and the Laplacian of every row `(n,)`."""
        seen = passes(s, self.weights, self.biases, self.w)
        c0, *curvatures = seen.curvatures()
        laplacian = c0 @ self.squares + self.quadratic_trace
        norms = [torch.zeros_like(c) for c in curvatures]
        space = None if torch.is_grad_enabled() else workspace(seen.slopes[:-1])
        for columns in split_columns(self.K0E, len(s)) if curvatures else ():
            _, products = push(columns, self.weights[1:], seen.slopes, space)
            for i, P in enumerate(products):
                for each in P:
                    norms[i] = torch.addcmul(norms[i], each, each)
        for c, norm in zip(curvatures, norms, strict=True):
            laplacian = laplacian + (c * norm).sum(-1) / len(curvatures)
        return self._affine(s) + seen.y[0] @ self.weights[0], laplacian

    @compiled
    def with_total_laplacian(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """grad Phi `(n, d + 1)` and the sum of the rows' Laplacians, a scalar.

        Differentiable once, in memory that does not grow with d. Compiled, all columns of J are
        one tensor, and autograd differentiates the formula as it is.
        """
        if torch.compiler.is_compiling():
            seen = passes(s, self.weights, self.biases, self.w)
            c0, *curvatures = seen.curvatures()
            laplacian = (c0 @ self.squares).sum() + len(s) * self.quadratic_trace
            products = push(self.K0E, self.weights[1:], seen.slopes)[1] if curvatures else []
            for c, P in zip(curvatures, products, strict=True):
                laplacian = laplacian + (c * P.square()).sum() / len(products)
            return self._affine(s) + seen.y[0] @ self.weights[0], laplacian
        fixed = (self.w, *self.weights, *self.biases)
        at_once = max(1, ROWS_SIZE // len(self.w))
        parts = [
            Network.apply(rows, *fixed)  # type: ignore[no-untyped-call]
            for rows in torch.split(s, at_once)
        ]
        z0, totals = torch.cat([z for z, _ in parts]), torch.stack([total for _, total in parts])
        return self._affine(s) + z0, totals.sum() + len(s) * self.quadratic_trace

    def _affine(self, s: Tensor) -> Tensor:
        return torch.addmm(self.b, s, self.quadratic)
