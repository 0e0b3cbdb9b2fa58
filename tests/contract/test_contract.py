"""The contract: what it says of methods that keep it, and of those that break it in one way."""

from __future__ import annotations

import ast
import math
import string
import tomllib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from bench import conformance
from bench.api.method import Method
from bench.conformance import CHECKS, DATASET_CHECKS, Check, CheckResult, Subject, examine
from bench.conformance.answers import BOXES, equal_mass_boxes

from . import broken_methods as methods
from .reaching_method import Reaches

#: The exceptions that are raised with a code.
RAISED = ("Broken", "NotTried", "CheckEnded")

#: What may be skipped of a method that keeps the contract, and the code of the reason.
SKIPPED = {"evaluations": "discrete", "divergence": "discrete", "device": "no-gpu"}


def subject(kind: type[Method]) -> Subject:
    return Subject(kind.__name__, kind, files=(Path(methods.__file__),))


def result(kind: type[Method], check: str) -> CheckResult:
    (found,) = examine(subject(kind), [check])
    return found


@pytest.mark.parametrize("kind", [methods.Sound, methods.SoundFlow])
def test_a_method_that_keeps_it(kind: type[Method]) -> None:
    results = list(examine(subject(kind)))
    assert [r.check for r in results] == [check.name for check in CHECKS]
    assert [r for r in results if r.outcome == "failed"] == []
    for each in results:
        assert each.code == ("ok" if each.outcome == "ok" else SKIPPED[each.check])


@pytest.mark.parametrize(
    ("kind", "check", "code", "named"),
    [
        (methods.Undocumented, "class", "option-undocumented", "UndocumentedConfig.width"),
        (methods.Unfinished, "class", "abstract", "inverse"),
        (methods.Overruns, "learns", "log-count", "6 mini-batches"),
        (methods.Overruns, "budget", "wrong-count", "7 updates"),
        (methods.LogsSeconds, "learns", "reserved-name", "'seconds'"),
        (methods.Greedy, "budget", "several-updates", "2 steps"),
        (
            methods.DeafParameter,
            "parameters",
            "parameter-still",
            "60 mini-batches did not change s:",
        ),
        (methods.Unseeded, "same seed", "not-seeded", "m"),
        (methods.SeedsItself, "other seed", "seed-ignored", ""),
        (methods.Forgetful, "resume", "resumed-differs", "m, s"),
        (methods.HidesNaN, "NaN", "nan-hidden", ""),
        (methods.SwallowsNaN, "NaN", "nan-rows-swallowed", ""),
        (methods.WrongShape, "shapes", "wrong-shape", "log_prob returned (7, 1), expected (7,)"),
        (methods.SinglePrecision, "shapes", "wrong-dtype", "inverse returned float32"),
        (methods.DependsOnTheOthers, "rows apart", "rows-mixed", "nat"),
        (methods.Uncounted, "evaluations", "not-counted", "0 evaluations"),
        (methods.WrongTrace, "divergence", "wrong-claim", "WrongVelocity"),
        (methods.NotInverse, "round trip", "wrong-claim", "NotInverse"),
        (methods.Unnormalised, "integral", "not-normalised", "to 2 "),
        (methods.OtherSamples, "samples", "other-distribution", "expected"),
        (methods.WrongTrace, "integral", "not-normalised", ""),
        (methods.ChangesTorch, "torch's settings", "global-setting", "default dtype"),
        (methods.Raises, "shapes", "raised", "NotImplementedError: to be done"),
    ],
)
def test_a_method_that_breaks_it(kind: type[Method], check: str, code: str, named: str) -> None:
    found = result(kind, check)
    assert (found.outcome, found.code) == ("failed", code)
    assert named in found.says
    assert found.look


def test_where_it_raised() -> None:
    """The line is of the method's own source, not of the harness that called it."""
    lines = Path(methods.__file__).read_text(encoding="utf-8").splitlines()
    line = 1 + next(k for k, text in enumerate(lines) if '"to be done"' in text)
    assert result(methods.Raises, "shapes").look == f"Look at broken_methods.py:{line}, in inverse."


def test_opening_the_test_split_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the method catches the error and goes on."""
    path = tmp_path / "arrays" / "moons-0" / "test.npy"
    path.parent.mkdir(parents=True)
    np.save(path, np.zeros((3, 2)))
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    found = result(Reaches, "test split")
    assert (found.outcome, found.code) == ("failed", "opened-data")
    assert str(path) in found.says


def test_a_source_that_imports_too_much() -> None:
    reaching = Path(__file__).parent / "reaching_method.py"
    (found,) = examine(Subject("reaches", Reaches, files=(reaching,)), ["source"])
    assert (found.outcome, found.code) == ("failed", "forbidden-import")
    assert "reaching_method.py:11" in found.says
    assert "bench.paths.array_cache" in found.says


def test_a_method_that_hangs() -> None:
    (found,) = examine(subject(methods.Hangs), ["learns"], limit=0.2)
    assert (found.outcome, found.code) == ("failed", "out-of-time")
    assert "0.2 s" in found.says
    assert found.look.startswith("Look at broken_methods.py:")
    assert found.look.endswith("in loss.")


def test_checks_after_a_failure_are_skipped() -> None:
    results = {r.check: r for r in examine(subject(methods.Unfinished))}
    assert results["source"].outcome == "ok"
    others = [r for r in results.values() if r.check not in ("class", "source")]
    assert {(r.outcome, r.code) for r in others} == {("skipped", "earlier-failure")}
    assert all("'class'" in r.says for r in others)


@pytest.mark.parametrize("checks", [CHECKS, DATASET_CHECKS])
def test_names_of_checks_differ_and_each_comes_after_those_that_it_needs(
    checks: Sequence[Check],
) -> None:
    names = [check.name for check in checks]
    assert len(set(names)) == len(names)
    for k, check in enumerate(checks):
        assert set(check.after) <= set(names[:k])


def test_every_code_that_is_raised_has_its_sentence_and_no_other_is_listed() -> None:
    """The words in braces are the keywords with which the code is raised."""
    folder = Path(conformance.__file__).parent
    codes = tomllib.loads((folder / "codes.toml").read_text(encoding="utf-8"))
    wanted = {
        code: {
            field.partition("[")[0]
            for text in entry.values()
            for _, field, _, _ in string.Formatter().parse(text)
            if field
        }
        for code, entry in codes.items()
    }
    raised: dict[str, list[set[str]]] = defaultdict(list)
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in RAISED:
                raised[ast.literal_eval(node.args[0])].append(
                    {str(key.arg) for key in node.keywords}
                )
    assert set(raised) == set(wanted)
    for code, calls in raised.items():
        assert calls == [wanted[code]] * len(calls), code


def test_boxes_of_equal_mass() -> None:
    """Of a uniform density each has 1/64 of the mass; of a normal one about that."""
    uniform = torch.full((64, 64), 1 / 4096).double()
    held = torch.bincount(equal_mass_boxes(uniform).flatten(), uniform.flatten())
    torch.testing.assert_close(held, torch.full((BOXES**2,), 1 / 64).double())
    x = torch.linspace(-5, 5, 96).double()
    one = torch.exp(-0.5 * x**2) / math.sqrt(2 * math.pi)
    normal = torch.outer(one, one) / one.sum() ** 2
    held = torch.bincount(equal_mass_boxes(normal).flatten(), normal.flatten())
    assert len(held) == BOXES**2
    assert held.sum() == pytest.approx(1)
    assert 0.5 / 64 < held.min() < held.max() < 2 / 64
