"""The figures of a report: each kind drawn, and made part of the page; or why it is not drawn."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from bench.errors import BenchError, NothingMeasured
from bench.figures import KINDS, defect, draw
from bench.figures.request import Request
from bench.records.frame import CELL
from bench.report.gathered import Gathered

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Kinds that compare over the data sets; every other one is drawn for each data set.
ACROSS = ("ranks",)

#: Kinds that take seconds for each data set; two of them solve trained flows.
SLOW = ("marginals", "density", "trajectories")

#: A vector drawing with more bytes than these gives way to pixels.
VECTOR_BYTES = 400_000

#: The size of a drawing in points, as matplotlib writes it.
_SIZE = re.compile(rb'<svg [^>]*?width="([\d.]+)pt" height="([\d.]+)pt"')

DOTS_PER_INCH = 200

#: CSS pixels of an inch of a figure: letters of 7 points, right on paper, are small on a screen.
PIXELS = 132

#: The figures of a data set show so many methods, and so many seeds of each, where it has more
#: runs than `MOST_RUNS`.
MOST_RUNS, MOST_METHODS, MOST_SEEDS = 60, 12, 5

#: Of more runs than these, the figures over all data sets take one row of each method, and slow
#: kinds are left to `bench plot`.
MOST_RUNS_ACROSS = 1_000


@dataclass(frozen=True)
class Shown:
    """A figure in the page.

    Attributes:
        kind: its kind.
        title: what the kind shows.
        source: a data URI.
        width: in CSS pixels, as it was meant to be seen.
        height: likewise.
        caption: paragraphs, each with whether it is a table in letters of one width.
        alt: the same as one text.
    """

    kind: str
    title: str
    source: str
    width: int
    height: int
    caption: tuple[tuple[bool, str], ...]
    alt: str


@dataclass(frozen=True)
class NotDrawn:
    """A figure that could not be drawn, and what its kind says is missing."""

    kind: str
    place: str
    why: str


Figures = list[Shown | NotDrawn]

#: What was drawn before, by what it was drawn of.
Kept = MutableMapping[tuple[Any, ...], Shown | NotDrawn]


def across(gathered: Gathered, kept: Kept) -> tuple[Figures, str]:
    """The figures that compare over the data sets, for each budget; which runs they rest on."""
    runs, said = gathered.compared, ""
    if len(runs) > MOST_RUNS_ACROSS:
        chosen = _few(runs)
        said = (
            f"These figures rest on {len(chosen):,} of {len(runs):,} runs: of each method on each "
            "data set the row of lowest validation NLL."
        )
        runs = chosen
    found: Figures = [
        _drawn(kind, gathered, runs, budget, (), kept)
        for kind in KINDS
        if kind in ACROSS
        for budget in _budgets(runs)
    ]
    return found, said


def of_dataset(gathered: Gathered, name: str, kept: Kept) -> tuple[Figures, str]:
    """The figures of a data set, and which of its runs they show where they don't show all."""
    runs = gathered.compared[gathered.compared["dataset"] == name]
    said = ""
    if len(runs) > MOST_RUNS:
        chosen = _few(runs, MOST_METHODS, MOST_SEEDS)
        said = (
            f"The figures show {len(chosen)} of {len(runs)} runs: of each method (the first "
            f"{MOST_METHODS} by name) the row of lowest validation NLL, and {MOST_SEEDS} seeds "
            "of it at most."
        )
        runs = chosen
    found: Figures = [
        _drawn(kind, gathered, runs, budget, (name,), kept)
        for kind in KINDS
        if kind not in ACROSS
        for budget in _budgets(runs)
    ]
    return found, said


def _budgets(runs: pd.DataFrame) -> list[str | None]:
    """The budgets to be drawn apart; None where there is one, or none is known."""
    found = sorted(set(runs["budget"].dropna()))
    return [*found] if len(found) > 1 else [None]


