"""The scripted engine: the law of engines, OpenAI's shapes by its own types, and what a script may say."""

from __future__ import annotations

import asyncio
import base64
import math
import struct
from collections.abc import Callable, Mapping

import msgspec
import pytest
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel

from penstock.core import errors
from penstock.core.chat import Kind, chunk_view
from penstock.core.errors import Fault, PenstockError
from penstock.core.serving import Replica
from penstock.engines.config import Fake as Settings
from penstock.engines.config import FakeAnswer, FakeToolCall
from penstock.engines.fake import Fake
from penstock.engines.fake_embeddings import vector
from tests.contracts.engine import TEXT, EngineContract, Scene, call, drained, finish, said, used

REPLICA = Replica("r", "scripted", "http://nowhere/v1")
DAY = 86400.0


class FakeBench:
    """Every scene is a script; the engine is made anew for each, and the running answers of all are counted."""

    faults: Mapping[str, Fault] = {
        "500": errors.UPSTREAM_FAILED,
        "400": errors.BAD_REQUEST,
        "429": errors.UPSTREAM_RATE_LIMITED,
        "503": errors.UPSTREAM_OVERLOADED,
        "401": errors.UPSTREAM_REFUSED_KEY,
    }
    replica = REPLICA

    def __init__(self) -> None:
        self.play(Scene.REPLY)

    def _script(self, **answer: object) -> None:
        self.engine = Fake("scripted", Settings(answers=[msgspec.convert({"text": TEXT, **answer}, FakeAnswer)]))

    def play(self, scene: Scene) -> None:
        match scene:
            case Scene.REPLY:
                self._script()
            case Scene.ENDLESS:
                self._script(chunk_delay_s=DAY)
            case Scene.SILENT:
                self._script(first_delay_s=DAY)
            case Scene.BROKEN:
                self._script(break_after=3)

    def fail(self, name: str) -> None:
        self._script(fail_status=int(name))

    async def busy(self, count: int) -> None:
        await self._until(lambda running: running >= count)

    async def idle(self) -> None:
        await self._until(lambda running: running == 0)

    async def _until(self, true: Callable[[int], bool]) -> None:
        async with asyncio.timeout(5):
            while not true(self.engine.running):  # noqa: ASYNC110 (the engine has no event to wait for)
                await asyncio.sleep(0)


class TestFake(EngineContract):
    @pytest.fixture
    def bench(self) -> FakeBench:
        return FakeBench()


async def reply(*answers: FakeAnswer, kind: Kind = Kind.CHAT, stream: bool = False, **fields: object) -> list[bytes]:
    engine = Fake("scripted", Settings(answers=list(answers)))
    return await drained(await engine.start(call(kind, stream=stream, **fields), REPLICA))


def strict(chunk: bytes, kind: type[BaseModel]) -> BaseModel:
    """Reads a reply as OpenAI's own client does when it is told to be strict, and finds nothing missing."""
    return kind.model_validate_json(chunk)


TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "minLength": 2}, "days": {"type": "integer", "minimum": 1}},
            "required": ["city", "days"],
        },
    },
}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"n": 3},
        {"logprobs": True},
        {"logprobs": True, "top_logprobs": 2},
        {"tools": [TOOL], "tool_choice": "required"},
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "get_weather"}}},
        {"response_format": {"type": "json_object"}},
        {"max_tokens": 2},
    ],
)
async def test_replies_are_what_openais_types_demand(fields: dict[str, object]) -> None:
    whole = strict((await reply(**fields))[0], ChatCompletion)
    assert isinstance(whole, ChatCompletion)
    assert len(whole.choices) == fields.get("n", 1)
    assert whole.usage is not None
    chunks = await reply(stream=True, **fields)
    ids = {strict(chunk, ChatCompletionChunk).id for chunk in chunks}  # type: ignore[attr-defined]
    assert len(ids) == 1
    views = [chunk_view(chunk) for chunk in chunks]
    content = "".join(choice.message.content or "" for choice in whole.choices)
    assert "".join(said(views, index) for index in range(len(whole.choices))) == content
    assert finish(views) == [choice.finish_reason for choice in whole.choices]
    assert used(views)[0].completion == whole.usage.completion_tokens


@pytest.mark.parametrize(
    ("fields", "choices"),
    [({}, 1), ({"n": 2}, 2), ({"logprobs": 2}, 1), ({"prompt": ["a", "b"], "n": 2}, 4), ({"prompt": [1, 2]}, 1)],
)
async def test_completions_are_too(fields: dict[str, object], choices: int) -> None:
    whole = strict((await reply(kind=Kind.COMPLETION, **fields))[0], Completion)
    assert isinstance(whole, Completion)
    assert [choice.index for choice in whole.choices] == list(range(choices))
    chunks = await reply(kind=Kind.COMPLETION, stream=True, **fields)
    assert said([chunk_view(chunk) for chunk in chunks]) == whole.choices[0].text


async def test_ids_are_its_own() -> None:
    assert len({chunk_view((await reply())[0]).id for _ in range(10)}) == 10


async def test_the_first_answer_that_matches_is_given() -> None:
    answers = [
        FakeAnswer(when="weather", text="Rain."),
        FakeAnswer(when="time", text="Noon."),
        FakeAnswer(text="So."),
    ]
    for asked, expected in {"the weather?": "Rain.", "what time": "Noon.", "else": "So."}.items():
        messages = [
            {"role": "user", "content": "weather"},
            {"role": "user", "content": [{"type": "text", "text": asked}]},
        ]
        assert said([chunk_view((await reply(*answers, messages=messages))[0])]) == expected
        assert said([chunk_view((await reply(*answers, kind=Kind.COMPLETION, prompt=asked))[0])]) == expected
    assert "Hello" in said([chunk_view((await reply(FakeAnswer(when="nothing")))[0])])


