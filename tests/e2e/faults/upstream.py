"""A scripted bad upstream: OpenAI's wire, and every way of getting it wrong.

Each fault listens on a port of its own, in a thread of its own event loop, and counts the attempts and the open
connections that it sees. ``plays.FAULTS`` names what is done with a request once it has been read; the faults of the
way there (refused, reset before a word, a name that does not resolve, ...) are made by ``BadUpstream.place``.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading

from tests.e2e.faults.asked import Asked, Place, reset
from tests.e2e.faults.plays import FAULTS, KEEPING, Play, later

WAIT_S = 10.0


class BadUpstream:
    """Places for faults, all in one thread. Used as a context manager."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._places: list[Place] = []
        self._servers: list[asyncio.Server] = []
        self._talks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> BadUpstream:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(WAIT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT_S)
        self._loop.close()
        for place in self._places:
            for held in place.sockets:
                held.close()

    @property
    def open(self) -> int:
        """Connections that the upstream still has."""
        return sum(place.open for place in self._places)

    def place(self, fault: str, tls: ssl.SSLContext | None = None) -> Place:
        """A port where ``fault`` happens to every request; with ``tls``, behind a certificate."""
        place = self._made(fault, tls)
        self._places.append(place)
        return place

    def _made(self, fault: str, tls: ssl.SSLContext | None) -> Place:
        match fault:
            case "no such name":
                return Place("http://penstock-bad-upstream.invalid/v1", attempts=None)
            case "refused":
                held = _bound()
                return Place(_url(held), attempts=None, sockets=[held])
            case "no connection":
                return _full()
            case "reset before the request is read":
                return self._serving(None, None)
            case _:
                return self._serving(FAULTS[fault], tls)

    def _serving(self, play: Play | None, tls: ssl.SSLContext | None) -> Place:
        held = _bound()
        place = Place(_url(held, "https" if tls else "http"))
        serving = self._serve(held, place, play, tls)
        asyncio.run_coroutine_threadsafe(serving, self._loop).result(WAIT_S)
        return place

    async def _serve(self, held: socket.socket, place: Place, play: Play | None, tls: ssl.SSLContext | None) -> None:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._talks.add(task)
            place.open += 1
            try:
                with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                    await _talk(reader, writer, place, play)
            finally:
                place.open -= 1
                self._talks.discard(task)
                writer.close()

        self._servers.append(await asyncio.start_server(talk, sock=held, ssl=tls))

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        for task in list(self._talks):
            task.cancel()
        if self._talks:
            await asyncio.wait(self._talks)


async def _talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, place: Place, play: Play | None) -> None:
    if play is None:
        place.attempts = (place.attempts or 0) + 1
        await later()
        reset(writer)
        return
    keeps = True
    while keeps:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
        place.attempts = (place.attempts or 0) + 1
        await play(Asked(place, reader, writer, await reader.readexactly(length)))
        keeps = play in KEEPING


def _bound() -> socket.socket:
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    return held


def _url(held: socket.socket, scheme: str = "http") -> str:
    return f"{scheme}://127.0.0.1:{held.getsockname()[1]}/v1"


def _full() -> Place:
    """A listener whose queue is full: the kernel drops whoever knocks, and nobody hears of it."""
    held = _bound()
    held.listen(0)
    waiting = []
    for _ in range(4):
        knocking = socket.socket()
        knocking.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            knocking.connect(held.getsockname())
        waiting.append(knocking)
    return Place(_url(held), attempts=None, sockets=[held, *waiting])
