"""Damaged records, models and caches, and strange tables, against the commands: no traceback, and
no changed number that is shown as if it were one.

Each damage is drawn by a fixed seed. A command may show exactly what it showed of the sound file,
leave the run out or name it as damaged, or end with one line and an exit code of 1 to 3.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.cli import main
from bench.data import arrays
from bench.errors import BenchError
from bench.records import store
from bench.registry import plugins
from bench.study.planning import plan
from bench.study.studies import Study
from bench.training.run import execute

from ..harness.small import JUDGE, table

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3_600)]

RECORDS = MODELS = CACHES = 300
TABLES = 200


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory, own_cache: Path) -> Path:
    """Three undamaged runs on a table with named columns."""
    folder = tmp_path_factory.mktemp("sound")
    rows = np.load(table(folder / "own.npy"))
    pd.DataFrame(rows, columns=["a", "b"]).to_csv(folder / "own.csv", index=False)
    study = Study(
        ("gaussian", "flow-matching"),
        (str(folder / "own.csv"),),
        (0,),
        judge=JUDGE,
        minibatches=6,
        batch_size=32,
        settings=("flow-matching.width=8",),
    )
    for spec in plan(study, folder / "runs", folder).runs:
        content = execute(spec, folder / "runs", lambda event: None)
        assert content["status"] == "ok", content["reason"]
    return folder


@pytest.fixture(scope="module")
def runs(sound: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the runs, to be damaged and mended again."""
    folder = tmp_path_factory.mktemp("damaged") / "runs"
    shutil.copytree(sound / "runs", folder)
    return folder


def call(*arguments: object) -> Result:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return CliRunner().invoke(main, [*map(str, arguments)])


def ends_well(done: Result) -> bool:
    """Whether a command ended by itself, and without a traceback."""
    ended = done.exception is None or isinstance(done.exception, SystemExit)
    return ended and done.exit_code in range(4) and "Traceback" not in done.output


def flipped(content: bytes, rng: np.random.Generator, kind: int) -> bytes:
    """The bytes with one bit changed, a byte set, a piece cut out, doubled, or the end cut off."""
    changed = bytearray(content)
    place = int(rng.integers(len(content)))
    end = place + 1 + int(rng.integers(40))
    match kind % 5:
        case 0:
            changed[place] ^= 1 << int(rng.integers(8))
        case 1:
            changed[place] = int(rng.integers(256))
        case 2:
            del changed[place:end]
        case 3:
            changed[place:place] = changed[place:end]
        case 4:
            del changed[place:]
    return bytes(changed)


def damages(path: Path, number: int, seed: int, kinds: int = 5) -> Iterator[int]:
    """Damage the file in so many ways, one at a time, and mend it at the end."""
    content = path.read_bytes()
    rng = np.random.default_rng(seed)
    try:
        for k in range(number):
            changed = flipped(content, rng, k % kinds)
            if changed == content:
                changed = changed + b" "
            path.write_bytes(changed)
            yield k
    finally:
        path.write_bytes(content)


def shown(results: Path, run: str) -> str | None:
    """The line of a run's numbers in the table, None where the table leaves it out."""
    done = call("table", "-f", "csv", "--results", results, "--columns", "+samples")
    assert ends_well(done), done.output
    method = run.partition("-own")[0]
    return next((line for line in done.stdout.splitlines() if method in line), None)


def test_damaged_records(runs: Path) -> None:
    """No command shows another number than that of the sound record."""
    name = next(n for n in store.names(runs) if n.startswith("gaussian"))
    before = shown(runs, name)
    assert before
    path = runs / name / "record.json"
    commands = [
        ("list", "runs"), ("info", name), ("table", "--details"), ("table", "-f", "html"),
        ("plot", "curves", "-o", runs.parent / "curves.svg"), ("table", "-f", "latex"),
        ("score", name, runs.parent / "rows.npy", "-o", runs.parent / "scores.npy"),
        ("sample", name, "-n", "3", "-o", runs.parent / "drawn.npy"),
        ("export", runs.parent / "bundle"),
    ]  # fmt: skip
    np.save(runs.parent / "rows.npy", np.zeros((3, 2)))
    accepted = []
    for k in damages(path, RECORDS, seed=1):
        if shown(runs, name) not in (None, before):
            accepted.append(k)
        done = call(*commands[k % len(commands)], "--results", runs)
        assert ends_well(done), (commands[k % len(commands)], done.output, done.exc_info)
        shutil.rmtree(runs.parent / "bundle", ignore_errors=True)
    assert not accepted


