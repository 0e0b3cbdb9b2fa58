"""How one figure of one cell is judged: the finding, with its numbers and the rule."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Literal

from bench.gate.cells import Cell
from bench.gate.watched import STEP, Figure

#: `noticed` is worse and does not count: a cost within what counts.
Verdict = Literal["worse", "noticed", "same", "better", "new"]

#: The chance that a clean tree, on another machine, is found worse in any figure, at most.
ALPHA = 0.05

#: The relative difference of a control that rounding makes on another machine, and more than it.
ROUNDING = 1e-4


@dataclass(frozen=True)
class Finding:
    """What was found of a figure, of a cell as a whole (`figure` is empty), or of all cells.

    Attributes:
        where: the cell, or `all cells`.
        figure: the figure's title.
        was, now: the means over the seeds that both have; for a cost the medians over all.
        change: `now - was`, or for a cost `now / was`.
        tolerance: what the change may be; 0 where the comparison is exact.
        rule: `exact`, `seeds`, `bound`, `control`, `ratio`, or a sentence where no number says it.
        spread: the baseline's standard deviation over seeds; None where it has one seed.
        seeds: how many seeds the means are over.
        verdict: see `Verdict`.
    """

    where: str
    figure: str
    verdict: Verdict
    rule: str
    was: float | None = None
    now: float | None = None
    change: float | None = None
    tolerance: float | None = None
    spread: float | None = None
    seeds: int = 0


@dataclass(frozen=True)
class Rules:
    """By which rules figures are judged in one check.

    Attributes:
        exact: whether both were measured on the same arithmetic.
        strict_cost: whether every cost that is noticed counts.
        comparisons: how many figures are judged by their seeds' spread.
        machine: the ratio of a step's cost to the baseline's that all cells share, which is taken
            for the machine's; None where too few cells tell, and a step's cost never counts.
    """

    exact: bool
    strict_cost: bool = False
    comparisons: int = 1
    machine: float | None = 1.0

    def judge(self, figure: Figure, now: Cell, before: Cell) -> Finding | None:
        """The finding of a figure; None where the baseline has none and neither has the check.

        Only seeds count that both have.
        """
        seeds = sorted(s for s in now.runs.keys() & before.runs.keys() if now.runs[s].ok)
        old = [before.runs[seed].figures.get(figure.name) for seed in seeds]
        new = [now.runs[seed].figures.get(figure.name) for seed in seeds]
        was = [value for value in old if value is not None]
        values = [value for value in new if value is not None]
        if not was and not values:
            return None
        if not was:
            mean = statistics.fmean(values)
            return Finding(now.name, figure.title, "new", "not in the baseline", None, mean)
        if len(values) < len(was):
            # A cost that this check does not measure is no change of the program.
            verdict: Verdict = "noticed" if figure.name == STEP else "worse"
            mean = statistics.fmean(was)
            return Finding(now.name, figure.title, verdict, "no value any more", mean, None)
        if figure.above is not None and min(values) <= figure.above:
            low = min(values)
            return Finding(
                now.name, figure.title, "worse", "impossible", statistics.fmean(was), low
            )
        return self._compared(figure, now.name, was, values, before)

    def _compared(
        self, figure: Figure, where: str, was: list[float], now: list[float], before: Cell
    ) -> Finding:
        if figure.kind == "cost":
            return self._cost(figure, where, was, now)
        every = [run.figures.get(figure.name) for run in before.runs.values()]
        known = [value for value in every if value is not None]
        spread = statistics.stdev(known) if len(known) > 1 else None
        one, other = statistics.fmean(was), statistics.fmean(now)
        change = other - one
        if figure.kind == "control":
            tolerance = 0.0 if self.exact else ROUNDING * abs(one)
            rule, wrong = "control", max(_gaps(was, now)) > tolerance
            verdict: Verdict = "worse" if wrong else "same"
        elif figure.kind == "bound":
            tolerance = figure.limit if figure.limit is not None else math.inf
            rule, verdict = "bound", "worse" if change > tolerance else "same"
        elif self.exact:
            tolerance, rule = 0.0, "exact"
            verdict = "same" if was == now else "better" if change < 0 else "worse"
        else:
            tolerance, rule = self._tolerance(figure, spread, len(known), len(now), before), "seeds"
            verdict = "same"
            if abs(change) > tolerance:
                verdict = "better" if change < 0 else "worse"
        return Finding(
            where, figure.title, verdict, rule, one, other, change, tolerance, spread, len(now)
        )

    def _cost(self, figure: Figure, where: str, was: list[float], now: list[float]) -> Finding:
        """The ratio of the medians; of a count the ratio must be 1 on the same arithmetic."""
        one, other = statistics.median(was), statistics.median(now)
        ratio = quotient(other, one)
        noticed = 1.0 if figure.counted and self.exact else figure.noticed
        limit = noticed if self.strict_cost else figure.limit
        if figure.name == STEP:
            ratio /= self.machine or 1.0
            limit = limit if self.machine else None
        verdict: Verdict = "same"
        if limit is not None and ratio > limit:
            verdict = "worse"
        elif ratio > noticed:
            verdict = "noticed"
        elif ratio < 1 / noticed:
            verdict = "better"
        tolerance = limit if limit is not None else noticed
        return Finding(
            where, figure.title, verdict, "ratio", one, other, ratio, tolerance, None, len(now)
        )

    def _tolerance(
        self, figure: Figure, spread: float | None, n: int, k: int, before: Cell
    ) -> float:
        """How far the mean of `k` seeds may be from theirs elsewhere, by the spread of `n` seeds.

        See `bench.gate`. One seed has no spread: nothing is out of bounds then.
        """
        if spread is None:
            return math.inf
        from scipy.special import stdtrit

        quantile = float(stdtrit(n - 1, 1 - ALPHA / self.comparisons))
        solver = [run.figures.get("nll_solver_error") or 0.0 for run in before.runs.values()]
        numerical = 2 * max(solver) if figure.name in ("nll", "validation_nll") else 0.0
        return quantile * spread * math.sqrt(2 / k) + numerical


def quotient(now: float, was: float) -> float:
    """The ratio of two costs, none of them below 0."""
    return now / was if was else (1.0 if now == was else math.inf)


def _gaps(one: list[float], other: list[float]) -> list[float]:
    return [abs(a - b) for a, b in zip(one, other, strict=True)]
