"""Files with methods and data sets that no distribution installs: `--include`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import bench
from bench.cli import main
from bench.data import arrays
from bench.errors import UsageError
from bench.launch.dask import workers
from bench.records.spec import RunSpec
from bench.registry import plugins
from bench.study.studies import read

METHOD = '''"""A Gaussian that stands still."""

import math

import torch
from torch import nn

from bench.api.method import Discrete, Options


class Still(Discrete):
    """N(m, I)."""

    Config = Options

    def __init__(self, d, config):
        super().__init__(d, config)
        self.m = nn.Parameter(0.1 * torch.randn(d))
        self.optimizer = torch.optim.Adam(self.parameters(), 1e-2)

    def learn(self, batches):
        for x in batches:
            loss = -self.log_prob(x).mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            yield {"loss": loss.detach()}

    def log_prob(self, x):
        return -0.5 * (x - self.m).square().sum(-1) - 0.5 * self.d * math.log(2 * math.pi)

    def inverse(self, z):
        return self.m + z
'''

DATASET = '''"""A square."""

from bench.api.dataset import Dataset, Source, Splits


def read(root):
    import numpy as np

    rows = np.random.default_rng(0).random((3, 600, 2)).astype(np.float32)
    return Splits(*rows)


SQUARE = Dataset("square", 2, "A square of side 1", (Source(read, "generated", "seed 0"),))
'''

METRIC = '''"""The distance of the means."""

from bench.api.declarations import Column, Metric


def measure(rows):
    return {"mean_distance": float((rows.test.mean(0) - rows.samples.mean(0)).norm())}


MEANS = Metric("means", measure, (Column("mean_distance", "Distance of the means."),))
'''


@pytest.fixture(autouse=True)
def nothing_included(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test includes, the next one does not know."""
    monkeypatch.setattr(plugins, "_included", {})
    plugins.forget()
    yield
    plugins.forget()


def file_of(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments])


def test_the_name_is_the_files(tmp_path: Path) -> None:
    path = file_of(tmp_path, "my_flow.py", METHOD)
    found = plugins.include(path)
    assert [*found["methods"]] == ["my-flow"]
    assert plugins.method("my-flow").__name__ == "Still"
    assert plugins.summary(plugins.methods()["my-flow"]) == "A Gaussian that stands still"
    assert plugins.files_of(["my-flow", "moons"]) == (str(path),)
    assert plugins.files_of(["gaussian"]) == ()


def test_a_class_may_have_a_name_of_its_own(tmp_path: Path) -> None:
    named = METHOD.replace("    Config = Options\n", '    Config = Options\n    name = "still"\n')
    assert [*plugins.include(file_of(tmp_path, "a.py", named))["methods"]] == ["still"]


def test_a_name_that_would_leave_the_results_folder(tmp_path: Path) -> None:
    named = METHOD.replace("    Config = Options\n", '    Config = Options\n    name = "../../x"\n')
    with pytest.raises(UsageError, match=r"A method can't have the name '\.\./\.\./x'"):
        plugins.include(file_of(tmp_path, "a.py", named))


def test_several_in_a_file(tmp_path: Path) -> None:
    """They are called after the file and the class; what begins with an underscore is none."""
    more = "\n\nclass Other(Still):\n    pass\n\n\nclass _Base(Still):\n    pass\n"
    found = plugins.include(file_of(tmp_path, "two_flows.py", METHOD + more))
    assert sorted(found["methods"]) == ["two-flows.Other", "two-flows.Still"]


