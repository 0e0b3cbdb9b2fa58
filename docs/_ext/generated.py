"""Tables generated from the program, so that the pages always agree with it."""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

Rows = Iterable[Sequence[str]]


@dataclass(frozen=True)
class Table:
    """A Markdown table: its titles, and a function of the directive's argument for its rows."""

    titles: Sequence[str]
    rows: Callable[[str], Rows]


TABLES: dict[str, Table] = {}


def table(*titles: str) -> Callable[[Callable[[str], Rows]], Callable[[str], Rows]]:
    """Register a function as the directive of its name, with `-` for `_`."""

    def register(rows: Callable[[str], Rows]) -> Callable[[str], Rows]:
        TABLES[rows.__name__.replace("_", "-")] = Table(titles, rows)
        return rows

    return register


def setup(app: Any) -> dict[str, bool]:
    """Register the directives."""
    for name in TABLES:
        app.add_directive(name, TableDirective)
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True}


class TableDirective(SphinxDirective):
    """The table registered under the directive's name."""

    optional_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Return the table's nodes."""
        made = TABLES[self.name]
        rows = list(made.rows(self.arguments[0] if self.arguments else ""))
        if not rows:
            raise self.error(f"the table {self.name} is empty")
        lines = [made.titles, ["---"] * len(made.titles), *rows]
        return self.parse_text_to_nodes("\n".join(f"| {' | '.join(line)} |" for line in lines))


@table("method", "what it is", "page")
def methods(_: str) -> Rows:
    """Every method, by the first line of its docstring."""
    from bench.registry import plugins

    for name, plugin in sorted(plugins.methods().items()):
        yield f"`{name}`", f"{plugins.summary(plugin)}.", f"[{name}]({name}.md)"


@table("hyper-parameter", "default", "what it is")
def hyper_parameters(method: str) -> Rows:
    """The hyper-parameters of a method, its own first."""
    from bench.api.method import Options
    from bench.registry import plugins

    shared = [option.name for option in fields(Options)]
    every = fields(plugins.method(method).Config)
    for option in sorted(every, key=lambda option: option.name in shared):
        about = _plain(option.metadata["doc"])
        kind = str(option.type)
        if kind.startswith("Literal["):
            values = kind.removeprefix("Literal[").removesuffix("]").split(", ")
            about += f" ({', '.join(f'`{value[1:-1]}`' for value in values)})"
        yield f"`{option.name}`", f"`{option.default}`", about


@table("preset", "values", "evidence")
def presets(method: str) -> Rows:
    """The presets of a method."""
    from bench.study import presets

    for name, preset in presets.read(method).items():
        values = ", ".join(f"`{key}={value}`" for key, value in preset.values.items())
        yield f"`{name}`", values or "the defaults", _plain(preset.evidence)


@table("setting", "default")
def judge(_: str) -> Rows:
    """The settings of the evaluation."""
    from bench.records.spec import Judge

    for setting in fields(Judge):
        yield f"`{setting.name}`", f"`{setting.default}`"


@table("budget", "data set", "mini-batches", "rows in each", "for")
def budgets(_: str) -> Rows:
    """The named budgets."""
    from bench.study.studies import budgets

    for name, budget in budgets().items():
        others = "the others" if budget.methods else "every method"
        for method, amounts in {others: budget.amounts, **budget.methods}.items():
            for dataset, amount in amounts.items():
                size = f"{amount.minibatches:,}", f"{amount.batch_size:,}"
                yield f"`{name}`", dataset, *size, method


@table("study", "what it is", "methods", "data sets", "seeds", "budget")
def studies(_: str) -> Rows:
    """The studies that are included."""
    from bench.study.studies import find, shipped

    for name in shipped():
        study = find(name)
        seeds = ", ".join(str(seed) for seed in study.seeds)
        lists = ", ".join(study.methods), ", ".join(study.datasets), seeds
        yield f"`{name}`", study.summary, *lists, f"`{study.budget}`"


@table("column", "unit", "what it is")
def columns(_: str) -> Rows:
    """The columns of a table of runs, from the catalogue."""
    from bench.records.catalogue import columns

    for column in columns().values():
        yield f"`{column.name}`", _plain(column.unit), _plain(column.doc)


@table("key", "what it is")
def record(_: str) -> Rows:
    """The keys of a record: those that are not columns first."""
    for key, meaning in record_keys().items():
        yield f"`{key}`", _plain(meaning)


def record_keys() -> dict[str, str]:
    """Return what each key of a record is, from record.toml or from the catalogue."""
    from bench.records.catalogue import columns

    path = Path(__file__).parents[1] / "_data" / "record.toml"
    found: dict[str, str] = tomllib.loads(path.read_text(encoding="utf-8"))
    for column in columns().values():
        if column.path:
            found[".".join(column.path)] = column.doc
    return found


@table("data set", "method", "parameters", "NLL", "source", "how sure", "note")
def published(name: str) -> Rows:
    """What was published of methods whose name contains the argument."""
    text = (files("bench_results") / "published.csv").read_text(encoding="utf-8")
    shown = ("dataset", "method", "params", "nll", "source", "evidence", "note")
    for row in csv.DictReader(text.splitlines()):
        if name in row["method"]:
            yield [_plain(row[key]) for key in shown]


class Commands(SphinxDirective):
    """The `--help` of every command, a section each."""

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        from bench.cli import main

        settings = main.context_settings
        context = click.Context(main, info_name="bench", terminal_width=100, **settings)
        return list(_sections(context))


def _sections(context: click.Context) -> Iterator[nodes.Node]:
    """The section of a command, then those of its subcommands."""
    path, command = context.command_path, context.command
    section = nodes.section(ids=[nodes.make_id(path)])
    section += nodes.title(path, path)
    shown = command.get_help(context)
    section += nodes.literal_block(shown, shown, language="none")
    yield section
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner
            yield from _sections(click.Context(inner, context, name, terminal_width=100))


def _plain(text: str) -> str:
    """Escape plain text for a cell of a Markdown table."""
    for sign in ("\\", "*", "_", "$", "|", "<"):
        text = text.replace(sign, f"\\{sign}")
    return text
