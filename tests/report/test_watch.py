"""`bench watch`: the page while records arrive, to this machine alone, until Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from bench.errors import DataError
from bench.report import watch
from bench.report.watch import LOOPBACK, ReportServer

from .conftest import Write


@pytest.fixture(autouse=True)
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are drawn elsewhere, and pages made as often as records come."""
    monkeypatch.setattr("bench.report.pictures.KINDS", {})
    monkeypatch.setattr(watch, "PAUSE", 0.0)


@pytest.fixture
def server(results: Path) -> Iterator[ReportServer]:
    """The server of a folder that has no runs yet."""
    with ReportServer(results) as server:
        server.look()
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://{LOOPBACK}:{port}{path}", timeout=20) as answer:
        assert answer.headers["Cache-Control"] == "no-store"
        text: str = answer.read().decode()
        return text


def test_the_page_is_renewed_as_records_arrive(
    server: ReportServer, write: Write, results: Path
) -> None:
    port = server.server_port
    assert "No run has finished yet." in get(port, "/")
    assert json.loads(get(port, "/news.json"))["page"] == 1
    assert not server.look()
    run = write("ffjord", "moons")
    assert server.look()
    assert run in get(port, "/")
    news = json.loads(get(port, "/news.json"))
    assert news == {"page": 2, "in_progress": "", "message": "", "bad": False}
    (results / "jko-moons-s0-0.part").mkdir()
    (results / "jko-moons-s0-0.part" / "log.txt").write_text("t mini-batch 30 of 40: loss 1\n")
    assert not server.look()
    assert "30 of 40 mini-batches" in json.loads(get(port, "/news.json"))["in_progress"]


def test_a_run_that_is_made_again_is_a_change(results: Path, write: Write) -> None:
    run = write("ffjord", "moons", run="again")
    before = watch.fingerprint(results)
    (results / run).rename(results / "again.replaced")
    write("ffjord", "moons", run="again", nll=1.0)
    assert [name for name, *_ in watch.fingerprint(results)] == ["again"]
    assert watch.fingerprint(results) != before


def test_a_damaged_record_leaves_the_last_page_and_is_told(
    server: ReportServer, write: Write, results: Path
) -> None:
    port = server.server_port
    good = write("ffjord", "moons")
    server.look()
    bad = write("ffjord", "moons", 1)
    (results / bad / "record.json").write_text("{")
    assert not server.look()
    assert good in get(port, "/")
    news = json.loads(get(port, "/news.json"))
    assert news["bad"]
    assert f"{bad}/record.json is damaged" in news["message"]
    for path in (results / bad).iterdir():
        path.unlink()
    (results / bad).rmdir()
    assert server.look()
    assert not json.loads(get(port, "/news.json"))["bad"]


def test_the_first_page_needs_records_that_can_be_read(write: Write, results: Path) -> None:
    (results / write("ffjord", "moons") / "record.json").write_text("{")
    with ReportServer(results) as server, pytest.raises(DataError, match="is damaged"):
        server.look()


def test_nothing_else_is_served_and_no_strangers_name(server: ReportServer) -> None:
    port = server.server_port
    for path in ("/../etc/passwd", "/record.json", "/index.html"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(port, path)
    connection = HTTPConnection(LOOPBACK, port, timeout=20)
    for host, status in ((f"evil.example:{port}", 403), (f"localhost:{port}", 200)):
        connection.request("GET", "/", headers={"Host": host})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status
    connection.request("HEAD", "/")
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"")
    connection.close()


def test_ctrl_c_ends_it_with_0_and_a_taken_port_is_said(tmp_path: Path) -> None:
    code = "from bench.cli import main; main()"
    command = [sys.executable, "-c", code, "watch", "--results", str(tmp_path / "runs")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ.copy()
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith(f"http://{LOOPBACK}:")
        port = line.split("/")[2].rpartition(":")[2]
        taken = subprocess.run([*command, "--port", port], capture_output=True, text=True)
        assert (taken.returncode, taken.stderr.count("\n")) == (2, 1)
        assert "can't be used" in taken.stderr
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 0
    assert told.endswith("Ended.\n")
    assert "Traceback" not in told
    assert not (tmp_path / "runs").exists()
