"""Find methods, data sets and metrics: by entry points, and in files that a user includes.

The harness meets them in no other way.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import re
import tomllib
from collections.abc import Iterable
from dataclasses import fields
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.api.dataset import Dataset
from bench.api.declarations import Look, Metric
from bench.errors import UsageError, unknown
from bench.registry import included

if TYPE_CHECKING:
    from bench.api.method import Method

#: The data-set plug-in that makes a data set of a user's own file.
PATH = "path"


#: The entry-point group of each kind of plug-in.
GROUPS = {"method": "bench.methods", "data set": "bench.datasets", "metric": "bench.metrics"}

#: The files that were included, by their absolute paths.
_included: dict[Path, included.Included] = {}


def methods() -> dict[str, EntryPoint]:
    """Every method by name, not imported yet: the installed ones and the included ones."""
    return _entries("bench.methods")


def datasets() -> dict[str, EntryPoint]:
    """Every data set by name, not imported yet: the installed ones and the included ones."""
    return _entries("bench.datasets")


def metric_entries() -> dict[str, EntryPoint]:
    """Every metric plug-in by name, not imported yet: the installed ones and the included ones."""
    return _entries("bench.metrics")


def metric_versions() -> dict[str, str]:
    """The hash of each metric plug-in's source, by its name."""
    return {name: version(entry) for name, entry in sorted(metric_entries().items())}


@cache
def metrics() -> dict[str, Metric]:
    """Every metric plug-in by name, in the order of the names.

    Raises:
        UsageError: one can't be imported, or is no `Metric` of the name it is registered under.
    """
    return {name: _metric(plugin) for name, plugin in sorted(metric_entries().items())}


def _metric(plugin: EntryPoint) -> Metric:
    found = _load(plugin, "metric")
    if not isinstance(found, Metric):
        raise UsageError(
            f"The metric {plugin.name!r} ({plugin.value}) must be a bench.api.Metric, "
            f"got {type(found).__name__}."
        )
    if found.name != plugin.name:
        raise UsageError(
            f"The metric {plugin.name!r} ({plugin.value}) calls itself {found.name!r}.",
            "Give the entry point and the Metric the same name.",
        )
    return found


@cache
def _entries(group: str) -> dict[str, EntryPoint]:
    """The plug-ins of a group by name; of two with one name, the first in the order of `_order`."""
    installed = {e.name: e for e in sorted(entry_points(group=group), key=_order, reverse=True)}
    for file in _included.values():
        installed |= file.plugins[group]
    return installed


def _order(plugin: EntryPoint) -> tuple[bool, str]:
    """The harness's own plug-ins first, then those of others by their distributions' names."""
    return from_elsewhere(plugin), plugin.dist.name if plugin.dist else ""


def from_elsewhere(plugin: EntryPoint) -> bool:
    """Whether another distribution than the harness's provides the plug-in, or an included file."""
    return plugin.dist is None or plugin.dist.name != "cnf-bench"


def clashes(group: str) -> list[EntryPoint]:
    """The installed plug-ins of a group that are ignored, as another one has their name."""
    taken = _entries(group)
    return [e for e in entry_points(group=group) if e != taken[e.name]]


def include(path: str | Path) -> included.Included:
    """Add the methods, data sets and metrics of a Python file, for the life of this process.

    A file that has changed since it was included is read again.

    Raises:
        UsageError: the file can't be read or imported, holds no plug-in, or holds one with the
            name of another.
    """
    absolute = Path(path).expanduser().absolute()
    found = included.read(absolute)
    before = _included.pop(absolute, None)
    forget()
    for kind, group in GROUPS.items():
        for name in found.plugins[group].keys() & _entries(group).keys():
            other = _entries(group)[name].value
            if before:
                _included[absolute] = before
                forget()
            raise UsageError(
                f"{path} defines a {kind} {name!r}, but that name is taken by {other}.",
                "Give it another name.",
            )
    _included[absolute] = found
    forget()
    return found


def forget() -> None:
    """Look for plug-ins anew when next asked: what is installed or included has changed."""
    _entries.cache_clear()
    metrics.cache_clear()


