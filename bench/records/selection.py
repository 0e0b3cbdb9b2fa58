"""The runs that a table or a figure is made of, and those that may not be compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bench.errors import NothingMeasured
from bench.records.frame import records


def runs_in(folder: Path) -> pd.DataFrame:
    """The runs in a results folder, as `bench.records.frame.records` returns them.

    Raises:
        NothingMeasured: there are none.
    """
    frame = records(folder)
    if not len(frame):
        raise NothingMeasured(
            f"There are no runs in {folder}.",
            "Type `bench run`, or name another results folder with --results.",
        )
    return frame


def chosen(
    frame: pd.DataFrame,
    folder: Path,
    methods: Sequence[str] = (),
    datasets: Sequence[str] = (),
    budgets: Sequence[str] = (),
) -> pd.DataFrame:
    """The runs of these methods, on these data sets, under these budgets; an empty one means all.

    Raises:
        NothingMeasured: no run has one of these names, or no run matches them all.
    """
    found = frame
    for column, names in (("method", methods), ("dataset", datasets), ("budget", budgets)):
        known = set(frame[column].dropna())
        for name in names:
            if name not in known:
                raise NothingMeasured(
                    f"No run in {folder} has the {column} {name!r}.",
                    f"Known: {', '.join(sorted(known))}.",
                )
        if names:
            found = found[found[column].isin(names)]
    if not len(found):
        options = (("-m", methods), ("-d", datasets), ("-b", budgets))
        named = " ".join(f"{option} {name}" for option, names in options for name in names)
        filters = sum(bool(names) for _, names in options)
        raise NothingMeasured(
            f"No run in {folder} matches {'both' if filters == 2 else 'all'} filters.",
            f"Type `bench run {named}`.",
        )
    return found


def latest(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The runs on the latest revision of each data set, by the latest metrics.

    A data set's latest revision is that of its latest run. Records of another revision are on
    other rows; records of older metrics hold other quantities under the same names.

    Returns:
        The frame without the others, and a sentence for each kind of them.
    """
    kept, left_out = [], []
    for dataset, runs in frame.groupby("dataset", dropna=False, sort=True):
        newest = runs.sort_values("started", kind="stable", na_position="first").iloc[-1]
        same_rows = runs["dataset_revision"].eq(newest["dataset_revision"]).fillna(True)
        versions = runs["metrics_version"].fillna(0)
        same_metrics = versions.eq(versions[same_rows].max())
        kept.append(runs[same_rows & same_metrics])
        if others := int((~same_rows).sum()):
            left_out.append(f"{dataset}: {_runs(others)} on another revision of its rows")
        if older := int((same_rows & ~same_metrics).sum()):
            left_out.append(f"{dataset}: {_runs(older)} by an older version of the metrics")
    return (pd.concat(kept).sort_index() if kept else frame), left_out


def _runs(n: int) -> str:
    return "1 run" if n == 1 else f"{n} runs"
