"""The driver of a study: plan it from what was asked for, run it, return how it ended.

`bench run`, `bench.run` and `bench check` fill in a `StudyRequest` and call `prepare`, then `run`:
the same words mean the same runs everywhere. Nothing is printed here: what a person should know
goes to `notify`, and the progress of the runs to `display`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from bench.data import arrays
from bench.errors import DataError, UsageError, unknown
from bench.launch.worker import Event
from bench.paths import data_root, usable_cores
from bench.records import store
from bench.records.bundle import results_dir
from bench.records.model import Record
from bench.records.spec import Limits, RunSpec
from bench.registry import plugins
from bench.study import presets
from bench.study.estimates import estimates
from bench.study.planning import Only, Plan, plan
from bench.study.studies import JUDGE, Study, find, judge_of
from bench.training.compiling import require_compiler

if TYPE_CHECKING:
    from bench.launch.dask import Engine

Device = Literal["cpu", "cuda", "auto"]
Cluster = Literal["local", "slurm"]
Notify = Callable[[str], object]

#: Shows the events of runs, given what each is expected to take: `bench.launch.progress.display`.
Display = Callable[
    [Sequence[RunSpec], Sequence[float | None]],
    AbstractContextManager[Callable[[RunSpec, Event], object]],
]


@dataclass(frozen=True, kw_only=True)
class StudyRequest(Limits):
    """What to run, on what and how: the options of `bench run`, with their defaults.

    Without `threads` a run has one; without `memory` it may use 90 % of the machine.

    Attributes:
        study: a study, its name or its file; None for `methods` on `datasets`, or for the quick
            study if neither is given. What is given beside it replaces its own.
        settings: `KEY=VALUE` hyper-parameters, added to the study's and winning over them.
        judge: fields of `bench.records.spec.Judge` to change; `test_rows` is one of them.
        compile: whether to compile functions of methods that have any to compile.
        jobs: runs at a time.
        timeout: time limit per run in seconds, from the start of its process; counted anew when it
            resumes.
        scheduler: address of a Dask scheduler to send the runs to.
        cluster: kind of Dask cluster to start, of `jobs` workers.
        resume: whether runs resume from the checkpoints of earlier calls.
    """

    study: Study | str | Path | None = None
    methods: Sequence[str] = ()
    datasets: Sequence[str | Path] = ()
    seeds: Sequence[int] = ()
    budget: str | None = None
    minibatches: int | None = None
    batch_size: int | None = None
    settings: Sequence[str] = ()
    judge: Mapping[str, Any] = field(default_factory=dict)
    test_rows: int | None = None
    include: Sequence[str | Path] = ()
    compile: bool | None = None
    device: str = "cpu"
    jobs: int = 1
    timeout: float | None = None
    only: Only = "missing"
    scheduler: str | None = None
    cluster: Cluster | None = None
    results: str | Path | None = None
    data: str | Path | None = None
    resume: bool = True

    @property
    def elsewhere(self) -> bool:
        """Whether the runs are made on other machines, of which nothing is known here."""
        return bool(self.scheduler or self.cluster == "slurm")


@dataclass(frozen=True)
class Prepared:
    """A planned study, ready to run.

    In its request the device, the jobs and what each may use are those that this machine has.
    """

    request: StudyRequest
    plan: Plan
    folder: Path


@dataclass(frozen=True)
class Failure:
    """A run that did not end well: its status, `damaged` or `no record`, and the reason."""

    run: str
    status: str
    reason: str


@dataclass(frozen=True)
class StudyResult:
    """The records of a study's runs, old and new, and the runs that failed, both by name."""

    records: Mapping[str, Record]
    failures: Mapping[str, Failure]


