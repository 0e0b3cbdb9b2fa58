"""What the author of a plug-in imports: `from bench.api import Continuous, Dataset, option, ...`.

A name's module is imported when the name is first used, so that a data set does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.api.affine import Affine
    from bench.api.dataset import Dataset, Source, Splits
    from bench.api.declarations import Column, Evaluated, Look, Metric, Watch
    from bench.api.method import (
        Continuous,
        ContractBroken,
        Discrete,
        Field,
        Log,
        Method,
        Options,
        Piece,
        option,
    )
    from bench.api.stream import Stream

__all__ = ["Affine", "Column", "Continuous", "ContractBroken", "Dataset", "Discrete", "Evaluated"]
__all__ += ["Field", "Log", "Look", "Method", "Metric", "Options", "Piece", "Source", "Splits"]
__all__ += ["Stream", "Watch", "option"]

#: The module of each name; that of the others is `method`.
_MODULES = {
    "Affine": "affine",
    **dict.fromkeys(("Dataset", "Source", "Splits"), "dataset"),
    **dict.fromkeys(("Column", "Evaluated", "Look", "Metric", "Watch"), "declarations"),
    "Stream": "stream",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_MODULES.get(name, 'method')}")
    globals()[name] = getattr(module, name)
    return globals()[name]
