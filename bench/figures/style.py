"""How every figure looks: the methods' colours, sizes of text, panels, axes, legends, files."""

from __future__ import annotations

import colorsys
import io
import itertools
import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from bench.api.declarations import MARKERS, Column, Look
from bench.errors import UsageError
from bench.registry import plugins

if TYPE_CHECKING:
    # The other modules annotate with these: style.Axes, style.Figure.
    from matplotlib.axes import Axes as Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure as Figure
    from matplotlib.figure import SubFigure as SubFigure

Array = NDArray[np.float64]

#: The unit of a data set's columns.
UNIT = "data units"

#: What is neither a method nor a measurement: axes, text, thresholds.
INK, PALE = "#222222", "#767676"

#: Font sizes in points: of titles, of axis names and legends, of tick labels.
TITLE, NAME, TICK = 8.5, 7.5, 7

#: Matplotlib's settings while a figure is made.
RC: Any = {
    "font.size": 8,
    "text.color": INK,
    "axes.labelsize": NAME,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": NAME,
    "legend.handlelength": 2.4,
    "legend.columnspacing": 1.4,
}

#: The ticks; Matplotlib makes some of them when it draws, after the settings have ended.
TICKS: dict[str, Any] = {"color": INK, "labelsize": TICK, "width": 0.6}

#: A marker in a legend, without a line.
DOT: dict[str, Any] = {"ls": "none", "marker": "o", "ms": 5}

#: The width of a two-column page, in inches.
PAGE = 7.2

#: The width in inches of a panel where one, two or three are side by side; its height.
WIDTHS, HEIGHT = (4.2, 3.1, 2.4), 2.2

#: How lines and markers of one method differ that ran with several settings.
DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)))
FILLS: tuple[Any, ...] = ("full", "left", "bottom", "right", "top")

#: Colours for methods that declare none, far from one another and from those that are declared.
PALETTE = (
    *("#56B4E9", "#7A2FD0", "#6B330A", "#980063", "#24405C", "#00B400", "#FF1E5A", "#E1A578"),
    *("#3232FF", "#877800", "#FF00D2", "#003C00", "#B4C300", "#E187FF", "#960F2D", "#00C8C8"),
)

#: Colours nearer than this in RGB (each channel from 0 to 255) are hard to tell apart.
_NEAR = 50.0

#: Metadata that would date a file, by format.
_UNDATED: dict[str, dict[str, None]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}


def looks(methods: Iterable[str]) -> dict[str, Look]:
    """Return the look of every method of one picture, each with a colour that no other has.

    A method's own colour comes first. One without, or whose colour another method has already, gets
    the colour that its name picks from the palette, or the next one that is free: it mostly keeps
    it from picture to picture. Markers are chosen likewise; they repeat when none is left.
    """
    known, names = plugins.methods(), sorted(set(methods))
    names.sort(key=lambda name: name not in known or plugins.from_elsewhere(known[name]))
    declared = {name: _declared(name) for name in names}  # the harness's own first
    reserved = {look.colour.upper() for look in declared.values() if look.colour}
    reserved_markers = {look.marker for look in declared.values()}
    colours, markers, found = set[str](), set[str](), {}
    for name, look in declared.items():
        colour, marker = look.colour.upper(), look.marker
        if not colour or colour in colours:
            colour = _free_colour(name, colours | reserved)
        if not marker or marker in markers:
            free = (m for m in _rotated(name, MARKERS) if m not in markers | reserved_markers)
            marker = next(free, marker or "o")
        colours.add(colour)
        markers.add(marker)
        found[name] = replace(look, colour=colour, marker=marker)
    return found


def _declared(name: str) -> Look:
    try:
        return plugins.look(name)
    except UsageError:  # `bench list` and `bench test` say what is wrong with it
        return Look()


def _rotated(name: str, values: Sequence[str]) -> list[str]:
    """The values in their order, beginning with the one that the name picks."""
    start = crc32(name.encode("utf-8", "surrogatepass")) % len(values)
    return [*values[start:], *values[:start]]


