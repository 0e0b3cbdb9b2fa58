"""OT-Flow's potential: its closed forms against double differentiation of Phi itself."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from bench_methods.potential import Potential
from bench_methods.potential_passes import COLUMNS_SIZE, antiderivative, slope

every_dimension = pytest.mark.parametrize("d", [2, 6, 43, 63])
every_depth = pytest.mark.parametrize("layers", [1, 2, 3, 4])


def potential(d: int, layers: int, width: int = 12) -> Potential:
    """In float64, no parameter at its initial value."""
    torch.manual_seed(d + layers)
    phi = Potential(d, width, layers, rank=10).double()
    with torch.no_grad():
        for parameter in phi.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return phi


def points(d: int, n: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(d)
    s = torch.randn(n, d + 1, generator=generator, dtype=torch.float64)
    return s.requires_grad_()


def differentiated(phi: Potential, s: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient `(n, d + 1)` and the Laplacian in x `(n,)`, by autograd, twice."""
    (gradient,) = torch.autograd.grad(phi(s).sum(), s, create_graph=True)
    diagonal = [
        torch.autograd.grad(gradient[:, k].sum(), s, create_graph=True)[0][:, k]
        for k in range(s.shape[1] - 1)
    ]
    return gradient, torch.stack(diagonal).sum(0)


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@every_dimension
@every_depth
def test_closed_forms_match_autograd(d: int, layers: int) -> None:
    """The gradient (the time derivative is its last entry) and the Laplacian, to 1e-10."""
    phi, s = potential(d, layers), points(d)
    gradient, laplacian = differentiated(phi, s)
    close(phi.derivatives().gradient(s), gradient)
    again, by_row = phi.derivatives().with_laplacian(s)
    close(again, gradient)
    close(by_row, laplacian)
    again, total = phi.derivatives().with_total_laplacian(s)
    close(again, gradient)
    close(total, laplacian.sum())
    assert (laplacian.abs() > 0.1).all()


@every_dimension
@every_depth
@pytest.mark.parametrize("of", ["gradient", "laplacian", "both"])
def test_derivatives_of_closed_forms_match_autograd(d: int, layers: int, of: str) -> None:
    """By s and every parameter: what is written by hand, against autograd over autograd."""
    phi, s = potential(d, layers), points(d)
    weights = torch.randn(len(s), d + 1, dtype=torch.float64)

    def scalar(gradient: Tensor, total: Tensor) -> Tensor:
        by_gradient = (weights * gradient).sum() if of != "laplacian" else torch.zeros(())
        return by_gradient + (1.7 * total if of != "gradient" else 0)

    gradient, laplacian = differentiated(phi, s)
    trained = {"s": s} | {k: p for k, p in phi.named_parameters() if p.requires_grad}
    expected = torch.autograd.grad(
        scalar(gradient, laplacian.sum()), list(trained.values()), materialize_grads=True
    )
    found = torch.autograd.grad(
        scalar(*phi.derivatives().with_total_laplacian(s)),
        list(trained.values()),
        materialize_grads=True,
    )
    for name, one, other in zip(trained, found, expected, strict=True):
        torch.testing.assert_close(
            one, other, rtol=1e-10, atol=1e-10, msg=lambda m, name=name: f"{name}: {m}"
        )


@pytest.mark.parametrize("layers", [2, 3])
def test_columns_in_several_groups_give_the_same(layers: int) -> None:
    """More numbers than are pushed at once: the groups' sums are the whole, and its derivatives."""
    d, n, width = 5, 2_000, 40
    assert 1 < COLUMNS_SIZE / (n * width) < d
    phi, s = potential(d, layers, width), points(d, n)
    _, laplacian = differentiated(phi, s)
    close(phi.derivatives().with_laplacian(s)[1], laplacian)
    trained = [p for p in phi.parameters() if p.requires_grad]
    total = phi.derivatives().with_total_laplacian(s)[1]
    found = torch.autograd.grad(total, [s, *trained], materialize_grads=True)
    expected = torch.autograd.grad(laplacian.sum(), [s, *trained], materialize_grads=True)
    for one, other in zip(found, expected, strict=True):
        close(one, other)


def test_rows_in_several_groups_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rows at once, of eight: the same values and derivatives as all at once."""
    phi, s = potential(3, 2), points(3, 8)
    trained = [s, *(p for p in phi.parameters() if p.requires_grad)]
    whole = phi.derivatives().with_total_laplacian(s)
    monkeypatch.setattr("bench_methods.potential.ROWS_SIZE", 3 * 12)
    parts = phi.derivatives().with_total_laplacian(s)
    for one, other in zip(whole, parts, strict=True):
        close(one, other)
    found, expected = (
        torch.autograd.grad(gradient.square().sum() + total, trained)
        for gradient, total in (parts, whole)
    )
    for one, other in zip(found, expected, strict=True):
        close(one, other)


@pytest.mark.parametrize("d", [2, 43])
@every_depth
def test_the_formula_that_is_compiled_gives_the_same(
    d: int, layers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    phi, s = potential(d, layers), points(d)
    found = []
    for compiled in (False, True):
        monkeypatch.setattr("torch.compiler.is_compiling", lambda compiled=compiled: compiled)
        gradient, total = phi.derivatives().with_total_laplacian(s)
        loss = gradient.sin().sum() + total
        trained = [parameter for parameter in phi.parameters() if parameter.requires_grad]
        by = torch.autograd.grad(loss, [s, *trained], materialize_grads=True)
        found.append([loss, *by])
    for one, other in zip(*found, strict=True):
        close(one, other)


def test_derivatives_of_a_quadratic_potential() -> None:
    """With w = 0: grad = A'A s + b and a Laplacian that is the trace of A'A without time."""
    phi, s = potential(3, 2), points(3)
    with torch.no_grad():
        phi.w.zero_()
    square = phi.A.T @ phi.A
    gradient, laplacian = phi.derivatives().with_laplacian(s)
    close(gradient, s @ square + phi.b)
    close(laplacian, square.diagonal()[:3].sum().expand(len(s)))


def test_the_activation_is_accurate_far_out() -> None:
    """ln(2 cosh y) and tanh y, where the exponentials of either over- or underflow too."""
    y = [-800.0, -25.0, -3.0, 0.0, 1e-9, 3.0, 25.0, 800.0]
    expected = [abs(v) + math.log1p(math.exp(-2 * abs(v))) for v in y]
    at = torch.tensor(y, dtype=torch.float64)
    close(antiderivative(at), torch.tensor(expected, dtype=torch.float64))
    close(slope(at), torch.tensor([math.tanh(v) for v in y], dtype=torch.float64))


def test_the_initial_potential_is_the_papers() -> None:
    """As in the paper: w = 1, b = c = 0, all hidden layers alike; the size is m's polynomial."""
    torch.manual_seed(0)
    d, m, phi = 6, 128, Potential(6, 128, 3, rank=10)
    assert torch.equal(phi.w, torch.ones(m))
    assert not phi.b.any()
    assert not phi.c.any()
    assert phi.A.shape == (d + 1, d + 1)
    assert (phi.A.abs() <= math.sqrt(6 / (2 * (d + 1)))).all()
    first, second = phi.hidden
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(first.bias, second.bias)
    two = sum(p.numel() for p in Potential(6, 128, 2, rank=10).parameters())
    assert two == 17_721  # METHODS: POWER in the paper
