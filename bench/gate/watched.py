"""What the gate compares, and by which rule each figure is judged. Less is better in all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["quality", "bound", "control", "cost"]


@dataclass(frozen=True)
class Figure:
    """A figure of a run.

    Attributes:
        name: as a baseline has it.
        title: as a table has it.
        kind: `quality`, compared exactly on the same arithmetic and within the seeds' spread
            elsewhere; `bound`, an error, worse where it is `limit` above the baseline's;
            `control`, what no method has a say in, which must be as it was; `cost`, compared by its
            ratio to the baseline's.
        noticed: the ratio from which on a cost is shown.
        limit: that from which on it counts, or the bound of a `bound`; None where nothing does.
        above: what a value that is possible is above of; None where any may be.
        counted: whether the figure is a count that is the same on the same arithmetic.
    """

    name: str
    title: str
    kind: Kind
    noticed: float = 1.0
    limit: float | None = None
    above: float | None = None
    counted: bool = False


#: The ratio from which on a cost counts. A method that got 2x slower is beyond it; the noise of a
#: step's CPU time in yardsticks, on a machine whose cores are shared, is not (results/README.md).
SLOWER = 1.5

#: The figure that tells a step's cost, and the one of them that depends on the machine.
STEP = "step"

FIGURES: dict[str, Figure] = {
    figure.name: figure
    for figure in (
        Figure("nll", "NLL", "quality"),
        Figure("nll_native", "NLL, own steps", "quality"),
        Figure("validation_nll", "validation NLL", "quality"),
        Figure("mmd_m", "MMD-m", "quality", above=0.0),
        Figure("mmd_1", "MMD-1", "quality", above=0.0),
        Figure("nll_se", "NLL s.e.", "bound", above=0.0),
        Figure("nll_solver_error", "NLL solver error", "bound", limit=0.01),
        Figure("integral_error", "integral less one", "bound", limit=0.05),
        Figure("minibatches", "mini-batches learned from", "control"),
        Figure("nll_rows", "test rows scored", "control"),
        Figure("mmd_n", "rows in the MMD", "control"),
        Figure("gamma_m", "γ_m", "control", above=0.0),
        Figure("tau_m", "τ_m", "control", above=0.0),
        Figure("tau_1", "τ_1", "control", above=0.0),
        Figure("nfe_train", "NFE, training", "cost", 1.1, SLOWER, counted=True),
        Figure("nfe_sample", "NFE, sampling", "cost", 1.1, SLOWER, counted=True),
        Figure("nfe_density", "NFE, density", "cost", 1.1, SLOWER, counted=True),
        Figure(STEP, "step, in yardsticks", "cost", 1.2, SLOWER),
        Figure("memory", "memory, over the start's", "cost", 1.1),
    )
}
