"""The details of a flow's paths: how far each piece moves the rows, how straight the paths are."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

import numpy as np

from bench.records.format import measured, span
from bench.records.frame import Cell
from bench.tables.line import Line, mean_line


def path_lines(cell: Cell) -> Iterator[Line]:
    """The W2 movement of each piece, the transport cost and the straightness of a cell's runs.

    None of them for a method without paths; all in squared units of what lies behind the affine
    layer.
    """
    ok = cell.ok
    moves = [movement_of(text) for text in ok["w2_movement"].dropna()]
    if moves and all(moves):
        yield _movements(cell, moves)
    paths = span(ok["samples"])
    n = f"{paths} paths" if paths else ""
    if ok["transport_cost"].notna().any():
        note = "E|x1 - x0|² from noise to data, in all"
        yield mean_line(cell, "transport cost", "transport_cost", n, note)
    if ok["straightness"].notna().any():
        note = "0 where every path is straight and of even speed"
        yield mean_line(cell, "straightness", "straightness", n, note)


def _movements(cell: Cell, moves: list[list[float]]) -> Line:
    """A figure for each piece, from data to noise; each seed's own where their pieces differ."""
    rows = span(cell.ok["round_trip_rows"])
    n = f"{rows} test rows" if rows else ""
    pieces = {len(each) for each in moves}
    note = "E|x' - x|² from data to noise"
    if len(pieces) > 1:
        told = "; ".join(", ".join(str(measured(v)) for v in each) for each in moves)
        return Line("W2 movement", told, "each piece; seed by seed", n, note, "")
    table = np.array(moves)
    several = len(table) > 1
    sd = table.std(0, ddof=1) if several else np.full(table.shape[1], math.nan)
    shown = ", ".join(
        str(measured(float(mean), float(s) if several else None))
        for mean, s in zip(table.mean(0), sd, strict=True)
    )
    parts = [f"each of {table.shape[1]} pieces"] if table.shape[1] > 1 else []
    parts += [f"s.d. over {len(table)} seeds"] if several else []
    return Line("W2 movement", shown, ", ".join(parts), n, note, "")


def movement_of(text: str) -> list[float]:
    """The numbers of a record's list; none where it holds something else."""
    try:
        found = [float(value) for value in json.loads(text)]
    except (TypeError, ValueError):
        return []
    return found if all(map(math.isfinite, found)) else []
