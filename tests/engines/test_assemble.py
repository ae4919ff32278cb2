"""A streamed answer put together says what its chunks said, however they were cut."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.chat import Kind, chunk_view
from penstock.engines.assemble import Assembly


def _assembled(chunks: list[dict[str, object]], kind: Kind = Kind.CHAT) -> dict[str, object]:
    assembly = Assembly(kind)
    for chunk in chunks:
        text = json.dumps({"id": "a", "created": 1, "model": "m", **chunk}).encode()
        assembly.add(text, chunk_view(text))
    whole: dict[str, object] = json.loads(assembly.whole())
    return whole


def _delta(index: int = 0, finish: str | None = None, logprobs: object = None, **delta: object) -> dict[str, object]:
    return {"choices": [{"index": index, "delta": delta, "finish_reason": finish, "logprobs": logprobs}]}


@given(st.lists(st.tuples(st.integers(0, 2), st.text()), max_size=30))
def test_every_choice_keeps_its_own_text_in_order(pieces: list[tuple[int, str]]) -> None:
    whole = _assembled([_delta(index, content=text) for index, text in pieces])
    told = {choice["index"]: choice["message"]["content"] for choice in whole["choices"]}  # type: ignore[attr-defined]
    assert list(told) == sorted({index for index, _ in pieces})
    for index, content in told.items():
        assert content == "".join(text for at, text in pieces if at == index)


def test_tool_calls_are_merged_by_their_index() -> None:
    def piece(index: int, arguments: str, **more: object) -> dict[str, object]:
        name = {"name": more.pop("name")} if "name" in more else {}
        return {"index": index, "function": {**name, "arguments": arguments}, **more}

    whole = _assembled(
        [
            _delta(role="assistant", content=None),
            _delta(tool_calls=[piece(0, "", id="c0", type="function", name="f")]),
            _delta(tool_calls=[piece(1, '{"b"', id="c1", name="g")]),
            _delta(tool_calls=[piece(0, '{"a":'), piece(1, ":2}")]),
            _delta(tool_calls=[piece(0, "1}")], finish="tool_calls"),
        ]
    )
    (choice,) = whole["choices"]  # type: ignore[misc]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"] == [
        {"id": "c0", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
        {"id": "c1", "type": "function", "function": {"name": "g", "arguments": '{"b":2}'}},
    ]


def test_log_probabilities_reasoning_usage_and_fingerprint_are_kept() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "odd": 1.50}
    whole = _assembled(
        [
            {**_delta(reasoning_content="hm"), "system_fingerprint": "b1"},
            _delta(content="a", logprobs={"content": [{"token": "a"}], "refusal": None}),
            _delta(content="b", logprobs={"content": [{"token": "b"}]}, finish="length"),
            {"choices": [], "usage": usage},
        ]
    )
    (choice,) = whole["choices"]  # type: ignore[misc]
    assert choice["message"]["reasoning_content"] == "hm"
    assert choice["logprobs"] == {"content": [{"token": "a"}, {"token": "b"}]}
    assert choice["finish_reason"] == "length"
    assert whole["usage"] == usage
    assert whole["system_fingerprint"] == "b1"


def test_a_completion_is_text() -> None:
    choice = {"index": 0, "text": "hi", "finish_reason": "stop"}
    whole = _assembled([{"choices": [choice]}], Kind.COMPLETION)
    assert whole["object"] == "text_completion"
    assert whole["choices"] == [{"index": 0, "text": "hi", "logprobs": None, "finish_reason": "stop"}]
