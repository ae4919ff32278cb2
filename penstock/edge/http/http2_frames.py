"""Reading along what a client sends over HTTP/2: frames that cost us work and bring nothing are counted, and bounded.

``h2`` acts on every frame; nothing in it keeps a client from sending a million that are each allowed. It also takes a
client's GOAWAY for the end of what it may still be sent, so this frame is kept from it.
"""

from __future__ import annotations

# RFC 9113, section 6.
_DATA, _HEADERS, _RST_STREAM, _GOAWAY, _CONTINUATION = 0, 1, 3, 7, 9
_END_STREAM, _END_HEADERS = 0x1, 0x4
_HEADER_BYTES = 9
_PREFACE_BYTES = 24

# So many frames without use at once, and so many per second for ever. A frame that is sent pays for three: a client
# may well tell of each that it has room again, for the stream and for the connection.
_MOST = 1000.0
_PER_SECOND = 50.0
_PAID = 3.0
# A stream that is reset has been begun, here and upstream.
_RESET = 2.0

_BLOCK_BYTES = 128 << 10
# What a client may put in a frame unless it is told of more. ``h2`` would wait for the whole of a longer one.
_FRAME_BYTES = 16 << 10


class FloodError(Exception):
    """The client sends more of what is of no use than any client has reason to."""


class Frames:
    """One connection's, its preface included. ``since``: when the frame, or the headers in several, began that are
    not complete, in the seconds that ``feed`` is told; None between two. ``leaving``: the client begins no more
    streams."""

    __slots__ = ("_block", "_dropping", "_head", "_left", "_level", "_now", "leaving", "since")

    def __init__(self, now: float) -> None:
        self._left = _PREFACE_BYTES
        self._head = b""
        self._block: int | None = None
        self._dropping = False
        self._level, self._now = _MOST, now
        self.since: float | None = now
        self.leaving = False

    def feed(self, data: bytes, now: float) -> bytes:
        """What of ``data``, and of what was held before, is to be acted on. Raises ``FloodError``."""
        self._level = min(_MOST, self._level + (now - self._now) * _PER_SECOND)
        self._now = now
        kept: list[bytes] = []
        at, end = 0, len(data)
        while at < end:
            if self._left:
                part = data[at : at + self._left]
                at += len(part)
                self._left -= len(part)
                if not self._dropping:
                    kept.append(part)
            else:
                part = data[at : at + _HEADER_BYTES - len(self._head)]
                at += len(part)
                self._head += part
                if self.since is None:
                    self.since = now
                if len(self._head) == _HEADER_BYTES:
                    self._begun(self._head)
                    if not self._dropping:
                        kept.append(self._head)
                    self._head = b""
            if not self._left and not self._head and self._block is None:
                self.since = None
        return b"".join(kept)

    def charge(self, cost: float = 1.0) -> None:
        """Raises ``FloodError`` when it is too much."""
        self._level -= cost
        if self._level < 0:
            raise FloodError

    def paid(self) -> None:
        """A frame has been sent to the client that it will answer."""
        self._level = min(_MOST, self._level + _PAID)

    def _begun(self, head: bytes) -> None:
        self._left = int.from_bytes(head[:3])
        kind, flags = head[3], head[4]
        if self._left > _FRAME_BYTES:
            raise FloodError
        self._dropping = kind == _GOAWAY
        if kind == _GOAWAY:
            self.leaving = True
        if kind in (_HEADERS, _CONTINUATION):
            self._block = (self._block or 0) + self._left
            if self._block > _BLOCK_BYTES:
                raise FloodError
            if flags & _END_HEADERS:
                self._block = None
            if kind == _CONTINUATION:
                self.charge()
        elif kind != _DATA:
            self.charge(_RESET if kind == _RST_STREAM else 1.0)
        elif not self._left and not flags & _END_STREAM:
            self.charge()
