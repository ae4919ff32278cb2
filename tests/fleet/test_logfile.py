"""A log never grows without bound."""

from __future__ import annotations

from pathlib import Path

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
