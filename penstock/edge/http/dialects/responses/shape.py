"""The response object and its output items, in OpenAI's shape."""

from __future__ import annotations

import msgspec

from penstock.core.chat import WireUsage
from penstock.core.errors import PenstockError


class TopLogprob(msgspec.Struct, frozen=True):
    token: str
    logprob: float
    bytes: list[int] | None = None


class Logprob(msgspec.Struct, frozen=True):
    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list[TopLogprob] = []


class OutputText(msgspec.Struct, tag_field="type", tag="output_text"):
    text: str
    annotations: tuple[()] = ()
    logprobs: list[Logprob] = []


class Refusal(msgspec.Struct, tag_field="type", tag="refusal"):
    refusal: str


class ReasoningText(msgspec.Struct, tag_field="type", tag="reasoning_text"):
    text: str


class OutputMessage(msgspec.Struct, tag_field="type", tag="message"):
    """What the assistant says."""

    id: str
    status: str
    content: list[OutputText | Refusal]
    role: str = "assistant"


class FunctionCall(msgspec.Struct, tag_field="type", tag="function_call"):
    """A function that the client is asked to call; `arguments` is a JSON text."""

    id: str
    status: str
    call_id: str
    name: str
    arguments: str


class ReasoningItem(msgspec.Struct, tag_field="type", tag="reasoning"):
    """What the model thought before it answered."""

    id: str
    status: str
    content: list[ReasoningText]
    summary: tuple[()] = ()


OutputItem = OutputMessage | FunctionCall | ReasoningItem


class _InputDetails(msgspec.Struct, frozen=True):
    cached_tokens: int = 0
    cache_write_tokens: int = 0


class _OutputDetails(msgspec.Struct, frozen=True):
    reasoning_tokens: int = 0


class ResponseUsage(msgspec.Struct, frozen=True):
    """Tokens as the engine counted them."""

    input_tokens: int
    input_tokens_details: _InputDetails
    output_tokens: int
    output_tokens_details: _OutputDetails
    total_tokens: int


class ResponseFault(msgspec.Struct, frozen=True):
    """Why a response failed. `code` is one of OpenAI's three; `type` is the class of our own error."""

    code: str
    message: str
    param: str | None
    type: str


class Incomplete(msgspec.Struct, frozen=True):
    reason: str


class Echo(msgspec.Struct, frozen=True, kw_only=True):
    """What a response repeats of its request."""

    model: str
    instructions: str | None
    metadata: msgspec.Raw
    tools: msgspec.Raw
    tool_choice: msgspec.Raw
    text: msgspec.Raw
    reasoning: msgspec.Raw
    temperature: msgspec.Raw
    top_p: msgspec.Raw
    parallel_tool_calls: bool
    max_output_tokens: int | None
    top_logprobs: int | None
    user: str | None
    safety_identifier: str | None
    prompt_cache_key: str | None


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """A response. It is not stored: `store` is always false. Times are in seconds since the epoch."""

    id: str
    object: str = "response"
    created_at: int
    status: str
    completed_at: int | None = None
    background: bool = False
    error: ResponseFault | None = None
    incomplete_details: Incomplete | None = None
    instructions: str | None
    max_output_tokens: int | None
    metadata: msgspec.Raw
    model: str
    output: list[OutputItem]
    parallel_tool_calls: bool
    previous_response_id: None = None
    prompt_cache_key: str | None
    reasoning: msgspec.Raw
    safety_identifier: str | None
    store: bool = False
    temperature: msgspec.Raw
    text: msgspec.Raw
    tool_choice: msgspec.Raw
    tools: msgspec.Raw
    top_logprobs: int | None
    top_p: msgspec.Raw
    truncation: str = "disabled"
    usage: ResponseUsage | None = None
    user: str | None


def fault(error: PenstockError) -> ResponseFault:
    if error.fault.status == 429:
        code = "rate_limit_exceeded"
    else:
        code = "invalid_prompt" if error.fault.status < 500 else "server_error"
    return ResponseFault(code, error.message, error.param, error.fault.type)


def used(usage: WireUsage | None) -> ResponseUsage | None:
    if usage is None:
        return None
    counted = usage.counted()
    return ResponseUsage(
        counted.prompt,
        _InputDetails(counted.cached),
        counted.completion,
        _OutputDetails(counted.reasoning),
        counted.prompt + counted.completion,
    )


class _Logprobs(msgspec.Struct, frozen=True):
    content: list[Logprob] | None = None


_logprobs = msgspec.json.Decoder(_Logprobs | None)


def logprobs(raw: msgspec.Raw) -> list[Logprob]:
    """Chat's ``logprobs`` member as a list; none when it is null. Raises ``msgspec.DecodeError``."""
    read = _logprobs.decode(raw)
    return [_with_bytes(entry) for entry in (read.content if read is not None else None) or ()]


def _with_bytes(entry: Logprob) -> Logprob:
    top = [TopLogprob(t.token, t.logprob, _bytes(t.token, t.bytes)) for t in entry.top_logprobs]
    return Logprob(entry.token, entry.logprob, _bytes(entry.token, entry.bytes), top)


def _bytes(token: str, given: list[int] | None) -> list[int]:
    return list(token.encode()) if given is None else given


class Shape:
    """Makes the response objects of one request: the same identity in each."""

    __slots__ = ("_created", "_echo", "request_id")

    def __init__(self, request_id: str, echo: Echo, created: int) -> None:
        self.request_id = request_id
        self._echo = echo
        self._created = created

    def response(
        self,
        status: str,
        output: list[OutputItem],
        *,
        model: str = "",
        usage: ResponseUsage | None = None,
        error: ResponseFault | None = None,
        incomplete: str = "",
        completed: int | None = None,
    ) -> Response:
        echo = self._echo
        return Response(
            id=f"resp_{self.request_id}",
            created_at=self._created,
            completed_at=completed,
            status=status,
            error=error,
            incomplete_details=Incomplete(incomplete) if incomplete else None,
            instructions=echo.instructions,
            max_output_tokens=echo.max_output_tokens,
            metadata=echo.metadata,
            model=model or echo.model,
            output=output,
            parallel_tool_calls=echo.parallel_tool_calls,
            prompt_cache_key=echo.prompt_cache_key,
            reasoning=echo.reasoning,
            safety_identifier=echo.safety_identifier,
            temperature=echo.temperature,
            text=echo.text,
            tool_choice=echo.tool_choice,
            tools=echo.tools,
            top_logprobs=echo.top_logprobs,
            top_p=echo.top_p,
            usage=usage,
            user=echo.user,
        )


def incomplete_reason(finish_reason: str | None) -> str:
    """Why an answer with this finish is not whole; empty when it is."""
    return {"length": "max_output_tokens", "content_filter": "content_filter"}.get(finish_reason or "", "")
