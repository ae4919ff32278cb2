"""A bounded log on disk: the newest part in one file, the part before it in another."""

from __future__ import annotations

import errno
import os
from pathlib import Path

LIMIT = 4 * 1024 * 1024


class LogFile:
    """Appends to ``path``; once that holds ``limit`` bytes it becomes ``path.1`` and a new one begins.

    A disk that takes no more costs log lines, never the child whose log it is: nothing here raises for it, and what
    is written once there is room again is kept. Raises ``OSError`` at first for a place that cannot be used at all.
    """

    def __init__(self, path: Path, limit: int = LIMIT) -> None:
        self.path = path
        self._limit = limit
        self._file, self._size, self._closed = -1, 0, False
        try:
            self._open()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise

    def write(self, text: bytes) -> None:
        """Appends ``text`` as it is. Of a text longer than the limit the end is kept."""
        if self._closed:
            return
        text = text[-self._limit :]
        try:
            if self._file < 0:
                self._open()
            if self._size and self._size + len(text) > self._limit:
                self._turn()
            self._size += os.write(self._file, text)
        except OSError:
            self._size = os.fstat(self._file).st_size if self._file >= 0 else 0

    def close(self) -> None:
        """Idempotent; what is written afterwards is lost."""
        self._closed = True
        self._shut()

    def _turn(self) -> None:
        os.replace(self.path, self.path.with_name(f"{self.path.name}.1"))
        self._shut()
        self._open()

    def _shut(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open(self) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._file).st_size
