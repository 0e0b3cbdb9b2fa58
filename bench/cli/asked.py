"""What `bench run` is asked for: the study, the device, the cores and the memory."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.study.studies import Study


def study_of(
    name: str | None,
    methods: tuple[str, ...],
    datasets: tuple[str, ...],
    settings: tuple[str, ...],
) -> Study:
    """The study that is asked for, with the methods, data sets and settings given beside it."""
    from bench.study.studies import Study, find

    methods, datasets = tuple(dict.fromkeys(methods)), tuple(dict.fromkeys(datasets))
    if name is None and methods and datasets:
        return Study(methods, datasets, settings=settings)
    if name is None and (methods or datasets):
        missing, option = ("a data set", "-d") if methods else ("a method", "-m")
        raise UsageError(f"Name {missing} too ({option}),", "or neither, for the quick study.")
    study = find(name or "quick")
    kept = study.settings
    if methods and kept:
        kept = _taken(kept, methods)
    if kept:
        from bench.study.presets import merged

        settings = merged(kept, settings, methods or study.methods)
    return replace(
        study,
        methods=methods or study.methods,
        datasets=datasets or study.datasets,
        settings=settings,
    )


def _taken(settings: tuple[str, ...], methods: tuple[str, ...]) -> tuple[str, ...]:
    """Those of a study's settings that one of these methods takes; the others are named."""
    from bench.study.presets import share

    kept = []
    for assignment in settings:
        try:
            share([assignment], methods)
            kept.append(assignment)
        except UsageError:
            click.echo(f"Left out: {assignment}, which none of the methods takes.", err=True)
    return tuple(kept)


def overridden(
    study: Study,
    seeds: tuple[int, ...],
    budget: str | None,
    minibatches: int | None,
    batch_size: int | None,
    test_rows: int | None,
) -> Study:
    """The study with what is given in place of its own; a budget comes with its numbers."""
    if seeds:
        study = replace(study, seeds=tuple(dict.fromkeys(seeds)))
    if budget:
        study = replace(study, budget=budget, minibatches=None, batch_size=None)
    if minibatches is not None:
        study = replace(study, minibatches=minibatches)
    if batch_size is not None:
        study = replace(study, batch_size=batch_size)
    if test_rows:
        study = replace(study, judge=replace(study.judge, test_rows=test_rows))
    return study


def device_of(asked: str, elsewhere: bool) -> str:
    """The device to run on, here or `elsewhere`.

    Raises:
        UsageError: a GPU is asked for where there is none, or nobody can tell.
    """
    if elsewhere and asked == "auto":
        raise UsageError("What other machines have can't be told from here.", "Name a --device.")
    if asked == "cpu" or elsewhere:
        return asked
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if asked == "cuda":
        raise UsageError("There is no CUDA device here.", "Use --device cpu, or auto.")
    return "cpu"


def share_cores(jobs: int, threads: int | None) -> tuple[int, int]:
    """How many runs side by side, and the threads of each: no more in all than cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    most = max(1, (cores or 1) // (threads or 1))
    if jobs > most:
        each = f" of {threads} threads" if threads else ""
        click.echo(f"{jobs} runs{each} would share {cores} cores: {most} at a time.", err=True)
        jobs = most
    return jobs, threads or max(1, (cores or 1) // jobs)


def memory_of(gib: float | None, elsewhere: bool) -> int | None:
    """The memory limit of a run in bytes; nothing is known of machines elsewhere."""
    import psutil

    if gib is None and elsewhere:
        return None
    return int(gib * 2**30 if gib else 0.9 * psutil.virtual_memory().total)
