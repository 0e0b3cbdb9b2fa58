"""Which runs a figure shows, and what is read beside their records: samples, models, test rows."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.api.declarations import Column
from bench.data.arrays import load
from bench.errors import BenchError, NothingMeasured, UsageError, unknown
from bench.figures.style import Strip, Style, draw_strips, styles
from bench.paths import data_root
from bench.records import catalogue
from bench.records.frame import Cell, chosen, latest, runs_in
from bench.records.run_files import UNREADABLE
from bench.records.store import read
from bench.registry import plugins
from bench.tables.layout import labels
from bench.tables.marks import groups_of, heading_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bench.api.dataset import Dataset
    from bench.evaluation.flow import Flow

Array = NDArray[np.float64]

#: The unit of a data set's columns.
UNIT = "data units"


class Unusable(Exception):
    """A trained flow that can't be loaded or solved; the message says why."""


@dataclass(frozen=True)
class Plot:
    """A figure, the lines of its caption, and a sentence on each kind of run that was left out."""

    figure: Figure
    lines: tuple[str, ...]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Request:
    """What a figure should show; what is None or empty is left to the figure.

    Attributes:
        results: the results folder.
        metric: the metric that is drawn, or printed in the panels' titles.
        budget: show only runs under this budget.
        methods: show only these methods.
        datasets: show only these data sets.
        runs: the runs of the results folder, if they have been read already.
        seed: the seed of the run that represents a method, where a figure shows one run of each.
        columns: column numbers, from 0.
        data: the data folder.

    Raises:
        UsageError: a column is repeated or negative.
    """

    results: Path
    metric: str | None = None
    budget: str | None = None
    methods: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    runs: pd.DataFrame | None = None
    seed: int | None = None
    columns: tuple[int, ...] = ()
    data: Path | None = None

    def __post_init__(self) -> None:
        if len(set(self.columns)) < len(self.columns) or any(c < 0 for c in self.columns):
            raise UsageError(
                f"Can't show the columns {', '.join(map(str, self.columns))}.",
                "Columns are counted from 0; name each one once.",
            )

    def frame(self) -> pd.DataFrame:
        """The runs of these methods on these data sets under this budget.

        Raises:
            NothingMeasured: there are none.
        """
        runs = runs_in(self.results) if self.runs is None else self.runs
        budgets = (self.budget,) if self.budget else ()
        return chosen(runs, self.results, self.methods, self.datasets, budgets)

    def reject(self, kind: str, *names: str) -> None:
        """Reject those of the options metric, seed and columns that a kind does not use.

        Raises:
            UsageError: one of them was given.
        """
        for name in names:
            if getattr(self, name) not in (None, ()):
                raise UsageError(f"--{name} has no effect on {kind}.", f"Leave out --{name}.")


def metric_column(name: str) -> Column:
    """Return the column of a metric.

    Raises:
        UsageError: there is no such metric.
    """
    known = catalogue.measures()
    if name not in known:
        raise unknown("metric", name, known)
    return known[name]


@dataclass(frozen=True)
class SelectedRun:
    """A row of the comparison and the run that represents it, as a row of the frame of runs."""

    label: str
    method: str
    run: pd.Series[Any]
    cell: Cell

    @property
    def name(self) -> str:
        """The name of the run."""
        return str(self.run["run"])

    def metric(self, name: str) -> str:
        """The title of a metric and its value in this run, a dash where it has none."""
        title, value = metric_column(name).title, self.run[name]
        return f"{title} {catalogue.number(name, value) if pd.notna(value) else '–'}"

    def flow(self, results: Path) -> Flow:
        """The trained flow of the run.

        Raises:
            Unusable: its model can't be read, or its method has changed since.
            DataError: its record can't be read.
        """
        from bench.training.run import load_flow

        record = read(results, self.name)
        if record is None:
            raise Unusable(f"The run {self.name} is no longer in {results}.")
        try:
            return load_flow(record, results)
        except BenchError as error:
            raise Unusable(error.problem) from error


@dataclass(frozen=True)
class Group:
    """Rows that may be compared: on one revision of a data set, under one budget."""

    title: str
    dataset: str
    revision: str
    d: int
    rows: tuple[SelectedRun, ...]

    def only(self, shown: Container[str]) -> Group:
        """The group with the rows of these labels alone."""
        return replace(self, rows=tuple(one for one in self.rows if one.label in shown))


