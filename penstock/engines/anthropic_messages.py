"""OpenAI's list of messages as Anthropic's system prompt and turns. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec

from penstock.core import splice
from penstock.core.errors import INVALID_VALUE, UNSUPPORTED_CONTENT, PenstockError

_NULL = b"null"
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)(?:;[^,]*)?;base64,", re.ASCII)
_BAD_ID = re.compile(r"[^a-zA-Z0-9_-]")


class _Url(msgspec.Struct, frozen=True):
    url: str = ""


class _File(msgspec.Struct, frozen=True):
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class _Part(msgspec.Struct, frozen=True):
    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: _Url | str | None = None
    file: _File | None = None
    cache_control: msgspec.Raw = msgspec.Raw(_NULL)


class _Called(msgspec.Struct, frozen=True):
    name: str
    arguments: str = "{}"


class _ToolCall(msgspec.Struct, frozen=True):
    id: str
    function: _Called


class Said(msgspec.Struct, frozen=True):
    """One message of the request. ``thinking_blocks`` are what ``anthropic_answers`` gave, on their way back."""

    role: str
    content: str | list[_Part] | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: str | None = None
    thinking_blocks: list[msgspec.Raw] | None = None
    cache_control: msgspec.Raw = msgspec.Raw(_NULL)


Block = dict[str, object] | msgspec.Raw


def turns(messages: Sequence[Said]) -> tuple[list[Block], list[dict[str, object]]]:
    """The system blocks, and the turns: consecutive messages of one side are one turn, empty ones are none.

    Raises ``PenstockError`` with the ``param`` that is to blame: INVALID_VALUE, UNSUPPORTED_CONTENT.
    """
    system: list[Block] = []
    out: list[tuple[str, list[Block]]] = []
    for at, message in enumerate(messages):
        where = f"messages[{at}]"
        match message.role:
            case "system" | "developer":
                system += _blocks(message, where)
                continue
            case "user":
                side, blocks = "user", _blocks(message, where)
            case "assistant":
                side, blocks = "assistant", _assistant(message, where)
            case "tool":
                side, blocks = "user", [_result(message, where)]
            case _:
                raise PenstockError(
                    INVALID_VALUE,
                    f"{where}.role {message.role!r} is not known here; use system, user, assistant or tool",
                    param=f"{where}.role",
                )
        if out and out[-1][0] == side:
            out[-1][1].extend(blocks)
        elif blocks:
            out.append((side, blocks))
    if not out:
        raise PenstockError(INVALID_VALUE, "messages holds no turn; give at least one user message", param="messages")
    return system, [{"role": side, "content": blocks} for side, blocks in out]


def _assistant(message: Said, where: str) -> list[Block]:
    blocks: list[Block] = list(message.thinking_blocks or ())
    blocks += _blocks(message, where)
    if message.refusal:
        blocks.append({"type": "text", "text": message.refusal})
    for number, called in enumerate(message.tool_calls or ()):
        place = f"{where}.tool_calls[{number}].function.arguments"
        blocks.append(
            {
                "type": "tool_use",
                "id": _id(called.id),
                "name": called.function.name,
                "input": _arguments(called.function.arguments, place),
            }
        )
    return blocks


def _arguments(text: str, place: str) -> msgspec.Raw:
    try:
        splice.members(text.encode() or b"{}")
    except (msgspec.DecodeError, UnicodeEncodeError) as exc:
        raise PenstockError(INVALID_VALUE, f"{place} must be the text of a JSON object", param=place) from exc
    return msgspec.Raw(text.encode() or b"{}")


def _result(message: Said, where: str) -> Block:
    if not message.tool_call_id:
        place = f"{where}.tool_call_id"
        raise PenstockError(INVALID_VALUE, f"{place} is missing; name the call that this answers", param=place)
    content: object = message.content if isinstance(message.content, str) else _blocks(message, where)
    block: dict[str, object] = {"type": "tool_result", "tool_use_id": _id(message.tool_call_id), "content": content}
    return _cached(block, message.cache_control)


def _blocks(message: Said, where: str) -> list[Block]:
    if message.content is None or isinstance(message.content, str):
        # Anthropic refuses empty text, which OpenAI's clients like to send beside tool calls.
        return [_cached({"type": "text", "text": message.content}, message.cache_control)] if message.content else []
    return list(_parts(message.content, where))


def _parts(parts: Sequence[_Part], where: str) -> Iterable[Block]:
    for at, part in enumerate(parts):
        place = f"{where}.content[{at}]"
        match part.type:
            case "text" | "refusal":
                text = part.text or part.refusal
                if text:
                    yield _cached({"type": "text", "text": text}, part.cache_control)
            case "image_url" if part.image_url is not None:
                url = part.image_url if isinstance(part.image_url, str) else part.image_url.url
                yield _cached({"type": "image", "source": _source(url, f"{place}.image_url.url")}, part.cache_control)
            case "file" if part.file is not None and part.file.file_data:
                source = _source(part.file.file_data, f"{place}.file.file_data")
                document: dict[str, object] = {"type": "document", "source": source}
                if part.file.filename:
                    document["title"] = part.file.filename
                yield _cached(document, part.cache_control)
            case _:
                raise PenstockError(
                    UNSUPPORTED_CONTENT,
                    f"{place} of type {part.type!r} is not supported by an Anthropic model; "
                    "it takes text, image_url, and file with file_data",
                    param=place,
                )


def _source(url: str, place: str) -> dict[str, str]:
    if url.startswith(("https://", "http://")):
        return {"type": "url", "url": url}
    if (found := _DATA_URL.match(url)) is None:
        raise PenstockError(
            INVALID_VALUE, f"{place} must be an https: URL, or data:TYPE;base64, and the data", param=place
        )
    return {"type": "base64", "media_type": found[1].lower(), "data": url[found.end() :]}


def _cached(block: dict[str, object], control: msgspec.Raw) -> dict[str, object]:
    return block if bytes(control) == _NULL else {**block, "cache_control": control}


def _id(given: str) -> str:
    """Ids of other providers hold characters that Anthropic refuses; the same id always becomes the same."""
    return _BAD_ID.sub("_", given)
