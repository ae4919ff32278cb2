"""WebSocket: several requests at once on one socket, each answered through the same gateway as over HTTP.

This file is what a listener needs. Once per worker it makes a ``WebSocketSide``; when the head of a
``GET /v1/websocket`` with ``Upgrade: websocket`` has been read, it hands the transport over and never touches it
again::

    connection = WebSocketConnection(side, transport, head, client="203.0.113.7")
    transport.set_protocol(connection)
    connection.begin(rest)

``head`` is the request line and headers as bytes, blank line included; ``rest`` what has been read beyond it; both
calls stand in one callback. Nothing that the listener wrote may still be unsent, reading may not be paused, and its
own timers for this connection must be gone. Everything else is the connection's business: a handshake that is
refused, the access log, metrics. To stop: ``side.drain()`` when no new requests are taken, ``await side.stop()`` when
those in progress have had their time. The protocol is told in ``docs/websocket.md``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import Protocol

import msgspec

from penstock.core.errors import BAD_REQUEST, PenstockError
from penstock.core.metrics import Meter
from penstock.edge.http.exchange import Exchange
from penstock.gateway.chat import Gateway

_log = logging.getLogger("penstock.edge")

PATH = "/v1/websocket"

_STOPPED_WITHIN_S = 5.0


class SocketTimes(msgspec.Struct, frozen=True, kw_only=True):
    """In seconds. A socket is pinged every ``ping_every_s``; one from which nothing at all has come
    ``pong_within_s`` (not longer than ``ping_every_s``) after a ping is closed. A client that takes no byte for
    ``stalled_s`` while more than its share waits for it is cut off. ``close_within_s`` bounds every closing."""

    ping_every_s: float = 20.0
    pong_within_s: float = 20.0
    stalled_s: float = 30.0
    close_within_s: float = 2.0


class Open(Protocol):
    """A connection, as its side sees it."""

    closed: asyncio.Future[None]
    """Done once the transport is gone and every request of the socket has ended."""

    @property
    def running(self) -> int:
        """Requests in progress."""

    def drain(self) -> None:
        """Takes no new requests; closes once there are none."""

    def stop(self) -> None:
        """Ends every request, telling it so, and closes."""


class WebSocketSide:
    """What all sockets of one worker share. ``origins`` are those of ``server.cors``, ``"*"`` for any; the gateway's
    own host is always one. ``log_line`` takes one ``AccessLine`` per request and per socket, or is None; it must
    neither block nor raise."""

    def __init__(
        self,
        gateway: Gateway,
        *,
        meter: Meter,
        max_body_bytes: int,
        log_line: Callable[[object], None] | None = None,
        origins: Collection[str] = (),
        times: SocketTimes = SocketTimes(),  # noqa: B008 - frozen
    ) -> None:
        self.gateway = gateway
        self.meter = meter
        self.max_body_bytes = max_body_bytes
        self.log_line = log_line
        self.origins = frozenset(origin.lower() for origin in origins)
        self.times = times
        self.draining = False
        self._open: set[Open] = set()

    @property
    def sockets(self) -> int:
        """Sockets that are open, or have requests that have not ended."""
        return len(self._open)

    @property
    def requests(self) -> int:
        """Requests in progress on all of them."""
        return sum(connection.running for connection in self._open)

    def opened(self, connection: Open) -> None:
        """Keeps a connection until it has closed."""
        self._open.add(connection)
        connection.closed.add_done_callback(lambda _: self._open.discard(connection))

    def drain(self) -> None:
        """From now on new sockets and new requests are refused; a socket closes (1001) once nothing runs on it."""
        self.draining = True
        for connection in list(self._open):
            connection.drain()

    async def stop(self) -> None:
        """Ends what still runs with an error, closes every socket (1001), and returns when all have gone."""
        self.drain()
        closing = [connection.closed for connection in self._open]
        for connection in list(self._open):
            connection.stop()
        if closing:
            _, late = await asyncio.wait(closing, timeout=self.times.close_within_s + _STOPPED_WITHIN_S)
            if late:
                _log.error("%d WebSockets had requests that did not end", len(late))


async def not_upgraded(_: Exchange, __: str) -> None:
    """The endpoint for a GET of the path that asks for no WebSocket."""
    raise PenstockError(
        BAD_REQUEST,
        f"'{PATH}' speaks WebSocket. Open it with a WebSocket client, as 'Upgrade: websocket' over HTTP/1.1.",
    )
