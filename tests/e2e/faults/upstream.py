"""A scripted bad upstream: OpenAI's wire, and every way of getting it wrong.

Each fault listens on a port of its own, in a thread of its own event loop, and counts the attempts and the open
connections that it sees. ``FAULTS`` names what is done with a request once it has been read; the faults of the way
there (refused, reset before a word, a name that does not resolve, ...) are made by ``BadUpstream.place``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field

WAIT_S = 10.0
FLOOD_WORD = 1000
WORDS = ("The", " mill", " turns", ".")
_USAGE = {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}
_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    429: "Too Many Requests",
    500: "Internal Server Error",
}


def whole_reply() -> bytes:
    """A whole completion in JSON."""
    message = {"role": "assistant", "content": "".join(WORDS)}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return json.dumps(_common("chat.completion") | {"choices": [choice], "usage": _USAGE}).encode()


def chunk(delta: Mapping[str, str], finish: str | None = None) -> bytes:
    """One chunk of a stream in JSON, without framing."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return json.dumps(_common("chat.completion.chunk") | {"choices": [choice]}).encode()


def _common(kind: str) -> dict[str, object]:
    return {"id": "chatcmpl-bad", "object": kind, "created": 1, "model": "bad"}


def complaint(message: str, code: str = "trouble") -> bytes:
    """OpenAI's error object."""
    return json.dumps({"error": {"message": message, "type": "server_error", "param": None, "code": code}}).encode()


