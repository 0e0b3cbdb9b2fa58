"""What each number rests on: its n, its seeds, what ± is, its numerical error, its flags."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from bench.records.curve import Target, read_curve, target
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
from bench.records.frame import Cell
from bench.tables.layout import Label, labels
from bench.tables.marks import (
    GAP,
    GAP_BOUND,
    MASS,
    SOLVER,
    SOLVER_ERROR,
    TRIP,
    flags_of,
    groups_of,
    heading_of,
    is_blind,
    rejecting,
    tests_of,
    verdict_of,
)
from bench.tables.sample_quality import QualityPanel, panel

#: The flag of a two-sample test that rejects.
_DIFFER = "differs from data"


@dataclass(frozen=True)
class Detail:
    """One number of a method on a data set: all text.

    `spread` says what ± is, `n` on how many rows or seeds it was measured, `notes` what else it
    rests on, and `flags` which bounds it fails.
    """

    name: str
    value: str
    spread: str
    n: str
    notes: str
    flags: str


def mean_line(
    cell: Cell, name: str, column: str, n: str = "", notes: str = "", flags: str = ""
) -> Detail:
    """The mean of a column over seeds, with their standard deviation where there are several."""
    several = len(cell.well) > 1
    number = measured(cell.mean(column), cell.sd(column) if several else None)
    spread = f"s.d. over {len(cell.well)} seeds" if several else ""
    return Detail(name, str(number), spread, n, notes, flags)


def path_lines(cell: Cell) -> Iterator[Detail]:
    """The W2 movement of each piece, the transport cost and the straightness of a cell's runs.

    A method without paths has none of them. All are in squared units behind the affine layer.
    """
    ok = cell.ok
    moves = [movement_of(text) for text in ok["w2_movement"].dropna()]
    if moves and all(moves):
        yield _movements(cell, moves)
    paths = span(ok["samples"])
    n = f"{paths} paths" if paths else ""
    if ok["transport_cost"].notna().any():
        note = "E|x1 - x0|² from noise to data"
        yield mean_line(cell, "transport cost", "transport_cost", n, note)
    if ok["straightness"].notna().any():
        note = "0 if all paths are straight and of constant speed"
        yield mean_line(cell, "straightness", "straightness", n, note)


def _movements(cell: Cell, moves: list[list[float]]) -> Detail:
    """A number for each piece, from data to noise; those of each seed where their pieces differ."""
    rows = span(cell.ok["round_trip_rows"])
    n = f"{rows} test rows" if rows else ""
    pieces = {len(each) for each in moves}
    note = "E|x' - x|² from data to noise"
    if len(pieces) > 1:
        by_seed = "; ".join(", ".join(str(measured(v)) for v in each) for each in moves)
        return Detail("W2 movement", by_seed, "each piece of each seed", n, note, "")
    table = np.array(moves)
    several = len(table) > 1
    sd = table.std(0, ddof=1) if several else np.full(table.shape[1], math.nan)
    shown = ", ".join(
        str(measured(float(mean), float(s) if several else None))
        for mean, s in zip(table.mean(0), sd, strict=True)
    )
    parts = [f"each of {table.shape[1]} pieces"] if table.shape[1] > 1 else []
    parts += [f"s.d. over {len(table)} seeds"] if several else []
    return Detail("W2 movement", shown, ", ".join(parts), n, note, "")


def movement_of(text: str) -> list[float]:
    """The numbers of a record's list; none where it holds something else."""
    try:
        found = [float(value) for value in json.loads(text)]
    except (TypeError, ValueError):
        return []
    return found if all(map(math.isfinite, found)) else []


def details(
    frame: pd.DataFrame, results: Path | None = None
) -> list[tuple[str, str, list[Detail]]]:
    """The data set, the method with its seeds, and its numbers, for each cell, failed ones too.

    With the results folder, the runs' files give the seconds to the slowest method's NLL and the
    MMD by solver steps too.
    """
    return [(heading, *row) for heading, rows in _groups(frame, results) for row in rows]


def _groups(
    frame: pd.DataFrame, results: Path | None
) -> Iterator[tuple[str, list[tuple[str, list[Detail]]]]]:
    """Each heading, and the method and the lines of each of its rows."""
    targets = _targets(frame, results) if results else {}
    for members in groups_of(frame):
        quality = panel(members, results) if results else None
        rows = []
        for cell, label in zip(members, labels(members), strict=True):
            lines = [*_lines(cell), *_to_target(cell, targets)]
            lines += _by_steps(quality, str(label)) if quality else []
            rows.append((_method(cell, label), lines))
        yield _heading(members), rows


