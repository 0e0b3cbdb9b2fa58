"""From records to cells: the latest run of each seed, with the figures that the gate compares."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.gate.cells import Cell, Measured, Run
from bench.gate.place import kept
from bench.records.store import Record

#: Where a record keeps a figure; the others are computed here.
_PATHS = {
    **{name: ("metrics", name) for name in ("nll", "nll_native", "mmd_m", "mmd_1", "nll_se")},
    **{name: ("metrics", name) for name in ("nll_solver_error", "nll_rows", "mmd_n", "gamma_m")},
    **{name: ("metrics", name) for name in ("tau_m", "tau_1")},
    "validation_nll": ("training", "best_validation_nll"),
    "minibatches": ("training", "minibatches"),
    **{name: ("cost", name) for name in ("nfe_train", "nfe_sample", "nfe_density")},
}

#: Steps with both times that a step's cost is the median of, at least.
_STEPS = 5


def gather(
    records: Iterable[Record],
    results: Path,
    methods: Collection[str] = (),
    datasets: Collection[str] = (),
) -> Measured | None:
    """The cells of these records, by name; None where there are none.

    Of several runs of a seed the latest counts, and of several budgets of a method on a data set
    the one with the latest run.

    Args:
        records: of runs below `results`, where their curves lie.
        results: the results folder.
        methods: only these, where any is named; `datasets` likewise.

    Raises:
        UsageError: the runs were made in more than one way, on more than one machine.
    """
    found: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for record in records:
        method, dataset = record["method"]["name"], record["dataset"]["name"]
        settings = json.dumps(record["method"].get("settings") or {}, sort_keys=True)
        if (not methods or method in methods) and (not datasets or dataset in datasets):
            found[method, settings, dataset].append(record)
    if not found:
        return None
    chosen = [_latest(group) for _, group in sorted(found.items())]
    every = [record for group in chosen for record in group]
    # A run whose process died knows nothing of where it was.
    known = [r for r in every if r["environment"].get("threads") is not None]
    return Measured(
        environment=_one([kept(vars(r["environment"])) for r in known or every[:1]], "machines"),
        judge=_one([r["judge"] for r in every], "judges"),
        cells=tuple(_cell(group, results) for group in chosen),
    )


def _latest(group: Sequence[Record]) -> list[Record]:
    """The latest run of each seed, under the budget and the device of the latest of all."""
    last = max(group, key=_when)
    alike = [r for r in group if _amount(r) == _amount(last)]
    seeds = {r["seed"]: r for r in sorted(alike, key=_when)}
    return [seeds[seed] for seed in sorted(seeds)]


def _when(record: Record) -> str:
    return str(record["started"])


def _amount(record: Record) -> tuple[Any, ...]:
    budget = record["budget"]
    return budget["minibatches"], budget["batch_size"], record["environment"]["device"]


def _cell(group: Sequence[Record], results: Path) -> Cell:
    last = max(group, key=_when)
    return Cell(
        method=last["method"]["name"],
        settings=last["method"].get("settings") or {},
        dataset=last["dataset"]["name"],
        revision=last["dataset"]["revision"],
        minibatches=last["budget"]["minibatches"],
        batch_size=last["budget"]["batch_size"],
        version=last["method"]["version"],
        config=last["method"]["config"],
        runs={
            record["seed"]: Run(record["status"], record["reason"], _figures(record, results))
            for record in group
        },
    )


def _figures(record: Record, results: Path) -> dict[str, float | None]:
    found = {name: _number(record.get(part, {}).get(key)) for name, (part, key) in _PATHS.items()}
    integral = _number(record.get("metrics", {}).get("density_integral"))
    found["integral_error"] = None if integral is None else abs(integral - 1)
    cost = record.get("cost", {})
    start, peak = _number(cost.get("baseline_rss_bytes")), _number(cost.get("peak_rss_bytes"))
    found["memory"] = peak / start if start and peak else None
    found["step"] = _step(results / record["run"] / "curve.jsonl")
    return found


def _step(curve: Path) -> float | None:
    """The median over steps of a step's CPU time in passes of the yardstick after it.

    None where the run was not measured so.
    """
    ratios = []
    try:
        for line in curve.read_bytes().splitlines():
            entry = json.loads(line)
            if "validation_nll" in entry or "yardstick_cpu_seconds" not in entry:
                continue
            ratios.append(entry["step_cpu_seconds"] / entry["yardstick_cpu_seconds"])
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
        return None
    return statistics.median(ratios) if len(ratios) >= _STEPS else None


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _one(values: Sequence[Any], of: str) -> Any:
    """The value that all share."""
    if any(value != values[0] for value in values):
        raise UsageError(
            f"The runs come from more than one set-up: their {of} differ.",
            "Let one check make them all, in a folder of its own.",
        )
    return values[0]
