"""The installed packages: beside a distribution named `datasets`, and quick to answer."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import BENCH, Bench

ROOT = Path(__file__).parents[2]


@pytest.fixture
def neighbour(tmp_path: Path) -> Path:
    """A folder to put on the path in which a distribution named `datasets` is installed."""
    site = tmp_path / "site"
    (site / "datasets").mkdir(parents=True)
    (site / "datasets" / "__init__.py").write_text("WHO = 'the neighbour'\n")
    info = site / "datasets-9.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: datasets\nVersion: 9.9\n")
    (info / "RECORD").write_text("datasets/__init__.py,,\n")
    return site


@pytest.mark.parametrize("where", ["inside", "outside"])
def test_a_distribution_named_datasets_is_no_matter(
    neighbour: Path, tmp_path: Path, own_table: str, where: str
) -> None:
    folder = ROOT if where == "inside" else tmp_path
    environment = os.environ | {"PYTHONPATH": str(neighbour), "PYTHONSAFEPATH": "1"}
    both = (
        "import datasets, bench_datasets, bench_methods; "
        "from bench.registry import plugins; "
        "print(datasets.WHO, plugins.dataset('moons').d)"
    )
    done = subprocess.run(
        [sys.executable, "-c", both], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.stdout.strip() == "the neighbour 2", done.stderr
    run = [
        BENCH, "run", "-m", "gaussian", "-d", str(tmp_path / own_table), "--minibatches", "5",
        "--batch-size", "50", "--results", str(tmp_path / "runs"),
    ]  # fmt: skip
    done = subprocess.run(run, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("folder", ["methods", "datasets"])
def test_the_folders_refuse_their_bare_names(folder: str) -> None:
    if not (ROOT / folder).is_dir():
        pytest.skip("no checkout: only the installed packages are here")
    done = subprocess.run(
        [sys.executable, "-c", f"import {folder}"],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k != "PYTHONSAFEPATH"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert f"bench_{folder}" in done.stderr


def test_help_and_list_import_nothing_heavy() -> None:
    code = (
        "import sys; from bench.cli import main\n"
        "for arguments in ('--help', 'list', 'run --help', 'plot --help', 'check --help'):\n"
        "    try: main(arguments.split())\n"
        "    except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'torch', 'numpy', 'pandas', 'scipy', 'sklearn', 'rich', 'matplotlib'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []", done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", ["--help", "list"])
def test_help_and_list_are_quick(bench: Bench, command: str) -> None:
    seconds = []
    for _ in range(10):
        before = os.times()
        assert bench(command).returncode == 0
        after = os.times()
        user = after.children_user - before.children_user
        seconds.append(user + after.children_system - before.children_system)
    assert statistics.median(seconds) < 0.3
