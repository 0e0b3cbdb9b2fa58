"""Solving dx/dt = f(t, x): adaptive steps, equal steps, the adjoint equation, the score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from bench.numerics import dormand_prince
from bench.numerics.dormand_prince import Derivative, SolverFailed, State

__all__ = ["Derivative", "Solver", "SolverFailed", "State", "integrate", "with_score"]

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

    def shares(self) -> list[float]:
        """Return the share of every evaluation in an integral over a solve in equal steps."""
        return [weight / self.steps for weight in TABLEAUS[self.name][1]] * self.steps


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
    times = [torch.as_tensor(each, dtype=dtype, device=device) for each in (t0, t1)]
    if times[0] == times[1]:
        raise SolverFailed(f"the interval has no length: it starts and ends at t = {float(t0):g}")
    if not all(torch.isfinite(part).all() for part in start):
        raise SolverFailed(f"the state is not finite at the start, t = {float(t0):g}")
    if adjoint is None:
        end, _ = _solve(solver, f, start, torch.stack(times))
    else:
        parameters = [p for p in adjoint.parameters() if p.requires_grad]
        end = _Adjoint.apply(solver, f, len(start), *times, *start, *parameters)  # type: ignore[no-untyped-call]
    if not all(torch.isfinite(part).all() for part in end):
        raise SolverFailed(f"a value is not finite at t = {float(t1):g}")
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


def _solve(
    solver: Solver,
    f: Derivative,
    start: State,
    t: Tensor,
    measured: int | None = None,
    h: float | None = None,
) -> tuple[State, float | None]:
    """Solve from `t[0]` to `t[1]`; dopri5's errors are those of the first `measured` parts.

    Returns also the step that would be next, with which (as `h`) an adaptive solve can begin.
    """
    if solver.name == "dopri5":
        limits = solver.rtol, solver.atol, solver.max_num_steps
        return dormand_prince.solve(f, start, t, *limits, measured, h)
    stages, weights = TABLEAUS[solver.name]
    length = (t[1] - t[0]) / solver.steps
    shares, moves = _scaled(weights, length), [(time, _scaled(row, length)) for time, row in stages]
    state = start
    for k in range(solver.steps):
        slopes: list[State] = []
        for time, row in moves:
            slopes.append(f(t[0] + (k + time) * length, _moved(state, slopes, row)))
        state = _moved(state, slopes, shares)
    return state, None


def _scaled(weights: list[float], h: Tensor) -> list[Tensor | None]:
    """Return h times the weights, None for 0."""
    return [w * h if w else None for w in weights]


def _moved(state: State, slopes: list[State], steps: list[Tensor | None]) -> State:
    """Return state + sum_i steps_i slopes_i, part by part."""
    for step, slope in zip(steps, slopes, strict=True):
        if step is not None:
            state = tuple(torch.addcmul(x, step, v) for x, v in zip(state, slope, strict=True))
    return state


class _Adjoint(torch.autograd.Function):
    """The state at t1, with gradients by the adjoint equation.

    With L the loss, a = dL/dx and p the parameters, backwards in time from t1, where a is given:

        dx/dt = f,   da/dt = -a' df/dx,   dg/dt = -a' df/dp,   g(t1) = 0,   dL/dp = g(t0),

    and dL/dt1 = a(t1)'f, dL/dt0 = -a(t0)'f. Source: Chen et al. 2018, appendix B; the sizes of
    errors leave out g, on which nothing else depends: Kidger, Chen, Lyons 2021. The way back begins
    with the step that would have been next on the way there.

    Arguments: the solver, f, the number of parts of the state, t0, t1, the parts at the start, the
    parameters.
    """

    @staticmethod
    def forward(
        ctx: Any, solver: Solver, f: Derivative, parts: int, t0: Tensor, t1: Tensor, *given: Tensor
    ) -> State:
        end, h = _solve(solver, f, given[:parts], torch.stack([t0, t1]))
        ctx.solver, ctx.f, ctx.h = solver, f, None if h is None else -h
        ctx.save_for_backward(t0, t1, *end, *given[parts:])
        return end

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *by_end: Tensor) -> tuple[Tensor | None, ...]:
        t0, t1, *saved = ctx.saved_tensors
        parts = len(by_end)
        end, parameters = tuple(saved[:parts]), saved[parts:]

        def back(t: Tensor, state: State) -> State:
            with torch.enable_grad():
                x = tuple(part.detach().requires_grad_() for part in state[:parts])
                slopes = ctx.f(t, x)
            pairs = zip(slopes, state[parts:], strict=False)
            pulled = [(slope, -a) for slope, a in pairs if slope.requires_grad]
            by_x = torch.autograd.grad(
                [slope for slope, _ in pulled],
                [*x, *parameters],
                [a for _, a in pulled],
                materialize_grads=True,
            )
            flat = torch.cat([part.reshape(-1) for part in by_x[parts:]])
            return (*(slope.detach() for slope in slopes), *by_x[:parts], flat)

        def along(t: Tensor, x: State, a: State) -> Tensor:
            return torch.stack([(v * b).sum() for v, b in zip(ctx.f(t, x), a, strict=True)]).sum()

        sizes = [p.numel() for p in parameters]
        g = end[0].new_zeros(sum(sizes))
        try:
            state, _ = _solve(
                ctx.solver, back, (*end, *by_end, g), torch.stack([t1, t0]), 2 * parts, ctx.h
            )
        except SolverFailed as error:
            raise SolverFailed(f"backward, {error}") from error
        start, by_start, g = state[:parts], state[parts : 2 * parts], state[-1]
        by_t0 = -along(t0, start, by_start) if ctx.needs_input_grad[3] else None
        by_t1 = along(t1, end, by_end) if ctx.needs_input_grad[4] else None
        by_p = (x.view_as(p) for x, p in zip(torch.split(g, sizes), parameters, strict=True))
        return (None, None, None, by_t0, by_t1, *by_start, *by_p)
