"""The listener's limits over real sockets: how many connections, how many files, and how long a client may take."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import pytest

from penstock.edge.http.config import ServerSettings
from penstock.edge.http.listening import Patience
from tests.edge.http.certificates import made
from tests.edge.http.serving import DEADLINE_S, Site, chunk, heard, request, site, until, usual

CHAT = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}]}
SHORT = Patience(head_s=0.2, body_s=0.2, idle_s=0.2, write_s=0.3, linger_s=0.1, sweep_s=0.02)
KEPT = request("GET", "/healthz", connection="")
THREE = ServerSettings(max_connections=3)


def cut(here: Site, reason: str) -> float:
    return here.samples.total("penstock_http_connections_cut", reason)


def connections(here: Site) -> int:
    assert here.app.listening is not None
    return here.app.listening.connections


async def kept(here: Site) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that has had an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
    writer.write(KEPT)
    await asyncio.wait_for(reader.readuntil(b"}"), DEADLINE_S)
    return reader, writer


# -- how many --------------------------------------------------------------------------------------------------------


async def test_one_connection_too_many_is_told_so() -> None:
    async with site(usual, settings=THREE) as here:
        opened = [await kept(here) for _ in range(3)]
        refused = heard(await here.raw(b""))
        assert (refused.status, refused.error["code"]) == (503, "gateway_out_of_resources")
        assert "max_connections" in (refused.error["message"] or "")
        assert (refused.headers["retry-after"], refused.headers["connection"]) == ("1", "close")
        assert cut(here, "limit") == 1
        for reader, writer in opened:
            writer.write(KEPT)
            await reader.readuntil(b"}")
        opened[0][1].close()
        await until(lambda: connections(here) == 2)
        assert (await here.get("/healthz")).status == 200
        for _, writer in opened:
            writer.close()


async def test_one_tls_connection_too_many_is_closed(tmp_path: Path) -> None:
    settings = ServerSettings(max_connections=1, tls=made(tmp_path))
    async with site(usual, settings=settings) as here:
        _, writer = await asyncio.open_connection("127.0.0.1", here.port)
        await until(lambda: connections(here) == 1)
        assert await here.raw(b"") == b""
        assert cut(here, "limit") == 1
        writer.close()


async def test_a_crowd_is_served_in_turn() -> None:
    """Many more at once than may be: those that are taken in are answered, the others told."""
    async with site(usual, settings=ServerSettings(max_connections=20)) as here:
        said = await asyncio.gather(
            *(here.raw(KEPT.replace(b"host", b"connection: close\r\nhost")) for _ in range(60))
        )
        assert {heard(one).status for one in said} <= {200, 503}
        assert sum(heard(one).status == 200 for one in said) >= 20
        await until(lambda: not connections(here))


def test_the_limit_has_bounds() -> None:
    for wrong in (0, -1, 1_000_001):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"max_connections": wrong}, ServerSettings)


@contextmanager
def no_file_beyond(count: int) -> Iterator[None]:
    """All files that may be open are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    taken: list[int] = []
    try:
        with suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for number in taken:
            os.close(number)


async def test_at_the_limit_of_open_files_clients_wait_and_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    async with site(usual) as here:
        reader, writer = await kept(here)
        waiting = [socket.create_connection(("127.0.0.1", here.port), timeout=DEADLINE_S) for _ in range(3)]
        with no_file_beyond(max(int(name) for name in os.listdir("/proc/self/fd")) + 1):
            await until(lambda: [record for record in caplog.records if record.levelno >= logging.ERROR])
            assert connections(here) == 1
            writer.write(KEPT)
            await asyncio.wait_for(reader.readuntil(b"}"), DEADLINE_S)
        await until(lambda: connections(here) == 4)
        said = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
        assert len(said) == 1, "it is said every so often, not each time"
        assert "ulimit -n" in said[0]
        assert "1 connections are open" in said[0]
        for sock in waiting:
            sock.close()
        writer.close()


# -- how long --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [b"", b"P", b"GET", b"GET / HTTP/1.1\r\nhost: x\r\n", b"PRI * HTTP/2.0\r\n"])
async def test_a_head_that_does_not_come_is_waited_for_so_long(sent: bytes) -> None:
    async with site(usual, patience=SHORT) as here:
        with suppress(ConnectionResetError):
            assert await here.raw(sent) == b""
        assert cut(here, "head") == 1


async def test_a_head_by_drops_is_not_waited_for_longer() -> None:
    async with site(usual, patience=SHORT) as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nx: ")
        async with asyncio.timeout(DEADLINE_S):
            while not cut(here, "head"):
                writer.write(b"x")
                await asyncio.sleep(0.02)
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()


async def test_a_connection_without_requests_is_closed() -> None:
    async with site(usual, patience=SHORT) as here:
        reader, writer = await kept(here)
        with suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), DEADLINE_S) == b""
        assert cut(here, "idle") == 1
        writer.close()


async def test_a_body_that_does_not_come_is_waited_for_so_long() -> None:
    async with site(usual, patience=SHORT) as here:
        head = request("POST", "/v1/chat/completions", content_length="100", connection="")
        reply = heard(await here.raw(head + b'{"model'))
        assert (reply.status, reply.error["code"]) == (408, "request_timeout")
        assert cut(here, "body") == 1


async def test_a_body_that_comes_slowly_comes() -> None:
    async with site(usual, patience=SHORT) as here:
        body = json.dumps(CHAT).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        writer.write(request("POST", "/v1/chat/completions", content_length=str(len(body))))
        for at in range(0, len(body), 8):
            writer.write(body[at : at + 8])
            await asyncio.sleep(0.05)  # pace: slower in all than the time between two pieces
        assert heard(await asyncio.wait_for(reader.read(), DEADLINE_S)).status == 200
        writer.close()


async def test_a_reader_that_stalls_is_cut_and_holds_little() -> None:
    script = [[chunk("x" * 10_000)] for _ in range(5000)]
    async with site(lambda _: script, patience=SHORT) as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        writer.write(request("POST", "/v1/chat/completions", json.dumps(CHAT | {"stream": True}).encode()))
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await until(lambda: cut(here, "write"))
        [line] = await here.logged()
        assert line.ending == "client_gone"
        assert here.engine.closed()
        writer.transport.abort()


async def test_a_reader_that_is_slow_is_not_cut() -> None:
    """It takes a little at a time, so that the whole takes several times as long as a stall may."""
    script = [[chunk("x" * 10_000)] for _ in range(100)]
    async with site(lambda _: script, patience=SHORT) as here:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", here.port))
        await loop.sock_sendall(
            sock, request("POST", "/v1/chat/completions", json.dumps(CHAT | {"stream": True}).encode())
        )
        read = b""
        async with asyncio.timeout(DEADLINE_S):
            while part := await loop.sock_recv(sock, 16_384):
                read += part
                await asyncio.sleep(0.015)
        assert read.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        assert not cut(here, "write")
        sock.close()
