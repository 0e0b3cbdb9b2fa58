"""What a figure shows: the runs chosen for it, their samples and models, test rows, its caption."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd

from bench.data.arrays import load
from bench.errors import BenchError, DataError, NothingMeasured, UsageError
from bench.figures import style
from bench.paths import data_root
from bench.records.catalogue import number
from bench.records.frame import Cell, chosen, latest, runs_in
from bench.records.run_files import arrays
from bench.records.store import read
from bench.registry import plugins
from bench.tables.comparison import measured_column
from bench.tables.layout import labels
from bench.tables.marks import groups_of, heading_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bench.api.dataset import Dataset
    from bench.evaluation.flow import Flow

Array = style.Array
Part = TypeVar("Part")

#: Panels of a strip side by side at most; the size of a panel in inches; a title's line length.
ACROSS, _WIDTH, _HEIGHT, _LETTERS = 4, 1.75, 1.95, 26


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

    def frame(self) -> pd.DataFrame:
        """The runs of these methods on these data sets under this budget.

        Raises:
            NothingMeasured: there are none.
        """
        runs = runs_in(self.results) if self.runs is None else self.runs
        budgets = (self.budget,) if self.budget else ()
        return chosen(runs, self.results, self.methods, self.datasets, budgets)


@dataclass(frozen=True)
class SelectedRun:
    """A row of the comparison, its look, and the run that represents it.

    `name` and `method` are those of the run, `run` its row in the frame of runs.
    """

    label: str
    name: str
    method: str
    run: pd.Series[Any]
    cell: Cell
    look: style.Style = style.PLAIN

    def metric(self, name: str) -> str:
        """The title of a metric and its value in this run, a dash where it has none."""
        title, value = measured_column(name).title, self.run[name]
        return f"{title} {number(name, value) if pd.notna(value) else '–'}"


@dataclass(frozen=True)
class RealRows:
    """Test rows `(n, d)` of a data set, out of `total`; None where they can't be read.

    `dataset` is None where it is not installed or of another revision.
    """

    rows: Array | None
    total: int
    dataset: Dataset | None


@dataclass(frozen=True)
class Group:
    """Rows that may be compared: on one revision of a data set, under one budget."""

    request: Request
    title: str
    rows: tuple[SelectedRun, ...]

    @property
    def dataset(self) -> str:
        """The name of the data set."""
        return str(self.rows[0].run["dataset"])

    @property
    def d(self) -> int:
        """Its number of columns."""
        return int(self.rows[0].run["d"])

    def only(self, shown: Container[str]) -> Group:
        """The group with the rows of these labels alone."""
        return replace(self, rows=tuple(one for one in self.rows if one.label in shown))

    def real_rows(self, most: int, lines: list[str]) -> RealRows:
        """At most so many test rows of the runs' revision, the same ones for every figure.

        Where they can't be read, the reason is added to the lines of the caption.
        """
        dataset, revision = None, self.rows[0].run["dataset_revision"]
        try:
            dataset = plugins.dataset(self.dataset)
            loaded = load(dataset, data_root(self.request.data))
            if loaded.revision != revision:
                dataset, on_disk = None, f"The data on disk are revision {loaded.revision}"
                raise DataError(f"{on_disk}; the runs used revision {revision}.")
        except BenchError as error:
            lines.append(f"No test rows of {self.title}: {error.problem}")
            return RealRows(None, 0, dataset)
        rows = loaded.test
        if len(rows) > most:
            rows = rows[np.sort(np.random.default_rng(0).choice(len(rows), most, replace=False))]
        return RealRows(np.asarray(rows, dtype=np.float64), len(loaded.test), dataset)

    def samples(self, most: int) -> dict[str, Array]:
        """The first samples `(n, d)` kept by each run, by label, if they can be drawn.

        Raises:
            Damaged: they are not those that the run wrote.
        """
        found = {}
        for one in self.rows:
            rows = arrays(self.request.results / one.name, "samples").get("samples")
            if rows is not None and rows.ndim == 2 and rows.dtype.kind == "f" and len(rows):
                first = rows[:most].astype(np.float64)
                if np.isfinite(first).all():
                    found[one.label] = first
        return found

    def from_flows(self, make: Callable[[str, Flow], Part], lines: list[str]) -> dict[str, Part]:
        """What `make` returns for each label and the trained flow of its run, by label.

        Where a model can't be read, its solver fails or `make` raises a `BenchError`, the reason is
        added to the lines of the caption.
        """
        from bench.numerics.ode import SolverFailed
        from bench.training.run import load_flow

        found, results = {}, self.request.results
        for one in self.rows:
            try:
                if (record := read(results, one.name)) is None:
                    raise DataError(f"The run {one.name} is no longer in {results}.")
                found[one.label] = make(one.label, load_flow(record, results))
            except (BenchError, SolverFailed) as error:
                why = getattr(error, "problem", f"It can't be solved: {error}.")
                lines.append(f"Not shown on {self.title}: {one.label}. {why}")
        return found

    def columns(self, most: int) -> list[int]:
        """The columns requested, or the first ones, at most `most`.

        Raises:
            UsageError: the data set has no such column, or too many are requested.
        """
        columns = self.request.columns
        if len(columns) > most:
            raise UsageError(
                f"This figure shows at most {most} columns, got {len(columns)}.",
                "Name fewer columns.",
            )
        for column in columns:
            if not 0 <= column < self.d:
                raise UsageError(
                    f"{self.dataset} has no column {column}.",
                    f"Its columns are 0 to {self.d - 1}.",
                )
        return list(columns) or list(range(min(self.d, most)))

    def name_of(self, column: int) -> str:
        """The axis name of a column; in two dimensions they are counted as in papers."""
        return (
            f"x{'₁₂'[column]} ({style.UNIT})" if self.d == 2 else f"column {column} ({style.UNIT})"
        )


@dataclass(frozen=True)
class Selection:
    """The groups of a figure, and a sentence on everything that it does not show."""

    groups: tuple[Group, ...]
    not_shown: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    def parts(
        self, make: Callable[[Group, list[str]], Part | None], missing: str
    ) -> tuple[list[Part], list[str]]:
        """What is drawn of each group, and lines of the caption.

        `make` takes a group and the lines, to which it may add; it returns None where it has
        nothing to draw. `missing` is what no run has, where none has it.

        Raises:
            NothingMeasured: there is nothing to draw of any group.
        """
        lines: list[str] = []
        made = [make(group, lines) for group in self.groups]
        found = [part for part in made if part is not None]
        if not found:
            results = self.groups[0].request.results
            raise NothingMeasured(f"No run in {results} {missing}.", " ".join(lines[:3]))
        return found, lines

    def plot(self, figure: Figure, lines: Iterable[str], drawn: Sequence[Group] = ()) -> Plot:
        """The plot; its caption names the runs of the groups drawn, where one represents others."""
        lines = [*lines]
        runs = [one for group in drawn for one in group.rows]
        if runs:
            seeds = sorted({int(one.run["seed"]) for one in runs})
            named = f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
            lines.append(f"Runs ({named}): {', '.join(one.name for one in runs)}.")
        for dataset, run in {group.dataset: group.rows[0].run for group in drawn}.items():
            if pd.notna(run["subset"]) and run["subset"]:
                lines.append(f"{dataset} is a subset of the real data set.")
            elif run["data_kind"] == "redrawn":
                lines.append(f"{dataset} is drawn anew from the real source material.")
        return Plot(figure, (*lines, *self.not_shown), self.left_out)


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
    every = groups_of(keep(frame))
    headings = [heading_of(members[0]) for members in every]
    titles = titles_of(headings)
    found: list[tuple[str, list[SelectedRun]]] = []
    not_shown: list[str] = []
    for place, (members, title) in enumerate(zip(every, titles, strict=True)):
        if len(found) == groups:
            fit = f"{groups} data {'set fits' if groups == 1 else 'sets fit'}"
            how = "-d, -b" if len({dataset for dataset, *_ in headings}) < len(every) else "-d"
            beyond = _first(titles[place:])
            not_shown.append(f"Only {fit}; not shown: {beyond} (choose with {how}).")
            break
        known, missing = [], []
        for cell, label in zip(members, labels(members), strict=True):
            ok, runs = cell.ok, cell.runs
            if request.seed is not None:
                ok, runs = (each[each["seed"] == request.seed] for each in (ok, runs))
            if len(ok):
                run = ok.iloc[0]
                name, method = str(run["run"]), str(run["method"])
                known.append(SelectedRun(str(label), name, method, run, cell))
            else:
                why = ", ".join(dict.fromkeys(map(str, runs["status"])))
                missing.append(f"{label} ({why or f'no run of seed {request.seed}'})")
        if missing:
            not_shown.append(f"Not shown on {title}: {_first(missing)}.")
        if len(known) > rows:
            beyond = _first([one.label for one in known[rows:]])
            not_shown.append(
                f"Only {rows} methods fit on {title}; not shown: {beyond} (choose with -m)."
            )
        if known:
            found.append((title, known[:rows]))
    if not found:
        raise NothingMeasured("None of these runs ended well.", " ".join(not_shown[:3]))
    looks = style.styles((one.label, one.method) for _, known in found for one in known)
    shown = (
        Group(request, title, tuple(replace(one, look=looks[one.label]) for one in known))
        for title, known in found
    )
    return Selection(tuple(shown), tuple(not_shown), tuple(left_out))


def titles_of(headings: Sequence[tuple[Any, Any, Any]]) -> list[str]:
    """Return the data set of each heading, with budget and revision where it has several."""
    several = Counter(dataset for dataset, *_ in headings)
    return [
        f"{dataset} ({budget}, {str(revision)[:8]})" if several[dataset] > 1 else str(dataset)
        for dataset, revision, budget in headings
    ]


def _first(names: Sequence[str], most: int = 8) -> str:
    """The first of the names, and how many more there are."""
    listed = ", ".join(names[:most])
    return listed if len(names) <= most else f"{listed} and {len(names) - most} more"


@dataclass(frozen=True)
class Strip:
    """A group's strip of square panels: the titles of each row of panels, and what draws on them.

    `paint` takes the part of the figure that holds the strip, and its panels by row; `handles` are
    the strip's entries of the legend.
    """

    group: Group
    rows: Sequence[Sequence[str]]
    paint: Callable[[style.SubFigure, list[list[style.Axes]]], None]
    handles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def plot_strips(
    selection: Selection, make: Callable[[Group, list[str]], Strip | None], missing: str
) -> Plot:
    """Draw the strips of a selection's `parts` below one another, above their legend, if any."""
    strips, lines = selection.parts(make, missing)
    handles = {label: each for strip in strips for label, each in strip.handles.items()}
    across = max(len(row) for strip in strips for row in strip.rows)
    heights = [len(strip.rows) * _HEIGHT + 0.35 for strip in strips]
    width = max(across * _WIDTH, 2.4) + 0.4
    with style.canvas(width, sum(heights) + 0.3 * bool(handles)) as figure:
        # With less, the title of a strip may touch those of its panels.
        figure.set_layout_engine("constrained", h_pad=0.07)
        places = figure.subfigures(len(strips), 1, squeeze=False, height_ratios=heights)
        for place, strip in zip(places[:, 0], strips, strict=True):
            style.heading(place, strip.group.title)
            shared = {"sharex": True, "sharey": True}
            strip.paint(place, style.panels(place, strip.rows, _LETTERS, across, **shared))
        if handles:
            style.legend(figure, handles)
    return selection.plot(figure, lines, [strip.group for strip in strips])
