"""A chat request in OpenAI's shape as the body of Anthropic's Messages API. Pure.

What Anthropic has no word for and what would change the answer is refused with its name; hints (``seed``,
``store``, ``prompt_cache_key``) are left out. Fields that OpenAI does not know (``thinking``, ``top_k``,
``cache_control``) go through as they came.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from penstock.core import splice
from penstock.core.chat import Call
from penstock.core.errors import (
    INVALID_TYPE,
    INVALID_VALUE,
    MISSING_PARAMETER,
    UNSUPPORTED_PARAMETER,
    PenstockError,
)
from penstock.engines.anthropic_messages import Said, turns

_PLACE = re.compile(r"`\$\.([^`]+)`")
_MODEL = "an Anthropic model"

_TRANSLATED = frozenset(
    {
        "model",
        "messages",
        "stream",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "stop",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "reasoning_effort",
        "user",
        "safety_identifier",
    }
)
_HINTS = frozenset(
    {
        "seed",
        "store",
        "metadata",
        "service_tier",
        "stream_options",
        "prompt_cache_key",
        "prompt_cache_retention",
        "verbosity",
        "n",
        "top_logprobs",
    }
)
_NEUTRAL: Mapping[str, tuple[bytes, ...]] = {
    "logprobs": (b"null", b"false"),
    "logit_bias": (b"null", b"{}"),
    "frequency_penalty": (b"null", b"0", b"0.0"),
    "presence_penalty": (b"null", b"0", b"0.0"),
    "modalities": (b"null", b'["text"]'),
    "functions": (b"null", b"[]"),
    "function_call": (b"null", b'"none"', b'"auto"'),
    "audio": (b"null",),
    "prediction": (b"null",),
    "web_search_options": (b"null",),
}
"""Fields that cannot be honoured, and the values by which they ask for nothing."""


class _Function(msgspec.Struct, frozen=True):
    name: str
    description: str | None = None
    parameters: dict[str, msgspec.Raw] | None = None
    strict: bool | None = None


class _Named(msgspec.Struct, frozen=True):
    name: str


class _Choice(msgspec.Struct, frozen=True):
    type: str
    function: _Named | None = None


class _Schema(msgspec.Struct, frozen=True):
    schema: msgspec.Raw = msgspec.Raw(b"{}")


class _Format(msgspec.Struct, frozen=True):
    type: str
    json_schema: _Schema | None = None


class _Request(msgspec.Struct, frozen=True):
    messages: list[Said]
    temperature: float | None = None
    top_p: float | None = None
    stop: str | list[str] | None = None
    tools: list[dict[str, msgspec.Raw]] | None = None
    tool_choice: str | _Choice | None = None
    parallel_tool_calls: bool | None = None
    response_format: _Format | None = None
    reasoning_effort: str | None = None
    user: str | None = None
    safety_identifier: str | None = None


def message_body(call: Call, model: str, max_tokens: int) -> bytes:
    """The request body. ``max_tokens`` is the bound for a client that gives none.

    Raises ``PenstockError`` with ``param`` set: INVALID_TYPE, INVALID_VALUE, MISSING_PARAMETER,
    UNSUPPORTED_PARAMETER, UNSUPPORTED_CONTENT.
    """
    _refuse_what_is_missing_there(call)
    request = _read(call)
    system, messages = turns(request.messages)
    kept = {name: raw for name, raw in call.fields.items() if name not in _NOT_PASSED}
    effort, thinking = _effort(request.reasoning_effort)
    user = request.safety_identifier or request.user
    return splice.joined(
        kept,
        model=model,
        max_tokens=max_tokens if call.max_tokens is None else call.max_tokens,
        system=system or None,
        messages=messages,
        stream=True if call.stream else None,
        temperature=_temperature(request.temperature),
        top_p=request.top_p,
        stop_sequences=[request.stop] if isinstance(request.stop, str) else request.stop or None,
        tools=[_tool(tool, at) for at, tool in enumerate(request.tools)] if request.tools else None,
        tool_choice=_tool_choice(request) if request.tools else None,
        output_config=_output_config(kept.get("output_config"), request.response_format, effort),
        thinking=kept.get("thinking") or thinking,
        metadata={"user_id": user} if user else None,
    )


_NOT_PASSED = _TRANSLATED | _HINTS | frozenset(_NEUTRAL)


def _refuse_what_is_missing_there(call: Call) -> None:
    if call.choices > 1:
        raise PenstockError(UNSUPPORTED_PARAMETER, f"n above 1 is not supported by {_MODEL}; ask n times", param="n")
    for name, neutral in _NEUTRAL.items():
        raw = call.fields.get(name)
        if raw is not None and bytes(raw).replace(b" ", b"") not in neutral:
            raise PenstockError(
                UNSUPPORTED_PARAMETER,
                f"{name} is not supported by {_MODEL}; leave it out, or use a model of another engine",
                param=name,
            )


def _read(call: Call) -> _Request:
    if "messages" not in call.fields:
        raise PenstockError(MISSING_PARAMETER, "messages is missing; give at least one", param="messages")
    known = {name: raw for name, raw in call.fields.items() if name in _TRANSLATED}
    try:
        return msgspec.json.decode(msgspec.json.encode(known), type=_Request)
    except msgspec.DecodeError as exc:
        place = _PLACE.search(str(exc))
        raise PenstockError(INVALID_TYPE, f"The request is malformed: {exc}", param=place and place[1]) from exc


def _temperature(given: float | None) -> float | None:
    if given is not None and not 0 <= given <= 1:
        raise PenstockError(
            INVALID_VALUE, f"temperature must lie between 0 and 1 for {_MODEL}; it is {given}", param="temperature"
        )
    return given


_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}


def _effort(given: str | None) -> tuple[str | None, dict[str, str] | None]:
    """Anthropic's effort, and its thinking setting where that says it instead."""
    if given is None:
        return None, None
    if given == "none":
        return None, {"type": "disabled"}
    if given not in _EFFORTS:
        names = ", ".join(["none", *_EFFORTS])
        raise PenstockError(INVALID_VALUE, f"reasoning_effort must be one of {names}", param="reasoning_effort")
    return _EFFORTS[given], None


