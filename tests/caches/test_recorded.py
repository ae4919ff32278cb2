"""Answers taken down and given again: what a client reads is the same in either shape, and only whole answers are
kept."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given, settings
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from penstock.caches.recorded import Recording, Replay, again, complete
from penstock.caches.shapes import streamed, whole
from penstock.core.chat import Kind, Usage
from tests.caches.doubles import entry_of

USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


def text(value: object) -> bytes:
    return msgspec.json.encode(value)


def chunk(delta: object, finish: str | None = None, index: int = 0, **more: object) -> bytes:
    choice = {"index": index, "delta": delta, "finish_reason": finish, **more}
    return text({"id": "c1", "object": "chat.completion.chunk", "created": 5, "model": "m", "choices": [choice]})


def usage_chunk() -> bytes:
    return text(
        {"id": "c1", "object": "chat.completion.chunk", "created": 5, "model": "m", "choices": [], "usage": USAGE}
    )


WORDS = st.text(min_size=1, max_size=6)
CALLS = st.lists(
    st.fixed_dictionaries(
        {
            "id": WORDS,
            "type": st.just("function"),
            "function": st.fixed_dictionaries({"name": WORDS, "arguments": st.text(max_size=12)}),
        }
    ),
    min_size=1,
    max_size=3,
)
TOKENS = st.lists(
    st.fixed_dictionaries(
        {
            "token": WORDS,
            "logprob": st.floats(-20, 0),
            "bytes": st.none() | st.lists(st.integers(0, 255), max_size=3),
            "top_logprobs": st.just([]),
        }
    ),
    max_size=3,
)
MESSAGES = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": WORDS},
    optional={"reasoning_content": WORDS, "annotations": st.just([{"type": "url_citation", "url": "u"}])},
) | st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": st.none()}, optional={"tool_calls": CALLS, "refusal": WORDS}
).filter(lambda message: len(message) > 2)


@st.composite
def answers(draw: st.DrawFn) -> dict[str, object]:
    choices = [
        {
            "index": index,
            "message": draw(MESSAGES),
            "logprobs": draw(st.none() | st.fixed_dictionaries({"content": TOKENS, "refusal": st.none()})),
            "finish_reason": draw(st.sampled_from(["stop", "length", "tool_calls"])),
        }
        for index in range(draw(st.integers(1, 3)))
    ]
    top = {"id": draw(WORDS), "object": "chat.completion", "created": draw(st.integers(0, 2**40)), "model": "m"}
    return {**top, "system_fingerprint": draw(st.none() | WORDS), "choices": choices, "usage": USAGE}


@settings(deadline=None)
@given(answers())
def test_a_whole_answer_survives_being_streamed(answer: dict[str, object]) -> None:
    chunks = streamed(text(answer), Kind.CHAT)
    for each in chunks:
        ChatCompletionChunk.model_validate_json(each)
    assert complete(chunks, Kind.CHAT)
    assert msgspec.json.decode(whole(chunks, Kind.CHAT)) == answer


@settings(deadline=None)
@given(answers(), st.data())
def test_a_stream_in_any_pieces_is_the_same_answer(answer: dict[str, object], data: st.DataObject) -> None:
    """Contents and arguments are cut anywhere, and the choices come in any order, as engines do."""
    pieces: list[list[bytes]] = []
    for choice in msgspec.json.decode(text(answer))["choices"]:
        message, index = choice["message"], choice["index"]
        mine = [chunk({"role": "assistant"}, index=index)]
        for name in ("content", "reasoning_content", "refusal"):
            mine += [chunk({name: letter}, index=index) for letter in message.get(name) or ""]
        for number, call in enumerate(message.get("tool_calls", ())):
            function = call["function"]
            begin = {"index": number, "id": call["id"], "type": "function"}
            mine.append(
                chunk(
                    {"tool_calls": [{**begin, "function": {"name": function["name"], "arguments": ""}}]}, index=index
                )
            )
            mine += [
                chunk({"tool_calls": [{"index": number, "function": {"arguments": letter}}]}, index=index)
                for letter in function["arguments"]
            ]
        mine.append(chunk({}, choice["finish_reason"], index=index))
        pieces.append(mine)
    chunks = []
    while any(pieces):
        chunks.append(data.draw(st.sampled_from([mine for mine in pieces if mine])).pop(0))
    chunks.append(usage_chunk())
    got = msgspec.json.decode(whole(chunks, Kind.CHAT))
    for had, has in zip(answer["choices"], got["choices"], strict=True):  # type: ignore[arg-type,call-overload]
        said = {name: value for name, value in had["message"].items() if name != "annotations"}
        assert {name: value for name, value in has["message"].items() if value is not None or name in said} == said
        assert has["finish_reason"] == had["finish_reason"]
    assert got["usage"] == USAGE
    ChatCompletion.model_validate(got)


def test_logprobs_names_that_are_said_twice_and_what_nobody_knows() -> None:
    logprob = {"token": "a", "logprob": -1.0}
    chunks = [
        chunk({"role": "assistant", "content": None}),
        chunk({"content": "a", "x_new": {"n": 1, "s": "p"}}, logprobs={"content": [logprob], "refusal": None}),
        chunk({"role": "assistant", "content": "b", "x_new": {"n": 2, "s": "q"}}, logprobs={"content": [logprob]}),
        chunk({"tool_calls": [{"index": 0, "id": "t1", "type": "function", "function": {"name": "f"}}]}),
        chunk({"tool_calls": [{"index": 0, "id": "t1", "type": "function", "function": {"arguments": "{}"}}]}),
        chunk({}, "tool_calls"),
    ]
    choice = msgspec.json.decode(whole(chunks, Kind.CHAT))["choices"][0]
    assert choice["message"]["content"] == "ab"
    assert choice["message"]["x_new"] == {"n": 2, "s": "pq"}
    assert choice["message"]["tool_calls"] == [
        {"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    ]
    assert choice["logprobs"] == {"content": [logprob, logprob], "refusal": None}


def test_what_is_said_of_a_choice_with_each_piece_is_no_text() -> None:
    safe: dict[str, Any] = {"content_filter_results": {"hate": {"severity": "safe", "filtered": False}}, "route": "a"}
    chunks = [chunk({"content": "one "}, **safe), chunk({"content": "two", "x": {"y": "s"}}, "stop", **safe)]
    choice = msgspec.json.decode(whole([*chunks, chunk({"x": {"y": "t"}})], Kind.CHAT))["choices"][0]
    assert {name: choice[name] for name in safe} == safe
    assert (choice["message"]["content"], choice["message"]["x"]) == ("one two", {"y": "st"})


def test_completions_have_text() -> None:
    answer = {
        "id": "c",
        "object": "text_completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "text": "abc", "logprobs": None, "finish_reason": "stop"}],
        "usage": USAGE,
    }
    chunks = streamed(text(answer), Kind.COMPLETION)
    assert complete(chunks, Kind.COMPLETION)
    assert msgspec.json.decode(whole(chunks, Kind.COMPLETION)) == answer


@pytest.mark.parametrize(
    ("chunks", "kept"),
    [
        ([chunk({"content": "a"}), chunk({}, "stop")], True),
        ([chunk({"content": "a"}), chunk({}, "length"), usage_chunk()], True),
        ([chunk({"content": '"error"'}), chunk({}, "stop")], True),
        ([chunk({"content": "a"})], False),
        ([], False),
        ([usage_chunk()], False),
        ([chunk({}, "content_filter")], False),
        ([chunk({}, "stop"), text({"error": {"message": "x"}})], False),
        ([chunk({}, "stop"), chunk({"content": "b"}, index=1)], False),
        ([b"{"], False),
        ([chunk({}, "stop", note="größe")], True),
        ([chunk({}, "stop", note=7).replace(b"7", b"1e999")], False),
        ([chunk({}, "stop", note=7).replace(b"7", b"-1.5E+309")], False),
        ([chunk({}, "stop", note=7).replace(b"7", b"1e300")], True),
        ([chunk({}, "stop", note="?").replace(b"?", b"\xff")], False),
        ([chunk({}, "stop", logprobs={"content": [{"token": "?"}]}).replace(b"?", b"\\ud83d")], False),
    ],
)
def test_only_whole_answers_are_kept(chunks: list[bytes], kept: bool) -> None:
    recording = Recording(1 << 20)
    recording.take(chunks)
    assert (recording.chunks(Kind.CHAT, stream=True, usage=None) is not None) is kept


def test_a_recording_is_bounded_and_lets_everything_pass() -> None:
    recording, heard = Recording(300), list[bytes]()
    sink = recording.through(lambda chunks: bool(heard.extend(chunks)) or True)
    for _ in range(9):
        assert sink([chunk({"content": "abc"})])
    assert len(heard) == 9
    assert recording.overflowed
    assert recording.chunks(Kind.CHAT, stream=True, usage=None) is None


def test_a_usage_that_was_left_out_is_put_back() -> None:
    recording = Recording(1 << 20)
    recording.take([chunk({"content": "a"}), chunk({}, "stop")])
    kept = recording.chunks(Kind.CHAT, stream=True, usage=Usage(prompt=3, completion=4, cached=1))
    assert kept is not None
    last = msgspec.json.decode(kept[-1])
    assert (last["id"], last["choices"], last["usage"]["total_tokens"]) == ("c1", [], 7)
    assert last["usage"]["prompt_tokens_details"] == {"cached_tokens": 1}
    recording.take([usage_chunk()])
    kept = recording.chunks(Kind.CHAT, stream=True, usage=Usage(prompt=9))
    assert kept is not None
    assert len(kept) == 3


async def test_an_entry_is_given_as_it_is_wanted() -> None:
    chunks = (chunk({"role": "assistant", "content": "a"}), chunk({}, "stop"), usage_chunk())
    entry = entry_of(chunks=chunks, streamed=True)
    assert again(entry, stream=True) == chunks
    (answer,) = again(entry, stream=False)
    assert ChatCompletion.model_validate_json(answer).choices[0].message.content == "a"
    back = entry_of(chunks=(answer,), streamed=False)
    assert msgspec.json.decode(again(back, stream=True)[-1])["usage"] == USAGE
    replay = Replay(chunks)
    assert await replay.read() == chunks
    assert await replay.read() == ()
    await replay.aclose()


@pytest.mark.parametrize(
    "bad", [b"[]", b'{"choices":1}', b'{"choices":[1]}', b'{"choices":[{"index":"a"}]}', b"\xff"]
)
def test_what_is_no_answer_is_refused(bad: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        whole([bad], Kind.CHAT)
    with pytest.raises(msgspec.DecodeError):
        streamed(bad, Kind.CHAT)
