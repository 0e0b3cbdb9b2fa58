"""Which runs are stale: made once, and since then something changed that they rest on.

That is the method's source, its preset, the data's revision or the metrics' version, and nothing
else: another `--set`, another budget or judge, another device or seed make another run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench.records.model import Record
from bench.records.spec import RunSpec
from bench.records.store import read_undamaged


def predecessors(results: Path) -> Callable[[RunSpec], Record | None]:
    """What finds the record of a run that differs from another by what makes stale, and only so.

    Reads every record below `results`; damaged ones are passed over.

    Raises:
        DataError: a record can't be read, or a newer program wrote it.
    """
    cells: dict[tuple[object, ...], list[Record]] = defaultdict(list)
    for found in read_undamaged(results):
        try:
            cells[_cell(found)].append(found)
        except (KeyError, TypeError, AttributeError):  # edited by hand: it says not of what it is
            continue

    def find(spec: RunSpec) -> Record | None:
        return next((r for r in cells.get(_cell_of(spec), ()) if precedes(r, spec)), None)

    return find


def precedes(found: Record, spec: RunSpec) -> bool:
    """Whether a record of the same cell is of the run as it was before something changed.

    The same was asked for if the user's own settings are the same, or all hyper-parameters are.
    A record from before settings were kept counts where the hyper-parameters agree that it and the
    run both have: its preset's later changes can't be told from the user's own values.
    """
    method, judge = found["method"], found["judge"]
    before = (method["version"], found["dataset"]["revision"], judge.get("metrics_version"))
    if before == (spec.version, spec.revision, spec.judge.metrics_version):
        return False
    asked = method["config"] == dict(spec.config)
    if "settings" in method:
        asked = asked or method["settings"] == dict(spec.settings)
    else:
        asked = asked or _agree(method["config"], spec.config)
    # A new version of the metrics may come with new fields of the judge.
    return asked and _agree(judge, vars(spec.judge) | {"metrics_version": before[2]})


def _agree(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(one[name] == other[name] for name in one.keys() & other.keys())


def _cell(r: Record) -> tuple[object, ...]:
    """What a run and its predecessor share; a record without it, or what is compared, has none."""
    method, dataset, amount, _ = r["method"], r["dataset"], r["budget"], r["judge"].keys()
    if not {"version", "config"} <= method.keys() or "revision" not in dataset:
        raise KeyError(r["run"])
    where = amount["minibatches"], amount["batch_size"], r["environment"]["device"]
    return method["name"], dataset["name"], r["seed"], *where


def _cell_of(s: RunSpec) -> tuple[object, ...]:
    return s.method, s.label, s.seed, s.minibatches, s.batch_size, s.device
