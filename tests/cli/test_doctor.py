"""`bench doctor`: the answer first, then the details."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.cli import main
from bench.registry import plugins


def call(tmp_path: Path, results: Path) -> Result:
    return CliRunner().invoke(main, ["doctor", "--data", str(tmp_path), "--results", str(results)])


def test_a_healthy_installation_exits_0_and_lists_what_is_there(tmp_path: Path) -> None:
    done = call(tmp_path, tmp_path / "runs")
    assert done.exit_code == 0, done.stdout
    assert done.stdout.splitlines()[0] == "Healthy."
    absent = next(line for line in done.stdout.splitlines() if "bench data status" in line)
    assert "power" in absent
    for name in (*plugins.methods(), "moons", "torch", str(tmp_path / "runs")):
        assert name in done.stdout


@dataclass(frozen=True)
class Broken:
    """An entry point whose module fails."""

    name: str = "broken"
    value: str = "nowhere:Thing"
    module: str = "nowhere"

    def load(self) -> None:
        raise ImportError("no module named 'nowhere'")


def test_a_broken_plugin_is_named_first_and_exits_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugins, "methods", lambda: {"broken": Broken()})
    done = call(tmp_path, tmp_path)
    assert done.exit_code == 1
    first, second = done.stdout.splitlines()[:2]
    assert "1 problem" in first
    assert "broken" in second
    assert "nowhere" in second


def test_every_problem_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setattr(plugins, "datasets", lambda: {"broken": Broken()})
    done = call(tmp_path, file)
    assert done.exit_code == 1
    first, *rest = done.stdout.splitlines()[:3]
    assert first.startswith("2 problems")
    assert any("broken" in line for line in rest)
    assert any(str(file) in line for line in rest)