def test_flipped_models(runs: Path) -> None:
    """A model that is not what was written draws and scores nothing."""
    name = next(n for n in store.names(runs) if n.startswith("flow-matching"))
    accepted = []
    np.save(runs.parent / "rows.npy", np.zeros((3, 2)))
    commands = [
        ("sample", name, "-n", "3", "-o", runs.parent / "out.npy"),
        ("score", name, runs.parent / "rows.npy", "-o", runs.parent / "out.npy"),
    ]
    for k in damages(runs / name / "model.pt", MODELS, seed=2):
        done = call(*commands[k % 2], "--results", runs)
        assert ends_well(done), (done.output, done.exc_info)
        if done.exit_code == 0 or (runs.parent / "out.npy").exists():
            accepted.append(k)
        if k % 100 == 0:  # a figure that draws from the flow
            drawn = call("plot", "trajectories", "--results", runs, "-o", runs.parent / "t.svg")
            assert ends_well(drawn), (drawn.output, drawn.exc_info)
    assert not accepted


def test_flipped_caches(sound: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Rows of a damaged cache are read again from their source, whatever was changed."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    dataset = plugins.dataset(str(sound / "own.csv"))
    before = arrays.load(dataset, sound)
    rows = {name: np.array(getattr(before, name)) for name in arrays.SPLITS}
    (entry,) = (p for p in (tmp_path / "arrays").glob("*") if p.is_dir())
    rng = np.random.default_rng(3)
    for k in range(CACHES):
        path = entry / rng.choice(["train.npy", "validation.npy", "test.npy", "card.json"])
        path.write_bytes(flipped(path.read_bytes(), rng, k))
        arrays._sha256.cache_clear()  # as in another process
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = arrays.load(dataset, sound)
        assert found.revision == before.revision
        for name, expected in rows.items():
            np.testing.assert_array_equal(getattr(found, name), expected)


cells = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True).map(repr),
    st.integers(-(10**30), 10**30).map(str),
    st.text(max_size=6),
    st.sampled_from(
        ["", "NaN", "inf", "1e400", "True", "1,5", "=1+1", "\x00", "\ud7ff", '"', "\u202e"]
    ),
)


@settings(
    max_examples=TABLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    derandomize=True,
)
@given(
    lines=st.lists(st.lists(cells, min_size=1, max_size=4), min_size=0, max_size=8),
    times=st.integers(1, 60),
    separator=st.sampled_from([",", ";", "\t", " "]),
    suffix=st.sampled_from(["csv", "tsv", "csv.gz", "npy", "npz", "parquet"]),
    options=st.sampled_from(["", "?drop=a", "?header=no", "?header=yes&group=0", "?dequantise=0"]),
)
def test_strange_tables(
    tmp_path: Path, lines: list[list[str]], times: int, separator: str, suffix: str, options: str
) -> None:
    """A table is planned with, or one line says why not."""
    path = tmp_path / f"strange.{suffix}"
    text = "\n".join(separator.join(line) for line in lines * times)
    path.write_bytes(text.encode(errors="surrogatepass"))
    for arguments in (
        ("info", f"{path}{options}"),
        ("run", "-m", "gaussian", "-d", f"{path}{options}", "--dry-run"),
    ):
        done = call(*arguments, "--results", tmp_path / "runs")
        assert ends_well(done), (arguments, text[:300], done.output, done.exc_info)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with suppress(BenchError):
            loaded = arrays.load(plugins.dataset(f"{path}{options}"), tmp_path)
            assert np.isfinite(loaded.train).all()
