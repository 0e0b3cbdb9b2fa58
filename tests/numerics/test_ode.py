"""The ODE solvers against closed forms; the adjoint's gradients against backpropagation's."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchdiffeq
from torch import Tensor, nn

from bench.numerics.ode import Solver, SolverFailed, State, integrate

DOUBLE = torch.float64
TIGHT = Solver("dopri5", 1e-11, 1e-12)


def growth(t: Tensor, state: State) -> State:
    """dx/dt = x cos t, so x(t) = x(0) exp(sin t)."""
    return (state[0] * t.cos(),)


def error(solver: Solver, t0: float = 0.0, t1: float = 2.0) -> float:
    start = torch.tensor([[1.0], [-2.0]], dtype=DOUBLE)
    (end,) = integrate(growth, (start,), t0, t1, solver)
    return float((end - start * math.exp(math.sin(t1) - math.sin(t0))).abs().max())


@pytest.mark.parametrize(
    ("name", "order"), [("euler", 1), ("midpoint", 2), ("rk4", 4), ("rk4-38", 4)]
)
@pytest.mark.parametrize(("t0", "t1"), [(0.0, 2.0), (2.0, 0.0)])
def test_order_of_convergence(name: str, order: int, t0: float, t1: float) -> None:
    errors = [error(Solver(name, steps=n), t0, t1) for n in (80, 160)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.12)


@pytest.mark.parametrize(
    ("name", "stages"), [("euler", 1), ("midpoint", 2), ("rk4", 4), ("rk4-38", 4)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("t0", "t1"), [(0.0, 1.0), (1.0, 0.0), (0.0, 0.5), (0.3, 1.2345), (0.7, -0.1)]
)
def test_as_many_steps_as_asked_for(
    name: str, stages: int, dtype: torch.dtype, t0: float, t1: float
) -> None:
    """`steps` equal steps, whatever the rounding of the interval; each has its stages."""
    wrong = []
    for steps in range(1, 65) if name == "euler" else (1, 2, 3, 11, 49, 61):
        calls = 0

        def f(t: Tensor, state: State) -> State:
            nonlocal calls
            calls += 1
            return (torch.ones_like(state[0]),)

        (end,) = integrate(f, (torch.zeros(1, dtype=dtype),), t0, t1, Solver(name, steps=steps))
        assert end.item() == pytest.approx(t1 - t0, rel=1e-5)
        if calls != stages * steps:
            wrong.append((steps, calls / stages))
    assert not wrong, f"(steps asked for, made): {wrong}"


@pytest.mark.parametrize("tol", [1e-4, 1e-6, 1e-8, 1e-10])
@pytest.mark.parametrize(("t0", "t1"), [(0.0, 2.0), (2.0, 0.0)])
def test_dopri5_is_as_accurate_as_its_tolerance(tol: float, t0: float, t1: float) -> None:
    """A global error of no more than ten local tolerances, on a mild equation."""
    assert error(Solver("dopri5", tol, tol), t0, t1) < 10 * tol * 2 * math.e


def test_a_tighter_dopri5_is_better() -> None:
    solver = Solver("dopri5", 1e-3, 1e-3)
    errors = [error(solver), error(solver.tighter(100)), error(solver.tighter(10_000))]
    assert errors[0] > 10 * errors[1] > 100 * errors[2] > 0


def test_tighter() -> None:
    solver = Solver("dopri5", 1e-4, 1e-6, 1_000).tighter(10)
    assert (solver.name, solver.rtol, solver.atol) == ("dopri5", *map(pytest.approx, (1e-5, 1e-7)))
    assert solver.max_num_steps == 1_585  # 1,000 times the fifth root of 10
    assert Solver("rk4", steps=8).tighter(10).steps == 80


def test_a_state_of_several_parts() -> None:
    """Each part is solved; the second is the integral of a function of the first."""

    def f(t: Tensor, state: State) -> State:
        return -state[0], state[0].square().sum(-1)

    x = torch.tensor([[1.0, 2.0], [0.5, 0.0], [0.0, 0.0]], dtype=DOUBLE)
    end, energy = integrate(f, (x, torch.zeros(3, dtype=DOUBLE)), 0.0, 1.5, TIGHT)
    torch.testing.assert_close(end, x * math.exp(-1.5), rtol=1e-9, atol=1e-9)
    oracle = x.square().sum(-1) * (1 - math.exp(-3)) / 2
    torch.testing.assert_close(energy, oracle, rtol=1e-9, atol=1e-9)


def test_times_may_be_tensors_of_another_type() -> None:
    start = torch.ones(1, 1, dtype=DOUBLE)
    (end,) = integrate(growth, (start,), torch.tensor(0), torch.tensor(1.0), TIGHT)
    assert end.item() == pytest.approx(math.exp(math.sin(1)), rel=1e-9)
    assert end.dtype == DOUBLE


def test_a_stiff_field_fails() -> None:
    def f(t: Tensor, state: State) -> State:
        return (-1e6 * (state[0] - t.cos()),)

    solver = Solver("dopri5", 1e-6, 1e-6, max_num_steps=50)
    with pytest.raises(SolverFailed, match=r"ran out of steps .*50"):
        integrate(f, (torch.zeros(1, 1, dtype=DOUBLE),), 0.0, 1.0, solver)


@pytest.mark.parametrize("solver", [Solver(), Solver("rk4", steps=8), Solver("euler", steps=8)])
@pytest.mark.parametrize("when", [0.0, 0.4, 0.8])
def test_a_field_that_is_nan_fails(solver: Solver, when: float) -> None:
    def f(t: Tensor, state: State) -> State:
        return (state[0] if t < when else state[0] * math.nan,)

    with pytest.raises(SolverFailed):
        integrate(f, (torch.ones(2, 2),), 0.0, 1.0, solver)


@pytest.mark.parametrize("solver", [Solver(), Solver("rk4", steps=64)])
def test_a_start_that_is_not_finite_fails(solver: Solver) -> None:
    with pytest.raises(SolverFailed):
        integrate(growth, (torch.tensor([[1.0], [math.inf]]),), 0.0, 1.0, solver)


def test_an_explosion_fails() -> None:
    """dx/dt = x^2 from 1 is infinite at t = 1."""
    with pytest.raises(SolverFailed):
        integrate(lambda t, s: (s[0].square(),), (torch.ones(1, 1),), 0.0, 2.0, Solver())


@pytest.mark.parametrize("solver", [Solver(), Solver("rk4", steps=4)])
def test_no_time_at_all_fails(solver: Solver) -> None:
    """An interval of length 0 is an error, as torchdiffeq has it, and not a NaN."""
    with pytest.raises(SolverFailed):
        integrate(growth, (torch.ones(1, 1),), 0.5, 0.5, solver)


def test_an_error_of_the_field_is_not_hidden() -> None:
    def f(t: Tensor, state: State) -> State:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        integrate(f, (torch.ones(1, 1),), 0.0, 1.0, Solver())


@pytest.mark.parametrize(
    "given",
    [
        {"rtol": 0.0},
        {"atol": -1e-5},
        {"rtol": math.nan},
        {"max_num_steps": 0},
        {"name": "dopri8"},
        {"name": "rk4"},
        {"name": "euler", "steps": -1},
        {"name": "midpoint", "steps": 0},
    ],
)
def test_an_invalid_solver_names_the_field_or_the_solver(given: dict[str, Any]) -> None:
    named = "steps" if given.get("name") in {"rk4", "euler", "midpoint"} else next(iter(given))
    with pytest.raises(ValueError, match="dopri8" if named == "name" else named):
        Solver(**given)


class Wave(nn.Module):
    """dx/dt = tanh(W x + b) cos(w t): not linear, depends on time, has three parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 2, dtype=DOUBLE))
        self.bias = nn.Parameter(torch.randn(2, dtype=DOUBLE))
        self.rate = nn.Parameter(torch.tensor(1.3, dtype=DOUBLE))
        self.unused = nn.Parameter(torch.ones(1, dtype=DOUBLE))
        self.frozen = nn.Parameter(torch.ones(1, dtype=DOUBLE), requires_grad=False)

    def forward(self, t: Tensor, state: State) -> State:
        v = torch.tanh(state[0] @ self.weight.T + self.bias) * (self.rate * t).cos()
        return v * self.frozen, v.square().sum(-1)