async def test_scripted_tools_are_called_until_their_result_is_there() -> None:
    answer = FakeAnswer(when="weather", tool_calls=[FakeToolCall(name="get_weather", arguments='{"city": "Ulm"}')])
    user = {"role": "user", "content": "the weather?"}
    view = chunk_view((await reply(answer, messages=[user], tools=[TOOL]))[0])
    message = view.choices[0].message
    assert message is not None
    assert message.content is None
    assert message.tool_calls is not None
    assert message.tool_calls[0].function is not None
    assert message.tool_calls[0].function.arguments == '{"city": "Ulm"}'
    assert finish([view]) == ["tool_calls"]
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "rain"}
    view = chunk_view((await reply(answer, messages=[user, result], tools=[TOOL]))[0])
    assert finish([view]) == ["stop"]
    assert said([view])
    view = chunk_view((await reply(answer, messages=[user], tools=[TOOL], tool_choice="none"))[0])
    assert finish([view]) == ["stop"]


async def test_tools_offered_but_not_scripted_are_not_called() -> None:
    view = chunk_view((await reply(tools=[TOOL], tool_choice="auto"))[0])
    assert finish([view]) == ["stop"]


async def test_a_forced_tool_gets_arguments_of_its_schema() -> None:
    view = chunk_view((await reply(tools=[TOOL], tool_choice="required"))[0])
    message = view.choices[0].message
    assert message is not None
    assert message.tool_calls is not None
    assert message.tool_calls[0].function is not None
    assert msgspec.json.decode(message.tool_calls[0].function.arguments or "") == {"city": "xx", "days": 1}


async def test_structured_output_fits_its_schema() -> None:
    schema = {"type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
    assert said([chunk_view((await reply(response_format=wanted))[0])]) == '{"a":"x"}'
    own = FakeAnswer(text='{"a": "y"}')
    assert said([chunk_view((await reply(own, response_format=wanted))[0])]) == '{"a": "y"}'


async def test_limits_and_stops_end_the_text() -> None:
    answer = FakeAnswer(text=TEXT)
    view = chunk_view((await reply(answer, max_completion_tokens=2))[0])
    assert (said([view]), finish([view])) == ("The quick", ["length"])
    view = chunk_view((await reply(answer, stop=[" jumps", "zzz"]))[0])
    assert (said([view]), finish([view])) == ("The quick brown fox", ["stop"])


async def test_delays_are_the_sleepers() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    answer = FakeAnswer(text="one two three", first_delay_s=5, chunk_delay_s=0.5)
    engine = Fake("scripted", Settings(answers=[answer]), sleep=sleep)
    chunks = await drained(await engine.start(call(stream=True), REPLICA))
    assert slept == [5, *[0.5] * (len(chunks) - 1)]
    slept.clear()
    await drained(await engine.start(call(), REPLICA))
    assert slept == [5, 1.5]


@pytest.mark.parametrize("after", [0, 1, 4])
async def test_a_break_comes_after_as_many_chunks(after: int) -> None:
    engine = Fake("scripted", Settings(answers=[FakeAnswer(text=TEXT, break_after=after)]))
    upstream = await engine.start(call(stream=True), REPLICA)
    for _ in range(after):
        assert await upstream.read()
    with pytest.raises(PenstockError):
        await upstream.read()
    assert not await upstream.read()


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"messages": 5}, "messages"), ({"messages": [{"role": 5}]}, "messages[0].role"), ({"stop": 3}, "stop")],
)
async def test_a_malformed_request_is_the_clients(fields: dict[str, object], param: str) -> None:
    with pytest.raises(PenstockError) as caught:
        await reply(**fields)
    assert caught.value.fault is errors.INVALID_TYPE
    assert caught.value.param == param


# -- embeddings ----------------------------------------------------------------------------------------------------


async def vectors(**fields: object) -> list[object]:
    chunk = (await reply(kind=Kind.EMBEDDING, **fields))[0]
    if fields.get("encoding_format") != "base64":
        strict(chunk, CreateEmbeddingResponse)
    return [item["embedding"] for item in msgspec.json.decode(chunk)["data"]]


async def test_vectors_are_units_made_of_the_text_alone() -> None:
    one, two, again = await vectors(input=["a cat sat", "stock prices fell", "a cat sat"])
    assert one == again != two
    assert isinstance(one, list)
    assert len(one) == 8
    assert math.isclose(sum(value * value for value in one), 1.0)
    assert len((await vectors(input="x", dimensions=300))[0]) == 300  # type: ignore[arg-type]
    assert len(await vectors(input=[[1, 2], [3]])) == 2
    assert len(await vectors(input=[1, 2])) == 1


def test_texts_that_share_words_lie_closer() -> None:
    def cosine(left: str, right: str) -> float:
        return sum(a * b for a, b in zip(vector(left, 256), vector(right, 256), strict=True))

    assert cosine("the red cat", "the red dog") > cosine("the red cat", "seven stocks fell") + 0.3


async def test_base64_is_the_same_numbers() -> None:
    floats = (await vectors(input="x"))[0]
    text = (await vectors(input="x", encoding_format="base64"))[0]
    assert isinstance(text, str)
    assert struct.unpack("<8f", base64.b64decode(text)) == pytest.approx(floats)


@pytest.mark.parametrize("fields", [{"input": []}, {"input": "x", "dimensions": 0}, {"input": {"a": 1}}])
async def test_bad_embedding_requests_are_the_clients(fields: dict[str, object]) -> None:
    with pytest.raises(PenstockError) as caught:
        await reply(kind=Kind.EMBEDDING, **fields)
    assert caught.value.fault.status == 400
