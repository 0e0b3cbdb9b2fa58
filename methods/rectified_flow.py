"""Rectified flow: flow matching, repeated on the pairs that it generates (Liu et al. 2023)."""

from __future__ import annotations

import bisect
import copy
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.api import Continuous, Log, Look, Options, Piece, Stream, option
from bench.numerics.ode import Solver
from bench_methods.bounds import at_least, positive
from bench_methods.networks import FourierMLP
from bench_methods.optimisation import cosine, update
from bench_methods.probability_paths import Straight
from bench_methods.reflow import follow

LOOK = Look(colour="#CC79A7", marker="v", stage="round")

#: Paths used to measure the straightness of a last round, whose pairs nothing learns from.
MEASURED = 2_048


@dataclass(frozen=True)
class RectifiedFlowConfig(Options):
    """Hyper-parameters of rectified flow."""

    rounds: int = option(2, "number of flows: k gives the k-rectified flow, 1 is flow matching")
    first_share: float = option(0.6, "the first round's share of the rounds' budget")
    pairs: int = option(32_768, "pairs that a flow generates for the next round")
    distil: bool = option(False, "whether a one-step student learns from the last flow's pairs")
    student_share: float = option(0.2, "the student's share of the budget")
    rtol: float = option(1e-4, "relative tolerance of dopri5 when generating pairs")
    atol: float = option(1e-4, "absolute tolerance of dopri5 when generating pairs")
    width: int = option(256, "width of the two hidden layers")
    frequencies: int = option(8, "Fourier frequencies of time")
    activation: Literal["tanh", "softplus", "silu", "sin"] = option("silu", "activation")
    scale: float = option(1.0, "factor on the first layer's initial weights")
    sigma_min: float = option(
        0.0, "standard deviation of the first round's path at its data end, as in flow matching"
    )
    learning_rate: float = option(
        2e-3, "Adam's initial learning rate in each round; cosine decay to 0"
    )
    clip: float = option(1.0, "bound on the gradient's norm")

    def __post_init__(self) -> None:
        at_least(1, rounds=self.rounds, pairs=self.pairs, width=self.width)
        at_least(0, frequencies=self.frequencies)
        positive(learning_rate=self.learning_rate, clip=self.clip, scale=self.scale)
        shares = {"first_share": self.first_share, "student_share": self.student_share}
        for name, share in shares.items():
            if not 0 < share < 1:
                raise ValueError(f"{name} must be in (0, 1), got {share}")
        if not 0 <= self.sigma_min < 1:
            raise ValueError(f"sigma_min must be in [0, 1), got {self.sigma_min}")
        Solver("dopri5", self.rtol, self.atol)

    def check(self, d: int, minibatches: int, batch_size: int) -> None:
        """Raise ValueError if a round or the student would get no mini-batch."""
        ends = self.ends(minibatches)
        if any(a == b for a, b in itertools.pairwise([0, *ends])):
            raise ValueError(
                f"a budget of {minibatches} mini-batches leaves a round without any; "
                "use a larger budget or fewer rounds"
            )

    def first_candidate(self, minibatches: int) -> int:
        """The first mini-batch whose state may be the run's result.

        States of earlier rounds are other flows, whose likelihood may be better; a student is
        complete only at the end.
        """
        return minibatches if self.distil else [0, *self.ends(minibatches)][-2] + 1

    def ends(self, minibatches: int) -> list[int]:
        """The mini-batch at which each stage ends: the rounds, then the student if there is one."""
        later = self.rounds - 1
        shares = [self.first_share, *[(1 - self.first_share) / later] * later] if later else [1.0]
        if self.distil:
            shares = [share * (1 - self.student_share) for share in shares] + [self.student_share]
        *earlier, _ = itertools.accumulate(shares)
        return [*(round(minibatches * share) for share in earlier), minibatches]


