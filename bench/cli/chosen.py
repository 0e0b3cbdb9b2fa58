"""The runs that a table or a figure is asked of."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.errors import NothingMeasured

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Asked:
    """What a figure shall show; None, or nothing named, where it is left to the figure."""

    metric: str | None
    budget: str | None
    methods: tuple[str, ...]
    datasets: tuple[str, ...]
    results: Path


def chosen(folder: Path, methods: Sequence[str] = (), datasets: Sequence[str] = ()) -> pd.DataFrame:
    """The runs in a results folder, of these methods and on these data sets; with none named, all.

    Raises:
        NothingMeasured: there are no runs, or none of one of them.
    """
    from bench.tables.frame import records

    frame = records(folder)
    if not len(frame):
        raise NothingMeasured(
            f"There are no runs in {folder}.", "Type `bench run`, or name their folder (--results)."
        )
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


def current(frame: pd.DataFrame, remedy: str = "") -> pd.DataFrame:
    """The runs that may be compared; what is left out, and the remedy, go to standard error."""
    from bench.tables.versions import latest

    kept, left_out = latest(frame)
    for sentence in left_out:
        click.echo(f"Left out: {sentence}{f' ({remedy})' if remedy else ''}.", err=True)
    return kept


def wrapped(text: str) -> str:
    """A paragraph as lines of at most 100 letters."""
    return textwrap.fill(text, 100, break_on_hyphens=False)
