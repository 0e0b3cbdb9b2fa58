"""The download, against a server on this machine that misbehaves in every way there is."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.data import fetch as fetching
from bench.data.fetch import fetch, named, verify
from bench.errors import DataError, UsageError

MINIBOONE = np.random.default_rng(0).normal(size=(300, 43))


def npy(rows: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, rows)
    return buffer.getvalue()


CONTENT = {
    "data/miniboone/data.npy": npy(MINIBOONE),
    "data/power/data.npy": np.random.default_rng(1).bytes(3_000_000),
    "data/hepmass/1000_train.csv": b"train",
    "data/hepmass/1000_test.csv": b"test",
    "data/gas/ethylene_CO.pickle": b"pickle",
    "data/BSDS300/BSDS300.hdf5": b"hdf5",
    "data/README": b"not wanted",
}


def archive(*others: tarfile.TarInfo, content: dict[str, bytes] = CONTENT) -> bytes:
    """A .tar.gz of plain files, after `others`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for member in others:
            tar.addfile(member, io.BytesIO(bytes(member.size)))
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `body`; what it does wrong is set by the attributes."""

    body = archive()
    cuts: list[int]  # the number of bytes to send in each of the next answers
    ranges = True
    code: int | None = None
    stated = True  # whether the size is said

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.cuts, self.asked = [], list[str | None]()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/data.tar.gz"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, asked = self.server, self.headers.get("Range")
        server.asked.append(asked)
        if server.code:
            self.send_error(server.code)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        size = len(server.body)
        if not server.ranges:
            start = 0
        elif start >= size:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{size}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        if server.stated:
            self.send_header("Content-Length", str(size - start))
        self.end_headers()
        rest = server.body[start:]
        self.wfile.write(rest[: server.cuts.pop(0)] if server.cuts else rest)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


class Progress:
    """Keeps the progress that is reported."""

    def __init__(self) -> None:
        self.steps: dict[str, list[tuple[int, int | None]]] = {}

    def __call__(self, step: str, done: int, total: int | None) -> None:
        self.steps.setdefault(step, []).append((done, total))


def get(server: Server, root: Path, *names: str, keep: bool = False) -> list[str]:
    return fetch(root, names, Progress(), url=server.url, md5=md5(server.body), keep=keep)


def files(root: Path) -> set[str]:
    """What is below the root, lock files apart."""
    found = (str(p.relative_to(root)) for p in root.rglob("*") if not p.is_dir())
    return {name for name in found if not name.endswith(".lock")}


def test_only_the_named_sets_are_extracted(server: Server, tmp_path: Path) -> None:
    assert get(server, tmp_path, "miniboone", "hepmass") == ["miniboone", "hepmass"]
    assert files(tmp_path) == {
        "miniboone/data.npy",
        "hepmass/1000_train.csv",
        "hepmass/1000_test.csv",
    }
    assert (tmp_path / "miniboone/data.npy").read_bytes() == CONTENT["data/miniboone/data.npy"]


def test_without_names_all_of_the_archive(server: Server, tmp_path: Path) -> None:
    assert set(get(server, tmp_path)) == {"power", "gas", "hepmass", "miniboone", "bsds300"}
    assert files(tmp_path) == {name.removeprefix("data/") for name in CONTENT} - {"README"}


def test_files_on_disk_are_left_alone(server: Server, tmp_path: Path) -> None:
    get(server, tmp_path, "miniboone")
    assert get(server, tmp_path, "miniboone") == []
    assert len(server.asked) == 1
    assert get(server, tmp_path, "miniboone", "gas") == ["gas"]


def test_progress_ends_at_the_total(server: Server, tmp_path: Path) -> None:
    heard = Progress()
    fetch(tmp_path, ["power"], heard, url=server.url, md5=md5(server.body))
    assert list(heard.steps) == ["download", "check", "extract"]
    for step in ("download", "check"):
        assert heard.steps[step][-1] == (len(server.body), len(server.body))
        done = [d for d, _ in heard.steps[step]]
        assert done == sorted(done)


def test_keeps_the_archive_if_asked(server: Server, tmp_path: Path) -> None:
    get(server, tmp_path, "gas", keep=True)
    assert files(tmp_path) == {"gas/ethylene_CO.pickle", "data.tar.gz"}
    server.code = 404  # from now on the archive is enough
    assert get(server, tmp_path, "miniboone") == ["miniboone"]
    assert "data.tar.gz" in files(tmp_path)


def test_a_download_resumes_after_interruptions(server: Server, tmp_path: Path) -> None:
    server.cuts = [1_000_000, 500_000]
    get(server, tmp_path, "power")
    assert len(server.asked) == 3
    assert server.asked[0] is None
    starts = [int(str(asked)[6:-1]) for asked in server.asked[1:]]
    assert starts[0] > 0
    assert starts[1] > starts[0]
    assert (tmp_path / "power/data.npy").read_bytes() == CONTENT["data/power/data.npy"]


def test_a_later_call_resumes_the_download(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.tar.gz.part").write_bytes(server.body[:2_000_000])
    get(server, tmp_path, "power")
    assert server.asked == ["bytes=2000000-"]
    assert files(tmp_path) == {"power/data.npy"}


def test_without_ranges_the_download_starts_again(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / "data.tar.gz.part").write_bytes(server.body[:2_000_000])
    get(server, tmp_path, "power")
    assert files(tmp_path) == {"power/data.npy"}


def test_a_download_is_not_written_through_a_link(server: Server, tmp_path: Path) -> None:
    other, root = tmp_path / "other", tmp_path / "data"
    root.mkdir()
    other.write_bytes(b"mine")
    (root / "data.tar.gz.part").symlink_to(other)
    with pytest.raises(DataError, match=r"data\.tar\.gz\.part can't be written"):
        get(server, root, "power")
    assert other.read_bytes() == b"mine"


def test_a_complete_partial_file_is_used(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.tar.gz.part").write_bytes(server.body)
    get(server, tmp_path, "power")
    assert files(tmp_path) == {"power/data.npy"}


def test_a_partial_file_that_is_too_long_is_replaced(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.tar.gz.part").write_bytes(server.body + b"more")
    get(server, tmp_path, "power")
    assert files(tmp_path) == {"power/data.npy"}


def test_a_download_without_progress_gives_up_and_can_be_resumed(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    server.cuts = [1_000_000] + [0] * 100
    with pytest.raises(DataError, match=r"after 983040 bytes.*resume") as caught:
        get(server, tmp_path, "power")
    assert str(tmp_path / "data.tar.gz") in caught.value.remedy
    (part,) = files(tmp_path)
    assert part == "data.tar.gz.part"
    server.cuts = []
    get(server, tmp_path, "power")
    assert files(tmp_path) == {"power/data.npy"}


@pytest.mark.parametrize("stated", [True, False])
def test_a_wrong_checksum_is_not_opened(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stated: bool
) -> None:
    def opened(*_: object, **__: object) -> None:
        raise AssertionError("the archive was opened")

    monkeypatch.setattr(tarfile, "open", opened)
    expected = md5(server.body)
    server.stated = stated
    server.body = server.body[:-1] if not stated else server.body[:-1] + b"x"
    with pytest.raises(DataError, match=f"MD5 .*{expected}"):
        fetch(tmp_path, ["power"], Progress(), url=server.url, md5=expected)
    assert files(tmp_path) == set()


def test_the_users_archive_is_not_deleted(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.tar.gz").write_bytes(b"something else")
    with pytest.raises(DataError, match="MD5"):
        get(server, tmp_path, "power")
    assert files(tmp_path) == {"data.tar.gz"}
    assert server.asked == []


def test_without_a_server_the_remedy_is_a_download_by_hand(tmp_path: Path) -> None:
    with Server() as gone:
        url = gone.url
    with pytest.raises(DataError, match="on another machine") as caught:
        fetch(tmp_path, ["gas"], Progress(), url=url)
    assert url in str(caught.value)
    assert files(tmp_path) == set()


@pytest.mark.parametrize(("code", "said"), [(404, "404"), (403, "403"), (503, "503")])
def test_a_server_that_refuses(server: Server, tmp_path: Path, code: int, said: str) -> None:
    server.code = code
    with pytest.raises(DataError, match=said):
        get(server, tmp_path, "gas")
    assert files(tmp_path) == set()


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("name", ["../outside", "data/../../outside", "/outside", "data/x/../../y"])
def test_a_member_that_leads_outside_is_not_written(
    server: Server, tmp_path: Path, name: str
) -> None:
    server.body = archive(member(name))
    root = tmp_path / "root"
    assert get(server, root, "gas") == ["gas"]
    assert {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*outside*")} == set()
    assert files(root) == {"gas/ethylene_CO.pickle"}


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE]
)
def test_a_link_or_device_is_not_extracted(server: Server, tmp_path: Path, kind: bytes) -> None:
    named_as_wanted = member("data/gas/ethylene_CO.pickle", kind, "/etc/passwd")
    server.body = archive(named_as_wanted, content={})
    with pytest.raises(DataError, match=r"lacks gas/ethylene_CO\.pickle"):
        get(server, tmp_path, "gas")
    assert not (tmp_path / "gas").exists()


def test_a_link_elsewhere_is_not_followed(server: Server, tmp_path: Path) -> None:
    """A link for a folder, so that a later member would be written through it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    server.body = archive(member("data/gas", tarfile.SYMTYPE, str(outside)))
    get(server, tmp_path / "root", "gas")
    assert list(outside.iterdir()) == []
    assert not (tmp_path / "root/gas").is_symlink()


