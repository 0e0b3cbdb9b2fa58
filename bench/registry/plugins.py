"""Find methods, data sets and metrics: by entry points, and in files that a user includes.

The harness meets them in no other way.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Iterable
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from bench.api.dataset import Dataset
from bench.api.declarations import Look, Metric
from bench.errors import UsageError, unknown
from bench.registry.sources import current_version as current_version
from bench.registry.sources import former_versions as former_versions
from bench.registry.sources import look_in, module_file
from bench.registry.sources import source as source
from bench.registry.sources import sources as sources
from bench.registry.sources import summary as summary
from bench.registry.sources import version as version

if TYPE_CHECKING:
    from bench.api.method import Method

#: The data-set plug-in that makes a data set of a user's own file.
PATH = "path"

#: The kinds of plug-ins and their words; the entry-point groups are `bench.KIND`.
KINDS = {"methods": "method", "datasets": "data set", "metrics": "metric"}

#: Names of methods, data sets and metrics, and of runs: folders are named after them.
NAME = r"\A[\w-][\w.-]*\Z"

#: The name of a user's table, which is that of its file.
FILE_NAME = r"\A[^./\\\x00-\x1f\x7f-\x9f][^/\\\x00-\x1f\x7f-\x9f]*\Z"

#: Modules that plug-ins imported before `bench.api`.
FORMER = ("bench.affine", "bench.dataset", "bench.method", "bench.stream")

#: The plug-ins of a file by kind and name.
Included = dict[str, dict[str, EntryPoint]]

#: The files that were included, by their absolute paths.
_included: dict[Path, Included] = {}


def metric_versions() -> dict[str, str]:
    """The hash of each metric plug-in's source, by its name.

    Raises:
        UsageError: the name of one can't be used.
    """
    found = entries("metrics")
    return {require_name("metric", name): version(found[name]) for name in sorted(found)}


@cache
def metrics() -> dict[str, Metric]:
    """Every metric plug-in by name, in the order of the names; no run has one with a bad name.

    Raises:
        UsageError: as `metric`.
    """
    return {name: metric(name) for name in sorted(entries("metrics")) if re.search(NAME, name)}


@cache
def entries(kind: str) -> dict[str, EntryPoint]:
    """Return the plug-ins of a kind by name, not imported; of two with one name, `_order`'s first.

    Args:
        kind: one of `KINDS`.
    """
    installed = sorted(entry_points(group=f"bench.{kind}"), key=_order, reverse=True)
    found = {plugin.name: plugin for plugin in installed}
    for file in _included.values():
        found |= file[kind]
    return found


#: Every method, and every data set, by name: the installed ones and the included ones.
methods, datasets = partial(entries, "methods"), partial(entries, "datasets")


def _order(plugin: EntryPoint) -> tuple[bool, str]:
    """The harness's own plug-ins first, then those of others by their distributions' names."""
    return from_elsewhere(plugin), plugin.dist.name if plugin.dist else ""


def from_elsewhere(plugin: EntryPoint) -> bool:
    """Whether another distribution than the harness's provides the plug-in, or an included file."""
    return plugin.dist is None or plugin.dist.name != "cnf-bench"


def require_name(kind: str, name: str) -> str:
    """Return the name of a plug-in.

    Raises:
        UsageError: it can't be used.
    """
    if not re.search(NAME, name):
        raise UsageError(
            f"A {kind} can't have the name {name!r}.",
            "Names consist of letters, digits, '.', '_' and '-', and don't begin with '.'.",
        )
    return name


def clashes(kind: str) -> list[EntryPoint]:
    """Return the installed plug-ins of a kind that are ignored: another one has their name."""
    return [e for e in entry_points(group=f"bench.{kind}") if e != entries(kind)[e.name]]


def include(path: str | Path) -> Included:
    """Add the methods, data sets and metrics of a Python file, for the life of this process.

    A file that has changed since it was included is read again.

    Raises:
        UsageError: the file can't be read or imported, holds no plug-in, or holds one with the
            name of another.
    """
    absolute = Path(path).expanduser().absolute()
    found = _plugins_in(absolute)
    before = _included.get(absolute, {})
    for kind, word in KINDS.items():
        for name in found[kind].keys() & (entries(kind).keys() - before.get(kind, {}).keys()):
            raise UsageError(
                f"{path} defines a {word} {name!r}, which exists: {entries(kind)[name].value}.",
                "Give it another name.",
            )
    _included[absolute] = found
    forget()
    return found


def _plugins_in(path: Path) -> Included:
    """Import the file, and return its methods, data sets and metrics.

    A method is a class derived from `bench.api.Method` that the file defines and whose name does
    not begin with an underscore. It is named by its attribute `name`; else after the file where it
    is the only method (`my_flow.py`: `my-flow`), or `FILE.CLASS`.

    Raises:
        UsageError: the file can't be read or imported, or there is nothing in it.
    """
    from bench.api.method import Method

    module = _import(path)
    found: Included = {"methods": {}, "datasets": {}, "metrics": {}}

    def add(kind: str, name: str, value: str) -> None:
        require_name(KINDS[kind], name)
        found[kind][name] = EntryPoint(name, f"{module.__name__}:{value}", f"bench.{kind}")

    classes = []
    for name, value in vars(module).items():
        if isinstance(value, Dataset):
            add("datasets", value.name, name)
        elif isinstance(value, Metric):
            add("metrics", value.name, name)
        elif inspect.isclass(value) and value.__module__ == module.__name__:
            classes += [value] if issubclass(value, Method) and name[0] != "_" else []
    stem = path.stem.replace("_", "-")
    for kind in classes:
        alone = stem if len(classes) == 1 else f"{stem}.{kind.__name__}"
        name = str(vars(kind).get("name", alone))
        if name in found["methods"]:
            raise UsageError(f"Two methods in {path} have the name {name!r}.", "Rename one.")
        add("methods", name, kind.__name__)
    if not any(found.values()):
        raise UsageError(
            f"{path} defines no method, data set or metric.",
            "A method derives from bench.api.Continuous or Discrete; a data set is a "
            "bench.api.Dataset, a metric a bench.api.Metric.",
        )
    return found


