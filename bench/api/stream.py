"""The stream of mini-batches: for a seed, every method gets the same rows in the same order."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Map = Callable[[Tensor], Tensor]

#: Rows pushed forward together.
ROWS_AT_ONCE = 2**13


class RowsNotFinite(ArithmeticError):
    """A mini-batch contains a NaN or an infinity."""


@dataclass(frozen=True)
class Movement:
    """How far T moved the training rows x: E|T(x) - x|^2, and their size E|T(x)|^2 now."""

    step: float
    size: float

    @property
    def relative(self) -> float:
        """The relative W2 movement, E|T(x) - x|^2 / E|T(x)|^2."""
        return self.step / self.size


@dataclass
class Restored:
    """The cost of repeating the push-forwards of a resumed run.

    `count` returns the number of evaluations so far.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    evaluations: int = 0
    count: Callable[[], int] = lambda: 0


class Stream:
    """Iterates over `total` mini-batches of `batch_size` training rows.

    The order of the rows in an epoch depends on (seed, epoch). A mini-batch that crosses the end of
    an epoch takes its last rows from the next one. The k-th mini-batch depends only on k and the
    seed, so a stream can start anywhere.

    A method trained block by block has the training rows pushed through each finished block, and
    gets the results in the same order: see `push`.

    Args:
        rows: the training split `(n, d)`.
        batch_size: rows in a mini-batch.
        total: mini-batches in the budget.
        seed: seed of the order.
        device: device of the mini-batches.
        dealt: mini-batches already used, in a resumed run.
        first: a fixed first layer of the model, applied to all rows.
        pushes: push-forwards since the last rewind, in a resumed run; the method repeats them, at
            the cost `Stream.restored`.

    Raises:
        RowsNotFinite: a mini-batch has a row that is not finite.
    """

    def __init__(
        self,
        rows: NDArray[np.float32],
        batch_size: int,
        total: int,
        seed: int,
        device: torch.device | str = "cpu",
        dealt: int = 0,
        first: Map = lambda x: x,
        pushes: int = 0,
    ) -> None:
        self.batch_size = batch_size
        self.total = total
        self.dealt = dealt
        self._n = len(rows)
        self._seed = seed
        self.device = torch.device(device)
        self._rows = np.asarray(rows)  # stays memory-mapped, without a memmap's slow indexing
        self._first = first
        self._again = pushes
        self.restored = Restored()
        self._kept: Tensor | None = None  # what is served instead of `rows`, if anything
        self.rewind()
        self._epoch = -1
        self._order: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Tensor:
        if self.dealt >= self.total:
            raise StopIteration
        indices = self._indices(self.dealt)
        self.dealt += 1
        if self._kept is not None:
            rows = self._kept[torch.from_numpy(indices).to(self.device)]
        else:
            rows = self._enter(torch.from_numpy(self._rows.take(indices, axis=0)))
        # A sum is quicker than a check of each value, which is only needed if it is not finite.
        if not math.isfinite(rows.sum()):
            broken = int((~torch.isfinite(rows)).any(1).sum())
            if broken:
                raise RowsNotFinite(f"{broken} of {len(rows)} rows are not finite")
        return rows

    @property
    def spent(self) -> float:
        """The share of the budget used before the current mini-batch, in [0, 1)."""
        return max(0, self.dealt - 1) / self.total

    def push(self, forward: Map) -> Movement:
        """Replace all rows by their images under `forward`, without gradients.

        A second push starts from the result of the first. A resumed method repeats the pushes
        through its finished blocks, from the first one.
        """
        began, cpu_began = time.perf_counter(), time.process_time()
        before = self.restored.count()
        if self._kept is None:
            self._kept = self._enter(torch.tensor(self._rows))
        step = size = 0.0
        for rows in torch.split(self._kept, ROWS_AT_ONCE):
            with torch.no_grad():
                pushed = forward(rows)
            step += (pushed - rows).double().square().sum().item()
            size += pushed.double().square().sum().item()
            rows.copy_(pushed)
        self.pushes += 1
        if self._again > 0:
            self._again -= 1
            self.restored.seconds += time.perf_counter() - began
            self.restored.cpu_seconds += time.process_time() - cpu_began
            self.restored.evaluations += self.restored.count() - before
        return Movement(step / self._n, size / self._n)

    def rewind(self) -> None:
        """Return to the original rows, undoing all pushes."""
        self.pushes = 0  # since the last rewind
        on_gpu = self.device.type != "cpu"  # which keeps the whole split
        self._kept = self._enter(torch.tensor(self._rows)) if on_gpu else None

    def _enter(self, rows: Tensor) -> Tensor:
        """Move rows to the device and apply the first layer."""
        with torch.no_grad():
            return self._first(rows.to(self.device))

    def _indices(self, k: int) -> NDArray[np.int64]:
        """The indices of the rows of the k-th mini-batch."""
        start, stop = k * self.batch_size, (k + 1) * self.batch_size
        parts = []
        while start < stop:
            epoch, offset = divmod(start, self._n)
            if epoch != self._epoch:
                self._order = np.random.default_rng([self._seed, epoch]).permutation(self._n)
                self._epoch = epoch
            parts.append(self._order[offset : offset + stop - start])
            start += len(parts[-1])
        return np.concatenate(parts)
