"""Anthropic's messages and events as OpenAI's replies and chunks.

Source: https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.core.chat import Usage
from penstock.core.errors import UPSTREAM_BROKEN, UPSTREAM_GARBLED, PenstockError
from penstock.engines.faults import Origin, event_error

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


class _OutputDetails(msgspec.Struct, frozen=True):
    thinking_tokens: int = 0


class _Usage(msgspec.Struct, frozen=True):
    """A later one of a stream tells only what has changed."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens_details: _OutputDetails | None = None


class _Block(msgspec.Struct, frozen=True):
    type: str = ""
    text: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"{}")
    thinking: str = ""
    signature: str = ""
    data: str = ""


class _Message(msgspec.Struct, frozen=True):
    id: str = ""
    model: str = ""
    content: list[_Block] = []
    stop_reason: str | None = None
    usage: _Usage = _Usage()


class _Delta(msgspec.Struct, frozen=True):
    type: str = ""
    text: str = ""
    partial_json: str = ""
    thinking: str = ""
    signature: str = ""
    stop_reason: str | None = None


class _Event(msgspec.Struct, frozen=True):
    type: str = ""
    message: _Message | None = None
    index: int = 0
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: _Usage | None = None


_event = msgspec.json.Decoder(_Event)
_whole = msgspec.json.Decoder(_Message)


def wire_usage(usage: _Usage) -> dict[str, object]:
    """OpenAI's ``usage``: there what was cached is part of the prompt, here it is counted beside it.
    ``cache_write_tokens`` is what was put into the cache, at a price of its own; OpenAI has no such word."""
    cached, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    prompt = (usage.input_tokens or 0) + cached + written
    out = usage.output_tokens or 0
    details = usage.output_tokens_details
    return {
        "prompt_tokens": prompt,
        "completion_tokens": out,
        "total_tokens": prompt + out,
        "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
        "completion_tokens_details": {"reasoning_tokens": details.thinking_tokens if details else 0},
    }


def _updated(before: _Usage, after: _Usage) -> _Usage:
    told = {name: value for name, value in msgspec.structs.asdict(after).items() if value is not None}
    return msgspec.structs.replace(before, **told)


def _thought(block: _Block) -> dict[str, str]:
    """A thinking block in Anthropic's shape: it must come back unchanged with the next request."""
    if block.type == "redacted_thinking":
        return {"type": block.type, "data": block.data}
    return {"type": "thinking", "thinking": block.thinking, "signature": block.signature}


# -- whole ---------------------------------------------------------------------------------------------------------


