"""A study as a file: read, checked, and complained of by line and column.

# my_study.toml
methods = ["gaussian", "flow-matching"]
datasets = ["moons", "tables/my_table.csv"]   # a path is relative to this file
seeds = [0, 1, 2]
budget = "equal"              # or minibatches = 2000, batch_size = 256
settings = ["width=512"]      # as --set takes them
include = ["my_flow.py"]      # as --include takes them; relative to this file
summary = "a line for those who come after"

[judge]                       # fields of bench.records.spec.Judge
test_rows = 5000
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NoReturn

from bench.errors import BenchError, UsageError, unknown
from bench.records.spec import Judge
from bench.registry import plugins
from bench.study.budgets import budgets
from bench.study.definition import Study
from bench.study.toml_positions import Position, Positions, position, positions

KEYS = (
    *("summary", "methods", "datasets", "seeds", "budget", "minibatches", "batch_size"),
    *("settings", "include", "judge"),
)

#: Fields of the judge that a study may set; the metrics' version is the program's.
JUDGE = tuple(f.name for f in fields(Judge) if f.name != "metrics_version")

#: Fields of the judge that may be 0; the others are above it.
_MAY_BE_0 = ("seed", "tightenings")

#: What the judge's fields that are text may be.
_CHOICES = {"solver": ("dopri5",), "dtype": ("float32", "float64")}

_SHIPPED = Path(__file__).parent / "studies"


def shipped() -> list[str]:
    """The names of the studies that come with the package."""
    return sorted(path.stem for path in _SHIPPED.glob("*.toml"))


def find(name: str) -> Study:
    """The study of that name among those that come with the package, or the one in that file.

    What ends in `.toml` or holds a slash is a file.

    Raises:
        UsageError: there is none, or the file is not as it should be.
    """
    if name.endswith(".toml") or "/" in name or "\\" in name:
        return read(Path(name).expanduser())
    if name not in shipped():
        raise UsageError(str(unknown("study", name, shipped())), "A file's name ends in .toml.")
    return read(_SHIPPED / f"{name}.toml")


def read(path: Path) -> Study:
    """The study in a file.

    Raises:
        UsageError: the file can't be read or is no study; says the line and the column.
    """
    text = _text(path)
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}, {_syntax(text, str(error))}.") from error
    return _Reader(path, content, positions(text)).study()


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(
            f"There is no study file {path}.",
            f"A study that is shipped goes by its name alone: {', '.join(shipped())}.",
        ) from None
    except OSError as error:
        raise UsageError(f"The study file {path} can't be read: {error.strerror}.") from error
    try:
        return raw.decode().replace("\r\n", "\n").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        place = position(raw[: error.start].decode(), error.start)
        raise UsageError(
            f"{path}, line {place.line}: the file is not UTF-8 text ({error.reason}).",
            "Save it as UTF-8.",
        ) from error


def _syntax(text: str, message: str) -> str:
    """tomllib's message with the place in front."""
    what, _, place = message.rpartition(" (at ")
    if match := re.fullmatch(r"line (\d+), column (\d+)\)", place):
        where = Position(int(match[1]), int(match[2]))
    else:
        where = position(text, len(text))
        what = what or message
    return f"{where}: {what[:1].lower()}{what[1:]}"


