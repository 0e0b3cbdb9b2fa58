"""The runs that a table or a figure is asked of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bench.errors import NothingMeasured
from bench.records.frame import records


def runs_in(folder: Path) -> pd.DataFrame:
    """The runs in a results folder, as `bench.records.frame.records` has them.

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
    frame: pd.DataFrame,
    folder: Path,
    methods: Sequence[str] = (),
    datasets: Sequence[str] = (),
    budgets: Sequence[str] = (),
) -> pd.DataFrame:
    """Of a folder's runs those of these methods, on these data sets, under these budgets.

    Of what none is named, all are taken.

    Raises:
        NothingMeasured: there are none of one of them, or of all together.
    """
    found = frame
    for column, names in (("method", methods), ("dataset", datasets), ("budget", budgets)):
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
        options = (("-m", methods), ("-d", datasets), ("-b", budgets))
        named = " ".join(f"{option} {name}" for option, names in options for name in names)
        both = "all" if methods and datasets and budgets else "both"
        raise NothingMeasured(f"No run in {folder} is of {both}.", f"Type `bench run {named}`.")
    return found