def files_of(names: Iterable[str]) -> tuple[str, ...]:
    """The included files that methods or data sets of these names come from, and all metrics.

    Every run is evaluated by every metric.
    """
    wanted = {*names}
    return tuple(
        str(path)
        for path, file in _included.items()
        if file.metrics or wanted & (file.methods.keys() | file.datasets.keys())
    )


def method(name: str) -> type[Method]:
    """The class of the method `name`.

    Raises:
        UsageError: nothing of that name is installed, or its import fails.
    """
    if name not in methods():
        raise unknown("method", name, methods())
    found: type[Method] = _load(methods()[name], "method")
    return found


def dataset(name: str) -> Dataset:
    """The data set `name`, or the user's own table where `name` is a path.

    Raises:
        UsageError: nothing of that name is installed, or its import fails.
        DataError: `name` is a path and no table can be read there.
    """
    if name in datasets() and name != PATH:
        found: Dataset = _load(datasets()[name], "data set")
        return found
    if looks_like_a_path(name) and PATH in datasets():
        own: Dataset = _load(datasets()[PATH], "data set")(Path(name))
        return own
    raise unknown("data set", name, set(datasets()) - {PATH})


def summary(plugin: EntryPoint) -> str:
    """The first line of the docstring of the plug-in's module, read without running it.

    Raises:
        UsageError: the module is not there or can't be parsed.
    """
    doc = ast.get_docstring(ast.parse(source(plugin).read_bytes())) or ""
    return doc.partition("\n")[0].rstrip(".")


def version(plugin: EntryPoint) -> str:
    """A hash of the plug-in's source: its module and the modules of its package that it imports.

    Presets count too (the `.toml` of the same name); a `LOOK` does not. Two runs of one version ran
    the same code of the method, whatever the distribution calls itself.
    """
    digest = hashlib.sha256()
    for path in sources(plugin):
        digest.update(_without_look(path.read_bytes(), path.name))
        if path.with_suffix(".toml").is_file():
            digest.update(path.with_suffix(".toml").read_bytes())
    return digest.hexdigest()[:12]


def current_version(method: str, version: str) -> str:
    """Return the version that a method's recorded version has become where its source moved.

    That of a source that did not move is returned as it is; see `moved.toml`.
    """
    return _moved().get(method, {}).get(version, version)


def former_versions(method: str, version: str) -> list[str]:
    """Return the versions that a method's source had before it moved."""
    return [former for former, now in _moved().get(method, {}).items() if now == version]


@cache
def _moved() -> dict[str, dict[str, str]]:
    return tomllib.loads((Path(__file__).parent / "moved.toml").read_text(encoding="utf-8"))


def look(name: str) -> Look:
    """How the method `name` looks: the `LOOK` of its module, read without importing it.

    A method that is not installed, or that has no `LOOK`, has the default.

    Raises:
        UsageError: its `LOOK` is not `Look(...)` of literal values, or has a field wrong.
    """
    plugin = methods().get(name)
    path = _module_file(plugin.module) if plugin else None
    if path is None:
        return Look()
    found = _find_look(path.read_bytes(), path.name)
    return found[1] if found else Look()


@cache
def _find_look(code: bytes, file: str) -> tuple[ast.stmt, Look] | None:
    """The statement `LOOK = Look(...)` at the top level of a source, and its value."""
    if b"LOOK" not in code:
        return None
    try:
        body = ast.parse(code).body
    except (SyntaxError, ValueError):  # whoever imports it is told
        return None
    found = [statement for statement in body if "LOOK" in _assigned(statement)]
    if not found:
        return None
    where = f"LOOK in {file}, line {found[-1].lineno}"
    if len(found) > 1:
        raise UsageError(f"{where}: defined more than once.", "Keep one definition.")
    imported = {
        alias.name
        for node in body
        if isinstance(node, ast.ImportFrom) and node.module in ("bench.api", Look.__module__)
        for alias in node.names
        if alias.asname is None
    }
    call = getattr(found[0], "value", None)
    if not (
        isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Look"
    ):
        raise UsageError(f"{where}: expected Look(...).", 'Write LOOK = Look(colour="#0072b2").')
    if "Look" not in imported:
        raise UsageError(
            f"{where}: Look is not imported.", "Write from bench.api import Look above it."
        )
    known = [field.name for field in fields(Look)]
    values = {}
    for keyword in call.keywords:
        if keyword.arg not in known:
            wrong = unknown("field of Look", str(keyword.arg or "**"), known)
            raise UsageError(f"{where}: {wrong.problem}", wrong.remedy)
        try:
            values[keyword.arg] = ast.literal_eval(keyword.value)
        except (ValueError, TypeError, SyntaxError):
            raise UsageError(
                f"{where}: {keyword.arg} must be a literal; the file is read, not run."
            ) from None
    if call.args:
        raise UsageError(f"{where}: name every field.", 'Write Look(colour="#0072b2").')
    try:
        return found[0], Look(**values)
    except UsageError as error:
        raise UsageError(f"{where}: {error.problem}", error.remedy) from error


