"""The curve of a run: what `curve.jsonl` keeps of each update."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: What a log calls the part of a method that an update belongs to.
STAGES = ("sweep", "block", "round", "stage")

#: A curve of more bytes is read in part: every second, third ... update, and all validations.
MOST_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Learning:
    """What was logged: mini-batches, training seconds and loss of updates `(n,)`.

    `validation` `(m, 3)` holds the mini-batch, the seconds and the validation NLL (infinite where
    the model could not be solved); `stages` are the mini-batches with which a later block or round
    begins, and `stage` is what it is called. `every` is the number of updates to one that was read.
    """

    minibatches: Array
    seconds: Array
    loss: Array
    validation: Array
    stages: tuple[int, ...]
    stage: str
    every: int


def learning(results: Path, run: str) -> Learning | None:
    """The curve of a run below `results`; None where it keeps none, or nothing that can be read."""
    path = results / run / "curve.jsonl"
    lines: list[dict[str, Any]] = []
    try:
        every = max(1, math.ceil(path.stat().st_size / MOST_BYTES))
        with open(path, "rb") as file:
            for number, line in enumerate(file):
                if number % every == 0 or b"validation_nll" in line:
                    lines.append(json.loads(line))
    except OSError:
        return None
    except ValueError:  # a last line that was cut off; what lies before it counts
        pass
    try:
        return _learning(lines, every) if lines else None
    except (KeyError, TypeError, ValueError):
        return None


def _learning(lines: list[dict[str, Any]], every: int) -> Learning:
    minibatches, seconds, loss = (
        np.array([_number(line[name]) for line in lines])
        for name in ("minibatch", "seconds", "loss")
    )
    validation = [
        [_number(line["minibatch"]), _number(line["seconds"]), _number(line["validation_nll"])]
        for line in lines
        if "validation_nll" in line
    ]
    stage = next((name for name in STAGES if name in lines[0]), "")
    values = [line.get(stage) for line in lines] if stage else []
    begun = tuple(
        int(lines[i]["minibatch"]) for i in range(1, len(values)) if values[i] != values[i - 1]
    )
    validated = np.array(validation).reshape(-1, 3)
    return Learning(minibatches, seconds, loss, validated, begun, stage, every)


def _number(value: Any) -> float:
    return math.inf if value is None else float(value)


def smoothed(values: Array, window: int) -> Array:
    """The mean `(n,)` over so many values around each, fewer at the ends."""
    window = max(1, min(window, len(values)))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    middle = np.arange(len(values))
    low = np.maximum(middle - (window - 1) // 2, 0)
    high = np.minimum(middle + window // 2 + 1, len(values))
    found: Array = (sums[high] - sums[low]) / (high - low)
    return found
