"""OpenAI's own wire: chunks go down as they came, framed as server-sent events."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.core.errors import PenstockError, envelope

_BREAK = ord("\n")


class PlainWire:
    """For the dialects whose wire is the house's own. Without state: one object serves every request.

    A failure is an event whose data is OpenAI's error object, and no ``[DONE]`` follows: the OpenAI SDKs raise on
    it, and a client that does not know it sees a stream that did not finish.
    """

    __slots__ = ()

    def whole(self, answer: bytes) -> bytes:
        return answer

    def chunks(self, chunks: Sequence[bytes]) -> bytes:
        text = chunks[0] if len(chunks) == 1 else b"\n\ndata: ".join(chunks)
        if _BREAK in text if len(chunks) == 1 else text.count(b"\n") != 2 * (len(chunks) - 1):
            # A line break inside a chunk is white space between its tokens; it would end the event's line.
            text = b"\n\ndata: ".join([chunk.replace(b"\n", b" ").replace(b"\r", b" ") for chunk in chunks])
        return b"data: " + text + b"\n\n"

    def end(self) -> bytes:
        return b"data: [DONE]\n\n"

    def failure(self, error: PenstockError) -> bytes:
        return b"data: " + envelope(error) + b"\n\n"


PLAIN = PlainWire()
