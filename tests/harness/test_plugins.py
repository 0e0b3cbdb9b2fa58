"""Plug-ins of other distributions: found, hashed, and shown when something is wrong with them."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import listing, main
from bench.errors import UsageError
from bench.registry import plugins

Install = Callable[[str, dict[str, str], str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """A function that installs a distribution: its name, its files, its entry points."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    before = set(sys.modules)

    def install(name: str, files: dict[str, str], entries: str) -> None:
        for path, content in files.items():
            (site / path).parent.mkdir(parents=True, exist_ok=True)
            (site / path).write_text(content, encoding="utf-8")
        info = site / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        metadata = (
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: numpy>=1.26\n"
        )
        (info / "METADATA").write_text(metadata, encoding="utf-8")
        (info / "entry_points.txt").write_text(entries, encoding="utf-8")
        importlib.invalidate_caches()
        plugins.forget()

    yield install
    for module in set(sys.modules) - before:
        if module.partition(".")[0].startswith("other_"):
            del sys.modules[module]
    plugins.forget()


def lines() -> dict[str, dict[str, object]]:
    return {str(line["name"]): dict(line) for line in listing.methods()}


def test_one_whose_import_fails_is_shown_with_the_reason(install: Install) -> None:
    install(
        "other-flows",
        {"other_flows.py": '"""A flow of others."""\n\nimport no_such_thing\n'},
        "[bench.methods]\nother = other_flows:Other\n",
    )
    line = lines()["other"]
    assert line["from"] == "other-flows 1.0"
    assert "ModuleNotFoundError: No module named 'no_such_thing'" in str(line["unavailable"])
    with pytest.raises(UsageError, match="no_such_thing"):
        plugins.method("other")
    assert lines()["gaussian"]["unavailable"] is None


def test_one_that_raises_anything_when_it_is_imported(install: Install) -> None:
    install(
        "other-flows",
        {"other_flows.py": '"""A flow of others."""\n\nraise RuntimeError("no GPU")\n'},
        "[bench.methods]\nother = other_flows:Other\n",
    )
    assert "RuntimeError: no GPU" in str(lines()["other"]["unavailable"])


def test_a_name_that_is_taken(install: Install) -> None:
    """Ours stays what it is, and the other one is shown."""
    install(
        "other-flows",
        {"other_flows.py": '"""A flow of others."""\n'},
        "[bench.methods]\ngaussian = other_flows:Other\n",
    )
    assert plugins.methods()["gaussian"].value == "bench_methods.gaussian:Gaussian"
    told = [line for line in listing.methods() if line["name"] == "gaussian"]
    assert [line["unavailable"] for line in told] == [
        None,
        "other_flows:Other of other-flows 1.0: another has this name",
    ]


def test_the_version_follows_relative_imports(install: Install, tmp_path: Path) -> None:
    package = {
        "other_pack/__init__.py": "",
        "other_pack/flow.py": '"""A flow."""\n\nfrom .nets import net\nfrom . import rates\n',
        "other_pack/nets.py": "from .deep.down import x\n\nnet = x\n",
        "other_pack/rates.py": "rate = 1\n",
        "other_pack/deep/__init__.py": "",
        "other_pack/deep/down.py": "from ..rates import rate\n\nx = rate\n",
        "other_pack/apart.py": "y = 1\n",
    }
    install("other-pack", package, "[bench.methods]\nother = other_pack.flow:Other\n")
    plugin = plugins.methods()["other"]
    found = {path.name for path in plugins.sources(plugin)}
    assert {"flow.py", "nets.py", "rates.py", "down.py"} <= found
    assert "apart.py" not in found
    before = plugins.version(plugin)
    down = tmp_path / "site" / "other_pack" / "deep" / "down.py"
    down.write_text("from ..rates import rate\n\nx = 2 * rate\n", encoding="utf-8")
    assert plugins.version(plugin) != before


