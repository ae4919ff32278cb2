"""A spool gives back what was put into it, in order, whatever happens to its writer or its disk."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from zlib import crc32

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.requests import Beat, RequestContent, RequestRecord
from penstock.observe.spool import HEADER, LAG_S, LASTS_S, Spool, segment_name
from penstock.observe.spool_reader import PLACES, Batch, SpoolReader

ALL = 100_000


def record(number: int, worker: int = 0, message: str = "") -> RequestRecord:
    return RequestRecord(request_id=f"r{number}", at=float(number), gateway="g", worker=worker, message=message)


def content(number: int, size: int) -> RequestContent:
    return RequestContent(
        request_id=f"r{number}", at=float(number), project="p", service="s", request=b'"%s"' % (b"x" * size)
    )


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Spool]]:
    made: list[Spool] = []

    def open_(owner: str = "w1", limit: int = 64 << 20, **more: object) -> Spool:
        made.append(Spool(tmp_path / "spool", owner, limit_bytes=limit, **more))  # type: ignore[arg-type]
        return made[-1]

    yield open_
    for each in made:
        each.close()


def until(true: Callable[[], bool], within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    pause = threading.Event()
    while not true():
        assert time.monotonic() < deadline, "it did not come to be in time"
        pause.wait(0.01)


def names(batch: Batch) -> list[str]:
    return [each.request_id for each in batch.records]


def frames(*records: RequestRecord | RequestContent | Beat) -> bytes:
    found = b""
    for each in records:
        payload = msgspec.msgpack.encode(each)
        found += HEADER.pack(len(payload), crc32(payload)) + payload
    return found


def laid(folder: Path, data: bytes, owner: str = "w1", number: int = 1) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / segment_name(owner, number)
    path.write_bytes(data)
    return path


def test_what_is_put_is_read_while_the_writer_lives(opened: Callable[..., Spool], tmp_path: Path) -> None:
    spool = opened()
    said: list[RequestRecord | RequestContent] = [record(1, worker=3), content(1, 10), record(2, message="m")]
    for each in said:
        spool.put(each)
    reader = SpoolReader(tmp_path / "spool")
    found: list[RequestRecord | RequestContent] = []

    def all_there() -> bool:
        found.extend(reader.read(ALL, {"w1"}).records)
        return len(found) == 3

    until(all_there)
    assert found == said


def test_everything_is_written_when_it_is_closed_and_the_owner_is_told_as_ended(
    opened: Callable[..., Spool], tmp_path: Path
) -> None:
    spool = opened(now=lambda: 500.0)
    for number in range(1000):
        spool.put(record(number))
    spool.close()
    reader = SpoolReader(tmp_path / "spool")
    alive = reader.read(ALL, {"w1"})
    assert names(alive) == [f"r{number}" for number in range(1000)]
    assert alive.beats == {"w1": Beat(500.0 - LAG_S, 0)}
    assert not alive.ended
    gone = reader.read(ALL, ())
    assert gone.ended == {"w1"}
    assert not gone.records
    reader.done(gone)
    assert not list((tmp_path / "spool").glob("*.spool"))
    assert reader.waiting() == 0


def test_a_beat_comes_though_nothing_is_put(opened: Callable[..., Spool], tmp_path: Path) -> None:
    opened(now=lambda: 70.0)
    reader = SpoolReader(tmp_path / "spool")
    until(lambda: reader.read(ALL, {"w1"}).beats.get("w1") == Beat(70.0 - LAG_S))


def test_what_is_done_is_not_read_again_by_the_next_reader(opened: Callable[..., Spool], tmp_path: Path) -> None:
    spool = opened()
    for number in range(10):
        spool.put(record(number))
    spool.close()
    reader = SpoolReader(tmp_path / "spool")
    reader.done(reader.read(4, {"w1"}))
    assert names(reader.read(3, {"w1"})) == ["r4", "r5", "r6"]
    assert names(SpoolReader(tmp_path / "spool").read(ALL, {"w1"})) == [f"r{number}" for number in range(4, 10)]
    reader.again()
    assert names(reader.read(ALL, {"w1"})) == [f"r{number}" for number in range(4, 10)]


def test_segments_that_are_done_are_deleted_while_the_writer_goes_on(
    opened: Callable[..., Spool], tmp_path: Path
) -> None:
    spool = opened(segment_bytes=4096)
    for number in range(200):
        spool.put(record(number))
    spool.close()
    folder = tmp_path / "spool"
    before = sorted(folder.glob("*.spool"))
    # What is written at once may be longer than a segment, but never by more than one batch.
    assert len(before) > 2
    reader = SpoolReader(folder)
    found: list[str] = []
    while batch := reader.read(17, {"w1"}):
        if not batch.records:
            break
        found += names(batch)
        reader.done(batch)
    assert found == [f"r{number}" for number in range(200)]
    assert sorted(folder.glob("*.spool")) == before[-1:]


def test_what_was_read_does_not_lie_about_while_nothing_more_comes(
    opened: Callable[..., Spool], tmp_path: Path
) -> None:
    clock = [1_000.0]
    spool = opened(now=lambda: clock[0])
    reader = SpoolReader(tmp_path / "spool")

    def left() -> bool:
        reader.done(reader.read(ALL, {"w1"}))
        return any(b"r7" in path.read_bytes() for path in (tmp_path / "spool").glob("*.spool"))

    spool.put(record(7))
    until(left)
    clock[0] += LASTS_S
    until(lambda: not left())


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
def test_damage_is_passed_over_and_counted(tmp_path: Path, alive: bool) -> None:
    data = bytearray(frames(*(record(number) for number in range(6))))
    at = len(frames(record(0), record(1))) + 40
    data[at] ^= 0xFF
    laid(tmp_path, bytes(data))
    reader = SpoolReader(tmp_path)
    assert names(reader.read(ALL, {"w1"} if alive else ())) == ["r0", "r1", "r3", "r4", "r5"]
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


def test_beyond_the_limit_records_are_shed_counted_and_said_until_they_are_read(
    opened: Callable[..., Spool], tmp_path: Path
) -> None:
    said: list[str] = []
    spool = opened(limit=1 << 20, say=said.append)
    put = 0
    while not spool.shed:
        for _ in range(20):
            spool.put(content(put, 4000))
            put += 1
        until(lambda: not spool._frames)
    folder = tmp_path / "spool"
    assert sum(path.stat().st_size for path in folder.glob("*.spool")) <= 1 << 20
    until(lambda: bool(said))
    assert "were lost" in said[0]
    assert "spool_bytes" in said[0]
    reader = SpoolReader(folder)
    read = 0
    shed = spool.shed
    batch = reader.read(ALL, {"w1"})
    assert batch.records
    read += len(batch.records)
    reader.done(batch)

    def taken() -> bool:
        nonlocal put, read, shed
        spool.put(content(put, 4000))
        put += 1
        shed = spool.shed
        batch = reader.read(ALL, {"w1"})
        read += len(batch.records)
        reader.done(batch)
        return bool(batch.records)

    until(taken)
    spool.close()
    read += len(reader.read(ALL, ()).records)
    assert read + spool.shed == put


def test_a_disk_that_is_full_sheds_and_leaves_no_part_of_a_frame(
    opened: Callable[..., Spool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = opened(say=lambda _: None)
    spool.put(record(1))
    reader = SpoolReader(tmp_path / "spool")
    until(lambda: bool(reader.read(ALL, {"w1"}).records))
    write, full = os.write, threading.Event()

    def half(fd: int, data: bytes) -> int:
        # Every open file of this process is written with it.
        if not full.is_set() or os.readlink(f"/proc/self/fd/{fd}")[-6:] != ".spool":
            return write(fd, data)
        if len(data) < 100:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data[: len(data) // 2])

    monkeypatch.setattr(os, "write", half)
    full.set()
    spool.put(record(2, message="x" * 500))
    until(lambda: spool.shed == 1)
    full.clear()
    spool.put(record(3))
    spool.close()
    assert names(reader.read(ALL, ())) == ["r3"]
    assert reader.damaged == 0
    assert spool.shed == 1


def test_a_folder_that_cannot_be_made_fails_nobody(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file")
    said: list[str] = []
    spool = Spool(tmp_path / "spool", "w1", limit_bytes=1 << 20, say=said.append)
    spool.put(record(1))
    spool.close()
    assert spool.shed == 1
    assert "Requests are served on" in said[0]


def test_what_cannot_be_encoded_is_shed(opened: Callable[..., Spool]) -> None:
    spool = opened(say=lambda _: None)
    spool.put(record(1, message="\ud800"))
    assert spool.shed == 1


def test_a_folder_that_somebody_clears_is_made_anew(opened: Callable[..., Spool], tmp_path: Path) -> None:
    spool = opened()
    spool.put(record(1))
    folder = tmp_path / "spool"
    until(lambda: bool(list(folder.glob("*.spool"))))
    for path in folder.iterdir():
        path.unlink()
    reader = SpoolReader(folder)
    found: list[str] = []
    number = 1

    def comes() -> bool:
        nonlocal number
        number += 1
        spool.put(record(number))
        found.extend(names(reader.read(ALL, {"w1"})))
        return bool(found)

    until(comes)


_WRITER = """
import sys, time
from pathlib import Path
from penstock.core.requests import RequestRecord
from penstock.observe.spool import Spool
spool = Spool(Path(sys.argv[1]), "w1", limit_bytes=64 << 20, segment_bytes=65536)
number = 0
while True:
    for _ in range(50):
        spool.put(RequestRecord(request_id=f"r{number}", at=time.time(), gateway="g", message="x" * 200))
        number += 1
    print(number, flush=True)
    time.sleep(0.001)
"""


def test_what_a_killed_writer_has_written_is_read(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        put = 0
        while put < 3000:
            put = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    reader = SpoolReader(tmp_path)
    batch = reader.read(ALL, ())
    found = names(batch)
    assert found == [f"r{number}" for number in range(len(found))]
    assert len(found) > 1000
    assert batch.ended == {"w1"}
    assert reader.damaged == 0
