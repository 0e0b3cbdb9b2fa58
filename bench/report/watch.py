"""The report while runs are made: served to this machine alone, updated as runs finish."""

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
from bench.report import pictures
from bench.report.page import page, progress_list
from bench.report.setting import gather

#: The only address that is served.
LOOPBACK = "127.0.0.1"

#: Host names that a request may use: the page of a stranger can have its own name resolve to this
#: machine (DNS rebinding), but can't change the name.
_HOSTS = (LOOPBACK, "localhost")

#: Seconds between two looks at the results folder.
LOOK = 1.0

#: After a page that took t seconds the next one waits so many times t, so that watching takes a
#: small share of one core from the runs.
PAUSE = 9.0


@dataclass
class Watched:
    """The page of a results folder, updated by `look` while other threads read it.

    Attributes:
        results: the folder.
        number: how many pages there were; 0 before the first.
        html: the last page.
        bugs: a line for each of its figures that a bug kept from being drawn.
        trouble: why the last look made no page; empty where it did.
    """

    results: Path
    number: int = 0
    html: bytes = b""
    bugs: tuple[str, ...] = ()
    trouble: str = ""
    _kept: pictures.Kept = field(default_factory=dict)
    _seen: object = None
    _ready: float = 0.0

    def look(self) -> bool:
        """Make a new page if the finished runs have changed; return whether it was made.

        If the folder can't be read, the last page stays, and `trouble` says why.
        """
        now = fingerprint(self.results)
        if (self.number and now == self._seen) or time.monotonic() < self._ready:
            return False
        began = time.monotonic()
        self._seen = now
        try:
            made = page(gather(self.results), self._kept, watched=True)
        except BenchError as error:
            self.trouble = str(error)
            if self.number:
                return False
            raise
        took = time.monotonic() - began
        self._ready = time.monotonic() + (PAUSE * took if self.number else 0)
        self.html, self.bugs = made.html.encode("utf-8", "backslashreplace"), made.bugs
        self.trouble = ""
        self.number += 1
        return True

    def news(self) -> bytes:
        """What an open page asks for every few seconds, as JSON."""
        news = {
            "page": self.number,
            "in_progress": progress_list(self.results),
            "message": f"Not up to date: {self.trouble}" if self.trouble else "",
            "bad": bool(self.trouble),
        }
        return json.dumps(news).encode("utf-8", "backslashreplace")


def fingerprint(results: Path) -> tuple[tuple[str, int, int], ...]:
    """The finished runs, each with what changes when it is made again, without reading them."""
    found = []
    for name in store.names(results):
        with suppress(OSError):  # replaced at this moment
            state = os.stat(results / name)
            found.append((name, state.st_ino, state.st_mtime_ns))
    return tuple(found)


def server(watched: Watched, port: int) -> ThreadingHTTPServer:
    """A server of the page on the loopback address; port 0 is any that is free.

    Raises:
        OSError: the port is taken or not allowed.
    """

    class Handler(_Handler):
        pages = watched

    made = ThreadingHTTPServer((LOOPBACK, port), Handler)
    made.daemon_threads = True
    return made


def watch(watched: Watched, serving: ThreadingHTTPServer, notify: Callable[[str], object]) -> None:
    """Serve and look until interrupted; `notify` gets a line for each new page or trouble.

    Raises:
        KeyboardInterrupt: Ctrl-C.
    """
    thread = threading.Thread(target=serving.serve_forever, daemon=True)
    thread.start()
    shown = ""
    try:
        while True:
            if watched.look():
                notify(f"page {watched.number}: {len(watched.html) / 2**20:.1f} MiB")
                for line in watched.bugs:
                    notify(line)
            if watched.trouble != shown:
                shown = watched.trouble
                if shown:
                    notify(f"not up to date: {shown}")
            time.sleep(LOOK)
    finally:
        serving.shutdown()
        serving.server_close()


class _Handler(BaseHTTPRequestHandler):
    """Two addresses, `/` and `/news.json`; anything else is 404."""

    pages: Watched
    server_version = "bench"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer."""
        host = self.headers.get("Host", "").rpartition(":")[0]
        path = self.path.partition("?")[0]
        if host not in _HOSTS:
            status, kind, body = 403, "text/plain", b"Use 127.0.0.1.\n"
        elif path == "/":
            status, kind, body = 200, "text/html", self.pages.html
        elif path == "/news.json":
            status, kind, body = 200, "application/json", self.pages.news()
        else:
            status, kind, body = 404, "text/plain", b"Not found. Try / or /news.json.\n"
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command == "GET":
            with suppress(ConnectionError):  # the browser went away
                self.wfile.write(body)

    def do_HEAD(self) -> None:
        """Answer without the body."""
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the terminal shows what happens to the runs."""
