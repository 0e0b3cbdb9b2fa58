"""Finding methods and data sets through entry points: the only way the harness meets either."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from bench.dataset import Dataset
from bench.errors import UsageError, unknown

if TYPE_CHECKING:
    from bench.method import Method

#: The data-set plug-in that makes a data set of a user's own file.
PATH = "path"


@cache
def methods() -> dict[str, EntryPoint]:
    """Every installed method by name, not imported yet."""
    return {e.name: e for e in entry_points(group="bench.methods")}


@cache
def datasets() -> dict[str, EntryPoint]:
    """Every installed data set by name, not imported yet."""
    return {e.name: e for e in entry_points(group="bench.datasets")}


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

    Presets count too (the `.toml` of the same name). Two runs of one version ran the same code of
    the method, whatever the distribution calls itself.
    """
    digest = hashlib.sha256()
    for path in sources(plugin):
        for file in (path, path.with_suffix(".toml")):
            if file.is_file():
                digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


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
        todo += sorted(_imports(path.read_bytes(), top) - seen)
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


@cache
def _imports(code: bytes, top: str) -> frozenset[str]:
    """The modules of the package `top` that the code imports; methods share modules."""
    names = set[str]()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
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
    except (ImportError, AttributeError, SyntaxError) as error:
        raise UsageError(
            f"The {kind} {plugin.name!r} can't be imported: {type(error).__name__}: {error}.",
            f"It is {plugin.value}; install what it needs.",
        ) from error


def looks_like_a_path(name: str) -> bool:
    """Whether a data set's name is that of a user's own file."""
    return "/" in name or "\\" in name or Path(name).suffix in {".csv", ".npy", ".npz", ".parquet"}
