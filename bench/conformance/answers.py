"""Checks of what a trained method answers: shapes, densities, samples, device and speed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from bench.api.method import Continuous, ContractBroken, Discrete, Field, evaluations
from bench.conformance.subject import (
    BATCH,
    DIMENSIONS,
    SOLVER,
    Broken,
    NotTried,
    Subject,
    learn,
    named,
)
from bench.evaluation.checks import MARGIN, check_formulas, integral, round_trip
from bench.evaluation.flow import Flow

#: How far float32 may be from float64, and a row alone from the same row among others, in nats.
CLOSE = 1e-2
#: How far rows may come back from where they were, as a share of their root mean square.
TRIP = 1e-3
#: How far two ways to one velocity may be apart, in float64.
SAME = 1e-6
#: The rows of most calls; the method learned from batches of another size.
ROWS = 7
#: How far the integral may be from 1, beyond the quadrature's own error.
OFF = 0.01
#: Samples that are drawn, and along each side the cells of the grid and the boxes they are put in.
SAMPLES, CELLS, BOXES = 4_000, 96, 8
#: The chance that samples from the density are taken for others.
LEVEL = 1e-4
#: Steps that are timed, after some that warm up.
TIMED, WARM = 20, 3


def check_shapes(subject: Subject) -> str:
    """Log-densities `(n,)`, samples and velocities `(n, d)`, finite, of the type of the rows."""
    for d in DIMENSIONS:
        for dtype in (torch.float64, torch.float32):
            for n in (ROWS, 1):
                _check_answers(subject.flow(d, dtype), subject.x(d, n))
    return "(n,) and (n, d), float32 and float64"


def _check_answers(flow: Flow, x: Tensor) -> None:
    """Check what the method itself answers for rows `(n, d)`, then what the flow makes of it."""
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
    if not isinstance(got, Tensor) or got.shape != torch.Size(shape):
        has = tuple(got.shape) if isinstance(got, Tensor) else type(got).__name__
        raise Broken(
            "wrong-shape", rows=tuple(rows.shape), what=what, has=has, expected=tuple(shape)
        )
    if got.dtype != rows.dtype:
        expected, has = (str(t).removeprefix("torch.") for t in (rows.dtype, got.dtype))
        raise Broken("wrong-dtype", expected=expected, what=what, has=has)
    if not torch.isfinite(got).all():
        raise Broken("not-finite", what=what)


def check_types(subject: Subject) -> str:
    """float32 and float64 agree, and an evaluation does not change the method."""
    method, x = subject.learned(2)[0], subject.x(2, 20)
    before = {name: value.dtype for name, value in method.state_dict().items()}
    double, single = (subject.flow(2, t).log_prob(x) for t in (torch.float64, torch.float32))
    apart = (single.double() - double).abs().max().item()
    if apart > CLOSE:
        raise Broken("precision", apart=apart)
    after = {name: value.dtype for name, value in method.state_dict().items()}
    if changed := [name for name, dtype in before.items() if after.get(name) != dtype]:
        raise Broken("state-changed", names=named(changed))
    return f"float32 and float64 differ by {apart:.1g} nat"


def check_rows_apart(subject: Subject) -> str:
    """A row's density depends neither on the other rows nor on earlier calls."""
    flow, x = subject.flow(2), subject.x(2, ROWS)
    first, again = flow.log_prob(x), flow.log_prob(x)
    if not torch.equal(first, again):
        raise Broken("density-random")
    alone = torch.cat([flow.log_prob(row) for row in torch.split(x, 1)])
    apart = (first - alone).abs().max().item()
    if apart > CLOSE:
        raise Broken("rows-mixed", apart=apart)
    if not torch.equal(flow.sample(ROWS, seed=1), flow.sample(ROWS, seed=1)):
        raise Broken("samples-random")
    return f"a row alone and among others differ by {apart:.1g} nat"


def check_divergence(subject: Subject) -> str:
    """A divergence in closed form is the field's own, and so is the velocity beside it."""
    if not subject.is_continuous:
        raise NotTried("discrete")
    by_hand = 0
    for d in DIMENSIONS:
        flow = subject.flow(d)
        assert isinstance(flow.method, Continuous)
        x = flow.method.affine(subject.x(d, ROWS).to(flow.dtype))
        for piece in flow.method.pieces():
            name = type(piece.field).__name__
            if not isinstance(piece.field, Field):
                raise Broken("no-field", name=name)
            if piece.t_data == piece.t_noise:
                raise Broken("empty-piece", t=piece.t_data)
            by_hand += type(piece.field).trace is not Field.trace
            t = x.new_tensor((piece.t_data + 2 * piece.t_noise) / 3)
            with torch.no_grad():
                apart = piece.field.with_divergence(t, x)[0] - piece.field(t, x)
            if (most := apart.abs().max().item()) > SAME:
                raise Broken("trace-velocity", name=name, apart=most)
        _check_formulas(flow, subject, "trace")
    return "in closed form, and correct" if by_hand else "by differentiation"


def check_round_trip(subject: Subject) -> str:
    """Rows come back from noise; a discrete method's density is that of its own inverse."""
    if not subject.is_continuous:
        for d in DIMENSIONS:
            _check_formulas(subject.flow(d), subject, "log_prob or inverse")
        return "log_prob is the density of the inverse"
    worst = 0.0
    for d in DIMENSIONS:
        # far below TRIP: a field that stretches space magnifies the solver's error
        flow = Flow(subject.learned(d)[0], SOLVER.tighter(100), torch.float64)
        found = round_trip(flow, subject.x(d, BATCH))
        if "round_trip_failed" in found:
            raise Broken("no-way-back", error=found["round_trip_failed"])
        worst = max(worst, found["round_trip_max"] / found["row_scale"])
    if worst > TRIP:
        raise Broken("round-trip", worst=worst)
    return f"rows come back to {worst:.1g} of their size"


