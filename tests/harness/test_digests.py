"""Records, models, samples and curves that changed after a run: refused, and never shown."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from bench.cli import main
from bench.gate import baseline
from bench.launch.dask.task import Parcel, pack, unpack
from bench.records import store
from bench.records.model import Damaged
from bench.records.run_files import arrays, densities, read_curve
from bench.records.spec import RunSpec
from bench.registry import plugins
from bench.training.run import load_flow

METHODS = ("gaussian", "flow-matching")
ROWS = 60


def flips(path: Path, number: int | None = None) -> Iterator[None]:
    """Flip one bit of the file after another: every bit, or so many at random places."""
    whole = path.read_bytes()
    places: Any = range(8 * len(whole))
    if number is not None:
        places = random.Random(0).sample(places, number)
    for place in places:
        changed = bytearray(whole)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed)
        yield
    path.write_bytes(whole)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A run of each method on moons, with all that runs leave."""
    for number, method in enumerate(METHODS):
        version = plugins.version(plugins.methods()[method])
        config = {} if method == "gaussian" else {"width": 4}
        spec = RunSpec(method, version, config, "moons", "moons", "0" * 12, 10, 32, 0)
        folder = store.part(tmp_path, spec.run)
        folder.mkdir()
        rng = np.random.default_rng(number)
        log_prob = rng.normal(-2 - number, 1, ROWS).astype(np.float32)
        np.savez(folder / "samples.npz", samples=rng.normal(size=(9, 2)), log_prob=log_prob)
        kind = plugins.method(method)
        state = kind(2, kind.Config(**config)).state_dict()
        torch.save(
            {"method": method, "config": config, "d": 2, "state": state}, folder / "model.pt"
        )
        line = '{"minibatch": %d, "seconds": 1.0, "loss": 2.5, "validation_nll": 2.0}\n'
        (folder / "curve.jsonl").write_text("".join(line % (k + 1) for k in range(5)))
        (folder / "log.txt").write_text("a line\n")
        draft = store.outline(spec)
        draft["dataset"] |= {"d": 2, "rows": {"train": 9, "validation": 9, "test": ROWS}}
        draft["training"] = {"minibatches": 10}
        nll = -float(log_prob.mean(dtype=float))
        metrics = {"nll": nll, "nll_se": 0.1, "nll_rows": ROWS, "mmd_m": 0.1, "tau_m": 0.2}
        metrics |= {"mmd_n": 9, "permutations": 99}
        store.publish(tmp_path, spec.run, draft | {"status": "ok", "metrics": metrics})
    return tmp_path


def run_of(results: Path, method: str) -> Path:
    return next(results.glob(f"{method}-*"))


def edit(folder: Path, **changes: Any) -> None:
    """Write a record with other values, its digest left as it was."""
    path = folder / "record.json"
    content = json.loads(path.read_bytes())
    for place, value in changes.items():
        table, _, key = place.rpartition("__")
        (content[table] if table else content)[key] = value
    path.write_text(json.dumps(content, indent=1) + "\n")


def call(results: Path, *arguments: str) -> Result:
    whole = [*arguments, "--results", str(results)]
    return CliRunner().invoke(main, whole, catch_exceptions=False)


def test_a_record_names_all_files_but_the_log(results: Path) -> None:
    folder = run_of(results, "gaussian")
    text = (folder / "record.json").read_bytes()
    assert json.loads(text).keys() >= {"digests", "digest"}
    assert text.splitlines()[-2].startswith(b' "digest": "')
    names = {name.partition(":")[0] for name in json.loads(text)["digests"]}
    assert names == {"curve.jsonl", "model.pt", "samples.npz"}
    assert {*json.loads(text)["digests"]} - names == {"samples.npz:samples", "samples.npz:log_prob"}


def test_any_bit_of_a_record_counts(results: Path) -> None:
    folder = run_of(results, "gaussian")
    for _ in flips(folder / "record.json"):
        with pytest.raises(Damaged, match=r"record\.json is damaged"):
            store.read(results, folder.name)
    assert store.read(results, folder.name)


