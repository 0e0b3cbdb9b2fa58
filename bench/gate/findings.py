"""The comparison with a baseline: a finding for each number of each cell, and the verdict.

The rules and their reasons are in `bench.gate`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean, median, stdev
from typing import Any, Literal, get_args

from bench.api.declarations import Watch
from bench.errors import NothingMeasured
from bench.gate.measured import STEP, Measured, WatchedCell, differences, watched
from bench.registry.plugins import current_version

Rule = Literal["auto", "exact", "seeds"]

#: In the order in which they are listed; `noticed` is a worse cost that does not count.
Verdict = Literal["worse", "noticed", "better", "new", "same"]

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


@dataclass(frozen=True)
class Comparison:
    """A check against its baseline.

    Attributes:
        findings: all of them, those that count first.
        notes: what of the methods differs from the baseline: sources, hyper-parameters.
        uncompared: watched numbers that this check has and the whole baseline lacks.
        place: why the comparison can't be exact, in words; empty where it can.
        rules: the rules that were applied.
        cells: how many cells were compared, of how many in the baseline (those asked for).
        made: what made the baseline.
    """

    findings: tuple[GateFinding, ...]
    notes: tuple[str, ...]
    uncompared: tuple[str, ...]
    place: tuple[str, ...]
    rules: Rules
    cells: tuple[int, int]
    made: Mapping[str, Any]

    def with_verdict(self, verdict: Verdict) -> list[GateFinding]:
        """Return the findings with this verdict."""
        return [f for f in self.findings if f.verdict == verdict]

    @property
    def worse(self) -> bool:
        """Whether anything is."""
        return bool(self.with_verdict("worse"))


def compare(
    now: Measured, baseline: Measured, rule: Rule = "auto", strict_cost: bool = False
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
    before = {cell.key: cell for cell in baseline.cells}
    here = {cell.key: cell for cell in now.cells}
    common = sorted(before.keys() & here.keys())
    if not common:
        raise NothingMeasured("No cell that was measured is in the baseline.")
    place = differences(now.environment, baseline.environment)
    gone, new = sorted(before.keys() - here.keys()), sorted(here.keys() - before.keys())
    findings = [GateFinding(before[k].name, "", "worse", "not-measured", "not run") for k in gone]
    findings += [GateFinding(here[k].name, "", "new", "new-cell", "is new") for k in new]
    pairs = []
    for pair in ((here[key], before[key]) for key in common):
        problems = list(_obstacles(*pair, now.judge, baseline.judge))
        if not problems:
            pairs.append(pair)
            problems = [("run-failed", reason) for reason in pair[0].failed.values()]
        findings += [GateFinding(pair[0].name, "", "worse", *each) for each in problems]
    measured = {name for cell in now.cells for name in cell.figures}
    known = {name for cell in baseline.cells for name in cell.figures}
    kept = {name: watch for name, watch in watched().items() if name in known}
    quality = [name for name, watch in kept.items() if watch.kind == "quality"]
    exact = not place if rule == "auto" else rule == "exact"
    rules = Rules(
        exact=exact,
        strict_cost=strict_cost,
        comparisons=max(1, sum(name in old.figures for _, old in pairs for name in quality)),
        machine=1.0 if exact else _machine(pairs),
    )
    for name, watch in kept.items():
        judged = (rules.judge(name, watch, *pair) for pair in pairs)
        findings += [finding for finding in judged if finding]
        findings += _constant(name, watch, pairs)
    order = get_args(Verdict)
    return Comparison(
        findings=tuple(sorted(findings, key=lambda f: order.index(f.verdict))),
        notes=tuple(note for key in common for note in _notes(here[key], before[key])),
        uncompared=tuple(name for name in watched() if name in measured - known),
        place=tuple(place),
        rules=rules,
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
        machine: the ratio of step costs that all cells share and that is attributed to the machine;
            None where too few cells show it, and a step's cost never counts.
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
        ran = {*before.seeds} & {*now.seeds} - now.failed.keys()
        olds, news = (
            {seed: value for seed, value in cell.values(name).items() if seed in ran}
            for cell in (before, now)
        )
        finding = partial(GateFinding, now.name, name)
        if not olds:
            if not news:
                return None
            mean = fmean(news.values())
            return finding("new", "new-number", "not in the baseline", math.nan, mean)
        if olds.keys() - news.keys():
            # A cost that this check does not measure is no change of the program.
            counts: Verdict = "noticed" if name == STEP else "worse"
            return finding(counts, "missing-number", "no value", fmean(olds.values()))
        was, values = [*olds.values()], [news[seed] for seed in olds]
        if watch.above is not None and min(values) <= watch.above:
            reason = f"impossible: it must be above {watch.above:g}"
            return finding("worse", "impossible", reason, fmean(was), min(values))
        if watch.kind == "cost":
            return finding(*self._cost(name, watch, median(was), median(values)))
        one, other = fmean(was), fmean(values)
        change, known = other - one, [*before.values(name).values()]
        spread = stdev(known) if len(known) > 1 else 0.0
        code, tolerance = "exact", 0.0
        if watch.kind == "control":
            code, tolerance = "control", 0.0 if self.exact else ROUNDING * abs(one)
            worse = max(abs(a - b) for a, b in zip(was, values, strict=True)) > tolerance
        elif watch.kind == "bound":
            code, tolerance = "bound", math.inf if watch.limit is None else watch.limit
            worse = change > tolerance
        elif self.exact:
            worse = was != values and change >= 0
        else:
            code, tolerance = "seeds", self._tolerance(name, known, len(values), before)
            worse = change > tolerance
        better = watch.kind == "quality" and change < -tolerance
        verdict: Verdict = "worse" if worse else "better" if better else "same"
        return finding(verdict, code, "", one, other, change, tolerance, spread)

    def _cost(
        self, name: str, watch: Watch, was: float, now: float
    ) -> tuple[Verdict, str, str, float, float, float, float]:
        """Judge the ratio of two costs; that of a count must be 1 on the same arithmetic."""
        ratio = _quotient(now, was)
        noticed = 1.0 if watch.counted and self.exact else watch.noticed
        limit = noticed if self.strict_cost else watch.limit
        if name == STEP:
            ratio /= self.machine or 1.0
            limit = limit if self.machine else None
        verdict: Verdict = "better" if ratio < 1 / noticed else "same"
        if ratio > noticed:
            verdict = "worse" if limit is not None and ratio > limit else "noticed"
        return verdict, "ratio", "", was, now, ratio, noticed if limit is None else limit

    def _tolerance(self, name: str, known: list[float], k: int, before: WatchedCell) -> float:
        """How far the mean of `k` seeds may be from the baseline's elsewhere, see `bench.gate`.

        One seed has no spread: any change is tolerated then.
        """
        if len(known) < 2:
            return math.inf
        from scipy.special import stdtrit

        quantile = float(stdtrit(len(known) - 1, 1 - ALPHA / self.comparisons))
        solver = max(before.values("nll_solver_error").values(), default=0.0)
        numerical = 2 * solver if name in ("nll", "validation_nll") else 0.0
        return quantile * stdev(known) * math.sqrt(2 / k) + numerical


def _machine(pairs: Sequence[tuple[WatchedCell, WatchedCell]]) -> float | None:
    """The median over cells of a step's cost over the baseline's; None where there are too few."""
    costs = [[cell.values(STEP).values() for cell in pair] for pair in pairs]
    ratios = [_quotient(median(now), median(was)) for now, was in costs if now and was]
    return median(ratios) if len(ratios) >= ENOUGH else None


def _obstacles(
    now: WatchedCell, before: WatchedCell, judge: Mapping[str, Any], its: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Why the numbers of two cells can't be compared: codes and sentences."""
    amount, old = (f"{cell.minibatches} x {cell.batch_size}" for cell in (now, before))
    if amount != old:
        yield "minibatches", f"mini-batches: {amount}, not {old}"
    if now.revision != before.revision:
        yield "revision", f"other rows: revision {now.revision}, not {before.revision}"
    if differing := _differing(judge, its):
        yield "judge", f"evaluated otherwise: {differing}"
    if not {*now.seeds} & {*before.seeds}:
        seeds = ", ".join(map(str, before.seeds))
        yield "no-common-seed", f"no seed in common with the baseline, which has {seeds}"


