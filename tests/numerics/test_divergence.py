"""Divergences against Jacobians by reverse-mode autograd, row by row, in float64."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bench.api.method import Field
from bench.numerics import divergence
from bench.numerics.divergence import (
    collapsed,
    exact,
    exact_with_norm,
    gaussian_probe,
    hutchinson,
    hutchinson_with_norm,
    rademacher_probe,
)
from bench_methods.activations import ACTIVATIONS
from bench_methods.networks import ConcatSquash, FourierMLP

NETWORKS: dict[str, Callable[[int, str], Field]] = {
    "fourier": lambda d, a: FourierMLP(d, 6, 3, a),
    "fourier without frequencies": lambda d, a: FourierMLP(d, 6, 0, a),
    "fourier as wide as d": lambda d, a: FourierMLP(d, d, 1, a),
    "squash, 1 hidden": lambda d, a: ConcatSquash(d, 6, 1, a),
    "squash, 2 hidden": lambda d, a: ConcatSquash(d, 6, 2, a),
    "squash, 2 hidden as wide as d": lambda d, a: ConcatSquash(d, d, 2, a),
    "squash, 3 hidden": lambda d, a: ConcatSquash(d, 6, 3, a),
}
SCALE = 0.7


def field_of(network: str, d: int, activation: str = "tanh") -> Field:
    """The network in float64, with no parameter at zero."""
    field = NETWORKS[network](d, activation).double()
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.normal_(0, SCALE)
    return field


def jacobians(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The Jacobian `(n, d, d)` of each row, by reverse mode."""
    one = torch.autograd.functional.jacobian
    return torch.stack([one(lambda y: f(y[None])[0], row) for row in x])


