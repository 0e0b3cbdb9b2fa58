"""The density of each method on a grid in the plane, beside the true one where it is known."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bench.errors import NothingMeasured
from bench.figures import style
from bench.figures.request import ACROSS, Array, Group, Plot, Request, Strip, plot_strips, select
from bench.tables.comparison import measured_column

if TYPE_CHECKING:
    from bench.evaluation.flow import Flow

#: Data sets and methods at most; rows that set the axes' limits; cells along each axis.
GROUPS, ROWS, POINTS, CELLS = 3, 7, 2_000, 64

#: The label of the true density among those of the methods.
TRUE = "true density"


def draw(request: Request) -> Plot:
    """Draw a strip for each two-dimensional data set, on one scale of colours."""
    measured_column(request.metric or "nll")
    others: list[str] = []

    def planar(frame: pd.DataFrame) -> pd.DataFrame:
        plane = set(frame.loc[frame["d"].eq(2).fillna(False), "dataset"])
        others.extend(sorted(set(frame["dataset"].dropna()) - plane))
        if not plane:
            raise NothingMeasured(
                "Densities are drawn for two-dimensional data sets only; "
                f"{', '.join(others)} {'is' if len(others) == 1 else 'are'} not two-dimensional.",
                "bench plot marginals shows columns of other data sets.",
            )
        return frame[frame["dataset"].isin(plane)]

    selection = select(request, GROUPS, ROWS, planar)
    if others:
        note = f"Not two-dimensional, and not shown: {', '.join(others)}."
        selection = replace(selection, not_shown=(*selection.not_shown, note))
    return plot_strips(selection, _strip, "has a trained flow whose density can be drawn")


def _strip(group: Group, lines: list[str]) -> Strip | None:
    """The strip of a group, if a row has a density."""
    request, title, real = group.request, group.title, group.real_rows(POINTS, lines)
    boxes = [real.rows] if real.rows is not None else [*group.samples(POINTS).values()]
    if not boxes:
        return None
    low, high = style.frame_around(np.concatenate(boxes))
    points = grid(low, high)
    densities = group.from_flows(lambda _, flow: density(flow, points), lines)
    if not densities:
        return None
    group = group.only(densities)
    titles = [f"{one.label}\n{one.metric(request.metric or 'nll')}" for one in group.rows]
    scale = [*densities.values()]
    if real.dataset is not None and real.dataset.log_density is not None:
        scale = [np.exp(real.dataset.log_density(points))]
        densities = {TRUE: scale[0], **densities}
        entropy = real.dataset.entropy
        titles.insert(0, f"{TRUE}\n{'' if entropy is None else f'entropy {entropy:.3f}'}")
    top = float(max(np.quantile(values, 0.999) for values in scale))
    area = float(np.prod((high - low) / CELLS))
    mass = [f"{label} {values.sum() * area:.3f}" for label, values in densities.items()]
    lines.append(
        f"{title}: densities by the reference solver ({group.rows[0].run['judge']}) at the "
        f"centres of {CELLS}x{CELLS} cells; mass within the frame: {', '.join(mass)}."
    )
    peaks = {label: float(values.max()) for label, values in densities.items()}
    if above := [f"{label} up to {peak:.3g}" for label, peak in peaks.items() if peak > 1.05 * top]:
        lines.append(f"Beyond the end of the colour scale, {top:.3g}: {', '.join(above)}.")
    if TRUE not in densities:
        lines.append(f"The true density of {title} is not known.")

    def paint(part: style.SubFigure, grid: list[list[style.Axes]]) -> None:
        """Draw the densities on a scale of colours from 0 to `top`."""
        for axes, values in zip(itertools.chain(*grid), densities.values(), strict=True):
            image = axes.imshow(
                values.reshape(CELLS, CELLS), "magma_r", vmin=0.0, vmax=top, origin="lower",
                extent=(low[0], high[0], low[1], high[1]), aspect="auto", interpolation="bilinear",
            )  # fmt: skip
        style.set_axes(grid, low, high, group.name_of(0), group.name_of(1))
        extend = "max" if max(peaks.values()) > top else "neither"
        style.colour_bar(part, grid, image, "density (1/unit²)", extend)

    return Strip(group, style.in_rows(titles, ACROSS), paint)


def grid(low: Array, high: Array) -> Array:
    """Return the centres `(CELLS², 2)` of the cells of a frame; the first column runs fastest."""
    return np.stack(np.meshgrid(*style.centres(low, high, CELLS)), axis=-1).reshape(-1, 2)


def density(flow: Flow, points: Array) -> Array:
    """Return the density `(n,)` at points `(n, d)`, by the run's reference solver.

    Raises:
        SolverFailed: the solver gave up.
    """
    import torch

    log_prob = flow.log_prob(torch.from_numpy(points)).double().cpu()
    return np.asarray(np.exp(log_prob.numpy()))
