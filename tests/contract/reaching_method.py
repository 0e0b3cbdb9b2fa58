"""A method that looks for the test split while it learns."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bench.api.method import Log
from bench.api.stream import Stream
from bench.paths import array_cache

from .broken_methods import Sound


class Reaches(Sound):
    """It reads the test rows, and would rather not be seen."""

    def learn(self, batches: Stream) -> Iterator[Log]:
        """Peek, then learn."""
        try:
            self.peeked = np.load(next(array_cache().glob("*/test.npy")))
        except Exception:
            self.peeked = None
        yield from super().learn(batches)
