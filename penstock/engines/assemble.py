"""A streamed answer put together as the whole reply that the client asked for. Pure.

The wire is OpenAI's on both sides: https://platform.openai.com/docs/api-reference/chat/object.
"""

from __future__ import annotations

import msgspec

from penstock.core.chat import Choice, ChunkView, Delta, Kind, ToolCallDelta
from penstock.core.splice import members

_OBJECTS = {Kind.CHAT: "chat.completion", Kind.COMPLETION: "text_completion"}
_SEQUENCE = msgspec.json.Decoder(list[msgspec.Raw])


class _Call:
    __slots__ = ("arguments", "id", "name")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []


class _Told:
    """One choice, as far as it has been told."""

    __slots__ = ("calls", "content", "finish", "logprobs", "reasoning", "refusal")

    def __init__(self) -> None:
        self.content: list[str] = []
        self.reasoning: list[str] = []
        self.refusal: list[str] = []
        self.calls: dict[int, _Call] = {}
        self.logprobs: dict[str, list[msgspec.Raw]] = {}
        self.finish: str | None = None


class Assembly:
    """Takes the chunks of one answer in order; ``whole`` may be asked for once they have all been taken."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._choices: dict[int, _Told] = {}
        self._first: ChunkView | None = None
        self._fingerprint: msgspec.Raw | None = None
        self._usage: msgspec.Raw | None = None

    def add(self, chunk: bytes, view: ChunkView) -> None:
        """``view`` is the same chunk, read."""
        if self._first is None:
            self._first = view
            self._fingerprint = members(chunk).get("system_fingerprint")
        if view.usage is not None:
            self._usage = members(chunk)["usage"]
        for choice in view.choices:
            _tell(self._choices.setdefault(choice.index, _Told()), choice)

    def whole(self) -> bytes:
        """The reply, one JSON text. ``finish_reason`` is ``stop`` for a choice that gave none."""
        first = self._first or ChunkView()
        reply: dict[str, object] = {
            "id": first.id,
            "object": _OBJECTS[self._kind],
            "created": first.created,
            "model": first.model,
            "choices": [self._choice(index, self._choices[index]) for index in sorted(self._choices)],
        }
        if self._usage is not None:
            reply["usage"] = self._usage
        if self._fingerprint is not None:
            reply["system_fingerprint"] = self._fingerprint
        return msgspec.json.encode(reply)

    def _choice(self, index: int, told: _Told) -> dict[str, object]:
        said: dict[str, object] = {"index": index}
        if self._kind is Kind.CHAT:
            said["message"] = _message(told)
        else:
            said["text"] = "".join(told.content)
        said["logprobs"] = told.logprobs or None
        said["finish_reason"] = told.finish or "stop"
        return said


def _tell(told: _Told, choice: Choice) -> None:
    if choice.text:
        told.content.append(choice.text)
    if choice.delta is not None:
        _tell_delta(told, choice.delta)
    if choice.finish_reason:
        told.finish = choice.finish_reason
    if bytes(choice.logprobs) != b"null":
        for name, values in members(bytes(choice.logprobs)).items():
            if bytes(values) != b"null":
                told.logprobs.setdefault(name, []).extend(_SEQUENCE.decode(values))


def _tell_delta(told: _Told, delta: Delta) -> None:
    if delta.content:
        told.content.append(delta.content)
    if delta.reasoning_content:
        told.reasoning.append(delta.reasoning_content)
    if delta.refusal:
        told.refusal.append(delta.refusal)
    for piece in delta.tool_calls or ():
        _tell_call(told.calls.setdefault(piece.index, _Call()), piece)


def _tell_call(call: _Call, piece: ToolCallDelta) -> None:
    call.id = piece.id or call.id
    if piece.function is not None:
        call.name += piece.function.name or ""
        if piece.function.arguments:
            call.arguments.append(piece.function.arguments)


def _message(told: _Told) -> dict[str, object]:
    message: dict[str, object] = {"role": "assistant", "content": "".join(told.content)}
    if told.reasoning:
        message["reasoning_content"] = "".join(told.reasoning)
    message["refusal"] = "".join(told.refusal) or None
    if told.calls:
        message["content"] = message["content"] or None
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": "".join(call.arguments)}}
            for _, call in sorted(told.calls.items())
        ]
    return message
