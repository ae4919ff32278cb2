"""The pepper is made once, whole, and by one."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from penstock.core.errors import STORE_UNAVAILABLE, PenstockError
from penstock.store.pepper import load_pepper


def test_it_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "home" / "pepper"
    pepper = load_pepper(path)
    assert len(pepper) == 32
    assert load_pepper(path) == pepper
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["pepper"]


def test_all_who_race_for_it_get_the_same(tmp_path: Path) -> None:
    for turn in range(20):
        with ThreadPoolExecutor(8) as pool:
            peppers = set(pool.map(load_pepper, [tmp_path / str(turn) / "pepper"] * 8))
        assert len(peppers) == 1


def test_damage_is_said_and_nothing_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "pepper"
    path.write_bytes(b"short")
    with pytest.raises(PenstockError, match="5 bytes, not 32") as caught:
        load_pepper(path)
    assert caught.value.fault is STORE_UNAVAILABLE
    assert path.read_bytes() == b"short"


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PenstockError, match="cannot be read or written") as caught:
        load_pepper(tmp_path / "file" / "pepper")
    assert caught.value.fault is STORE_UNAVAILABLE
