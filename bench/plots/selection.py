"""Which runs a figure shows: one of each row of the comparison, in a bounded number of groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from bench.errors import NothingMeasured
from bench.plots.asked import Asked, wrapped
from bench.records.measures import measure
from bench.records.store import Record, read
from bench.tables.layout import labels
from bench.tables.marks import groups_of, heading_of

if TYPE_CHECKING:
    from bench.records.frame import Cell


@dataclass(frozen=True)
class Shown:
    """A row of the comparison and the run that stands for it, as a row of the frame of runs."""

    label: str
    method: str
    run: pd.Series[Any]
    cell: Cell

    @property
    def name(self) -> str:
        """The name of the run."""
        return str(self.run["run"])

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return int(self.run["seed"])

    def figure(self, metric: str) -> str:
        """The title of a metric and its value in this run; that it has none, where it has none."""
        shown, value = measure(metric), self.run[metric]
        return f"{shown.title} {shown.form(float(value), None) if pd.notna(value) else '–'}"

    def record(self, results: Path) -> Record:
        """The record of the run below `results`.

        Raises:
            DataError: it can't be read.
        """
        return read(results, self.name) or {}


@dataclass(frozen=True)
class Group:
    """What may be compared: rows on one revision of a data set, under one budget."""

    title: str
    dataset: str
    revision: str
    d: int
    rows: tuple[Shown, ...]

    def only(self, labels: Container[str]) -> Group:
        """The group with those of its rows alone that were drawn."""
        return replace(self, rows=tuple(one for one in self.rows if one.label in labels))

    def about(self) -> str:
        """The data set and what its rows are, where they are not all of the published ones."""
        run = self.rows[0].run
        if pd.notna(run["subset"]) and run["subset"]:
            return f"{self.dataset} (a subset of the real set)"
        return f"{self.dataset} ({run['data_kind']})" if run["data_kind"] == "redrawn" else ""


@dataclass(frozen=True)
class Selection:
    """The groups of a figure, and a sentence on each thing that it does not show."""

    groups: tuple[Group, ...]
    not_shown: tuple[str, ...]

    def lines(self, drawn: Sequence[Group]) -> Iterator[str]:
        """Lines of a caption: the runs that were drawn, what their rows are, what is not shown."""
        names = [shown.name for group in drawn for shown in group.rows]
        seeds = sorted({shown.seed for group in drawn for shown in group.rows})
        kinds = list(dict.fromkeys(filter(None, (group.about() for group in drawn))))
        told = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"
        yield wrapped(f"Runs ({told}): {', '.join(names)}.")
        if kinds:
            yield wrapped(f"The rows: {', '.join(kinds)}.")
        yield from map(wrapped, self.not_shown)


def select(asked: Asked, frame: pd.DataFrame, groups: int, rows: int) -> Selection:
    """The first `groups` groups of the comparison, of each the first `rows` rows that have a run.

    A row's run is that of the seed asked for, or else of its first seed that ended well.

    Raises:
        NothingMeasured: no row has one.
    """
    found: list[Group] = []
    not_shown: list[str] = []
    beyond: list[str] = []
    every = groups_of(frame)
    budgets = Counter(heading_of(members[0])[0] for members in every)
    for members in every:
        dataset, revision, budget = heading_of(members[0])
        alone = budgets[dataset] == 1
        title = str(dataset) if alone else f"{dataset} ({budget}, {str(revision)[:8]})"
        if len(found) == groups:
            beyond.append(title)
            continue
        group, missing = _group(asked, title, members, rows)
        not_shown += missing
        if group is not None:
            found.append(group)
    if not found:
        raise NothingMeasured("No run that is asked for ended well.", _few(not_shown))
    if beyond:
        room = f"{groups} data {'set' if groups == 1 else 'sets'}"
        how = "-d, -b" if len(budgets) < len(every) else "-d"
        not_shown.append(
            f"There is room for {room}; not shown: {_listed(beyond)} (choose with {how})."
        )
    return Selection(tuple(found), tuple(not_shown))


def _group(
    asked: Asked, title: str, members: Sequence[Cell], most: int
) -> tuple[Group | None, list[str]]:
    dataset, revision, _ = heading_of(members[0])
    shown, missing = [], []
    for cell, label in zip(members, labels(members), strict=True):
        run = _run(cell, asked.seed)
        if run is None:
            missing.append(f"{label} ({_reason(cell, asked.seed)})")
        else:
            shown.append(Shown(str(label), str(cell.key["method"]), run, cell))
    sentences = [f"Not shown on {title}: {_listed(missing)}."] if missing else []
    if len(shown) > most:
        names = [one.label for one in shown[most:]]
        sentences.append(
            f"There is room for {most} methods on {title}; not shown: {_listed(names)} "
            "(choose with -m)."
        )
    if not shown:
        return None, sentences
    kept = tuple(shown[:most])
    return Group(title, str(dataset), str(revision), int(kept[0].run["d"]), kept), sentences


def _run(cell: Cell, seed: int | None) -> pd.Series[Any] | None:
    ok = cell.ok if seed is None else cell.ok[cell.ok["seed"] == seed]
    return ok.iloc[0] if len(ok) else None


def _reason(cell: Cell, seed: int | None) -> str:
    runs = cell.runs if seed is None else cell.runs[cell.runs["seed"] == seed]
    if not len(runs):
        return f"no run of seed {seed}"
    return ", ".join(dict.fromkeys(str(status) for status in runs["status"]))


def _listed(names: Sequence[str], most: int = 8) -> str:
    """At most so many names, and how many more there are."""
    listed = ", ".join(names[:most])
    return listed if len(names) <= most else f"{listed} and {len(names) - most} more"


def _few(sentences: Iterable[str]) -> str:
    return " ".join(islice(sentences, 3))
