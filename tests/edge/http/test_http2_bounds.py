"""HTTP/2 from clients that are slow, greedy, broken or hostile: what is held for them is bounded, and what they cost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.edge.http.http2_frames import FloodError, Frames
from penstock.edge.http.listening import HIGH_WATER, Patience
from tests.edge.http.http2_client import http2, raw
from tests.edge.http.serving import DEADLINE_S, Site, chunk, site, until, usual

CHAT = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}]}
STREAMED = CHAT | {"stream": True}
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + raw(4)
SHORT = Patience(head_s=0.2, body_s=0.2, idle_s=0.2, write_s=0.3, linger_s=0.1, sweep_s=0.02)


def cut(here: Site, reason: str) -> float:
    return here.samples.total("penstock_http_connections_cut", reason)


def connections(here: Site) -> int:
    assert here.app.listening is not None
    return here.app.listening.connections


# -- clients that do not take what they are sent ---------------------------------------------------------------------


async def test_a_stream_that_is_not_taken_holds_its_share_and_no_other_up() -> None:
    script = [[chunk("x" * 1000)] for _ in range(1000)]
    async with site(lambda _: script) as here, http2(here) as client:
        client.greedy = False
        stalled = client.post(STREAMED)
        await client.until(lambda: len(client.streams[stalled].body) >= 65_535)
        [upstream] = here.engine.upstreams
        await _still(lambda: len(upstream._steps))
        taken = 1000 - len(upstream._steps)
        assert 65_535 // 1200 < taken < (65_535 + 2 * HIGH_WATER) // 1000
        assert not client.streams[stalled].over
        client.h2.increment_flow_control_window(1 << 20)
        client.flush()
        assert (await client.get("/healthz")).status == 200
        client.greedy = True
        client.h2.increment_flow_control_window(1 << 30)
        client.h2.increment_flow_control_window(1 << 30, stalled)
        client.flush()
        assert (await client.answer(stalled)).body.endswith(b"data: [DONE]\n\n")


async def test_a_stream_that_is_not_taken_is_cut_and_the_connection_is_not() -> None:
    script = [[chunk("x" * 1000)] for _ in range(5000)]
    async with site(lambda _: script, patience=SHORT) as here, http2(here) as client:
        client.greedy = False
        client.h2.increment_flow_control_window(1 << 20)
        stalled = client.post(STREAMED)
        await client.until(lambda: client.streams[stalled].over)
        assert client.streams[stalled].reset == 8
        assert cut(here, "write") == 1
        await until(here.engine.closed)
        assert (await here.logged())[0].ending == "client_gone"
        assert (await client.get("/healthz")).status == 200


async def test_a_client_that_reads_nothing_is_cut() -> None:
    script = [[chunk("x" * 10_000)] for _ in range(5000)]
    async with site(lambda _: script, patience=SHORT) as here, http2(here) as client:
        client.h2.increment_flow_control_window(1 << 30)
        client.h2.update_settings({4: 1 << 30})
        ids = [client.post(STREAMED) for _ in range(20)]
        await client.until(lambda: client.streams[ids[0]].status)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await until(lambda: cut(here, "write"))
        await until(lambda: not connections(here))
        assert len(await here.logged(20)) == 20
        assert here.engine.closed()
        # Beside what the kernel took, which is some MB on a loopback.
        read = 20 * 5000 - sum(len(upstream._steps) for upstream in here.engine.upstreams)
        assert read * 10_000 < 32 << 20


async def test_a_client_that_only_asks_is_not_answered_without_bound() -> None:
    """Requests whose replies it never reads: neither they nor what answers its pings pile up."""
    async with site(usual, patience=SHORT) as here:
        _, writer = await asyncio.open_connection("127.0.0.1", here.port, limit=1 << 10)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        writer.write(PREFACE)
        sent = 0
        async with asyncio.timeout(DEADLINE_S):
            while not cut(here, "write") and not writer.transport.is_closing():
                writer.write(b"".join(raw(1, 5, sent + 1 + 2 * n, BLOCK) for n in range(50)))
                sent += 100
                with contextlib.suppress(ConnectionError, TimeoutError):
                    await asyncio.wait_for(writer.drain(), 0.01)
        assert cut(here, "write") + cut(here, "flood") == 1
        writer.transport.abort()


# -- slow clients ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [PREFACE[:10], PREFACE[:24], PREFACE, PREFACE + raw(4)[:5], PREFACE + raw(1, 1, 1, b"\x82\x86"), PREFACE + raw(1, 4, 1, b"\x82" * 50)[:30]],
)  # fmt: skip
async def test_a_head_that_does_not_come_is_waited_for_so_long(sent: bytes) -> None:
    async with site(usual, patience=SHORT) as here:
        assert len(await here.raw(sent)) < 200
        assert cut(here, "head") == 1


async def test_a_body_that_does_not_come_is_waited_for_so_long() -> None:
    async with site(usual, patience=SHORT) as here, http2(here) as client:
        id = client.begin("POST", "/v1/chat/completions", end=False)
        reply = await client.answer(id)
        assert (reply.status, reply.error["code"]) == (408, "request_timeout")
        assert cut(here, "body") == 1
        assert (await client.get("/healthz")).status == 200


async def test_an_idle_connection_is_closed_with_a_word() -> None:
    async with site(usual, patience=SHORT) as here, http2(here) as client:
        assert (await client.get("/healthz")).status == 200
        await client.end()
        assert client.goaway == (0, 1)
        assert cut(here, "idle") == 1


async def test_a_stream_that_runs_is_not_idle() -> None:
    gate = asyncio.Event()
    script = [[chunk("a")], gate, [chunk(finish="stop")]]
    async with site(lambda _: script, patience=SHORT) as here, http2(here) as client:
        id = client.post(STREAMED)
        await client.until(lambda: client.streams[id].body)
        await asyncio.sleep(3 * SHORT.idle_s)  # pace: longer than an idle connection is kept
        gate.set()
        await client.answer(id)


# -- floods ----------------------------------------------------------------------------------------------------------

BLOCK = bytes.fromhex("828684418a089d5c0b8170dc780f03")
RESETS = b"".join(raw(1, 5, id, BLOCK) + raw(3, 0, id, b"\0\0\0\x08") for id in range(1, 4001, 2))
FLOODS = {
    "rapid reset": RESETS,
    "settings": raw(4) * 3000,
    "pings": raw(6, 0, 0, bytes(8)) * 3000,
    "priorities": raw(2, 0, 1, b"\0\0\0\0\x10") * 3000,
    "empty data": raw(1, 4, 1, BLOCK) + raw(0, 0, 1) * 3000,
    "room": raw(8, 0, 0, b"\0\0\0\x01") * 3000,
    "unknown": raw(200) * 3000,
    "continuations": raw(1, 1, 1, BLOCK) + raw(9, 0, 1, b"") * 3000,
    "long headers": raw(1, 1, 1, BLOCK) + raw(9, 0, 1, b"\x40\x01x\x7f\x81\x7e" + bytes(16_000)) * 20,
    "long frame": b"\xff" * 40,
    "streams": b"".join(raw(1, 4, id, BLOCK) for id in range(1, 4001, 2)),
}


@pytest.mark.parametrize("flood", FLOODS)
async def test_a_flood_is_cut(flood: str) -> None:
    async with site(usual) as here:
        here.engine.hold = asyncio.Event()
        try:
            said = await here.raw(PREFACE + FLOODS[flood])
        except ConnectionResetError:
            said = b""
        assert cut(here, "flood") == 1
        assert len(said) < 200_000
        await until(lambda: not connections(here))
        assert len(here.lines) <= 600
        assert (await here.get("/healthz")).status == 200


async def test_a_bomb_of_headers_is_cut() -> None:
    """A few bytes that stand for megabytes, by the table of HPACK."""
    block = BLOCK + b"\x40\x01x\x7f\x91\x1e" + b"x" * 2320 + b"\xbe" * 5000
    async with site(usual) as here:
        assert len(await here.raw(PREFACE + raw(1, 5, 1, block))) < 200
        assert cut(here, "flood") == 1


async def test_busy_clients_are_no_flood() -> None:
    """Thousands of small chunks, each of which the client makes room for, twice."""
    script = [[chunk("x")] for _ in range(3000)]
    async with site(lambda _: script) as here, http2(here) as client:
        ids = [client.post(STREAMED) for _ in range(3)]
        for id in ids:
            stream = client.streams[id]
            while not stream.over:
                had = stream.pieces
                await client.until(lambda stream=stream, had=had: stream.pieces > had or stream.over)
                for _ in range(stream.pieces - had):
                    client.h2.increment_flow_control_window(1)
                client.flush()
            assert stream.heard().body.endswith(b"data: [DONE]\n\n")
        assert not cut(here, "flood")


async def test_one_stream_too_many_is_refused_and_may_be_tried_again() -> None:
    async with site(usual) as here, http2(here) as client:
        here.engine.hold = asyncio.Event()
        ids = [client.post(CHAT) for _ in range(103)]
        await client.until(lambda: sum(client.streams[id].over for id in ids) == 3)
        assert [client.streams[id].reset for id in ids[100:]] == [7, 7, 7]
        assert client.h2.remote_settings.max_concurrent_streams == 100
        here.engine.hold.set()
        for id in ids[:100]:
            assert (await client.answer(id)).status == 200
        assert (await client.answer(client.post(CHAT))).status == 200


async def test_headers_that_are_too_long_get_an_answer() -> None:
    async with site(usual) as here, http2(here) as client:
        reply = await client.get("/healthz", **{f"x_{n}": "y" * 8000 for n in range(9)})
        assert (reply.status, reply.error["code"]) == (431, "headers_too_large")
        assert (await client.get("/healthz", **{f"x_{n}": "y" * 8000 for n in range(7)})).status == 200


# -- what is no HTTP/2 -----------------------------------------------------------------------------------------------


async def test_what_is_no_http2_is_told_so_and_closed() -> None:
    async with site(usual) as here:
        for junk in (raw(0, 0, 0, b"x"), raw(1, 5, 2, BLOCK), raw(1, 5, 1, b"\xff" * 9), raw(9, 4, 1)):
            said = await here.raw(PREFACE + junk)
            assert said[3] == 4
            assert b"\x07\0\0\0\0\0" in said, "GOAWAY"
        await until(lambda: not connections(here))


LATE = {
    "room": raw(8, 0, 1, b"\0\0\0\x05"),
    "reset": raw(3, 0, 1, b"\0\0\0\x08"),
    "priority": raw(2, 0, 1, b"\0\0\0\0\x10"),
    "data": raw(0, 1, 1, b"x"),
}


@pytest.mark.parametrize("late", LATE)
@pytest.mark.parametrize("early", [False, True], ids=["answered", "refused before its end"])
async def test_what_comes_for_a_stream_that_has_ended_harms_no_other(late: str, early: bool) -> None:
    async with site(usual) as here, http2(here) as client:
        first = client.begin("POST", "/nowhere", end=not early)
        assert (await client.answer(first)).status == 404
        client.writer.write(LATE[late])
        assert (await client.get("/healthz")).status == 200
        assert client.goaway is None


async def test_a_path_that_is_none() -> None:
    async with site(usual) as here, http2(here) as client:
        reply = await client.get("nowhere")
        assert (reply.status, reply.error["code"]) == (400, "bad_request")


async def test_whatever_is_sent_the_server_stands() -> None:
    """Sound conversations with a few bytes changed."""
    draw = random.Random(7)
    sound = [raw(1, 4, 1, BLOCK), raw(0, 0, 1, json.dumps(CHAT).encode()), raw(3, 0, 1, b"\0\0\0\x08")]
    sound += [
        raw(4, 0, 0, b"\0\4\0\0\xff\xff"),
        raw(8, 0, 1, b"\0\0\1\0"),
        raw(6, 0, 0, bytes(8)),
        raw(9, 4, 1, BLOCK),
    ]
    sound += [
        raw(1, 5, 3, BLOCK),
        raw(7, 0, 0, bytes(8)),
        raw(2, 0, 5, b"\0\0\0\0\x10"),
        raw(1, 0x2D, 5, b"\1" + bytes(5) + BLOCK + b"\0"),
    ]
    async with site(usual, patience=SHORT) as here:
        for _ in range(150):
            sent = bytearray(PREFACE + b"".join(draw.choices(sound, k=8)))
            for _ in range(draw.randrange(6)):
                sent[draw.randrange(24, len(sent))] = draw.randrange(256)
            reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
            for at in range(0, len(sent), 40):
                writer.write(sent[at : at + 40])
            writer.write_eof()
            async with asyncio.timeout(DEADLINE_S):
                try:
                    await reader.read()
                except ConnectionResetError:
                    continue
            writer.close()
        await until(lambda: not connections(here))
        assert (await here.get("/healthz")).status == 200


# -- frames, by themselves -------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 255), st.binary(max_size=30)), max_size=30), st.data())
def test_frames_in_any_pieces_are_the_same_frames(frames: list[tuple[int, int, bytes]], data: st.DataObject) -> None:
    sent = PREFACE[:24] + b"".join(raw(kind, flags, 1, payload) for kind, flags, payload in frames)
    kept = PREFACE[:24] + b"".join(raw(kind, flags, 1, payload) for kind, flags, payload in frames if kind != 7)
    reading, said = Frames(0.0), b""
    while sent:
        size = data.draw(st.integers(1, len(sent)))
        said += reading.feed(sent[:size], 0.0)
        sent = sent[size:]
    assert said == kept
    assert reading.leaving == any(kind == 7 for kind, _, _ in frames)


def test_what_is_of_no_use_is_allowed_now_and_then_for_ever() -> None:
    reading = Frames(0.0)
    reading.feed(PREFACE, 0.0)
    for second in range(1, 1000):
        reading.feed(raw(6, 0, 0, bytes(8)) * 50, float(second))
    with pytest.raises(FloodError):
        reading.feed(raw(6, 0, 0, bytes(8)) * 1051, 1000.0)


async def _still(value: object) -> None:
    """Returns when ``value()`` has been the same for a while."""
    assert callable(value)
    async with asyncio.timeout(DEADLINE_S):
        seen, since = value(), asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() - since < 0.1:
            await asyncio.sleep(0.01)
            if value() != seen:
                seen, since = value(), asyncio.get_running_loop().time()
