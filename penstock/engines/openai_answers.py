"""Answers of an OpenAI-compatible server while they run: streamed, or whole."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence

import msgspec

from penstock.core import splice
from penstock.core.chat import Kind
from penstock.core.errors import UPSTREAM_BROKEN, UPSTREAM_GARBLED, PenstockError
from penstock.engines.faults import Origin, event_error
from penstock.engines.http import Response
from penstock.engines.sse import SseSplitter

MAX_WHOLE = 256 << 20
"""Bytes of one answer; 2,048 embeddings of 3,072 numbers are about 75 MB."""
_LAST_PIECE_S = 0.05
"""After ``[DONE]`` only the end of the body can follow; waiting for it a moment saves the next call a connection."""
_FINISH = re.compile(rb'"finish_reason"\s*:\s*"')
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LIST = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])


class Streamed:
    """An answer by server-sent events; see ``core.chat.Upstream``.

    It is complete at ``[DONE]``, or at the end of the body if one of the last chunks had a finish reason.
    """

    def __init__(self, response: Response, choices: int, origin: Origin) -> None:
        self._response = response
        self._origin = origin
        self._splitter = SseSplitter()
        self._last: deque[bytes] = deque(maxlen=choices + 4)
        self._complete = False
        self._closed = False
        self._failed: PenstockError | None = None

    async def read(self) -> Sequence[bytes]:
        while self._reading():
            chunks: list[bytes] = []
            try:
                if self._failed is not None:
                    raise self._failed
                piece = await self._response.read()
                if not self._reading():
                    break
                if piece:
                    self._take(self._splitter.feed(piece), chunks)
                else:
                    self._take([data for _, data in self._splitter.flush()], chunks)
                    self._check_end()
            except PenstockError as exc:
                if chunks:
                    # What came before the failure is the client's; the failure is for the next read.
                    self._failed = exc
                    return chunks
                self._closed = True
                self._response.close()
                raise
            if chunks:
                return chunks
        return ()

    def _reading(self) -> bool:
        return not (self._complete or self._closed)

    def _take(self, events: list[bytes], chunks: list[bytes]) -> None:
        """Appends to ``chunks`` what ``events`` hold of the answer."""
        for event in events:
            if event.startswith(b"{"):
                if b'"error"' in event:
                    self._raise_error(event)
                # The next wire has one line per chunk too.
                chunk = msgspec.json.format(event, indent=-1) if b"\n" in event else event
                chunks.append(chunk)
                self._last.append(chunk)
            elif event == b"[DONE]":
                self._complete = True
                break
            elif event and not event.isspace():
                raise self._garbled("an event that is not a JSON object")

    def _check_end(self) -> None:
        if self._complete:
            return
        if not any(_FINISH.search(chunk) for chunk in self._last):
            raise PenstockError(
                UPSTREAM_BROKEN,
                f"The upstream of model {self._origin.model!r} ended its stream before the answer's end",
            )
        self._complete = True

    def _raise_error(self, event: bytes) -> None:
        try:
            inside = splice.members(event)
        except msgspec.DecodeError as exc:
            raise self._garbled("an event that is not JSON") from exc
        if bytes(inside.get("error", b"null")) not in (b"null", b"{}", b'""'):
            raise event_error(event, self._origin)

    def _garbled(self, what: str) -> PenstockError:
        return PenstockError(
            UPSTREAM_GARBLED,
            f"The upstream of model {self._origin.model!r} sent {what}; "
            "check that base_url is an OpenAI-compatible API",
        )

    async def aclose(self) -> None:
        self._closed = True
        if self._complete:
            await self._response.finish(_LAST_PIECE_S)
        else:
            self._response.close()


class Whole:
    """An answer in one JSON object; see ``core.chat.Upstream``. ``as_chunks``: the client asked for a stream."""

    def __init__(self, response: Response, kind: Kind, origin: Origin, *, as_chunks: bool) -> None:
        self._response = response
        self._kind = kind
        self._origin = origin
        self._as_chunks = as_chunks
        self._closed = False

    async def read(self) -> Sequence[bytes]:
        if self._closed:
            return ()
        try:
            body = await self._response.read_all(MAX_WHOLE)
        except BaseException:
            self._closed = True
            raise
        if self._was_closed():
            return ()
        self._closed = True
        needed = "data" if self._kind is Kind.EMBEDDING else "choices"
        try:
            inside = splice.members(body)
            if needed in inside:
                return chunks_of(body, self._kind) if self._as_chunks else (body,)
        except msgspec.DecodeError as exc:
            raise self._garbled("something that is not a JSON object") from exc
        if "error" in inside:
            raise event_error(body, self._origin)
        raise self._garbled(f"an object without {needed!r}")

    def _was_closed(self) -> bool:
        """Whether ``aclose`` came while we read."""
        return self._closed

    def _garbled(self, what: str) -> PenstockError:
        return PenstockError(
            UPSTREAM_GARBLED,
            f"The upstream of model {self._origin.model!r} answered with {what}; "
            "check that base_url is an OpenAI-compatible API",
        )

    async def aclose(self) -> None:
        self._closed = True
        self._response.close()


# -- a whole object as the stream that was asked for ---------------------------------------------------------------


def chunks_of(whole: bytes, kind: Kind) -> list[bytes]:
    """The chunks that say the same as ``whole``: what was said, how it finished, what it used.

    Raises ``msgspec.DecodeError`` when ``whole`` is not a reply of that kind.
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
