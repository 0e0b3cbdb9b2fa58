"""The runs that a table or a figure is asked of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bench.errors import NothingMeasured
from bench.tables.frame import records


def runs_in(folder: Path) -> pd.DataFrame:
    """The runs in a results folder, as `bench.tables.frame.records` has them.

    Raises:
        NothingMeasured: there are none.
    """
    frame = records(folder)
    if not len(frame):
        raise NothingMeasured(
            f"There are no runs in {folder}.", "Type `bench run`, or name their folder (--results)."
        )
    return frame


def chosen(
    frame: pd.DataFrame, folder: Path, methods: Sequence[str] = (), datasets: Sequence[str] = ()
) -> pd.DataFrame:
    """Of the runs in a folder those of these methods and on these data sets; none named: all.

    Raises:
        NothingMeasured: there are none of one of them, or of both together.
    """
    found = frame
    for column, names in (("method", methods), ("dataset", datasets)):
        known = set(frame[column].dropna())
        for name in names:
            if name not in known:
                raise NothingMeasured(
                    f"No run in {folder} has {name!r} as its {column}.",
                    f"There are: {', '.join(sorted(known))}.",
                )
        if names:
            found = found[found[column].isin(names)]
    if not len(found):
        named = f"-m {' -m '.join(methods)} -d {' -d '.join(datasets)}"
        raise NothingMeasured(f"No run in {folder} is of both.", f"Type `bench run {named}`.")
    return found
