"""Finding methods and data sets: through entry points, and in files that a user includes.

It is the only way the harness meets either.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import re
from collections.abc import Iterable
from dataclasses import fields
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from bench.api.dataset import Dataset
from bench.api.declarations import Look
from bench.errors import UsageError, unknown
from bench.registry import included

if TYPE_CHECKING:
    from bench.api.method import Method

#: The data-set plug-in that makes a data set of a user's own file.
PATH = "path"


#: The files that were included, by their absolute paths.
_included: dict[Path, included.Included] = {}


@cache
def methods() -> dict[str, EntryPoint]:
    """Every method by name: the installed ones, not imported yet, and the included ones."""
    return _installed("bench.methods") | {
        name: plugin for file in _included.values() for name, plugin in file.methods.items()
    }


@cache
def datasets() -> dict[str, EntryPoint]:
    """Every data set by name: the installed ones, not imported yet, and the included ones."""
    return _installed("bench.datasets") | {
        name: plugin for file in _included.values() for name, plugin in file.datasets.items()
    }


def _installed(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group; `clashes` tells of names that two distributions have."""
    return {e.name: e for e in sorted(entry_points(group=group), key=_order, reverse=True)}


def _order(plugin: EntryPoint) -> tuple[bool, str]:
    """The harness's own plug-ins first, then those of others by their distributions' names."""
    return from_elsewhere(plugin), plugin.dist.name if plugin.dist else ""


def from_elsewhere(plugin: EntryPoint) -> bool:
    """Whether another distribution than the harness's provides the plug-in, or an included file."""
    return plugin.dist is None or plugin.dist.name != "cnf-bench"


def clashes(group: str) -> list[EntryPoint]:
    """The entry points of a group that are not taken, as another has their name."""
    taken = _installed(group)
    return [e for e in entry_points(group=group) if e != taken[e.name]]


def include(path: str | Path) -> included.Included:
    """Add the methods and data sets of a Python file, for as long as this process lives.

    A file that has changed since it was included is read anew.

    Raises:
        UsageError: the file is not there, can't be imported, holds neither, or holds one with the
            name of another.
    """
    absolute = Path(path).expanduser().absolute()
    found = included.read(absolute)
    before = _included.pop(absolute, None)
    _forget()
    for kind, mine, others in (
        ("method", found.methods, methods()),
        ("data set", found.datasets, datasets()),
    ):
        for name in mine.keys() & others.keys():
            if before:
                _included[absolute] = before
                _forget()
            raise UsageError(
                f"{path} holds a {kind} {name!r}, and there is one already: {others[name].value}.",
                f"Call it otherwise: by its name = ..., or the {kind}'s file.",
            )
    _included[absolute] = found
    _forget()
    return found


def _forget() -> None:
    methods.cache_clear()
    datasets.cache_clear()


def files_of(names: Iterable[str]) -> tuple[str, ...]:
    """The included files that methods or data sets of these names come from."""
    wanted = {*names}
    return tuple(
        str(path)
        for path, file in _included.items()
        if wanted & (file.methods.keys() | file.datasets.keys())
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
        if isinstance(node, ast.ImportFrom) and node.module == Look.__module__
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
            f"{where}: Look is not imported.", f"Write from {Look.__module__} import Look above it."
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


def _load(plugin: EntryPoint, kind: str):  # type: ignore[no-untyped-def]
    try:
        return plugin.load()
    except Exception as error:  # another's module can raise anything
        raise UsageError(
            f"The {kind} {plugin.name!r} can't be imported: {type(error).__name__}: {error}.",
            f"It is {plugin.value}; install what it needs.",
        ) from error


def looks_like_a_path(name: str) -> bool:
    """Whether a data set's name is that of a user's own file."""
    return "/" in name or "\\" in name or Path(name).suffix in {".csv", ".npy", ".npz", ".parquet"}
