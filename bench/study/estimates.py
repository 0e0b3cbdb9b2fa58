"""What the runs of a plan will take, in seconds and bytes, by the records of earlier ones.

A figure rests on records of the same method on the same device, or there is none.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
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

#: Sizes that differ by more than this share are not alike.
ALIKE = 0.25


@dataclass(frozen=True)
class Estimate:
    """What one run will take: seconds from start to end, bytes of memory at the peak.

    Each is None where no record tells; `basis` says on how many records they rest, and in what
    those differ from the run.
    """

    seconds: float | None
    memory_bytes: int | None
    basis: str


@dataclass(frozen=True)
class Total:
    """What all runs will take side by side; `unknown` of them have no estimate and are left out."""

    seconds: float
    memory_bytes: int
    unknown: int


@dataclass(frozen=True)
class Seen:
    """What a run took that ended well: `step` in seconds a mini-batch, `rest` all but training.

    `scored` are the test rows that the judge had.
    """

    dataset: str
    config: Mapping[str, Any]
    judge: Mapping[str, Any]
    batch_size: int
    d: int
    scored: int
    step: float
    rest: float
    memory_bytes: int


def estimates(specs: Iterable[RunSpec], results: Path) -> list[Estimate]:
    """An estimate for each run of one study, which differ in their seeds or in more.

    Raises:
        DataError: a record can't be read, or a newer program wrote it.
    """
    seen = _seen(read_undamaged(results))
    known: dict[tuple[object, ...], Estimate] = {}
    found = []
    for spec in specs:
        cell = spec.method, spec.dataset, spec.minibatches, spec.batch_size, spec.device
        if cell not in known:
            known[cell] = estimate(spec, seen.get((spec.method, spec.device), ()))
        found.append(known[cell])
    return found


def estimate(spec: RunSpec, seen: Sequence[Seen]) -> Estimate:
    """What a run will take, by runs of its method on its device.

    The median of seconds a mini-batch, in proportion to the rows in it, and of what the judge and
    all else took; the largest memory. Of the runs that are there the nearest count: on the same
    data with the same hyper-parameters, on the same data with others, with the same
    hyper-parameters on other data alike in size; among these, with the same batch size.
    """
    near, difference = _nearest(spec, seen)
    if not near:
        return Estimate(None, None, "no record")
    same = [s for s in near if s.batch_size == spec.batch_size]
    if not same:
        sizes = sorted({s.batch_size for s in near})
        difference += f", of batches of {' or '.join(map(str, sizes))}"
    near = same or near
    judged = [s for s in near if dict(s.judge) == vars(spec.judge)]
    if not judged:
        difference += ", another judge's"
    steps = median(s.step * spec.batch_size / s.batch_size for s in near)
    # What smaller batches took says nothing of larger ones.
    memory = [s.memory_bytes for s in near if s.batch_size >= spec.batch_size]
    return Estimate(
        seconds=steps * spec.minibatches + median(s.rest for s in judged or near),
        memory_bytes=max(memory, default=None),
        basis=f"{len(near)} {'record' if len(near) == 1 else 'records'}{difference}",
    )


def in_all(estimates: Iterable[Estimate], jobs: int) -> Total:
    """The time until the last run ends, `jobs` at a time in this order, and the most memory.

    That is of the `jobs` runs that take the most, as if these met.
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
    """The nearest runs, and in what they differ."""
    here = [s for s in seen if s.dataset == spec.label]
    equal = [s for s in here if s.config == spec.config]
    if equal or here:
        return (equal, "") if equal else (here, " with other settings")
    there = [s for s in seen if s.config == spec.config]
    if there:
        dataset = plugins.dataset(spec.dataset)
        test = len(arrays.load(dataset, Path(spec.data_root)).test)
        scored = min(test, spec.judge.test_rows)
        there = [s for s in there if _alike(s.d, dataset.d) and _alike(s.scored, scored)]
    return there, f" on {', '.join(sorted({s.dataset for s in there}))}"


def _alike(one: int, other: int) -> bool:
    return abs(one - other) <= ALIKE * max(one, other)


def _seen(records: Iterable[Record]) -> dict[tuple[str, str], list[Seen]]:
    """What the records tell, by method and device; failed runs tell nothing."""
    found = defaultdict(list)
    for record in records:
        try:
            if record["status"] == "ok":
                where = record["method"]["name"], record["environment"]["device"]
                found[where].append(_of(record))
        except (KeyError, TypeError, ValueError, ZeroDivisionError):
            continue  # edited by hand: it says less than it should
    return found


def _of(record: Record) -> Seen:
    cost, dataset, judge = record["cost"], record["dataset"], record["judge"]
    train = float(cost["train_seconds"])
    began, ended = (datetime.fromisoformat(record[name]) for name in ("started", "finished"))
    stopped = len(record.get("sessions", ())) > 1
    known = sum(
        float(cost.get(f"{part}_seconds") or 0) for part in ("validation", "sample", "density")
    )
    return Seen(
        dataset=dataset["name"],
        config=record["method"]["config"],
        judge=judge,
        batch_size=int(record["budget"]["batch_size"]),
        d=int(dataset["d"]),
        scored=min(int(dataset["rows"]["test"]), int(judge["test_rows"])),
        step=train / int(record["training"]["minibatches"]),
        # Of a run that was stopped, the time from start to end counts the pause too.
        rest=known if stopped else max((ended - began).total_seconds() - train, known),
        memory_bytes=int(cost.get("peak_gpu_bytes") or cost["peak_rss_bytes"]),
    )
