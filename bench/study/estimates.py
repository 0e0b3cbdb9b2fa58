"""What the runs of a plan will take, in seconds and bytes, from the records of earlier runs.

An estimate rests on records of the same method on the same device; without any there is none.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from bench.data import arrays
from bench.records.model import Record
from bench.records.spec import RunSpec
from bench.records.store import read_undamaged
from bench.registry import plugins

#: Sizes of data sets that differ by more than this share are not similar.
SIMILAR = 0.25


@dataclass(frozen=True)
class Estimate:
    """Seconds from start to end of a run, and its peak memory in bytes; None where unknown.

    `basis` says how many records they rest on, and how those differ from the run.
    """

    seconds: float | None
    memory_bytes: int | None
    basis: str


@dataclass(frozen=True)
class Total:
    """What all runs will take together; `unknown` of them have no estimate and are left out."""

    seconds: float
    memory_bytes: int
    unknown: int


@dataclass(frozen=True)
class Seen:
    """What a successful run took: `step` seconds per mini-batch, `rest` seconds for all else.

    `size` is the dimension of its data, and the number of test rows that were scored.
    """

    record: Record
    size: tuple[int, int]
    step: float
    rest: float
    memory_bytes: int


def estimates(specs: Iterable[RunSpec], results: Path) -> list[Estimate]:
    """Return an estimate for each run of a study.

    Raises:
        DataError: a record can't be read, or a newer program wrote it.
    """
    seen = defaultdict(list)
    for record in read_undamaged(results):
        if taken := _seen(record):
            seen[record.method.name, record.environment.device].append(taken)
    known: dict[tuple[object, ...], Estimate] = {}
    found = []
    for spec in specs:
        cell = spec.method, spec.dataset, spec.minibatches, spec.batch_size, spec.device
        if cell not in known:
            known[cell] = _estimate(spec, seen[spec.method, spec.device])
        found.append(known[cell])
    return found


def _estimate(spec: RunSpec, seen: Sequence[Seen]) -> Estimate:
    """Estimate a run from runs of its method on its device.

    That is the median of the seconds per mini-batch, in proportion to the rows in it, and of the
    rest, and the largest memory. The nearest records count: on the same data with the same
    hyper-parameters, on the same data with others, with the same hyper-parameters on other data of
    similar size; of these, those with the same batch size.
    """
    near, difference = _nearest(spec, seen)
    if not near:
        return Estimate(None, None, "no record")
    same = [s for s in near if s.record.budget.batch_size == spec.batch_size]
    if not same:
        sizes = sorted({s.record.budget.batch_size for s in near})
        difference += f", with batches of {' or '.join(map(str, sizes))}"
    near = same or near
    judged = [s for s in near if s.record.judge == vars(spec.judge)]
    if not judged:
        difference += ", with another judge"
    steps = median(s.step * spec.batch_size / s.record.budget.batch_size for s in near)
    # The memory of smaller batches says nothing about larger ones.
    memory = [s.memory_bytes for s in near if s.record.budget.batch_size >= spec.batch_size]
    return Estimate(
        seconds=steps * spec.minibatches + median(s.rest for s in judged or near),
        memory_bytes=max(memory, default=None),
        basis=f"{len(near)} {'record' if len(near) == 1 else 'records'}{difference}",
    )


def in_all(estimates: Iterable[Estimate], jobs: int) -> Total:
    """Return the time until the last run ends, `jobs` at a time in this order, and the memory.

    The memory is that of the `jobs` largest runs, as if they ran at the same time.
    """
    ends, memory, unknown = [0.0] * jobs, [], 0
    for each in estimates:
        if each.seconds is None:
            unknown += 1
            continue
        heapq.heapreplace(ends, ends[0] + each.seconds)
        memory.append(each.memory_bytes or 0)
    return Total(max(ends), sum(heapq.nlargest(jobs, memory)), unknown)


def _nearest(spec: RunSpec, seen: Sequence[Seen]) -> tuple[list[Seen], str]:
    """The nearest runs, and how they differ from this one."""
    here = [s for s in seen if s.record.dataset.name == spec.label]
    equal = [s for s in here or seen if s.record.method.config == spec.config]
    if here or not equal:
        return (equal, "") if equal else (here, " with other settings")
    dataset = plugins.dataset(spec.dataset)
    test = len(arrays.load(dataset, Path(spec.data_root)).test)
    size = dataset.d, min(test, spec.judge.test_rows)
    similar = [
        s
        for s in equal
        if all(abs(a - b) <= SIMILAR * max(a, b) for a, b in zip(s.size, size, strict=True))
    ]
    return similar, f" on {', '.join(sorted({s.record.dataset.name for s in similar}))}"


def _seen(record: Record) -> Seen | None:
    """What a run took; None where it failed or does not say."""
    cost, dataset, minibatches = record.cost, record.dataset, record.training.get("minibatches")
    train, memory = (
        cost.get("train_seconds"),
        cost.get("peak_gpu_bytes") or cost.get("peak_rss_bytes"),
    )
    if record.status != "ok" or not (minibatches and dataset.d and dataset.rows):
        return None
    if train is None or memory is None:
        return None
    try:
        began, ended = map(datetime.fromisoformat, (record.started, record.finished or ""))
    except ValueError:
        return None
    rest = sum(cost.get(f"{name}_seconds") or 0 for name in ("validation", "sample", "density"))
    if len(record.sessions) < 2:  # else the time from start to end includes a pause
        rest = max((ended - began).total_seconds() - train, rest)
    asked: Any = record.judge.get("test_rows")
    scored = min(dataset.rows.test or 0, asked or 0)
    return Seen(record, (dataset.d, scored), train / minibatches, rest, memory)
