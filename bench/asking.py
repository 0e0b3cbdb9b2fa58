"""Asking a trained flow for many rows, in memory that does not grow with their number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from bench.errors import NothingMeasured
from bench.flow import Flow
from bench.numerics.ode import SolverFailed

#: Rows that are drawn at once. The noise of a seed is drawn in parts of so many, the last one cut,
#: so that fewer rows of a seed are the first ones of more.
DRAWN_AT_ONCE = 4_096


def drawn(flow: Flow, n: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """`n` rows drawn from the flow, in parts `(at most DRAWN_AT_ONCE, d)`.

    Raises:
        NothingMeasured: the solver gave up.
    """
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, n, DRAWN_AT_ONCE):
        z = torch.randn(DRAWN_AT_ONCE, flow.method.d, generator=generator, dtype=torch.float64)
        try:
            rows = flow.decode(z[: n - start]).rows
        except SolverFailed as error:
            raise _gave_up("drawn", start, min(n, start + DRAWN_AT_ONCE), error) from error
        yield rows.cpu().numpy().astype(np.float32)


def scored(flow: Flow, parts: Iterable[NDArray[np.float64]]) -> Iterator[NDArray[np.float64]]:
    """The log-densities `(n,)`, in nats, of rows that come in parts `(n, d)`.

    Raises:
        NothingMeasured: the solver gave up.
    """
    start = 0
    for part in parts:
        try:
            yield flow.log_prob(torch.from_numpy(part)).double().cpu().numpy()
        except SolverFailed as error:
            raise _gave_up("scored", start, start + len(part), error) from error
        start += len(part)


def _gave_up(what: str, start: int, end: int, error: SolverFailed) -> NothingMeasured:
    return NothingMeasured(f"Rows {start} to {end - 1} can't be {what}: {error}.")