@pytest.mark.parametrize("solver", [TIGHT, Solver("rk4-38", steps=120)], ids=["dopri5", "rk4-38"])
def test_the_adjoints_gradients_are_backpropagations(solver: Solver) -> None:
    """For parameters, the start, and both end times."""
    wave = Wave()

    def gradients(adjoint: nn.Module | None) -> list[Tensor]:
        x = torch.linspace(-1, 1, 6, dtype=DOUBLE).reshape(3, 2).requires_grad_()
        t0 = torch.tensor(0.1, dtype=DOUBLE, requires_grad=True)
        t1 = torch.tensor(1.4, dtype=DOUBLE, requires_grad=True)
        start = (x, torch.zeros(3, dtype=DOUBLE))
        end, energy = integrate(wave, start, t0, t1, solver, adjoint)
        loss = (end**3).sum() + energy.sin().sum()
        return list(torch.autograd.grad(loss, [x, t0, t1, wave.weight, wave.bias, wave.rate]))

    plain, adjoint = gradients(None), gradients(wave)
    for one, other in zip(plain, adjoint, strict=True):
        assert other.abs().max() > 1e-3
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("adjoint", [False, True])
@pytest.mark.parametrize("solver", [TIGHT, Solver("rk4-38", steps=200)], ids=["dopri5", "rk4-38"])
def test_gradients_of_a_linear_equation(adjoint: bool, solver: Solver) -> None:
    """x(T) = x0 exp(aT): dx/da = T x, dx/dT = a x, dx/dx0 = exp(aT)."""
    rate = nn.Linear(1, 1, bias=False, dtype=DOUBLE)
    nn.init.constant_(rate.weight, 0.7)
    x0 = torch.tensor([[2.0]], dtype=DOUBLE, requires_grad=True)
    end_time = torch.tensor(1.2, dtype=DOUBLE, requires_grad=True)
    (end,) = integrate(
        lambda t, s: (rate(s[0]),), (x0,), 0.0, end_time, solver, rate if adjoint else None
    )
    x = 2 * math.exp(0.7 * 1.2)
    assert end.item() == pytest.approx(x, rel=1e-8)
    end.sum().backward()
    assert rate.weight.grad is not None
    assert rate.weight.grad.item() == pytest.approx(1.2 * x, rel=1e-6)
    assert end_time.grad is not None
    assert end_time.grad.item() == pytest.approx(0.7 * x, rel=1e-5)
    assert x0.grad is not None
    assert x0.grad.item() == pytest.approx(x / 2, rel=1e-6)


