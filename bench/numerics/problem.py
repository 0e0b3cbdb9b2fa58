"""What is solved, dx/dt = f(t, x), and what a solver says where it fails."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

#: The tensors that are solved for together.
State = tuple[Tensor, ...]
#: f(t, state), with a scalar t and a state of the same shapes.
Derivative = Callable[[Tensor, State], State]


class SolverFailed(ArithmeticError):
    """The solver gave up: the field is too stiff for its bound on steps, or not finite."""
