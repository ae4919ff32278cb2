"""A mock engine that answers at once: OpenAI's chat wire with replies rendered before anybody asks.

    python -m benchmarks.upstream PORT

A whole reply comes in one write. A stream has as many chunks as the request's ``max_tokens`` says, the first at once
and the others spaced by the request's ``seed`` in milliseconds: both are fields that every gateway passes on.
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import cast

import uvloop

_USAGE = b'"usage":{"prompt_tokens":50,"completion_tokens":20,"total_tokens":70}'
_WHOLE = (
    b'{"id":"chatcmpl-bench","object":"chat.completion","created":1,"model":"mock","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"' + b"word " * 20 + b'"},"finish_reason":"stop"}],' + _USAGE + b"}"
)
# What gateways ask an engine when they look after it: is it there, and what does it serve.
_ABOUT = (
    b'{"object":"list","data":[{"id":"mock","object":"model","created":1,"owned_by":"bench"}],"status":"ok",'
    b'"model_path":"mock"}'
)
_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def _plain(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    return head + body


def _event(data: bytes) -> bytes:
    event = b"data: " + data + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(event), event)


def _chunk(choices: bytes, more: bytes = b"") -> bytes:
    return _event(
        b'{"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1,"model":"mock","choices":['
        + choices
        + b"]"
        + more
        + b"}"
    )


_WORD = _chunk(b'{"index":0,"delta":{"content":"word "},"finish_reason":null}')
_FIRST = _chunk(b'{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}') + _WORD
_LAST = (
    _chunk(b'{"index":0,"delta":{},"finish_reason":"stop"}') + _chunk(b"", b"," + _USAGE) + _event(b"[DONE]")
) + b"0\r\n\r\n"
_REPLY = _plain(_WHOLE)

_LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)
_ASKS_STREAM = re.compile(rb'"stream":\s*true')
_CHUNKS = re.compile(rb'"max_(?:completion_)?tokens":\s*(\d+)')
_SPACING = re.compile(rb'"seed":\s*(\d+)')


class MockEngine(asyncio.Protocol):
    """One connection; requests on it one after another."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._read = b""
        self._left = 0
        self._due = 0.0
        self._spacing_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._read += data
        while (end := self._read.find(b"\r\n\r\n") + 4) > 3:
            head = self._read[:end]
            if length := _LENGTH.search(head):
                stop = end + int(length[1])
            elif b"chunked" in head.lower():
                stop = self._read.find(b"0\r\n\r\n", end) + 5
                if stop < end:
                    return
            else:
                stop = end
            if len(self._read) < stop:
                return
            body, self._read = self._read[end:stop], self._read[stop:]
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET"):
            self._transport.write(_plain(_ABOUT))
        elif not _ASKS_STREAM.search(body):
            self._transport.write(_REPLY)
        else:
            chunks, spacing = _CHUNKS.search(body), _SPACING.search(body)
            self._left = int(chunks[1]) - 1 if chunks else 0
            self._spacing_s = int(spacing[1]) / 1000 if spacing else 0.0
            self._transport.write(_STREAM + _FIRST)
            self._due = self._loop.time()
            self._next()

    def _next(self) -> None:
        if self._left:
            self._due += self._spacing_s
            self._timer = self._loop.call_at(self._due, self._tick)
        else:
            self._transport.write(_LAST)

    def _tick(self) -> None:
        if not self._transport.is_closing():
            self._left -= 1
            self._transport.write(_WORD)
            self._next()


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(MockEngine, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
