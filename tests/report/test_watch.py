"""`bench watch`: the page while records arrive, to this machine alone, until Ctrl-C."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import pytest

from bench.records import store
from bench.records.run_files import CURVE
from bench.report import watch
from bench.report.watch import LOOPBACK, ReportServer

from .conftest import Write, curve


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
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'none'"
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


def test_a_damaged_record_is_named_and_the_others_are_shown(
    server: ReportServer, write: Write, results: Path
) -> None:
    """Also where it is the first record of all, or comes while the page is open."""
    port = server.server_port
    bad = write("ffjord", "moons", 1)
    (results / bad / "record.json").write_text("{")
    assert server.look()
    assert f"{bad}/record.json is damaged" in json.loads(get(port, "/news.json"))["message"]
    good = write("ffjord", "moons")
    assert server.look()
    shown = get(port, "/")
    assert good in shown
    assert f"{bad}/record.json is damaged" in shown
    news = json.loads(get(port, "/news.json"))
    assert news["bad"]
    assert f"{bad}/record.json is damaged" in news["message"]
    shutil.rmtree(results / bad)
    assert server.look()
    assert not json.loads(get(port, "/news.json"))["bad"]


@pytest.mark.parametrize(
    "content",
    [
        '{"minibatch": null, "seconds": 1, "loss": 2}\n',
        '{"minibatch": 1e400, "seconds": 1, "loss": 2}\n',
        '{"minibatch": 1, "seconds": 1, "loss": 1e308}\n'
        '{"minibatch": 2, "seconds": 2, "loss": -1e308}\n',
        f'{{"minibatch": 1{"0" * 400}, "seconds": 1, "loss": 2}}\n',
        '[1]\n{"minibatch": 2, "seconds": 2, "loss": 1}\n',
        '{"minibatch": 1, "seconds": 1, "loss": 1}\n["block"]\n',
        '{"minibatch": "x", "seconds": 1, "loss": {}}\n',
        "\x00\xff",
    ],
)
def test_a_damaged_curve_is_named_and_its_run_is_shown(
    server: ReportServer, write: Write, results: Path, content: str
) -> None:
    bad, good = write("ffjord", "moons"), write("jko", "moons")
    curve(results / good, [4.0, 2.0])
    (results / bad / CURVE).write_text(content)
    under_way = results / "jko-rings-s0-0.part"
    under_way.mkdir()
    (under_way / CURVE).write_text(content)
    (under_way / "log.txt").write_text("validation_nll 1.2.3\nmini-batch 1 of 9: x\n")
    assert server.look()
    shown = get(server.server_port, "/")
    assert shown.count('<figure class="curve">') == 1
    assert f"<b>curve</b> ({bad}): Its {CURVE} is damaged" in shown
    assert [line for line in server.bugs if line.startswith(f"Not drawn: curve {bad}: ")]
    assert "jko-rings-s0-0" in json.loads(get(server.server_port, "/news.json"))["in_progress"]


@pytest.mark.parametrize("name", ["curve.jsonl", "samples.npz"])
def test_a_file_that_has_changed_is_named(
    server: ReportServer, write: Write, results: Path, name: str
) -> None:
    bad, good = write("ffjord", "moons"), write("jko", "moons")
    curve(results / bad, [4.0, 2.0])
    np.savez(results / bad / "samples.npz", log_prob=np.full(9, -2.0, np.float32))
    store.write_record(results / bad, store.content(results, bad))
    assert server.look()
    assert server.trouble == ""
    content = (results / bad / name).read_bytes()
    (results / bad / name).write_bytes(
        content.replace(b"4.0", b"5.0").replace(b"\0\xc0", b"\0\xc1")
    )
    write("ot-flow", "moons")
    assert server.look()
    shown = get(server.server_port, "/")
    assert good in shown
    assert f"{bad}/{name} is damaged" in shown
    assert f"{bad}/{name} is damaged" in server.trouble


def test_a_slow_client_is_cut_off_and_keeps_no_thread(
    server: ReportServer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Half a request and then nothing; a byte now and then; an answer that nobody reads."""
    monkeypatch.setattr(watch, "REQUEST", 1.0)
    server.html = b"x" * 2**24
    before = threading.active_count()
    silent, slow, deaf = (
        socket.create_connection((LOOPBACK, server.server_port), timeout=20) for _ in range(3)
    )
    silent.sendall(b"GET / HTTP/1.1\r\nHost: local")
    deaf.sendall(f"GET / HTTP/1.0\r\nHost: {LOOPBACK}:1\r\n\r\n".encode())
    began = time.monotonic()
    with suppress(OSError):  # a reset or a broken pipe
        while time.monotonic() < began + 20:
            slow.sendall(b"G")
            time.sleep(0.1)
    assert time.monotonic() - began < 5
    assert silent.recv(1) == b""
    while threading.active_count() > before and time.monotonic() < began + 5:
        time.sleep(0.05)
    assert threading.active_count() == before
    assert len(get(server.server_port, "/")) == 2**24
    for client in (silent, slow, deaf):
        client.close()
    assert capfd.readouterr().err == ""


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
