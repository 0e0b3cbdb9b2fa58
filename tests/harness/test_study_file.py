"""Study files: what they say, and what is said of one that is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.errors import UsageError
from bench.records.spec import Judge, RunSpec
from bench.registry import plugins
from bench.study import presets
from bench.study.studies import Study, budget, find, judge_of, read, shipped

GOOD = """\
summary = "one of everything"
methods = ["gaussian", "flow-matching"]
datasets = ["moons"]
seeds = [2, 0]
budget = "quick"
minibatches = 20
batch_size = 64
settings = ["width=8", "gaussian.ridge=1e-3"]

[judge]
test_rows = 50
rtol = 1
dtype = "float64"
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def written(text: str, name: str = "study.toml") -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_everything() -> None:
    assert read(written(GOOD)) == Study(
        methods=("gaussian", "flow-matching"),
        datasets=("moons",),
        seeds=(2, 0),
        budget="quick",
        judge=Judge(test_rows=50, rtol=1.0, dtype="float64"),
        minibatches=20,
        batch_size=64,
        settings=("width=8", "gaussian.ridge=1e-3"),
        summary="one of everything",
    )


def test_a_whole_number_is_the_same_judge() -> None:
    """`rtol = 1` and `rtol = 1.0` have one key."""
    judges = [read(written(GOOD.replace("rtol = 1", f"rtol = {v}"))).judge for v in ("1", "1.0")]
    specs = [RunSpec("m", "", {}, "d", "d", "", 1, 1, 0, judge=judge) for judge in judges]
    assert specs[0].key == specs[1].key


def test_a_judge_from_a_file_has_the_key_of_one_from_python() -> None:
    """Fields that the file does not set count in the key too."""
    judge = read(written(GOOD)).judge
    assert vars(judge) == vars(Judge(test_rows=50, rtol=1.0, dtype="float64"))


def test_the_least() -> None:
    study = read(written('methods = ["gaussian"]\ndatasets = ["moons"]\nsettings = []'))
    assert study == Study(("gaussian",), ("moons",))


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_windows_and_a_byte_order_mark(ending: str) -> None:
    Path("s.toml").write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", ending).encode())
    assert read(Path("s.toml")) == read(written(GOOD))


def test_a_path_is_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "deep" / "tables").mkdir(parents=True)
    np.save("deep/tables/own.npy", np.zeros((9, 2)))
    text = GOOD.replace('"moons"', f'"tables/own.npy", "{tmp_path}/deep/tables/own.npy"')
    study = read(written(text, "deep/study.toml"))
    assert [Path(name).resolve() for name in study.datasets] == [
        tmp_path / "deep" / "tables" / "own.npy"
    ] * 2


#: What is wrong -> what is replaced, by what, and what the error names: the key, and more.
WRONG = {
    "an unknown key": ("methods =", "metods =", "'metods'", "'methods'"),
    "a key unlike any": ("seeds", "qqqqq", "'qqqqq'", "seeds"),
    "an unknown key of the judge": ("test_rows", "tst_rows", "judge", "'test_rows'"),
    "the metrics' version": ("test_rows", "metrics_version", "judge", "'metrics_version'"),
    "an unknown method": ('"gaussian"', '"gausian"', "methods[0]", "'gaussian'"),
    "an unknown data set": ('"moons"', '"mons"', "datasets[0]", "'moons'"),
    "a missing table": ('"moons"', '"x/y.csv"', "datasets[0]", "x/y.csv"),
    "an unknown budget": ('"quick"', '"quik"', "budget", "'quick'"),
    "a string for a list": ('["moons"]', '"moons"', "datasets", "expected array"),
    "a number for a list": ("[2, 0]", "2", "seeds", "expected array"),
    "a string in a list": ("[2, 0]", '[2, "0"]', "seeds[1]", "expected int"),
    "a fraction": ("[2, 0]", "[2.0]", "seeds[0]", "expected int"),
    "a truth": ("[2, 0]", "[true]", "seeds[0]", "expected int"),
    "a number for a name": ('"moons"', "3", "datasets[0]", "expected string"),
    "a list for a name": ('"quick"', '["quick"]', "budget", "expected string"),
    "a date": ('"quick"', "2026-01-01", "budget", "expected string"),
    "a string for a number": ("= 20", '= "20"', "minibatches", "expected int"),
    "no mini-batches": ("= 20", "= 0", "minibatches", "expected int >= 1"),
    "no rows": ("= 64", "= -64", "batch_size", "expected int >= 1"),
    "a negative seed": ("[2, 0]", "[2, -1]", "seeds[1]", "expected int >= 0"),
    "a seed that no generator takes": ("[2, 0]", f"[{10**30}]", "seeds[0]", "expected int"),
    "no seeds": ("[2, 0]", "[]", "seeds", "length >= 1"),
    "no data sets": ('["moons"]', "[]", "datasets", "length >= 1"),
    "a seed twice": ("[2, 0]", "[2, 0, 2]", "seeds[2]", "2"),
    "a method twice": ('"flow-matching"]', '"gaussian"]', "methods[1]", "'gaussian'"),
    "an unknown hyper-parameter": ('"width=8"', '"widht=8"', "settings", "'width'"),
    "a setting without a value": ('"width=8"', '"width"', "settings", "KEY=VALUE"),
    "a setting of another method": ("gaussian.ridge", "gausian.ridge", "settings", "'gaussian'"),
    "a judge that is a number": ("[judge]", "judge = 3\n[x]", "'x'", "judge"),
    "a judge's string": ("= 50", '= "50"', "judge: test_rows", "expected int"),
    "a judge's fraction": ("= 50", "= 50.5", "judge: test_rows", "expected int"),
    "a judge without rows": ("= 50", "= 0", "judge: test_rows", "expected int >= 1"),
    "a judge's NaN": ("rtol = 1", "rtol = nan", "judge: rtol", "expected float > 0"),
    "a judge's infinity": ("rtol = 1", "rtol = inf", "judge: rtol", "expected float <="),
    "a judge's level": ("rtol = 1", "alpha = 5", "judge: alpha", "expected float < 1"),
    "a judge's dtype": ("float64", "flaot64", "judge: dtype", "'flaot64'"),
    "syntax": ("[2, 0]", "[2, 0", "line 5", "column 1"),
    "a key twice": ("budget", "seeds", "line 5", "column"),
    "an unclosed string": ('dtype = "float64"', 'dtype = "', "line 13", "column"),
}


