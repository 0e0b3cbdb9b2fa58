"""The notes below a table and its caption: what marks mean, how numbers were measured."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd

from bench.records import catalogue
from bench.records.format import span, whole
from bench.records.frame import Cell
from bench.stats.ranking import Ranking
from bench.stats.significance import LEVEL, PERCENT, Test
from bench.tables import marks
from bench.tables.layout import Note, labels

#: The columns that the notes read: to take all of them takes seconds for thousands of runs.
_READ = (
    *("method", "dataset", "seed", "status", "reason", "device", "hardware", "judge"),
    *("nll_rows", "test_rows", "nll_groups", "mmd_n", "aggregated_n", "permutations"),
)

#: A run whose training took more seconds than these, and more than so many times its CPU seconds,
#: was made on a busy machine.
BUSY_SECONDS, BUSY_RATIO = 1.0, 2.0

#: How two methods were compared, in words.
_TESTS: dict[Test, str] = {
    "paired": (
        "differences paired over {seeds} and the same {rows}, both random effects (Cochran's t)"
    ),
    "welch": (
        "Welch's t over {seeds} or more per method, because not all runs have the same seeds and "
        "the log-densities of the same test rows"
    ),
    "paired rows": (
        "differences paired over the same {rows}, one seed; this compares the trained models and "
        "says nothing about other seeds"
    ),
    "rows": (
        "z-test of the means with their standard errors over test rows, because there is one seed "
        "and no log-densities; this compares the trained models and says nothing about other seeds"
    ),
    "none": "not tested, because there is one seed and no standard error",
}


def short_notes(
    found: Sequence[marks.Contest],
    known: Sequence[Cell],
    metrics: Sequence[str],
    used: str,
    rankings: Sequence[Ranking],
    *,
    second: bool,
) -> Iterator[Note]:
    """The notes that a reader needs first, a line of 80 columns each."""
    if any(contest.decision.kept for contest in found):
        text = f"Best NLL, or not significantly worse ({PERCENT}, Holm)"
        yield Note(
            marks.BEST,
            f"{text}; {marks.SECOND} or underlined: next best." if second else f"{text}.",
        )
    sentences = []
    seeds = span(pd.Series([len(cell.well) for cell in known if len(cell.well)], dtype="float64"))
    if marks.ONE in used:
        sentences.append(f"± s.d. over seeds ({marks.ONE} one seed: s.e. over test rows).")
    elif seeds == "1" and "nll" in metrics:
        sentences.append("± standard error over test rows, one seed.")
    elif seeds not in ("", "1"):
        sentences.append(f"± standard deviation over {seeds} seeds.")
    if marks.BELOW in used:
        sentences.append(f"{marks.BELOW} Worse than a fitted Gaussian.")
    if sentences:
        yield Note("", " ".join(sentences))
    if marks.VERDICT in metrics and any(marks.verdict_of(cell) for cell in known):
        yield Note("", f"Samples vs data: one MMD test over seven bandwidths, {PERCENT}, Holm.")
    yield from _busy_notes(known)
    for ranking in rankings[:1]:
        first = (f"{ranking.methods[j]} {ranking.average[j]:.2f}" for j in ranking.order[:3])
        yield Note("", f"Average rank on {len(ranking.datasets)} data sets: {', '.join(first)}.")
    more = [
        mark
        for mark in (marks.SOLVER, marks.GAP, marks.MASS, marks.TRIP, marks.BLIND, marks.MIXED)
        if mark in used
    ]
    if any(len(cell.well) < len(cell.rows) for cell in known):
        more.append("failed runs")
    explained = f" (explains {', '.join(more)})" if more else ""
    yield Note("", f"More: --notes full{explained}, --details.")


def best_notes(
    found: Sequence[marks.Contest], known: Iterable[Cell], *, second: bool
) -> Iterator[Note]:
    """What bold means, by which test that was decided where, and what underlining means."""
    if not found:
        return
    by_test = defaultdict(list)
    for contest in found:
        decision = contest.decision
        rows = f"{whole(decision.rows)} test rows"
        if decision.groups < decision.rows:
            rows += f" in {whole(decision.groups)} groups"
        seeds = f"{decision.seeds} seed{'' if decision.seeds == 1 else 's'}"
        by_test[_TESTS[decision.test].format(seeds=seeds, rows=rows)].append(contest.place)
    text = (
        "The lowest mean NLL, and all that are not significantly higher (two-sided tests at "
        f"{PERCENT}, Holm-corrected over all pairs of a comparison)."
    )
    for how, places in by_test.items():
        text += f" On {', '.join(dict.fromkeys(places))}: {how}."
    if any(len(cell.well) and not marks.is_complete(cell) for cell in known):
        text += " Rows with a failed seed are not compared."
    yield Note(marks.BEST if any(contest.decision.kept for contest in found) else "", text)
    if second:
        yield Note(
            marks.SECOND,
            "The lowest NLL of the rest, and all that are not significantly higher by the same "
            "tests; never one that is worse than the Gaussian.",
        )


def notes_of(known: list[Cell], metrics: Sequence[str], used: str) -> Iterator[Note]:
    """What the marks in use mean, how the numbers were measured, what is missing or mixed.

    The cells come in the order of their rows.
    """
    runs = known[0].columns.frame[list(_READ)].iloc[np.concatenate([c.rows for c in known])]
    ok = runs[(runs["status"] == "ok").fillna(False)]
    if any(len(cell.well) > 1 for cell in known):
        text = (
            "± is the standard deviation over seeds (ddof 1). The column 'seeds' has their number; "
            "k/n means that k of n seeds ended well, and that the mean is over those."
        )
        yield Note("", text)
    elif "nll" in metrics and len(ok):
        yield Note("", f"± is the standard error over the {_scored(ok)}.")
    if marks.ONE in used:
        yield Note(marks.ONE, f"One seed: ± is the standard error over the {_scored(ok)}.")
    meanings = {
        marks.BELOW: "Worse than a Gaussian fitted to the same mini-batches, by its NLL.",
        marks.SOLVER: (
            f"The NLL changes by {marks.SOLVER_ERROR} nats or more when the solver's tolerance is "
            "ten times tighter, at every tolerance that was tried; see --details."
        ),
        marks.GAP: f"The NLL by the method's own steps is off by more than {marks.GAP_BOUND} nats.",
        marks.MASS: f"The density's integral is off by more than {marks.MASS_BOUND}.",
        marks.TRIP: (
            "Rows sent to noise and back miss their start by more than "
            f"{marks.TRIP_BOUND:g} of their size (median)."
        ),
    }
    yield from (Note(mark, text) for mark, text in meanings.items() if mark in used)
    if marks.BLIND in used:
        yield from _blind_notes(known, metrics)
    if marks.MIXED in used:
        yield Note(marks.MIXED, "Seeds ran on different hardware; do not compare the costs.")
    if marks.VERDICT in metrics:
        yield from _verdict_notes(known, ok)
    yield Note("", _how_measured(ok, metrics))
    yield Note("", _where(runs, ok, metrics))
    yield from _busy_notes(known)
    yield from _data_notes(known)
    yield from _variant_notes(known)
    yield from _failures(runs)


def _verdict_notes(known: Iterable[Cell], ok: pd.DataFrame) -> Iterator[Note]:
    verdicts = [(cell, found) for cell in known if (found := marks.verdict_of(cell))]
    if not verdicts:
        return
    n = span(ok["aggregated_n"])
    text = (
        "Samples vs data: one two-sample test (MMD over seven bandwidths"
        + (f", two samples of {n}" if n else "")
        + "). p is the smallest over seeds after Holm's correction; samples differ where it is at "
        + f"most {LEVEL:g}."
    )
    disagreeing = [
        f"{', '.join(found.disagreeing)} ({cell.key['method']} on {cell.key['dataset']})"
        for cell, found in verdicts
        if found.disagreeing
    ]
    if disagreeing:
        text += (
            " These tests find a difference where it finds none, Holm-corrected over all tests: "
            f"{'; '.join(dict.fromkeys(disagreeing))}."
        )
    yield Note("", text)


def _blind_notes(known: list[Cell], metrics: Sequence[str]) -> Iterator[Note]:
    for name, column in catalogue.statistics().items():
        if name not in metrics:
            continue
        blind = [cell for cell in known if len(cell.well) and marks.is_blind(cell, name)]
        if blind:
            places = ", ".join(sorted({str(cell.key["dataset"]) for cell in blind}))
            n = span(pd.concat([cell.ok["mmd_n"] for cell in blind]))
            yield Note(
                marks.BLIND,
                f"{column.title} can't discriminate on {places}: chance moves it by less than 5 % "
                f"of 2/n (n = {n}), the least value of a V-statistic; see {name}_u.",
            )


def _how_measured(ok: pd.DataFrame, metrics: Sequence[str]) -> str:
    rows, n, permutations = (span(ok[c]) for c in ("nll_rows", "mmd_n", "permutations"))
    parts = []
    if any(m.startswith("nll") for m in metrics):
        solvers = "; or ".join(sorted(j for j in ok["judge"].dropna().unique() if j))
        parts.append(
            "NLL: nats per row"
            + (f", {rows} test rows" if rows else "")
            + (f", exact divergence, {solvers}." if solvers else ".")
        )
    if any(m in catalogue.statistics() for m in metrics):
        parts.append(
            "MMD: squared, Gaussian kernel (m: median bandwidth, 1: bandwidth 1)"
            + (f", two samples of {n}" if n else "")
            + (f"; τ: 95 % quantile for true data, {permutations} permutations." if n else ".")
        )
    return " ".join(parts) or "Costs include the evaluations while training."


def _where(runs: pd.DataFrame, ok: pd.DataFrame, metrics: Sequence[str]) -> str:
    seeds = ", ".join(str(s) for s in sorted(runs["seed"].dropna().unique()))
    devices = ", ".join(sorted(runs["device"].dropna().unique())) or "unknown"
    hardware = "; ".join(sorted(runs["hardware"].dropna().unique()))
    text = f"Seeds: {seeds}. Device: {devices}" + (f" ({hardware})." if hardware else ".")
    if "memory_bytes" in metrics and len(ok):
        on_gpu = ok["device"].str.startswith("cuda").fillna(False)
        kinds = ["allocated on the GPU"] if on_gpu.any() else []
        kinds += ["resident set of the process"] if (~on_gpu).any() else []
        text += f" Memory: peak, {' or '.join(kinds)}."
    return text


def _busy_notes(known: Sequence[Cell]) -> Iterator[Note]:
    """How many of the runs on a CPU had to wait for other programs while they trained."""
    here = [cell for cell in known if cell.key["device"] == "cpu" and len(cell.well)]
    busy = 0
    for cell in here:
        wall, cpu = cell.numbers("train_seconds"), cell.numbers("train_cpu_seconds")
        busy += int(((wall > BUSY_SECONDS) & (wall > BUSY_RATIO * cpu)).sum())  # not where NaN
    if busy:
        of = f"{busy} of {sum(len(cell.well) for cell in here)} runs"
        text = f"The machine was busy in {of}: training took over twice its CPU time."
        yield Note("", text)


def _data_notes(known: list[Cell]) -> Iterator[Note]:
    for heading, members in marks.grouped(known, marks.heading_of).items():
        if len(marks.amounts_of(members)) > 1:
            yield Note("", f"{heading[0]}: budgets differ; compare rows with equal mini-batches.")
    for kind, meaning in (
        ("subset", "a subset of the real data; do not compare it with published results"),
        ("redrawn", "drawn anew from the source of the real data, not the published rows"),
    ):
        names = {str(c.key["dataset"]) for c in known if c.shared("data_kind") == kind}
        if names:
            yield Note("", f"{', '.join(sorted(names))}: {meaning}.")
    revisions = {(c.key["dataset"], c.key["dataset_revision"]) for c in known}
    for name, times in sorted(Counter(str(n) for n, _ in revisions).items()):
        if times > 1:
            yield Note("", f"{name}: {times} revisions of the data, which can't be compared.")
    floored = {
        marks.heading_of(c)[:2] for c in known if marks.is_floor(c.key["method"]) and len(c.well)
    }
    bare = sorted({str(c.key["dataset"]) for c in known if marks.heading_of(c)[:2] not in floored})
    if bare:
        yield Note("", f"No fitted Gaussian to compare with on {', '.join(bare)}.")


def _variant_notes(known: list[Cell]) -> Iterator[Note]:
    """What the numbers of one method's rows stand for, and methods that have several versions."""
    for heading, members in marks.grouped(known, marks.heading_of).items():
        names = labels(members)
        meanings = "; ".join(f"{one}: {one.meaning}" for one in names if one.meaning)
        if meanings:
            yield Note("", f"On {heading[0]}, {meanings}.")
    versions = defaultdict(set)
    for cell in known:
        versions[str(cell.key["method"])].add(str(cell.key["version"]))
    for name, found in sorted(versions.items()):
        if len(found) > 1:
            each = ", ".join(sorted(found))
            yield Note("", f"{name}: {len(found)} versions of its code ({each}).")
    repeats = sum(cell.repeats for cell in known)
    if repeats:
        runs = "1 earlier run" if repeats == 1 else f"{repeats} earlier runs"
        yield Note("", f"Left out: {runs} of the same seeds; the latest run counts.")


