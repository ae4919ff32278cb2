"""A connection before it is known what it speaks: HTTP/2 by ALPN or by its preface, else HTTP/1."""

from __future__ import annotations

import asyncio
import time

from penstock.edge.http.http1 import Http1Connection
from penstock.edge.http.http2 import Http2Connection
from penstock.edge.http.listening import FRESH_S, Listening

# RFC 9113, section 3.4. No method of HTTP/1 is called PRI.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Opening(asyncio.Protocol):
    """Hands its transport over as soon as it knows."""

    def __init__(self, listening: Listening) -> None:
        self._listening = listening
        self._transport: asyncio.Transport
        self._read = b""
        self._opened = time.monotonic()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._listening.open.add(self)
        ssl_object = transport.get_extra_info("ssl_object")
        agreed = None if ssl_object is None else ssl_object.selected_alpn_protocol()
        if agreed == "h2":
            self._hand_over(Http2Connection(self._listening))
        elif agreed is not None:
            self._hand_over(Http1Connection(self._listening))

    def data_received(self, data: bytes) -> None:
        self._read += data
        if self._read.startswith(_PREFACE):
            self._hand_over(Http2Connection(self._listening))
        elif not _PREFACE.startswith(self._read):
            self._hand_over(Http1Connection(self._listening))

    def connection_lost(self, exc: Exception | None) -> None:
        self._listening.open.discard(self)

    def look(self, now: float) -> None:
        if now - self._opened >= self._listening.patience.head_s:
            self._listening.cut("head")
            self.abort()

    def retire(self) -> None:
        """What has just been opened may have its first request on the way."""
        if self._read == b"" and time.monotonic() - self._opened >= FRESH_S:
            self._transport.close()

    def stop(self) -> None:
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    def _hand_over(self, connection: Http1Connection | Http2Connection) -> None:
        self._listening.open.discard(self)
        self._transport.set_protocol(connection)
        connection.connection_made(self._transport)
        if self._read:
            connection.data_received(self._read)
