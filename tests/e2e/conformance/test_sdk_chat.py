"""Chat through the OpenAI SDK, every reply validated strictly, on scripted answers and on real llama.cpp."""

from __future__ import annotations

import base64
import json

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam, ChatCompletionToolParam

from tests.e2e.conformance.conftest import ADMIN_KEY
from tests.e2e.running import Penstock

both = pytest.mark.parametrize("service", ["scripted", "assistant"])
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Say hello to Ada."}]
PIXEL = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c63f8cfc0f01f00"
        "05000 1ff89993d1d0000000049454e44ae426082".replace(" ", "")
    )
).decode()
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"location": {"type": "string", "maxLength": 20}},
            "required": ["location"],
            "additionalProperties": False,
        },
    },
}
ADD: ChatCompletionToolParam = {
    "type": "function",
    "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}},
}


def text_of(chunks: list[ChatCompletionChunk], index: int = 0) -> str:
    return "".join(c.delta.content or "" for chunk in chunks for c in chunk.choices if c.index == index)


@both
def test_whole(client: OpenAI, service: str) -> None:
    reply = client.chat.completions.create(model=service, messages=HELLO, max_tokens=12, temperature=0)
    assert reply.model == service
    assert reply.id
    assert reply.choices[0].message.role == "assistant"
    assert reply.choices[0].message.content
    assert reply.usage is not None
    assert 0 < reply.usage.completion_tokens <= 12
    assert reply.usage.prompt_tokens > 0
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


@both
@pytest.mark.parametrize("usage", [True, False, None])
def test_stream(client: OpenAI, service: str, usage: bool | None) -> None:
    options = openai.omit if usage is None else {"include_usage": usage}
    chunks = list(
        client.chat.completions.create(
            model=service, messages=HELLO, max_tokens=12, temperature=0, stream=True, stream_options=options
        )
    )
    assert text_of(chunks)
    assert {chunk.model for chunk in chunks} == {service}
    assert len({chunk.id for chunk in chunks}) == 1
    finished = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert len(finished) == 1
    counted = [chunk for chunk in chunks if chunk.usage is not None]
    if usage:
        assert counted == [chunks[-1]]
        assert chunks[-1].choices == []
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.completion_tokens > 0
    else:
        assert counted == []
        assert all(chunk.choices for chunk in chunks)


@both
def test_stream_and_whole_say_the_same(client: OpenAI, service: str) -> None:
    asked = {"model": service, "messages": HELLO, "max_tokens": 16, "temperature": 0, "seed": 7}
    whole = client.chat.completions.create(**asked)
    chunks = list(client.chat.completions.create(**asked, stream=True))
    assert text_of(chunks) == whole.choices[0].message.content


@both
@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_bounds_on_output(client: OpenAI, service: str, name: str) -> None:
    reply = client.chat.completions.create(model=service, messages=HELLO, extra_body={name: 2})
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 2


@both
def test_several_choices(client: OpenAI, service: str) -> None:
    reply = client.chat.completions.create(model=service, messages=HELLO, max_tokens=6, n=3)
    assert [choice.index for choice in reply.choices] == [0, 1, 2]
    assert all(choice.message.content for choice in reply.choices)
    assert reply.usage is not None
    assert 3 <= reply.usage.completion_tokens <= 18


