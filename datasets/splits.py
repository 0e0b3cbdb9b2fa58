"""Splitting and standardising rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.api import Splits

Table = NDArray[np.float64]


def last_tenths(rows: Table) -> tuple[Table, Table, Table]:
    """The "10/10 split" of Papamakarios et al. (2017), in stored order.

    Test is the last int(n / 10) rows; of the rest, validation is the last int(rest / 10).

    Args:
        rows: `(n, d)`.

    Returns:
        Train, validation and test.
    """
    n_test = int(0.1 * len(rows))
    rest, test = rows[: len(rows) - n_test], rows[len(rows) - n_test :]
    n_validation = int(0.1 * len(rest))
    return rest[: len(rest) - n_validation], rest[len(rest) - n_validation :], test


def shuffled_tenths(rows: Table, seed: int) -> tuple[Table, Table, Table]:
    """Shuffle the rows `(n, d)`: a tenth each for validation and test, the rest for training."""
    order = np.random.default_rng(seed).permutation(len(rows))
    tenth = len(rows) // 10
    train, validation, test = np.split(order, [len(rows) - 2 * tenth, len(rows) - tenth])
    return rows[train], rows[validation], rows[test]


def standardised(train: Table, validation: Table, test: Table, notes: dict[str, object]) -> Splits:
    """Standardise all three splits by mean and std (ddof 0) over train and validation.

    Both are added to the notes, so that other rows can be standardised in the same way.
    """
    seen = np.concatenate([train, validation])
    mean, std = seen.mean(axis=0), seen.std(axis=0)
    return float32(
        (train - mean) / std,
        (validation - mean) / std,
        (test - mean) / std,
        {
            **notes,
            "standardised": "mean and std (ddof 0) over train and validation",
            "mean": mean.tolist(),
            "std": std.tolist(),
        },
    )


def float32(train: Table, validation: Table, test: Table, notes: dict[str, object]) -> Splits:
    """Cast the splits to float32, after all other steps."""
    return Splits(
        train.astype(np.float32), validation.astype(np.float32), test.astype(np.float32), notes
    )
