"""A spool gives back what was put into it, in order, whatever happens to its writer or its disk."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from penstock.core.requests import Beat, RequestContent, RequestRecord
from penstock.observe.spool import LAG_S, LASTS_S, Spool, Unmade
from penstock.observe.spool_reader import SpoolReader
from tests.observe.spools import ALL, content, names, record, until


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Spool]]:
    made: list[Spool] = []

    def open_(owner: str = "w1", limit: int = 64 << 20, **more: object) -> Spool:
        made.append(Spool(tmp_path / "spool", owner, limit_bytes=limit, **more))  # type: ignore[arg-type]
        return made[-1]

    yield open_
    for each in made:
        each.close()


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


class Waiting:
    """Records that are made when they are written."""

    size = 100

    def __init__(self, number: int) -> None:
        self.number = number

    def together(self, of: Sequence[Unmade]) -> Sequence[RequestRecord]:
        assert of[0] is self
        assert threading.current_thread() is not threading.main_thread()
        return [record(each.number) for each in of if isinstance(each, Waiting)]


def test_what_is_not_made_yet_is_made_by_the_thread_and_keeps_its_place(
    opened: Callable[..., Spool], tmp_path: Path
) -> None:
    spool = opened()
    for number in range(500):
        spool.put(record(number) if number % 7 == 3 else Waiting(number))
    spool.close()
    found = SpoolReader(tmp_path / "spool").read(ALL, ())
    assert names(found) == [f"r{number}" for number in range(500)]


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
        until(lambda: not spool._waiting)
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
    for each in (record(1), record(2, message="\ud800"), record(3)):
        spool.put(each)
    until(lambda: spool.shed == 1)


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