class Asked:
    """One request that has been read, and the means to answer it badly."""

    def __init__(self, place: Place, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> None:
        self._place = place
        self._reader = reader
        self._writer = writer
        self.streams = bool(json.loads(body).get("stream"))

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()
        self._place.sent += len(data)

    async def answer(
        self, body: bytes, status: int = 200, *, length: int | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """A response with a length, ``length`` where it lies about it."""
        claimed = len(body) if length is None else length
        lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Said')}", "content-type: application/json"]
        lines += [f"content-length: {claimed}", *(f"{name}: {value}" for name, value in (headers or {}).items())]
        await self.send("\r\n".join([*lines, "", ""]).encode() + body)

    async def begin(self) -> None:
        """The head of a stream, and a chunk that says nothing yet."""
        await self.send(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            + framed(chunk({"role": "assistant", "content": ""}))
        )

    async def say(self, *words: str) -> None:
        for word in words:
            await self.send(framed(chunk({"content": word})))

    async def end(self) -> None:
        usage = json.dumps(_common("chat.completion.chunk") | {"choices": [], "usage": _USAGE}).encode()
        await self.send(framed(chunk({}, "stop")) + framed(usage) + framed(b"[DONE]") + b"0\r\n\r\n")

    async def good(self) -> None:
        """What a sound upstream answers."""
        if self.streams:
            await self.begin()
            await self.say(*WORDS)
            await self.end()
        else:
            await self.answer(whole_reply())

    def reset(self) -> None:
        """Breaks the connection with a RST, as a killed process or a lost network does."""
        reset(self._writer)

    def hold_little(self) -> None:
        """Makes ``send`` wait as soon as the other side does not read."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self._writer.transport.set_write_buffer_limits(high=0)

    async def silence(self) -> None:
        """Says nothing more, until the other side goes away."""
        with contextlib.suppress(ConnectionError):
            while await self._reader.read(1 << 16):
                pass


def framed(data: bytes) -> bytes:
    """One event of a stream in HTTP's chunks."""
    event = b"data: " + data + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(event), event)


def reset(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


Play = Callable[[Asked], Awaitable[None]]


async def _later() -> None:
    """Until what was sent has been read on its own."""
    await asyncio.sleep(0.15)  # pace: what follows comes in a piece of its own


async def _reset_on_request(asked: Asked) -> None:
    asked.reset()


async def _reset_in_answer(asked: Asked) -> None:
    """After the first words of a stream, in the middle of the body of a whole reply."""
    if asked.streams:
        await asked.begin()
        await asked.say(*WORDS[:2])
    else:
        await asked.answer(whole_reply()[:50], length=500)
    # A reset overtakes what was sent before it, if it is too quick.
    await _later()
    asked.reset()


async def _hung(asked: Asked) -> None:
    await asked.silence()


async def _slow(asked: Asked) -> None:
    """A sound answer, in drips."""
    body = whole_reply()
    if asked.streams:
        await asked.begin()
        for word in WORDS:
            await asyncio.sleep(0.03)  # pace: a slow upstream
            await asked.say(word)
        await asked.end()
    else:
        await asked.answer(body[:10], length=len(body))
        for at in range(10, len(body), 40):
            await asyncio.sleep(0.01)  # pace: a slow upstream
            await asked.send(body[at : at + 40])


async def _half_head(asked: Asked) -> None:
    await asked.send(b"HTTP/1.1 200 OK\r\ncontent-ty")


async def _garbage(asked: Asked) -> None:
    await asked.send(bytes(range(256)) * 4)


async def _garbage_body(asked: Asked) -> None:
    """HTTP that is sound around what is not."""
    if asked.streams:
        await asked.begin()
        await asked.say(WORDS[0])
        await _later()
        await asked.send(framed(b'{"id": "chatcmpl-bad", "choices": [{]'))
        await asked.end()
    else:
        await asked.answer(b'{"id": "chatcmpl-bad", "choices": [{]')


async def _too_short(asked: Asked) -> None:
    body = whole_reply()
    await asked.answer(body, length=len(body) // 2)


async def _too_long(asked: Asked) -> None:
    body = whole_reply()
    await asked.answer(body, length=len(body) * 2)


async def _error_event(asked: Asked) -> None:
    """After the first word. A reply that is not streamed has the error in the body of a 200."""
    if asked.streams:
        await asked.begin()
        await asked.say(WORDS[0])
        await _later()
        await asked.send(framed(complaint("The engine has died.")) + b"0\r\n\r\n")
    else:
        await asked.answer(complaint("The engine has died."))


async def _error_event_first(asked: Asked) -> None:
    if asked.streams:
        await asked.begin()
        await asked.send(framed(complaint("The engine has died.")) + b"0\r\n\r\n")
    else:
        await asked.answer(complaint("The engine has died."))


async def _cut(asked: Asked) -> None:
    """An end of the connection, in order, before that of the answer."""
    if asked.streams:
        await asked.begin()
        await asked.say(*WORDS[:2])
    else:
        await asked.answer(whole_reply()[:50], length=500)


async def _empty(asked: Asked) -> None:
    if asked.streams:
        await asked.begin()
        await asked.send(framed(b"[DONE]") + b"0\r\n\r\n")
    else:
        await asked.answer(b"")


async def _endless(asked: Asked) -> None:
    """A stream that goes on for ever; a whole reply that never ends."""
    if asked.streams:
        await asked.begin()
    else:
        await asked.answer(b"{", length=1 << 30)
    while True:
        await asyncio.sleep(0.02)  # pace: a slow upstream
        await (asked.say("on and ") if asked.streams else asked.send(b" " * 10))


async def _flood(asked: Asked) -> None:
    """An endless stream as fast as it is taken, with little held on the way out of here."""
    asked.hold_little()
    await asked.begin()
    while True:
        await asked.say("x" * FLOOD_WORD)


async def _falls_silent(asked: Asked) -> None:
    if asked.streams:
        await asked.begin()
        await asked.say(*WORDS[:2])
    else:
        await asked.answer(whole_reply()[:50], length=500)
    await asked.silence()


def _status(status: int, **headers: str) -> Play:
    async def play(asked: Asked) -> None:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        await asked.answer(complaint(f"Refused with {status}."), status, headers=sent)

    return play


async def _good(asked: Asked) -> None:
    await asked.good()


FAULTS: Mapping[str, Play] = {
    "good": _good,
    "reset on request": _reset_on_request,
    "reset in the answer": _reset_in_answer,
    "hung": _hung,
    "slow": _slow,
    "half a head": _half_head,
    "garbage": _garbage,
    "garbage in the body": _garbage_body,
    "length too short": _too_short,
    "length too long": _too_long,
    "cut": _cut,
    "empty": _empty,
    "endless": _endless,
    "falls silent": _falls_silent,
    "flood": _flood,
    "error event first": _error_event_first,
    "error event": _error_event,
    "400": _status(400),
    "401": _status(401),
    "429": _status(429),
    "429, soon": _status(429, retry_after="0.2"),
    "429, late": _status(429, retry_after="60"),
    "500": _status(500),
    "503": _status(503),
}


@dataclass
class Place:
    """Where a fault is found. ``attempts`` is what came as far as the fault lets anything come; None where nobody can
    count them. ``open`` are connections that are not closed yet, ``sent`` the bytes that the kernel has taken."""

    base_url: str
    attempts: int | None = 0
    open: int = 0
    sent: int = 0
    sockets: list[socket.socket] = field(default_factory=list)


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
            case "reset unread":
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
        await _later()
        reset(writer)
        return
    keeps = True
    while keeps:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
        place.attempts = (place.attempts or 0) + 1
        await play(Asked(place, reader, writer, await reader.readexactly(length)))
        keeps = play in _KEEPING


# The connection is sound after these, and goes on; after the others it ends.
_KEEPING = frozenset(
    play for name, play in FAULTS.items() if name[0].isdigit() or name in ("good", "slow", "error event", "empty")
)


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


@contextlib.contextmanager
def bad_upstream() -> Iterator[BadUpstream]:
    """One that is closed at the end."""
    with BadUpstream() as upstream:
        yield upstream