def _by_steps(panel: QualityPanel, label: str) -> Iterator[Detail]:
    """MMD-m after so many Euler steps in each piece of the flow; in brackets the spread."""
    for curve in (curve for curve in panel.curves if curve.label == label):
        shown = []
        for steps in curve.steps:
            mean, points = curve.mean(steps), curve.at(steps)
            name = f"{steps}:" if steps else f"{curve.solver}, NFE {count(mean.nfe)}:"
            value = str(scientific(mean.mmd)) if mean.mmd == mean.mmd else "failed"
            below = all(point.mmd <= panel.tau for point in points)
            shown.append(f"{name} {value}{' (at most τ)' if below else ''}")
        pieces = ", ".join(map(str, curve.pieces))
        notes = f"{pieces} {'piece' if pieces == '1' else 'pieces'}; {', '.join(shown)}"
        if panel.tau == panel.tau:
            of = "" if panel.rows == panel.tau_rows else f" (of {panel.tau_rows} rows, by 1/n)"
            notes += f"; τ {scientific(panel.tau)}{of}"
        spread = "mean over seeds" if len(curve.seeds) > 1 else ""
        n = f"two samples of {panel.rows}"
        yield Detail("MMD-m by steps", "Euler, per piece", spread, n, notes, "")


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
    yield Detail("to the target", ", ".join(shown), spread, "", note, "")


def show(
    frame: pd.DataFrame, console: Console, width: int = 100, results: Path | None = None
) -> None:
    """Print the details, a block for each method on each data set, at most `width` wide."""
    for heading, rows in _groups(frame, results):
        console.print(Text(heading, style="bold"), width=width, highlight=False)
        for method, lines in rows:
            console.print(Text(f"  {method}"), width=width, highlight=False)
            console.print(_grid(lines), width=width, highlight=False)
        console.print()


def _grid(lines: Iterable[Detail]) -> Grid:
    grid = Grid(box=None, padding=(0, 1, 0, 0), show_header=False, pad_edge=False)
    for size in (4, 18, 21, 20):
        grid.add_column(min_width=size, max_width=size)
    grid.add_column(ratio=1)
    for line in lines:
        notes = Text("; ".join(part for part in (line.n, line.notes) if part), style="dim")
        if line.flags:
            notes.append(f"{'; ' if notes.plain else ''}{line.flags}", style="not dim yellow")
        grid.add_row("", line.name, line.value, line.spread, notes)
    return grid


def _heading(members: Sequence[Cell]) -> str:
    dataset, revision, budget = heading_of(members[0])
    d = next((d for d in (cell.shared("d") for cell in members) if d is not None), "?")
    return f"{dataset}   d = {d} · budget {budget} · revision {str(revision)[:8]}"


def _method(cell: Cell, label: Label) -> str:
    seeds = ", ".join(str(seed) for seed in sorted(cell.ok["seed"]))
    plural = "seeds" if len(cell.well) > 1 else "seed"
    text = f"{label}: " + (f"{plural} {seeds}" if seeds else "no seed ended well")
    if len(cell.well) < len(cell.rows):
        text += f" ({len(cell.well)} of {len(cell.rows)} runs)"
    return f"{text}; {label.meaning}" if label.meaning else text


def _lines(cell: Cell) -> Iterator[Detail]:
    ok = cell.ok
    for _, run in cell.runs[cell.runs["status"] != "ok"].iterrows():
        yield Detail(
            f"seed {run['seed']}", str(run["status"]), "", "", str(run["reason"]), "failed"
        )
    if not len(ok):
        return
    yield _nll(cell)
    if ok["nll_native"].notna().any():
        flag = f"more than {GAP_BOUND} nats off" if GAP in flags_of(cell) else ""
        gap = f"gap {scientific(float(ok['nll_gap'].abs().max()))}"
        yield mean_line(cell, "NLL, own steps", "nll_native", _rows(ok), gap, flag)
    if ok["round_trip_median"].notna().any():
        far = f"max {scientific(float(ok['round_trip_max'].max()))}"
        size = f"rows of size {significant(float(ok['row_scale'].mean()))}"
        flag = "misses its start" if TRIP in flags_of(cell) else ""
        value = str(scientific(float(ok["round_trip_median"].max())))
        yield Detail("round trip", value, "median of |x - x'|", "", f"{far}; {size}", flag)
    if ok["density_integral"].notna().any():
        off = (ok["density_integral"] - 1).abs()
        worst = ok[off == off.max()].iloc[0]
        number = measured(worst["density_integral"], worst["density_integral_error"])
        flag = "not one" if MASS in flags_of(cell) else ""
        yield Detail("integral", str(number), "error of quadrature", "", "the worst seed", flag)
    found = verdict_of(cell)
    tests = found.others if found else rejecting(tests_of(cell))
    for name in ("m", "1"):
        if ok[f"mmd_{name}"].notna().any():
            yield _mmd(cell, name, tests)
    if ok["p_aggregated"].notna().any():
        n = f"two samples of {span(ok['aggregated_n'])}"
        p = ", ".join(str(probability(float(v))) for v in ok["p_aggregated"])
        flag = _DIFFER if found and found.differ else ""
        yield Detail("p, all bandwidths", p, "", n, "", flag)
    if ok["c2st"].notna().any():
        error = cell.sd("c2st") if len(ok) > 1 else cell.mean("c2st_se")
        spread = "s.d. over seeds" if len(ok) > 1 else "s.e. over held-out rows"
        p = "p " + ", ".join(str(probability(float(v))) for v in ok["p_c2st"])
        flag = _DIFFER if "classifier" in tests else ""
        value = str(measured(cell.mean("c2st"), error))
        yield Detail("classifier", value, spread, "accuracy on held-out rows, 0.5 is best", p, flag)
    yield from path_lines(cell)
    yield from _costs(cell)


