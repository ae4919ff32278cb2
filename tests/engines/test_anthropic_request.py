"""Requests in OpenAI's shape as Anthropic's: what is said, what is passed on, what is refused by name."""

from __future__ import annotations

import msgspec
import pytest
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from pydantic import TypeAdapter

from penstock.core import errors
from penstock.core.errors import Fault, PenstockError
from penstock.engines.anthropic_request import message_body
from tests.contracts.engine import call

PARAMS = TypeAdapter(MessageCreateParamsNonStreaming)
USER = {"role": "user", "content": "Hi"}
PIXEL = "iVBORw0KGgo="


def body(**fields: object) -> dict[str, object]:
    made = msgspec.json.decode(message_body(call(**fields), "claude", 4096))
    assert isinstance(made, dict)
    return made


def said(*messages: object) -> list[dict[str, object]]:
    made = body(messages=list(messages))
    PARAMS.validate_python(made)
    turns = made["messages"]
    assert isinstance(turns, list)
    return turns


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def test_a_plain_request() -> None:
    assert body() == {
        "model": "claude",
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": [text("Say it.")]}],
    }
    assert body(stream=True)["stream"] is True


def test_system_and_developer_messages_are_the_system_prompt() -> None:
    made = body(
        messages=[
            {"role": "system", "content": "Be brief."},
            USER,
            {
                "role": "developer",
                "content": [text("Be kind."), {**text("Be sure."), "cache_control": {"type": "ephemeral"}}],
            },
        ]
    )
    assert made["system"] == [
        text("Be brief."),
        text("Be kind."),
        {**text("Be sure."), "cache_control": {"type": "ephemeral"}},
    ]
    assert made["messages"] == [{"role": "user", "content": [text("Hi")]}]


def test_consecutive_messages_of_one_side_are_one_turn_and_empty_ones_none() -> None:
    assert said(USER, {"role": "user", "content": "Again"}, {"role": "assistant", "content": ""}, USER) == [
        {"role": "user", "content": [text("Hi"), text("Again"), text("Hi")]}
    ]


def test_images_and_documents() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": f"data:image/PNG;base64,{PIXEL}", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.jpg"}},
        {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PIXEL}", "filename": "a.pdf"}},
        text("What is it?"),
    ]
    assert said({"role": "user", "content": parts})[0]["content"] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.jpg"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": PIXEL},
            "title": "a.pdf",
        },
        text("What is it?"),
    ]


def test_a_round_of_tools() -> None:
    calls = [
        {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},
        {"id": "call:2", "type": "function", "function": {"name": "g", "arguments": ""}},
    ]
    turns = said(
        USER,
        {"role": "assistant", "content": "Let me see.", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "call_1", "content": "one"},
        {"role": "tool", "tool_call_id": "call:2", "content": [text("two")]},
        {"role": "user", "content": "So?"},
    )
    assert turns[1:] == [
        {
            "role": "assistant",
            "content": [
                text("Let me see."),
                {"type": "tool_use", "id": "call_1", "name": "f", "input": {"x": 1}},
                {"type": "tool_use", "id": "call_2", "name": "g", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "content": "one"},
                {"type": "tool_result", "tool_use_id": "call_2", "content": [text("two")]},
                text("So?"),
            ],
        },
    ]


def test_thinking_comes_back_first_and_unchanged() -> None:
    block = {"type": "thinking", "thinking": "Hm.", "signature": "EqQB"}
    turns = said(
        USER, {"role": "assistant", "content": "Yes.", "reasoning_content": "Hm.", "thinking_blocks": [block]}
    )
    assert turns[1]["content"] == [block, text("Yes.")]


FUNCTION = {"name": "f", "description": "does", "parameters": {"type": "object", "properties": {"x": {}}}}
TOOL = {"type": "function", "function": FUNCTION}