def test_what_a_record_names_of_another_distribution(install: Install) -> None:
    install(
        "other-flows",
        {"other_flows.py": '"""A flow of others."""\n'},
        "[bench.methods]\nother = other_flows:Other\n",
    )
    assert plugins.packages(plugins.methods()["other"]) == ["other-flows", "numpy"]
    assert plugins.packages(plugins.methods()["gaussian"]) == []
    assert plugins.packages(EntryPoint("mine", "mine:Mine", "bench.methods")) == []


METRIC = """from bench.api.declarations import Column, Metric

FAR = Metric("far", "other_metrics:far", (Column("far", "How far."),))
"""


def test_metrics_of_another_distribution(install: Install) -> None:
    assert plugins.metrics() == {}
    install(
        "other-metrics", {"other_metrics.py": METRIC}, "[bench.metrics]\nfar = other_metrics:FAR\n"
    )
    assert [*plugins.metrics()] == ["far"]
    assert plugins.metrics()["far"].columns[0].name == "far"
    listed = {line["name"]: line for line in listing.metrics()}
    assert listed["far"]["summary"] == "far: How far."
    assert (listed["far"]["from"], listed["far"]["unavailable"]) == ("other-metrics 1.0", None)
    assert listed["nll"]["title"] == "NLL"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("near = other_metrics:FAR", "'near' .*must be a bench.api.Metric of that name"),
        ("far = other_metrics:METRIC", "has no attribute 'METRIC'"),
        ("far = other_metrics:Column", "must be a bench.api.Metric of that name"),
    ],
)
def test_a_metric_that_is_not_one(install: Install, entry: str, said: str) -> None:
    install("other-metrics", {"other_metrics.py": METRIC}, f"[bench.metrics]\n{entry}\n")
    with pytest.raises(UsageError, match=said):
        plugins.metrics()
    name = entry.partition(" ")[0]
    (line,) = (line for line in listing.metrics() if line["name"] == name)
    assert re.search(said, line["unavailable"])


@pytest.mark.parametrize("name", ["../../x", "a/b", ".hidden", "a b", "\u202ea"])
@pytest.mark.parametrize(("kind", "word"), plugins.KINDS.items())
def test_a_name_that_would_leave_the_results_folder(
    install: Install, kind: str, word: str, name: str, tmp_path: Path
) -> None:
    """It is refused where it is used and named by `bench doctor`; the rest can be used."""
    install(
        "other-flows", {"other_flows.py": METRIC}, f"[bench.{kind}]\n{name} = other_flows:FAR\n"
    )
    use = {"methods": plugins.method, "datasets": plugins.dataset, "metrics": plugins.metric}
    with pytest.raises(UsageError, match=f"A {word} can't have the name "):
        use[kind](name)
    if kind == "metrics":
        with pytest.raises(UsageError, match="A metric can't have the name "):
            plugins.metric_versions()
    assert plugins.metrics() == {}
    listed = CliRunner().invoke(main, ["list", kind, "--json"])
    assert listed.exit_code == 0
    (line,) = (line for line in json.loads(listed.stdout) if line["name"] == name)
    assert "can't have the name" in line["unavailable"]
    done = CliRunner().invoke(main, ["doctor", "--results", str(tmp_path)])
    assert done.exit_code == 1
    assert f"A {word} can't have the name" in done.stdout


def test_a_data_set_whose_own_name_would_leave_it(install: Install) -> None:
    code = 'from bench.api import Dataset\n\nX = Dataset("../x", 2, "X.", ())\n'
    install("other-sets", {"other_sets.py": code}, "[bench.datasets]\nx = other_sets:X\n")
    with pytest.raises(UsageError, match=r"A data set can't have the name '\.\./x'"):
        plugins.dataset("x")


def test_a_method_written_for_the_former_modules(install: Install) -> None:
    """The error names where the module is now."""
    install(
        "other-flows",
        {"other_flows.py": "from bench.method import Discrete\n"},
        "[bench.methods]\nother = other_flows:Other\n",
    )
    with pytest.raises(UsageError, match=r"bench\.method.*import it from bench\.api"):
        plugins.method("other")
