"""Server-sent events, read piece by piece. Source: https://html.spec.whatwg.org/multipage/server-sent-events.html

Where the standard and practice differ we take both: an event is also complete at the end of the stream.
"""

from __future__ import annotations

from penstock.core.errors import UPSTREAM_GARBLED, PenstockError

MAX_EVENT = 16 << 20
# A number is looked for much faster than a byte string.
_CR = ord("\r")


class SseSplitter:
    """Cuts a byte stream into events. The same bytes give the same events however they are cut into pieces.

    Raises ``PenstockError`` (UPSTREAM_GARBLED) as soon as one event is larger than ``max_event`` bytes.
    """

    __slots__ = ("_max_event", "_rest", "_scanned", "_started")

    def __init__(self, max_event: int = MAX_EVENT) -> None:
        self._max_event = max_event
        self._rest = b""
        self._scanned = 0
        self._started = False

    def feed(self, piece: bytes) -> list[bytes]:
        """The data of each event that ``piece`` completes: its ``data`` lines joined by a newline."""
        return [data for _, data in self.feed_named(piece)]

    def feed_named(self, piece: bytes) -> list[tuple[bytes, bytes]]:
        """As ``feed``, each with its ``event`` field before the data, ``b""`` if it has none.

        An event without data is not one.
        """
        if (data := self.alone(piece)) is not None:
            return [(b"", data)]
        text = self._rest + piece if self._rest else piece
        if not self._started:
            if len(text) < 3 and b"\xef\xbb\xbf".startswith(text):
                self._rest = text
                return []
            self._started = True
            text = text.removeprefix(b"\xef\xbb\xbf")
        if b"\r" in text:
            # A CR at the very end may be half of a CRLF: it waits for the next byte.
            held = b"\r" if text.endswith(b"\r") else b""
            text = text[: len(text) - len(held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        else:
            held = b""
        events: list[tuple[bytes, bytes]] = []
        begin = 0
        search = self._scanned
        while True:
            while text.startswith(b"\n", begin):
                begin += 1
            end = text.find(b"\n\n", max(begin, search))
            if end < 0:
                break
            self._check(end - begin)
            event = _event(text, begin, end)
            if event is not None:
                events.append(event)
            begin = end + 2
        self._rest = text[begin:] + held
        self._check(len(self._rest))
        # All but the last byte is known to hold no blank line.
        self._scanned = max(0, len(text) - begin - 1)
        return events

    def alone(self, piece: bytes) -> bytes | None:
        """The data of ``piece`` if it is what most are: one event of one ``data`` line, and nothing of another.

        None, and nothing has happened, where it is not: that is for ``feed_named``.
        """
        last = len(piece) - 2
        if (
            piece.find(b"\n") == last <= self._max_event
            and piece.startswith(b"data: ")
            and piece.endswith(b"\n\n")
            and self._started
            and not self._rest
            and _CR not in piece
        ):
            return piece[6:last]
        return None

    def flush(self) -> list[tuple[bytes, bytes]]:
        """The event that the end of the stream completes, if the blank line after it is missing."""
        rest, self._rest, self._scanned = self._rest, b"", 0
        rest = rest.replace(b"\r\n", b"\n").replace(b"\r", b"\n").strip(b"\n")
        event = _event(rest, 0, len(rest)) if rest else None
        return [] if event is None else [event]

    def _check(self, size: int) -> None:
        if size > self._max_event:
            raise PenstockError(
                UPSTREAM_GARBLED,
                f"The upstream sent an event of more than {self._max_event} bytes; check that base_url is an LLM API",
            )


def _event(text: bytes, begin: int, end: int) -> tuple[bytes, bytes] | None:
    if text.startswith(b"data: ", begin) and text.find(b"\n", begin, end) < 0:
        return b"", text[begin + 6 : end]
    name = b""
    data: list[bytes] = []
    for line in text[begin:end].split(b"\n"):
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ")
    return (name, b"\n".join(data)) if data else None
