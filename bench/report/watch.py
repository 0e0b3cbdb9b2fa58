"""The report while runs are made: served to this machine alone, updated as runs finish."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
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

#: Seconds that a request may take, however slowly it comes.
REQUEST = 10.0

#: After a page that took t seconds the next one waits so many times t, so that watching takes a
#: small share of one core from the runs.
PAUSE = 9.0


class ReportServer(ThreadingHTTPServer):
    """The page of a results folder, served on the loopback address and updated by `look`.

    Port 0 is any that is free. Each request is answered in a thread of its own.

    Attributes:
        number: how many pages there were; 0 before the first.
        html: the last page.
        bugs: a line for each of its figures that a bug kept from being drawn.
        trouble: what is wrong with the page: records it lacks, or why it is not up to date.

    Raises:
        OSError: the port is taken or not allowed.
    """

    def __init__(self, results: Path, port: int = 0) -> None:
        super().__init__((LOOPBACK, port), _Handler)
        self.results, self.number, self.html, self.trouble = results, 0, b"", ""
        self.bugs: list[str] = []
        self._kept: pictures.Kept = {}
        self._seen: object = None
        self._ready = 0.0

    def look(self) -> bool:
        """Make a new page if the finished runs have changed; return whether it was made.

        Records that can't be read are left out, and `trouble` names the first. If no page can be
        made the last one stays, and `trouble` says why.

        Raises:
            BenchError: the folder can't be read, and there is no page yet.
        """
        now, began = fingerprint(self.results), time.monotonic()
        if (self.number and now == self._seen) or began < self._ready:
            return False
        self._seen, unread = now, list[str]()
        try:
            self.html, self.bugs = page(gather(self.results, unread), self._kept, watched=True)
        except Exception as error:
            why = (
                str(error) if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"
            )
            self.trouble = f"Not up to date: {' '.join(why.split())}"
            if self.number:
                return False
            raise
        ended = time.monotonic()
        self._ready = ended + (PAUSE * (ended - began) if self.number else 0)
        more = f" ({len(unread) - 1} more)" if len(unread) > 1 else ""
        self.trouble = f"Left out{more}: {unread[0]}" if unread else ""
        self.number += 1
        return True

    def news(self) -> bytes:
        """What an open page asks for every few seconds, as JSON."""
        news = {
            "page": self.number,
            "in_progress": progress_list(self.results),
            "message": self.trouble,
            "bad": bool(self.trouble),
        }
        return json.dumps(news).encode("utf-8", "backslashreplace")

    def watch(self, notify: Callable[[str], object]) -> None:
        """Serve and look until interrupted; `notify` gets a line for each new page or trouble.

        Raises:
            KeyboardInterrupt: Ctrl-C.
        """
        threading.Thread(target=self.serve_forever, daemon=True).start()
        shown = ""
        try:
            while True:
                if self.look():
                    notify(f"page {self.number}: {len(self.html) / 2**20:.1f} MiB")
                    for line in self.bugs:
                        notify(line)
                if self.trouble not in ("", shown):
                    notify(self.trouble)
                shown = self.trouble
                time.sleep(LOOK)
        finally:
            self.shutdown()
            self.server_close()


def fingerprint(results: Path) -> tuple[tuple[str, int, int], ...]:
    """The finished runs, each with what changes when it is made again, without reading them."""
    found = []
    for name in store.names(results):
        with suppress(OSError):  # replaced at this moment
            state = os.stat(results / name)
            found.append((name, state.st_ino, state.st_mtime_ns))
    return tuple(found)


class _Handler(BaseHTTPRequestHandler):
    """Two addresses, `/` and `/news.json`; anything else is 404."""

    server: ReportServer
    server_version = "bench"
    sys_version = ""

    def handle(self) -> None:
        """Answer one request; a client that is slow to send it or to read is cut off."""
        over = threading.Timer(REQUEST, self._cut_off)
        over.daemon = True
        over.start()
        with suppress(OSError):  # the browser went away
            super().handle()
        over.cancel()

    def _cut_off(self) -> None:
        with suppress(OSError):  # it has just ended
            self.connection.shutdown(socket.SHUT_RDWR)

    def do_GET(self) -> None:
        """Answer."""
        host = self.headers.get("Host", "").rpartition(":")[0]
        path = self.path.partition("?")[0]
        if host not in _HOSTS:
            status, kind, body = 403, "text/plain", b"Use 127.0.0.1.\n"
        elif path == "/":
            status, kind, body = 200, "text/html", self.server.html
        elif path == "/news.json":
            status, kind, body = 200, "application/json", self.server.news()
        else:
            status, kind, body = 404, "text/plain", b"Not found. Try / or /news.json.\n"
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        self.send_header("Content-Security-Policy", "frame-ancestors 'none'")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        """Answer without the body."""
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the terminal shows what happens to the runs."""
