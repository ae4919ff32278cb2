"""What llama.cpp's refusals mean in our words: one table from its messages to our faults. Pure.

llama.cpp answers ``{"error": {"code", "message", "type"}}``, with status 500 for some slips of the client, and names
no field. Source: tools/server and common/chat in https://github.com/ggml-org/llama.cpp
"""

from __future__ import annotations

import re

import msgspec

from penstock.core import errors
from penstock.core.chat import Call, Kind
from penstock.core.errors import Fault, PenstockError
from penstock.engines.llamacpp_fields import given

_SHOWN = 600
_PROMPT = {Kind.CHAT: "messages", Kind.COMPLETION: "prompt", Kind.EMBEDDING: "input"}
_FIELD = re.compile(r"Field '(\w+)': (.*)", re.DOTALL)
_FORMAT = ("response_format", "json_schema", "grammar", "tools")


class _Inner(msgspec.Struct, frozen=True):
    message: str = ""
    type: str = ""
    n_prompt_tokens: int = 0
    n_ctx: int = 0


class _Outer(msgspec.Struct, frozen=True):
    error: _Inner = _Inner()


class _Row(msgspec.Struct, frozen=True):
    """``param``: the field to blame; ``*`` the prompt of the call's kind, ``?`` the first of ``_FORMAT`` it has."""

    text: re.Pattern[str]
    fault: Fault
    mend: str
    param: str | None


def _row(text: str, fault: Fault, mend: str, param: str | None = "*") -> _Row:
    return _Row(re.compile(text, re.IGNORECASE), fault, mend, param)


# First match wins.
_TABLE = (
    _row(r"(image|audio|video) input is not supported", errors.UNSUPPORTED_CONTENT, "send this model text only"),
    _row(r"unsupported content\[\]\.type", errors.UNSUPPORTED_CONTENT, "send this model text parts only"),
    _row(
        r"input is too large|exceeds? the available context|larger than the max context",
        errors.CONTEXT_LENGTH_EXCEEDED,
        "shorten it, or raise the model's context",
    ),
    _row(r"failed to parse tools", errors.INVALID_VALUE, "mend tools", "tools"),
    _row(
        r"failed to parse messages|'messages'|expected 'content'|must contain 'content'|missing 'role'",
        errors.INVALID_VALUE,
        "mend messages",
        "messages",
    ),
    _row(r"response_format", errors.INVALID_VALUE, "mend response_format", "response_format"),
    _row(r"grammar|json schema|generate parser|json_schema", errors.INVALID_VALUE, "mend the schema", "?"),
    _row(r"top_logprobs", errors.INVALID_VALUE, "set logprobs to true", "top_logprobs"),
    _row(
        r'invalid tokens|"prompt" elements|must not be empty|must be provided',
        errors.INVALID_VALUE,
        "send text, or tokens of this model",
    ),
    _row(r"format to return the embeddings", errors.INVALID_VALUE, "use float or base64", "encoding_format"),
    _row(r"jinja|template", errors.INVALID_VALUE, "send messages that the model's chat template takes", "messages"),
    _row(
        r"does not support (embeddings|reranking|completions|chat)|logits computation",
        errors.UNSUPPORTED_OPERATION,
        "ask a model that does",
        None,
    ),
)
_SPEAKING = frozenset({0, 400, 422, 500, 501})
"""Statuses, 0 for none, whose messages are worth reading."""


def refused(status: int, body: bytes, call: Call, model: str) -> PenstockError:
    """The error that an answer with a bad status stands for; ``status`` 0 when it came inside a stream."""
    said = _said(body)
    shown = said.message if len(said.message) <= _SHOWN else f"{said.message[:_SHOWN]}..."
    if said.type == "exceed_context_size_error" and said.n_ctx:
        return PenstockError(
            errors.CONTEXT_LENGTH_EXCEEDED,
            f"This model's context holds {said.n_ctx} tokens; the request has {said.n_prompt_tokens}. Shorten it, "
            f"or raise context of model {model!r}",
            param=_PROMPT[call.kind],
        )
    if status in _SPEAKING:
        if (field := _FIELD.match(said.message)) is not None:
            return PenstockError(errors.INVALID_VALUE, f"{field[1]}: {_plain(field[2])}", param=field[1])
        for row in _TABLE:
            if row.text.search(said.message):
                return PenstockError(row.fault, f"{shown}; {row.mend}", param=_blamed(row.param, call))
    if status in (400, 422):
        return PenstockError(errors.BAD_REQUEST, f"{shown or 'llama.cpp refused the request'}; check the request")
    if status in (401, 403):
        return PenstockError(errors.UPSTREAM_REFUSED_KEY, f"The copy of model {model!r} refused our key; restart it")
    if status == 503:
        return PenstockError(errors.NO_REPLICA, f"Model {model!r} is still loading; try again in a moment")
    what = f"HTTP {status}" if status else "an error event"
    return PenstockError(
        errors.UPSTREAM_FAILED, f"llama.cpp failed for model {model!r} ({what}: {shown}); try again or see its log"
    )


def _said(body: bytes) -> _Inner:
    try:
        return msgspec.json.decode(body, type=_Outer).error
    except msgspec.DecodeError:
        return _Inner(message=body[:_SHOWN].decode(errors="replace"))


def _plain(text: str) -> str:
    """Without the names that a C++ library gives its exceptions."""
    return re.sub(r"\[json\.exception\.[\w.]+\] ", "", text)


def _blamed(param: str | None, call: Call) -> str | None:
    if param == "*":
        return _PROMPT[call.kind]
    if param == "?":
        return next((name for name in _FORMAT if given(call, name) is not None), None)
    return param