@dataclass(frozen=True)
class Selection:
    """The groups of a figure, and a sentence on everything that it does not show."""

    groups: tuple[Group, ...]
    not_shown: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    def styles(self) -> dict[str, Style]:
        """The style of each row, by its label."""
        return styles((one.label, one.method) for group in self.groups for one in group.rows)

    def plot(
        self, figure: Figure, caption: Iterable[str], drawn: Sequence[Group] | None = None
    ) -> Plot:
        """The plot; its caption names the runs of the groups drawn, where one represents others."""
        lines = [*caption]
        if drawn is not None:
            runs = [one for group in drawn for one in group.rows]
            seeds = sorted({int(one.run["seed"]) for one in runs})
            named = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"
            lines.append(f"Runs ({named}): {', '.join(one.name for one in runs)}.")
            for dataset, run in {group.dataset: group.rows[0].run for group in drawn}.items():
                if pd.notna(run["subset"]) and run["subset"]:
                    lines.append(f"{dataset} is a subset of the real data set.")
                elif run["data_kind"] == "redrawn":
                    lines.append(f"{dataset} is drawn anew from the real source material.")
        return Plot(figure, tuple(map(wrapped, (*lines, *self.not_shown))), self.left_out)


def wrapped(text: str) -> str:
    """A paragraph as lines of at most 100 characters."""
    return textwrap.fill(text, 100, break_on_hyphens=False)


def select(
    request: Request,
    groups: int,
    rows: int,
    keep: Callable[[pd.DataFrame], pd.DataFrame] = lambda frame: frame,
) -> Selection:
    """Return the first `groups` groups of the comparable runs, and the first `rows` rows of each.

    A row's run is that of the requested seed, or else of its first seed that ended well. `keep`
    filters the frame of runs beforehand.

    Raises:
        NothingMeasured: no row has one.
    """
    frame, left_out = latest(request.frame())
    found: list[Group] = []
    not_shown: list[str] = []
    every = groups_of(keep(frame))
    headings = [heading_of(members[0]) for members in every]
    titles = titles_of(headings)
    for place, (members, title) in enumerate(zip(every, titles, strict=True)):
        if len(found) == groups:
            fit = f"{groups} data {'set fits' if groups == 1 else 'sets fit'}"
            how = "-d, -b" if len({dataset for dataset, *_ in headings}) < len(every) else "-d"
            beyond = _first(titles[place:])
            not_shown.append(f"Only {fit}; not shown: {beyond} (choose with {how}).")
            break
        group, missing = _group(request, title, members, rows)
        not_shown += missing
        if group is not None:
            found.append(group)
    if not found:
        raise NothingMeasured("None of these runs ended well.", " ".join(not_shown[:3]))
    return Selection(tuple(found), tuple(not_shown), tuple(left_out))


def titles_of(headings: Sequence[tuple[Any, Any, Any]]) -> list[str]:
    """Return the data set of each heading, with budget and revision where it has several."""
    several = Counter(dataset for dataset, *_ in headings)
    return [
        f"{dataset} ({budget}, {str(revision)[:8]})" if several[dataset] > 1 else str(dataset)
        for dataset, revision, budget in headings
    ]


def _group(
    request: Request, title: str, members: Sequence[Cell], most: int
) -> tuple[Group | None, list[str]]:
    """The group of these cells, if one has a run; sentences on the cells that are not shown."""
    dataset, revision, _ = heading_of(members[0])
    rows, missing = [], []
    for cell, label in zip(members, labels(members), strict=True):
        ok, runs = cell.ok, cell.runs
        if request.seed is not None:
            ok, runs = (each[each["seed"] == request.seed] for each in (ok, runs))
        if len(ok):
            rows.append(SelectedRun(str(label), str(cell.key["method"]), ok.iloc[0], cell))
        else:
            why = ", ".join(dict.fromkeys(map(str, runs["status"])))
            missing.append(f"{label} ({why or f'no run of seed {request.seed}'})")
    sentences = [f"Not shown on {title}: {_first(missing)}."] if missing else []
    if len(rows) > most:
        names = _first([one.label for one in rows[most:]])
        sentences.append(
            f"Only {most} methods fit on {title}; not shown: {names} (choose with -m)."
        )
    if not rows:
        return None, sentences
    d = int(rows[0].run["d"])
    return Group(title, str(dataset), str(revision), d, tuple(rows[:most])), sentences