def prepare(request: StudyRequest, notify: Notify) -> Prepared:
    """Plan what is asked for; nothing is written but the array cache.

    Raises:
        UsageError: an unknown name, an impossible value, a device that does not exist.
        DataError: missing or damaged data; a record of a newer version of the program.
    """
    _check(request)
    for file in request.include:
        plugins.include(str(file))
    study = study_of(request, notify)
    folder, root = results_dir(request.results, write=True), data_root(request.data)
    request = _on_this_machine(request, notify)
    for file in study.include:
        plugins.include(file)
    if new := [name for name in study.datasets if arrays.is_new(plugins.dataset(name), root)]:
        notify(f"Planning (the first time, data are read and cached: {', '.join(new)}) ...")
    planned = plan(study, folder, root, request.device, request.only, request.timeout)
    for spec in planned.damaged:
        notify(f"{spec.run}: its record can't be read.")
    if study.compile and not request.elsewhere and any(spec.compile for spec in planned.todo):
        require_compiler()
    for name in study.methods if study.compile else ():
        if not plugins.method(name).compiles:
            notify(f"{name} has nothing to compile: its runs are those without --compile.")
    return Prepared(request, planned, folder)


def run(prepared: Prepared, display: Display, notify: Notify) -> StudyResult:
    """Run what a plan has to run, and return the records of all its runs.

    On KeyboardInterrupt the runs finish their steps, write checkpoints and end; a second one kills
    them.

    Raises:
        UsageError: the results folder can't be written, or the cluster can't be used.
        StudyLost: the results folder or the cluster was lost on the way.
    """
    planned, folder = prepared.plan, prepared.folder
    todo = {spec.run for spec in planned.todo}
    for spec in planned.damaged:
        if spec.run in todo and (aside := store.set_aside(folder, spec.run)):
            notify(f"{spec.run}: moved the damaged record to {aside.name}; running it again.")
    if not prepared.request.resume:
        for spec in planned.todo:
            for place in (store.part(folder, spec.run), folder / spec.run):
                for checkpoint in place.glob(store.CHECKPOINTS):
                    checkpoint.unlink()
    reasons: dict[str, str] = {}  # why runs have left no record
    if todo:
        try:
            expected = [each.seconds for each in estimates(planned.todo, folder)]
        except DataError:  # another run's record is of a newer version of the program
            expected = []
        with (
            _engine(prepared.request) as engine,
            display(planned.todo, expected) as show,
            closing(engine(planned.todo, folder)) as events,
        ):
            for spec, event in events:
                show(spec, event)
                if event.get("reason"):
                    reasons[spec.run] = event["reason"]
    records, failures = {}, {}
    for name in (spec.run for spec in planned.runs):
        try:
            found = None if name in reasons else store.read(folder, name)
        except DataError as error:
            failures[name] = Failure(name, "damaged", str(error))
            continue
        if found:
            records[name] = found
        else:
            failures[name] = Failure(name, "no record", reasons.get(name, ""))
        if found and found.status != "ok":
            failures[name] = Failure(name, found.status, found.reason or "")
    return StudyResult(records, failures)


def study_of(request: StudyRequest, notify: Notify) -> Study:
    """Return the study that is asked for, with what replaces its own.

    Raises:
        UsageError: an unknown study or field, a method without a data set, contradictory settings.
    """
    methods, datasets = _several(request.methods), _several(request.datasets)
    given = request.study
    if given is None and bool(methods) != bool(datasets):
        missing, option = ("data set", "-d") if methods else ("method", "-m")
        raise UsageError(
            f"No {missing} was given.",
            f"Name one ({option}), or neither methods nor data sets for the quick study.",
        )
    if given is None and methods:
        given = Study(methods, datasets)
    study = given if isinstance(given, Study) else find(str(given or "quick"), notify)
    settings, kept = _several(request.settings), list(study.settings)
    for assignment in study.settings if methods else ():
        try:
            presets.share([assignment], methods)
        except UsageError:
            notify(f"Ignoring the study's setting {assignment}: no method in this call takes it.")
            kept.remove(assignment)
    if kept:
        settings = presets.merged(kept, settings, methods or study.methods)
    if request.budget:  # it comes with its numbers
        study = replace(study, budget=request.budget, minibatches=None, batch_size=None)
    numbers = {k: getattr(request, k) for k in ("minibatches", "batch_size", "compile")}
    names = {"methods": methods, "datasets": datasets, "seeds": _several(request.seeds)}
    given_here = names | numbers | {"settings": settings}
    changes = {name: value for name, value in given_here.items() if value not in ((), None)}
    judge = dict(request.judge)
    if request.test_rows is not None:
        judge["test_rows"] = request.test_rows
    if judge:
        changes["judge"] = judge_of({name: getattr(study.judge, name) for name in JUDGE} | judge)
    return replace(study, **changes)


