"""Tables that are made from the program, so that they say what it does."""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

DATA = Path(__file__).parents[1] / "_data"


def setup(app: Any) -> dict[str, bool]:
    """Register the directives."""
    for directive in (
        *(HyperParameters, Presets, Judge, Budgets, Studies, Columns, Record, Published, Methods),
        Commands,
    ):
        app.add_directive(directive.name, directive)
    return {"parallel_read_safe": True}


class Table(SphinxDirective):
    """A Markdown table of the rows that a subclass gives."""

    name: str
    titles: Sequence[str]
    optional_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """The table's nodes."""
        lines = [_line(self.titles), _line(["---"] * len(self.titles))]
        lines += [_line(row) for row in self.rows()]
        return self.parse_text_to_nodes("\n".join(lines))

    def rows(self) -> Iterable[Sequence[str]]:
        """The rows, in Markdown."""
        raise NotImplementedError


class Methods(Table):
    """Every method, by its docstring's first line, and its size by default."""

    name, titles = "methods", ("method", "what it is", "page")

    def rows(self) -> Iterable[Sequence[str]]:
        """A row a method."""
        from bench.registry import plugins

        for name, plugin in sorted(plugins.methods().items()):
            yield f"`{name}`", f"{plugins.summary(plugin)}.", f"[{name}]({name}.md)"


class HyperParameters(Table):
    """The hyper-parameters of a method, from its `Config`."""

    name, titles = "hyper-parameters", ("hyper-parameter", "default", "what it is")

    def rows(self) -> Iterable[Sequence[str]]:
        """A row a field, the method's own first."""
        from bench.api.method import Options
        from bench.registry import plugins

        shared = [field.name for field in fields(Options)]
        own = fields(plugins.method(self.arguments[0]).Config)
        for field in sorted(own, key=lambda field: field.name in shared):
            about = _text(field.metadata["doc"]) + _choices(field)
            yield f"`{field.name}`", f"`{field.default}`", about


class Presets(Table):
    """The presets of a method, with their evidence."""

    name, titles = "presets", ("preset", "values", "evidence")

    def rows(self) -> Iterable[Sequence[str]]:
        """A row a preset."""
        from bench.study import presets

        for name, preset in presets.read(self.arguments[0]).items():
            values = ", ".join(f"`{key}={value}`" for key, value in preset.values.items())
            yield f"`{name}`", values or "the defaults", _text(preset.evidence)


class Judge(Table):
    """The judge's settings and their defaults."""

    name, titles = "judge", ("setting", "default")

    def rows(self) -> Iterable[Sequence[str]]:
        """A row a field of `bench.records.spec.Judge`."""
        from bench.records import spec

        for field in fields(spec.Judge):
            assert field.default is not MISSING
            yield f"`{field.name}`", f"`{field.default}`"


class Budgets(Table):
    """The named budgets."""

    name = "budgets"
    titles = ("budget", "data set", "mini-batches", "rows in each", "for")

    def rows(self) -> Iterable[Sequence[str]]:
        """A row an amount."""
        from bench.study.budgets import budgets

        for name, budget in budgets().items():
            for method, amounts in {"every method": budget.amounts, **budget.methods}.items():
                whose = method if method in budget.methods else "the others"
                whose = whose if budget.methods else method
                for dataset, amount in amounts.items():
                    size = f"{amount.minibatches:,}", f"{amount.batch_size:,}"
                    yield f"`{name}`", dataset, *size, whose


class Studies(Table):
    """The studies that are shipped."""

    name, titles = "studies", ("study", "what it is", "methods", "data sets", "seeds", "budget")

    def rows(self) -> Iterable[Sequence[str]]:
        """A row a study."""
        from bench.study.files import find, shipped

        for name in shipped():
            study = find(name)
            seeds = ", ".join(str(seed) for seed in study.seeds)
            lists = ", ".join(study.methods), ", ".join(study.datasets), seeds
            yield f"`{name}`", study.summary, *lists, f"`{study.budget}`"


class Commands(SphinxDirective):
    """What `--help` prints of every command, a section each."""

    name = "commands"

    def run(self) -> list[nodes.Node]:
        """The sections."""
        from bench.cli import main

        settings = main.context_settings
        context = click.Context(main, info_name="bench", terminal_width=100, **settings)
        return list(_sections(context))


def _sections(context: click.Context) -> Iterator[nodes.Node]:
    """The section of a command, then those of the commands below it."""
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


class Columns(Table):
    """The columns of a table of runs; each has to be explained, and no other."""

    name, titles = "columns", ("column", "unit", "what it is")

    def rows(self) -> Iterable[Sequence[str]]:
        """A row a column."""
        from bench.records.columns import COLUMNS
        from bench.records.frame import DERIVED

        told = tomllib.loads((DATA / "columns.toml").read_text(encoding="utf-8"))
        _same(told, [*COLUMNS, *DERIVED], "columns.toml")
        for name in (*COLUMNS, *DERIVED):
            yield f"`{name}`", told[name].get("unit", ""), _text(told[name]["is"])


class Record(Table):
    """The keys of a record; those that columns are taken from have to be among them."""

    name, titles = "record", ("key", "what it is")

    def rows(self) -> Iterable[Sequence[str]]:
        """A row a key."""
        from bench.records.columns import COLUMNS

        told = tomllib.loads((DATA / "record.toml").read_text(encoding="utf-8"))
        missing = {".".join(path) for path in COLUMNS.values()} - told.keys()
        if missing:
            raise self.error(f"record.toml explains no {', '.join(sorted(missing))}")
        for name, meaning in told.items():
            yield f"`{name}`", _text(meaning)


class Published(Table):
    """What was published of methods whose name holds the argument: results/published.csv."""

    name = "published"
    titles = ("data set", "method", "parameters", "NLL", "source", "how sure", "note")

    def rows(self) -> Iterable[Sequence[str]]:
        """A row a figure."""
        text = (files("bench_results") / "published.csv").read_text(encoding="utf-8")
        found = [
            row for row in csv.DictReader(text.splitlines()) if self.arguments[0] in row["method"]
        ]
        if not found:
            raise self.error(f"nothing was published of {self.arguments[0]}")
        for row in found:
            names = ("dataset", "method", "params", "nll", "source", "evidence", "note")
            yield [_text(row[name]) for name in names]


def _choices(field: Field[Any]) -> str:
    """The values that a hyper-parameter may have, where they are listed."""
    if not (isinstance(field.type, str) and field.type.startswith("Literal[")):
        return ""
    values = field.type.removeprefix("Literal[").removesuffix("]").split(", ")
    return f" ({', '.join(f'`{value[1:-1]}`' for value in values)})"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(text: str) -> str:
    """Plain text in a cell of a Markdown table."""
    for sign in ("\\", "*", "_", "$", "|", "<"):
        text = text.replace(sign, f"\\{sign}")
    return text


def _same(told: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    missing, unknown = set(known) - told.keys(), told.keys() - set(known)
    if missing or unknown:
        raise ValueError(f"{where}: not explained {sorted(missing)}, unknown {sorted(unknown)}")
