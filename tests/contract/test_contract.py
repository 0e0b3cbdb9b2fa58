"""The contract: what it says of methods that keep it, and of those that break it in one way."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.api.method import Method
from bench.conformance import CHECKS, Finding, Subject, examine
from bench.conformance.density import BOXES, _boxes

from . import broken_methods as methods
from .reaching_method import Reaches

#: What may be skipped of a method that keeps the contract, and why.
SKIPPED = {
    "evaluations": "a discrete method has no velocity",
    "divergence": "a discrete method has no velocity",
    "device": "there is no CUDA device here",
}


def subject(kind: type[Method]) -> Subject:
    return Subject(kind.__name__, kind, files=(Path(methods.__file__),))


def asked(kind: type[Method], check: str) -> Finding:
    (finding,) = examine(subject(kind), [check])
    return finding


@pytest.mark.parametrize("kind", [methods.Sound, methods.SoundFlow])
def test_a_method_that_keeps_it(kind: type[Method]) -> None:
    findings = list(examine(subject(kind)))
    assert [f.check for f in findings] == [check.name for check in CHECKS]
    assert [(f.check, f.says, f.look) for f in findings if f.outcome == "failed"] == []
    for finding in findings:
        assert finding.outcome == "ok" or SKIPPED[finding.check] == finding.says


@pytest.mark.parametrize(
    ("kind", "check", "sentence", "look"),
    [
        (methods.Undocumented, "class", "UndocumentedConfig.width does not say what it is.", "opt"),
        (methods.Unfinished, "class", "Unfinished does not say inverse.", "Write inverse."),
        (methods.Overruns, "learns", "learn yielded more than 6 logs for 6 mini-batches.", "learn"),
        (methods.Overruns, "budget", "Overruns took 6 mini-batches for 7 updates", "one update"),
        (methods.Greedy, "budget", "An optimiser made 2 steps for mini-batch 1.", "one"),
        (
            methods.DeafParameter,
            "parameters",
            "60 mini-batches did not change s: no gradient reaches there.",
            "detaches",
        ),
        (methods.Unseeded, "same seed", "Two runs with seed 0, d = 2, differ in m", "numpy"),
        (
            methods.SeedsItself,
            "other seed",
            "Seeds 0 and 1 give the same run, although it draws random numbers.",
            "manual_seed",
        ),
        (
            methods.Forgetful,
            "resume",
            "Stopped after mini-batch 1 of 4 and continued, it ends otherwise: m, s differ.",
            "progress()",
        ),
        (methods.HidesNaN, "NaN", "It hides a NaN: its parameters were set to NaN", "nan_to_num"),
        (methods.SwallowsNaN, "NaN", "Mini-batches that are NaN did not end the run.", "except"),
        (
            methods.WrongShape,
            "shapes",
            "For rows (7, 2) log_prob gave (7, 1), not (7,).",
            "Look at log_prob",
        ),
        (methods.SinglePrecision, "shapes", "For rows of float64 inverse gave float32.", "inverse"),
        (
            methods.DependsOnTheOthers,
            "rows apart",
            " nat with the rows beside it.",
            "batch normalisation",
        ),
        (
            methods.Uncounted,
            "evaluations",
            "6 mini-batches took 0 evaluations of its fields",
            "field(t, x)",
        ),
        (methods.WrongTrace, "divergence", "WrongVelocity gives a divergence that is off", "sign"),
        (
            methods.NotInverse,
            "round trip",
            "nat from those of its own inverse",
            "log_prob or inverse",
        ),
        (
            methods.Unnormalised,
            "integral",
            "In two dimensions the density integrates to 2, not to 1.",
            "constant",
        ),
        (
            methods.OtherSamples,
            "samples",
            "Samples and density are of two distributions (p = ",
            "log_prob and inverse",
        ),
        (methods.WrongTrace, "integral", "In two dimensions the density integrates to", "trace"),
        (methods.ChangesTorch, "torch's settings", "It changed torch's default dtype", "set_"),
        (methods.Raises, "shapes", "It raised NotImplementedError: to be done.", "in inverse."),
    ],
)
def test_a_method_that_breaks_it(kind: type[Method], check: str, sentence: str, look: str) -> None:
    finding = asked(kind, check)
    assert finding.outcome == "failed"
    assert sentence in finding.says
    assert look in finding.look


def test_where_it_raised() -> None:
    """The line is of the method's own source, not of the harness that called it."""
    lines = Path(methods.__file__).read_text(encoding="utf-8").splitlines()
    line = 1 + next(k for k, text in enumerate(lines) if '"to be done"' in text)
    assert asked(methods.Raises, "shapes").look == f"Look at broken_methods.py:{line}, in inverse."


def test_the_test_split_stays_shut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the method catches the error and goes on."""
    path = tmp_path / "arrays" / "moons-0" / "test.npy"
    path.parent.mkdir(parents=True)
    np.save(path, np.zeros((3, 2)))
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    finding = asked(Reaches, "test split")
    assert finding.outcome == "failed"
    assert finding.says.startswith("It reached for the data: while it learned, the method opened")
    assert str(path) in finding.says


def test_a_source_that_reaches_too_far() -> None:
    reaching = Path(__file__).parent / "reaching_method.py"
    (finding,) = examine(Subject("reaches", Reaches, files=(reaching,)), ["source"])
    assert finding.outcome == "failed"
    assert "reaching_method.py:11: import of bench.paths.array_cache could" in finding.says


def test_one_that_hangs() -> None:
    (finding,) = examine(subject(methods.Hangs), ["learns"], limit=0.2)
    assert finding.says == "It had not ended after 0.2 s of processor time."
    assert finding.look.startswith("Look at broken_methods.py:")
    assert finding.look.endswith("in loss.")


def test_what_rests_on_a_check_that_failed_is_not_tried() -> None:
    findings = {f.check: f for f in examine(subject(methods.Unfinished))}
    assert findings["source"].outcome == "ok"
    rest = [f for f in findings.values() if f.check not in ("class", "source")]
    assert {f.says for f in rest} == {"not tried, as 'class' failed"}


def test_checks_have_names_of_their_own() -> None:
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names)
    for k, check in enumerate(CHECKS):
        assert set(check.after) <= set(names[:k])


def test_boxes_of_equal_mass() -> None:
    """Of a uniform density each has 1/64 of the mass; of a normal one about that."""
    uniform = torch.full((64, 64), 1 / 4096).double()
    held = torch.bincount(_boxes(uniform).flatten(), uniform.flatten())
    torch.testing.assert_close(held, torch.full((BOXES**2,), 1 / 64).double())
    x = torch.linspace(-5, 5, 96).double()
    one = torch.exp(-0.5 * x**2) / math.sqrt(2 * math.pi)
    normal = torch.outer(one, one) / one.sum() ** 2
    held = torch.bincount(_boxes(normal).flatten(), normal.flatten())
    assert len(held) == BOXES**2
    assert held.sum() == pytest.approx(1)
    assert 0.5 / 64 < held.min() < held.max() < 2 / 64
