"""Random patches of the BSDS300 photographs."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.api import Splits
from bench.errors import DataError

if TYPE_CHECKING:
    from bench.api.dataset import Rows

SEED = 0
SIDE = 8
N_VALIDATION = 20

#: The key of the names in the portraits' file.
PORTRAITS = "portrait_train_ids_rotated_clockwise_in_zip"

Grey = NDArray[np.uint8]


def draw(
    images: Path, portraits: Path, rows: tuple[int, int, int], notes: Mapping[str, object]
) -> Splits:
    """Draw patches for train, validation and test, from 180, 20 and 100 photographs.

    Row r of a split is a patch of its photograph number r modulo their number: each gives the same
    number of rows (to within one), any stretch of rows is a mixture of all photographs, and which
    row is of which photograph stays known.

    Args:
        images: the zip file of the photographs, in folders `train` and `test`.
        portraits: a JSON file with the names of the train photographs that were turned clockwise.
        rows: how many rows (train, validation, test).
        notes: for the splits.

    Raises:
        DataError: the zip file does not hold 200 and 100 photographs.
    """
    turned = json.loads(portraits.read_text(encoding="utf-8"))[PORTRAITS]
    photographs = _read(images, set(turned))
    counts = {folder: len(found) for folder, found in photographs.items()}
    if counts != {"train": 200, "test": 100}:
        raise DataError(
            f"{images} has {counts} photographs; BSDS300 has 200 for training and 100 for test.",
            "Put the whole set in its place.",
        )
    names = sorted(photographs["train"])
    rng = np.random.default_rng([SEED, 0])
    chosen = sorted(rng.choice(names, N_VALIDATION, replace=False).tolist())
    parts = (
        [photographs["train"][name] for name in names if name not in chosen],
        [photographs["train"][name] for name in chosen],
        [photographs["test"][name] for name in sorted(photographs["test"])],
    )
    train, validation, test = (
        _patches(part, n, np.random.default_rng([SEED, 1 + i]))
        for i, (part, n) in enumerate(zip(parts, rows, strict=True))
    )
    return Splits(
        train,
        validation,
        test,
        {
            **notes,
            "seed": SEED,
            "photographs": [len(part) for part in parts],
            "photograph of row r": "number r modulo the number of photographs of the split, in "
            "the alphabetical order of their names",
            "validation photographs": chosen,
        },
    )


def _read(images: Path, turned: set[str]) -> dict[str, dict[str, Grey]]:
    """The photographs in grey by folder and name, as they were taken."""
    found: dict[str, dict[str, Grey]] = {"train": {}, "test": {}}
    with zipfile.ZipFile(images) as file:
        for member in file.namelist():
            path = PurePosixPath(member)
            if path.suffix != ".jpg" or path.parent.name not in found:
                continue
            grey = np.asarray(Image.open(io.BytesIO(file.read(member))).convert("L"))
            if path.parent.name == "train" and path.stem in turned:
                grey = np.rot90(grey)
            found[path.parent.name][path.stem] = grey
    return found


def _patches(photographs: list[Grey], n: int, rng: np.random.Generator) -> Rows:
    """`n` patches `(n, SIDE**2 - 1)`, from each photograph in turn."""
    rows = np.empty((n, SIDE**2 - 1), dtype=np.float32)
    for i, photograph in enumerate(photographs):
        windows = np.lib.stride_tricks.sliding_window_view(photograph, (SIDE, SIDE))
        count = len(range(i, n, len(photographs)))
        top = rng.integers(windows.shape[0], size=count)
        left = rng.integers(windows.shape[1], size=count)
        patches = windows[top, left].reshape(count, SIDE**2)
        values = (patches + rng.random(patches.shape)) / 256
        rows[i :: len(photographs)] = (values - values.mean(axis=1, keepdims=True))[:, :-1]
    return rows
