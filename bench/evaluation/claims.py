"""What a trained method claims of itself, held against differentiation before it is believed."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from bench.api.method import Continuous, ContractBroken, Discrete, Field
from bench.evaluation.flow import HALF_LOG_TWO_PI, Flow
from bench.numerics.divergence import exact

#: How far a divergence may be from what differentiation gives, absolutely and relatively.
TOLERANCE = 1e-4
#: The step of the central differences.
STEP = 1e-3


def check_claims(flow: Flow, x: Tensor, z: Tensor) -> None:
    """Check a closed-form divergence, or a density, on a few rows and noise draws, both `(n, d)`.

    Raises:
        ContractBroken: a closed-form divergence that is not the field's, or a discrete method's
            density that is not that of its own inverse.
    """
    if isinstance(flow.method, Continuous):
        _check_divergences(flow, flow.method, x)
    elif isinstance(flow.method, Discrete):
        _check_density(flow, flow.method, z)


def _check_divergences(flow: Flow, method: Continuous, x: Tensor) -> None:
    """Each field that has a divergence of its own, at three times of its piece."""
    x = method.affine(x.to(flow.device, flow.dtype))
    for piece in method.pieces():
        if type(piece.field).trace is Field.trace:
            continue
        for share in (0.1, 0.5, 0.9):
            t = x.new_tensor(piece.t_data + share * (piece.t_noise - piece.t_data))
            own = piece.field.with_divergence(t, x)[1]
            true = exact(lambda y, t=t, f=piece.field: f(t, y), x)[1]  # type: ignore[misc]
            if not torch.allclose(own, true, rtol=TOLERANCE, atol=TOLERANCE):
                raise ContractBroken(
                    f"{type(piece.field).__name__} gives a divergence that is off by "
                    f"{(own - true).abs().max().item():.3g} at t = {t.item():.3g}"
                )


def _check_density(flow: Flow, method: Discrete, z: Tensor) -> None:
    """log p(x) = log N(z) - log |det dx/dz| where x is what the inverse makes of z.

    The Jacobian is taken by central differences, as an inverse may be a fixed point that nothing
    differentiates through.
    """
    method = copy.deepcopy(method, {id(method.optimizer): None}).double()
    z = z.to(flow.device, torch.float64)
    n, d = z.shape
    steps = STEP * torch.eye(d, dtype=z.dtype, device=z.device)
    with torch.no_grad():
        own = method.log_prob(method.inverse(z))
        ends = [method.inverse((z[:, None] + s * steps).flatten(0, 1)) for s in (1, -1)]
    jacobians = torch.unflatten((ends[0] - ends[1]) / (2 * STEP), 0, (n, d))
    gain = torch.linalg.slogdet(jacobians)[1]
    true = -0.5 * z.square().sum(-1) - d * HALF_LOG_TWO_PI - gain
    if not torch.allclose(own, true, rtol=1e-3, atol=1e-2):
        raise ContractBroken(
            f"{type(method).__name__} gives log-densities that are off by "
            f"{(own - true).abs().max().item():.3g} nat from those of its own inverse"
        )
