"""An affine first layer, shift and scale or whitening, fitted to the training split."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Kind = Literal["none", "diagonal", "full"]

#: Rows whose moments are summed together.
ROWS_AT_ONCE = 2**16


class Affine(nn.Module):
    """z = A (x - m), the first layer of a flow; its log-determinant is part of the density.

    `none` is the identity. With the mean m and the covariance C of the training split, `diagonal`
    has A = diag(C)^(-1/2), and `full` has A = C^(-1/2), symmetric: the optimal transport map of
    the fitted Gaussian to the standard normal (Dowson & Landau 1982). A method sees only z.
    """

    shift: Tensor
    matrix: Tensor

    def __init__(self, d: int, kind: Kind) -> None:
        super().__init__()
        self.kind = kind
        if kind != "none":
            self.register_buffer("shift", torch.zeros(d))
            self.register_buffer("matrix", torch.eye(d))

    def forward(self, x: Tensor) -> Tensor:
        """Map rows x `(n, d)` to z `(n, d)`."""
        return x if self.kind == "none" else (x - self.shift) @ self.matrix

    def inverse(self, z: Tensor) -> Tensor:
        """Map z `(n, d)` to rows x `(n, d)`."""
        if self.kind == "none":
            return z
        rows: Tensor = torch.linalg.solve(self.matrix, z, left=False) + self.shift
        return rows

    def pull(self, gradient: Tensor) -> Tensor:
        """Turn gradients `(n, d)` with respect to z into gradients with respect to x."""
        return gradient if self.kind == "none" else gradient @ self.matrix.T

    def log_det(self) -> float | Tensor:
        """log |det A|, in nats."""
        if self.kind == "none":
            return 0.0
        log_det: Tensor = torch.linalg.slogdet(self.matrix)[1]
        return log_det

    def size(self) -> int:
        """The number of fitted values."""
        if self.kind == "none":
            return 0
        d = len(self.shift)
        return 2 * d if self.kind == "diagonal" else d + d * (d + 1) // 2

    def fit(self, rows: NDArray[np.float32]) -> None:
        """Fit the layer to the training split `(n, d)`, in float64.

        Raises:
            ValueError: the rows do not vary in some direction.
        """
        if self.kind == "none":
            return
        mean, covariance = _moments(rows)
        if self.kind == "diagonal":
            covariance = np.diag(np.diag(covariance))
        variances, directions = np.linalg.eigh(covariance)
        if variances[0] <= 1e-10 * variances[-1]:
            raise ValueError(
                f"affine={self.kind} divides by the spread of the training rows, whose variance is "
                f"{variances[0]:.3g} in one direction and {variances[-1]:.3g} in another; drop "
                "columns that depend on others, or use affine=none"
            )
        matrix = (directions / np.sqrt(variances)) @ directions.T
        self.shift.copy_(torch.from_numpy(mean))
        self.matrix.copy_(torch.from_numpy(matrix))


def _moments(rows: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mean `(d,)` and the covariance `(d, d)`, in two passes."""
    parts = [rows[i : i + ROWS_AT_ONCE] for i in range(0, len(rows), ROWS_AT_ONCE)]
    mean = sum(np.asarray(part, dtype=np.float64).sum(0) for part in parts) / len(rows)
    scatter = np.zeros((rows.shape[1], rows.shape[1]))
    for part in parts:
        centred = part - mean
        scatter += centred.T @ centred
    return mean, scatter / len(rows)
