"""Quality by evaluations: what the records say of it, and the block of the details."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from bench.cli import main
from bench.metrics.mmd import two_sample
from bench.records.frame import records
from bench.tables.details import details
from bench.tables.sample_quality import QualityPanel, panels

from .conftest import Write, few_steps


def only(results: Path) -> QualityPanel:
    (found,) = panels(records(results), results)
    return found


def by_steps(results: Path) -> dict[str, str]:
    """The notes of the details' line on solver steps, by method."""
    return {
        method.partition(":")[0]: line.notes
        for _, method, lines in details(records(results), results)
        for line in lines
        if line.name == "MMD-m by steps"
    }


def test_means_over_seeds_at_each_number_of_steps(results: Path, write: Write) -> None:
    write("jko", "moons", 0, **few_steps([0.1, 0.02, 0.004], 3e-4, pieces=4, nfe=80))
    write("jko", "moons", 1, **few_steps([0.3, 0.04, 0.004], 5e-4, pieces=4, nfe=90))
    panel = only(results)
    (curve,) = panel.curves
    assert (curve.label, curve.solver, curve.pieces) == ("jko", "dopri5", [4])
    assert curve.nfe.T.to_dict("list") == {1: [4, 4], 2: [8, 8], 4: [16, 16], 0: [80, 90]}
    assert curve.mmd.T.to_dict("list") == {
        1: [0.1, 0.3],
        2: [0.02, 0.04],
        4: [0.004, 0.004],
        0: [3e-4, 5e-4],
    }
    assert list(curve.mmd.index) == [1, 2, 4, 0]
    assert by_steps(results)["jko"] == (
        "4 pieces; 1: 0.200, 2: 3.00e-2, 4: 4.00e-3, dopri5, NFE 85: 4.00e-4 (at most τ); "
        "τ 6.80e-4 (of 10,000 rows, by 1/n)"
    )


def test_tau_is_that_of_the_smaller_samples(results: Path, write: Write) -> None:
    """tau_m of 10,000 rows is 1.7e-4; of 2,500 it is four times that: 6.8e-4."""
    write("ffjord", "moons", **few_steps([6.9e-4, 6.8e-4, 6.7e-4], 6.7e-4))
    panel = only(results)
    assert panel.tau == pytest.approx(6.8e-4)
    assert by_steps(results)["ffjord"].startswith("1 piece; 1: 6.90e-4, 2: 6.80e-4 (at most τ),")


def test_below_tau_means_every_seed(results: Path, write: Write) -> None:
    write("ffjord", "moons", 0, **few_steps([1e-4, 1e-4], 1e-4))
    write("ffjord", "moons", 1, **few_steps([9e-4, 1e-4], 1e-4))
    assert "1: 5.00e-4, 2: 1.00e-4 (at most τ)," in by_steps(results)["ffjord"]


def test_the_threshold_goes_with_one_over_n() -> None:
    """Of 100 and of 400 rows, over 40 draws of true data, at the same bandwidth."""
    torch.set_num_threads(1)
    taus = []
    for n in (100, 400):
        draws = torch.randn(40, 3, n, 2, generator=torch.Generator().manual_seed(n))
        found = [two_sample(x, y, h, {"m": 1.7}, permutations=199) for x, y, h in draws]
        taus.append(sum(result["tau_m"] for result in found) / len(found))
    assert taus[0] / taus[1] == pytest.approx(4, rel=0.08)


def test_records_that_do_not_name_the_steps(results: Path, write: Write) -> None:
    """The fewest evaluations are one step in each piece."""
    given = few_steps([0.1, 0.02, 0.004], pieces=3)
    for line in given["quality"]:
        line.pop("steps", None)
    write("jko", "moons", **given)
    (curve,) = only(results).curves
    assert (curve.pieces, list(curve.nfe.index)) == ([3], [1, 2, 4, 0])


def test_too_few_steps_that_fail_are_said(results: Path, write: Write) -> None:
    write("jko", "moons", **few_steps([None, 0.02]))
    write("ffjord", "moons", **few_steps([0.1, 0.02, 0.01]))
    assert "1: 0.100, 2: 2.00e-2, 4: 1.00e-2, dopri5" in by_steps(results)["ffjord"]
    assert "1: failed, 2: 2.00e-2, dopri5" in by_steps(results)["jko"]


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
    assert by_steps(results) == {}
    write("ffjord", "moons", **few_steps([0.1, 0.02]))
    panel = only(results)
    assert [curve.label for curve in panel.curves] == ["ffjord"]
    assert panel.missing == ("ot-flow", "gaussian")


def test_a_row_needs_every_seed_that_ended_well(results: Path, write: Write) -> None:
    write("ffjord", "moons", 0, **few_steps([0.1, 0.02]))
    write("ffjord", "moons", 1)
    assert only(results).missing == ("ffjord",)


def test_variants_have_their_labels(results: Path, write: Write) -> None:
    for affine in ("full", "none"):
        write("jko", "moons", **few_steps([0.1]), method__config={"affine": affine})
    labels = {curve.label for curve in only(results).curves}
    assert labels == {"jko (affine=full)", "jko (affine=none)"}


def test_the_details_have_a_line_for_each_row(results: Path, write: Write) -> None:
    for dataset in ("moons", "rings"):
        for seed in (0, 1):
            write("ffjord", dataset, seed, **few_steps([0.1 + seed / 99, 0.02]))
    call = ["table", "--details", "--results", str(results)]
    shown = CliRunner().invoke(main, call).output
    assert shown.count("MMD-m by steps") == 2
    assert " ".join(shown.split()).count("0.105") == 2
    assert max(map(len, shown.splitlines())) <= 100
