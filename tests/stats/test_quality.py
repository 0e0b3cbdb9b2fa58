"""Quality by evaluations: what the records say of it, and the block of the details."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from rich.console import Console

from bench.cli import main
from bench.metrics.mmd import two_sample
from bench.records.frame import records
from bench.tables.sample_quality import (
    QualityPanel,
    QualityPoint,
    panels,
    quality_lines,
    quality_note,
    show_quality,
)

from .conftest import Write, few_steps


def only(results: Path) -> QualityPanel:
    (found,) = panels(records(results), results)
    return found


def text(panel: QualityPanel) -> str:
    page = io.StringIO()
    show_quality(panel, Console(file=page, width=140, color_system=None), 100)
    return page.getvalue()


def test_means_over_seeds_at_each_number_of_steps(results: Path, write: Write) -> None:
    write("jko", "moons", 0, **few_steps([0.1, 0.02, 0.004], 3e-4, pieces=4, nfe=80))
    write("jko", "moons", 1, **few_steps([0.3, 0.04, 0.004], 5e-4, pieces=4, nfe=90))
    panel = only(results)
    (curve,) = panel.curves
    assert (curve.label, curve.solver, curve.pieces) == ("jko", "dopri5", [4])
    assert curve.steps == [1, 2, 4, 0]
    assert curve.seeds[0][0] == QualityPoint(1, 4.0, 0.1)
    assert curve.mean(1) == QualityPoint(1, 4.0, pytest.approx(0.2))
    assert curve.sd(1) == pytest.approx(0.2 / math.sqrt(2))
    assert curve.mean(0) == QualityPoint(0, 85.0, pytest.approx(4e-4))
    assert quality_lines(panel) == [
        ["", "pieces", "1", "2", "4", "dopri5 (NFE)"],
        ["jko", "4", "0.200", "3.00e-2", "4.00e-3", "4.00e-4° (85)"],
        ["", "", "± 0.141", "± 1.41e-2", "± 0", "± 1.41e-4"],
        ["true data, τ", "", "6.80e-4", "", "", ""],
    ]


def test_tau_is_that_of_the_smaller_samples(results: Path, write: Write) -> None:
    """tau_m of 10,000 rows is 1.7e-4; of 2,500 it is four times that: 6.8e-4."""
    write("ffjord", "moons", **few_steps([6.9e-4, 6.8e-4, 6.7e-4], 6.7e-4))
    panel = only(results)
    assert panel.tau == pytest.approx(6.8e-4)
    assert quality_lines(panel)[1][2:] == [*("6.90e-4", "6.80e-4°", "6.70e-4°", "6.70e-4° (40)")]
    note = quality_note(panel)
    assert "two samples of 2,500" in note
    assert "τ: that of 10,000 rows, times 10,000/2,500." in note
    assert "° At most τ in every seed: not told from data at 5 %." in note


def test_below_tau_means_every_seed(results: Path, write: Write) -> None:
    write("ffjord", "moons", 0, **few_steps([1e-4, 1e-4], 1e-4))
    write("ffjord", "moons", 1, **few_steps([9e-4, 1e-4], 1e-4))
    (_, means, _, _) = quality_lines(only(results))
    assert means[2:4] == ["5.00e-4", "1.00e-4°"]


def test_the_threshold_goes_with_one_over_n() -> None:
    """Of 100 and of 400 rows, over 40 draws of true data, at the same bandwidth."""
    torch.set_num_threads(1)
    taus = []
    for n in (100, 400):
        draws = torch.randn(40, 3, n, 2, generator=torch.Generator().manual_seed(n))
        found = [two_sample(x, y, h, {"m": 1.7}, permutations=199)["m"] for x, y, h in draws]
        taus.append(sum(result.tau_v for result in found) / len(found))
    assert taus[0] / taus[1] == pytest.approx(4, rel=0.08)


def test_records_that_do_not_name_the_steps(results: Path, write: Write) -> None:
    """The fewest evaluations are one step in each piece."""
    given = few_steps([0.1, 0.02, 0.004], pieces=3)
    for line in given["quality"]:
        line.pop("steps", None)
    write("jko", "moons", **given)
    (curve,) = only(results).curves
    assert (curve.pieces, curve.steps) == ([3], [1, 2, 4, 0])


def test_too_few_steps_that_fail_are_said(results: Path, write: Write) -> None:
    write("jko", "moons", **few_steps([None, 0.02]))
    write("ffjord", "moons", **few_steps([0.1, 0.02, 0.01]))
    lines = quality_lines(only(results))
    assert lines[1][2:] == ["0.100", "2.00e-2", "1.00e-2", "3.00e-4° (40)"]
    assert lines[2][2:] == ["failed", "2.00e-2", "–", "3.00e-4° (40)"]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"quality": None},
        {"quality": []},
    ],
)
def test_rows_without_it_are_named(results: Path, write: Write, given: dict[str, Any]) -> None:
    write("gaussian", "moons", **given)
    write("ot-flow", "moons", status="diverged")
    assert only(results).curves == ()
    assert text(only(results)) == ""
    write("ffjord", "moons", **few_steps([0.1, 0.02]))
    panel = only(results)
    assert [curve.label for curve in panel.curves] == ["ffjord"]
    assert panel.missing == ("ot-flow", "gaussian")
    assert "Without: ot-flow, gaussian." in quality_note(panel)


def test_a_row_needs_every_seed_that_ended_well(results: Path, write: Write) -> None:
    write("ffjord", "moons", 0, **few_steps([0.1, 0.02]))
    write("ffjord", "moons", 1)
    assert only(results).missing == ("ffjord",)


def test_variants_have_their_labels(results: Path, write: Write) -> None:
    for affine in ("full", "none"):
        write("jko", "moons", **few_steps([0.1]), method__config={"affine": affine})
    labels = {curve.label for curve in only(results).curves}
    assert labels == {"jko (affine=full)", "jko (affine=none)"}


def test_the_details_have_the_block(results: Path, write: Write) -> None:
    long = "a-method-with-a-rather-long-name-that-goes-on"
    for method, dataset in ((long, "moons"), ("ffjord", "moons"), ("ffjord", "rings")):
        for seed in (0, 1):
            write(method, dataset, seed, **few_steps([0.1 + seed / 99, 0.02, 4e-3, 2e-3, 1e-3]))
    shown = CliRunner().invoke(main, ["table", "--details", "--results", str(results)]).output
    assert shown.count("quality by evaluations: MMD-m after so many Euler steps") == 2
    means = "0.105 2.00e-2 4.00e-3 2.00e-3 1.00e-3 3.00e-4° (40)"
    assert " ".join(shown.split()).count(f"ffjord 1 {means}") == 2
    assert max(map(len, shown.splitlines())) <= 100
    moons, rings = shown.index("moons   d ="), shown.index("rings   d =")
    assert moons < shown.index("quality by") < rings < shown.rindex("quality by")
