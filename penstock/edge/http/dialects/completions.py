"""POST /v1/completions, the legacy dialect: a prompt and its continuation."""

from __future__ import annotations

from typing import Annotated

import msgspec

from penstock.core.chat import Call, Kind
from penstock.edge.http.dialects import Asked
from penstock.edge.http.dialects.chat import StreamOptions
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

Token = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Text = (
    str
    | Annotated[list[str | Token | Annotated[list[Token], msgspec.Meta(min_length=1)]], msgspec.Meta(min_length=1)]
)
"""A text, several, one text as tokens, or several as tokens."""


class CompletionRequest(msgspec.Struct, frozen=True):
    """The fields that are checked here; any other that OpenAI or the engine knows may be sent too."""

    model: Name
    prompt: Text
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Count | None = None
    n_cmpl: Count | None = None
    best_of: Candidates | None = None
    max_tokens: Tokens | None = None
    n_predict: Predicted | None = None
    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: Int64 | None = None
    stop: str | list[str] | None = None
    user: str | None = None


_head = Head(CompletionRequest)


def read(request_id: str, body: bytes) -> Asked:
    asked, fields = _head.read(body)
    check_one_model(fields)
    stream = bool(asked.stream)
    if not stream:
        fields.pop("stream_options", None)
    call = Call(
        request_id=request_id,
        kind=Kind.COMPLETION,
        service=asked.model,
        fields=fields,
        stream=stream,
        usage_chunk=stream and asked.stream_options is not None and bool(asked.stream_options.include_usage),
        choices=asked.n or 1,
        max_tokens=asked.max_tokens,
        user=asked.user,
    )
    return Asked(call, PLAIN)