def _constant(
    name: str, watch: Watch, pairs: Sequence[tuple[WatchedCell, WatchedCell]]
) -> Iterator[GateFinding]:
    """A number that depends on the run and is the same in all runs now, and was not: broken."""
    both = [
        (value, olds[seed])
        for now, before in pairs
        for seed, value in now.values(name).items()
        if seed in (olds := before.values(name))
    ]
    values, were = {value for value, _ in both}, {old for _, old in both}
    if watch.kind in ("quality", "bound") and len(both) > 1 and len(values) == 1 < len(were):
        reason = f"the same in all {len(both)} runs, so it measures nothing"
        yield GateFinding(ALL, name, "worse", "constant", reason, now=values.pop())


def _notes(now: WatchedCell, before: WatchedCell) -> Iterator[str]:
    if differing := _differing(now.config, before.config):
        yield f"{now.name}: {differing}"
    elif now.version != current_version(now.method, before.version):
        yield f"{now.name}: its source changed ({before.version} to {now.version})"


def _differing(now: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    names = sorted(n for n in now.keys() | before.keys() if now.get(n) != before.get(n))
    return ", ".join(f"{n} {now.get(n)}, not {before.get(n)}" for n in names)


def _quotient(now: float, was: float) -> float:
    """The ratio of two costs, neither below 0."""
    return now / was if was else (1.0 if now == was else math.inf)
