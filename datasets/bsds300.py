"""BSDS300: 8x8 patches of natural photographs (d=63).

Berkeley Segmentation Dataset (Martin et al., 2001), for non-commercial research and education;
patches as by Zoran & Weiss (2011) and Papamakarios et al. (2017). Never standardised: the
log-likelihood is in nats on the scale of grey values from 0 to 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.api import Dataset, Source, Splits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

IMAGES = ("bsds300/BSDS300_images.zip", "bsds300/train_portrait_ids.json")

#: train, validation, test
ROWS = (1_000_000, 50_000, 250_000)

TEST_PHOTOGRAPHS = 100

NOTES: dict[str, object] = {
    "standardised": "no",
    "patches": "8x8, (grey value + U[0,1)) / 256, less the patch's mean, last pixel dropped",
}


def read_stored(root: Path) -> Splits:
    """The archive's splits, as they are."""
    import h5py
    import numpy as np

    with h5py.File(root / "BSDS300/BSDS300.hdf5", "r") as file:
        train, validation, test = (
            np.asarray(file[name], dtype=np.float32) for name in ("train", "validation", "test")
        )
    return Splits(train, validation, test, NOTES)


def read_images(root: Path) -> Splits:
    """Draw as many patches as the archive has, from the photographs."""
    from bench_datasets.bsds300_patches import draw

    images, portraits = (root / name for name in IMAGES)
    return draw(images, portraits, ROWS, NOTES)


def photograph(index: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which of the test photographs rows that were drawn here are from, by their indices `(n,)`."""
    return index % TEST_PHOTOGRAPHS


def pictures(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The patches `(n, 8, 8)` of rows `(n, 63)`; the last pixel makes a patch's mean 0."""
    import numpy as np

    return np.concatenate([x, -x.sum(axis=1, keepdims=True)], axis=1).reshape(-1, 8, 8)


BSDS300 = Dataset(
    name="bsds300",
    d=63,
    summary="8x8 patches of natural photographs",
    sources=(
        Source(
            read_stored, "whole", "the archive of Zenodo record 1161203", ("BSDS300/BSDS300.hdf5",)
        ),
        Source(
            read_images,
            "redrawn",
            "patches drawn anew from the 300 photographs",
            IMAGES,
            photograph,
        ),
    ),
    rows=ROWS,
    pictures=pictures,
)
