"""The `LOOK` of a method: read without importing it, and no part of its version."""

from __future__ import annotations

import hashlib
import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.api.declarations import Look
from bench.cli import listing, main
from bench.conformance import Subject, examine
from bench.errors import UsageError
from bench.registry import plugins

IMPORT = "from bench.api import Look\n"
CODE = '"""A flow."""\n\nimport math\n'

Write = Callable[[str], EntryPoint]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """A function that installs a method `other` of this source; it raises when it is imported."""
    monkeypatch.syspath_prepend(tmp_path)
    plugin = EntryPoint("other", "other_looks:Other", "bench.methods")
    found = plugins.methods()
    monkeypatch.setattr(plugins, "methods", lambda: {**found, "other": plugin})

    def write(source: str) -> EntryPoint:
        (tmp_path / "other_looks.py").write_text(source, encoding="utf-8")
        importlib.invalidate_caches()
        return plugin

    yield write
    sys.modules.pop("other_looks", None)


def test_a_look_is_read_without_importing_the_method(write: Write) -> None:
    write(f'{CODE}{IMPORT}\nLOOK = Look(colour="#010203", stage="knot")\nraise RuntimeError\n')
    assert plugins.look("other") == Look(colour="#010203", stage="knot")
    assert "other_looks" not in sys.modules


def test_looks_are_read_without_torch() -> None:
    code = (
        "import sys; from bench.registry.plugins import look\n"
        "assert look('jko').stage == 'block' and look('gaussian').family == 'floor'\n"
        "assert not {'torch', 'bench_methods.jko', 'matplotlib'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_installed_method_has_a_colour_and_a_marker_of_its_own() -> None:
    ours = [n for n, p in plugins.methods().items() if not plugins.from_elsewhere(p)]
    looks = [plugins.look(name) for name in ours]
    assert len({look.colour for look in looks} - {""}) == len(ours)
    assert len({look.marker for look in looks} - {""}) == len(ours)
    assert [n for n in ours if plugins.look(n).family == "floor"] == ["gaussian"]


@pytest.mark.parametrize("name", ["not-installed", "\udc80数", ""])
def test_a_method_that_is_not_installed_has_the_default(name: str) -> None:
    assert plugins.look(name) == Look()


@pytest.mark.parametrize("source", [CODE, "def broken(:\n# LOOK", "x = 1\n\0LOOK"])
def test_a_source_without_a_look_has_the_default(write: Write, source: str) -> None:
    write(source)
    assert plugins.look("other") == Look()


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ('LOOK = Look(color="#010203")', "colour"),
        ('LOOK = Look(colour="red")', "'red'"),
        ('LOOK = Look(colour="#01020")', "#01020"),
        ('LOOK = Look(colour="#010203\\n")', "colour"),
        ('LOOK = Look(marker="oo")', "'oo'"),
        ('LOOK = Look(marker="$")', "marker"),
        ('LOOK = Look(family="floors")', "'floors'"),
        ('LOOK = Look(stage=" ")', "stage"),
        ("LOOK = Look(paper=3)", "paper"),
        ("LOOK = Look(colour=pick())", "colour"),
        ("LOOK = Look(**fields)", "**"),
        ('LOOK = Look("#010203")', "name every field"),
        ("LOOK = 3", "Look("),
        ("LOOK: Look", "Look("),
        ("LOOK = Look()\nLOOK = Look()", "more than once"),
    ],
)
def test_a_wrong_look_is_a_clear_error(write: Write, statement: str, named: str) -> None:
    write(f"{CODE}{IMPORT}\n{statement}\n")
    with pytest.raises(UsageError) as error:
        plugins.look("other")
    assert named in str(error.value)
    assert "other_looks.py, line 6" in str(error.value) or "line 7" in str(error.value)


def test_bench_list_and_bench_test_show_a_wrong_look(tmp_path: Path) -> None:
    source = Path(importlib.import_module("bench_methods.gaussian").__file__ or "").read_text()
    file = tmp_path / "my_floor.py"
    file.write_text(source.replace('family="floor"', 'family=str("floor")'), encoding="utf-8")
    plugins.include(file)
    try:
        (line,) = [line for line in listing.methods() if line["name"] == "my-floor"]
        assert "family must be a literal" in line["unavailable"]
        subject = Subject("my-floor", plugins.method("my-floor"), {}, [file])
        (finding,) = examine(subject, ["source"])
        assert finding.outcome == "failed"
        assert "family must be a literal" in finding.says
        result = CliRunner().invoke(main, ["list", "methods"])
        assert "family must be a literal" in result.output
    finally:
        plugins._included.clear()
        plugins.forget()


def test_a_source_without_a_look_hashes_as_its_bytes(write: Write) -> None:
    for source in (CODE, f"{CODE}# LOOK\nlook = 1\n", f"{CODE}def f():\n    LOOK = 1\n"):
        plugin = write(source)
        assert plugins.version(plugin) == hashlib.sha256(source.encode()).hexdigest()[:12]


def test_a_new_look_is_no_new_version(write: Write) -> None:
    after = "\n\nclass Other:\n    pass\n"
    versions = {
        plugins.version(write(f"{CODE}{IMPORT}\n{look}{after}"))
        for look in (
            'LOOK = Look(colour="#010203")',
            'LOOK = Look(colour="#aabbcc", paper="Größe — 数")',
            'LOOK: Look = Look(\n    colour="#aabbcc",\n    marker="o",\n)',
            "",
        )
    }
    assert len(versions) == 1
    changed = write(f"{CODE}{IMPORT}\nLOOK = Look()\n\nclass Other:\n    x = 1\n")
    assert plugins.version(changed) not in versions


def test_code_beside_a_look_is_part_of_the_version(write: Write) -> None:
    one, other, third, fourth = (
        plugins.version(write(f"{CODE}{IMPORT}\n{line}\n"))
        for line in (
            "x = 1; LOOK = Look(); y = 2",
            "x = 1; LOOK = Look(); y = 3",
            "x = LOOK = Look(stage='a')",
            "x = LOOK = Look(stage='b')",
        )
    )
    assert one != other
    assert third != fourth


def test_a_look_that_runs_code_is_part_of_the_version(write: Write) -> None:
    one, other = (
        plugins.version(write(f"{CODE}{IMPORT}\nLOOK = Look(colour={call})\n"))
        for call in ("f(1)", "f(2)")
    )
    assert one != other
