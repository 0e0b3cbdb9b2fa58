"""A flow as a scikit-learn density estimator: `fit`, `score_samples`, `sample`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from bench.api.stream import Stream
from bench.errors import BenchError
from bench.evaluation.flow import reference_flow
from bench.records.spec import Judge
from bench.registry import plugins
from bench.study import presets
from bench.training.loop import train, validator

Rows = NDArray[np.float64]


@dataclass(eq=False, repr=False)
class FlowDensity(DensityMixin, BaseEstimator):  # type: ignore[misc]
    """The density of a table's rows by one method, in the table's units.

    It trains as `bench run` does: the same mini-batches for a seed, the state with the best
    validation NLL, one reference solver and the exact divergence. It writes no record.

    Args:
        method: the name of a method.
        minibatches: number of mini-batches.
        batch_size: rows per mini-batch.
        settings: hyper-parameters as `KEY=VALUE`, like `--set`; the others are the preset's.
        standardise: subtract each column's mean and divide by its standard deviation.
        validation_fraction: the share of the rows held out for validation.
        validations: number of validations, on 2,000 rows at most.
        tol: the solver's relative and absolute tolerance for scores and samples.
        device: cpu or cuda.
        random_state: an int makes every fit give the same flow.

    Attributes:
        flow_: the `bench.evaluation.flow.Flow` of standardised rows.
        mean_: subtracted from the rows, `(d,)`.
        scale_: the rows' divisor, `(d,)`.
        curve_: a dict per mini-batch: `loss`, and `validation_nll` after a validation.
        best_minibatch_: the mini-batch with the state that was kept.
        n_features_in_: d.

    With an adaptive solver, `score_samples` depends, within `tol`, on which rows are scored
    together.
    """

    method: str = "flow-matching"
    _: KW_ONLY
    minibatches: int = 2_000
    batch_size: int = 256
    settings: Sequence[str] = ()
    standardise: bool = True
    validation_fraction: float = 0.1
    validations: int = 10
    tol: float = 1e-5
    device: str = "cpu"
    random_state: int | np.random.RandomState | None = None

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Learn the density of rows `(n, d)`; y is ignored.

        Raises:
            ValueError: an invalid hyper-parameter, fewer than two rows, or a constant column.
            bench.training.loop.Diverged: training diverged.
        """
        rows: Rows = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        self._check()
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.mean_, self.scale_ = self._units(rows)
        shuffled = ((rows - self.mean_) / self.scale_).astype(np.float32)
        shuffled = shuffled[np.random.default_rng(seed).permutation(len(rows))]
        held_out = max(1, round(self.validation_fraction * len(rows)))
        validation, training = shuffled[:held_out], shuffled[held_out:]
        judge = Judge(rtol=self.tol, atol=self.tol, dtype="float64", validations=self.validations)
        self.curve_: list[dict[str, Any]] = []

        def keep(event: dict[str, Any]) -> None:
            self.curve_.append({k: v for k, v in event.items() if k not in ("event", "total")})

        with _seeded(seed, self.device):
            method = self._build(rows.shape[1])
            method.affine.fit(training)
            stream = Stream(
                *(training, self.batch_size, self.minibatches, seed, self.device),
                first=method.affine,
            )
            validate = validator(torch.from_numpy(validation[: judge.validation_rows]), judge)
            done = train(method, stream, validate, self.validations, keep)
        self.best_minibatch_ = done.best_step
        self.flow_ = reference_flow(method, judge)
        return self

    def score_samples(self, X: ArrayLike) -> Rows:
        """Return the log-density `(n,)` of rows `(n, d)`, in nats, in the table's units."""
        check_is_fitted(self)
        rows: Rows = validate_data(self, X, dtype=np.float64, reset=False)
        log_prob = self.flow_.log_prob(torch.from_numpy((rows - self.mean_) / self.scale_))
        scores: Rows = log_prob.cpu().numpy() - np.log(self.scale_).sum()
        return scores

    def score(self, X: ArrayLike, y: object = None) -> float:
        """Return the mean log-density of rows `(n, d)`; higher is better. y is ignored."""
        return float(self.score_samples(X).mean())

    def sample(
        self, n_samples: int = 1, random_state: int | np.random.RandomState | None = None
    ) -> Rows:
        """Return rows `(n_samples, d)` drawn from the flow, in the table's units.

        Raises:
            ValueError: n_samples is less than 1.
        """
        check_is_fitted(self)
        if n_samples < 1:
            raise ValueError(f"n_samples must be at least 1, got {n_samples}.")
        seed = int(check_random_state(random_state).randint(2**31 - 1))
        rows: Rows = self.flow_.sample(n_samples, seed).cpu().double().numpy()
        return rows * self.scale_ + self.mean_

    def _check(self) -> None:
        conditions = {
            "minibatches": (self.minibatches >= 1, "at least 1"),
            "batch_size": (self.batch_size >= 1, "at least 1"),
            "validations": (self.validations >= 1, "at least 1"),
            "validation_fraction": (0 < self.validation_fraction < 1, "between 0 and 1"),
            "tol": (self.tol > 0, "positive"),
        }
        for name, (holds, condition) in conditions.items():
            if not holds:
                raise ValueError(f"{name} must be {condition}, got {getattr(self, name)}.")

    def _units(self, rows: Rows) -> tuple[Rows, Rows]:
        d = rows.shape[1]
        if not self.standardise:
            return np.zeros(d), np.ones(d)
        scale = rows.std(0)
        if not scale.all():
            raise ValueError(
                f"Column {int(np.argmin(scale))} (counted from 0) has the same value in all "
                f"{len(rows)} rows; a constant has no density. Drop the column."
            )
        return rows.mean(0), scale

    def _build(self, d: int) -> Any:
        """Return the method, with its preset for tables and the settings."""
        try:
            settings = presets.share(self.settings, [self.method])[self.method]
            config, _ = presets.configure(self.method, "a table", d, settings)
            config.check(d, self.minibatches, self.batch_size)
        except BenchError as error:
            raise ValueError(str(error)) from error
        return plugins.method(self.method)(d, config).to(self.device)


@contextmanager
def _seeded(seed: int, device: str) -> Iterator[None]:
    """Seed torch's draws inside the block, and leave those outside it unchanged."""
    devices = [torch.cuda.current_device()] if device.startswith("cuda") else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield
