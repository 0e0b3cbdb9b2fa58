"""What marks a row or a cell of a comparison, and when; which values are in bold."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from bench.records.catalogue import column
from bench.records.frame import Cell, cells
from bench.records.run_files import Densities, densities
from bench.registry import plugins
from bench.stats.significance import LEVEL, Decision, Scores, decide, holm

#: An NLL whose numerical error reaches this (nats) is flagged.
SOLVER_ERROR = 0.01
#: An NLL that differs from that of the method's own steps by more (nats) is flagged.
GAP_BOUND = 0.1
#: A density whose integral over the plane is further from one, beyond its own error, is flagged.
MASS_BOUND = 0.01
#: A median round trip beyond this share of the rows' own size is flagged.
TRIP_BOUND = 1e-3
#: A statistic that chance moves by no more than this share of the V-statistic's floor 2/n is blind.
BLIND_SHARE = 0.05

#: The marks; `bench.tables.notes` says what each means.
BELOW, SOLVER, BLIND, ONE, MIXED = "†", "‡", "‖", "¶", "§"
GAP, MASS, TRIP = "≠", "∫", "↔"
#: Beside the best and the second best, where a form has no bold and no underlining.
BEST, SECOND = "*", "₂"

#: The column of the test that decides on the samples, and the other tests by the words for them.
VERDICT = "p_aggregated"
OTHER_TESTS = {"MMD-m": "p_m", "MMD-1": "p_1", "classifier": "p_c2st"}


Key = TypeVar("Key")


@cache
def is_floor(method: str) -> bool:
    """Whether every other method has to beat it: a Gaussian fitted to the mini-batches, say."""
    return plugins.look(method).family == "floor"


def heading_of(cell: Cell) -> tuple[Any, Any, Any]:
    """What the rows of a group share: the data set, its revision, the budget's name."""
    return cell.key["dataset"], cell.key["dataset_revision"], cell.shared("budget")


def grouped(known: Iterable[Cell], key: Callable[[Cell], Key]) -> dict[Key, list[Cell]]:
    """The cells by what `key` makes of them, in the order in which each is first met."""
    found: dict[Key, list[Cell]] = defaultdict(list)
    for cell in known:
        found[key(cell)].append(cell)
    return found


def sorted_cells(known: Iterable[Cell], by: str) -> list[Cell]:
    """The cells by heading; in each, by a column's mean, the best first.

    Ties are in the order of the methods' names; rows without the column, such as failed ones, are
    last.

    Raises:
        UsageError: there is no such column.
    """
    sign = -1.0 if column(by).better == "higher" else 1.0

    def key(cell: Cell) -> tuple[object, ...]:
        value = cell.mean(by)
        order = (True, 0.0) if math.isnan(value) else (False, sign * value)
        return *map(str, heading_of(cell)), *order, str(cell.key["method"])

    return sorted(known, key=key)


def groups_of(frame: pd.DataFrame) -> list[list[Cell]]:
    """The frame's cells, those of each heading together, by method, the floor last."""

    def place(cell: Cell) -> tuple[object, ...]:
        method = str(cell.key["method"])
        return *map(str, heading_of(cell)), is_floor(method), method

    return list(grouped(sorted(cells(frame), key=place), heading_of).values())


def amounts_of(members: Iterable[Cell]) -> list[tuple[Any, Any]]:
    """The numbers of mini-batches and rows in each, as the budget gave them."""
    planned = {(c.key["planned_minibatches"], c.key["batch_size"]) for c in members}
    return sorted((n, b) for n, b in planned if n is not None and b is not None)


@dataclass(frozen=True)
class Verdict:
    """Whether samples differ from real data, by the test over all bandwidths.

    `p` is the smallest of its p-values over seeds after Holm's correction. `others` are the other
    tests that find a difference after Holm's correction over all tests made.
    """

    differ: bool
    p: float
    others: tuple[str, ...] = ()

    @property
    def disagreeing(self) -> tuple[str, ...]:
        """The other tests that find a difference where the test over all bandwidths finds none."""
        return () if self.differ else self.others

    def __str__(self) -> str:
        words = "differ" if self.differ else "no difference"
        others = f"; differ by {', '.join(self.disagreeing)}" if self.disagreeing else ""
        return f"{words} (p = {self.p:.2g}){others}"


def verdict(decisive: Sequence[float], others: Mapping[str, Sequence[float]]) -> Verdict:
    """The verdict on samples from p-values, one for each seed.

    Samples differ from data if the decisive test rejects on some seed after Holm's correction over
    its seeds. Another test disagrees if it rejects where the decisive one does not, after Holm's
    correction over all tests made, those of the decisive test included. A test that finds nothing
    where the decisive one finds a difference contradicts nothing: it may just have less power.

    Raises:
        ValueError: the decisive test was not made.
    """
    if not len(decisive):
        raise ValueError("a verdict needs a p-value")
    p = min(holm(decisive))
    found = rejecting({**others, "": decisive})
    return Verdict(p <= LEVEL, p, tuple(name for name in others if name in found))


def rejecting(tests: Mapping[str, Sequence[float]]) -> set[str]:
    """The tests that reject on some seed, after Holm's correction over all of them."""
    made = [(name, p) for name, values in tests.items() for p in values]
    adjusted = holm([p for _, p in made])
    return {name for (name, _), p in zip(made, adjusted, strict=True) if p <= LEVEL}


