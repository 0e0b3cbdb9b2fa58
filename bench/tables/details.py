"""What each number rests on: its n, its seeds, what ± is, its numerical error, its flags."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from bench.records import catalogue
from bench.records.format import (
    count,
    measured,
    memory,
    probability,
    scientific,
    significant,
    span,
    whole,
)
from bench.records.frame import Cell, cells
from bench.records.run_files import Target, read_curve, target
from bench.tables import marks
from bench.tables.layout import Label, labels
from bench.tables.sample_quality import QualityPanel, panel
from bench.terminal import visible


@dataclass(frozen=True)
class Detail:
    """One number of a method on a data set: all text.

    `spread` says what ± is, `n` on how many rows or seeds it was measured, `notes` what else it
    rests on, and `flags` which bounds it fails.
    """

    name: str
    value: str
    spread: str = ""
    n: str = ""
    notes: str = ""
    flags: str = ""


def details(
    frame: pd.DataFrame, results: Path | None = None
) -> list[tuple[str, str, list[Detail]]]:
    """The data set, the method with its seeds, and its numbers, for each cell, failed ones too.

    With the results folder, the runs' files give the seconds to the slowest method's NLL and the
    MMD by solver steps too.
    """
    found = []
    targets = _targets(frame, results) if results else {}
    for members in marks.groups_of(frame):
        quality = panel(members, results) if results else None
        dataset, revision, budget = marks.heading_of(members[0])
        d = next((d for d in (cell.shared("d") for cell in members) if d is not None), "?")
        heading = f"{dataset}   d = {d} · budget {budget} · revision {str(revision)[:8]}"
        for cell, label in zip(members, labels(members), strict=True):
            lines = [*_lines(cell), *_to_target(cell, targets)]
            lines += _by_steps(quality, str(label)) if quality else []
            found.append((heading, _method(cell, label), lines))
    return found


def details_by_run(frame: pd.DataFrame) -> dict[str, list[Detail]]:
    """The numbers of each run by itself."""
    return {str(cell.key["run"]): [*_lines(cell)] for cell in cells(frame, by_run=True)}


def show(
    frame: pd.DataFrame, console: Console, width: int = 100, results: Path | None = None
) -> None:
    """Print the details, a block for each method on each data set, at most `width` wide."""
    for heading, rows in groupby(details(frame, results), itemgetter(0)):
        console.print(Text(visible(heading, keep=""), style="bold"), width=width, highlight=False)
        for _, method, lines in rows:
            console.print(Text(visible(f"  {method}", keep="")), width=width, highlight=False)
            grid = Grid(box=None, padding=(0, 1, 0, 0), show_header=False, pad_edge=False)
            for size in (4, 18, 21, 20):
                grid.add_column(min_width=size, max_width=size)
            for line in lines:
                notes = Text("; ".join(filter(None, (line.n, line.notes))), style="dim")
                if line.flags:
                    notes.append(f"{'; ' if notes.plain else ''}{line.flags}", "not dim yellow")
                grid.add_row("", line.name, line.value, line.spread, notes)
            console.print(grid, width=width, highlight=False)
        console.print()


def _method(cell: Cell, label: Label) -> str:
    seeds = ", ".join(str(seed) for seed in sorted(cell.ok["seed"]))
    plural = "seeds" if len(cell.well) > 1 else "seed"
    text = f"{label}: " + (f"{plural} {seeds}" if seeds else "no seed ended well")
    if len(cell.well) < len(cell.rows):
        text += f" ({len(cell.well)} of {len(cell.rows)} runs)"
    return f"{text}; {label.meaning}" if label.meaning else text


def _lines(cell: Cell) -> Iterator[Detail]:
    ok, flags, several = cell.ok, marks.flags_of(cell), len(cell.well) > 1
    for _, run in cell.runs[cell.runs["status"] != "ok"].iterrows():
        status, reason = str(run["status"]), str(run["reason"])
        yield Detail(f"seed {run['seed']}", status, notes=reason, flags="failed")
    if not len(ok):
        return
    known = set(ok.dropna(axis="columns", how="all"))
    scored, there = span(ok["nll_rows"]), span(ok["test_rows"])
    part = there and (ok["nll_rows"] < ok["test_rows"]).any()
    rows = f"{scored} of {there} test rows" if part else f"{scored} test rows"
    yield _nll(cell, rows, flags)
    if "nll_native" in known:
        flag = f"more than {marks.GAP_BOUND} nats off" if marks.GAP in flags else ""
        gap = f"gap {scientific(float(ok['nll_gap'].abs().max()))}"
        yield _mean(cell, "nll_native", n=rows, notes=gap, flags=flag)
    if "round_trip_median" in known:
        far = f"max {scientific(float(ok['round_trip_max'].max()))}"
        notes = f"{far}; rows of size {significant(float(ok['row_scale'].mean()))}"
        flag = "misses its start" if marks.TRIP in flags else ""
        value = str(scientific(float(ok["round_trip_median"].max())))
        yield Detail("round trip", value, "median of |x - x'|", notes=notes, flags=flag)
    if "density_integral" in known:
        worst = ok.iloc[int(np.nanargmax(np.abs(cell.numbers("density_integral") - 1)))]
        number = measured(worst["density_integral"], worst["density_integral_error"])
        flag = "not one" if marks.MASS in flags else ""
        note = "the worst seed"
        yield Detail("integral", str(number), "error of quadrature", notes=note, flags=flag)
    found = marks.verdict_of(cell)
    tests = found.others if found else marks.rejecting(marks.tests_of(cell))
    for name in ("m", "1"):
        if f"mmd_{name}" in known:
            yield _mmd(cell, name, tests)
    differs = "differs from data"
    if "p_aggregated" in known:
        n = f"two samples of {span(ok['aggregated_n'])}"
        flag = differs if found and found.differ else ""
        yield Detail("p, all bandwidths", _p_values(ok["p_aggregated"]), n=n, flags=flag)
    if "c2st" in known:
        yield _mean(
            cell,
            "c2st",
            "classifier",
            one="s.e. over held-out rows",
            n="accuracy on held-out rows, 0.5 is best",
            notes=f"p {_p_values(ok['p_c2st'])}",
            flags=differs if "classifier" in tests else "",
        )
    # The transport of each piece and of whole paths, in squared units behind the affine layer.
    yield from _movements(cell)
    for name, note in (
        ("transport_cost", "E|x1 - x0|² from noise to data"),
        ("straightness", "0 if all paths are straight and of constant speed"),
    ):
        if name in known:
            paths = span(ok["samples"])
            yield _mean(cell, name, n=f"{paths} paths" if paths else "", notes=note)
    seconds, slowest = ok["train_seconds"], ok["minibatches"].max()
    spread = f"{significant(seconds.min())} to {significant(seconds.max())}" if several else ""
    apart = significant(float(ok["validation_seconds"].mean()))
    notes = f"validation {apart} s apart; {cell.shared('hardware')}"
    value = f"{significant(float(seconds.mean()))} s"
    amount = f"{whole(slowest)} mini-batches" if "minibatches" in known else ""
    yield Detail("training", value, spread, amount, notes)
    if "memory_bytes" in known:
        peak = str(memory(float(ok["memory_bytes"].max())))
        own = ok["own_rss_bytes"].max()
        notes = "" if pd.isna(own) else f"{memory(float(own))} of it beyond libraries and data"
        yield Detail("memory", peak, "peak of the process", notes=notes)


def _mean(cell: Cell, column: str, name: str = "", one: str = "", **others: str) -> Detail:
    """A column's mean over seeds and its standard deviation; of one seed, its error if it has one.

    `one` says what that error is.
    """
    known, several = catalogue.column(column), len(cell.well) > 1
    error = cell.sd(column) if several else cell.mean(known.error) if known.error else None
    number = str(catalogue.number(column, cell.mean(column), error))
    spread = f"s.d. over {len(cell.well)} seeds" if several else one
    return Detail(name or known.title, number, spread, **others)


def _p_values(values: Any) -> str:
    return ", ".join(str(probability(float(value))) for value in values)


def _nll(cell: Cell, rows: str, flags: str) -> Detail:
    ok, several = cell.ok, len(cell.well) > 1
    groups = span(ok["nll_groups"])
    spread = f"s.e. over {groups} groups" if groups else "s.e. over rows"
    worst = ok["nll_solver_error"].max()
    notes = [str(cell.shared("judge"))]
    if worst == worst:
        notes.append(f"solver error {scientific(float(worst))}")
    if several:
        notes.append(f"each {spread} {significant(float(ok['nll_se'].mean()))}")
    if groups:
        notes.append(f"if rows were independent {significant(float(ok['nll_se_rows'].mean()))}")
    flag = ""
    if marks.SOLVER in flags:
        reasons = cell.known("nll_uncertified")
        why = f": {reasons[0]}" if reasons else ""
        flag = f"error not below {marks.SOLVER_ERROR} nat{why}"
    return _mean(cell, "nll", "NLL (nats)", spread, n=rows, notes="; ".join(notes), flags=flag)


def _mmd(cell: Cell, name: str, tests: Collection[str]) -> Detail:
    ok = cell.ok
    tau, error = float(ok[f"tau_{name}"].mean()), ok[f"tau_{name}_se"].mean()
    known = scientific(tau, float(error) if error == error else None)
    notes = (
        f"τ {known} (± Monte-Carlo s.e., {span(ok['permutations'])} permutations); "
        f"p {_p_values(ok[f'p_{name}'])}; U {scientific(cell.mean(f'mmd_{name}_u'))}, "
        f"τ {scientific(float(ok[f'tau_{name}_u'].mean()))}"
    )
    flags = ["differs from data"] if f"MMD-{name}" in tests else []
    if marks.is_blind(cell, f"mmd_{name}"):
        flags.append("can't discriminate here: V is its own floor 2/n")
    n = f"two samples of {span(ok['mmd_n'])}"
    title = f"MMD-{name} (V)"
    return _mean(cell, f"mmd_{name}", title, n=n, notes=notes, flags="; ".join(flags))


def _movements(cell: Cell) -> Iterator[Detail]:
    """A number for each piece, from data to noise; those of each seed where their pieces differ."""
    moves = [movement_of(text) for text in cell.known("w2_movement")]
    if not moves or not all(moves):
        return
    rows = span(cell.ok["round_trip_rows"])
    if len({len(each) for each in moves}) > 1:
        shown = "; ".join(", ".join(str(measured(v)) for v in each) for each in moves)
        spread = "each piece of each seed"
    else:
        table = np.array(moves)
        sds = table.std(0, ddof=1).tolist() if len(table) > 1 else [None] * table.shape[1]
        pairs = zip(table.mean(0).tolist(), sds, strict=True)
        shown = ", ".join(str(measured(mean, sd)) for mean, sd in pairs)
        parts = [f"each of {table.shape[1]} pieces"] if table.shape[1] > 1 else []
        parts += [f"s.d. over {len(table)} seeds"] if len(table) > 1 else []
        spread = ", ".join(parts)
    n, note = f"{rows} test rows" if rows else "", "E|x' - x|² from data to noise"
    yield Detail("W2 movement", shown, spread, n, note)


def movement_of(text: str) -> list[float]:
    """The numbers of a record's list; none where it holds something else."""
    try:
        found = [float(value) for value in json.loads(text)]
    except (TypeError, ValueError):
        return []
    return found if all(map(math.isfinite, found)) else []