def chat_completion(body: bytes, created: int) -> bytes:
    """A ``chat.completion`` that says what the message says. Raises ``msgspec.DecodeError`` when it is not one."""
    message = _whole.decode(body)
    if not message.id:
        raise msgspec.DecodeError("it has no id")
    calls = [
        {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": _compact(block.input)}}
        for block in message.content
        if block.type == "tool_use"
    ]
    text = "".join(block.text for block in message.content if block.type == "text")
    said: dict[str, object] = {"role": "assistant", "content": text or ("" if not calls else None), "refusal": None}
    thoughts = [block for block in message.content if block.type in ("thinking", "redacted_thinking")]
    if thoughts:
        said["reasoning_content"] = "".join(block.thinking for block in thoughts)
        said["thinking_blocks"] = [_thought(block) for block in thoughts]
    if calls:
        said["tool_calls"] = calls
    finish = _FINISH.get(message.stop_reason or "", "stop")
    return msgspec.json.encode(
        {
            "id": message.id,
            "object": "chat.completion",
            "created": created,
            "model": message.model,
            "choices": [{"index": 0, "message": said, "logprobs": None, "finish_reason": finish}],
            "usage": wire_usage(message.usage),
        }
    )


def _compact(value: msgspec.Raw) -> str:
    return msgspec.json.format(bytes(value), indent=-1).decode()


def whole(body: bytes, created: int, origin: Origin) -> Sequence[bytes]:
    """The one chunk of a message. Raises ``PenstockError`` (UPSTREAM_GARBLED) when it is not a message."""
    try:
        return (chat_completion(body, created),)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise _garbled(origin, "an answer that is not a message") from exc


def _garbled(origin: Origin, what: str) -> PenstockError:
    return PenstockError(
        UPSTREAM_GARBLED,
        f"The upstream of model {origin.model!r} sent {what}; check that base_url is Anthropic's Messages API",
    )


# -- streamed ------------------------------------------------------------------------------------------------------


class Events:
    """What the events of a stream mean; see ``hosted_answers.Reading``. Complete at ``message_stop``."""

    def __init__(self, created: int, origin: Origin) -> None:
        self.complete = False
        self._origin = origin
        self._head: dict[str, object] = {"id": "", "object": "chat.completion.chunk", "created": created, "model": ""}
        self._usage = _Usage()
        self._block = _Block()
        self._thinking: list[str] = []
        self._signature: list[str] = []
        self._calls = -1
        self._argued = False

    def take(self, name: bytes, data: bytes, chunks: list[bytes]) -> None:
        if name == b"error":
            raise event_error(data, self._origin)
        try:
            chunks += self._chunks(_event.decode(data))
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise _garbled(self._origin, "an event that is not its API's") from exc

    def end(self) -> None:
        raise PenstockError(
            UPSTREAM_BROKEN,
            f"The upstream of model {self._origin.model!r} ended its stream before message_stop; try again",
        )

    def so_far(self) -> Usage | None:
        # It says what it has written only at the end.
        return None

    def _chunks(self, event: _Event) -> list[bytes]:
        match event.type:
            case "message_start" if event.message is not None:
                self._head |= {"id": event.message.id, "model": event.message.model}
                self._usage = event.message.usage
                return [self._chunk({"role": "assistant", "content": ""})]
            case "content_block_start" if event.content_block is not None:
                return self._started(event.content_block)
            case "content_block_delta" if event.delta is not None:
                return self._added(event.delta)
            case "content_block_stop":
                return self._stopped()
            case "message_delta":
                self._usage = _updated(self._usage, event.usage or _Usage())
                reason = event.delta.stop_reason if event.delta else None
                return [self._chunk({}, _FINISH.get(reason, "stop"))] if reason else []
            case "message_stop":
                self.complete = True
                return [msgspec.json.encode({**self._head, "choices": [], "usage": wire_usage(self._usage)})]
        # Anthropic adds types of events, ``ping`` among them, and asks that unknown ones be passed over.
        return []

    def _started(self, block: _Block) -> list[bytes]:
        self._block = block
        self._thinking = [block.thinking]
        self._signature = [block.signature]
        if block.type == "text" and block.text:
            return [self._chunk({"content": block.text})]
        if block.type == "thinking" and block.thinking:
            return [self._chunk({"reasoning_content": block.thinking})]
        if block.type != "tool_use":
            return []
        self._calls += 1
        self._argued = False
        function = {"name": block.name, "arguments": ""}
        return [self._call({"id": block.id, "type": "function", "function": function})]

    def _added(self, delta: _Delta) -> list[bytes]:
        match delta.type:
            case "text_delta" if delta.text:
                return [self._chunk({"content": delta.text})]
            case "thinking_delta" if delta.thinking:
                self._thinking.append(delta.thinking)
                return [self._chunk({"reasoning_content": delta.thinking})]
            case "signature_delta":
                self._signature.append(delta.signature)
            case "input_json_delta" if delta.partial_json and self._block.type == "tool_use":
                self._argued = True
                return [self._call({"function": {"arguments": delta.partial_json}})]
        return []

    def _stopped(self) -> list[bytes]:
        block, self._block = self._block, _Block()
        if block.type in ("thinking", "redacted_thinking"):
            thought = _Block(
                type=block.type, thinking="".join(self._thinking), signature="".join(self._signature), data=block.data
            )
            return [self._chunk({"thinking_blocks": [_thought(thought)]})]
        if block.type == "tool_use" and not self._argued:
            # A call without arguments has no delta; OpenAI's clients read the text as JSON all the same.
            return [self._call({"function": {"arguments": _compact(block.input)}})]
        return []

    def _call(self, piece: dict[str, object]) -> bytes:
        return self._chunk({"tool_calls": [{"index": self._calls, **piece}]})

    def _chunk(self, delta: dict[str, object], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return msgspec.json.encode({**self._head, "choices": [choice]})
