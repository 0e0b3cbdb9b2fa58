"""Our Dormand-Prince solver against closed forms, order conditions and torchdiffeq's own."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
import torchdiffeq
from torch import Tensor
from torchdiffeq._impl.dopri5 import _DORMAND_PRINCE_SHAMPINE_TABLEAU as THEIRS

from bench.numerics.dormand_prince import ERROR, STAGES, _step
from bench.numerics.ode import Solver, SolverFailed, State, integrate

DOUBLE = torch.float64
#: The weights of the step, with the last stage, which has none.
WEIGHTS = [*STAGES[-1][1], 0.0]
SHARES = [0.0, *(share for share, _ in STAGES)]


class Recorded:
    """A field that keeps the times it is asked at."""

    def __init__(self, f: Callable[[Tensor, State], State]) -> None:
        self.f, self.times = f, list[float]()

    def __call__(self, t: Tensor, state: State) -> State:
        self.times.append(float(t.detach()))
        return self.f(t, state)


def growth(t: Tensor, state: State) -> State:
    """dx/dt = x cos t, so x(t) = x(0) exp(sin t)."""
    return (state[0] * t.cos(),)


def spiral(t: Tensor, state: State) -> State:
    """A field of three dimensions that bends, and its energy."""
    x = state[0]
    mixed = torch.stack([x[:, 1] - x[:, 0], -x[:, 0] * x[:, 2], (2 * t).sin() + x[:, 0]], 1)
    v = torch.tanh(2 * mixed)
    return v, v.square().sum(-1)


def spiral_start(dtype: torch.dtype = DOUBLE) -> State:
    x = torch.linspace(-2, 2, 12, dtype=dtype).reshape(4, 3).sin() * 2
    return x, torch.zeros(4, dtype=dtype)


def test_the_stages_are_consistent() -> None:
    """Each stage's weights add up to its time; the last stage lies at the step's end."""
    for share, weights in STAGES:
        assert sum(weights) == pytest.approx(share, abs=1e-14)
    assert SHARES[-1] == 1


@pytest.mark.parametrize("power", range(5))
def test_the_order_conditions(power: int) -> None:
    """sum b c^k = 1 / (k + 1): to k = 4 for the step, to k = 3 for what the error compares with."""
    moment = sum(b * c**power for b, c in zip(WEIGHTS, SHARES, strict=True))
    assert moment == pytest.approx(1 / (power + 1), abs=1e-14)
    error = sum(e * c**power for e, c in zip(ERROR, SHARES, strict=True))
    assert (abs(error) < 1e-14) is (power < 4)


def test_the_error_is_measured_as_torchdiffeq_does() -> None:
    torch.testing.assert_close(torch.tensor(ERROR, dtype=DOUBLE), THEIRS.c_error.to(DOUBLE))
    torch.testing.assert_close(torch.tensor(WEIGHTS, dtype=DOUBLE), THEIRS.c_sol.to(DOUBLE))


def test_local_orders() -> None:
    """One step of length h is off by O(h^6); the estimate of its error is O(h^5)."""
    off, estimated = [], []
    for h in (0.2, 0.1):
        y = torch.tensor([math.exp(math.sin(0.3))], dtype=DOUBLE)

        def slope(elapsed: float | Tensor, x: Tensor) -> Tensor:
            return x * math.cos(0.3 + float(elapsed))

        new, slopes = _step(slope, y, slope(0.0, y), 0.0, h)
        off.append(abs(new.item() - math.exp(math.sin(0.3 + h))))
        estimated.append(abs(h * sum(e * k.item() for e, k in zip(ERROR, slopes, strict=True))))
    assert math.log2(off[0] / off[1]) == pytest.approx(6, abs=0.3)
    assert math.log2(estimated[0] / estimated[1]) == pytest.approx(5, abs=0.3)


@pytest.mark.parametrize("tol", [1e-3, 1e-5, 1e-8])
@pytest.mark.parametrize(("t0", "t1"), [(0.0, 3.0), (3.0, 0.0), (0.5, 0.75)])
def test_as_accurate_as_torchdiffeq_for_as_many_evaluations(
    tol: float, t0: float, t1: float
) -> None:
    """At most twice its error (and a tolerance), at most one step more."""
    times = torch.tensor([t0, t1], dtype=DOUBLE)
    truth = integrate(spiral, spiral_start(), t0, t1, Solver("dopri5", 1e-12, 1e-12))
    ours, theirs = Recorded(spiral), Recorded(spiral)
    end = integrate(ours, spiral_start(), t0, t1, Solver("dopri5", tol, tol))
    path = torchdiffeq.odeint(theirs, spiral_start(), times, rtol=tol, atol=tol, method="dopri5")

    def off(state: State) -> float:
        return max(float((a - b).abs().max()) for a, b in zip(state, truth, strict=True))

    assert off(end) <= 2 * off(tuple(part[-1] for part in path)) + tol
    assert len(ours.times) <= len(theirs.times) + 6


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize(("t0", "t1"), [(0.0, 1.0), (1.0, 0.0), (0.3, 2.7), (5.1, -0.7)])
def test_it_lands_on_the_end(dtype: torch.dtype, t0: float, t1: float) -> None:
    """The last stage is at t1, none is beyond, and no step is a sliver."""
    f = Recorded(spiral)
    end = integrate(f, spiral_start(dtype), t0, t1, Solver("dopri5", 1e-4, 1e-4))
    assert all(part.dtype == dtype for part in end)
    rounding = 8 * torch.finfo(dtype).eps * max(abs(t0), abs(t1))
    assert f.times[-1] == pytest.approx(t1, abs=rounding)
    assert all(min(t0, t1) - rounding <= t <= max(t0, t1) + rounding for t in f.times)
    ends = [t0, *f.times[7::6]]  # slope, first guess, then six stages a step
    lengths = [abs(b - a) for a, b in itertools.pairwise(ends)]
    assert len(lengths) >= 2
    assert min(lengths) > 0.005 * max(lengths)


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_there_and_back(dtype: torch.dtype) -> None:
    solver = Solver("dopri5", 1e-6, 1e-6)
    start = spiral_start(dtype)
    there = integrate(spiral, start, 0.2, 2.0, solver)
    back = integrate(spiral, there, 2.0, 0.2, solver)
    for one, other in zip(start, back, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-4)


@pytest.mark.parametrize("needs", ["t0", "t1", "both"])
@pytest.mark.parametrize(("t0", "t1"), [(0.1, 2.3), (2.3, 0.1)])
def test_gradients_against_differences(needs: str, t0: float, t1: float) -> None:
    """Of the start, a parameter and the end times, where each requires a gradient."""
    solver, h = Solver("dopri5", 1e-10, 1e-10), 1e-5

    def loss(x: Tensor, rate: Tensor, begin: Tensor, end: Tensor) -> Tensor:
        def f(t: Tensor, state: State) -> State:
            return tuple(rate * part for part in spiral(t * rate, state))

        z, energy = integrate(f, (x, torch.zeros(4, dtype=DOUBLE)), begin, end, solver)
        return (z**3).sum() + energy.sin().sum()

    leaves = [spiral_start()[0], torch.tensor(0.8, dtype=DOUBLE)]
    leaves += [torch.tensor(t, dtype=DOUBLE) for t in (t0, t1)]
    wanted = [0, 1, *{"t0": [2], "t1": [3], "both": [2, 3]}[needs]]
    for i in wanted:
        leaves[i].requires_grad_()
    gradients = torch.autograd.grad(loss(*leaves), [leaves[i] for i in wanted])
    for i, gradient in zip(wanted, gradients, strict=True):
        with torch.no_grad():
            direction = torch.cos(3 * leaves[i] + 1)
            values = []
            for step in (h, -h):
                moved = list(leaves)
                moved[i] = leaves[i] + step * direction
                values.append(float(loss(*moved)))
        slope = float((gradient * direction).sum())
        assert abs(slope) > 1e-3
        assert slope == pytest.approx((values[0] - values[1]) / (2 * h), rel=1e-5)


def test_the_bound_on_steps_is_exact() -> None:
    """Six evaluations a step, tried again or not, and two to begin: what n allow, n - 1 do not."""

    def kinked(t: Tensor, state: State) -> State:
        return (torch.where(t < 0.5, 1.0, -20.0) * state[0],)

    start, f = (torch.ones(1, 1, dtype=DOUBLE),), Recorded(kinked)
    (end,) = integrate(f, start, 0.0, 1.0, Solver("dopri5", 1e-6, 1e-6))
    steps, odd = divmod(len(f.times) - 2, 6)
    assert odd == 0
    assert end.item() == pytest.approx(math.exp(0.5 - 10), abs=1e-5)
    ends = f.times[7::6]
    assert any(b <= a for a, b in itertools.pairwise(ends)), "no step was tried again"
    (again,) = integrate(kinked, start, 0.0, 1.0, Solver("dopri5", 1e-6, 1e-6, steps))
    assert torch.equal(again, end)
    with pytest.raises(SolverFailed, match=rf"ran out of steps \({steps - 1}\) at t = 0.*stiff"):
        integrate(kinked, start, 0.0, 1.0, Solver("dopri5", 1e-6, 1e-6, steps - 1))


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(("when", "most"), [(-1.0, 2_000), (0.4, 2_000), (0.4, 10)])
def test_values_that_are_not_finite(value: float, when: float, most: int) -> None:
    """It says so, and not that the field is stiff, wherever they begin."""

    def f(t: Tensor, state: State) -> State:
        return (state[0] if t < when else state[0] * value,)

    with pytest.raises(SolverFailed, match="not finite") as failed:
        integrate(f, (torch.ones(2, 2, dtype=DOUBLE),), 0.0, 1.0, Solver(max_num_steps=most))
    assert "stiff" not in str(failed.value)
    assert ("slope" in str(failed.value)) is (when < 0)


def test_the_error_is_that_of_the_worst_part() -> None:
    """A large part that stands still doesn't hide the error of a small one."""

    def evaluations(still: int) -> int:
        f = Recorded(lambda t, s: (*growth(t, s), torch.zeros_like(s[1])))
        integrate(
            f,
            (torch.ones(2, 1, dtype=DOUBLE), torch.ones(still, dtype=DOUBLE)),
            0.0,
            6.0,
            Solver("dopri5", 1e-6, 1e-6),
        )
        return len(f.times)

    assert evaluations(100_000) == evaluations(1) > 30


def test_a_field_that_stands_still() -> None:
    """Few evaluations, the state itself, and a gradient of zero in time."""
    f = Recorded(lambda t, s: (torch.zeros_like(s[0]) * t,))
    t1 = torch.tensor(1.0, dtype=DOUBLE, requires_grad=True)
    start = torch.ones(2, 2, dtype=DOUBLE)
    (end,) = integrate(f, (start,), 0.0, t1, Solver())
    assert torch.equal(end, start)
    assert len(f.times) < 60
    end.sum().backward()
    assert t1.grad is not None
    assert t1.grad.item() == 0
