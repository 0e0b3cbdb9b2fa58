"""The pages against the program, without building them."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import bench
from bench.cli import COMMANDS, main
from bench.records import catalogue
from bench.registry import plugins

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

#: A fenced block of commands, with a prompt or without.
SHELL = re.compile(r"^```(?:console)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def load(path: Path) -> ModuleType:
    """Import a script or a Sphinx extension by its path."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


follow = load(ROOT / "tests" / "docs" / "follow.py")
docstrings = load(ROOT / "docs" / "_ext" / "docstrings.py")


def commands() -> list[tuple[str, str]]:
    """Every `bench` command of every page."""
    found = []
    for page in PAGES:
        for block in SHELL.findall(page.read_text(encoding="utf-8")):
            for line in block.splitlines():
                text = re.split(r" (?:>|\|\||&&) ", line.removeprefix("$ "))[0]
                if text.startswith("bench "):
                    found.append((str(page.relative_to(ROOT)), text))
    return found


def test_every_command_of_every_page_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "include", lambda file: None)  # files of a reader's own
    found = commands()
    assert len(found) >= 40
    for page, text in found:
        _, name, *arguments = shlex.split(text, comments=True)
        assert name in COMMANDS, f"{page}: {text}"
        command = main.get_command(None, name)  # type: ignore[arg-type]
        assert command
        while hasattr(command, "commands"):
            command = command.commands[arguments.pop(0)]
        command.make_context(name, arguments)


def test_an_invalid_command_is_noticed() -> None:
    command = main.get_command(None, "table")  # type: ignore[arg-type]
    with pytest.raises(Exception, match="No such option"):
        command.make_context("table", ["--no-such-option"])


def test_every_column_is_explained() -> None:
    assert all(column.doc.endswith(".") for column in catalogue.columns().values())


def test_every_key_of_a_record_is_explained(tmp_path: Path) -> None:
    others = tomllib.loads((ROOT / "docs" / "_data" / "record.toml").read_text(encoding="utf-8"))
    columns = {".".join(column.path) for column in catalogue.columns().values() if column.path}
    assert not others.keys() & columns, "a column is explained in the catalogue alone"
    assert all(others.values())
    small = {
        "test_rows": 50,
        "error_rows": 20,
        "mmd_n": 50,
        "permutations": 20,
        "integral_cells": 2,
    }
    bench.run(
        ["jko"], ["moons"], minibatches=4, batch_size=16, judge=small, results=tmp_path,
        settings=["width=4"],
    )  # fmt: skip
    (path,) = tmp_path.glob("*/record.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["status"] == "ok", record["reason"]
    keys = set(_keys(record))
    assert keys <= others.keys() | columns, keys - others.keys() - columns


def _keys(value: dict[str, Any], above: str = "") -> Iterator[str]:
    """The keys, down to those that are explained as a whole."""
    whole = {"method.config", "method.settings", "dataset.notes", "environment.packages", "judge"}
    whole |= {"digests"}
    for name, inner in value.items():
        key = f"{above}{name}"
        if isinstance(inner, dict) and key not in whole:
            yield from _keys(inner, f"{key}.")
        else:
            yield key


def test_the_citation_names_the_version_that_is_installed() -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(rf"^version: {re.escape(version('cnf-bench'))}$", text, re.MULTILINE)


PAGE = """Some text.

```{code-block} toml
:caption: a.toml

key = 3
```

```console
$ cat a.toml
key = 7
$ cd docs && pwd | sed 's,.*/,,'
docs
```

```console
$ ls index.md
index.md
```
"""


def followed(tmp_path: Path, page: str, *options: str) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "page.md"
    path.write_text(page, encoding="utf-8")
    return subprocess.run(
        [sys.executable, ROOT / "tests" / "docs" / "follow.py", path, *options],
        capture_output=True,
        text=True,
    )


def test_a_page_is_executed_in_one_shell_and_numbers_may_differ(tmp_path: Path) -> None:
    done = followed(tmp_path, PAGE)
    assert done.returncode == 0, done.stdout
    assert "key = 3" in done.stdout
    assert done.stdout.endswith("All as stated.\n")


@pytest.mark.parametrize(
    ("true", "false", "why"),
    [
        ("key = 7", "door = 7", "WRONG: the page says"),
        ("$ ls index.md", "$ ls no-such-page.md", "exit code 2"),
    ],
)
def test_a_page_that_is_wrong_fails(tmp_path: Path, true: str, false: str, why: str) -> None:
    done = followed(tmp_path, PAGE.replace(true, false))
    assert done.returncode == 1
    assert why in done.stdout


def test_a_page_may_come_from_another_processor() -> None:
    name = "Some(R)\n  Processor, 1 thread"
    here = f"Device: cpu ({name}). validation 4 s apart; {name}"
    there = "Device: cpu (Other 7,\n 1 thread). validation 9.5 s apart; Other 7, 1 thread"
    assert follow.skeleton(here) == follow.skeleton(there)
    assert follow.skeleton(here) != follow.skeleton(there.replace("apart", "together"))


def test_update_writes_the_output_into_the_page(tmp_path: Path) -> None:
    done = followed(tmp_path, PAGE.replace("key = 7\n", "door\n"), "--update")
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "page.md").read_text() == PAGE.replace("key = 7", "key = 3")


def test_a_docstring_in_markdown_becomes_restructured_text() -> None:
    lines = [
        "The mean of `x` and |x|, $a_i$ of all.",
        "",
        "    v = -grad Phi",
        "",
        "$$se^2 = \\frac{1}{n}$$",
        "",
        ">>> 1 + 1",
        "2",
        "",
        "Args:",
        "    x: rows `(n, d)`,",
        "        two *at least*.",
    ]
    assert docstrings.converted(lines) == [
        "The mean of ``x`` and \\|x\\|, :math:`a_i` of all.",
        "",
        "::",
        "",
        "      v = -grad Phi",
        "",
        ".. math::",
        "",
        "   se^2 = \\frac{1}{n}",
        "",
        ">>> 1 + 1",
        "2",
        "",
        "Args:",
        "    x: rows ``(n, d)``,",
        "        two \\*at least\\*.",
        "",
    ]
