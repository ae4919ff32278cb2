"""What was said as the conventions for generative AI write it: messages of parts, as JSON. Pure.

What is no text (pictures, sounds, files) is told by its kind alone.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw


class _Part(msgspec.Struct, frozen=True):
    type: str = ""
    text: str | None = None


class _Function(msgspec.Struct, frozen=True):
    name: str = ""
    arguments: str = ""


class _Call(msgspec.Struct, frozen=True):
    id: str = ""
    function: _Function = _Function()


class _Message(msgspec.Struct, frozen=True):
    role: str = "user"
    content: str | tuple[_Part, ...] | None = None
    tool_calls: tuple[_Call, ...] | None = None
    tool_call_id: str | None = None


class _Asked(msgspec.Struct, frozen=True):
    """What of a request in OpenAI's shape has words."""

    messages: tuple[_Message, ...] | None = None
    prompt: Raw = Raw(b"null")
    input: Raw = Raw(b"null")


class _Text(msgspec.Struct, frozen=True):
    text: str = ""


class _Said(msgspec.Struct, frozen=True):
    id: str = ""
    name: str = ""
    arguments: _Text = _Text()


class _Choice(msgspec.Struct, frozen=True):
    """A choice as a transcript has it."""

    content: _Text | None = None
    reasoning: _Text | None = None
    refusal: _Text | None = None
    tool_calls: tuple[_Said, ...] = ()
    finish_reason: str = ""


class _Replied(msgspec.Struct, frozen=True):
    reply: tuple[_Choice, ...] = ()


class _Shown(msgspec.Struct, frozen=True, omit_defaults=True):
    """A part as the conventions have it."""

    type: str
    content: str | None = None
    id: str | None = None
    name: str | None = None
    arguments: str | None = None
    response: str | None = None


class _Spoken(msgspec.Struct, frozen=True, omit_defaults=True):
    role: str
    parts: tuple[_Shown, ...]
    finish_reason: str = ""


_asked = msgspec.json.Decoder(_Asked)
_words = msgspec.json.Decoder(str | tuple[str, ...] | None)
_replied = msgspec.json.Decoder(tuple[_Choice, ...] | _Replied)


def messages_in(request: bytes) -> str:
    """The messages of a request in OpenAI's shape; empty where there are none that can be read."""
    try:
        asked = _asked.decode(request)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    if asked.messages is not None:
        return _written([_Spoken(message.role, _parts(message)) for message in asked.messages])
    said = [*_texts(asked.prompt), *_texts(asked.input)]
    return _written([_Spoken("user", (_Shown("text", text),)) for text in said])


def messages_out(reply: bytes) -> str:
    """The choices of a reply as a transcript has them, alone or below ``reply``; empty where none can be read."""
    try:
        found = _replied.decode(reply)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    choices = found.reply if isinstance(found, _Replied) else found
    return _written([_Spoken("assistant", _spoken(choice), choice.finish_reason) for choice in choices])


def _parts(message: _Message) -> tuple[_Shown, ...]:
    content = message.content
    parts: list[_Shown] = []
    if isinstance(content, str):
        if message.tool_call_id is not None:
            return (_Shown("tool_call_response", id=message.tool_call_id, response=content),)
        parts.append(_Shown("text", content))
    elif content is not None:
        parts += [_Shown("text", part.text) if part.text is not None else _Shown(part.type) for part in content]
    for call in message.tool_calls or ():
        function = call.function
        parts.append(_Shown("tool_call", id=call.id, name=function.name, arguments=function.arguments))
    return tuple(parts)


def _spoken(choice: _Choice) -> tuple[_Shown, ...]:
    kinds = (("reasoning", choice.reasoning), ("text", choice.content), ("refusal", choice.refusal))
    parts = [_Shown(kind, text.text) for kind, text in kinds if text is not None]
    parts += [
        _Shown("tool_call", id=call.id, name=call.name, arguments=call.arguments.text) for call in choice.tool_calls
    ]
    return tuple(parts)


def _texts(raw: Raw) -> tuple[str, ...]:
    try:
        said = _words.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Tokens, or items of another dialect: there are no words to show.
        return ()
    return (said,) if isinstance(said, str) else said or ()


def _written(messages: list[_Spoken]) -> str:
    return msgspec.json.encode(messages).decode() if messages else ""