def test_the_version_is_that_of_the_source(tmp_path: Path) -> None:
    """A file that changes is read anew, under the same name and another version."""
    path = file_of(tmp_path, "my_flow.py", METHOD)
    plugins.include(path)
    before = plugins.version(plugins.methods()["my-flow"])
    plugins.include(path)
    assert plugins.version(plugins.methods()["my-flow"]) == before
    file_of(tmp_path, "my_flow.py", METHOD.replace("1e-2", "1e-3"))
    plugins.include(path)
    assert plugins.version(plugins.methods()["my-flow"]) != before


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.py", "import no_such_thing\n", "line 1: ModuleNotFoundError: No module named 'no_such"),
        ("a.py", "x = 1\nraise RuntimeError('no')\n", "line 2: RuntimeError: no."),
        ("a.py", "x = (\n", "line 1: SyntaxError: '(' was never closed."),
        (
            "a.py",
            "from bench.method import Method\n",
            "line 1: ModuleNotFoundError: No module named 'bench.method'; import it from "
            "bench.api.",
        ),
        ("a.py", "x = 1\n", "defines no method, data set or metric."),
        ("a.txt", METHOD, "is not a Python file."),
        ("gaussian.py", METHOD, "a method 'gaussian', which exists: bench_methods."),
        (
            "a.py",
            DATASET.replace('"square"', '"moons"'),
            "a data set 'moons', which exists",
        ),
    ],
)
def test_a_file_that_can_not_be_included(
    name: str, content: str, said: str, tmp_path: Path
) -> None:
    path = file_of(tmp_path, name, content)
    known = {*plugins.methods(), *plugins.datasets()}
    with pytest.raises(UsageError) as error:
        plugins.include(path)
    assert said in error.value.problem
    assert {*plugins.methods(), *plugins.datasets()} == known


def test_there_is_no_such_file(tmp_path: Path) -> None:
    done = call("run", "--include", str(tmp_path / "no.py"), "-m", "x", "-d", "moons")
    assert done.exit_code == 2
    assert "no.py can't be read: No such file or directory." in done.stderr


def test_a_file_may_hold_a_metric(tmp_path: Path) -> None:
    """Every run is evaluated by it, so every run needs the file."""
    assert plugins.metrics() == {}
    path = file_of(tmp_path, "means.py", METRIC)
    plugins.include(path)
    (metric,) = plugins.metrics().values()
    assert metric.name == "means"
    assert metric.columns[0].name == "mean_distance"
    assert plugins.files_of(["gaussian", "moons"]) == (str(path),)
    with pytest.raises(UsageError, match="a metric 'means', which exists"):
        plugins.include(file_of(tmp_path, "again.py", METRIC))


def test_the_list_says_why_one_is_missing(tmp_path: Path) -> None:
    good = file_of(tmp_path, "my_flow.py", METHOD)
    bad = file_of(tmp_path, "bad.py", "import no_such_thing\n")
    done = call("list", "methods", "--json", "--include", str(good), "--include", str(bad))
    assert done.exit_code == 0
    lines = {line["name"]: line for line in json.loads(done.stdout)}
    assert lines["my-flow"]["unavailable"] is None
    assert lines["my-flow"]["from"] == str(good)
    assert "line 1: ModuleNotFoundError" in lines[str(bad)]["unavailable"]
    assert "gaussian" in lines
    text = call("list", "datasets", "--include", str(bad)).stdout
    assert "line 1: ModuleNotFoundError" in " ".join(text.split())


def test_info(tmp_path: Path) -> None:
    path = file_of(tmp_path, "my_flow.py", METHOD)
    done = call("info", "my-flow", "--include", str(path), "--json")
    assert json.loads(done.stdout)["hyper-parameters"].keys() == {"affine"}


def test_a_study_includes_what_it_names(tmp_path: Path) -> None:
    """The path is relative to the study's file; what is wrong has its place in it."""
    file_of(tmp_path, "my_flow.py", METHOD)
    file_of(tmp_path, "square.py", DATASET)
    text = 'methods = ["my-flow"]\ndatasets = ["square"]\ninclude = ["my_flow.py", "square.py"]\n'
    notes: list[str] = []
    study = read(mine := file_of(tmp_path, "mine.toml", text), notes.append)
    assert notes == [
        f"Importing {tmp_path / name} (named by {mine})." for name in ("my_flow.py", "square.py")
    ]
    assert study.include == (str(tmp_path / "my_flow.py"), str(tmp_path / "square.py"))
    assert study.methods == ("my-flow",)
    wrong = file_of(tmp_path, "wrong.toml", text.replace("square.py", "no.py"))
    with pytest.raises(UsageError, match=r"wrong\.toml: include\[1\]: .*no\.py can't be read"):
        read(wrong)


