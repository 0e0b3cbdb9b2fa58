"""The report while runs are made: served on this machine alone, made anew as records arrive."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.records import store
from bench.report import figures
from bench.report.gathered import gather
from bench.report.page import page, runs_under_way
from bench.report.under_way import under_way

#: The only address that is served: this machine's own.
LOOPBACK = "127.0.0.1"

#: Names by which a browser on this machine may ask; others may be a stranger's page that had its
#: own name lead here.
_HOSTS = (LOOPBACK, "localhost")

#: Seconds between two looks at the results folder.
LOOK = 1.0

#: A page is made anew when so many times its own time to make has passed, so that watching takes
#: a small share of one core from the runs.
PAUSE = 9.0


@dataclass
class Watched:
    """The page of a results folder, kept up to date by `look`; threads may read it meanwhile.

    Attributes:
        results: the folder.
        number: how many pages there were; 0 before the first.
        html: the last page.
        trouble: why the last look gave no page, empty where it did.
    """

    results: Path
    number: int = 0
    html: bytes = b""
    trouble: str = ""
    _kept: figures.Kept = field(default_factory=dict)
    _seen: object = None
    _ready: float = 0.0

    def look(self) -> bool:
        """Make the page anew where the finished runs have changed; whether it was.

        A folder that can't be read leaves the last page, and `trouble` says why.
        """
        now = fingerprint(self.results)
        if (self.number and now == self._seen) or time.monotonic() < self._ready:
            return False
        began = time.monotonic()
        self._seen = now
        try:
            html = page(gather(self.results), self._kept, watched=True)
        except BenchError as error:
            self.trouble = str(error)
            if self.number:
                return False
            raise
        took = time.monotonic() - began
        self._ready = time.monotonic() + (PAUSE * took if self.number else 0)
        self.html, self.trouble = html.encode("utf-8", "backslashreplace"), ""
        self.number += 1
        return True

    def news(self) -> bytes:
        """What a page that is open asks for, as JSON."""
        told = {
            "page": self.number,
            "under_way": runs_under_way(tuple(under_way(self.results))),
            "said": f"Not up to date: {self.trouble}" if self.trouble else "",
            "bad": bool(self.trouble),
        }
        return json.dumps(told).encode("utf-8", "backslashreplace")


def fingerprint(results: Path) -> tuple[tuple[str, int, int], ...]:
    """The finished runs, each with what changes when it is made again; no record is read."""
    found = []
    for name in store.names(results):
        with suppress(OSError):  # replaced at this moment
            state = os.stat(results / name)
            found.append((name, state.st_ino, state.st_mtime_ns))
    return tuple(found)


def server(watched: Watched, port: int) -> ThreadingHTTPServer:
    """A server of the page on the loopback address; port 0 is any that is free.

    Raises:
        OSError: the port is taken, or not for this user.
    """

    class Handler(_Handler):
        pages = watched

    made = ThreadingHTTPServer((LOOPBACK, port), Handler)
    made.daemon_threads = True
    return made


def watch(watched: Watched, serving: ThreadingHTTPServer, tell: Callable[[str], object]) -> None:
    """Serve and look until it is interrupted; `tell` gets a line for each new page or trouble.

    Raises:
        KeyboardInterrupt: it was.
    """
    thread = threading.Thread(target=serving.serve_forever, daemon=True)
    thread.start()
    told = ""
    try:
        while True:
            if watched.look():
                tell(f"page {watched.number}: {len(watched.html) / 2**20:.1f} MiB")
            if watched.trouble != told:
                told = watched.trouble
                if told:
                    tell(f"not up to date: {told}")
            time.sleep(LOOK)
    finally:
        serving.shutdown()
        serving.server_close()


class _Handler(BaseHTTPRequestHandler):
    """Two addresses, `/` and `/news.json`; anything else is not there."""

    pages: Watched
    server_version = "bench"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Answer without the content."""
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        host = self.headers.get("Host", "").rpartition(":")[0]
        path = self.path.partition("?")[0]
        if host not in _HOSTS:
            status, kind, body = 403, "text/plain", b"Ask for 127.0.0.1.\n"
        elif path == "/":
            status, kind, body = 200, "text/html", self.pages.html
        elif path == "/news.json":
            status, kind, body = 200, "application/json", self.pages.news()
        else:
            status, kind, body = 404, "text/plain", b"There is / and /news.json.\n"
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if with_body:
            with suppress(ConnectionError):  # the browser went away
                self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal is for what happens to the runs."""