def test_an_archive_that_lacks_a_set(server: Server, tmp_path: Path) -> None:
    server.body = archive(content={k: v for k, v in CONTENT.items() if "gas" not in k})
    with pytest.raises(DataError, match=r"lacks gas/ethylene_CO\.pickle"):
        get(server, tmp_path, "gas", "miniboone")
    assert not (tmp_path / "miniboone").exists()


@pytest.mark.parametrize("body", [b"no archive", archive()[:2_000_000]])
def test_a_damaged_archive_extracts_nothing(server: Server, tmp_path: Path, body: bytes) -> None:
    server.body = body
    with pytest.raises(DataError, match="can't be read"):
        get(server, tmp_path, "bsds300")
    assert not (tmp_path / "BSDS300").exists()


def test_a_root_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="can't be written"):
        get(server, tmp_path / "file/root", "gas")


@pytest.mark.parametrize("name", ["moons", "digits"])
def test_a_data_set_outside_the_archive_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=name):
        fetch(tmp_path, [name], Progress())


def test_unknown_name(tmp_path: Path) -> None:
    for act in (lambda: fetch(tmp_path, ["gass"], Progress()), lambda: named(["gass"])):
        with pytest.raises(UsageError, match="'gas'"):
            act()


def call(root: Path, *arguments: str) -> tuple[int, dict[str, str]]:
    """The exit code of `bench data`, and the rest of each line by its first word."""
    done = CliRunner().invoke(main, ["data", *arguments, "--data", str(root)])
    lines = (line.split(maxsplit=1) for line in done.output.splitlines())
    return done.exit_code, {name.rstrip(":"): rest for name, rest in lines}


