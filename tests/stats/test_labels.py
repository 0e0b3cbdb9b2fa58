"""What rows are called where one method has several: by what differs, as long as it is short."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.records.frame import cells, records
from bench.tables.comparison import comparison
from bench.tables.layout import Label, labels
from bench.tables.render import render

from .conftest import Write


def found(results: Path) -> list[Label]:
    return sorted(labels(list(cells(records(results)))), key=lambda label: label.text)


def config(**changed: object) -> dict[str, object]:
    return {"affine": "none", "width": 256, "depth": 3, "scale": 1.0} | changed


def test_the_setting_that_differs_is_the_name(results: Path, write: Write) -> None:
    for seed in (0, 1):
        write("flow-matching", "moons", seed, method__config=config())
        write("flow-matching", "moons", seed, method__config=config(affine="full"))
    write("ffjord", "moons", method__config=config(affine="full"))
    assert found(results) == [
        Label("ffjord"),
        Label("flow-matching (affine=full)"),
        Label("flow-matching (affine=none)"),
    ]


def test_only_what_differs_among_these_rows_counts(results: Path, write: Write) -> None:
    """Another data set's settings, or the seed, tell nothing apart."""
    write("jko", "moons", method__config=config(width=8))
    write("jko", "rings", 0, method__config=config(width=64))
    write("jko", "rings", 1, method__config=config(width=64, depth=4))
    rings = [cell for cell in cells(records(results)) if cell.key["dataset"] == "rings"]
    assert sorted(map(str, labels(rings))) == ["jko (depth=3)", "jko (depth=4)"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"method__version": "bbbbbbbbbbbb"}, ["version aaaaaaaa", "version bbbbbbbb"]),
        ({"environment__device": "cuda:0"}, ["on cpu", "on cuda:0"]),
        ({"budget__minibatches": 3_000}, ["3,000 mini-batches", "300 mini-batches"]),
        ({"budget__batch_size": 10}, ["batch size 1,000", "batch size 10"]),
        ({"judge__rtol": 1e-6}, ["judge rtol=1e-05", "judge rtol=1e-06"]),
        ({"method__config": {"width": 256, "clip": None}}, ["", "clip=null"]),
        (
            {"method__version": "b", "method__config": {"width": 8}},
            ["version aaaaaaaa, width=256", "version b, width=8"],
        ),
    ],
)
def test_what_else_can_differ(
    results: Path, write: Write, changed: dict[str, object], said: list[str]
) -> None:
    write("ffjord", "moons", 0)
    write("ffjord", "moons", 1, **changed)
    assert [str(label) for label in found(results)] == [
        f"ffjord ({parts})" if parts else "ffjord" for parts in said
    ]


def test_three_settings_are_named_and_four_are_numbered(results: Path, write: Write) -> None:
    write("a", "moons", 0, method__config=config())
    write("a", "moons", 1, method__config=config(affine="full", width=8, depth=2))
    write("b", "moons", 0, method__config=config())
    write("b", "moons", 1, method__config=config(affine="full", width=8, depth=2, scale=8.0))
    three, other, *four = found(results)
    assert three == Label("a (affine=full, width=8, depth=2)")
    assert other == Label("a (affine=none, width=256, depth=3)")
    assert [label.text for label in four] == ["b (1)", "b (2)"]
    assert {label.meaning for label in four} == {
        "affine=none, width=256, depth=3, scale=1.0",
        "affine=full, width=8, depth=2, scale=8.0",
    }


def test_what_is_too_long_for_a_row_is_numbered(results: Path, write: Write) -> None:
    write("ffjord", "moons", 0, method__config={"widths": [64] * 3})
    write("ffjord", "moons", 1, method__config={"widths": [64] * 20})
    assert [label.text for label in found(results)] == ["ffjord (1)", "ffjord (2)"]
    (tmp,) = {label.meaning for label in found(results) if "64, 64, 64, 64" in label.meaning}
    assert tmp == f"widths=[{', '.join(['64'] * 20)}]"


def test_settings_are_escaped_in_every_form(results: Path, write: Write) -> None:
    write("m", "moons", 0, method__config={"a_b": "<script>"})
    write("m", "moons", 1, method__config={"a_b": "100 %\n$x"})
    table = comparison(records(results), ("nll",))
    assert sorted(row.label for row in table.groups[0].rows) == [
        "m (a_b=100 % $x)",
        "m (a_b=<script>)",
    ]
    pages = {form: render(table, form) for form in ("text", "latex", "markdown", "html")}
    assert "m (a_b=<script>)" in pages["text"]
    assert r"m (a\_b=\textless{}script\textgreater{})" in pages["latex"]
    assert r"m (a\_b=100 \% \$x)" in pages["latex"]
    assert r"m (a\_b=&lt;script&gt;)" in pages["markdown"]
    assert "m (a_b=&lt;script&gt;)" in pages["html"]
    assert not re.search("<script>", pages["html"] + pages["markdown"])
