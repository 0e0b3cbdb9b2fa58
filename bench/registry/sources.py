"""What the source of a plug-in says, read without importing it.

That is its summary, its version, its `LOOK`, and whether it reaches beyond the contract.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import re
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from bench.api.declarations import Look
from bench.errors import UsageError, unknown

#: What a method could do with these modules, or with those below them.
MODULES = {
    "read the clock": "time datetime timeit",
    "touch files": "os io pathlib shutil tempfile glob mmap pickle h5py pandas",
    "leave the process": "subprocess multiprocessing ctypes",
    "use the network": "socket urllib http requests",
    "look into the harness": "gc inspect sys importlib",
    "read a data set": "bench.data bench.api.dataset bench.api.Dataset bench_datasets "
    "bench.paths bench.registry bench.records",
    "judge itself": "bench.evaluation bench.metrics bench.training",
}

#: What it could do with these built-in functions.
CALLS = {"touch files": "open", "run text": "eval exec", "import by name": "__import__"}


def summary(plugin: EntryPoint) -> str:
    """Return the first line of the docstring of the plug-in's module.

    Raises:
        UsageError: the module does not exist.
        SyntaxError: it can't be parsed.
    """
    doc = ast.get_docstring(ast.parse(source(plugin).read_bytes())) or ""
    return doc.partition("\n")[0].rstrip(".")


def version(plugin: EntryPoint) -> str:
    """Return a hash of the source: the module, those of its package that it imports, its presets.

    A `LOOK` does not count. Two runs of one version ran the same code of the method, whatever the
    version of its distribution.
    """
    digest = hashlib.sha256()
    for path in sources(plugin):
        try:
            digest.update(look_in(path.read_bytes(), path.name)[1])
        except UsageError:
            digest.update(path.read_bytes())
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


@cache
def look_in(code: bytes, file: str) -> tuple[Look, bytes]:
    """Return the look that a source declares, and the source without it.

    Raises:
        UsageError: `LOOK` is not `Look(...)` of literal values, or a field is wrong.
    """
    try:
        body = ast.parse(code).body if b"LOOK" in code else []
    except (SyntaxError, ValueError):  # reported by whoever imports it
        body = []
    text = importlib.util.decode_source(code) if body else ""
    assignments = [node for node in body if isinstance(node, ast.Assign | ast.AnnAssign)]
    segments = {node: ast.get_source_segment(text, node) or "" for node in assignments}
    found = [node for node in assignments if re.match(r"LOOK\s*[:=]", segments[node])]
    if not found:
        return Look(), code
    call = found[0].value
    try:
        if len(found) > 1:
            raise UsageError("defined more than once.")
        if not isinstance(call, ast.Call) or ast.unparse(call.func) != "Look" or call.args:
            raise UsageError("must be Look(...) and name every field, as in Look(stage='block').")
        look = Look(**dict(map(_field, call.keywords)))
    except UsageError as error:
        where = f"LOOK in {file}, line {found[-1].lineno}"
        raise UsageError(f"{where}: {error.problem}", error.remedy) from error
    return look, text.replace(segments[found[0]], "", 1).encode()


def _field(keyword: ast.keyword) -> tuple[str, Any]:
    name = keyword.arg or "**"
    if name not in Look.__dataclass_fields__:
        raise unknown("field of Look", name, Look.__dataclass_fields__)
    try:
        return name, ast.literal_eval(keyword.value)
    except ValueError:
        raise UsageError(f"{name} must be a literal; the file is not run.") from None


def sources(plugin: EntryPoint) -> list[Path]:
    """Return the files of a plug-in's module and of those that it imports from its package."""
    top = plugin.module.partition(".")[0]
    todo, seen, found = [plugin.module], set[str](), list[Path]()
    while todo:
        module = todo.pop(0)
        path = None if module in seen else module_file(module)
        seen.add(module)
        if path is None:
            continue
        found.append(path)
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        todo += sorted(_imports(path.read_bytes(), top, package) - seen)
    return found


def source(plugin: EntryPoint) -> Path:
    """Return the file of the plug-in's module.

    Raises:
        UsageError: it does not exist.
    """
    path = module_file(plugin.module)
    if path is None:
        raise UsageError(
            f"The plug-in {plugin.name!r} names the module {plugin.module}, which does not exist.",
            "Reinstall the distribution that provides it.",
        )
    return path


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


def module_file(module: str) -> Path | None:
    """Return the file of a module, None where it has none."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, AttributeError, ValueError):
        return None
    return Path(spec.origin) if spec and spec.origin and spec.has_location else None


def reaches(files: Iterable[Path]) -> list[str]:
    """Return each place that reaches beyond the contract: `file:line: what it could do`.

    The source is read and not run: this finds oversights, and helps in a review. It does not stop
    an author who wants to hide something.
    """
    return [
        f"{file.name}:{getattr(node, 'lineno', 0)}: {name} could {harm}"
        for file in files
        for node in ast.walk(ast.parse(file.read_bytes()))
        for name, harm in _harms(node)
    ]


def _harms(node: ast.AST) -> Iterator[tuple[str, str]]:
    names: list[str] = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
        names = [f"{node.module}.{alias.name}" for alias in node.names]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        yield from ((node.func.id, harm) for harm in CALLS if node.func.id in CALLS[harm].split())
    for name in names:
        for harm, modules in MODULES.items():
            if any(f"{name}.".startswith(f"{module}.") for module in modules.split()):
                yield f"import of {name}", harm
