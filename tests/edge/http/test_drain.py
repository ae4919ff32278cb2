"""Stopping: announced, then no more taken in, what runs finished or told, and nothing lost on the way."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from penstock.edge.http.config import ServerSettings
from penstock.edge.http.listening import Patience
from tests.edge.http.certificates import made, trusting
from tests.edge.http.http2_client import http2
from tests.edge.http.serving import DEADLINE_S, Site, chunk, heard, request, site, until, usual, whole
from tests.gateway.doubles import Step

CHAT = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}]}
STREAMED = CHAT | {"stream": True}
KEPT = request("GET", "/healthz", connection="")
QUICK = Patience(sweep_s=0.02)


async def announced(here: Site) -> None:
    await until(lambda: here.app.draining)


async def closed_to_new(here: Site) -> None:
    """Once connections are refused."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", here.port)
            except ConnectionRefusedError:
                return
            writer.close()
            await asyncio.sleep(0.01)


async def test_an_announced_stop_tells_and_still_answers() -> None:
    async with site(usual, patience=QUICK) as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        writer.write(KEPT)
        assert b"connection: close" not in await reader.readuntil(b"}")
        here.stop(announce_s=DEADLINE_S)
        await announced(here)
        ready = await here.get("/readyz")
        assert (ready.status, ready.headers["connection"]) == (503, "close")
        assert (await here.post("/v1/chat/completions", CHAT)).status == 200
        writer.write(KEPT)
        last = heard(await asyncio.wait_for(reader.read(), DEADLINE_S))
        assert (last.status, last.headers["connection"]) == (200, "close")
        writer.close()
        assert here.app.listening is not None
        here.serving.cancel()
        await asyncio.wait((here.serving,))


async def test_what_runs_is_finished_and_nobody_else_let_in() -> None:
    async with site(usual, patience=QUICK) as here:
        here.engine.hold = asyncio.Event()
        answer = asyncio.create_task(here.post("/v1/chat/completions", CHAT))
        idle_reader, idle_writer = await asyncio.open_connection("127.0.0.1", here.port)
        idle_writer.write(KEPT)
        await idle_reader.readuntil(b"}")
        await until(lambda: here.engine.held == 1)
        here.stop(limit_s=DEADLINE_S)
        await closed_to_new(here)
        assert await asyncio.wait_for(idle_reader.read(), DEADLINE_S) == b""
        assert not answer.done()
        here.engine.hold.set()
        assert (await answer).status == 200
        await asyncio.wait_for(here.serving, 1.0)
        idle_writer.close()


async def test_a_stream_that_outlives_the_limit_is_told_a_second_before() -> None:
    gate = asyncio.Event()
    script: list[Step] = [[chunk("Hello")], gate]
    loop = asyncio.get_running_loop()
    async with site(lambda _: script, patience=QUICK) as here:
        answer = asyncio.create_task(here.post("/v1/chat/completions", STREAMED))
        await until(lambda: here.engine.upstreams)
        began = loop.time()
        here.stop(limit_s=1.3)
        reply = await answer
        assert 0.25 < loop.time() - began < 1.0
        assert b"Hello" in reply.body
        assert b'"code":"gateway_stopping"' in reply.body
        [line] = await here.logged()
        assert (line.status, line.code) == (200, "gateway_stopping")
        await asyncio.wait_for(here.serving, 1.0)


async def test_who_has_just_come_in_is_still_served() -> None:
    """A connection that was accepted by the kernel before the socket closed, and one that has said nothing yet."""
    async with site(usual, patience=QUICK) as here:
        silent_reader, silent_writer = await asyncio.open_connection("127.0.0.1", here.port)
        await until(lambda: here.app.listening and here.app.listening.connections == 1)
        here.stop(limit_s=DEADLINE_S)
        late = asyncio.create_task(here.raw(request("GET", "/healthz")))
        await announced(here)
        silent_writer.write(KEPT)
        reply = heard(await asyncio.wait_for(silent_reader.read(), DEADLINE_S))
        assert (reply.status, reply.headers["connection"]) == (200, "close")
        late_reply = (await asyncio.gather(late, return_exceptions=True))[0]
        assert isinstance(late_reply, ConnectionRefusedError) or heard(late_reply).status == 200
        silent_writer.close()


@pytest.mark.parametrize("secure", [False, True])
async def test_a_large_reply_to_a_slow_client_arrives_whole(tmp_path: Path, secure: bool) -> None:
    """It has long been written when the connection is told to close, and lies here for longer than one lingers."""
    script: list[Step] = [[whole(content="x" * 12_000_000)]]
    files = made(tmp_path)
    patience = Patience(sweep_s=0.02, linger_s=0.05)
    settings = ServerSettings(tls=files if secure else None)
    async with site(lambda _: script, patience=patience, settings=settings) as here:
        context = trusting(files) if secure else None
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port, ssl=context, limit=1 << 24)
        here.stop(announce_s=0.1, limit_s=DEADLINE_S)
        await announced(here)
        writer.write(request("POST", "/v1/chat/completions", json.dumps(CHAT).encode(), connection=""))
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await here.logged()
        await asyncio.sleep(0.2)  # pace: longer than one that is told to close lingers
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert len(await asyncio.wait_for(reader.readuntil(b"}}"), DEADLINE_S)) > 12_000_000
        writer.close()


# -- HTTP/2 ----------------------------------------------------------------------------------------------------------


async def test_http2_is_told_before_and_refused_after() -> None:
    async with site(usual, patience=QUICK) as here, http2(here) as client:
        here.engine.hold = asyncio.Event()
        first = client.post(CHAT)
        await until(lambda: here.engine.held == 1)
        here.stop(announce_s=0.3, limit_s=DEADLINE_S)
        await client.until(lambda: client.goaway)
        assert client.goaway == (0, (1 << 31) - 1), "no more, if you please"
        second = client.post(CHAT)
        await until(lambda: here.engine.held == 2)
        await client.until(lambda: client.goaway == (0, second))
        third = client.post(CHAT)
        await client.until(lambda: client.streams[third].over)
        assert client.streams[third].reset == 7, "refused: it may be sent again elsewhere"
        here.engine.hold.set()
        assert (await client.answer(first)).status == 200
        assert (await client.answer(second)).status == 200
        await client.end()
        client.writer.close()
        await asyncio.wait_for(here.serving, 1.0)


async def test_http2_streams_that_outlive_the_limit_are_told() -> None:
    gate = asyncio.Event()
    async with site(lambda _: [[chunk("Hello")], gate], patience=QUICK) as here, http2(here) as client:
        ids = [client.post(STREAMED) for _ in range(5)]
        await client.until(lambda: all(client.streams[id].body for id in ids))
        here.stop(limit_s=1.2)
        for id in ids:
            assert b'"code":"gateway_stopping"' in (await client.answer(id)).body
        await client.end()
        client.writer.close()
        await asyncio.wait_for(here.serving, 1.0)


async def test_an_idle_http2_connection_does_not_hold_a_stop_up() -> None:
    async with site(usual, patience=QUICK) as here, http2(here) as client:
        assert (await client.get("/healthz")).status == 200
        here.stop(limit_s=DEADLINE_S)
        await client.end()
        assert client.goaway == (0, 1)
        client.writer.close()
        await asyncio.wait_for(here.serving, 1.0)
