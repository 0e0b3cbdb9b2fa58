"""Where a statistic can't discriminate, the table and the details say so: figures of real data.

Those of MINIBOONE (d = 43) are of its first 1,523 rows, of which 152 are for the test; the others
are the reference tables.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from bench.metrics.mmd import two_sample
from bench.records.frame import records
from bench.tables.comparison import comparison
from bench.tables.details import details
from bench.tables.render import render

from .conftest import Write
from .shown import cell, notes

MEASURED = Path(__file__).parents[2] / "results" / "measured"

#: Chance moves MMD-1 by 4.84e-5, which is 0.4 % of the floor 2/152 = 1.32e-2 that V stands on.
#: The statistics with their thresholds.
COLUMNS = ("mmd_m", "tau_m", "mmd_1", "tau_1")

MINIBOONE = {
    "mmd_n": 152,
    "mmd_m": 4.698e-3,
    "mmd_m_u": -9.188e-4,
    "tau_m": 9.031e-3,
    "tau_m_u": 3.349e-3,
    "mmd_1": 1.3216e-2,
    "mmd_1_u": 5.971e-5,
    "tau_1": 1.3205e-2,
    "tau_1_u": 4.838e-5,
}


@pytest.mark.parametrize("form", ["text", "latex", "markdown", "html"])
def test_mmd_1_is_blind_on_miniboone(results: Path, write: Write, form: str) -> None:
    write("ffjord", "miniboone", dataset__d=43, **MINIBOONE)
    table = comparison(records(results), COLUMNS)
    assert cell(table, "ffjord", "τ_1") == "1.32e-2‖"
    assert not cell(table, "ffjord", "τ_m").endswith("‖")
    (note,) = [n for n in table.notes if n.mark == "‖"]
    assert {"MMD-1", "miniboone:", "mmd_1_u."} <= set(note.text.split())
    assert "n = 152" in note.text
    shown = " ".join(render(table, form).split())
    assert {"text": "see mmd_1_u.", "html": "see mmd_1_u."}.get(form, r"see mmd\_1\_u.") in shown
    assert "discriminate on miniboone" in shown


def test_in_the_details_too(results: Path, write: Write) -> None:
    write("ffjord", "miniboone", dataset__d=43, **MINIBOONE)
    ((_, _, lines),) = details(records(results))
    flags = {line.name: line.flags for line in lines}
    assert "can't discriminate here: V is its own floor 2/n" in flags["MMD-1 (V)"]
    assert "discriminate" not in flags["MMD-m (V)"]


@pytest.mark.parametrize(
    ("file", "share"), [("bsds300.csv", 0.165), ("quick.csv", 0.16), ("toys.csv", 0.57)]
)
def test_it_is_not_on_the_reference_tables(
    results: Path, write: Write, file: str, share: float
) -> None:
    """BSDS300 at d = 63 lies on a small scale, where a bandwidth of 1 is a wide one."""
    frame = pd.read_csv(MEASURED / file)
    assert (frame["tau_1_u"] * frame["mmd_n"] / 2).min() == pytest.approx(share, rel=0.02)
    names = ["mmd_n", "mmd_m", "mmd_m_u", "tau_m", "tau_m_u"]
    names += ["mmd_1", "mmd_1_u", "tau_1", "tau_1_u"]
    for line in frame.to_dict("records"):
        given = {name: line[name] for name in names}
        write(str(line["method"]), str(line["dataset"]), int(line["seed"]), **given)
    assert "can't discriminate" not in notes(comparison(records(results), COLUMNS))


@pytest.mark.parametrize(("d", "blind"), [(2, False), (8, False), (43, True), (63, True)])
def test_standardised_rows_of_many_columns(
    results: Path, write: Write, d: int, blind: bool
) -> None:
    """Of two samples of 400 normal rows: chance moves MMD-1 by less with each column."""
    x, y, h = torch.randn(3, 400, d, generator=torch.Generator().manual_seed(d))
    found = two_sample(x, y, h, {"1": 1.0}, permutations=199)
    given = {"mmd_n": 400, "mmd_1": found["mmd_1"], "mmd_1_u": found["mmd_1_u"]}
    write("ffjord", "mine", **given, tau_1=found["tau_1"], tau_1_u=found["tau_1_u"], tau_m_u=1e-3)
    shown = notes(comparison(records(results), COLUMNS))
    assert ("MMD-1 can't discriminate on mine" in shown) is blind
