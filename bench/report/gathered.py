"""All that a report is made of, read once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench.records.frame import frame_of
from bench.records.selection import latest
from bench.records.store import Record, read_all
from bench.report.under_way import UnderWay, under_way


@dataclass(frozen=True)
class Gathered:
    """The runs of a results folder.

    Attributes:
        results: the folder.
        records: every finished run's record, by name.
        frame: the same, as `bench.records.frame.records` has them.
        compared: those of the frame's rows that may stand in one comparison.
        left_out: a sentence on each kind of the others.
        under_way: the runs that have begun and not ended.
    """

    results: Path
    records: tuple[Record, ...]
    frame: pd.DataFrame
    compared: pd.DataFrame
    left_out: tuple[str, ...]
    under_way: tuple[UnderWay, ...]

    @property
    def failed(self) -> list[Record]:
        """The records of the runs that did not end well."""
        return [record for record in self.records if record.get("status") != "ok"]


def gather(results: Path) -> Gathered:
    """Read the results folder; one that is empty or not there holds no runs.

    Raises:
        DataError: a record can't be read, or holds what its column can't.
    """
    records = tuple(read_all(results))
    frame = frame_of(list(records))
    compared, left_out = latest(frame)
    return Gathered(results, records, frame, compared, tuple(left_out), tuple(under_way(results)))
