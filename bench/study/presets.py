"""Hyper-parameters: a method's dataclass, its presets (data, in a file beside it), the user's own.

A preset file has the name of the method's module with `.toml`. Each of its tables is a preset,
named after what it is for: a data set, a data set behind an affine layer (`bsds300-full`, for
`affine=full`), `2-D`, or `any`; other names are taken only when asked for (`--set preset=NAME`).
Each says in `evidence` where its values come from, and may say in `d` which dimension alone it is
for; one that is named after a data set is for that data set's.
"""

from __future__ import annotations

import math
import tomllib
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Literal

from bench.errors import UsageError, unknown
from bench.registry import plugins


@dataclass(frozen=True)
class Preset:
    """Values of hyper-parameters and the evidence for them; those not named keep the default.

    `d` is the dimension that it is for, None where it fits any.
    """

    values: Mapping[str, Any]
    evidence: str
    d: int | None = None


def read(method: str) -> dict[str, Preset]:
    """The presets of a method by name; empty where it has no preset file.

    Raises:
        UsageError: the file is not what it should be.
    """
    path = plugins.source(plugins.methods()[method]).with_suffix(".toml")
    if not path.is_file():
        return {}
    return dict(_presets(path, path.read_bytes()))


@cache
def _presets(path: Path, content: bytes) -> dict[str, Preset]:
    """A study asks for the presets of each method on each data set, and files seldom change."""
    try:
        tables = tomllib.loads(content.decode())
        return {name: _preset(name, table) for name, table in tables.items()}
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, AttributeError) as error:
        raise UsageError(f"The preset file {path} is not valid: {error!r}.") from error


def _preset(name: str, table: Mapping[str, Any]) -> Preset:
    values = {k: v for k, v in table.items() if k not in ("evidence", "d")}
    implied = 2 if name == "2-D" else None
    if name in plugins.datasets() and name != plugins.PATH:
        implied = plugins.dataset(name).d
    return Preset(values, table["evidence"], table.get("d", implied))


def configure(
    method: str, dataset: str, d: int, overrides: Mapping[str, str]
) -> tuple[Any, str | None]:
    """A method's hyper-parameters for a data set, and the name of the preset they start from.

    Args:
        method: the method's name.
        dataset: the data set's name.
        d: its dimension; the preset `2-D` is for d = 2.
        overrides: the user's values as text; `preset` names the preset to start from. Without it,
            `affine` looks first for the data set's preset behind that layer.

    Raises:
        UsageError: an unknown name, a preset for another dimension, a value of the wrong type, or
            one that the method refuses.
    """
    presets = read(method)
    overrides = dict(overrides)
    asked = overrides.pop("preset", None)
    if asked is not None and asked not in presets:
        raise unknown("preset", asked, presets, f"for {method}")
    if asked is not None and (only := presets[asked].d) not in (None, d):
        raise UsageError(
            f"The preset {asked!r} of {method} is for d = {only}; {dataset} has d = {d}.",
            "Name another, or none.",
        )
    behind = [f"{dataset}-{overrides['affine']}"] if "affine" in overrides else []
    candidates = [asked] if asked else [*behind, dataset, *(["2-D"] if d == 2 else []), "any"]
    name = next((c for c in candidates if c in presets), None)
    config_class = plugins.method(method).Config
    types = options(config_class)
    values = dict(presets[name].values) if name else {}
    for key in values:
        if key not in types:
            raise UsageError(f"The preset {name!r} of {method} sets {key!r}, which it has not.")
        values[key] = _parse(
            f"{key} in the preset {name!r} of {method}", str(values[key]), types[key]
        )
    values |= parsed(method, config_class, overrides)
    try:
        return config_class(**values), name
    except (ValueError, TypeError) as error:
        raise UsageError(f"{method} can't be set so: {error}.") from error


def parsed(method: str, config_class: type, overrides: Mapping[str, str]) -> dict[str, Any]:
    """The values that the user's texts stand for, by the types of the hyper-parameters.

    Raises:
        UsageError: an unknown name, or a value of the wrong type.
    """
    types, values = options(config_class), {}
    for key, text in overrides.items():
        if key not in types:
            raise unknown("hyper-parameter", key, [*types, "preset"], f"for {method}")
        values[key] = _parse(f"{method}'s {key}", text, types[key])
    return values


def options(config_class: type) -> Mapping[str, Any]:
    """The hyper-parameters of a method's `Config`, each with its type."""
    return _options(config_class)


@cache
def _options(config_class: type) -> dict[str, Any]:
    hints = typing.get_type_hints(config_class)
    return {f.name: hints[f.name] for f in fields(config_class)}


def share(assignments: Sequence[str], methods: Sequence[str]) -> dict[str, dict[str, str]]:
    """Deal `--set` assignments to methods.

    `KEY=VALUE` goes to every method that has the hyper-parameter, `METHOD.KEY=VALUE` to that one.

    Raises:
        UsageError: an assignment without `=`, or a key that none of the methods has.
    """
    dealt: dict[str, dict[str, str]] = {m: {} for m in methods}
    known = {m: set(options(plugins.method(m).Config)) for m in methods}
    presets = {m: read(m) for m in methods}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key:
            raise UsageError(f"--set {assignment!r} is not of the form KEY=VALUE.")
        scope, dot, bare = key.rpartition(".")
        if dot and scope not in methods:
            raise unknown("method in this call", scope, methods)
        takers = [scope] if dot else [m for m in methods if key in known[m]]
        if key == "preset":
            takers = [m for m in methods if value in presets[m]]
            if not takers:
                raise unknown("preset", value, set().union(*presets.values()))
        if not takers:
            raise unknown("hyper-parameter", key, set().union(*known.values()))
        for m in takers:
            dealt[m][bare] = value
    return dealt


def _parse(what: str, text: str, kind: Any) -> Any:
    """The value that the text stands for, of the type of the hyper-parameter."""
    if typing.get_origin(kind) is Literal:
        choices = typing.get_args(kind)
        if text not in choices:
            raise unknown(f"value of {what}", text, choices)
        return text
    if isinstance(kind, UnionType):
        if text.lower() == "none":
            return None
        kind = next(k for k in typing.get_args(kind) if k is not type(None))
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise UsageError(f"{what} is true or false, not {text!r}.")
        return text.lower() == "true"
    try:
        value = kind(text)
        if kind is float and not math.isfinite(value):
            raise ValueError(f"{text} is not finite")
        return value
    except ValueError as error:
        raise UsageError(f"{what} takes {kind.__name__}, not {text!r}.") from error
