"""The notes below a table and its caption: what marks mean, how numbers were measured."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import Any

import numpy as np
import pandas as pd

from bench.records.format import span, whole
from bench.records.frame import Cell
from bench.records.measures import MEASURES
from bench.stats.significance import Decision, Test
from bench.tables.layout import Note, labels
from bench.tables.marks import (
    BELOW,
    BEST,
    BLIND,
    FLOOR,
    GAP,
    GAP_BOUND,
    LEVEL,
    MASS,
    MASS_BOUND,
    MIXED,
    ONE,
    SAME,
    SECOND,
    SOLVER,
    SOLVER_ERROR,
    STATISTICS,
    TRIP,
    TRIP_BOUND,
    Contest,
    amounts_of,
    heading_of,
    is_blind,
    is_complete,
)

#: The columns that the footnotes read.
_READ = (
    *("method", "dataset", "seed", "status", "reason", "device", "hardware", "judge"),
    *("nll_rows", "test_rows", "nll_groups", "mmd_n", "permutations"),
)


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


def notes_of(known: list[Cell], metrics: Sequence[str], used: str) -> Iterable[Note]:
    """The footnotes: those of the marks in use, how it was measured, what is missing or mixed.

    The cells come in the order of their rows.
    """
    runs = known[0].columns.frame[list(_READ)].iloc[np.concatenate([c.rows for c in known])]
    ok = runs[(runs["status"] == "ok").fillna(False)]
    if any(len(cell.well) > 1 for cell in known):
        yield Note(
            "",
            "± is the standard deviation over seeds (ddof 1, n in the column 'seeds'; k/n: only "
            "k of n seeds ended well, and the mean is over those).",
        )
    elif "nll" in metrics and len(ok):
        yield Note("", f"± is the standard error over the {_scored(ok)}.")
    if ONE in used:
        yield Note(ONE, f"One seed: ± is the standard error over the {_scored(ok)}.")
    if BELOW in used:
        yield Note(
            BELOW,
            "Below the floor: its NLL is worse than that of one Gaussian fitted to the same mini-"
            f"batches ({FLOOR}).",
        )
    if SOLVER in used:
        yield Note(
            SOLVER,
            f"NLL changes by {SOLVER_ERROR} nats or more when the solver's tolerance is ten times "
            "tighter, and did so however tight it was made; why, says --details.",
        )
    yield from _bound_notes(used)
    if SAME in used:
        yield Note(SAME, "Not distinguished from data at 5 %, in any of its runs.")
    if BLIND in used:
        yield from _blind_notes(known, metrics)
    if MIXED in used:
        yield Note(MIXED, "Its seeds ran on different hardware: no costs to compare.")
    yield Note("", _how(ok, metrics))
    yield Note("", _where(runs, ok, metrics))
    yield from _data_notes(known)
    yield from _variant_notes(known)
    yield from _failures(runs)


def _bound_notes(used: str) -> Iterable[Note]:
    if GAP in used:
        yield Note(
            GAP,
            f"NLL by the method's own steps is off by more than {GAP_BOUND} nats.",
        )
    if MASS in used:
        yield Note(MASS, f"The density's integral is off by more than {MASS_BOUND}.")
    if TRIP in used:
        yield Note(
            TRIP,
            f"Rows sent to noise and back miss by more than {TRIP_BOUND:g} of their size (median).",
        )


def _blind_notes(known: list[Cell], metrics: Sequence[str]) -> Iterable[Note]:
    for name in (m for m in metrics if m in STATISTICS):
        blind = [cell for cell in known if len(cell.well) and is_blind(cell, name)]
        if blind:
            places = ", ".join(sorted({str(cell.key["dataset"]) for cell in blind}))
            n = span(pd.concat([cell.ok["mmd_n"] for cell in blind]))
            yield Note(
                BLIND,
                f"{MEASURES[name].title} can't discriminate on {places}: chance moves it by less "
                f"than 5 % of 2/n (n = {n}), the floor of a V-statistic; see {name}_u.",
            )


def _how(ok: pd.DataFrame, metrics: Sequence[str]) -> str:
    rows, n, permutations = (span(ok[c]) for c in ("nll_rows", "mmd_n", "permutations"))
    parts = []
    if any(m.startswith("nll") for m in metrics):
        judge = "; or ".join(sorted(j for j in ok["judge"].dropna().unique() if j))
        parts.append(
            "NLL: nats per row"
            + (f", {rows} test rows" if rows else "")
            + (f", exact divergence, {judge}." if judge else ".")
        )
    if any(m in STATISTICS for m in metrics):
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
    for heading, members in groupby(known, heading_of):
        if len(amounts_of(list(members))) > 1:
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
    floored = {heading_of(c)[:2] for c in known if c.key["method"] == FLOOR and len(c.well)}
    bare = sorted({str(c.key["dataset"]) for c in known if heading_of(c)[:2] not in floored})
    if bare:
        yield Note("", f"No floor was measured on {', '.join(bare)} (method {FLOOR}).")


def _variant_notes(known: list[Cell]) -> Iterable[Note]:
    """What the numbers of one method's rows stand for, and methods that have several versions."""
    for heading, members in groupby(known, heading_of):
        rows = [cell for cell in members if "run" not in cell.key]
        told = "; ".join(f"{one}: {one.meaning}" for one in labels(rows) if one.meaning)
        if told:
            yield Note("", f"On {heading[0]}, {told}.")
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


