"""The contract of a data set.

A data set is a plug-in: an entry point in the group `bench.datasets` that names a `Dataset`. It
lists the sources of its rows, best first, and how to read each. The harness reads, caches and
hashes (`bench.data.arrays`).

Listing data sets must be quick, so a plug-in's module imports nothing heavy at the top: numpy and
the like are imported where rows are read or generated.
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
    """The three splits, each `(n, d)` float32, and how they were made.

    `notes` are copied into the record: how the rows were split and standardised.
    """

    train: Rows
    validation: Rows
    test: Rows
    notes: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """One source of the rows: `files` below the data root, and `read(root)`.

    A generated data set has no files and ignores the root. If test rows come in groups of similar
    rows, such as the patches of one photograph, `test_groups(index)` returns the groups of the rows
    with these indices `(n,)`; None if rows are independent, or it is unknown.
    """

    read: Callable[[Path], Splits]
    kind: Kind
    note: str
    files: tuple[str, ...] = ()
    test_groups: Callable[[NDArray[np.int64]], NDArray[np.int64]] | None = None

    def missing(self, root: Path) -> list[str]:
        """The files of this source that are missing below `root`."""
        return [name for name in self.files if not (root / name).is_file()]


@dataclass(frozen=True)
class Dataset:
    """A data set: its name, dimension and sources, best first.

    `rows` are the sizes (train, validation, test) of the whole data set, if known. `log_density(x)`
    is the true log-density in nats of rows `(n, d)`, if known, and `entropy` its differential
    entropy in nats: the NLL that no model beats on average. If rows are images, `pictures(x)`
    returns their grey values `(n, height, width)` for figures; those of a model's samples may be
    outside the valid range.
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
        """Return the first source whose files are all below `root`, or None."""
        return next((s for s in self.sources if not s.missing(root)), None)
