"""Tape: what was asked and what was answered, for the log of requests, where a policy keeps that.

Chunks are only laid by while they go to the client, and read when all is over: reading them together costs a fraction
of reading each on its way. Nothing here is hashed, as a hash of a text tells whoever has a guess whether it is right.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.core.chat import Call, Sink
from penstock.gateway.capture import KEPT_BYTES, Transcript, without_keys, written

# Beyond it what has been laid by is read: the frames around words are longer than the words.
_LAID_BY = 256 << 10


class Tape:
    """The answer to one request, of its choices ``KEPT_BYTES`` altogether."""

    __slots__ = ("_chunks", "_size", "_transcript")

    def __init__(self) -> None:
        self._transcript = Transcript(whole=True, hashed=False)
        self._chunks: list[bytes] = []
        self._size = 0

    def take(self, chunks: Sequence[bytes]) -> None:
        """These go to the client. Never raises."""
        self._chunks += chunks
        for chunk in chunks:
            self._size += len(chunk)
        if self._size > _LAID_BY:
            self._read()

    def through(self, sink: Sink) -> Sink:
        """``sink``, with what it is given taken down."""

        def taken(chunks: Sequence[bytes]) -> bool:
            self.take(chunks)
            return sink(chunks)

        return taken

    def reply(self) -> bytes:
        """JSON: what ``capture.Content`` has as ``reply``, without hashes."""
        self._read()
        return self._transcript.reply()

    def _read(self) -> None:
        chunks, self._chunks, self._size = self._chunks, [], 0
        self._transcript.take(chunks)


def asked(call: Call) -> bytes:
    """What the client sent, as JSON: an object in OpenAI's shape; of one that is longer than ``KEPT_BYTES`` the
    beginning, as a string. Without the secrets of Penstock's own keys."""
    parts: list[bytes | memoryview] = []
    size = 0
    for part in written(call):
        parts.append(part)
        size += len(part)
        if size > KEPT_BYTES:
            beginning = without_keys(b"".join(parts))[:KEPT_BYTES]
            return msgspec.json.encode(beginning.decode(errors="replace"))
    return without_keys(b"".join(parts))
