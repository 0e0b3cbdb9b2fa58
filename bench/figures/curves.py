"""Loss and validation NLL while a method trains, against mini-batches and training seconds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bench.errors import NothingMeasured
from bench.figures import style
from bench.figures.request import Array, Group, Plot, Request, select
from bench.records import catalogue
from bench.records.run_files import TrainingCurve, read_curve

#: Data sets and methods at most; the window of a running mean, as a share of all updates.
GROUPS, ROWS, WINDOW = 2, 9, 0.02

#: Panels of a loss side by side; the height of the rows in inches; the line length of a title.
_ACROSS, _TOP, _LOSS, _LETTERS = 3, 2.1, 1.95, 32

#: At most so many points of a raw curve are drawn, in pairs of least and greatest.
_POINTS = 1_200

#: The names of the horizontal axes.
_X = ("mini-batches", "training (s)")

#: How a later stage and the kept state are marked.
_STAGE: dict[str, Any] = {"color": style.PALE, "lw": 0.7, "ls": (0, (1, 1.5))}
_KEPT: dict[str, Any] = {"color": style.INK, "lw": 0.8, "ls": (0, (5, 2))}


@dataclass(frozen=True)
class ShownCurve(TrainingCurve):
    """A run's curve, and `best`, the mini-batch after which the kept state was validated."""

    label: str
    method: str
    look: style.Style
    best: int | None


def draw(request: Request) -> Plot:
    """Draw for each data set the validation NLL of all methods, and the loss of each."""
    request.reject("curves", "metric", "columns")
    selection = select(request, GROUPS, ROWS)
    styles = selection.styles()
    parts: dict[str, list[ShownCurve]] = {}
    drawn: list[Group] = []
    lines = [
        "Top: NLL of validation rows, the same for every method. Bottom: each method's own loss, "
        "which most methods do not share; pale: every mini-batch, bold: the running mean over "
        f"{WINDOW:.0%} of them. Seconds are those inside the method's updates."
    ]
    for group in selection.groups:
        curves, missing = [], []
        for one in group.rows:
            curve = read_curve(request.results / one.name)
            if curve is None:
                missing.append(one.label)
                continue
            best, nll = None, one.run["validation_nll"]  # of the kept state
            if nll == nll and len(curve.validation):
                closest = np.abs(curve.validation[:, 2] - nll).argmin()
                best = int(curve.validation[closest, 0])
            shown = ShownCurve(
                **vars(curve), label=one.label, method=one.method, look=styles[one.label], best=best
            )
            curves.append(shown)
        if missing:
            lines.append(f"No curve on {group.title}: {', '.join(missing)}.")
        if curves:
            parts[group.title] = curves
            drawn.append(group.only([curve.label for curve in curves]))
            lines += _about(group.title, curves)
    if not parts:
        raise NothingMeasured(
            f"No run in {request.results} keeps a curve that can be read.",
            "Run them again: bench run keeps curve.jsonl beside the record.",
        )
    return selection.plot(diagram(parts), lines, drawn)


def smoothed(values: Array, window: int) -> Array:
    """Return the mean `(n,)` over `window` values around each, fewer at the ends."""
    window = max(1, min(window, len(values)))
    backwards = pd.Series(values[::-1]).rolling(window, min_periods=1, center=True).mean()
    return backwards.to_numpy()[::-1]


def _limits(curves: Sequence[ShownCurve]) -> tuple[float, float]:
    """Limits of NLL that show what the methods come to, not where they come from."""
    points = [curve.validation[:, 2] for curve in curves]
    known = [values[np.isfinite(values)] for values in points if np.isfinite(values).any()]
    if not known:
        return 0.0, 1.0
    later = np.concatenate([values[min(1, len(values) - 1) :] for values in known])
    low, high = float(later.min()), float(np.quantile(later, 0.9))
    high = max(high, *(float(values[-1]) for values in known))
    margin = 0.06 * (high - low) or 0.1
    return low - margin, high + margin


def _about(title: str, curves: Sequence[ShownCurve]) -> Iterator[str]:
    _, ceiling = _limits(curves)
    beyond = {curve.label: int((~(curve.validation[:, 2] <= ceiling)).sum()) for curve in curves}
    if far := [f"{label} {n}" for label, n in beyond.items() if n]:
        yield f"Validations above the axis on {title}: {', '.join(far)}."
    if without := [curve.label for curve in curves if not len(curve.validation)]:
        yield f"No validation on {title}: {', '.join(without)}."
    if (every := max(curve.every for curve in curves)) > 1:
        yield f"Long curves on {title} are thinned, to one mini-batch in {every} at least."


