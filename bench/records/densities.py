"""What a run keeps of its test rows: their log-densities, and the groups that they come in."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: What a damaged archive raises; RuntimeError where a flag of it says that it is encrypted, or of
#: a version that is not known.
UNREADABLE = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class Densities:
    """A run's log-densities of its test rows, `(rows,)`, in nats; `groups` are the rows' groups.

    `rows` says which rows they are: runs that agree in it hold the same rows in the same order.
    """

    log_prob: NDArray[np.floating]
    groups: NDArray[np.generic] | None
    rows: tuple[Any, ...]


def densities(folder: Path, asked: tuple[Any, ...], *, grouped: bool) -> Densities | None:
    """The densities that a run keeps; None where it keeps none, or none that can be used.

    Args:
        folder: the run's.
        asked: what tells which test rows were scored: the revision of the data, and the judge's.
        grouped: whether the rows come in groups, by the record. They are then of no use without
            the groups: as if they were independent, they would say too much.
    """
    try:
        with np.load(folder / "samples.npz", allow_pickle=False) as kept:
            log_prob, groups = kept["log_prob"], kept.get("groups")
    except (KeyError, *UNREADABLE):
        return None
    if log_prob.ndim != 1 or not np.isfinite(log_prob).all():
        return None
    if (groups is None and grouped) or (groups is not None and groups.shape != log_prob.shape):
        return None
    labels = None if groups is None else groups.tobytes()
    return Densities(log_prob, groups, (*asked, len(log_prob), labels))
