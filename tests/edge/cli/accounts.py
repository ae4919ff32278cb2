"""The admin API for commands to ask: over a real socket, with the answers that a test puts there.

What is asked has to be in the table of operations: its route, its query, the struct of its body. What a test answers
has to be of the operation's struct.
"""

from __future__ import annotations

import contextlib
import threading
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from penstock.control.accounts.asked import check_query
from penstock.control.accounts.operations import BY_NAME, OPERATIONS
from penstock.control.accounts.turn import Page

KEY = "pk-admin-secret"


@dataclass
class Asked:
    """One request as it arrived. ``body`` is the struct of the operation, None where there was none."""

    operation: str
    target: str
    query: Mapping[str, str]
    body: msgspec.Struct | None
    idempotency_key: str


@dataclass
class Accounts:
    """``lose``: so many of the next answers never come. ``cut``: the next one ends after so many bytes."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    lose: int = 0
    cut: int | None = None
    _answers: dict[str, deque[tuple[int, bytes]]] = field(default_factory=lambda: defaultdict(deque))

    def answer(self, operation: str, told: msgspec.Struct | bytes) -> None:
        """What the operation says next."""
        form = BY_NAME[operation].answer
        body = told if isinstance(told, bytes) else msgspec.json.encode(told)
        if form is not None:
            msgspec.json.decode(body, type=form)
        self._answers[operation].append((BY_NAME[operation].status, body))

    def list(self, operation: str, *rows: msgspec.Struct, next: str | None = None) -> None:
        """The page that the operation gives next."""
        form = BY_NAME[operation].answer
        assert form is not None
        assert all(isinstance(row, form) for row in rows)
        page = Page(data=rows, has_more=next is not None, next=next)
        self._answers[operation].append((200, msgspec.json.encode(page)))

    def refuse(self, operation: str, status: int, code: str, message: str) -> None:
        """An error that the operation gives next."""
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
        self._answers[operation].append((status, msgspec.json.encode({"error": error})))

    def next(self, asked: Asked) -> tuple[int, bytes]:
        self.asked.append(asked)
        waiting = self._answers[asked.operation]
        assert waiting, f"{asked.operation} was asked, and the test has no answer for it"
        if self.lose:
            return waiting[0]
        return waiting.popleft()

    def bodies(self, operation: str) -> list[msgspec.Struct | None]:
        return [asked.body for asked in self.asked if asked.operation == operation]


@contextlib.contextmanager
def accounts() -> Iterator[Accounts]:
    double = Accounts()

    class Answering(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            return

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            if self.headers.get("authorization") != f"Bearer {KEY}":
                self._answer(401, b'{"error":{"message":"no","type":"x","param":null,"code":"invalid_api_key"}}')
                return
            status, told = double.next(self._asked(body))
            if double.lose:
                double.lose -= 1
                self.close_connection = True
                return
            self._answer(status, told)

        do_GET = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815 - the names that http.server calls

        def _asked(self, body: bytes) -> Asked:
            parts = urlsplit(self.path)
            query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
            for operation in sorted(OPERATIONS, key=lambda each: ("{id}" in each.path, -len(each.path))):
                prefix, identified, end = operation.path.partition("{id}")
                path = unquote(parts.path)
                fits = path.startswith(prefix) and path.endswith(end) if identified else path == operation.path
                target = path[len(prefix) : len(path) - len(end)] if identified else ""
                if operation.method == self.command and fits and ("{id}" not in operation.path or target):
                    check_query(operation, query)
                    asked = None
                    if body:
                        assert operation.request is not None, f"{operation.name} takes no body"
                        asked = msgspec.json.decode(body, type=operation.request)
                    return Asked(operation.name, target, query, asked, self.headers.get("idempotency-key", ""))
            raise AssertionError(f"no operation has the route {self.command} {self.path}")

        def _answer(self, status: int, body: bytes) -> None:
            cut, double.cut = double.cut, None
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[:cut])
            self.close_connection = cut is not None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    server.daemon_threads = True
    double.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield double
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
