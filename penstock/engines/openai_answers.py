"""What the answers of an OpenAI-compatible server mean, streamed or whole. Pure."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence

import msgspec

from penstock.core import splice
from penstock.core.chat import Kind, Usage, chunk_view
from penstock.core.errors import UPSTREAM_BROKEN, UPSTREAM_GARBLED, PenstockError
from penstock.engines.faults import Origin, event_error

_FINISH = re.compile(rb'"finish_reason"\s*:\s*"')
# A number, and with `find` a text, is looked for in bytes in half the time.
_BREAK = ord("\n")
_ERROR = b'"error"'
_COUNT = b',"usage":{'
_NO_CHOICES = b'"choices":[]'
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LIST = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])


class Events:
    """What the events of a stream mean; see ``hosted_answers.Reading``.

    Complete at ``[DONE]``, or at the end of the body if one of the last chunks had a finish reason. ``counted``: the
    server was asked to say with each chunk how much it is so far.
    """

    def __init__(self, choices: int, origin: Origin, *, counted: bool = False) -> None:
        self.complete = False
        self._origin = origin
        self._counted = counted
        self._heard = b""
        self._last: deque[bytes] = deque(maxlen=choices + 4)

    def take(self, name: bytes, data: bytes, chunks: list[bytes]) -> None:
        if data.startswith(b"{"):
            if data.find(_ERROR) >= 0:
                self._raise_error(data)
            # The next wire has one line per chunk too.
            chunk = self._on_one_line(data) if _BREAK in data else data
            if self._counted:
                chunk = self._without_count(chunk)
            chunks.append(chunk)
            self._last.append(chunk)
        elif data == b"[DONE]":
            self.complete = True
        elif data and not data.isspace():
            raise _garbled(self._origin, "an event that is not a JSON object")

    def end(self) -> None:
        if not any(_FINISH.search(chunk) for chunk in self._last):
            raise PenstockError(
                UPSTREAM_BROKEN,
                f"The upstream of model {self._origin.model!r} ended its stream before the answer's end; try again",
            )
        self.complete = True

    def so_far(self) -> Usage | None:
        """Known where each chunk says it, which is taken off them."""
        try:
            usage = chunk_view(self._heard).usage if self._heard else None
        except msgspec.DecodeError:
            return None
        return None if usage is None or not usage.tells(Kind.CHAT) else usage.counted()

    def _without_count(self, chunk: bytes) -> bytes:
        at = chunk.rfind(_COUNT)
        if at < 0:
            return chunk
        self._heard = chunk
        # As vLLM writes it, at the end; of another shape it is for whoever shows chunks to take it off.
        last = chunk.find(b"}", at) == len(chunk) - 2 and chunk.find(_NO_CHOICES) < 0
        return chunk[:at] + b"}" if last else chunk

    def _on_one_line(self, event: bytes) -> bytes:
        try:
            return msgspec.json.format(event, indent=-1)
        except msgspec.DecodeError as exc:
            raise _garbled(self._origin, "an event that is not JSON") from exc

    def _raise_error(self, event: bytes) -> None:
        try:
            inside = splice.members(event)
        except msgspec.DecodeError as exc:
            raise _garbled(self._origin, "an event that is not JSON") from exc
        if bytes(inside.get("error", b"null")) not in (b"null", b"{}", b'""'):
            raise event_error(event, self._origin)


class _Outline(msgspec.Struct, frozen=True, gc=False):
    choices: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_outline = msgspec.json.Decoder(_Outline)


def whole(kind: Kind, origin: Origin, body: bytes) -> Sequence[bytes]:
    """The one chunk of an answer in one JSON object: itself.

    Raises ``PenstockError`` when it holds an error, or is no answer.
    """
    try:
        inside = _outline.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise _garbled(origin, "something that is not a JSON object") from exc
    if (inside.data if kind is Kind.EMBEDDING else inside.choices) is not msgspec.UNSET:
        return (body,)
    if inside.error is not msgspec.UNSET:
        raise event_error(body, origin)
    raise _garbled(origin, f"an object without {'data' if kind is Kind.EMBEDDING else 'choices'!r}")


def whole_as_chunks(kind: Kind, origin: Origin, body: bytes) -> Sequence[bytes]:
    """As ``whole``, for a client that asked for a stream: the chunks that say the same."""
    checked = whole(kind, origin, body)
    if kind is Kind.EMBEDDING:
        return checked
    try:
        return chunks_of(body, kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise _garbled(origin, "choices that are none") from exc


def _garbled(origin: Origin, what: str) -> PenstockError:
    return PenstockError(
        UPSTREAM_GARBLED,
        f"The upstream of model {origin.model!r} sent {what}; check that base_url is an OpenAI-compatible API",
    )


# -- a whole object as the stream that was asked for ---------------------------------------------------------------


def chunks_of(whole: bytes, kind: Kind) -> list[bytes]:
    """The chunks that say the same as ``whole``: what was said, how it finished, what it used.

    Raises ``msgspec.DecodeError`` or ``UnicodeDecodeError`` when ``whole`` is not a reply of that kind.
    """
    reply = _MEMBERS.decode(msgspec.json.format(whole, indent=-1))
    choices = _LIST.decode(reply["choices"])
    usage = reply.pop("usage", None)
    if kind is Kind.CHAT:
        reply["object"] = msgspec.Raw(b'"chat.completion.chunk"')
        said: list[object] = [_said(choice) for choice in choices]
        ended: list[object] = [_ended(choice) for choice in choices]
        chunks = [splice.joined(reply, choices=said), splice.joined(reply, choices=ended)]
    else:
        chunks = [splice.joined(reply)]
    if usage is not None and bytes(usage) != b"null":
        chunks.append(splice.joined(reply, choices=[], usage=usage))
    return chunks


def _said(choice: dict[str, msgspec.Raw]) -> dict[str, object]:
    message: dict[str, object] = dict(_MEMBERS.decode(choice.get("message", b"{}")))
    calls = message.get("tool_calls")
    if isinstance(calls, msgspec.Raw) and bytes(calls) != b"null":
        message["tool_calls"] = [{"index": at, **call} for at, call in enumerate(_LIST.decode(calls))]
    rest: dict[str, object] = {name: part for name, part in choice.items() if name != "message"}
    return {**rest, "delta": message, "finish_reason": None}


def _ended(choice: dict[str, msgspec.Raw]) -> dict[str, object]:
    rest: dict[str, object] = {name: part for name, part in choice.items() if name not in ("message", "logprobs")}
    return {**rest, "delta": {}}
