"""`bench list` and `bench info`: plug-ins, budgets, studies and runs, at a glance and in full."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, asdict, fields
from importlib.metadata import EntryPoint
from itertools import zip_longest
from pathlib import Path
from typing import Any

import click

from bench.api.dataset import Dataset
from bench.cli.options import data_option, include_option, json_option, results_option
from bench.errors import BenchError, DataError, UsageError, unknown
from bench.registry import plugins
from bench.terminal import echo

#: What is known of one item.
Line = dict[str, Any]

KINDS = ("methods", "datasets", "metrics", "budgets", "studies", "runs")


def methods() -> Iterator[Line]:
    """The methods; those of other distributions are imported, to see whether they can be."""

    def describe(plugin: EntryPoint) -> Line:
        plugins.look(plugin.name)
        if plugins.from_elsewhere(plugin):
            plugins.method(plugin.name)
        return {"summary": plugins.summary(plugin)}

    return _plugins("methods", describe)


def datasets(root: Path) -> Iterator[Line]:
    """The data sets with their best available source, or what is missing."""

    def describe(plugin: EntryPoint) -> Line:
        if plugin.name == plugins.PATH:
            summary = plugins.summary(plugin)
            return {"name": "FILE", "kind": "own", "note": "", "summary": summary}
        dataset = plugins.dataset(plugin.name)
        about = {"d": dataset.d, "summary": dataset.summary}
        if source := dataset.find(root):
            return about | {"kind": source.kind, "note": source.note}
        return about | {"unavailable": needs(dataset, root)}

    return _plugins("datasets", describe, d=None, kind=None, note=None)


def metrics() -> Iterator[Line]:
    """The built-in columns that a table can show, and the metrics that plug-ins bring."""
    from bench.records import catalogue

    def describe(plugin: EntryPoint) -> Line:
        columns = plugins.metric(plugin.name).columns
        return {"summary": " ".join(f"{column.name}: {column.doc}" for column in columns)}

    for name, column in catalogue.built_in()[0].items():
        if column.title:
            yield _line(name, "cnf-bench", summary=column.doc, title=column.title)
    yield from _plugins("metrics", describe)


def _plugins(group: str, describe: Callable[[EntryPoint], Line], **more: None) -> Iterator[Line]:
    """A line for each plug-in, also for those that can't be used; your own table comes last."""
    found = plugins.entries(group)
    names = sorted(found, key=lambda name: (name == plugins.PATH, name))
    for plugin in [*map(found.__getitem__, names), *plugins.clashes(group)]:
        dist = plugin.dist
        maker = f"{dist.name} {dist.version}" if dist else str(plugins.source(plugin))
        line = _line(plugin.name, maker, **more)
        try:
            if plugin != found[plugin.name]:
                raise UsageError(f"{plugin.value} of {maker}: another has this name")
            line |= describe(plugin)
        except (BenchError, SyntaxError) as error:
            line["unavailable"] = str(error)
        yield line


def _line(name: str, maker: str, **more: str | None) -> Line:
    return {"name": name, "summary": "", "from": maker, "unavailable": None} | more


def needs(dataset: Dataset, root: Path) -> str:
    """Say what is missing below the data root, and how to get it."""
    wanted = " or ".join(", ".join(source.missing(root)) for source in dataset.sources)
    whole = any(source.kind == "whole" and source.files for source in dataset.sources)
    fetch = f"; bench data fetch {dataset.name}" if whole else ""
    return f"needs {wanted} below DATA{fetch}"


def studies() -> Iterator[Line]:
    """The studies that come with the package."""
    from bench.study.studies import find, shipped

    for name in shipped():
        study = asdict(find(name))
        kept = ("summary", "methods", "datasets", "seeds", "budget")
        yield {"name": name} | {key: study[key] for key in kept}


def runs(folder: Path) -> Iterator[Line]:
    """The finished runs."""
    from bench.records.store import read_all

    for record in read_all(folder):
        kept = ("run", "status", "reason", "started")
        yield {key: getattr(record, key) for key in kept} | {"nll": record.metrics.get("nll")}


def _rows(kind: str, line: Line) -> Iterator[tuple[str, ...]]:
    """The rows of text for an item, in the columns of its kind; the first names it."""
    if kind == "runs":
        reason = " ".join((line["reason"] or "").split())[:60]
        nll = reason if line["nll"] is None else f"NLL {line['nll']:.2f}"
        yield line["run"], line["status"], nll
        return
    about = line["summary"]
    if problem := line.get("unavailable"):
        about = problem if kind == "datasets" else f"unavailable: {problem}"
    if kind == "datasets":
        d = f"d={line['d']}" if line.get("d") else ""
        yield line["name"], d, line.get("kind") or "missing", about
        return
    yield line["name"], about
    if kind == "studies":
        yield "", f"{', '.join(line['methods'])} on {', '.join(line['datasets'])}"
        yield "", f"budget {line['budget']}, seeds {', '.join(map(str, line['seeds']))}"
    elif kind == "budgets":
        for method, amounts in {"": line["amounts"], **line["methods"]}.items():
            for name, amount in amounts.items():
                who = f"{method} on {name}" if method else name
                rows = f"{amount['minibatches']} mini-batches of {amount['batch_size']} rows"
                yield "", f"{who}: {rows}"


