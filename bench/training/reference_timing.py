"""A reference computation, the unit in which the cost of a step is compared between machines.

One pass is a step of a small perceptron, forward and backward, as most methods' steps are: a
machine that is busy, slow or clocked down slows both alike. It is timed between the steps of a run,
in the same process and with the same threads, in CPU seconds, which don't count waiting for other
programs. It draws none of the run's random numbers and does not change its result.
"""

from __future__ import annotations

import hashlib
import time

import torch
from torch import Tensor

#: Rows and width of the perceptron.
ROWS, WIDTH = 128, 64


class ReferenceTimer:
    """Times the reference computation, on the CPU; warmed up when it is made."""

    def __init__(self) -> None:
        self._rows = _waves(ROWS, WIDTH)
        self._weights = [_waves(WIDTH, WIDTH, k).requires_grad_() for k in range(1, 4)]
        for _ in range(5):
            self.measure()

    def measure(self) -> float:
        """Return the CPU seconds of one pass."""
        start = time.process_time()
        for _ in range(2):
            torch.autograd.grad(_perceptron(self._rows, self._weights).sum(), self._weights)
        return time.process_time() - start


def arithmetic() -> str:
    """Return a hash of the bits of torch's arithmetic on this machine with this many threads.

    The operations are those of methods and metrics, in both precisions. Where two machines agree in
    it and in the versions of their libraries, a run ends with the same bits on both; an exact
    comparison of runs rests on this.
    """
    digest = hashlib.sha256()
    for result in _results():
        digest.update(result.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


def _results() -> list[Tensor]:
    found = []
    for dtype in (torch.float32, torch.float64):
        for rows, inputs, outputs in ((128, 2, 64), (100, 64, 64), (512, 64, 256), (1_000, 256, 2)):
            x = _waves(rows, inputs).to(dtype)
            found += [x @ _waves(inputs, outputs).to(dtype), x.sum(), x.mean(0), x.std()]
        x = _waves(257, 64).to(dtype)
        found += [x.exp(), x.sin(), x.cos(), x.tanh(), x.sigmoid(), torch.logsumexp(x, 1)]
        found += [torch.nn.functional.softplus(x), torch.nn.functional.silu(x)]
        found += [x.square().sum(-1).sqrt(), torch.linalg.cholesky(x.T @ x / 257 + torch.eye(64))]
        weights = [_waves(64, 64, k).to(dtype).requires_grad_() for k in range(1, 4)]
        loss = _perceptron(x, weights).square().mean()
        found += [loss, *torch.autograd.grad(loss, weights)]
        generator = torch.Generator().manual_seed(0)
        found.append(torch.randn(100, 64, dtype=dtype, generator=generator))
    weight = torch.nn.Parameter(_waves(64, 64))
    optimizer = torch.optim.Adam([weight], 1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        (weight @ weight).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return [*found, weight]


def _perceptron(x: Tensor, weights: list[Tensor]) -> Tensor:
    for weight in weights:
        x = torch.tanh(x @ weight)
    return x


def _waves(rows: int, columns: int, k: int = 0) -> Tensor:
    """Return `(rows, columns)` numbers within +-1/8 that are the same on every machine."""
    index = torch.arange(rows * columns, dtype=torch.int64)
    return ((index * 7_919 + 104_729 * k) % 2_003 - 1_001).reshape(rows, columns) / 8_192