def _assigned(statement: ast.stmt) -> set[str]:
    """The names that a statement assigns to."""
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign | ast.AugAssign):
        targets = [statement.target]
    else:
        return set()
    return {target.id for target in targets if isinstance(target, ast.Name)}


def _without_look(code: bytes, file: str) -> bytes:
    """A source without its `LOOK`, which changes no result; as it is where that can't be read."""
    try:
        found = _find_look(code, file)
    except UsageError:
        return code
    if found is None or _assigned(found[0]) != {"LOOK"}:
        return code
    statement = found[0]
    lines = importlib.util.decode_source(code).encode().split(b"\n")
    first, last = statement.lineno - 1, (statement.end_lineno or 0) - 1
    lines[first : last + 1] = [
        lines[first][: statement.col_offset] + lines[last][statement.end_col_offset :]
    ]
    return b"\n".join(lines)


def sources(plugin: EntryPoint) -> list[Path]:
    """The files of the plug-in's module and of the modules of its package that it imports."""
    top = plugin.module.partition(".")[0]
    todo, seen, found = [plugin.module], set[str](), list[Path]()
    while todo:
        module = todo.pop(0)
        if module in seen:
            continue
        seen.add(module)
        path = _module_file(module)
        if path is None:
            continue
        found.append(path)
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        todo += sorted(_imports(path.read_bytes(), top, package) - seen)
    return found


def source(plugin: EntryPoint) -> Path:
    """The file of the plug-in's module.

    Raises:
        UsageError: it is not there.
    """
    path = _module_file(plugin.module)
    if path is None:
        raise UsageError(
            f"The plug-in {plugin.name!r} names the module {plugin.module}, not installed.",
            "Install the distribution that provides it again.",
        )
    return path


def packages(plugin: EntryPoint) -> list[str]:
    """The distribution that a plug-in comes from, where that is another than the harness's, and
    those that it requires: what a record has to name beside the harness's own."""
    if plugin.dist is None or not from_elsewhere(plugin):
        return []
    required = (re.match(r"[A-Za-z0-9._-]+", line) for line in plugin.dist.requires or ())
    return [plugin.dist.name, *(found[0] for found in required if found)]


@cache
def _imports(code: bytes, top: str, package: str) -> frozenset[str]:
    """The modules of the package `top` that code of `package` imports; methods share modules."""
    names = set[str]()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.level == 0 or package):
            relative = "." * node.level + (node.module or "")
            try:
                base = importlib.util.resolve_name(relative, package)
            except ImportError:  # beyond its package: the import itself will say so
                continue
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return frozenset(name for name in names if name.startswith(f"{top}."))


def _module_file(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, AttributeError, ValueError):
        return None
    return Path(spec.origin) if spec and spec.origin and spec.has_location else None


def _load(plugin: EntryPoint, kind: str) -> Any:
    try:
        return plugin.load()
    except Exception as error:  # another's module can raise anything
        raise UsageError(
            f"The {kind} {plugin.name!r} can't be imported: {included.reason(error)}.",
            f"It is {plugin.value}; install what it needs.",
        ) from error


def looks_like_a_path(name: str) -> bool:
    """Whether a data set's name is that of a user's own file."""
    return "/" in name or "\\" in name or Path(name).suffix in {".csv", ".npy", ".npz", ".parquet"}
