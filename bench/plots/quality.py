"""Quality against evaluations of the velocity, and what it rests on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from bench.errors import NothingMeasured, UsageError
from bench.plots.asked import Asked, Drawn, wrapped

if TYPE_CHECKING:
    from bench.tables.sample_quality import QualityPanel


def draw(asked: Asked) -> Drawn:
    """The figure, and its caption; data sets and rows that keep no such points are named.

    Raises:
        UsageError: another metric, a seed or columns were asked for.
        NothingMeasured: no run keeps such points, or none under the budget.
    """
    if asked.metric not in (None, "mmd_m"):
        raise UsageError(
            f"Quality by evaluations is measured by mmd_m, not by {asked.metric}.",
            "Leave out --metric.",
        )
    asked.refuse("quality", "seed", "columns")
    from bench.figures.quality import diagram
    from bench.records.selection import latest
    from bench.tables.sample_quality import panels

    frame, left_out = latest(asked.frame())
    found = panels(asked.under_budget(frame), asked.results)
    shown = [panel for panel in found if panel.curves]
    if not shown:
        raise NothingMeasured(
            f"No run in {asked.results} says how good its samples are by few evaluations.",
            "Runs of a method with a velocity do, if they ended well: bench run -m flow-matching.",
        )
    return Drawn(diagram(shown), tuple(_lines(found, shown)), tuple(left_out))


def _lines(found: Sequence[QualityPanel], shown: Sequence[QualityPanel]) -> Iterator[str]:
    yield wrapped(" ".join(_caption(shown)))
    for panel in found:
        if panel.missing:
            yield wrapped(f"Not shown on {panel.heading[0]}: {', '.join(panel.missing)}.")
    yield "The figures: bench table --details"


def _caption(shown: Sequence[QualityPanel]) -> Iterator[str]:
    sizes = ", ".join(dict.fromkeys(panel.rows for panel in shown))
    steps = sorted({steps for panel in shown for steps in panel.steps})
    solvers = " or ".join(sorted({curve.solver for panel in shown for curve in panel.curves}))
    yield (
        f"MMD-m (squared, V-statistic, two samples of {sizes}) against evaluations of the velocity "
        f"by Euler's method with {', '.join(map(str, steps))} steps in each piece of a flow; "
        f"hollow: by the judge's solver ({solvers})."
    )
    seeds = {len(curve.seeds) for panel in shown for curve in panel.curves}
    if max(seeds) > 1:
        number = f"{min(seeds)} to {max(seeds)}" if len(seeds) > 1 else str(max(seeds))
        yield f"Thick: the mean over seeds ({number} of them); thin: each seed."
    else:
        yield "One seed."
    known = [panel for panel in shown if panel.tau == panel.tau]
    if known:
        rows = ", ".join(dict.fromkeys(panel.tau_rows for panel in known))
        yield (
            "Dashed: τ, the 95 % quantile for two samples of true data; what lies below is not "
            f"told from data. It was measured with {rows} rows and goes with one over their number."
        )
