"""A web server that serves files as the real ones do, ranges and validators included, and fails on command."""

from __future__ import annotations

import email.utils
import hashlib
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

DEADLINE_S = 20.0


def gguf(size: int, seed: int = 0) -> bytes:
    """``size`` bytes that begin like a GGUF and repeat nowhere, so that a piece put in the wrong place shows."""
    blocks = (hashlib.sha256(f"{seed}.{n}".encode()).digest() for n in range(size // 32 + 1))
    return (b"GGUF" + b"".join(blocks))[:size]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def until(true: Callable[[], bool]) -> None:
    """Returns once ``true`` holds; fails after ``DEADLINE_S`` seconds."""
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)


class Heard:
    """Progress that remembers."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, int, int | None]] = []

    def step(self, what: str, done: int, total: int | None) -> None:
        self.steps.append((what, done, total))

    def of(self, what: str) -> list[tuple[str, int, int | None]]:
        return [step for step in self.steps if what in step[0]]


class Cancel(BaseException):
    """What a caller raises from its progress to end a fetch."""


class CancelsAt:
    """Progress that ends the work once it has heard of ``what`` with at least ``done`` bytes."""

    def __init__(self, what: str, done: int = 0) -> None:
        self._what, self._done = what, done

    def step(self, what: str, done: int, total: int | None) -> None:
        if self._what in what and done >= self._done:
            raise Cancel


@dataclass
class Served:
    """One file. ``etag`` None: the server gives no validator."""

    data: bytes
    etag: str | None = '"v1"'
    modified: float | None = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]


class WebServer:
    """Serves ``files`` by path. What goes wrong is said beforehand:

    ``statuses``: answered, one per request, before anything else, with ``error_headers``; ``cuts``: after so many
    body bytes the connection closes, one per request; ``hold_after``: after so many body bytes it waits for
    ``release``; ``ranges`` False: ranges are ignored; ``chunked``: bodies have no length; ``extra`` answers what is no file.
    """

    def __init__(self, files: dict[str, Served] | None = None, *, tls: ssl.SSLContext | None = None) -> None:
        self.files = files or {}
        self.asked: list[Asked] = []
        self.statuses: list[int] = []
        self.error_headers: dict[str, str] = {}
        self.cuts: list[int] = []
        self.hold_after: int | None = None
        self.release = threading.Event()
        self.ranges = True
        self.chunked = False
        self.extra: Callable[[BaseHTTPRequestHandler], bool] = lambda _: False
        double = self

        class Exchange(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None: ...

            def do_GET(self) -> None:
                double._answer(self)

            def do_HEAD(self) -> None:
                double._answer(self)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Exchange)
        self._server.daemon_threads = True
        if tls is not None:
            # The handshake is each connection's own affair: a client that refuses it must not stop the server.
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=True
            )
            self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(DEADLINE_S)

    def gets(self, path: str) -> list[Asked]:
        return [one for one in self.asked if one.method == "GET" and one.path == path]

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.asked.append(Asked(request.command, request.path, headers))
        if self.statuses and (status := self.statuses.pop(0)):
            self._plain(request, status, self.error_headers)
        elif not self.extra(request):
            served = self.files.get(request.path.partition("?")[0])
            if served is None:
                self._plain(request, 404, {})
            else:
                self._send(request, served, headers)

    def _plain(self, request: BaseHTTPRequestHandler, status: int, headers: dict[str, str]) -> None:
        request.send_response(status)
        for name, value in {**headers, "Content-Length": "0"}.items():
            request.send_header(name, value)
        request.end_headers()

    def _send(self, request: BaseHTTPRequestHandler, served: Served, headers: dict[str, str]) -> None:
        validators = {"ETag": served.etag} if served.etag else {}
        if served.modified is not None:
            validators["Last-Modified"] = email.utils.formatdate(served.modified, usegmt=True)
        start, size = 0, len(served.data)
        wanted = headers.get("range", "")
        if wanted and self.ranges and headers.get("if-range", served.etag) in validators.values():
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            if start >= size:
                return self._plain(request, 416, {"Content-Range": f"bytes */{size}"})
        request.send_response(206 if start else 200)
        for name, value in {**validators, **served.headers}.items():
            request.send_header(name, value)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        body = served.data[start:]
        if self.chunked:
            request.send_header("Transfer-Encoding", "chunked")
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        else:
            request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if request.command == "HEAD":
            return None
        cut = self.cuts.pop(0) if self.cuts else None
        if self.hold_after is not None and start < self.hold_after:
            request.wfile.write(body[: self.hold_after - start])
            request.wfile.flush()
            self.release.wait(DEADLINE_S)
            body = body[self.hold_after - start :]
        try:
            request.wfile.write(body if cut is None else body[:cut])
        except (BrokenPipeError, ConnectionResetError):
            cut = 0
        if cut is not None:
            request.close_connection = True
        return None


def files_below(root: Path) -> set[str]:
    """The files of a model store, locks and the index left out."""
    return {
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and path.relative_to(root).parts[0] != "index"
    }
