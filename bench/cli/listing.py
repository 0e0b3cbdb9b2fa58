"""`bench list` and `bench info`: plug-ins, budgets, studies and runs, at a glance and in full."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import click

from bench.api.dataset import Dataset
from bench.cli.options import data_option, include_all, include_option, json_option, results_option
from bench.errors import BenchError, DataError, unknown
from bench.paths import data_root
from bench.records.bundle import results_dir
from bench.registry import plugins

#: What is known of one item.
Line = dict[str, Any]

#: What options give.
Files = tuple[str, ...]
Text = str | None

KINDS = ("methods", "datasets", "metrics", "budgets", "studies", "runs")


def methods() -> Iterator[Line]:
    """The methods; those of other distributions are imported, to see whether they can be."""

    def describe(name: str, plugin: EntryPoint) -> Line:
        plugins.look(name)
        if plugins.from_elsewhere(plugin):
            plugins.method(name)
        return {"summary": plugins.summary(plugin)}

    yield from _plugins("methods", describe)


def datasets(root: Path) -> Iterator[Line]:
    """The data sets with their best available source, or what is missing."""

    def describe(name: str, plugin: EntryPoint) -> Line:
        if name == plugins.PATH:
            summary = plugins.summary(plugin)
            return {"name": "FILE", "kind": "own", "note": "", "summary": summary}
        dataset = plugins.dataset(name)
        about = {"d": dataset.d, "summary": dataset.summary}
        if source := dataset.find(root):
            return about | {"kind": source.kind, "note": source.note}
        return about | {"unavailable": needs(dataset, root)}

    yield from _plugins("datasets", describe)


def metrics() -> Iterator[Line]:
    """The built-in columns that a table can show, and the metrics that plug-ins bring."""
    from bench.records import catalogue

    def describe(name: str, plugin: EntryPoint) -> Line:
        columns = plugins.metric(name).columns
        return {"summary": " ".join(f"{column.name}: {column.doc}" for column in columns)}

    for name, column in catalogue.built_in()[0].items():
        if column.title:
            yield _line(name, "cnf-bench", column.doc) | {"title": column.title}
    yield from _plugins("metrics", describe)


def _plugins(kind: str, describe: Callable[[str, EntryPoint], Line]) -> Iterator[Line]:
    """A line for each plug-in, also for those that can't be used; your own table comes last."""
    found = plugins.entries(kind)
    unknown = {"d": None, "kind": None, "note": None} if kind == "datasets" else {}
    for name in sorted(found, key=lambda name: (name == plugins.PATH, name)):
        line = _line(name, _from(found[name])) | unknown
        try:
            line |= describe(name, found[name])
        except (BenchError, SyntaxError) as error:
            line["unavailable"] = str(error)
        yield line
    for plugin in plugins.clashes(kind):
        reason = f"{plugin.value} of {_from(plugin)}: another has this name"
        yield _line(plugin.name, _from(plugin)) | unknown | {"unavailable": reason}


def _line(name: str, maker: str, summary: str = "") -> Line:
    return {"name": name, "summary": summary, "from": maker, "unavailable": None}


def _from(plugin: EntryPoint) -> str:
    """The distribution that a plug-in belongs to, or the file that was included."""
    dist = plugin.dist
    return f"{dist.name} {dist.version}" if dist else str(plugins.source(plugin))


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
    """The rows of text for an item, in the columns of its kind."""
    if kind == "runs":
        reason = " ".join((line["reason"] or "").split())[:60]
        nll = reason if line["nll"] is None else f"NLL {line['nll']:.2f}"
        yield line["run"], line["status"], nll
    elif kind == "budgets":
        yield line["name"], line["summary"]
        for method, amounts in {"": line["amounts"], **line["methods"]}.items():
            for name, amount in amounts.items():
                who = f"{method} on {name}" if method else name
                rows = f"{amount['minibatches']} mini-batches of {amount['batch_size']} rows"
                yield "", f"{who}: {rows}"
    elif kind == "studies":
        yield line["name"], line["summary"]
        yield "", f"{', '.join(line['methods'])} on {', '.join(line['datasets'])}"
        yield "", f"budget {line['budget']}, seeds {', '.join(map(str, line['seeds']))}"
    elif kind == "datasets":
        d = f"d={line['d']}" if line.get("d") else ""
        about = line["unavailable"] or line["summary"]
        yield line["name"], d, line.get("kind") or "missing", about
    else:
        maker = "" if line["from"].startswith("cnf-bench") else f" ({line['from']})"
        about = f"{line['summary']}{maker}".lstrip()
        yield line["name"], f"unavailable: {line['unavailable']}" if line["unavailable"] else about


