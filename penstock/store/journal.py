"""Where usage and audit records are safe before a reply ends, on this machine's disk.

A journal is a folder of segments, ``<owner>-<number>.journal``. The owner is the process that writes them, by a name
never used twice; numbers count from 1, in the order of writing. A segment is frames, one after the other: the
payload's length and its CRC-32, as two little-endian 32-bit numbers, then the payload, one record in MessagePack.

What ``write`` has returned from is in the page cache: it survives the end of the process, however it ends. What the
machine itself loses when it stops is at most what was written in the last ``sync_s``.
"""

from __future__ import annotations

import logging
import os
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from zlib import crc32

import msgspec

from penstock.core.errors import JOURNAL_FULL, PenstockError
from penstock.core.usage import JournalRecord

HEADER = struct.Struct("<II")
"""Length and CRC-32 of the payload that follows."""
SEGMENT_BYTES = 16 << 20
SUFFIX = ".journal"

_log = logging.getLogger(__name__)


def segment_name(owner: str, number: int) -> str:
    """The file's name."""
    return f"{owner}-{number:06d}{SUFFIX}"


class Framing:
    """Records to frames, in one buffer that is used again. Not to be shared between threads."""

    __slots__ = ("_buffer", "_encode_into")

    def __init__(self) -> None:
        self._buffer = bytearray(HEADER.size)
        self._encode_into = msgspec.msgpack.Encoder().encode_into

    def one(self, record: JournalRecord) -> bytearray:
        """Its frame; good until the next call."""
        buffer = self._buffer
        self._encode_into(record, buffer, HEADER.size)
        HEADER.pack_into(buffer, 0, len(buffer) - HEADER.size, crc32(memoryview(buffer)[HEADER.size :]))
        return buffer

    def all(self, records: Sequence[JournalRecord]) -> bytearray:
        """Their frames in order, in a buffer of the caller's own."""
        frames = bytearray()
        for record in records:
            frames += self.one(record)
        return frames


class Journal:
    """The journal that one process writes. Not to be written from two threads at a time.

    ``owner`` must be a name that no journal of the folder ever had: ``FileExistsError`` otherwise. ``OSError`` when
    the folder or the first segment cannot be made. ``fdatasync`` is called by a thread of its own, at most ``sync_s``
    after a write began to wait for it.
    """

    def __init__(
        self,
        folder: Path,
        owner: str,
        *,
        sync_s: float,
        segment_bytes: int = SEGMENT_BYTES,
        fdatasync: Callable[[int], None] = os.fdatasync,
    ) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        self._folder = folder
        self._owner = owner
        self._sync_s = sync_s
        self._segment_bytes = segment_bytes
        self._fdatasync = fdatasync
        self._framing = Framing()
        self._number = 1
        self._fd = self._create(1)
        self._size = 0
        self._rotate_at = segment_bytes
        self._torn = False
        self._unsynced: OSError | None = None
        self._rotated: deque[int] = deque()
        self._new_file = True
        self._dirty = threading.Event()
        self._dirty.set()
        self._stopping = threading.Event()
        self._syncing = threading.Thread(target=self._keep_synced, name=f"journal {owner}", daemon=True)
        self._syncing.start()

    def write(self, record: JournalRecord) -> None:
        """The record outlives this process once this returns. Raises ``PenstockError(JOURNAL_FULL)``, with nothing
        written, when the disk does not take it."""
        self._put(self._framing.one(record))

    def write_all(self, records: Sequence[JournalRecord]) -> None:
        """As ``write``: all of them, or none."""
        if records:
            self._put(self._framing.all(records))

    def close(self) -> None:
        """Syncs and lets go. Idempotent; nothing may be written after."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._dirty.set()
        self._syncing.join()
        try:
            self._sync()
        except OSError as error:
            _log.error("the journal in %s cannot be synced: %s", self._folder, error)
        for fd in (*self._rotated, self._fd):
            os.close(fd)

    def _create(self, number: int) -> int:
        path = self._folder / segment_name(self._owner, number)
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    # -- writing -----------------------------------------------------------------------------------------------------

    def _put(self, frames: bytearray) -> None:
        if self._unsynced is not None:
            raise _refusal(self._unsynced)
        try:
            if self._torn:
                os.ftruncate(self._fd, self._size)
                self._torn = False
            written = os.write(self._fd, frames)
            while written < len(frames):
                written += os.write(self._fd, frames[written:])
        except OSError as error:
            self._undo(error)
            raise _refusal(error) from error
        self._size += written
        if not self._dirty.is_set():
            self._dirty.set()
        if self._size >= self._rotate_at:
            self._rotate()

    def _undo(self, error: OSError) -> None:
        """Part of a frame may have come onto the disk: nobody may take it for one."""
        _log.error("segment %d of the journal in %s cannot be written: %s", self._number, self._folder, error)
        try:
            os.ftruncate(self._fd, self._size)
        except OSError:
            # Before the next frame it is tried again: until then nothing is written behind the part.
            self._torn = True

    def _rotate(self) -> None:
        try:
            fd = self._create(self._number + 1)
        except OSError as error:
            # The segment takes more yet; it is only longer than others.
            _log.warning("the journal in %s cannot begin a new segment: %s", self._folder, error)
            self._rotate_at += self._segment_bytes
            return
        self._number += 1
        # The thread closes what is rotated and syncs the newest: it must never see one as both.
        old, self._fd = self._fd, fd
        self._size, self._rotate_at = 0, self._segment_bytes
        self._new_file = True
        self._rotated.append(old)
        self._dirty.set()

    # -- syncing -----------------------------------------------------------------------------------------------------

    def _keep_synced(self) -> None:
        """The thread. What is written is on the disk ``sync_s`` later as long as the disk takes no longer than it
        did the last time; when it takes longer than that, one sync follows the other."""
        took = 0.0
        while not self._stopping.is_set():
            self._dirty.wait()
            self._stopping.wait(self._sync_s - took)
            self._dirty.clear()
            began = time.monotonic()
            try:
                self._sync()
                self._unsynced = None
            except OSError as error:
                # The kernel tells of each failure once and forgets the data: until a sync succeeds, nothing more
                # is taken on.
                _log.error("the journal in %s cannot be synced: %s", self._folder, error)
                self._unsynced = error
                self._dirty.set()
            took = time.monotonic() - began

    def _sync(self) -> None:
        while self._rotated:
            self._fdatasync(self._rotated[0])
            os.close(self._rotated.popleft())
        self._fdatasync(self._fd)
        if self._new_file:
            self._new_file = False
            sync_folder(self._folder)


def sync_folder(folder: Path) -> None:
    """Makes the names in it outlive the machine. Raises ``OSError``."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _refusal(error: OSError) -> PenstockError:
    return PenstockError(
        JOURNAL_FULL,
        f"What this request uses cannot be recorded, the gateway's journal takes nothing: {error.strerror or error}. "
        "Free space on the disk of the gateway's home, or mend that disk; requests are taken again by themselves.",
        retry_after=5.0,
    )
