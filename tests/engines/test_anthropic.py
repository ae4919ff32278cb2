"""The Anthropic engine: the law of engines against its real wire, and its answers in OpenAI's shape."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping

import msgspec
import pytest
from anthropic.types import Message
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from penstock.core import errors
from penstock.core.chat import Kind, chunk_view
from penstock.core.errors import Fault, PenstockError
from penstock.core.serving import Replica
from penstock.engines import config
from penstock.engines.anthropic import Anthropic
from penstock.engines.faults import Origin, http_error
from tests.contracts.double import Asked, Double, Played, Script, sliced
from tests.contracts.engine import KEY, TEXT, EngineContract, Scene, call, drained, finish, said, used
from tests.engines.recorded import recorded, refusals

SSE = {"Content-Type": "text/event-stream; charset=utf-8"}
JSON = {"Content-Type": "application/json"}
FAULTS: dict[str, Fault] = {
    "400-request": errors.BAD_REQUEST,
    "400-context": errors.CONTEXT_LENGTH_EXCEEDED,
    "400-context-and-output": errors.CONTEXT_LENGTH_EXCEEDED,
    "400-credit": errors.UPSTREAM_REFUSED_KEY,
    "401-key": errors.UPSTREAM_REFUSED_KEY,
    "403-permission": errors.UPSTREAM_REFUSED_KEY,
    "404-model": errors.UPSTREAM_MODEL_UNKNOWN,
    "413-large": errors.BODY_TOO_LARGE,
    "429-rate": errors.UPSTREAM_RATE_LIMITED,
    "500-api": errors.UPSTREAM_FAILED,
    "504-timeout": errors.UPSTREAM_TIMEOUT,
    "529-overloaded": errors.UPSTREAM_OVERLOADED,
}


def sse(name: str, size: int = 41) -> Played:
    return Played(headers=SSE, pieces=sliced(recorded("anthropic", f"{name}.sse"), size))


def whole(name: str) -> Played:
    return Played(headers=JSON, pieces=[recorded("anthropic", f"{name}.json")])


def reply(asked: Asked) -> Played:
    """What Anthropic says to a good request; a request that is not one of its API is refused as it does."""
    if asked.path == "/v1/models":
        return whole("models")
    body = msgspec.json.decode(asked.body)
    if (
        asked.path != "/v1/messages"
        or asked.headers.get("x-api-key") != KEY
        or "anthropic-version" not in asked.headers
    ):
        return Played(status=404, headers=JSON, pieces=[recorded("anthropic", "404-model.json")])
    if not {"model", "max_tokens", "messages"} <= set(body):
        return Played(status=400, headers=JSON, pieces=[recorded("anthropic", "400-request.json")])
    return sse("text") if body.get("stream") else whole("text")


class AnthropicBench:
    faults: Mapping[str, Fault] = FAULTS

    def __init__(self, double: Double, engine: Anthropic) -> None:
        self.engine = engine
        self.double = double
        self.replica = Replica("r", "mine", double.url)

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
        status, body = refusals("anthropic")[name]
        self.double.script = lambda asked: Played(status=status, headers=JSON, pieces=[body])

    async def busy(self, count: int) -> None:
        await self.double.until(lambda double: double.working >= count)

    async def idle(self) -> None:
        await self.double.idle()


class TestAnthropic(EngineContract):
    kinds = frozenset({Kind.CHAT})

    @pytest.fixture
    async def bench(self) -> AsyncIterator[AnthropicBench]:
        async with Double(reply) as double:
            engine = Anthropic("mine", config.Anthropic(api_key=KEY))
            yield AnthropicBench(double, engine)
            await engine.aclose()


async def asked_of(script: Script, settings: config.Anthropic | None = None, **fields: object) -> list[bytes]:
    """One call against a script: its chunks."""
    engine = Anthropic("mine", settings or config.Anthropic(api_key=KEY))
    try:
        async with Double(script) as double:
            request = call(stream=bool(fields.pop("stream", False)), **fields)
            return await drained(await engine.start(request, Replica("r", "mine", double.url)))
    finally:
        await engine.aclose()


def test_every_recorded_refusal_is_in_the_table() -> None:
    assert set(refusals("anthropic")) == set(FAULTS)
    for name, (status, body) in refusals("anthropic").items():
        assert http_error(status, {}, body, Origin("mine", "m", (KEY,)), 0.0).fault is FAULTS[name], name


@pytest.mark.parametrize("size", [1, 13, 1 << 20])
@pytest.mark.parametrize("name", ["text", "tools", "thinking", "server-tool"])
async def test_streams_are_openais_chunks(name: str, size: int) -> None:
    chunks = await asked_of(lambda asked: sse(name, size), stream=True)
    for chunk in chunks:
        ChatCompletionChunk.model_validate_json(chunk, strict=True)
    views = [chunk_view(chunk) for chunk in chunks]
    assert {view.id for view in views} == {"msg_1nZdL29xx5MUA1yADyHTEsnR8uuvGzszyS"}
    assert {view.model for view in views} == {"claude-opus-4-6"}
    counted = used(views)[-1]
    assert (counted.prompt, counted.cached) == (129, 100)
    match name:
        case "text":
            assert (said(views), finish(views), counted.completion) == (TEXT, ["stop"], 15)
        case "tools":
            assert (said(views), finish(views)) == ("Okay, let me look.", ["tool_calls"])
            assert tool_calls(chunks) == {
                0: ("toolu_01T1x1fJ34qAmk2tNTrN7Up6", "get_weather", '{"location": "San Francisco, CA"}'),
                1: ("toolu_02", "now", "{}"),
            }
        case "thinking":
            deltas = [choice.delta for view in views for choice in view.choices if choice.delta]
            assert "".join(delta.reasoning_content or "" for delta in deltas) == "I need to find\nthe GCD."
            assert (said(views), counted.reasoning) == ("The GCD is 21.", 40)
            assert thoughts(chunks) == [
                {
                    "type": "thinking",
                    "thinking": "I need to find\nthe GCD.",
                    "signature": "EqQBCgIYAhIM1gbcDa9GJwZA2b3h",
                },
                {"type": "redacted_thinking", "data": "EmwKAhgB"},
            ]
        case "server-tool":
            assert (said(views), tool_calls(chunks)) == ("It is so.", {})


def tool_calls(chunks: list[bytes]) -> dict[int, tuple[str, str, str]]:
    found: dict[int, tuple[str, str, str]] = {}
    for chunk in chunks:
        for choice in chunk_view(chunk).choices:
            for piece in (choice.delta.tool_calls if choice.delta else None) or ():
                assert piece.function is not None
                ident, name, arguments = found.get(piece.index, (piece.id or "", piece.function.name or "", ""))
                found[piece.index] = (ident, name, arguments + (piece.function.arguments or ""))
    return found


def thoughts(chunks: list[bytes]) -> list[object]:
    deltas = [choice["delta"] for chunk in chunks for choice in msgspec.json.decode(chunk)["choices"]]
    return [block for delta in deltas for block in delta.get("thinking_blocks", ())]


@pytest.mark.parametrize("name", ["text", "tools", "thinking"])
async def test_whole_messages_are_openais_completions(name: str) -> None:
    Message.model_validate_json(recorded("anthropic", f"{name}.json"))
    (chunk,) = await asked_of(lambda asked: whole(name))
    reply = ChatCompletion.model_validate_json(chunk, strict=True)
    message = reply.choices[0].message
    assert reply.usage is not None
    assert reply.usage.prompt_tokens == 129
    match name:
        case "text":
            assert (message.content, reply.choices[0].finish_reason) == (TEXT, "stop")
        case "tools":
            assert reply.choices[0].finish_reason == "tool_calls"
            assert message.tool_calls is not None
            assert message.tool_calls[0].type == "function"
            assert json.loads(message.tool_calls[0].function.arguments) == {"location": "San Francisco, CA"}
        case "thinking":
            assert (message.content, reply.choices[0].finish_reason) == ("21", "length")
            extra = message.model_extra or {}
            assert extra["reasoning_content"] == "Hm."
            assert [block["type"] for block in extra["thinking_blocks"]] == ["thinking", "redacted_thinking"]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("something_new", "stop"),
    ],
)
async def test_why_it_ended(reason: str, expected: str) -> None:
    for name, stream in (("text.sse", True), ("text.json", False)):
        body = recorded("anthropic", name).replace(b'"end_turn"', json.dumps(reason).encode())
        chunks = await asked_of(lambda asked: Played(headers=SSE, pieces=[body]), stream=stream)  # noqa: B023
        assert finish([chunk_view(chunk) for chunk in chunks]) == [expected]


async def test_an_error_event_comes_after_the_text_before_it() -> None:
    engine = Anthropic("mine", config.Anthropic(api_key=KEY))
    async with Double(lambda asked: sse("error", 1 << 20)) as double:
        upstream = await engine.start(call(stream=True), Replica("r", "mine", double.url))
        assert said([chunk_view(chunk) for chunk in await upstream.read()]) == "The quick"
        with pytest.raises(PenstockError) as caught:
            await upstream.read()
        assert caught.value.fault is errors.UPSTREAM_OVERLOADED
        assert not await upstream.read()
        await upstream.aclose()
    await engine.aclose()


@pytest.mark.parametrize(
    ("body", "stream", "fault"),
    [
        (b"", True, errors.UPSTREAM_BROKEN),
        (b"event: message_stop\ndata: nonsense\n\n", True, errors.UPSTREAM_GARBLED),
        (b"event: x\ndata: []\n\n", True, errors.UPSTREAM_GARBLED),
        (b"{}", False, errors.UPSTREAM_GARBLED),
        (b"<html>", False, errors.UPSTREAM_GARBLED),
        (b'{"id":"m","content":[{"type":"text","text":"\xff"}]}', False, errors.UPSTREAM_GARBLED),
    ],
)
async def test_what_is_not_the_protocol(body: bytes, stream: bool, fault: Fault) -> None:
    with pytest.raises(PenstockError) as caught:
        await asked_of(lambda asked: Played(headers=JSON, pieces=[body] if body else []), stream=stream)
    assert caught.value.fault is fault


async def test_keys_take_turns_and_the_version_is_said() -> None:
    engine = Anthropic("mine", config.Anthropic(api_key=["k1", "k2"], headers={"anthropic-beta": "b"}))
    async with Double(lambda asked: whole("text")) as double:
        for _ in range(2):
            await drained(await engine.start(call(), Replica("r", "mine", f"{double.url}/")))
        assert [asked.headers["x-api-key"] for asked in double.asked] == ["k1", "k2"]
        assert double.asked[0].headers["anthropic-version"] == "2023-06-01"
        assert double.asked[0].headers["anthropic-beta"] == "b"
        assert double.asked[0].path == "/v1/messages"
        await engine.probe(Replica("r", "mine", f"{double.url}/v1"))
        assert double.asked[2].path == "/v1/models"
    await engine.aclose()
