"""Streams on the socket: framing, heartbeats, clients that leave or do not read, a server that stops."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket

import pytest

from penstock.core.errors import UPSTREAM_BROKEN, PenstockError
from penstock.edge.http.listening import Patience
from tests.edge.http.serving import DEADLINE_S, STREAM, Heard, Site, chunk, heard, request, site, until, usual
from tests.gateway.doubles import Step

CHAT = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}]}
STREAMED = {**CHAT, "stream": True}
PATHS = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"model": "chat", "prompt": "Hi"},
    "/v1/responses": {"model": "chat", "input": "Hi"},
}


async def opened(
    here: Site, body: object, path: str = "/v1/chat/completions"
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
    writer.write(request("POST", path, json.dumps(body).encode()))
    return reader, writer


def events(reply: Heard) -> list[str]:
    return [event for event in reply.body.decode().split("\n\n") if event]


async def test_the_headers_of_a_stream() -> None:
    async with site(usual) as here:
        reply = await here.post("/v1/chat/completions", STREAMED)
    assert reply.status == 200
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert reply.headers["cache-control"] == "no-cache"
    assert reply.headers["x-accel-buffering"] == "no"
    assert reply.headers["x-penstock-attempts"] == "1"
    assert "server" not in reply.headers
    assert events(reply)[-1] == "data: [DONE]"


async def test_a_line_break_inside_a_chunk_does_not_end_its_event() -> None:
    spread = json.dumps(json.loads(chunk("a\nb", finish="stop")), indent=1).replace("\n", "\r\n").encode()
    async with site(lambda _: [[spread, chunk("c")]]) as here:
        reply = await here.post("/v1/chat/completions", STREAMED)
    first, second, done = events(reply)
    assert json.loads(first.removeprefix("data: "))["choices"][0]["delta"]["content"] == "a\nb"
    assert json.loads(second.removeprefix("data: "))["choices"][0]["delta"]["content"] == "c"
    assert done == "data: [DONE]"


async def test_heartbeats_before_the_first_chunk_and_between_two() -> None:
    before, between = asyncio.Event(), asyncio.Event()
    script: list[Step] = [before, [chunk("Hello")], between, [chunk(finish="stop")]]
    async with site(lambda _: script, patience=Patience(heartbeat_s=0.02, sweep_s=0.01)) as here:
        reader, writer = await opened(here, STREAMED)
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 200 OK" in head
        assert b"text/event-stream" in head
        await reader.readuntil(b": ping\n\n")
        before.set()
        await reader.readuntil(b"Hello")
        await reader.readuntil(b": ping\n\n")
        await reader.readuntil(b": ping\n\n")
        between.set()
        assert (await reader.read()).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        writer.close()


async def test_no_heartbeat_where_there_is_no_silence() -> None:
    script: list[Step] = [[chunk("x")] for _ in range(200)]
    async with site(lambda _: script, patience=Patience(heartbeat_s=5)) as here:
        reply = await here.post("/v1/chat/completions", STREAMED)
    assert b": ping" not in reply.body


async def test_after_a_heartbeat_a_failure_is_an_event() -> None:
    hold = asyncio.Event()
    script: list[Step] = [hold, PenstockError(UPSTREAM_BROKEN, "The engine went away.")]
    async with site(lambda _: script, patience=Patience(heartbeat_s=0.02, sweep_s=0.01)) as here:
        reader, writer = await opened(here, STREAMED)
        await reader.readuntil(b": ping\n\n")
        hold.set()
        rest = (await reader.read()).decode()
        writer.close()
        last = next(line for line in rest.splitlines() if line.startswith("data: "))
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == UPSTREAM_BROKEN.code
        assert "[DONE]" not in rest
        assert (await here.logged())[0].code == UPSTREAM_BROKEN.code


async def test_a_fault_of_ours_in_mid_stream_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Odd(list[Step]):
        def __iter__(self) -> object:  # type: ignore[override]
            yield [chunk("Hello")]
            yield [b'{"choices":"secret"']

    async with site(lambda _: Odd()) as here:  # type: ignore[arg-type]
        reply = await here.post("/v1/chat/completions", STREAMED)
    last = json.loads(events(reply)[-1].removeprefix("data: "))
    assert last["error"]["code"] == "upstream_invalid_response"
    assert "secret" not in reply.body.decode()


# -- clients that leave ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("abort", [True, False])
async def test_gone_before_the_engine_has_accepted(path: str, stream: bool, abort: bool) -> None:
    async with site(usual) as here:
        here.engine.hold = asyncio.Event()
        _, writer = await opened(here, {**PATHS[path], "stream": stream}, path)
        await until(lambda: here.engine.held)
        if abort:
            writer.transport.abort()
        else:
            writer.close()
        await until(lambda: here.engine.cancelled)
        (line,) = await here.logged()
        assert (line.status, line.ending) == (499, "")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("stream", "after"), [(True, 0), (True, 1), (True, 2), (False, 0)])
async def test_gone_while_the_engine_answers(path: str, stream: bool, after: int) -> None:
    script: list[Step] = [*STREAM[:after], asyncio.Event(), *STREAM[after:]]
    async with site(lambda _: script) as here:
        reader, writer = await opened(here, {**PATHS[path], "stream": stream}, path)
        await until(lambda: here.engine.upstreams)
        if stream and after == 2:
            await reader.readuntil(b" there")
        writer.transport.abort()
        (line,) = await here.logged()
        assert here.engine.upstreams[0].closed == 1
        assert line.ending in ("client_gone", "")
        assert here.samples.total("penstock_requests", "client_gone") == 1


async def test_gone_at_any_byte_of_the_reply() -> None:
    """Every length of reading, then away; nothing stays open, nothing is logged as ours."""
    async with site(usual) as here:
        whole = len(await here.raw(request("POST", "/v1/chat/completions", json.dumps(STREAMED).encode())))
        for length in range(1, whole, 97):
            reader, writer = await opened(here, STREAMED)
            await reader.readexactly(length)
            writer.transport.abort()
        await here.logged(1 + len(range(1, whole, 97)))
        assert here.engine.closed()


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9, 0.99])
async def test_gone_while_sending(share: float) -> None:
    sent = request("POST", "/v1/chat/completions", json.dumps({**STREAMED, "pad": "x" * 300_000}).encode())
    async with site(usual) as here:
        _, writer = await asyncio.open_connection("127.0.0.1", here.port)
        writer.write(sent[: int(len(sent) * share)])
        await writer.drain()
        writer.close()
        assert (await here.post("/v1/chat/completions", CHAT)).status == 200
        assert len(here.engine.calls) == 1


async def test_gone_after_the_end_is_no_news() -> None:
    async with site(usual) as here:
        await here.post("/v1/chat/completions", CHAT)
        assert here.samples.total("penstock_requests", "complete") == 1
        (line,) = await here.logged()
        assert (line.status, line.ending) == (200, "complete")


async def test_the_next_request_on_a_connection_is_not_cancelled_by_the_last() -> None:
    async with site(usual) as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        for _ in range(5):
            writer.write(request("POST", "/v1/chat/completions", json.dumps(STREAMED).encode(), connection=""))
            assert b"[DONE]" in await reader.readuntil(b"0\r\n\r\n")
        writer.close()
        assert {line.ending for line in await here.logged(5)} == {"complete"}


@pytest.mark.parametrize("ahead", [1, 8, 50])
@pytest.mark.parametrize("end", [b"", b"\x00garbage\r\n\r\n"])
async def test_gone_with_requests_sent_ahead(ahead: int, end: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """The one that runs is told; none of the others begins."""
    async with site(usual) as here:
        here.engine.hold = asyncio.Event()
        _, writer = await asyncio.open_connection("127.0.0.1", here.port)
        one = request("POST", "/v1/chat/completions", json.dumps(STREAMED).encode(), connection="")
        writer.write(one * ahead + end)
        await until(lambda: here.engine.held)
        writer.transport.abort()
        if ahead > 8:
            # Beyond that the connection is not read, and its end is found out when it is written to.
            here.engine.hold.set()
        await until(lambda: here.lines and not here.app.listening.connections)
        assert len(here.engine.calls) == 1
        # The write of the first is found to have failed when the next has its turn already: it goes no further.
        assert len(here.lines) == 1 or (ahead > 8 and [line.status for line in here.lines[1:]] == [499])
        assert here.engine.closed()
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("ahead", [1, 3])
async def test_garbage_after_a_request_ends_the_connection_and_not_the_request(ahead: int) -> None:
    async with site(usual) as here:
        one = request("POST", "/v1/chat/completions", json.dumps(STREAMED).encode(), connection="")
        reply = heard(await here.raw(one * ahead + b"\x00garbage\r\n\r\n"))
        assert reply.status == 200
        assert reply.body.endswith(b"data: [DONE]\n\n")


async def test_a_broken_body_is_refused_at_once() -> None:
    async with site(usual) as here:
        head = request("POST", "/v1/chat/completions", connection="", content_length="", transfer_encoding="chunked")
        reply = heard(await here.raw(head + b"zz\r\n"))
        assert (reply.status, reply.error["code"]) == (400, "bad_request")


async def test_requests_sent_ahead_are_answered_in_order() -> None:
    async with site(usual) as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        ids = [f"id-{number}" for number in range(30)]
        for given in ids:
            writer.write(request("POST", "/v1/models", x_request_id=given, connection=""))
        for given in ids:
            head = await reader.readuntil(b"\r\n\r\n")
            assert f"x-request-id: {given}\r\n".encode() in head
            await reader.readuntil(b"}}")
        writer.close()


# -- clients that do not read, and a server that stops ---------------------------------------------------------------


class Counting:
    """An upstream that never ends, and counts how often it was asked."""

    def __init__(self) -> None:
        self.reads = 0
        self.closed = 0

    async def read(self) -> list[bytes]:
        self.reads += 1
        await asyncio.sleep(0)
        return [chunk("x" * 10_000)]

    async def aclose(self) -> None:
        self.closed += 1


@contextlib.asynccontextmanager
async def stalled(here: Site):  # type: ignore[no-untyped-def]
    """A client that asks for an endless stream and reads none of it."""
    endless = Counting()

    async def start(*_: object, connect_s: float | None = None) -> Counting:
        return endless

    here.engine.start = start  # type: ignore[assignment,method-assign]
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.connect(("127.0.0.1", here.port))
        peer.sendall(request("POST", "/v1/chat/completions", json.dumps(STREAMED).encode()))
        seen = 0
        async with asyncio.timeout(DEADLINE_S):
            while not seen or seen != endless.reads:
                seen = endless.reads
                await asyncio.sleep(0.1)  # pace: a pump that is stalled is one that asks no more for a while
        yield peer, endless


async def test_a_reader_that_stalls_stalls_its_engine_and_nobody_else() -> None:
    async with (
        site(usual, patience=Patience(heartbeat_s=0.02, sweep_s=0.01)) as here,
        stalled(here) as (peer, endless),
    ):
        assert 0 < endless.reads < 2000, "what waits for it is bounded"
        assert (await here.get("/healthz")).status == 200
        peer.close()
        await until(lambda: endless.closed)


async def test_a_reader_that_stalls_for_too_long_is_let_go() -> None:
    async with site(usual, patience=Patience(write_s=0.3, sweep_s=0.05)) as here, stalled(here) as (_, endless):
        await until(lambda: endless.closed)


async def test_a_head_that_does_not_end_is_let_go() -> None:
    async with site(usual, patience=Patience(head_s=0.1, sweep_s=0.05)) as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nhost:")
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), DEADLINE_S) == b""
        writer.close()


@pytest.mark.parametrize("stream", [True, False])
async def test_who_outlives_the_stop_is_told(stream: bool) -> None:
    script: list[Step] = [*(STREAM[:2] if stream else []), asyncio.Event()]
    async with site(lambda _: script) as here:
        reader, writer = await opened(here, {**CHAT, "stream": stream})
        if stream:
            await reader.readuntil(b" there")
        await until(lambda: here.engine.upstreams)
        here.stop()
        rest = await reader.read()
        assert b"gateway_stopping" in rest
        if not stream:
            assert heard(rest).status == 503
        writer.close()
        assert here.engine.closed()


async def test_who_ends_in_time_is_served() -> None:
    hold = asyncio.Event()
    script: list[Step] = [*STREAM[:2], hold, STREAM[2]]
    async with site(lambda _: script) as here:
        reader, writer = await opened(here, STREAMED)
        await reader.readuntil(b" there")
        here.stop()
        hold.set()
        assert b"[DONE]" in await reader.read()
        writer.close()
