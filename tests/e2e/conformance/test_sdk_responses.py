"""The Responses API through the OpenAI SDK, validated strictly: whole, streamed, with tools; state is refused clearly."""

from __future__ import annotations

import json

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.responses import FunctionToolParam, ResponseStreamEvent

from tests.e2e.conformance.conftest import ADMIN_KEY
from tests.e2e.running import Penstock

both = pytest.mark.parametrize("service", ["scripted", "assistant"])
WEATHER: FunctionToolParam = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city.",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"location": {"type": "string", "maxLength": 20}},
        "required": ["location"],
        "additionalProperties": False,
    },
}


def kinds(events: list[ResponseStreamEvent]) -> list[str]:
    """The event types in order, runs of one type told once."""
    told: list[str] = []
    for event in events:
        if not told or told[-1] != event.type:
            told.append(event.type)
    return told


@both
def test_whole(client: OpenAI, service: str) -> None:
    reply = client.responses.create(
        model=service, input="Say hello to Ada.", instructions="Be brief.", max_output_tokens=32, temperature=0
    )
    assert reply.model == service
    assert reply.output_text
    assert reply.status in ("completed", "incomplete")
    assert reply.usage is not None
    assert reply.usage.output_tokens > 0
    assert reply.usage.total_tokens == reply.usage.input_tokens + reply.usage.output_tokens


@both
def test_streamed(client: OpenAI, service: str) -> None:
    events = list(
        client.responses.create(model=service, input="Say hello to Ada.", max_output_tokens=64, stream=True)
    )
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert kinds(events)[:-1] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
    ]
    last = events[-1]
    assert last.type in ("response.completed", "response.incomplete")
    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert said == last.response.output_text != ""
    assert last.response.usage is not None
    first = events[0]
    assert first.type == "response.created"
    assert first.response.id == last.response.id


def test_cut_short_says_so(client: OpenAI) -> None:
    reply = client.responses.create(model="scripted", input="Hi", max_output_tokens=2)
    assert reply.status == "incomplete"
    assert reply.incomplete_details is not None
    assert reply.incomplete_details.reason == "max_output_tokens"


@both
def test_a_forced_tool(client: OpenAI, service: str) -> None:
    reply = client.responses.create(
        model=service,
        input="What is the weather in Oslo?",
        tools=[WEATHER],
        tool_choice="required",
        max_output_tokens=96,
        temperature=0,
    )
    call = next(item for item in reply.output if item.type == "function_call")
    assert call.name == "get_weather"
    assert call.call_id
    assert set(json.loads(call.arguments)) == {"location"}
    assert [tool.type for tool in reply.tools] == ["function"]


@both
def test_a_forced_tool_streamed(client: OpenAI, service: str) -> None:
    events = list(
        client.responses.create(
            model=service,
            input="What is the weather in Oslo?",
            tools=[WEATHER],
            tool_choice="required",
            max_output_tokens=96,
            temperature=0,
            stream=True,
        )
    )
    pieces = "".join(event.delta for event in events if event.type == "response.function_call_arguments.delta")
    done = next(event for event in events if event.type == "response.function_call_arguments.done")
    assert pieces == done.arguments
    assert set(json.loads(pieces)) == {"location"}


@both
def test_a_conversation_in_the_input(client: OpenAI, service: str) -> None:
    reply = client.responses.create(
        model=service,
        input=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "input_text", "text": "What is the sky like?"}]},
            {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_1", "output": "Sunny."},
        ],
        tools=[WEATHER],
        max_output_tokens=16,
    )
    assert reply.output


def test_a_json_schema_is_kept_to(client: OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "green"]}},
        "required": ["colour"],
        "additionalProperties": False,
    }
    reply = client.responses.create(
        model="assistant",
        input="Which colour?",
        text={"format": {"type": "json_schema", "name": "colour", "strict": True, "schema": schema}},
        max_output_tokens=32,
    )
    assert json.loads(reply.output_text)["colour"] in ("red", "green")


@pytest.mark.parametrize(
    "stateful",
    [
        {"previous_response_id": "resp_1"},
        {"conversation": "conv_1"},
        {"background": True},
        {"prompt": {"id": "pmpt_1"}},
    ],
    ids=lambda stateful: next(iter(stateful)),
)
def test_state_is_refused_clearly(client: OpenAI, stateful: dict[str, object]) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model="scripted", input="Hi", extra_body=stateful)
    name = next(iter(stateful))
    assert refused.value.param == name
    assert name in refused.value.message
    assert refused.value.code == "unsupported_parameter"


async def test_async_client(server: Penstock) -> None:
    async with AsyncOpenAI(
        base_url=server.base_url, api_key=ADMIN_KEY, max_retries=0, _strict_response_validation=True
    ) as client:
        assert (await client.responses.create(model="scripted", input="Hi")).output_text
        stream = await client.responses.create(model="scripted", input="Hi", stream=True)
        assert [event.type async for event in stream][-1] == "response.completed"
