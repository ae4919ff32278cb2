"""A gateway for the terminal to talk to: OpenAI's wire over a real socket, with an answer that a test can hold."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "sk-terminal"


@dataclass
class Double:
    """``pieces`` are said one by one; "HOLD" waits for ``go``. ``gone`` is set when a client leaves in mid-answer."""

    url: str = ""
    services: list[str] = field(default_factory=lambda: ["assistant", "embed"])
    pieces: list[str] = field(default_factory=lambda: ["Hello", " there"])
    finish: str | None = "stop"
    error: str | None = None
    go: threading.Event = field(default_factory=threading.Event)
    gone: threading.Event = field(default_factory=threading.Event)
    requests: list[dict[str, object]] = field(default_factory=list)
    deployments: list[tuple[str, str]] = field(default_factory=list)
    applied: tuple[int, dict[str, object]] = (200, {"changed": [], "needs_restart": [], "version": 1})
    keys: list[str] = field(default_factory=list)


@contextlib.contextmanager
def gateway() -> Iterator[Double]:
    double = Double()

    class Answering(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            return

        def do_GET(self) -> None:
            if self.path == "/healthz":
                self._json(200, {"status": "ok"})
            elif self._let_in():
                self._json(200, {"object": "list", "data": [{"id": name} for name in double.services]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if not self._let_in():
                return
            double.requests.append(body)
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            try:
                self._stream()
            except OSError:
                double.gone.set()
                self.close_connection = True

        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            if self._let_in("/admin/"):
                double.deployments.append((self.path, body))
                self._json(*double.applied)

        def _stream(self) -> None:
            self._event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
            for piece in double.pieces:
                if piece == "HOLD":
                    while not double.go.wait(0.02):
                        self._chunk(b": heartbeat\n\n")
                    continue
                name = "reasoning_content" if piece.startswith("?") else "content"
                self._event({"choices": [{"index": 0, "delta": {name: piece.removeprefix("?")}}]})
            if double.error:
                self._event({"error": {"message": double.error, "type": "server_error", "param": None, "code": "x"}})
            elif double.finish is None:
                self.close_connection = True
                self.connection.close()
                return
            else:
                self._event({"choices": [{"index": 0, "delta": {}, "finish_reason": double.finish}]})
                self._chunk(b"data: [DONE]\n\n")
            self._chunk(b"")

        def _let_in(self, below: str = "/v1/") -> bool:
            key = self.headers.get("authorization", "")
            double.keys.append(key)
            if key != f"Bearer {KEY}":
                self._json(
                    401, {"error": {"message": "no", "type": "authentication_error", "param": None, "code": "k"}}
                )
                return False
            if not self.path.startswith(below):
                self._json(404, {"error": {"message": "no such URL", "type": "x", "param": None, "code": "u"}})
                return False
            return True

        def _event(self, value: object) -> None:
            self._chunk(b"data: " + json.dumps(value).encode() + b"\n\n")

        def _chunk(self, data: bytes) -> None:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

        def _json(self, status: int, value: object) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    server.daemon_threads = True
    double.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield double
    finally:
        double.go.set()
        server.shutdown()
        thread.join()
        server.server_close()
