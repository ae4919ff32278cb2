"""One client connection: uvicorn's, with the bounds it lacks.

The head of a request is bounded in bytes and in time, and a client that does not read is let go; nothing of that
costs a request a timer, one sweep over the connections serves them all.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from penstock.core.errors import BAD_REQUEST, HEADERS_TOO_LARGE, PenstockError, envelope

# Headers that speak of an upgrade; "connection" goes with them, and its "close" is seen to by the client.
_UPGRADE = (b"upgrade", b"connection", b"http2-settings")

# How many requests a client may have sent ahead before its connection is read no further.
_AHEAD = 8

MAX_HEAD_BYTES = 64 << 10
HEAD_WITHIN_S = 30.0
"""Seconds from a request's first byte, or from the connection's begin, to the end of its headers."""
READ_WITHIN_S = 120.0
"""Seconds that a client may leave what was sent to it unread once the buffers are full."""


class Connection(HttpToolsProtocol):
    """``waiting_since`` is the monotonic time since the head of a request is being waited for, or None while there is
    none or it has come; ``blocked_since`` that since when the client takes no more bytes, or None."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.waiting_since: float | None = None
        self.blocked_since: float | None = None
        self._head_bytes = 0
        self._refused = False
        self._upgrading = False
        self._running: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.waiting_since = time.monotonic()
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._tell_running()
        super().connection_lost(exc)

    def let_go(self) -> None:
        """Closes the connection at once; what runs on it is told that its client has gone."""
        self._tell_running()
        self.transport.abort()

    def _tell_running(self) -> None:
        """uvicorn tells the request that came last; with several sent ahead, that is not the one that runs."""
        self.pipeline.clear()
        cycle = self._running
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Reads the request again without its wish to speak another protocol, which a server is free to ignore.

        Java's HTTP client wishes for HTTP/2 on every plain connection; the parser would give its body up for lost.
        """
        if not self._upgrading:
            self.send_400_response("This server is no proxy.")
            return
        self._upgrading = False
        lines = [self.parser.get_method() + b" " + self.url + b" HTTP/1.1"]
        lines += [name + b": " + value for name, value in self.headers if name not in _UPGRADE]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.data_received(b"\r\n".join([*lines, b"", b""]) + rest)

    def on_message_begin(self) -> None:
        self._head_bytes = 0
        self.waiting_since = time.monotonic()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self.waiting_since = None
        if self.parser.should_upgrade():
            self._upgrading = any(name == b"upgrade" for name, _ in self.headers)
            return
        super().on_headers_complete()
        if self.pipeline and len(self.pipeline) <= _AHEAD:
            # A connection that is not read does not tell that its client has gone.
            self.flow.resume_reading()

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def pause_writing(self) -> None:
        self.blocked_since = time.monotonic()
        super().pause_writing()

    def resume_writing(self) -> None:
        self.blocked_since = None
        super().resume_writing()

    def overdue(self, now: float) -> bool:
        """Whether this client has kept us waiting for longer than any should; ``now`` is monotonic."""
        waiting, blocked = self.waiting_since, self.blocked_since
        return (waiting is not None and now - waiting > HEAD_WITHIN_S) or (
            blocked is not None and now - blocked > READ_WITHIN_S
        )

    def send_400_response(self, msg: str) -> None:
        self._refused = True
        running = self._running
        if (
            running is not None
            and not running.response_complete
            and (running.response_started or not running.more_body)
        ):
            # What is wrong came after a good request: that one is answered, and nothing more.
            running.keep_alive = False
            self.pipeline.clear()
            return
        if self._head_bytes > MAX_HEAD_BYTES:
            error = PenstockError(
                HEADERS_TOO_LARGE,
                f"The request's line and headers are longer than {MAX_HEAD_BYTES} bytes. Send fewer or shorter ones.",
            )
            line = b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
        else:
            error = PenstockError(BAD_REQUEST, f"{msg} Send HTTP/1.1.")
            line = b"HTTP/1.1 400 Bad Request\r\n"
        body = envelope(error)
        self.transport.write(
            line
            + b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
            + body
        )
        self._tell_running()
        self.transport.close()

    def _count(self, more: int) -> None:
        self._head_bytes += more
        if self._head_bytes > MAX_HEAD_BYTES:
            raise ValueError("too much before the body")
