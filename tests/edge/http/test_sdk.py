"""The OpenAI SDK, strict, against every dialect."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import openai
import pytest
from openai import AsyncOpenAI

from penstock.core.chat import Call, Kind
from penstock.core.errors import NO_REPLICA, RATE_LIMITED, UPSTREAM_BROKEN, PenstockError
from penstock.edge.http.listening import Patience
from tests.edge.http.serving import STREAM, Site, chunk, failing, site, usual, vectors


@pytest.fixture
async def here() -> AsyncIterator[Site]:
    async with site(usual) as running:
        yield running


def sdk(here: Site, key: str = "key", retries: int = 0, strict: bool = True) -> AsyncOpenAI:
    return AsyncOpenAI(
        base_url=here.url + "/v1", api_key=key, max_retries=retries, timeout=10, _strict_response_validation=strict
    )


HI = [{"role": "user", "content": "Hi"}]


async def test_chat(here: Site) -> None:
    async with sdk(here) as client:
        raw = await client.chat.completions.with_raw_response.create(model="gpt-4o", messages=HI, n=1)
        reply = raw.parse()
    assert reply.choices[0].message.content == "Hello there"
    assert reply.model == "chat", "the service's name, also for an alias"
    assert reply.id == "chatcmpl-" + raw.headers["x-request-id"].removeprefix("req_")
    assert reply.usage is not None
    assert reply.usage.total_tokens == 10
    assert raw.headers["x-penstock-model"] == "m"


async def test_chat_streamed(here: Site) -> None:
    async with sdk(here) as client:
        stream = await client.chat.completions.create(model="chat", messages=HI, stream=True)
        chunks = [c async for c in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "Hello there"
    assert all(c.choices for c in chunks), "no usage chunk that was not asked for"
    assert {c.model for c in chunks} == {"chat"}


async def test_usage_is_streamed_when_asked_for(here: Site) -> None:
    async with sdk(here) as client:
        stream = await client.chat.completions.create(
            model="chat", messages=HI, stream=True, stream_options={"include_usage": True}
        )
        last = [c async for c in stream][-1]
    assert last.usage is not None
    assert last.usage.prompt_tokens == 7


async def test_completions(here: Site) -> None:
    async with sdk(here) as client:
        reply = await client.completions.create(model="chat", prompt=["Hello", "You"], max_tokens=0)
        stream = await client.completions.create(model="chat", prompt=[[1, 2], [3]], stream=True)
        pieces = [c async for c in stream]
    assert reply.choices[0].text == " there"
    assert [c.choices[0].text for c in pieces] == [" there"]
    assert [call.kind for call in here.engine.calls] == [Kind.COMPLETION] * 2


@pytest.mark.parametrize("sent", [[0.5, -1.0, 0.1], "AAAAPwAAgL/NzMw9"])
@pytest.mark.parametrize("asked", ["float", "base64"])
async def test_embeddings_come_in_the_form_asked_for(here: Site, sent: list[float] | str, asked: str) -> None:
    """Not strictly: the SDK asks for base64 unless told otherwise, and its own type knows only numbers."""
    here.engine.script = lambda _: [[vectors(sent)]]
    async with sdk(here, strict=False) as client:
        raw = await client.embeddings.with_raw_response.create(
            model="vectors",
            input="Hi",
            encoding_format=asked,  # type: ignore[arg-type]
        )
        usual_reply = await client.embeddings.create(model="vectors", input=["Hi", "there"], dimensions=3)
    given = json.loads(raw.content)["data"][0]["embedding"]
    assert given == ("AAAAPwAAgL/NzMw9" if asked == "base64" else pytest.approx([0.5, -1.0, 0.1]))
    assert usual_reply.data[0].embedding == pytest.approx([0.5, -1.0, 0.1])
    assert bytes(here.engine.calls[-1].fields["dimensions"]) == b"3"


async def test_models(here: Site) -> None:
    async with sdk(here) as client:
        listed = [m async for m in client.models.list()]
        alias = await client.models.retrieve("org/model")
        unheard_of = await client.models.retrieve("gpt-6")
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("*")
        with pytest.raises(openai.APIStatusError) as refused:
            await client.models.delete("chat")
    assert [m.id for m in listed] == ["chat", "gpt-4o", "org/model", "vectors", "down"]
    assert (alias.id, alias.object, alias.created, alias.owned_by) == (
        "org/model",
        "model",
        1_700_000_000,
        "penstock",
    )
    assert unheard_of.id == "gpt-6", 'the service "*" answers to every name'
    assert refused.value.status_code == 405
    assert "deployment file" in refused.value.message


async def test_errors_are_the_sdks_own(here: Site) -> None:
    async with sdk(here, key="wrong") as client:
        with pytest.raises(openai.AuthenticationError) as unknown:
            await client.chat.completions.create(model="chat", messages=HI)
    assert unknown.value.code == "invalid_api_key"
    async with sdk(here) as client:
        with pytest.raises(openai.InternalServerError) as down:
            await client.chat.completions.create(model="down", messages=HI)
    assert down.value.code == NO_REPLICA.code
    assert down.value.response.headers["retry-after-ms"] == "1000"
    assert down.value.response.headers["x-should-retry"] == "true"


async def test_nobody_is_told_to_come_back_too_early() -> None:
    limited = PenstockError(RATE_LIMITED, "Wait.", retry_after=60.0003)
    async with site(lambda _: limited) as here, sdk(here) as client:
        with pytest.raises(openai.RateLimitError) as told:
            await client.chat.completions.create(model="chat", messages=HI)
    assert [told.value.response.headers[name] for name in ("retry-after-ms", "retry-after")] == ["60001", "61"]


async def test_the_sdk_retries_what_may_be_cured() -> None:
    answers = [PenstockError(UPSTREAM_BROKEN, "Gone.", retry_after=0.001), None]

    def script(call: Call) -> object:
        return answers.pop(0) or usual(call)

    async with site(script) as here, sdk(here, retries=1) as client:  # type: ignore[arg-type]
        reply = await client.chat.completions.create(model="chat", messages=HI)
    assert reply.choices[0].message.content == "Hello there"


@pytest.mark.parametrize("heartbeat_s", [15.0, 0.01])
async def test_a_failure_in_mid_stream_is_raised(heartbeat_s: float) -> None:
    broken = [*STREAM[:2], PenstockError(UPSTREAM_BROKEN, "The engine went away.")]
    async with (
        site(lambda _: broken, patience=Patience(heartbeat_s=heartbeat_s, sweep_s=0.01)) as here,
        sdk(here) as client,
    ):
        stream = await client.chat.completions.create(model="chat", messages=HI, stream=True)
        heard = [(await anext(stream)).choices[0].delta.content or "" for _ in range(3)]
        with pytest.raises(openai.APIError, match="went away") as raised:
            await anext(stream)
        assert "".join(heard) == "Hello there"
        assert raised.value.code == UPSTREAM_BROKEN.code
        assert here.engine.closed()
        (line,) = await here.logged()
    assert (line.status, line.code, line.ending) == (200, UPSTREAM_BROKEN.code, "failed")


async def test_a_failure_before_the_first_chunk_has_its_status() -> None:
    async with site(failing(PenstockError(UPSTREAM_BROKEN, "Gone."))) as here, sdk(here) as client:
        with pytest.raises(openai.InternalServerError) as raised:
            await client.chat.completions.create(model="chat", messages=HI, stream=True)
    assert raised.value.status_code == 502


async def test_tools_pass_through(here: Site) -> None:
    pieces = [
        chunk(tool_calls=[{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}]),
        chunk(tool_calls=[{"index": 0, "function": {"arguments": '{"a":1}'}}]),
        chunk(finish="tool_calls"),
    ]
    here.engine.script = lambda _: [pieces]
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    async with (
        sdk(here) as client,
        client.chat.completions.stream(model="chat", messages=HI, tools=[tool]) as stream,  # type: ignore[list-item]
    ):
        final = await stream.get_final_completion()
    calls = final.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].function.arguments == '{"a":1}'
    assert b'"properties"' in bytes(here.engine.calls[0].fields["tools"])
