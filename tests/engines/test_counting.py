"""What engines tell of tokens: parts of a prompt with a price of their own, and answers that are broken off."""

from __future__ import annotations

import json

import pytest

from penstock.core.chat import Counting, Usage, chunk_view
from penstock.core.serving import Replica
from penstock.engines import config
from penstock.engines.anthropic_answers import chat_completion
from penstock.engines.faults import Origin
from penstock.engines.llamacpp_answers import LlamaEvents
from penstock.engines.openai import OpenAI
from penstock.engines.openai_answers import Events
from tests.contracts.double import Asked, Double, Played
from tests.contracts.engine import call

ORIGIN = Origin("mine", "theirs")
HEAD = b'{"id":"c","object":"chat.completion.chunk","created":1,"model":"m",'


def vllm(word: str, made: int) -> bytes:
    """A chunk as vLLM writes it with continuous_usage_stats."""
    choice = b'"choices":[{"index":0,"delta":{"content":%s},"logprobs":null,"finish_reason":null}]'
    usage = b',"usage":{"prompt_tokens":12,"total_tokens":%d,"completion_tokens":%d}}'
    return HEAD + choice % json.dumps(word).encode() + usage % (12 + made, made)


def test_what_each_chunk_counts_is_kept_and_not_shown() -> None:
    events, chunks = Events(1, ORIGIN, counted=True), list[bytes]()
    assert events.so_far() is None
    events.take(b"", vllm('a,"usage":{"x":1}}', 1), chunks)
    events.take(b"", vllm("b", 2), chunks)
    assert events.so_far() == Usage(prompt=12, completion=2)
    assert [chunk_view(chunk).usage for chunk in chunks] == [None, None]
    assert json.loads(chunks[0])["choices"][0]["delta"]["content"] == 'a,"usage":{"x":1}}'
    last = HEAD + b'"choices":[],"usage":{"prompt_tokens":12,"total_tokens":15,"completion_tokens":3}}'
    events.take(b"", last, chunks)
    assert chunks[-1] == last
    assert events.so_far() == Usage(prompt=12, completion=3)


def test_a_count_in_another_place_is_left_for_who_shows_chunks() -> None:
    events, chunks = Events(1, ORIGIN, counted=True), list[bytes]()
    chunk = b'{"id":"c","usage":{"prompt_tokens":2,"completion_tokens":1,"details":{"a":1}},"choices":[{"index":0}]}'
    events.take(b"", chunk, chunks)
    assert chunks == [chunk]
    assert events.so_far() == Usage(prompt=2, completion=1)


@pytest.mark.parametrize(
    ("continuous", "choices", "asked"),
    [(True, 1, True), (True, 2, False), (False, 1, False)],
)
async def test_a_server_is_asked_for_it_only_where_that_is_said(continuous: bool, choices: int, asked: bool) -> None:
    def script(asked: Asked) -> Played:
        return Played(
            pieces=[b"data: " + vllm("a", 1) + b"\n\n"], then="hang", headers={"Content-Type": "text/event-stream"}
        )

    engine = OpenAI("mine", config.OpenAI(continuous_usage=continuous))
    async with Double(script) as double:
        replica = Replica("r", "mine", f"{double.url}/v1")
        for options in ({}, {"stream_options": {"include_usage": False}}):
            answer = await engine.start(call(stream=True, n=choices, **options), replica)
            await answer.read()
            await answer.aclose()
            assert isinstance(answer, Counting)
            assert answer.so_far() == (Usage(prompt=12, completion=1) if asked else None)
        for sent in double.asked:
            assert json.loads(sent.body)["stream_options"].get("continuous_usage_stats", False) is asked
    await engine.aclose()


def test_llamacpps_timings_are_shown_to_who_asked_for_them() -> None:
    chunk = HEAD + (
        b'"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}],'
        b'"timings":{"cache_n":30,"prompt_n":1,"prompt_ms":1.5,"predicted_n":4,"predicted_ms":2.0}}'
    )
    progress = HEAD + b'"choices":[{"index":0,"delta":{}}],"prompt_progress":{"total":31,"cache":0,"processed":8}}'
    for wanted, shown in ((False, False), (True, True)):
        events, chunks = LlamaEvents(call(timings_per_token=wanted), False, ORIGIN), list[bytes]()
        events.take(b"", progress, chunks)
        assert events.so_far() == Usage(prompt=31)
        assert not chunks
        events.take(b"", chunk, chunks)
        assert (b"timings" in chunks[0]) is shown
        json.loads(chunks[0])
        assert events.so_far() == Usage(prompt=31, completion=4, cached=30)


def test_anthropics_prompt_is_all_that_was_read_or_put_into_the_cache() -> None:
    message = {
        "id": "msg_1",
        "model": "claude",
        "content": [{"type": "text", "text": "Hi"}],
        "stop_reason": "end_turn",
        "usage": {
            "input_tokens": 3,
            "cache_read_input_tokens": 100,
            "cache_creation_input_tokens": 20,
            "output_tokens": 5,
        },
    }
    view = chunk_view(chat_completion(json.dumps(message).encode(), 1))
    assert view.usage is not None
    assert view.usage.counted() == Usage(prompt=123, completion=5, cached=100, cache_write=20)
