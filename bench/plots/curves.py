"""Loss and validation NLL while a method learns, on mini-batches and on training seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bench.errors import NothingMeasured
from bench.plots.asked import Asked, Drawn, wrapped
from bench.plots.learning import Learning, learning, smoothed
from bench.plots.selection import Group, select
from bench.records.selection import latest

if TYPE_CHECKING:
    from bench.figures.curves import Curve, Part

#: Data sets and methods at most; updates that a running mean is over, as a share of all.
GROUPS, ROWS, WINDOW = 2, 9, 0.02


def draw(asked: Asked) -> Drawn:
    """For each data set the validation NLL of all methods, and the loss of each.

    Raises:
        UsageError: a metric or columns were asked for.
        NothingMeasured: no run keeps a curve.
    """
    from bench.figures.curves import diagram

    asked.refuse("curves", "metric", "columns")
    frame, left_out = latest(asked.under_budget(asked.frame()))
    selection = select(asked, frame, GROUPS, ROWS)
    parts: list[Part] = []
    drawn: list[Group] = []
    lines: list[str] = []
    for group in selection.groups:
        found = {one.label: learning(asked.results, one.name) for one in group.rows}
        kept = {label: curve for label, curve in found.items() if curve is not None}
        if missing := [label for label, curve in found.items() if curve is None]:
            lines.append(f"No curve on {group.title}: {', '.join(missing)}.")
        if kept:
            part = _part(group, kept)
            parts.append(part)
            drawn.append(group.only(kept))
            lines += _about(part, list(kept.values()))
    if not parts:
        raise NothingMeasured(
            f"No run in {asked.results} keeps a curve that can be read.",
            "Run them again: bench run keeps curve.jsonl beside the record.",
        )
    lines.insert(
        0,
        "Above: NLL of validation rows, the same for every method. Below: each method's own loss, "
        "which only some methods share; pale: every mini-batch, thick: the running mean over "
        f"{WINDOW:.0%} of them. Seconds are those inside the method's updates.",
    )
    return Drawn(diagram(parts), (*map(wrapped, lines), *selection.lines(drawn)), tuple(left_out))


def _part(group: Group, kept: dict[str, Learning]) -> Part:
    from bench.figures.curves import Curve, Part

    places: Counter[str] = Counter()
    curves: list[Curve] = []
    for one in group.rows:
        if one.label not in kept:
            continue
        found = kept[one.label]
        known = np.isfinite(found.loss)
        loss = found.loss[known]
        curves.append(
            Curve(
                one.label,
                one.method,
                places[one.method],
                found.minibatches[known],
                found.seconds[known],
                loss,
                smoothed(loss, round(WINDOW * len(loss))),
                found.validation,
                _best(found, one.run),
                found.stages,
            )
        )
        places[one.method] += 1
    return Part(group.title, *_ends(curves), tuple(curves))


def _best(found: Learning, run: pd.Series[Any]) -> int | None:
    """The mini-batch after which the state was kept: where the record's best validation NLL is."""
    best = run["validation_nll"]
    if best != best or not len(found.validation):
        return None
    place = int(np.abs(found.validation[:, 2] - best).argmin())
    return int(found.validation[place, 0])


def _ends(curves: Sequence[Curve]) -> tuple[float, float]:
    """The axis of validation NLL: all that the methods come to, not where they come from."""
    points = [curve.validation[:, 2] for curve in curves if len(curve.validation)]
    known = [values[np.isfinite(values)] for values in points]
    if not any(map(len, known)):
        return 0.0, 1.0
    later = np.concatenate([values[min(1, len(values) - 1) :] for values in known if len(values)])
    last = [values[-1] for values in known if len(values)]
    low, high = float(later.min()), float(max(*last, np.quantile(later, 0.9)))
    margin = 0.06 * (high - low) or 0.1
    return low - margin, high + margin


def _about(part: Part, kept: Sequence[Learning]) -> Iterator[str]:
    beyond = {
        curve.label: int((~(curve.validation[:, 2] <= part.ceiling)).sum()) for curve in part.curves
    }
    if far := [f"{label} {n}" for label, n in beyond.items() if n]:
        yield f"Validations above the axis on {part.title}: {', '.join(far)}."
    if without := [curve.label for curve in part.curves if not len(curve.validation)]:
        yield f"No validation on {part.title}: {', '.join(without)}."
    if any(found.every > 1 for found in kept):
        most = max(found.every for found in kept)
        yield f"Of long curves on {part.title} every {most}th mini-batch at least is read."
