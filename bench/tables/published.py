"""The literature's figures, each with its source, to stand beside ours and never among them."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from io import StringIO
from typing import Any, NamedTuple

import pandas as pd

#: The names of the methods here, and in the papers.
NAMES = {
    "jko": "JKO-iFlow",
    "ot-flow": "OT-Flow",
    "ffjord": "FFJORD",
    "score-sde": "ScoreSDE",
    "ignn": "IGNN",
    "iresnet": "IResNet",
}

#: The source that methods are compared by here: all of them on the same data, of the same sizes.
SOURCE = "JKO-iFlow poster, Table 1"


class Figure(NamedTuple):
    """A published line: likelihood in nats per row, squared MMDs (V-statistics) where it has them.

    `evidence` says how the figure came here: `poster` and `paper text` were read at the source,
    `secondary` is a reprint. `method` is the paper's own name.
    """

    source: str
    evidence: str
    dataset: str
    d: int
    method: str
    params: str
    nll: float
    mmd_m: float
    mmd_1: float
    tau_m: float
    tau_1: float
    note: str


@cache
def figures() -> tuple[Figure, ...]:
    """All published figures that are kept here, in the order of the file."""
    text = (files("bench_results") / "published.csv").read_text(encoding="utf-8")
    frame = pd.read_csv(StringIO(text), keep_default_na=False)
    numbers = ("nll", "mmd_m", "mmd_1", "tau_m", "tau_1")
    rows = []
    for row in frame.to_dict("records"):
        values: dict[str, Any] = {str(name): value for name, value in row.items()}
        for name in numbers:
            values[name] = float(values[name]) if values[name] != "" else float("nan")
        rows.append(Figure(**values))
    return tuple(rows)


def beside(dataset: str) -> dict[str, Figure]:
    """The figures of `SOURCE` on a data set, by the names that methods have here."""
    ours = {paper: name for name, paper in NAMES.items()}
    found = (f for f in figures() if f.source == SOURCE and f.dataset == dataset)
    return {ours.get(figure.method, figure.method): figure for figure in found}
