"""What a client may ask of /v1/responses, and the chat call it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from penstock.core.chat import Call, Kind
from penstock.core.errors import INVALID_VALUE, MISSING_PARAMETER, UNSUPPORTED_PARAMETER, PenstockError
from penstock.edge.http.dialects import Asked
from penstock.edge.http.dialects.checked import Head, Name
from penstock.edge.http.dialects.responses.items import Item, messages
from penstock.edge.http.dialects.responses.shape import Echo
from penstock.edge.http.dialects.responses.wire import ResponsesWire

_Raw = msgspec.Raw
_Bound = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


class Function(msgspec.Struct, frozen=True):
    """A tool: what the model may call, and the JSON Schema of its arguments."""

    type: str
    name: str | None = None
    description: str | None = None
    parameters: dict[str, msgspec.Raw] | None = None
    strict: bool | None = None


class ToolChoice(msgspec.Struct, frozen=True):
    """The one function that must be called."""

    type: str
    name: str | None = None


class Format(msgspec.Struct, frozen=True):
    """`text`, `json_object`, or `json_schema` with a name and a schema."""

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    description: str | None = None
    schema: dict[str, msgspec.Raw] | None = None
    strict: bool | None = None


class TextOptions(msgspec.Struct, frozen=True):
    """The form of the text."""

    format: Format | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class Reasoning(msgspec.Struct, frozen=True):
    """How much to think before answering."""

    effort: str | None = None


class ResponseRequest(msgspec.Struct, frozen=True):
    """The fields of OpenAI's Responses API that work without stored state, and those that are refused."""

    model: Name
    input: str | Annotated[list[Item], msgspec.Meta(min_length=1)]
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: _Bound | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    tools: list[Function] | None = None
    tool_choice: str | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    reasoning: Reasoning | None = None
    include: list[str] | None = None
    metadata: dict[str, str] | None = None
    user: str | None = None
    prompt_variables: dict[str, msgspec.Raw] | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    store: bool | None = None
    background: bool | None = None
    previous_response_id: str | None = None


_head = Head(ResponseRequest)

_STATEFUL = {
    "previous_response_id": "Responses are not stored here: send the earlier items in 'input' instead.",
    "conversation": "Conversations are not stored here: send the earlier items in 'input' instead.",
    "prompt": "A service has its own prompt here: send its variables in 'prompt_variables'.",
    "context_management": "The context is not compacted here: send the items you want kept in 'input'.",
}
# Sampling and accounting fields that a chat call takes under the same name, as the client wrote them.
_SAME = (
    "temperature",
    "top_p",
    "parallel_tool_calls",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "service_tier",
    "prompt_variables",
)
_NULL = (b"null",)


def read(request_id: str, body: bytes) -> Asked:
    asked, fields = _head.read(body)
    _refuse_state(asked, fields)
    stream = bool(asked.stream)
    call = Call(
        request_id=request_id,
        kind=Kind.CHAT,
        service=asked.model,
        fields=_chat_fields(asked, fields),
        stream=stream,
        usage_chunk=stream,
        max_tokens=asked.max_output_tokens,
        user=asked.user,
        dialect="responses",
    )
    return Asked(call, ResponsesWire(request_id, _echo(asked, fields)))


def _refuse_state(asked: ResponseRequest, fields: Mapping[str, _Raw]) -> None:
    for name, mend in _STATEFUL.items():
        if (given := fields.get(name)) is not None and bytes(given) not in _NULL:
            raise PenstockError(UNSUPPORTED_PARAMETER, f"'{name}' is not supported. {mend}", param=name)
    if asked.store:
        raise PenstockError(
            UNSUPPORTED_PARAMETER,
            "'store' cannot be true: responses are not stored here. Leave it out.",
            param="store",
        )
    if asked.background:
        raise PenstockError(
            UNSUPPORTED_PARAMETER,
            "'background' cannot be true: there is no stored response to poll. Use 'stream' for long answers.",
            param="background",
        )


