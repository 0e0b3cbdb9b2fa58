"""`bench plot samples`: the points and pictures that are drawn, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.api.dataset import Dataset, Source, Splits
from bench.data.arrays import Loaded
from bench.figures import request
from bench.figures.request import Request
from bench.figures.samples import draw, sheet_of
from bench.registry.plugins import look

from .conftest import Call, Write, overlaps

Keep = Callable[..., None]


def test_points_are_samples_beside_as_many_test_rows(
    results: Path, write: Write, keep: Keep, moons: Loaded
) -> None:
    rng = np.random.default_rng(1)
    drawn = rng.uniform(-1, 1, (300, 2))
    drawn[:7] = 50.0
    for method, rows in (("jko", drawn), ("ffjord", rng.uniform(-1, 1, (400, 2)))):
        keep(write(method, "moons", dataset__revision=moons.revision, mmd_m=1.5e-4), rows)
    found = draw(Request(results))
    data, ffjord, jko = found.figure.axes
    points = jko.collections[0].get_offsets()
    assert np.asarray(points) == pytest.approx(drawn.astype(np.float32))
    assert len(ffjord.collections[0].get_offsets()) == 300
    shown = {tuple(row) for row in np.asarray(data.collections[0].get_offsets(), dtype=np.float32)}
    assert len(shown) == 300
    assert shown <= {tuple(row) for row in moons.test}
    assert [axes.get_title() for axes in (data, jko)] == [
        "data (test rows)\n",
        "jko\nMMD-m 1.50e-4",
    ]
    assert data.get_xlim() == ffjord.get_xlim() == jko.get_xlim()
    assert jko.get_xlim()[1] < 10
    assert data.get_xlabel() == "x₁ (data units)"
    colour = jko.collections[0].get_facecolor()[0][:3]
    assert colour == pytest.approx(
        [int(look("jko").colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    )
    text = " ".join(" ".join(found.lines).split())
    assert "moons: 300 samples of each method and 300 of 20,000 test rows." in text
    assert "jko 7" in text
    assert "Runs (seed 0): ffjord-moons-s0" in text
    assert overlaps(found.figure) == []


def test_rows_of_another_revision_are_not_drawn(results: Path, write: Write, keep: Keep) -> None:
    keep(write("jko", "moons"), np.eye(2))
    write("ffjord", "moons")
    found = draw(Request(results))
    (jko,) = found.figure.axes
    assert jko.get_title().startswith("jko")
    text = " ".join(" ".join(found.lines).split())
    assert "No test rows of moons: " in text
    assert "the runs used revision 0123456789ab" in text
    assert "No samples on moons: ffjord." in text


def test_no_samples_are_nothing_to_draw(call: Call, write: Write, results: Path) -> None:
    run = write("jko", "moons")
    (results / run / "samples.npz").write_bytes(b"PK\x03\x04 cut off")
    done = call("samples")
    assert done.exit_code == 3
    assert "No run in" in done.stderr
    assert not list(results.parent.glob("*.png"))


@pytest.fixture
def patches(monkeypatch: pytest.MonkeyPatch) -> Loaded:
    """A data set of 2x3 pictures, whose last pixel is what the others lack to a sum of 0."""

    def pictures(x: np.ndarray) -> np.ndarray:
        return np.concatenate([x, -x.sum(1, keepdims=True)], axis=1).reshape(-1, 2, 3)

    rows = np.random.default_rng(0).standard_normal((90, 5)).astype(np.float32)
    source = Source(lambda root: Splits(rows, rows, rows), "subset", "made here")
    dataset = Dataset("patches", 5, "pictures", (source,), pictures=pictures)
    loaded = Loaded(rows, rows, rows, revision="0123456789ab", source=source)
    monkeypatch.setattr(request.plugins, "dataset", lambda name: dataset)
    monkeypatch.setattr(request, "load", lambda dataset, root: loaded)
    return loaded


def test_pictures_are_drawn_on_one_grey_scale(
    results: Path, write: Write, keep: Keep, patches: Loaded
) -> None:
    rows = np.random.default_rng(2).standard_normal((40, 5))
    keep(write("jko", "patches", dataset__d=5, dataset__subset=True), rows)
    found = draw(Request(results))
    data, jko, _ = found.figure.axes
    sheet = np.asarray(jko.images[0].get_array())
    assert sheet.shape == (5 * 3 - 1, 5 * 4 - 1)
    assert sheet[0, :3] == pytest.approx(rows[0, :3].astype(np.float32))
    assert sheet[1, 2] == pytest.approx(-rows[0].sum(), abs=1e-5)
    assert sheet[0, 4] == pytest.approx(np.float32(rows[1, 0]))
    assert data.images[0].get_clim() == jko.images[0].get_clim()
    text = " ".join(" ".join(found.lines).split())
    assert "patches: the first 25 samples of each method and 25 of 90 test rows as 2x3" in text
    assert "patches is a subset" in text


def test_of_columns_asked_for_points_are_drawn(
    results: Path, write: Write, keep: Keep, patches: Loaded
) -> None:
    rows = np.random.default_rng(2).standard_normal((40, 5))
    keep(write("jko", "patches", dataset__d=5), rows)
    found = draw(Request(results, columns=(4, 1)))
    _, jko = found.figure.axes
    assert np.asarray(jko.collections[0].get_offsets()) == pytest.approx(
        rows[:, [4, 1]].astype(np.float32)
    )
    assert jko.get_xlabel() == "column 4 (data units)"


@pytest.mark.parametrize(
    ("columns", "said"),
    [("0,x", "'x'"), ("0,2", "0 to 1"), ("-1", "0 to 1"), ("0,1,2", "at most 2")],
)
def test_wrong_columns(call: Call, write: Write, keep: Keep, columns: str, said: str) -> None:
    keep(write("jko", "moons"), np.eye(2))
    done = call("samples", "--columns", columns)
    assert done.exit_code == 2
    assert said in done.stderr


def test_a_sheet_of_fewer_pictures_is_empty_at_its_end() -> None:
    sheet = sheet_of(np.arange(8.0).reshape(2, 2, 2), side=2)
    assert sheet[:2, :2].tolist() == [[0, 1], [2, 3]]
    assert sheet[:2, 3:].tolist() == [[4, 5], [6, 7]]
    assert np.isnan(sheet[2:]).all()
    assert np.isnan(sheet[:, 2]).all()