def _free_colour(name: str, taken: set[str]) -> str:
    order = _rotated(name, PALETTE)
    far = (c for c in order if all(math.dist(_rgb(c), _rgb(other)) > _NEAR for other in taken))
    return next(far, "") or next(c for c in itertools.chain(order, _wheel()) if c not in taken)


def _rgb(colour: str) -> bytes:
    return bytes.fromhex(colour[1:])


def _wheel() -> Iterator[str]:
    """Colours without end; the golden ratio of the circle keeps successive hues apart."""
    for k in itertools.count():
        rgb = colorsys.hls_to_rgb(k * 0.618034 % 1, (0.3, 0.45, 0.6)[k % 3], 0.6)
        yield "#" + "".join(f"{round(255 * channel):02X}" for channel in rgb)


@dataclass(frozen=True)
class Style:
    """How a row of the comparison is drawn: colour and marker are the method's, `place` its own."""

    colour: str
    marker: str
    place: int

    @property
    def line(self) -> dict[str, Any]:
        """Matplotlib's keywords for a line with markers."""
        dashes = DASHES[self.place % len(DASHES)]
        return {"color": self.colour, "marker": self.marker, "ls": dashes}

    @property
    def point(self) -> dict[str, Any]:
        """Matplotlib's keywords for a single marker."""
        fill = {"fillstyle": FILLS[self.place % len(FILLS)], "markerfacecoloralt": "white"}
        return {"color": self.colour, "marker": self.marker, **fill}


#: The style of a row before those of the whole picture are chosen.
PLAIN = Style(INK, "o", 0)


def styles(rows: Iterable[tuple[str, str]]) -> dict[str, Style]:
    """Return the style of each row of one picture, by its label, given labels and methods."""
    methods = dict(rows)
    found = looks(methods.values())
    places: dict[str, int] = {}
    styled = {}
    for label, method in methods.items():
        place = places[method] = places.get(method, -1) + 1
        styled[label] = Style(found[method].colour, found[method].marker, place)
    return styled


def stage_word(methods: Iterable[str]) -> str:
    """Return the word for a trained piece of these methods, such as `block` or `block or round`."""
    return " or ".join(dict.fromkeys(_declared(name).stage for name in methods))


def axis_name(column: Column, title: str = "") -> str:
    """Return a column's title, or another one, with its unit."""
    title = title or column.title
    return f"{title} ({column.unit})" if column.unit and not title.endswith(")") else title


