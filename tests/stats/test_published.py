"""The published results: that they are those of the papers, and say where they are from."""

from __future__ import annotations

import math

import pytest

from bench.tables.published import SOURCE, published_on, published_results


@pytest.mark.parametrize(
    ("dataset", "method", "nll", "mmd_m"),
    [
        ("bsds300", "jko", -153.82, 2.24e-4),
        ("bsds300", "ot-flow", -104.62, 0.543),
        ("bsds300", "ffjord", -37.80, 0.560),
        ("power", "jko", -0.12, 9.86e-5),
        ("gas", "ScoreSDE", -3.69, 1.05e-3),
        ("miniboone", "IResNet", 22.36, 2.13e-3),
    ],
)
def test_results_of_the_poster(dataset: str, method: str, nll: float, mmd_m: float) -> None:
    found = published_on(dataset)[method]
    assert (found.nll, found.mmd_m, found.source) == (nll, mmd_m, SOURCE)


def test_every_line_says_where_it_is_from() -> None:
    assert len(published_results()) > 100
    for one in published_results():
        assert one.source
        assert one.evidence in ("poster", "paper text", "secondary")
        assert math.isfinite(one.nll)
        assert (
            one.d
            == {"power": 6, "gas": 8, "hepmass": 21, "miniboone": 43, "bsds300": 63}[one.dataset]
        )


def test_a_bound_is_called_one() -> None:
    """What the poster prints for ScoreSDE is reportedly an ELBO."""
    for dataset in ("power", "gas", "miniboone", "bsds300"):
        assert "ELBO" in published_on(dataset)["ScoreSDE"].note


def test_all_methods_of_the_poster_have_names_here() -> None:
    known = {"jko", "ot-flow", "ffjord", "ScoreSDE", "IGNN", "IResNet"}
    assert set(published_on("bsds300")) == known
    assert published_on("moons") == {}
