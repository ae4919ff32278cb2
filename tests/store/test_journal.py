from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.core.errors import JOURNAL_FULL, PenstockError
from penstock.core.usage import JournalRecord
from penstock.store.journal import Framing, Journal, segment_name
from penstock.store.journal_folder import CARRIED, carry, segments, set_aside
from penstock.store.journal_reader import JournalReader
from tests.store.records import audited, opened, scored, settled, used

RECORDS: list[JournalRecord] = [
    opened("a"),
    opened("a", 2),
    settled("a", 1, 2),
    audited("x", b"\x00\xff"),
    used("k_1"),
    scored("a", "b"),
]


def until(done: Callable[[], object], within_s: float = 5.0) -> None:
    deadline = time.monotonic() + within_s
    while not done():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.001)


def journal(folder: Path, owner: str = "w0-1-a", sync_s: float = 0.01, **more: int) -> Journal:
    return Journal(folder, owner, sync_s=sync_s, **more)


def whole(folder: Path, owner: str = "w0-1-a") -> list[JournalRecord]:
    return [
        record
        for segment in segments(folder).get(owner, ())
        for record in JournalReader(segment.path).read(1_000_000, most_bytes=1 << 30)
    ]


def test_what_was_written_is_read(tmp_path: Path) -> None:
    writing = journal(tmp_path / "journal")
    for record in RECORDS:
        writing.write(record)
    assert whole(tmp_path / "journal") == RECORDS
    writing.write_all(RECORDS)
    writing.write_all(())
    writing.close()
    writing.close()
    assert whole(tmp_path / "journal") == RECORDS * 2


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "home" / "journal"
    journal(folder).close()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_an_owner_is_there_once(tmp_path: Path) -> None:
    journal(tmp_path).close()
    with pytest.raises(FileExistsError):
        journal(tmp_path)


def test_it_goes_on_in_another_segment(tmp_path: Path) -> None:
    writing = journal(tmp_path, segment_bytes=2_000)
    for _ in range(20):
        writing.write_all(RECORDS)
    writing.close()
    found = segments(tmp_path)["w0-1-a"]
    assert [each.number for each in found] == list(range(1, len(found) + 1))
    assert all(2_000 <= each.size < 2_000 + 3_000 for each in found[:-1])
    assert whole(tmp_path) == RECORDS * 20


def test_owners_are_told_apart(tmp_path: Path) -> None:
    for owner in ("w0-1-a", "w0-1-a-000001", "w1-9-b"):
        with_one = journal(tmp_path, owner)
        with_one.write(opened(owner))
        with_one.close()
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "w0-1-a-000001.damaged").write_text("x")
    assert {owner: whole(tmp_path, owner) for owner in segments(tmp_path)} == {
        owner: [opened(owner)] for owner in ("w0-1-a", "w0-1-a-000001", "w1-9-b")
    }
    assert segments(tmp_path / "nowhere") == {}


# -- syncing -----------------------------------------------------------------------------------------------------------


class Disk:
    """Stands in for the system's call."""

    def __init__(self) -> None:
        self.synced: list[tuple[int, float]] = []
        self.error: OSError | None = None
        self.lock = threading.Lock()

    def fdatasync(self, fd: int) -> None:
        with self.lock:
            if self.error:
                raise self.error
            self.synced.append((os.fstat(fd).st_size, time.monotonic()))

    def sizes(self) -> list[int]:
        return [size for size, _ in self.synced]


def test_it_is_synced_soon_and_only_when_dirty(tmp_path: Path) -> None:
    disk = Disk()
    writing = Journal(tmp_path, "w0", sync_s=0.05, fdatasync=disk.fdatasync)
    until(lambda: len(disk.synced) == 1)
    began = time.monotonic()
    for _ in range(100):
        writing.write(opened("a"))
    size = segments(tmp_path)["w0"][0].size
    until(lambda: size in disk.sizes())
    assert disk.synced[-1][1] - began < 0.05 + 0.2
    assert len(disk.synced) <= 3 + (time.monotonic() - began) / 0.05
    count = len(disk.synced)
    time.sleep(0.2)  # pace: nothing is synced while nothing is written
    assert len(disk.synced) <= count + 1
    writing.close()


def test_rotated_segments_are_synced_whole(tmp_path: Path) -> None:
    disk = Disk()
    writing = Journal(tmp_path, "w0", sync_s=10.0, segment_bytes=2_000, fdatasync=disk.fdatasync)
    for _ in range(10):
        writing.write_all(RECORDS)
    writing.close()
    assert {each.size for each in segments(tmp_path)["w0"]} <= set(disk.sizes())


def test_what_is_written_during_the_last_sync_is_synced_too(tmp_path: Path) -> None:
    going, syncing, disk = threading.Event(), threading.Event(), Disk()

    def slow(fd: int) -> None:
        syncing.set()
        assert going.wait(5)
        disk.fdatasync(fd)

    writing = Journal(tmp_path, "w0", sync_s=0.001, fdatasync=slow)
    assert syncing.wait(5)
    writing.write(opened("a"))
    closing = threading.Thread(target=writing.close)
    closing.start()
    going.set()
    closing.join(5)
    assert segments(tmp_path)["w0"][0].size == disk.sizes()[-1]