def test_a_file_is_named_before_a_study_imports_it(tmp_path: Path) -> None:
    path = file_of(tmp_path, "my_flow.py", "raise RuntimeError('it runs')\n")
    text = 'methods = ["my-flow"]\ndatasets = ["moons"]\ninclude = ["my_flow.py"]\n'
    study = file_of(tmp_path, "mine.toml", text)
    done = call("run", "--study", str(study), "--dry-run")
    assert done.exit_code == 2
    assert done.stderr.splitlines()[0] == f"Importing {path} (named by {study})."


def test_where_a_file_lies_is_no_part_of_a_runs_key(tmp_path: Path) -> None:
    spec = RunSpec("m", "v", {}, "d", "d", "r", 1, 1, 0)
    there = RunSpec("m", "v", {}, "d", "d", "r", 1, 1, 0, include=("/a/my_flow.py",))
    assert spec.key == there.key


def test_a_worker_has_to_see_the_file(tmp_path: Path) -> None:
    path = file_of(tmp_path, "my_flow.py", METHOD)
    found = plugins.include(path)
    rows = arrays.load(plugins.dataset("moons"), tmp_path).revision
    spec = RunSpec(
        method="my-flow",
        version=plugins.version(found["methods"]["my-flow"]),
        config={},
        dataset="moons",
        label="moons",
        revision=rows,
        minibatches=1,
        batch_size=1,
        seed=0,
        data_root=str(tmp_path),
        include=(str(path),),
    )
    assert workers.unfit(workers.program(), [spec]) is None
    path.unlink()
    problem = workers.unfit(workers.program(), [spec])
    assert problem is not None
    assert problem[0].startswith(f"it can't include a file of the study: {path} can't be read")
    assert problem[1] == "Put the file where the workers see it under the same path."


def test_a_run_and_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A method and a data set that are in files alone: run in a child process, then used."""
    files = [file_of(tmp_path, "my_flow.py", METHOD), file_of(tmp_path, "square.py", DATASET)]
    runs = tmp_path / "runs"
    frame = bench.run(
        ["my-flow"],
        ["square"],
        minibatches=5,
        batch_size=50,
        judge={"test_rows": 40, "integral_cells": 16, "mmd_n": 30, "permutations": 99},
        results=runs,
        include=[*map(str, files)],
    )
    assert frame["status"].tolist() == ["ok"], frame["reason"].tolist()
    (name,) = frame["run"]
    record = json.loads((runs / name / "record.json").read_text(encoding="utf-8"))
    assert record["include"] == ["my_flow.py", "square.py"]
    monkeypatch.setattr(plugins, "_included", {})
    plugins.forget()
    asked = ["sample", name, "-n", "3", "-o", str(tmp_path / "s.csv"), "--results", str(runs)]
    without = call(*asked)
    assert without.exit_code == 2
    assert "my_flow.py, square.py" in without.stderr
    assert not (tmp_path / "s.csv").exists()
    with_it = call(*asked, "--include", str(files[0]))
    assert with_it.exit_code == 0, with_it.output
    assert len((tmp_path / "s.csv").read_text(encoding="utf-8").splitlines()) == 4
    drawing = ["plot", "density", "-o", str(tmp_path / "density.svg"), "--results", str(runs)]
    included = [word for file in files for word in ("--include", str(file))]
    drawn = call(*drawing, *included)
    assert drawn.exit_code == 0, drawn.output
    assert "my-flow" in (tmp_path / "density.svg").read_text(encoding="utf-8")
