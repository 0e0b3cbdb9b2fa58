"""Solving dx/dt = f(t, x): adaptive steps, equal steps, the adjoint equation, the score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torchdiffeq
from torch import Tensor, nn

from bench.numerics import dormand_prince
from bench.numerics.dormand_prince import Derivative, SolverFailed, State

__all__ = ["Derivative", "Solver", "SolverFailed", "State", "failure", "integrate", "with_score"]

#: Explicit Runge-Kutta rules: for each stage its time and the weights of the stages before it, and
#: the weights of the step. Source: Hairer, Norsett, Wanner 1993, section II.1, tables 1.1 and 1.2.
TABLEAUS: dict[str, tuple[list[tuple[float, list[float]]], list[float]]] = {
    "euler": ([(0, [])], [1]),
    "midpoint": ([(0, []), (1 / 2, [1 / 2])], [0, 1]),
    "rk4": (
        [(0, []), (1 / 2, [1 / 2]), (1 / 2, [0, 1 / 2]), (1, [0, 0, 1])],
        [1 / 6, 1 / 3, 1 / 3, 1 / 6],
    ),
    "rk4-38": (
        [(0, []), (1 / 3, [1 / 3]), (2 / 3, [-1 / 3, 1]), (1, [1, -1, 1])],
        [1 / 8, 3 / 8, 3 / 8, 1 / 8],
    ),
}


@dataclass(frozen=True)
class Solver:
    """An ODE solver and its accuracy.

    `dopri5` is adaptive: it keeps its local error under `atol + rtol |x|` and gives up after
    `max_num_steps` steps. `euler`, `midpoint`, `rk4` (the classic one) and `rk4-38` (Kutta's 3/8
    rule, which torchdiffeq calls rk4) make `steps` equal steps.
    """

    name: str = "dopri5"
    rtol: float = 1e-5
    atol: float = 1e-5
    max_num_steps: int = 2_000
    steps: int = 0

    def __post_init__(self) -> None:
        if self.name == "dopri5":
            for name in ("rtol", "atol", "max_num_steps"):
                if not getattr(self, name) > 0:
                    raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        elif self.name not in TABLEAUS:
            known = ", ".join(["dopri5", *TABLEAUS])
            raise ValueError(f"unknown solver {self.name!r}; known: {known}")
        elif self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")

    def tighter(self, factor: float) -> Solver:
        """Return the solver with tolerances divided, or steps multiplied, by `factor`."""
        return Solver(
            self.name,
            self.rtol / factor,
            self.atol / factor,
            # the error of an order-5 step falls with its length to the 5th
            round(self.max_num_steps * factor**0.2),
            round(self.steps * factor),
        )


def integrate(
    f: Derivative,
    start: State,
    t0: float | Tensor,
    t1: float | Tensor,
    solver: Solver,
    adjoint: nn.Module | None = None,
) -> State:
    """Return the state at `t1` of dx/dt = f(t, x) from `start` at `t0`.

    The state is a tuple of tensors; the adaptive error norm is the largest of their root mean
    squares. `t0` and `t1` may be tensors that require a gradient. With `adjoint`, gradients with
    respect to that module's parameters come from the adjoint equation (Chen et al. 2018), in
    memory that does not grow with the steps; without it, from plain backpropagation.

    >>> start = (torch.ones(1),)
    >>> (x,) = integrate(lambda t, state: state, start, 0.0, 1.0, Solver("rk4", steps=100))
    >>> round(x.item(), 4)
    2.7183

    Raises:
        SolverFailed: more than `max_num_steps` steps, a step underflow, or a value not finite.
    """
    dtype, device = start[0].dtype, start[0].device
    t = torch.stack([torch.as_tensor(each, dtype=dtype, device=device) for each in (t0, t1)])
    if t[0] == t[1]:
        raise SolverFailed(f"the interval has no length: it starts and ends at t = {float(t[0]):g}")
    if not all(torch.isfinite(part).all() for part in start):
        raise SolverFailed(f"the state is not finite at the start, t = {float(t[0]):g}")
    if adjoint is not None:
        end = _with_adjoint(f, start, t, solver, adjoint)
    elif solver.name == "dopri5":
        end = dormand_prince.solve(f, start, t, solver.rtol, solver.atol, solver.max_num_steps)
    else:
        end = _equal_steps(f, start, t, solver)
    if not all(torch.isfinite(part).all() for part in end):
        raise SolverFailed(f"a value is not finite at t = {float(t[1]):g}")
    return end


def with_score(
    f: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], *, create_graph: bool = False
) -> Derivative:
    r"""Return the right-hand side of the ODE of points and scores, for `integrate`.

    Along a path of dx/dt = v(t, x) the score s, the gradient of log p with respect to x, obeys

    $$ds/dt = -J^T s - \nabla (\mathrm{div}\, v),$$

    J the Jacobian of v (the instantaneous change of score, which follows from the continuity
    equation). Both come from one gradient, that of v's + div v with respect to x.

    The state is (x, s), both `(n, d)`.

    Args:
        f: gives the velocity `(n, d)` and its differentiable divergence `(n,)`.
        create_graph: whether a loss on the solution will be differentiated.
    """

    def derivative(t: Tensor, state: State) -> State:
        x, s = state if create_graph else (part.detach() for part in state)
        with torch.enable_grad():
            if not x.requires_grad:
                x = x.detach().requires_grad_()
            velocity, divergence = f(t, x)
            # 0 x: also a field that is the same everywhere has a gradient
            total = (velocity * s + 0 * x).sum() + divergence.sum()
            (gradient,) = torch.autograd.grad(total, x, create_graph=create_graph)
        return velocity if create_graph else velocity.detach(), -gradient

    return derivative


def failure(error: AssertionError) -> SolverFailed:
    """Return the error that one of torchdiffeq's assertions means.

    The adjoint equation is solved inside `backward()`: its caller has to catch the assertions.
    """
    text = str(error)
    meanings = {
        "max_num_steps": f"the solver ran out of steps ({text}): the field is too stiff",
        "underflow": f"the solver's step shrank to nothing ({text})",
        "non-finite": f"the state is not finite ({text})",
        "": f"torchdiffeq: {text or 'an assertion without a text'}",
    }
    return SolverFailed(next(meaning for word, meaning in meanings.items() if word in text))


def _equal_steps(f: Derivative, start: State, t: Tensor, solver: Solver) -> State:
    """Make `solver.steps` steps of its rule from `t[0]` to `t[1]`."""
    stages, weights = TABLEAUS[solver.name]
    h = (t[1] - t[0]) / solver.steps
    state = start
    for k in range(solver.steps):
        slopes: list[State] = []
        for time, row in stages:
            slopes.append(f(t[0] + (k + time) * h, _moved(state, slopes, row, h)))
        state = _moved(state, slopes, weights, h)
    return state


def _moved(state: State, slopes: list[State], weights: list[float], h: Tensor) -> State:
    """Return state + h sum_i weights_i slopes_i, part by part."""
    used = [(w * h, slope) for w, slope in zip(weights, slopes, strict=True) if w]
    for step, slope in used:
        state = tuple(torch.addcmul(x, step, v) for x, v in zip(state, slope, strict=True))
    return state


def _with_adjoint(
    f: Derivative, start: State, t: Tensor, solver: Solver, adjoint: nn.Module
) -> State:
    """Return torchdiffeq's solution, whose gradient comes from the adjoint equation."""
    if solver.name == "rk4":
        raise ValueError("torchdiffeq, which solves the adjoint, has rk4-38 but no classic rk4")

    def grid(f: Derivative, start: State, t: Tensor) -> Tensor:
        shares = torch.arange(solver.steps, dtype=t.dtype, device=t.device) / solver.steps
        return torch.cat([t[0] + (t[-1] - t[0]) * shares, t[-1:]])

    # torchdiffeq's own limits are assertions, which `python -O` removes: six evaluations a step,
    # and the few that choose the first step.
    limit = left = 6 * solver.max_num_steps + 12

    def limited(t: Tensor, state: State) -> State:
        nonlocal left
        left -= 1
        if left < 0:
            raise SolverFailed(f"more than {limit} evaluations: the field is too stiff")
        return f(t, state)

    adaptive = solver.name == "dopri5"
    options: dict[str, Any] = {"max_num_steps": solver.max_num_steps}
    if not adaptive:
        options = {"grid_constructor": grid}  # with `step_size`, rounding may add a step
    try:
        path = torchdiffeq.odeint_adjoint(
            limited if adaptive else f,
            start,
            t,
            rtol=solver.rtol,
            atol=solver.atol,
            method=solver.name.removesuffix("-38"),
            options=options,
            adjoint_params=tuple(adjoint.parameters()),
        )
    except AssertionError as error:
        with torch.no_grad():
            if not all(torch.isfinite(part).all() for part in f(t[0], start)):
                raise SolverFailed("the slope is not finite at the start") from error
        raise failure(error) from error
    left = limit  # for the backward pass
    return tuple(part[-1] for part in path)
