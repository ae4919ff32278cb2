"""HTTP spoken by hand, for requests that no client library would send."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.e2e.running import Penstock

REPLY_S = 30.0
CHUNK = 1 << 16


@dataclass(frozen=True)
class Reply:
    """``status`` 0: the connection was closed without an answer."""

    status: int = 0
    headers: str = ""
    body: bytes = b""

    def error(self) -> dict[str, str | None]:
        """The ``error`` object of OpenAI's shape, which the body must be."""
        found = json.loads(self.body)["error"]
        assert set(found) >= {"message", "type", "param", "code"}
        return dict(found)


def request(
    penstock: Penstock,
    body: bytes = b"",
    *,
    method: str = "POST",
    path: str = "/v1/chat/completions",
    key: str | None = "",
    headers: Iterable[str] = (),
    length: int | None = None,
) -> bytes:
    """One request in bytes. ``key`` empty: the admin key; None: no key at all. ``length`` is what it claims to hold."""
    lines = [f"{method} {path} HTTP/1.1", "host: penstock", "content-type: application/json", "connection: close"]
    lines.append(f"content-length: {len(body) if length is None else length}")
    if key is not None:
        lines.append(f"authorization: Bearer {key or penstock.key}")
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1") + body


def connect(penstock: Penstock) -> socket.socket:
    address = urlsplit(penstock.url)
    assert address.hostname is not None
    return socket.create_connection((address.hostname, address.port or 80), timeout=REPLY_S)


def exchange(penstock: Penstock, *pieces: bytes, hang_up: bool = False) -> Reply:
    """Sends ``pieces`` while it reads what comes back, until the server closes. ``hang_up``: then says no more."""
    with connect(penstock) as peer:
        sender = threading.Thread(target=_send, args=(peer, pieces, hang_up))
        sender.start()
        try:
            return parsed(_read(peer))
        finally:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
            sender.join(REPLY_S)


def _send(peer: socket.socket, pieces: Iterable[bytes], hang_up: bool) -> None:
    with contextlib.suppress(OSError):
        for piece in pieces:
            peer.sendall(piece)
        if hang_up:
            peer.shutdown(socket.SHUT_WR)


def _read(peer: socket.socket) -> bytes:
    read = b""
    deadline = time.monotonic() + REPLY_S
    while time.monotonic() < deadline:
        try:
            piece = peer.recv(CHUNK)
        except ConnectionError:
            return read
        if not piece or _complete(read := read + piece):
            return read
    raise AssertionError(f"no end of the reply within {REPLY_S} s: {read[:500]!r}")


def _complete(read: bytes) -> bool:
    head, end, body = read.partition(b"\r\n\r\n")
    lengths = [line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return bool(end) and bool(lengths) and len(body) >= int(lengths[0])


def parsed(read: bytes) -> Reply:
    head, _, body = read.partition(b"\r\n\r\n")
    first, _, headers = head.decode("latin-1").partition("\r\n")
    parts = first.split(" ", 2)
    if len(parts) < 2 or not parts[0].startswith("HTTP/"):
        return Reply(body=read)
    if "transfer-encoding: chunked" in headers.lower():
        body = _unchunked(body)
    return Reply(int(parts[1]), headers.lower(), body)


def _unchunked(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size or b"0", 16)
        whole, body = whole + body[:length], body[length + 2 :]
    return whole