def test_the_adjoints_memory_does_not_grow_with_the_steps() -> None:
    """Backpropagation keeps tensors for every step; the adjoint keeps as many for 4 as for 64."""
    wave = Wave()

    def kept(steps: int, adjoint: nn.Module | None) -> int:
        count = 0

        def pack(tensor: Tensor) -> Tensor:
            nonlocal count
            count += 1
            return tensor

        start = (torch.ones(3, 2, dtype=DOUBLE), torch.zeros(3, dtype=DOUBLE))
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            integrate(wave, start, 0.0, 1.0, Solver("rk4-38", steps=steps), adjoint)
        return count

    assert kept(64, None) > 8 * kept(4, None)
    assert kept(64, wave) <= kept(4, wave) + 2


#: Our names of rules, and torchdiffeq's.
RULES = {"euler": "euler", "midpoint": "midpoint", "rk4-38": "rk4"}


@pytest.mark.parametrize(("name", "theirs"), RULES.items())
def test_equal_steps_are_torchdiffeqs(name: str, theirs: str) -> None:
    wave, times = Wave(), torch.tensor([0.2, 1.5], dtype=DOUBLE)
    start = (torch.linspace(-1, 1, 6, dtype=DOUBLE).reshape(3, 2), torch.zeros(3, dtype=DOUBLE))
    ours = integrate(wave, start, 0.2, 1.5, Solver(name, steps=7))
    grid = {"grid_constructor": lambda f, y, t: torch.linspace(0.2, 1.5, 8, dtype=DOUBLE)}
    path = torchdiffeq.odeint(wave, start, times, method=theirs, options=grid)
    for one, other in zip(ours, path, strict=True):
        torch.testing.assert_close(one, other[-1], rtol=1e-13, atol=1e-13)


