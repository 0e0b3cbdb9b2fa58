"""The comparison of methods: what each cell says, and what a reader must know beside it.

A table is plain data; `bench.table` turns it into text, LaTeX, Markdown and HTML.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any

import pandas as pd

from bench.format import Number, measured, scientific, whole
from bench.frame import Cell, cells
from bench.measures import MEASURES, Measure, measure

#: The method that every other must beat: a Gaussian fitted to the training split.
FLOOR = "gaussian"

#: What a comparison shows unless asked for something else; the wide one is for print.
NARROW = ("params", "nll", "mmd_m", "mmd_1", "train_seconds", "memory_bytes")
WIDE = (
    *("params", "minibatches", "nll", "mmd_m", "tau_m", "mmd_1", "tau_1"),
    *("train_seconds", "memory_bytes"),
)

#: An NLL whose numerical error reaches this (nats) is flagged.
SOLVER_ERROR = 0.01
#: A V-statistic's threshold this close to the statistic's floor 2/n tells nothing.
BLIND = 0.05
LEVEL = 0.05

_BELOW, _SOLVER, _SAME, _BLIND, _ONE, _MIXED = "†", "‡", "°", "◊", "¶", "§"

#: statistic -> its threshold, and the column of its p-value (the U-statistics have none)
_STATISTICS = {
    "mmd_m": ("tau_m", "p_m"),
    "mmd_1": ("tau_1", "p_1"),
    "mmd_m_u": ("tau_m_u", None),
    "mmd_1_u": ("tau_1_u", None),
}

#: What a method is given, not what comes of it.
_AMOUNTS = ("params", "minibatches", "samples_seen")

#: How a heading calls data that are not the whole published set.
_KINDS = {
    "subset": "a subset",
    "redrawn": "redrawn",
    "own": "the user's table",
}


@dataclass(frozen=True)
class Entry:
    """One cell: a number, or the word that stands in its place; then its marks."""

    number: Number | None = None
    word: str = "–"
    marks: str = ""

    def __str__(self) -> str:
        return (str(self.number) if self.number else self.word) + self.marks


@dataclass(frozen=True)
class Row:
    """A method's line: its label and marks, its seeds (3, or 2/3 where one failed), its cells."""

    label: str
    marks: str
    seeds: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Group:
    """What may be compared: rows on one revision of a data set, under one budget.

    `facts` belong into its heading; `references` are the rows of the true data's thresholds.
    """

    name: str
    facts: tuple[str, ...]
    rows: tuple[Row, ...]
    references: tuple[Row, ...]


@dataclass(frozen=True)
class Note:
    """A footnote, for all that bear its mark, or for the whole table where it has none."""

    mark: str
    text: str


@dataclass(frozen=True)
class Table:
    """A comparison, ready to render. `titles` are those of the labels and the seeds."""

    titles: tuple[str, str]
    columns: tuple[Measure, ...]
    groups: tuple[Group, ...]
    notes: tuple[Note, ...]


def comparison(
    frame: pd.DataFrame, metrics: Sequence[str] = NARROW, *, by_run: bool = False
) -> Table:
    """Compare the runs of `bench.frame.records`, a group for each data set and budget.

    ± is the standard deviation over seeds; of one seed, it is the NLL's standard error over test
    rows. By run, every run has a row of its own.

    Raises:
        UsageError: a metric has an unknown name.
    """
    for name in metrics:
        measure(name)
    known = sorted(cells(frame, by_run=by_run), key=_place)
    if metrics is NARROW and any(len(_amounts(list(m))) > 1 for _, m in groupby(known, _heading)):
        metrics = ("params", "minibatches", *NARROW[1:])
    floors = _floors(known)
    one = _ONE if any(len(cell.ok) > 1 for cell in known) else ""
    groups = tuple(
        _group(heading, list(members), metrics, floors, one)
        for heading, members in groupby(known, _heading)
    )
    used = "".join(
        row.marks + "".join(entry.marks for entry in row.entries)
        for group in groups
        for row in (*group.rows, *group.references)
    )
    notes = tuple(_notes(known, metrics, used))
    titles = ("run", "seed") if by_run else ("method", "seeds")
    return Table(titles, tuple(MEASURES[name] for name in metrics), groups, notes)


def _heading(cell: Cell) -> tuple[Any, Any, Any]:
    return cell.key["dataset"], cell.key["dataset_revision"], cell.shared("budget")


def _place(cell: Cell) -> tuple[object, ...]:
    """Where a row stands: by heading, then by method, the floor last."""
    method = str(cell.key["method"])
    return *map(str, _heading(cell)), method == FLOOR, method


