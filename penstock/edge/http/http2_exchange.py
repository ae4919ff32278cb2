"""The exchange that a stream of an HTTP/2 connection carries; what its client does not take yet waits in it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol
from urllib.parse import unquote

import msgspec

from penstock.core.errors import BAD_REQUEST, PenstockError
from penstock.edge.http.exchange import Exchange, Headers
from penstock.edge.http.http1_requests import LISTS, MAX_HEAD_BYTES, too_long


class Carrier(Protocol):
    """What the exchange needs of its connection."""

    @property
    def date(self) -> bytes: ...

    def wanted(self, exchange: Http2Exchange) -> None:
        """The rest of its body is waited for."""

    def push(self, exchange: Http2Exchange) -> None:
        """It has something to send; into the void once the client is gone."""

    def over(self, exchange: Http2Exchange) -> None:
        """Nothing more is done for it."""


class Head(msgspec.Struct, frozen=True):
    """What a stream begins with. ``path`` is decoded, without the ``query``, which is not."""

    method: str
    path: str
    query: bytes
    headers: dict[bytes, bytes]


class Http2Exchange(Exchange):
    """``head`` and ``queue`` wait to be sent; ``sealed``: nothing follows them, ``ended``: all has been sent.
    ``held`` are bytes of the body, as flow control counts them, for which the client has not been given new room.
    ``heard_at`` and ``moved_at`` are when the client last sent some of its body, and took some of what waits.
    ``done``: its task has ended."""

    __slots__ = (
        "_carrier",
        "done",
        "ended",
        "expects",
        "head",
        "heard_at",
        "held",
        "id",
        "moved_at",
        "queue",
        "sealed",
    )

    def __init__(self, carrier: Carrier, id: int, head: Head, client: str) -> None:
        super().__init__(head.method, head.path, head.query, head.headers, client)
        self._carrier = carrier
        self.id = id
        self.head: Headers | None = None
        self.queue = bytearray()
        self.sealed = self.ended = self.done = False
        self.held = 0
        self.expects = head.headers.get(b"expect", b"").lower() == b"100-continue"
        self.heard_at = self.moved_at = self.arrived

    @property
    def waiting(self) -> bool:
        """Whether there is something to send."""
        return self.head is not None or bool(self.queue) or (self.sealed and not self.ended)

    def drop(self) -> None:
        """What waits is sent to nobody."""
        self.head = None
        self.queue.clear()
        self.ended = True

    def _wanted(self) -> None:
        self._carrier.wanted(self)

    def _head(self, status: int, headers: Headers) -> None:
        self.head = [(b":status", b"%d" % status), (b"date", self._carrier.date), *headers]

    def _piece(self, data: bytes, more: bool) -> None:
        if not self.queue:
            self.moved_at = self.sent_at
        if self.method != "HEAD":
            self.queue += data
        self.sealed = not more
        self._carrier.push(self)

    def _whole(self, status: int, headers: Headers, body: bytes) -> None:
        self._head(status, headers)
        self._piece(body, more=False)

    def over(self) -> None:
        self._carrier.over(self)


def read(pairs: Iterable[tuple[bytes, bytes]]) -> Head:
    """A stream's headers, which ``h2`` has found sound. Raises ``PenstockError`` (BAD_REQUEST, HEADERS_TOO_LARGE)."""
    headers: dict[bytes, bytes] = {}
    size = 0
    for name, value in pairs:
        size += len(name) + len(value)
        if name in LISTS and name in headers:
            value = headers[name] + b", " + value
        headers[name] = value
    if size > MAX_HEAD_BYTES:
        raise too_long()
    method, target = headers.pop(b":method", b""), headers.pop(b":path", b"")
    authority = headers.pop(b":authority", None)
    headers.pop(b":scheme", None)
    if authority is not None:
        headers[b"host"] = authority
    raw, _, query = target.partition(b"?")
    if not raw.isascii() or not (raw.startswith(b"/") or raw == b"*"):
        raise PenstockError(BAD_REQUEST, "The request's ':path' is no path. Begin it with '/', in ASCII.")
    path = raw.decode("ascii")
    return Head(method.decode("latin-1"), unquote(path) if "%" in path else path, query, headers)
