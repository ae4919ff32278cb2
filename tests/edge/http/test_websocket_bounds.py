"""What a WebSocket holds, how long it waits, and how it ends: whatever the client does."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from penstock.core.chat import Call
from penstock.core.serving import Replica
from penstock.edge.http import websocket_connection
from penstock.edge.http.websocket import SocketTimes
from penstock.edge.http.websocket_frames import heard
from tests.edge.http.serving import DEADLINE_S, STREAM, Engine, chunk, until, usual, whole
from tests.edge.http.websocket_serving import KEY, SocketSite, asked, code, ended, frame, hear, socket_site

MIB = 1 << 20


async def closed(client: ClientConnection) -> tuple[int | None, str | None]:
    """The code and the reason that the server closes with; frames before it are dropped."""
    async with asyncio.timeout(DEADLINE_S):
        try:
            while True:
                await client.recv()
        except ConnectionClosed:
            return client.close_code, client.close_reason


# -- messages ----------------------------------------------------------------------------------------------------


async def test_binary_messages_are_not_taken() -> None:
    never = asyncio.Event()
    engine = Engine(lambda _: [[chunk("Hello")], never])
    async with socket_site(engine) as site, site.connect() as client:
        await client.send(frame("a"))
        await hear(client)
        await client.send(b"\x00")
        assert (await closed(client))[0] == 1003
        await until(lambda: site.side.sockets == 0)
        assert engine.upstreams[0].closed == 1


async def test_text_that_is_not_utf_8_ends_the_socket() -> None:
    async with socket_site(Engine(usual)) as site, site.connect() as client:
        await client.send(b'"\xff"', text=True)
        assert (await closed(client))[0] == 1007


async def test_a_message_has_a_bound_however_it_is_cut() -> None:
    async with socket_site(Engine(usual), max_body_bytes=4096) as site:
        async with site.connect() as client:
            await client.send(frame("a", "x" * 3000))
            assert len(await ended(client)) == 1
            await client.send(frame("a", "x" * 5000))
            assert (await closed(client))[0] == 1009
        async with site.connect() as client:
            await client.send(["x" * 1000] * 5)
            assert (await closed(client))[0] == 1009


async def test_a_message_in_pieces_with_a_ping_between() -> None:
    async with socket_site(Engine(usual)) as site, site.connect() as client:
        text = frame("a", "ä" * 3000)
        raw = text.encode()

        async def pieces() -> AsyncIterator[bytes]:
            for at in range(0, len(raw), 1001):
                yield raw[at : at + 1001]
                await client.ping()

        await client.send(pieces(), text=True)
        assert "chunk" in (await ended(client))["a"][0]


async def test_pings_are_answered() -> None:
    async with socket_site(Engine(usual)) as site, site.connect() as client:
        pong = await client.ping(b"hello")
        await asyncio.wait_for(pong, DEADLINE_S)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.binary(max_size=40), max_size=6), st.booleans())
def test_junk_on_the_wire_ends_with_a_close_and_leaves_nothing(junk: list[bytes], framed: bool) -> None:
    """Raw bytes where frames should be, and frames whose text is junk; ``socket_site`` checks what is left."""

    async def run() -> None:
        async with socket_site(Engine(usual)) as site:
            client = await site.connect()
            await client.send(frame("a"))
            for piece in junk:
                if framed:
                    await client.send(piece.decode("latin-1"))
                else:
                    client.transport.write(piece)
            if framed:
                heard = await ended(client)
                assert all(set(said) == {"error", "status"} for said in heard.get(None, []))
                await client.close()
                assert client.close_code == 1000
            else:
                client.transport.write_eof()
                await closed(client)

    uvloop.run(run())


# -- time --------------------------------------------------------------------------------------------------------

BRISK = SocketTimes(ping_every_s=0.05, pong_within_s=0.05, stalled_s=0.3, close_within_s=0.2)


async def test_a_client_that_answers_pings_is_kept() -> None:
    async with socket_site(Engine(usual), times=BRISK) as site, site.connect() as client:
        began = time.monotonic()
        while time.monotonic() - began < 0.5:
            await client.ping()
            await asyncio.sleep(0.02)
        assert site.side.sockets == 1
        assert "chunk" in (await asked(client, frame("a")))[0]


class RawClient:
    """A socket that does only what it is told to: it reads nothing by itself."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    @classmethod
    async def open(cls, site: SocketSite, receive_bytes: int = 0) -> RawClient:
        sock = socket.socket()
        sock.setblocking(False)
        if receive_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", site.port))
        key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        head = f"GET /v1/websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{key}"
        head += "".join(f"{name}: {value}\r\n" for name, value in KEY.items()) + "\r\n"
        await loop.sock_sendall(sock, head.encode())
        client = cls(sock)
        assert b" 101 " in await client.read()
        return client

    async def read(self) -> bytes:
        return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.sock, 1 << 16), DEADLINE_S)

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        parts = []
        try:
            while part := await self.read():
                parts.append(part)
        except ConnectionResetError:
            pass
        return b"".join(parts)

    async def send(self, *texts: str, times: int = 1) -> None:
        raw = b"".join(b"\x81\xfe" + len(text).to_bytes(2, "big") + bytes(4) + text.encode() for text in texts)
        await asyncio.wait_for(asyncio.get_running_loop().sock_sendall(self.sock, raw * times), DEADLINE_S)

    def close(self) -> None:
        self.sock.close()


