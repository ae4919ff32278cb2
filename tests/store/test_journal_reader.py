from __future__ import annotations

import os
from pathlib import Path
from zlib import crc32

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.releases import Scored
from penstock.core.usage import Audited, JournalRecord, Opened, Settled
from penstock.store.journal import HEADER, Framing
from penstock.store.journal_reader import JournalReader
from tests.store.records import audited, opened, scored, settled, used

RECORDS: list[JournalRecord] = [
    opened("a"),
    settled("a"),
    audited("x", b"y" * 300),
    used("k_1"),
    scored("a"),
    opened("b"),
]
FRAMES = [bytes(Framing().one(record)) for record in RECORDS]
WHOLE = b"".join(FRAMES)


def reader(tmp_path: Path, data: bytes) -> JournalReader:
    path = tmp_path / "w0-000001.journal"
    path.write_bytes(data)
    return JournalReader(path)


def test_it_stops_behind_the_last_whole_frame_and_goes_on(tmp_path: Path) -> None:
    reading = reader(tmp_path, b"")
    got: list[JournalRecord] = []
    for size in range(len(WHOLE) + 1):
        reading.path.write_bytes(WHOLE[:size])
        got += reading.read(10)
        assert reading.offset == sum(len(frame) for frame in FRAMES[: len(got)])
    assert got == RECORDS
    assert not reading.finish()
    assert not reading.damaged


def test_rows_from_before_there_were_caches_are_of_none(tmp_path: Path) -> None:
    now = settled("a")
    # The fields of a row stand in order: an older worker wrote all but the last two.
    tag, lease, rows, used_of = msgspec.msgpack.decode(msgspec.msgpack.encode(now))
    older = msgspec.msgpack.encode([tag, lease, [row[:-2] for row in rows], used_of])
    frame = HEADER.pack(len(older), crc32(older)) + older
    assert reader(tmp_path, frame).read(10) == [now]
    assert (now.entries[0].cache, now.entries[0].saved_nano) == ("", 0)


def test_it_reads_no_more_than_asked(tmp_path: Path) -> None:
    reading = reader(tmp_path, WHOLE)
    assert reading.read(2) == RECORDS[:2]
    assert reading.read(10, until=reading.offset + len(FRAMES[2])) == RECORDS[2:3]
    assert reading.read(10, until=reading.offset + 1) == []
    assert reading.read(10, most_bytes=1) == RECORDS[3:4]
    assert reading.read(10) == RECORDS[4:]
    assert reading.read(10) == []


def test_a_record_larger_than_what_is_read_at_once(tmp_path: Path) -> None:
    large = [used("k_1"), audited("x", os.urandom(700_000)), used("k_2")]
    reading = reader(tmp_path, bytes(Framing().all(large)))
    got: list[JournalRecord] = []
    while more := reading.read(10):
        got += more
    assert got == large


@pytest.mark.parametrize(
    ("only", "wanted"),
    [((Opened, Settled), [0, 1, 5]), ((Settled, Audited, Scored), [1, 2, 4]), ((), [0, 1, 2, 3, 4, 5])],
)
def test_only_what_is_wanted(tmp_path: Path, only: tuple[type[JournalRecord], ...], wanted: list[int]) -> None:
    reading = JournalReader(reader(tmp_path, WHOLE).path, only=only)
    assert reading.read(10) == [RECORDS[index] for index in wanted]
    assert reading.offset == len(WHOLE)


def test_a_last_frame_that_was_torn_is_left(tmp_path: Path) -> None:
    for cut in range(len(WHOLE) - len(FRAMES[-1]) + 1, len(WHOLE)):
        reading = reader(tmp_path, WHOLE[:cut])
        assert reading.read(10) == RECORDS[:-1]
        assert reading.finish()
        assert not reading.damaged


@pytest.mark.parametrize("tail", [bytes(9), bytes(4096), FRAMES[0][:8] + bytes(len(FRAMES[0]) - 8), b"\xff" * 50])
def test_what_a_stopped_machine_leaves_at_the_end_is_no_record(tmp_path: Path, tail: bytes) -> None:
    reading = reader(tmp_path, WHOLE + tail)
    assert reading.read(10) == RECORDS
    assert reading.finish()
    assert not reading.damaged


def test_damage_is_told_from_a_torn_end_by_what_follows(tmp_path: Path) -> None:
    hurt = bytearray(FRAMES[1])
    hurt[20] ^= 1
    reading = reader(tmp_path, FRAMES[0] + hurt)
    assert reading.read(10) == RECORDS[:1]
    assert not reading.damaged
    reading.path.write_bytes(FRAMES[0] + hurt + FRAMES[2])
    assert reading.read(10) == []
    assert reading.damaged
    assert reading.offset == len(FRAMES[0])
    assert reading.read(10) == []


def test_a_length_that_is_wrong_is_damage_too(tmp_path: Path) -> None:
    for length in (0, 1, 1 << 20, 0xFFFFFFFF):
        reading = reader(tmp_path, FRAMES[0] + HEADER.pack(length, 1) + FRAMES[1][HEADER.size :] + FRAMES[2])
        assert reading.read(10) == RECORDS[:1]
        assert reading.finish()
        assert reading.damaged


def test_frames_in_the_text_of_one_that_is_being_written_are_none(tmp_path: Path) -> None:
    """A client chooses its prompt: it must not be able to end the reading of a segment, or to forge a row."""
    forged = bytes(Framing().one(audited("x", b"." + FRAMES[1] * 3)))
    reading = reader(tmp_path, FRAMES[0])
    got = reading.read(10)
    for size in range(0, len(forged) + 1, 7):
        reading.path.write_bytes(FRAMES[0] + forged[:size])
        got += reading.read(10)
        assert not reading.damaged
    reading.path.write_bytes(FRAMES[0] + forged + FRAMES[2])
    got += reading.read(10)
    assert got == [RECORDS[0], audited("x", b"." + FRAMES[1] * 3), RECORDS[2]]


def test_a_record_of_a_later_version_is_counted_and_passed_over(tmp_path: Path) -> None:
    payload = msgspec.msgpack.encode(["used", {"not": "a key"}, 1.0])
    reading = reader(tmp_path, FRAMES[0] + HEADER.pack(len(payload), crc32(payload)) + payload + FRAMES[1])
    assert reading.read(10) == RECORDS[:2]
    assert reading.skipped == 1


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
@settings(max_examples=300, deadline=None)
def test_no_changed_byte_makes_a_record_that_was_not_written(
    tmp_path_factory: pytest.TempPathFactory, at: int, flip: int
) -> None:
    data = bytearray(WHOLE)
    data[at] ^= flip
    reading = reader(tmp_path_factory.getbasetemp(), bytes(data))
    got = reading.read(10)
    assert got == RECORDS[: len(got)]
    assert len(got) < len(RECORDS)
    hurt = next(i for i in range(len(FRAMES)) if at < sum(map(len, FRAMES[: i + 1])))
    assert len(got) == hurt
    assert reading.finish()
    assert reading.damaged is (hurt < len(FRAMES) - 1)
