"""Load at little cost: HTTP/1.1 by a raw protocol and httptools, one request at a time on each connection."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import http.client
import json
import os
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import httptools

PATH = "/v1/chat/completions"
_WORD = b"word "


def body(*, chunks: int = 0, spacing_ms: int = 0) -> bytes:
    """A chat request with a prompt of 200 bytes; with ``chunks``, for a stream of so many from the mock engine."""
    asked: dict[str, object] = {"model": "mock", "messages": [{"role": "user", "content": "x" * 200}]}
    if chunks:
        asked |= {"stream": True, "max_tokens": chunks, "seed": spacing_ms}
    return json.dumps(asked, separators=(",", ":")).encode()


def request(text: bytes, headers: Mapping[str, str]) -> bytes:
    """The bytes of one POST."""
    lines = [f"POST {PATH} HTTP/1.1", "host: 127.0.0.1", "content-type: application/json"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, f"content-length: {len(text)}", "", ""]).encode() + text


def answers(port: int, headers: Mapping[str, str]) -> bool:
    """Whether a gateway answers a chat request with the mock engine's words."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("POST", PATH, body(), {"content-type": "application/json"} | dict(headers))
        reply = connection.getresponse()
        return reply.status == 200 and _WORD in reply.read()
    return False


class Asking(asyncio.Protocol):
    """One connection. ``ask`` sends a request; ``done`` is called when its answer is whole or the connection is lost.

    Times are ``time.perf_counter``'s; the loop's own know only milliseconds. ``words`` are the chunks with text that
    have arrived, ``first_at`` is when the first did.
    """

    def __init__(self, done: Callable[[Asking], None]) -> None:
        self._done = done
        self._busy = False
        self.on_words: Callable[[Asking], None] | None = None
        self.transport: asyncio.Transport | None = None
        self.connected = asyncio.get_running_loop().create_future()

    def ask(self, data: bytes, due: float) -> None:
        """Sends one request that was due at ``due``."""
        assert self.transport is not None
        self._parser = httptools.HttpResponseParser(self)
        self._tail = b""
        self._busy = True
        self.due, self.first_at, self.words, self.good = due, 0.0, 0, False
        self.transport.write(data)

    def leave(self) -> None:
        """Goes away without waiting for the rest; ``done`` is not called."""
        self._busy = False
        assert self.transport is not None
        self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.connected.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self._busy:
            self._busy = False
            self.good = False
            self._done(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            assert self.transport is not None
            self.transport.abort()

    def on_body(self, data: bytes) -> None:
        text = self._tail + data
        if count := text.count(_WORD):
            self.words += count
            if not self.first_at:
                self.first_at = time.perf_counter()
            if self.on_words:
                self.on_words(self)
        self._tail = text[1 - len(_WORD) :]

    def on_message_complete(self) -> None:
        if self._busy:
            self._busy = False
            self.good = self._parser.get_status_code() == 200
            self._done(self)


async def connected(port: int, done: Callable[[Asking], None]) -> Asking:
    """A new connection to a port of this machine. Raises ``OSError``."""
    _, asking = await asyncio.get_running_loop().create_connection(lambda: Asking(done), "127.0.0.1", port)
    return asking


@dataclass
class Latencies:
    """``seconds`` from when each request was due to the end of its answer; ``failed`` is how many had none, or one
    that was not 200."""

    seconds: list[float] = field(default_factory=list)
    failed: int = 0

    def at(self, share: float) -> float:
        """The quantile ``share`` (0 to 1) in seconds."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def open_loop(port: int, data: bytes, rate: float, seconds: float) -> Latencies:
    """Sends ``rate`` requests per second, evenly, whatever becomes of those before.

    A request for which no connection is free gets one more. Latency counts from when a request was due, so a
    gateway that stalls is charged for those that had to wait.
    """
    loop = asyncio.get_running_loop()
    found, free, pending = Latencies(), [], set[asyncio.Future[None]]()
    due_by_count = time.perf_counter()
    sent, total = 0, int(rate * seconds)
    ended = loop.create_future()

    def done(asking: Asking) -> None:
        if asking.good:
            found.seconds.append(time.perf_counter() - asking.due)
            free.append(asking)
        else:
            found.failed += 1
        if len(found.seconds) + found.failed == total and not ended.done():
            ended.set_result(None)

    async def on_new(due: float) -> None:
        (await connected(port, done)).ask(data, due)

    def tick() -> None:
        nonlocal sent
        now = time.perf_counter()
        while sent < total and due_by_count + sent / rate <= now:
            due = due_by_count + sent / rate
            sent += 1
            while free:
                asking = free.pop()
                if asking.transport is not None:
                    asking.ask(data, due)
                    break
            else:
                task = asyncio.ensure_future(on_new(due))
                pending.add(task)
                task.add_done_callback(pending.discard)

    free += [await connected(port, done) for _ in range(8)]
    due_by_count = time.perf_counter()
    with _metronome(1 / rate, tick):
        await asyncio.wait_for(ended, seconds + 30)
    for asking in free:
        if asking.transport is not None:
            asking.leave()
    return found


@dataclass
class Streamed:
    """What became of streams: chunks with text that arrived, streams that did not end well, seconds to each first
    chunk."""

    words: int = 0
    failed: int = 0
    first: Latencies = field(default_factory=Latencies)


async def streams(port: int, data: bytes, count: int, *, over_s: float = 0.0, within_s: float = 120.0) -> Streamed:
    """Asks for ``count`` streams at once, or evenly over ``over_s`` seconds, and reads them all to their end."""
    loop = asyncio.get_running_loop()
    found, ended = Streamed(), loop.create_future()
    over = 0

    def done(asking: Asking) -> None:
        nonlocal over
        over += 1
        found.words += asking.words
        if asking.good and asking.first_at:
            found.first.seconds.append(asking.first_at - asking.due)
        else:
            found.failed += 1
        if over == count:
            ended.set_result(None)

    asked: Sequence[Asking] = [await connected(port, done) for _ in range(count)]
    if over_s:
        waiting = iter(asked)
        began, spacing, sent = time.perf_counter(), over_s / count, 0

        def tick() -> None:
            nonlocal sent
            while sent < count and began + sent * spacing <= time.perf_counter():
                next(waiting).ask(data, began + sent * spacing)
                sent += 1

        with _metronome(spacing, tick):
            await asyncio.wait_for(ended, within_s + over_s)
    else:
        for asking in asked:
            asking.ask(data, time.perf_counter())
        await asyncio.wait_for(ended, within_s)
    for asking in asked:
        if asking.transport is not None:
            asking.leave()
    return found


@contextlib.contextmanager
def _metronome(every_s: float, tick: Callable[[], None]) -> Iterator[None]:
    """Calls ``tick`` every so often, to the microsecond where the loop's own timers know only milliseconds."""
    loop = asyncio.get_running_loop()
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.timerfd_create(1, os.O_NONBLOCK)
    whole, part = divmod(max(int(every_s * 1e9), 1000), 1_000_000_000)
    if fd < 0 or libc.timerfd_settime(fd, 0, struct.pack("4q", whole, part, whole, part), None):
        raise OSError(ctypes.get_errno(), "timerfd")

    def ring() -> None:
        os.read(fd, 8)
        tick()

    loop.add_reader(fd, ring)
    try:
        yield
    finally:
        loop.remove_reader(fd)
        os.close(fd)