def _few(runs: pd.DataFrame, methods: int | None = None, seeds: int | None = None) -> pd.DataFrame:
    """Of each method on each data set the row that validates best; so many methods and seeds."""
    row = runs.groupby(list(CELL), dropna=False)
    rows = runs.assign(
        _row=row.ngroup(), _nll=row["validation_nll"].transform("mean").fillna(math.inf)
    ).sort_values(["_nll", "_row", "seed"], kind="stable")
    best = rows.groupby(["dataset", "method"], dropna=False)["_row"].transform("first")
    chosen = rows[rows["_row"] == best]
    if methods is not None:
        chosen = chosen[chosen["method"].isin(sorted(set(chosen["method"].dropna()))[:methods])]
    if seeds is not None:
        chosen = chosen[chosen.groupby("_row").cumcount() < seeds]
    return runs.loc[sorted(chosen.index)]


def _drawn(
    kind: str,
    gathered: Gathered,
    runs: pd.DataFrame,
    budget: str | None,
    datasets: tuple[str, ...],
    kept: Kept,
) -> Shown | NotDrawn:
    place = " ".join([*datasets, *([f"(budget {budget})"] if budget else [])])
    if kind in SLOW and len(gathered.compared) > MOST_RUNS_ACROSS:
        number = f"{len(gathered.compared):,}"
        why = f"It takes too long in a page of {number} runs: `bench plot {kind}` draws it."
        return NotDrawn(kind, place, why)
    key = (kind, budget, datasets, *zip(runs["run"], runs["started"].fillna(""), strict=True))
    if key not in kept:
        asked = Request(gathered.results, budget=budget, datasets=datasets, runs=runs)
        kept[key] = _draw(kind, asked, place)
    return kept[key]


def _draw(kind: str, asked: Request, place: str) -> Shown | NotDrawn:
    try:
        if asked.runs is None or not len(asked.runs):
            raise NothingMeasured("There are no runs.")
        drawn = draw(kind, asked)
    except BenchError as error:
        return NotDrawn(kind, place, str(error))
    except Exception as error:  # one figure's defect is no reason to lose the page
        return NotDrawn(kind, place, defect(error))
    lines = [*drawn.lines, *(f"Left out: {sentence}." for sentence in drawn.left_out)]
    if asked.budget:
        lines.insert(0, f"Budget {asked.budget}.")
    caption = tuple(paragraphs(lines))
    prose = " ".join(text for fixed, text in caption if not fixed)
    title = KINDS[kind]
    alt = f"{title[:1].upper()}{title[1:]} {prose}"
    return Shown(kind, title, *_embedded(drawn.figure), caption, alt)


def paragraphs(lines: Sequence[str]) -> Iterator[tuple[bool, str]]:
    """The lines of a caption as paragraphs; columns, which two spaces tell, stay as they are."""
    columns: list[str] = []
    for line in lines:
        if "  " in line.strip():
            columns.append(line)
            continue
        if columns:
            yield True, "\n".join(columns)
            columns = []
        if line.strip():
            yield False, " ".join(line.split())
    if columns:
        yield True, "\n".join(columns)


def _embedded(figure: Figure) -> tuple[str, int, int]:
    """The figure as a data URI, its width and height in CSS pixels.

    It is a drawing, or pixels where that would be too large.
    """
    drawing = _saved(figure, "svg", metadata={"Date": None})
    width, height = (round(PIXELS * float(side) / 72) for side in _SIZE.findall(drawing)[0])
    if len(drawing) <= VECTOR_BYTES:
        return f"data:image/svg+xml;base64,{base64.b64encode(drawing).decode()}", width, height
    pixels = _saved(figure, "png", dpi=DOTS_PER_INCH)
    return f"data:image/png;base64,{base64.b64encode(pixels).decode()}", width, height


def _saved(figure: Figure, form: str, **options: Any) -> bytes:
    import matplotlib

    file = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "bench"}):
        figure.savefig(
            file, format=form, facecolor="white", bbox_inches="tight", pad_inches=0.06, **options
        )
    return file.getvalue()
