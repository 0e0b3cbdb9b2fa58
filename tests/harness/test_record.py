"""The record of a run: there whole or not at all, whatever is cut when."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from bench.errors import DataError, UsageError
from bench.records import store
from bench.records.model import FORMAT, Damaged


class CutError(BaseException):
    """The process is gone: nothing but the file system is left of it."""


def begin(results: Path, run: str, value: int) -> None:
    store.part(results, run).mkdir(parents=True, exist_ok=True)
    (store.part(results, run) / "curve.jsonl").write_text(f"{value}\n", encoding="utf-8")


def publish(results: Path, run: str = "a", value: int = 1) -> None:
    begin(results, run, value)
    store.publish(results, run, content(run, value))


def content(run: str, value: int) -> store.Draft:
    """The smallest record; its seed is the value."""
    return {
        "format": FORMAT,
        "run": run,
        "key": "0" * 64,
        "status": "ok",
        "method": {"name": "gaussian", "version": "0", "config": {}},
        "dataset": {"name": "moons", "revision": "0"},
        "budget": {"minibatches": 1, "batch_size": 1},
        "seed": value,
        "judge": {"seed": 1},
        "environment": {"device": "cpu"},
        "started": "2026-01-01T00:00:00.000+00:00",
        "metrics": {"nll": 1.5},
    }


def value(results: Path, run: str = "a") -> int | None:
    found = store.read(results, run)
    if found is None:
        return None
    # The files of one run lie together: the curve is the one of this record.
    assert (results / run / "curve.jsonl").read_text(encoding="utf-8") == f"{found.seed}\n"
    return found.seed


def folders(results: Path) -> list[str]:
    return sorted(path.name for path in results.iterdir() if path.name != ".locks")


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """`cut(k)` lets the k-th renaming of the file system from now on be the end of the process."""

    def arm(k: int) -> None:
        real, calls = {"rename": os.rename, "replace": os.replace}, 0

        def counting(name: str) -> Callable[..., None]:
            def call(*arguments: Any) -> None:
                nonlocal calls
                calls += 1
                if calls == k:
                    raise CutError
                real[name](*arguments)

            return call

        for name in real:
            monkeypatch.setattr(os, name, counting(name))

    return arm


def test_published_once(tmp_path: Path) -> None:
    assert store.read(tmp_path, "a") is None
    publish(tmp_path)
    assert value(tmp_path) == 1
    assert folders(tmp_path) == ["a"]


def test_publishing_again_replaces_the_whole_folder(tmp_path: Path) -> None:
    publish(tmp_path, value=1)
    (tmp_path / "a" / "model.pt").write_text("of the first run", encoding="utf-8")
    publish(tmp_path, value=2)
    assert value(tmp_path) == 2
    assert not (tmp_path / "a" / "model.pt").exists()
    assert folders(tmp_path) == ["a"]


def test_a_run_under_way_is_not_seen(tmp_path: Path) -> None:
    begin(tmp_path, "a", 1)
    store.write_json(store.part(tmp_path, "a") / "record.json", content("a", 1))
    assert store.read(tmp_path, "a") is None
    assert list(store.read_all(tmp_path)) == []
    with pytest.raises(UsageError):
        store.find(tmp_path, "a")


@pytest.mark.parametrize("k", [1, 2, 3])
def test_cut_at_any_renaming(
    tmp_path: Path, cut: Callable[[int], None], monkeypatch: pytest.MonkeyPatch, k: int
) -> None:
    """Renamings: record.json, the old folder away, the new folder in. Then the next start.

    The new run counts where the old one is away already.
    """
    publish(tmp_path, value=1)
    with monkeypatch.context():
        cut(k)
        with pytest.raises(CutError):
            publish(tmp_path, value=2)
        monkeypatch.undo()
    store.restore(tmp_path)
    assert value(tmp_path) == (2 if k == 3 else 1)
    assert [r.seed for r in store.read_all(tmp_path)] == [value(tmp_path)]
    publish(tmp_path, value=3)
    store.restore(tmp_path)
    assert value(tmp_path) == 3
    assert folders(tmp_path) == ["a"]


def test_a_run_that_is_being_replaced_is_left_alone(tmp_path: Path) -> None:
    """Another process is between the two renames, and holds the run's lock."""
    publish(tmp_path, value=1)
    os.rename(tmp_path / "a", tmp_path / "a.replaced")
    with FileLock(store.lock_file(tmp_path, "a")):
        store.restore(tmp_path)
        assert folders(tmp_path) == ["a.replaced"]
    store.restore(tmp_path)
    assert folders(tmp_path) == ["a"]
    assert value(tmp_path) == 1