def _chat_fields(asked: ResponseRequest, fields: Mapping[str, _Raw]) -> dict[str, _Raw]:
    chat: dict[str, object] = {"model": asked.model, "messages": messages(asked.instructions, asked.input)}
    chat |= {name: fields[name] for name in _SAME if name in fields and bytes(fields[name]) not in _NULL}
    if asked.max_output_tokens is not None:
        chat["max_completion_tokens"] = asked.max_output_tokens
    if asked.tools:
        chat["tools"] = [_tool(tool, place) for place, tool in enumerate(asked.tools)]
        if asked.tool_choice is not None:
            chat["tool_choice"] = _choice(asked.tool_choice)
    if asked.text is not None:
        if asked.text.format is not None and asked.text.format.type != "text":
            chat["response_format"] = _response_format(asked.text.format)
        if asked.text.verbosity is not None:
            chat["verbosity"] = asked.text.verbosity
    if asked.reasoning is not None and asked.reasoning.effort is not None:
        chat["reasoning_effort"] = asked.reasoning.effort
    if asked.top_logprobs is not None or "message.output_text.logprobs" in (asked.include or ()):
        chat["logprobs"] = True
        chat["top_logprobs"] = asked.top_logprobs or 0
    if asked.stream:
        chat["stream"] = True
    return {name: _Raw(msgspec.json.encode(value)) for name, value in chat.items()}


def _tool(tool: Function, place: int) -> dict[str, object]:
    if tool.type != "function":
        raise PenstockError(
            UNSUPPORTED_PARAMETER,
            f"'tools[{place}].type' {tool.type[:80]!r} is a tool that runs on OpenAI's side, and is not here. "
            "Use tools of type 'function'.",
            param=f"tools[{place}].type",
        )
    if not tool.name:
        raise PenstockError(
            MISSING_PARAMETER, f"'tools[{place}].name' is missing. Name the function.", param=f"tools[{place}].name"
        )
    function = {"description": tool.description, "parameters": tool.parameters, "strict": tool.strict}
    given = {name: value for name, value in function.items() if value is not None}
    return {"type": "function", "function": {"name": tool.name, **given}}


def _choice(choice: str | ToolChoice) -> object:
    if isinstance(choice, str):
        if choice in ("auto", "none", "required"):
            return choice
        raise PenstockError(
            INVALID_VALUE, "'tool_choice' must be 'auto', 'none', 'required' or one function.", param="tool_choice"
        )
    if choice.type == "function" and choice.name:
        return {"type": "function", "function": {"name": choice.name}}
    raise PenstockError(
        UNSUPPORTED_PARAMETER,
        '\'tool_choice\' can name one function here: {"type": "function", "name": "..."}.',
        param="tool_choice",
    )


def _response_format(wanted: Format) -> dict[str, object]:
    if wanted.type == "json_object":
        return {"type": "json_object"}
    if wanted.schema is None:
        raise PenstockError(
            MISSING_PARAMETER,
            "'text.format.schema' is missing. Give the JSON Schema that the text must follow.",
            param="text.format.schema",
        )
    optional = {"description": wanted.description, "strict": wanted.strict}
    given = {name: value for name, value in optional.items() if value is not None}
    return {
        "type": "json_schema",
        "json_schema": {"name": wanted.name or "answer", "schema": wanted.schema, **given},
    }


def _echo(asked: ResponseRequest, fields: Mapping[str, _Raw]) -> Echo:
    """What a response repeats of its request, in the client's own bytes."""

    def given(name: str, default: bytes) -> _Raw:
        raw = fields.get(name)
        return _Raw(default) if raw is None or bytes(raw) in _NULL else _Raw(bytes(raw))

    return Echo(
        model=asked.model,
        instructions=asked.instructions,
        metadata=given("metadata", b"{}"),
        tools=given("tools", b"[]"),
        tool_choice=given("tool_choice", b'"auto"'),
        text=given("text", b'{"format":{"type":"text"}}'),
        reasoning=given("reasoning", b'{"effort":null,"summary":null}'),
        temperature=given("temperature", b"null"),
        top_p=given("top_p", b"null"),
        parallel_tool_calls=asked.parallel_tool_calls is not False,
        max_output_tokens=asked.max_output_tokens,
        top_logprobs=asked.top_logprobs,
        user=asked.user,
        safety_identifier=asked.safety_identifier,
        prompt_cache_key=asked.prompt_cache_key,
    )
