"""What all figures share: the canvas, sizes of letters, axes, a legend below."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bench.figures.looks import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

#: Letters in points: of titles, of axes' names and legends, of numbers at ticks.
TITLE, NAME, TICK = 8.5, 7.5, 7

#: How the lines of one method differ that ran with several settings.
DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)))

#: The width of a page of two columns, in inches.
PAGE = 7.2


@contextmanager
def canvas(width: float, height: float) -> Iterator[Figure]:
    """A figure of so many inches, in whose `with` block it is drawn."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"font.size": 8, "axes.linewidth": 0.7}):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


def dress(axes: Axes, title: str = "", letters: int = 0) -> None:
    """The look of a panel; a title in lines of at most so many letters, where it is long."""
    shown = "\n".join(_wrapped(line, letters) for line in title.split("\n"))
    axes.set_title(shown, fontsize=TITLE if not letters else NAME, color=INK, parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(which="both", color=INK, labelsize=TICK, width=0.6)


def _wrapped(line: str, letters: int) -> str:
    return textwrap.fill(line, letters, break_on_hyphens=False) if letters else line


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


def legend(figure: Figure | SubFigure, handles: Mapping[str, Any], across: int = 0) -> None:
    """A legend below the panels, in so many columns or as many as the width allows."""
    if not across:
        longest = max(map(len, handles))
        across = max(
            1, min(4, len(handles), int(figure.bbox.width / figure.dpi / 0.066) // (longest + 9))
        )
    found = figure.legend(
        list(handles.values()), list(handles), loc="outside lower center", ncol=across,
        frameon=False, fontsize=NAME, handlelength=2.4, columnspacing=1.4,
    )  # fmt: skip
    for text in found.get_texts():
        text.set_parse_math(False)
