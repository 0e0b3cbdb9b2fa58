"""The score of a density that moves with a velocity field."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bench.numerics.ode import Derivative, State


def with_score(
    f: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], *, create_graph: bool = False
) -> Derivative:
    r"""Return the right-hand side of the ODE of points and scores, for `ode.integrate`.

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
