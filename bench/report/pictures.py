"""The figures of a report: each kind drawn and embedded in the page, or the reason why it isn't."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from itertools import groupby, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bench.errors import BenchError, NothingMeasured
from bench.figures import KINDS, draw
from bench.figures.curves import outline
from bench.figures.request import Plot, Request
from bench.figures.style import INK, canvas, dress, encoded
from bench.records.format import whole
from bench.records.frame import CELL
from bench.records.run_files import CURVE, read_curve
from bench.report.setting import Gathered

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Kinds that compare over the data sets; every other one is drawn for each data set.
ACROSS = ("ranks",)

#: Kinds that take seconds for each data set.
SLOW = ("marginals", "density", "trajectories")

#: A vector drawing of more bytes than this is replaced by pixels.
VECTOR_BYTES = 600_000

#: The size of a drawing in points, as matplotlib writes it.
_SIZE = re.compile(rb'<svg [^>]*?width="([\d.]+)pt" height="([\d.]+)pt"')

#: At most so many points are drawn of the curve of a run; with more runs than this, a page has no
#: curves of single runs, which take 0.04 s and 30 KB each.
POINTS, MOST_CURVES = 300, 100

#: Why the curve of a run is not drawn.
_DAMAGED = f"Its {CURVE} is damaged."

#: CSS pixels of an inch of a figure: text of 7 points, right on paper, is small on a screen.
PIXELS = 132

#: The figures of a data set with more than `MOST_RUNS` runs show so many methods and seeds of each.
MOST_RUNS, MOST_METHODS, MOST_SEEDS = 60, 12, 5

#: With more runs than this, the figures over all data sets take one row of each method, and slow
#: kinds are left to `bench plot`.
MOST_RUNS_ACROSS = 1_000


@dataclass(frozen=True)
class Picture:
    """A figure in the page: a data URI, its size in CSS pixels, the caption, and that as one text.

    The paragraphs of the caption come with whether they are a table in a font of one width.
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
    """A figure that could not be drawn, the reason, and whether that is a bug or a damaged file."""

    kind: str
    place: str
    why: str
    bug: bool = False


Pictures = list[Picture | NotDrawn]

#: What was drawn before, by what it was drawn of.
Kept = MutableMapping[tuple[Any, ...], Any]


def pictures(gathered: Gathered, kept: Kept, dataset: str | None = None) -> tuple[Pictures, str]:
    """The figures of a data set, or those that compare over all; a remark on runs they leave out.

    Several budgets are drawn apart.
    """
    every, datasets = gathered.compared, () if dataset is None else (dataset,)
    runs, most, limit = every, MOST_RUNS_ACROSS, ""
    if dataset is not None:
        runs, most = every[every["dataset"] == dataset], MOST_RUNS
        limit = f", the first {MOST_METHODS} methods by name, and at most {MOST_SEEDS} seeds"
    remark = ""
    if len(runs) > most:
        few = _few(runs) if dataset is None else _few(runs, MOST_METHODS, MOST_SEEDS)
        remark = (
            f"The figures show {len(few):,} of {len(runs):,} runs: for each method and data set "
            f"the settings with the lowest validation NLL{limit}."
        )
        runs = few
    found: Pictures = []
    kinds = [kind for kind in KINDS if (kind in ACROSS) == (dataset is None)]
    for kind, budget in product(kinds, budgets(runs)):
        place = " ".join([*datasets, *([f"(budget {budget})"] if budget else [])])
        if kind in SLOW and len(every) > MOST_RUNS_ACROSS:
            why = f"Too slow for a page of {len(every):,} runs; use `bench plot {kind}`."
            found.append(NotDrawn(kind, place, why))
            continue
        key = (kind, budget, datasets, *zip(runs["run"], runs["started"].fillna(""), strict=True))
        if key not in kept:
            request = Request(gathered.results, budget=budget, datasets=datasets, runs=runs)
            kept[key] = _picture(kind, request, place)
        found.append(kept[key])
    return found, remark


def budgets(runs: pd.DataFrame) -> list[str | None]:
    """The budgets to be drawn apart; None where there is at most one."""
    found = sorted(set(runs["budget"].dropna()))
    return [*found] if len(found) > 1 else [None]


def plotted(kind: str, request: Request, place: str = "") -> Plot | NotDrawn:
    """A figure, or why there is none: a bug in one figure must not cost all others."""
    try:
        if request.runs is None or not len(request.runs):
            raise NothingMeasured("There are no runs.")
        return draw(kind, request)
    except BenchError as error:
        return NotDrawn(kind, place, str(error))
    except Exception as error:
        message = " ".join(f"{type(error).__name__}: {error}".split())
        why = f"It could not be drawn because of a bug in CNF Bench: {message}."
        return NotDrawn(kind, place, why, bug=True)


