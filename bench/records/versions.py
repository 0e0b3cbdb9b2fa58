"""What may stand in one table: runs on the same rows, judged by the same version of the metrics."""

from __future__ import annotations

import pandas as pd


def latest(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The runs on the latest revision of each data set, by the latest metrics; what is left out.

    A data set's latest revision is that of its latest run. Records of other rows are of another
    data set in all but name; records of older metrics hold other quantities under the same names.

    Returns:
        The frame without the others; a sentence for each kind of them.
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
            left_out.append(f"{dataset}: {_runs(older)} judged by an older version of the metrics")
    return (pd.concat(kept).sort_index() if kept else frame), left_out


def _runs(n: int) -> str:
    return "1 run" if n == 1 else f"{n} runs"
