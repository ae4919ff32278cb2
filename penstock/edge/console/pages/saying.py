"""What was said, as text: from a request in OpenAI's shape, and a reply as it is kept."""

from __future__ import annotations

import msgspec

LONGEST = 2000


class _Message(msgspec.Struct):
    role: str = ""
    content: object = None


class _Request(msgspec.Struct):
    messages: list[_Message] = []
    input: object = None
    prompt: object = None


def asked_of(request: msgspec.Raw) -> str:
    """The last thing that the user said; empty where there is no text."""
    try:
        found = msgspec.json.decode(request, type=_Request)
    except msgspec.MsgspecError:
        return ""
    for message in reversed(found.messages):
        if message.role == "user" and (text := _text(message.content)):
            return _cut(text)
    return _cut(_text(found.input) or _text(found.prompt))


def reply_of(reply: msgspec.Raw) -> str:
    """All texts in a reply, one after the other."""
    try:
        found = msgspec.json.decode(reply)
    except msgspec.MsgspecError:
        return ""
    return _cut("\n\n".join(filter(None, map(_text, found))) if isinstance(found, list) else _text(found))


def _text(value: object) -> str:
    """Texts stand under these names in every shape that there is."""
    match value:
        case str():
            return value
        case list():
            return "\n".join(filter(None, map(_text, value)))
        case dict():
            for name in ("text", "content", "message", "choices", "output", "reply", "refusal"):
                if name in value and (text := _text(value[name])):
                    return text
    return ""


def _cut(text: str) -> str:
    text = text.strip()
    return text if len(text) <= LONGEST else text[:LONGEST] + " …"
