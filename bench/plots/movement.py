"""W2 movement of each block of a flow that has several, before and after reparametrisation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import NothingMeasured
from bench.plots.asked import Asked, Drawn, wrapped
from bench.plots.selection import Group, Shown, select
from bench.records.format import measured
from bench.records.selection import latest
from bench.tables.details import movement_of

if TYPE_CHECKING:
    from bench.figures.movement import Chain, Panel

#: Data sets and methods at most.
GROUPS, ROWS = 6, 10


def draw(asked: Asked) -> Drawn:
    """A panel for each data set; settings of one method, as reparametrisations, side by side.

    Raises:
        UsageError: a metric, a seed or columns were asked for.
        NothingMeasured: no run is of a flow with several blocks, and says how far they move.
    """
    from bench.figures.movement import diagram

    asked.refuse("movement", "metric", "seed", "columns")
    frame, left_out = latest(asked.under_budget(asked.frame()))
    rows = list(
        zip(frame["method"], frame["dataset"], frame["w2_movement"].fillna(""), strict=True)
    )
    chains = {(method, name) for method, name, moved in rows if len(movement_of(moved)) > 1}
    kin = frame[[(method, name) in chains for method, name, _ in rows]]
    if not len(kin):
        raise NothingMeasured(
            f"No run in {asked.results} is of a flow with several blocks and says how far each "
            "moves the rows.",
            "bench run -m jko makes some; with --set reparametrisations=1 their steps are evened.",
        )
    selection = select(asked, kin, GROUPS, ROWS)
    panels: list[Panel] = []
    lines = [
        "W2 movement of each block, E|x' - x|² over test rows on their way from data to noise, in "
        "squared units of what lies behind the affine layer, by the judge's solver."
    ]
    for group in selection.groups:
        panel, told = _panel(group)
        if panel.chains:
            panels.append(panel)
        lines += told
    if not panels:
        raise NothingMeasured(f"No run in {asked.results} says how far its blocks move the rows.")
    if any(len(chain.seeds) > 1 for panel in panels for chain in panel.chains):
        lines.insert(1, "Thick: the mean over seeds; thin: each seed.")
    return Drawn(
        diagram(panels),
        (*map(wrapped, lines), *map(wrapped, selection.not_shown)),
        tuple(left_out),
    )


def _panel(group: Group) -> tuple[Panel, list[str]]:
    from bench.figures.movement import Panel

    places: Counter[str] = Counter()
    chains: list[Chain] = []
    lines: list[str] = []
    for one in group.rows:
        chain = _chain(one, places[one.method])
        if chain is None:
            lines.append(f"Not shown on {group.title}: {one.label}, which has no such figures.")
            continue
        places[one.method] += 1
        chains.append(chain)
        lines += _numbers(group, chain)
    return Panel(group.title, tuple(chains)), lines


def _chain(one: Shown, place: int) -> Chain | None:
    """The movements of a row's runs; None where one that ended well keeps none of several."""
    from bench.figures.movement import Chain

    found = [movement_of(text) for text in one.cell.ok["w2_movement"].fillna("")]
    if not all(len(each) > 1 for each in found):
        return None
    return Chain(one.label, one.method, place, tuple(np.array(each) for each in found))


def _numbers(group: Group, chain: Chain) -> Iterator[str]:
    n, mean = len(chain.seeds), chain.mean()
    seeds = "1 seed" if n == 1 else f"{n} seeds"
    if mean is None:
        blocks = ", ".join(str(len(seed)) for seed in chain.seeds)
        yield f"{group.title}, {chain.label}: {seeds} with {blocks} blocks, drawn one by one."
        return
    numbers = ", ".join(str(measured(value)) for value in mean.tolist())
    yield f"{group.title}, {chain.label} ({seeds}): {numbers}."
