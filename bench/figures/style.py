"""How every figure looks: the methods' colours, sizes of text, axes, legends, strips, files."""

from __future__ import annotations

import colorsys
import itertools
import math
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

from bench.api.declarations import MARKERS, Column, Look
from bench.errors import UsageError
from bench.registry import plugins

if TYPE_CHECKING:
    # The other modules annotate with these: style.Axes, style.Figure.
    from matplotlib.axes import Axes as Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure as Figure
    from matplotlib.figure import SubFigure as SubFigure

#: What is neither a method nor a measurement: axes, text, thresholds.
INK, PALE = "#222222", "#767676"

#: Font sizes in points: of titles, of axis names and legends, of tick labels.
TITLE, NAME, TICK = 8.5, 7.5, 7

#: The width of a two-column page, in inches.
PAGE = 7.2

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

#: Panels of a strip side by side at most; the size of a panel in inches; a title's line length.
ACROSS, _WIDTH, _HEIGHT, _LETTERS = 4, 1.75, 1.95, 26

#: Inches around titles; with less, the title of a strip may touch those of its panels.
_PAD = 0.07

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
def canvas(width: float, height: float) -> Iterator[Figure]:
    """A figure of this size in inches, to be drawn on in the `with` block."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"font.size": 8, "axes.linewidth": 0.7}):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


def dress(axes: Axes, title: str = "", letters: int = 0) -> None:
    """Style a panel; `letters` is the line length at which its title is wrapped, 0 for never."""
    lines = title.split("\n")
    if letters:
        lines = [textwrap.fill(line, letters, break_on_hyphens=False) for line in lines]
    size = NAME if letters else TITLE
    axes.set_title("\n".join(lines), fontsize=size, color=INK, parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(which="both", color=INK, labelsize=TICK, width=0.6)


def heading(part: Figure | SubFigure, title: str, size: float = 9.5) -> None:
    """The title above several panels."""
    part.suptitle(title, fontsize=size, color=INK).set_parse_math(False)


def horizontal_grid(axes: Axes) -> None:
    """Pale lines at the ticks of the vertical axis, behind what is drawn."""
    axes.grid(axis="y", which="major", color="#e3e3e3", lw=0.6)
    axes.set_axisbelow(True)


def name_axes(axes: Axes, x: str = "", y: str = "") -> None:
    """The names of the axes, each with its unit."""
    if x:
        axes.set_xlabel(x, fontsize=NAME, color=INK)
    if y:
        axes.set_ylabel(y, fontsize=NAME, color=INK)


def few_ticks(n: int, **settings: Any) -> Any:
    """A locator of at most `n` intervals."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(n, **settings)


def log_ticks(axis: Axis) -> None:
    """Tick a logarithmic axis at powers of ten; a shorter one at 1, 2, 5, a short one evenly."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    steps = LogLocator(subs=(1,) if high / low > 100 else (1, 2, 5))
    axis.set_major_locator(steps if high / low > 5 else few_ticks(5))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_formatter(NullFormatter())


def key_line(**keywords: Any) -> Any:
    """A line or a marker for a legend, with matplotlib's keywords."""
    from matplotlib.lines import Line2D

    return Line2D([], [], **keywords)


def key_marker(marker: str = "o", **keywords: Any) -> Any:
    """A marker for a legend, without a line."""
    return key_line(**{"ls": "none", "marker": marker, "ms": 5, **keywords})


def legend(figure: Figure | SubFigure, handles: Mapping[str, Any]) -> None:
    """A legend below the panels, in as many columns as the width allows."""
    longest = max(map(len, handles))
    room = int(figure.bbox.width / figure.dpi / 0.066) // (longest + 9)
    found = figure.legend(
        list(handles.values()), list(handles), loc="outside lower center",
        ncol=max(1, min(4, len(handles), room)), frameon=False, fontsize=NAME, handlelength=2.4,
        columnspacing=1.4,
    )  # fmt: skip
    for text in found.get_texts():
        text.set_parse_math(False)


