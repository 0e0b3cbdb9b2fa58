"""Ranks: the critical-difference diagram, its numbers and its sentences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bench.errors import NothingMeasured, UsageError
from bench.plots.asked import Asked, Drawn, wrapped

if TYPE_CHECKING:
    from bench.stats.ranking import Ranking


def draw(asked: Asked) -> Drawn:
    """The critical-difference diagram, and its numbers and sentences.

    Raises:
        UsageError: there is no such metric, several budgets, or a seed or columns were asked for.
        NothingMeasured: there are too few methods or data sets.
    """
    asked.refuse("ranks", "seed", "columns")
    from bench.figures.ranks import diagram
    from bench.records.frame import cells
    from bench.stats.ranking import explain_pairs, too_few
    from bench.tables.comparison import standings

    folder = asked.results
    found = {one.budget: one for one in standings(cells(asked.frame()), asked.metric or "nll")}
    if asked.budget is not None and asked.budget not in found:
        raise NothingMeasured(
            f"No run in {folder} is under the budget {asked.budget!r}.",
            f"There are: {', '.join(found)}.",
        )
    asked_for = list(found.values()) if asked.budget is None else [found[asked.budget]]
    large = [one for one in asked_for if one.enough]
    if not large:
        sizes = (
            f"budget {one.budget}: {too_few(len(one.methods), len(one.datasets))}"
            for one in asked_for
        )
        raise NothingMeasured(f"There is nothing to rank in {folder}.", " ".join(sizes))
    if len(large) > 1:
        names = ", ".join(one.budget for one in large)
        raise UsageError("Ranks are of one budget, and there are several.", f"Add -b: {names}.")
    (standing,) = large
    ranking = standing.ranking

    def lines() -> Iterator[str]:
        yield from _numbers(ranking)
        yield ""
        yield wrapped(standing.explain())
        yield wrapped(" ".join(explain_pairs(ranking)))

    return Drawn(diagram(ranking), tuple(lines()))


def _numbers(ranking: Ranking) -> Iterator[str]:
    """A line for each method, the best first: its average rank, and its rank on each data set."""
    rows = [["method", "average", *ranking.datasets]]
    for j in ranking.order:
        each = [f"{rank:g}" for rank in ranking.ranks[:, j]]
        rows.append([ranking.methods[j], f"{ranking.average[j]:.2f}", *each])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *numbers in rows:
        shown = (text.rjust(width) for text, width in zip(numbers, widths[1:], strict=True))
        yield "  ".join([name.ljust(widths[0]), *shown])
