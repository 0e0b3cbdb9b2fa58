"""The catalogue of columns, from `catalogue.toml` and from the metrics that plug-ins bring.

A column's name, place in the record, type, title, unit, number format and documentation stand there
and nowhere else; the data frame, tables, figures, the report, the gate and the documentation derive
what they need from it.
"""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from bench.api.declarations import Column, Evaluated, Metric
from bench.errors import UsageError, unknown
from bench.records import format as forms
from bench.records.format import Number
from bench.registry import plugins


def columns() -> Mapping[str, Column]:
    """Every column by name: the built-in ones in their order, then those of plug-in metrics.

    Raises:
        UsageError: a plug-in metric fills a column that exists.
    """
    return _columns(tuple(plugins.metrics().values()))


def metrics() -> tuple[Metric, ...]:
    """The metrics that are functions of an `Evaluated`: built-in ones, then plug-ins."""
    return (*built_in()[1], *plugins.metrics().values())


@cache
def _columns(plug_ins: tuple[Metric, ...]) -> Mapping[str, Column]:
    found = dict(built_in()[0])
    for metric in plug_ins:
        for each in metric.columns:
            if each.name in found:
                raise UsageError(
                    f"The metric {metric.name!r} fills the column {each.name!r}, which exists.",
                    "Rename the metric's column.",
                )
            found[each.name] = each
    return MappingProxyType(found)


def column(name: str) -> Column:
    """The column of that name.

    Raises:
        UsageError: there is none.
    """
    known = columns()
    if name not in known:
        raise unknown("column", name, known)
    return known[name]


def measures() -> dict[str, Column]:
    """The columns that a table can show, by name."""
    return {name: each for name, each in columns().items() if each.title}


def sets() -> dict[str, tuple[str, ...]]:
    """The sets of columns by name, such as likelihood, samples and cost."""
    found: dict[str, tuple[str, ...]] = {}
    for each in measures().values():
        for name in each.sets:
            found[name] = (*found.get(name, ()), each.name)
    return found


def statistics() -> dict[str, Column]:
    """The two-sample statistics that have a threshold, by name."""
    return {name: each for name, each in columns().items() if each.threshold}


def number(name: str, value: float, error: float | None = None) -> Number:
    """A column's value in the column's form, ready to print."""
    form = getattr(forms, columns()[name].form)
    printed: Number = form(float(value), error)
    return printed


def function(metric: Metric) -> Callable[[Evaluated], Mapping[str, Any]]:
    """The function of a metric, imported where it is named as text.

    Raises:
        UsageError: there is no such function.
    """
    if not isinstance(metric.measure, str):
        return metric.measure
    module, _, name = metric.measure.partition(":")
    try:
        found: Callable[[Evaluated], Mapping[str, Any]] = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"The metric {metric.name!r} names {metric.measure}, which can't be imported: {error}."
        ) from error
    return found


@cache
def built_in() -> tuple[dict[str, Column], tuple[Metric, ...]]:
    """Return the columns and the metrics of `catalogue.toml`, without those of plug-ins."""
    text = (Path(__file__).parent / "catalogue.toml").read_text(encoding="utf-8")
    found: dict[str, Column] = {}
    filled: dict[str, list[Column]] = defaultdict(list)
    for name, entry in tomllib.loads(text).items():
        measure = entry.pop("measure", "")
        found[name] = msgspec.convert({"name": name} | entry, Column)
        if measure:
            filled[measure].append(found[name])
    made = (Metric(cells[0].name, measure, tuple(cells)) for measure, cells in filled.items())
    return found, tuple(made)
