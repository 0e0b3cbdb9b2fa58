"""The caption of a comparison: what was compared, under what budget, and what ± is."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from bench.records.format import span, whole
from bench.records.frame import Cell
from bench.tables.marks import amounts_of, heading_of


def caption_of(known: Sequence[Cell], metrics: Sequence[str]) -> str:
    """A few sentences; the footnotes have the rest."""
    methods, datasets = (sorted({str(c.key[n]) for c in known}) for n in ("method", "dataset"))
    where = f" on {datasets[0]}" if len(datasets) == 1 else f" on {len(datasets)} data sets"
    what = f"The method {methods[0]}" if len(methods) == 1 else f"{len(methods)} methods"
    sentences = [f"{what}{where}, {_budgets(known)}, {_seeds(known)}."]
    several = any(len(cell.well) > 1 for cell in known)
    if any(len(cell.well) for cell in known) and (several or "nll" in metrics):
        over = "standard deviation over seeds" if several else "standard error over test rows"
        sentences.append(f"± is the {over}.")
    if any(name.startswith("nll") for name in metrics):
        judges = sorted({str(v) for c in known for v in c.known("judge") if v})
        by = f", by {' or '.join(judges)} and the exact divergence" if judges else ""
        sentences.append(f"NLL in nats per row{by}.")
    part = sorted({str(c.key["dataset"]) for c in known if c.shared("subset")})
    if part:
        sentences.append(f"Of {', '.join(part)} only a subset of the rows.")
    return " ".join(sentences)


def _budgets(known: Sequence[Cell]) -> str:
    names = sorted({str(heading_of(cell)[2] or "?") for cell in known})
    amounts = amounts_of(known)
    if len(names) > 1:
        return f"under the budgets {', '.join(names)}"
    if len(amounts) != 1:
        return f"under the budget {names[0]}"
    ((n, b),) = amounts
    return f"under the budget {names[0]} ({whole(n)} mini-batches of {whole(b)} rows)"


def _seeds(known: Sequence[Cell]) -> str:
    counts = span(pd.Series([len(cell.rows) for cell in known]))
    return f"{counts} {'seed' if counts == '1' else 'seeds'}"
