"""A file with methods or data sets in it that no distribution installs: `--include FILE.py`."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import re
import sys
import traceback
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

from bench.api.dataset import Dataset
from bench.errors import UsageError


@dataclass(frozen=True)
class Included:
    """A file that was imported, and the plug-ins that were found in it, by name."""

    path: Path
    methods: dict[str, EntryPoint]
    datasets: dict[str, EntryPoint]


def read(path: Path) -> Included:
    """Import the file, and find its methods and data sets.

    A method is a class derived from `bench.api.method.Method` that the file itself defines and that
    does not begin with an underscore. It is called what its attribute `name` says; else, where it
    is the only one, what the file is called (`my_flow.py`: `my-flow`); else `FILE.CLASS`. A data
    set is a `bench.api.dataset.Dataset` of the file, and has a name of its own.

    Raises:
        UsageError: there is no such file, importing it raises something, or nothing is in it.
    """
    module = _import(path)
    methods = _methods(module, path.stem.replace("_", "-"))
    datasets = {
        value.name: EntryPoint(value.name, f"{module.__name__}:{name}", "bench.datasets")
        for name, value in vars(module).items()
        if isinstance(value, Dataset)
    }
    if not methods and not datasets:
        raise UsageError(
            f"{path} holds no method and no data set.",
            "A method derives from bench.api.method.Continuous or Discrete; a data set is a "
            "bench.api.dataset.Dataset.",
        )
    return Included(path, methods, datasets)


def _methods(module: ModuleType, stem: str) -> dict[str, EntryPoint]:
    from bench.api.method import Method

    kinds = [
        value
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, Method)
        and value.__module__ == module.__name__
        and not name.startswith("_")
    ]
    found: dict[str, EntryPoint] = {}
    for kind in kinds:
        alone = stem if len(kinds) == 1 else f"{stem}.{kind.__name__}"
        name = str(vars(kind).get("name", alone))
        if name in found:
            raise UsageError(f"Two methods of {stem} are called {name!r}.", "Name them apart.")
        found[name] = EntryPoint(name, f"{module.__name__}:{kind.__name__}", "bench.methods")
    return found


def _import(path: Path) -> ModuleType:
    """The module of the file, under a name that changes with the file's content."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}.") from error
    if path.suffix != ".py":
        raise UsageError(f"{path} is no Python file.", "Its name has to end in .py.")
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
        raise UsageError(f"{path} can't be imported: {_said(error, path)}.") from error
    return module


def _said(error: Exception, path: Path) -> str:
    """What was raised, and on which line of the file."""
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: {type(error).__name__}: {error.msg}"
    lines = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    where = f"line {lines[-1].lineno}: " if lines else ""
    return f"{where}{type(error).__name__}: {error}".rstrip(".")
