"""A comparison as one page of text, in any of its forms."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from rich.console import Console

from bench.records.frame import summary
from bench.records.measures import AMOUNTS, MEASURES
from bench.tables.arrange import By
from bench.tables.beside import with_published
from bench.tables.columns_asked import NARROW, WIDE
from bench.tables.comparison import comparison
from bench.tables.details import show
from bench.tables.latex import LABEL, latex
from bench.tables.parts import Table
from bench.tables.render import render
from bench.tables.transpose import transposed

#: The forms of a table, and how a file's name ends that holds one.
FORMS = {"text": "txt", "latex": "tex", "markdown": "md", "csv": "csv", "html": "html"}


@dataclass(frozen=True)
class Look:
    """How a table is to look; no metrics are the usual ones of its form."""

    metrics: tuple[str, ...] = ()
    by_run: bool = False
    by: By = "dataset"
    transpose: bool = False
    published: bool = False
    standalone: bool = False
    siunitx: bool = False
    caption: str | None = None
    label: str | None = None


def usual(form: str) -> tuple[str, ...]:
    """The columns of a form that is not asked for others."""
    return {"text": NARROW, "csv": tuple(MEASURES)}.get(form, WIDE)


def table_of(frame: pd.DataFrame, form: str, look: Look, results: Path) -> Table:
    """The comparison of the runs, for any form but CSV; `results` is their folder.

    Raises:
        UsageError: a metric has an unknown name.
    """
    metrics = look.metrics or usual(form)
    table = comparison(frame, metrics, by_run=look.by_run, by=look.by, results=results)
    if look.published:
        table = with_published(table, frame)
    if look.caption is not None:
        table = replace(table, caption=look.caption)
    return transposed(table) if look.transpose else table


def page(frame: pd.DataFrame, form: str, look: Look, results: Path) -> str:
    """The table in one of `FORMS`.

    Raises:
        UsageError: as `table_of`.
    """
    if form == "csv":
        return _csv(frame, look)
    table = table_of(frame, form, look, results)
    if form == "latex":
        label = look.label or LABEL
        return latex(table, standalone=look.standalone, siunitx=look.siunitx, label=label)
    return render(table, form)


def details_page(frame: pd.DataFrame, results: Path) -> str:
    """What each figure rests on, as text of 100 columns."""
    text = io.StringIO()
    show(frame, Console(file=text, width=100, color_system=None), results=results)
    return "".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines())


def _csv(frame: pd.DataFrame, look: Look) -> str:
    """Every column, or those that say what ran and the metrics asked for."""
    shown = frame if look.by_run else summary(frame)
    if look.metrics:
        others = set(MEASURES) - set(look.metrics) - set(AMOUNTS)
        left_out = others | {f"{name}{part}" for name in others for part in ("_mean", "_sd")}
        shown = shown[[name for name in shown.columns if name not in left_out]]
    return str(shown.to_csv(index=False, lineterminator="\n"))
