"""The stores of keys alone: both promise the same, and the one on disk keeps its file too."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

import pytest

from penstock.core.errors import STORE_UNAVAILABLE, PenstockError
from penstock.core.serving import KeyRecord
from penstock.store.memory import MemoryStore
from penstock.store.sqlite import MIGRATIONS, SqliteStore

Store = MemoryStore | SqliteStore
MADE_AT = 1_700_000_000.9


def record(name: str, digest: bytes = b"", services: tuple[str, ...] | None = None) -> KeyRecord:
    return KeyRecord(name, digest or name.encode() * 4, "default", "admin", services)


class StoreContract:
    def make(self) -> Store:
        """A new, empty store made at ``MADE_AT``."""
        raise NotImplementedError

    @pytest.fixture
    def store(self):
        store = self.make()
        yield store
        store.close()

    def test_a_new_store_is_empty_and_knows_its_age(self, store: Store) -> None:
        assert list(store.keys()) == []
        assert store.created_at() == 1_700_000_000

    def test_keys_come_back_whole_in_the_order_of_their_ids(self, store: Store) -> None:
        records = [record("b"), record("a", b"\x00\xff" * 16, ()), record("c", services=("chat", "*", "日本"))]
        for each in records:
            store.put_key(each)
        assert list(store.keys()) == sorted(records, key=lambda r: r.id)

    def test_a_key_with_the_same_id_is_replaced(self, store: Store) -> None:
        store.put_key(record("a", b"1" * 32))
        store.put_key(record("b"))
        store.put_key(record("a", b"2" * 32, ("chat",)))
        assert list(store.keys()) == [record("a", b"2" * 32, ("chat",)), record("b")]

    def test_two_keys_never_share_a_digest(self, store: Store) -> None:
        store.put_key(record("a", b"1" * 32))
        with pytest.raises(PenstockError, match="same as another key") as caught:
            store.put_key(record("b", b"1" * 32))
        assert caught.value.fault is STORE_UNAVAILABLE
        assert list(store.keys()) == [record("a", b"1" * 32)]
        store.put_key(record("a", b"1" * 32))

    def test_closing_twice_is_well_and_a_closed_store_says_so(self, store: Store) -> None:
        store.close()
        store.close()
        for call in (store.keys, store.created_at, lambda: store.put_key(record("a"))):
            with pytest.raises(PenstockError, match="closed") as caught:
                call()
            assert caught.value.fault is STORE_UNAVAILABLE


class TestMemory(StoreContract):
    def make(self) -> Store:
        return MemoryStore(MADE_AT)


class TestSqlite(StoreContract):
    @pytest.fixture(autouse=True)
    def _directory(self, tmp_path: Path) -> None:
        self.path = tmp_path / "home" / "state.db"

    def make(self) -> Store:
        return SqliteStore(self.path, MADE_AT)

    def test_it_outlives_the_process(self, store: Store) -> None:
        store.put_key(record("a"))
        other = SqliteStore(self.path, MADE_AT + 100)
        assert list(other.keys()) == [record("a")]
        assert other.created_at() == int(MADE_AT)
        other.close()

    def test_its_files_are_their_owners_alone(self, store: Store) -> None:
        store.put_key(record("a"))
        files = list(self.path.parent.iterdir())
        assert len(files) > 1
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}

    def test_it_is_durable(self, store: SqliteStore) -> None:
        assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)


def refused(path: Path, **kwargs: float) -> str:
    with pytest.raises(PenstockError) as caught:
        SqliteStore(path, MADE_AT, **kwargs)
    assert caught.value.fault is STORE_UNAVAILABLE
    assert "\n" not in caught.value.message
    return caught.value.message


def test_a_file_that_is_no_store_is_said_to_be_damaged(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"not a database, but long enough to look at" * 100)
    assert "is damaged" in refused(tmp_path / "state.db")


def test_a_store_of_a_newer_penstock_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    SqliteStore(path, MADE_AT).close()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    db.close()
    assert "newer Penstock" in refused(path)


def test_a_locked_store_is_waited_for_and_then_said_to_be_held(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    SqliteStore(path, MADE_AT).close()
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("BEGIN EXCLUSIVE")
    assert "held by another process" in refused(path, patience_s=0.05)
    db.close()


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be opened or written" in refused(tmp_path / "file" / "state.db")
    (tmp_path / "state.db").mkdir()
    assert "cannot be opened or written" in refused(tmp_path / "state.db")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_home_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "cannot be opened or written" in refused(tmp_path / "state.db")


def test_a_migration_that_fails_leaves_the_store_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.db"
    store = SqliteStore(path, MADE_AT)
    store.put_key(record("a"))
    store.close()
    with monkeypatch.context() as patched:
        broken = (*MIGRATIONS, ("CREATE TABLE extra (x)", "CREATE TABLE keys (x)"))
        patched.setattr("penstock.store.sqlite.MIGRATIONS", broken)
        refused(path)
    store = SqliteStore(path, MADE_AT)
    assert list(store.keys()) == [record("a")]
    assert store._db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'extra'").fetchone() == (0,)
    store.close()
