"""HTTP/2: requests, streams and bodies as over HTTP/1, many at once on one connection."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx
import openai
import pytest

from penstock.core.errors import UPSTREAM_BROKEN, PenstockError
from penstock.edge.http.config import Cors, ServerSettings
from penstock.edge.http.listening import Patience
from tests.edge.http.certificates import made, trusting
from tests.edge.http.http2_client import http2
from tests.edge.http.serving import DEADLINE_S, Answer, chunk, request, site, until, usual
from tests.gateway.doubles import Step

CHAT = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}]}
STREAMED = CHAT | {"stream": True}


async def test_requests_on_one_connection() -> None:
    async with site(usual) as here, http2(here) as client:
        whole = await client.answer(client.post(CHAT, x_request_id="mine"))
        assert (whole.status, whole.headers["x-request-id"]) == (200, "mine")
        assert json.loads(whole.body)["choices"][0]["message"]["content"] == "Hello there"
        assert int(whole.headers["content-length"]) == len(whole.body)
        assert "date" in whole.headers
        assert not {"connection", "transfer-encoding", "keep-alive"} & set(whole.headers)
        streamed = await client.answer(client.post(STREAMED))
        assert streamed.body.endswith(b"data: [DONE]\n\n")
        assert (await client.get("/v1/models")).status == 200
        assert (await client.get("/nowhere?key=1")).error["code"] == "unknown_url"
        lines = await here.logged(4)
        assert [(line.method, line.path, line.status) for line in lines] == [
            ("POST", "/v1/chat/completions", 200),
            ("POST", "/v1/chat/completions", 200),
            ("GET", "/v1/models", 200),
            ("GET", "/nowhere", 404),
        ]
        assert lines[0].client == "127.0.0.1"
        assert here.app.listening is not None
        assert here.app.listening.connections == 1


async def test_over_tls_by_alpn(tmp_path: Path) -> None:
    files = made(tmp_path)
    async with (
        site(usual, settings=ServerSettings(tls=files)) as here,
        http2(here, trusting(files, "h2")) as client,
    ):
        assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        ids = [client.post(STREAMED) for _ in range(20)]
        for id in ids:
            assert (await client.answer(id)).body.endswith(b"data: [DONE]\n\n")


async def test_a_preface_in_pieces() -> None:
    async with site(usual) as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0":
            writer.write(bytes((byte,)))
            await asyncio.sleep(0)  # pace: each in a packet of its own
        assert (await reader.readexactly(9))[3] == 4
        writer.close()


async def test_a_method_that_begins_like_a_preface() -> None:
    async with site(usual) as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        writer.write(b"P")
        await asyncio.sleep(0.01)  # pace: in a packet of its own
        writer.write(request("POST", "/v1/chat/completions", json.dumps(CHAT).encode())[1:])
        assert b" 200 OK" in await reader.readuntil(b"\r\n")
        writer.close()


async def test_many_streams_interleave() -> None:
    """Each stream gets its chunks as they come, whatever the others wait for."""
    gates = [asyncio.Event() for _ in range(20)]

    def script(call: object) -> Answer:
        number = len(here.engine.calls) - 1
        return [[chunk(f"first {number}")], gates[number], [chunk(finish="stop")]]

    async with site(script) as here, http2(here) as client:
        ids = [client.post(STREAMED) for _ in gates]
        await client.until(lambda: all(b"first" in client.streams[id].body for id in ids))
        for id, gate in reversed(list(zip(ids, gates, strict=True))):
            assert not client.streams[id].ended
            gate.set()
            await client.answer(id)


async def test_head_has_no_body_and_options_no_content() -> None:
    async with site(usual) as here, http2(here) as client:
        head = await client.get("/healthz", "HEAD")
        assert (head.status, head.body) == (200, b"")
        assert int(head.headers["content-length"]) > 0
        options = await client.get("/healthz", "OPTIONS")
        assert (options.status, options.headers["allow"]) == (204, "GET, HEAD, OPTIONS")


async def test_errors_heartbeats_and_headers_beside() -> None:
    gate = asyncio.Event()
    script: list[Step] = [[chunk("Hello")], gate, PenstockError(UPSTREAM_BROKEN, "It broke.")]
    settings = ServerSettings(cors=Cors(origins=["*"]), trusted_proxies=["127.0.0.1"])
    async with (
        site(lambda _: script, settings=settings, patience=Patience(heartbeat_s=0.02, sweep_s=0.01)) as here,
        http2(here) as client,
    ):
        id = client.post(STREAMED, origin="https://a", x_forwarded_for="203.0.113.7")
        await client.until(lambda: client.streams[id].body.count(b": ping\n\n") >= 2)
        gate.set()
        reply = await client.answer(id)
        assert b'"code":"upstream_disconnected"' in reply.body
        assert reply.headers["access-control-allow-origin"] == "*"
        assert (await client.get("/healthz", authorization="")).status == 200
        assert (await client.get("/v1/models", authorization="Bearer x")).error["code"] == "invalid_api_key"
        assert (await here.logged(3))[0].client == "203.0.113.7"


async def test_a_large_body_goes_up_in_windows() -> None:
    async with site(usual) as here, http2(here) as client:
        text = json.dumps(CHAT | {"user": "x" * 900_000}).encode()
        id = client.begin("POST", "/v1/chat/completions", end=False)
        while text:
            await client.until(lambda: client.h2.local_flow_control_window(id) > 0)
            room = min(client.h2.local_flow_control_window(id), 16_384)
            part, text = text[:room], text[room:]
            client.h2.send_data(id, part, end_stream=not text)
            client.flush()
        assert (await client.answer(id)).status == 200
        assert len(here.engine.calls[0].user or "") == 900_000


async def test_a_body_that_is_too_large_is_refused_and_not_read() -> None:
    async with site(usual, max_body_bytes=100_000) as here, http2(here) as client:
        id = client.begin("POST", "/v1/chat/completions", end=False)
        for _ in range(7):
            await client.until(lambda: client.h2.local_flow_control_window(id) >= 16_384)
            client.h2.send_data(id, b" " * 16_384)
            client.flush()
        await client.until(lambda: client.streams[id].over)
        assert client.streams[id].heard().error["code"] == "request_too_large"
        await client.until(lambda: client.streams[id].reset == 0)
        declared = client.begin("POST", "/v1/chat/completions", end=False, content_length="1000000")
        assert (await client.answer(declared)).status == 413
        assert (await client.get("/healthz")).status == 200


async def test_a_client_that_waits_for_leave_gets_it() -> None:
    async with site(usual) as here, http2(here) as client:
        id = client.begin("POST", "/v1/chat/completions", end=False, expect="100-continue")
        await client.until(lambda: client.streams[id].informed == [100])
        client.h2.send_data(id, json.dumps(CHAT).encode(), end_stream=True)
        client.flush()
        assert (await client.answer(id)).status == 200
        refused = client.begin("POST", "/nowhere", end=False, expect="100-continue")
        assert (await client.answer(refused)).status == 404
        assert client.streams[refused].informed == []


# -- who leaves ------------------------------------------------------------------------------------------------------


async def test_a_stream_that_is_reset_is_cancelled() -> None:
    async with site(usual) as here, http2(here) as client:
        here.engine.hold = asyncio.Event()
        id, kept = client.post(CHAT), client.post(CHAT)
        await until(lambda: here.engine.held == 2)
        client.h2.reset_stream(id, 8)
        client.flush()
        await until(lambda: here.engine.cancelled == 1)
        here.engine.hold.set()
        assert (await client.answer(kept)).status == 200
        assert sorted(line.status for line in await here.logged(2)) == [200, 499]


async def test_a_stream_that_is_reset_in_the_middle_is_cancelled() -> None:
    gate = asyncio.Event()
    async with site(lambda _: [[chunk("Hello")], gate]) as here, http2(here) as client:
        id = client.post(STREAMED)
        await client.until(lambda: b"Hello" in client.streams[id].body)
        client.h2.reset_stream(id, 8)
        client.flush()
        await until(here.engine.closed)
        [line] = await here.logged()
        assert line.ending == "client_gone"


@pytest.mark.parametrize("how", ["abort", "eof"])
async def test_a_client_that_leaves_cancels_all_of_it(how: str) -> None:
    async with site(usual) as here, http2(here) as client:
        here.engine.hold = asyncio.Event()
        for _ in range(5):
            client.post(CHAT)
        client.begin("POST", "/v1/chat/completions", end=False)
        await until(lambda: here.engine.held == 5)
        if how == "abort":
            client.writer.transport.abort()
        else:
            client.writer.write_eof()
        await until(lambda: here.engine.cancelled == 5)
        await here.logged(6)
        assert here.app.listening is not None
        await until(lambda: not here.app.listening or not here.app.listening.connections)


async def test_a_client_that_says_goodbye_gets_what_it_has_asked_for() -> None:
    gate = asyncio.Event()
    async with site(lambda _: [[chunk("Hello")], gate, [chunk(finish="stop")]]) as here, http2(here) as client:
        id = client.post(STREAMED)
        await client.until(lambda: b"Hello" in client.streams[id].body)
        client.writer.write(b"\0\0\x08\x07\0\0\0\0\0" + bytes(8))
        gate.set()
        assert (await client.answer(id)).body.endswith(b"data: [DONE]\n\n")
        await client.end()


async def test_openais_library_speaks_it(tmp_path: Path) -> None:
    files = made(tmp_path)
    spoken: list[str] = []

    async def note(response: httpx.Response) -> None:
        spoken.append(response.http_version)

    async def said(client: openai.AsyncOpenAI) -> str:
        stream = await client.chat.completions.create(
            model="chat", messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        async with stream:
            return "".join([part.choices[0].delta.content or "" async for part in stream if part.choices])

    async with (
        site(usual, settings=ServerSettings(tls=files)) as here,
        httpx.AsyncClient(http2=True, verify=trusting(files), event_hooks={"response": [note]}) as web,
    ):
        base = f"https://127.0.0.1:{here.port}/v1"
        client = openai.AsyncOpenAI(base_url=base, api_key="key", http_client=web, max_retries=0)
        assert await asyncio.gather(*(said(client) for _ in range(30))) == ["Hello there"] * 30
        assert set(spoken) == {"HTTP/2"}
        assert here.app.listening is not None
        assert here.app.listening.connections == 1
        await here.logged(30)
        await web.aclose()
        await asyncio.sleep(0)  # pace: it ends a generator of its own in a task


async def test_curl_speaks_it(tmp_path: Path) -> None:
    files = made(tmp_path)
    async with site(usual, settings=ServerSettings(tls=files)) as here:
        try:
            curl = await asyncio.create_subprocess_exec(
                "curl", "--http2", "-sS", "--cacert", files.certificate, "-H", "authorization: Bearer key", "-d",
                json.dumps(STREAMED), "-w", "%{http_version} %{http_code}",
                f"https://127.0.0.1:{here.port}/v1/chat/completions",
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
        except FileNotFoundError:
            pytest.skip("curl is not installed")
        said, _ = await asyncio.wait_for(curl.communicate(), DEADLINE_S)
        if b"does not support" in said:
            pytest.skip("this curl has no HTTP/2")
        assert said.endswith(b"data: [DONE]\n\n2 200"), said