def test_tools() -> None:
    made = body(tools=[TOOL, {"type": "function", "function": {"name": "g", "strict": True}}])
    PARAMS.validate_python(made)
    assert made["tools"] == [
        {"name": "f", "description": "does", "input_schema": FUNCTION["parameters"]},
        {"name": "g", "input_schema": {"type": "object", "properties": {}}, "strict": True},
    ]
    assert "tool_choice" not in made
    own = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
    assert body(tools=[own])["tools"] == [own]
    assert "tools" not in body(tools=[])


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "none"}, {"type": "none"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, {"type": "tool", "name": "f"}),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"parallel_tool_calls": True}, None),
        (
            {"tool_choice": "required", "parallel_tool_calls": False},
            {"type": "any", "disable_parallel_tool_use": True},
        ),
        ({"tool_choice": "none", "parallel_tool_calls": False}, {"type": "none"}),
    ],
)
def test_tool_choice(fields: dict[str, object], expected: object) -> None:
    assert body(tools=[TOOL], **fields).get("tool_choice") == expected
    assert "tool_choice" not in body(**fields)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"max_tokens": 7}, {"max_tokens": 7}),
        # Nothing is what was reserved for it.
        ({"max_tokens": 0}, {"max_tokens": 0}),
        ({"max_completion_tokens": 8}, {"max_tokens": 8}),
        ({"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9}),
        ({"stop": "x"}, {"stop_sequences": ["x"]}),
        ({"stop": ["x", "y"]}, {"stop_sequences": ["x", "y"]}),
        ({"stop": None, "temperature": None}, {}),
        ({"user": "u"}, {"metadata": {"user_id": "u"}}),
        ({"user": "u", "safety_identifier": "s"}, {"metadata": {"user_id": "s"}}),
        ({"reasoning_effort": "low"}, {"output_config": {"effort": "low"}}),
        ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        ({"thinking": {"type": "adaptive"}, "top_k": 5}, {"thinking": {"type": "adaptive"}, "top_k": 5}),
        ({"output_config": {"effort": "max"}, "reasoning_effort": "low"}, {"output_config": {"effort": "max"}}),
        ({"response_format": {"type": "text"}}, {}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}},
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
        ),
        ({"n": 1, "seed": 3, "store": False, "metadata": {"a": "b"}, "logprobs": False, "logit_bias": {}}, {}),
        ({"presence_penalty": 0, "frequency_penalty": 0.0, "modalities": ["text"]}, {}),
        ({"stream_options": {"include_usage": True}, "service_tier": "auto", "prompt_cache_key": "k"}, {}),
    ],
)
def test_parameters(fields: dict[str, object], expected: dict[str, object]) -> None:
    assert {**body(), **expected} == body(**fields)


REFUSED: list[tuple[dict[str, object], Fault, str]] = [
    ({"n": 2}, errors.UNSUPPORTED_PARAMETER, "n"),
    ({"logprobs": True}, errors.UNSUPPORTED_PARAMETER, "logprobs"),
    ({"logit_bias": {"5": 1}}, errors.UNSUPPORTED_PARAMETER, "logit_bias"),
    ({"presence_penalty": 1}, errors.UNSUPPORTED_PARAMETER, "presence_penalty"),
    ({"modalities": ["text", "audio"]}, errors.UNSUPPORTED_PARAMETER, "modalities"),
    ({"functions": [{"name": "f"}]}, errors.UNSUPPORTED_PARAMETER, "functions"),
    ({"response_format": {"type": "json_object"}}, errors.UNSUPPORTED_PARAMETER, "response_format.type"),
    ({"temperature": 1.5}, errors.INVALID_VALUE, "temperature"),
    ({"temperature": "hot"}, errors.INVALID_TYPE, "temperature"),
    ({"reasoning_effort": "huge"}, errors.INVALID_VALUE, "reasoning_effort"),
    ({"output_config": 5}, errors.INVALID_TYPE, "output_config"),
    ({"tools": [TOOL], "tool_choice": "maybe"}, errors.INVALID_VALUE, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools"}}, errors.UNSUPPORTED_PARAMETER, "tool_choice"),
    ({"tools": [{"type": "function", "function": {}}]}, errors.INVALID_TYPE, "tools[0].function"),
    ({"messages": "Hi"}, errors.INVALID_TYPE, "messages"),
    ({"messages": []}, errors.INVALID_VALUE, "messages"),
    ({"messages": [{"role": "system", "content": "x"}]}, errors.INVALID_VALUE, "messages"),
    ({"messages": [{"role": "king", "content": "x"}]}, errors.INVALID_VALUE, "messages[0].role"),
    ({"messages": [{"role": "user", "content": 5}]}, errors.INVALID_TYPE, "messages[0].content"),
    ({"messages": [{"role": "tool", "content": "x"}]}, errors.INVALID_VALUE, "messages[0].tool_call_id"),
    (
        {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
        errors.UNSUPPORTED_CONTENT,
        "messages[0].content[0]",
    ),
    (
        {"messages": [USER, {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a.png"}}]}]},
        errors.INVALID_VALUE,
        "messages[1].content[0].image_url.url",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]},
        errors.UNSUPPORTED_CONTENT,
        "messages[0].content[0]",
    ),
    (
        {
            "messages": [
                {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "[1]"}}]},
            ]
        },
        errors.INVALID_VALUE,
        "messages[0].tool_calls[0].function.arguments",
    ),
]


@pytest.mark.parametrize(
    ("fields", "fault", "param"), REFUSED, ids=[f"{param}-{at}" for at, (_, _, param) in enumerate(REFUSED)]
)
def test_what_is_refused_is_named(fields: dict[str, object], fault: Fault, param: str) -> None:
    with pytest.raises(PenstockError) as caught:
        body(**fields)
    assert (caught.value.fault, caught.value.param) == (fault, param), caught.value.message
    assert not caught.value.fault.retry
