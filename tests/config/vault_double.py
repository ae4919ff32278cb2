"""A Vault on the wire, as version 1.20 was recorded: the KV engine in both versions, and how it refuses."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

_REQUEST = '"request_id":"0dd1ca3c-9f3c-2cb9-1e3c-45a8d6cf4e4d","lease_id":"","renewable":false'
_REST = '"wrap_info":null,"warnings":null,"auth":null,"mount_type":"kv"'
_METADATA = (
    '"metadata":{"created_time":"2026-11-20T09:12:44.03512871Z","custom_metadata":null,"deletion_time":"",'
    '"destroyed":false,"version":3}'
)
DENIED = '{"errors":["1 error occurred:\\n\\t* permission denied\\n\\n"]}\n'
ABSENT = '{"errors":[]}\n'
SEALED = '{"errors":["Vault is sealed"]}\n'


def version_2(fields: Mapping[str, object]) -> str:
    return f'{{{_REQUEST},"lease_duration":0,"data":{{"data":{json.dumps(fields)},{_METADATA}}},{_REST}}}\n'


def version_1(fields: Mapping[str, object]) -> str:
    return f'{{{_REQUEST},"lease_duration":2764800,"data":{json.dumps(fields)},{_REST}}}\n'


class Vault:
    """Serves ``answers``, by path a status and a body, to who has the token; ``asked`` are the paths, in order.

    The body ``slow`` is sent only when this is closed.
    """

    def __init__(self, token: str, answers: Mapping[str, tuple[int, str]], *, namespace: str | None = None) -> None:
        self.asked: list[str] = []
        self._closing = closing = threading.Event()
        asked = self.asked

        class Answering(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                good = self.headers["X-Vault-Token"] == token and self.headers["X-Vault-Request"] == "true"
                good = good and self.headers["X-Vault-Namespace"] == namespace
                status, text = answers.get(self.path, (404, ABSENT)) if good else (403, DENIED)
                if text == "slow":
                    closing.wait(30)
                self.send_response(status)
                self.send_header("Cache-Control", "no-store")
                self.send_header("Content-Type", "application/json")
                if status == 307:
                    self.send_header("Location", "http://127.0.0.1:9/v1/stolen")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