@contextmanager
def canvas(width: float, height: float, layout: Any = "constrained") -> Iterator[Figure]:
    """A figure of this size in inches, to be drawn on in the `with` block."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(RC):
        yield Figure(figsize=(width, height), layout=layout)


def dress(axes: Axes, title: str, letters: int = 0) -> None:
    """Style a panel; the title of a small one is wrapped at that many letters."""
    lines = title.split("\n")
    if letters:
        lines = [textwrap.fill(line, letters, break_on_hyphens=False) for line in lines]
    axes.set_title("\n".join(lines), fontsize=NAME if letters else TITLE, parse_math=False)
    axes.tick_params(which="both", **TICKS)


def heading(part: Figure | SubFigure, title: str, size: float = 9.5) -> None:
    """The title above several panels."""
    part.suptitle(title, fontsize=size).set_parse_math(False)


def in_rows(titles: Sequence[str], across: int) -> list[Sequence[str]]:
    """Return the titles of panels in rows of at most `across`."""
    return [titles[k : k + across] for k in range(0, len(titles), across)]


def panels(
    part: Figure | SubFigure,
    rows: Sequence[Sequence[str]],
    letters: int = 0,
    across: int = 0,
    **shared: Any,
) -> list[list[Axes]]:
    """Return panels with these titles by row, in a grid at least `across` wide.

    `letters` is that of `dress`; `shared` is what Matplotlib's `subplots` takes.
    """
    across = max(across, *map(len, rows))
    grid = part.subplots(len(rows), across, squeeze=False, **shared)
    for row, titles in zip(grid, rows, strict=True):
        for axes, title in zip(row, titles, strict=False):
            dress(axes, title, letters)
        for axes in row[len(titles) :]:
            axes.remove()
    return [list(row[: len(titles)]) for row, titles in zip(grid, rows, strict=True)]


@contextmanager
def panel_grid(
    rows: Sequence[Sequence[str]], **shared: Any
) -> Iterator[tuple[Figure, list[list[Axes]]]]:
    """A figure of panels with pale horizontal lines, to be drawn on in the `with` block."""
    across = len(rows[0])
    with canvas(WIDTHS[across - 1] * across, HEIGHT * len(rows) + 0.3) as figure:
        grid = panels(figure, rows, **shared)
        for axes in itertools.chain(*grid):
            axes.grid(axis="y")
        yield figure, grid


def name_axes(grid: list[list[Axes]], x: str, *y: str) -> None:
    """Name the axes below the lowest panel of each column and at the left of each row.

    `y` names the vertical axis of each row, or of all.
    """
    for i, row in enumerate(grid):
        row[0].set_ylabel(y[i % len(y)])
        for axes in row if i + 1 == len(grid) else row[len(grid[i + 1]) :]:
            axes.set_xlabel(x)
            axes.tick_params(labelbottom=True)


def set_axes(grid: list[list[Axes]], low: Array, high: Array, x: str, *y: str) -> None:
    """Limit square panels that share their axes to a frame `(2,)`, and name the axes."""
    grid[0][0].set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    for axes in itertools.chain(*grid):
        axes.set_box_aspect(1)
        axes.locator_params(nbins=5)
    name_axes(grid, x, *y)


def centres(low: Array, high: Array, cells: int) -> Array:
    """Return the centres `(k, cells)` of a grid's cells along k axes."""
    return low[:, None] + (high - low)[:, None] * (np.arange(cells) + 0.5) / cells


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


def log_ticks(axis: Axis) -> None:
    """Tick a logarithmic axis at powers of ten; a shorter one at 1, 2, 5, a short one evenly."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    low, high = axis.get_view_interval()
    steps = LogLocator(subs=(1,) if high / low > 100 else (1, 2, 5))
    axis.set_major_locator(steps if high / low > 5 else MaxNLocator(5))
    axis.set_major_formatter("{x:,g}")
    axis.set_minor_formatter("")


def legend(figure: Figure, handles: Mapping[str, Mapping[str, Any]]) -> None:
    """A legend below the panels, in as many columns as the width allows.

    `handles` has the keywords of each label's line or marker.
    """
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], **keywords) for keywords in handles.values()]
    room = int(figure.get_figwidth() / 0.066) // (max(map(len, handles)) + 9)
    columns = max(1, min(4, len(handles), room))
    found = figure.legend(lines, list(handles), loc="outside lower center", ncol=columns)
    for text in found.get_texts():
        text.set_parse_math(False)


def colour_bar(
    part: SubFigure, grid: list[list[Axes]], image: Any, label: str, extend: str
) -> None:
    """Draw a bar for the colours that the panels share."""
    beside = list(itertools.chain(*grid))
    bar = part.colorbar(image, ax=beside, shrink=0.85, pad=0.01, extend=extend, label=label)
    bar.ax.tick_params(**TICKS)


def encoded(figure: Figure, form: str, **settings: Any) -> bytes:
    """A figure as pdf, svg or png; the same numbers give the same bytes.

    The settings are those of Matplotlib's `savefig`, which raises all kinds of errors on a full
    disk: what writes the bytes raises an OSError.
    """
    import matplotlib

    file = io.BytesIO()

    known: dict[str, Any] = {"dpi": 200, "bbox_inches": "tight", "metadata": _UNDATED.get(form)}
    with matplotlib.rc_context({"svg.hashsalt": "bench", "pdf.fonttype": 42}):
        figure.savefig(file, format=form, **known | settings)
    return file.getvalue()
