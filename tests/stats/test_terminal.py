"""What a person sees of `bench table`: the answer first, in 80 columns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.cli import main

from .conftest import Write

Call = Callable[..., Result]


@pytest.fixture
def call(results: Path, write: Write) -> Call:
    """`bench table` on the runs of the README's first command: three methods on two data sets."""
    scores = {"flow-matching": 2.4956, "ffjord": 2.7493, "gaussian": 3.2975}
    costs = {"flow-matching": 1.9, "ffjord": 24.6, "gaussian": 0.33}
    for dataset, factor in (("moons", 1.0), ("digits", -10.0)):
        for method, nll in scores.items():
            write(
                *(method, dataset),
                nll=factor * nll,
                p_aggregated=0.001,
                cost__train_seconds=costs[method],
                dataset__entropy=2.39,
            )
    return lambda *given: CliRunner().invoke(main, ["table", "--results", str(results), *given])


def order(text: str, dataset: str = "moons") -> list[str]:
    """The methods of a data set, in the order of their rows."""
    lines = text[text.index(f"{dataset}   d =") :].partition("\n\n")[0].splitlines()
    return [line.split()[0].rstrip("†") for line in lines[3:]]


def test_the_first_table_fits_a_terminal(call: Call) -> None:
    lines = call().stdout.splitlines()
    assert len(lines) <= 25
    assert max(map(len, lines)) <= 80
    notes = lines[max(i for i, line in enumerate(lines) if not line) + 1 :]
    assert 1 < len(notes) <= 5
    assert any("Worse than a" in line for line in notes)
    assert "--notes full" in notes[-1]


def test_runs_on_a_busy_machine_are_noted(call: Call, write: Write) -> None:
    """Not those that took under a second, nor those whose CPU seconds are not known."""
    said = "The machine was busy in 1 of 8 runs: training took over twice its CPU time."
    assert "busy" not in call().stdout
    write("jko", "moons", cost__train_seconds=4.7, cost__train_cpu_seconds=2.2)
    assert said.replace("8", "7") in call().stdout
    write("jko", "moons", seed=1, cost__train_seconds=0.9, cost__train_cpu_seconds=0.1)
    assert said in call().stdout
    assert said in " ".join(call("--notes", "full").stdout.split())


def test_rows_are_sorted_by_nll_the_floor_in_its_place(call: Call, write: Write) -> None:
    write("jko", "moons", status="diverged")
    write("ot-flow", "moons", nll=9.0)
    shown = call().stdout
    assert order(shown) == ["flow-matching", "ffjord", "gaussian", "ot-flow", "jko"]
    assert order(shown, "digits") == ["gaussian", "ffjord", "flow-matching"]


def test_rows_are_sorted_by_any_column(call: Call, write: Write) -> None:
    by_time = ["gaussian", "flow-matching", "ffjord"]
    assert order(call("--sort", "train_seconds").stdout) == by_time
    write("jko", "moons", status="oom")
    assert order(call("--sort", "train_seconds").stdout) == [*by_time, "jko"]
    csv = call("-f", "csv", "--sort", "train_seconds", "-d", "moons", "-m", ",".join(by_time))
    assert [line.split(",")[2] for line in csv.stdout.splitlines()[1:]] == by_time
    assert call("--sort", "method").exit_code == 2


def test_notes(call: Call) -> None:
    short, full, none = (call("--notes", each).stdout for each in ("short", "full", "none"))
    assert call().stdout == short
    assert len(none.splitlines()) < len(short.splitlines()) < len(full.splitlines())
    assert call("-f", "html").stdout == call("-f", "html", "--notes", "full").stdout
    assert "<ul" not in call("-f", "html", "--notes", "none").stdout
    assert call("-f", "csv", "--notes", "full").exit_code == 2


@pytest.mark.parametrize(
    ("ending", "start"),
    [("tex", "% Needs"), ("md", "**"), ("csv", "dataset,"), ("html", "<table"), ("txt", "digits ")],
)
def test_the_ending_decides_the_format(call: Call, tmp_path: Path, ending: str, start: str) -> None:
    file = tmp_path / f"table.{ending}"
    assert call("-o", str(file)).exit_code == 0
    assert file.read_text(encoding="utf-8").startswith(start)
    assert call("-o", str(file), "-f", "markdown").exit_code == 0
    assert file.read_text(encoding="utf-8").startswith("**"), "-f wins"


def test_an_unknown_ending_is_refused(call: Call, tmp_path: Path) -> None:
    done = call("-o", str(tmp_path / "table.pdf"))
    assert done.exit_code == 2
    assert all(ending in done.stderr for ending in (".tex", ".md", ".csv", ".html", ".txt"))
    assert not (tmp_path / "table.pdf").exists()


def test_lists_take_commas(call: Call) -> None:
    both = call("-d", "moons", "-m", "gaussian,ffjord", "--metric", "nll,mmd_m").stdout
    repeated = ["-m", "gaussian", "-m", "ffjord", "--metric", "nll", "--metric", "mmd_m"]
    assert both == call("-d", "moons", *repeated).stdout
    assert order(both.replace("\n\ntrue", "\ntrue"))[:2] == ["ffjord", "gaussian"]