def _nll(cell: Cell) -> Detail:
    ok = cell.ok
    several = len(ok) > 1
    groups = span(ok["nll_groups"])
    spread = "s.e. over rows" if not groups else f"s.e. over {groups} groups"
    number = measured(cell.mean("nll"), cell.sd("nll") if several else cell.mean("nll_se"))
    worst = ok["nll_solver_error"].max()
    notes = [str(cell.shared("judge"))]
    if worst == worst:
        notes.append(f"solver error {scientific(float(worst))}")
    if several:
        notes.append(f"each {spread} {significant(float(ok['nll_se'].mean()))}")
    if groups:
        notes.append(f"if rows were independent {significant(float(ok['nll_se_rows'].mean()))}")
    flags = []
    if SOLVER in flags_of(cell):
        reasons = ok["nll_uncertified"].dropna()
        why = f": {reasons.iloc[0]}" if len(reasons) else ""
        flags.append(f"error not below {SOLVER_ERROR} nat{why}")
    spread = f"s.d. over {len(ok)} seeds" if several else spread
    return Detail("NLL (nats)", str(number), spread, _rows(ok), "; ".join(notes), "; ".join(flags))


def _rows(ok: pd.DataFrame) -> str:
    scored, there = span(ok["nll_rows"]), span(ok["test_rows"])
    part = there and (ok["nll_rows"] < ok["test_rows"]).any()
    return f"{scored} of {there} test rows" if part else f"{scored} test rows"


def _mmd(cell: Cell, name: str, tests: Collection[str]) -> Detail:
    ok = cell.ok
    several = len(ok) > 1
    number = scientific(cell.mean(f"mmd_{name}"), cell.sd(f"mmd_{name}") if several else None)
    spread = f"s.d. over {len(ok)} seeds" if several else ""
    tau, error = float(ok[f"tau_{name}"].mean()), ok[f"tau_{name}_se"].mean()
    known = scientific(tau, float(error) if error == error else None)
    p = ", ".join(str(probability(float(v))) for v in ok[f"p_{name}"])
    notes = (
        f"τ {known} (± Monte-Carlo s.e., {span(ok['permutations'])} permutations); p {p}; "
        f"U {scientific(cell.mean(f'mmd_{name}_u'))}, "
        f"τ {scientific(float(ok[f'tau_{name}_u'].mean()))}"
    )
    flags = [_DIFFER] if f"MMD-{name}" in tests else []
    if is_blind(cell, f"mmd_{name}"):
        flags.append("can't discriminate here: V is its own floor 2/n")
    n = f"two samples of {span(ok['mmd_n'])}"
    return Detail(f"MMD-{name} (V)", str(number), spread, n, notes, "; ".join(flags))


def _costs(cell: Cell) -> Iterator[Detail]:
    ok = cell.ok
    seconds = ok["train_seconds"]
    where = str(cell.shared("hardware"))
    others = f"validation {significant(float(ok['validation_seconds'].mean()))} s apart"
    several = f"{significant(seconds.min())} to {significant(seconds.max())}"
    n = f"{whole(ok['minibatches'].max())} mini-batches"
    value = f"{significant(float(seconds.mean()))} s"
    yield Detail("training", value, several if len(ok) > 1 else "", n, f"{others}; {where}", "")
    peak = ok["memory_bytes"].max()
    if peak == peak and peak is not pd.NA:
        own = ok["own_rss_bytes"].max()
        notes = "" if own is pd.NA else f"{memory(float(own))} of it beyond libraries and data"
        yield Detail("memory", str(memory(float(peak))), "peak of the process", "", notes, "")
