"""The whole comparison: every cell's findings, what ran otherwise, and the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from bench.errors import NothingMeasured
from bench.gate.baseline import Baseline
from bench.gate.cells import Cell, Measured
from bench.gate.place import differences
from bench.gate.rules import Finding, Rules, quotient
from bench.gate.watched import FIGURES, STEP, Figure

Rule = Literal["auto", "exact", "seeds"]

#: So many cells tell what of a step's cost is the machine's.
ENOUGH = 4

#: Where a finding is of no cell in particular.
ALL = "all cells"


@dataclass(frozen=True)
class Comparison:
    """A check against its baseline.

    Attributes:
        findings: all of them, those that count first.
        notes: what ran otherwise than in the baseline: sources, hyper-parameters.
        place: why the comparison is not exact, in words; empty where it is.
        exact: whether it is.
        machine: as `bench.gate.rules.Rules` has it.
        cells: how many cells were compared, of how many in the baseline (those asked for).
        made: what made the baseline.
    """

    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    place: tuple[str, ...]
    exact: bool
    machine: float | None
    cells: tuple[int, int]
    made: Mapping[str, Any]

    def with_verdict(self, *verdicts: str) -> list[Finding]:
        """The findings with one of these verdicts."""
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
        raise NothingMeasured(
            "Nothing that was measured is in the baseline.",
            f"It has {_listed(baseline.measured)}.",
        )
    place = differences(now.environment, baseline.measured.environment)
    exact = not place if rule == "auto" else rule == "exact"
    alike: list[tuple[Cell, Cell]] = []
    findings: list[Finding] = []
    for key in sorted(before.keys() | here.keys()):
        if key not in here:
            findings.append(Finding(before[key].name, "", "worse", "not measured"))
        elif key not in before:
            findings.append(Finding(here[key].name, "", "new", "not in the baseline"))
        else:
            told = list(_otherwise(here[key], before[key], now.judge, baseline.measured.judge))
            findings += told or _failed(here[key])
            if not told:
                alike.append((here[key], before[key]))
    pairs = [(figure, *pair) for pair in alike for figure in FIGURES.values()]
    spread = sum(f.kind == "quality" and _has(f, old) for f, _, old in pairs)
    machine = 1.0 if exact else _machine(alike)
    rules = Rules(exact, strict_cost, max(1, spread), machine)
    findings += [found for pair in pairs if (found := rules.judge(*pair))]
    findings += list(_stuck(alike))
    order = ("worse", "noticed", "better", "new", "same")
    return Comparison(
        findings=tuple(sorted(findings, key=lambda f: order.index(f.verdict))),
        notes=tuple(note for key in common for note in _notes(here[key], before[key])),
        place=tuple(place),
        exact=exact,
        machine=machine,
        cells=(len(common), len(before)),
        made=baseline.made,
    )


def _machine(pairs: Sequence[tuple[Cell, Cell]]) -> float | None:
    """The median over cells of a step's cost to what it was; None where there are too few."""
    ratios = []
    for now, before in pairs:
        costs = [[r.figures.get(STEP) for r in cell.runs.values()] for cell in (now, before)]
        one, other = ([c for c in several if c is not None] for several in costs)
        if one and other:
            ratios.append(quotient(median(one), median(other)))
    return median(ratios) if len(ratios) >= ENOUGH else None


def _otherwise(
    now: Cell, before: Cell, judge: Mapping[str, Any], its: Mapping[str, Any]
) -> Iterator[Finding]:
    """Why the figures of two cells can't be compared."""
    if now.amount != before.amount:
        rule = f"mini-batches: {now.amount}, not {before.amount}"
        yield Finding(now.name, "", "worse", rule)
    if now.revision != before.revision:
        rule = f"other rows: revision {now.revision}, not {before.revision}"
        yield Finding(now.name, "", "worse", rule)
    if differing := _differing(judge, its):
        yield Finding(now.name, "", "worse", f"another judge: {differing}")
    if not now.runs.keys() & before.runs.keys():
        seeds = ", ".join(map(str, sorted(before.runs)))
        yield Finding(now.name, "", "worse", f"no seed that the baseline has ({seeds})")


def _failed(cell: Cell) -> list[Finding]:
    return [
        Finding(cell.name, "", "worse", f"seed {seed}: {run.status}: {run.reason}")
        for seed, run in sorted(cell.runs.items())
        if not run.ok
    ]


def _stuck(pairs: Sequence[tuple[Cell, Cell]]) -> Iterator[Finding]:
    """Figures that depend on the run and are the same in all runs now, and were not: broken."""
    for figure in FIGURES.values():
        if figure.kind not in ("quality", "bound"):
            continue
        now, was = set[float](), set[float]()
        runs = 0
        for cell, before in pairs:
            for seed in cell.runs.keys() & before.runs.keys():
                value = cell.runs[seed].figures.get(figure.name)
                old = before.runs[seed].figures.get(figure.name)
                if value is not None and old is not None:
                    now.add(value)
                    was.add(old)
                    runs += 1
        if runs > 1 and len(now) == 1 and len(was) > 1:
            (value,) = now
            rule = f"the same in all {runs} runs: it measures nothing"
            yield Finding(ALL, figure.title, "worse", rule, now=value)


def _notes(now: Cell, before: Cell) -> Iterator[str]:
    """What of a method is not as it was."""
    if differing := _differing(now.config, before.config):
        yield f"{now.name}: {differing}"
    elif now.version != before.version:
        yield f"{now.name}: its source changed ({before.version} to {now.version})"


def _differing(now: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    names = sorted(n for n in now.keys() | before.keys() if now.get(n) != before.get(n))
    return ", ".join(f"{n} {now.get(n)}, not {before.get(n)}" for n in names)


def _has(figure: Figure, cell: Cell) -> bool:
    return any(run.figures.get(figure.name) is not None for run in cell.runs.values())


def _listed(measured: Measured) -> str:
    names = [cell.name for cell in measured.cells]
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
