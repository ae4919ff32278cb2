"""Running answers of hosted engines: reading, ending and failing are the same; what events mean is each one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from penstock.core.chat import Sink, Usage
from penstock.core.errors import PenstockError
from penstock.engines.http import Response
from penstock.engines.sse import SseSplitter

MAX_WHOLE = 256 << 20
"""Bytes of one answer; 2,048 embeddings of 3,072 numbers are about 75 MB."""
_LAST_PIECE_S = 0.05
"""After the last event only the end of the body can follow; waiting for it a moment saves the next call a
connection."""


class Reading(Protocol):
    """What one stream of events means. ``complete`` once the last has come."""

    complete: bool

    def take(self, name: bytes, data: bytes, chunks: list[bytes]) -> None:
        """Appends to ``chunks`` what one event adds. Raises ``PenstockError`` when it is an error, or garbled."""

    def end(self) -> None:
        """The body has ended. Sets ``complete``, or raises ``PenstockError`` when the answer had not."""

    def so_far(self) -> Usage | None:
        """As ``core.chat.Counting`` has it."""


class Streamed:
    """An answer by server-sent events; see ``core.chat.Upstream`` and ``Pouring``."""

    __slots__ = ("_closed", "_failed", "_reading", "_response", "_splitter")

    def __init__(self, response: Response, reading: Reading) -> None:
        self._response = response
        self._reading = reading
        self._splitter = SseSplitter()
        self._closed = False
        self._failed: PenstockError | None = None

    async def read(self) -> Sequence[bytes]:
        reading = self._reading
        while not (self._closed or reading.complete):
            chunks: list[bytes] = []
            try:
                if self._failed is not None:
                    raise self._failed
                piece = await self._response.read()
                if not piece and self._over():
                    break
                data = self._splitter.alone(piece)
                if data is not None:
                    reading.take(b"", data, chunks)
                else:
                    self._take(piece, chunks)
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

    async def pour(self, sink: Sink) -> None:
        if self._closed or self._failed is not None or self._reading.complete:
            return
        await self._response.pour(lambda piece: self._pass(piece, sink))

    def _pass(self, piece: bytes, sink: Sink) -> bool:
        chunks: list[bytes] = []
        reading = self._reading
        try:
            data = self._splitter.alone(piece)
            if data is not None:
                reading.take(b"", data, chunks)
            else:
                self._take(piece, chunks)
        except PenstockError as exc:
            self._failed = exc
        more = not chunks or sink(chunks)
        return more and self._failed is None and not reading.complete

    def _over(self) -> bool:
        return self._closed

    def _take(self, piece: bytes, chunks: list[bytes]) -> None:
        for name, data in self._splitter.feed_named(piece) if piece else self._splitter.flush():
            self._reading.take(name, data, chunks)
            if self._reading.complete:
                return
        if not piece:
            self._reading.end()

    def so_far(self) -> Usage | None:
        return self._reading.so_far()

    async def aclose(self) -> None:
        self._closed = True
        if self._reading.complete:
            await self._response.finish(_LAST_PIECE_S)
        else:
            self._response.close()


class Whole:
    """An answer in one JSON text; see ``core.chat.Upstream``. ``convert`` makes its chunks, or raises."""

    __slots__ = ("_closed", "_convert", "_response")

    def __init__(self, response: Response, convert: Callable[[bytes], Sequence[bytes]]) -> None:
        self._response = response
        self._convert = convert
        self._closed = False

    async def read(self) -> Sequence[bytes]:
        if self._over():
            return ()
        try:
            body = await self._response.read_all(MAX_WHOLE)
        except BaseException:
            self._closed = True
            raise
        if self._over():
            return ()
        self._closed = True
        return self._convert(body)

    def _over(self) -> bool:
        return self._closed

    async def aclose(self) -> None:
        self._closed = True
        self._response.close()