@dataclass(frozen=True)
class _Reader:
    """A study file's content on its way to a `Study`."""

    path: Path
    content: Mapping[str, Any]
    positions: Positions

    def study(self) -> Study:
        """The study.

        Raises:
            UsageError: the first thing that is not as it should be.
        """
        self._known_keys(self.content, (), KEYS)
        for name in ("methods", "datasets"):
            if name not in self.content:
                raise UsageError(f"{self.path}: there is no key '{name}', a list of names.")
        include = self._include()
        methods = self._list("methods", str, "names")
        for i, name in enumerate(methods):
            if name not in plugins.methods():
                self._unknown(("methods", i), "method", name, plugins.methods())
        datasets = [
            self._dataset(i, name) for i, name in enumerate(self._list("datasets", str, "names"))
        ]
        seeds = self._list("seeds", int, "whole numbers") if "seeds" in self.content else [0]
        for i, seed in enumerate(seeds):
            if seed < 0:
                self._wrong(("seeds", i), f"a seed is 0 or more, not {seed}")
        budget = self._one("budget", str, "a name", "equal")
        if budget not in budgets():
            self._unknown(("budget",), "budget", budget, budgets())
        return Study(
            methods=tuple(methods),
            datasets=tuple(datasets),
            seeds=tuple(seeds),
            budget=budget,
            judge=self._judge(),
            minibatches=self._count("minibatches"),
            batch_size=self._count("batch_size"),
            settings=self._settings(methods),
            include=include,
            summary=self._one("summary", str, "text", ""),
        )

    def _dataset(self, i: int, name: str) -> str:
        """The name of the data set, or the path as it is from here."""
        known = set(plugins.datasets()) - {plugins.PATH}
        if name in known:
            return name
        if not plugins.looks_like_a_path(name):
            self._unknown(("datasets", i), "data set", name, known)
        table = self.path.parent / Path(name).expanduser()
        if not table.is_file():
            self._wrong(("datasets", i), f"there is no table {table}")
        return str(table)

    def _include(self) -> tuple[str, ...]:
        """The files with methods and data sets, included, as they are from here."""
        if "include" not in self.content:
            return ()
        files = []
        for i, name in enumerate(self._list("include", str, "names of files")):
            file = self.path.parent / Path(name).expanduser()
            try:
                plugins.include(file)
            except UsageError as error:
                self._wrong(("include", i), str(error))
            files.append(str(file))
        return tuple(files)

    def _judge(self) -> Judge:
        table = self._one("judge", dict, "a table", {})
        self._known_keys(table, ("judge",), JUDGE)
        default = Judge()
        values: dict[str, Any] = {}
        for name, value in table.items():
            kind, where = type(getattr(default, name)), ("judge", name)
            if kind is float and type(value) is int:
                value = float(value)  # 1 and 1.0 are one judge, and have one key
            if type(value) is not kind:
                wanted = {int: "a whole number", float: "a number", str: "text"}[kind]
                self._wrong(where, f"'{name}' is {wanted}, not {_kind(value)}")
            if kind is str and value not in _CHOICES[name]:
                self._unknown(where, f"value of '{name}'", value, _CHOICES[name])
            if kind is not str and not (0 < value < math.inf or (value == 0 and name in _MAY_BE_0)):
                least = "0 or more" if name in _MAY_BE_0 else "above 0"
                self._wrong(where, f"'{name}' is {least}, not {value}")
            if name == "alpha" and value >= 1:
                self._wrong(where, f"'alpha' is below 1, not {value}")
            values[name] = value
        return Judge(**values)

    def _settings(self, methods: Collection[str]) -> tuple[str, ...]:
        """The `--set` assignments; that their keys are there is checked by the methods' classes."""
        if "settings" not in self.content or self.content["settings"] == []:
            return ()
        settings = self._list("settings", str, "assignments KEY=VALUE")
        from bench.study import presets

        for i, assignment in enumerate(settings):
            try:
                presets.share([assignment], [*methods])
            except BenchError as error:
                self._wrong(("settings", i), f"{error}"[:1].lower() + f"{error}"[1:])
        return tuple(settings)

    def _known_keys(
        self, table: Mapping[str, Any], under: tuple[str, ...], known: Collection[str]
    ) -> None:
        for key in table:
            if key not in known:
                where = (*under, key)
                self._wrong(where, _no(f"key '{key}'", key, known), self.positions.keys)

    def _list(self, name: str, kind: type, of: str) -> list[Any]:
        values = self._one(name, list, f"a list of {of}")
        if not values:
            self._wrong((name,), f"'{name}' is empty")
        for i, value in enumerate(values):
            if type(value) is not kind:
                self._wrong((name, i), f"'{name}' is a list of {of}, and this is {_kind(value)}")
            if value in values[:i]:
                self._wrong((name, i), f"{value!r} stands in '{name}' twice")
        return list(values)

    def _count(self, name: str) -> int | None:
        if name not in self.content:
            return None
        value: int = self._one(name, int, "a whole number")
        if value < 1:
            self._wrong((name,), f"'{name}' is 1 or more, not {value}")
        return value

    def _one(self, name: str, kind: type, wanted: str, default: Any = None) -> Any:
        value = self.content.get(name, default)
        if type(value) is not kind:
            self._wrong((name,), f"'{name}' is {wanted}, not {_kind(value)}")
        return value

    def _unknown(
        self, where: tuple[str | int, ...], kind: str, name: str, known: Collection[str]
    ) -> NoReturn:
        self._wrong(where, _no(f"{kind} '{name}'", name, known))

    def _wrong(
        self,
        where: tuple[str | int, ...],
        what: str,
        places: Mapping[tuple[str | int, ...], Position] | None = None,
    ) -> NoReturn:
        place = (self.positions.values if places is None else places).get(where)
        place = place or self.positions.keys.get(where)
        end = "" if what.endswith((".", "?")) else "."
        raise UsageError(f"{self.path}{f', {place}' if place else ''}: {what}{end}")


def _no(what: str, name: str, known: Collection[str]) -> str:
    """That there is no such thing, and the nearest one; where none is near, all."""
    near = difflib.get_close_matches(name.lower(), sorted(known), n=1, cutoff=0.5)
    if near:
        return f"there is no {what}; did you mean '{near[0]}'?"
    return f"there is no {what}; there are {', '.join(sorted(known))}"


def _kind(value: object) -> str:
    """What a value is, in the words of TOML's users."""
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}
    names |= {list: "a list", dict: "a table"}
    return names.get(type(value), "a date or a time")
