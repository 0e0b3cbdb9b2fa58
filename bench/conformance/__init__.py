"""The contract of methods and data sets as checks: for `bench test`, and for the tests here."""

from __future__ import annotations

import signal
import threading
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bench.conformance import answers, dataset_checks, learning
from bench.conformance.dataset_checks import DatasetSubject
from bench.conformance.subject import CheckEnded, CheckResult, NotTried, Subject
from bench.errors import unknown

__all__ = ["CHECKS", "DATASET_CHECKS", "CheckResult", "DatasetSubject", "Subject", "examine"]


class Check(NamedTuple):
    """A check: its name, the function that says what it measured, what must have passed before."""

    name: str
    ask: Callable[[Any], str]
    after: tuple[str, ...] = ("class", "learns")


CHECKS = (
    Check("class", learning.check_class, ()),
    Check("source", learning.check_source, ()),
    Check("learns", learning.check_learns, ("class",)),
    Check("budget", learning.check_budget, ("class",)),
    Check("smallest budget", learning.check_smallest),
    Check("parameters", learning.check_parameters),
    Check("evaluations", learning.check_evaluations),
    Check("torch's settings", learning.check_settings),
    Check("test split", learning.check_test_split),
    Check("same seed", learning.check_seed),
    Check("other seed", learning.check_other_seed),
    Check("resume", learning.check_resume),
    Check("NaN", learning.check_nan),
    Check("shapes", answers.check_shapes),
    Check("float types", answers.check_types),
    Check("rows apart", answers.check_rows_apart),
    Check("divergence", answers.check_divergence),
    Check("round trip", answers.check_round_trip),
    Check("integral", answers.check_integral),
    Check("samples", answers.check_samples),
    Check("device", answers.check_device),
    Check("speed", answers.check_speed),
)

DATASET_CHECKS = (
    Check("rows", dataset_checks.check_rows, ()),
    Check("entropy", dataset_checks.check_entropy, ("rows",)),
    Check("integral", dataset_checks.check_integral, ("rows",)),
)


def examine(
    subject: Subject | DatasetSubject, names: Collection[str] = (), limit: float | None = None
) -> Iterator[CheckResult]:
    """Run all checks of a plug-in, or those of these names; a failure does not end the others.

    Args:
        subject: the method or the data set.
        names: the checks to run; all where empty.
        limit: the seconds of processor time that each may take, where a signal can interrupt it (in
            the main thread); a machine that is busy with other things fails no plug-in.

    Raises:
        UsageError: there is no check of such a name.
    """
    checks, failed = CHECKS if isinstance(subject, Subject) else DATASET_CHECKS, set[str]()
    for name in names:
        if name not in (known := [check.name for check in checks]):
            raise unknown("check", name, known)
    for name, ask, after in checks:
        if names and name not in names:
            continue
        try:
            if before := failed.intersection(after):
                raise NotTried("earlier-failure", before=min(before))
            with _within(limit):
                says = ask(subject)
            yield CheckResult(name, "ok", "ok", says)
            continue
        except CheckEnded as found:
            ended = found
        except _OutOfTime as late:
            place = _place(late, subject.files) or "Look for a loop that does not end."
            ended = CheckEnded("out-of-time", limit=limit, place=place)
        except Exception as error:  # a contributor's plug-in can raise anything
            said = " ".join(str(error).split())
            what = f"{type(error).__name__}{f': {said:.300}' if said else ''}"
            ended = CheckEnded("raised", error=what, place=_place(error, subject.files))
        if isinstance(ended, NotTried):
            yield CheckResult(name, "skipped", ended.code, ended.says)
        else:
            failed.add(name)
            yield CheckResult(name, "failed", ended.code, ended.says, ended.look)


class _OutOfTime(BaseException):
    """The time for a check is over; no `except Exception` of a plug-in catches it."""


@contextmanager
def _within(seconds: float | None) -> Iterator[None]:
    """Raise `_OutOfTime` inside after that many seconds of processor time."""
    main = threading.current_thread() is threading.main_thread()
    if seconds is None or not main or not hasattr(signal, "setitimer"):
        yield
        return

    def ring(*_: object) -> None:
        raise _OutOfTime

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _place(error: BaseException, files: Collection[Path]) -> str:
    """The deepest line of the plug-in's own source that led to the error."""
    own = {str(file) for file in files}
    lines = [f for f in traceback.extract_tb(error.__traceback__) if f.filename in own]
    if not lines:
        return ""
    return f"Look at {Path(lines[-1].filename).name}:{lines[-1].lineno}, in {lines[-1].name}."
