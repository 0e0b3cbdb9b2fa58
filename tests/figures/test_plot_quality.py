"""`bench plot quality`: what is drawn, what is said, and when there is nothing to draw."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from matplotlib.figure import Figure

from bench.cli import main
from bench.figures.quality import diagram
from bench.records.frame import records
from bench.registry.plugins import look
from bench.tables.sample_quality import panels

from .conftest import Write, few_steps, overlaps

Call = Callable[..., Result]


@pytest.fixture
def call(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    def run(*arguments: str) -> Result:
        monkeypatch.chdir(tmp_path)
        call = ["plot", "quality", *arguments, "--results", str(results)]
        return CliRunner().invoke(main, call)

    return run


def study(write: Write) -> None:
    for dataset in ("moons", "rings"):
        for seed, factor in enumerate((1.0, 3.0)):
            few = [0.1 * factor, 0.02 * factor, 0.004 * factor]
            write("jko", dataset, seed, **few_steps(few, 3e-4, pieces=4, nfe=90))
        write("ffjord", dataset, **few_steps([0.2, 0.03, 0.005], 2e-4))
        write("gaussian", dataset)


def drawn(results: Path) -> Figure:
    return diagram([p for p in panels(records(results), results) if p.curves])


def test_a_panel_has_a_line_for_each_method_and_seed(results: Path, write: Write) -> None:
    study(write)
    first, second = drawn(results).axes
    assert [first.get_title(), second.get_title()] == ["moons", "rings"]
    assert (first.get_xscale(), first.get_yscale()) == ("log", "log")
    lines = {line.get_label(): line for line in first.lines if not line.get_label().startswith("_")}
    assert set(lines) == {"jko", "ffjord"}
    assert lines["jko"].get_xdata() == pytest.approx([4, 8, 16])
    assert lines["jko"].get_ydata() == pytest.approx([0.2, 0.04, 0.008])
    assert lines["ffjord"].get_xdata() == pytest.approx([1, 2, 4])
    for name, line in lines.items():
        assert line.get_color() == look(name).colour
    thin = [line for line in first.lines if line.get_linewidth() < 1]
    assert [list(line.get_ydata()) for line in thin] == [
        pytest.approx([0.1, 0.02, 0.004]),
        pytest.approx([0.3, 0.06, 0.012]),
    ]
    (tau,) = [line for line in first.lines if line.get_gid() == "tau"]
    assert list(tau.get_ydata()) == pytest.approx([6.8e-4, 6.8e-4])
    hollow = [line for line in first.lines if line.get_markerfacecolor() == "white"]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in hollow] == [
        (40.0, pytest.approx(2e-4)),
        (90.0, pytest.approx(3e-4)),
    ]


def test_variants_share_a_colour_and_not_the_dashes(results: Path, write: Write) -> None:
    for affine in ("full", "none"):
        write("jko", "moons", **few_steps([0.1, 0.2]), method__config={"affine": affine})
    (axes,) = drawn(results).axes
    lines = [line for line in axes.lines if not line.get_label().startswith("_")]
    assert {line.get_label() for line in lines} == {"jko (affine=full)", "jko (affine=none)"}
    assert {line.get_color() for line in lines} == {look("jko").colour}
    assert len({str(line.get_linestyle()) for line in lines}) == 2


def test_names_are_drawn_as_they_are(results: Path, write: Write) -> None:
    """Dollars would start a formula, which these are not."""
    for value in (r"$\frac$", "other"):
        write("m", r"a$b_{$c", method__config={"x": value}, **few_steps([0.1, 0.2]))
    figure = drawn(results)
    figure.draw_without_rendering()
    assert figure.axes[0].get_title() == r"a$b_{$c"
    assert any(r"x=$\frac$" in text.get_text() for text in figure.legends[0].get_texts())


def test_no_text_lies_on_another(results: Path, write: Write) -> None:
    study(write)
    for dataset in ("2spirals", "8gaussians", "checkerboard"):
        write("a-method-with-a-long-name", dataset, **few_steps([0.1] * 6))
    assert overlaps(drawn(results)) == []


@pytest.mark.parametrize("form", ["pdf", "svg", "png"])
def test_it_is_written_and_told(call: Call, write: Write, tmp_path: Path, form: str) -> None:
    study(write)
    write("ffjord", "digits", status="oom")
    done = call("-o", f"q.{form}")
    assert done.exit_code == 0, done.output
    head = {"pdf": b"%PDF", "svg": b"<?xml", "png": b"\x89PNG"}[form]
    first = (tmp_path / f"q.{form}").read_bytes()
    assert first.startswith(head)
    assert sorted(os.listdir(tmp_path)) == [f"q.{form}", "runs"]
    said = " ".join(done.stdout.split())
    for number in ("2,500", "1, 2, 4 steps", "(dopri5)", "seeds (1 to 2)", "10,000 rows"):
        assert number in said
    assert "Not shown on moons: gaussian." in said
    assert "Not shown on digits: ffjord." in said
    assert said.endswith(f" q.{form}")
    call("-o", f"q.{form}")
    assert (tmp_path / f"q.{form}").read_bytes() == first


def test_of_one_seed_it_is_said(call: Call, write: Write) -> None:
    write("ffjord", "moons", **few_steps([0.2, 0.03]), tau_m=None)
    done = call()
    assert "One seed." in done.stdout
    assert "Dashed" not in done.stdout


def test_older_rows_are_left_out_and_named(call: Call, write: Write) -> None:
    write("ffjord", "moons", **few_steps([0.2]), started="2026-01-01T00:00:00+00:00")
    write(
        *("jko", "moons"),
        **few_steps([0.2]),
        started="2026-01-02T00:00:00+00:00",
        dataset__revision="ffffffffffff",
    )
    done = call()
    assert done.exit_code == 0
    assert "moons: 1 run on another revision of its rows" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--metric", "nll"], 2, "mmd_m"),
        (["-b", "table1"], 3, "equal."),
        (["-m", "gaussian"], 3, "No run in"),
        (["-m", "jkoo"], 3, "ffjord, gaussian, jko."),
        (["-o", "q.jpg"], 2, ".svg"),
    ],
)
def test_wrong_calls(
    call: Call, write: Write, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    study(write)
    done = call(*arguments)
    assert done.exit_code == code
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert os.listdir(tmp_path) == ["runs"]


def test_nothing_to_draw(call: Call, write: Write, tmp_path: Path) -> None:
    assert call().exit_code == 3
    write("gaussian", "moons")
    done = call()
    assert done.exit_code == 3
    assert done.stderr.count("\n") == 1
    assert os.listdir(tmp_path) == ["runs"]
