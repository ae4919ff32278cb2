"""The real HTTP/1 connection on a transport in memory: what a client sends, how it is cut, when it reads, what time
it is and what comes back are all the test's. The application behind it is scripted by the request's path."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from penstock.core.errors import PenstockError
from penstock.edge.http.config import ServerSettings
from penstock.edge.http.exchange import ClientGoneError, Exchange
from penstock.edge.http.http1 import Http1Connection
from penstock.edge.http.listening import Listening, Patience
from penstock.edge.http.websocket import WebSocketSide
from penstock.gateway.chat import Gateway
from tests.gateway.doubles import Samples

LIMIT = 300_000
"""Bytes of a body that the application reads."""
_AT_ONCE = 256_000
_TICKS = 10_000
_FOREVER_S = 1_000_000.0


class Wire(asyncio.Transport):
    """A connection in memory, which keeps to what uvloop's does. ``reads``: the client takes what it is sent at once,
    else it waits in the buffer until it is ``taken``."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 4711)})
        self._loop = asyncio.get_running_loop()
        self._protocol: asyncio.Protocol
        self.came = b""
        self.delivered = self.moves = 0
        self.reads = True
        self.closed = self.reset = self.paused = self.ended = False
        self._coming: list[bytes] = []
        self._closing = self._full = False
        self._waiting = b""
        self._high = 64 << 10

    # -- the client --------------------------------------------------------------------------------------------------

    def sends(self, data: bytes) -> None:
        self._coming += [data[at : at + _AT_ONCE] for at in range(0, len(data), _AT_ONCE)]
        self._deliver()

    def leaves(self) -> None:
        """Closes its end, which the server finds out when it reads."""
        if not self._closing and not self.paused:
            assert not self._protocol.eof_received()
            self.close()

    def resets(self) -> None:
        """The server finds out at once."""
        self._coming.clear()
        self.abort()

    def takes(self, count: int) -> None:
        """Reads as much of what waits for it."""
        self.came, self._waiting = self.came + self._waiting[:count], self._waiting[count:]
        if self._full and len(self._waiting) <= self._high // 4:
            self._full = False
            self._protocol.resume_writing()
        if self._closing and not self._waiting:
            self._loop.call_soon(self._gone)

    # -- the transport -----------------------------------------------------------------------------------------------

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = cast(asyncio.Protocol, protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.ended, "nothing is written after the end"
        if self._closing:
            return
        self.moves += 1
        self._waiting += bytes(data)
        if self.reads:
            self.takes(len(self._waiting))
        elif not self._full and len(self._waiting) > self._high:
            self._full = True
            self._protocol.pause_writing()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = high or 0

    def get_write_buffer_size(self) -> int:
        return len(self._waiting)

    def write_eof(self) -> None:
        self.ended = True

    def can_write_eof(self) -> bool:
        return True

    def pause_reading(self) -> None:
        self.paused = True

    def is_reading(self) -> bool:
        return not self.paused

    def resume_reading(self) -> None:
        self.paused = False
        self._loop.call_soon(self._deliver)

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            if not self._waiting:
                self._loop.call_soon(self._gone)

    def abort(self) -> None:
        self._closing = self.reset = True
        self._waiting = b""
        self._loop.call_soon(self._gone)

    def _deliver(self) -> None:
        while self._coming and not self.paused and not self._closing:
            self.moves += 1
            data = self._coming.pop(0)
            self.delivered += len(data)
            self._protocol.data_received(data)

    def _gone(self) -> None:
        if not self.closed:
            self.closed = True
            self._protocol.connection_lost(None)


class Scripted:
    """``/early`` answers without a look at the body, ``/wait`` once ``go`` is set, ``/stream`` in pieces, ``/cut`` breaks
    its stream off, anything else whole; in JSON, what was asked. ``asked`` are the exchanges in the order in which
    they began."""

    def __init__(self) -> None:
        self.asked: list[Exchange] = []
        self.running = 0
        self.go = asyncio.Event()

    async def answer(self, exchange: Exchange) -> None:
        self.asked.append(exchange)
        self.running += 1
        try:
            exchange.begun = True
            if exchange.gone:
                raise ClientGoneError
            await self._answer(exchange)
        except (ClientGoneError, asyncio.CancelledError):
            pass
        except PenstockError as error:
            exchange.fail(error)
        finally:
            self.running -= 1
            exchange.over()

    async def _answer(self, exchange: Exchange) -> None:
        if exchange.path == "/early":
            exchange.reply(200, b'"early"')
            return
        if exchange.path == "/wait":
            await self.go.wait()
        said = described(exchange.method, exchange.path, exchange.headers, await exchange.body(LIMIT))
        if exchange.path not in ("/stream", "/cut"):
            exchange.reply(200, said)
            return
        exchange.start(200, [(b"content-type", b"text/plain")])
        for at in range(0, len(said), 100):
            exchange.write(said[at : at + 100])
            await asyncio.sleep(0)
            await exchange.room()
        if exchange.path == "/stream":
            exchange.write(b"", more=False)


def described(method: str, path: str, headers: dict[bytes, bytes], body: bytes) -> bytes:
    """What the application says of a request that it has read."""
    plain = {name.decode(): value.decode("latin-1") for name, value in sorted(headers.items())}
    return json.dumps([method, path, plain, body.decode("latin-1")]).encode()


class Room:
    """Connections of one worker."""

    def __init__(self, patience: Patience) -> None:
        self.app = Scripted()
        samples = Samples()
        gateway = cast(Gateway, None)  # asked for nothing: no socket opens here
        sockets = WebSocketSide(gateway, meter=samples, max_body_bytes=LIMIT)
        self.listening = Listening(
            self.app, settings=ServerSettings(), patience=patience, meter=samples, sockets=sockets
        )
        self.listening.date = b"now"

    def connected(self) -> Wire:
        wire = Wire()
        connection = Http1Connection(self.listening)
        wire.set_protocol(connection)
        connection.connection_made(wire)
        return wire

    async def settled(self, wire: Wire) -> None:
        """Returns once nothing moves any more."""
        still, seen = 0, -1
        for _ in range(_TICKS):
            await asyncio.sleep(0)
            now = wire.moves + len(self.app.asked) - self.app.running + wire.closed
            still, seen = (still + 1 if now == seen else 0), now
            if still == 4:
                return
        raise AssertionError("it never comes to rest")

    async def later(self, wire: Wire, seconds: float) -> None:
        """As if so much time had gone by."""
        for connection in list(self.listening.open):
            connection.look(time.monotonic() + seconds)
        await self.settled(wire)

    def empty(self) -> bool:
        """Whether nothing is left: no connection, no exchange, no task."""
        return not self.listening.connections and not self.listening.exchanges and not self.app.running


@asynccontextmanager
async def room(patience: Patience = Patience()) -> AsyncIterator[Room]:  # noqa: B008 - frozen
    """Checks at the end that no task outlives its connection."""
    before = asyncio.all_tasks()
    here = Room(patience)
    try:
        yield here
    finally:
        await here.listening.aclose()
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, left


async def told(here: Room, wire: Wire, pieces: list[bytes]) -> None:
    """Sends pieces; an empty one is a pause, in which the loop turns."""
    for piece in pieces:
        if piece:
            wire.sends(piece)
        else:
            await here.settled(wire)
    await here.settled(wire)


async def let_go(here: Room, wire: Wire) -> None:
    """Whatever the client has done or left undone: in the end it is let go of, and nothing is left of it."""
    for _ in range(4):
        if not wire.closed:
            await here.later(wire, _FOREVER_S)
    assert wire.closed
    assert here.empty()
