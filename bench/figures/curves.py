"""Loss and validation NLL while a method trains, against mini-batches and training seconds."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.figures import style
from bench.figures.request import Array, Group, Plot, Request, SelectedRun, select
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

#: The runs of a group that keep a curve.
Curves = list[tuple[SelectedRun, TrainingCurve]]


def draw(request: Request) -> Plot:
    """Draw for each data set the validation NLL of all methods, and the loss of each."""
    selection = select(request, GROUPS, ROWS)
    parts, lines = selection.parts(_curves, "keeps a curve that can be read")
    about = (
        "Top: NLL of validation rows, the same for every method. Bottom: each method's own loss, "
        "which most methods do not share; pale: every mini-batch, bold: the running mean over "
        f"{WINDOW:.0%} of them. Seconds are those inside the method's updates."
    )
    return selection.plot(diagram(parts), [about, *lines], [group for group, _ in parts])


def _curves(group: Group, lines: list[str]) -> tuple[Group, Curves] | None:
    """The curves of a group, if a run keeps one."""
    title, curves = group.title, []
    for one in group.rows:
        curve = read_curve(group.request.results / one.name)
        if curve is None:
            lines.append(f"No curve on {title}: {one.label}.")
        else:
            curves.append((one, curve))
    if not curves:
        return None
    _, ceiling = _limits(curves)
    beyond = {one.label: int((~(c.validation[:, 2] <= ceiling)).sum()) for one, c in curves}
    if far := [f"{label} {n}" for label, n in beyond.items() if n]:
        lines.append(f"Validations above the axis on {title}: {', '.join(far)}.")
    if without := [one.label for one, curve in curves if not len(curve.validation)]:
        lines.append(f"No validation on {title}: {', '.join(without)}.")
    if (every := max(curve.every for _, curve in curves)) > 1:
        lines.append(f"Long curves on {title} are thinned, to one mini-batch in {every} at least.")
    return group.only([one.label for one, _ in curves]), curves


def _best(one: SelectedRun, curve: TrainingCurve) -> float | None:
    """The mini-batch after which the kept state was validated."""
    nll = one.run["validation_nll"]  # of the kept state
    if nll != nll or not len(curve.validation):
        return None
    return float(curve.validation[np.abs(curve.validation[:, 2] - nll).argmin(), 0])


def smoothed(values: Array, window: int) -> Array:
    """Return the mean `(n,)` over `window` values around each, fewer at the ends."""
    window = max(1, min(window, len(values)))
    backwards = pd.Series(values[::-1]).rolling(window, min_periods=1, center=True).mean()
    return backwards.to_numpy()[::-1]


def _limits(curves: Curves) -> tuple[float, float]:
    """Limits of NLL that show what the methods come to, not where they come from."""
    points = [curve.validation[:, 2] for _, curve in curves]
    known = [values[np.isfinite(values)] for values in points if np.isfinite(values).any()]
    if not known:
        return 0.0, 1.0
    later = np.concatenate([values[min(1, len(values) - 1) :] for values in known])
    low, high = float(later.min()), float(np.quantile(later, 0.9))
    high = max(high, *(float(values[-1]) for values in known))
    margin = 0.06 * (high - low) or 0.1
    return low - margin, high + margin


def diagram(parts: Sequence[tuple[Group, Curves]]) -> style.Figure:
    """Draw a row of validation and rows of losses for each data set."""
    losses = [style.in_rows([one.label for one in group.rows], _ACROSS) for group, _ in parts]
    heights = [_TOP + 0.3 + _LOSS * len(rows) for rows in losses]
    handles: dict[str, Any] = {}
    with style.canvas(style.PAGE, sum(heights) + 0.4) as figure:
        places = figure.subfigures(len(parts), 1, squeeze=False, height_ratios=heights)
        for place, (group, curves), rows in zip(places[:, 0], parts, losses, strict=True):
            style.heading(place, group.title)
            above, below = place.subfigures(2, 1, height_ratios=[_TOP, _LOSS * len(rows)])
            _validation(above, curves)
            grid = style.panels(below, rows, _LETTERS, _ACROSS)
            for axes, (one, curve) in zip(itertools.chain(*grid), curves, strict=True):
                _loss(axes, one, curve)
                handles[one.label] = {**one.look.line, "ms": 4, "mew": 0, "lw": 1.2}
            style.name_axes(grid, _X[0], "loss (the method's own)")
        handles["kept state"] = {**_KEPT, "marker": "o", "ms": 7, "mfc": "none", "mew": 0.9}
        every = itertools.chain(*(curves for _, curves in parts))
        if staged := [one.method for one, curve in every if curve.stages]:
            handles[f"next {style.stage_word(staged)}"] = _STAGE
        style.legend(figure, handles)
    return figure


def _validation(place: style.SubFigure, curves: Curves) -> None:
    """Validation NLL against mini-batches and seconds; the kept state is ringed."""
    grid = style.panels(place, [["", ""]], sharey=True)
    for column, axes in enumerate(grid[0]):
        axes.grid(axis="y")
        for one, curve in curves:
            points = curve.validation[np.isfinite(curve.validation[:, 2])]
            x, y, kept = points[:, column], points[:, 2], points[:, 0] == _best(one, curve)
            axes.plot(x, y, **one.look.line, ms=3.4, mew=0, lw=1.2)
            axes.plot(x[kept], y[kept], "o", ms=8, mfc="none", mec=one.look.colour, gid="best")
        axes.set(xlabel=_X[column], ylim=_limits(curves))
    minibatches, seconds = grid[0]
    minibatches.set_ylabel(style.axis_name(catalogue.column("validation_nll")))
    if all((curve.validation[:, 1] > 0).all() for _, curve in curves):
        seconds.set_xscale("log")
        style.log_ticks(seconds.xaxis)


def _loss(axes: style.Axes, one: SelectedRun, curve: TrainingCurve) -> None:
    """The loss of a run against mini-batches, with an axis of training seconds above."""
    from matplotlib.ticker import MaxNLocator

    known = np.isfinite(curve.loss)
    minibatches, seconds, loss = (v[known] for v in (curve.minibatches, curve.seconds, curve.loss))
    if not len(loss):
        return
    x, y = outline(minibatches, loss, _POINTS)
    axes.plot(x, y, color=one.look.colour, lw=0.4, alpha=0.35, rasterized=True)
    smooth = smoothed(loss, round(WINDOW * len(loss)))
    axes.plot(minibatches, smooth, color=one.look.colour, lw=1.3)
    for begun in curve.stages:
        axes.axvline(begun, **_STAGE, gid="stage")
    if (best := _best(one, curve)) is not None:
        axes.axvline(best, **_KEPT, gid="best")
    low, high = np.quantile(loss, [0.002, 0.99])
    if low > 0 and high > 10 * low:
        axes.set_yscale("log")
    else:
        margin = 0.08 * (high - low) or 1.0
        axes.set_ylim(low - margin, high + margin)
        axes.locator_params(axis="y", nbins=4)
    axes.locator_params(axis="x", nbins=4)
    if len(seconds) > 1 and (np.diff(seconds) > 0).all():
        above, first, last = axes.secondary_xaxis("top"), seconds[0], seconds[-1]
        ticks = [t for t in MaxNLocator(4).tick_values(first, last) if first <= t <= last]
        above.set_xticks(np.interp(ticks, seconds, minibatches), [f"{t:g}" for t in ticks])
        above.set_xlabel(_X[1], fontsize=style.NAME - 0.5, color=style.PALE, labelpad=2)
        above.tick_params(colors=style.PALE, labelsize=style.TICK - 0.5, width=0.6, pad=1)
        above.spines[:].set(visible=True, color=style.PALE)


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
