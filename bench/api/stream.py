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

#: Rows that are pushed forward at once.
ROWS_AT_ONCE = 2**13


class RowsNotFinite(ArithmeticError):
    """A mini-batch holds a NaN or an infinity."""


@dataclass(frozen=True)
class Movement:
    """What a push-forward T did to the training rows x.

    Attributes:
        step: E|T(x) - x|^2.
        start: E|x|^2.
        size: E|T(x)|^2.
    """

    step: float
    start: float
    size: float

    @property
    def relative(self) -> float:
        """The relative W2 movement, E|T(x) - x|^2 / E|T(x)|^2."""
        return self.step / self.size


@dataclass
class Restored:
    """What it cost to make push-forwards anew that a run had made before it was continued.

    Attributes:
        seconds: the time.
        evaluations: those that `count` counted.
        count: gives the number of evaluations so far.
    """

    seconds: float = 0.0
    evaluations: int = 0
    count: Callable[[], int] = lambda: 0


class Stream:
    """Deals `total` mini-batches of `batch_size` training rows, then ends.

    The rows of an epoch come in an order drawn from (seed, epoch); a mini-batch that reaches
    over the end of an epoch takes its last rows from the next one. The k-th mini-batch depends on
    k and the seed alone, so a stream can start anywhere.

    A method that is trained block by block has the training rows pushed through each block that
    is finished, and is dealt what came out, in the same order: see `push`.

    Args:
        rows: the training split `(n, d)`.
        batch_size: rows in a mini-batch.
        total: the mini-batches of the budget.
        seed: the seed of the order.
        device: where mini-batches go.
        dealt: the mini-batches dealt before (by a run that is continued).
        pushes: the push-forwards made before (by a run that is continued), since the last rewind;
            the method makes them anew, and what that costs is `Stream.restored`.
        first: a fixed first layer of the model, which all rows go through.

    Raises:
        RowsNotFinite: on dealing a mini-batch with a row that is not finite.
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
        self._rows = np.asarray(rows)  # stays where it is mapped, without a memmap's slow indexing
        self._first = first
        self.pushes = 0  # since the last rewind
        self._again = pushes
        self.restored = Restored()
        self._kept: Tensor | None = None  # what is dealt, where that is not `rows` themselves
        if self.device.type != "cpu":
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
        # A sum is quicker than a look at each value, which is due only where the sum is not finite.
        if not math.isfinite(rows.sum()) and (broken := _broken(rows)):
            raise RowsNotFinite(f"{broken} of {len(rows)} rows are not finite")
        return rows

    @property
    def spent(self) -> float:
        """The share of the budget spent before the mini-batch in hand: from 0 to below 1."""
        return max(0, self.dealt - 1) / self.total

    def push(self, forward: Map) -> Movement:
        """Push all rows that are dealt through `forward` once, without gradients; deal the result.

        The rows of a second push are those that the first one gave. A method that is continued
        pushes anew through the blocks that it has finished, from the first.
        """
        began, before = time.perf_counter(), self.restored.count()
        moved = self._push(forward)
        self.pushes += 1
        if self._again > 0:
            self._again -= 1
            self.restored.seconds += time.perf_counter() - began
            self.restored.evaluations += self.restored.count() - before
        return moved

    def _push(self, forward: Map) -> Movement:
        if self._kept is None:
            self._kept = self._enter(torch.tensor(self._rows))
        step = start = size = 0.0
        for rows in torch.split(self._kept, ROWS_AT_ONCE):
            with torch.no_grad():
                pushed = forward(rows)
            step += (pushed - rows).double().square().sum().item()
            start += rows.double().square().sum().item()
            size += pushed.double().square().sum().item()
            rows.copy_(pushed)
        return Movement(step / self._n, start / self._n, size / self._n)

    def rewind(self) -> None:
        """Deal the rows themselves again, not pushed through anything but the first layer."""
        self.pushes = 0
        if self.device.type == "cpu":
            self._kept = None
        else:  # on a GPU the split lives there whole
            self._kept = self._enter(torch.tensor(self._rows))

    def _enter(self, rows: Tensor) -> Tensor:
        """The rows on the device, through the first layer."""
        with torch.no_grad():
            return self._first(rows.to(self.device))

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


def _broken(rows: Tensor) -> int:
    """How many rows hold a value that is not finite."""
    return int((~torch.isfinite(rows)).any(1).sum())
