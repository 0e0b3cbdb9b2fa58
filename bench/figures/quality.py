"""Quality against evaluations of the velocity (Liu et al. 2023, table 1, as a picture)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from bench.errors import NothingMeasured, UsageError
from bench.figures import style
from bench.figures.request import Plot, Request, titles_of
from bench.records.frame import latest
from bench.tables.sample_quality import QualityCurve, QualityPanel, panels

#: The line of the threshold, that of Euler's method, and the marker of the reference solver.
_TAU: dict[str, Any] = {"color": style.PALE, "lw": 1.0, "ls": (0, (5, 2))}
_EULER: dict[str, Any] = {"ms": 4, "mew": 0, "lw": 1.4}
_HOLLOW: dict[str, Any] = {"ms": 5.5, "mfc": "white", "mew": 1.1}


def draw(request: Request) -> Plot:
    """Draw a panel for each data set; the caption names data sets and rows without such points."""
    if request.metric not in (None, "mmd_m"):
        raise UsageError(
            f"Quality by evaluations is measured by mmd_m only, got {request.metric}.",
            "Leave out --metric.",
        )
    frame, left_out = latest(request.frame())
    found = panels(frame, request.results)
    shown = [panel for panel in found if panel.curves]
    if not shown:
        raise NothingMeasured(
            f"No run in {request.results} records its quality by number of evaluations.",
            "Runs of continuous methods that end well do.",
        )
    missing = (
        f"Not shown on {panel.heading[0]}: {', '.join(panel.missing)}."
        for panel in found
        if panel.missing
    )
    lines = (" ".join(_caption(shown)), *missing, "The numbers: bench table --details")
    return Plot(diagram(shown), lines, tuple(left_out))


def _caption(shown: Sequence[QualityPanel]) -> Iterator[str]:
    sizes = ", ".join(dict.fromkeys(panel.rows for panel in shown))
    curves = [curve for panel in shown for curve in panel.curves]
    steps = sorted({steps for curve in curves for steps in curve.mmd.index if steps})
    yield (
        f"MMD-m (squared, V-statistic, two samples of {sizes}) against evaluations of the velocity "
        f"by Euler's method with {', '.join(map(str, steps))} steps in each piece of a flow; "
        f"hollow: by the reference solver ({_solvers(shown)})."
    )
    seeds = {len(curve.mmd.columns) for curve in curves}
    if max(seeds) > 1:
        number = f"{min(seeds)} to {max(seeds)}" if len(seeds) > 1 else str(max(seeds))
        yield f"Bold: the mean over seeds ({number}); thin: each seed."
    else:
        yield "One seed."
    known = [panel for panel in shown if panel.tau == panel.tau]
    if known:
        rows = ", ".join(dict.fromkeys(panel.tau_rows for panel in known))
        yield (
            "Dashed: τ, the 95 % quantile for two samples of true data; samples below it can't be "
            f"distinguished from data. It was measured with {rows} rows and scaled accordingly."
        )


def _solvers(shown: Sequence[QualityPanel]) -> str:
    return " or ".join(sorted({curve.solver for panel in shown for curve in panel.curves}))


def diagram(shown: Sequence[QualityPanel]) -> style.Figure:
    """Draw a panel for each data set, with a line for each row of the comparison.

    A line is the mean over seeds, by Euler's method; each of several seeds is a thin line. The
    hollow marker is the reference solver. Both axes are logarithmic.
    """
    rows = style.in_rows(titles_of([panel.heading for panel in shown]), 3)
    looks = style.styles((curve.label, curve.method) for panel in shown for curve in panel.curves)
    known = any(panel.tau == panel.tau for panel in shown)
    with style.panel_grid(rows, sharex=True, sharey="row") as (figure, grid):
        for axes, panel in zip(itertools.chain(*grid), shown, strict=True):
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
            axes.margins(x=0.06, y=0.09)
            for curve in panel.curves:
                _curve(axes, curve, looks[curve.label])
            if panel.tau == panel.tau:
                axes.axhline(panel.tau, **_TAU, zorder=1.5, gid="tau")
        axes.xaxis.set_major_formatter("{x:g}")
        style.name_axes(grid, "evaluations per sample (NFE)", "MMD-m (squared)")
        handles = {label: {**look.line, **_EULER} for label, look in looks.items()}
        hollow = {**style.DOT, "color": style.PALE, **_HOLLOW}
        handles[f"hollow: reference solver ({_solvers(shown)})"] = hollow
        style.legend(figure, handles | ({"τ: threshold, from true data": _TAU} if known else {}))
    return figure


def _curve(axes: style.Axes, curve: QualityCurve, look: style.Style) -> None:
    nfe, mmd = curve.nfe.mean(axis=1), curve.mmd.mean(axis=1, skipna=False)
    euler = mmd.index > 0
    axes.plot(nfe[euler], mmd[euler], **look.line, **_EULER, zorder=3, label=curve.label)
    if len(curve.mmd.columns) > 1:
        axes.plot(curve.nfe[euler], curve.mmd[euler], color=look.colour, lw=0.5, alpha=0.6)
    hollow = {**look.line, "ls": "none", **_HOLLOW}
    axes.plot(nfe[~euler], mmd[~euler], **hollow, zorder=4)
