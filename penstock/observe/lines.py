"""Log lines as JSON, written by a thread of their own from a bounded queue, so that a slow disk stops nothing.

Serves the access log; ``JsonFormatter`` gives the same shape to what the process logs about itself.
"""

from __future__ import annotations

import datetime
import logging
import os
import queue
import threading

import msgspec


class LineWriter:
    """Writes each value given to ``write`` as one line of JSON to a file descriptor that it owns.

    At most ``bound`` lines wait; one more is dropped and counted in ``dropped``. ``write`` never blocks and may be
    called from any thread.
    """

    def __init__(self, fd: int, bound: int = 10_000) -> None:
        self._fd = fd
        self._queue: queue.Queue[object] = queue.Queue(bound)
        self._encoder = msgspec.json.Encoder()
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="log-lines", daemon=True)
        self._thread.start()

    def write(self, value: object) -> None:
        try:
            self._queue.put_nowait(value)
        except queue.Full:
            self.dropped += 1

    def close(self, within_s: float = 2.0) -> None:
        """Writes what waits, for at most ``within_s`` seconds, then lets go of the descriptor."""
        try:
            self._queue.put(_END, timeout=within_s)
        except queue.Full:
            return
        self._thread.join(within_s)

    def _run(self) -> None:
        ended = False
        while not ended:
            batch = [self._queue.get()]
            while len(batch) < 500 and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            ended = _END in batch
            lines = [self._encoder.encode(value) + b"\n" for value in batch if value is not _END]
            try:
                _write_all(self._fd, b"".join(lines))
            except OSError:
                self.dropped += len(lines)
        os.close(self._fd)


_END = object()


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def timestamp(wall: float) -> str:
    """Seconds since the epoch as ISO 8601 in UTC, to the millisecond."""
    when = datetime.datetime.fromtimestamp(wall, datetime.UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonFormatter(logging.Formatter):
    """One log record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, str] = {
            "time": timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()
