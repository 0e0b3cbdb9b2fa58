"""The commands that read: table, list, info."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from bench.api.dataset import Dataset, Source
from bench.cli import main
from bench.records.catalogue import columns
from bench.records.frame import records, summary
from bench.registry import plugins
from bench.tables.comparison import AMOUNTS

Write = Callable[..., str]


@pytest.fixture
def call(results: Path) -> Callable[..., Result]:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, [*arguments, "--results", str(results)])

    return run


Call = Callable[..., Result]


def test_no_runs_exits_3_and_says_what_to_type(call: Call, results: Path) -> None:
    done = call("table")
    assert done.exit_code == 3
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert str(results) in done.stderr
    assert "bench run" in done.stderr


def test_the_runs_survive_a_csv(call: Call, write: Write, results: Path) -> None:
    write("ffjord", "moons", 0, nll=-1.234567890123456)
    write("ffjord", "moons", 1, status="oom", reason='a "comma", and a\nline')
    done = call("table", "-f", "csv", "--runs")
    assert done.exit_code == 0
    frame = records(results)
    again = pd.read_csv(io.StringIO(done.stdout), dtype=frame.dtypes.to_dict())
    # An empty text cell can't be told from a missing one.
    again["settings"] = again["settings"].fillna("")
    pd.testing.assert_frame_equal(again, frame)
    recorded = [column.name for column in columns().values() if column.path]
    assert [name for name in again.columns if columns()[name].path] == recorded


def test_no_text_of_a_csv_is_a_formula(call: Call, write: Write) -> None:
    """A spreadsheet takes a cell that begins so for one; an apostrophe makes it a text."""
    write("jko", "-moons", 0, nll=-1.5)
    write("jko", "@SUM(1)", 1, status="error", reason="=HYPERLINK(0)")
    for arguments in (["--runs"], []):
        done = call("table", "-f", "csv", *arguments)
        cells = {cell for row in csv.reader(io.StringIO(done.stdout)) for cell in row}
        assert {"'@SUM(1)", "'-moons", "-1.5"} <= cells
        assert {"'=HYPERLINK(0)"} <= cells or not arguments
        assert not [c for c in cells if c[:1] in "=+@\t" and c]


def test_the_csv_without_runs_is_the_summary(call: Call, write: Write, results: Path) -> None:
    for seed, nll in enumerate((1.0, 3.0)):
        write("ffjord", "moons", seed, nll=nll)
    write("ffjord", "moons", 2, status="diverged")
    (row,) = pd.read_csv(io.StringIO(call("table", "-f", "csv").stdout)).to_dict("records")
    assert (row["method"], row["dataset"], row["n_ok"], row["n_runs"]) == ("ffjord", "moons", 2, 3)
    assert (row["nll_mean"], row["nll_sd"]) == (2.0, pytest.approx(2**0.5))
    few = pd.read_csv(io.StringIO(call("table", "-f", "csv", "--metric", "mmd_1").stdout))
    amounts = {f"{name}_{part}" for name in AMOUNTS for part in ("mean", "sd")}
    shown = {column for column in few.columns if column.endswith(("_mean", "_sd"))}
    assert shown == {"mmd_1_mean", "mmd_1_sd"} | (amounts - {"params_mean", "params_sd"})
    assert list(few["params"]) == [98_623]
    assert list(few["n_runs"]) == list(summary(records(results))["n_runs"])


@pytest.mark.parametrize("form", ["text", "latex", "markdown", "csv", "html"])
def test_a_file_is_what_the_terminal_shows(
    call: Call, write: Write, tmp_path: Path, form: str
) -> None:
    write("ffjord", "moons")
    file = tmp_path / "table"
    assert call("table", "-f", form, "-o", str(file)).exit_code == 0
    assert file.read_text(encoding="utf-8") == call("table", "-f", form).stdout
    assert sorted(os.listdir(tmp_path)) == ["runs", "table"]


def test_what_can_not_be_written_leaves_nothing(call: Call, write: Write, tmp_path: Path) -> None:
    write("ffjord", "moons")
    folder = tmp_path / "folder"
    folder.mkdir()
    for file in (tmp_path / "none" / "table.tex", folder):
        done = call("table", "-f", "latex", "-o", str(file))
        assert done.exit_code == 2
        assert str(file) in done.stderr
        assert done.stderr.count("\n") == 1
    assert sorted(os.listdir(tmp_path)) == ["folder", "runs"]
    assert os.listdir(folder) == []


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--metric", "nl"], 2, "'nll'"),
        (["--standalone"], 2, "-f latex"),
        (["-f", "pdf"], 2, "latex"),
        (["-m", "iresnet"], 3, "Known: ffjord, gaussian."),
        (["-d", "power"], 3, "Known: moons, rings."),
        (["-m", "gaussian", "-d", "rings"], 3, "bench run -m gaussian -d rings"),
    ],
)
def test_wrong_calls(call: Call, write: Write, arguments: list[str], code: int, said: str) -> None:
    write("ffjord", "moons")
    write("ffjord", "rings")
    write("gaussian", "moons")
    done = call("table", *arguments)
    assert done.exit_code == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_filters(call: Call, write: Write) -> None:
    write("ffjord", "moons")
    write("ffjord", "rings")
    write("gaussian", "moons")
    text = call("table", "-m", "ffjord", "-d", "moons").stdout
    assert "ffjord" in text
    assert "rings" not in text
    assert "\ngaussian" not in text


@pytest.mark.parametrize("command", ["table", "plot", "list", "info", "doctor"])
def test_help_has_examples(command: str) -> None:
    done = CliRunner().invoke(main, [command, "--help"])
    assert done.exit_code == 0
    assert f"  bench {command}" in done.stdout.partition("Examples:")[2]


def test_list_names_all_and_imports_nothing_heavy(write: Write, results: Path) -> None:
    run = write("ffjord", "moons")
    program = (
        "import sys\n"
        "from bench.cli import main\n"
        "main(['list', *sys.argv[1:]], standalone_mode=False)\n"
        "heavy = {'numpy', 'pandas', 'torch', 'rich', 'scipy', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    command = [sys.executable, "-c", program, "--results", str(results)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    known = {*plugins.methods(), *plugins.datasets()} - {plugins.PATH}
    for name in (*known, run, "quick", "equal"):
        assert name in done.stdout


#: Runs a command, says which slow libraries it has imported, and its seconds of the processor.
TABLE = """
import sys, time
from bench.cli import main
main(["table", *sys.argv[1:]], standalone_mode=False)
slow = {"scipy.stats", "scipy.optimize", "sklearn", "torch", "matplotlib"} & {*sys.modules}
print(*sorted(slow), time.process_time())
"""


def cost_of_a_table(*arguments: str) -> list[str]:
    command = [sys.executable, "-c", TABLE, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()


@pytest.mark.parametrize("arguments", [(), ("--notes", "full"), ("-f", "latex"), ("--details",)])
def test_a_table_imports_nothing_that_is_slow(
    arguments: tuple[str, ...], write: Write, results: Path
) -> None:
    for method, dataset, seed in product(("ffjord", "jko", "gaussian"), "abcd", range(3)):
        write(method, dataset, seed, nll=float(seed + len(method)), nll_se=0.1)
    assert len(cost_of_a_table("--results", str(results), *arguments)) == 1


@pytest.mark.slow
def test_a_table_of_few_records_is_quick(write: Write, results: Path) -> None:
    for method, dataset, seed in product(("ffjord", "gaussian"), ("moons", "digits"), range(5)):
        write(method, dataset, seed, nll=float(seed + len(method)), nll_se=0.1)
    seconds = [float(cost_of_a_table("--results", str(results))[0]) for _ in range(7)]
    assert min(seconds) < 0.8


def test_list_says_what_is_missing_and_how_to_get_it(call: Call, tmp_path: Path) -> None:
    done = call("list", "datasets", "--data", str(tmp_path), "--json")
    (power,) = (line for line in json.loads(done.stdout) if line["name"] == "power")
    assert "power/data.npy" in power["unavailable"]
    assert power["unavailable"].endswith("below DATA; bench data fetch power")
    (tmp_path / "power").mkdir()
    (tmp_path / "power" / "data.npy").touch()
    done = call("list", "datasets", "--data", str(tmp_path), "--json")
    (power,) = (line for line in json.loads(done.stdout) if line["name"] == "power")
    assert (power["kind"], power["unavailable"]) == ("whole", None)


def test_list_runs(call: Call, write: Write) -> None:
    assert "bench run" in call("list", "runs").stdout
    run = write("ffjord", "moons", status="diverged", reason="not finite")
    assert call("list", "runs").stdout.split() == [run, "diverged", "not", "finite"]
    (line,) = json.loads(call("list", "runs", "--json").stdout)
    assert (line["run"], line["status"], line["nll"]) == (run, "diverged", None)


def test_info_of_a_run_is_its_record(call: Call, write: Write, results: Path) -> None:
    run = write("ffjord", "moons", nll=1.5)
    written = json.loads((results / run / "record.json").read_text(encoding="utf-8"))
    assert json.loads(call("info", run[:14], "--json").stdout) == written
    text = call("info", run).stdout
    assert "dopri5" in text
    assert "1.5" in text


def test_info_of_a_method(call: Call) -> None:
    about = json.loads(call("info", "flow-matching", "--json").stdout)
    config = plugins.method("flow-matching").Config()
    assert about["hyper-parameters"].keys() == vars(config).keys()
    for name, option in about["hyper-parameters"].items():
        assert option["default"] == getattr(config, name)
        assert option["meaning"]
    assert all(preset["evidence"] for preset in about["presets"].values())


def test_info_of_a_data_set(call: Call, tmp_path: Path) -> None:
    about = json.loads(call("info", "moons", "--data", str(tmp_path), "--json").stdout)
    assert about["d"] == 2
    assert about["here"]["kind"] == "generated"
    assert len(about["here"]["revision"]) == 12
    away = json.loads(call("info", "gas", "--data", str(tmp_path), "--json").stdout)
    assert away["rows of the whole set"]["train"] == 852_174
    assert "bench data fetch gas" in away["unavailable"]
    assert "here" not in away


def test_info_prefers_the_method_and_refuses_what_is_not_there(call: Call, write: Write) -> None:
    write("other", "moons", run="gaussian-run")
    write("other", "moons", run="gaussian-ran")
    assert json.loads(call("info", "gaussian", "--json").stdout)["method"] == "gaussian"
    ambiguous = call("info", "gaussian-r")
    assert ambiguous.exit_code == 2
    assert "gaussian-ran, gaussian-run" in ambiguous.stderr
    unknown = call("info", "gausian")
    assert unknown.exit_code == 2
    assert "'gaussian'" in unknown.stderr


def test_a_set_without_a_download_is_not_offered_one() -> None:
    from bench.cli.listing import needs

    source = Source(lambda root: None, "subset", "", ("a.npy", "b.npy"))  # type: ignore[arg-type,return-value]
    dataset = Dataset("mine", 2, "", (source,))
    assert needs(dataset, Path("nowhere")) == "needs a.npy, b.npy below DATA"
