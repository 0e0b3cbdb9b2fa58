"""What the runs' tables can show: each measured column, its title and the form of its numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.errors import unknown
from bench.records.format import (
    Number,
    count,
    exact,
    measured,
    memory,
    probability,
    scientific,
    signed,
    significant,
)


@dataclass(frozen=True)
class Column:
    """A column's title in plain text, and in LaTeX where that is not the title escaped."""

    title: str
    latex: str


@dataclass(frozen=True)
class Measure(Column):
    """A measured column: its titles, and `form(value, error)`."""

    form: Callable[[float, float | None], Number]


#: column of `bench.records.frame.records` -> how a table shows it
MEASURES: dict[str, Measure] = {
    "params": Measure("params", "Params", count),
    "minibatches": Measure("mini-batches", "Mini-batches", exact),
    "samples_seen": Measure("rows seen", "Rows seen", count),
    "nll": Measure("NLL", "NLL", measured),
    "nll_se": Measure("NLL s.e.", "NLL s.e.", significant),
    "nll_solver_error": Measure("NLL solver error", "NLL solver error", scientific),
    "nll_native": Measure("NLL, own steps", "NLL, own steps", measured),
    "nll_gap": Measure("NLL less own steps", "NLL less own steps", signed),
    "round_trip_median": Measure("round trip, median", "Round trip, median", scientific),
    "round_trip_max": Measure("round trip, max", "Round trip, max", scientific),
    "density_integral": Measure("integral", "Integral", measured),
    "validation_nll": Measure("validation NLL", "Validation NLL", measured),
    "mmd_m": Measure("MMD-m", "MMD-m", scientific),
    "tau_m": Measure("τ_m", r"$\tau_m$", scientific),
    "p_m": Measure("p_m", "$p_m$", probability),
    "mmd_1": Measure("MMD-1", "MMD-1", scientific),
    "tau_1": Measure("τ_1", r"$\tau_1$", scientific),
    "p_1": Measure("p_1", "$p_1$", probability),
    "mmd_m_u": Measure("MMD-m, U", "MMD-m, U", scientific),
    "tau_m_u": Measure("τ_m, U", r"$\tau_m$, U", scientific),
    "mmd_1_u": Measure("MMD-1, U", "MMD-1, U", scientific),
    "tau_1_u": Measure("τ_1, U", r"$\tau_1$, U", scientific),
    "p_aggregated": Measure("p, all bandwidths", "$p$, all bandwidths", probability),
    "c2st": Measure("classifier accuracy", "Classifier accuracy", measured),
    "p_c2st": Measure("p, classifier", "$p$, classifier", probability),
    "gamma_m": Measure("γ_m", r"$\gamma_m$", measured),
    "train_seconds": Measure("train (s)", "Train (s)", significant),
    "sample_seconds": Measure("sample (s)", "Sample (s)", significant),
    "density_seconds": Measure("density (s)", "Density (s)", significant),
    "validation_seconds": Measure("validation (s)", "Validation (s)", significant),
    "memory_bytes": Measure("memory", "Memory", memory),
    "peak_gpu_bytes": Measure("GPU memory", "GPU memory", memory),
    "peak_gpu_reserved_bytes": Measure("GPU memory, reserved", "GPU memory, reserved", memory),
    "peak_rss_bytes": Measure("resident memory", "Resident memory", memory),
    "own_rss_bytes": Measure("resident, own", "Resident, own", memory),
    "nfe_train": Measure("NFE, training", "NFE, training", count),
    "nfe_sample": Measure("NFE, sampling", "NFE, sampling", count),
    "nfe_density": Measure("NFE, density", "NFE, density", count),
    "transport_cost": Measure("transport cost", "Transport cost", measured),
    "straightness": Measure("straightness", "Straightness", measured),
}

#: Measures of what a method is given, not of what comes of it.
AMOUNTS = ("params", "minibatches", "samples_seen")


def measure(name: str) -> Measure:
    """The measure of that column.

    Raises:
        UsageError: no measured column has that name.
    """
    if name not in MEASURES:
        raise unknown("metric", name, MEASURES)
    return MEASURES[name]
