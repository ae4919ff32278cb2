"""The heads that this gateway has signed, kept outside the store: a file of one JSON line for each.

Whoever can only write the database can cut the audit's tail, and its heads with it; this file then still has them.
A copy elsewhere does so for somebody who can write the gateway's home too.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from penstock.core.errors import STORE_UNAVAILABLE, PenstockError
from penstock.core.usage import Head
from penstock.store.private_file import sync_folder, unusable

_WHAT = "The audit's heads"
_decoder = msgspec.json.Decoder(Head)


class HeadFile:
    """The file at ``path``, made when first written, readable by its owner alone. Several processes may append."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, head: Head) -> None:
        """On disk when it returns. Raises ``PenstockError(STORE_UNAVAILABLE)``."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = not self._path.exists()
            descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "ab") as file:
                end = os.fstat(descriptor).st_size
                torn = end > 0 and os.pread(descriptor, 1, end - 1) != b"\n"
                file.write(b"\n" * torn + msgspec.json.encode(head) + b"\n")
                file.flush()
                os.fsync(descriptor)
            if fresh:
                sync_folder(self._path.parent)
        except OSError as error:
            raise unusable(self._path, _WHAT, error) from error

    def read(self) -> Sequence[Head]:
        """All of them, in the order they were signed. A line that a crash has cut off was never stored anywhere, and
        is passed over. Raises ``PenstockError(STORE_UNAVAILABLE)`` when the file cannot be read."""
        try:
            lines = self._path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise unusable(self._path, _WHAT, error) from error
        heads = []
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                heads.append(_decoder.decode(line))
            except msgspec.DecodeError as error:
                if line.endswith(b"}"):
                    raise PenstockError(
                        STORE_UNAVAILABLE,
                        f"{_WHAT} {self._path} are damaged in line {number} ({error}). Put back a copy of the file, "
                        "or take out the line if you know who wrote it.",
                    ) from error
        return heads