def _scored(ok: pd.DataFrame) -> str:
    """The test rows that were scored, and the groups that they come in where they do."""
    text = f"{span(ok['nll_rows'])} test rows"
    part = ok[ok["nll_rows"] < ok["test_rows"]]
    if len(part):
        text += f" (of {span(part['test_rows'])})"
    groups = span(ok["nll_groups"])
    return f"{text}, in {groups} groups of rows that are alike" if groups else text


def best_notes(
    found: Sequence[Contest], known: Iterable[Cell], *, second: bool
) -> Iterator[tuple[str, str]]:
    """The footnotes' marks and texts: what bold means, how it was decided where; underlining."""
    if not found:
        return
    alike = defaultdict(list)
    for contest in found:
        alike[_tested(contest.decision)].append(contest.place)
    text = (
        f"The lowest mean NLL, and every one not significantly higher (two-sided, "
        f"{100 * LEVEL:g} %, Holm over all pairs of a comparison)."
    )
    for how, places in alike.items():
        text += f" {', '.join(dict.fromkeys(places))}: {how}."
    if any(len(cell.well) and not is_complete(cell) for cell in known):
        text += " Rows with a failed seed take no part."
    marked = any(contest.decision.kept for contest in found)
    yield (BEST if marked else ""), text
    if second:
        yield (
            SECOND,
            "The lowest of those that are neither bold nor below the floor, and every one not "
            "significantly higher than it, by the same tests.",
        )


def _tested(decision: Decision) -> str:
    rows = f"{whole(decision.rows)} test rows"
    if decision.groups < decision.rows:
        rows += f" in {whole(decision.groups)} groups"
    return _HOW[decision.test].format(seeds=_count_seeds(decision.seeds), rows=rows)


def _count_seeds(number: int) -> str:
    return f"{number} seed" if number == 1 else f"{number} seeds"


def caption_of(known: Sequence[Cell], metrics: Sequence[str]) -> str:
    """A few sentences; the footnotes have the rest."""
    methods, datasets = (sorted({str(c.key[n]) for c in known}) for n in ("method", "dataset"))
    where = f" on {datasets[0]}" if len(datasets) == 1 else f" on {len(datasets)} data sets"
    what = f"The method {methods[0]}" if len(methods) == 1 else f"{len(methods)} methods"
    sentences = [f"{what}{where}, {_budgets(known)}, {_seeds(known)}."]
    several = any(len(cell.well) > 1 for cell in known)
    if any(len(cell.well) for cell in known) and (several or "nll" in metrics):
        over = "standard deviation over seeds" if several else "standard error over test rows"
        sentences.append(f"± is the {over}.")
    if any(name.startswith("nll") for name in metrics):
        judges = sorted({str(v) for c in known for v in c.known("judge") if v})
        by = f", by {' or '.join(judges)} and the exact divergence" if judges else ""
        sentences.append(f"NLL in nats per row{by}.")
    part = sorted({str(c.key["dataset"]) for c in known if c.shared("subset")})
    if part:
        sentences.append(f"Of {', '.join(part)} only a subset of the rows.")
    return " ".join(sentences)


def _budgets(known: Sequence[Cell]) -> str:
    names = sorted({str(heading_of(cell)[2] or "?") for cell in known})
    amounts = amounts_of(known)
    if len(names) > 1:
        return f"under the budgets {', '.join(names)}"
    if len(amounts) != 1:
        return f"under the budget {names[0]}"
    ((n, b),) = amounts
    return f"under the budget {names[0]} ({whole(n)} mini-batches of {whole(b)} rows)"


def _seeds(known: Sequence[Cell]) -> str:
    counts = span(pd.Series([len(cell.rows) for cell in known]))
    return f"{counts} {'seed' if counts == '1' else 'seeds'}"
