"""What the author of a plug-in imports: `from bench.api import Continuous, Dataset, option, ...`.

A name's module is imported when the name is first used, so that a data set does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.api.dataset import Dataset, Source, Splits
    from bench.api.declarations import Column, Evaluated, Look, Metric, Watch
    from bench.api.method import (
        Affine,
        Continuous,
        ContractBroken,
        Discrete,
        Field,
        Log,
        Method,
        Options,
        Piece,
        compiled,
        option,
    )
    from bench.api.stream import Stream

__all__ = ["Affine", "Column", "Continuous", "ContractBroken", "Dataset", "Discrete", "Evaluated"]
__all__ += ["Field", "Log", "Look", "Method", "Metric", "Options", "Piece", "Source", "Splits"]
__all__ += ["Stream", "Watch", "compiled", "option"]


def __getattr__(name: str) -> Any:
    for module in ("dataset", "declarations", "method", "stream") if name in __all__ else ():
        found = vars(importlib.import_module(f"{__name__}.{module}"))  # the first two lack torch
        if name in found:
            return found[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