@pytest.mark.parametrize("added", [b"\n", b" ", b"{}"])
def test_a_record_with_something_added(results: Path, added: bytes) -> None:
    folder = run_of(results, "gaussian")
    with open(folder / "record.json", "ab") as file:
        file.write(added)
    with pytest.raises(Damaged):
        store.read(results, folder.name)


def test_four_hundred_flipped_models(results: Path) -> None:
    folder = run_of(results, "flow-matching")
    record = store.read(results, folder.name)
    assert record
    for _ in flips(folder / "model.pt", 400):
        with pytest.raises(Damaged, match=r"model\.pt is damaged"):
            load_flow(record, results)
    load_flow(record, results)


def test_any_bit_of_the_kept_arrays_counts(results: Path) -> None:
    """What is not noticed, such as the time of an archive's member, changes no value."""
    folder = run_of(results, "gaussian")
    good = arrays(folder, "log_prob", "samples")
    refused = 0
    for _ in flips(folder / "samples.npz", 2_000):
        try:
            found = arrays(folder, "log_prob", "samples")
        except Damaged:
            refused += 1
            continue
        assert found.keys() == good.keys()
        assert all(np.array_equal(found[name], good[name]) for name in good)
    assert refused > 1_000


def test_any_bit_of_a_curve_counts(results: Path) -> None:
    folder = run_of(results, "gaussian")
    for _ in flips(folder / "curve.jsonl", 300):
        with pytest.raises(Damaged, match=r"curve\.jsonl is damaged"):
            read_curve(folder)
    assert read_curve(folder)


def test_files_that_are_gone_are_no_damage(results: Path) -> None:
    """A model takes much room, and may be deleted."""
    folder = run_of(results, "gaussian")
    for name in ("curve.jsonl", "samples.npz"):
        (folder / name).unlink()
    assert read_curve(folder) is None
    assert densities(folder, (), grouped=False) is None


def test_a_run_that_was_made_again_is_read_anew(results: Path) -> None:
    """What was known of its record is out of date."""
    folder = run_of(results, "gaussian")
    store.read(results, folder.name)
    (folder / "curve.jsonl").write_text('{"minibatch": 1, "seconds": 1.0, "loss": 9.5}\n')
    store.write_record(folder, store.content(results, folder.name))
    curve = read_curve(folder)
    assert curve is not None
    assert curve.loss.tolist() == [9.5]


BASELINE = ["--baseline", str(baseline.DEFAULT.absolute())]
COMMANDS = {
    "record.json": [
        *(
            ["table"],
            ["list", "runs"],
            ["report"],
            ["plot", "curves"],
            ["check", "--no-run", *BASELINE],
        ),
        *(
            ["export", "bundle"],
            ["info", "gaussian-moons"],
            ["sample", "gaussian-moons", "-n", "9"],
        ),
    ],
    "samples.npz": [["table"], ["plot", "samples"], ["report"], ["export", "bundle"]],
    "curve.jsonl": [["plot", "curves"], ["table", "--details"], ["report"], ["export", "bundle"]],
    "model.pt": [["sample", "gaussian-moons"], ["export", "bundle", "--models"]],
}