def _tool(tool: dict[str, msgspec.Raw], at: int) -> object:
    function = tool.get("function")
    if function is None:
        # Anthropic's own tools (web search, code execution) come in Anthropic's shape.
        return tool
    try:
        read = msgspec.json.decode(function, type=_Function)
    except msgspec.DecodeError as exc:
        where = f"tools[{at}].function"
        raise PenstockError(INVALID_TYPE, f"{where} is malformed: {exc}", param=where) from exc
    made: dict[str, object] = {"name": read.name}
    if read.description is not None:
        made["description"] = read.description
    made["input_schema"] = {"type": "object", "properties": {}} | (read.parameters or {})
    if read.strict:
        made["strict"] = True
    if "cache_control" in tool:
        made["cache_control"] = tool["cache_control"]
    return made


def _tool_choice(request: _Request) -> dict[str, object] | None:
    given = request.tool_choice
    choice: dict[str, object]
    if isinstance(given, _Choice):
        if given.type != "function" or given.function is None:
            raise PenstockError(
                UNSUPPORTED_PARAMETER,
                f"tool_choice of type {given.type!r} is not supported by {_MODEL}; name a function",
                param="tool_choice",
            )
        choice = {"type": "tool", "name": given.function.name}
    elif given is None:
        choice = {"type": "auto"}
    elif given in _CHOICES:
        choice = {"type": _CHOICES[given]}
    else:
        raise PenstockError(
            INVALID_VALUE, "tool_choice must be none, auto, required or a function", param="tool_choice"
        )
    if request.parallel_tool_calls is False and choice["type"] != "none":
        return {**choice, "disable_parallel_tool_use": True}
    return None if given is None else choice


_CHOICES = {"auto": "auto", "none": "none", "required": "any", "any": "any"}


def _output_config(given: msgspec.Raw | None, wanted: _Format | None, effort: str | None) -> dict[str, object] | None:
    config: dict[str, object] = {}
    if given is not None:
        try:
            config.update(splice.members(bytes(given)))
        except msgspec.DecodeError as exc:
            raise PenstockError(INVALID_TYPE, "output_config must be an object", param="output_config") from exc
    if effort is not None:
        config.setdefault("effort", effort)
    if wanted is None or wanted.type == "text":
        return config or None
    if wanted.type == "json_schema" and wanted.json_schema is not None:
        return {**config, "format": {"type": "json_schema", "schema": wanted.json_schema.schema}}
    raise PenstockError(
        UNSUPPORTED_PARAMETER,
        f"response_format of type {wanted.type!r} is not supported by {_MODEL}; give a json_schema",
        param="response_format.type",
    )