async def test_a_client_that_does_not_answer_pings_is_closed() -> None:
    never = asyncio.Event()
    engine = Engine(lambda _: [[chunk("Hello")], never])
    async with socket_site(engine, times=BRISK) as site:
        client = await RawClient.open(site)
        await client.send(frame("a"))
        began = time.monotonic()
        await until(lambda: site.side.sockets == 0)
        assert 0.05 < time.monotonic() - began < 1
        assert engine.upstreams[0].closed == 1
        said = await client.rest()
        assert b"\x89\x00" in said
        assert b"\x88" in said[-60:]
        assert (1011).to_bytes(2, "big") in said[-60:]
        client.close()


class Endless:
    """An upstream that says something at every read; counts what was read of it."""

    def __init__(self, size: int) -> None:
        self.piece = chunk("x" * size)
        self.read_bytes = 0
        self.closed = 0

    async def read(self) -> Sequence[bytes]:
        await asyncio.sleep(0)
        self.read_bytes += len(self.piece)
        return [self.piece]

    async def aclose(self) -> None:
        self.closed += 1


class EndlessEngine:
    def __init__(self, size: int) -> None:
        self.size = size
        self.upstreams: list[Endless] = []

    async def start(self, call: Call, replica: Replica, *, connect_s: float | None = None) -> Endless:
        self.upstreams.append(Endless(self.size))
        return self.upstreams[-1]


@pytest.mark.parametrize("count", [1, 20])
async def test_a_client_that_does_not_read_is_cut_off_and_little_is_held(count: int) -> None:
    engine = EndlessEngine(8000)
    times = SocketTimes(stalled_s=0.4)
    async with socket_site(engine, times=times) as site:
        client = await RawClient.open(site, receive_bytes=4096)
        began = time.monotonic()
        for number in range(count):
            await client.send(frame(str(number)))
        await until(lambda: site.side.sockets == 0)
        assert 0.4 <= time.monotonic() - began < 2
        assert 100_000 < site.held < MIB
        # The kernel's buffers included.
        assert sum(upstream.read_bytes for upstream in engine.upstreams) < MIB
        assert [upstream.closed for upstream in engine.upstreams] == [1] * count
        client.close()


async def test_a_slow_client_that_does_read_is_kept_and_the_upstream_waits_for_it() -> None:
    engine = EndlessEngine(8000)
    async with socket_site(engine, times=SocketTimes(stalled_s=0.3)) as site:
        client = await RawClient.open(site)
        await client.send(frame("a"))
        began = time.monotonic()
        read = 0
        while time.monotonic() - began < 1.0:
            read += len(await client.read())
            await asyncio.sleep(0.02)
        assert site.side.sockets == 1
        assert engine.upstreams[0].read_bytes < read + MIB
        # Even now it hears a cancel.
        await client.send('{"id": "a", "cancel": true}')
        await until(lambda: engine.upstreams[0].closed == 1)
        client.close()
        await until(lambda: site.side.sockets == 0)


async def test_one_long_reply_may_take_its_time() -> None:
    """Longer than a stalled client has, and than an answer to a ping that is stuck behind it."""
    answer = whole(content="x" * 4 * MIB)
    times = SocketTimes(stalled_s=0.3, ping_every_s=0.3, pong_within_s=0.3, close_within_s=0.1)
    async with socket_site(Engine(lambda _: [[answer]]), times=times) as site:
        client = await RawClient.open(site)
        await client.send(frame("a", stream=False))
        read, began = b"", time.monotonic()
        async with asyncio.timeout(DEADLINE_S):
            while b'"done":true' not in read[-500:]:
                read += await client.read()
                await asyncio.sleep(0.02)
        assert time.monotonic() - began > 0.6
        client.close()


