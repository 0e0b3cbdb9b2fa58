"""The checks of the contract in their order, and how a method is taken through them."""

from __future__ import annotations

import signal
import threading
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from bench.conformance import asking, cost, declared, density, learning, repeating
from bench.conformance.outcome import Broken, Finding, NotTried
from bench.conformance.subject import Subject


@dataclass(frozen=True)
class Check:
    """One question to a method.

    `ask` returns what it measured; it raises `Broken` or `NotTried`, or whatever the method raises.
    It is not asked where a check in `after` has failed.
    """

    name: str
    ask: Callable[[Subject], str]
    after: tuple[str, ...] = ("class", "learns")


CHECKS = (
    Check("class", declared.check_class, ()),
    Check("source", declared.check_source, ()),
    Check("learns", learning.check_learns, ("class",)),
    Check("budget", learning.check_budget, ("class",)),
    Check("smallest budget", learning.check_smallest),
    Check("parameters", learning.check_parameters),
    Check("evaluations", learning.check_evaluations),
    Check("torch's settings", learning.check_settings),
    Check("test split", learning.check_test_split),
    Check("same seed", repeating.check_seed),
    Check("other seed", repeating.check_other_seed),
    Check("resume", repeating.check_resume),
    Check("NaN", repeating.check_nan),
    Check("shapes", asking.check_shapes),
    Check("float types", asking.check_types),
    Check("rows apart", asking.check_rows_apart),
    Check("divergence", asking.check_divergence),
    Check("round trip", asking.check_round_trip),
    Check("integral", density.check_integral),
    Check("samples", density.check_samples),
    Check("device", cost.check_device),
    Check("speed", cost.check_speed),
)


def examine(
    subject: Subject, names: Collection[str] = (), limit: float | None = None
) -> Iterator[Finding]:
    """Ask a method all questions, or those of these names; one that fails does not end the rest.

    Args:
        subject: the method.
        names: the checks that are asked; all where empty.
        limit: the seconds of processor time that each may take, where a signal can interrupt it (in
            the main thread); a machine that is busy with other things fails no method.
    """
    failed = set[str]()
    for check in CHECKS:
        if names and check.name not in names:
            continue
        before = [name for name in check.after if name in failed]
        if before:
            yield Finding(check.name, "skipped", f"not tried, as {before[0]!r} failed")
            continue
        finding = _asked(check, subject, limit)
        if finding.outcome == "failed":
            failed.add(check.name)
        yield finding


def _asked(check: Check, subject: Subject, limit: float | None) -> Finding:
    """What came of one check; whatever the method raises is a finding."""
    try:
        with _within(limit):
            return Finding(check.name, "ok", check.ask(subject))
    except NotTried as reason:
        return Finding(check.name, "skipped", str(reason))
    except Broken as broken:
        return Finding(check.name, "failed", broken.problem, broken.look)
    except _Late as late:
        problem = f"It had not ended after {limit:g} s of processor time."
        look = _place(late, subject.files) or "Look for a loop that does not end."
        return Finding(check.name, "failed", problem, look)
    except Exception as error:  # a contributor's method can raise anything
        said = " ".join(str(error).split())
        problem = f"It raised {type(error).__name__}{f': {said:.300}' if said else ''}."
        return Finding(check.name, "failed", problem, _place(error, subject.files))


class _Late(BaseException):
    """The time for a check is over; no `except Exception` of a method keeps it."""


@contextmanager
def _within(seconds: float | None) -> Iterator[None]:
    """Raise `_Late` inside it when so many seconds are over."""
    main = threading.current_thread() is threading.main_thread()
    if seconds is None or not main or not hasattr(signal, "setitimer"):
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise _Late

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _place(error: BaseException, files: Collection[Path]) -> str:
    """The deepest line of the method's own source that led to the error."""
    own = {str(file) for file in files}
    lines = [f for f in traceback.extract_tb(error.__traceback__) if f.filename in own]
    if not lines:
        return ""
    deepest = lines[-1]
    return f"Look at {Path(deepest.filename).name}:{deepest.lineno}, in {deepest.name}."
