"""What a method that has learned answers: shapes, types, one row at a time, there and back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.api.method import Continuous, ContractBroken, Discrete, Field, Piece
from bench.conformance.outcome import Broken, NotTried
from bench.conformance.subject import BATCH, DIMENSIONS, SOLVER, Subject, named
from bench.evaluation.claims import check_claims
from bench.evaluation.flow import Flow
from bench.evaluation.round_trip import round_trip
from bench.numerics.ode import SolverFailed

#: How far float32 may be from float64, and a row alone from the same row among others, in nats.
CLOSE = 1e-2
#: How far rows may come back from where they were, as a share of their root mean square.
TRIP = 1e-3
#: How far two ways to one velocity may be apart, in float64.
SAME = 1e-6
#: Rows that are asked for; the method learned from batches of another size.
ROWS = 7


def check_shapes(subject: Subject) -> str:
    """Log-densities `(n,)`, samples and velocities `(n, d)`, finite, of the type of the rows."""
    for d in DIMENSIONS:
        for dtype in (torch.float64, torch.float32):
            for n in (ROWS, 1):
                _ask(subject.flow(d, dtype), subject.x(d, n))
    return "(n,) and (n, d), float32 and float64"


def _ask(flow: Flow, x: Tensor) -> None:
    """Check what the method itself answers for rows `(n, d)`, then what becomes of it."""
    method, rows = flow.method, x.to(flow.dtype)
    with torch.no_grad():
        if isinstance(method, Discrete):
            _check(method.log_prob(rows), rows, rows.shape[:1], "log_prob")
            _check(method.inverse(rows), rows, rows.shape, "inverse")
        elif isinstance(method, Continuous):
            for piece in method.pieces():
                t, name = rows.new_tensor(piece.t_noise), type(piece.field).__name__
                _check(piece.field(t, rows), rows, rows.shape, f"{name}'s velocity")
                velocity, gain = piece.field.with_divergence(t, rows)
                _check(velocity, rows, rows.shape, f"{name}'s trace (its velocity)")
                _check(gain, rows, rows.shape[:1], f"{name}'s trace (its divergence)")
    _check(flow.log_prob(x), rows, rows.shape[:1], "log_prob")
    _check(flow.sample(len(x)), rows, rows.shape, "sampling")


def _check(got: object, rows: Tensor, shape: Sequence[int], what: str) -> None:
    dtype, wanted = rows.dtype, "(n,)" if len(shape) == 1 else "(n, d)"
    if not isinstance(got, Tensor) or got.shape != torch.Size(shape):
        has = tuple(got.shape) if isinstance(got, Tensor) else type(got).__name__
        raise Broken(
            f"For rows {tuple(rows.shape)} {what} gave {has}, not {tuple(shape)}.",
            f"Look at {what}: it has to return {wanted}.",
        )
    if got.dtype != dtype:
        asked, has = (str(t).removeprefix("torch.") for t in (dtype, got.dtype))
        raise Broken(
            f"For rows of {asked} {what} gave {has}.",
            f"Look at {what}: make tensors like its input (x.new_zeros, torch.ones_like), and "
            "call neither .float() nor .double().",
        )
    if not torch.isfinite(got).all():
        raise Broken(
            f"For training rows {what} gave numbers that are not finite.",
            f"Look at {what}: a logarithm of 0, a division by 0, an exponential too large.",
        )


def check_types(subject: Subject) -> str:
    """float32 and float64 agree, and being asked leaves the method as it was."""
    method = subject.learned(2)[0]
    before = {name: value.dtype for name, value in method.state_dict().items()}
    double, single = (subject.flow(2, t) for t in (torch.float64, torch.float32))
    x = subject.x(2, 20)
    apart = (single.log_prob(x).double() - double.log_prob(x)).abs().max().item()
    if apart > CLOSE:
        raise Broken(
            f"Its log-densities in float32 and in float64 are {apart:.3g} nat apart.",
            "Look for differences of large numbers, and for constants in another type.",
        )
    after = {name: value.dtype for name, value in method.state_dict().items()}
    changed = [name for name, dtype in before.items() if after.get(name) != dtype]
    if changed:
        raise Broken(
            f"Being asked changed the type of {named(changed)}.",
            "Look for what the method shares with its copies: they are deep copies of it.",
        )
    return f"float32 and float64 are {apart:.1g} nat apart"


def check_rows_apart(subject: Subject) -> str:
    """A row's density depends neither on the other rows nor on when it is asked for."""
    flow, x = subject.flow(2), subject.x(2, ROWS)
    first, again = flow.log_prob(x), flow.log_prob(x)
    if not torch.equal(first, again):
        raise Broken(
            "Asked twice for the density of the same rows, it gives two answers.",
            "Look at log_prob: it has to draw nothing and to keep nothing; dropout is off in eval.",
        )
    alone = torch.cat([flow.log_prob(row) for row in torch.split(x, 1)])
    apart = (first - alone).abs().max().item()
    if apart > CLOSE:
        raise Broken(
            f"A row's log-density changes by {apart:.3g} nat with the rows beside it.",
            "Look for means, norms or batch normalisation over dim 0: each row is on its own.",
        )
    if not torch.equal(flow.sample(ROWS, seed=1), flow.sample(ROWS, seed=1)):
        raise Broken(
            "The same noise gives other samples the second time.",
            "Look at inverse: the noise is its argument, and it draws none of its own.",
        )
    return f"a row alone and among others: {apart:.1g} nat apart"


