"""The Dormand-Prince pair of orders 5 and 4, with steps as long as the tolerance allows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

#: The tensors that are solved for together.
State = tuple[Tensor, ...]
#: f(t, state), with a scalar t; returns the derivatives, in the shapes of the state.
Derivative = Callable[[Tensor, State], State]

#: The stages after the first: the time of each, and the weights of the stages before it. The last
#: is at the step's end, with the weights of the step: it is the first stage of the next step.
#: Source: Hairer, Norsett, Wanner 1993, section II.5, table 5.2.
STAGES: list[tuple[float, list[float]]] = [
    (1 / 5, [1 / 5]),
    (3 / 10, [3 / 40, 9 / 40]),
    (4 / 5, [44 / 45, -56 / 15, 32 / 9]),
    (8 / 9, [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729]),
    (1, [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656]),
    (1, [35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84]),
]
#: The weights of a step's error: two thirds of those of table 5.2, which is torchdiffeq's measure,
#: so that a tolerance means the same in both.
ERROR = [71 / 86400, 0, -142 / 50085, 71 / 2880, -5751 / 169600, 44 / 1575, -1 / 60]
#: The share of the longest step that fits; the least and the greatest change of a step's length.
SAFETY, SHRINK, GROW = 0.9, 0.2, 10.0

#: f of the time since the start and the packed state.
Slope = Callable[["float | Tensor", Tensor], Tensor]


class SolverFailed(ArithmeticError):
    """The solver gave up: the field is too stiff for its bound on steps, or not finite."""


def solve(
    f: Derivative,
    start: State,
    t: Tensor,
    rtol: float,
    atol: float,
    max_num_steps: int,
    measured: int | None = None,
    h: float | None = None,
) -> tuple[State, float]:
    """Return the state at `t[1]` of dx/dt = f(t, x) from `start` at `t[0]`, and the next step.

    The first step tried is `h`, or a guess from the slope and the curvature.

    A step is accepted if in each part of the state, or in each of the first `measured` ones, the
    root mean square of error / (atol + rtol |x|) is at most 1; otherwise a shorter one is tried.
    The last step ends at `t[1]`.

    Backpropagation goes through the accepted steps; their lengths are not differentiated. Each
    starts at a fixed time after `t[0]`, and the last, which ends at `t[1]`, carries the gradient of
    the interval's length.

    Raises:
        SolverFailed: `max_num_steps` steps, accepted or not, do not reach `t[1]`; a step shrank to
            nothing; a value is not finite.
    """
    packing = _Packing(start, measured)
    begin, end = t.tolist()
    span = end - begin
    in_last_step = torch.is_grad_enabled() and t.requires_grad

    def slope(elapsed: float | Tensor, y: Tensor) -> Tensor:
        return packing.pack(f(t[0] + elapsed, packing.parts(y)))

    def size(change: Tensor, y: Tensor) -> float:
        return packing.rms(change / (atol + rtol * y))

    y, elapsed, refused = packing.pack(start), 0.0, 0.0
    first = slope(elapsed, y)
    if h is None:
        with torch.no_grad():
            h = _first_step(slope, size, y, first, span)
    for tried in range(max_num_steps):
        rest = span - elapsed
        last = 1.01 * abs(h) >= abs(rest)  # no tiny step is left over
        if last:
            h = rest
        if begin + elapsed + h == begin + elapsed:
            raise SolverFailed(
                f"the solver's step shrank to nothing at t = {begin + elapsed:g}, "
                f"after {tried} steps: {_why(refused)}"
            )
        length = t[1] - (t[0] + elapsed) if last and in_last_step else h
        new, slopes = _step(slope, y, first, elapsed, length)
        with torch.no_grad():
            error = _moved(torch.zeros_like(y), slopes, ERROR, h)
            ratio = size(error, torch.maximum(y.abs(), new.abs()))
        if ratio <= 1:
            if last:
                return packing.parts(new), h * _factor(ratio)
            y, first, elapsed = new, slopes[-1], elapsed + h
        else:
            refused = ratio
        h *= _factor(ratio)
    raise SolverFailed(
        f"the solver ran out of steps ({max_num_steps}) at t = {begin + elapsed:g}, "
        f"between {begin:g} and {end:g}: {_why(refused)}"
    )


def _why(ratio: float) -> str:
    """Return why a step with this ratio of error to tolerance was rejected."""
    return "the field is too stiff" if math.isfinite(ratio) else "its values are not finite there"


def _step(
    slope: Slope, y: Tensor, first: Tensor, elapsed: float, h: float | Tensor
) -> tuple[Tensor, list[Tensor]]:
    """Return the state after a step, and the slopes at all stages."""
    slopes, new = [first], y
    for share, weights in STAGES:
        new = _moved(y, slopes, weights, h)
        slopes.append(slope(elapsed + share * h, new))
    return new, slopes


def _moved(
    y: Tensor, slopes: Sequence[Tensor], weights: Sequence[float], h: float | Tensor
) -> Tensor:
    """Return y + h sum_i weights_i slopes_i."""
    for weight, slope in zip(weights, slopes, strict=True):
        if not weight:
            continue
        if isinstance(h, Tensor):
            y = torch.addcmul(y, slope, weight * h)
        else:
            y = torch.add(y, slope, alpha=weight * h)
    return y


def _first_step(
    slope: Slope, size: Callable[[Tensor, Tensor], float], y: Tensor, first: Tensor, span: float
) -> float:
    """Guess a first step from the sizes of the state, its slope and its curvature.

    Source: Hairer, Norsett, Wanner 1993, section II.4, "Starting Step Size".
    """
    scale = y.abs()
    state, speed = size(y, scale), size(first, scale)
    if not math.isfinite(state + speed):
        raise SolverFailed("the slope is not finite at the start")
    probe = 1e-6 if state < 1e-5 or speed < 1e-5 else 0.01 * state / speed
    probe = math.copysign(min(probe, abs(span)), span)
    curvature = size(slope(probe, y + probe * first) - first, scale) / abs(probe)
    steepest = max(speed, curvature) if math.isfinite(curvature) else speed
    guess = max(1e-6, 1e-3 * abs(probe)) if steepest <= 1e-15 else (0.01 / steepest) ** 0.2
    return math.copysign(min(100 * abs(probe), guess), span)


def _factor(ratio: float) -> float:
    """Return the factor of the next step's length: at least 1 after an accepted step."""
    if not math.isfinite(ratio):
        return SHRINK
    fitting = SAFETY * ratio**-0.2 if ratio > 0 else GROW
    return min(GROW, max(fitting, 1.0 if ratio <= 1 else SHRINK))


class _Packing:
    """Converts a state to one vector `(N,)` and back."""

    def __init__(self, state: State, measured: int | None) -> None:
        self.measured = measured
        self.shapes = [part.shape for part in state]
        self.sizes = [part.numel() for part in state]
        self.roots = state[0].new_tensor(self.sizes[:measured]).sqrt()

    def pack(self, state: State) -> Tensor:
        return torch.cat([part.reshape(-1) for part in state])

    def parts(self, y: Tensor) -> State:
        return tuple(
            p.view(s) for p, s in zip(torch.split(y, self.sizes), self.shapes, strict=True)
        )

    def rms(self, y: Tensor) -> float:
        """Return the largest root mean square of a measured part, or NaN if one has NaN."""
        parts = torch.split(y, self.sizes)[: self.measured]
        norms = torch.stack([torch.linalg.vector_norm(part) for part in parts])
        largest: float = (norms / self.roots).max().item()
        return largest
