"""The exchange that an HTTP/1 connection carries: its reply as bytes, a whole one in a single write."""

from __future__ import annotations

from http import HTTPStatus
from typing import Protocol

from penstock.edge.http.exchange import Exchange, Headers

_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_CLOSE = (b"connection", b"close")
# A body this small is cheaper to swallow than its connection is to lose.
_SWALLOWED = 64 << 10


class Carrier(Protocol):
    """What the exchange needs of its connection."""

    @property
    def closing(self) -> bool:
        """Whether replies are to say that the connection ends with them."""

    @property
    def date(self) -> bytes: ...

    def send(self, data: bytes) -> None:
        """Into the void once the connection is gone."""

    def flow(self) -> None:
        """What is waited for has changed."""

    def over(self) -> None:
        """The exchange that runs is over."""


class Http1Exchange(Exchange):
    """``keep_alive``: the connection goes on after the reply, as far as the client and the reply have it. ``minor``
    is that of the request's HTTP version, 0 or 1."""

    __slots__ = ("_carrier", "_chunked", "_expects", "_minor", "_pending", "keep_alive")

    def __init__(
        self,
        carrier: Carrier,
        method: str,
        path: str,
        query: bytes,
        headers: dict[bytes, bytes],
        client: str,
        *,
        keep_alive: bool,
        minor: int,
    ) -> None:
        super().__init__(method, path, query, headers, client)
        self._carrier = carrier
        self.keep_alive = keep_alive
        self._minor = minor
        self._expects = minor > 0 and headers.get(b"expect", b"").lower() == b"100-continue"
        self._chunked = False
        self._pending = b""

    def _wanted(self) -> None:
        if self._expects and not self.size:
            self._carrier.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._expects = False
        self._carrier.flow()

    def _head(self, status: int, headers: Headers) -> None:
        self._chunked = self._minor > 0
        if self._chunked:
            headers.append((b"transfer-encoding", b"chunked"))
        else:
            self.keep_alive = False
        self._pending = self._rendered(status, headers)

    def _piece(self, data: bytes, more: bool) -> None:
        out, self._pending = self._pending, b""
        if self.method != "HEAD":
            if not self._chunked:
                out += data
            elif more:
                out += b"%x\r\n%b\r\n" % (len(data), data)
            else:
                out += b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if data else b"0\r\n\r\n"
        self._carrier.send(out)

    def _whole(self, status: int, headers: Headers, body: bytes) -> None:
        head = self._rendered(status, headers)
        self._carrier.send(head if self.method == "HEAD" else head + body)

    def over(self) -> None:
        self._carrier.over()

    def _rendered(self, status: int, headers: Headers) -> bytes:
        if self._carrier.closing or not (self.received or self._swallows()):
            self.keep_alive = False
        if not self.keep_alive:
            headers.append(_CLOSE)
        elif not self._minor:
            headers.append((b"connection", b"keep-alive"))
        lines = [_LINES[status], b"date: ", self._carrier.date, b"\r\n"]
        for name, value in headers:
            lines += (name, b": ", value, b"\r\n")
        lines.append(b"\r\n")
        return b"".join(lines)

    def _swallows(self) -> bool:
        """Whether what is left of the body may be read and thrown away: it is short, and it is sure to come."""
        declared = self.headers.get(b"content-length", b"")
        return not self._expects and declared.isdigit() and int(declared) <= _SWALLOWED
