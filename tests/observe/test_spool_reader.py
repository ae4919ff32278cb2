"""What a spool has is read once, in order, whatever form it was written in and whatever became of the file."""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.requests import Beat, RequestContent, RequestRecord
from penstock.observe.spool import HEADER
from penstock.observe.spool_reader import PLACES, SpoolReader
from tests.observe.spools import ALL, content, frames, laid, many, names, record


def test_what_is_done_is_not_read_again_by_the_next_reader(tmp_path: Path) -> None:
    laid(tmp_path / "spool", frames(*map(record, range(10))))
    reader = SpoolReader(tmp_path / "spool")
    reader.done(reader.read(4, {"w1"}))
    assert names(reader.read(3, {"w1"})) == ["r4", "r5", "r6"]
    assert names(SpoolReader(tmp_path / "spool").read(ALL, {"w1"})) == [f"r{number}" for number in range(4, 10)]
    reader.again()
    assert names(reader.read(ALL, {"w1"})) == [f"r{number}" for number in range(4, 10)]


def test_what_was_written_one_by_one_and_many_together_is_read_in_order(tmp_path: Path) -> None:
    laid(tmp_path, frames(record(0)) + many(record(1), content(1, 9), record(2)) + frames(Beat(3.0, 0), record(3)))
    reader = SpoolReader(tmp_path)
    first = reader.read(2, {"w1"})
    assert names(first) == ["r0", "r1", "r1", "r2"]
    reader.done(first)
    again = SpoolReader(tmp_path).read(ALL, {"w1"})
    assert (names(again), again.beats) == (["r3"], {"w1": Beat(3.0, 0)})


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 10_000), tail=st.binary(max_size=40))
def test_of_a_torn_end_the_whole_frames_are_read(
    cut: int, tail: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    said: list[RequestRecord | RequestContent | Beat] = [
        record(1),
        content(1, 50),
        record(2),
        Beat(3.0, 1),
        record(3),
    ]
    whole = [len(frames(*said[:count])) for count in range(len(said) + 1)]
    data = frames(*said)
    cut = min(cut, len(data))
    folder = tmp_path_factory.mktemp("torn")
    laid(folder, data[:cut] + (tail if cut == len(data) else b""))
    reader = SpoolReader(folder)
    batch = reader.read(ALL, ())
    count = max(count for count, size in enumerate(whole) if size <= cut)
    assert list(batch.records) == [each for each in said[:count] if not isinstance(each, Beat)]
    assert batch.ended == {"w1"}
    assert reader.damaged == 0
    reader.done(batch)
    assert not list(folder.glob("*.spool"))


def test_a_torn_end_of_a_living_writer_is_waited_for(tmp_path: Path) -> None:
    data = frames(record(1), record(2))
    path = laid(tmp_path, data[:-5])
    reader = SpoolReader(tmp_path)
    assert names(reader.read(ALL, {"w1"})) == ["r1"]
    assert names(reader.read(ALL, {"w1"})) == []
    path.write_bytes(data)
    assert names(reader.read(ALL, {"w1"})) == ["r2"]
    assert reader.damaged == 0


@pytest.mark.parametrize("alive", [True, False])
@pytest.mark.parametrize(
    "after",
    [
        frames(record(3)),
        frames(content(3, 9)),
        many(record(3)),
        many(content(3, 9)),
        many(*map(record, range(3, 23))),
        many(*(content(number, 9) for number in range(3, 23))),
    ],
)
def test_damage_is_passed_over_and_counted(tmp_path: Path, alive: bool, after: bytes) -> None:
    data = bytearray(frames(record(0), record(1), record(2)) + after + frames(record(99)))
    data[len(frames(record(0), record(1))) + 40] ^= 0xFF
    laid(tmp_path, bytes(data))
    reader = SpoolReader(tmp_path)
    found = names(reader.read(ALL, {"w1"} if alive else ()))
    assert (found[:3], found[-1]) == (["r0", "r1", "r3"], "r99")
    assert reader.damaged == 1


def test_the_end_of_a_segment_that_has_a_successor_is_damage(tmp_path: Path) -> None:
    laid(tmp_path, frames(record(1), record(2))[:-3], number=1)
    laid(tmp_path, frames(record(3)), number=2)
    reader = SpoolReader(tmp_path)
    assert names(reader.read(ALL, {"w1"})) == ["r1", "r3"]
    assert reader.damaged == 1


def test_a_record_of_another_version_is_skipped(tmp_path: Path) -> None:
    payload = msgspec.msgpack.encode(["novelty", 1])
    strange = HEADER.pack(len(payload), crc32(payload)) + payload
    laid(tmp_path, frames(record(1)) + strange + frames(record(2)))
    reader = SpoolReader(tmp_path)
    assert names(reader.read(ALL, {"w1"})) == ["r1", "r2"]
    assert (reader.skipped, reader.damaged) == (1, 0)


def test_owners_share_a_batch(tmp_path: Path) -> None:
    for owner in ("a", "b"):
        laid(tmp_path, frames(*(record(number, worker=ord(owner)) for number in range(50))), owner)
    batch = SpoolReader(tmp_path).read(20, {"a", "b"})
    assert [sum(each.worker == ord(owner) for each in batch.records) for owner in "ab"] == [10, 10]  # type: ignore[union-attr]


def test_a_file_of_places_that_cannot_be_read_is_said_and_does_not_stop_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    laid(tmp_path, frames(record(1)))
    (tmp_path / PLACES).write_bytes(b"{")
    assert names(SpoolReader(tmp_path).read(ALL, ())) == ["r1"]
    assert "counted twice" in caplog.text