@dataclass(frozen=True)
class Strip:
    """A strip of square panels: the titles of each row of panels, and what draws on them.

    `paint` takes the part of the figure that holds the strip, and its panels by row.
    """

    title: str
    rows: Sequence[Sequence[str]]
    paint: Callable[[SubFigure, list[list[Axes]]], None]


def in_rows(titles: Sequence[str]) -> list[Sequence[str]]:
    """Return the titles of panels in rows of at most `ACROSS`."""
    return [titles[k : k + ACROSS] for k in range(0, len(titles), ACROSS)]


def draw_strips(strips: Sequence[Strip], handles: Mapping[str, Any]) -> Figure:
    """Draw strips below one another, above a legend of the handles if there are any."""
    across = max(len(row) for strip in strips for row in strip.rows)
    heights = [len(strip.rows) * _HEIGHT + 0.35 for strip in strips]
    with canvas(max(across * _WIDTH, 2.4) + 0.4, sum(heights) + 0.3 * bool(handles)) as figure:
        figure.set_layout_engine("constrained", h_pad=_PAD)
        parts = figure.subfigures(len(strips), 1, squeeze=False, height_ratios=heights)
        for part, strip in zip(parts[:, 0], strips, strict=True):
            heading(part, strip.title)
            panels = part.subplots(len(strip.rows), across, squeeze=False)
            grid = []
            for row, titles in zip(panels, strip.rows, strict=True):
                grid.append(list(row[: len(titles)]))
                for axes, title in zip(row, titles, strict=False):
                    dress(axes, title, _LETTERS)
                for axes in row[len(titles) :]:
                    axes.remove()
            strip.paint(part, grid)
        if handles:
            legend(figure, handles)
    return figure


def share_axes(grid: list[list[Axes]], low: Any, high: Any, x: str, *y: str) -> None:
    """Limit all panels alike; number and name their axes at the left and at the foot alone.

    `low` and `high` are `(2,)`; `y` names the vertical axis of each row, or of all.
    """
    for i, row in enumerate(grid):
        for j, axes in enumerate(row):
            lowest = i + 1 == len(grid) or j >= len(grid[i + 1])
            axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), box_aspect=1)
            axes.locator_params(nbins=5)
            axes.tick_params(labelleft=j == 0, labelbottom=lowest)
            name_axes(axes, x if lowest else "", "" if j else y[i % len(y)])


def colour_bar(part: SubFigure, grid: list[list[Axes]], image: Any, name: str, extend: str) -> None:
    """Draw a bar for the colours that the panels share."""
    panels = list(itertools.chain(*grid))
    bar = part.colorbar(image, ax=panels, shrink=0.85, pad=0.01, extend=extend)
    bar.set_label(name, fontsize=NAME, color=INK)
    bar.ax.tick_params(labelsize=TICK, color=INK, width=0.6)


@contextmanager
def panel_grid(
    titles: Sequence[str], widths: Sequence[float], height: float, foot: float, **shared: Any
) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure with panels, at most `len(widths)` side by side, to be drawn on in the `with` block.

    `widths` are those of a panel in inches where one, two, ... are side by side; `foot` is the
    height of the legend, `shared` what Matplotlib's `subplots` takes.
    """
    across = min(len(widths), len(titles))
    down = math.ceil(len(titles) / across)
    with canvas(widths[across - 1] * across, height * down + foot) as figure:
        grid = figure.subplots(down, across, squeeze=False, **shared)
        for axes in grid.flat[len(titles) :]:
            axes.remove()
        panels = list(grid.flat[: len(titles)])
        for axes, title in zip(panels, titles, strict=True):
            dress(axes, title)
            horizontal_grid(axes)
        yield figure, panels


def save(figure: Figure, path: Path, form: str) -> None:
    """Write a figure as pdf, svg or png; the same numbers give the same bytes."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "bench", "pdf.fonttype": 42}):
        figure.savefig(
            path, format=form, dpi=200, bbox_inches="tight", metadata=_UNDATED.get(form, {})
        )
