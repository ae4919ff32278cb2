"""Reads a segment of a journal while it is written, or after its writer is gone."""

from __future__ import annotations

import os
import re
from pathlib import Path
from zlib import crc32

import msgspec

from penstock.core.releases import Scored
from penstock.core.usage import Audited, JournalRecord, Opened, Opening, Settled, Used
from penstock.store.journal import HEADER

_CHUNK = 256 << 10
_TAGS = {
    Opened: b"\xa6opened",
    Settled: b"\xa7settled",
    Audited: b"\xa7audited",
    Used: b"\xa4used",
    Scored: b"\xa6scored",
}
# A record in MessagePack: an array of at most 15 with its tag, a short string, first.
_RECORD = re.compile(rb"[\x90-\x9f](?:" + b"|".join(_TAGS.values()) + rb")")
_WHOLE: msgspec.msgpack.Decoder[JournalRecord] = msgspec.msgpack.Decoder(Opened | Settled | Audited | Used | Scored)
_FOLLOWED: msgspec.msgpack.Decoder[JournalRecord] = msgspec.msgpack.Decoder(
    Opening | Settled | Audited | Used | Scored
)


class JournalReader:
    """One segment, from ``offset`` on. Keeps no file open. Not to be shared between threads.

    ``only`` are the records that are wanted: others are passed over, unread. Without ``whole``, what was written as
    Opened is read as ``Opening``. ``offset`` is behind the last whole
    frame that was read or passed over. ``skipped`` counts frames that are whole and hold no record that this version
    knows. ``damaged``: there is a place at ``offset`` that is no frame, with good frames behind it; nothing behind is
    read.
    """

    def __init__(
        self, path: Path, offset: int = 0, *, only: tuple[type[JournalRecord], ...] = (), whole: bool = True
    ) -> None:
        self.path = path
        self.offset = offset
        self.skipped = 0
        self.damaged = False
        self._decode = (_WHOLE if whole else _FOLLOWED).decode
        self._only = tuple(_TAGS[kind] for kind in only)

    def read(self, most: int, until: int | None = None, most_bytes: int = _CHUNK) -> list[JournalRecord]:
        """The next records, at most so many, ending at the last whole frame that ends by ``until`` (None: the file's
        end). Frames beyond the first ``most_bytes`` are left for the next call, but for the first. An empty list with
        ``offset`` unmoved: there are none for now. Raises ``OSError``."""
        records: list[JournalRecord] = []
        if self.damaged:
            return records
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            end = os.fstat(fd).st_size if until is None else until
            chunk = (
                os.pread(fd, min(max(most_bytes, HEADER.size), end - self.offset), self.offset)
                if end > self.offset
                else b""
            )
            if len(chunk) >= HEADER.size:
                first = HEADER.size + HEADER.unpack_from(chunk)[0]
                if len(chunk) < first <= end - self.offset:
                    chunk = os.pread(fd, first, self.offset)
            used, sound = self._parse(chunk, records, most)
            if not sound:
                self.damaged = _good_frame_in(os.pread(fd, end - self.offset - used, self.offset + used))
            self.offset += used
        finally:
            os.close(fd)
        return records

    def sync(self) -> None:
        """What was read is on the disk when this returns, whoever wrote it. Raises ``OSError``."""
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fdatasync(fd)
        finally:
            os.close(fd)

    def finish(self) -> bool:
        """Nothing is written here any more, and all was read. Whether bytes are left that are no whole frame; when
        good frames are among them it is ``damaged``, else a last one that was torn. Raises ``OSError``."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            rest = file.read()
        self.damaged = self.damaged or _good_frame_in(rest)
        return bool(rest)

    def _parse(self, chunk: bytes, records: list[JournalRecord], most: int) -> tuple[int, bool]:
        """How much of the chunk was read; whether what follows is, or may yet become, a frame."""
        at, size, header = 0, len(chunk), HEADER.size
        only, unpack, decode, add = self._only, HEADER.unpack_from, self._decode, records.append
        while len(records) < most and size - at >= header:
            length, checksum = unpack(chunk, at)
            begin = at + header
            end = begin + length
            if end > size:
                break
            payload = chunk[begin:end]
            # The checksum of nothing is 0: zeros, which a file system may leave at the end, would be good frames.
            if not length or crc32(payload) != checksum:
                return at, False
            at = end
            if not only or payload.startswith(only, 1):
                try:
                    add(decode(payload))
                except msgspec.MsgspecError:
                    self.skipped += 1
        return at, True


def _good_frame_in(data: bytes) -> bool:
    for found in _RECORD.finditer(data):
        begin = found.start()
        if begin < HEADER.size:
            continue
        length, checksum = HEADER.unpack_from(data, begin - HEADER.size)
        if begin + length <= len(data) and crc32(data[begin : begin + length]) == checksum:
            return True
    return False
