"""A part of the page for a run: what it was, what came of it, how sure that is, where it ran."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bench.figures.style import looks
from bench.records.format import count, measured, memory, scientific, significant, whole
from bench.records.frame import Cell
from bench.records.measures import MEASURES
from bench.records.store import Record
from bench.report.commands import Command, commands
from bench.report.curve import Drawing, drawings
from bench.report.parts import anchor, number, section
from bench.report.under_way import tail
from bench.tables.marks import (
    GAP,
    GAP_BOUND,
    MASS,
    MASS_BOUND,
    SOLVER,
    SOLVER_ERROR,
    TRIP,
    TRIP_BOUND,
    flags_of,
)

#: So many runs are shown in full; of more, those that failed and the latest, so many of each.
IN_FULL, FAILED_IN_FULL, LATEST_IN_FULL = 200, 100, 100

#: Bytes of a failed run's log and of its traceback that are shown.
LOG_BYTES = 6_000


@dataclass(frozen=True)
class Fact:
    """A name, what it is, what it rests on; `fails` says which bound it misses."""

    name: str
    value: str
    remark: str = ""
    fails: str = ""


@dataclass(frozen=True)
class Line:
    """A run in the list of all: text, and the numbers to sort by (None where there is none)."""

    run: str
    anchor: str
    method: str
    colour: str
    dataset: str
    seed: str
    status: str
    reason: str
    numbers: tuple[tuple[str, float | None], ...]
    started: str
    compared: bool
    full: bool


@dataclass(frozen=True)
class Part:
    """A run in full."""

    line: Line
    asked: tuple[Fact, ...]
    config: tuple[Fact, ...]
    certificate: tuple[Fact, ...]
    results: tuple[Fact, ...]
    curves: tuple[Drawing, ...]
    environment: tuple[Fact, ...]
    command: Command
    log: str
    traceback: str


#: The numbers of the list of all runs.
NUMBERS = {name: MEASURES[name] for name in ("nll", "mmd_m", "mmd_1", "train_seconds")}


def in_full(records: Sequence[Record]) -> set[str]:
    """The names of the runs that are shown in full: all, or the failed and the latest ones."""
    if len(records) <= IN_FULL:
        return {str(record.get("run")) for record in records}
    latest = sorted(records, key=lambda r: str(r.get("started") or ""), reverse=True)
    failed = [r for r in latest if r.get("status") != "ok"][:FAILED_IN_FULL]
    return {str(record.get("run")) for record in [*latest[:LATEST_IN_FULL], *failed]}


def lines(
    records: Sequence[Record], frame: pd.DataFrame, compared: set[str], full: set[str]
) -> list[Line]:
    """A line for each run, in the order of the records."""
    columns = {name: frame[name].astype("float64").tolist() for name in NUMBERS}
    found = []
    colours = looks(str(section(record, "method").get("name")) for record in records)
    for i, record in enumerate(records):
        run, method = str(record.get("run")), str(section(record, "method").get("name"))
        numbers = (
            (str(measure.form(columns[name][i], None)), columns[name][i])
            for name, measure in NUMBERS.items()
        )
        found.append(
            Line(
                run=run,
                anchor=anchor("run", run),
                method=method,
                colour=colours[method].colour,
                dataset=str(section(record, "dataset").get("name")),
                seed=str(record.get("seed")),
                status=str(record.get("status")),
                reason=str(record.get("reason") or ""),
                numbers=tuple((t, v) if v == v else ("–", None) for t, v in numbers),
                started=str(record.get("started") or "")[:16].replace("T", " "),
                compared=run in compared,
                full=run in full,
            )
        )
    return found


def part(record: Record, line: Line, cell: Cell, results: Path) -> Part:
    """A run in full; `cell` holds it alone."""
    folder = results / line.run
    failed = line.status != "ok"
    return Part(
        line=line,
        asked=tuple(_asked(record)),
        config=tuple(_named(section(section(record, "method"), "config"))),
        certificate=tuple(_certificate(record, "" if failed else flags_of(cell))),
        results=tuple(_results(record)),
        curves=tuple(drawings(folder)),
        environment=tuple(_environment(record)),
        command=commands([record])[0],
        log=tail(folder / "log.txt", LOG_BYTES) if failed else "",
        traceback=tail(folder / "traceback.txt", LOG_BYTES) if failed else "",
    )


def _asked(record: Record) -> Iterator[Fact]:
    method, dataset, budget = (section(record, p) for p in ("method", "dataset", "budget"))
    rows = section(dataset, "rows")
    yield Fact("Method", _plain(method.get("name")), f"version {_plain(method.get('version'))}")
    if method.get("preset"):
        yield Fact("Preset", _plain(method["preset"]))
    own = ", ".join(f"{k}={_plain(v)}" for k, v in section(method, "settings").items())
    if own:
        yield Fact("Own settings", own)
    if (params := number(method.get("params"))) is not None:
        yield Fact("Parameters", whole(params))
    revision = f"revision {_plain(dataset.get('revision'))}"
    yield Fact("Data", _plain(dataset.get("name")), revision)
    if rows:
        yield Fact("Rows", ", ".join(f"{_plain(k)} {_count(v)}" for k, v in rows.items()))
    amount = f"{_count(budget.get('minibatches'))} × {_count(budget.get('batch_size'))} rows"
    yield Fact("Budget", f"{_plain(budget.get('name'))}: {amount}")
    training = section(record, "training")
    if (done := number(training.get("minibatches"))) is not None:
        best = number(training.get("best_step"))
        kept = "" if best is None else f"the state after {whole(best)} is kept (best validation)"
        yield Fact("Mini-batches done", whole(done), kept)
    yield Fact("Seed", _plain(record.get("seed")))
    judge = section(record, "judge")
    yield Fact("Judge", ", ".join(f"{k} {_plain(v)}" for k, v in judge.items()))


def _certificate(record: Record, flags: str) -> Iterator[Fact]:
    """What vouches for the likelihood, each against its bound; none without a likelihood."""
    metrics, judge = section(record, "metrics"), section(record, "judge")
    get = {name: number(metrics.get(name)) for name in metrics}
    nll = get.get("nll")
    if nll is None:
        return
    error = get.get("nll_se")
    rows = f"{_count(metrics.get('nll_rows'))} test rows"
    if metrics.get("nll_groups"):
        rows += f" in {_count(metrics['nll_groups'])} groups"
    yield Fact("NLL", f"{measured(nll, error)} nats", f"± its standard error; {rows}")
    tolerance = get.get("nll_rtol") or number(judge.get("rtol"))
    yield Fact(
        "Solver",
        f"{_plain(judge.get('solver'))}, rtol {_short(tolerance)}",
        f"{_plain(judge.get('dtype'))}, exact divergence; asked for rtol "
        f"{_plain(judge.get('rtol'))}, atol {_plain(judge.get('atol'))}",
    )
    if (off := get.get("nll_solver_error")) is not None:
        most = get.get("nll_solver_error_max")
        note = "change of the mean at a ten times tighter tolerance in float64"
        note += f"; of one row at most {scientific(most)}" if most is not None else ""
        why = f": {metrics['nll_uncertified']}" if metrics.get("nll_uncertified") else ""
        bound = f"not below {SOLVER_ERROR} nat{why}"
        yield Fact(
            "Solver error", f"{scientific(off)} nats", note, bound if SOLVER in flags else ""
        )
    native = get.get("nll_native")
    if native is not None:
        bound = f"more than {GAP_BOUND} nats off" if GAP in flags else ""
        note = f"NLL by the method's own steps {measured(native)}"
        yield Fact("Native gap", f"{scientific(nll - native)} nats", note, bound)
    if (trip := get.get("round_trip_median")) is not None:
        scale = get.get("row_scale")
        note = f"median |x − x′| of {_count(metrics.get('round_trip_rows'))} rows to noise and back"
        note += f", of size {significant(scale)}" if scale is not None else ""
        bound = f"more than {TRIP_BOUND:g} of their size" if TRIP in flags else ""
        yield Fact("Round trip", str(scientific(trip)), note, bound)
    if (mass := get.get("density_integral")) is not None:
        bound = f"off by more than {MASS_BOUND}" if MASS in flags else ""
        spread = get.get("density_integral_error")
        yield Fact("Integral", str(measured(mass, spread)), "± error of the quadrature", bound)


def _results(record: Record) -> Iterator[Fact]:
    metrics, cost = section(record, "metrics"), section(record, "cost")
    for name, label in (("m", "MMD-m"), ("1", "MMD-1")):
        value, tau = number(metrics.get(f"mmd_{name}")), number(metrics.get(f"tau_{name}"))
        if value is not None:
            note = f"V-statistic, two samples of {_count(metrics.get('mmd_n'))}"
            note += f"; τ {scientific(tau)}" if tau is not None else ""
            p = number(metrics.get(f"p_{name}"))
            note += f"; p {significant(p)}" if p is not None else ""
            yield Fact(label, str(scientific(value)), note)
    for name, label in (("p_aggregated", "p, all bandwidths"), ("c2st", "Classifier accuracy")):
        if (value := number(metrics.get(name))) is not None:
            yield Fact(label, str(significant(value)))
    for name, label in (
        ("transport_cost", "Transport cost"),
        ("straightness", "Straightness"),
    ):
        if (value := number(metrics.get(name))) is not None:
            yield Fact(label, str(measured(value)))
    for name, label in (
        ("train_seconds", "Training"),
        ("validation_seconds", "Validation"),
        ("sample_seconds", "Sampling"),
        ("density_seconds", "Density"),
    ):
        if (value := number(cost.get(name))) is not None:
            yield Fact(label, f"{significant(value)} s", _evaluations(cost, name))
    for name, label in (("peak_rss_bytes", "Peak memory"), ("peak_gpu_bytes", "Peak GPU memory")):
        if (value := number(cost.get(name))) is not None:
            yield Fact(label, str(memory(value)))


def _evaluations(cost: dict[str, Any], name: str) -> str:
    value = number(cost.get("nfe_" + name.removesuffix("_seconds")))
    return "" if value is None else f"{count(value)} evaluations of the velocity"


def _environment(record: Record) -> Iterator[Fact]:
    environment = section(record, "environment")
    for name, value in environment.items():
        if name != "packages" and value not in (None, ""):
            yield Fact(name, _plain(value))
    packages = section(environment, "packages")
    known = ", ".join(f"{k} {_plain(v)}" for k, v in packages.items() if v)
    if known:
        yield Fact("packages", known)
    sessions = record.get("sessions")
    if isinstance(sessions, list) and len(sessions) > 1:
        yield Fact("sessions", str(len(sessions)), "it was stopped and taken up again")
    for name in ("started", "finished"):
        if record.get(name):
            yield Fact(name, _plain(record[name]))
    yield Fact(
        "record", f"{_plain(record.get('run'))}/record.json", f"key {_plain(record.get('key'))}"
    )


def _named(values: dict[str, Any]) -> Iterator[Fact]:
    for name, value in values.items():
        yield Fact(str(name), _plain(value))


def _plain(value: object) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _count(value: object) -> str:
    known = number(value)
    return "?" if known is None else whole(known)


def _short(value: float | None) -> str:
    return "?" if value is None else f"{value:g}"