@click.command()
@click.argument("kind", required=False, type=click.Choice(KINDS))
@include_option
@json_option
@results_option
@data_option
def list(kind: str | None, include: Files, as_json: bool, results: Text, data: Text) -> None:
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
        "datasets": lambda: datasets(data_root(data)),
        "metrics": metrics,
        "budgets": lambda: map(asdict, budgets().values()),
        "studies": studies,
        "runs": lambda: runs(results_dir(results)),
    }
    chosen = [kind] if kind else [k for k in KINDS if as_json or k != "metrics"]
    found = {k: [*readers[k](), *(broken if k in plugins.KINDS else ())] for k in chosen}
    if as_json:
        click.echo(json.dumps(found[kind] if kind else found, indent=1))
        return
    indent = "" if kind else "  "
    for name in chosen:
        if not kind:
            click.secho(name.replace("datasets", "data sets"), bold=True)
        if name == "datasets" and any(line["unavailable"] for line in found[name]):
            click.echo(f"{indent}(DATA is {data_root(data)})")
        if not found[name]:
            where = f" in {results_dir(results)}; type `bench run`" if name == "runs" else ""
            click.echo(f"{indent}none{where}")
            continue
        rows = [row for line in found[name] for row in _rows(name, line)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            click.echo(f"{indent}{'  '.join(map(str.ljust, row, widths))}".rstrip())


@click.command()
@click.argument("name", metavar="METHOD|DATASET|RUN")
@include_option
@json_option
@results_option
@data_option
def info(name: str, include: Files, as_json: bool, results: Text, data: Text) -> None:
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

    include_all(include)
    folder = results_dir(results)
    known = {*plugins.datasets()} - {plugins.PATH}
    if name in plugins.methods():
        about = _method(name)
    elif name in known or Path(name).is_file():
        about = _dataset(name, data_root(data))
    else:
        recorded = store.names(folder)
        if not any(run.startswith(name) for run in recorded):
            raise unknown("method, data set or run", name, [*plugins.methods(), *known, *recorded])
        about = store.content(folder, store.find(folder, name).run)
    if as_json:
        click.echo(json.dumps(about, indent=1, default=str))
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


def _print_nested(content: Mapping[str, Any], indent: int = 0) -> None:
    """Print nested names and values, one per line; empty values are left out."""
    shown = {key: text for key, value in content.items() if (text := _text(value))}
    width = max((len(k) for k, v in shown.items() if isinstance(v, str)), default=0)
    margin = " " * indent
    for key, value in shown.items():
        if isinstance(value, str):
            click.echo(f"{margin}{key.ljust(width)}  {value}")
            continue
        click.secho(f"{margin}{key}", bold=indent == 0)
        if isinstance(value, Mapping):
            _print_nested(value, indent + 2)
            continue
        for item in value:
            _print_nested(item, indent + 2)
            click.echo()


def _text(value: Any) -> Any:
    """A value as text, empty for None; mappings and sequences of mappings as they are."""
    if isinstance(value, Mapping) and value.keys() == {"default", "meaning"}:
        return f"{str(value['default']).ljust(10)}  {value['meaning']}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        nested = any(isinstance(item, Mapping) for item in value)
        return value if nested else ", ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, Mapping) else "" if value is None else str(value)