def device_of(name: str, elsewhere: bool = False) -> str:
    """Return `cpu` or `cuda`, which `auto` may stand for.

    Raises:
        UsageError: there is no CUDA device here, or it is `auto` for other machines.
    """
    if elsewhere and name == "auto":
        raise UsageError(
            "The devices of other machines can't be detected from here.",
            "Use --device cpu or --device cuda.",
        )
    if name == "cpu" or elsewhere:
        return name
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if name == "cuda":
        raise UsageError("There is no CUDA device here.", "Use --device cpu, or auto.")
    return "cpu"


def _check(request: StudyRequest) -> None:
    for name, least in (("jobs", 1), ("threads", 1), ("test_rows", 2), ("checkpoint_every", 0)):
        value = getattr(request, name)
        if value is not None and not value >= least:
            raise UsageError(f"{name} must be at least {least}, got {value}.")
    for name in ("timeout", "memory"):
        value = getattr(request, name)
        if value is not None and not value > 0:
            raise UsageError(f"{name} must be positive, got {value}.")
    for name, kind in (("device", Device), ("only", Only), ("cluster", Cluster)):
        value = getattr(request, name)
        if value is not None and value not in get_args(kind):
            raise unknown("value", str(value), get_args(kind), of=f"for {name}")
    if request.scheduler and request.cluster:
        raise UsageError("Can't use both a scheduler and a new cluster.", "Give one of them.")


def _several(given: Any) -> tuple[Any, ...]:
    """Return what is given, without duplicates; a single name or number counts as a list of one."""
    if isinstance(given, str | Path | int):
        given = [given]
    return tuple(dict.fromkeys(str(one) if isinstance(one, Path) else one for one in given))


def _on_this_machine(request: StudyRequest, notify: Notify) -> StudyRequest:
    """Return the request with a device that exists, and no more threads in all than cores.

    A run has one thread unless more are asked for: small models are no faster with more, on a busy
    machine they are slower, and the number must not depend on the machine, as it changes the bits.
    Nothing is known of other machines.
    """
    import psutil

    request = replace(request, device=device_of(request.device, request.elsewhere))
    if request.elsewhere:
        return request
    cores, threads = usable_cores(), request.threads or 1
    jobs = min(request.jobs, max(1, cores // threads))
    if jobs < request.jobs:
        per_run = f" with {threads} threads each" if threads > 1 else ""
        number = "is 1 core" if cores == 1 else f"are {cores} cores"
        notify(f"Running {jobs} at a time, not {request.jobs}{per_run}: there {number}.")
    return replace(
        request,
        jobs=jobs,
        threads=threads,
        memory=request.memory or 0.9 * psutil.virtual_memory().total / 2**30,
    )


@contextmanager
def _engine(request: StudyRequest) -> Iterator[Engine]:
    limits = Limits(**{each.name: getattr(request, each.name) for each in fields(Limits)})
    again = request.only in ("failed", "all")
    if request.scheduler or request.cluster:
        from bench.launch.dask import engine

        where = request.scheduler, request.cluster, request.jobs, request.device
        with engine(*where, limits, again) as made:
            yield made
        return
    from bench.launch.pool import run_all

    gpus: Sequence[str] = ()
    if request.device == "cuda":
        import torch

        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        gpus = visible.split(",") if visible else [str(k) for k in range(torch.cuda.device_count())]
    yield partial(run_all, jobs=request.jobs, limits=limits, gpus=gpus, again=again)
