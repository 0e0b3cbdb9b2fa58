"""The density of each method on a grid in the plane, beside the true one where it is known."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bench.errors import NothingMeasured
from bench.figures import style
from bench.figures.request import (
    Array,
    Group,
    Plot,
    RealRows,
    Request,
    Unusable,
    frame_around,
    metric_column,
    name_of,
    plot_strips,
    samples,
    select,
)

if TYPE_CHECKING:
    from bench.evaluation.flow import Flow

#: Data sets and methods at most; rows that set the axes' limits; cells along each axis.
GROUPS, ROWS, POINTS, CELLS = 3, 7, 2_000, 64

#: The label of the true density among those of the methods.
TRUE = "true density"


def draw(request: Request) -> Plot:
    """Draw a strip for each two-dimensional data set, on one scale of colours."""
    request.reject("density", "columns")
    metric_column(request.metric or "nll")
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
    missing = "has a trained flow whose density can be drawn"
    return plot_strips(request, selection, POINTS, partial(_strip, request), missing)


def _strip(
    request: Request, group: Group, real: RealRows
) -> tuple[style.Strip | None, Group, list[str]]:
    """The strip of a group, if it has one; what it shows, and lines of the caption."""
    box = real.rows
    if box is None:
        kept = samples(request.results, group, POINTS)
        if not kept:
            return None, group, [f"Not shown: {group.title}. {real.reason}"]
        box = np.concatenate([*kept.values()])
    low, high = frame_around(box)
    points = grid(low, high)
    densities, lines = {}, []
    for one in group.rows:
        try:
            densities[one.label] = density(one.flow(request.results), points)
        except Unusable as error:
            lines.append(f"Not shown on {group.title}: {one.label}. {error}")
    if not densities:
        return None, group, lines
    group, metric = group.only(densities), request.metric or "nll"
    scale, titles = [*densities.values()], {one.label: one.metric(metric) for one in group.rows}
    if real.dataset is not None and real.dataset.log_density is not None:
        scale = [np.exp(real.dataset.log_density(points))]
        entropy = real.dataset.entropy
        titles[TRUE] = "" if entropy is None else f"entropy {entropy:.3f}"
        densities = {TRUE: scale[0], **densities}
    top = float(max(np.quantile(values, 0.999) for values in scale))
    lines += _about(group, densities, top, float(np.prod((high - low) / CELLS)))

    def paint(part: style.SubFigure, grid: list[list[style.Axes]]) -> None:
        """Draw the densities on a scale of colours from 0 to `top`."""
        for axes, values in zip(itertools.chain(*grid), densities.values(), strict=True):
            image = axes.imshow(
                values.reshape(CELLS, CELLS), cmap="magma_r", vmin=0.0, vmax=top, origin="lower",
                extent=(low[0], high[0], low[1], high[1]), aspect="auto", interpolation="bilinear",
            )  # fmt: skip
        style.share_axes(grid, low, high, name_of(0, 2), name_of(1, 2))
        above = any(values.max() > top for values in densities.values())
        style.colour_bar(part, grid, image, "density (1/unit²)", "max" if above else "neither")

    rows = style.in_rows([f"{label}\n{titles[label]}" for label in densities])
    return style.Strip(group.title, rows, paint), group, lines


def grid(low: Array, high: Array) -> Array:
    """Return the centres `(CELLS², 2)` of the cells of a frame; the first column runs fastest."""
    centres = (np.arange(CELLS) + 0.5) / CELLS
    x, y = (a + (b - a) * centres for a, b in zip(low, high, strict=True))
    return np.stack([np.tile(x, CELLS), np.repeat(y, CELLS)], axis=1)


def density(flow: Flow, points: Array) -> Array:
    """Return the density `(n,)` at points `(n, d)`, by the run's reference solver.

    Raises:
        Unusable: the solver gave up.
    """
    import torch

    from bench.numerics.ode import SolverFailed

    try:
        log_prob = flow.log_prob(torch.from_numpy(points)).double().cpu()
    except SolverFailed as error:
        raise Unusable(f"Its density can't be computed: {error}.") from error
    return np.asarray(np.exp(log_prob.numpy()))


def _about(group: Group, densities: dict[str, Array], top: float, area: float) -> Iterator[str]:
    mass = ", ".join(f"{label} {values.sum() * area:.3f}" for label, values in densities.items())
    yield (
        f"{group.title}: densities by the reference solver ({group.rows[0].run['judge']}) at the "
        f"centres of {CELLS}x{CELLS} cells; mass within the frame: {mass}."
    )
    peaks = {label: float(values.max()) for label, values in densities.items()}
    if above := [f"{label} up to {peak:.3g}" for label, peak in peaks.items() if peak > 1.05 * top]:
        yield f"Beyond the end of the colour scale, {top:.3g}: {', '.join(above)}."
    if TRUE not in densities:
        yield f"The true density of {group.title} is not known."