def _by_steps(panel: QualityPanel, label: str) -> Iterator[Detail]:
    """MMD-m after so many Euler steps in each piece of the flow; in brackets the spread."""
    for curve in (curve for curve in panel.curves if curve.label == label):
        shown = []
        nfe, means = curve.nfe.mean(axis=1), curve.mmd.mean(axis=1, skipna=False)
        below = (curve.mmd <= panel.tau).all(axis=1)
        for steps, number, mean, is_below in zip(means.index, nfe, means, below, strict=True):
            name = f"{steps}:" if steps else f"{curve.solver}, NFE {count(number)}:"
            value = "failed" if math.isnan(mean) else str(scientific(mean))
            shown.append(f"{name} {value}{' (at most τ)' if is_below else ''}")
        pieces = ", ".join(map(str, curve.pieces))
        notes = f"{pieces} {'piece' if pieces == '1' else 'pieces'}; {', '.join(shown)}"
        if panel.tau == panel.tau:
            of = "" if panel.rows == panel.tau_rows else f" (of {panel.tau_rows} rows, by 1/n)"
            notes += f"; τ {scientific(panel.tau)}{of}"
        spread = "mean over seeds" if len(curve.mmd.columns) > 1 else ""
        n = f"two samples of {panel.rows}"
        yield Detail("MMD-m by steps", "Euler, per piece", spread, n, notes)


