"""Strips of square panels, one for each data set; the panels of a strip share their axes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.figures.canvas import NAME, TICK, canvas, dress, name_axes
from bench.figures.looks import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

#: Panels side by side at most; inches of a panel; letters of a title's line.
ACROSS, _WIDTH, _HEIGHT, _LETTERS = 4, 1.75, 1.95, 26

#: Inches around titles; with less, that of a strip may touch those of its panels.
_PAD = 0.07


@dataclass(frozen=True)
class Drawing:
    """The axes of a strip's panels, in their order, and the part of the figure that holds them."""

    part: SubFigure
    panels: list[Axes]
    across: int

    def share(self, names: Sequence[str]) -> None:
        """Name the axes at the strip's left and foot alone, where their numbers are."""
        for place, axes in enumerate(self.panels):
            lowest, first = place + self.across >= len(self.panels), place % self.across == 0
            axes.locator_params(nbins=5)
            axes.set_box_aspect(1)
            axes.tick_params(labelleft=first, labelbottom=lowest)
            name_axes(axes, names[0] if lowest else "", names[1] if first else "")

    def bar(self, image: Any, name: str, extend: str) -> None:
        """A bar for the colours that the panels share."""
        bar = self.part.colorbar(image, ax=self.panels, shrink=0.85, pad=0.01, extend=extend)
        bar.set_label(name, fontsize=NAME, color=INK)
        bar.ax.tick_params(labelsize=TICK, color=INK, width=0.6)


@contextmanager
def strips(
    titles: Sequence[Sequence[str]], names: Sequence[str]
) -> Iterator[tuple[Figure, list[Drawing]]]:
    """A figure with a strip for each of the `names`, and in it a panel for each of its titles."""
    across = min(ACROSS, max(map(len, titles)))
    heights = [math.ceil(len(each) / across) * _HEIGHT + 0.35 for each in titles]
    with canvas(max(across * _WIDTH, 2.4) + 0.4, sum(heights)) as figure:
        from matplotlib.layout_engine import ConstrainedLayoutEngine

        layout = figure.get_layout_engine()
        assert isinstance(layout, ConstrainedLayoutEngine)
        layout.set(h_pad=_PAD)
        parts = figure.subfigures(len(titles), 1, squeeze=False, height_ratios=heights)
        yield (
            figure,
            [
                _strip(part, each, name, across)
                for part, each, name in zip(parts[:, 0], titles, names, strict=True)
            ],
        )


def _strip(part: SubFigure, titles: Sequence[str], name: str, across: int) -> Drawing:
    part.suptitle(name, fontsize=9.5, color=INK).set_parse_math(False)
    grid = part.subplots(math.ceil(len(titles) / across), across, squeeze=False)
    for axes, title in zip(grid.flat, titles, strict=False):
        dress(axes, title, _LETTERS)
    for axes in grid.flat[len(titles) :]:
        axes.remove()
    return Drawing(part, list(grid.flat[: len(titles)]), across)