async def test_nonsense_from_a_client_that_does_not_read_is_not_answered_without_end() -> None:
    async with socket_site(Engine(usual), times=SocketTimes(stalled_s=9.0)) as site:
        client = await RawClient.open(site, receive_bytes=4096)
        flood = asyncio.create_task(_flood(client))
        await until(lambda: site.paused)
        # To answer as much takes a while of its own, by which no client can be measured.
        site.side.times = SocketTimes(stalled_s=0.5)
        await until(lambda: site.side.sockets == 0)
        flood.cancel()
        await asyncio.wait((flood,))
        assert 100_000 < site.held < MIB
        client.close()


async def test_others_have_their_turn_while_nonsense_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = most = 0

    def counted(*asked: Any) -> Any:
        nonlocal looked
        looked += 1
        return heard(*asked)

    monkeypatch.setattr(websocket_connection, "heard", counted)
    async with socket_site(Engine(usual)) as site:
        client = await RawClient.open(site)
        await client.send("{}", times=3000)
        async with asyncio.timeout(DEADLINE_S):
            while looked < 3000:
                before = looked
                await asyncio.sleep(0)
                most = max(most, looked - before)
        client.close()
    # Two kilobytes, of which a frame takes eight bytes.
    assert 0 < most <= 257


async def _flood(client: RawClient) -> None:
    while True:
        await client.send("{}", times=5000)


async def test_what_was_held_back_is_read_once_the_client_reads() -> None:
    async with socket_site(Engine(usual)) as site:
        client = await RawClient.open(site, receive_bytes=4096)
        sending = asyncio.create_task(client.send("{}", times=20_000))
        count, last = 0, b""
        async with asyncio.timeout(DEADLINE_S):
            while count < 20_000:
                last = last[-30:] + await client.read()
                count += last.count(b'"status":400') - last[:30].count(b'"status":400')
        await sending
        client.close()
        await until(lambda: site.side.sockets == 0)


# -- the gateway's own end ---------------------------------------------------------------------------------------


async def test_draining_lets_requests_end_and_takes_no_new_ones() -> None:
    gate = asyncio.Event()
    async with socket_site(Engine(lambda _: [[chunk("Hello")], gate, *STREAM])) as site:
        async with site.connect() as busy, site.connect() as idle:
            await busy.send(frame("a"))
            await hear(busy)
            site.side.drain()
            assert (await closed(idle))[0] == 1001
            refused, _ = await asked(busy, frame("b"))
            assert code(refused) == "gateway_stopping"
            gate.set()
            assert (await ended(busy))["a"][-1]["done"] is True
            assert (await closed(busy))[0] == 1001
        await until(lambda: site.side.sockets == 0)
        assert {line.status for line in site.requests()} == {200}


async def test_stopping_tells_every_request_and_closes() -> None:
    never = asyncio.Event()
    engine = Engine(lambda _: [[chunk("Hello")], never])
    async with socket_site(engine) as site, site.connect() as client, site.connect() as idle:
        for number in range(3):
            await client.send(frame(str(number)))
        for _ in range(3):
            await hear(client)
        stopping = asyncio.create_task(site.side.stop())
        for frames in (await ended(client, 3)).values():
            error, done = frames
            assert (code(error), error["status"]) == ("gateway_stopping", 503)
            assert "cancelled" not in done
        assert (await closed(client))[0] == 1001
        assert (await closed(idle))[0] == 1001
        await asyncio.wait_for(stopping, DEADLINE_S)
        assert [upstream.closed for upstream in engine.upstreams] == [1] * 3
        assert site.side.sockets == 0


async def test_stopping_does_not_wait_for_a_client_that_does_not_read() -> None:
    engine = EndlessEngine(8000)
    async with socket_site(engine, times=SocketTimes(close_within_s=0.2)) as site:
        client = await RawClient.open(site, receive_bytes=4096)
        await client.send(frame("a"))
        await until(lambda: site.transports[0].get_write_buffer_size() > 100_000)
        began = time.monotonic()
        await asyncio.wait_for(site.side.stop(), DEADLINE_S)
        assert time.monotonic() - began < 1
        assert engine.upstreams[0].closed == 1
        client.close()


async def test_a_client_that_never_closes_is_not_waited_for() -> None:
    async with socket_site(Engine(usual), times=SocketTimes(close_within_s=0.2)) as site:
        client = await RawClient.open(site)
        site.side.drain()
        await until(lambda: site.side.sockets == 0)
        assert b"\x88\x02\x03\xe9" in await client.rest()
        client.close()