def _targets(frame: pd.DataFrame, results: Path) -> dict[str, Target]:
    """The target of each run: of the runs on the same rows, with the same budget and seed."""
    found: dict[str, Target] = {}
    place = ["dataset", "dataset_revision", "budget", "seed"]
    for _, runs in frame[frame["status"] == "ok"].groupby(place, dropna=False):
        read = {str(run): read_curve(results / str(run)) for run in runs["run"]}
        curves = {run: curve for run, curve in read.items() if curve is not None}
        goal = target(curves)
        if goal is not None and len(curves) > 1:
            found |= dict.fromkeys(curves, goal)
    return found


def _to_target(cell: Cell, targets: Mapping[str, Target]) -> Iterator[Detail]:
    """The seconds of each seed, in the order of the seeds."""
    known = [(run, targets[run]) for run in cell.ok["run"] if run in targets]
    if not known:
        return
    shown = []
    for run, goal in known:
        seconds = goal.seconds[run]
        shown.append("never" if seconds is None else f"{significant(seconds)} s")
    goals = ", ".join(str(measured(goal.nll)) for _, goal in known)
    spread = "each seed" if len(known) > 1 else ""
    note = f"to validation NLL {goals}, the last of the slowest run; checked at validations only"
    yield Detail("to the target", ", ".join(shown), spread, notes=note)
