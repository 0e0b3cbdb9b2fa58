"""One optimiser update, and the schedule of the learning rate."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def cosine(spent: float) -> float:
    """The factor on the learning rate when a share `spent` of the budget is used: from 1 to 0."""
    return 0.5 * (1 + math.cos(math.pi * spent))


def update(
    optimizer: torch.optim.Optimizer, loss: Tensor, learning_rate: float, clip: float | None = None
) -> None:
    """Take one optimiser step on the loss; `clip` bounds the gradient's norm."""
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(group["params"], clip, foreach=True)
    optimizer.step()
