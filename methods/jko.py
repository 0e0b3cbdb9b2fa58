"""JKO-iFlow: blocks of neural ODEs, trained one by one as proximal steps (Xu et al. 2023)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.api import Continuous, Log, Look, Piece, Stream, option
from bench_methods.bounds import at_least, positive
from bench_methods.jko_block import Block, BlockOptions
from bench_methods.optimisation import cosine, update

LOOK = Look(colour="#D55E00", marker="o", stage="block", paper="JKO-iFlow")

#: Mini-batches between two checks of a block's number of steps.
CHECKED_EVERY = 20


@dataclass(frozen=True)
class JKOConfig(BlockOptions):
    """Hyper-parameters of JKO-iFlow."""

    blocks: int = option(4, "maximum number of blocks; they share a sweep's mini-batches evenly")
    h0: float = option(0.25, "first step size")
    rho: float = option(1.4, "growth of the step sizes: h_k = min(rho^k h0, h_max)")
    h_max: float = option(10.0, "largest step size")
    free: bool = option(True, "whether the last block is free, that is without a movement penalty")
    termination: float = option(
        0.01,
        "a relative W2 movement of a block below this makes the next block the last one",
    )
    reparametrisations: int = option(0, "sweeps that retrain all blocks with step sizes evened out")
    eta: float = option(0.5, "how far a reparametrisation moves the step sizes, from 0 to 1")
    refinements: int = option(0, "sweeps that split every block in two and retrain all")
    learning_rate: float = option(
        2e-3, "Adam's initial learning rate; cosine decay to 0 in each block"
    )
    clip: float = option(1.0, "bound on the gradient's norm")

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, blocks=self.blocks)
        at_least(0, reparametrisations=self.reparametrisations, refinements=self.refinements)
        positive(h0=self.h0, rho=self.rho, h_max=self.h_max)
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta must be in [0, 1], got {self.eta}")
        at_least(0, termination=self.termination)
        positive(learning_rate=self.learning_rate, clip=self.clip)

    def check(self, d: int, minibatches: int, batch_size: int) -> None:
        """Raise ValueError if a block of some sweep would get no mini-batch."""
        needed = self.sweeps * self.blocks * 2**self.refinements
        if minibatches < needed:
            raise ValueError(
                f"{self.blocks} blocks with {self.reparametrisations} reparametrisations and "
                f"{self.refinements} refinements need at least {needed} mini-batches, "
                f"got {minibatches}"
            )

    @property
    def sweeps(self) -> int:
        """How many times the chain is trained from its first block to its last."""
        return 1 + self.reparametrisations + self.refinements


def evened(
    steps: Sequence[float], movements: Sequence[float], eta: float, h_max: float
) -> list[float]:
    """Move step sizes towards equal movement: h_k + eta (h~_k - h_k), at most h_max.

    With t_k the cumulative steps and S_k the cumulative movements, the h~_k are the increments of
    t that correspond to equal increments of S under the piecewise linear map from S to t.
    Source: Xu et al. 2023, section 4 (reparametrisation).
    """
    t, s = np.cumsum([0.0, *steps]), np.cumsum([0.0, *movements])
    even = np.diff(np.interp(np.linspace(0, s[-1], len(s)), s, t))
    return [min(h + eta * (e - h), h_max) for h, e in zip(steps, even.tolist(), strict=True)]


class JKO(Continuous):
    """A flow from data to noise, each block a step of the JKO scheme for the KL divergence.

    Block k moves x0 ~ p_k to x1 = x0 + int f dt by the field that solves

        min E[ V(x1) - int div f dt + |x1 - x0|^2 / (2 h_k) ],   V(x) = |x|^2 / 2     (eq. 5)

    with RK4 in S equal steps. A finished block is left as it is: the training rows are pushed
    through it, and the next block starts from its weights, or from new ones. Blocks are added until
    one moves the rows by less than `termination`, E|x1 - x0|^2 / E|x1|^2, or until there are
    `blocks`; one more then takes what is left of the sweep, and it is free where `free` says so.
    Further sweeps train the chain again from its first block, with the step sizes moved towards
    even movement (reparametrisation) or every block with a penalty split in two (refinement).

    A field that is trained long on few steps learns to exploit their error. So S is watched: every
    few mini-batches the NLL of S steps is held against that of 2 S, and S grows until they agree
    within `step_error`.

    References:
        Xu, Cheng, Xie 2023, Normalizing flow neural networks by JKO scheme.
    """

    Config = JKOConfig
    optimizer: torch.optim.Optimizer
    sweep: Tensor
    current: Tensor
    begun: Tensor
    until: Tensor

    def __init__(self, d: int, config: JKOConfig) -> None:
        super().__init__(d, config)
        self.blocks = nn.ModuleList([Block(d, config, self._planned(0, last=config.blocks == 1))])
        for name in ("sweep", "current", "begun", "until"):
            self.register_buffer(name, torch.zeros((), dtype=torch.int64))
        self._restart_optimizer()

    def learn(self, batches: Stream) -> Iterator[Log]:
        """Update the current block once for each mini-batch `(n, d)`."""
        for block in self._chain()[: int(self.current)]:
            batches.push(block)
        while batches.dealt < batches.total:
            if batches.dealt == self.until:
                self._turn(batches)
            yield self._step(next(batches), batches.dealt - 1)

    def _step(self, x: Tensor, dealt: int) -> Log:
        block = self._chain()[int(self.current)]
        loss = block.objective(x).mean()
        done, length = dealt - int(self.begun), int(self.until - self.begun)
        rate = self.config.learning_rate * cosine(done / length)
        update(self.optimizer, loss, rate, self.config.clip)
        if done % CHECKED_EVERY == 0 or done + 1 == length:
            block.refine_steps(x)
        return {"loss": loss.detach(), "block": int(self.current), "steps": int(block.steps)}

    def _turn(self, batches: Stream) -> None:
        """Finish the current block, if any, and start the next one, in this sweep or the next."""
        last = False
        if self.until > 0:
            block = self._chain()[int(self.current)]
            movement = batches.push(block)
            block.movement.fill_(math.sqrt(movement.step))
            if self.until >= self._end_of_sweep(batches.total):
                self._next_sweep()
                batches.rewind()
            else:
                last = self._next_block(settled=movement.relative < self.config.termination)
            self._restart_optimizer()
        left = self._end_of_sweep(batches.total) - batches.dealt
        blocks = self.config.blocks if self.sweep == 0 else len(self.blocks)
        share = max(1, left if last else left // (blocks - int(self.current)))
        self.begun.fill_(batches.dealt)
        self.until.fill_(batches.dealt + share)

    def _next_block(self, settled: bool) -> bool:
        """Go to the next block; return whether the first sweep ends with it."""
        self.current += 1
        k = int(self.current)
        if self.sweep > 0:
            return False
        last = settled or k == self.config.blocks - 1
        self.blocks.append(self._chain()[-1].successor(self._planned(k, last)))
        return last

    def _next_sweep(self) -> None:
        """Even out the step sizes or split the blocks, and restart at the first block."""
        self.sweep += 1
        self.current.zero_()
        chain = self._chain()
        if self.sweep > self.config.reparametrisations:
            halves = [block.halves() if block.h.isfinite() else [block] for block in chain]
            self.blocks = nn.ModuleList(itertools.chain.from_iterable(halves))
            return
        held = [block for block in chain if block.h.isfinite()]
        sizes = evened(
            [block.h.item() for block in held],
            [block.movement.item() for block in held],
            self.config.eta,
            self.config.h_max,
        )
        for block, h in zip(held, sizes, strict=True):
            block.h.fill_(h)

    def _end_of_sweep(self, total: int) -> int:
        end: int = total * (int(self.sweep) + 1) // self.config.sweeps
        return end

    def _planned(self, k: int, last: bool) -> float:
        """The step size of block k in the first sweep; infinite for a free block."""
        if last and self.config.free:
            return math.inf
        h: float = min(self.config.rho**k * self.config.h0, self.config.h_max)
        return h

    def _restart_optimizer(self) -> None:
        block = self._chain()[int(self.current)]
        self.optimizer = torch.optim.Adam(block.parameters(), self.config.learning_rate, fused=True)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load a state with any number of blocks."""
        n = 1 + max(int(key.split(".")[1]) for key in state_dict if key.startswith("blocks."))
        first = self._chain()[0]
        self.blocks = nn.ModuleList([first, *(first.successor(0.0) for _ in range(n - 1))])
        result = super().load_state_dict(state_dict, strict, assign)
        self._restart_optimizer()
        return result

    def pieces(self) -> Sequence[Piece]:
        """The blocks, from data to noise, each with its own solver steps."""
        return [block.piece() for block in self._chain()]

    def _chain(self) -> list[Block]:
        return [block for block in self.blocks if isinstance(block, Block)]
