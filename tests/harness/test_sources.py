"""What a method's source may reach for."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.registry import plugins
from bench.registry.sources import reaches


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import time", "method.py:1: import of time could read the clock"),
        ("from time import perf_counter as t", "import of time.perf_counter could read the clock"),
        ("def f():\n    import os.path", "method.py:2: import of os.path could touch files"),
        ("x = open('test.npy')", "method.py:1: open could touch files"),
        ("from bench.data import arrays", "import of bench.data.arrays could read a data set"),
        ("from bench import data", "import of bench.data could read a data set"),
        ("import bench_datasets.moons", "could read a data set"),
        ("from bench.evaluation.evaluate import evaluate", "could judge itself"),
        ("import gc", "could look into the harness"),
        ("exec('import time')", "exec could run text"),
    ],
)
def test_what_is_named(tmp_path: Path, source: str, found: str) -> None:
    (tmp_path / "method.py").write_text(source, encoding="utf-8")
    (said,) = reaches([tmp_path / "method.py"])
    assert said.endswith(found)


@pytest.mark.parametrize(
    "source",
    [
        "import math, timeless",
        "import torch\nfrom bench.api.method import Continuous",
        "from .time import steps",
        "field.open('x')",
        "'import time'",
    ],
)
def test_what_is_not(tmp_path: Path, source: str) -> None:
    (tmp_path / "method.py").write_text(source, encoding="utf-8")
    assert reaches([tmp_path / "method.py"]) == []


@pytest.mark.parametrize("name", sorted(plugins.methods()))
def test_the_methods_here_reach_for_nothing(name: str) -> None:
    assert reaches(plugins.sources(plugins.methods()[name])) == []
