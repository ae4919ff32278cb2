"""HTTP/1 over real sockets: HEAD, OPTIONS, 100-continue, old clients, refusals of those who still send, resets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator
from functools import partial

import pytest

from tests.edge.http.serving import DEADLINE_S, STREAM, Site, heard, request, site, until, usual

CHAT = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}]}
CHAT_PATH = "/v1/chat/completions"
WHOLE = json.dumps(CHAT).encode()
STREAMED = json.dumps({**CHAT, "stream": True}).encode()
LIMIT = 100_000


@pytest.fixture
async def here() -> AsyncIterator[Site]:
    async with site(usual, max_body_bytes=LIMIT) as running:
        yield running


@pytest.mark.parametrize(
    "path", ["/healthz", "/readyz", "/metrics", "/v1/models", "/v1/models/chat", "/openapi.json"]
)
async def test_head_is_get_without_its_body(here: Site, path: str) -> None:
    got, head = await here.get(path), await here.get(path, "HEAD")
    assert (head.status, head.body) == (got.status, b"")
    varies = {"x-request-id", "date"}
    assert {n: v for n, v in head.headers.items() if n not in varies} == {
        n: v for n, v in got.headers.items() if n not in varies
    }


async def test_a_refusal_of_a_head_has_no_body(here: Site) -> None:
    for path in ("/nowhere", CHAT_PATH):
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        writer.write(request("HEAD", path, connection="") + request("GET", "/healthz"))
        replies = (await reader.read()).split(b"HTTP/1.1 ")[1:]
        writer.close()
        assert [reply[:3] for reply in replies] == [b"404" if path == "/nowhere" else b"405", b"200"]
        assert replies[0].endswith(b"\r\n\r\n")


@pytest.mark.parametrize("path", [CHAT_PATH, "/v1/models", "/healthz"])
async def test_options_say_what_there_is_and_need_no_key(here: Site, path: str) -> None:
    reply = await here.get(path, "OPTIONS", authorization="")
    assert (reply.status, reply.body) == (204, b"")
    assert "OPTIONS" in reply.headers["allow"]
    assert "content-length" not in reply.headers


# -- the version before ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", ["keep-alive", "Keep-Alive"])
async def test_http_1_0_that_stays(here: Site, keep: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
    old = request("POST", CHAT_PATH, WHOLE, connection=keep).replace(b"HTTP/1.1", b"HTTP/1.0")
    for _ in range(3):
        writer.write(old)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert b"\r\nconnection: keep-alive\r\n" in head
        await reader.readexactly(int(heard(head).headers["content-length"]))
    writer.write(old.replace(b"connection: " + keep.encode() + b"\r\n", b""))
    last = heard(await reader.read())
    assert (last.status, last.headers["connection"]) == (200, "close")
    writer.close()


async def test_http_1_0_is_streamed_to_until_the_end(here: Site) -> None:
    reply = await here.raw(
        request("POST", CHAT_PATH, STREAMED, connection="keep-alive").replace(b"TP/1.1", b"TP/1.0")
    )
    head, _, body = reply.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert b"\r\nconnection: close" in head
    assert body.startswith(b"data: ")
    assert body.endswith(b"data: [DONE]\n\n")


async def test_http_1_0_knows_no_100(here: Site) -> None:
    reply = await here.raw(request("POST", CHAT_PATH, WHOLE, expect="100-continue").replace(b"TP/1.1", b"TP/1.0"))
    assert reply.startswith(b"HTTP/1.1 200 ")


# -- 100-continue ----------------------------------------------------------------------------------------------------


async def test_who_waits_for_100_keeps_its_connection(here: Site) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
    for _ in range(3):
        expects = request("POST", CHAT_PATH, connection="", expect="100-continue", content_length=str(len(WHOLE)))
        writer.write(expects)
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(WHOLE)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        await reader.readuntil(b'"total_tokens": 10}}')
    writer.close()


async def test_who_does_not_wait_is_not_told(here: Site) -> None:
    reply = await here.raw(request("POST", CHAT_PATH, WHOLE, expect="100-continue"))
    assert reply.startswith(b"HTTP/1.1 200 ")


async def test_a_body_that_is_too_large_by_its_own_word_is_not_asked_for(here: Site) -> None:
    large = request("POST", CHAT_PATH, connection="", expect="100-continue", content_length=str(LIMIT + 1))
    reply = heard(await here.raw(large))
    assert (reply.status, reply.error["code"], reply.headers["connection"]) == (413, "request_too_large", "close")


# -- those who still send --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["length", "chunks"])
@pytest.mark.parametrize("key", ["key", "wrong"])
async def test_who_sends_10_mb_in_one_go_sees_its_refusal(here: Site, framing: str, key: str) -> None:
    """As an ordinary client does: it reads when it has sent, or when it cannot."""
    size = 10 << 20
    given = f"Bearer {key}"
    if framing == "length":
        body = b"x" * size
        head = request("POST", CHAT_PATH, connection="", authorization=given, content_length=str(size))
    else:
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (size, b"x" * size)
        head = request(
            "POST", CHAT_PATH, connection="", authorization=given, content_length="", transfer_encoding="chunked"
        )
    for _ in range(5):
        status, connection = await asyncio.to_thread(_sends_then_reads, here.port, head + body)
        assert (status, connection) == (413 if key == "key" else 401, "close")


def _sends_then_reads(port: int, sent: bytes) -> tuple[int, str]:
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as peer:
        with contextlib.suppress(ConnectionError):
            peer.sendall(sent)
        read = b""
        while b"\r\n\r\n" not in read and (piece := peer.recv(65536)):
            read += piece
    reply = heard(read)
    return reply.status, reply.headers["connection"]


# -- resets ----------------------------------------------------------------------------------------------------------

POST = request("POST", CHAT_PATH, WHOLE, connection="")
STREAMING = request("POST", CHAT_PATH, STREAMED, connection="")
STAGES = {
    "connected": (b"", b""),
    "in the head": (POST[:40], b""),
    "in the body": (POST[:-10], b""),
    "in the work": (POST, b""),
    "in the work, with others ahead": (POST * 5, b""),
    "in a stream": (STREAMING, b"Hello"),
    "in a stream, with another ahead": (STREAMING * 2, b"Hello"),
    "lingering": (b"garbage\r\n\r\n", b"}}"),
}


@pytest.mark.parametrize("stage", STAGES)
async def test_a_reset_leaves_nothing(stage: str, caplog: pytest.LogCaptureFixture) -> None:
    sent, until_read = STAGES[stage]
    works, streams = "work" in stage, "stream" in stage
    async with site(lambda _: [*STREAM[:2], asyncio.Event(), STREAM[2]]) as here:
        if works:
            here.engine.hold = asyncio.Event()
        assert (await here.get("/healthz")).status == 200
        listening = here.app.listening
        assert listening is not None
        for count in range(1, 6):
            with socket.create_connection(("127.0.0.1", here.port), timeout=DEADLINE_S) as peer:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                peer.sendall(sent)
                if works:
                    await until(partial(_calls, here, count))
                read = b""
                while until_read not in read:
                    read += await asyncio.to_thread(peer.recv, 65536)
            await until(lambda: not listening.connections and not listening.exchanges)
        assert here.engine.closed()
        assert len(here.engine.calls) == (5 if works or streams else 0)
        assert {line.status for line in here.lines[1:]} <= {200 if streams else 499}
        assert (await here.get("/healthz")).status == 200
    assert not [record for record in caplog.records if record.exc_info]


def _calls(here: Site, count: int) -> bool:
    return len(here.engine.calls) == count
