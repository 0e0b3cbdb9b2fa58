"""What a run keeps of its test rows: their log-densities, and the groups that they come in."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import DataError
from bench.record import read


@dataclass(frozen=True)
class Densities:
    """A run's log-densities of its test rows, `(rows,)`, in nats; `groups` are the rows' groups.

    `rows` says which rows they are: runs that agree in it hold the same rows in the same order.
    """

    log_prob: NDArray[np.floating]
    groups: NDArray[np.generic] | None
    rows: tuple[Any, ...]


def densities(results: Path, run: str) -> Densities | None:
    """The densities that a run keeps; None where it keeps none, or none that can be used.

    Rows that come in groups, by the record, are of no use without the groups: as if they were
    independent, they would say too much.
    """
    try:
        with np.load(results / run / "samples.npz", allow_pickle=False) as kept:
            if "log_prob" not in kept:
                return None
            log_prob = kept["log_prob"]
            groups = kept.get("groups")
        record = read(results, run)
    except (DataError, OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None
    if record is None or log_prob.ndim != 1 or not np.isfinite(log_prob).all():
        return None
    if groups is not None and groups.shape != log_prob.shape:
        return None
    judge, dataset, metrics = (record.get(part) or {} for part in ("judge", "dataset", "metrics"))
    if groups is None and metrics.get("nll_groups"):
        return None
    asked = tuple(judge.get(name) for name in ("test_rows", "seed", "metrics_version"))
    labels = None if groups is None else groups.tobytes()
    return Densities(log_prob, groups, (dataset.get("revision"), *asked, len(log_prob), labels))
