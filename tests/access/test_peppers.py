"""Peppers are made once, by one, and changed without losing a key."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from penstock.access.peppers import MOST_PEPPERS, add, drop, keys_under, named, promote, read_peppers, rotate
from penstock.core.errors import BAD_DEPLOYMENT, NOT_FOUND, STORE_CONFLICT, STORE_UNAVAILABLE, Fault, PenstockError
from tests.access.people import NEW, NOW, OLD, key

A, B = b"a" * 32, b"\xfb\xff" * 16


def b64(secret: bytes) -> str:
    return base64.b64encode(secret).decode()


def test_its_name_is_of_its_hash_and_its_secret_is_never_shown() -> None:
    assert named(A).name == hashlib.sha256(A).hexdigest()[:8]
    assert "aaaa" not in repr(named(A))


def test_a_setting_holds_some_the_current_first(tmp_path: Path) -> None:
    urlsafe = base64.urlsafe_b64encode(B).decode().rstrip("=")
    for text in (f"{b64(A)},{b64(B)}", f" {b64(A)} , {urlsafe}"):
        assert read_peppers(text, tmp_path / "never") == (named(A), named(B))
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize(
    "setting",
    [b64(b"short"), b64(A) + ",", "my pepper, of course", f"{b64(A)},{b64(A)}", "é" * 44, b64(A)[:-2] + "!="],
)
def test_a_setting_that_cannot_be_read_is_said_and_not_shown(setting: str, tmp_path: Path) -> None:
    with pytest.raises(PenstockError) as caught:
        read_peppers(setting, tmp_path / "pepper")
    assert caught.value.fault is BAD_DEPLOYMENT
    assert setting[:10] not in caught.value.message


def test_the_file_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "home" / "pepper"
    peppers = read_peppers("", path)
    assert len(peppers) == 1
    assert read_peppers("", path) == peppers
    assert path.stat().st_size == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["pepper"]


def test_all_who_race_for_the_file_get_the_same(tmp_path: Path) -> None:
    for turn in range(20):
        with ThreadPoolExecutor(8) as pool:
            found = set(pool.map(lambda path: read_peppers("", path), [tmp_path / str(turn) / "pepper"] * 8))
        assert len(found) == 1


def test_to_rotate_puts_a_new_one_first_and_keeps_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "pepper"
    path.write_bytes(A)
    fresh = rotate(path)
    assert read_peppers("", path) == (fresh, named(A))
    newest = rotate(path)
    assert read_peppers("", path) == (newest, fresh, named(A))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["pepper"]


def test_a_new_one_is_known_before_it_is_current(tmp_path: Path) -> None:
    path = tmp_path / "pepper"
    (oldest,) = read_peppers("", path)
    current = rotate(path)
    fresh = add(path)
    assert read_peppers("", path) == (current, fresh, oldest)
    promote(path, fresh.name)
    assert read_peppers("", path) == (fresh, current, oldest)
    promote(path, fresh.name)
    assert read_peppers("", path) == (fresh, current, oldest)
    assert failing(lambda: promote(path, "absent")) is NOT_FOUND


def test_to_drop_takes_an_old_one_away_and_never_the_current(tmp_path: Path) -> None:
    path = tmp_path / "pepper"
    path.write_bytes(B + A)
    assert failing(lambda: drop(path, named(B).name)) is STORE_CONFLICT
    assert failing(lambda: drop(path, "00000000")) is NOT_FOUND
    drop(path, named(A).name)
    assert read_peppers("", path) == (named(B),)


def test_a_file_holds_no_more_than_can_be_tried(tmp_path: Path) -> None:
    path = tmp_path / "pepper"
    path.write_bytes(b"".join(bytes([n]) * 32 for n in range(MOST_PEPPERS)))
    assert failing(lambda: rotate(path)) is STORE_CONFLICT
    path.write_bytes(path.read_bytes() + A)
    assert failing(lambda: read_peppers("", path)) is STORE_UNAVAILABLE


def test_two_do_not_change_it_at_once(tmp_path: Path) -> None:
    path = tmp_path / "pepper"
    path.write_bytes(A)
    other = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert failing(lambda: rotate(path)) is STORE_CONFLICT
    finally:
        os.close(other)
    rotate(path)


@pytest.mark.parametrize("content", [b"", b"short", A + b"x"])
def test_damage_is_said_and_nothing_is_replaced(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "pepper"
    path.write_bytes(content)
    assert failing(lambda: read_peppers("", path)) is STORE_UNAVAILABLE
    assert failing(lambda: rotate(path)) is STORE_UNAVAILABLE
    assert path.read_bytes() == content


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert failing(lambda: read_peppers("", tmp_path / "file" / "pepper")) is STORE_UNAVAILABLE
    assert failing(lambda: rotate(tmp_path / "nothing")) is STORE_UNAVAILABLE


def test_keys_are_counted_by_what_they_need() -> None:
    old = {"previous_digest": b"x", "previous_pepper": OLD.name}
    keys = (
        key("a", under=NEW),
        key("b", under=OLD),
        key("c", under=named(A)),
        key("d", under=OLD, revoked_at=NOW),
        key("e", under=OLD, expires_at=NOW),
        key("f", under=NEW, previous_until=NOW + 1, **old),
        key("g", under=NEW, previous_until=NOW, **old),
    )
    assert keys_under(keys, (NEW, OLD), NOW) == {NEW.name: 3, OLD.name: 2, named(A).name: 1}


def failing(act: object) -> Fault:
    assert callable(act)
    with pytest.raises(PenstockError) as caught:
        act()
    return caught.value.fault
