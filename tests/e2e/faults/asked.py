"""One request that a bad upstream has read, and OpenAI's wire to answer it with, well or badly."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

WORDS = ("The", " mill", " turns", ".")
_USAGE = {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}
_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    429: "Too Many Requests",
    500: "Internal Server Error",
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