def _amounts(members: Iterable[Cell]) -> list[tuple[Any, Any]]:
    """The numbers of mini-batches and rows in each, as the budget gave them."""
    amounts = {(c.key["planned_minibatches"], c.key["batch_size"]) for c in members}
    return sorted((n, b) for n, b in amounts if n is not None and b is not None)


def _floors(known: Iterable[Cell]) -> dict[tuple[Any, Any], float]:
    """The lowest NLL of a fitted Gaussian on each revision of each data set."""
    floors: dict[tuple[Any, Any], float] = {}
    for cell in known:
        nll = cell.mean("nll")
        if cell.key["method"] == FLOOR and nll == nll:
            place = _heading(cell)[:2]
            floors[place] = min(nll, floors.get(place, nll))
    return floors


def _group(
    heading: tuple[Any, Any, Any],
    members: list[Cell],
    metrics: Sequence[str],
    floors: dict[tuple[Any, Any], float],
    one: str,
) -> Group:
    labels = _labels(members)
    rows = [
        _row(cell, label, metrics, floors.get(heading[:2]), one)
        for cell, label in zip(members, labels, strict=True)
    ]
    thresholds = [_STATISTICS[m][0] for m in metrics if m in _STATISTICS]
    references = []
    if any(tau not in metrics for tau in thresholds):
        references.append(_true_data(members, metrics))
    return Group(str(heading[0] or "?"), _facts(heading, members), tuple(rows), tuple(references))


def _facts(heading: tuple[Any, Any, Any], members: list[Cell]) -> tuple[str, ...]:
    d, kind, entropy, subset = (
        next((v for v in (c.shared(n) for c in members) if v is not None), None)
        for n in ("d", "data_kind", "entropy", "subset")
    )
    facts = [f"d = {d}"] if d is not None else []
    if kind in _KINDS or subset:
        facts.append(_KINDS.get(str(kind), _KINDS["subset"]))
    if entropy is not None:
        facts.append(f"best attainable NLL {measured(float(entropy))}")
    each = ", ".join(f"{whole(n)} × {whole(b)} rows" for n, b in _amounts(members))
    facts.append(f"budget {heading[2] or '?'}" + (f" ({each})" if each else ""))
    facts.append(f"revision {str(heading[1] or 'unknown')[:8]}")
    return tuple(facts)


def _labels(members: list[Cell]) -> list[str]:
    """The runs' names, or the methods', numbered where one has several rows."""
    if "run" in members[0].key:
        return [str(cell.key["run"]) for cell in members]
    repeated = Counter(cell.key["method"] for cell in members)
    seen: Counter[str] = Counter()
    labels = []
    for cell in members:
        name = cell.key["method"]
        seen[name] += 1
        labels.append(f"{name} ({seen[name]})" if repeated[name] > 1 else str(name))
    return labels


def _row(cell: Cell, label: str, metrics: Sequence[str], floor: float | None, one: str) -> Row:
    ok, total = len(cell.ok), len(cell.runs)
    seeds = str(total) if ok == total else f"{ok}/{total}"
    if "run" in cell.key:
        seeds = str(cell.shared("seed"))
    if not ok:
        ended = " + ".join(str(s) for s in cell.runs["status"].unique())
        main = next((i for i, m in enumerate(metrics) if m not in _AMOUNTS), 0)
        entries = [Entry(word=ended) if i == main else Entry() for i in range(len(metrics))]
        if "params" in metrics and (params := cell.shared("params")) is not None:
            entries[list(metrics).index("params")] = Entry(_form("params", params))
        return Row(label, "", seeds, tuple(entries))
    marks = ""
    nll = cell.mean("nll")
    if floor is not None and nll > floor and cell.key["method"] != FLOOR:
        marks += _BELOW
    if cell.ok["nll_solver_error"].max() >= SOLVER_ERROR:
        marks += _SOLVER
    if cell.ok["hardware"].nunique() > 1:
        marks += _MIXED
    return Row(label, marks, seeds, tuple(_entry(cell, name, one) for name in metrics))


def _entry(cell: Cell, name: str, one: str) -> Entry:
    mean, sd = cell.mean(name), cell.sd(name)
    if mean != mean:
        return Entry()
    marks = ""
    if name == "nll" and len(cell.ok) == 1:
        sd = cell.mean("nll_se")
        marks += one
    if name in _STATISTICS:
        marks += _SAME if _undistinguished(cell, name) else ""
    if any(name == tau and _blind(cell, s) for s, (tau, _) in _STATISTICS.items()):
        marks += _BLIND
    return Entry(_form(name, mean, None if sd != sd else sd), marks=marks)


def _form(name: str, value: float, error: float | None = None) -> Number:
    return MEASURES[name].form(float(value), error)