def caption(plot: Plot) -> list[str]:
    """The lines below a figure."""
    return [*plot.lines, *(f"Left out: {sentence}." for sentence in plot.left_out)]


def _few(runs: pd.DataFrame, methods: int | None = None, seeds: float = math.inf) -> pd.DataFrame:
    """Of each method on each data set the row that validates best; so many methods and seeds."""
    row = runs.groupby(list(CELL), dropna=False)
    rows = runs.assign(
        _row=row.ngroup(), _nll=row["validation_nll"].transform("mean").fillna(math.inf)
    ).sort_values(["_nll", "_row", "seed"], kind="stable")
    best = rows.groupby(["dataset", "method"], dropna=False)["_row"].transform("first")
    chosen = rows[rows["_row"] == best]
    chosen = chosen[chosen["method"].isin(sorted(set(chosen["method"]))[:methods])]
    chosen = chosen[chosen.groupby("_row").cumcount() < seeds]
    return runs.loc[sorted(chosen.index)]


def _picture(kind: str, request: Request, place: str) -> Picture | NotDrawn:
    plot = plotted(kind, request, place)
    if isinstance(plot, NotDrawn):
        return plot
    budget, title = [f"Budget {request.budget}."] if request.budget else [], KINDS[kind]
    parts = tuple(paragraphs([*budget, *caption(plot)]))
    alt = " ".join([title[:1].upper() + title[1:], *(text for fixed, text in parts if not fixed)])
    return Picture(kind, title, *_embedded(plot.figure), parts, alt)


def paragraphs(lines: Sequence[str]) -> Iterator[tuple[bool, str]]:
    """The lines of a caption as paragraphs; lines with double spaces are kept as a table."""
    for table, part in groupby(lines, lambda line: "  " in line.strip() if line.strip() else None):
        if table:
            yield True, "\n".join(part)
        elif table is not None:
            yield from ((False, " ".join(line.split())) for line in part)


def curves(folder: Path, kept: Kept) -> Picture | NotDrawn | None:
    """Loss and validation NLL of a run against mini-batches; None where it keeps no curve."""
    key = ("curve", folder.name, folder.stat().st_mtime_ns)
    if key not in kept:
        try:
            kept[key] = _curves(folder)
        except Exception as error:
            why = " ".join(f"{_DAMAGED[:-1]} ({type(error).__name__}: {error}).".split())
            kept[key] = NotDrawn("curve", folder.name, why, bug=True)
    found: Picture | NotDrawn | None = kept[key]
    return found


def _curves(folder: Path) -> Picture | NotDrawn | None:
    curve = read_curve(folder)
    if curve is None:
        path = folder / CURVE
        damaged = path.is_file() and path.stat().st_size
        return NotDrawn("curve", folder.name, _DAMAGED, bug=True) if damaged else None
    losses = np.isfinite(curve.loss)
    steps, _, nll = curve.validation[np.isfinite(curve.validation[:, 2])].T
    panels = [
        ("loss", curve.minibatches[losses], curve.loss[losses], ""),
        ("validation NLL (nats)", steps, nll, "o"),
    ]
    panels = [panel for panel in panels if len(panel[1])]
    if not panels:
        return None
    with canvas(4.8, 1.2, layout=None) as figure:
        figure.subplots_adjust(0.08, 0.17, 0.99, 0.84, 0.2)
        for i, (name, x, y, marker) in enumerate(panels):
            axes = figure.add_subplot(1, 2, 1 + i)
            dress(axes, name)
            axes.plot(*outline(x, y, POINTS), color=INK, lw=0.8, marker=marker, ms=2.5)
            # A first step that is far off must not press the rest flat.
            low, most = np.quantile(y, (0, 0.95))
            axes.set_ylim(top=low + 2 * (most - low) if most > low else None)
            axes.locator_params(nbins=4)
    words = ", ".join(f"{name} {y[-1]:.4g}" for name, _, y, _ in panels)
    alt = f"At mini-batch {whole(curve.minibatches[-1])}: {words}."
    return Picture("curve", "", *_embedded(figure, trim=False), (), alt)


def _embedded(figure: Figure, *, trim: bool = True) -> tuple[str, int, int]:
    """The figure as a data URI, its width and height in CSS pixels.

    It is a drawing, or pixels on white where that would be too large.
    """

    margins: dict[str, Any] = {"bbox_inches": "tight" if trim else None, "pad_inches": 0.06}
    kind, content = "svg+xml", encoded(figure, "svg", transparent=True, **margins)
    width, height = (round(PIXELS * float(side) / 72) for side in _SIZE.findall(content)[0])
    if len(content) > VECTOR_BYTES:
        kind, content = "png", encoded(figure, "png", facecolor="white", **margins)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}", width, height
