"""What is seen of requests, on its way from a worker to the supervisor over this machine's disk.

A spool is a folder of segments, ``<owner>-<number>.spool``. The owner is the process that writes them, by a name
never used twice; numbers count from 1, in the order of writing. A segment is frames, one after the other: the
payload's length and its CRC-32, as two little-endian 32-bit numbers, then the payload in MessagePack: ``MANY`` and
an array of records, or one ``LogRecord`` by itself, as beats are and once all of them were.

Whoever serves a request only leaves what is known of it in memory. A thread makes records of that every ``PACE_S``,
some together, which takes half the time, and writes them. What was written survives the end of the process, however
it ends; nothing is synced, as the ledger is what must outlive the machine.
"""

from __future__ import annotations

import contextlib
import logging
import os
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol
from zlib import crc32

import msgspec

from penstock.core.requests import Beat, RequestContent, RequestRecord

HEADER = struct.Struct("<II")
"""Length and CRC-32 of the payload that follows."""
MANY = b"\xc1"
"""How a payload of several records begins; nothing in MessagePack does."""
SUFFIX = ".spool"
SEGMENT_BYTES = 8 << 20
PACE_S = 0.05
BEAT_S = 1.0
LASTS_S = 30.0
"""How long a segment is written at most: the reader deletes whole ones, and what was said is not to lie about for as
long as nothing more comes."""
LAG_S = 0.25
"""How far a beat stays behind its clock: a request that is over may be this long on its way to ``put``."""

_IN_MEMORY = 16 << 20
_PIECE = 1 << 20
# No more are made in one go: whoever serves requests waits for the thread as long.
_TOGETHER = 32
_FACTS = 512
_SAY_EVERY_S = 60.0

_log = logging.getLogger(__name__)


def segment_name(owner: str, number: int) -> str:
    """The file's name."""
    return f"{owner}-{number:06d}{SUFFIX}"


class Unmade(Protocol):
    """What records are made of when they are written. ``size`` is about how many bytes it holds until then."""

    @property
    def size(self) -> int: ...

    def together(self, of: Sequence[Unmade]) -> Sequence[RequestRecord | RequestContent]:
        """The records of all of these, of which this is the first, in their order. Called once, by the thread. Never
        raises."""


Put = RequestRecord | RequestContent | Unmade
"""What may be put into a spool."""