def _undistinguished(cell: Cell, name: str) -> bool:
    """Whether no run's samples are told from true data at the level of 5 %."""
    tau, p = _STATISTICS[name]
    if p is not None:
        return bool((cell.ok[p] >= LEVEL).all())
    return bool((cell.ok[name] <= cell.ok[tau]).all())


def _blind(cell: Cell, name: str) -> bool:
    """Whether a V-statistic's threshold is all floor: 2/n, for two samples of n rows."""
    if name.endswith("_u"):
        return False
    floor = 2 / cell.ok["mmd_n"].astype("float64")
    tau = cell.ok[_STATISTICS[name][0]]
    return bool(((tau / floor - 1).abs() < BLIND).any())


def _true_data(members: list[Cell], metrics: Sequence[str]) -> Row:
    """The row of thresholds: what the statistics of two samples of true data stay below."""
    ok = pd.concat([cell.ok for cell in members])
    entries = []
    for name in metrics:
        tau = _STATISTICS[name][0] if name in _STATISTICS else None
        # The threshold depends on the seed's test sample and not on the method.
        known = ok.groupby("seed")[tau].mean().dropna() if tau and tau not in metrics else None
        if known is None or not len(known):
            entries.append(Entry(word=""))
        else:
            sd = float(known.std()) if len(known) > 1 else None
            blind = any(len(cell.ok) and _blind(cell, name) for cell in members)
            number = scientific(float(known.mean()), sd)
            entries.append(Entry(number, marks=_BLIND if blind else ""))
    return Row("true data, τ", "", "", tuple(entries))


def _notes(known: list[Cell], metrics: Sequence[str], used: str) -> Iterable[Note]:
    """The footnotes: those of the marks in use, how it was measured, what is missing or mixed."""
    ok = pd.concat([cell.ok for cell in known])
    runs = pd.concat([cell.runs for cell in known])
    if any(len(cell.ok) > 1 for cell in known):
        yield Note(
            "",
            "± is the standard deviation over seeds (ddof 1, n in the column 'seeds'; k/n: only "
            "k of n seeds ended well, and the mean is over those).",
        )
    elif "nll" in metrics and len(ok):
        yield Note("", f"± is the standard error over the {_span(ok['nll_rows'])} test rows.")
    if _ONE in used:
        rows = _span(ok["nll_rows"])
        yield Note(_ONE, f"One seed: ± is the standard error over the {rows} test rows.")
    if _BELOW in used:
        yield Note(
            _BELOW,
            "Below the floor: its NLL is worse than that of one Gaussian fitted to the same "
            f"training split ({FLOOR}).",
        )
    if _SOLVER in used:
        yield Note(
            _SOLVER,
            f"NLL changes by {SOLVER_ERROR} nats or more when the solver's tolerance is ten times "
            "tighter.",
        )
    if _SAME in used:
        yield Note(_SAME, "Not distinguished from data at 5 %, in any of its runs.")
    if _BLIND in used:
        yield from _blind_notes(known, metrics)
    if _MIXED in used:
        yield Note(_MIXED, "Its seeds ran on different hardware: no costs to compare.")
    yield Note("", _how(ok, metrics))
    yield Note("", _where(runs, ok, metrics))
    yield from _data_notes(known)
    yield from _variant_notes(known)
    yield from _failures(runs)


def _blind_notes(known: list[Cell], metrics: Sequence[str]) -> Iterable[Note]:
    for name in (m for m in metrics if m in _STATISTICS):
        blind = [cell for cell in known if len(cell.ok) and _blind(cell, name)]
        if blind:
            places = ", ".join(sorted({str(cell.key["dataset"]) for cell in blind}))
            n = _span(pd.concat([cell.ok["mmd_n"] for cell in blind]))
            yield Note(
                _BLIND,
                f"{MEASURES[name].title} can't discriminate on {places}: its τ is within 5 % of "
                f"2/n (n = {n}), the floor of a V-statistic of any two samples; see {name}_u.",
            )


def _how(ok: pd.DataFrame, metrics: Sequence[str]) -> str:
    rows, n, permutations = (_span(ok[c]) for c in ("nll_rows", "mmd_n", "permutations"))
    parts = []
    if any(m.startswith("nll") for m in metrics):
        judge = "; or ".join(sorted(j for j in ok["judge"].dropna().unique() if j))
        parts.append(
            "NLL: nats per row"
            + (f", {rows} test rows" if rows else "")
            + (f", exact divergence, {judge}." if judge else ".")
        )
    if any(m in _STATISTICS for m in metrics):
        parts.append(
            "MMD: squared, Gaussian kernel (m: median bandwidth, 1: bandwidth 1)"
            + (f", two samples of {n}" if n else "")
            + (f"; τ: its 95 % quantile for true data, {permutations} permutations." if n else ".")
        )
    return " ".join(parts) or "Costs as measured, evaluations included."


