"""`--compile`: the compiler is looked for first, its time counts apart, the record says it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import bench
from bench.api.method import Log
from bench.api.stream import Stream
from bench.cli import main
from bench.errors import UsageError
from bench.launch import driver
from bench.records.spec import Judge, RunSpec
from bench.records.store import content
from bench.registry import plugins
from bench.training.compiling import Compiler, require_compiler
from bench.training.loop import Training, train
from tests.harness.small import JUDGE, table
from tests.harness.test_training import Clock, Given, clock, stream  # noqa: F401

JUDGE_FIELDS = [f.name for f in fields(Judge) if f.name != "metrics_version"]

#: A method whose compiled function is as small as can be.
METHOD = '''
import torch
from bench.api import Discrete, Options, compiled

@compiled
def errors(x, m):
    return 0.5 * (x - m).square().sum(-1)

class Shifted(Discrete):
    """N(m, I)."""

    Config = Options
    compiles = True

    def __init__(self, d, config):
        super().__init__(d, config)
        self.m = torch.nn.Parameter(torch.zeros(d))
        self.optimizer = torch.optim.Adam([self.m], 0.1)

    def learn(self, batches):
        """One step of maximum likelihood for each mini-batch."""
        for x in batches:
            loss = errors(x, self.m).mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            yield {"loss": loss.detach()}

    def log_prob(self, x):
        """The log-density `(n,)`."""
        return -errors(x, self.m) - 0.9189385 * self.d

    def inverse(self, z):
        """The rows of standard normal draws."""
        return z + self.m
'''


@pytest.fixture
def method_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(plugins, "_included", {})
    path = tmp_path / "shifted.py"
    path.write_text(METHOD, encoding="utf-8")
    yield path
    plugins.forget()


def options(folder: Path, file: Path, **given: Any) -> dict[str, Any]:
    return {
        "methods": ("shifted", "gaussian"),
        "datasets": (table(folder / "own.npy"),),
        "minibatches": 4,
        "batch_size": 32,
        "judge": {name: getattr(JUDGE, name) for name in JUDGE_FIELDS},
        "include": (file,),
        "results": folder / "runs",
        "data": folder,
        **given,
    }


def plan(folder: Path, file: Path, **given: Any) -> tuple[tuple[RunSpec, ...], list[str]]:
    notes: list[str] = []
    asked = driver.StudyRequest(**options(folder, file, **given))
    return driver.prepare(asked, notes.append).plan.todo, notes


def test_the_key_says_so_only_where_it_is_on(tmp_path: Path, method_file: Path) -> None:
    (plain, _), nothing = plan(tmp_path, method_file)
    (compiled, floor), notes = plan(tmp_path, method_file, compile=True)
    assert (plain.compile, compiled.compile) == (False, True)
    assert plain.key != compiled.key
    assert replace(compiled, compile=False).key == plain.key
    assert not floor.compile
    assert not [note for note in nothing if "compile" in note]
    assert [note for note in notes if note.startswith("gaussian has nothing to compile")]


def test_a_study_file_can_ask_for_it(tmp_path: Path, method_file: Path) -> None:
    study = tmp_path / "study.toml"
    study.write_text(
        'methods = ["shifted"]\ndatasets = ["moons"]\ninclude = ["shifted.py"]\ncompile = true\n',
        encoding="utf-8",
    )
    asked = {"study": study, "data": tmp_path, "results": tmp_path / "runs"}
    for given, wanted in ((None, True), (False, False)):
        prepared = driver.prepare(driver.StudyRequest(**asked, compile=given), print)
        assert [spec.compile for spec in prepared.plan.runs] == [wanted]


@pytest.mark.parametrize("compiler", ["no-such-compiler", "/bin/false"])
def test_a_missing_compiler_is_one_line_before_anything_runs(
    tmp_path: Path, method_file: Path, monkeypatch: pytest.MonkeyPatch, compiler: str
) -> None:
    monkeypatch.setenv("CXX", compiler)
    arguments = ["run", "--include", str(method_file), "-m", "shifted", "-d", "moons", "--compile"]
    done = CliRunner().invoke(main, [*arguments, "--results", str(tmp_path / "runs")])
    assert done.exit_code == 2
    (line,) = [line for line in done.stderr.splitlines() if "--compile needs" in line]
    assert compiler in line
    assert not (tmp_path / "runs").exists()
    with pytest.raises(UsageError, match="needs a C"):
        require_compiler()


class Stub(Compiler):
    """A compiler whose seconds are told to it."""

    def __init__(self) -> None:
        self.seconds = self.cpu_seconds = 0.0
        self._device = "cpu"


def test_compiling_is_no_part_of_the_seconds_of_training(clock: Clock) -> None:  # noqa: F811
    compiler = Stub()

    def learn(batches: Stream) -> Iterator[Log]:
        for k, _ in enumerate(batches):
            spent = 2 + (30 if k < 2 else 0)  # forward and backward passes are compiled late
            clock.now += spent
            clock.cpu += spent
            compiler.seconds += spent - 2
            compiler.cpu_seconds += spent - 2
            yield {"loss": 0.0}

    # The session before was compiled, too.
    done = Training(train_seconds=1.0, train_cpu_seconds=1.0, compile_seconds=10.0)
    resumed = {"done": done, "compiler": compiler}
    train(Given(learn), stream(6), lambda m: 0.0, 1, lambda event: None, **resumed)
    assert done.train_seconds == done.train_cpu_seconds == 1 + 6 * 2
    assert done.compile_seconds == 10 + 2 * 30


def test_a_compiled_run_learns_the_same(tmp_path: Path, method_file: Path) -> None:
    asked = options(tmp_path, method_file, methods=("shifted",))
    (plain,) = bench.run(**asked).itertuples()
    (compiled,) = bench.run(**asked, compile=True).itertuples()
    assert (plain.status, compiled.status) == ("ok", "ok")
    assert math.isnan(plain.compile_seconds)
    assert 0 < compiled.train_seconds < compiled.compile_seconds
    assert compiled.nll == pytest.approx(plain.nll, rel=1e-5)
    method, other = (content(tmp_path / "runs", run.run)["method"] for run in (compiled, plain))
    assert (method["compiled"], "compiled" in other) == (True, False)
    # They are not averaged, and the one is no later version of the other.
    both = bench.records(tmp_path / "runs")
    assert both["variant"].nunique() == 2
    assert sorted(both["settings"]) == ["", "compiled=true"]
    method_file.write_text(METHOD + "\n", encoding="utf-8")
    stale, _ = plan(tmp_path, method_file, methods=("shifted",), compile=True, only="stale")
    assert [spec.compile for spec in stale] == [True]