def tests_of(cell: Cell) -> dict[str, list[float]]:
    """The p-values of the other tests that were made on a cell's samples, by the test's name."""
    found = {name: cell.numbers(p) for name, p in OTHER_TESTS.items()}
    return {name: [float(p) for p in values if p == p] for name, values in found.items()}


def verdict_of(cell: Cell) -> Verdict | None:
    """The verdict on a cell's samples; None where a seed that ended well lacks the test."""
    decisive = cell.numbers(VERDICT)
    if not len(decisive) or np.isnan(decisive).any():
        return None
    return verdict([float(p) for p in decisive], tests_of(cell))


def is_blind(cell: Cell, name: str) -> bool:
    """Whether a V-statistic is all floor: 2/n, what the n rows of each sample add for themselves.

    The U-statistic has no such part, so its threshold is what chance alone can add. (The V
    threshold itself may lie near 2/n by coincidence: the floor shrinks for wide kernels.)
    """
    if name.endswith("_u"):
        return False
    floor = 2 / cell.numbers("mmd_n")
    chance = np.abs(cell.numbers(column(name).threshold + "_u"))
    return bool((chance < BLIND_SHARE * floor).any())


def flags_of(cell: Cell) -> str:
    """The marks of the bounds that the likelihood of some run fails; NaN fails none."""
    names = (
        *("nll_solver_error", "nll_gap", "density_integral", "density_integral_error"),
        *("round_trip_median", "row_scale"),
    )
    error, gap, integral, quadrature, trip, scale = map(cell.numbers, names)
    bounds = {
        SOLVER: (error >= SOLVER_ERROR).any() or cell.known("nll_uncertified"),
        GAP: (np.abs(gap) > GAP_BOUND).any(),
        MASS: (np.abs(integral - 1) - quadrature > MASS_BOUND).any(),
        TRIP: (trip > TRIP_BOUND * scale).any(),
    }
    return "".join(mark for mark, fails in bounds.items() if fails)


@dataclass(frozen=True)
class Contest:
    """Rows whose NLLs were compared with each other, and what came of it."""

    place: str
    cells: tuple[Cell, ...]
    decision: Decision

    @property
    def best(self) -> list[Cell]:
        """The rows that are not significantly worse than the best."""
        return [self.cells[j] for j in self.decision.kept]

    def second(self, below: Collection[int]) -> list[Cell]:
        """The second best and all that tie with it, without the cells (by id) below the floor."""
        out = [j for j, cell in enumerate(self.cells) if id(cell) in below]
        return [self.cells[j] for j in self.decision.second(out)]


def contests(known: Iterable[Cell], results: Path | None) -> list[Contest]:
    """Compare the NLLs of each group's rows; the cells come in the order of their rows.

    Rows with a failed seed take no part. Where a method has rows at several budgets' amounts, the
    rows of each amount are compared apart. `results` is the folder with the runs' log-densities.
    """
    groups = grouped(known, heading_of)
    names = Counter(heading[0] for heading in groups)
    found = []
    for (dataset, revision, budget), members in groups.items():
        place = str(dataset or "?")
        place += f" ({budget}, {str(revision)[:8]})" if names[dataset] > 1 else ""
        found += [
            Contest(place, tuple(rivals), decide(_scores(rivals, results)))
            for rivals in _rivals([cell for cell in members if is_complete(cell)])
            if len(rivals) > 1
        ]
    return found


def is_complete(cell: Cell) -> bool:
    """Whether every seed ended well, with an NLL that is a number."""
    return len(cell.well) == len(cell.rows) > 0 and math.isfinite(cell.mean("nll"))


def _rivals(members: list[Cell]) -> Iterator[list[Cell]]:
    """The rows to be compared: all, or those of each amount where a method has several amounts."""
    by_method = grouped(members, lambda cell: str(cell.key["method"])).values()
    several = any(len(amounts_of(rows)) > 1 for rows in by_method)
    apart = grouped(members, lambda cell: tuple(amounts_of([cell])))
    yield from apart.values() if several else [members]


def _scores(rivals: Sequence[Cell], results: Path | None) -> list[Scores]:
    kept = [_densities(cell, results) for cell in rivals]
    paired = all(kept) and len({one.rows for each in kept for one in each.values()}) == 1
    found = []
    for cell, each in zip(rivals, kept, strict=True):
        pairs = zip(cell.numbers("seed"), cell.numbers("nll"), strict=True)
        nll = {int(seed): float(nll) for seed, nll in pairs}
        rows = {seed: one.log_prob for seed, one in each.items()} if paired else {}
        groups = next(iter(each.values())).groups if paired else None
        found.append(Scores(nll, cell.mean("nll_se"), rows, groups))
    return found


def _densities(cell: Cell, results: Path | None) -> dict[int, Densities]:
    """Each seed's densities; empty where one is missing.

    Raises:
        Damaged: as `bench.records.run_files.densities`.
    """
    if results is None:
        return {}
    names = ("run", "seed", "nll", "nll_groups", "dataset_revision", "judge_rows", "judge_seed")
    columns = [cell.columns.plain(name)[cell.well] for name in (*names, "metrics_version")]
    found = {}
    for run, seed, nll, groups, *asked in zip(*columns, strict=True):
        one = densities(results / run, tuple(asked), grouped=bool(groups), nll=nll)
        if one is None:
            return {}
        found[int(seed)] = one
    return found
