"""The figures of a report: each kind drawn and embedded in the page, or the reason why it isn't."""

from __future__ import annotations

import base64
import colorsys
import io
import math
import re
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bench.errors import BenchError, NothingMeasured
from bench.figures import KINDS, defect, draw
from bench.figures.curves import outline
from bench.figures.request import Plot, Request
from bench.figures.style import INK, canvas, dress
from bench.records.format import whole
from bench.records.frame import CELL
from bench.records.run_files import read_curve
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

DOTS_PER_INCH = 200

#: At most so many points are drawn of the curve of a run; with more runs than this, a page has no
#: curves of single runs, which take 0.04 s and 30 KB each.
POINTS, MOST_CURVES = 300, 100

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
    """A figure that could not be drawn, the reason, and whether that is a bug of this program."""

    kind: str
    place: str
    why: str
    bug: bool = False


Pictures = list[Picture | NotDrawn]

#: What was drawn before, by what it was drawn of.
Kept = MutableMapping[tuple[Any, ...], Picture | NotDrawn]


def pictures(gathered: Gathered, kept: Kept, dataset: str | None = None) -> tuple[Pictures, str]:
    """The figures of a data set, or those that compare over all; a remark on runs they leave out.

    Several budgets are drawn apart.
    """
    runs, remark = gathered.compared, ""
    if dataset is not None:
        runs = runs[runs["dataset"] == dataset]
    if len(runs) > (MOST_RUNS_ACROSS if dataset is None else MOST_RUNS):
        chosen = _few(runs) if dataset is None else _few(runs, MOST_METHODS, MOST_SEEDS)
        remark = (
            f"The figures show {len(chosen):,} of {len(runs):,} runs: for each method and data set "
            "the settings with the lowest validation NLL"
        )
        limit = f", the first {MOST_METHODS} methods by name, and at most {MOST_SEEDS} seeds"
        remark, runs = f"{remark}{'' if dataset is None else limit}.", chosen
    found = [
        _picture(kind, gathered, runs, budget, () if dataset is None else (dataset,), kept)
        for kind in KINDS
        if (kind in ACROSS) == (dataset is None)
        for budget in budgets(runs)
    ]
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
        return NotDrawn(kind, place, defect(error), bug=True)


def caption(plot: Plot) -> list[str]:
    """The lines below a figure."""
    return [*plot.lines, *(f"Left out: {sentence}." for sentence in plot.left_out)]


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


def _picture(
    kind: str,
    gathered: Gathered,
    runs: pd.DataFrame,
    budget: str | None,
    datasets: tuple[str, ...],
    kept: Kept,
) -> Picture | NotDrawn:
    place = " ".join([*datasets, *([f"(budget {budget})"] if budget else [])])
    if kind in SLOW and len(gathered.compared) > MOST_RUNS_ACROSS:
        number = f"{len(gathered.compared):,}"
        why = f"Too slow for a page of {number} runs; use `bench plot {kind}`."
        return NotDrawn(kind, place, why)
    key = (kind, budget, datasets, *zip(runs["run"], runs["started"].fillna(""), strict=True))
    if key not in kept:
        request = Request(gathered.results, budget=budget, datasets=datasets, runs=runs)
        plot = plotted(kind, request, place)
        if isinstance(plot, NotDrawn):
            kept[key] = plot
        else:
            lines, title = [f"Budget {budget}."] if budget else [], KINDS[kind]
            parts = tuple(paragraphs([*lines, *caption(plot)]))
            alt = " ".join([title[:1].upper() + title[1:], *(t for fixed, t in parts if not fixed)])
            kept[key] = Picture(kind, title, *_embedded(plot.figure), parts, alt)
    return kept[key]


def paragraphs(lines: Sequence[str]) -> Iterator[tuple[bool, str]]:
    """The lines of a caption as paragraphs; lines with double spaces are kept as a table."""
    columns: list[str] = []
    for line in [*lines, ""]:
        if "  " in line.strip():
            columns.append(line)
            continue
        if columns:
            yield True, "\n".join(columns)
            columns = []
        if line.strip():
            yield False, " ".join(line.split())


def curves(folder: Path, kept: Kept) -> Picture | None:
    """Loss and validation NLL of a run against mini-batches; None where it keeps no curve."""
    key = ("curve", folder.name, folder.stat().st_mtime_ns)
    if key not in kept:
        kept[key] = _curves(folder)
    found = kept[key]
    return found if isinstance(found, Picture) else None


def _curves(folder: Path) -> Picture | NotDrawn:
    curve = read_curve(folder)
    if curve is None:
        return NotDrawn("curve", folder.name, "The run keeps no curve.")
    losses = np.isfinite(curve.loss)
    panels = [("loss", curve.minibatches[losses], curve.loss[losses], "")]
    steps, _, nll = curve.validation[np.isfinite(curve.validation[:, 2])].T
    panels = [p for p in (*panels, ("validation NLL (nats)", steps, nll, "o")) if len(p[1])]
    if not panels:
        return NotDrawn("curve", folder.name, "No value of its curve is finite.")
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
    drawing = _saved(figure, "svg", trim, metadata={"Date": None}, transparent=True)
    width, height = (round(PIXELS * float(side) / 72) for side in _SIZE.findall(drawing)[0])
    if len(drawing) <= VECTOR_BYTES:
        drawing = with_night(drawing)
        return f"data:image/svg+xml;base64,{base64.b64encode(drawing).decode()}", width, height
    pixels = _saved(figure, "png", trim, dpi=DOTS_PER_INCH, facecolor="white")
    return f"data:image/png;base64,{base64.b64encode(pixels).decode()}", width, height


def _saved(figure: Figure, form: str, trim: bool, **options: Any) -> bytes:
    import matplotlib

    file = io.BytesIO()
    box = "tight" if trim else None
    with matplotlib.rc_context({"svg.hashsalt": "bench"}):
        figure.savefig(file, format=form, bbox_inches=box, pad_inches=0.06, **options)
    return file.getvalue()


#: A colour of an element as matplotlib writes it.
_COLOUR = re.compile(rb"(?:fill|stroke): #[0-9a-f]{6}")


def with_night(drawing: bytes) -> bytes:
    """The SVG with a second set of colours for dark mode.

    Greys change places with their opposites; other colours keep their hue and get lighter.
    """
    rules = ["svg { fill: #e6e6e6 }"]
    for found in sorted({match[0].decode() for match in _COLOUR.finditer(drawing)}):
        name, colour = found.split(": ")
        rules.append(f'[style*="{found}"] {{ {name}: {_night(colour)} !important }}')
    style = f"<style>@media (prefers-color-scheme: dark) {{ {' '.join(rules)} }}</style>"
    start = drawing.index(b">", drawing.index(b"<svg ")) + 1
    return drawing[:start] + style.encode() + drawing[start:]


def _night(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    hue, light, saturation = colorsys.rgb_to_hls(red, green, blue)
    # The card is not black (#1d1f23), and white on it would dazzle.
    light = 0.9 - 0.77 * light if saturation < 0.1 else 0.35 + 0.6 * light
    return "#" + "".join(
        f"{round(255 * c):02x}" for c in colorsys.hls_to_rgb(hue, light, saturation)
    )