class Spool:
    """The spool that one process writes. ``put`` is to be called from one thread.

    ``limit_bytes`` is what all owners' segments may take together; each looks once a second what there is. What comes
    beyond it, faster than it can be written, or while the disk takes nothing is shed: ``shed`` counts such records,
    and ``say`` hears of them from the thread, at most once a minute. ``now`` is in seconds since the epoch.
    """

    def __init__(
        self,
        folder: Path,
        owner: str,
        *,
        limit_bytes: int,
        segment_bytes: int = SEGMENT_BYTES,
        now: Callable[[], float] = time.time,
        say: Callable[[str], None] = _log.error,
    ) -> None:
        self._folder = folder
        self._owner = owner
        self._limit = limit_bytes
        # The reader deletes whole segments only: several must fit.
        self._segment_bytes = min(segment_bytes, limit_bytes // 8)
        self._now = now
        self._say = say
        self._encode = msgspec.msgpack.Encoder().encode
        # Appending and taking are atomic: no lock is needed. Bytes are counted apart by who puts and who takes.
        self._waiting: deque[Put] = deque()
        self._put_bytes = self._taken_bytes = 0
        self._overflowed = self._unwritten = self._said = 0
        self._why = ""
        self._said_at = now() - _SAY_EVERY_S
        self._fd: int | None = None
        self._number = self._size = self._folder_bytes = 0
        self._began_at = 0.0
        self._holds = False
        self._torn = False
        self._asleep = False
        self._awake = threading.Event()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"spool {owner}", daemon=True)
        self._thread.start()

    @property
    def shed(self) -> int:
        """Records lost so far."""
        return self._overflowed + self._unwritten

    def put(self, what: Put) -> None:
        """Leaves it to the thread. Never blocks and never raises."""
        size = _size(what)
        if self._put_bytes - self._taken_bytes + size > _IN_MEMORY:
            self._overflowed += 1
            return
        self._put_bytes += size
        self._waiting.append(what)
        if self._asleep:
            self._asleep = False
            self._awake.set()

    def close(self, within_s: float = 2.0) -> None:
        """Writes what waits, for at most ``within_s`` seconds. Idempotent; what is put after is lost."""
        self._ending.set()
        self._awake.set()
        self._thread.join(within_s)

    # -- the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        beat_at = 0.0
        last = False
        while not last:
            last = self._ending.is_set()
            at = self._now()
            self._drain()
            if last or not beat_at <= at < beat_at + BEAT_S:
                beat_at = at
                self._beat(at)
                self._mention(at)
            if not last:
                self._ending.wait(PACE_S)
                self._doze(beat_at + BEAT_S - self._now())
        if self._fd is not None:
            os.close(self._fd)

    def _doze(self, within_s: float) -> None:
        """Until there is something to write, or the next beat."""
        self._awake.clear()
        self._asleep = True
        if not self._waiting and not self._ending.is_set():
            self._awake.wait(min(max(0.0, within_s), BEAT_S))
        self._asleep = False

    def _drain(self) -> None:
        waiting, piece = self._waiting, min(_PIECE, self._segment_bytes)
        while waiting:
            batch: list[Put] = []
            size = 0
            while waiting and size < piece and len(batch) < _TOGETHER:
                batch.append(waiting.popleft())
                size += _size(batch[-1])
            self._keep(made(batch))
            self._taken_bytes += size

    def _keep(self, records: Sequence[RequestRecord | RequestContent]) -> None:
        try:
            frame = _frame(MANY + self._encode(records))
        except (TypeError, ValueError, OverflowError) as error:
            if len(records) > 1:
                for each in records:
                    self._keep([each])
            else:
                self._lose(1, f"one cannot be written ({error})")
            return
        if self._folder_bytes + len(frame) > self._limit:
            self._lose(len(records), f"the {self._limit >> 20} MiB that may wait on the disk are full")
            self._hand_over()
        else:
            self._write(frame, len(records))

    def _beat(self, at: float) -> None:
        try:
            self._look(at)
        except OSError as error:
            self._lose(0, error.strerror or str(error))
        # Small enough to be let in beyond the limit: who reads it has to hear how much is lost.
        self._write(_frame(self._encode(Beat(at - LAG_S, self.shed))), 0)

    def _look(self, at: float) -> None:
        """How much there is of all owners."""
        found = 0
        ours = segment_name(self._owner, self._number)
        there = False
        with contextlib.suppress(FileNotFoundError), os.scandir(self._folder) as names:
            for each in names:
                if each.name.endswith(SUFFIX):
                    there = there or each.name == ours
                    with contextlib.suppress(FileNotFoundError):
                        found += each.stat().st_size
        self._folder_bytes = found
        if self._fd is not None and not there:
            # Somebody has cleared the folder: what is written into a file without a name reaches nobody.
            self._leave()
        elif self._holds and not self._began_at <= at < self._began_at + LASTS_S:
            self._leave()

    def _write(self, data: bytes, records: int) -> None:
        size = len(data)
        if self._size and self._size + size > self._segment_bytes:
            self._leave()
        try:
            fd = self._open() if self._fd is None else self._fd
            if self._torn:
                os.ftruncate(fd, self._size)
                self._torn = False
            written = os.write(fd, data)
            while written < size:
                written += os.write(fd, data[written:])
        except OSError as error:
            self._undo()
            self._lose(records, error.strerror or str(error))
            return
        self._size += size
        self._holds = self._holds or records > 0
        self._folder_bytes += size

    def _open(self) -> int:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / segment_name(self._owner, self._number + 1)
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._number += 1
        self._fd, self._size, self._torn = fd, 0, False
        self._began_at, self._holds = self._now(), False
        return fd

    def _leave(self) -> None:
        """The next frame begins a segment."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd, self._size, self._torn = None, 0, False

    def _hand_over(self) -> None:
        """Begins a new segment, so that the reader can delete this one as soon as it is read: a limit that is full of
        what was read already would never come down."""
        if self._size < HEADER.size << 10:
            return
        self._leave()
        try:
            self._open()
        except OSError as error:
            self._lose(0, error.strerror or str(error))

    def _undo(self) -> None:
        """Part of a frame may have come onto the disk: nobody may take it for one."""
        if self._fd is None:
            return
        try:
            os.ftruncate(self._fd, self._size)
        except OSError:
            # Before the next frame it is tried again: until then nothing is written behind the part.
            self._torn = True

    def _lose(self, count: int, why: str) -> None:
        self._unwritten += count
        self._why = why

    def _mention(self, at: float) -> None:
        lost = self.shed - self._said
        if not lost or (abs(at - self._said_at) < _SAY_EVERY_S and not self._ending.is_set()):
            return
        why = self._why or "they come faster than they can be written"
        self._said, self._said_at, self._why = self._said + lost, at, ""
        self._say(
            f"{lost} records of requests were lost to the log and the charts: {why}. Requests are served on, and the "
            "ledger is complete. Free space on the disk of the gateway's home, see that its store takes writes, or "
            "raise `observe: requests: spool_bytes:`."
        )


def _size(what: Put) -> int:
    if isinstance(what, RequestRecord):
        return _FACTS + len(what.message)
    return _FACTS + len(what.request) + len(what.reply) if isinstance(what, RequestContent) else what.size


def _frame(payload: bytes) -> bytes:
    return HEADER.pack(len(payload), crc32(payload)) + payload


def made(batch: Sequence[Put]) -> Sequence[RequestRecord | RequestContent]:
    """The records of all of these."""
    records: list[RequestRecord | RequestContent] = []
    unmade: list[Unmade] = []
    for each in batch:
        if not isinstance(each, RequestRecord | RequestContent):
            unmade.append(each)
            continue
        if unmade:
            records += unmade[0].together(unmade)
            unmade = []
        records.append(each)
    if unmade:
        records += unmade[0].together(unmade)
    return records