def _failures(runs: pd.DataFrame, most: int = 6) -> Iterator[Note]:
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
        yield Note("", "More runs failed; see bench list runs.")


def _scored(ok: pd.DataFrame) -> str:
    """The test rows that were scored, and the groups that they come in."""
    text = f"{span(ok['nll_rows'])} test rows"
    part = ok[ok["nll_rows"] < ok["test_rows"]]
    if len(part):
        text += f" (of {span(part['test_rows'])})"
    groups = span(ok["nll_groups"])
    return f"{text}, in {groups} groups of similar rows" if groups else text


def caption_of(known: Sequence[Cell], metrics: Sequence[str]) -> str:
    """What was compared, under what budget, and what ± is; the notes have the rest."""
    methods, datasets = (sorted({str(c.key[n]) for c in known}) for n in ("method", "dataset"))
    where = f" on {datasets[0]}" if len(datasets) == 1 else f" on {len(datasets)} data sets"
    what = f"The method {methods[0]}" if len(methods) == 1 else f"{len(methods)} methods"
    counts = span(pd.Series([len(cell.rows) for cell in known]))
    seeds = f"{counts} {'seed' if counts == '1' else 'seeds'}"
    sentences = [f"{what}{where}, {_budgets(known)}, {seeds}."]
    several = any(len(cell.well) > 1 for cell in known)
    if any(len(cell.well) for cell in known) and (several or "nll" in metrics):
        over = "standard deviation over seeds" if several else "standard error over test rows"
        sentences.append(f"± is the {over}.")
    if any(name.startswith("nll") for name in metrics):
        solvers = sorted({str(v) for c in known for v in c.known("judge") if v})
        by = f", by {' or '.join(solvers)} and the exact divergence" if solvers else ""
        sentences.append(f"NLL in nats per row{by}.")
    part = sorted({str(c.key["dataset"]) for c in known if c.shared("subset")})
    if part:
        sentences.append(f"Only a subset of the rows of {', '.join(part)}.")
    return " ".join(sentences)


def _budgets(known: Sequence[Cell]) -> str:
    names = sorted({str(marks.heading_of(cell)[2] or "?") for cell in known})
    amounts = marks.amounts_of(known)
    if len(names) > 1:
        return f"under the budgets {', '.join(names)}"
    if len(amounts) != 1:
        return f"under the budget {names[0]}"
    ((n, b),) = amounts
    return f"under the budget {names[0]} ({whole(n)} mini-batches of {whole(b)} rows)"
