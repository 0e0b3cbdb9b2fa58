"""Whether a worker can make the runs: the same program, the same methods, the same rows."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import paths
from bench.errors import BenchError, UsageError
from bench.records.spec import RunSpec
from bench.registry import plugins

if TYPE_CHECKING:
    from distributed import Client

#: Held while sources are parsed: Python 3.11 must not do that in two threads at once.
_ALONE = threading.Lock()

#: What is wrong with a worker, and the remedy.
Unfit = tuple[str, str]


@dataclass(frozen=True)
class Rows:
    """The rows that a run needs: of a data set (by the name or path it is found by), at a revision.

    `root` is the data root of the machine that planned the run.
    """

    dataset: str
    label: str
    revision: str
    root: str


@dataclass(frozen=True)
class Needs:
    """What runs need of a worker.

    `harness` is a hash of this package's source, `methods` has a version for each method. `include`
    are the files that hold methods or data sets which no distribution installs: a worker has to see
    them under the same paths.
    """

    package: str
    harness: str
    methods: frozenset[tuple[str, str]]
    rows: frozenset[Rows]
    include: frozenset[str] = frozenset()


def needs(specs: Sequence[RunSpec]) -> Needs:
    """What these runs need, by the program that plans them."""
    methods = frozenset((s.method, s.version) for s in specs)
    include = frozenset(file for spec in specs for file in spec.include)
    return Needs(version("cnf-bench"), _harness(), methods, frozenset(map(rows_of, specs)), include)


def narrowed(need: Needs, spec: RunSpec) -> Needs:
    """What one run of the study needs."""
    return replace(
        need,
        methods=frozenset([(spec.method, spec.version)]),
        rows=frozenset([rows_of(spec)]),
        include=frozenset(spec.include),
    )


def rows_of(spec: RunSpec) -> Rows:
    """The rows that the run needs."""
    return Rows(spec.dataset, spec.label, spec.revision, spec.data_root)


def unfit(need: Needs) -> Unfit | None:
    """Why this machine can't make such runs; None where it can."""
    with _ALONE:
        return _unfit(need)


def _unfit(need: Needs) -> Unfit | None:
    same = f"Install the same cnf-bench ({need.package}) there and start it again."
    here = version("cnf-bench")
    if here != need.package:
        return f"it has cnf-bench {here}, and the study was planned by {need.package}", same
    if _harness() != need.harness:
        return f"its cnf-bench {here} has other source than the one that planned the study", same
    for file in sorted(need.include):
        try:
            plugins.include(file)
        except UsageError as error:
            return f"it can't include a file of the study: {error.problem.rstrip('.')}", (
                "Put the file where the workers see it under the same path."
            )
    for name, wanted in sorted(need.methods):
        if name not in plugins.methods():
            return f"the method {name!r} is not installed there", same
        found = plugins.version(plugins.methods()[name])
        if found != wanted:
            return f"its source of {name} is version {found}, and the study's {wanted}", same
    for rows in sorted(need.rows, key=lambda r: r.label):
        try:
            root(rows)
        except BenchError as error:
            return error.problem.rstrip("."), error.remedy
    return None


@cache
def root(rows: Rows) -> Path:
    """The data root with these rows: that of the machine that planned the run, or one's own.

    Raises:
        BenchError: the rows are in neither, or others are.
    """
    from bench.data import arrays

    roots = dict.fromkeys([Path(rows.root), paths.data_root()])
    problem: BenchError | None = None
    for folder in roots:
        try:
            found = arrays.load(plugins.dataset(rows.dataset), folder).revision
        except BenchError as error:
            problem = problem or error
            continue
        if found == rows.revision:
            return folder
        problem = UsageError(
            f"Its rows of {rows.label} below {folder} are revision {found}, and the study's are "
            f"{rows.revision}.",
            "Put the same files there.",
        )
    where = " nor ".join(str(folder) for folder in roots)
    assert problem is not None
    if isinstance(problem, UsageError):
        raise problem
    raise UsageError(
        f"It has no {rows.label} in the revision {rows.revision}, neither below {where}: "
        f"{problem.problem}",
        "Put the data there, or start it with BENCH_DATA set to the folder that holds them.",
    )


async def check(need: Needs) -> Unfit | None:
    """`unfit`, on a worker; in a thread, for reading rows may take minutes."""
    return await asyncio.to_thread(unfit, need)


def examine(client: Client, need: Needs) -> None:
    """Check the scheduler and every worker that there is.

    Raises:
        UsageError: one of them can't make the runs.
    """
    address = client.scheduler.address
    try:
        problem = client.run_on_scheduler(_other_program, need)
    except Exception as error:  # whatever the other program does with ours
        problem = _strange(error, need)
    if problem:
        raise UsageError(f"The scheduler {address} can't be used: {problem[0]}.", problem[1])
    found: Mapping[str, Unfit | Exception | None] = client.run(check, need, on_error="return")
    problems = [
        (worker, _strange(answer, need) if isinstance(answer, Exception) else answer)
        for worker, answer in sorted(found.items())
        if answer is not None
    ]
    if problems:
        worker, (what, remedy) = problems[0]
        others = f" (and {len(problems) - 1} others)" if problems[1:] else ""
        raise UsageError(f"The worker {worker}{others} can't make these runs: {what}.", remedy)


def _other_program(need: Needs) -> Unfit | None:
    """What is wrong with the scheduler: it unpacks every task, so it has the program too."""
    nothing = frozenset[Any]()
    return unfit(replace(need, methods=nothing, rows=nothing, include=nothing))


def _strange(error: Exception, need: Needs) -> Unfit:
    """What an exception says that should not have come."""
    if isinstance(error, ImportError | AttributeError):
        return (
            f"it has no cnf-bench, or another version ({error})",
            f"Install the same cnf-bench ({need.package}) there and start it again.",
        )
    return f"{type(error).__name__}: {error}".rstrip("."), "Look at its log."


def _harness() -> str:
    """A hash of the source of this package: Python and settings, by name."""
    top = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(p for p in top.rglob("*") if p.suffix in (".py", ".toml")):
        digest.update(f"{path.relative_to(top).as_posix()} ".encode() + path.read_bytes())
    return digest.hexdigest()[:12]