def check_divergence(subject: Subject) -> str:
    """A divergence that is written by hand is the field's own, and so is its velocity."""
    if not subject.is_continuous:
        raise NotTried("a discrete method has no velocity")
    by_hand = 0
    for d in DIMENSIONS:
        flow = subject.flow(d)
        assert isinstance(flow.method, Continuous)
        for piece in flow.method.pieces():
            if not isinstance(piece.field, Field):
                raise Broken(
                    f"{type(piece.field).__name__} is no bench.api.Field.",
                    "Derive it from Field, which counts evaluations.",
                )
            if piece.t_data == piece.t_noise:
                raise Broken(
                    f"A piece starts and ends at t = {piece.t_data:g}.",
                    "Look at pieces: data lie at t_data, noise at t_noise.",
                )
            by_hand += type(piece.field).trace is not Field.trace
            _check_velocity(piece, flow.method.affine(subject.x(d, ROWS).to(flow.dtype)))
        _claims(flow, subject, "trace")
    return "written by hand, and true" if by_hand else "by differentiation"


def _check_velocity(piece: Piece, x: Tensor) -> None:
    """The velocity beside the divergence is the field's."""
    t = x.new_tensor((piece.t_data + 2 * piece.t_noise) / 3)
    with torch.no_grad():
        apart = (piece.field.with_divergence(t, x)[0] - piece.field(t, x)).abs().max().item()
    if apart > SAME:
        name = type(piece.field).__name__
        raise Broken(
            f"{name}'s trace gives a velocity that is {apart:.3g} from that of its forward.",
            f"Look at {name}.trace: it returns the velocity, then the divergence.",
        )


def check_round_trip(subject: Subject) -> str:
    """Rows come back from noise; a discrete method's density is that of its own inverse."""
    if not subject.is_continuous:
        for d in DIMENSIONS:
            _claims(subject.flow(d), subject, "log_prob or inverse")
        return "log_prob is the density of the inverse"
    worst = 0.0
    for d in DIMENSIONS:
        try:
            # far below TRIP: a field that stretches space magnifies what the solver lets pass
            flow = Flow(subject.learned(d)[0], SOLVER.tighter(100), torch.float64)
            found = round_trip(flow, subject.x(d, BATCH))
        except SolverFailed as error:
            raise Broken(f"Its ODE can't be solved: {error}.", "Look at the velocity.") from error
        if "round_trip_failed" in found:
            raise Broken(
                f"There is no way back from the noise: {found['round_trip_failed']}.",
                "Look at the velocity: it is too steep, or not defined everywhere.",
            )
        worst = max(worst, found["round_trip_max"] / found["row_scale"])
    if worst > TRIP:
        raise Broken(
            f"Rows come back from noise {worst:.2g} of their size away.",
            "Look at the velocity: it has to be smooth in x and t, with nothing drawn in it.",
        )
    return f"rows come back to {worst:.1g} of their size"


def _claims(flow: Flow, subject: Subject, where: str) -> None:
    d = flow.method.d
    try:
        check_claims(flow, subject.x(d, 8), flow.noise(8, 0))
    except ContractBroken as error:
        raise Broken(
            f"{error}.", f"Look at {where}: a sign, a factor, a log-determinant that is left out."
        ) from error
