"""A study: which methods on which data sets with which seeds and budget, judged how. It is data."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.spec import Judge


@dataclass(frozen=True)
class Study:
    """A grid of methods x data sets x seeds under one budget and one judge.

    `minibatches` and `batch_size` override the budget; `settings` are `--set` assignments.
    """

    methods: tuple[str, ...]
    datasets: tuple[str, ...]
    seeds: tuple[int, ...] = (0,)
    budget: str = "equal"
    judge: Judge = field(default_factory=Judge)
    minibatches: int | None = None
    batch_size: int | None = None
    settings: tuple[str, ...] = ()


def shipped(name: str) -> Study:
    """The study of that name among those that come with the package."""
    text = (Path(__file__).parent / "studies" / f"{name}.toml").read_text(encoding="utf-8")
    table: dict[str, Any] = tomllib.loads(text)
    return Study(
        methods=tuple(table["methods"]),
        datasets=tuple(table["datasets"]),
        seeds=tuple(table["seeds"]),
        budget=table["budget"],
        judge=replace(Judge(), **table.get("judge", {})),
    )
