"""The two shapes of an answer, OpenAI's: a stream of chunks that each add something, and one whole object.

Source of the shapes: OpenAI's API reference, "The chat completion chunk object" and "The chat completion object"; of
how deltas add up, what its own client libraries do: texts are joined, lists of things with an ``index`` by it, other
lists one after the other. What identifies a thing (``id``, ``type``, ``role``, ``name``) is said once and stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import msgspec

from penstock.core.chat import Kind

Members = dict[str, object]

_NAMES = frozenset({"id", "type", "role", "name", "object", "format"})
_objects = msgspec.json.Decoder(Members)


def whole(chunks: Sequence[bytes], kind: Kind) -> bytes:
    """A stream as one object. Raises ``msgspec.DecodeError`` when it is no stream of answers."""
    top: Members = {}
    choices: dict[int, Members] = {}
    usage: object = None
    for chunk in chunks:
        members = _read(chunk)
        usage = members.pop("usage", None) or usage
        for choice in _list(members.pop("choices", None)):
            _add(choices.setdefault(_index(choice), {"index": _index(choice)}), choice, texts=False)
        for name, value in members.items():
            if value is not None or name not in top:
                top[name] = value
    if kind is Kind.CHAT:
        top["object"] = "chat.completion"
    top["choices"] = [_finished(choice, kind) for _, choice in sorted(choices.items())]
    if usage is not None:
        top["usage"] = usage
    return msgspec.json.encode(top)


def streamed(answer: bytes, kind: Kind) -> tuple[bytes, ...]:
    """A whole object as a stream: who speaks, what is said, why it ends, for each choice; then the usage, if there is
    one. Raises ``msgspec.DecodeError`` when it is no answer."""
    top = _read(answer)
    choices, usage = _list(top.pop("choices", None)), top.pop("usage", None)
    if kind is Kind.CHAT:
        top["object"] = "chat.completion.chunk"
    chunks: list[bytes] = []

    def say(said: Sequence[Members], **more: object) -> None:
        chunks.append(msgspec.json.encode({**top, "choices": said, **more}))

    for choice in choices:
        rest = {name: value for name, value in choice.items() if name not in ("message", "finish_reason", "text")}
        end: Members = {"index": _index(choice), "finish_reason": choice.get("finish_reason")}
        if kind is not Kind.CHAT:
            say([{**rest, "text": choice.get("text", ""), "finish_reason": None}])
            say([{"text": "", "logprobs": None, **end}])
            continue
        message = _object(choice.get("message"))
        role = message.pop("role", "assistant")
        say([{"index": _index(choice), "delta": {"role": role, "content": ""}, "finish_reason": None}])
        calls = message.get("tool_calls")
        if isinstance(calls, list):
            message["tool_calls"] = [{"index": number, **_object(call)} for number, call in enumerate(calls)]
        said = {name: value for name, value in message.items() if value is not None}
        if said or len(rest) > 1:
            say([{**rest, "delta": said, "finish_reason": None}])
        say([{"delta": {}, **end}])
    if usage is not None:
        say([], usage=usage)
    return tuple(chunks)


def _finished(choice: Members, kind: Kind) -> Members:
    """A choice of which all has been added up, as a whole answer has it."""
    done = {"index": choice["index"]}
    if kind is Kind.CHAT:
        delta = _object(choice.pop("delta", None))
        message: Members = {"role": delta.pop("role", None) or "assistant", "content": None, **delta}
        calls = message.get("tool_calls")
        if isinstance(calls, list):
            message["tool_calls"] = [
                {name: value for name, value in _object(call).items() if name != "index"} for call in calls
            ]
        if message["content"] == "" and (calls or "function_call" in message or message.get("refusal")):
            message["content"] = None
        done["message"] = message
    else:
        done["text"] = choice.pop("text", None) or ""
    return {**done, "logprobs": None, "finish_reason": None, **choice}


def _add(to: Members, more: Mapping[str, object], *, texts: bool = True) -> None:
    """Adds up what is said of one thing. Numbers, and the reason to finish, are what they were last; without
    ``texts`` so are strings, but for the text of a completion and what is in a delta."""
    for name, value in more.items():
        known = to.get(name)
        joins = texts or name in ("delta", "text")
        if value is None:
            to.setdefault(name, None)
        elif isinstance(value, dict) and isinstance(known, dict):
            _add(known, value, texts=joins)
        elif isinstance(value, dict):
            grown: Members = {}
            _add(grown, cast(Members, value), texts=joins)
            to[name] = grown
        elif isinstance(value, list):
            to[name] = _grown(known if isinstance(known, list) else [], value)
        elif isinstance(value, str) and isinstance(known, str) and name != "finish_reason":
            to[name] = (known or value) if name in _NAMES else known + value if joins else value
        else:
            to[name] = value


def _grown(known: list[object], more: list[object]) -> list[object]:
    grown = list(known)
    for value in more:
        index = value.get("index") if isinstance(value, dict) else None
        same = next((each for each in grown if isinstance(each, dict) and each.get("index") == index), None)
        if index is None or same is None:
            fresh: object = value
            if isinstance(value, dict):
                fresh = {}
                _add(fresh, value)
            grown.append(fresh)
        else:
            _add(same, cast(Members, value))
    return grown


def _read(text: bytes) -> Members:
    try:
        return _objects.decode(text)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError("A string of the chunk is not UTF-8.") from error


def _list(value: object) -> list[Members]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise msgspec.DecodeError("`choices` of the chunk is no list.")
    return [_object(each) for each in value]


def _object(value: object) -> Members:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise msgspec.DecodeError("A part of the chunk is no object.")
    return dict(value)


def _index(choice: Members) -> int:
    index = choice.get("index", 0)
    if not isinstance(index, int):
        raise msgspec.DecodeError("The index of a choice is no number.")
    return index
