"""Requests over a WebSocket: through the same gateway as over HTTP, several at once, each accounted."""

from __future__ import annotations

import asyncio
import json
import random
import time

import pytest

from penstock.core.chat import Call
from penstock.core.errors import UPSTREAM_BROKEN, UPSTREAM_RATE_LIMITED, PenstockError
from penstock.core.serving import Replica
from tests.edge.http.serving import DEADLINE_S, STREAM, Answer, Engine, chunk, failing, until, usual, vectors
from tests.edge.http.websocket_serving import asked, code, ended, frame, hear, socket_site
from tests.gateway.doubles import ScriptedUpstream, Step


async def test_a_stream_arrives_chunk_by_chunk_as_over_http() -> None:
    async with socket_site(Engine(usual)) as site, site.connect() as client:
        *chunks, done = await asked(client, frame("a"))
        said = [json.loads(json.dumps(said["chunk"])) for said in chunks]
        assert [c["choices"][0]["delta"].get("content") for c in said] == ["", "Hello", " there", None]
        assert {(c["model"], c["object"]) for c in said} == {("chat", "chat.completion.chunk")}
        headers = done.pop("headers")
        assert done == {"done": True}
        assert isinstance(headers, dict)
        assert headers["x-penstock-model"] == "m"
        await until(site.requests)
        [line] = site.requests()
        assert line.request_id == headers["x-request-id"]
        assert line.request_id.startswith("req_")
        assert (line.method, line.path, line.status, line.client) == ("WS", "/v1/chat/completions", 200, "192.0.2.1")
        assert (line.key, line.service, line.stream, line.ending) == ("k1", "chat", True, "complete")
        assert line.prompt_tokens == 7
        assert site.samples.total("penstock_http_responses", "/v1/chat/completions", "200") == 1


async def test_a_chunk_is_not_written_anew() -> None:
    odd = chunk("x").replace(b'"index": 0', b'"index":0 , "\xc3\xa4\\u00e4":  1e2 ')
    async with socket_site(Engine(lambda _: [[odd]])) as site, site.connect() as client:
        await client.send(frame("a"))
        text = await client.recv()
        assert '"index":0 , "ä\\u00e4":  1e2 ' in str(text)
        await ended(client)


async def test_a_reply_that_is_not_streamed_comes_whole() -> None:
    async with socket_site(Engine(usual)) as site, site.connect() as client:
        reply, done = await asked(client, frame("a", stream=False))
        assert set(reply) == {"reply"}
        assert json.loads(json.dumps(reply["reply"]))["choices"][0]["message"]["content"] == "Hello there"
        assert done["done"] is True


async def test_other_paths() -> None:
    async with socket_site(Engine(usual)) as site, site.connect() as client:
        vector = {"id": "v", "path": "/v1/embeddings", "body": {"model": "vectors", "input": "x"}}
        reply, _ = await asked(client, json.dumps(vector))
        assert reply["reply"] == {**json.loads(vectors([0.5, -1.0])), "model": "vectors"}
        text = {"id": "t", "path": "/v1/completions", "body": {"model": "chat", "prompt": "x", "stream": True}}
        *chunks, _ = await asked(client, json.dumps(text))
        assert all("chunk" in said for said in chunks)


async def test_a_dialect_with_named_events_keeps_their_names() -> None:
    async with socket_site(Engine(usual)) as site, site.connect() as client:
        body = {"model": "chat", "input": "hi", "stream": True}
        *said, done = await asked(client, json.dumps({"id": "r", "path": "/v1/responses", "body": body}))
        names = [event["event"] for event in said]
        assert names[0] == "response.created"
        assert names[-1] == "response.completed"
        assert names == [json.loads(json.dumps(event["chunk"]))["type"] for event in said]
        assert done["done"] is True


@pytest.mark.parametrize(
    ("text", "status", "expected"),
    [
        ('{"id": "a", "body": {"model": "chat"}}', 400, "missing_required_parameter"),
        ('{"id": "a", "body": []}', 400, "invalid_type"),
        (frame("a").replace('"chat"', '"down"'), 503, "no_replica_ready"),
        ('{"id": "a", "path": "/v1/nothing", "body": {}}', 404, "unknown_url"),
        ("[]", 400, "invalid_type"),
    ],
)
async def test_an_error_ends_its_request_and_nothing_else(text: str, status: int, expected: str) -> None:
    async with socket_site(Engine(usual)) as site, site.connect() as client:
        await client.send(text)
        error = await hear(client)
        assert (code(error), error["status"]) == (expected, status)
        if error["id"] is not None:
            assert (await hear(client))["done"] is True
        assert "chunk" in (await asked(client, frame("a")))[0]


