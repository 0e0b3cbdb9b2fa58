"""Cells and baselines made by hand: two methods on two data sets, with numbers that are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bench.gate.measured import Measured, WatchedCell
from bench.records.model import EnvironmentRecord

ENVIRONMENT = EnvironmentRecord(
    device="cpu",
    threads=1,
    cpu="a processor",
    cpu_capability="AVX2",
    arithmetic="0123456789ab",
    python="3.11.7",
    platform="Linux",
    packages={
        "torch": "2.13.0",
        "torchdiffeq": "0.2.5",
        "numpy": "2.4.6",
        "scipy": "1.17.1",
        "scikit-learn": "1.9.1",
    },
)

#: The NLL of seed s is that of the cell plus this: sd 0.1 over eight seeds.
OFFSETS = tuple(0.1 * (s - 3.5) / 6**0.5 for s in range(8))

NUMBERS: dict[str, float] = {
    "nll": 2.0,
    "mmd_m": 4e-4,
    "nll_se": 0.02,
    "nll_solver_error": 1e-5,
    "integral_error": 1e-4,
    "minibatches": 100,
    "tau_m": 6e-3,
    "nfe_train": 1_200,
    "nfe_sample": 40,
    "step": 3.0,
    "memory": 1.2,
}


def numbers(seed: int, at: float = 0.0, **given: float | None) -> dict[str, float | None]:
    """The watched numbers of a run; each method and data set has NLLs `at` above the others'."""
    own = {"nll": NUMBERS["nll"] + at + OFFSETS[seed], "mmd_m": NUMBERS["mmd_m"] * (1 + seed / 10)}
    own |= {"nll_se": NUMBERS["nll_se"] * (1 + seed / 100)}
    own |= {
        "nll_solver_error": NUMBERS["nll_solver_error"] * (1 + seed),
        "integral_error": 1e-4 * seed,
    }
    return NUMBERS | own | given


def cell(method: str, dataset: str, seeds: int, at: float = 0.0, **given: Any) -> WatchedCell:
    """A cell with so many seeds; what is given of its numbers is the same in all."""
    rows = [numbers(seed, at, **given) for seed in range(seeds)]
    figures = {name: [row[name] for row in rows] for name in rows[0]}
    return WatchedCell(
        method=method,
        settings={},
        dataset=dataset,
        revision="aaaaaaaaaaaa",
        minibatches=100,
        batch_size=128,
        version="bbbbbbbbbbbb",
        config={"learning_rate": 0.005, "width": 64},
        seeds=[*range(seeds)],
        figures={name: values for name, values in figures.items() if set(values) != {None}},
    )


def measured(seeds: int, changed: Mapping[str, Any] | None = None) -> Measured:
    """Four cells; `changed` are numbers of ffjord on moons."""
    cells = tuple(
        cell(m, d, seeds, i + 2 * j, **(changed or {} if (m, d) == ("ffjord", "moons") else {}))
        for i, m in enumerate(("ffjord", "jko"))
        for j, d in enumerate(("digits", "moons"))
    )
    return Measured(ENVIRONMENT, {"solver": "dopri5", "test_rows": 1_000}, cells)


def baseline(seeds: int = 8) -> Measured:
    """The same four cells, with more seeds."""
    made = {"version": "0.1.0", "commit": "cccccccccccc", "date": "2026-11-24"}
    return replace(measured(seeds), made=made)


def elsewhere(now: Measured) -> Measured:
    """The same on other arithmetic."""
    return replace(now, environment=replace(ENVIRONMENT, arithmetic="ba9876543210"))


def with_cell(now: Measured, k: int, **given: Any) -> Measured:
    """The same with fields of the k-th cell changed."""
    cells = list(now.cells)
    cells[k] = replace(cells[k], **given)
    return replace(now, cells=tuple(cells))
