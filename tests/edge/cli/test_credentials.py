"""The key file: its owner's alone from its first moment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from penstock.core.errors import PenstockError
from penstock.edge.cli import credentials
from penstock.edge.cli.credentials import Credentials


def test_what_is_written_is_read(tmp_path: Path) -> None:
    home = tmp_path / "a" / "home"
    assert credentials.read(home) is None
    for key in ("sk-1", "a=b#c 'd'"):
        credentials.write(home, Credentials("http://127.0.0.1:8080", key))
        assert credentials.read(home) == Credentials("http://127.0.0.1:8080", key)
    assert os.listdir(home) == ["credentials"]
    assert (home / "credentials").read_text().splitlines()[0] == "PENSTOCK_URL=http://127.0.0.1:8080"


def test_only_the_owner_can_read_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    modes: list[int] = []
    replace = Path.replace

    def watched(self: Path, target: Path) -> Path:
        modes.append(self.stat().st_mode & 0o777)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    old = os.umask(0)
    try:
        credentials.write(home, Credentials("http://h", "k"))
        (home / "credentials").chmod(0o644)
        credentials.write(home, Credentials("http://h", "k"))
    finally:
        os.umask(old)
    assert modes == [0o600, 0o600]
    assert (home / "credentials").stat().st_mode & 0o777 == 0o600
    assert home.stat().st_mode & 0o777 == 0o700


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    credentials.write(tmp_path, Credentials("http://h", "old"))

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PenstockError, match=r"credentials cannot be written: No space .*make room on its disk"):
        credentials.write(tmp_path, Credentials("http://h", "new"))
    assert os.listdir(tmp_path) == ["credentials"]
    assert credentials.read(tmp_path) == Credentials("http://h", "old")


@pytest.mark.parametrize("key", ["a\nb", "a\0", " a", "a\r"])
def test_a_key_that_no_header_carries_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(PenstockError, match="one line of printable text"):
        credentials.write(tmp_path, Credentials("http://h", key))


@pytest.mark.parametrize("raw", [b"", b"PENSTOCK_URL=x\n", b"\xff\xfe", b"{}"])
def test_a_file_that_is_none_names_the_mend(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "credentials").write_bytes(raw)
    with pytest.raises(PenstockError, match="remove it and start `penstock up` again"):
        credentials.read(tmp_path)


def test_the_key_is_not_shown() -> None:
    assert "sk-1" not in repr(Credentials("http://h", "sk-1"))
