"""Divergences of a velocity field: exact, estimated, and in closed form.

Each takes `f`, a map of rows `(n, d)` to rows `(n, d)` (a field at one time), and returns the
velocity `(n, d)` and its divergence `(n,)`. All can be differentiated again. Those
`_with_norm` also return |J|_F^2 `(n,)`, the squared Frobenius norm of the Jacobian.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.func import jvp, vjp, vmap

Map = Callable[[Tensor], Tensor]

#: Rows that `exact` pushes through the field at once: bounds its memory.
ROWS_AT_ONCE = 2**14
#: Numbers in the tangents that `propagated` pushes at once: small enough for a CPU's cache.
TANGENTS = 2**18


def exact(f: Map, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the exact divergence, from d Jacobian-vector products in forward mode.

    Costs about 2d evaluations of `f`; the memory is that of `ROWS_AT_ONCE` rows.

    >>> exact(lambda x: 3 * x, torch.ones(1, 2))
    (tensor([[3., 3.]]), tensor([6.]))
    """
    velocity, divergence, _ = exact_with_norm(f, x)
    return velocity, divergence


def exact_with_norm(f: Map, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return also the Jacobian's squared Frobenius norm `(n,)`, from the same products."""
    n, d = x.shape
    basis = torch.eye(d, dtype=x.dtype, device=x.device)

    def column(direction: Tensor) -> tuple[Tensor, Tensor]:
        pushed = jvp(f, (x,), (direction.expand_as(x),))[1]
        return torch.mv(pushed, direction), pushed.square().sum(-1)

    at_once = max(1, ROWS_AT_ONCE // max(n, 1))
    diagonal, squares = vmap(column, chunk_size=at_once)(basis)
    return f(x), diagonal.sum(0), squares.sum(0)


def hutchinson(f: Map, x: Tensor, probe: Tensor) -> tuple[Tensor, Tensor]:
    """Return Hutchinson's estimate e'Je for the probe e `(n, d)`, in one forward-mode product.

    Unbiased where E[ee'] = I. Its variance is 2|S|_F^2 for Gaussian probes, with S the symmetric
    part of J, and 2(|S|_F^2 - sum_i S_ii^2) for Rademacher probes. Keep the probe within one solve:
    new noise at every evaluation makes the field rough.

    Signs give a diagonal Jacobian's trace without noise:

    >>> hutchinson(lambda x: 3 * x, torch.ones(1, 2), torch.tensor([[1.0, -1.0]]))[1]
    tensor([6.])

    Source: Grathwohl et al. 2019 (FFJORD), section 3.1.
    """
    velocity, pushed = jvp(f, (x,), (probe,))  # type: ignore[misc]
    return velocity, (probe * pushed).sum(-1)


def hutchinson_with_norm(f: Map, x: Tensor, probe: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return also the estimate |e'J|^2 `(n,)` of the Jacobian's squared Frobenius norm.

    One reverse-mode product gives both; both are unbiased where E[ee'] = I.
    Source: Finlay et al. 2020 (RNODE), section 3.2.
    """
    velocity, pull = vjp(f, x)  # type: ignore[misc]
    (row,) = pull(probe)
    return velocity, (row * probe).sum(-1), row.square().sum(-1)


def finite_difference(f: Map, x: Tensor, probe: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """Return Hutchinson's estimate by a forward difference, e'(f(x + sigma e) - f(x)) / sigma.

    One evaluation more and no second-order differentiation; exact along the probe where f is
    linear, and off by O(sigma) elsewhere. Source: Xu, Cheng & Xie 2023 (JKO-iFlow), appendix.
    """
    n = len(x)
    both = f(torch.cat([x, x + sigma * probe]))
    return both[:n], (probe * (both[n:] - both[:n])).sum(-1) / sigma


def collapsed(w1: Tensor, w2: Tensor, w3: Tensor, slope1: Tensor, slope2: Tensor) -> Tensor:
    """Return the exact divergence of two hidden layers, at the cost of one more hidden layer.

    For v(x) = w3 s(w2 s(w1 x + b1) + b2) + b3 the Jacobian is w3 D2 w2 D1 w1 with D1, D2 the
    diagonals of the activations' derivatives `slope1` `(n, m1)` and `slope2` `(n, m2)`, so

        tr J = sum_ij slope2_i w2_ij slope1_j (w1 w3)_ji = slope2' (w2 o (w1 w3)') slope1.

    Shapes: w1 `(m1, d)`, w2 `(m2, m1)`, w3 `(d, m2)`; returns `(n,)`.
    """
    return (slope2 @ (w2 * (w1 @ w3).T) * slope1).sum(-1)


def propagated(weights: Sequence[Tensor], slopes: Sequence[Tensor]) -> Tensor:
    """Return the exact divergence of a multilayer perceptron by pushing tangents through it.

    The rows of the identity go through every layer as tangents, all d at once: d evaluations of
    the hidden layers. Where they are more than fit a cache, no tangent outlives its group of rows:
    gradients are computed at once.

    Args:
        weights: of all layers, `(m1, d)`, `(m2, m1)`, ..., `(d, mL)`.
        slopes: the activations' derivatives, `(n, m1)`, ..., `(n, mL)`.

    Returns:
        tr J, `(n,)`.
    """
    if torch.compiler.is_compiling() or len(slopes[0]) * weights[0].numel() <= TANGENTS:
        return _tangents(weights, slopes)
    if torch.is_grad_enabled():
        divergence: Tensor = _Propagated.apply(len(weights), *weights, *slopes)  # type: ignore[no-untyped-call]
        return divergence
    return torch.cat([_tangents(weights, group) for group in _groups(weights, slopes)])


class _Propagated(torch.autograd.Function):
    """`propagated`; the arguments are the number of weights, the weights, the slopes.

    A loss that weighs all rows alike knows its gradient up to a factor before the backward pass.
    Where it does not, the tangents are pushed once more.
    """

    @staticmethod
    def forward(ctx: Any, layers: int, *given: Tensor) -> Tensor:
        ctx.layers = layers
        value, by_given = _pulled(layers, given, given[-1].new_ones(len(given[-1])))
        ctx.save_for_backward(*given, *by_given)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_value: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        given, by_given = saved[: len(saved) // 2], saved[len(saved) // 2 :]
        if (by_value == by_value[0]).all():
            return None, *(by_value[0] * by for by in by_given)
        return None, *_pulled(ctx.layers, given, by_value)[1]


def _pulled(layers: int, given: Sequence[Tensor], factors: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The divergence, and the gradient of its sum with `factors` `(n,)`, group by group."""
    weights = [weight.detach().requires_grad_() for weight in given[:layers]]
    by_weights = [torch.zeros_like(weight) for weight in weights]
    values, by_slopes = list[Tensor](), list[tuple[Tensor, ...]]()
    for *group, factor in _groups(weights, [*given[layers:], factors]):
        with torch.enable_grad():
            slopes = [slope.detach().requires_grad_() for slope in group]
            value = _tangents(weights, slopes)
        by_group = torch.autograd.grad(value, [*weights, *slopes], factor)
        values.append(value.detach())
        by_weights = [total.add_(by) for total, by in zip(by_weights, by_group, strict=False)]
        by_slopes.append(by_group[layers:])
    return torch.cat(values), by_weights + [torch.cat(by) for by in zip(*by_slopes, strict=True)]


def _groups(weights: Sequence[Tensor], rows: Sequence[Tensor]) -> Iterator[tuple[Tensor, ...]]:
    """Split tensors of n rows into groups whose tangents fit a cache (elsewhere, the memory)."""
    most = TANGENTS if weights[0].device.type == "cpu" else 256 * TANGENTS
    size = max(1, most // max(weight.numel() for weight in (weights[0], weights[-1])))
    return zip(*(torch.split(part, size) for part in rows), strict=True)


def _tangents(weights: Sequence[Tensor], slopes: Sequence[Tensor]) -> Tensor:
    """The trace `(n,)` from tangents of a group of rows, `(n, d, m)` after each layer."""
    tangents = weights[0].T * slopes[0][:, None, :]
    for weight, slope in zip(weights[1:-1], slopes[1:], strict=True):
        # one product of matrices: without gradients, torch would make a batch of n small ones
        pushed = tangents.flatten(0, 1) @ weight.T
        tangents = torch.unflatten(pushed, 0, tangents.shape[:2]) * slope[:, None, :]
    return (tangents * weights[-1]).sum((1, 2))


def gaussian_probe(x: Tensor) -> Tensor:
    """Return a probe of independent standard normals, shaped like x."""
    return torch.randn_like(x)


def rademacher_probe(x: Tensor) -> Tensor:
    """Return a probe of independent signs, shaped like x."""
    return torch.randint_like(x, 2).mul_(2).sub_(1)
