"""Chunks that are poured are those that would be read; whatever ends the pouring is left for who reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from penstock.core.chat import Sink
from penstock.core.errors import UPSTREAM_BROKEN, UPSTREAM_GARBLED, Fault, PenstockError
from penstock.engines.faults import Origin
from penstock.engines.hosted_answers import Streamed
from penstock.engines.http import Http
from penstock.engines.openai_answers import Events
from tests.control.timing import until

DONE = b"data: [DONE]\n\n"


def event(number: int, finish: str = "null") -> bytes:
    return b'data: {"choices":[{"index":0,"delta":{"content":"%d"},"finish_reason":%b}]}\n\n' % (
        number,
        finish.encode(),
    )


def framed(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


class Stage:
    """An answer that runs, and the upstream's end of its connection."""

    def __init__(self, upstream: Streamed, http: Http, writer: asyncio.StreamWriter) -> None:
        self.upstream, self.http, self.writer = upstream, http, writer
        self.poured: list[bytes] = []
        self.room = True

    def sink(self, chunks: Sequence[bytes]) -> bool:
        self.poured.extend(chunks)
        return self.room

    def pouring(self, sink: Sink | None = None) -> asyncio.Task[None]:
        return asyncio.create_task(self.upstream.pour(sink or self.sink))

    async def says(self, *events: bytes) -> None:
        before = len(self.poured)
        self.writer.write(b"".join(map(framed, events)))
        await until(lambda: len(self.poured) > before, 5)


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    ends: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()

    async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        writer.write(framed(event(0)))
        ends.put_nowait(writer)

    server = await asyncio.start_server(answered, "127.0.0.1", 0)
    http = Http(connect_timeout_s=5, read_timeout_s=5)
    try:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        response = await http.post(http.prepared("POST", url), b"")
        writer = await ends.get()
        here = Stage(Streamed(response, Events(1, Origin("m", "m"))), http, writer)
        assert len(await here.upstream.read()) == 1
        yield here
        await here.upstream.aclose()
        assert http.sockets == 0
        writer.close()
    finally:
        server.close()
        await http.aclose()


async def test_what_comes_is_poured_and_the_end_is_read() -> None:
    async with stage() as here:
        pouring = here.pouring()
        await here.says(event(1))
        await here.says(event(2), event(3))
        here.writer.write(framed(event(4, '"stop"') + DONE) + b"0\r\n\r\n")
        await asyncio.wait_for(pouring, 5)
        rest = [chunk async for chunk in _read(here.upstream)]
    poured = [*here.poured, *rest]
    assert [chunk.split(b'"content":"')[1][:1] for chunk in poured] == [b"1", b"2", b"3", b"4"]


async def test_a_sink_that_wants_no_more_stops_it_and_nothing_is_lost() -> None:
    async with stage() as here:
        here.room = False
        pouring = here.pouring()
        await here.says(event(1))
        await asyncio.wait_for(pouring, 5)
        here.writer.write(framed(event(2)))
        assert b'"2"' in (await here.upstream.read())[0]
        assert len(here.poured) == 1


@pytest.mark.parametrize(
    ("last", "fault"),
    [
        (framed(b'data: {"error":{"message":"out of memory"}}\n\n'), None),
        (framed(b"data: nonsense\n\n"), UPSTREAM_GARBLED),
        (b"zzz\r\n", UPSTREAM_GARBLED),
        (b"0\r\n\r\n", UPSTREAM_BROKEN),
        (b"", UPSTREAM_BROKEN),
    ],
)
async def test_a_failure_ends_it_and_is_raised_to_who_reads(last: bytes, fault: Fault | None) -> None:
    async with stage() as here:
        pouring = here.pouring()
        await here.says(event(1))
        here.writer.write(last)
        if not last:
            here.writer.close()
        await asyncio.wait_for(pouring, 5)
        with pytest.raises(PenstockError) as raised:
            await here.upstream.read()
    assert fault in (None, raised.value.fault)
    assert len(here.poured) == 1


async def test_what_a_sink_raises_is_raised_to_who_pours() -> None:
    def bad(_: Sequence[bytes]) -> bool:
        raise ZeroDivisionError

    async with stage() as here:
        pouring = here.pouring(bad)
        await asyncio.sleep(0)
        here.writer.write(framed(event(1)))
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(pouring, 5)
        here.writer.write(framed(event(2)))
        assert b'"2"' in (await here.upstream.read())[0]


async def test_who_is_cancelled_is_poured_no_more() -> None:
    async with stage() as here:
        pouring = here.pouring()
        await here.says(event(1))
        pouring.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pouring
        here.writer.write(framed(event(2)))
        assert b'"2"' in (await here.upstream.read())[0]
        assert len(here.poured) == 1


async def test_closing_it_from_elsewhere_ends_it() -> None:
    async with stage() as here:
        pouring = here.pouring()
        await here.says(event(1))
        await here.upstream.aclose()
        await asyncio.wait_for(pouring, 5)
        assert not await here.upstream.read()


async def _read(upstream: Streamed) -> AsyncIterator[bytes]:
    while chunks := await upstream.read():
        for chunk in chunks:
            yield chunk
