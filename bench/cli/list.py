"""`bench list`: what methods, data sets, budgets, studies and runs there are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from bench.cli.options import include_option
from bench.errors import BenchError
from bench.paths import data_root
from bench.records.bundle import results_dir

Lines = Sequence[dict[str, Any]]


def methods() -> Lines:
    """The methods. The modules of our own are parsed and not imported; those of others are.

    It is their import that fails, where something that they need is not there.
    """
    from bench.registry import plugins

    lines = []
    for name, plugin in sorted(plugins.methods().items()):
        line: dict[str, Any] = {
            "name": name,
            "summary": "",
            "from": _from(plugin),
            "unavailable": None,
        }
        try:
            line["summary"] = plugins.summary(plugin)
            plugins.look(name)
            if plugins.from_elsewhere(plugin):
                plugins.method(name)
        except (BenchError, SyntaxError) as error:
            line["unavailable"] = str(error)
        lines.append(line)
    return [*lines, *_clashes("methods")]


def _clashes(group: str) -> Lines:
    """A line for each plug-in whose name another one has."""
    from bench.registry import plugins

    return [
        {
            "name": plugin.name,
            "summary": "",
            "from": _from(plugin),
            "unavailable": f"{plugin.value} of {_from(plugin)}: another has this name",
        }
        for plugin in plugins.clashes(group)
    ]


def not_included(files: tuple[str, ...]) -> Lines:
    """Include the files; a line for each that can't be imported, with the reason."""
    from bench.registry import plugins

    nothing: dict[str, Any] = {"d": None, "summary": "", "kind": None, "note": None}
    lines = []
    for file in files:
        try:
            plugins.include(file)
        except BenchError as error:
            broken = {"name": file, "from": file, "unavailable": error.problem}
            lines.append(nothing | broken)
    return lines


def datasets(root: Path) -> Lines:
    """The data sets: the best source that is at hand, or what is missing."""
    from bench.registry import plugins

    nothing = {"d": None, "summary": "", "kind": None, "note": None}
    lines = []
    named = sorted(plugins.datasets().items(), key=lambda item: (item[0] == plugins.PATH, item[0]))
    for name, plugin in named:
        line: dict[str, Any] = {"name": name, "from": _from(plugin), "unavailable": None}
        try:
            if name == plugins.PATH:
                own = {"d": None, "summary": plugins.summary(plugin), "kind": "own", "note": ""}
                lines.append(line | own | {"name": "FILE"})
                continue
            lines.append(line | describe(plugins.dataset(name), root))
        except (BenchError, SyntaxError) as error:
            lines.append(line | nothing | {"unavailable": str(error)})
    return lines + [nothing | line for line in _clashes("datasets")]


def describe(dataset: Any, root: Path) -> dict[str, Any]:
    """What is known of a data set without reading its rows, and why it is unavailable."""
    source = dataset.find(root)
    return {
        "d": dataset.d,
        "summary": dataset.summary,
        "kind": source.kind if source else None,
        "note": source.note if source else None,
        "unavailable": None if source else needs(dataset, root),
    }


def needs(dataset: Any, root: Path) -> str:
    """What has to be below the data root, and how to get it there."""
    wanted = " or ".join(", ".join(source.missing(root)) for source in dataset.sources)
    whole = any(source.kind == "whole" and source.files for source in dataset.sources)
    fetch = f"; bench data fetch {dataset.name}" if whole else ""
    return f"needs {wanted} below DATA{fetch}"


def budgets() -> Lines:
    """The named budgets."""
    from dataclasses import asdict

    from bench.study.budgets import budgets as named

    return [
        {
            "name": budget.name,
            "summary": budget.summary,
            "amounts": {key: asdict(amount) for key, amount in budget.amounts.items()},
            "methods": {
                method: {key: asdict(amount) for key, amount in amounts.items()}
                for method, amounts in budget.methods.items()
            },
        }
        for budget in named().values()
    ]


def studies() -> Lines:
    """The studies that come with the package."""
    from bench.study.studies import find, shipped

    return [
        {
            "name": name,
            "summary": study.summary,
            "methods": [*study.methods],
            "datasets": [*study.datasets],
            "seeds": [*study.seeds],
            "budget": study.budget,
        }
        for name, study in ((name, find(name)) for name in shipped())
    ]


