"""Reads the spools of all workers while they are written, and after their writers are gone."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from zlib import crc32

import msgspec

from penstock.core.requests import Beat, LogRecord, RequestContent, RequestRecord
from penstock.observe.spool import HEADER, MANY, SUFFIX

PLACES = "places"
"""The file, in the same folder, that says how far everything is done."""

_CHUNK = 256 << 10
# Nothing that is put is longer; a length beyond it is no frame.
_LONGEST = 16 << 20
_TAGS = (b"\xa7request", b"\xa7content", b"\xa4beat")

_log = logging.getLogger(__name__)
_decode = msgspec.msgpack.Decoder(LogRecord).decode
_decode_many = msgspec.msgpack.Decoder(list[RequestRecord | RequestContent]).decode


class Spot(msgspec.Struct, frozen=True, array_like=True):
    """``offset`` bytes of segment ``number``, and all segments before it."""

    number: int
    offset: int


_places = msgspec.json.Decoder(dict[str, Spot])


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """``records`` in the order in which each owner wrote them. ``beats``: the last of each owner that wrote one among
    these; what it says holds for this batch and those before. ``ended``: owners that are gone, of which nothing is
    left behind this batch. ``spots``: how far it goes, by owner."""

    records: Sequence[RequestRecord | RequestContent]
    beats: Mapping[str, Beat]
    ended: frozenset[str]
    spots: Mapping[str, Spot]


class _File(msgspec.Struct, frozen=True):
    number: int
    path: Path
    size: int


class _Found:
    __slots__ = ("beat", "records")

    def __init__(self) -> None:
        self.records: list[RequestRecord | RequestContent] = []
        self.beat: Beat | None = None


class SpoolReader:
    """All spools of a folder, from where ``done`` was last told. Not to be shared between threads, nor between
    processes; keeps no file open.

    ``damaged`` counts places that were no frames, with good ones behind them, or at the end of a segment that grows
    no more and was not its owner's last; ``skipped`` frames that hold no record that this version knows. Both are
    passed over. Every method raises ``OSError`` when the folder cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.damaged = 0
        self.skipped = 0
        self._done = self._remembered()
        self._ahead = dict(self._done)

    def read(self, most: int, living: Collection[str]) -> Batch:
        """The next records, about ``most`` of them, shared evenly by the owners; none: there are none for now.

        ``living`` are the owners that may write yet, or begin to, as the caller knew it before this call. The last
        segment of one that does not live is finished: what is left of a frame at its end was never whole.
        """
        records: list[RequestRecord | RequestContent] = []
        beats: dict[str, Beat] = {}
        ended: set[str] = set()
        files = self._files()
        share = max(1, most // max(1, len(files)))
        for owner, segments in files.items():
            lives = owner in living
            spot = self._ahead.get(owner, Spot(0, 0))
            found = _Found()
            finished = False
            for place, file in enumerate(segments):
                if file.number < spot.number:
                    continue
                last = place == len(segments) - 1
                offset = spot.offset if file.number == spot.number else 0
                offset, finished = self._segment(file, offset, found, share, lives and last, last)
                spot = Spot(file.number, offset)
                if not finished:
                    break
            records += found.records
            if found.beat is not None:
                beats[owner] = found.beat
            self._ahead[owner] = spot
            if finished and not lives:
                ended.add(owner)
        return Batch(
            records=records,
            beats=beats,
            ended=frozenset(ended),
            spots={owner: self._ahead[owner] for owner in files},
        )

    def done(self, batch: Batch) -> None:
        """Everything up to the end of this batch is where it belongs: it is not read again, by whoever. Segments that
        are done with are deleted."""
        files = self._files()
        # Those whose files are gone have been deleted by an earlier call.
        kept = {owner: spot for owner, spot in self._done.items() if owner in files}
        spots = {**kept, **batch.spots}
        if spots != self._done:
            self._remember(spots)
        for owner, segments in files.items():
            spot = batch.spots.get(owner)
            for file in segments:
                if spot is not None and (
                    file.number < spot.number or (owner in batch.ended and file.number == spot.number)
                ):
                    file.path.unlink(missing_ok=True)
        for owner in batch.ended:
            self._ahead.pop(owner, None)

    def resume(self, spots: Mapping[str, Spot]) -> None:
        """Goes on from these places, of the owners that they name: who keeps what was read may have noted them
        together with it, and then knows better than ``done``, which comes after."""
        self._done.update(spots)
        self._ahead = dict(self._done)

    def again(self) -> None:
        """What was read and is not done is read again."""
        self._ahead = dict(self._done)

    def waiting(self) -> int:
        """Bytes that are not done yet."""
        left = 0
        for owner, segments in self._files().items():
            spot = self._done.get(owner, Spot(0, 0))
            for file in segments:
                if file.number > spot.number:
                    left += file.size
                elif file.number == spot.number:
                    left += max(0, file.size - spot.offset)
        return left

    # -- segments ----------------------------------------------------------------------------------------------------

    def _files(self) -> Mapping[str, Sequence[_File]]:
        """By owner, in the order of writing."""
        found: list[tuple[str, int, Path]] = []
        with contextlib.suppress(FileNotFoundError), os.scandir(self._folder) as names:
            for each in names:
                owner, _, number = each.name.removesuffix(SUFFIX).rpartition("-")
                if each.name.endswith(SUFFIX) and owner and number.isdecimal():
                    found.append((owner, int(number), self._folder / each.name))
        by_owner: dict[str, list[_File]] = {}
        # Sizes after the names: one that has a successor has its last.
        for name, which, path in sorted(found):
            with contextlib.suppress(FileNotFoundError):
                by_owner.setdefault(name, []).append(_File(which, path, path.stat().st_size))
        return by_owner

    def _segment(
        self, file: _File, offset: int, found: _Found, most: int, grows: bool, last: bool
    ) -> tuple[int, bool]:
        """Reads on; how far it came, and whether nothing of it is left."""
        with file.path.open("rb") as opened:
            fd = opened.fileno()
            end = os.fstat(fd).st_size
            while offset < end:
                if len(found.records) >= most:
                    return offset, False
                chunk = os.pread(fd, min(_CHUNK, end - offset), offset)
                length = HEADER.unpack_from(chunk)[0] if len(chunk) >= HEADER.size else 0
                if len(chunk) < HEADER.size + length <= min(_LONGEST, end - offset):
                    chunk = os.pread(fd, HEADER.size + length, offset)
                used, sound = self._parse(chunk, found, most)
                offset += used
                if used and sound:
                    continue
                if sound and grows:
                    # The rest of the frame may yet come.
                    return offset, False
                rest = os.pread(fd, end - offset, offset)
                good = _good_frame(rest)
                if good is None:
                    if grows:
                        return offset, False
                    if not last:
                        self._hurt(file, offset)
                    return end, True
                self._hurt(file, offset)
                offset += good
        return offset, not grows

    def _parse(self, chunk: bytes, found: _Found, most: int) -> tuple[int, bool]:
        """How much of the chunk was read; whether what follows is, or may yet become, a frame."""
        at, size, header, unpack, view = 0, len(chunk), HEADER.size, HEADER.unpack_from, memoryview(chunk)
        while len(found.records) < most and size - at >= header:
            length, checksum = unpack(chunk, at)
            begin, end = at + header, at + header + length
            # The checksum of nothing is 0: zeros, which a file system may leave at the end, would be good frames.
            if not length or length > _LONGEST:
                return at, False
            if end > size:
                break
            payload = view[begin:end]
            if crc32(payload) != checksum:
                return at, False
            at = end
            try:
                if payload[0] == MANY[0]:
                    found.records += _decode_many(payload[1:])
                    continue
                record = _decode(payload)
            except msgspec.MsgspecError:
                self.skipped += 1
                continue
            if isinstance(record, Beat):
                found.beat = record
            else:
                found.records.append(record)
        return at, True

    def _hurt(self, file: _File, offset: int) -> None:
        self.damaged += 1
        _log.error(
            "%s is damaged at byte %d: what stood there of requests is lost to the log and the charts; see that the "
            "disk is sound. The ledger has them all the same.",
            file.path,
            offset,
        )

    # -- how far everything is done ----------------------------------------------------------------------------------

    def _remembered(self) -> dict[str, Spot]:
        try:
            return _places.decode((self._folder / PLACES).read_bytes())
        except FileNotFoundError:
            return {}
        except msgspec.MsgspecError as error:
            _log.error("%s cannot be read, so requests may be counted twice: %s", self._folder / PLACES, error)
            return {}

    def _remember(self, spots: Mapping[str, Spot]) -> None:
        fresh = self._folder / f"{PLACES}.new"
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(msgspec.json.encode(spots))
            file.flush()
            os.fdatasync(file.fileno())
        fresh.replace(self._folder / PLACES)
        self._done = dict(spots)


def _good_frame(data: bytes) -> int | None:
    """Where the first whole frame begins, None: nowhere."""
    found: set[int] = set()
    for tag in _TAGS:
        at = data.find(tag)
        while at >= 0:
            # A record is an array with its tag first, of at most 15 members, or with their count in two bytes; many
            # are such an array behind a byte that says so.
            found.update(at - before - HEADER.size for before in (1, 3, 5, 7))
            at = data.find(tag, at + 1)
    for begin in sorted(each for each in found if each >= 0):
        length, checksum = HEADER.unpack_from(data, begin)
        payload = data[begin + HEADER.size : begin + HEADER.size + length]
        if length and len(payload) == length and crc32(payload) == checksum:
            return begin
    return None
