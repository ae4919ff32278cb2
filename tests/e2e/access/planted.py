"""Secrets that can be told apart from everything else, and whoever looks for them."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

MARK = "pl4ntedS3cr3t"


def marked(name: str) -> str:
    """A secret that says where it was planted."""
    return f"{MARK}_{name}_q9Zx7"


class Search:
    """Looks for secrets, by their names, as they are and as they may be written: in base64, hexadecimal, a URL."""

    def __init__(self, secrets: Mapping[str, str | bytes]) -> None:
        self._forms = {
            name: tuple(_forms(secret if isinstance(secret, bytes) else secret.encode()))
            for name, secret in secrets.items()
        }
        self.looked_at = 0
        self.found: list[str] = []

    def __call__(self, where: str, data: bytes | str, but: Iterable[str] = ()) -> None:
        """Notes every secret in ``data``, those named in ``but`` excepted."""
        raw = data.encode() if isinstance(data, str) else data
        self.looked_at += len(raw)
        for name, forms in self._forms.items():
            for form in forms:
                if name not in but and (at := raw.find(form)) >= 0:
                    self.found.append(f"{name} in {where}: {raw[max(0, at - 80) : at + len(form) + 20]!r}")
                    break

    def folder(self, folder: Path, but: Mapping[str, Iterable[str]]) -> int:
        """In all files below; ``but`` has by file name which secrets that one is there to keep. How many files."""
        count = 0
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                count += 1
                self(f"the file {file.relative_to(folder)}", file.read_bytes(), but.get(file.name, ()))
        return count


def _forms(secret: bytes) -> Iterator[bytes]:
    yield secret
    yield secret.hex().encode()
    yield quote(secret, safe="").encode()
    # Base64 of a text that the secret is somewhere in: without the ends, which depend on what is around it.
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + secret)
        inner = encoded[4 if shift else 0 : len(encoded) // 4 * 4 - 4]
        yield inner
        yield inner.translate(bytes.maketrans(b"+/", b"-_"))


class _Echoing(ThreadingHTTPServer):
    daemon_threads = True
    asked: list[str]


@contextmanager
def echoing() -> Iterator[_Echoing]:
    """An upstream that says everything that it was sent in its refusal. ``/STATUS/...`` is how it answers; with 200 it
    answers as it should."""

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            server.asked.append(str(self.headers))
            status = int(self.path.split("/")[1])
            body: object = {"error": {"message": f"Incorrect API key provided: {self.headers}", "code": None}}
            if status == 200:
                message = {"role": "assistant", "content": "Yes."}
                usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                body = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}  # fmt: skip
            raw = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    server = _Echoing(("127.0.0.1", 0), Answering)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
