"""POST /v1/chat/completions. What we own is checked; every other field goes upstream as the client wrote it."""

from __future__ import annotations

from typing import Annotated

import msgspec

from penstock.core.chat import Call, Kind
from penstock.edge.http.dialects import Asked
from penstock.edge.http.dialects.checked import (
    Candidates,
    Count,
    Head,
    Int64,
    Name,
    Predicted,
    Tokens,
    check_one_model,
)
from penstock.edge.http.dialects.wire import PLAIN


class ContentPart(msgspec.Struct, frozen=True):
    """One part of a message: text, or what its type says."""

    type: str
    text: str | None = None


class Message(msgspec.Struct, frozen=True):
    """One turn of the conversation."""

    role: Name
    content: str | list[ContentPart] | None = None


class StreamOptions(msgspec.Struct, frozen=True):
    """`include_usage` asks for a last chunk that tells the tokens used."""

    include_usage: bool | None = None


class FunctionTool(msgspec.Struct, frozen=True):
    """What may be called: its name, and the JSON Schema of its arguments in `parameters`."""

    name: Name
    description: str | None = None
    parameters: dict[str, msgspec.Raw] | None = None


class Tool(msgspec.Struct, frozen=True):
    """Something the model may call."""

    type: Name
    function: FunctionTool | None = None


class ResponseFormat(msgspec.Struct, frozen=True):
    """`text`, `json_object` or `json_schema`."""

    type: Name


class ChatRequest(msgspec.Struct, frozen=True):
    """The fields that are checked here; any other that OpenAI or the engine knows may be sent too."""

    model: Name
    messages: Annotated[list[Message], msgspec.Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Count | None = None
    n_cmpl: Count | None = None
    best_of: Candidates | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    n_predict: Predicted | None = None
    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: Int64 | None = None
    stop: str | list[str] | None = None
    tools: list[Tool] | None = None
    response_format: ResponseFormat | None = None
    user: str | None = None
    prompt_variables: dict[str, msgspec.Raw] | None = None


class PromptedRequest(ChatRequest, frozen=True, kw_only=True):
    """One whose service has a prompt, which may ask by itself."""

    messages: list[Message] | None = None  # type: ignore[assignment]


_head = Head(ChatRequest)
_prompted = Head(PromptedRequest)


def read(request_id: str, body: bytes) -> Asked:
    asked, fields = (_prompted if b'"prompt_variables"' in body else _head).read(body)
    if not asked.messages and "prompt_variables" not in fields:
        asked, fields = _head.read(body)
    check_one_model(fields)
    stream = bool(asked.stream)
    if not stream:
        # Strict engines refuse it beside a reply that is not streamed; the OpenAI SDK sends it all the same.
        fields.pop("stream_options", None)
    call = Call(
        request_id=request_id,
        kind=Kind.CHAT,
        service=asked.model,
        fields=fields,
        stream=stream,
        usage_chunk=stream and asked.stream_options is not None and bool(asked.stream_options.include_usage),
        choices=asked.n or 1,
        max_tokens=asked.max_completion_tokens if asked.max_completion_tokens is not None else asked.max_tokens,
        user=asked.user,
    )
    return Asked(call, PLAIN)
