"""Hyper-parameters: a method's dataclass, its presets (data, in a file beside it), the user's.

The preset file of a method has the name of its module, with `.toml`. Each of its tables is a
preset, named after what it is for: a data set, a data set behind an affine layer (`bsds300-full`,
for `affine=full`), `2-D`, or `any`; presets with other names are used only on request
(`--set preset=NAME`). Each gives in `evidence` the origin of its values, and may give in `d` the
only dimension that it is for; for a preset named after a data set, that is the data set's.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Literal

from bench.errors import UsageError, unknown
from bench.registry import plugins
from bench.study import toml_files


@dataclass(frozen=True)
class Preset:
    """Values of hyper-parameters, and the evidence for them; all others keep their defaults.

    `d` is the only dimension that the preset is for, or None.
    """

    values: Mapping[str, Any]
    evidence: str
    d: int | None = None


def read(method: str) -> dict[str, Preset]:
    """Return the presets of a method by name; empty where it has no preset file.

    Raises:
        UsageError: the file is not valid; names the preset and the key.
    """
    path = plugins.source(plugins.methods()[method]).with_suffix(".toml")
    return dict(_presets(path, path.read_bytes())) if path.is_file() else {}


@cache  # a study needs the presets of each method on each data set
def _presets(path: Path, content: bytes) -> dict[str, Preset]:
    found = {}
    for name, table in toml_files.tables(path).items():
        d = 2 if name == "2-D" else None
        if name in plugins.datasets() and name != plugins.PATH:
            d = plugins.dataset(name).d
        own = {key: table.pop(key) for key in ("evidence", "d") if key in table}
        preset = {"d": d, "values": table} | own
        found[name] = toml_files.convert(preset, Preset, f"{path}: {name}: ")
    return found


def configure(
    method: str, dataset: str, d: int, overrides: Mapping[str, str]
) -> tuple[Any, str | None]:
    """Return a method's hyper-parameters for a data set, and the name of the preset used.

    Args:
        method: the method's name.
        dataset: the data set's name.
        d: its dimension; the preset `2-D` is for d = 2.
        overrides: the user's values as text; `preset` names the preset to start from. Without it,
            a given `affine` looks first for the data set's preset behind that layer.

    Raises:
        UsageError: an unknown name, a preset for another dimension, a value of the wrong type, or
            one that the method refuses.
    """
    presets = read(method)
    overrides = dict(overrides)
    given = overrides.pop("preset", None)
    if given is not None and given not in presets:
        raise unknown("preset", given, presets, f"for {method}")
    if given is not None and (only := presets[given].d) not in (None, d):
        raise UsageError(
            f"The preset {given!r} of {method} is for d = {only}; {dataset} has d = {d}.",
            "Choose another, or leave it out.",
        )
    behind = [f"{dataset}-{overrides['affine']}"] if "affine" in overrides else []
    candidates = [given] if given else [*behind, dataset, *(["2-D"] if d == 2 else []), "any"]
    name = next((c for c in candidates if c in presets), None)
    config_class = plugins.method(method).Config
    texts = {k: str(value) for k, value in presets[name].values.items()} if name else {}
    values = parsed(config_class, texts, f"in the preset {name!r} of {method}")
    values |= parsed(config_class, overrides, f"for {method}")
    try:
        return config_class(**values), name
    except (ValueError, TypeError) as error:
        raise UsageError(f"Hyper-parameters of {method}: {error}.") from error


def parsed(config_class: type, texts: Mapping[str, str], of: str) -> dict[str, Any]:
    """Return values given as text, converted to the types of the hyper-parameters.

    `of` says in errors whose they are, such as "for ffjord".

    Raises:
        UsageError: an unknown name, or a value of the wrong type.
    """
    types = options(config_class)
    for key in texts:
        if key not in types:
            raise unknown("hyper-parameter", key, [*types, "preset"], of)
    return {key: _value(f"{key} {of}", text, types[key]) for key, text in texts.items()}


@cache
def options(config_class: Any) -> dict[str, Any]:
    """Return the names of a `Config`'s hyper-parameters and their types."""
    hints = typing.get_type_hints(config_class)
    return {f.name: hints[f.name] for f in fields(config_class)}


def share(assignments: Sequence[str], methods: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return each method's settings from `--set` assignments.

    `KEY=VALUE` goes to every method that has the hyper-parameter, `METHOD.KEY=VALUE` to that method
    alone, in place of the general one; `preset=NAME` goes to every method that has the preset.

    Raises:
        UsageError: an assignment without `=`, an unknown method, a key that no method has, or two
            values for one key of a method.
    """
    configs: dict[str, Any] = {m: plugins.method(m).Config for m in methods}
    known = {m: options(configs[m]).keys() for m in methods}
    presets = {m: read(m) for m in methods}
    general: dict[str, dict[str, str]] = {m: {} for m in methods}
    own: dict[str, dict[str, str]] = {m: {} for m in methods}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name:
            raise UsageError(f"--set {assignment!r} is not of the form KEY=VALUE.")
        method, dot, key = name.rpartition(".")
        if dot and method not in methods:
            raise unknown("method", method, methods, "in --set")
        takers = [method] if dot else [m for m in methods if key in known[m]]
        if key == "preset" and not dot:
            takers = [m for m in methods if value in presets[m]]
            if not takers:
                raise unknown("preset", value, set().union(*presets.values()))
        elif not takers:
            of = f"for {methods[0]}" if len(methods) == 1 else ""
            raise unknown("hyper-parameter", key, set().union(*known.values()), of)
        for m in takers:
            dealt = own[m] if dot else general[m]
            if dealt.setdefault(key, value) != value:
                text = f"--set gives {name} twice for {m}: {dealt[key]} and {value}."
                raise UsageError(text, "Choose one.")
    return {m: general[m] | own[m] for m in methods}


def merged(
    settings: Sequence[str], given: Sequence[str], methods: Sequence[str]
) -> tuple[str, ...]:
    """Return a study's settings together with those given beside it, which win over them.

    Raises:
        UsageError: as `share`.
    """
    before, after = share(settings, methods), share(given, methods)
    kept = (f"{m}.{k}={v}" for m in methods for k, v in before[m].items() if k not in after[m])
    return (*kept, *given)


def _value(what: str, text: str, kind: Any) -> Any:
    """Return the value of the hyper-parameter's type that the text stands for."""
    if typing.get_origin(kind) is Literal:
        choices = typing.get_args(kind)
        if text not in choices:
            raise unknown("value", text, choices, f"for {what}")
        return text
    if isinstance(kind, UnionType):
        if text.lower() == "none":
            return None
        kind = next(k for k in typing.get_args(kind) if k is not type(None))
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise UsageError(f"{what} must be true or false, got {text!r}.")
        return text.lower() == "true"
    try:
        value = kind(text)
        if kind is float and not math.isfinite(value):
            raise ValueError(f"{text} is not finite")
    except ValueError as error:
        wanted = {int: "an integer", float: "a finite number"}.get(kind, kind.__name__)
        raise UsageError(f"{what} must be {wanted}, got {text!r}.") from error
    return value