def traces(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return jacobians(f, x).diagonal(dim1=-2, dim2=-1).sum(-1)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_fields_divergence_is_the_trace_of_its_jacobian(
    network: str, d: int, activation: str
) -> None:
    field, x = field_of(network, d, activation), torch.randn(4, d, dtype=torch.float64)
    for time in (0.0, 0.3, 1.7):
        t = torch.tensor(time, dtype=torch.float64)
        velocity, div = field.with_divergence(t, x)
        torch.testing.assert_close(velocity, field(t, x), rtol=1e-12, atol=1e-12)
        oracle = traces(lambda y, t=t: field(t, y), x)
        torch.testing.assert_close(div, oracle, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(
            exact(lambda y, t=t: field(t, y), x)[1], oracle, rtol=1e-10, atol=1e-12
        )


@pytest.mark.parametrize("network", NETWORKS)
def test_the_divergence_at_a_time_for_each_row(network: str) -> None:
    """Rows at times `(n,)` have the velocity and the divergence that each has alone."""
    field, x = field_of(network, 3), torch.randn(5, 3, dtype=torch.float64)
    t = torch.rand(5, dtype=torch.float64)
    alone = torch.cat([field(s, row[None]) for s, row in zip(t, x, strict=True)])
    torch.testing.assert_close(field(t, x), alone, rtol=1e-12, atol=1e-12)
    oracle = torch.cat([traces(lambda y, s=s: field(s, y), r[None]) for s, r in zip(t, x)])  # noqa: B905
    torch.testing.assert_close(exact(lambda y: field(t, y), x)[1], oracle, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("d", [1, 2, 5])
def test_a_closed_form_may_not_be_wrong_in_silence_at_times_for_each_row(d: int) -> None:
    """`with_divergence` at times `(n,)` is right, or an error: also where n, d and width agree."""
    for network in NETWORKS:
        field, x = field_of(network, d), torch.randn(d, d, dtype=torch.float64)
        t = torch.rand(d, dtype=torch.float64)
        try:
            div = field.with_divergence(t, x)[1]
        except (RuntimeError, ValueError):
            continue
        oracle = exact(lambda y, f=field, t=t: f(t, y), x)[1]
        torch.testing.assert_close(div, oracle, msg=lambda m, n=network: f"{n}: {m}")


def test_collapsed_against_the_product_of_the_jacobian() -> None:
    """tr(w3 D2 w2 D1 w1), multiplied out for each row; the three sizes all differ."""
    w1, w2, w3 = torch.randn(5, 3), torch.randn(7, 5), torch.randn(3, 7)
    slope1, slope2 = torch.rand(11, 5), torch.rand(11, 7)
    oracle = torch.stack(
        [(w3 @ b.diag() @ w2 @ a.diag() @ w1).trace() for a, b in zip(slope1, slope2, strict=True)]
    )
    torch.testing.assert_close(collapsed(w1, w2, w3, slope1, slope2), oracle, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_an_activations_slope_is_its_derivative(activation: str) -> None:
    value, with_slope = ACTIVATIONS[activation].value, ACTIVATIONS[activation].with_slope
    x = torch.linspace(-8, 8, 97, dtype=torch.float64)
    h = 1e-6
    again, slope = with_slope(x)
    torch.testing.assert_close(again, value(x), rtol=1e-12, atol=1e-12)
    difference = (value(x + h) - value(x - h)) / (2 * h)
    torch.testing.assert_close(slope, difference, rtol=0, atol=1e-9)


@pytest.mark.parametrize("rows_at_once", [1, 7, 10_000])
def test_exact_in_pieces_is_exact(rows_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(divergence, "ROWS_AT_ONCE", rows_at_once)
    a = torch.randn(6, 6, dtype=torch.float64)
    velocity, div = exact(lambda y: (y @ a.T).sin(), x := torch.randn(3, 6, dtype=torch.float64))
    oracle = ((x @ a.T).cos() * a.diagonal()).sum(-1)
    torch.testing.assert_close(div, oracle, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(velocity, (x @ a.T).sin())


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("d", [1, 3])
def test_norms_are_those_of_the_jacobian(network: str, d: int) -> None:
    """|J|_F^2, and |e'J|^2 beside e'Je, from the rows' Jacobians; velocities as they are."""
    field, x = field_of(network, d), torch.randn(4, d, dtype=torch.float64)
    t, probe = torch.tensor(0.4, dtype=torch.float64), torch.randn_like(x)
    found = jacobians(lambda y: field(t, y), x)
    velocity, div, norm = exact_with_norm(lambda y: field(t, y), x)
    torch.testing.assert_close(velocity, field(t, x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        div, found.diagonal(dim1=-2, dim2=-1).sum(-1), rtol=1e-10, atol=1e-12
    )
    torch.testing.assert_close(norm, found.square().sum((1, 2)), rtol=1e-10, atol=1e-12)
    velocity, div, norm = hutchinson_with_norm(lambda y: field(t, y), x, probe)
    row = torch.einsum("ni,nij->nj", probe, found)
    torch.testing.assert_close(velocity, field(t, x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(div, (row * probe).sum(-1), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(norm, row.square().sum(-1), rtol=1e-10, atol=1e-12)


def test_exact_of_a_constant_field_is_zero() -> None:
    velocity, div = exact(lambda y: torch.ones_like(y), torch.randn(3, 2))
    assert velocity.shape == (3, 2)
    torch.testing.assert_close(div, torch.zeros(3))


@pytest.mark.parametrize("probe", [gaussian_probe, rademacher_probe])
def test_hutchinsons_mean_is_the_trace(probe: Callable[[Tensor], Tensor]) -> None:
    """Within 4 standard errors, for a network's own Jacobian at each of three points."""
    field, points = field_of("fourier", 4), torch.randn(3, 4, dtype=torch.float64)
    t, n = torch.tensor(0.4, dtype=torch.float64), 50_000
    oracle = traces(lambda y: field(t, y), points)
    with torch.no_grad():
        for point, true in zip(points, oracle, strict=True):
            x = point.expand(n, 4).clone()
            velocity, estimates = hutchinson(lambda y: field(t, y), x, probe(x))
            se = estimates.std() / math.sqrt(n)
            assert abs(estimates.mean() - true) < 4 * se
            assert se > 0
            torch.testing.assert_close(velocity[0], field(t, point[None])[0])


@pytest.mark.parametrize("probe", [gaussian_probe, rademacher_probe])
def test_hutchinsons_variance_is_the_formulas(probe: Callable[[Tensor], Tensor]) -> None:
    """On a linear field: within 4 standard errors of the sample variance (delta method)."""
    a, n = torch.randn(5, 5, dtype=torch.float64), 200_000
    s = (a + a.T) / 2
    formula = 2 * s.square().sum()
    if probe is rademacher_probe:
        formula -= 2 * s.diagonal().square().sum()
    x = torch.zeros(n, 5, dtype=torch.float64)
    centred = hutchinson(lambda y: y @ a.T, x, probe(x))[1] - a.trace()
    variance = centred.square().mean()
    se = ((centred**4).mean() - variance**2).sqrt() / math.sqrt(n)
    assert abs(variance - formula) < 4 * se
    assert se < 0.02 * formula


def test_hutchinson_with_a_unit_vector_is_a_diagonal_entry() -> None:
    a = torch.randn(3, 3, dtype=torch.float64)
    x = torch.randn(3, 3, dtype=torch.float64)
    _, entries = hutchinson(lambda y: y @ a.T, x, torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(entries, a.diagonal())


def test_a_rademacher_diagonal_field_has_no_variance() -> None:
    a = torch.tensor([1.0, -2.0, 0.5])
    x = torch.zeros(100, 3)
    estimates = hutchinson(lambda y: y * a, x, rademacher_probe(x))[1]
    torch.testing.assert_close(estimates, torch.full((100,), -0.5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_probes(dtype: torch.dtype) -> None:
    """Shape and type of x; mean 0 and second moment I within 5 standard errors."""
    x = torch.zeros(40_000, 2, dtype=dtype)
    signs, normals = rademacher_probe(x), gaussian_probe(x)
    for probe in (signs, normals):
        assert probe.shape == x.shape
        assert probe.dtype == dtype
        assert (probe.mean(0).abs() < 5 / 200).all()
        second = probe.T @ probe / len(probe)
        assert (second - torch.eye(2, dtype=dtype)).abs().max() < 5 * math.sqrt(2) / 200
    assert set(signs.flatten().tolist()) == {-1.0, 1.0}


@pytest.mark.parametrize("network", ["fourier", "squash, 2 hidden", "squash, 3 hidden"])
@pytest.mark.parametrize("kind", ["exact", "hutchinson", "trace"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_divergence_has_a_gradient(network: str, kind: str, activation: str) -> None:
    """The slope of a loss of the divergence along directions, against central differences."""
    field, x = field_of(network, 3, activation), torch.randn(4, 3, dtype=torch.float64)
    t, probe = torch.tensor(0.6, dtype=torch.float64), torch.randn_like(x)

    def loss() -> Tensor:
        def f(y: Tensor) -> Tensor:
            return field(t, y)

        if kind == "exact":
            div = exact(f, x)[1]
        elif kind == "hutchinson":
            div = hutchinson(f, x, probe)[1]
        else:
            div = field.with_divergence(t, x)[1]
        return (div + 0.1 * div.square()).sum()

    parameters = list(field.parameters())
    gradients = torch.autograd.grad(loss(), parameters, allow_unused=True)
    h = 1e-5
    for _ in range(3):
        directions = [torch.randn_like(p) for p in parameters]
        slope = sum(
            (g * v).sum() for g, v in zip(gradients, directions, strict=True) if g is not None
        )
        values = []
        for step in (h, -2 * h):
            with torch.no_grad():
                for p, v in zip(parameters, directions, strict=True):
                    p += step * v
            values.append(loss().detach())
        with torch.no_grad():
            for p, v in zip(parameters, directions, strict=True):
                p += h * v
        difference = (values[0] - values[1]) / (2 * h)
        torch.testing.assert_close(slope, difference, rtol=1e-6, atol=1e-6)


def test_the_divergence_has_a_gradient_in_x() -> None:
    """div of x -> x^3 / 3 elementwise is |x|^2, whose gradient is 2x."""
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(exact(lambda y: y**3 / 3, x)[1].sum(), x)
    torch.testing.assert_close(gradient, 2 * x.detach())


@pytest.mark.parametrize("even", [True, False], ids=["even weights of rows", "uneven weights"])
@pytest.mark.parametrize("hidden", [3, 4])
def test_tangents_in_groups_of_rows(
    hidden: int, even: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than fit the cache: the trace of the product of the layers, and autograd's gradients."""
    draw = torch.Generator().manual_seed(hidden)
    n, d, m = 7, 3, 5
    sizes = [d, *[m] * hidden, d]
    weights = [
        torch.randn(o, i, generator=draw, dtype=torch.float64, requires_grad=True)
        for i, o in itertools.pairwise(sizes)
    ]
    slopes = [
        torch.rand(n, m, generator=draw, dtype=torch.float64, requires_grad=True)
        for _ in range(hidden)
    ]
    jacobian = weights[0].expand(n, m, d)
    for weight, slope in zip(weights[1:], slopes, strict=True):
        jacobian = weight @ (slope[:, :, None] * jacobian)
    trace = jacobian.diagonal(dim1=1, dim2=2).sum(1)
    factors = torch.ones(n, dtype=torch.float64)
    if not even:
        factors = torch.linspace(-1, 2, n, dtype=torch.float64)
    wanted = torch.autograd.grad(trace @ factors, [*weights, *slopes])

    monkeypatch.setattr(divergence, "TANGENTS", 2 * d * m)  # two rows at once
    found = divergence.propagated(weights, slopes)
    assert type(found.grad_fn).__name__ == "_PropagatedBackward"
    gradients = torch.autograd.grad(found @ factors, [*weights, *slopes])
    torch.testing.assert_close(found, trace, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradients, wanted, rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(divergence.propagated(weights, slopes), trace)
