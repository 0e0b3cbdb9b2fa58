"""Patches drawn from made-up photographs: ramps, darker towards the bottom."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.api.dataset import Splits
from bench.errors import DataError
from bench_datasets import bsds300
from bench_datasets.bsds300_patches import PORTRAITS, draw

ROWS = (900, 100, 500)


def slope(number: int) -> int:
    """Grey values a pixel: it tells photographs apart."""
    return 1 + number % 4


def photograph(number: int, shape: tuple[int, int]) -> np.ndarray:
    down = np.arange(shape[0])[:, None] * np.ones(shape[1])
    return (240 - slope(number) * down).astype(np.uint8)


def write(
    path: Path, turned: Sequence[int], train: int = 200, test: int = 100
) -> tuple[Path, Path]:
    images, portraits = path / "images.zip", path / "portraits.json"
    with zipfile.ZipFile(images, "w") as file:
        for folder, count in (("train", train), ("test", test)):
            for number in range(count):
                upright = folder == "test" or number not in turned
                shape = (24, 40) if number % 2 else (40, 24)
                grey = photograph(number, shape)
                stored = grey if upright else np.rot90(grey, -1)  # clockwise
                buffer = io.BytesIO()
                colours = Image.fromarray(np.repeat(stored[..., None], 3, axis=2))
                colours.save(buffer, "jpeg", quality=100)
                file.writestr(f"BSDS300/images/{folder}/{number:04}.jpg", buffer.getvalue())
    portraits.write_text(json.dumps({PORTRAITS: [f"{n:04}" for n in turned], "undo": "rot90"}))
    return images, portraits


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    turned = range(0, 200, 3)
    return draw(*write(tmp_path_factory.mktemp("bsds"), turned), ROWS, {"given": 1})


def whole(rows: np.ndarray) -> np.ndarray:
    """The patches `(n, 8, 8)`: the dropped pixel is minus the sum of the others."""
    rows = rows.astype(np.float64)
    return np.concatenate([rows, -rows.sum(axis=1, keepdims=True)], axis=1).reshape(-1, 8, 8)


def fall(rows: np.ndarray) -> np.ndarray:
    """How many grey values the patches fall a pixel, downwards."""
    return -256 * np.polyfit(np.arange(8), whole(rows).mean(axis=2).T, 1)[0]


def test_sizes_and_notes(drawn: Splits) -> None:
    for rows, n in zip((drawn.train, drawn.validation, drawn.test), ROWS, strict=True):
        assert rows.shape == (n, 63)
        assert rows.dtype == np.float32
    assert drawn.notes["photographs"] == [180, 20, 100]
    assert drawn.notes["given"] == 1
    assert len(set(drawn.notes["validation photographs"])) == 20  # type: ignore[call-overload]


def test_portraits_are_turned_back(drawn: Splits) -> None:
    """Every patch falls downwards and is level from left to right."""
    for rows in (drawn.train, drawn.validation, drawn.test):
        assert fall(rows).min() > 0.5
        across = np.polyfit(np.arange(8), whole(rows).mean(axis=1).T, 1)[0]
        assert np.abs(256 * across).max() < 0.5


def test_the_groups_of_test_rows_are_their_photographs(drawn: Splits) -> None:
    """What the data set says of its rows, against how they fall."""
    numbers = bsds300.photograph(np.arange(len(drawn.test)))
    assert len(set(numbers.tolist())) == drawn.notes["photographs"][2]  # type: ignore[index]
    falls = np.array([slope(number) for number in numbers])
    np.testing.assert_allclose(fall(drawn.test), falls, atol=0.5)


def test_a_row_is_of_the_photograph_that_its_number_says(drawn: Splits) -> None:
    chosen = {int(name) for name in drawn.notes["validation photographs"]}  # type: ignore[attr-defined]
    others = [n for n in range(200) if n not in chosen]
    for rows, numbers in (
        (drawn.train, others),
        (drawn.validation, sorted(chosen)),
        (drawn.test, range(100)),
    ):
        expected = [slope(numbers[r % len(numbers)]) for r in range(len(rows))]
        assert fall(rows) == pytest.approx(expected, abs=0.3)


def test_values_are_grey_values_with_noise(drawn: Splits) -> None:
    """Within a row of pixels of a ramp only the uniform noise is left: its std is 1/sqrt(12)."""
    left = 256 * (whole(drawn.test) - whole(drawn.test).mean(axis=2, keepdims=True))
    assert left.std() == pytest.approx(np.sqrt(7 / 8 / 12), rel=0.03)
    means = drawn.test.sum(axis=1) + whole(drawn.test)[:, 7, 7]
    assert np.abs(means).max() < 1e-5


def test_same_draws_again_and_other_rows_in_each_split(tmp_path: Path, drawn: Splits) -> None:
    again = draw(*write(tmp_path, range(0, 200, 3)), ROWS, {})
    np.testing.assert_array_equal(again.train, drawn.train)
    np.testing.assert_array_equal(again.test, drawn.test)


def test_other_photographs(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="200 for training and 100 for test"):
        draw(*write(tmp_path, [], train=199), ROWS, {})
