"""The figures of a report: which are drawn, of which runs, and what stands in place of the rest."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from PIL import Image

from bench.errors import NothingMeasured
from bench.figures.request import Plot, Request
from bench.report import pictures
from bench.report.pictures import NotDrawn, Picture, paragraphs
from bench.report.setting import gather

from .conftest import Write


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Request]]:
    """What was asked of three kinds, of which one has nothing to draw."""
    calls: list[tuple[str, Request]] = []

    def draw(kind: str, wanted: Request) -> Plot:
        calls.append((kind, wanted))
        if kind == "density":
            raise NothingMeasured("No density here.", "Run another.")
        figure = Figure(figsize=(2, 1))
        return Plot(figure, ("a line\nof text", "a  1", "b  2", "", "end"), ("moons: 1 run",))

    monkeypatch.setattr(pictures, "KINDS", {"ranks": "ranks.", "quality": "q.", "density": "d."})
    monkeypatch.setattr(pictures, "draw", draw)
    return calls


def test_each_kind_is_asked_for_each_data_set_and_ranks_over_all(
    results: Path, write: Write, asked: list[tuple[str, Request]]
) -> None:
    for dataset in ("moons", "rings"):
        write("ffjord", dataset)
    gathered = gather(results)
    (ranks,), remark = pictures.pictures(gathered, {})
    assert isinstance(ranks, Picture)
    assert remark == ""
    (quality, density), remark = pictures.pictures(gathered, {}, "moons")
    assert isinstance(quality, Picture)
    assert density == NotDrawn("density", "moons", "No density here. Run another.")
    assert [(kind, each.datasets, each.budget) for kind, each in asked] == [
        ("ranks", (), None),
        ("quality", ("moons",), None),
        ("density", ("moons",), None),
    ]
    assert quality.caption == (
        (False, "a line of text"),
        (True, "a  1\nb  2"),
        (False, "end"),
        (False, "Left out: moons: 1 run."),
    )
    assert quality.alt == "Q. a line of text end Left out: moons: 1 run."
    assert quality.source.startswith("data:image/svg+xml;base64,")


def test_several_budgets_are_drawn_apart(
    results: Path, write: Write, asked: list[tuple[str, Request]]
) -> None:
    write("ffjord", "moons")
    write("ffjord", "moons", budget__name="table1")
    found, _ = pictures.pictures(gather(results), {})
    assert [each.budget for _, each in asked] == ["equal", "table1"]
    assert [each.caption[0] for each in found if isinstance(each, Picture)] == [
        (False, "Budget equal."),
        (False, "Budget table1."),
    ]


def test_of_thousands_of_runs_slow_kinds_are_left_to_bench_plot(
    results: Path,
    write: Write,
    asked: list[tuple[str, Request]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for seed in range(3):
        write("ffjord", "moons", seed)
    monkeypatch.setattr(pictures, "MOST_RUNS_ACROSS", 2)
    quality, density = pictures.pictures(gather(results), {}, "moons")[0]
    assert isinstance(quality, Picture)
    assert isinstance(density, NotDrawn)
    assert "bench plot density" in density.why
    assert [kind for kind, _ in asked] == ["quality"]


def test_a_figure_with_a_defect_leaves_the_page_whole(
    results: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(kind: str, asked: Request) -> Plot:
        raise IndexError("too\nfar")

    monkeypatch.setattr(pictures, "KINDS", {"ranks": "ranks."})
    monkeypatch.setattr(pictures, "draw", draw)
    write("ffjord", "moons")
    (ranks,), _ = pictures.pictures(gather(results), {})
    assert isinstance(ranks, NotDrawn)
    assert ranks.bug
    assert "IndexError: too far" in ranks.why


def test_a_figure_of_the_same_runs_is_not_drawn_again(
    results: Path, write: Write, asked: list[tuple[str, Request]]
) -> None:
    kept: pictures.Kept = {}
    write("ffjord", "moons")
    write("ffjord", "rings")
    first = pictures.pictures(gather(results), kept, "moons")
    write("jko", "rings")
    assert pictures.pictures(gather(results), kept, "moons") == first
    assert len(asked) == 2
    write("jko", "moons")
    pictures.pictures(gather(results), kept, "moons")
    assert len(asked) == 4


def test_of_many_runs_the_rows_that_validate_best_are_shown(
    results: Path, write: Write, monkeypatch: pytest.MonkeyPatch, asked: list[tuple[str, Request]]
) -> None:
    monkeypatch.setattr(pictures, "MOST_RUNS", 3)
    monkeypatch.setattr(pictures, "MOST_SEEDS", 2)
    expected = []
    for width, nll in ((1, 3.0), (2, 1.0), (3, None)):
        for seed in range(3):
            run = write(
                *("ffjord", "moons", seed),
                method__config={"width": width},
                training__best_validation_nll=nll,
            )
            expected += [run] if width == 2 and seed < 2 else []
    expected.append(write("jko", "moons", 5))  # never validated
    _, remark = pictures.pictures(gather(results), {}, "moons")
    shown: Any = asked[0][1].runs
    assert sorted(shown["run"]) == sorted(expected)
    assert "3 of 10 runs" in remark


def test_a_large_drawing_becomes_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = Figure(figsize=(4, 2))
    figure.subplots().text(-1, 0.5, "this stands outside of the axes")
    small = pictures._embedded(figure)
    assert small == pictures._embedded(figure)
    kind, _, content = small[0].partition(",")
    assert kind == "data:image/svg+xml;base64"
    assert b"<svg" in base64.b64decode(content)
    monkeypatch.setattr(pictures, "VECTOR_BYTES", 10)
    large = pictures._embedded(figure)
    kind, _, content = large[0].partition(",")
    assert kind == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as image:
        ratio = image.width / image.height
    # Nothing is cut off: the picture is wider than the figure was meant to be.
    assert small[1:] == large[1:]
    assert small[1] / small[2] == pytest.approx(ratio, rel=0.01)
    assert ratio > 2.2


def test_columns_at_the_end_stay_columns() -> None:
    assert list(paragraphs(["one", "a  1", "b  2"])) == [(False, "one"), (True, "a  1\nb  2")]