async def test_an_upstream_s_failure_before_the_first_chunk() -> None:
    error = PenstockError(UPSTREAM_RATE_LIMITED, "Later.", retry_after=2.5)
    async with socket_site(Engine(failing(error))) as site, site.connect() as client:
        said, done = await asked(client, frame("a"))
        assert (code(said), said["status"]) == ("upstream_rate_limited", 429)
        assert json.loads(json.dumps(done["headers"]))["retry-after"] == "3"
        await until(site.requests)
        assert (site.requests()[0].status, site.requests()[0].code) == (429, "upstream_rate_limited")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
async def test_a_failure_in_mid_stream(path: str) -> None:
    steps: list[Step] = [[chunk("Hello")], PenstockError(UPSTREAM_BROKEN, "It broke.")]
    async with socket_site(Engine(lambda _: steps)) as site, site.connect() as client:
        asks = {"model": "chat", "messages": [{"role": "user", "content": "x"}], "input": "x", "stream": True}
        if path == "/v1/responses":
            del asks["messages"]
        *said, error, done = await asked(client, json.dumps({"id": "a", "path": path, "body": asks}))
        assert "chunk" in said[0]
        assert code(error) == "upstream_disconnected"
        assert done["done"] is True
        if path == "/v1/responses":
            assert said[-1]["event"] in ("error", "response.failed")
        await until(site.requests)
        assert (site.requests()[0].status, site.requests()[0].code) == (200, "upstream_disconnected")


async def test_a_fault_of_ours_is_told_without_its_details() -> None:
    def script(_: Call) -> Answer:
        return ZeroDivisionError("inner secret")

    async with socket_site(Engine(script)) as site, site.connect() as client:
        error, done = await asked(client, frame("a"))
        assert (code(error), error["status"], done["done"]) == ("internal_error", 500, True)
        assert "inner secret" not in json.dumps(error)


async def test_work_that_somebody_else_breaks_off_does_not_look_complete() -> None:
    async with socket_site(Engine(lambda _: asyncio.CancelledError())) as site, site.connect() as client:
        error, done = await asked(client, frame("a"))
        assert (code(error), "cancelled" in done) == ("gateway_stopping", False)


async def test_bytes_that_are_not_text_do_not_end_the_socket() -> None:
    broken = chunk("HERE").replace(b"HERE", b"\xff\xfe")
    async with socket_site(Engine(lambda _: [[chunk("ok")], [broken]])) as site, site.connect() as client:
        said = await asked(client, frame("a"))
        assert "\ufffd\ufffd" in json.dumps(said, ensure_ascii=False)


async def test_a_key_that_is_taken_back_opens_nothing_more() -> None:
    async with socket_site(Engine(usual)) as site, site.connect() as client:
        assert "chunk" in (await asked(client, frame("a")))[0]
        site.keyring.revoked = True
        error, _ = await asked(client, frame("b"))
        assert (code(error), error["status"]) == ("key_revoked", 401)


# -- several at once ---------------------------------------------------------------------------------------------


def gated(gates: list[asyncio.Event]) -> list[Step]:
    return [[chunk("0")], *(step for gate in gates for step in (gate, [chunk("x")]))]


async def test_a_cancel_stops_the_upstream_at_once_and_is_confirmed() -> None:
    never = asyncio.Event()
    engine = Engine(lambda _: [[chunk("Hello")], never])
    async with socket_site(engine) as site, site.connect() as client:
        await client.send(frame("a"))
        await hear(client)
        began = time.monotonic()
        await client.send('{"id": "a", "cancel": true}')
        done = await hear(client)
        assert time.monotonic() - began < 0.2
        assert engine.upstreams[0].closed == 1
        assert (done["id"], done["done"], done["cancelled"]) == ("a", True, True)
        assert site.requests()[0].ending == "client_gone"
        # Its id is free, and a cancel that comes too late is nothing.
        await client.send('{"id": "a", "cancel": true}')
        await client.send(frame("a"))
        assert "chunk" in await hear(client)


class Lingering(ScriptedUpstream):
    """Its closing takes until ``let_go``."""

    let_go: asyncio.Event
    closing = 0

    async def aclose(self) -> None:
        self.closing += 1
        await self.let_go.wait()
        await super().aclose()


class LingeringEngine:
    def __init__(self) -> None:
        self.upstream = Lingering(STREAM)
        self.upstream.let_go = asyncio.Event()

    async def start(self, call: Call, replica: Replica, *, connect_s: float | None = None) -> ScriptedUpstream:
        return self.upstream


async def test_a_cancel_that_comes_while_its_request_ends_breaks_nothing_off() -> None:
    engine = LingeringEngine()
    async with socket_site(engine) as site, site.connect() as client:
        await client.send(frame("a"))
        await until(lambda: engine.upstream.closing)
        await client.send('{"id": "a", "cancel": true}')
        pong = await client.ping()
        await asyncio.wait_for(pong, DEADLINE_S)
        assert (site.side.requests, engine.upstream.closed) == (1, 0)
        engine.upstream.let_go.set()
        [*_, done] = (await ended(client))["a"]
        assert "cancelled" not in done
        assert (engine.upstream.closed, site.requests()[0].ending) == (1, "complete")


