"""Input items to chat messages."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.core.errors import INVALID_VALUE, MISSING_PARAMETER, UNSUPPORTED_CONTENT, PenstockError

_ROLES = ("user", "assistant", "system", "developer")
_TEXTS = ("input_text", "output_text", "text", "summary_text")


class Part(msgspec.Struct, frozen=True):
    """One part of a message: `input_text`, `output_text`, `refusal`, `input_image`, `input_file` or `input_audio`."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None
    detail: str | None = None
    file_id: str | None = None
    file_data: str | None = None
    file_url: str | None = None
    filename: str | None = None
    input_audio: dict[str, msgspec.Raw] | None = None


class Item(msgspec.Struct, frozen=True):
    """A `message`, a `function_call`, its `function_call_output`, or `reasoning`, which is skipped."""

    type: str = "message"
    role: str | None = None
    content: str | list[Part] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[Part] | None = None


class _Function(msgspec.Struct, frozen=True):
    name: str
    arguments: str


class _ToolCall(msgspec.Struct, frozen=True):
    id: str
    function: _Function
    type: str = "function"


class ChatMessage(msgspec.Struct, omit_defaults=True):
    """A chat message being put together."""

    role: str
    content: str | list[dict[str, object]] | None = None
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: str | None = None


def messages(instructions: str | None, given: str | Sequence[Item]) -> list[ChatMessage]:
    """The conversation as chat messages. Raises ``PenstockError`` that names the item at fault.

    ``developer`` becomes ``system``, which every chat template knows. Calls that follow one another, or the
    assistant's text, become one assistant message, as chat wants it.
    """
    chat: list[ChatMessage] = []
    if instructions:
        chat.append(ChatMessage("system", instructions))
    if isinstance(given, str):
        chat.append(ChatMessage("user", given))
        return chat
    for place, item in enumerate(given):
        at = f"input[{place}]"
        match item.type:
            case "message":
                chat.append(_message(item, at))
            case "function_call":
                call = _ToolCall(_needed(item.call_id, at, "call_id"), _function(item, at))
                last = chat[-1] if chat else None
                if last is None or last.role != "assistant":
                    last = ChatMessage("assistant")
                    chat.append(last)
                last.tool_calls = [*(last.tool_calls or ()), call]
            case "function_call_output":
                content = _content(item.output, f"{at}.output")
                chat.append(ChatMessage("tool", content, tool_call_id=_needed(item.call_id, at, "call_id")))
            case "reasoning":
                pass
            case _:
                raise PenstockError(
                    UNSUPPORTED_CONTENT,
                    f"'{at}.type' {item.type[:80]!r} is not supported. Use 'message', 'function_call', "
                    "'function_call_output' or 'reasoning'.",
                    param=f"{at}.type",
                )
    if not any(message.role != "system" for message in chat):
        raise PenstockError(INVALID_VALUE, "'input' holds nothing to answer. Add a user message.", param="input")
    return chat


def _message(item: Item, at: str) -> ChatMessage:
    role = _needed(item.role, at, "role")
    if role not in _ROLES:
        raise PenstockError(
            INVALID_VALUE, f"'{at}.role' must be one of {', '.join(_ROLES)}, not {role[:80]!r}.", param=f"{at}.role"
        )
    return ChatMessage("system" if role == "developer" else role, _content(item.content, f"{at}.content"))


def _function(item: Item, at: str) -> _Function:
    return _Function(_needed(item.name, at, "name"), _needed(item.arguments, at, "arguments"))


def _needed(value: str | None, at: str, name: str) -> str:
    if value is None:
        raise PenstockError(MISSING_PARAMETER, f"'{at}.{name}' is missing. Add it.", param=f"{at}.{name}")
    return value


def _content(content: str | list[Part] | None, at: str) -> str | list[dict[str, object]]:
    if content is None:
        raise PenstockError(MISSING_PARAMETER, f"'{at}' is missing. Add it.", param=at)
    if isinstance(content, str):
        return content
    if len(content) == 1 and content[0].type in _TEXTS and content[0].text is not None:
        # Engines whose templates know only text take it as a string.
        return content[0].text
    return [_part(part, f"{at}[{place}]") for place, part in enumerate(content)]


def _part(part: Part, at: str) -> dict[str, object]:
    if part.type in _TEXTS:
        return {"type": "text", "text": _needed(part.text, at, "text")}
    if part.type == "refusal":
        return {"type": "refusal", "refusal": _needed(part.refusal, at, "refusal")}
    if part.file_id is not None or part.file_url is not None:
        name = "file_id" if part.file_id is not None else "file_url"
        raise PenstockError(
            UNSUPPORTED_CONTENT,
            f"'{at}.{name}' is not supported: files are not stored or fetched here. Send the data itself.",
            param=f"{at}.{name}",
        )
    if part.type == "input_image":
        image: dict[str, object] = {"url": _needed(part.image_url, at, "image_url")}
        if part.detail is not None:
            image["detail"] = part.detail
        return {"type": "image_url", "image_url": image}
    if part.type == "input_file":
        file = {"file_data": _needed(part.file_data, at, "file_data"), "filename": part.filename or "file"}
        return {"type": "file", "file": file}
    if part.type == "input_audio" and part.input_audio is not None:
        return {"type": "input_audio", "input_audio": part.input_audio}
    raise PenstockError(
        UNSUPPORTED_CONTENT,
        f"'{at}.type' {part.type[:80]!r} is not supported. Use 'input_text', 'output_text', 'input_image', "
        "'input_file' or 'input_audio'.",
        param=f"{at}.type",
    )