def _first(names: Sequence[str], most: int = 8) -> str:
    """The first of the names, and how many more there are."""
    listed = ", ".join(names[:most])
    return listed if len(names) <= most else f"{listed} and {len(names) - most} more"


@dataclass(frozen=True)
class RealRows:
    """Test rows `(n, d)` of a data set, at most as many as were asked for, out of `total`.

    None where they can't be read, for the `reason`; `dataset` is None where it is not installed.
    """

    rows: Array | None
    total: int = 0
    reason: str = ""
    dataset: Dataset | None = None


def real_rows(group: Group, root: Path | None, most: int) -> RealRows:
    """Return test rows of the revision that a group's runs used; the same ones for every figure."""
    dataset = None
    try:
        dataset = plugins.dataset(group.dataset)
        loaded = load(dataset, data_root(root))
    except BenchError as error:
        return RealRows(None, reason=error.problem, dataset=dataset)
    if loaded.revision != group.revision:
        return RealRows(
            None,
            reason=f"The data on disk are revision {loaded.revision}; the runs used revision "
            f"{group.revision}.",
        )
    rows = loaded.test
    if len(rows) > most:
        rows = rows[np.sort(np.random.default_rng(0).choice(len(rows), most, replace=False))]
    return RealRows(np.asarray(rows, dtype=np.float64), len(loaded.test), dataset=dataset)


def samples(results: Path, group: Group, most: int) -> dict[str, Array]:
    """Return the first samples `(n, d)` kept by each run, by label, if they can be drawn."""
    found = {}
    for one in group.rows:
        try:
            with np.load(results / one.name / "samples.npz", allow_pickle=False) as kept:
                rows = np.asarray(kept["samples"][:most], dtype=np.float64)
        except (KeyError, *UNREADABLE):
            continue
        if rows.ndim == 2 and len(rows) and np.isfinite(rows).all():
            found[one.label] = rows
    return found


def plot_strips(
    request: Request,
    selection: Selection,
    most: int,
    make: Callable[[Group, RealRows], tuple[Strip | None, Group, list[str]]],
    missing: str,
    handles: Mapping[str, Any] | None = None,
) -> Plot:
    """Draw a strip for each group that has one.

    `make` takes a group and at most `most` of its test rows; it returns the strip, or None, the
    group as it is shown, and lines of the caption. `missing` is what no run has, where none has it;
    `handles` are those of the legend, to which `make` may add.
    """
    strips, shown, lines = [], [], []
    for group in selection.groups:
        strip, kept, about = make(group, real_rows(group, request.data, most))
        lines += about
        if strip is not None:
            strips.append(strip)
            shown.append(kept)
    if not strips:
        raise NothingMeasured(f"No run in {request.results} {missing}.", " ".join(lines[:3]))
    return selection.plot(draw_strips(strips, handles or {}), lines, shown)


def columns_of(request: Request, group: Group, most: int) -> list[int]:
    """Return the columns requested, or the first ones, at most `most`.

    Raises:
        UsageError: the data set has no such column, or too many are requested.
    """
    if len(request.columns) > most:
        raise UsageError(
            f"This figure shows at most {most} columns, got {len(request.columns)}.",
            "Name fewer columns.",
        )
    for column in request.columns:
        if column >= group.d:
            raise UsageError(
                f"{group.dataset} has no column {column}.", f"Its columns are 0 to {group.d - 1}."
            )
    return list(request.columns) or list(range(min(group.d, most)))


def name_of(column: int, d: int) -> str:
    """Return the axis name of a column; in two dimensions they are counted as in papers."""
    return f"x{'₁₂'[column]} ({UNIT})" if d == 2 else f"column {column} ({UNIT})"


def frame_around(values: Array) -> tuple[Array, Array]:
    """Return axis limits `(k,)` that hold all but 0.1 % of the rows `(n, k)` at either end."""
    low, high = np.quantile(values, [0.001, 0.999], axis=0)
    margin = 0.12 * np.where(high > low, high - low, 1.0)
    return low - margin, high + margin


def outside(points: dict[str, Array], low: Array, high: Array) -> Iterator[tuple[str, int]]:
    """Yield the labels of sets of points `(n, k)` outside the axes, and how many points are."""
    for label, rows in points.items():
        if n := int(((rows < low) | (rows > high)).any(axis=1).sum()):
            yield label, n