@pytest.mark.parametrize(("old", "new", "kept"), [("error", "ok", 2), ("ok", "error", 1)])
def test_no_good_run_gives_way_to_a_failed_one(
    tmp_path: Path,
    cut: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
    old: str,
    new: str,
    kept: int,
) -> None:
    begin(tmp_path, "a", 1)
    store.publish(tmp_path, "a", content("a", 1) | {"status": old})
    with monkeypatch.context():
        cut(3)
        begin(tmp_path, "a", 2)
        with pytest.raises(CutError):
            store.publish(tmp_path, "a", content("a", 2) | {"status": new})
        monkeypatch.undo()
    store.restore(tmp_path)
    assert value(tmp_path) == kept


def test_cut_before_the_old_folder_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path, value=1)
    with monkeypatch.context() as patch:

        def gone(path: Path, **_: Any) -> None:
            if path.exists():
                raise CutError

        patch.setattr(store.shutil, "rmtree", gone)
        with pytest.raises(CutError):
            publish(tmp_path, value=2)
    assert value(tmp_path) == 2
    store.restore(tmp_path)
    assert value(tmp_path) == 2
    assert folders(tmp_path) == ["a"]


def test_a_run_with_dots_in_its_name_is_restored(tmp_path: Path) -> None:
    run = "gaussian-my.table.csv-s0-00"
    publish(tmp_path, run, 1)
    os.rename(tmp_path / run, tmp_path / f"{run}.replaced")
    store.restore(tmp_path)
    assert value(tmp_path, run) == 1


def test_restoring_where_there_is_nothing(tmp_path: Path) -> None:
    store.restore(tmp_path / "missing")
    store.restore(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_json_whole_or_not_at_all(tmp_path: Path, cut: Callable[[int], None]) -> None:
    path = tmp_path / "x.json"
    store.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        store.write_json(path, {"a": object()})
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": 1}
    cut(1)
    with pytest.raises(CutError):
        store.write_json(path, {"a": 2})
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": 1}


def test_numbers_that_are_not_finite_become_null(tmp_path: Path) -> None:
    given = {"a": math.nan, "b": [math.inf, 1.5, {"c": -math.inf}], "d": (1, math.nan), "e": 1e300}
    store.write_json(tmp_path / "x.json", given)
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=lambda name: pytest.fail(name)) == {
        "a": None,
        "b": [None, 1.5, {"c": None}],
        "d": [1, None],
        "e": 1e300,
    }


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "{}", b"\xff\xfe\x00", '{"format": "1"}'])
def test_a_record_that_is_not_one(tmp_path: Path, text: str | bytes) -> None:
    publish(tmp_path)
    path = tmp_path / "a" / "record.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    for ask in (
        lambda: store.read(tmp_path, "a"),
        lambda: list(store.read_all(tmp_path)),
        lambda: store.find(tmp_path, "a"),
    ):
        with pytest.raises(Damaged, match=r"record\.json") as caught:
            ask()
        assert caught.value.remedy
    assert list(store.read_undamaged(tmp_path)) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", "1"),
        ("seed", True),
        ("seed", -1),
        ("seed", 10**30),
        ("status", "well"),
        ("method.name", 3),
        ("method.config", [1]),
        ("method.params", 1.5),
        ("dataset.rows.train", "all"),
        ("budget.minibatches", None),
        ("judge.test_rows", "many"),
        ("metrics.nll", "2.5"),
        ("metrics.nll", [2.5]),
        ("metrics.nll", True),
        ("metrics.mmd_n", 1.5),
        ("metrics.w2_movement", [1.0, "x"]),
        ("metrics.quality", [{"solver": "euler"}]),
        ("cost.train_seconds", "long"),
        ("environment.packages", ["torch"]),
        ("sessions", [{"after": 0}]),
        ("started", 20_260_101),
    ],
)
def test_a_value_of_another_type_names_its_key(tmp_path: Path, key: str, value: Any) -> None:
    publish(tmp_path)
    draft = content("a", 1)
    *sections, name = key.split(".")
    target = draft
    for section in sections:
        target = target.setdefault(section, {})
    target[name] = value
    (tmp_path / "a" / "record.json").write_text(json.dumps(draft), encoding="utf-8")
    with pytest.raises(Damaged) as caught:
        store.read(tmp_path, "a")
    assert key in caught.value.problem
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["run", "seed", "method.name", "dataset.revision", "started"])
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    publish(tmp_path)
    draft = content("a", 1)
    *sections, name = key.split(".")
    target = draft
    for section in sections:
        target = target[section]
    del target[name]
    (tmp_path / "a" / "record.json").write_text(json.dumps(draft), encoding="utf-8")
    with pytest.raises(Damaged) as caught:
        store.read(tmp_path, "a")
    assert all(part in caught.value.problem for part in key.split("."))


