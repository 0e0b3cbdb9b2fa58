"""A run's training curve: read, thinned, and laid out as small drawings."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.records.format import Number, measured, scientific, whole

#: No more points than these are drawn of a curve; each is the mean of as many mini-batches.
POINTS = 120

#: The drawing's width and height in its own units, and the margin around its lines.
WIDTH, HEIGHT, MARGIN = 300.0, 80.0, 4.0

Point = tuple[float, float]


@dataclass(frozen=True)
class Drawing:
    """A curve over the mini-batches, ready to be drawn in `WIDTH` by `HEIGHT` units.

    Attributes:
        title: what it shows.
        paths: the points of each unbroken line, as SVG's `points`.
        dots: the points that are marked.
        low: the least value drawn.
        high: the greatest.
        last: the last value.
        note: what a point is.
        end: the last mini-batch.
    """

    title: str
    paths: tuple[str, ...]
    dots: tuple[Point, ...]
    low: Number
    high: Number
    last: Number
    note: str
    end: str

    @property
    def alt(self) -> str:
        """The drawing in words."""
        return (
            f"{self.title} over {self.end} mini-batches: from {self.low} to {self.high}, "
            f"at the end {self.last}; {self.note}."
        )


def drawings(folder: Path) -> list[Drawing]:
    """The loss and the validation NLL of a run; none of what its `curve.jsonl` does not hold.

    A line that can't be read, as one that was cut off, is passed over; a value that was not finite
    breaks the line.
    """
    try:
        text = (folder / "curve.jsonl").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    entries = [found for line in text.splitlines() if (found := _entry(line)) is not None]
    if not entries:
        return []
    end = max(entry["minibatch"] for entry in entries)
    loss = [(e["minibatch"], _value(e.get("loss"))) for e in entries if "loss" in e]
    validated = [
        (e["minibatch"], _value(e["validation_nll"])) for e in entries if "validation_nll" in e
    ]
    size = math.ceil(len(loss) / POINTS)
    note = "each mini-batch" if size <= 1 else f"a point is the mean of {size} mini-batches"
    drawn = [
        _drawing("loss", _thinned(loss, size), end, note, dots=False),
        _drawing("validation NLL (nats)", validated, end, "a dot is a validation", dots=True),
    ]
    return [each for each in drawn if each is not None]


def _entry(line: str) -> dict[str, float] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    if not isinstance(found, dict) or not isinstance(found.get("minibatch"), int | float):
        return None
    return found


def _value(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _thinned(points: Sequence[Point], size: int) -> list[Point]:
    """The means of so many points each; NaN where one of them is not a number."""
    if size <= 1:
        return list(points)
    parts = [points[i : i + size] for i in range(0, len(points), size)]
    return [(part[-1][0], sum(value for _, value in part) / len(part)) for part in parts]


def _drawing(
    title: str, points: Sequence[Point], end: float, note: str, *, dots: bool
) -> Drawing | None:
    known = [(x, y) for x, y in points if math.isfinite(y)]
    if not known:
        return None
    values = [y for _, y in known]
    low, high = min(values), max(values)
    # What a first step far off adds would press the rest flat.
    top = _bulk(values) if len(values) > 20 else high
    spread = top - low or 1.0

    def place(point: Point) -> Point:
        x = MARGIN + (WIDTH - 2 * MARGIN) * point[0] / (end or 1)
        y = HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * (min(point[1], top) - low) / spread
        return round(x, 1), round(y, 1)

    if top < high:
        note += f"; what lies above {scientific(top)} is drawn at the upper edge"
    paths = tuple(
        " ".join(f"{x:g},{y:g}" for x, y in map(place, line)) for line in _unbroken(points)
    )
    marked = tuple(place(point) for point in known) if dots else ()
    return Drawing(
        title=title,
        paths=paths,
        dots=marked,
        low=_form(low),
        high=_form(high),
        last=_form(values[-1]),
        note=note,
        end=whole(end),
    )


def _form(value: float) -> Number:
    return measured(value) if 0.01 <= abs(value) < 1e6 or value == 0 else scientific(value)


def _bulk(values: Sequence[float]) -> float:
    """A height under which nearly all lies: twice the range of the lower 95 %, or the maximum."""
    ordered = sorted(values)
    low, most = ordered[0], ordered[int(0.95 * (len(ordered) - 1))]
    return min(ordered[-1], low + 2 * (most - low)) if most > low else ordered[-1]


def _unbroken(points: Iterable[Point]) -> list[list[Point]]:
    """The lines between values that are not finite; one point alone is a line of no length."""
    lines: list[list[Point]] = [[]]
    for point in points:
        if math.isfinite(point[1]):
            lines[-1].append(point)
        elif lines[-1]:
            lines.append([])
    return [line if len(line) > 1 else line * 2 for line in lines if line]