@both
def test_several_choices_streamed(client: OpenAI, service: str) -> None:
    chunks = list(
        client.chat.completions.create(
            model=service,
            messages=HELLO,
            max_tokens=6,
            n=2,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert all(text_of(chunks, index) for index in (0, 1))
    finished = [c.index for chunk in chunks for c in chunk.choices if c.finish_reason]
    assert sorted(finished) == [0, 1]
    assert len({chunk.id for chunk in chunks}) == 1
    assert [chunk.usage is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]


@both
def test_logprobs(client: OpenAI, service: str) -> None:
    reply = client.chat.completions.create(
        model=service, messages=HELLO, max_tokens=4, temperature=0, logprobs=True, top_logprobs=2
    )
    logprobs = reply.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content
    assert all(token.logprob <= 0 for token in logprobs.content)
    assert all(len(token.top_logprobs) <= 2 for token in logprobs.content)
    assert "".join(token.token for token in logprobs.content).strip()


def test_stop(client: OpenAI) -> None:
    reply = client.chat.completions.create(model="scripted", messages=HELLO, stop=[" this"])
    assert reply.choices[0].message.content == "Hello there,"
    assert reply.choices[0].finish_reason == "stop"


def test_stop_on_llama(client: OpenAI) -> None:
    asked = {"model": "assistant", "messages": HELLO, "temperature": 0, "max_tokens": 24}
    whole = client.chat.completions.create(**asked).choices[0].message.content or ""
    word = whole.split()[3]
    cut = client.chat.completions.create(**asked, stop=word).choices[0]
    assert cut.message.content == whole[: whole.index(word)]
    assert cut.finish_reason == "stop"


def test_seed(client: OpenAI) -> None:
    def once(seed: int) -> str | None:
        reply = client.chat.completions.create(
            model="assistant", messages=HELLO, temperature=1.5, seed=seed, max_tokens=16
        )
        return reply.choices[0].message.content

    assert once(3) == once(3)
    assert len({once(seed) for seed in (3, 4, 5, 6)}) > 1


@both
@pytest.mark.parametrize("stream", [False, True])
def test_a_forced_tool(client: OpenAI, service: str, stream: bool) -> None:
    """On llama.cpp the grammar forces the call, however small the model."""
    asked = {
        "model": service,
        "messages": [{"role": "user", "content": "What is the weather in Oslo?"}],
        "tools": [WEATHER],
        "tool_choice": "required",
        "max_tokens": 96,
        "temperature": 0,
    }
    if stream:
        chunks = list(client.chat.completions.create(**asked, stream=True))
        pieces = [call for chunk in chunks for c in chunk.choices for call in c.delta.tool_calls or []]
        name = "".join(piece.function.name or "" for piece in pieces if piece.function)
        arguments = "".join(piece.function.arguments or "" for piece in pieces if piece.function)
        finish = next(c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason)
        assert pieces[0].id
    else:
        choice = client.chat.completions.create(**asked).choices[0]
        assert choice.message.tool_calls
        call = choice.message.tool_calls[0]
        assert call.type == "function"
        name, arguments, finish = call.function.name, call.function.arguments, choice.finish_reason
    assert name == "get_weather"
    assert set(json.loads(arguments)) == {"location"}
    assert finish == "tool_calls"


def test_two_tools_at_once(client: OpenAI) -> None:
    with client.chat.completions.stream(
        model="scripted", messages=[{"role": "user", "content": "Use two tools."}], tools=[WEATHER, ADD]
    ) as stream:
        message = stream.get_final_completion().choices[0].message
    calls = [call for call in message.tool_calls or [] if call.type == "function"]
    assert [call.function.name for call in calls] == ["add", "get_weather"]
    assert json.loads(calls[1].function.arguments) == {"location": "Zürich"}
    assert len({call.id for call in calls}) == 2


@both
def test_tool_results_are_taken(client: OpenAI, service: str) -> None:
    messages: list[ChatCompletionMessageParam] = [
        {"role": "user", "content": "What is the weather like?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "Sunny."},
    ]
    reply = client.chat.completions.create(model=service, messages=messages, tools=[WEATHER], max_tokens=8)
    assert reply.choices[0].message.role == "assistant"


def test_a_json_schema_is_kept_to(client: OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {
            "colour": {"enum": ["red", "green"]},
            "count": {"type": "integer", "maximum": 9, "minimum": 0},
        },
        "required": ["colour", "count"],
        "additionalProperties": False,
    }
    reply = client.chat.completions.create(
        model="assistant",
        messages=[{"role": "user", "content": "How many apples of which colour?"}],
        response_format={"type": "json_schema", "json_schema": {"name": "apples", "strict": True, "schema": schema}},
        max_tokens=64,
    )
    said = json.loads(reply.choices[0].message.content or "")
    assert said["colour"] in ("red", "green")
    assert 0 <= said["count"] <= 9


@pytest.mark.parametrize("stream", [False, True])
def test_an_image_for_a_text_model_is_refused(client: OpenAI, stream: bool) -> None:
    parts: list[ChatCompletionMessageParam] = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
            ],
        }
    ]
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="assistant", messages=parts, stream=stream)
    assert isinstance(refused.value.code, str)
    assert "image" in refused.value.message


def test_a_prompt_too_long_is_refused_by_its_code(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="assistant", messages=[{"role": "user", "content": "word " * 6000}])
    assert refused.value.code == "context_length_exceeded"


@both
def test_raw_reply_has_our_headers(client: OpenAI, service: str) -> None:
    raw = client.chat.completions.with_raw_response.create(model=service, messages=HELLO, max_tokens=2)
    assert raw.headers["x-request-id"]
    assert raw.headers["content-type"].startswith("application/json")
    assert raw.parse().model == service


def test_a_stream_s_headers(client: OpenAI) -> None:
    with client.chat.completions.with_streaming_response.create(
        model="scripted", messages=HELLO, stream=True
    ) as streamed:
        assert streamed.headers["content-type"].startswith("text/event-stream")
        assert streamed.headers["x-accel-buffering"] == "no"
        assert streamed.headers["x-request-id"]


@both
async def test_async_client(server: Penstock, service: str) -> None:
    async with AsyncOpenAI(
        base_url=server.base_url, api_key=ADMIN_KEY, max_retries=0, _strict_response_validation=True
    ) as client:
        whole = await client.chat.completions.create(model=service, messages=HELLO, max_tokens=4)
        assert whole.choices[0].message.content
        stream = await client.chat.completions.create(model=service, messages=HELLO, max_tokens=4, stream=True)
        assert text_of([chunk async for chunk in stream])
