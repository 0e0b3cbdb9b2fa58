"""A comparison with thousands of rows, cut down to what a page can show."""

from __future__ import annotations

import math
from dataclasses import replace

from bench.records.measures import MEASURES
from bench.tables.layout import Row, RowGroup, Table

#: Rows of a data set that are shown.
MOST = 100


def shortened(table: Table, most: int = MOST) -> tuple[Table, list[str]]:
    """The table with those rows of each group that have the lowest NLL; a sentence on each cut.

    The rows that stay are in their order. Bold and footnotes rest on all rows, as before.
    """
    nll = table.columns.index(MEASURES["nll"])

    def place(row: Row) -> float:
        value = row.entries[nll].value
        return math.inf if value is None else value

    groups: list[RowGroup] = []
    said: list[str] = []
    for group in table.groups:
        if len(group.rows) > most:
            best = {id(row) for row in sorted(group.rows, key=place)[:most]}
            said.append(
                f"{group.name}: the {most} rows of lowest NLL of {len(group.rows)}; bold and notes "
                "rest on all of them"
            )
            group = replace(group, rows=tuple(row for row in group.rows if id(row) in best))
        groups.append(group)
    return replace(table, groups=tuple(groups)), said
