"""The OpenAI engine: the law of engines, the dialects of its imitators, and what goes upstream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import msgspec
import pytest

from penstock.core import errors
from penstock.core.chat import Kind, chunk_view
from penstock.core.errors import Fault, PenstockError
from penstock.core.serving import Replica
from penstock.engines import config
from penstock.engines.openai import OpenAI
from tests.contracts.double import Asked, Double, Played, Script, sliced
from tests.contracts.engine import KEY, TEXT, EngineContract, Scene, call, drained, finish, said, used
from tests.engines.recorded import recorded, refusals

SSE = {"Content-Type": "text/event-stream; charset=utf-8"}
JSON = {"Content-Type": "application/json"}
FAULTS: dict[str, Fault] = {
    "400-context-openai": errors.CONTEXT_LENGTH_EXCEEDED,
    "400-image-openai": errors.UNSUPPORTED_CONTENT,
    "400-value-openai": errors.BAD_REQUEST,
    "401-key-openai": errors.UPSTREAM_REFUSED_KEY,
    "404-model-openai": errors.UPSTREAM_MODEL_UNKNOWN,
    "413-large": errors.BODY_TOO_LARGE,
    "429-rate-openai": errors.UPSTREAM_RATE_LIMITED,
    "500-openai": errors.UPSTREAM_FAILED,
    "503-overloaded-openai": errors.UPSTREAM_OVERLOADED,
    "504-nginx": errors.UPSTREAM_TIMEOUT,
    "502-nginx": errors.UPSTREAM_FAILED,
}


def sse(name: str, size: int | None = None) -> Played:
    body = recorded("openai", f"{name}.sse")
    return Played(headers=SSE, pieces=sliced(body, size or len(body)))


def whole(name: str, status: int = 200) -> Played:
    return Played(status=status, headers=JSON, pieces=[recorded("openai", f"{name}.json")])


def reply(asked: Asked, size: int = 37) -> Played:
    """What OpenAI says to a good request."""
    if asked.path == "/v1/models":
        return whole("models")
    streamed = msgspec.json.decode(asked.body).get("stream", False)
    name = {"/v1/chat/completions": "chat", "/v1/completions": "completion", "/v1/embeddings": "embeddings"}[
        asked.path
    ]
    return sse(name, size) if streamed else whole(name)


class OpenAIBench:
    faults: Mapping[str, Fault] = FAULTS

    def __init__(self, double: Double, engine: OpenAI) -> None:
        self.engine = engine
        self.double = double
        self.replica = Replica("r", "mine", f"{double.url}/v1")

    def play(self, scene: Scene) -> None:
        def script(asked: Asked) -> Played:
            good = reply(asked)
            if scene is Scene.REPLY:
                return good
            if scene is Scene.SILENT:
                return Played(head=False, then="hang")
            then = "hang" if scene is Scene.ENDLESS else "cut"
            return Played(headers=good.headers, pieces=list(good.pieces)[:20], then=then)

        self.double.script = script

    def fail(self, name: str) -> None:
        status, body = refusals("openai")[name]
        self.double.script = lambda asked: Played(status=status, headers=JSON, pieces=[body])

    async def busy(self, count: int) -> None:
        await self.double.until(lambda double: double.working >= count)

    async def idle(self) -> None:
        await self.double.idle()


class TestOpenAI(EngineContract):
    @pytest.fixture
    async def bench(self) -> AsyncIterator[OpenAIBench]:
        async with Double(reply) as double:
            engine = OpenAI("mine", config.OpenAI(api_key=KEY))
            yield OpenAIBench(double, engine)
            await engine.aclose()


async def asked_of(
    script: Script, settings: config.OpenAI | None = None, **fields: object
) -> tuple[list[bytes], Double]:
    """One call against a script: its chunks, and the double to look at."""
    engine = OpenAI("mine", settings or config.OpenAI())
    kind = fields.pop("kind", Kind.CHAT)
    assert isinstance(kind, Kind)
    try:
        async with Double(script) as double:
            replica = Replica("r", "mine", f"{double.url}/v1")
            upstream = await engine.start(call(kind, stream=bool(fields.pop("stream", False)), **fields), replica)
            return await drained(upstream), double
    finally:
        await engine.aclose()


@pytest.mark.parametrize("size", [1, 7, 64, 1 << 20])
@pytest.mark.parametrize("name", ["chat", "azure", "openrouter", "groq", "vllm", "mistral", "crlf-no-done"])
async def test_the_streams_of_its_imitators(name: str, size: int) -> None:
    chunks, _ = await asked_of(lambda asked: sse(name, size), stream=True)
    views = [chunk_view(chunk) for chunk in chunks]
    assert said(views) == TEXT
    assert finish(views) == ["stop"]
    assert used(views)[-1].prompt == 19
    assert used(views)[-1].completion == 10


async def test_chunks_are_the_upstreams_bytes() -> None:
    chunks, _ = await asked_of(lambda asked: sse("chat"), stream=True)
    wire = recorded("openai", "chat.sse")
    assert b"".join(b"data: " + chunk + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n" == wire


async def test_tool_calls_pass() -> None:
    chunks, _ = await asked_of(lambda asked: sse("tools", 50), stream=True)
    arguments = ["", ""]
    for chunk in chunks:
        for choice in chunk_view(chunk).choices:
            for piece in (choice.delta.tool_calls if choice.delta else None) or ():
                arguments[piece.index] += (piece.function.arguments if piece.function else None) or ""
    assert arguments == ['{"location":"Paris"}', '{"zone":"CET"}']


async def test_the_connection_serves_again_after_done() -> None:
    engine = OpenAI("mine", config.OpenAI())
    async with Double(lambda asked: sse("chat", 100)) as double:
        for _ in range(3):
            await drained(await engine.start(call(stream=True), Replica("r", "mine", f"{double.url}/v1")))
        assert double.connections == 1
    await engine.aclose()


async def test_it_tells_its_connections_in_use_and_idle() -> None:
    engine = OpenAI("mine", config.OpenAI())
    async with Double(lambda asked: sse("chat", 100)) as double:
        replica = Replica("r", "mine", f"{double.url}/v1")
        assert engine.sockets() == (0, 0)
        upstreams = [await engine.start(call(stream=True), replica) for _ in range(2)]
        assert engine.sockets() == (2, 0)
        await drained(upstreams[0])
        assert engine.sockets() == (1, 1)
        await upstreams[1].aclose()
        assert engine.sockets() == (0, 1)
    await engine.aclose()
    assert engine.sockets() == (0, 0)


async def test_an_error_event_comes_after_the_text_before_it() -> None:
    engine = OpenAI("mine", config.OpenAI())
    async with Double(lambda asked: sse("openrouter-error")) as double:
        upstream = await engine.start(call(stream=True), Replica("r", "mine", f"{double.url}/v1"))
        assert said([chunk_view(chunk) for chunk in await upstream.read()]) == "The quick"
        with pytest.raises(PenstockError) as caught:
            await upstream.read()
        assert caught.value.fault is errors.UPSTREAM_FAILED
        assert "Provider disconnected" in caught.value.message
        assert not await upstream.read()
        await upstream.aclose()
        await double.idle()
    await engine.aclose()


BAD: dict[str, tuple[Played, bool, Fault]] = {
    "ended early": (Played(headers=SSE, pieces=[b'data: {"choices":[]}\n\n']), True, errors.UPSTREAM_BROKEN),
    "nothing": (Played(headers=SSE), True, errors.UPSTREAM_BROKEN),
    "not JSON events": (Played(headers=SSE, pieces=[b"data: hello\n\n"]), True, errors.UPSTREAM_GARBLED),
    "broken JSON error": (Played(headers=SSE, pieces=[b'data: {"error": \n\n']), True, errors.UPSTREAM_GARBLED),
    "a web page, streamed": (Played(headers={"Content-Type": "text/html"}), True, errors.UPSTREAM_GARBLED),
    "a web page": (Played(headers={"Content-Type": "text/html"}, pieces=[b"<html>"]), False, errors.UPSTREAM_GARBLED),
    "an array": (Played(headers=JSON, pieces=[b"[]"]), False, errors.UPSTREAM_GARBLED),
    "another object": (Played(headers=JSON, pieces=[b"{}"]), False, errors.UPSTREAM_GARBLED),
    "an empty body": (Played(headers=JSON), False, errors.UPSTREAM_GARBLED),
    "an error with 200": (
        Played(headers=JSON, pieces=[b'{"error":{"message":"slow down","code":429}}']),
        False,
        errors.UPSTREAM_RATE_LIMITED,
    ),
    "an error with 200, streamed": (
        Played(headers=JSON, pieces=[b'{"error":{"message":"slow down","code":429}}']),
        True,
        errors.UPSTREAM_RATE_LIMITED,
    ),
    "choices that are none": (Played(headers=JSON, pieces=[b'{"choices":5}']), True, errors.UPSTREAM_GARBLED),
    "a redirect": (Played(status=301, headers={"Location": "/v2"}), False, errors.UPSTREAM_FAILED),
    "a refusal cut off": (Played(status=503, pieces=[b'{"err'], then="cut"), False, errors.UPSTREAM_OVERLOADED),
}


@pytest.mark.parametrize("name", BAD)
async def test_what_is_not_the_protocol(name: str) -> None:
    played, stream, fault = BAD[name]
    with pytest.raises(PenstockError) as caught:
        await asked_of(lambda asked: played, stream=stream)
    assert caught.value.fault is fault, caught.value.message


async def test_retry_after_is_read_from_the_headers() -> None:
    status, body = refusals("openai")["429-rate-openai"]
    played = Played(status=status, headers={"retry-after-ms": "2500"}, pieces=[body])
    with pytest.raises(PenstockError) as caught:
        await asked_of(lambda asked: played)
    assert caught.value.retry_after == 2.5


async def test_a_server_that_does_not_stream_is_made_to() -> None:
    for size in (10, 1 << 20):
        body = recorded("openai", "chat.json")
        chunks, _ = await asked_of(lambda asked: Played(headers=JSON, pieces=sliced(body, size)), stream=True)  # noqa: B023
        views = [chunk_view(chunk) for chunk in chunks]
        assert said(views) == TEXT
        assert finish(views) == ["stop"]
        assert [view.object for view in views] == ["chat.completion.chunk"] * 3
        assert used(views)[0].completion == 10
        assert not any(b"\n" in chunk for chunk in chunks)
    chunks, _ = await asked_of(lambda asked: whole("tools"), stream=True)
    first = chunk_view(chunks[0]).choices[0].delta
    assert first is not None
    assert [(piece.index, piece.id) for piece in first.tool_calls or ()] == [(0, "call_abc123"), (1, "call_b")]
    chunks, _ = await asked_of(lambda asked: whole("completion"), stream=True, kind=Kind.COMPLETION)
    assert said([chunk_view(chunk) for chunk in chunks]) == TEXT


# -- what goes upstream --------------------------------------------------------------------------------------------


def sent(double: Double, number: int = 0) -> dict[str, object]:
    body = msgspec.json.decode(double.asked[number].body)
    assert isinstance(body, dict)
    return body


async def test_the_client_s_fields_pass_and_ours_are_spliced_in() -> None:
    _, double = await asked_of(
        reply, stream=True, seed=7, odd={"x": [1.0, 2]}, stream_options={"include_obfuscation": False}
    )
    assert sent(double) == {
        "model": "mine",
        "messages": [{"role": "user", "content": "Say it."}],
        "stream": True,
        "seed": 7,
        "odd": {"x": [1.0, 2]},
        "stream_options": {"include_obfuscation": False, "include_usage": True},
    }
    assert b'{"x":[1.0,2]}' in double.asked[0].body
    _, double = await asked_of(reply, stream_options={"include_usage": True})
    assert "stream" not in sent(double)
    assert "stream_options" not in sent(double)
    _, double = await asked_of(reply, kind=Kind.EMBEDDING, encoding_format="base64")
    assert sent(double) == {"model": "mine", "input": "Say it.", "encoding_format": "base64"}


@pytest.mark.parametrize(("given", "expected"), [(None, "mine"), ("gpt-4.1", "gpt-4.1"), ("*", "svc")])
async def test_the_name_sent_upstream(given: str | None, expected: str) -> None:
    _, double = await asked_of(reply, config.OpenAI(model=given))
    assert sent(double)["model"] == expected


async def test_bad_stream_options_are_the_clients() -> None:
    with pytest.raises(PenstockError) as caught:
        await asked_of(reply, stream=True, stream_options="yes")
    assert caught.value.fault is errors.INVALID_TYPE
    assert caught.value.param == "stream_options"


async def test_a_server_without_stream_options_is_asked_once_more_and_then_known() -> None:
    def old(asked: Asked) -> Played:
        if b"include_usage" in asked.body:
            return Played(
                status=422,
                headers=JSON,
                pieces=[b'{"detail":[{"loc":["body","stream_options"],"msg":"Extra inputs are not permitted"}]}'],
            )
        return sse("vllm")

    engine = OpenAI("mine", config.OpenAI())
    async with Double(old) as double:
        replica = Replica("r", "mine", f"{double.url}/v1")
        for _ in range(2):
            chunks = await drained(await engine.start(call(stream=True), replica))
            assert said([chunk_view(chunk) for chunk in chunks]) == TEXT
        assert len(double.asked) == 3
        assert "stream_options" not in sent(double, 2)
    await engine.aclose()


async def test_keys_take_turns_and_headers_are_added() -> None:
    engine = OpenAI("mine", config.OpenAI(api_key=["k1", "k2", "none"], headers={"X-Org": "o"}))
    async with Double(reply) as double:
        for _ in range(3):
            await drained(await engine.start(call(), Replica("r", "mine", f"{double.url}/v1")))
        assert [asked.headers["authorization"] for asked in double.asked] == ["Bearer k1", "Bearer k2", "Bearer k1"]
        assert double.asked[0].headers["x-org"] == "o"
        assert double.asked[0].headers["x-request-id"] == "req-1"
    await engine.aclose()


async def test_the_trace_goes_along_with_each_request_and_does_not_stay() -> None:
    engine = OpenAI("mine", config.OpenAI())
    lines = b"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\ntracestate: a=1,b=2\r\n"
    async with Double(reply) as double:
        replica = Replica("r", "mine", f"{double.url}/v1")
        for trace in (lines, b""):
            await drained(await engine.start(msgspec.structs.replace(call(), trace=trace), replica))
        first, second = (asked.headers for asked in double.asked)
        assert first["traceparent"] == "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        assert first["tracestate"] == "a=1,b=2"
        assert first["x-request-id"] == "req-1"
        assert not {"traceparent", "tracestate"} & set(second)
    await engine.aclose()


@pytest.mark.parametrize("key", ["", "none"])
async def test_no_key_and_the_replicas_key(key: str) -> None:
    _, double = await asked_of(reply, config.OpenAI(api_key=key))
    assert "authorization" not in double.asked[0].headers
    engine = OpenAI("mine", config.OpenAI(api_key=key))
    async with Double(reply) as double:
        await drained(await engine.start(call(), Replica("r", "mine", f"{double.url}/v1", key="its-own")))
        assert double.asked[0].headers["authorization"] == "Bearer its-own"
    await engine.aclose()


async def test_azure_s_query_stays_at_the_end() -> None:
    engine = OpenAI("mine", config.OpenAI(headers={"api-key": KEY}))
    async with Double(lambda asked: whole("chat")) as double:
        await drained(await engine.start(call(), Replica("r", "mine", f"{double.url}/openai/d/?api-version=2")))
        assert double.asked[0].path == "/openai/d/chat/completions?api-version=2"
        assert double.asked[0].headers["api-key"] == KEY
    await engine.aclose()


@pytest.mark.parametrize(
    ("status", "fault"),
    [
        (200, None),
        (404, None),
        (405, None),
        (301, errors.UPSTREAM_UNREACHABLE),
        (401, errors.UPSTREAM_REFUSED_KEY),
        (403, errors.UPSTREAM_REFUSED_KEY),
        (500, errors.UPSTREAM_FAILED),
        (503, errors.UPSTREAM_OVERLOADED),
    ],
)
async def test_probing(status: int, fault: Fault | None) -> None:
    engine = OpenAI("mine", config.OpenAI())
    async with Double(lambda asked: Played(status=status)) as double:
        probing = engine.probe(Replica("r", "mine", f"{double.url}/v1"))
        if fault is None:
            await probing
        else:
            with pytest.raises(PenstockError) as caught:
                await probing
            assert caught.value.fault is fault
        assert double.asked[0].path == "/v1/models"
    await engine.aclose()
