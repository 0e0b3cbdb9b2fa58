"""A study: which methods on which data sets with which seeds and budget, judged how. It is data."""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.records.spec import Judge


@dataclass(frozen=True)
class Study:
    """A grid of methods x data sets x seeds under one budget and one judge.

    `minibatches` and `batch_size` override the budget; `settings` are `--set` assignments;
    `include` are Python files that hold methods or data sets of it.
    """

    methods: tuple[str, ...]
    datasets: tuple[str, ...]
    seeds: tuple[int, ...] = (0,)
    budget: str = "equal"
    judge: Judge = field(default_factory=Judge)
    minibatches: int | None = None
    batch_size: int | None = None
    settings: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    summary: str = ""
