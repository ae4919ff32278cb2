"""/v1/responses through the OpenAI SDK, strict: what becomes of a request, an answer, a stream."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import openai
import pytest
from openai import AsyncOpenAI

from penstock.core.errors import UPSTREAM_BROKEN, PenstockError
from tests.edge.http.serving import STREAM, USAGE, Site, chunk, site, usual, whole
from tests.edge.http.test_sdk import sdk


@pytest.fixture
async def here() -> AsyncIterator[Site]:
    async with site(usual) as running:
        yield running


@pytest.fixture
async def client(here: Site) -> AsyncIterator[AsyncOpenAI]:
    async with sdk(here) as made:
        yield made


def sent(here: Site) -> dict[str, object]:
    return {name: json.loads(bytes(raw)) for name, raw in here.engine.calls[-1].fields.items()}


CALLS = [
    {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}},
    {"id": "c2", "type": "function", "function": {"name": "sub", "arguments": "{}"}},
]


async def test_text(here: Site, client: AsyncOpenAI) -> None:
    reply = await client.responses.create(
        model="gpt-4o",
        input="Hi",
        instructions="Be brief.",
        metadata={"k": "v"},
        max_output_tokens=20,
        temperature=0.5,
        reasoning={"effort": "low"},
        user="u",
    )
    assert reply.output_text == "Hello there"
    assert (reply.status, reply.model, reply.instructions) == ("completed", "chat", "Be brief.")
    assert (reply.metadata, reply.temperature, reply.max_output_tokens) == ({"k": "v"}, 0.5, 20)
    assert reply.usage is not None
    assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.total_tokens) == (7, 3, 10)
    assert sent(here) == {
        "model": "gpt-4o",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        "temperature": 0.5,
        "user": "u",
        "max_completion_tokens": 20,
        "reasoning_effort": "low",
    }


async def test_a_conversation_of_items(here: Site, client: AsyncOpenAI) -> None:
    url = "data:image/png;base64,AAAA"
    await client.responses.create(
        model="chat",
        input=[
            {"role": "developer", "content": "Add."},
            {
                "type": "message",
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "What?"},
                    {"type": "input_image", "image_url": url, "detail": "low"},
                ],
            },
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"role": "assistant", "content": [{"type": "output_text", "text": "So.", "annotations": []}]},  # type: ignore[list-item]
            {"type": "function_call", "call_id": "c1", "name": "add", "arguments": '{"a":1}'},
            {"type": "function_call", "call_id": "c2", "name": "sub", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "3"},
        ],
        tools=[{"type": "function", "name": "add", "parameters": {"type": "object"}, "strict": True}],
        tool_choice={"type": "function", "name": "add"},
        text={"format": {"type": "json_schema", "name": "sum", "schema": {"type": "object"}, "strict": True}},
    )
    body = sent(here)
    assert body["messages"] == [
        {"role": "system", "content": "Add."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What?"},
                {"type": "image_url", "image_url": {"url": url, "detail": "low"}},
            ],
        },
        {"role": "assistant", "content": "So.", "tool_calls": CALLS},
        {"role": "tool", "content": "3", "tool_call_id": "c1"},
    ]
    function = {"name": "add", "parameters": {"type": "object"}, "strict": True}
    assert body["tools"] == [{"type": "function", "function": function}]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "add"}}
    schema = {"name": "sum", "schema": {"type": "object"}, "strict": True}
    assert body["response_format"] == {"type": "json_schema", "json_schema": schema}


async def test_function_calls_and_thoughts(here: Site, client: AsyncOpenAI) -> None:
    answer = whole("tool_calls", content=None, reasoning_content="Hm.", tool_calls=CALLS)
    here.engine.script = lambda _: [[answer]]
    reply = await client.responses.create(model="chat", input="Hi")
    thought, first, second = reply.output
    assert thought.type == "reasoning"
    assert thought.content is not None
    assert thought.content[0].text == "Hm."
    assert first.type == second.type == "function_call"
    assert (first.call_id, first.name, first.arguments) == ("c1", "add", '{"a":1}')
    assert len({item.id for item in reply.output}) == 3


@pytest.mark.parametrize(
    ("finish", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
)
async def test_what_is_cut_short_is_incomplete(here: Site, client: AsyncOpenAI, finish: str, reason: str) -> None:
    here.engine.script = lambda call: [[chunk("Hel"), chunk(finish=finish)]] if call.stream else [[whole(finish)]]
    reply = await client.responses.create(model="chat", input="Hi")
    stream = await client.responses.create(model="chat", input="Hi", stream=True)
    last = [event async for event in stream][-1]
    assert last.type == "response.incomplete"
    for response in (reply, last.response):
        assert response.status == "incomplete"
        assert response.incomplete_details is not None
        assert response.incomplete_details.reason == reason


async def test_the_events_of_a_text(client: AsyncOpenAI) -> None:
    stream = await client.responses.create(model="chat", input="Hi", stream=True)
    events = [event async for event in stream]
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(10))
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == "Hello there"
    assert last.response.usage is not None
    assert last.response.usage.total_tokens == 10


async def test_the_events_of_thoughts_refusals_and_interleaved_calls(here: Site, client: AsyncOpenAI) -> None:
    def piece(index: int, **call: object) -> bytes:
        return chunk(tool_calls=[{"index": index, "type": "function", **call}])

    here.engine.script = lambda _: [
        [chunk(reasoning_content="H"), chunk(reasoning_content="m.")],
        [chunk("So"), chunk(refusal="No.")],
        [piece(0, id="c1", function={"name": "add", "arguments": ""})],
        [piece(1, id="c2", function={"name": "sub", "arguments": "{"})],
        [piece(0, function={"arguments": '{"a":1}'}), piece(1, function={"arguments": "}"})],
        [chunk(finish="tool_calls"), USAGE],
    ]
    async with client.responses.stream(model="chat", input="Hi") as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert kinds.count("response.output_item.added") == kinds.count("response.output_item.done") == 4
    assert kinds.count("response.content_part.added") == kinds.count("response.content_part.done") == 3
    assert kinds.count("response.function_call_arguments.delta") == 3
    thought, message, add, sub = final.output
    assert thought.type == "reasoning"
    assert thought.content is not None
    assert thought.content[0].text == "Hm."
    assert message.type == "message"
    assert [part.type for part in message.content] == ["output_text", "refusal"]
    assert add.type == sub.type == "function_call"
    assert (add.arguments, sub.arguments, sub.call_id) == ('{"a":1}', "{}", "c2")


async def test_logprobs(here: Site, client: AsyncOpenAI) -> None:
    said = json.loads(chunk("Hi"))
    said["choices"][0]["logprobs"] = {
        "content": [{"token": "Hi", "logprob": -0.5, "bytes": None, "top_logprobs": []}]
    }
    here.engine.script = lambda _: [[json.dumps(said).encode(), chunk(finish="stop")]]
    stream = await client.responses.create(
        model="chat", input="Hi", stream=True, include=["message.output_text.logprobs"], top_logprobs=2
    )
    last = [event async for event in stream][-1]
    assert last.type == "response.completed"
    message = last.response.output[0]
    assert message.type == "message"
    part = message.content[0]
    assert part.type == "output_text"
    assert part.logprobs is not None
    assert (part.logprobs[0].token, part.logprobs[0].bytes) == ("Hi", [72, 105])
    assert (sent(here)["logprobs"], sent(here)["top_logprobs"]) == (True, 2)


async def test_a_failure_in_mid_stream(here: Site, client: AsyncOpenAI) -> None:
    here.engine.script = lambda _: [*STREAM[:2], PenstockError(UPSTREAM_BROKEN, "The engine went away.")]
    stream = await client.responses.create(model="chat", input="Hi", stream=True)
    for _ in range(6):
        await anext(stream)
    for _ in range(3):
        await anext(stream)
    with pytest.raises(openai.APIError, match="went away"):
        await anext(stream)
    heard = await here.post("/v1/responses", {"model": "chat", "input": "Hi", "stream": True})
    events = [json.loads(line[6:]) for line in heard.body.decode().splitlines() if line.startswith("data: ")]
    error, failed = events[-2:]
    assert (error["type"], error["code"]) == ("error", UPSTREAM_BROKEN.code)
    assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
    assert failed["response"]["error"]["code"] == "server_error"
    assert failed["response"]["output"][0]["content"][0]["text"] == "Hello there"


REFUSED: list[tuple[str, dict[str, object]]] = [
    ("previous_response_id", {"previous_response_id": "resp_1"}),
    ("conversation", {"conversation": {"id": "conv_1"}}),
    ("prompt", {"prompt": {"id": "pmpt_1"}}),
    ("store", {"store": True}),
    ("background", {"background": True}),
    ("tools[1].type", {"tools": [{"type": "function", "name": "f"}, {"type": "web_search"}]}),
    ("tools[0].name", {"tools": [{"type": "function"}]}),
    ("tool_choice", {"tools": [{"type": "function", "name": "f"}], "tool_choice": {"type": "file_search"}}),
    ("text.format.schema", {"text": {"format": {"type": "json_schema", "name": "x"}}}),
    ("text.format.type", {"text": {"format": {"type": "xml"}}}),
    ("input", {"input": []}),
    ("input", {"input": 5}),
    ("input", {"input": [{"role": "system", "content": "x"}]}),
    ("input[0].role", {"input": [{"content": "x"}]}),
    ("input[0].role", {"input": [{"role": "robot", "content": "x"}]}),
    ("input[0].content", {"input": [{"role": "user", "content": 5}]}),
    ("input[0].content[0].type", {"input": [{"role": "user", "content": [{"type": "video"}]}]}),
    (
        "input[0].content[0].file_id",
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
    ),
    ("input[0].type", {"input": [{"type": "item_reference", "id": "x"}]}),
    ("input[0].call_id", {"input": [{"type": "function_call_output", "output": "x"}]}),
]


@pytest.mark.parametrize(("param", "change"), REFUSED, ids=str)
async def test_what_is_refused_is_named(here: Site, param: str, change: dict[str, object]) -> None:
    heard = await here.post("/v1/responses", {"model": "chat", "input": "Hi"} | change)
    assert heard.status == 400, heard.body
    assert heard.error["param"] == param
    assert not here.engine.calls


async def test_null_state_is_no_state(here: Site, client: AsyncOpenAI) -> None:
    reply = await client.responses.create(
        model="chat", input="Hi", previous_response_id=None, store=False, background=False, truncation="auto"
    )
    assert (reply.truncation, reply.previous_response_id) == ("disabled", None)


async def test_nothing_is_stored(client: AsyncOpenAI) -> None:
    for gone in (client.responses.retrieve("resp_1"), client.responses.delete("resp_1")):
        with pytest.raises(openai.NotFoundError, match="not stored"):
            await gone