def test_a_disk_that_fails_to_sync_takes_nothing_more_until_it_does(tmp_path: Path) -> None:
    disk = Disk()
    writing = Journal(tmp_path, "w0", sync_s=0.001, fdatasync=disk.fdatasync)
    disk.error = OSError(5, "Input/output error")

    refusals: list[PenstockError] = []

    def refused() -> bool:
        try:
            writing.write(opened("a"))
        except PenstockError as error:
            refusals.append(error)
            return True
        return False

    until(refused)
    disk.error = None
    until(lambda: not refused())
    assert {error.fault for error in refusals} == {JOURNAL_FULL}
    assert "Input/output error" in refusals[0].message
    writing.close()
    assert set(whole(tmp_path, "w0")) == {opened("a")}


# -- disks that are full -----------------------------------------------------------------------------------------------


def test_a_full_disk_refuses_and_leaves_no_part_of_a_record(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    writing = journal(tmp_path)
    written: list[JournalRecord] = []
    most = 10 * len(Framing().one(opened("a"))) + 100
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
        for _ in range(10):
            writing.write(opened("a"))
            written.append(opened("a"))
        with pytest.raises(PenstockError, match="Free space") as caught:
            writing.write(opened("a"))
        assert caught.value.fault is JOURNAL_FULL
        assert whole(tmp_path) == written
        assert segments(tmp_path)["w0-1-a"][0].size < most
        with pytest.raises(PenstockError):
            writing.write_all([used("k_1"), *RECORDS])
        writing.write(used("k_1"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    writing.write(opened("b"))
    writing.close()
    assert whole(tmp_path) == [*written, used("k_1"), opened("b")]


def test_a_part_that_cannot_be_cut_off_is_cut_off_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing = journal(tmp_path)
    writing.write(opened("a"))
    write, calls = os.write, []

    def half(fd: int, data: bytes) -> int:
        calls.append(fd)
        if len(calls) == 1:
            return write(fd, data[:100])
        raise OSError(28, "No space left on device")

    def never(fd: int, size: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half)
        patch.setattr(os, "ftruncate", never)
        with pytest.raises(PenstockError):
            writing.write(opened("b"))
        with pytest.raises(PenstockError):
            writing.write(opened("c"))
        assert len(calls) == 2, "nothing is written behind a part"
    assert whole(tmp_path) == [opened("a")]
    writing.write(opened("d"))
    writing.close()
    assert whole(tmp_path) == [opened("a"), opened("d")]


def test_without_a_new_segment_the_old_one_takes_more(tmp_path: Path) -> None:
    writing = journal(tmp_path, segment_bytes=1_000)
    (tmp_path / segment_name("w0-1-a", 2)).mkdir()
    for _ in range(10):
        writing.write(opened("a"))
    writing.close()
    assert len(JournalReader(tmp_path / segment_name("w0-1-a", 1)).read(100)) == 10


# -- killed writers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("writes", [1, 500, 6_000])
def test_a_killed_writer_loses_nothing_that_returned(tmp_path: Path, writes: int) -> None:
    owner = "w0-1-a"
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.store.journal_writer", str(tmp_path), owner], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    told = child.stdout.read(4 * writes)
    child.kill()
    told += child.stdout.read()
    child.stdout.close()
    child.wait(10)
    returned = len(told) // 4
    assert returned >= writes
    records = []
    for segment in segments(tmp_path)[owner]:
        reader = JournalReader(segment.path)
        while got := reader.read(1_000):
            records += got
        reader.finish()
        assert not reader.damaged
        assert not reader.skipped
    extra = sum(2 for number in range(returned) if number % 97 == 96)
    # One more may have been written than could be told of.
    assert returned + extra <= len(records) <= returned + extra + 3
    assert records[:2] == [opened(f"{owner}.0"), settled(f"{owner}.0")][: len(records)]


# -- what supervisors leave --------------------------------------------------------------------------------------------


def test_what_is_carried_replaces_what_was_before(tmp_path: Path) -> None:
    journal(tmp_path).close()
    carry(tmp_path, "w0-1-a", [opened("a"), opened("b")])
    carry(tmp_path, "w0-1-a", [opened("b")])
    assert [each.number for each in segments(tmp_path)["w0-1-a"]] == [CARRIED, 1]
    assert whole(tmp_path) == [opened("b")]
    carry(tmp_path, "w0-1-a", [])
    assert [each.number for each in segments(tmp_path)["w0-1-a"]] == [1]


def test_a_segment_set_aside_is_none_any_more(tmp_path: Path) -> None:
    journal(tmp_path).close()
    aside = set_aside(segments(tmp_path)["w0-1-a"][0].path)
    assert aside.exists()
    assert segments(tmp_path) == {}
