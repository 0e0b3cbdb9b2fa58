"""A trained flow: samples, encodings, exact log-densities and scores, by one solver.

Also what every evaluation shares: the reference solver, the choice of rows, the clock.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.api.method import Continuous, Discrete, Field, Method, Piece, evaluations
from bench.numerics.ode import Solver, State, integrate, with_score
from bench.records.spec import Judge

T = TypeVar("T")
#: Called with every step, validation and stage of a run.
Report = Callable[[dict[str, Any]], None]

HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True)
class Path:
    """Where points `(n, d)` went, and for each the integral of |v|^2.

    Attributes:
        start: the points, in the ODEs' coordinates.
        end: where they arrived, in the same coordinates.
        rows: the end in the coordinates of the rows, with the affine layer undone at the data end.
        kinetic: `(n,)`, over one unit of time, which the pieces share equally; None for a method
            without a velocity.
    """

    start: Tensor
    end: Tensor
    rows: Tensor
    kinetic: Tensor | None


class Flow:
    """A copy of a method that is sampled and scored, in memory that does not grow with the rows.

    A continuous method is solved piece by piece with its exact divergence, by `solver`, or by each
    piece's native one if that is None; a discrete one gives its own density and inverse. The copy
    is in `dtype`; rows are processed `rows_at_once` at a time.

    Every call raises `SolverFailed` if the solver gives up.
    """

    def __init__(
        self,
        method: Method,
        solver: Solver | None,
        dtype: torch.dtype = torch.float64,
        rows_at_once: int = 2_048,
    ) -> None:
        without_optimizer = {id(method.optimizer): None}
        self.method = copy.deepcopy(method, without_optimizer)
        self.method.to(dtype).eval().requires_grad_(False)
        self.solver = solver
        self.dtype = dtype
        self.rows_at_once = rows_at_once
        self.device = next(
            (t.device for t in (*method.parameters(), *method.buffers())), torch.device("cpu")
        )
        self.nfe: float | None = None  # of the last call: evaluations per solve, mean over solves

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density `(n,)` of rows `(n, d)` in nats.

        It is log N(z) + the integral of div v, and the log-determinant of the affine layer.
        """
        return torch.cat(list(self._in_chunks(self._log_prob, x)))

    def score(self, x: Tensor) -> Tensor:
        """Return the score, the gradient of log p, of rows `(n, d)`: `(n, d)`.

        Rows are encoded to noise z, whose score is -z, and come back with it. Continuous methods
        with a reference solver only: native steps forth and back are not inverses.

        Raises:
            TypeError: the method is not continuous, or the flow has no solver.
        """
        return torch.cat(list(self._in_chunks(self._score, x)))

    def encode(self, x: Tensor) -> Tensor:
        """Return the noise `(n, d)` that rows `(n, d)` come from. Continuous methods only."""
        return torch.cat(list(self._in_chunks(self._encode, x)))

    def decode(self, z: Tensor) -> Path:
        """Return the path of noise `(n, d)` to rows."""
        paths = list(self._in_chunks(self._decode, z))
        start, end, rows = (
            torch.cat([getattr(path, name) for path in paths]) for name in ("start", "end", "rows")
        )
        kinetic = [path.kinetic for path in paths if path.kinetic is not None]
        return Path(start, end, rows, torch.cat(kinetic) if kinetic else None)

    def sample(self, n: int, seed: int = 0) -> Tensor:
        """Return `n` rows `(n, d)` drawn from the flow; a seed fixes the noise of every method."""
        return self.decode(self.noise(n, seed)).rows

    def noise(self, n: int, seed: int) -> Tensor:
        """Return standard normal draws `(n, d)`, the same on every device."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(n, self.method.d, generator=generator, dtype=torch.float64)

    def _in_chunks(self, f: Callable[[Tensor], T], rows: Tensor) -> Iterator[T]:
        before, chunks = evaluations(self.method), 0
        with torch.no_grad():
            for chunk in torch.split(rows, self.rows_at_once):
                chunks += 1
                yield f(chunk.to(self.device, self.dtype))
        if isinstance(self.method, Continuous):
            self.nfe = (evaluations(self.method) - before) / chunks

    def _log_prob(self, x: Tensor) -> Tensor:
        x, gain = self.method.affine(x), x.new_zeros(len(x)) + self.method.affine.log_det()
        if isinstance(self.method, Discrete):
            return gain + self.method.log_prob(x)
        for piece in self._pieces():
            x, gain = integrate(
                lambda t, state, f=piece.field: f.with_divergence(t, state[0]),  # type: ignore[misc]
                (x, gain),
                piece.t_data,
                piece.t_noise,
                self._solver(piece),
            )
        return gain - 0.5 * x.square().sum(-1) - x.shape[1] * HALF_LOG_TWO_PI

    def _score(self, x: Tensor) -> Tensor:
        if self.solver is None:
            raise TypeError("a score needs a reference solver, and this flow has none")
        z = self._encode(x)
        state: State = (z, -z)
        for piece in reversed(self._pieces()):
            derivative = with_score(piece.field.with_divergence)
            state = integrate(derivative, state, piece.t_noise, piece.t_data, self.solver)
        return self.method.affine.pull(state[1])

    def _encode(self, x: Tensor) -> Tensor:
        legs = [(p, p.t_data, p.t_noise) for p in self._pieces()]
        return self._travel(self.method.affine(x), legs)[0]

    def _decode(self, z: Tensor) -> Path:
        if isinstance(self.method, Discrete):
            end, kinetic = self.method.inverse(z), None
        else:
            legs = [(p, p.t_noise, p.t_data) for p in reversed(self._pieces())]
            end, kinetic = self._travel(z, legs)
        return Path(z, end, self.method.affine.inverse(end), kinetic)

    def _travel(self, x: Tensor, legs: list[tuple[Piece, float, float]]) -> tuple[Tensor, Tensor]:
        """Return where points `(n, d)` arrive, and their kinetic integral `(n,)`."""
        kinetic = x.new_zeros(len(x))
        for piece, t0, t1 in legs:

            def derivative(t: Tensor, state: State, field: Field = piece.field) -> State:
                velocity = field(t, state[0])
                return velocity, velocity.square().sum(-1)

            start = (x, torch.zeros_like(kinetic))
            x, energy = integrate(derivative, start, t0, t1, self._solver(piece))
            kinetic = kinetic + energy * (t1 - t0)
        return x, len(legs) * kinetic

    def _solver(self, piece: Piece) -> Solver:
        solver = self.solver or piece.native
        if solver is None:
            raise TypeError(f"{type(self.method).__name__} has no discretisation of its own")
        return solver

    def _pieces(self) -> list[Piece]:
        if not isinstance(self.method, Continuous):
            raise TypeError(f"{type(self.method).__name__} has no velocity")
        return list(self.method.pieces())


def reference_solver(judge: Judge) -> Solver:
    """Return the solver that evaluates every continuous method."""
    return Solver(judge.solver, judge.rtol, judge.atol, judge.max_num_steps)


def reference_flow(method: Method, judge: Judge) -> Flow:
    """Return the flow of a method by the reference solver, in the judge's precision."""
    return Flow(method, reference_solver(judge), getattr(torch, judge.dtype), judge.rows_at_once)


def choose(total: int, n: int, seed: int) -> NDArray[np.int64]:
    """Return the sorted indices of `n` of `total` rows, the same for every method; at most all."""
    if n >= total:
        return np.arange(total)
    return np.sort(np.random.default_rng(seed).choice(total, n, replace=False))


def pick(rows: NDArray[np.float32], n: int, seed: int) -> NDArray[np.float32]:
    """Return the rows that `choose` chooses."""
    return np.asarray(rows) if n >= len(rows) else rows[choose(len(rows), n, seed)]


def now(flow: Flow) -> float:
    """Return the seconds of a monotonic clock, after the flow's device has finished its work."""
    if flow.device.type == "cuda":
        torch.cuda.synchronize(flow.device)
    return time.perf_counter()
