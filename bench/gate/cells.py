"""What the gate compares: the cells of a study with the figures of their runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Run:
    """The run of one seed: how it ended, and its figures by name, None where it has none."""

    status: str
    reason: str | None
    figures: Mapping[str, float | None]

    @property
    def ok(self) -> bool:
        """Whether it ended well."""
        return self.status == "ok"


@dataclass(frozen=True)
class Cell:
    """A method with the user's settings on a data set: what ran, and its runs by seed.

    `version` is that of the method's source, `config` all its hyper-parameters.
    """

    method: str
    settings: Mapping[str, Any]
    dataset: str
    revision: str
    minibatches: int
    batch_size: int
    version: str
    config: Mapping[str, Any]
    runs: Mapping[int, Run]

    @property
    def key(self) -> tuple[str, str, str]:
        """What a cell is found by: a change of anything else is a finding, not another cell."""
        return self.method, json.dumps(self.settings, sort_keys=True), self.dataset

    @property
    def name(self) -> str:
        """The cell in words."""
        set_ = ", ".join(f"{k}={v}" for k, v in self.settings.items())
        return f"{self.method}{f' ({set_})' if set_ else ''} on {self.dataset}"

    @property
    def amount(self) -> str:
        """The mini-batches in words."""
        return f"{self.minibatches} x {self.batch_size}"


@dataclass(frozen=True)
class Measured:
    """The cells of one study, on what they ran, and how they were judged.

    `environment` holds the fields that `bench.gate.place` compares, and those that tell a reader
    where it was.
    """

    environment: Mapping[str, Any]
    judge: Mapping[str, Any]
    cells: tuple[Cell, ...]
