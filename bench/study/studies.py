"""Studies: methods x data sets x seeds, their judge, and named budgets. A study can be a file.

# my_study.toml
methods = ["gaussian", "flow-matching"]
datasets = ["moons", "tables/my_table.csv"]   # a path is relative to this file
seeds = [0, 1, 2]
budget = "equal"              # or minibatches = 2000, batch_size = 256
settings = ["width=512"]      # as in --set
include = ["my_flow.py"]      # as in --include; relative to this file
compile = true                # as --compile
summary = "one line for other readers"

[judge]                       # fields of bench.records.spec.Judge
test_rows = 5000
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from bench.errors import BenchError, UsageError, unknown
from bench.records.spec import Judge
from bench.registry import plugins
from bench.study import presets, toml_files

#: Fields of the judge that a study may set; the version of the metrics is the program's.
JUDGE = tuple(f.name for f in fields(Judge) if f.name != "metrics_version")

_SHIPPED = Path(__file__).parent / "studies"

_Names = Annotated[tuple[str, ...], Meta(min_length=1)]
_Seed = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Positive = Annotated[int, Meta(ge=1)]


@dataclass(frozen=True)
class Study:
    """A grid of methods x data sets x seeds under one budget and one judge.

    `minibatches` and `batch_size` override the budget; `settings` are `--set` assignments;
    `include` are Python files that hold methods, data sets or metrics for it; with `compile`,
    functions of those methods that have any to compile are compiled.
    """

    methods: _Names
    datasets: _Names
    seeds: Annotated[tuple[_Seed, ...], Meta(min_length=1)] = (0,)
    budget: str = "equal"
    judge: Judge = field(default_factory=Judge)
    minibatches: _Positive | None = None
    batch_size: _Positive | None = None
    settings: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    compile: bool = False
    summary: str = ""


def shipped() -> list[str]:
    """The names of the studies that come with the package."""
    return sorted(path.stem for path in _SHIPPED.glob("*.toml"))


def find(name: str, notify: Callable[[str], object] = lambda line: None) -> Study:
    """Return the shipped study of that name, or the one in that file.

    A name that ends in `.toml` or contains a slash is a file. `notify` gets a line for each Python
    file that the study includes, before it is imported.

    Raises:
        UsageError: there is none, or the file is not a study.
    """
    if name.endswith(".toml") or "/" in name or "\\" in name:
        return read(Path(name).expanduser(), notify)
    if name not in shipped():
        error = unknown("study", name, shipped())
        raise UsageError(error.problem, f"{error.remedy} The name of a file must end in .toml.")
    return read(_SHIPPED / f"{name}.toml")


def read(path: Path, notify: Callable[[str], object] = lambda line: None) -> Study:
    """Return the study in a file, with its paths as they are from the current folder.

    `notify` is as for `find`.

    Raises:
        UsageError: the file can't be read or is not a study; names the key.
    """
    if not path.exists():
        raise UsageError(
            f"There is no study file {path}.",
            f"Shipped studies are given by name alone: {', '.join(shipped())}.",
        )
    content = toml_files.parse(path)
    study = toml_files.convert(content, Study, f"{path}: ")
    for key in ("methods", "datasets", "seeds", "settings", "include"):
        values = getattr(study, key)
        for i, value in enumerate(values):
            if value in values[:i]:
                raise UsageError(f"{path}: {key}[{i}]: {value!r} is given twice.")
    include = tuple(str(path.parent / Path(name).expanduser()) for name in study.include)
    for i, file in enumerate(include):
        notify(f"Importing {file} (named by {path}).")
        with _at(path, f"include[{i}]"):
            plugins.include(file)
    for i, name in enumerate(study.methods):
        with _at(path, f"methods[{i}]"):
            if name not in plugins.methods():
                raise unknown("method", name, plugins.methods())
    datasets, known = [*study.datasets], set(plugins.datasets()) - {plugins.PATH}
    for i, name in enumerate(datasets):
        if name in known:
            continue
        with _at(path, f"datasets[{i}]"):
            if not plugins.looks_like_a_path(name):
                raise unknown("data set", name, known)
            datasets[i] = str(path.parent / Path(name).expanduser())
            if not Path(datasets[i].partition("?")[0]).is_file():
                raise UsageError(f"There is no table {datasets[i]}.")
    with _at(path, "budget"):
        budget(study.budget)
    with _at(path, "judge"):
        judge = judge_of(content.get("judge", {}))
    if study.settings:  # their methods are imported
        with _at(path, "settings"):
            presets.share(study.settings, study.methods)
    return replace(study, datasets=tuple(datasets), include=include, judge=judge)


def judge_of(values: Mapping[str, Any]) -> Judge:
    """Return a judge with these fields; the others keep their defaults.

    Raises:
        UsageError: an unknown field, a wrong type, or an impossible value; names the field.
    """
    for name in values:
        if name not in JUDGE:
            raise unknown("field of the judge", name, JUDGE)
    return toml_files.convert(values, Judge, "")


@contextmanager
def _at(path: Path, key: str) -> Iterator[None]:
    """Add the file and the key to an error."""
    try:
        yield
    except BenchError as error:
        raise UsageError(f"{path}: {key}: {error.problem}", error.remedy) from error


@dataclass(frozen=True)
class Amount:
    """What one run learns from: `minibatches` updates, each on `batch_size` rows."""

    minibatches: int
    batch_size: int

    def __post_init__(self) -> None:
        for name, value in (("--minibatches", self.minibatches), ("--batch-size", self.batch_size)):
            if value < 1:
                raise UsageError(f"{name} must be at least 1, got {value}.")


@dataclass(frozen=True)
class Budget:
    """A named budget: an amount for each data set that it names, and `other` for the rest.

    `methods` holds the amounts of methods that have their own.
    """

    name: str
    summary: str
    amounts: Mapping[str, Amount]
    methods: Mapping[str, Mapping[str, Amount]] = field(default_factory=dict)

    def amount(
        self,
        dataset: str,
        method: str,
        minibatches: int | None = None,
        batch_size: int | None = None,
    ) -> Amount:
        """Return the amount for a method on a data set; the numbers given override it."""
        amounts = self.methods.get(method, self.amounts)
        amount = amounts.get(dataset) or amounts["other"]
        given = {"minibatches": minibatches, "batch_size": batch_size}
        return replace(amount, **{name: n for name, n in given.items() if n is not None})


@cache
def budgets() -> dict[str, Budget]:
    """Every named budget, from `budgets.toml`."""
    path = Path(__file__).parent / "budgets.toml"
    found = {}
    for name, table in toml_files.tables(path).items():
        own = {key: table.pop(key) for key in ("summary", "methods") if key in table}
        budget = {"name": name, "amounts": table} | own
        found[name] = toml_files.convert(budget, Budget, f"{path}: {name}: ")
    return found


def budget(name: str) -> Budget:
    """Return the budget of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in budgets():
        raise unknown("budget", name, budgets())
    return budgets()[name]