class RectifiedFlow(Continuous):
    """Flows between noise x0 at t = 0 and data x1 at t = 1, each straighter than the one before.

    Every round regresses, at uniform times and on straight paths between pairs (x0, x1),

        min E | x1 - x0 - v(t, t x1 + (1 - t) x0) |^2         (Liu et al. 2023, eq. 1)

    In the first round, pairs are independent: noise, and a row of the mini-batch; if rows lie near
    a subspace, `sigma_min` keeps the velocity bounded at the data end. At the end of a round the
    flow generates `pairs` new pairs: fresh noise, and its image under the ODE. The next round
    starts from the same weights and learns from these pairs (reflow, section 2.2). Its updates
    still consume one mini-batch each, as the contract requires, but ignore the rows.

    A reflowed flow is fitted to samples of the flow before it, not to the data: its likelihood is
    at best about the same, while its paths become straighter. As the regression is a new one, the
    learning rate and Adam's moments are reset: the squared gradients of the previous round are
    large against the small errors of this one, and would keep its steps short for a thousand
    updates.

    With `distil`, a student with its own weights uses the last share of the budget to learn a
    single step from the last flow's pairs,

        min E | x1 - x0 - w(0, x0) |^2                        (section 2.2, distillation)

    It has no density, so the flow is still what is scored and sampled; `one_step` uses the student.

    The budget is split by `first_share` and `student_share`, evenly over the later rounds. Each log
    has the `round`; the last log of a round also the `transport_cost` and `straightness` of its
    flow. Measuring them and generating the pairs count as training, in seconds and evaluations.

    References:
        Liu, Gong, Liu 2023, Flow Straight and Fast: Learning to Generate and Transfer Data with
        Rectified Flow.
    """

    Config = RectifiedFlowConfig
    optimizer: torch.optim.Optimizer
    pairs: Tensor  # what the current stage learns from, (2, pairs, d)

    def __init__(self, d: int, config: RectifiedFlowConfig) -> None:
        super().__init__(d, config)
        self.first_path, self.path = Straight(config.sigma_min), Straight()
        self.solver = Solver("dopri5", config.rtol, config.atol)
        self.field = FourierMLP(
            d, config.width, config.frequencies, config.activation, config.scale
        )
        self.student = copy.deepcopy(self.field) if config.distil else None
        self.register_buffer("pairs", torch.empty(2, 0, d), persistent=False)
        self.optimizer = torch.optim.Adam(self.parameters(), config.learning_rate, fused=True)

    def learn(self, batches: Stream) -> Iterator[Log]:
        """Take one step for each mini-batch `(n, d)`, through the rounds and the student."""
        ends = self.config.ends(batches.total)
        for x in batches:
            k = batches.dealt - 1
            stage = bisect.bisect(ends, k)
            start, end = [0, *ends][stage], ends[stage]
            if k == start:
                self._begin(stage)
            loss = self._loss(stage, x)
            rate = self.config.learning_rate * cosine((k - start) / (end - start))
            update(self.optimizer, loss, rate, self.config.clip)
            log = {"loss": loss.detach(), "round": min(stage + 1, self.config.rounds)}
            if k + 1 == end and stage < self.config.rounds:
                log |= self._make_pairs(x, self.config.pairs if end < batches.total else MEASURED)
            yield log

    def _begin(self, stage: int) -> None:
        """Reset Adam's moments; a student starts from the last flow's weights."""
        self.optimizer.state.clear()
        if self.student and stage == self.config.rounds:
            self.student.load_state_dict(self.field.state_dict())

    def _loss(self, stage: int, x: Tensor) -> Tensor:
        """The mean squared error of a stage on the mini-batch, or on as many generated pairs."""
        if stage == 0:
            x0, x1 = torch.randn_like(x), x
        else:
            x0, x1 = self.pairs[:, torch.randint(self.pairs.shape[1], (len(x),), device=x.device)]
        if self.student and stage == self.config.rounds:
            return self.d * F.mse_loss(self.one_step(x0), x1)
        path = self.path if stage else self.first_path
        t = path.draw_times(x)
        x_t, velocity = path.interpolate(x0, x1, t)
        return self.d * F.mse_loss(self.field(t, x_t), velocity)

    def _make_pairs(self, like: Tensor, n: int) -> dict[str, float]:
        """Replace `pairs` by `n` new ones; return their transport cost and straightness."""
        pairs = follow(self.field, like.new_empty(n, self.d).normal_(), self.solver)
        self.pairs = torch.stack([pairs.x0, pairs.x1])
        return {"transport_cost": pairs.cost, "straightness": pairs.straightness}

    def one_step(self, x0: Tensor) -> Tensor:
        """Map noise `(n, d)` to rows `(n, d)` in one Euler step, by the student if there is one.

        Like all rows of a method, they are outputs of the affine layer.
        """
        field = self.student or self.field
        return x0 + field(x0.new_zeros(()), x0)

    def pieces(self) -> Sequence[Piece]:
        """The last flow: one ODE from data at t = 1 to noise at t = 0."""
        return [Piece(self.field, t_data=1.0, t_noise=0.0)]

    def size(self) -> int:
        """The number of parameters of the flow; the student is not part of the density."""
        return sum(p.numel() for p in self.field.parameters())

    def progress(self) -> dict[str, Any]:
        """The optimiser's state and the current pairs."""
        return super().progress() | {"pairs": self.pairs}

    def resume(self, progress: Mapping[str, Any]) -> None:
        """Restore the optimiser's state and the pairs."""
        super().resume(progress)
        self.pairs = progress["pairs"].to(self.pairs.device)