async def test_a_cancel_before_there_is_an_answer() -> None:
    engine = Engine(usual)
    engine.hold = asyncio.Event()
    async with socket_site(engine) as site, site.connect() as client:
        await client.send(frame("a"))
        await until(lambda: engine.held)
        await client.send('{"id": "a", "cancel": true}')
        done = await hear(client)
        assert done["cancelled"] is True
        assert engine.cancelled == 1
        assert (site.requests()[0].status, site.requests()[0].bytes) == (499, 0)


async def test_a_cancel_right_behind_its_request() -> None:
    """Both are read at once, before the request has taken a step."""
    async with socket_site(Engine(usual)) as site, site.connect() as client:
        sent = [frame("a").encode(), b'{"id": "a", "cancel": true}']
        client.transport.write(
            b"".join(b"\x81\xfe" + len(text).to_bytes(2, "big") + bytes(4) + text for text in sent)
        )
        said = await hear(client)
        assert (said["id"], said["done"], said["cancelled"]) == ("a", True, True)
        await until(site.requests)


async def test_an_id_serves_one_request_at_a_time() -> None:
    never = asyncio.Event()
    async with socket_site(Engine(lambda _: [[chunk("Hello")], never])) as site, site.connect() as client:
        await client.send(frame("a"))
        await hear(client)
        await client.send(frame("a"))
        error = await hear(client)
        assert (error["id"], code(error)) == (None, "invalid_value")
        await client.send('{"id": "a", "cancel": true}')
        assert (await hear(client))["cancelled"] is True


async def test_there_is_a_bound_on_requests_at_once() -> None:
    gate = asyncio.Event()
    async with socket_site(Engine(lambda _: [gate, *STREAM])) as site, site.connect() as client:
        for number in range(70):
            await client.send(frame(str(number)))
        refused = await ended(client, 6)
        assert {code(frames[0]) for frames in refused.values()} == {"queue_full"}
        assert (site.side.sockets, site.side.requests) == (1, 64)
        gate.set()
        assert len(await ended(client, 64)) == 64


@pytest.mark.parametrize("seed", range(5))
async def test_twenty_interleaved_with_cancels(seed: int) -> None:
    """Whatever the order: every request ends once, is accounted once, its upstream closed once, and nothing is left."""
    rng = random.Random(seed)
    gates = {str(number): [asyncio.Event() for _ in range(4)] for number in range(20)}
    engine = Engine(lambda call: gated(gates[call.user or ""]))
    async with socket_site(engine) as site, site.connect() as client:
        for id in gates:
            body = {"model": "chat", "stream": True, "user": id, "messages": [{"role": "user", "content": id}]}
            await client.send(json.dumps({"id": id, "body": body}))
        heard = asyncio.create_task(ended(client, 20))
        cancelled = set(rng.sample(sorted(gates), 8))
        moves = [(id, gate) for id, own in gates.items() for gate in own]
        rng.shuffle(moves)
        for id, gate in moves:
            if id in cancelled and rng.random() < 0.5:
                await client.send(json.dumps({"id": id, "cancel": True}))
            else:
                gate.set()
            await asyncio.sleep(0)
        for id in cancelled:
            await client.send(json.dumps({"id": id, "cancel": True}))
        answers = await heard
        assert set(answers) == set(gates)
        for id, (*chunks, done) in answers.items():
            assert all("chunk" in said for said in chunks)
            if "cancelled" not in done:
                assert len(chunks) == 5
            else:
                assert id in cancelled
        await until(lambda: site.side.requests == 0)
        assert [upstream.closed for upstream in engine.upstreams] == [1] * len(engine.upstreams)
        assert len({line.request_id for line in site.requests()}) == 20
        gone = [line for line in site.requests() if line.ending != "complete"]
        assert len(gone) == sum("cancelled" in frames[-1] for frames in answers.values())


async def test_a_socket_that_closes_takes_its_requests_along() -> None:
    never = asyncio.Event()
    engine = Engine(lambda _: [[chunk("Hello")], never])
    async with socket_site(engine) as site:
        for abrupt in (False, True):
            engine.upstreams.clear()
            client = await site.connect()
            for number in range(5):
                await client.send(frame(str(number)))
            await until(lambda: len(engine.upstreams) == 5)
            if abrupt:
                client.transport.abort()
            else:
                await client.close()
                assert client.close_code == 1000
            await until(lambda: site.side.sockets == 0)
            assert [upstream.closed for upstream in engine.upstreams] == [1] * 5
        assert {line.ending for line in site.requests()} == {"client_gone"}
        assert len(site.requests()) == 10
