"""One contract over all data sets that are installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.api.dataset import Dataset
from bench.conformance import DATASET_CHECKS, DatasetSubject, examine
from bench.data import arrays
from bench.data.arrays import Loaded
from bench.errors import DataError, UsageError
from bench.registry import plugins

ROOT = Path(os.environ.get("BENCH_DATA", "no data"))
NAMES = sorted(set(plugins.datasets()) - {plugins.PATH})


@pytest.fixture(params=NAMES)
def dataset(request: pytest.FixtureRequest) -> Dataset:
    return plugins.dataset(request.param)


@pytest.fixture
def loaded(dataset: Dataset) -> Loaded:
    if dataset.find(ROOT) is None:
        pytest.skip(f"{dataset.name}: its files are not below the data root")
    return arrays.load(dataset, ROOT)


def test_names() -> None:
    real = {"power", "gas", "hepmass", "miniboone", "bsds300", "digits"}
    plane = {"moons", "8gaussians", "pinwheel", "circles", "rings", "swissroll", "checkerboard"}
    assert set(NAMES) >= real | plane | {"2spirals", "rose", "tree"}


def test_description(dataset: Dataset) -> None:
    assert plugins.datasets()[dataset.name].name == dataset.name
    assert 10 < len(dataset.summary) < 80
    assert not dataset.summary.endswith(".")
    assert dataset.sources
    assert dataset.d > 0


def test_rows(dataset: Dataset, loaded: Loaded) -> None:
    sizes = tuple(len(getattr(loaded, name)) for name in arrays.SPLITS)
    if loaded.source.kind != "subset":
        assert sizes == dataset.rows
    for name in arrays.SPLITS:
        rows = getattr(loaded, name)
        assert rows.shape[1:] == (dataset.d,)
        assert rows.dtype == np.float32
        assert np.isfinite(rows[:100_000]).all()
        assert not rows.flags.writeable
        assert (np.ptp(rows[:100_000], axis=0) > 0).all()


def test_it_keeps_the_contract(dataset: Dataset, loaded: Loaded) -> None:
    """What `bench test` checks: a stated density and entropy are those of the rows."""
    results = list(examine(DatasetSubject(dataset, loaded)))
    assert [r.check for r in results] == [check.name for check in DATASET_CHECKS]
    assert [r for r in results if r.outcome == "failed"] == []
    known = {"no-density": dataset.log_density, "no-entropy": dataset.entropy}
    for each in results:
        if each.outcome == "skipped" and each.code != "not-planar":
            assert known[each.code] is None


def test_subset_says_so(dataset: Dataset, loaded: Loaded) -> None:
    if loaded.source.kind == "subset":
        assert dataset.rows is not None
        assert len(loaded.train) < dataset.rows[0]


def test_splits_share_no_rows(loaded: Loaded) -> None:
    def some(rows: np.ndarray) -> set[bytes]:
        return {row.tobytes() for row in rows[:20_000]}

    train, validation, test = some(loaded.train), some(loaded.validation), some(loaded.test)
    for a, b in ((train, validation), (train, test), (validation, test)):
        # rounded measurements repeat now and then
        assert len(a & b) <= 1e-3 * min(len(a), len(b))


def test_splits_have_one_law(loaded: Loaded) -> None:
    """The means of the splits agree, as far as rows in time order can."""
    train, test = (np.asarray(x[:50_000], np.float64) for x in (loaded.train, loaded.test))
    shift = np.abs(train.mean(axis=0) - test.mean(axis=0)) / train.std(axis=0)
    assert shift.max() < 0.35


def test_generated_rows_are_always_the_same(dataset: Dataset) -> None:
    source = dataset.sources[0]
    if source.files:
        pytest.skip(f"{dataset.name} is read from files")
    first = arrays.revision(arrays.read(dataset, source, ROOT))
    assert arrays.revision(arrays.read(dataset, source, ROOT)) == first
    assert arrays.load(dataset, ROOT).revision == first


def test_absent_files_are_named(dataset: Dataset, tmp_path: Path) -> None:
    if not dataset.sources[0].files:
        pytest.skip(f"{dataset.name} needs no file")
    with pytest.raises(DataError) as caught:
        arrays.load(dataset, tmp_path)
    for source in dataset.sources:
        for name in source.files:
            assert name in caught.value.problem
    assert str(tmp_path) in caught.value.problem
    assert f"bench data fetch {dataset.name}" in caught.value.remedy
    assert "--data" in caught.value.remedy


def test_unknown_name() -> None:
    with pytest.raises(UsageError, match="'moons'"):
        plugins.dataset("moon")


def test_listing_imports_nothing_heavy() -> None:
    """What `bench list datasets` does is quick: no numpy, no pandas, no PyTorch."""
    code = """
import sys
from bench.registry import plugins
for name, plugin in plugins.datasets().items():
    assert plugins.summary(plugin)
    plugin.load()
heavy = {"numpy", "pandas", "scipy", "sklearn", "PIL", "h5py", "torch"} & set(sys.modules)
assert not heavy, heavy
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
