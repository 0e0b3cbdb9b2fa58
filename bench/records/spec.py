"""What a run is: everything that determines its result, and the name that follows from it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Annotated, Any, Literal

from msgspec import Meta

#: Changes with every change of a metric's meaning or of the judge's ways.
METRICS_VERSION = 4

#: What is no part of a run's key.
IRRELEVANT = (
    *("dataset", "preset", "settings", "budget", "data_root", "timeout", "include"),
    "metrics",  # counts only where plug-ins bring any
    "compile",  # counts only where it is on
)

_Whole = Annotated[int, Meta(ge=0)]
_Count = Annotated[int, Meta(ge=1)]
_Positive = Annotated[float, Meta(gt=0, le=1e300)]  # finite


@dataclass(frozen=True)
class Judge:
    """How every method of a study is judged: the same rows, solver, tolerance and permutations.

    The reference solver is `solver` at `rtol` and `atol` with at most `max_num_steps` steps, in
    `dtype`. At most `test_rows` test rows are scored, `error_rows` of them again with a ten times
    tighter tolerance in float64; where their mean moves by `error_bound` nats or more, all are
    scored by the tighter one, and so on, at most `tightenings` times. In two dimensions the density
    is integrated over `integral_cells` squared cells at most. `mmd_n` samples are compared with as
    many test rows, `aggregated_n` of them over all bandwidths and by a classifier. During training
    `validation_rows` rows are scored `validations` times at `validation_tol`.
    """

    solver: Literal["dopri5"] = "dopri5"
    rtol: _Positive = 1e-5
    atol: _Positive = 1e-5
    max_num_steps: _Count = 2_000
    dtype: Literal["float32", "float64"] = "float32"
    rows_at_once: _Count = 2_048
    test_rows: _Count = 20_000
    error_rows: _Count = 2_000
    error_bound: _Positive = 0.01
    tightenings: _Whole = 3
    integral_cells: _Count = 256
    mmd_n: _Count = 10_000
    aggregated_n: _Count = 2_500
    permutations: _Count = 1_000
    alpha: Annotated[float, Meta(gt=0, lt=1)] = 0.05
    seed: _Whole = 20_260_101
    validations: _Count = 10
    validation_rows: _Count = 2_000
    validation_tol: _Positive = 1e-4
    metrics_version: int = METRICS_VERSION


@dataclass(frozen=True)
class RunSpec:
    """One run of one method on one data set with one seed.

    `dataset` is the name it is found by (a path for a user's table), `label` the name it is shown
    by. `settings` are the user's own among the hyper-parameters, with the name of the preset where
    one was asked for. `include` are the files that hold the method or the data set, where no
    distribution installs it; the hash of their source is in `version` and `revision`. All these,
    the data root, the budget's and the preset's names and the number of threads are not part of the
    key: with the same rows, numbers and hyper-parameters they make the same run. `metrics` are the
    hashes of the metrics that plug-ins bring, part of the key where there are any; so is `compile`,
    whether the method's functions are compiled, where it is on.
    """

    method: str
    version: str
    config: Mapping[str, Any]
    dataset: str
    label: str
    revision: str
    minibatches: int
    batch_size: int
    seed: int
    device: str = "cpu"
    judge: Judge = field(default_factory=Judge)
    preset: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    budget: str = ""
    data_root: str = ""
    timeout: float | None = None
    include: tuple[str, ...] = ()
    metrics: Mapping[str, str] = field(default_factory=dict)
    compile: bool = False

    @cached_property
    def key(self) -> str:
        """The hash of what determines the result."""
        parts: dict[str, Any] = {
            f.name: getattr(self, f.name) for f in fields(self) if f.name not in IRRELEVANT
        }
        parts["config"] = dict(self.config)
        parts["judge"] = vars(self.judge)
        if self.metrics:
            parts["metrics"] = dict(self.metrics)
        if self.compile:
            parts["compile"] = True
        text = json.dumps(parts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def run(self) -> str:
        """The run's name: the name of its folder."""
        label = re.sub(r"[^A-Za-z0-9_.-]+", "-", self.label)
        return f"{self.method}-{label}-s{self.seed}-{self.key[:8]}"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a run may use and how it is kept, which does not change its result.

    `threads` is None until it is decided, `memory` is in GiB, None for no limit; there are
    `checkpoint_every` seconds between two checkpoints. With `reference_timing` a reference
    computation is timed after each step.
    """

    threads: int | None = None
    memory: float | None = None
    checkpoint_every: float = 60.0
    reference_timing: bool = False
