"""Whether the density is one, and that of the samples: in two dimensions, on a grid."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.stats import chi2
from torch import Tensor

from bench.conformance.outcome import Broken, NotTried
from bench.conformance.subject import Subject
from bench.evaluation.flow import Flow
from bench.evaluation.integral import MARGIN, integral

#: How far the integral may be from 1, beyond the quadrature's own error.
OFF = 0.01
#: Samples that are drawn, and along each side the cells of the grid and the boxes they are put in.
SAMPLES, CELLS, BOXES = 4_000, 96, 8
#: Samples that agree with the density are taken for ones that don't as often as this.
LEVEL = 1e-4


def check_integral(subject: Subject) -> str:
    """The density integrates to one over the plane."""
    flow = subject.flow(2)
    points = torch.cat([flow.sample(SAMPLES, seed=1), subject.x(2, 200).double()]).cpu()
    found = integral(flow, points, 2 * CELLS)
    if "density_integral_failed" in found:
        raise NotTried(found["density_integral_failed"])
    mass, error = found["density_integral"], found["density_integral_error"]
    if error > OFF:
        raise NotTried(f"the grid can't resolve the density: {mass:.3g} +- {error:.1g}")
    if abs(mass - 1) > OFF + error:
        raise Broken(
            f"In two dimensions the density integrates to {mass:.4g}, not to 1.",
            "Look at "
            + ("trace" if subject.is_continuous else "log_prob")
            + ": a constant or a log-determinant is left out, doubled, or of the wrong sign.",
        )
    return f"{mass:.4f} +- {error:.1g}"


def check_samples(subject: Subject) -> str:
    """Samples are draws from the density: Pearson's chi-squared test on boxes of equal mass.

    The boxes come from the density alone, on a grid over the samples' range; so under the
    hypothesis the statistic has its tabulated distribution.
    """
    flow = subject.flow(2)
    samples = flow.sample(SAMPLES, seed=2).cpu().double()
    grid = _grid(flow, samples)
    if (error := grid.error()) > OFF:
        raise NotTried(f"the grid can't resolve the density: its sum is off by {error:.1g}")
    boxes = _boxes(grid.mass)
    expected = len(samples) * torch.bincount(boxes.flatten(), weights=grid.mass.flatten())
    seen = torch.bincount(boxes[grid.cell(samples)], minlength=len(expected)).double()
    statistic = ((seen - expected).square() / expected).sum().item()
    p = float(chi2.sf(statistic, len(expected) - 1))
    if p < LEVEL:
        worst = int(((seen - expected).square() / expected).argmax())
        place = _where(grid, boxes, worst)
        raise Broken(
            f"Samples and density are of two distributions (p = {p:.1g}): {place} lie "
            f"{int(seen[worst])} of {len(samples)} samples, where the density has "
            f"{expected[worst]:.0f}.",
            "Look at the velocity's direction and at t_data and t_noise."
            if subject.is_continuous
            else "Look at log_prob and inverse: they have to be of the same map.",
        )
    return f"chi-squared of {len(expected)} boxes, {len(samples)} samples: p = {p:.2g}"


@dataclass(frozen=True)
class _Grid:
    """The density's mass `(CELLS, CELLS)`, its sum 1, in cells of a box from `low` to `high`."""

    low: Tensor
    high: Tensor
    mass: Tensor

    def error(self) -> float:
        """How far the sum over a quarter of the cells is off at most, as a share."""
        quarters = self.mass.reshape(CELLS // 2, 2, CELLS // 2, 2).sum((0, 2))
        return (4 * quarters - 1).abs().max().item()

    def cell(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The indices of the cells that rows `(n, 2)` lie in."""
        share = (x - self.low) / (self.high - self.low)
        i, j = (share * CELLS).long().clamp(0, CELLS - 1).unbind(1)
        return i, j


def _grid(flow: Flow, points: Tensor) -> _Grid:
    low, high = points.amin(0), points.amax(0)
    low, high = low - MARGIN * (high - low), high + MARGIN * (high - low)
    middles = (torch.arange(CELLS).double() + 0.5) / CELLS
    x, y = (low[i] + (high[i] - low[i]) * middles for i in (0, 1))
    mass = flow.log_prob(torch.cartesian_prod(x, y)).cpu().double().exp().reshape(CELLS, CELLS)
    return _Grid(low, high, mass / mass.sum())


def _boxes(mass: Tensor) -> Tensor:
    """A box number for each cell: strips of about equal mass, each cut into about equal parts."""
    strips = _parts(mass.sum(1))
    boxes = torch.zeros(mass.shape, dtype=torch.long)
    count = 0
    for strip in range(int(strips.max()) + 1):
        inside = strips == strip
        parts = _parts(mass[inside].sum(0))
        boxes[inside] = count + parts
        count += int(parts.max()) + 1
    return boxes


def _parts(mass: Tensor) -> Tensor:
    """Numbers from 0 for cells in a row, so that each number has about the same mass."""
    middle = mass.cumsum(0) - mass / 2
    numbers = (middle / mass.sum() * BOXES).long().clamp(0, BOXES - 1)
    found: Tensor = torch.unique(numbers, return_inverse=True)[1]
    return found


def _where(grid: _Grid, boxes: Tensor, box: int) -> str:
    """The range of a box in both coordinates."""
    cells = (boxes == box).nonzero().double()
    step = (grid.high - grid.low) / CELLS
    low, high = grid.low + cells.amin(0) * step, grid.low + (cells.amax(0) + 1) * step
    return f"at x in [{low[0]:.2g}, {high[0]:.2g}], y in [{low[1]:.2g}, {high[1]:.2g}]"
