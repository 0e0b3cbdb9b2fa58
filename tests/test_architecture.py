"""The shape of the source: rooms in order, no circles, and how large it may be.

All imports are read, those inside functions and under TYPE_CHECKING too.
"""

from __future__ import annotations

import ast
import graphlib
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: The rooms and the modules beside them, lowest first. A room imports from lower levels, and from
#: its own level where that makes no circle.
LEVELS = (
    ("errors", "paths", "terminal"),
    ("numerics", "stats"),
    ("api",),
    ("registry", "metrics"),
    ("records", "data"),
    ("evaluation",),
    ("study",),
    ("training",),
    ("launch",),
    ("tables",),
    ("figures",),
    ("report", "gate", "conformance"),
    ("estimator",),
    ("cli", "__init__"),
)
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}

MOST_FILES, MOST_LINES, MOST_MODULES_BESIDE_ROOMS = 120, 21_220, 4

#: What a plug-in may import of the harness.
FOR_PLUGINS = ("bench.api", "bench.numerics", "bench.errors")

#: Two modules of one name, and why.
SAME_NAME_ALLOWED = {
    "data": "cli/data.py is the command for the room data",
    "report": "cli/report.py is the command for the room report",
    "run": "cli/run.py is the command whose every cell is a training/run.py",
}


@cache
def modules() -> dict[str, Path]:
    """Every module of bench/ by its dotted name."""
    found = {}
    for path in sorted((ROOT / "bench").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes())


def imports(path: Path, package: str) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that a file imports; `from a import b` gives `a.b`."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *filter(None, [node.module])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


@cache
def arrows() -> list[tuple[str, int, str]]:
    """Each import of one module of bench/ by another: who, in which line, whom."""
    found = []
    for name, path in modules().items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for line, target in imports(path, package):
            if target.partition(".")[0] != "bench":
                continue
            while target not in modules():
                target = target.rpartition(".")[0]
            if target != name:
                found.append((name, line, target))
    return found


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def lines(offenders: list[str]) -> str:
    return "\n" + "\n".join(offenders)


def test_imports_run_downwards() -> None:
    assert {room(name) for name in modules()} <= LEVEL.keys()
    upwards = {
        f"{name}:{line} imports {target}"
        for name, line, target in arrows()
        if LEVEL[room(target)] > LEVEL[room(name)]
    }
    assert not upwards, lines(sorted(upwards))


def test_no_circle_of_modules() -> None:
    graph = defaultdict(set)
    for name, _, target in arrows():
        graph[name].add(target)
    circle: list[str] = []
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        circle = error.args[1]
    assert not circle, " <- ".join(circle)


def test_no_circle_of_rooms() -> None:
    graph = defaultdict(set)
    for name, _, target in arrows():
        if room(name) != room(target) and LEVEL[room(name)] == LEVEL[room(target)]:
            graph[room(name)].add(room(target))
    graphlib.TopologicalSorter(graph).prepare()


def test_all_that_is_printed_passes_one_place() -> None:
    """`bench.terminal` makes control characters visible; what goes to a file of its own may not."""
    around = []
    for name, path in modules().items():
        for node in ast.walk(tree(path)):
            if name == "bench.terminal" or not isinstance(node, ast.Call):
                continue
            called, call = ast.unparse(node.func), ast.unparse(node)
            prints = called in ("print", "click.echo", "click.secho", "Console")
            prints = prints and ("file=" not in call or "sys.std" in call)
            if prints or called in ("sys.stdout.write", "sys.stderr.write"):
                around.append(f"{name}:{node.lineno} {call}")
    assert not around, lines(around)


def test_the_number_of_files() -> None:
    assert len(modules()) <= MOST_FILES
    beside = [p.name for p in (ROOT / "bench").glob("*.py") if p.name != "__init__.py"]
    assert len(beside) <= MOST_MODULES_BESIDE_ROOMS, beside


def test_the_number_of_lines() -> None:
    lines = sum(len(path.read_bytes().splitlines()) for path in modules().values())
    assert lines <= MOST_LINES


def test_no_two_modules_share_a_name() -> None:
    by_name = defaultdict(list)
    for name in modules():
        by_name[name.rpartition(".")[2]].append(name)
    shared = {name: where for name, where in by_name.items() if len(where) > 1}
    offenders = sorted(shared.keys() - SAME_NAME_ALLOWED.keys())
    assert not offenders, lines([f"{name}: {', '.join(shared[name])}" for name in offenders])


def test_no_two_classes_share_a_name() -> None:
    by_name = defaultdict(list)
    for name, path in modules().items():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef):
                by_name[node.name].append(f"{name}:{node.lineno}")
    shared = [
        f"{name}: {', '.join(where)}" for name, where in sorted(by_name.items()) if len(where) > 1
    ]
    assert not shared, lines(shared)


@pytest.mark.parametrize("folder", ["methods", "datasets"])
def test_plugins_import_only_what_is_meant_for_them(folder: str) -> None:
    others = []
    for path in sorted((ROOT / folder).glob("*.py")):
        for line, target in imports(path, f"bench_{folder}"):
            ours = target.partition(".")[0] in {"bench", "bench_methods", "bench_datasets"}
            if ours and not f"{target}.".startswith(
                tuple(f"{allowed}." for allowed in (*FOR_PLUGINS, f"bench_{folder}"))
            ):
                others.append(f"{path.name}:{line} imports {target}")
    assert not others, lines(others)


def test_the_harness_imports_no_plugin() -> None:
    plugins = {"bench_methods", "bench_datasets"}
    found = [
        f"{name}:{line} imports {target}"
        for name, path in modules().items()
        for line, target in imports(path, name)
        if target.partition(".")[0] in plugins
    ]
    assert not found, lines(found)


def test_the_harness_names_no_method_and_no_data_set() -> None:
    """No string is the name of one; help may have them in its examples."""
    groups = ("bench.methods", "bench.datasets")
    names = {point.name for group in groups for point in entry_points(group=group)}
    # The reader of a user's own tables, whose name is a common word.
    names -= {"path"}
    assert {"ffjord", "moons"} <= names
    # The default of a public argument.
    allowed = {("bench.estimator", "flow-matching")}
    found = [
        f"{name}:{node.lineno} has {node.value!r}"
        for name, path in modules().items()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Constant)
        and node.value in names
        and (name, node.value) not in allowed
    ]
    assert not found, lines(found)
