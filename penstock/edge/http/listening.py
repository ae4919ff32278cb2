"""What all connections of one worker share: the application, their bounds, and the one timer that watches them."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Protocol

import msgspec

from penstock.core.metrics import Meter, Sample
from penstock.edge.http.config import ServerSettings
from penstock.edge.http.cors import Cors
from penstock.edge.http.exchange import Exchange
from penstock.edge.http.forwarded import Proxies
from penstock.edge.http.metrics import CONNECTIONS, CUT
from penstock.edge.http.websocket import WebSocketSide

HIGH_WATER = 64 << 10
"""Bytes that may wait for a client before who sends more waits too."""
FRESH_S = 1.0
"""Seconds for which a connection may have its first request on the way."""

_LAST_WORDS_S = 1.0
_CANCELLED_WITHIN_S = 5.0
_LEAST_WORDS_S = 0.1
_LOOK_EVERY_S = 0.05
# Where Linux's struct tcp_info has tcpi_bytes_acked.
_ACKED_AT = 120


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long a client may keep a connection waiting, in seconds; each is found out up to ``sweep_s`` late.

    ``head_s``: from a connection's begin or a request's first byte to the end of its headers. ``body_s``: between two
    pieces of a body. ``idle_s``: between two requests. ``write_s``: without taking any of what it was sent.
    ``linger_s``: to read a refusal while what it still sends is thrown away. ``heartbeat_s``: the silence in a stream
    after which a comment is sent.
    """

    head_s: float = 30.0
    body_s: float = 30.0
    idle_s: float = 75.0
    write_s: float = 30.0
    linger_s: float = 1.0
    heartbeat_s: float = 15.0
    sweep_s: float = 1.0


class Application(Protocol):
    """What answers exchanges."""

    async def answer(self, exchange: Exchange) -> None:
        """Answers one, then says that it is over. Raises nothing."""


class Connection(Protocol):
    """One client connection, as those see it who watch over all of them."""

    def look(self, now: float) -> None:
        """Once a sweep: lets go of a client that has kept it waiting for too long; ``now`` is monotonic."""

    def retire(self) -> None:
        """Takes no more requests: closes once what has begun is answered."""

    def stop(self) -> None:
        """Breaks off what runs, which tells its client why, then closes."""

    def abort(self) -> None:
        """Closes at once."""


class Listening:
    """``open`` are the HTTP connections, ``opening`` how many are not yet open. ``closing``: replies tell their
    clients that the connection ends with them. ``date`` is now, for a header."""

    def __init__(
        self,
        app: Application,
        *,
        settings: ServerSettings,
        patience: Patience,
        meter: Meter,
        sockets: WebSocketSide,
    ) -> None:
        self.app = app
        self.loop = asyncio.get_running_loop()
        self.patience = patience
        self.meter = meter
        self.sockets = sockets
        self.max_connections = settings.max_connections
        self.proxies = Proxies(settings.trusted_proxies)
        self._cors = None if settings.cors is None else Cors(settings.cors.origins, settings.cors.max_age_s)
        self.open: set[Connection] = set()
        self.opening = 0
        self._exchanges = 0
        self.closing = False
        self.date = b""
        self._sweep()

    @property
    def connections(self) -> int:
        """Client connections, WebSockets and those that are not yet open among them."""
        return len(self.open) + self.opening + self.sockets.sockets

    @property
    def exchanges(self) -> int:
        """Requests in progress, those over WebSockets among them."""
        return self._exchanges + self.sockets.requests

    def begin(self, exchange: Exchange) -> None:
        """Has an exchange answered, by a task of its own; ``ended`` is to be called when it is over."""
        self._exchanges += 1
        if self._cors is not None:
            exchange.beside = self._cors.beside(exchange.method, exchange.headers)
        exchange.task = self.loop.create_task(self.app.answer(exchange))

    def ended(self) -> None:
        self._exchanges -= 1

    def cut(self, reason: str) -> None:
        """Counts a connection that was let go of because its client kept it waiting."""
        self.meter.record(Sample(CUT, 1.0, (reason,)))

    async def finish(self, limit_s: float) -> None:
        """Returns when all requests have ended and all connections are closed. What still runs one second before
        ``limit_s`` is broken off and told so; what is still open then is closed."""
        ends = time.monotonic() + limit_s
        await self._emptied(limit_s - _LAST_WORDS_S, self._retire, lambda: self.opening)
        await self._stop(max(0.0, ends - time.monotonic()))

    async def aclose(self) -> None:
        """Breaks off what runs, closes everything, and stops watching."""
        await self._stop(0.0)
        self._timer.cancel()

    def _retire(self) -> None:
        for connection in list(self.open):
            connection.retire()

    async def _stop(self, last_words_s: float) -> None:
        for connection in list(self.open):
            connection.stop()
        sockets = asyncio.ensure_future(self.sockets.stop())
        await self._emptied(max(last_words_s, _LEAST_WORDS_S))
        for connection in list(self.open):
            connection.abort()
        await self._emptied(_CANCELLED_WITHIN_S)
        await sockets

    async def _emptied(
        self, within_s: float, meanwhile: Callable[[], None] = lambda: None, more: Callable[[], int] = lambda: 0
    ) -> None:
        """Returns once nothing is open, nor anything ``more``, or after ``within_s``."""
        ends = time.monotonic() + within_s
        while True:
            meanwhile()
            left = ends - time.monotonic()
            if left <= 0 or not (self.open or self.sockets.sockets or self.exchanges or more()):
                return
            await asyncio.sleep(min(_LOOK_EVERY_S, left))

    def _sweep(self) -> None:
        self._timer = self.loop.call_later(self.patience.sweep_s, self._sweep)
        self.date = formatdate(usegmt=True).encode("ascii")
        now = time.monotonic()
        for connection in list(self.open):
            connection.look(now)
        self.meter.record(Sample(CONNECTIONS, float(self.connections)))


class Taking:
    """Whether a client takes what it is sent; asked at every sweep, so that sending costs nothing."""

    __slots__ = ("_since", "_taken", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._taken = -1
        self._since = 0.0

    def stalled(self, written: int, now: float, within_s: float) -> bool:
        """Whether bytes have been waiting for ``within_s`` seconds without one being taken. ``written`` are those of
        the connection so far."""
        waiting = self._transport.get_write_buffer_size()
        if not waiting:
            self._taken = -1
            return False
        taken = self._acknowledged()
        if taken is None:
            taken = written - waiting
        if self._taken == -1 or taken > self._taken:
            self._taken, self._since = taken, now
        return now - self._since >= within_s

    def _acknowledged(self) -> int | None:
        """Bytes that have arrived at the client, TLS's own among them; None where the kernel does not say. It has
        them long after they have left us: a slow client takes of what it holds long before it makes room for ours."""
        sock: socket.socket | None = self._transport.get_extra_info("socket")
        if sock is None or sys.platform != "linux":
            return None
        try:
            told = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED_AT + 8)
            return int(struct.unpack_from("=Q", told, _ACKED_AT)[0])
        except (OSError, struct.error):
            return None