def _where(runs: pd.DataFrame, ok: pd.DataFrame, metrics: Sequence[str]) -> str:
    seeds = ", ".join(str(s) for s in sorted(runs["seed"].dropna().unique()))
    devices = ", ".join(sorted(runs["device"].dropna().unique())) or "unknown"
    hardware = "; ".join(sorted(runs["hardware"].dropna().unique()))
    text = f"Seeds: {seeds}. Device: {devices}" + (f" ({hardware})." if hardware else ".")
    if "memory_bytes" in metrics and len(ok):
        on_gpu = ok["device"].str.startswith("cuda").fillna(False)
        kinds = [
            *(["allocated on the GPU"] if on_gpu.any() else []),
            *(["resident, the whole process"] if (~on_gpu).any() else []),
        ]
        text += f" Memory: peak, {' or '.join(kinds)}."
    return text


def _data_notes(known: list[Cell]) -> Iterable[Note]:
    for heading, members in groupby(known, _heading):
        if len(_amounts(list(members))) > 1:
            yield Note("", f"{heading[0]}: the rows' budgets differ; compare those that agree.")
    for kind, meaning in (
        ("subset", "a subset of the real set; not to be put beside published figures"),
        ("redrawn", "drawn anew from the real source material, other rows than the published set"),
    ):
        names = {str(c.key["dataset"]) for c in known if c.shared("data_kind") == kind}
        if names:
            yield Note("", f"{', '.join(sorted(names))}: {meaning}.")
    revisions = {(c.key["dataset"], c.key["dataset_revision"]) for c in known}
    for name, times in sorted(Counter(str(n) for n, _ in revisions).items()):
        if times > 1:
            yield Note("", f"{name}: {times} revisions of the data, which can't be compared.")
    floored = {_heading(c)[:2] for c in known if c.key["method"] == FLOOR and len(c.ok)}
    bare = sorted({str(c.key["dataset"]) for c in known if _heading(c)[:2] not in floored})
    if bare:
        yield Note("", f"No floor was measured on {', '.join(bare)} (method {FLOOR}).")


def _variant_notes(known: list[Cell]) -> Iterable[Note]:
    """What tells apart the rows of one method, and methods that have several versions."""
    for heading, members in groupby(known, _heading):
        for name, rows in groupby(members, key=lambda cell: cell.key["method"]):
            several = list(rows)
            if len(several) > 1 and "run" not in several[0].key:
                yield Note("", f"{name} on {heading[0]}: {'; '.join(_differences(several))}.")
    versions: dict[str, set[str]] = {}
    for cell in known:
        versions.setdefault(str(cell.key["method"]), set()).add(str(cell.key["version"]))
    for name, found in sorted(versions.items()):
        if len(found) > 1:
            yield Note(
                "", f"{name}: {len(found)} versions of its code ({', '.join(sorted(found))})."
            )
    repeats = sum(cell.repeats for cell in known)
    if repeats:
        yield Note("", f"{repeats} earlier run(s) of a seed are left out; the latest counts.")


def _differences(rows: list[Cell]) -> list[str]:
    names = {
        "version": "version",
        "device": "device",
        "planned_minibatches": "mini-batches",
        "batch_size": "batch size",
    }
    told = [k for k in names if len({str(row.key[k]) for row in rows}) > 1]
    texts = []
    for number, row in enumerate(rows, start=1):
        parts = [f"{names[k]} {row.key[k]}" for k in told]
        parts += [str(row.shared("settings"))] if row.shared("settings") else []
        texts.append(f"({number}) {', '.join(parts) or row.key['variant']}")
    return texts


def _failures(runs: pd.DataFrame, most: int = 6) -> Iterable[Note]:
    failed = runs[runs["status"] != "ok"]
    alike = failed.groupby(["method", "dataset", "status", "reason"], dropna=False)["seed"]
    key: Any
    for key, seeds in islice(alike, most):
        method, dataset, status, reason = key
        why = "" if pd.isna(reason) else f": {' '.join(str(reason).split())}"
        why = f"{why[:117]}..." if len(why) > 120 else f"{why.rstrip('.')}."
        which = ", ".join(str(s) for s in sorted(seeds))
        yield Note("", f"Failed: {method} on {dataset}, seed {which}, {status}{why}")
    if alike.ngroups > most:
        yield Note("", "And other failed runs (bench list runs).")


def _span(values: pd.Series[Any]) -> str:
    """One number, or the range from the least to the greatest; empty where none is known."""
    known = values.dropna()
    if not len(known):
        return ""
    low, high = whole(known.min()), whole(known.max())
    return low if low == high else f"{low}–{high}"
