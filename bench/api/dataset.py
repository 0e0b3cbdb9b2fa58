"""The contract of a data set.

A data set is a plug-in: an entry point in the group `bench.datasets` that names a `Dataset`.
It says where its rows can come from, best source first, and how each is read. Reading, caching
and hashing are the harness's (`bench.data.arrays`).

Listing data sets must stay quick, so a plug-in's module imports nothing heavy at its top: numpy
and its friends are imported where rows are read or made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Rows = NDArray[np.float32]

#: whole: the full real set, as published. subset: a part of it. redrawn: the real source
#: material, other random draws. generated: made by a formula. own: the user's table.
Kind = Literal["whole", "subset", "redrawn", "generated", "own"]


@dataclass(frozen=True)
class Splits:
    """The three splits, each `(n, d)` float32, and what was done to the rows.

    `notes` goes into the record as it is: how the rows were split, how they were standardised.
    """

    train: Rows
    validation: Rows
    test: Rows
    notes: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """One way to come by the rows: `files` below the data root, and `read(root)`.

    A generated set has no files and ignores the root. `test_groups(index)` gives the groups of test
    rows by their indices `(n,)`, where they come in groups of rows that are alike, as the patches
    of one photograph are; None where they are independent, or nobody knows.
    """

    read: Callable[[Path], Splits]
    kind: Kind
    note: str
    files: tuple[str, ...] = ()
    test_groups: Callable[[NDArray[np.int64]], NDArray[np.int64]] | None = None

    def missing(self, root: Path) -> list[str]:
        """The files of this source that are not below `root`."""
        return [name for name in self.files if not (root / name).is_file()]


@dataclass(frozen=True)
class Dataset:
    """A data set: its name, dimension and sources, best first.

    `rows` are the sizes (train, validation, test) of the whole set, where it is known.
    `log_density(x)` is the true log-density in nats of rows `(n, d)`, where it is known, and
    `entropy` its differential entropy in nats: the NLL that no model beats on average. Where rows
    are pictures, `pictures(x)` gives their grey values `(n, height, width)`, for figures; rows that
    a model made may lie outside of what grey values can be.
    """

    name: str
    d: int
    summary: str
    sources: tuple[Source, ...]
    rows: tuple[int, int, int] | None = None
    log_density: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None
    entropy: float | None = None
    pictures: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None

    def find(self, root: Path) -> Source | None:
        """The first source whose files are all below `root`; None where there is none."""
        return next((s for s in self.sources if not s.missing(root)), None)
