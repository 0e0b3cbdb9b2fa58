"""Study files: what they say, and what is said of one that is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.errors import UsageError
from bench.records.spec import Judge, RunSpec
from bench.registry import plugins
from bench.study import presets
from bench.study.budgets import budget
from bench.study.definition import Study
from bench.study.files import find, read, shipped

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


WRONG = {
    "a key": ("methods =", "metods =", "2, column 1: there is no key 'metods'; did you mean 'met"),
    "a key unlike any": ("seeds", "qqqqq", "4, column 1: there is no key 'qqqqq'; there are bat"),
    "a judge's key": ("test_rows", "tst_rows", "11, column 1: there is no key 'tst_rows'; did you"),
    "the metrics": ("test_rows", "metrics_version", "11, column 1: there is no key 'metrics_ver"),
    "a method": ('"gaussian"', '"gausian"', "2, column 12: there is no method 'gausian'; did you"),
    "a data set": ('"moons"', '"mons"', "3, column 13: there is no data set 'mons'; did you mean"),
    "a table": ('"moons"', '"x/y.csv"', "3, column 13: there is no table x/y.csv"),
    "a budget": ('"quick"', '"quik"', "5, column 10: there is no budget 'quik'; did you mean 'qui"),
    "a string for a list": (
        '["moons"]', '"moons"', "3, column 12: 'datasets' is a list of names, not a string",
    ),
    "a number for a list": ("[2, 0]", "2", "4, column 9: 'seeds' is a list of whole numbers, not"),
    "a string in a list": ("[2, 0]", '[2, "0"]', "4, column 13: 'seeds' is a list of whole numbe"),
    "a fraction": ("[2, 0]", "[2.0]", "4, column 10: 'seeds' is a list of whole numbers, and this"),
    "a truth": ("[2, 0]", "[true]", "4, column 10: 'seeds' is a list of whole numbers, and this i"),
    "a name in a list": ('"moons"', "3", "3, column 13: 'datasets' is a list of names, and this i"),
    "a list for a name": ('"quick"', '["quick"]', "5, column 10: 'budget' is a name, not a list"),
    "a date": ('"quick"', "2026-01-01", "5, column 10: 'budget' is a name, not a date or a time"),
    "a string for a number": ("= 20", '= "20"', "6, column 15: 'minibatches' is a whole number, n"),
    "no mini-batches": ("= 20", "= 0", "6, column 15: 'minibatches' is 1 or more, not 0"),
    "no rows": ("= 64", "= -64", "7, column 14: 'batch_size' is 1 or more, not -64"),
    "a seed below 0": ("[2, 0]", "[2, -1]", "4, column 13: a seed is 0 or more, not -1"),
    "no seeds": ("[2, 0]", "[]", "4, column 9: 'seeds' is empty"),
    "no data sets": ('["moons"]', "[]", "3, column 12: 'datasets' is empty"),
    "a seed twice": ("[2, 0]", "[2, 0, 2]", "4, column 16: 2 stands in 'seeds' twice"),
    "a method twice": (
        '"flow-matching"]', '"gaussian"]', "2, column 24: 'gaussian' stands in 'methods' twice",
    ),
    "a setting": ('"width=8"', '"widht=8"', "8, column 13: there is no hyper-parameter named 'wid"),
    "a setting of no form": ('"width=8"', '"width"', "8, column 13: --set 'width' is not of the f"),
    "a setting of another": (
        "gaussian.ridge", "gausian.ridge", "8, column 24: there is no method in this call named",
    ),
    "a judge that is none": ("[judge]", "judge = 3\n[x]", "there is no key 'x'"),
    "a judge's string": ("= 50", '= "50"', "11, column 13: 'test_rows' is a whole number, not a s"),
    "a judge's fraction": ("= 50", "= 50.5", "11, column 13: 'test_rows' is a whole number, not a"),
    "a judge of no rows": ("= 50", "= 0", "11, column 13: 'test_rows' is above 0, not 0"),
    "a judge's nan": ("rtol = 1", "rtol = nan", "12, column 8: 'rtol' is above 0, not nan"),
    "a judge's level": ("rtol = 1", "alpha = 5", "12, column 9: 'alpha' is below 1, not 5"),
    "a judge's dtype": ("float64", "flaot64", "13, column 9: there is no value of 'dtype' 'flaot6"),
    "syntax": ("[2, 0]", "[2, 0", "5, column 1: unclosed array"),
    "a key twice": ("budget", "seeds", "5, column 16: cannot overwrite a value"),
    "no end of a string": ('dtype = "float64"', 'dtype = "', "13, column"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_one_clear_error_with_its_place(what: str) -> None:
    old, new, says = WRONG[what]
    assert GOOD.count(old) == 1, "the case is clear"
    path = written(GOOD.replace(old, new))
    with pytest.raises(UsageError) as caught:
        read(path)
    place = "study.toml, line " if says[0].isdigit() else "study.toml, line 11, column 2: "
    assert place + says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["methods", "datasets"])
def test_what_has_to_be_there(name: str) -> None:
    text = "\n".join(line for line in GOOD.splitlines() if not line.startswith(name))
    with pytest.raises(UsageError, match=f"study.toml: there is no key '{name}', a list of names"):
        read(written(text))


def test_a_wrong_judge_at_its_place() -> None:
    text = GOOD[: GOOD.index("[judge]")] + "judge = 3\n"
    with pytest.raises(UsageError, match="line 10, column 9: 'judge' is a table, not a whole"):
        read(written(text))


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no study file nowhere.toml.*equal, quick, table1"):
        find("nowhere.toml")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(UsageError, match=r"folder.toml can't be read: Is a directory"):
        find("folder.toml")
    Path("latin.toml").write_bytes('methods = ["gaussian"]\n# für'.encode("latin-1"))
    with pytest.raises(UsageError, match=r"latin.toml, line 2: the file is not UTF-8"):
        find("latin.toml")
    with pytest.raises(UsageError, match=r"no study named 'qick'.*'quick'.*\.toml"):
        find("qick")
    with pytest.raises(UsageError, match=r"no key 'methods'"):
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
