"""`bench test`: exit codes, and the codes of what fails, for methods, data sets and files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bench.cli import main
from bench.registry import plugins

ROWS = """
import numpy as np
from bench.api import Dataset, Source, Splits

def read(root):
    rng = np.random.default_rng(0)
    return Splits(*(rng.standard_normal((n, 2)).astype(np.float32) for n in (20_000, 500, 500)))

def log_density(x):
    return -0.5 * (x**2).sum(1) - np.log(2 * np.pi)

def made(name, entropy):
    source = Source(read, "generated", "drawn with a fixed seed")
    return Dataset(name, 2, "A normal distribution", (source,), None, log_density, entropy)

RIGHT = made("right", 1 + float(np.log(2 * np.pi)))
"""
WRONG = ROWS + 'WRONG = made("wrong", 1.05 + float(np.log(2 * np.pi)))\n'


@pytest.fixture(autouse=True)
def nothing_included(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(plugins, "_included", {})
    plugins.forget()
    yield
    monkeypatch.undo()
    plugins.forget()


def bench_test(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["test", *map(str, arguments)])


def codes(result: Result) -> dict[str, str]:
    return {check["check"]: check["code"] for check in json.loads(result.stdout)["checks"]}


def test_a_file_with_only_a_data_set(tmp_path: Path) -> None:
    file = tmp_path / "right.py"
    file.write_text(ROWS)
    done = bench_test(file, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["dataset"] == "right"
    assert set(codes(done).values()) == {"ok"}


def test_a_wrong_entropy_exits_1(tmp_path: Path) -> None:
    file = tmp_path / "both.py"
    file.write_text(WRONG)
    done = bench_test(f"{file}:WRONG", "--json")
    assert done.exit_code == 1
    assert codes(done)["entropy"] == "entropy-rows"
    assert codes(done)["integral"] == "entropy-grid"
    done = bench_test(f"{file}:WRONG", "--check", "integral")
    assert (done.exit_code, len(done.stdout.splitlines())) == (1, 3)
    assert bench_test(f"{file}:RIGHT", "--check", "integral").exit_code == 0


def test_an_installed_method_by_name() -> None:
    done = bench_test("gaussian", "--check", "class", "--check", "device", "--json")
    assert done.exit_code == 0, done.output
    assert codes(done)["class"] == "ok"
    assert json.loads(done.stdout)["method"] == "gaussian"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("nothing",), "nothing"),
        (("gaussian", "--check", "clas"), "class"),
        (("gaussian", "--set", "widht=3"), "widht"),
        (("moons", "--set", "width=3"), "--set"),
        (("moons", "--check", "class"), "entropy"),
    ],
)
def test_a_wrong_call_exits_2(arguments: tuple[str, ...], named: str) -> None:
    done = bench_test(*arguments)
    assert done.exit_code == 2
    assert named in done.stderr
    assert not done.stdout


@pytest.mark.parametrize(("name", "named"), [("both.py", "RIGHT"), ("both.py:NONE", "NONE")])
def test_a_file_of_several_needs_a_name(tmp_path: Path, name: str, named: str) -> None:
    (tmp_path / "both.py").write_text(WRONG)
    done = bench_test(tmp_path / name)
    assert done.exit_code == 2
    assert named in done.stderr


def test_a_file_without_plug_ins_exits_2(tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text("x = 1\n")
    assert bench_test(tmp_path / "empty.py").exit_code == 2
