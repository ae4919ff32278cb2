"""An answer taken down whole, and given again as a stream or as one object."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from penstock.caches.shapes import streamed, whole
from penstock.core.caching import Entry
from penstock.core.chat import Kind, Sink, Usage, chunk_view
from penstock.core.splice import joined, members

_UNSHARED = frozenset({"content_filter", "error"})
"""Reasons to finish that say something of the moment, not of the question."""


# What may be more than a double holds.
_LARGE = re.compile(rb"[0-9][eE]\+?[0-9]{3}|[0-9]{300}")


class Recording:
    """Takes an answer down as it passes; for one reply. ``most_bytes`` bounds what it holds."""

    __slots__ = ("_bytes", "_chunks", "_most_bytes", "_overflowed")

    def __init__(self, most_bytes: int) -> None:
        self._chunks: list[bytes] = []
        self._bytes = 0
        self._most_bytes = most_bytes
        self._overflowed = False

    @property
    def overflowed(self) -> bool:
        """Whether the answer is larger than ``most_bytes``: nothing of it is held any more."""
        return self._overflowed

    def take(self, chunks: Sequence[bytes]) -> None:
        """These come next. Never raises."""
        if self._overflowed:
            return
        self._bytes += sum(map(len, chunks))
        if self._bytes > self._most_bytes:
            self._overflowed = True
            self._chunks.clear()
        else:
            self._chunks.extend(chunks)

    def through(self, sink: Sink) -> Sink:
        """``sink``, with what it is given taken down."""

        def pour(chunks: Sequence[bytes]) -> bool:
            self.take(chunks)
            return sink(chunks)

        return pour

    def chunks(self, kind: Kind, *, stream: bool, usage: Usage | None) -> tuple[bytes, ...] | None:
        """The answer, after its reply was complete; None when it may not be kept: it was too large, it has no end, it
        holds an error, or was stopped by a filter. A stream from which the chunk of the usage was left out gets one
        of ``usage``."""
        found = tuple(self._chunks)
        if not found or self._overflowed or not complete(found, kind):
            return None
        if stream and usage is not None and not any(_tells(chunk) for chunk in found):
            found = (*found, _usage_chunk(found[-1], usage))
        return found


def complete(chunks: Sequence[bytes], kind: Kind) -> bool:
    """Whether ``chunks`` are one answer that has come to its end: every choice has a reason to finish that would be
    the same another time."""
    finished: dict[int, bool] = {}
    for chunk in chunks:
        if b'"error"' in chunk and _is_error(chunk):
            return False
        try:
            view = chunk_view(chunk)
            if not chunk.isascii() or b"\\ud" in chunk or b"\\uD" in chunk or _LARGE.search(chunk) is not None:
                # It passes over what nobody looks at; to be given in another shape all must be text and numbers.
                _anything.decode(chunk)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        if kind is Kind.EMBEDDING:
            return len(chunks) == 1
        for choice in view.choices:
            reason = choice.finish_reason
            if reason in _UNSHARED:
                return False
            finished[choice.index] = finished.get(choice.index, False) or reason is not None
    return bool(finished) and all(finished.values())


class _Peculiar(msgspec.Struct, frozen=True):
    error: msgspec.Raw = msgspec.Raw(b"null")
    usage: msgspec.Raw = msgspec.Raw(b"null")


_peculiar = msgspec.json.Decoder(_Peculiar)
_anything = msgspec.json.Decoder()


def _is_error(chunk: bytes) -> bool:
    try:
        return bytes(_peculiar.decode(chunk).error) != b"null"
    except (msgspec.DecodeError, UnicodeDecodeError):
        return True


def _tells(chunk: bytes) -> bool:
    return b'"usage"' in chunk and bytes(_peculiar.decode(chunk).usage) != b"null"


def _usage_chunk(last: bytes, usage: Usage) -> bytes:
    """The chunk that ends a stream, as OpenAI has it, in the words of the one before."""
    said: dict[str, object] = {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }
    return joined(members(last), choices=[], usage=said)


def again(entry: Entry, *, stream: bool) -> tuple[bytes, ...]:
    """The chunks of the entry as a client wants them: those of a stream, or one object. A stream ends with the usage
    of the answer when it was made, which the gateway leaves out where the client did not ask for it.

    Raises ``msgspec.DecodeError`` when the entry's chunks are no answer.
    """
    if entry.streamed == stream or entry.kind is Kind.EMBEDDING:
        return entry.chunks
    return streamed(entry.chunks[0], entry.kind) if stream else (whole(entry.chunks, entry.kind),)


class Replay:
    """An ``Upstream`` that gives chunks which are there already."""

    __slots__ = ("_chunks",)

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self._chunks = chunks

    async def read(self) -> Sequence[bytes]:
        """All of them, then nothing."""
        chunks, self._chunks = self._chunks, ()
        return chunks

    async def aclose(self) -> None:
        self._chunks = ()
