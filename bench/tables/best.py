"""Which NLLs of a comparison stand in bold, and the footnote that says how that was decided."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from bench.records.densities import Densities, densities
from bench.records.format import whole
from bench.records.frame import Cell
from bench.stats.significance import Decision, Scores, Test, decide
from bench.tables.marks import BEST, LEVEL, SECOND, amounts_of, heading_of

_HOW: dict[Test, str] = {
    "paired": (
        "differences paired over {seeds} and the same {rows}, both taken for random (two-way "
        "random effects, Cochran's t)"
    ),
    "welch": (
        "Welch's t over seeds ({seeds} or more each), as not all runs have the same seeds and keep "
        "the log-densities of the same test rows"
    ),
    "paired rows": (
        "differences paired over the same {rows}, of one seed: it holds for these trained models "
        "and says nothing of other seeds"
    ),
    "rows": (
        "z of the means and their standard errors over test rows, as one seed alone and no "
        "log-densities are there: it holds for these trained models and says nothing of other seeds"
    ),
    "none": "nothing is in bold, as one seed alone and no standard error are there",
}


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
    groups = [(heading, list(members)) for heading, members in groupby(known, heading_of)]
    names = Counter(heading[0] for heading, _ in groups)
    found = []
    for heading, members in groups:
        name = str(heading[0] or "?")
        place = f"{name} ({heading[2]}, {str(heading[1])[:8]})" if names[heading[0]] > 1 else name
        found += [
            Contest(place, tuple(rivals), decide(_scores(rivals, results), LEVEL))
            for rivals in _rivals([cell for cell in members if _whole(cell)])
            if len(rivals) > 1
        ]
    return found


def best_notes(
    found: Sequence[Contest], known: Iterable[Cell], *, second: bool
) -> Iterator[tuple[str, str]]:
    """The footnotes' marks and texts: what bold means, how it was decided where; underlining."""
    if not found:
        return
    alike = defaultdict(list)
    for contest in found:
        alike[_how(contest.decision)].append(contest.place)
    text = (
        f"The lowest mean NLL, and every one not significantly higher (two-sided, "
        f"{100 * LEVEL:g} %, Holm over all pairs of a comparison)."
    )
    for how, places in alike.items():
        text += f" {', '.join(dict.fromkeys(places))}: {how}."
    if any(len(cell.well) and not _whole(cell) for cell in known):
        text += " Rows with a failed seed take no part."
    marked = any(contest.decision.kept for contest in found)
    yield (BEST if marked else ""), text
    if second:
        yield (
            SECOND,
            "The lowest of those that are neither bold nor below the floor, and every one not "
            "significantly higher than it, by the same tests.",
        )


def _how(decision: Decision) -> str:
    rows = f"{whole(decision.rows)} test rows"
    if decision.groups < decision.rows:
        rows += f" in {whole(decision.groups)} groups"
    return _HOW[decision.test].format(seeds=_seeds(decision.seeds), rows=rows)


def _seeds(number: int) -> str:
    return f"{number} seed" if number == 1 else f"{number} seeds"


def _whole(cell: Cell) -> bool:
    """Whether every seed ended well, with an NLL that is a number."""
    return len(cell.well) == len(cell.rows) > 0 and math.isfinite(cell.mean("nll"))


def _rivals(members: list[Cell]) -> Iterator[list[Cell]]:
    """The rows to be compared: all, or those of each amount where a method has several amounts."""
    amounts = defaultdict(set)
    for cell in members:
        amounts[cell.key["method"]].update(amounts_of([cell]))
    if all(len(each) <= 1 for each in amounts.values()):
        yield members
        return
    apart = defaultdict(list)
    for cell in members:
        apart[tuple(amounts_of([cell]))].append(cell)
    yield from apart.values()


def _scores(rivals: Sequence[Cell], results: Path | None) -> list[Scores]:
    kept = [_densities(cell, results) for cell in rivals]
    same = {one.rows for each in kept if each for one in each.values()}
    paired = all(each is not None for each in kept) and len(same) == 1
    found = []
    for cell, each in zip(rivals, kept, strict=True):
        pairs = zip(cell.numbers("seed"), cell.numbers("nll"), strict=True)
        nll = {int(seed): float(value) for seed, value in pairs}
        if paired and each:
            groups = next(iter(each.values())).groups
            rows = {seed: one.log_prob for seed, one in each.items()}
            found.append(Scores(nll, cell.mean("nll_se"), rows, groups))
        else:
            found.append(Scores(nll, cell.mean("nll_se")))
    return found


def _densities(cell: Cell, results: Path | None) -> dict[int, Densities] | None:
    """Each seed's densities; None where one is missing."""
    if results is None:
        return None
    names = ("run", "seed", "nll_groups", "dataset_revision", "judge_rows", "judge_seed")
    columns = [cell.columns.plain(name)[cell.well] for name in (*names, "metrics_version")]
    found = {}
    for run, seed, groups, *asked in zip(*columns, strict=True):
        one = densities(results / run, tuple(asked), grouped=bool(groups))
        if one is None:
            return None
        found[int(seed)] = one
    return found
