"""The stream of mini-batches: for a seed, every method gets the same rows in the same order."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Stream:
    """Deals `total` mini-batches of `batch_size` training rows, then ends.

    The rows of an epoch come in an order drawn from (seed, epoch); a mini-batch that reaches
    over the end of an epoch takes its last rows from the next one. The k-th mini-batch depends on
    k and the seed alone, so a stream can start anywhere.

    Args:
        rows: the training split `(n, d)`.
        batch_size: rows in a mini-batch.
        total: the mini-batches of the budget.
        seed: the seed of the order.
        device: where mini-batches go.
        dealt: the mini-batches dealt before (by a run that is continued).
    """

    def __init__(
        self,
        rows: NDArray[np.float32],
        batch_size: int,
        total: int,
        seed: int,
        device: torch.device | str = "cpu",
        dealt: int = 0,
    ) -> None:
        self.batch_size = batch_size
        self.total = total
        self.dealt = dealt
        self._n = len(rows)
        self._seed = seed
        self.device = torch.device(device)
        # On a GPU the split lives there whole; on a CPU it stays where it is mapped.
        self._rows = rows
        self._on_device = None
        if self.device.type != "cpu":
            self._on_device = torch.tensor(np.asarray(rows), device=self.device)
        self._epoch = -1
        self._order: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Tensor:
        if self.dealt >= self.total:
            raise StopIteration
        indices = self._indices(self.dealt)
        self.dealt += 1
        if self._on_device is not None:
            return self._on_device[torch.from_numpy(indices).to(self.device)]
        return torch.from_numpy(self._rows[indices])

    @property
    def spent(self) -> float:
        """The share of the budget spent before the mini-batch in hand: from 0 to below 1."""
        return max(0, self.dealt - 1) / self.total

    def _indices(self, k: int) -> NDArray[np.int64]:
        """The rows of the k-th mini-batch."""
        start, stop = k * self.batch_size, (k + 1) * self.batch_size
        parts = []
        while start < stop:
            epoch, offset = divmod(start, self._n)
            if epoch != self._epoch:
                self._order = np.random.default_rng([self._seed, epoch]).permutation(self._n)
                self._epoch = epoch
            part = self._order[offset : offset + stop - start]
            parts.append(part)
            start += len(part)
        return np.concatenate(parts)
