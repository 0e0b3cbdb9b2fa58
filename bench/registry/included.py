"""A file with methods, data sets or metrics that no distribution installs: `--include FILE.py`."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import re
import sys
import traceback
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

from bench.api.dataset import Dataset
from bench.api.declarations import Metric
from bench.errors import UsageError

#: Modules that plug-ins imported before `bench.api`.
FORMER = ("bench.affine", "bench.dataset", "bench.method", "bench.stream")


#: The plug-ins of a file by kind (methods, datasets, metrics) and name.
Included = dict[str, dict[str, EntryPoint]]


def read(path: Path) -> Included:
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
        raise UsageError(f"{path} can't be imported: {where}{reason(error)}.") from error
    return module


def reason(error: Exception) -> str:
    """Why a module can't be imported: the error, its line in the source, and what has moved."""
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: {type(error).__name__}: {error.msg}"
    text = f"{type(error).__name__}: {error}".rstrip(".")
    moved = isinstance(error, ModuleNotFoundError) and error.name in FORMER
    return f"{text}; import it from bench.api" if moved else text
