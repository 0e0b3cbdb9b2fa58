"""A flow as scikit-learn's density estimators are: `fit`, `score_samples`, `sample`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from bench.api.stream import Stream
from bench.errors import BenchError
from bench.evaluation.protocol import reference_flow
from bench.records.spec import Judge
from bench.registry import plugins
from bench.study import presets
from bench.training.loop import train, validator

Rows = NDArray[np.float64]


class FlowDensity(DensityMixin, BaseEstimator):  # type: ignore[misc]
    """One method's density of a table's rows, in the table's own units.

    It learns as a run of `bench run` does: the same mini-batches of a seed, the state that was
    best on held-out rows, one reference solver and the exact divergence. It keeps no record.

    Args:
        method: a method's name.
        minibatches: how many it takes.
        batch_size: the rows of each.
        settings: `KEY=VALUE` hyper-parameters, as `--set` takes them; its preset otherwise.
        standardise: by the mean and the standard deviation of each column.
        validation_fraction: the share of the rows held out, to choose the state by.
        validations: how often they are scored, 2,000 of them at most.
        tol: the solver's relative and absolute tolerance when rows are scored or drawn.
        device: cpu or cuda.
        random_state: an int gives the same flow for each fit.

    Attributes:
        flow_: the `bench.evaluation.flow.Flow`, of standardised rows.
        mean_: what standardised rows `(d,)` are moved by.
        scale_: what they are divided by `(d,)`.
        curve_: a dict for each mini-batch: its `loss`, the `validation_nll` where there was one.
        best_minibatch_: the mini-batch whose state is the flow's.
        n_features_in_: d.

    `score_samples` of an adaptive solver depends, within `tol`, on which rows are asked together.
    """

    def __init__(
        self,
        method: str = "flow-matching",
        *,
        minibatches: int = 2_000,
        batch_size: int = 256,
        settings: Sequence[str] = (),
        standardise: bool = True,
        validation_fraction: float = 0.1,
        validations: int = 10,
        tol: float = 1e-5,
        device: str = "cpu",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.method = method
        self.minibatches = minibatches
        self.batch_size = batch_size
        self.settings = settings
        self.standardise = standardise
        self.validation_fraction = validation_fraction
        self.validations = validations
        self.tol = tol
        self.device = device
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Learn the density of rows `(n, d)`; y is ignored.

        Raises:
            ValueError: a hyper-parameter that can't be, fewer than two rows, a constant column.
            bench.training.loop.Diverged: the method broke.
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

        with _drawing_from(seed, self.device):
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
        """The log-density `(n,)` of rows `(n, d)`, in nats, in the table's own units."""
        check_is_fitted(self)
        rows: Rows = validate_data(self, X, dtype=np.float64, reset=False)
        log_prob = self.flow_.log_prob(torch.from_numpy((rows - self.mean_) / self.scale_))
        scores: Rows = log_prob.cpu().numpy() - np.log(self.scale_).sum()
        return scores

    def score(self, X: ArrayLike, y: object = None) -> float:
        """The mean log-density of rows `(n, d)`: the higher, the better; y is ignored."""
        return float(self.score_samples(X).mean())

    def sample(
        self, n_samples: int = 1, random_state: int | np.random.RandomState | None = None
    ) -> Rows:
        """Rows `(n_samples, d)` drawn from the flow, in the table's own units.

        Raises:
            ValueError: fewer than one.
        """
        check_is_fitted(self)
        if n_samples < 1:
            raise ValueError(f"n_samples is {n_samples}; at least one row can be drawn.")
        seed = int(check_random_state(random_state).randint(2**31 - 1))
        rows: Rows = self.flow_.sample(n_samples, seed).cpu().double().numpy()
        return rows * self.scale_ + self.mean_

    def _check(self) -> None:
        for name in ("minibatches", "batch_size", "validations"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it has to be 1 or more.")
        if not 0 < self.validation_fraction < 1:
            raise ValueError(
                f"validation_fraction is {self.validation_fraction}; it lies between 0 and 1."
            )
        if not self.tol > 0:
            raise ValueError(f"tol is {self.tol}; it has to be above 0.")

    def _units(self, rows: Rows) -> tuple[Rows, Rows]:
        d = rows.shape[1]
        if not self.standardise:
            return np.zeros(d), np.ones(d)
        scale = rows.std(0)
        if not scale.all():
            column = int(np.argmin(scale))
            raise ValueError(
                f"Column {column} (counted from 0) has the same value in all {len(rows)} rows; "
                "a constant has no density: leave it out."
            )
        return rows.mean(0), scale

    def _build(self, d: int) -> Any:
        """The method, with its preset for tables and the settings."""
        try:
            dealt = presets.share(self.settings, [self.method])[self.method]
            config, _ = presets.configure(self.method, "a table", d, dealt)
            config.check(d, self.minibatches, self.batch_size)
        except BenchError as error:
            raise ValueError(str(error)) from error
        return plugins.method(self.method)(d, config).to(self.device)


@contextmanager
def _drawing_from(seed: int, device: str) -> Iterator[None]:
    """Draws follow from the seed; those afterwards are as if these had not been."""
    devices = [torch.cuda.current_device()] if device.startswith("cuda") else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield
