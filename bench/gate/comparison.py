"""The comparison with a baseline: a finding for each number of each cell, and the verdict.

The rules and their reasons are in `bench.gate`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bench.api.declarations import Watch
from bench.errors import NothingMeasured
from bench.gate.baseline import Baseline
from bench.gate.measured import STEP, Measured, WatchedCell, differences, watched
from bench.registry import plugins

Rule = Literal["auto", "exact", "seeds"]

#: `noticed` is worse and does not count: a cost below the ratio that counts.
Verdict = Literal["worse", "noticed", "same", "better", "new"]

#: The chance that an unchanged tree, on another machine, is found worse in any number, at most.
ALPHA = 0.05

#: The relative difference of a control that rounding makes on another machine, and more than it.
ROUNDING = 1e-4

#: From this many cells on, the part of a step's cost that is the machine's can be estimated.
ENOUGH = 4

#: Where a finding concerns no cell in particular.
ALL = "all cells"


@dataclass(frozen=True)
class GateFinding:
    """What was found of a number, of a cell as a whole (`column` is empty), or of all cells.

    Attributes:
        where: the cell, or `all cells`.
        column: the name of the number.
        verdict: see `Verdict`.
        code: the rule by which numbers were compared (`exact`, `seeds`, `bound`, `control`,
            `ratio`), or else a short stable name of what was found, such as `run-failed`.
        reason: a sentence where numbers do not say it.
        was, now: means over the seeds that both have, for a cost medians; NaN where missing.
        change: `now - was`, or for a cost `now / was`; NaN where no numbers were compared.
        tolerance: what the change may be; 0 where the comparison is exact.
        spread: the baseline's standard deviation over seeds; 0 where it has one seed.
        seeds: how many seeds the means are over.
    """

    where: str
    column: str
    verdict: Verdict
    code: str
    reason: str = ""
    was: float = math.nan
    now: float = math.nan
    change: float = math.nan
    tolerance: float = math.nan
    spread: float = 0.0
    seeds: int = 0


@dataclass(frozen=True)
class Comparison:
    """A check against its baseline.

    Attributes:
        findings: all of them, those that count first.
        notes: what of the methods differs from the baseline: sources, hyper-parameters.
        uncompared: watched numbers that this check has and the whole baseline lacks.
        place: why the comparison can't be exact, in words; empty where it can.
        exact: whether it is.
        machine: as in `Rules`.
        cells: how many cells were compared, of how many in the baseline (those asked for).
        made: what made the baseline.
    """

    findings: tuple[GateFinding, ...]
    notes: tuple[str, ...]
    uncompared: tuple[str, ...]
    place: tuple[str, ...]
    exact: bool
    machine: float | None
    cells: tuple[int, int]
    made: Mapping[str, Any]

    def with_verdict(self, *verdicts: str) -> list[GateFinding]:
        """Return the findings with one of these verdicts."""
        return [f for f in self.findings if f.verdict in verdicts]

    @property
    def worse(self) -> bool:
        """Whether anything is."""
        return bool(self.with_verdict("worse"))


def compare(
    now: Measured, baseline: Baseline, rule: Rule = "auto", strict_cost: bool = False
) -> Comparison:
    """Compare what was measured with the baseline, cell by cell.

    Args:
        now: the cells measured.
        baseline: with the cells that are expected, and no others.
        rule: `exact` or `seeds` instead of what the two environments allow.
        strict_cost: whether every cost that is noticed counts.

    Raises:
        NothingMeasured: they have no cell in common.
    """
    before = {cell.key: cell for cell in baseline.measured.cells}
    here = {cell.key: cell for cell in now.cells}
    common = sorted(before.keys() & here.keys())
    if not common:
        names = [cell.name for cell in baseline.measured.cells]
        more = f" and {len(names) - 6} more" if len(names) > 6 else ""
        raise NothingMeasured(
            "No cell that was measured is in the baseline.",
            f"The baseline has {', '.join(names[:6])}{more}.",
        )
    place = differences(now.environment, baseline.measured.environment)
    exact = not place if rule == "auto" else rule == "exact"
    pairs: list[tuple[WatchedCell, WatchedCell]] = []
    findings: list[GateFinding] = []
    for key in sorted(before.keys() | here.keys()):
        if key not in here:
            found = [GateFinding(before[key].name, "", "worse", "not-measured", "not measured")]
        elif key not in before:
            found = [GateFinding(here[key].name, "", "new", "new-cell", "not in the baseline")]
        else:
            obstacles = _obstacles(here[key], before[key], now.judge, baseline.measured.judge)
            found = list(obstacles)
            if not found:
                pairs.append((here[key], before[key]))
                found = _failed(here[key])
        findings += found
    kept = {name: watch for name, watch in watched().items() if _values(name, before.values())}
    quality = [name for name, watch in kept.items() if watch.kind == "quality"]
    comparisons = sum(bool(_values(name, [old])) for _, old in pairs for name in quality)
    machine = 1.0 if exact else _machine(pairs)
    rules = Rules(exact, strict_cost, max(1, comparisons), machine)
    for pair in pairs:
        for name, watch in kept.items():
            if judged := rules.judge(name, watch, *pair):
                findings.append(judged)
    findings += [each for name in kept for each in _constant(name, kept[name], pairs)]
    order = ("worse", "noticed", "better", "new", "same")
    return Comparison(
        findings=tuple(sorted(findings, key=lambda f: order.index(f.verdict))),
        notes=tuple(note for key in common for note in _notes(here[key], before[key])),
        uncompared=tuple(n for n in watched() if n not in kept and _values(n, here.values())),
        place=tuple(place),
        exact=exact,
        machine=machine,
        cells=(len(common), len(before)),
        made=baseline.made,
    )


@dataclass(frozen=True)
class Rules:
    """By which rules the numbers are judged in one check.

    Attributes:
        exact: whether both were measured on the same arithmetic.
        strict_cost: whether every cost that is noticed counts.
        comparisons: how many numbers are judged by their spread over seeds.
        machine: the ratio of a step's cost to the baseline's that all cells share and that is
            attributed to the machine; None where too few cells show it, and a step's cost never
            counts.
    """

    exact: bool
    strict_cost: bool = False
    comparisons: int = 1
    machine: float | None = 1.0

    def judge(
        self, name: str, watch: Watch, now: WatchedCell, before: WatchedCell
    ) -> GateFinding | None:
        """Judge a number of a cell, over the seeds that both have.

        None where the baseline has no value and neither has the check.
        """
        seeds = sorted(s for s in now.runs.keys() & before.runs.keys() if now.runs[s].ok)
        was = [v for s in seeds if (v := before.runs[s].numbers.get(name)) is not None]
        values = [v for s in seeds if (v := now.runs[s].numbers.get(name)) is not None]
        if not was and not values:
            return None
        if not was:
            mean = statistics.fmean(values)
            reason = "not in the baseline"
            return GateFinding(now.name, name, "new", "new-number", reason, now=mean)
        mean = statistics.fmean(was)
        if len(values) < len(was):
            # A cost that this check does not measure is no change of the program.
            verdict: Verdict = "noticed" if name == STEP else "worse"
            return GateFinding(now.name, name, verdict, "missing-number", "no value", mean)
        if watch.above is not None and min(values) <= watch.above:
            low, reason = min(values), f"impossible: it must be above {watch.above:g}"
            return GateFinding(now.name, name, "worse", "impossible", reason, mean, low)
        if watch.kind == "cost":
            return self._cost(name, watch, now.name, was, values)
        return self._compared(name, watch, now.name, was, values, before)

    def _compared(
        self,
        name: str,
        watch: Watch,
        where: str,
        was: list[float],
        now: list[float],
        before: WatchedCell,
    ) -> GateFinding:
        known = _values(name, [before])
        spread = statistics.stdev(known) if len(known) > 1 else 0.0
        one, other = statistics.fmean(was), statistics.fmean(now)
        change = other - one
        verdict: Verdict = "same"
        if watch.kind == "control":
            tolerance, code = 0.0 if self.exact else ROUNDING * abs(one), "control"
            if max(abs(a - b) for a, b in zip(was, now, strict=True)) > tolerance:
                verdict = "worse"
        elif watch.kind == "bound":
            tolerance, code = math.inf if watch.limit is None else watch.limit, "bound"
            if change > tolerance:
                verdict = "worse"
        elif self.exact:
            tolerance, code = 0.0, "exact"
            if was != now:
                verdict = "better" if change < 0 else "worse"
        else:
            tolerance, code = self._tolerance(name, spread, len(known), len(now), before), "seeds"
            if abs(change) > tolerance:
                verdict = "better" if change < 0 else "worse"
        return GateFinding(
            where, name, verdict, code, "", one, other, change, tolerance, spread, len(now)
        )

    def _cost(
        self, name: str, watch: Watch, where: str, was: list[float], now: list[float]
    ) -> GateFinding:
        """Judge the ratio of the medians; that of a count must be 1 on the same arithmetic."""
        one, other = statistics.median(was), statistics.median(now)
        ratio = _quotient(other, one)
        noticed = 1.0 if watch.counted and self.exact else watch.noticed
        limit = noticed if self.strict_cost else watch.limit
        if name == STEP:
            ratio /= self.machine or 1.0
            limit = limit if self.machine else None
        verdict: Verdict = "same"
        if limit is not None and ratio > limit:
            verdict = "worse"
        elif ratio > noticed:
            verdict = "noticed"
        elif ratio < 1 / noticed:
            verdict = "better"
        tolerance = noticed if limit is None else limit
        return GateFinding(
            where, name, verdict, "ratio", "", one, other, ratio, tolerance, 0.0, len(now)
        )

    def _tolerance(self, name: str, spread: float, n: int, k: int, before: WatchedCell) -> float:
        """How far the mean of `k` seeds may be from theirs elsewhere, by the spread of `n` seeds.

        See `bench.gate`. One seed has no spread: any change is tolerated then.
        """
        if n < 2:
            return math.inf
        from scipy.special import stdtrit

        quantile = float(stdtrit(n - 1, 1 - ALPHA / self.comparisons))
        solver = max(_values("nll_solver_error", [before]), default=0.0)
        numerical = 2 * solver if name in ("nll", "validation_nll") else 0.0
        return quantile * spread * math.sqrt(2 / k) + numerical


def _machine(pairs: Sequence[tuple[WatchedCell, WatchedCell]]) -> float | None:
    """The median over cells of a step's cost over the baseline's; None where there are too few."""
    ratios = []
    for now, before in pairs:
        one, other = _values(STEP, [now]), _values(STEP, [before])
        if one and other:
            ratios.append(_quotient(statistics.median(one), statistics.median(other)))
    return statistics.median(ratios) if len(ratios) >= ENOUGH else None


def _obstacles(
    now: WatchedCell, before: WatchedCell, judge: Mapping[str, Any], its: Mapping[str, Any]
) -> Iterator[GateFinding]:
    """Why the numbers of two cells can't be compared."""
    found = {}
    amounts = [f"{cell.minibatches} x {cell.batch_size}" for cell in (now, before)]
    if amounts[0] != amounts[1]:
        found["minibatches"] = f"mini-batches: {amounts[0]}, not {amounts[1]}"
    if now.revision != before.revision:
        found["revision"] = f"other rows: revision {now.revision}, not {before.revision}"
    if differing := _differing(judge, its):
        found["judge"] = f"evaluated otherwise: {differing}"
    if not now.runs.keys() & before.runs.keys():
        seeds = ", ".join(map(str, sorted(before.runs)))
        found["no-common-seed"] = f"no seed in common with the baseline, which has {seeds}"
    for code, reason in found.items():
        yield GateFinding(now.name, "", "worse", code, reason)


def _failed(cell: WatchedCell) -> list[GateFinding]:
    return [
        GateFinding(cell.name, "", "worse", "run-failed", f"seed {s}: {run.status}: {run.reason}")
        for s, run in sorted(cell.runs.items())
        if not run.ok
    ]


def _constant(
    name: str, watch: Watch, pairs: Sequence[tuple[WatchedCell, WatchedCell]]
) -> Iterator[GateFinding]:
    """A number that depends on the run and is the same in all runs now, and was not: broken."""
    if watch.kind not in ("quality", "bound"):
        return
    both = [
        (value, old)
        for now, before in pairs
        for seed in now.runs.keys() & before.runs.keys()
        if (value := now.runs[seed].numbers.get(name)) is not None
        and (old := before.runs[seed].numbers.get(name)) is not None
    ]
    values = {value for value, _ in both}
    if len(both) > 1 and len(values) == 1 and len({old for _, old in both}) > 1:
        reason = f"the same in all {len(both)} runs, so it measures nothing"
        yield GateFinding(ALL, name, "worse", "constant", reason, now=values.pop())


def _notes(now: WatchedCell, before: WatchedCell) -> Iterator[str]:
    """What of a method differs from the baseline."""
    if differing := _differing(now.config, before.config):
        yield f"{now.name}: {differing}"
    elif now.version != plugins.current_version(now.method, before.version):
        yield f"{now.name}: its source changed ({before.version} to {now.version})"


def _differing(now: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    names = sorted(n for n in now.keys() | before.keys() if now.get(n) != before.get(n))
    return ", ".join(f"{n} {now.get(n)}, not {before.get(n)}" for n in names)


def _values(name: str, cells: Iterable[WatchedCell]) -> list[float]:
    """The values of a number in all runs of these cells that have one."""
    every = (run.numbers.get(name) for cell in cells for run in cell.runs.values())
    return [value for value in every if value is not None]


def _quotient(now: float, was: float) -> float:
    """The ratio of two costs, neither below 0."""
    return now / was if was else (1.0 if now == was else math.inf)
