"""What the source of a method reaches for: clocks, files, data and the judge are none of it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

#: module -> what a method that imports it could do; the modules below it count too.
FORBIDDEN = {
    **dict.fromkeys(("time", "datetime", "timeit"), "read the clock"),
    **dict.fromkeys(("os", "io", "pathlib", "shutil", "tempfile", "glob", "mmap"), "touch files"),
    **dict.fromkeys(("pickle", "h5py", "pandas"), "touch files"),
    **dict.fromkeys(("subprocess", "multiprocessing", "ctypes"), "leave the process"),
    **dict.fromkeys(("socket", "urllib", "http", "requests"), "use the network"),
    **dict.fromkeys(("gc", "inspect", "sys", "importlib"), "look into the harness"),
    **dict.fromkeys(
        ("bench.data", "bench.api.dataset", "bench_datasets", "bench.api.Dataset"),
        "read a data set",
    ),
    **dict.fromkeys(("bench.paths", "bench.registry", "bench.records"), "read a data set"),
    **dict.fromkeys(("bench.evaluation", "bench.metrics", "bench.training"), "judge itself"),
}

#: Built-in functions that do the same.
CALLS = {
    "open": "touch files",
    "eval": "run text",
    "exec": "run text",
    "__import__": "import by name",
}


def reaches(files: Iterable[Path]) -> list[str]:
    """Each place in Python files that reaches beyond the contract: `file:line: what it could do`.

    It reads the source and runs nothing: it names what an honest author did by oversight, and makes
    it visible in a review. Who wants to hide something from it can.
    """
    return [found for file in files for found in _in_file(file)]


def _in_file(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_bytes())):
        for name, harm in _harms(node):
            yield f"{file.name}:{getattr(node, 'lineno', 0)}: {name} could {harm}"


def _harms(node: ast.AST) -> Iterator[tuple[str, str]]:
    names: list[str] = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
        names = [f"{node.module}.{alias.name}" for alias in node.names]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
        yield node.func.id, CALLS[node.func.id]
    for name in names:
        for module, harm in FORBIDDEN.items():
            if name == module or name.startswith(f"{module}."):
                yield f"import of {name}", harm
