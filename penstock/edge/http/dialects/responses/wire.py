"""The wire of one response."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

from penstock.core.errors import UPSTREAM_GARBLED, PenstockError
from penstock.edge.http.dialects.responses.answer import answered
from penstock.edge.http.dialects.responses.shape import Echo, Shape
from penstock.edge.http.dialects.responses.stream import Events


class ResponsesWire:
    """Streams begin with the first chunk; there is no ``[DONE]``, the last event says how it ended."""

    __slots__ = ("_events", "_shape")

    def __init__(self, request_id: str, echo: Echo) -> None:
        self._shape = Shape(request_id, echo, int(time.time()))
        self._events: Events | None = None

    def whole(self, answer: bytes) -> bytes:
        try:
            return msgspec.json.encode(answered(answer, self._shape))
        except msgspec.DecodeError as error:
            raise _garbled() from error

    def chunks(self, chunks: Sequence[bytes]) -> bytes:
        events = self._stream()
        try:
            return b"".join([events.chunk(chunk) for chunk in chunks])
        except msgspec.DecodeError as error:
            raise _garbled() from error

    def end(self) -> bytes:
        return self._stream().end()

    def failure(self, error: PenstockError) -> bytes:
        return self._stream().failure(error)

    def _stream(self) -> Events:
        if self._events is None:
            self._events = Events(self._shape)
        return self._events


def _garbled() -> PenstockError:
    return PenstockError(
        UPSTREAM_GARBLED, "The engine sent something that is not a chat completion. See the gateway's log."
    )
