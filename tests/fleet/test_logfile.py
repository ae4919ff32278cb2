"""A log never grows without bound."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.fleet.logfile import LogFile


def test_it_turns_over_and_keeps_the_newest(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "logs" / "a.log", limit=10)
    for number in range(10):
        log.write(b"line%d\n" % number)
    log.close()
    log.close()
    assert (tmp_path / "logs" / "a.log").read_bytes() == b"line9\n"
    assert (tmp_path / "logs" / "a.log.1").read_bytes() == b"line8\n"
    assert len(list((tmp_path / "logs").iterdir())) == 2


def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    for text in (b"one\n", b"two\n", b"three\n"):
        log = LogFile(tmp_path / "a.log", limit=10)
        log.write(text)
        log.close()
    assert (tmp_path / "a.log").read_bytes() == b"three\n"
    assert (tmp_path / "a.log.1").read_bytes() == b"one\ntwo\n"


def test_of_a_text_that_is_too_long_the_end_is_kept(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "a.log", limit=4)
    log.write(b"0123456789")
    log.close()
    assert (tmp_path / "a.log").read_bytes() == b"6789"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one page."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_costs_lines_and_what_is_written_later_is_kept(small_disk: Path) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 4096)
    log = LogFile(small_disk / "logs" / "a.log")
    log.write(b"lost\n")
    filler.unlink()
    log.write(b"kept\n")
    log.close()
    log.write(b"too late\n")
    assert (small_disk / "logs" / "a.log").read_bytes() == b"kept\n"


def test_a_place_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        LogFile(tmp_path / "file" / "logs" / "a.log")