@pytest.mark.parametrize(
    ("name", "arguments"), [(name, each) for name, several in COMMANDS.items() for each in several]
)
def test_every_command_refuses_what_has_changed(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, arguments: list[str]
) -> None:
    """An NLL that was edited, or a flipped bit in the middle of a file: one line, and no output."""
    monkeypatch.chdir(tmp_path.parent)
    folder = run_of(results, "gaussian")
    if name == "record.json":
        edit(folder, metrics__nll=0.123)
    else:
        content = bytearray((folder / name).read_bytes())
        places = [len(content) // 2]
        if name == "samples.npz":  # in each array, behind its header
            places = [found.start() + 130 for found in re.finditer(b"\x93NUMPY", content)]
        for place in places:
            content[place] ^= 1
        (folder / name).write_bytes(content)
    more = {"sample": ["-n", "9", "-o", "out.npy"], "plot": ["-o", "out.pdf"]}
    more |= {"report": ["-o", "out.html"]}
    arguments = [*arguments, *more.get(arguments[0], [])]
    done = call(results, *arguments)
    assert done.exit_code == 2, done.output
    assert f"{folder.name}/{name} is damaged" in " ".join(done.stderr.split("\n"))
    assert "0.123" not in done.stdout
    assert not list(Path().glob("out*"))
    assert not Path("bundle").exists()


def test_the_nll_is_that_of_the_kept_log_densities(results: Path) -> None:
    """Also where the record is of an earlier version, which has no digests."""
    folder = run_of(results, "gaussian")
    content = store.content(results, folder.name)
    nll = content["metrics"]["nll"]
    old = {key: value for key, value in content.items() if key not in ("digest", "digests")}
    store.write_json(folder / "record.json", old)
    assert call(results, "table").exit_code == 0
    store.write_json(
        folder / "record.json", old | {"metrics": old["metrics"] | {"nll": nll + 1e-3}}
    )
    done = call(results, "table")
    assert done.exit_code == 2
    assert f"{nll + 1e-3:.7g}" in done.stderr
    assert f"{nll:.7g}" in done.stderr


def test_records_of_earlier_versions_are_read(results: Path) -> None:
    for folder in results.iterdir():
        content = store.content(results, folder.name)
        old = {key: value for key, value in content.items() if key not in ("digest", "digests")}
        store.write_json(folder / "record.json", old)
    table = call(results, "table", "--details")
    assert (table.exit_code, table.stderr) == (0, "")
    record = store.read(results, run_of(results, "gaussian").name)
    assert record
    load_flow(record, results)


def test_a_run_in_a_folder_of_another_name(results: Path) -> None:
    folder = run_of(results, "gaussian")
    shutil.copytree(folder, results / "copy")
    with pytest.raises(Damaged, match=f"it is that of the run {folder.name}"):
        store.read(results, "copy")


@pytest.mark.parametrize("value", ["../../x", "a/b", ".a", "", "a b", "a\nb", "a\x00", "\u202ea"])
@pytest.mark.parametrize("key", ["run", "method__name", "dataset__name"])
def test_names_in_a_record(results: Path, key: str, value: str) -> None:
    folder = run_of(results, "gaussian")
    content = store.content(results, folder.name)
    table, _, name = key.rpartition("__")
    (content[table] if table else content)[name] = value
    store.write_record(folder, content)
    if table == "dataset" and value in ("a b", "\u202ea"):
        assert store.read(results, folder.name), "a file may have that name"
        return
    with pytest.raises(Damaged, match=f"`{key.replace('__', '.')}`") as caught:
        store.read(results, folder.name)
    assert "\n" not in str(caught.value)


def test_what_travels_arrives_as_it_was(results: Path, tmp_path: Path) -> None:
    folder = run_of(results, "gaussian")
    parcel, home = pack(folder, 2**20), tmp_path / "home"
    unpack(parcel, home, folder.name)
    assert (home / folder.name / "record.json").read_bytes() == parcel.files["record.json"]
    for name, content in parcel.files.items():
        if name == "log.txt":
            continue
        changed = content[:50] + bytes([content[50] ^ 1]) + content[51:]
        with pytest.raises((Damaged, ValueError), match=None if name == "record.json" else name):
            unpack(
                Parcel(dict(parcel.files) | {name: changed}, {}), tmp_path / "other", folder.name
            )
        assert not (tmp_path / "other" / folder.name).exists()


def test_what_stays_behind_has_no_digest(results: Path, tmp_path: Path) -> None:
    folder = run_of(results, "gaussian")
    size = (folder / "model.pt").stat().st_size
    unpack(pack(folder, size), tmp_path / "home", folder.name)
    record = store.read(tmp_path / "home", folder.name)
    assert record is not None
    assert "model.pt" in record.left_behind
    assert record.digests is not None
    assert "model.pt" not in record.digests


def test_a_baseline_that_was_edited(tmp_path: Path) -> None:
    path = baseline.DEFAULT
    measured = baseline.read(path)  # it was made before baselines had digests
    written = tmp_path / "check.json"
    written.write_text(baseline.text(measured))
    assert baseline.read(written) == measured
    text = written.read_text()
    place = next(k for k, letter in enumerate(text) if letter.isdigit() and text[k - 1] == ".")
    written.write_text(text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :])
    with pytest.raises(baseline.Unreadable, match="has changed since it was written"):
        baseline.read(written)