def test_the_classic_rule_by_hand() -> None:
    """One step of dx/dt = t x from 1: four stages with their own numbers."""
    k1 = 0.0
    k2 = 0.25 * (1 + 0.25 * k1)
    k3 = 0.25 * (1 + 0.25 * k2)
    k4 = 0.5 * (1 + 0.5 * k3)
    (end,) = integrate(
        lambda t, s: (t * s[0],),
        (torch.ones(1, 1, dtype=DOUBLE),),
        0.0,
        0.5,
        Solver("rk4", steps=1),
    )
    assert end.item() == pytest.approx(1 + 0.5 * (k1 + 2 * k2 + 2 * k3 + k4) / 6, rel=1e-14)


def adjoint_gradients(wave: Wave, solve: Callable[[State, Tensor], State]) -> list[Tensor]:
    """Of a loss on both parts, for the start, both times and the parameters."""
    x = torch.linspace(-1, 1, 6, dtype=DOUBLE).reshape(3, 2).requires_grad_()
    times = torch.tensor([0.1, 1.4], dtype=DOUBLE, requires_grad=True)
    end, energy = solve((x, torch.zeros(3, dtype=DOUBLE)), times)
    loss = (end**3).sum() + energy.sin().sum()
    return list(torch.autograd.grad(loss, [x, times, wave.weight, wave.bias, wave.rate]))


@pytest.mark.parametrize(
    ("solver", "theirs"),
    [
        (TIGHT, "dopri5"),
        *((Solver(ours, steps=24), theirs) for ours, theirs in RULES.items()),
    ],
    ids=["dopri5", *RULES],
)
def test_the_adjoints_gradients_are_torchdiffeqs(solver: Solver, theirs: str) -> None:
    """With equal steps too; there, torchdiffeq's for t0 has an error of its own: an integral's."""
    wave, equal = Wave(), solver != TIGHT

    def grid(f: object, start: Tensor, t: Tensor) -> Tensor:
        return torch.cat([t[0] + (t[-1] - t[0]) * torch.arange(24) / 24, t[-1:]])

    options = {"grid_constructor": grid} if equal else None

    def reference(start: State, times: Tensor) -> State:
        path = torchdiffeq.odeint_adjoint(
            wave, start, times, rtol=1e-11, atol=1e-12, method=theirs, options=options
        )
        return tuple(part[-1] for part in path)

    ours = adjoint_gradients(wave, lambda x, t: integrate(wave, x, t[0], t[1], solver, wave))
    other = adjoint_gradients(wave, reference)
    near = 1e-12 if equal else 1e-8
    for one, two in zip([ours[0], *ours[2:]], [other[0], *other[2:]], strict=True):
        torch.testing.assert_close(one, two, rtol=near, atol=near)
    torch.testing.assert_close(ours[1][1], other[1][1], rtol=near, atol=near)
    if not equal:
        torch.testing.assert_close(ours[1][0], other[1][0], rtol=near, atol=near)


#: A field that grows stiff without bound, trained by the adjoint; the solves are cut off.
STIFF = """
import sys
import torch
from bench.numerics.ode import Solver, SolverFailed, integrate

class Field(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rate = torch.nn.Parameter(torch.tensor(1e9))
        self.stiff = sys.argv[1] == "forward"

    def forward(self, t, state):
        speed = self.rate if self.stiff else torch.zeros(())
        return (-speed * (state[0] - torch.cos(1e3 * t)) + 0 * self.rate,)

field = Field()
(end,) = (None,)
try:
    (end,) = integrate(field, (torch.ones(4, 2),), 0.0, 1.0, Solver(max_num_steps=200), field)
    field.stiff = True
    end.sum().backward()
except SolverFailed as error:
    print(sys.flags.optimize, "forward" if end is None else "backward", error)
"""


@pytest.mark.parametrize("when", ["forward", "backward"])
def test_a_stiff_adjoint_ends_without_assertions_too(when: str) -> None:
    """Under `python -O`, which removes assertions."""
    done = subprocess.run(
        [sys.executable, "-P", "-O", "-c", STIFF, when], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.startswith(f"1 {when} "), done.stderr[-500:]
    assert "steps" in done.stdout
