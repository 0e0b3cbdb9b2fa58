"""From runs to a ranking: one score for each method on each data set, a budget at a time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.errors import UsageError
from bench.records.frame import Cell
from bench.records.measures import MEASURES, measure
from bench.stats.ranking import DATASETS, METHODS, Ranking, explain
from bench.tables.labels import labels
from bench.tables.marks import amounts_of, heading_of

#: Measures of which less is better, so that methods can be ranked by them.
RANKED = (
    *("nll", "nll_native", "validation_nll", "mmd_m", "mmd_1", "mmd_m_u", "mmd_1_u"),
    *("train_seconds", "sample_seconds", "density_seconds", "memory_bytes", "peak_gpu_bytes"),
    *("peak_rss_bytes", "nfe_train", "nfe_sample", "nfe_density", "transport_cost"),
)


@dataclass(frozen=True)
class Standing:
    """Mean scores `(data sets, methods)` under one budget, NaN where a method has no result.

    `remarks` say what was chosen or left out on the way.
    """

    metric: str
    budget: str
    methods: tuple[str, ...]
    datasets: tuple[str, ...]
    scores: NDArray[np.float64]
    remarks: tuple[str, ...]

    @property
    def enough(self) -> bool:
        """Whether there are methods and data sets enough for ranks."""
        return len(self.methods) >= METHODS and len(self.datasets) >= DATASETS

    @property
    def ranking(self) -> Ranking:
        """The ranking of these scores.

        Raises:
            ValueError: there are too few methods or data sets.
        """
        title = f"mean {MEASURES[self.metric].title} (budget {self.budget})"
        return Ranking(title, self.methods, self.datasets, self.scores)

    def explain(self) -> str:
        """The ranking in words."""
        return " ".join((*explain(self.ranking), *self.remarks))


def standings(known: Iterable[Cell], metric: str = "nll") -> list[Standing]:
    """A standing for each budget, by name.

    Of several revisions of a data set the one with the most methods counts; of several rows of a
    method those at the budget's commonest amount, and of these the one with the lowest validation
    NLL. A data set on which fewer than two methods have a result is left out.

    Raises:
        UsageError: the metric has an unknown name, or it is not known that less of it is better.
    """
    measure(metric)
    if metric not in RANKED:
        raise UsageError(
            f"Methods can't be ranked by {metric}: less of it is not better.",
            f"There are: {', '.join(RANKED)}.",
        )
    by_budget: dict[str, list[Cell]] = defaultdict(list)
    for cell in known:
        by_budget[str(heading_of(cell)[2] or "?")].append(cell)
    return [_standing(budget, cells, metric) for budget, cells in sorted(by_budget.items())]


def _standing(budget: str, cells: Sequence[Cell], metric: str) -> Standing:
    remarks: list[str] = []
    places: dict[str, dict[str, Cell]] = {}
    for dataset, revisions in sorted(_by_dataset(cells).items()):
        rows = max(revisions.values(), key=lambda r: len({cell.key["method"] for cell in r}))
        if len(revisions) > 1:
            revision = str(rows[0].key["dataset_revision"])[:8]
            remarks.append(f"Of {dataset} the revision {revision} counts.")
        places[dataset] = dict(_choose(dataset, rows, remarks))
    alone = [d for d, row in places.items() if sum(_has(c, metric) for c in row.values()) < 2]
    if alone:
        remarks.append(f"Left out, with fewer than two methods' results: {', '.join(alone)}.")
    methods = tuple(sorted({method for row in places.values() for method in row}))
    datasets = tuple(dataset for dataset in places if dataset not in alone)
    scores = [
        [places[d][m].mean(metric) if m in places[d] else np.nan for m in methods] for d in datasets
    ]
    remarks += _fewer_seeds(places, datasets)
    table = np.array(scores, dtype="float64").reshape(len(datasets), len(methods))
    return Standing(metric, budget, methods, datasets, table, tuple(remarks))


def _by_dataset(cells: Iterable[Cell]) -> dict[str, dict[str, list[Cell]]]:
    found: dict[str, dict[str, list[Cell]]] = defaultdict(lambda: defaultdict(list))
    for cell in cells:
        name, revision, _ = heading_of(cell)
        found[str(name or "?")][str(revision)].append(cell)
    return found


def _choose(dataset: str, rows: Sequence[Cell], remarks: list[str]) -> Iterator[tuple[str, Cell]]:
    """One row for each method."""
    amounts = Counter(amount for cell in rows for amount in amounts_of([cell]))
    named = dict(zip(map(id, rows), labels(rows), strict=True))
    by_method = defaultdict(list)
    for cell in rows:
        by_method[str(cell.key["method"])].append(cell)
    for method, several in by_method.items():
        counts = several[0]
        if len(several) > 1:
            most = max(amounts[a] for cell in several for a in amounts_of([cell]) or [(0, 0)])
            usual = [c for c in several if any(amounts[a] == most for a in amounts_of([c]))]
            counts = min(usual or several, key=_validation)
            remarks.append(
                f"{method} has several rows on {dataset}; {named[id(counts)]} counts (the "
                "commonest amount, then the lowest validation NLL)."
            )
        yield method, counts


def _validation(cell: Cell) -> float:
    value = cell.mean("validation_nll")
    return value if value == value else float("inf")


def _has(cell: Cell, metric: str) -> bool:
    return bool(np.isfinite(cell.mean(metric)))


def _fewer_seeds(places: dict[str, dict[str, Cell]], datasets: Sequence[str]) -> Iterator[str]:
    partly = [
        f"{method} on {dataset} ({len(cell.well)}/{len(cell.rows)})"
        for dataset in datasets
        for method, cell in places[dataset].items()
        if 0 < len(cell.well) < len(cell.rows)
    ]
    if partly:
        yield f"Means over the seeds that ended well: {', '.join(partly)}."