def _import(path: Path) -> ModuleType:
    """The module of the file, under a name that changes with the file's content."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}.") from error
    if path.suffix != ".py":
        raise UsageError(f"{path} is not a Python file.", "Its name must end in .py.")
    digest = hashlib.sha256(str(path).encode() + content).hexdigest()[:8]
    name = f"bench_included_{re.sub(r'[^A-Za-z0-9_]', '_', path.stem)}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and type hints look their module up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a user's file can raise anything
        del sys.modules[name]
        lines = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
        where = f"line {lines[-1].lineno}: " if lines else ""
        raise UsageError(f"{path} can't be imported: {where}{_reason(error)}.") from error
    return module


def _reason(error: Exception) -> str:
    """Why a module can't be imported: the error, its line in the source, and what has moved."""
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: {type(error).__name__}: {error.msg}"
    text = f"{type(error).__name__}: {error}".rstrip(".")
    moved = isinstance(error, ModuleNotFoundError) and error.name in FORMER
    return f"{text}; import it from bench.api" if moved else text


def forget() -> None:
    """Look for plug-ins anew when next asked: what is installed or included has changed."""
    entries.cache_clear()
    metrics.cache_clear()


def files_of(names: Iterable[str]) -> tuple[str, ...]:
    """The included files that methods or data sets of these names come from, and all metrics.

    Every run is evaluated by every metric.
    """
    wanted = {*names}
    return tuple(
        str(path)
        for path, file in _included.items()
        if file["metrics"] or wanted & (file["methods"].keys() | file["datasets"].keys())
    )


def method(name: str) -> type[Method]:
    """Return the class of the method `name`.

    Raises:
        UsageError: it is unknown, or can't be imported.
    """
    if name not in methods():
        raise unknown("method", name, methods())
    found: type[Method] = _load(methods()[name], "method")
    return found


def metric(name: str) -> Metric:
    """Return the metric plug-in `name`.

    Raises:
        UsageError: it can't be imported, or is no `Metric` of that name.
    """
    plugin = entries("metrics")[name]
    found = _load(plugin, "metric")
    if not isinstance(found, Metric) or found.name != name:
        raise UsageError(
            f"The metric {name!r} ({plugin.value}) must be a bench.api.Metric of that name, "
            f"got {found!r:.60}."
        )
    return found


def dataset(name: str) -> Dataset:
    """Return the data set `name`, or the user's table where `name` is a path.

    A path may be followed by what is done to the table's columns, as in
    `wine.csv?drop=id,row&dequantise=age&group=patient&header=yes`.

    Raises:
        UsageError: it is unknown, or can't be imported.
        DataError: `name` is a path and no table can be read there.
    """
    if name in datasets() and name != PATH:
        found: Dataset = _load(datasets()[name], "data set")
        require_name("data set", found.name)
        return found
    if looks_like_a_path(name) and PATH in datasets():
        own: Dataset = _load(datasets()[PATH], "data set")(Path(name))
        if not re.search(FILE_NAME, own.name):
            raise UsageError(f"A data set can't have the name {own.name!r}.", "Rename the file.")
        return own
    raise unknown("data set", name, set(datasets()) - {PATH})


def look(name: str) -> Look:
    """Return the look of the method `name`, read from its source; the default where it has none.

    Raises:
        UsageError: its `LOOK` is not `Look(...)` of literal values, or a field is wrong.
    """
    plugin = methods().get(name)
    path = module_file(plugin.module) if plugin else None
    return look_in(path.read_bytes(), path.name)[0] if path else Look()


def packages(plugin: EntryPoint) -> list[str]:
    """Return the distribution of another's plug-in and those that it requires, for the record."""
    if plugin.dist is None or not from_elsewhere(plugin):
        return []
    required = (re.match(r"[A-Za-z0-9._-]+", line) for line in plugin.dist.requires or ())
    return [plugin.dist.name, *(found[0] for found in required if found)]


def _load(plugin: EntryPoint, kind: str) -> Any:
    require_name(kind, plugin.name)
    try:
        return plugin.load()
    except Exception as error:  # another's module can raise anything
        raise UsageError(
            f"The {kind} {plugin.name!r} can't be imported: {_reason(error)}.",
            f"It is {plugin.value}; install what it needs.",
        ) from error


def looks_like_a_path(name: str) -> bool:
    """Whether a data set's name is that of a user's own file, its preparation included."""
    file = name.partition("?")[0].removesuffix(".gz")
    return bool(re.search(r"[/\\]|\.(csv|tsv|npy|npz|parquet)$", file))