def diagram(parts: dict[str, list[ShownCurve]]) -> style.Figure:
    """Draw a row of validation and rows of losses for each data set."""
    rows = [math.ceil(len(curves) / _ACROSS) for curves in parts.values()]
    heights = [_TOP + 0.3 + _LOSS * down for down in rows]
    with style.canvas(style.PAGE, sum(heights) + 0.4) as figure:
        places = figure.subfigures(len(parts), 1, squeeze=False, height_ratios=heights)
        handles: dict[str, Any] = {}
        for place, (title, curves), down in zip(places[:, 0], parts.items(), rows, strict=True):
            style.heading(place, title)
            above, below = place.subfigures(2, 1, height_ratios=[_TOP, _LOSS * down])
            _validation(above, curves)
            grid = below.subplots(down, _ACROSS, squeeze=False)
            for k, (axes, curve) in enumerate(zip(grid.flat, curves, strict=False)):
                style.dress(axes, curve.label, _LETTERS)
                _loss(axes, curve)
                style.name_axes(axes, _X[0], "" if k % _ACROSS else "loss (the method's own)")
                handles[curve.label] = style.key_line(**curve.look.line, ms=4, mew=0, lw=1.2)
            for axes in grid.flat[len(curves) :]:
                axes.remove()
        handles["kept state"] = style.key_line(**_KEPT, marker="o", ms=7, mfc="none", mew=0.9)
        staged = [curve.method for curve in itertools.chain(*parts.values()) if curve.stages]
        if staged:
            handles[f"next {style.stage_word(staged)}"] = style.key_line(**_STAGE)
        style.legend(figure, handles)
    return figure


def _validation(place: style.SubFigure, curves: Sequence[ShownCurve]) -> None:
    """Validation NLL against mini-batches and seconds; the kept state is ringed."""
    grid = place.subplots(1, 2, sharey=True)
    nll = style.axis_name(catalogue.column("validation_nll"))
    for column, (axes, name) in enumerate(zip(grid, _X, strict=True)):
        style.dress(axes)
        style.horizontal_grid(axes)
        for curve in curves:
            points = curve.validation[np.isfinite(curve.validation[:, 2])]
            x, y, kept = points[:, column], points[:, 2], points[:, 0] == curve.best
            axes.plot(x, y, **curve.look.line, ms=3.4, mew=0, lw=1.2)
            axes.plot(
                x[kept], y[kept], "o", ms=8, mfc="none", mec=curve.look.colour, mew=1.0, gid="best"
            )
        axes.set_ylim(*_limits(curves))
        style.name_axes(axes, name, "" if column else nll)
    if all((curve.validation[:, 1] > 0).all() for curve in curves):
        grid[1].set_xscale("log")
        style.log_ticks(grid[1].xaxis)


def _loss(axes: style.Axes, curve: ShownCurve) -> None:
    known = np.isfinite(curve.loss)
    minibatches, seconds, loss = (v[known] for v in (curve.minibatches, curve.seconds, curve.loss))
    if not len(loss):
        return
    x, y = outline(minibatches, loss, _POINTS)
    axes.plot(x, y, color=curve.look.colour, lw=0.4, alpha=0.35, rasterized=True)
    smooth = smoothed(loss, round(WINDOW * len(loss)))
    axes.plot(minibatches, smooth, color=curve.look.colour, lw=1.3)
    for begun in curve.stages:
        axes.axvline(begun, **_STAGE, gid="stage")
    if curve.best is not None:
        axes.axvline(curve.best, **_KEPT, gid="best")
    low, high = np.quantile(loss, [0.002, 0.99])
    if low > 0 and high > 10 * low:
        axes.set_yscale("log")
    else:
        margin = 0.08 * (high - low) or 1.0
        axes.set_ylim(low - margin, high + margin)
        axes.yaxis.set_major_locator(style.few_ticks(4))
    axes.xaxis.set_major_locator(style.few_ticks(4))
    if len(seconds) > 1 and (np.diff(seconds) > 0).all():
        _seconds(axes, minibatches, seconds)


def _seconds(axes: style.Axes, minibatches: Array, seconds: Array) -> None:
    """An axis of training seconds above, at the mini-batches that had been seen by then."""
    above = axes.twiny()
    above.set_xlim(axes.get_xlim())
    first, last = seconds[0], seconds[-1]
    ticks = [t for t in style.few_ticks(4).tick_values(first, last) if first <= t <= last]
    above.set_xticks(np.interp(ticks, seconds, minibatches), [f"{t:g}" for t in ticks])
    above.tick_params(
        labelsize=style.TICK - 0.5, color=style.PALE, labelcolor=style.PALE, width=0.6, pad=1
    )
    above.set_xlabel(_X[1], fontsize=style.NAME - 0.5, color=style.PALE, labelpad=2)
    above.spines[["right", "left"]].set_visible(False)
    above.spines["top"].set_color(style.PALE)


def outline(x: Array, y: Array, most: int) -> tuple[Array, Array]:
    """Return at most `most` points of a curve `(n,)`: the least and greatest of each stretch."""
    if len(y) <= most:
        return x, y
    ends = np.linspace(0, len(y), most // 2 + 1).astype(int)
    kept: list[int] = []
    for start, end in itertools.pairwise(ends.tolist()):
        part = y[start:end]
        kept += sorted({start + int(part.argmin()), start + int(part.argmax())})
    return x[kept], y[kept]
