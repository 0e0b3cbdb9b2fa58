"""Checks of a data set: its rows, and its true density and entropy where it states them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.api.dataset import Dataset
from bench.conformance.subject import Broken, NotTried
from bench.data.arrays import SPLITS, Loaded

#: The rows over which the log-density is averaged, and the most that are checked one by one.
ROWS, MOST = 20_000, 100_000
#: How far the entropy may be from the mean over the rows: standard errors, and nats beside them.
ERRORS, FLOOR = 5.0, 1e-3
#: How far the integral may be from 1, and the entropy from the sum over a grid, in nats.
OFF = 0.01
#: Cells along each side of the grid to begin with, and at most.
COARSE, FINE = 96, 768
#: The grid goes beyond the rows by this share of their range, on every side.
MARGIN = 0.25


@dataclass(frozen=True)
class DatasetSubject:
    """A data set under test, its rows, and its own source files."""

    dataset: Dataset
    loaded: Loaded
    files: Sequence[Path] = ()

    @property
    def name(self) -> str:
        """Its name."""
        return self.dataset.name

    def log_density(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the log-densities `(n,)` of rows `(n, d)`, evaluated 50,000 at a time."""
        known = self.dataset.log_density
        if known is None:
            raise NotTried("no-density")
        found = []
        for rows in np.array_split(x, -(-len(x) // 50_000)):
            values, n = np.asarray(known(rows), np.float64), len(rows)
            if values.shape != (n,) or np.isnan(values).any() or (values == np.inf).any():
                raise Broken("density-shape", rows=rows.shape, has=values.shape, expected=(n,))
            found.append(values)
        return np.concatenate(found)


def check_rows(subject: DatasetSubject) -> str:
    """Each split is `(n, d)` float32, finite, and no column of it is constant."""
    d = subject.dataset.d
    for split in SPLITS:
        rows = getattr(subject.loaded, split)
        if rows.ndim != 2 or rows.shape[1] != d or not len(rows) or rows.dtype != np.float32:
            raise Broken("row-shape", split=split, has=rows.shape, kind=rows.dtype, d=d)
        some = np.asarray(rows[:MOST])
        if not np.isfinite(some).all():
            raise Broken("row-not-finite", split=split)
        if len(some) > 1 and (constant := np.flatnonzero(np.ptp(some, axis=0) == 0)).size:
            raise Broken("constant-column", column=int(constant[0]), split=split)
    sizes = ", ".join(f"{len(getattr(subject.loaded, split)):,}" for split in SPLITS)
    return f"{sizes} rows in {d} dimensions"


def check_entropy(subject: DatasetSubject) -> str:
    """The entropy is minus the mean log-density of the rows, within five standard errors."""
    rows = np.asarray(subject.loaded.train[:ROWS], np.float64)
    log_p, stated = subject.log_density(rows), subject.dataset.entropy
    outside = np.flatnonzero(np.isneginf(log_p))
    if outside.size:
        row = np.array2string(rows[outside[0]], precision=4, threshold=6)
        raise Broken("impossible-row", count=outside.size, total=len(rows), row=row)
    if stated is None:
        raise NotTried("no-entropy")
    found, error = -log_p.mean(), log_p.std() / np.sqrt(len(rows))
    if abs(found - stated) > ERRORS * error + FLOOR:
        raise Broken("entropy-rows", stated=stated, total=len(rows), found=found, error=error)
    return f"{stated:.4f} stated, {found:.4f} +- {error:.1g} over {len(rows):,} rows"


def check_integral(subject: DatasetSubject) -> str:
    """Over the plane the density integrates to one, and -p log p to the entropy within 0.01 nat.

    By the midpoint rule over a box around the rows, on more cells until the error is small: the
    largest change of either integral when only one of four interleaved grids is summed.
    """
    stated = subject.dataset.entropy
    if subject.dataset.log_density is None:
        raise NotTried("no-density")
    if subject.dataset.d != 2:
        raise NotTried("not-planar", d=subject.dataset.d)
    rows = np.asarray(subject.loaded.train[:MOST], np.float64)
    low, high = rows.min(0), rows.max(0)
    low, high = low - MARGIN * (high - low), high + MARGIN * (high - low)
    cells, error = COARSE // 2, np.inf
    while error > OFF / 10 and cells < FINE:
        cells *= 2
        share = (np.arange(cells) + 0.5) / cells
        x, y = (low[i] + (high[i] - low[i]) * share for i in (0, 1))
        log_p = subject.log_density(np.stack(np.meshgrid(x, y), -1).reshape(-1, 2))
        p = np.exp(log_p)
        terms = np.stack([p, -p * np.maximum(log_p, -1e3)]) * (high - low).prod()
        quarters = terms.reshape(2, cells // 2, 2, cells // 2, 2).mean((1, 3))
        mass, entropy = quarters.mean((1, 2))
        error = float(np.abs(quarters - [[[mass]], [[entropy]]]).max())
    if error > OFF:
        raise NotTried("coarse-grid", error=error)
    if abs(mass - 1) > OFF + error:
        raise Broken("density-mass", mass=mass)
    if stated is not None and abs(entropy - stated) > OFF + error:
        raise Broken("entropy-grid", stated=stated, found=entropy, cells=cells)
    return f"{mass:.4f}, entropy {entropy:.4f} +- {error:.1g} by {cells} x {cells} cells"
