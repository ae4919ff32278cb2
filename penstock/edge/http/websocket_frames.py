"""The frames of the protocol, read and written. Pure: bytes to values, values to bytes.

A chunk, an event's data or a whole reply goes into its frame as the bytes that it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Annotated, Literal

import msgspec

from penstock.core.errors import (
    INVALID_JSON,
    INVALID_TYPE,
    INVALID_VALUE,
    MISSING_PARAMETER,
    QUEUE_FULL,
    UNKNOWN_URL,
    UNSUPPORTED_PARAMETER,
    PenstockError,
    envelope,
)
from penstock.core.policy import Priority, Terms
from penstock.core.splice import members
from penstock.edge.http.dialects import Read, chat, completions, embeddings, responses
from penstock.edge.http.dialects.checked import Head
from penstock.edge.http.pump import stopping
from penstock.edge.http.trace_context import trace_parent

AT_ONCE = 64
"""Requests that may run on one socket at once."""

READS: Mapping[str, Read] = {
    "/v1/chat/completions": chat.read,
    "/v1/completions": completions.read,
    "/v1/embeddings": embeddings.read,
    "/v1/responses": responses.read,
}

_ID_LENGTH = 64
_PRIORITIES = {"high": Priority.HIGH, "normal": Priority.NORMAL, "low": Priority.LOW}

_encode: Callable[[object], bytes] = msgspec.json.encode


class ClientFrame(msgspec.Struct, frozen=True):
    """What a client sends: a request, or with ``cancel`` the end of one."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=_ID_LENGTH)]
    path: str = "/v1/chat/completions"
    body: msgspec.Raw = msgspec.Raw(b"")
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=86400)] | None = None
    priority: Literal["high", "normal", "low"] = "normal"
    cancel: bool = False


class Start(msgspec.Struct, frozen=True):
    """A request to be run. ``body`` is what an HTTP request to ``path`` would hold."""

    id: str
    path: str
    body: bytes
    timeout_s: float | None
    priority: Priority

    def terms(self, headers: Mapping[bytes, bytes]) -> Terms:
        return Terms(self.timeout_s, self.priority, headers, trace_parent(headers))


class Cancel(msgspec.Struct, frozen=True):
    """A running request that the client no longer wants."""

    id: str


class Refused(msgspec.Struct, frozen=True):
    """A frame that starts nothing. ``id`` is the client's, when it can be read and no running request has it."""

    id: str | None
    error: PenstockError


_head = Head(ClientFrame)
_known = frozenset(ClientFrame.__struct_fields__)


def heard(message: bytes, running: Collection[str], draining: bool) -> Start | Cancel | Refused | None:
    """What a client's message, in UTF-8, makes of a socket where the requests ``running`` are; None: nothing.

    A cancel of what does not run is nothing: it may have crossed the end of its request on the way.
    """
    try:
        fields = members(message)
    except (msgspec.DecodeError, RecursionError) as error:
        return Refused(None, _malformed(error))
    try:
        frame = _frame(message, fields)
        if frame.cancel:
            return Cancel(frame.id) if frame.id in running else None
        return _start(frame, running, draining)
    except PenstockError as error:
        id = _id(fields)
        return Refused(None if id in running else id, error)


def _frame(message: bytes, fields: Mapping[str, msgspec.Raw]) -> ClientFrame:
    for name in fields:
        if name not in _known:
            raise PenstockError(
                UNSUPPORTED_PARAMETER,
                f"'{name[:_ID_LENGTH]}' is no field of a frame. It has {', '.join(ClientFrame.__struct_fields__)}; "
                "what the API takes stands inside 'body'.",
                param=name[:_ID_LENGTH],
            )
    return _head.read(message)[0]


def _start(frame: ClientFrame, running: Collection[str], draining: bool) -> Start:
    if frame.id in running:
        raise PenstockError(
            INVALID_VALUE,
            f"A request with the id {frame.id!r} is still running on this socket. Give each one an id of its own.",
            param="id",
        )
    if frame.path not in READS:
        raise PenstockError(UNKNOWN_URL, f"Requests over WebSocket go to one of {', '.join(READS)}.", param="path")
    if not frame.body:
        raise PenstockError(
            MISSING_PARAMETER, "'body' is missing. It is the JSON that an HTTP request would hold.", param="body"
        )
    if draining:
        raise stopping()
    if len(running) >= AT_ONCE:
        raise PenstockError(
            QUEUE_FULL,
            f"{AT_ONCE} requests are running on this socket. Wait until one has ended, or open another socket.",
            retry_after=1.0,
        )
    return Start(frame.id, frame.path, bytes(frame.body), frame.timeout_s, _PRIORITIES[frame.priority])


def _id(fields: Mapping[str, msgspec.Raw]) -> str | None:
    try:
        id = msgspec.json.decode(fields.get("id", b"null"), type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return id if 1 <= len(id) <= _ID_LENGTH else None


def _malformed(error: Exception) -> PenstockError:
    if isinstance(error, msgspec.ValidationError):
        return PenstockError(INVALID_TYPE, 'A frame must be a JSON object, such as {"id": "1", "body": {...}}.')
    if isinstance(error, RecursionError):
        return PenstockError(INVALID_JSON, "The frame's JSON is nested too deeply.")
    return PenstockError(INVALID_JSON, f"The frame is not valid JSON: {error}. Send one JSON object per message.")


# -- what a client is sent ---------------------------------------------------------------------------------------


class Voice:
    """Writes the frames of one request. Without state but for its id; None: of none in particular."""

    __slots__ = ("_chunk", "_id")

    def __init__(self, id: str | None) -> None:
        self._id = b'{"id":' + _encode(id)
        self._chunk = self._id + b',"chunk":'

    def chunk(self, chunk: bytes) -> bytes:
        return self._chunk + chunk + b"}"

    def event(self, name: str, data: bytes) -> bytes:
        """An event of a dialect whose stream has names for them; one without a name is a chunk."""
        if not name:
            return self.chunk(data)
        return self._id + b',"event":' + _encode(name) + b',"chunk":' + data + b"}"

    def reply(self, answer: bytes) -> bytes:
        return self._id + b',"reply":' + answer + b"}"

    def error(self, error: PenstockError) -> bytes:
        inner = envelope(error)[1:-1]
        return self._id + b"," + inner + b',"status":%d}' % error.fault.status

    def done(self, headers: Mapping[str, str], cancelled: bool = False) -> bytes:
        told = b',"cancelled":true' if cancelled else b""
        if headers:
            told += b',"headers":' + _encode(headers)
        return self._id + b',"done":true' + told + b"}"


def sound(frame: bytes) -> bytes:
    """The frame as text that a WebSocket may carry: one byte that is not UTF-8, from an upstream, would end the
    socket and every other request on it."""
    if frame.isascii():
        return frame
    try:
        frame.decode()
    except UnicodeDecodeError:
        return frame.decode("utf-8", "replace").encode()
    return frame


def events(sent: bytes) -> Iterator[tuple[str, bytes]]:
    """The name, empty when it has none, and the data of each of a wire's server-sent events; ``[DONE]`` is none."""
    for block in sent.split(b"\n\n"):
        name, data = "", list[bytes]()
        for line in block.split(b"\n"):
            field, _, value = line.partition(b":")
            if field == b"event":
                name = value.strip().decode()
            elif field == b"data":
                data.append(value.removeprefix(b" "))
        text = b"\n".join(data)
        if text and text != b"[DONE]":
            yield name, text
