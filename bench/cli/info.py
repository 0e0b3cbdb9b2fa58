"""`bench info`: all about a method, a data set or a run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

import click

from bench.cli.options import include_all, include_option
from bench.errors import DataError, unknown
from bench.paths import data_root
from bench.records.bundle import results_dir


@click.command()
@click.argument("name", metavar="METHOD|DATASET|RUN")
@include_option
@click.option("--json", "as_json", is_flag=True, help="For programs; of a run, its record.")
@click.option("--results", metavar="DIR", help="The results folder [default: results/runs].")
@click.option("--data", metavar="DIR", help="The data root.")
def info(
    name: str, include: tuple[str, ...], as_json: bool, results: str | None, data: str | None
) -> None:
    """A method's hyper-parameters and presets, a data set's rows and sources, a run's record.

    RUN is a run's name, or any unambiguous start of it. A name that several have is the method's
    first, then the data set's.

    \b
    Examples:
      bench info flow-matching
      bench info bsds300 --data ~/data
      bench info my_table.csv
      bench info my-flow --include my_flow.py
      bench info flow-matching-moons-s0 --json
    """
    include_all(include)
    about = _about(name, data_root(data), results_dir(results))
    if as_json:
        click.echo(json.dumps(about, indent=1, default=str))
    else:
        _print(about)


def _about(name: str, root: Path, results: Path) -> Mapping[str, Any]:
    from bench.records import store
    from bench.registry import plugins

    if name in plugins.methods():
        return method(name)
    own = set(plugins.datasets()) - {plugins.PATH}
    if name in own or Path(name).is_file():
        return dataset(name, root)
    runs = store.names(results)
    if any(run.startswith(name) for run in runs):
        return store.content(results, store.find(results, name).run)
    raise unknown("method, data set or run", name, [*plugins.methods(), *own, *runs])


def method(name: str) -> dict[str, Any]:
    """A method's hyper-parameters with their defaults and meanings, and its presets."""
    from bench.registry import plugins
    from bench.study import presets

    config = plugins.method(name).Config
    return {
        "method": name,
        "summary": plugins.summary(plugins.methods()[name]),
        "version": plugins.version(plugins.methods()[name]),
        "module": plugins.methods()[name].value,
        "hyper-parameters": {
            field.name: {"default": _default(field), "meaning": field.metadata.get("doc", "")}
            for field in fields(config)
        },
        "presets": {
            key: {"values": dict(preset.values), "evidence": preset.evidence}
            for key, preset in presets.read(name).items()
        },
    }


def dataset(name: str, root: Path) -> dict[str, Any]:
    """A data set's sources and, where one is at hand, its rows and their revision."""
    from bench.cli.list import needs
    from bench.data import arrays
    from bench.registry import plugins

    found = plugins.dataset(name)
    about: dict[str, Any] = {
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
    if found.find(root) is None:
        return about | {"unavailable": needs(found, root)}
    try:
        loaded = arrays.load(found, root)
    except DataError as error:
        return about | {"unavailable": str(error)}
    return about | {
        "here": {
            "kind": loaded.kind,
            "revision": loaded.revision,
            "rows": {split: len(getattr(loaded, split)) for split in arrays.SPLITS},
            "notes": dict(loaded.notes),
        }
    }


def _default(field: Field[Any]) -> Any:
    if field.default is not MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not MISSING else "(required)"


def _print(content: Mapping[str, Any], indent: int = 0) -> None:
    """Print nested names and values, a line each; what has nothing to say is left out.

    A hyper-parameter's default and meaning share a line.
    """
    shown = {key: value for key, value in content.items() if value not in (None, "", {}, [])}
    width = max((len(k) for k, v in shown.items() if not _nested(v)), default=0)
    for key, value in shown.items():
        margin = " " * indent
        if isinstance(value, Mapping) and _nested(value):
            click.secho(f"{margin}{key}", bold=indent == 0)
            _print(value, indent + 2)
        elif _nested(value):
            click.secho(f"{margin}{key}", bold=indent == 0)
            for item in value:
                _print(item, indent + 2)
                click.echo()
        else:
            click.echo(f"{margin}{key.ljust(width)}  {_text(value)}")


def _nested(value: object) -> bool:
    if isinstance(value, Mapping):
        return not _is_option(value)
    return isinstance(value, Sequence) and len(value) > 0 and isinstance(value[0], Mapping)


def _is_option(value: Mapping[str, Any]) -> bool:
    return value.keys() == {"default", "meaning"}


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return f"{str(value['default']).ljust(10)}  {value['meaning']}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(str(item) for item in value)
    return str(value)
