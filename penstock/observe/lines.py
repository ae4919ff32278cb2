"""Log lines as JSON, written by a thread of their own from a bounded queue, so that a slow disk stops nothing.

The thread only writes. What it did in Python would hold up the event loop for all lines at once.

Serves the access log; ``JsonFormatter`` gives the same shape to what the process logs about itself.
"""

from __future__ import annotations

import collections
import datetime
import logging
import os
import select
import stat
import threading
import time
from collections.abc import Callable, Iterator

import msgspec

# What a pipe takes in one piece (PIPE_BUF, on Linux), so that lines of several processes do not mix in it.
_WHOLE = 4096
_BATCH = 500
# While lines come the thread looks for them this often; waking it for each of them would cost more than the line.
_PACE_S = 0.02
_SAY_EVERY_S = 60.0

_log = logging.getLogger(__name__)


class LineWriter:
    """Writes each value given to ``write`` as one line of JSON to a file descriptor that it owns.

    At most ``bound`` lines wait; one more is dropped, as is one that cannot be written: ``dropped`` counts them, and
    ``say`` hears of them, from the thread, at most once a minute. ``write`` never blocks and may be called from any
    thread.
    """

    def __init__(
        self,
        fd: int,
        bound: int = 10_000,
        *,
        say: Callable[[str], None] = _log.error,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fd = fd
        self._bound = bound
        self._say = say
        self._now = now
        # Appending and taking are atomic: no lock is needed where there is nobody to wake.
        self._lines: collections.deque[bytes] = collections.deque()
        self._asleep = False
        self._awake = threading.Event()
        self._ending = threading.Event()
        self._overflowed = self._unwritten = self._said = 0
        self._said_at = now() - _SAY_EVERY_S
        self._why = ""
        self._torn = False
        self._encoder = msgspec.json.Encoder()
        self._shared = not stat.S_ISREG(os.fstat(fd).st_mode)
        self._thread = threading.Thread(target=self._run, name="log-lines", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Lines lost so far."""
        return self._overflowed + self._unwritten

    def write(self, value: object) -> None:
        if len(self._lines) >= self._bound:
            self._overflowed += 1
            return
        try:
            self._lines.append(self._encoder.encode(value))
        except (TypeError, ValueError) as error:
            self._overflowed += 1
            self._why = f"one is no JSON ({error})"
            return
        if self._asleep:
            self._asleep = False
            self._awake.set()

    def close(self, within_s: float = 2.0) -> None:
        """Writes what waits, for at most ``within_s`` seconds, then lets go of the descriptor."""
        self._ending.set()
        self._awake.set()
        self._thread.join(within_s)

    # -- the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while self._any():
            lines = [self._lines.popleft() for _ in range(min(len(self._lines), _BATCH))]
            for piece in _pieces(lines, _WHOLE) if self._shared else _together(lines):
                self._put(piece)
            self._mention()
            if len(lines) < _BATCH:
                self._ending.wait(_PACE_S)
        self._said_at -= _SAY_EVERY_S
        self._mention()
        os.close(self._fd)

    def _any(self) -> bool:
        """Whether there is a line; waits for one until the end."""
        while not self._lines:
            if self._ending.is_set():
                return False
            self._awake.clear()
            self._asleep = True
            if not self._lines and not self._ending.is_set():
                # A loss that has not been said yet is, once its minute is over, though nothing more comes.
                self._awake.wait(None if self._said == self.dropped else _SAY_EVERY_S)
            self._asleep = False
            self._mention()
        return True

    def _put(self, piece: bytes) -> None:
        view = memoryview(b"\n" + piece if self._torn else piece)
        while view:
            try:
                done = os.write(self._fd, view)
            except BlockingIOError:
                # Whoever gave us the pipe has made it so; its reader is waited for as with any other.
                if not select.select((), (self._fd,), (), _PACE_S)[1] and self._ending.is_set():
                    self._lose(bytes(view).count(b"\n"), "their reader does not read")
                    return
            except OSError as error:
                self._lose(bytes(view).count(b"\n"), error.strerror or str(error))
                return
            else:
                self._torn = view[done - 1] != 10
                view = view[done:]

    def _lose(self, count: int, why: str) -> None:
        self._unwritten += count
        self._why = why

    def _mention(self) -> None:
        lost = self.dropped - self._said
        if not lost or self._now() - self._said_at < _SAY_EVERY_S:
            return
        why = self._why or "they come faster than they can be written"
        self._said, self._said_at, self._why = self._said + lost, self._now(), ""
        self._say(
            f"{lost} lines of the access log were lost: {why}. Requests are served on. Make room for the log, or set "
            "`server: access_log:` to another file or to off."
        )


def _pieces(lines: list[bytes], longest: int) -> Iterator[bytes]:
    """The lines in order, as many at once as fit; one that is too long by itself comes alone."""
    piece: list[bytes] = []
    size = 0
    for line in lines:
        if piece and size + len(line) >= longest:
            yield from _together(piece)
            piece, size = [], 0
        piece.append(line)
        size += len(line) + 1
    if piece:
        yield from _together(piece)


def _together(lines: list[bytes]) -> Iterator[bytes]:
    yield b"\n".join(lines) + b"\n"


def timestamp(wall: float) -> str:
    """Seconds since the epoch as ISO 8601 in UTC, to the millisecond."""
    when = datetime.datetime.fromtimestamp(wall, datetime.UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonFormatter(logging.Formatter):
    """One log record as one line of JSON, with ``beside`` in each."""

    def __init__(self, **beside: str | int) -> None:
        super().__init__()
        self._beside = beside

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, str | int] = {
            "time": timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            **self._beside,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()