def runs(folder: Path) -> Lines:
    """The finished runs."""
    from bench.records.store import read_all

    return [
        {
            "run": record["run"],
            "status": record["status"],
            "reason": record.get("reason"),
            "nll": (record.get("metrics") or {}).get("nll"),
            "started": record.get("started"),
        }
        for record in read_all(folder)
    ]


def _from(plugin: Any) -> str:
    """The distribution that a plug-in is of, or the file that was included."""
    from bench.registry import plugins

    if plugin.dist:
        return f"{plugin.dist.name} {plugin.dist.version}"
    return str(plugins.source(plugin))


def _method_texts(lines: Lines) -> Iterable[Sequence[str]]:
    for line in lines:
        if line["unavailable"]:
            yield line["name"], f"unavailable: {line['unavailable']}"
        elif line["from"].startswith("cnf-bench "):
            yield line["name"], line["summary"]
        else:
            yield line["name"], f"{line['summary']} ({line['from']})".lstrip()


def _dataset_texts(lines: Lines) -> Iterable[Sequence[str]]:
    for line in lines:
        d = "" if line["d"] is None else f"d={line['d']}"
        yield line["name"], d, line["kind"] or "missing", line["unavailable"] or line["summary"]


def _budget_texts(lines: Lines) -> Iterable[Sequence[str]]:
    for line in lines:
        yield line["name"], line["summary"]
        for method, amounts in {"": line["amounts"], **line["methods"]}.items():
            for name, amount in amounts.items():
                who = f"{method} on {name}" if method else name
                rows = f"{amount['minibatches']} mini-batches of {amount['batch_size']} rows"
                yield "", f"{who}: {rows}"


def _study_texts(lines: Lines) -> Iterable[Sequence[str]]:
    for line in lines:
        yield line["name"], line["summary"]
        seeds = ", ".join(map(str, line["seeds"]))
        yield "", f"{', '.join(line['methods'])} on {', '.join(line['datasets'])}"
        yield "", f"budget {line['budget']}, seeds {seeds}"


def _run_texts(lines: Lines) -> Iterable[Sequence[str]]:
    for line in lines:
        nll = "" if line["nll"] is None else f"NLL {line['nll']:.2f}"
        yield line["run"], line["status"], nll or " ".join(str(line["reason"] or "").split())[:60]


_TEXTS: dict[str, Callable[[Lines], Iterable[Sequence[str]]]] = {
    "methods": _method_texts,
    "datasets": _dataset_texts,
    "budgets": _budget_texts,
    "studies": _study_texts,
    "runs": _run_texts,
}


def _print(lines: Iterable[Sequence[str]], indent: str) -> None:
    """Print rows of text with their columns aligned."""
    rows = [[*line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        padded = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        click.echo(f"{indent}{'  '.join(padded)}".rstrip())


@click.command()
@click.argument(
    "kind",
    required=False,
    type=click.Choice(["methods", "datasets", "budgets", "studies", "runs"]),
)
@include_option
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--results", metavar="DIR", help="The results folder [default: results/runs].")
@click.option("--data", metavar="DIR", help="The data root.")
def list(
    kind: str | None,
    include: tuple[str, ...],
    as_json: bool,
    results: str | None,
    data: str | None,
) -> None:
    """What there is, where it comes from, and what is unavailable and why.

    \b
    Examples:
      bench list
      bench list datasets --data ~/data
      bench list methods --include my_flow.py
      bench list runs --json
    """
    broken = not_included(include)
    readers: dict[str, Callable[[], Lines]] = {
        "methods": lambda: [*methods(), *broken],
        "datasets": lambda: [*datasets(data_root(data)), *broken],
        "budgets": budgets,
        "studies": studies,
        "runs": lambda: runs(results_dir(results)),
    }
    chosen = [kind] if kind else [*readers]
    found = {name: readers[name]() for name in chosen}
    if as_json:
        click.echo(json.dumps(found[kind] if kind else found, indent=1))
        return
    for name in chosen:
        if kind is None:
            click.secho(name.replace("datasets", "data sets"), bold=True)
        if name == "datasets" and any(line["unavailable"] for line in found[name]):
            click.echo(f"{'' if kind else '  '}(DATA is {data_root(data)})")
        if found[name]:
            _print(_TEXTS[name](found[name]), "" if kind else "  ")
        else:
            where = f" in {results_dir(results)}; type `bench run`" if name == "runs" else ""
            click.echo(f"{'' if kind else '  '}none{where}")
