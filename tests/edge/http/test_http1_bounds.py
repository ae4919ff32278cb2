"""What a client can make one connection hold: whatever it sends, and however it is cut, there is an end to it."""

from __future__ import annotations

import tracemalloc

import pytest

from penstock.edge.http.listening import Patience
from tests.edge.http.wire import LIMIT, let_go, room

POST = b"POST /echo HTTP/1.1\r\nhost: x\r\n"
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n"
ENDLESS = {
    "method": (b"", b"X"),
    "target": (b"GET /", b"x"),
    "query": (b"GET /?", b"x=y&"),
    "name": (b"GET / HTTP/1.1\r\n", b"x"),
    "value": (b"GET / HTTP/1.1\r\nx: ", b"x"),
    "headers": (b"GET / HTTP/1.1\r\n", b"a: b\r\n"),
    "spaces": (b"GET / HTTP/1.1\r\nx:", b" "),
    "wishes": (b"GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: x\r\n", b"a: b\r\n"),
    "chunk size": (CHUNKED, b"0"),
    "chunk extension": (CHUNKED + b"1;", b"x"),
    "trailers": (CHUNKED + b"0\r\n", b"a: b\r\n"),
    "trailer value": (CHUNKED + b"0\r\na: ", b"b"),
}


@pytest.mark.parametrize("name", ENDLESS)
@pytest.mark.parametrize("size", [1000, 200_000])
async def test_a_head_has_an_end(name: str, size: int) -> None:
    start, more = ENDLESS[name]
    async with room() as here:
        wire = here.connected()
        wire.sends(start)
        while not wire.ended and wire.delivered < 1 << 20:
            wire.sends(more * (size // len(more)))
            await here.settled(wire)
        assert wire.came.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))
        assert wire.delivered <= (64 << 10) + 2 * max(size, 32 << 10)
        await let_go(here, wire)


@pytest.mark.parametrize("more", [b"\r\n", b"\n"])
async def test_blank_lines_are_no_request_and_keep_no_connection_open(more: bytes) -> None:
    async with room() as here:
        wire = here.connected()
        wire.sends(more * 100_000)
        await here.later(wire, Patience().head_s + 1)
        assert wire.closed
        assert here.empty()


WAITING = b"POST /wait HTTP/1.1\r\nhost: x\r\n"
SHORT = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
UNASKED = {
    "pipelined": (WAITING + b"\r\n", SHORT),
    "pipelined, after a body": (WAITING + b"content-length: 100\r\n\r\n" + b"x" * 100, SHORT),
    "a body behind one that waits": (WAITING + b"\r\n" + POST + b"content-length: 100000000\r\n\r\n", b"x"),
    "a body that nobody asks for": (WAITING + b"content-length: 100000000\r\n\r\n", b"x"),
    "one in small chunks": (WAITING + b"transfer-encoding: chunked\r\n\r\n", b"2\r\nxx\r\n"),
    "wishes": (WAITING + b"\r\n", b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"),
}


@pytest.mark.parametrize("name", UNASKED)
@pytest.mark.parametrize("size", [1500, 250_000])
async def test_what_nobody_has_asked_for_is_not_read(name: str, size: int) -> None:
    start, more = UNASKED[name]
    more *= size // len(more)
    async with room() as here:
        wire = here.connected()
        wire.sends(start)
        await here.settled(wire)
        tracemalloc.start()
        sent = 0
        while not wire.paused and sent < 4 << 20:
            wire.sends(more)
            sent += len(more)
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert wire.paused
        assert sent <= (64 << 10) * 8 + size
        assert held < 1 << 20
        here.app.go.set()
        await here.settled(wire)
        assert wire.is_reading(), "it goes on once it is asked for"
        wire.resets()
        await here.settled(wire)
        assert here.empty()


@pytest.mark.parametrize("size", [1, 2, 3, 100])
async def test_a_body_takes_no_more_room_for_coming_in_small_chunks(size: int) -> None:
    async with room() as here:
        wire = here.connected()
        wire.sends(CHUNKED)
        await here.settled(wire)
        piece = (b"%x\r\n" % size + b"x" * size + b"\r\n") * (1000 // size)
        tracemalloc.start()
        for _ in range(LIMIT // 1000 - 1):
            wire.sends(piece)
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert held < 2 * LIMIT
        wire.sends(b"0\r\n\r\n")
        await here.settled(wire)
        assert wire.came.startswith(b"HTTP/1.1 200 ")
        wire.leaves()
        await here.settled(wire)
        assert here.empty()


async def test_replies_that_are_not_read_hold_up_what_follows() -> None:
    async with room() as here:
        wire = here.connected()
        wire.reads = False
        asked = POST + b"content-length: 100000\r\n\r\n" + b"x" * 100_000
        for _ in range(100):
            wire.sends(asked)
            await here.settled(wire)
        assert len(here.app.asked) == 1
        assert wire.paused
        for count in range(2, 6):
            wire.takes(200_000)
            await here.settled(wire)
            assert len(here.app.asked) == count
        wire.resets()
        await here.settled(wire)
        assert here.empty()