@pytest.mark.parametrize("key", ["reason", "method", "metrics"])
@pytest.mark.parametrize("value", ["[" * 100_000 + "]" * 100_000, '"half a letter: \\ud800"'])
def test_deep_nesting_and_a_lone_surrogate_are_damage(tmp_path: Path, key: str, value: str) -> None:
    publish(tmp_path)
    draft = json.dumps(content("a", 1) | {key: "HERE"})
    (tmp_path / "a" / "record.json").write_text(draft.replace('"HERE"', value), encoding="utf-8")
    with pytest.raises(Damaged, match=rf"record\.json is damaged: .*{key}") as caught:
        store.read(tmp_path, "a")
    assert "\n" not in str(caught.value)


def test_keys_that_are_not_known_are_ignored(tmp_path: Path) -> None:
    publish(tmp_path)
    draft = content("a", 1) | {"mood": "good"}
    draft["cost"] = {"train_seconds": 1, "coffee": 3}
    store.write_json(tmp_path / "a" / "record.json", draft)
    found = store.read(tmp_path, "a")
    assert found is not None
    assert found.cost["train_seconds"] == 1.0


def test_a_newer_layout_asks_for_a_newer_program(tmp_path: Path) -> None:
    publish(tmp_path)
    newer = content("a", 1) | {"format": FORMAT + 1}
    store.write_json(tmp_path / "a" / "record.json", newer)
    with pytest.raises(DataError, match=f"layout {FORMAT + 1}.*newer cnf-bench"):
        store.read(tmp_path, "a")


def test_reading_all_is_by_name(tmp_path: Path) -> None:
    for run in ("b", "a", "c"):
        publish(tmp_path, run)
    (tmp_path / ".locks").mkdir()
    (tmp_path / "stray").mkdir()
    (tmp_path / "note.txt").write_text("", encoding="utf-8")
    assert [r.run for r in store.read_all(tmp_path)] == ["a", "b", "c"]
    assert list(store.read_all(tmp_path / "missing")) == []


def test_finding_a_run(tmp_path: Path) -> None:
    for run in ("ffjord-moons-s0-aaaa", "ffjord-moons-s1-bbbb", "gaussian-moons-s0-cccc", "g"):
        publish(tmp_path, run)
    assert store.find(tmp_path, "ffjord-moons-s1-bbbb").run == "ffjord-moons-s1-bbbb"
    assert store.find(tmp_path, "ffjord-moons-s1").run == "ffjord-moons-s1-bbbb"
    assert store.find(tmp_path, "g").run == "g", "a whole name wins over a prefix"
    with pytest.raises(UsageError, match=r"2 runs.*s0-aaaa, ffjord-moons-s1-bbbb"):
        store.find(tmp_path, "ffjord")
    with pytest.raises(UsageError, match=r"Unknown run .*Did you mean 'ffjord-moons-s0-aaaa'"):
        store.find(tmp_path, "fjord-moons-s0-aaaa")
    with pytest.raises(UsageError, match="There are none"):
        store.find(tmp_path / "missing", "x")
