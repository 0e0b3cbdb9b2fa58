"""What every kind of figure has in common: its errors, and what it imports."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

import bench.figures
from bench.figures import KINDS

from .conftest import Call, Write


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_run_that_ended_well_nothing_is_drawn(
    call: Call, write: Write, tmp_path: Path, kind: str
) -> None:
    done = call(kind)
    assert done.exit_code == 3
    assert "There are no runs in" in done.stderr
    write("jko", "moons", status="error", reason="<b>$x$</b>")
    write("ffjord", "moons", status="oom", dataset__d=None)
    done = call(kind)
    assert done.exit_code == 3, done.output
    assert done.stderr.count("\n") == 1
    assert os.listdir(tmp_path) == ["runs"]


def test_no_module_imports_torch_or_matplotlib_at_its_top() -> None:
    modules = list(Path(bench.figures.__file__).parent.glob("*.py"))
    assert len(modules) > 8
    for path in modules:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            heavy = {name.partition(".")[0] for name in names} & {"torch", "matplotlib", "scipy"}
            assert not heavy, path
            # these import torch themselves
            assert not {"bench.evaluation.flow", "bench.training.run", "bench.evaluation"} & set(
                names
            ), path


def test_an_unknown_kind_is_answered_with_its_neighbours(call: Call) -> None:
    done = call("sample")
    assert done.exit_code == 2
    assert "Did you mean 'samples'" in done.stderr