def _check_formulas(flow: Flow, subject: Subject, where: str) -> None:
    try:
        check_formulas(flow, subject.x(flow.method.d, 8), flow.noise(8, 0))
    except ContractBroken as error:
        raise Broken("wrong-claim", error=error, where=where) from error


def check_integral(subject: Subject) -> str:
    """The density integrates to one over the plane."""
    flow = subject.flow(2)
    points = torch.cat([flow.sample(SAMPLES, seed=1), subject.x(2, 200).double()]).cpu()
    found = integral(flow, points, 2 * CELLS)
    if "density_integral_failed" in found:
        raise NotTried("solver-failed", error=found["density_integral_failed"])
    mass, error = found["density_integral"], found["density_integral_error"]
    if error > OFF:
        raise NotTried("coarse-grid", error=error)
    if abs(mass - 1) > OFF + error:
        where = "trace" if subject.is_continuous else "log_prob"
        raise Broken("not-normalised", mass=mass, where=where)
    return f"{mass:.4f} +- {error:.1g}"


def check_samples(subject: Subject) -> str:
    """Samples are draws from the density: Pearson's chi-squared test on boxes of equal mass.

    The boxes come from the density alone, on a grid over the samples' range; so under the
    hypothesis the statistic has its tabulated distribution.
    """
    from scipy.stats import chi2

    flow = subject.flow(2)
    samples = flow.sample(SAMPLES, seed=2).cpu().double()
    low, high = samples.amin(0), samples.amax(0)
    low, high = low - MARGIN * (high - low), high + MARGIN * (high - low)
    middles = (torch.arange(CELLS).double() + 0.5) / CELLS
    x, y = (low[i] + (high[i] - low[i]) * middles for i in (0, 1))
    mass = flow.log_prob(torch.cartesian_prod(x, y)).cpu().double().exp().reshape(CELLS, CELLS)
    mass /= mass.sum()
    quarters = mass.reshape(CELLS // 2, 2, CELLS // 2, 2).sum((0, 2))
    if (error := (4 * quarters - 1).abs().max().item()) > OFF:
        raise NotTried("coarse-grid", error=error)
    boxes = equal_mass_boxes(mass)
    i, j = ((samples - low) / (high - low) * CELLS).long().clamp(0, CELLS - 1).unbind(1)
    expected = len(samples) * torch.bincount(boxes.flatten(), weights=mass.flatten())
    seen = torch.bincount(boxes[i, j], minlength=len(expected)).double()
    terms = (seen - expected).square() / expected
    p = float(chi2.sf(terms.sum().item(), len(expected) - 1))
    if p < LEVEL:
        worst = int(terms.argmax())
        cells, side = (boxes == worst).nonzero().double(), (high - low) / CELLS
        a, b = low + cells.amin(0) * side, low + (cells.amax(0) + 1) * side
        where = "log_prob and inverse: they must belong to one map"
        if subject.is_continuous:
            where = "the velocity's direction and at t_data and t_noise"
        n, mean = int(seen[worst]), expected[worst]
        raise Broken("other-distribution", p=p, seen=n, expected=mean, a=a, b=b, where=where)
    return f"chi-squared of {len(expected)} boxes, {len(samples)} samples: p = {p:.2g}"


def equal_mass_boxes(mass: Tensor) -> Tensor:
    """Return the number of a box for each cell of a grid, all boxes of about equal mass.

    The grid is cut into strips of about equal mass, and each strip into about equal parts.
    """

    def parts(mass: Tensor) -> Tensor:
        middle = mass.cumsum(-1) - mass / 2
        return (middle / mass.sum(-1, keepdim=True) * BOXES).long().clamp(0, BOXES - 1)

    strips = parts(mass.sum(1))
    across = parts(mass.new_zeros(BOXES, mass.shape[1]).index_add(0, strips, mass))
    boxes: Tensor = torch.unique(strips[:, None] * BOXES + across[strips], return_inverse=True)[1]
    return boxes


def check_device(subject: Subject) -> str:
    """On a GPU all tensors that it makes are on the GPU."""
    if not torch.cuda.is_available():
        raise NotTried("no-gpu")
    there = replace(subject, device="cuda", _learned={})
    method = there.make(2)
    try:
        learn(method, there.stream(2, 2))
        log_prob = Flow(method, SOLVER, torch.float32).log_prob(there.x(2, 5))
    except RuntimeError as error:
        if "device" not in str(error):
            raise
        raise Broken("mixed-devices", error=" ".join(str(error).split())) from error
    if log_prob.device.type != "cuda":
        raise Broken("wrong-device")
    return torch.cuda.get_device_name()


def check_speed(subject: Subject) -> str:
    """Milliseconds for a mini-batch, for information."""
    method, batches = subject.make(2), subject.stream(2, WARM + TIMED)
    seconds, before = [], evaluations(method)
    start = time.perf_counter()
    for _ in method.learn(batches):
        if subject.device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
        start = time.perf_counter()
    nfe = (evaluations(method) - before) / len(seconds)
    each = f", {nfe:.3g} evaluations of the velocity" if subject.is_continuous else ""
    median = statistics.median(seconds[WARM:]) * 1_000
    return f"{median:.3g} ms for {BATCH} rows in 2-D (median of {TIMED}){each}; for information"