def test_status(server: Server, tmp_path: Path) -> None:
    get(server, tmp_path, "miniboone")
    _, lines = call(tmp_path, "status")
    size = len(CONTENT["data/miniboone/data.npy"]) / 2**20
    assert lines["miniboone"].startswith(f"whole, {size:.1f} MiB (")
    assert lines["hepmass"] == "missing: hepmass/1000_train.csv, hepmass/1000_test.csv"
    assert lines["moons"].startswith("included (")
    assert "path" not in lines
    assert [dataset.name for dataset in named(["gas", "power"])] == ["gas", "power"]


def test_verify_says_what_is_wrong(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    get(server, tmp_path, "miniboone", "gas")
    miniboone, gas, power = named(["miniboone", "gas", "power"])
    for dataset, said in (
        (miniboone, "not the published file"),
        (gas, "ethylene_CO.pickle"),
        (power, "missing power/data.npy"),
    ):
        with pytest.raises(DataError, match=said):
            verify(dataset, tmp_path)
    code, lines = call(tmp_path, "verify")
    assert (code, set(lines)) == (1, {"miniboone", "gas"}), "those on disk"
    monkeypatch.setattr(fetching, "BLOBS", {})
    with pytest.raises(DataError, match=r"\(29556, 3284, 3648\)"):
        verify(miniboone, tmp_path)


def test_verify_reads_past_the_cache_and_checks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.data import arrays

    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "miniboone"
    folder.mkdir()
    file = folder / "miniboone_maf_head1523.npz"
    np.savez(file, data=MINIBOONE)
    [miniboone] = named(["miniboone"])
    good = verify(miniboone, tmp_path)
    assert good.revision == arrays.load(miniboone, tmp_path).revision
    assert [len(getattr(good, name)) for name in arrays.SPLITS] == [243, 27, 30]
    (entry,) = (p for p in (tmp_path / "cache" / "arrays").iterdir() if p.is_dir())
    sound = (entry / "train.npy").read_bytes()
    (entry / "train.npy").write_bytes(sound[:-1] + b"x")
    with pytest.raises(DataError, match=f"cached rows in {entry}"):
        verify(miniboone, tmp_path)
    (entry / "train.npy").write_bytes(sound)
    said = f"ok, 243 / 27 / 30 rows, revision {good.revision}"
    assert call(tmp_path, "verify") == (0, {"miniboone": said})
    file.write_bytes(b"damaged")
    with pytest.raises(DataError, match=file.name):
        verify(miniboone, tmp_path)


def test_git_blob_id(tmp_path: Path) -> None:
    """As `git hash-object` prints for the same bytes."""
    (tmp_path / "file").write_bytes(b"what is up, doc?")
    assert fetching._blob_id(tmp_path / "file") == "bd9dbf5aae1a3862dd1526723246b20206e5fc37"
