"""What a run keeps of its test rows: their log-densities, and the groups that they come in."""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

#: What a damaged archive raises; RuntimeError where a flag of it says that it is encrypted, or of
#: a version that is not known.
UNREADABLE = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)

#: How a `.npy` of the commonest version begins.
_MAGIC = b"\x93NUMPY\x01\x00"


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
        with zipfile.ZipFile(folder / "samples.npz") as kept:
            names = kept.namelist()
            if "log_prob.npy" not in names:
                return None
            log_prob = _array(kept.read("log_prob.npy"))
            groups = _array(kept.read("groups.npy")) if "groups.npy" in names else None
    except UNREADABLE:
        return None
    if log_prob.ndim != 1 or not np.isfinite(log_prob).all():
        return None
    if (groups is None and grouped) or (groups is not None and groups.shape != log_prob.shape):
        return None
    labels = None if groups is None else groups.tobytes()
    return Densities(log_prob, groups, (*asked, len(log_prob), labels))


def _array(content: bytes) -> NDArray[Any]:
    """The array that a `.npy` holds.

    A comparison reads thousands of small ones, and numpy's parsing of a header takes longer than
    all the rest of it: equal headers are parsed once.
    """
    start = 10 + int.from_bytes(content[8:10], "little")
    if content[:8] != _MAGIC:
        array: NDArray[Any] = np.load(io.BytesIO(content), allow_pickle=False)
        return array
    shape, by_columns, dtype = _header(content[:start])
    order: Literal["F", "C"] = "F" if by_columns else "C"
    return np.frombuffer(content, dtype, offset=start).reshape(shape, order=order)


@cache
def _header(content: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    file = io.BytesIO(content)
    np.lib.format.read_magic(file)
    return np.lib.format.read_array_header_1_0(file)
