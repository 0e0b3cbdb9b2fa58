"""The columns that a table is asked for: names, sets of them, and what is added or left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from bench.errors import NothingMeasured, UsageError, unknown
from bench.records.measures import MEASURES

#: What a comparison shows unless asked for something else; the wide one is for print.
NARROW = ("params", "nll", "mmd_m", "mmd_1", "train_seconds", "memory_bytes")
WIDE = ("params", "minibatches", "mmd_m", "mmd_1", "nll", "train_seconds", "memory_bytes")

#: Sets of columns by name.
SETS: dict[str, tuple[str, ...]] = {
    "narrow": NARROW,
    "wide": WIDE,
    "likelihood": ("nll", "nll_solver_error", "nll_native", "nll_gap", "round_trip_median"),
    "samples": ("mmd_m", "tau_m", "p_m", "mmd_1", "tau_1", "p_1", "p_aggregated", "c2st"),
    "cost": (
        *("params", "minibatches", "train_seconds", "sample_seconds", "density_seconds"),
        *("memory_bytes", "nfe_train", "nfe_sample", "nfe_density"),
    ),
    "all": tuple(MEASURES),
}


def asked(text: str, usual: Sequence[str]) -> tuple[str, ...]:
    """The columns of a list such as `nll,mmd_m`, `cost,+nll` or `+nfe_sample,-memory_bytes`.

    Each item is a column or one of `SETS`. `+` adds it, at the end, and so does no sign; `-`
    leaves it out. A list that begins with a sign begins with the usual columns.

    Raises:
        UsageError: an item has an unknown name, `-` names what is not there, or nothing is left.
    """
    items = [item.strip() for item in text.split(",") if item.strip()]
    found = list(usual) if items and items[0][0] in "+-" else []
    for item in items:
        name = item.lstrip("+-")
        if name not in SETS and name not in MEASURES:
            raise unknown("column or set of columns", name, [*SETS, *MEASURES])
        names = SETS.get(name, (name,))
        if item[0] != "-":
            found += [each for each in names if each not in found]
        elif gone := [each for each in names if each in found]:
            found = [each for each in found if each not in gone]
        else:
            raise UsageError(
                f"--columns leaves out {name}, which is not there.", f"There are: {_list(found)}."
            )
    if not found:
        raise UsageError("--columns leaves no column.", f"Name one of: {_list(MEASURES)}.")
    return tuple(found)


def require(frame: pd.DataFrame, names: Sequence[str]) -> None:
    """Refuse columns of which no run that ended well has any.

    Raises:
        NothingMeasured: so it is.
    """
    ok = frame[(frame["status"] == "ok").fillna(False)]
    if len(ok) and not any(ok[name].notna().any() for name in names):
        known = [name for name in MEASURES if ok[name].notna().any()]
        raise NothingMeasured(f"No run has {' or '.join(names)}.", f"There are: {_list(known)}.")


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)