@click.command()
@click.argument("kind", required=False, type=click.Choice(KINDS))
@include_option(register=False)
@json_option
@results_option()
@data_option
def list(
    kind: str | None, include: tuple[str, ...], as_json: bool, results: Path, data: Path
) -> None:
    """List methods, data sets, metrics, budgets, studies and runs, and what is unavailable and why.

    Metrics are listed by `bench list metrics` and with --json.

    \b
    Examples:
      bench list
      bench list datasets --data ~/data
      bench list methods --include my_flow.py
      bench list runs --json
    """
    from bench.study.studies import budgets

    broken = []
    for file in include:
        try:
            plugins.include(file)
        except BenchError as error:
            broken.append(_line(file, file) | {"unavailable": error.problem})
    readers: dict[str, Callable[[], Iterable[Line]]] = {
        "methods": methods,
        "datasets": lambda: datasets(data),
        "metrics": metrics,
        "budgets": lambda: map(asdict, budgets().values()),
        "studies": studies,
        "runs": lambda: runs(results),
    }
    chosen = [kind] if kind else [k for k in KINDS if as_json or k != "metrics"]
    found = {k: [*readers[k](), *(broken if k in plugins.KINDS else ())] for k in chosen}
    if as_json:
        echo(json.dumps(found[kind] if kind else found, indent=1), lines=True)
        return
    indent = "" if kind else "  "
    for name, lines in found.items():
        if not kind:
            echo(name.replace("datasets", "data sets"), bold=True)
        if name == "datasets" and any(line["unavailable"] for line in lines):
            echo(f"{indent}(DATA is {data})")
        if not lines:
            where = f" in {results}; type `bench run`" if name == "runs" else ""
            echo(f"{indent}none{where}")
        rows = [row for line in lines for row in _rows(name, line)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            echo(f"{indent}{'  '.join(map(str.ljust, row, widths))}".rstrip())


@click.command()
@click.argument("name", metavar="METHOD|DATASET|RUN")
@include_option()
@json_option
@results_option()
@data_option
def info(name: str, as_json: bool, results: Path, data: Path) -> None:
    """Show a method's hyper-parameters and presets, a data set's rows and sources, a run's record.

    RUN is a run's name, or any unambiguous start of it. A name shared by several is taken as a
    method first, then as a data set. With --json, a run's record is printed as it is.

    \b
    Examples:
      bench info flow-matching
      bench info bsds300 --data ~/data
      bench info my_table.csv
      bench info my-flow --include my_flow.py
      bench info flow-matching-moons-s0 --json
    """
    from bench.records import store

    known = {*plugins.datasets()} - {plugins.PATH}
    if name in plugins.methods():
        about = _method(name)
    elif name in known or Path(name.partition("?")[0]).is_file():
        about = _dataset(name, data)
    else:
        recorded = store.names(results)
        if not any(run.startswith(name) for run in recorded):
            raise unknown("method, data set or run", name, [*plugins.methods(), *known, *recorded])
        about = store.content(results, store.find(results, name).run)
    if as_json:
        echo(json.dumps(about, indent=1, default=str), lines=True)
    else:
        _print_nested(about)


def _method(name: str) -> Line:
    """A method's hyper-parameters with their defaults and meanings, and its presets."""
    from bench.study import presets

    plugin = plugins.methods()[name]
    options = {}
    for field in fields(plugins.method(name).Config):
        default = field.default
        if default is MISSING:
            default = "(required)" if field.default_factory is MISSING else field.default_factory()
        options[field.name] = {"default": default, "meaning": field.metadata.get("doc", "")}
    return {
        "method": name,
        "summary": plugins.summary(plugin),
        "version": plugins.version(plugin),
        "module": plugin.value,
        "hyper-parameters": options,
        "presets": {
            key: {"values": preset.values, "evidence": preset.evidence}
            for key, preset in presets.read(name).items()
        },
    }


def _dataset(name: str, root: Path) -> Line:
    """A data set's sources and, where one is available, its rows and their revision."""
    from bench.data import arrays

    found = plugins.dataset(name)
    about: Line = {
        "data set": found.name,
        "summary": found.summary,
        "d": found.d,
        "rows of the whole set": found.rows and dict(zip(arrays.SPLITS, found.rows, strict=True)),
        "density known": found.log_density is not None,
        "true entropy": found.entropy,
        "sources": [
            {
                "kind": source.kind,
                "note": source.note,
                "files": ", ".join(source.files) or "none",
                "missing": ", ".join(source.missing(root)) or "nothing",
            }
            for source in found.sources
        ],
        "data root": str(root),
    }
    try:
        loaded = arrays.load(found, root)
    except DataError as error:
        return about | {"unavailable": str(error) if found.find(root) else needs(found, root)}
    rows = {split: len(getattr(loaded, split)) for split in arrays.SPLITS}
    here = {"kind": loaded.source.kind, "revision": loaded.revision, "rows": rows}
    return about | {"here": here | {"notes": dict(loaded.notes)}}


def _print_nested(content: Mapping[str, Any], margin: str = "") -> None:
    """Print nested names and values, one per line; empty values are left out."""
    shown = {key: text for key, value in content.items() if (text := _text(value))}
    width = max((len(key) for key, text in shown.items() if isinstance(text, str)), default=0)
    for key, text in shown.items():
        if isinstance(text, str):
            for name, line in zip_longest([key], text.split("\n"), fillvalue=""):
                echo(f"{margin}{name.ljust(width)}  {line}")
            continue
        echo(f"{margin}{key}", bold=not margin)
        for block in [text] if isinstance(text, Mapping) else text:
            _print_nested(block, f"{margin}  ")
            if block is not text:
                echo()


def _text(value: Any) -> Any:
    """A value as text, empty for None; mappings and sequences of mappings as they are."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case {"default": default, "meaning": meaning}:
            return f"{default!s:<10}  {meaning}"
        case [*items] if not any(isinstance(item, Mapping) for item in items):
            return ", ".join(map(str, items))
        case Mapping() | [*_]:
            return value
    return str(value)
