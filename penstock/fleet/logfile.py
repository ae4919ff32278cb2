"""A bounded log on disk: the newest part in one file, the part before it in another."""

from __future__ import annotations

import os
from pathlib import Path

LIMIT = 4 * 1024 * 1024


class LogFile:
    """Appends to ``path``; once that holds ``limit`` bytes it becomes ``path.1`` and a new one begins.

    A disk that takes no more costs log lines, never the child whose log it is: ``write`` does not raise for it.
    """

    def __init__(self, path: Path, limit: int = LIMIT) -> None:
        self.path = path
        self._limit = limit
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = _opened(path)
        self._size = os.fstat(self._file).st_size

    def write(self, text: bytes) -> None:
        """Appends ``text`` as it is. Of a text longer than the limit the end is kept."""
        text = text[-self._limit :]
        try:
            if self._size and self._size + len(text) > self._limit:
                self._turn()
            self._size += os.write(self._file, text)
        except OSError:
            self._size = os.fstat(self._file).st_size

    def close(self) -> None:
        """Idempotent; nothing may be written afterwards."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _turn(self) -> None:
        os.replace(self.path, self.path.with_name(f"{self.path.name}.1"))
        fresh = _opened(self.path)
        os.close(self._file)
        self._file, self._size = fresh, 0


def _opened(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