@pytest.mark.parametrize("what", WRONG)
def test_one_line_names_the_file_and_the_key(what: str) -> None:
    old, new, *named = WRONG[what]
    assert GOOD.count(old) == 1, "the replaced text occurs once"
    path = written(GOOD.replace(old, new))
    with pytest.raises(UsageError) as caught:
        read(path)
    said = str(caught.value)
    assert "study.toml" in said
    assert all(name.replace(": ", ".") in said.replace(": ", ".") for name in named), said
    assert "\n" not in said


@pytest.mark.parametrize("name", ["methods", "datasets"])
def test_a_study_needs_methods_and_data_sets(name: str) -> None:
    text = "\n".join(line for line in GOOD.splitlines() if not line.startswith(name))
    with pytest.raises(UsageError, match=rf"study\.toml: .*missing.*{name}"):
        read(written(text))


def test_a_judge_must_be_a_table() -> None:
    text = GOOD[: GOOD.index("[judge]")] + "judge = 3\n"
    with pytest.raises(UsageError, match=r"study\.toml: judge: expected table"):
        read(written(text))


def test_a_judge_from_fields() -> None:
    assert judge_of({"rtol": 1, "seed": 0}) == Judge(rtol=1.0, seed=0)
    for wrong in ({"rtol": "1"}, {"tolerance": 1}, {"seed": -1}, {"permutations": True}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            judge_of(wrong)


def test_a_file_that_can_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no study file nowhere\.toml.*equal, quick, table1"):
        find("nowhere.toml")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(UsageError, match=r"folder\.toml can't be read: Is a directory"):
        find("folder.toml")
    Path("latin.toml").write_bytes('methods = ["gaussian"]\n# für'.encode("latin-1"))
    with pytest.raises(UsageError, match=r"latin\.toml .*line 2"):
        find("latin.toml")
    with pytest.raises(UsageError, match=r"'qick'.*'quick'.*\.toml"):
        find("qick")
    with pytest.raises(UsageError, match=r"empty\.toml: missing key methods"):
        find(str(written("", "empty.toml")))


def test_a_name_is_a_shipped_study_even_where_a_file_has_it() -> None:
    written("methods = 3", "quick")
    assert find("quick").budget == "quick"


def test_a_slash_is_a_path() -> None:
    assert find(str(written(GOOD, "a/study"))).budget == "quick"


@pytest.mark.parametrize("name", ["equal", "quick", "table1"])
def test_the_shipped_ones(name: str) -> None:
    """Every cell can be configured, and has a budget; no data are needed to know it."""
    assert name in shipped()
    study = find(name)
    assert study.summary
    assert "gaussian" in study.methods
    amounts = budget(study.budget)
    for dataset in map(plugins.dataset, study.datasets):
        for method in study.methods:
            amount = amounts.amount(dataset.name, method)
            config, _ = presets.configure(method, dataset.name, dataset.d, {})
            config.check(dataset.d, amount.minibatches, amount.batch_size)


def test_the_quick_study_keeps_its_runs() -> None:
    """As it was before studies were files of a user's own; its records are found by their names."""
    assert find("quick") == Study(
        methods=("ffjord", "flow-matching", "gaussian"),
        datasets=("digits", "moons"),
        seeds=(0,),
        budget="quick",
        judge=Judge(
            test_rows=5_000, error_rows=500, mmd_n=2_000, validations=5, validation_rows=1_000
        ),
        summary="two continuous flows and the Gaussian floor on a toy and on 8x8 digits",
    )
